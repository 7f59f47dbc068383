//! Metadata, sizes and tunables of a domain.

use super::bus::{Bus, Client, Daemon};
use super::test_driver::{Ear, TEST_DOMAIN};
use super::{DOMAIN, LIBVIRT, refused};
use std::collections::{BTreeMap, HashMap};
use zbus::{OwnedVariant, Variant};

const LIVE: u32 = 1;
const CONFIG: u32 = 2;
const MAXIMUM: u32 = 4;

async fn parameters(client: &Client, member: &str, device: Option<&str>) -> BTreeMap<String, OwnedVariant> {
    let reply = match device {
        Some(device) => client.call(TEST_DOMAIN, DOMAIN, member, &(device, 0_u32)).await,
        None => client.call(TEST_DOMAIN, DOMAIN, member, &(0_u32,)).await,
    };
    reply.unwrap().body().deserialize::<(BTreeMap<String, OwnedVariant>,)>().unwrap().0
}

fn twice(value: Variant<'_>) -> Variant<'_> {
    Variant::Variant(Box::new(value))
}

async fn vcpus(client: &Client, flags: u32) -> u32 {
    let reply = client.call(TEST_DOMAIN, DOMAIN, "GetVcpus", &(flags,)).await.unwrap();
    reply.body().deserialize::<(u32,)>().unwrap().0
}

#[tokio::test]
async fn metadata_is_kept_in_the_definition_that_is_meant() {
    let bus = Bus::start();
    let _daemon = Daemon::start(&bus);
    let client = bus.client().await;
    let mut ear = Ear::on(&client).await;
    let set = |kind: i32, text: &'static str, key: &'static str, uri: &'static str, flags: u32| {
        let client = &client;
        async move { client.call(TEST_DOMAIN, DOMAIN, "SetMetadata", &(kind, text, key, uri, flags)).await.map(drop) }
    };
    let none = refused(&client, TEST_DOMAIN, DOMAIN, "GetMetadata", &(0, "", 0_u32)).await;
    assert_eq!(none, format!("{LIBVIRT}: metadata not found: Requested metadata element is not present"));
    set(0, "This is the Test domain", "", "", 0).await.unwrap();
    set(1, "a title", "", "", LIVE | CONFIG).await.unwrap();
    set(2, "<tag>x</tag>", "mine", "http://example.org/mine", CONFIG).await.unwrap();
    assert_eq!(client.text(TEST_DOMAIN, DOMAIN, "GetMetadata", &(0, "", LIVE)).await, "This is the Test domain");
    refused(&client, TEST_DOMAIN, DOMAIN, "GetMetadata", &(0, "", CONFIG)).await;
    assert_eq!(client.text(TEST_DOMAIN, DOMAIN, "GetMetadata", &(1, "", CONFIG)).await, "a title");
    let uri = "http://example.org/mine";
    assert_eq!(client.text(TEST_DOMAIN, DOMAIN, "GetMetadata", &(2, uri, CONFIG)).await, "<tag>x</tag>");
    let inactive = client.text(TEST_DOMAIN, DOMAIN, "GetXMLDesc", &(2_u32,)).await;
    assert!(inactive.contains("<mine:tag xmlns:mine='http://example.org/mine'>x</mine:tag>"), "{inactive}");
    assert_eq!(ear.heard(&client).await, ["metadata 0 ", "metadata 1 ", "metadata 2 http://example.org/mine"]);

    for (kind, text, key, uri, error) in [
        (1, "a\nb", "", "", "metadata title can't contain newlines"),
        (0, "a", "", "u", "uri in virDomainSetMetadata must be NULL"),
        (2, "<a/>", "k", "", "uri in virDomainSetMetadata must not be NULL"),
        (2, "<a/>", "", "u", "key in virDomainSetMetadata must not be NULL"),
        (3, "a", "", "", "invalid argument: unknown metadata type '3'"),
    ] {
        assert_eq!(set(kind, text, key, uri, 0).await.unwrap_err(), format!("{LIBVIRT}: {error}"));
    }
    // A snapshot takes the description along, and a revert brings it back.
    let taken = ("<domainsnapshot><name>s</name></domainsnapshot>", 0_u32);
    let s = client.path(TEST_DOMAIN, DOMAIN, "SnapshotCreateXML", &taken).await;
    set(0, "changed", "", "", LIVE).await.unwrap();
    client.call(&s, "org.libvirt.DomainSnapshot", "Revert", &(0_u32,)).await.unwrap();
    assert_eq!(client.text(TEST_DOMAIN, DOMAIN, "GetMetadata", &(0, "", LIVE)).await, "This is the Test domain");
}

#[tokio::test]
async fn memory_is_changed_now_or_from_the_next_start() {
    let bus = Bus::start();
    let _daemon = Daemon::start(&bus);
    let client = bus.client().await;
    let mut ear = Ear::on(&client).await;
    let taken = ("<domainsnapshot><name>s</name></domainsnapshot>", 0_u32);
    let s = client.path(TEST_DOMAIN, DOMAIN, "SnapshotCreateXML", &taken).await;
    ear.heard(&client).await;
    client.call(TEST_DOMAIN, DOMAIN, "SetMemory", &(1_234_567_u64, 0_u32)).await.unwrap();
    assert_eq!(ear.heard(&client).await, ["balloon 1234567"]);
    client.call(&s, "org.libvirt.DomainSnapshot", "Revert", &(0_u32,)).await.unwrap();
    let reverted = client.text(TEST_DOMAIN, DOMAIN, "GetXMLDesc", &(0_u32,)).await;
    assert!(reverted.contains("<currentMemory unit='KiB'>2097152</currentMemory>"), "{reverted}");

    client.call(TEST_DOMAIN, DOMAIN, "SetMemory", &(1_000_000_u64, 0_u32)).await.unwrap();
    let live = client.text(TEST_DOMAIN, DOMAIN, "GetXMLDesc", &(0_u32,)).await;
    assert!(live.contains("<currentMemory unit='KiB'>1000000</currentMemory>"), "{live}");
    let reply = client.call(TEST_DOMAIN, DOMAIN, "MemoryStats", &(0_u32,)).await.unwrap();
    let (stats,): (BTreeMap<i32, u64>,) = reply.body().deserialize().unwrap();
    assert_eq!(stats[&6], 1_000_000);
    client.call(TEST_DOMAIN, DOMAIN, "SetMemory", &(1_500_000_u64, CONFIG)).await.unwrap();
    let inactive = client.text(TEST_DOMAIN, DOMAIN, "GetXMLDesc", &(2_u32,)).await;
    assert!(inactive.contains("<currentMemory unit='KiB'>1500000</currentMemory>"), "{inactive}");
    for (kib, flags, error) in [
        (9_000_000, 0, "invalid argument: cannot set memory higher than max memory"),
        (0, 0, "memory in virDomainSetMemoryFlags must not be zero"),
        (
            9_000_000,
            LIVE | MAXIMUM,
            "Requested operation is not valid: cannot resize the maximum memory on an active domain",
        ),
        (1, 8, "unsupported flags (0x8) in function qemuDomainSetMemoryFlags"),
    ] {
        let told = refused(&client, TEST_DOMAIN, DOMAIN, "SetMemory", &(kib as u64, flags)).await;
        assert_eq!(told, format!("{LIBVIRT}: {error}"));
    }
    client.call(TEST_DOMAIN, DOMAIN, "SetMemory", &(1_048_576_u64, CONFIG | MAXIMUM)).await.unwrap();
    let smaller = client.text(TEST_DOMAIN, DOMAIN, "GetXMLDesc", &(2_u32,)).await;
    assert!(smaller.contains("<memory unit='KiB'>1048576</memory>"), "{smaller}");
    assert!(smaller.contains("<currentMemory unit='KiB'>1048576</currentMemory>"), "{smaller}");
    client.call(TEST_DOMAIN, DOMAIN, "Destroy", &(0_u32,)).await.unwrap();
    let off = refused(&client, TEST_DOMAIN, DOMAIN, "SetMemory", &(1_u64, LIVE)).await;
    assert_eq!(off, format!("{LIBVIRT}: Requested operation is not valid: domain is not running"));
}

#[tokio::test]
async fn cpus_are_counted_and_pinned() {
    let bus = Bus::start();
    let _daemon = Daemon::start(&bus);
    let client = bus.client().await;
    client.call(TEST_DOMAIN, DOMAIN, "SetVcpus", &(1_u32, 0_u32)).await.unwrap();
    assert_eq!((vcpus(&client, 0).await, vcpus(&client, CONFIG).await, vcpus(&client, MAXIMUM).await), (1, 2, 2));
    client.call(TEST_DOMAIN, DOMAIN, "SetVcpus", &(2_u32, 0_u32)).await.unwrap();
    client.call(TEST_DOMAIN, DOMAIN, "SetVcpus", &(4_u32, CONFIG | MAXIMUM)).await.unwrap();
    assert_eq!((vcpus(&client, CONFIG).await, vcpus(&client, CONFIG | MAXIMUM).await), (2, 4));
    let more = refused(&client, TEST_DOMAIN, DOMAIN, "SetVcpus", &(3_u32, LIVE)).await;
    let text = "invalid argument: requested vcpus is greater than max allowable vcpus for the live domain: 3 > 2";
    assert_eq!(more, format!("{LIBVIRT}: {text}"));

    let pins = |client: &Client| {
        let connection = client.connection.clone();
        async move {
            let client = Client { connection };
            let reply = client.call(TEST_DOMAIN, DOMAIN, "GetVcpuPinInfo", &(0_u32,)).await.unwrap();
            reply.body().deserialize::<(Vec<Vec<bool>>,)>().unwrap().0
        }
    };
    assert_eq!(pins(&client).await, vec![vec![true; 8]; 2]);
    client.call(TEST_DOMAIN, DOMAIN, "PinVcpu", &(1_u32, vec![false, true], 0_u32)).await.unwrap();
    let second = [false, true, false, false, false, false, false, false];
    assert_eq!(pins(&client).await, [vec![true; 8], second.to_vec()]);
    let none = refused(&client, TEST_DOMAIN, DOMAIN, "PinVcpu", &(5_u32, vec![true], 0_u32)).await;
    assert_eq!(none, format!("{LIBVIRT}: invalid argument: requested vcpu '5' is not present in the domain"));
    let empty = refused(&client, TEST_DOMAIN, DOMAIN, "PinEmulator", &(vec![false; 8], 0_u32)).await;
    assert_eq!(empty, format!("{LIBVIRT}: invalid argument: Empty cpu list for pinning"));
}

#[tokio::test]
async fn tunables_are_kept_by_name_and_type() {
    let bus = Bus::start();
    let _daemon = Daemon::start(&bus);
    let client = bus.client().await;
    for (member, device, name, value) in [
        ("GetSchedulerParameters", None, "weight", Variant::U32(50)),
        ("GetMemoryParameters", None, "hard_limit", Variant::U64(9_007_199_254_740_991)),
        ("GetBlockIOParameters", None, "weight", Variant::U32(0)),
        ("GetNumaParameters", None, "numa_mode", Variant::I32(0)),
        ("GetPerfEvents", None, "cmt", Variant::Bool(false)),
        ("GetBlockIOTune", Some("vda"), "total_bytes_sec_max", Variant::U64(0)),
        ("GetBlockIOTune", Some("vda"), "group_name", Variant::from("")),
        ("GetInterfaceParameters", Some("testnet0"), "outbound.burst", Variant::U32(0)),
    ] {
        assert_eq!(*parameters(&client, member, device).await[name], twice(value), "{member} {name}");
    }
    let one = |name: &'static str, value: Variant<'static>| HashMap::from([(name, value)]);
    let weight = (one("weight", Variant::U32(70)), 0_u32);
    client.call(TEST_DOMAIN, DOMAIN, "SetSchedulerParameters", &weight).await.unwrap();
    assert_eq!(*parameters(&client, "GetSchedulerParameters", None).await["weight"], twice(Variant::U32(70)));
    let limit = ("vda", one("read_iops_sec", Variant::U64(5)), 0_u32);
    client.call(TEST_DOMAIN, DOMAIN, "SetBlockIOTune", &limit).await.unwrap();
    assert_eq!(*parameters(&client, "GetBlockIOTune", Some("vda")).await["read_iops_sec"], twice(Variant::U64(5)));

    for (member, args, error) in [
        (
            "SetSchedulerParameters",
            (one("cap", Variant::U32(1)), 0_u32),
            "argument unsupported: parameter 'cap' not supported",
        ),
        (
            "SetSchedulerParameters",
            (one("weight", Variant::from("x")), 0),
            "invalid argument: invalid type 'string' for parameter 'weight', expected 'uint'",
        ),
        ("SetMemoryParameters", (one("hard_limit", Variant::U8(1)), 0), "Invalid typed parameter 'y'."),
    ] {
        assert_eq!(refused(&client, TEST_DOMAIN, DOMAIN, member, &args).await, format!("{LIBVIRT}: {error}"));
    }
    let disk = refused(&client, TEST_DOMAIN, DOMAIN, "GetBlockIOTune", &("vdx", 0_u32)).await;
    assert_eq!(disk, format!("{LIBVIRT}: invalid argument: disk 'vdx' was not found in the domain config"));
}

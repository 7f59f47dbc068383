//! The Test driver, as authors of clients use it.

use super::bus::{Bus, Client, Daemon};
use super::{CONNECT, DOMAIN, LIBVIRT, PROPERTIES, SNAPSHOT, TEST, refused};
use futures_util::StreamExt;
use std::collections::BTreeMap;
use zbus::{MessageStream, OwnedObjectPath, OwnedVariant, Variant};

pub(crate) const TEST_DOMAIN: &str = "/org/libvirt/Test/domain/_6695eb01_f6a4_8304_79aa_97f2502e193f";

/// What `DomainEvent` told of one domain, until told otherwise.
pub(crate) struct Ear {
    stream: MessageStream,
}

impl Ear {
    pub(crate) async fn on(client: &Client) -> Self {
        let driver = Some("org.freedesktop.DBus");
        // libvirt's interfaces, not our own beside them.
        for interface in ["Connect", "Domain"] {
            let rule = format!("type='signal',sender='org.libvirt',interface='org.libvirt.{interface}'");
            client.connection.call_method(driver, "/org/freedesktop/DBus", driver, "AddMatch", &(rule,)).await.unwrap();
        }
        Self { stream: MessageStream::from(&client.connection) }
    }

    /// Every signal up to the answer of a call made now, as `member(arguments)`. Signals come before the answer of the
    /// call that caused them, so none is missed.
    pub(crate) async fn heard(&mut self, client: &Client) -> Vec<String> {
        client.call(TEST, "org.freedesktop.DBus.Peer", "GetMachineId", &()).await.unwrap();
        let mut out = Vec::new();
        loop {
            let message = self.stream.next().await.unwrap().unwrap();
            let header = message.header();
            let member = header.member().map(|m| m.to_string());
            match member.as_deref() {
                // Of the calls before: the last answer has the machine's identity.
                None if message.body().deserialize::<(String,)>().is_ok_and(|(id,)| id.len() == 32) => return out,
                None => {}
                Some("DomainEvent") => {
                    let (path, event, detail): (OwnedObjectPath, i32, i32) = message.body().deserialize().unwrap();
                    assert_eq!(path.as_str(), TEST_DOMAIN);
                    out.push(format!("{event}/{detail}"));
                }
                Some("BalloonChange") => {
                    out.push(format!("balloon {}", message.body().deserialize::<(u64,)>().unwrap().0));
                }
                Some("MetadataChange") => {
                    let (kind, uri): (i32, String) = message.body().deserialize().unwrap();
                    out.push(format!("metadata {kind} {uri}"));
                }
                Some("JobCompleted") => {}
                Some(other) => out.push(other.to_owned()),
            }
        }
    }
}

pub(crate) async fn state(client: &Client) -> (i32, i32) {
    let reply = client.call(TEST_DOMAIN, DOMAIN, "GetState", &(0_u32,)).await.unwrap();
    let ((state, reason),): ((i32, i32),) = reply.body().deserialize_ignore_signature().unwrap();
    (state, reason)
}

fn snapshot(rest: &str) -> String {
    format!("<domainsnapshot>{rest}</domainsnapshot>")
}

#[tokio::test]
async fn one_domain_runs_in_every_process_and_no_two_share_it() {
    let (one, two) = (Bus::start(), Bus::start());
    let (_first, _second) = (Daemon::start(&one), Daemon::start(&two));
    let (client, other) = (one.client().await, two.client().await);
    for client in [&client, &other] {
        assert_eq!(client.paths(TEST, CONNECT, "ListDomains", &(0_u32,)).await, [TEST_DOMAIN]);
        assert_eq!(client.path(TEST, CONNECT, "DomainLookupByID", &(1,)).await, TEST_DOMAIN);
        assert_eq!(client.path(TEST, CONNECT, "DomainLookupByName", &("test",)).await, TEST_DOMAIN);
        assert_eq!(state(client).await, (1, 1));
        let reply = client.call(TEST_DOMAIN, DOMAIN, "GetStats", &(0_u32, 0_u32)).await.unwrap();
        let (stats,): (BTreeMap<String, OwnedVariant>,) = reply.body().deserialize().unwrap();
        for (name, value) in [
            ("balloon.maximum", Variant::U64(8_388_608)),
            ("balloon.current", Variant::U64(2_097_152)),
            ("vcpu.current", Variant::U32(2)),
            ("vcpu.maximum", Variant::U32(2)),
            ("block.count", Variant::U32(1)),
        ] {
            assert_eq!(*stats[name], Variant::Variant(Box::new(value)), "{name}");
        }
    }
    client.call(TEST_DOMAIN, DOMAIN, "SnapshotCreateXML", &(snapshot("<name>s</name>"), 0_u32)).await.unwrap();
    client.call(TEST_DOMAIN, DOMAIN, "Destroy", &(0_u32,)).await.unwrap();
    assert_eq!(state(&client).await, (5, 2));
    assert_eq!(state(&other).await, (1, 1));
    assert!(other.paths(TEST_DOMAIN, DOMAIN, "ListDomainSnapshots", &(0_u32,)).await.is_empty());
}

#[tokio::test]
async fn it_is_served_beside_qemu_to_who_says_no_more_than_libvirt_dbus_needs() {
    let bus = Bus::start();
    let daemon = Daemon::in_session(&bus);
    assert!(daemon.line.starts_with("virsnapd: serving org.libvirt on the session bus "), "{}", daemon.line);
    let client = bus.client().await;
    assert_eq!(client.paths(TEST, CONNECT, "ListDomains", &(0_u32,)).await, [TEST_DOMAIN]);
    assert!(client.paths("/org/libvirt/QEMU", CONNECT, "ListDomains", &(0_u32,)).await.is_empty());
}

#[tokio::test]
async fn it_begins_anew_with_every_start() {
    let bus = Bus::start();
    let mut daemon = Daemon::start(&bus);
    let client = bus.client().await;
    client.call(TEST_DOMAIN, DOMAIN, "Destroy", &(0_u32,)).await.unwrap();
    client.call(TEST_DOMAIN, DOMAIN, "Undefine", &(0_u32,)).await.unwrap();
    assert!(client.paths(TEST, CONNECT, "ListDomains", &(0_u32,)).await.is_empty());
    daemon.signal(rustix::process::Signal::TERM);
    daemon.end();
    let _daemon = Daemon::start(&bus);
    assert_eq!(client.paths(TEST, CONNECT, "ListDomains", &(0_u32,)).await, [TEST_DOMAIN]);
    assert_eq!(state(&client).await, (1, 1));
}

#[tokio::test]
async fn every_kind_of_snapshot_is_taken_reverted_to_and_deleted_with_the_events_of_qemu() {
    let bus = Bus::start();
    let _daemon = Daemon::start(&bus);
    let client = bus.client().await;
    let mut ear = Ear::on(&client).await;
    let at = |name: &str| format!("{}_{name}", TEST_DOMAIN.replace("/domain/", "/domainsnapshot/"));
    let external = "<name>file</name><memory snapshot='external' file='/guest/file.mem'/>";
    for (rest, flags, state, events) in [
        ("<name>inside</name>", 0_u32, "running", &["3/0", "4/0"][..]),
        (external, 0, "running", &["3/0", "4/0", "DiskChange"]),
        ("<name>disks</name>", 0x10 | 0x40, "disk-snapshot", &["DiskChange"]),
    ] {
        let path = client.path(TEST_DOMAIN, DOMAIN, "SnapshotCreateXML", &(snapshot(rest), flags)).await;
        let xml = client.text(&path, SNAPSHOT, "GetXMLDesc", &(0_u32,)).await;
        assert!(xml.contains(&format!("<state>{state}</state>")), "{xml}");
        assert_eq!(ear.heard(&client).await, events, "{rest}");
    }
    let xml = client.text(TEST_DOMAIN, DOMAIN, "GetXMLDesc", &(0_u32,)).await;
    assert!(xml.contains("<source file='/guest/diskimage1.disks'/>"), "{xml}");
    assert_eq!(client.path(TEST_DOMAIN, DOMAIN, "SnapshotCurrent", &(0_u32,)).await, at("disks"));
    assert_eq!(client.path(&at("disks"), SNAPSHOT, "GetParent", &(0_u32,)).await, at("file"));

    for (name, state_after, events) in [("file", (1, 4), &["5/6", "2/3", "4/2"][..]), ("disks", (5, 7), &["5/6"])] {
        client.call(&at(name), SNAPSHOT, "Revert", &(0_u32,)).await.unwrap();
        assert_eq!(state(&client).await, state_after, "{name}");
        // Between them are those that tell of the old hypervisor and of the definition.
        let heard = ear.heard(&client).await;
        let mut rest = heard.iter();
        assert!(events.iter().all(|event| rest.any(|heard| heard == event)), "{name}: {heard:?}");
    }
    for name in ["disks", "file", "inside"] {
        client.call(&at(name), SNAPSHOT, "Delete", &(0_u32,)).await.unwrap();
    }
    assert_eq!(ear.heard(&client).await, Vec::<String>::new());
    assert!(client.paths(TEST_DOMAIN, DOMAIN, "ListDomainSnapshots", &(0_u32,)).await.is_empty());
    let off = client.text(TEST_DOMAIN, DOMAIN, "GetXMLDesc", &(0_u32,)).await;
    assert!(off.contains("<source file='/guest/diskimage1'/>"), "{off}");
}

/// What libvirt-dbus's own suite asks of a domain's life; `tests/libvirt-dbus/run.sh` runs that itself.
#[tokio::test]
async fn a_power_button_is_obeyed_before_the_answer() {
    let bus = Bus::start();
    let _daemon = Daemon::start(&bus);
    let client = bus.client().await;
    let mut ear = Ear::on(&client).await;
    client.call(TEST_DOMAIN, DOMAIN, "Reboot", &(0_u32,)).await.unwrap();
    assert_eq!(state(&client).await, (1, 1));
    client.call(TEST_DOMAIN, DOMAIN, "Shutdown", &(0_u32,)).await.unwrap();
    assert_eq!(state(&client).await, (5, 1));
    client.call(TEST_DOMAIN, DOMAIN, "Create", &(0_u32,)).await.unwrap();
    client.call(TEST_DOMAIN, DOMAIN, "Suspend", &()).await.unwrap();
    assert_eq!(state(&client).await, (3, 1));
    client.call(TEST_DOMAIN, DOMAIN, "Resume", &()).await.unwrap();
    client.call(TEST_DOMAIN, DOMAIN, "Destroy", &(0_u32,)).await.unwrap();
    client.call(TEST_DOMAIN, DOMAIN, "Undefine", &(0_u32,)).await.unwrap();
    let order = ear.heard(&client).await;
    let expected = ["Reboot", "6/1", "5/0", "4/0", "2/0", "3/0", "4/0", "6/2", "5/1", "1/0"];
    assert_eq!(order, expected);
    let gone = refused(&client, TEST_DOMAIN, DOMAIN, "GetState", &(0_u32,)).await;
    assert!(gone.starts_with(&format!("{LIBVIRT}: Domain not found: ")), "{gone}");
}

#[tokio::test]
async fn the_machine_is_that_of_libvirts_test_driver() {
    let bus = Bus::start();
    let _daemon = Daemon::start(&bus);
    let client = bus.client().await;
    let reply = client.call(TEST, CONNECT, "NodeGetCPUMap", &(0_u32,)).await.unwrap();
    let (cpus,): (Vec<bool>,) = reply.body().deserialize().unwrap();
    assert_eq!(cpus, [true, false, true, false, true, false, false, false]);
    let reply = client.call(TEST, CONNECT, "NodeGetCPUStats", &(-1, 0_u32)).await.unwrap();
    let (times,): (BTreeMap<String, u64>,) = reply.body().deserialize().unwrap();
    assert_eq!(times["user"], 9_797_400_000);
    let beyond = refused(&client, TEST, CONNECT, "NodeGetCPUStats", &(8, 0_u32)).await;
    assert_eq!(beyond, format!("{LIBVIRT}: invalid argument: Invalid cpuNum in testNodeGetCPUStats: 8"));
    let reply = client.call(TEST, CONNECT, "GetCPUModelNames", &("x86_64", 0_u32)).await.unwrap();
    assert!(reply.body().deserialize::<(Vec<String>,)>().unwrap().0.contains(&"qemu64".to_owned()));
    assert!(client.text(TEST, CONNECT, "GetSysinfo", &(0_u32,)).await.starts_with("<sysinfo type='smbios'>"));
    // What cockpit needs to show a machine and to choose external snapshots.
    let capabilities = client.text(TEST, CONNECT, "GetCapabilities", &()).await;
    assert!(capabilities.contains("<externalSnapshot/>"), "{capabilities}");
    let args = ("", "x86_64", "", "test", 0_u32);
    assert!(client.text(TEST, CONNECT, "GetDomainCapabilities", &args).await.contains("<domain>test</domain>"));
    let arch = refused(&client, TEST, CONNECT, "GetDomainCapabilities", &("", "s390x", "", "", 0_u32)).await;
    assert_eq!(arch, format!("{LIBVIRT}: invalid argument: cannot find architecture s390x"));
    let reply = client.call(TEST, PROPERTIES, "Get", &(CONNECT, "Version")).await.unwrap();
    assert_eq!(*reply.body().deserialize::<(OwnedVariant,)>().unwrap().0, Variant::U64(2));
}

/// As `test_domain_managed_save` of libvirt-dbus's suite, and the start from the image.
#[tokio::test]
async fn a_managed_save_stops_the_domain_and_a_start_goes_on_from_it() {
    let bus = Bus::start();
    let _daemon = Daemon::start(&bus);
    let client = bus.client().await;
    let mut ear = Ear::on(&client).await;
    let has = async || {
        let reply = client.call(TEST_DOMAIN, DOMAIN, "HasManagedSaveImage", &(0_u32,)).await.unwrap();
        reply.body().deserialize::<(bool,)>().unwrap().0
    };
    client.call(TEST_DOMAIN, DOMAIN, "ManagedSave", &(0_u32,)).await.unwrap();
    assert_eq!((state(&client).await.0, has().await), (5, true));
    assert_eq!(ear.heard(&client).await.last().unwrap(), "5/4");
    client.call(TEST_DOMAIN, DOMAIN, "Create", &(0_u32,)).await.unwrap();
    assert_eq!((state(&client).await.0, has().await), (1, false));
    assert!(ear.heard(&client).await.contains(&"2/2".to_owned()));
    client.call(TEST_DOMAIN, DOMAIN, "ManagedSave", &(0_u32,)).await.unwrap();
    client.call(TEST_DOMAIN, DOMAIN, "ManagedSaveRemove", &(0_u32,)).await.unwrap();
    assert_eq!((state(&client).await.0, has().await), (5, false));
}

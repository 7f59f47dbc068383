//! A domain's whole life through the API, on the test driver.

use super::bus::{Bus, Client, Daemon};
use super::{CONNECT, DOMAIN, LIBVIRT, PROPERTIES, SNAPSHOT, TEST, refused};
use futures_util::StreamExt;
use serde::Serialize;
use std::collections::BTreeMap;
use zbus::{DynamicType, MessageStream, OwnedObjectPath, OwnedVariant, Variant};

const UUID: &str = "0dd0dd0d-0002-4000-8000-000000000002";
pub(crate) const OX: &str = "/org/libvirt/Test/domain/_0dd0dd0d_0002_4000_8000_000000000002";

pub(crate) fn ox() -> String {
    format!(
        "<domain type='qemu'><name>ox</name><uuid>{UUID}</uuid><memory unit='MiB'>32</memory><vcpu>2</vcpu>\
         <os><type arch='x86_64'>hvm</type></os><devices>\
         <disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='/images/vda.qcow2'/>\
         <target dev='vda' bus='virtio'/></disk></devices></domain>"
    )
}

impl Client {
    pub(crate) async fn path<B: Serialize + DynamicType>(
        &self,
        on: &str,
        interface: &str,
        member: &str,
        args: &B,
    ) -> String {
        let reply = self.call(on, interface, member, args).await.unwrap();
        reply.body().deserialize::<(OwnedObjectPath,)>().unwrap().0.to_string()
    }
    pub(crate) async fn text<B: Serialize + DynamicType>(
        &self,
        on: &str,
        interface: &str,
        member: &str,
        args: &B,
    ) -> String {
        let reply = self.call(on, interface, member, args).await.unwrap();
        reply.body().deserialize::<(String,)>().unwrap().0
    }
    pub(crate) async fn paths<B: Serialize + DynamicType>(
        &self,
        on: &str,
        interface: &str,
        member: &str,
        args: &B,
    ) -> Vec<String> {
        let reply = self.call(on, interface, member, args).await.unwrap();
        let (paths,): (Vec<OwnedObjectPath>,) = reply.body().deserialize().unwrap();
        paths.iter().map(ToString::to_string).collect()
    }
    async fn state(&self) -> (i32, i32) {
        let reply = self.call(OX, DOMAIN, "GetState", &(0_u32,)).await.unwrap();
        let ((state, reason),): ((i32, i32),) = reply.body().deserialize_ignore_signature().unwrap();
        (state, reason)
    }
}

#[tokio::test]
async fn a_domain_is_defined_found_run_and_forgotten() {
    let bus = Bus::start();
    let _daemon = Daemon::start(&bus);
    let client = bus.client().await;
    assert_eq!(client.path(TEST, CONNECT, "DomainDefineXML", &(ox(),)).await, OX);
    // Sorted by UUID; the other one is the Test driver's own.
    assert_eq!(client.paths(TEST, CONNECT, "ListDomains", &(0_u32,)).await[..1], [OX]);
    assert_eq!(client.path(TEST, CONNECT, "DomainLookupByName", &("ox",)).await, OX);
    assert_eq!(client.path(TEST, CONNECT, "DomainLookupByUUID", &(UUID,)).await, OX);
    assert_eq!(client.state().await, (5, 0));

    client.call(OX, DOMAIN, "Create", &(0_u32,)).await.unwrap();
    assert_eq!(client.state().await, (1, 1));
    let reply = client.call(OX, PROPERTIES, "Get", &(DOMAIN, "Id")).await.unwrap();
    let (id,): (OwnedVariant,) = reply.body().deserialize().unwrap();
    let Variant::U32(id) = *id else { panic!("{id:?}") };
    assert_eq!(client.path(TEST, CONNECT, "DomainLookupByID", &(i32::try_from(id).unwrap(),)).await, OX);
    client.call(OX, DOMAIN, "Suspend", &()).await.unwrap();
    assert_eq!(client.state().await, (3, 1));
    client.call(OX, DOMAIN, "Resume", &()).await.unwrap();
    client.call(OX, DOMAIN, "Destroy", &(0_u32,)).await.unwrap();
    assert_eq!(client.state().await, (5, 2));

    client.call(OX, PROPERTIES, "Set", &(DOMAIN, "Autostart", Variant::from(true))).await.unwrap();
    let reply = client.call(OX, PROPERTIES, "GetAll", &(DOMAIN,)).await.unwrap();
    let (all,): (BTreeMap<String, OwnedVariant>,) = reply.body().deserialize().unwrap();
    let twice = |value| Variant::Variant(Box::new(value));
    for (name, value) in [
        ("Active", Variant::Bool(false)),
        ("Autostart", Variant::Bool(true)),
        ("Id", Variant::U32(0)),
        ("Name", Variant::from("ox")),
        ("OSType", Variant::from("hvm")),
        ("Persistent", Variant::Bool(true)),
        ("SchedulerType", Variant::from(("fair", 1_i32))),
        ("Updated", Variant::Bool(false)),
        ("UUID", Variant::from(UUID)),
    ] {
        assert_eq!(*all[name], twice(value), "{name}");
    }
    assert_eq!(all.len(), 9);

    client.call(OX, DOMAIN, "Undefine", &(0_u32,)).await.unwrap();
    let gone = format!("{LIBVIRT}: Domain not found: no domain with matching uuid '{UUID}'");
    assert!(refused(&client, OX, DOMAIN, "GetState", &(0_u32,)).await.starts_with(&gone));
    assert!(refused(&client, OX, PROPERTIES, "GetAll", &(DOMAIN,)).await.starts_with(&gone));
    for (member, args, error) in [
        ("DomainLookupByName", "nope", "Domain not found: no domain with matching name 'nope'"),
        ("DomainLookupByUUID", "nope", "Invalid UUID"),
    ] {
        assert_eq!(refused(&client, TEST, CONNECT, member, &(args,)).await, format!("{LIBVIRT}: {error}"));
    }
    let id = refused(&client, TEST, CONNECT, "DomainLookupByID", &(4242,)).await;
    assert_eq!(id, format!("{LIBVIRT}: Domain not found: no domain with matching id 4242"));
    let bits = refused(&client, TEST, CONNECT, "ListDomains", &(1_u32 << 20,)).await;
    assert_eq!(bits, format!("{LIBVIRT}: unsupported flags (0x100000) in function qemuConnectListAllDomains"));
}

#[tokio::test]
async fn snapshots_are_taken_listed_reverted_to_and_deleted() {
    let bus = Bus::start();
    let _daemon = Daemon::start(&bus);
    let client = bus.client().await;
    client.path(TEST, CONNECT, "DomainDefineXML", &(ox(),)).await;
    let none = refused(&client, OX, DOMAIN, "SnapshotCurrent", &(0_u32,)).await;
    assert!(none.starts_with(&format!("{LIBVIRT}: Domain snapshot not found: ")), "{none}");
    let create = |name: &str| (format!("<domainsnapshot><name>{name}</name></domainsnapshot>"), 0_u32);
    let a = client.path(OX, DOMAIN, "SnapshotCreateXML", &create("a b-ä")).await;
    assert_eq!(a, "/org/libvirt/Test/domainsnapshot/_0dd0dd0d_0002_4000_8000_000000000002_a_20b_2d_c3_a4");
    let b = client.path(OX, DOMAIN, "SnapshotCreateXML", &create("b")).await;
    assert_eq!(client.paths(OX, DOMAIN, "ListDomainSnapshots", &(0_u32,)).await.len(), 2);
    assert_eq!(client.path(OX, DOMAIN, "SnapshotCurrent", &(0_u32,)).await, b);
    assert_eq!(client.path(OX, DOMAIN, "SnapshotLookupByName", &("a b-ä", 0_u32)).await, a);
    assert_eq!(client.path(&b, SNAPSHOT, "GetParent", &(0_u32,)).await, a);
    assert_eq!(client.paths(&a, SNAPSHOT, "ListChildren", &(0_u32,)).await, std::slice::from_ref(&b));
    assert!(
        client
            .text(&a, SNAPSHOT, "GetXMLDesc", &(0_u32,))
            .await
            .starts_with("<domainsnapshot>\n  <name>a b-ä</name>\n")
    );
    // An escape that was not needed is read too.
    client.text(&a.replace("_a_20b", "__61_20b"), SNAPSHOT, "GetXMLDesc", &(0_u32,)).await;

    client.call(&a, SNAPSHOT, "Revert", &(0_u32,)).await.unwrap();
    let reply = client.call(&a, SNAPSHOT, "IsCurrent", &(0_u32,)).await.unwrap();
    assert!(reply.body().deserialize::<(bool,)>().unwrap().0);
    let listing =
        client.text("/org/libvirt/Test/domainsnapshot", "org.freedesktop.DBus.Introspectable", "Introspect", &()).await;
    assert_eq!(listing.matches("<node name=\"_0dd0dd0d").count(), 2, "{listing}");
    client.call(&b, SNAPSHOT, "Delete", &(0_u32,)).await.unwrap();
    let gone = refused(&client, &b, SNAPSHOT, "GetXMLDesc", &(0_u32,)).await;
    assert_eq!(gone, format!("{LIBVIRT}: Domain snapshot not found: no domain snapshot with matching name 'b'"));
}

#[tokio::test]
async fn figures_are_wrapped_twice_and_the_machines_are_plain() {
    let bus = Bus::start();
    let _daemon = Daemon::start(&bus);
    let client = bus.client().await;
    client.path(TEST, CONNECT, "DomainDefineXML", &(ox(),)).await;
    let reply = client.call(OX, DOMAIN, "GetStats", &(45_u32, 0_u32)).await.unwrap();
    let (stats,): (BTreeMap<String, OwnedVariant>,) = reply.body().deserialize().unwrap();
    for (name, value) in [
        ("state.state", Variant::I32(5)),
        ("balloon.maximum", Variant::U64(32 << 10)),
        ("vcpu.current", Variant::U32(2)),
        ("block.count", Variant::U32(1)),
        ("block.0.name", Variant::from("vda")),
    ] {
        assert_eq!(*stats[name], Variant::Variant(Box::new(value)), "{name}");
    }
    let reply = client.call(TEST, CONNECT, "GetAllDomainStats", &(0_u32, 0_u32)).await.unwrap();
    assert_eq!(reply.body().signature().to_string_no_parens(), "a(sa{sv})");
    let reply = client.call(TEST, CONNECT, "NodeGetMemoryStats", &(-1, 0_u32)).await.unwrap();
    let (memory,): (BTreeMap<String, u64>,) = reply.body().deserialize().unwrap();
    assert!(memory["total"] > memory["free"]);
    assert_eq!(client.text(TEST, CONNECT, "GetCapabilities", &()).await.split('>').next(), Some("<capabilities"));
}

#[tokio::test]
async fn a_client_hears_what_its_call_caused_before_it_hears_the_answer() {
    let bus = Bus::start();
    let _daemon = Daemon::start(&bus);
    let client = bus.client().await;
    let rule = format!("type='signal',interface='{CONNECT}',path='{TEST}'");
    let driver = Some("org.freedesktop.DBus");
    client.connection.call_method(driver, "/org/freedesktop/DBus", driver, "AddMatch", &(rule,)).await.unwrap();
    let mut heard = MessageStream::from(&client.connection);
    client.path(TEST, CONNECT, "DomainDefineXML", &(ox(),)).await;
    client.call(OX, DOMAIN, "Create", &(1_u32,)).await.unwrap();
    client.call(OX, DOMAIN, "Destroy", &(0_u32,)).await.unwrap();
    let mut order = Vec::new();
    while order.iter().filter(|o| **o == "answer").count() < 3 {
        let message = heard.next().await.unwrap().unwrap();
        match message.header().member().map(|m| m.to_string()).as_deref() {
            Some("DomainEvent") => {
                let (path, event, _): (OwnedObjectPath, i32, i32) = message.body().deserialize().unwrap();
                assert_eq!(path.as_str(), OX);
                order.push(
                    ["defined", "undefined", "started", "suspended", "resumed", "stopped", "shutdown"]
                        [usize::try_from(event).unwrap()],
                );
            }
            None => order.push("answer"),
            Some(_) => {}
        }
    }
    assert_eq!(order, ["defined", "answer", "started", "suspended", "answer", "shutdown", "stopped", "answer"]);
}

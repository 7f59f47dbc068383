//! A domain gets another name: its snapshots go with it, revert, and can be redefined; and the other calls that meet snapshots.

use crate::harness::client::flag;
use crate::harness::{Daemon, Events, Guest, Kind, Refused, Spec, State};
use std::collections::BTreeMap;
use zbus::OwnedVariant;

const UNDEFINED_RENAMED: (i32, i32) = (1, 1);
const DEFINED_RENAMED: (i32, i32) = (0, 2);

async fn rename(guest: &Guest, name: &str) -> Result<(), crate::harness::client::Failure> {
    guest.domain.call("Rename", &(name, 0u32)).await
}

/// K27: in libvirt neither a revert to saved memory nor a redefinition succeeds after a rename.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tree_goes_with_the_domain_and_reverts() {
    let mut daemon = Daemon::start().await;
    let guest = Guest::define(&daemon, Spec::disks(1)).await.running().await;
    let inside = guest.take("inside", Kind::Internal).await;
    guest.advance().await;
    let memory = guest.take("memory", Kind::Memory).await;
    guest.advance().await;
    rename(&guest, "other").await.refused("Requested operation is not valid: cannot rename active domain");
    guest.enter(State::Off).await;
    let disks = guest.take("disks", Kind::DiskOnly).await;

    let events = Events::listen(&daemon.client).await;
    rename(&guest, "other").await.unwrap();
    events.wait(DEFINED_RENAMED).await;
    assert_eq!(events.lifecycle(), [UNDEFINED_RENAMED, DEFINED_RENAMED]);
    daemon.client.lookup("counter").await.refused("no domain with matching name 'counter'");
    daemon.kill().await;
    daemon.spawn().await;
    assert_eq!(daemon.client.lookup("other").await.unwrap().path, guest.domain.path);
    assert_eq!(guest.domain.current().await.unwrap().name(), "disks");

    for truth in [&memory, &disks, &memory] {
        let snapshot = guest.domain.snapshot(&truth.name).await.unwrap();
        let xml = snapshot.xml().await.unwrap();
        assert!(xml.contains("<name>other</name>") && !xml.contains("<name>counter</name>"), "{xml}");
        guest.domain.snapshot_create(&xml, flag::REDEFINE).await.unwrap();
        snapshot.revert(0).await.unwrap();
        guest.assert_is_at(truth).await;
    }
    for name in ["disks", "memory"] {
        guest.domain.snapshot(name).await.unwrap().delete(0).await.unwrap();
    }
    guest.domain.snapshot("inside").await.unwrap().revert(0).await.unwrap();
    guest.assert_is_at(&inside).await;
    guest.domain.snapshot("inside").await.unwrap().delete(0).await.unwrap();
    guest.assert_clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_cannot_be_is_refused() {
    let daemon = Daemon::start().await;
    let guest = Guest::define(&daemon, Spec::disks(1)).await;
    let second = Spec { name: "second".into(), ..Spec::disks(1) };
    let second = Guest::define(&daemon, second).await;
    rename(&guest, "counter").await.refused("Requested operation is not valid: Can't rename domain to itself");
    rename(&guest, "second")
        .await
        .refused("Requested operation is not valid: domain with name 'second' already exists");
    rename(&guest, "a/b").await.refused("XML error: name a/b cannot contain '/'");
    rename(&guest, "a\nb").await.refused("invalid char in name");
    rename(&guest, "").await.refused("invalid argument: string new_name in virDomainRename must not be empty");
    let flags: Result<(), _> = guest.domain.call("Rename", &("x", 1u32)).await;
    flags.refused("unsupported flags (0x1) in function qemuDomainRename");
    rename(&guest, "a<&'b").await.unwrap();
    assert_eq!(daemon.client.lookup("a<&'b").await.unwrap().path, guest.domain.path);
    assert!(guest.domain.xml(0).await.unwrap().contains("<name>a&lt;&amp;"));
    second.domain.undefine(0).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_domain_with_snapshots_does_not_migrate() {
    let daemon = Daemon::start().await;
    let guest = Guest::define(&daemon, Spec::disks(1)).await.running().await;
    let migrate = async || -> Result<(), _> {
        let none = BTreeMap::<String, OwnedVariant>::new();
        guest.domain.call("MigrateToURI3", &("qemu+tls://elsewhere/system", none, 1u32)).await
    };
    migrate().await.refused("this function is not supported by the connection driver: virDomainMigrateToURI3");
    guest.take("a", Kind::Internal).await;
    guest.take("b", Kind::Internal).await;
    migrate().await.refused("Requested operation is not valid: cannot migrate domain with 2 snapshots");
    guest.counts().await;
}

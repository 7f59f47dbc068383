//! Every kind × state × number of disks, on both QEMUs: create, list, dump, revert, delete; the
//! counters say after each step whether the right content is there.

use crate::harness::client::flag;
use crate::harness::{Daemon, Guest, Kind, Qemu, Spec, State, guest};

macro_rules! matrix {
    ($($name:ident: $kind:ident $state:ident $disks:literal;)*) => {
        mod machine_qemu {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                round_trip(Qemu::Machine, Kind::$kind, State::$state, $disks).await;
            })*
        }
        mod backports_qemu {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                round_trip(Qemu::Backports, Kind::$kind, State::$state, $disks).await;
            })*
        }
    };
}

matrix! {
    internal_of_a_guest_that_is_off: Internal Off 1;
    internal_of_a_guest_that_is_off_with_two_disks: Internal Off 2;
    internal_of_a_running_guest: Internal Running 1;
    internal_of_a_running_guest_with_two_disks: Internal Running 2;
    internal_of_a_paused_guest: Internal Paused 1;
    internal_of_a_paused_guest_with_two_disks: Internal Paused 2;
    disk_only_of_a_guest_that_is_off: DiskOnly Off 1;
    disk_only_of_a_guest_that_is_off_with_two_disks: DiskOnly Off 2;
    disk_only_of_a_running_guest: DiskOnly Running 1;
    disk_only_of_a_running_guest_with_two_disks: DiskOnly Running 2;
    disk_only_of_a_paused_guest: DiskOnly Paused 1;
    disk_only_of_a_paused_guest_with_two_disks: DiskOnly Paused 2;
    memory_of_a_running_guest: Memory Running 1;
    memory_of_a_running_guest_with_two_disks: Memory Running 2;
    memory_of_a_paused_guest: Memory Paused 1;
    memory_of_a_paused_guest_with_two_disks: Memory Paused 2;
}

/// A tree with a branch, every state of it visited, every snapshot deleted:
///
/// ```text
///   one ─┬─ two
///        └─ three        delete one (two depend on it), then two, then three (the active one)
/// ```
async fn round_trip(qemu: Qemu, kind: Kind, state: State, disks: usize) {
    let Some(emulator) = qemu.emulator() else { return };
    let daemon = Daemon::start().await;
    let guest = Guest::define(&daemon, Spec { emulator, ..Spec::disks(disks) }).await;
    guest.enter(state).await;

    let one = guest.take("one", kind).await;
    assert_description(&guest, "one", kind, state, None).await;
    guest.advance().await;
    let two = guest.take("two", kind).await;
    assert_description(&guest, "two", kind, state, Some("one")).await;
    assert!(two.disks[0].stamp > one.disks[0].stamp);
    guest.advance().await;
    guest.assert_no_strays().await;

    let snapshot = |name: &'static str| {
        let domain = guest.domain.clone();
        async move { domain.snapshot(name).await.unwrap() }
    };
    snapshot("one").await.revert(0).await.unwrap();
    guest.assert_is_at(&one).await;
    assert!(snapshot("one").await.is_current().await.unwrap());
    guest.enter(state).await;
    guest.advance().await;
    let three = guest.take("three", kind).await;
    assert_description(&guest, "three", kind, state, Some("one")).await;
    guest.assert_no_strays().await;

    snapshot("two").await.revert(0).await.unwrap();
    guest.assert_is_at(&two).await;
    guest.enter(state).await;
    assert_eq!(guest.domain.names().await, ["one", "three", "two"]);

    snapshot("one").await.delete(0).await.unwrap();
    assert_eq!(guest.state().await, state, "a delete does not change what the guest does");
    assert_eq!(guest.domain.names().await, ["three", "two"]);
    snapshot("two").await.parent().await.unwrap_err();
    guest.assert_no_strays().await;
    snapshot("three").await.revert(0).await.unwrap();
    guest.assert_is_at(&three).await;
    snapshot("two").await.revert(0).await.unwrap();
    guest.assert_is_at(&two).await;
    guest.enter(state).await;

    snapshot("two").await.delete(0).await.unwrap();
    guest.assert_no_strays().await;
    snapshot("three").await.revert(flag::REVERT_RUNNING).await.unwrap();
    assert_eq!(guest.state().await, State::Running);
    guest.assert_is_at(&three).await;
    guest.enter(state).await;

    snapshot("three").await.delete(0).await.unwrap();
    if state == State::Running {
        guest.counts().await;
    }
    assert!(guest.domain.names().await.is_empty());
    guest.assert_clean().await;
    for top in guest.tops().await {
        // The branch that won may still lie on the user's own image, which is kept.
        let below: Vec<_> = guest::layers(&top).into_iter().skip(1).collect();
        assert!(below.iter().all(|layer| guest.originals.contains(layer)), "layers were not merged: {below:?}");
    }
    guest.domain.undefine(0).await.unwrap();
    assert!(daemon.hypervisors().is_empty());
}

/// What listing and dumping tell.
async fn assert_description(guest: &Guest, name: &str, kind: Kind, state: State, parent: Option<&str>) {
    let snapshot = guest.domain.snapshot(name).await.unwrap();
    let dump = snapshot.xml().await.unwrap();
    let document = roxmltree::Document::parse(&dump).unwrap();
    let root = document.root_element();
    assert_eq!(guest::text(root, "name").as_deref(), Some(name));
    assert_eq!(guest::text(root, "description").as_deref(), Some("a test"));
    let expected = match (kind, state) {
        (_, State::Off) => "shutoff",
        (Kind::DiskOnly, _) => "disk-snapshot",
        (_, State::Running) => "running",
        (_, State::Paused) => "paused",
    };
    assert_eq!(guest::text(root, "state").as_deref(), Some(expected), "{dump}");
    let named = root.children().find(|n| n.has_tag_name("parent")).and_then(|n| guest::text(n, "name"));
    assert_eq!(named.as_deref(), parent);
    match (snapshot.parent().await, parent) {
        (Ok(found), Some(parent)) => assert_eq!(found.name(), parent),
        (Err(failure), None) => assert!(failure.text.contains("does not have a parent"), "{failure}"),
        (found, _) => panic!("{:?} instead of {parent:?}", found.map(|s| s.name())),
    }
    let memory = root.children().find(|n| n.has_tag_name("memory")).unwrap();
    let expected = match (kind, state) {
        (_, State::Off) | (Kind::DiskOnly, _) => "no",
        (Kind::Internal, _) => "internal",
        (Kind::Memory, _) => "external",
    };
    assert_eq!(memory.attribute("snapshot"), Some(expected), "{dump}");
    let disks: Vec<_> = root
        .children()
        .find(|n| n.has_tag_name("disks"))
        .unwrap()
        .children()
        .filter(|n| n.has_tag_name("disk"))
        .collect();
    assert_eq!(disks.len(), guest.spec.disks);
    for disk in disks {
        let expected = if kind == Kind::Internal { "internal" } else { "external" };
        assert_eq!(disk.attribute("snapshot"), Some(expected), "{dump}");
    }
    assert_eq!(guest.domain.current().await.unwrap().name(), name);
}

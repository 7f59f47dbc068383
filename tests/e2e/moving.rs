//! The move of a machine with its tree between two daemons over shared images.

#[path = "../../examples/move_tree.rs"]
mod move_tree;

use crate::harness::client::flag;
use crate::harness::{Daemon, Guest, Kind, Spec, State};
use std::collections::BTreeMap;
use std::path::PathBuf;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_moved_tree_is_the_same_and_every_state_reverts_at_the_destination() {
    let source = Daemon::start().await;
    let destination = Daemon::beside(&source).await;
    let guest = Guest::define(&source, Spec::disks(2)).await.running().await;

    // one (memory) ─┬─ two (memory) ── three (off, disks)
    //               └─ four (disks of the running guest): the current one
    let mut truths = vec![guest.take("one", Kind::Memory).await];
    guest.advance().await;
    truths.push(guest.take("two", Kind::Memory).await);
    guest.enter(State::Off).await;
    truths.push(guest.take("three", Kind::DiskOnly).await);
    guest.domain.snapshot("one").await.unwrap().revert(0).await.unwrap();
    guest.counts().await;
    truths.push(guest.take("four", Kind::DiskOnly).await);
    guest.advance().await;
    guest.enter(State::Off).await;

    let before = fingerprints(&guest);
    let told = everything_told(&guest).await;
    move_tree::move_tree(&source.client.connection, &destination.client.connection, "counter").await.unwrap();
    assert_eq!(fingerprints(&guest), before, "no image was touched");
    assert!(source.client.list(0).await.unwrap().is_empty());

    let guest = guest.seen_by(&destination.client).await;
    assert_eq!(everything_told(&guest).await, told, "the same tree and the same XML");
    guest.assert_no_strays().await;
    for truth in truths.iter().rev().chain(&truths) {
        guest.domain.snapshot(&truth.name).await.unwrap().revert(0).await.unwrap();
        guest.assert_is_at(truth).await;
    }
    guest.domain.snapshot("one").await.unwrap().delete(flag::CHILDREN).await.unwrap();
    guest.assert_clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn internal_snapshots_move_too() {
    let source = Daemon::start().await;
    let destination = Daemon::beside(&source).await;
    let guest = Guest::define(&source, Spec::disks(1)).await.running().await;
    let live = guest.take("live", Kind::Internal).await;
    guest.enter(State::Off).await;
    let off = guest.take("off", Kind::Internal).await;
    let before = fingerprints(&guest);
    let told = everything_told(&guest).await;
    move_tree::move_tree(&source.client.connection, &destination.client.connection, "counter").await.unwrap();
    assert_eq!(fingerprints(&guest), before);
    let guest = guest.seen_by(&destination.client).await;
    assert_eq!(everything_told(&guest).await, told);
    for truth in [&live, &off, &live] {
        guest.domain.snapshot(&truth.name).await.unwrap().revert(0).await.unwrap();
        guest.assert_is_at(truth).await;
    }
    guest.domain.snapshot("live").await.unwrap().delete(flag::CHILDREN).await.unwrap();
    guest.assert_clean().await;
}

/// Every file with its bytes.
fn fingerprints(guest: &Guest) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = std::fs::read_dir(&guest.directory).unwrap().map(|e| e.unwrap().path());
    files.map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

/// The domain's definition, every snapshot's XML, children and currency.
async fn everything_told(guest: &Guest) -> Vec<String> {
    let mut told = vec![guest.domain.xml(flag::XML_INACTIVE).await.unwrap()];
    let mut snapshots = guest.domain.snapshots(flag::LIST_TOPOLOGICAL).await.unwrap();
    snapshots.sort_by_key(crate::harness::Snapshot::name);
    for snapshot in snapshots {
        let mut children: Vec<_> = snapshot.children(0).await.unwrap().iter().map(|c| c.name()).collect();
        children.sort();
        told.push(format!("{}: {children:?} {}", snapshot.path, snapshot.is_current().await.unwrap()));
        told.push(snapshot.xml().await.unwrap());
    }
    told
}

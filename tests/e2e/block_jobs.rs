//! Block jobs that clients start: a disk is copied and moves to the copy, and no snapshot is lost by it.

use crate::harness::client::{Failure, flag};
use crate::harness::image::Content;
use crate::harness::{Daemon, Events, Guest, Kind, Refused, Spec, State, eventually};
use std::collections::BTreeMap;
use std::path::Path;
use zbus::Variant;

const REUSE_EXT: u32 = 2;
const PIVOT: u32 = 2;
const BANDWIDTH_BYTES: u32 = 1;
/// Disk, `virDomainBlockJobType` 2 (copy), `virConnectDomainEventBlockJobStatus`.
const COMPLETED: i32 = 0;
const CANCELED: i32 = 2;
const READY: i32 = 3;

async fn copy(guest: &Guest, to: &Path, bandwidth: u64, flags: u32) -> Result<(), Failure> {
    let xml = format!("<disk type='file'><source file='{}'/><driver type='qcow2'/></disk>", to.display());
    let mut params = BTreeMap::new();
    if bandwidth > 0 {
        params.insert("bandwidth", Variant::U64(bandwidth));
    }
    guest.domain.call("BlockCopy", &("vda", xml, params, flags)).await
}

async fn abort(guest: &Guest, flags: u32) -> Result<(), Failure> {
    guest.domain.call("BlockJobAbort", &("vda", flags)).await
}

async fn info(guest: &Guest) -> (i32, u64, u64, u64) {
    guest.domain.call("GetBlockJobInfo", &("vda", BANDWIDTH_BYTES)).await.unwrap()
}

async fn told(events: &Events, status: i32) {
    let wanted = ("vda".to_owned(), 2, status);
    eventually(&format!("BlockJob {wanted:?}"), || async {
        let all = events.signals("BlockJob");
        all.iter().any(|s| s.body().deserialize::<(String, i32, i32)>().unwrap() == wanted).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_moves_to_its_copy_and_its_snapshots_stay() {
    let mut daemon = Daemon::start().await;
    let mut guest = Guest::define(&daemon, Spec::disks(2)).await.running().await;
    let before = guest.take("before", Kind::Internal).await;
    guest.advance().await;
    let events = Events::listen(&daemon.client).await;
    let target = guest.path("counter-copy.qcow2");
    copy(&guest, &target, 0, 0).await.unwrap();
    told(&events, READY).await;
    guest.counts().await;
    assert_eq!(info(&guest).await.0, 2);

    // No operation meets the job.
    copy(&guest, &guest.path("counter-other.qcow2"), 0, 0)
        .await
        .refused("block copy still active: disk 'vda' already in active block job");
    for (kind, flags) in [(Kind::DiskOnly, 0), (Kind::Internal, 0)] {
        let created = guest.create_with("s", kind, flags).await;
        created.refused("block copy still active: disk 'vda' already in active block job");
    }
    let snapshot = guest.domain.snapshot("before").await.unwrap();
    snapshot.revert(0).await.refused("Requested operation is not valid: domain has active block job");

    // Another life of the daemon finds it.
    daemon.kill().await;
    daemon.spawn().await;
    assert_eq!(info(&guest).await.0, 2);
    let events = Events::listen(&daemon.client).await;
    abort(&guest, PIVOT).await.unwrap();
    told(&events, COMPLETED).await;
    assert_eq!(info(&guest).await, (0, 0, 0, 0));
    abort(&guest, 0).await.refused("invalid argument: disk vda does not have an active block job");
    assert!(events.lifecycle().is_empty(), "the guest was not seen to stand still: {:?}", events.lifecycle());
    let old = guest.path("counter-0.qcow2");
    let left = Content::of(&old);
    guest.advance().await;
    for flags in [0, flag::XML_INACTIVE] {
        let xml = guest.domain.xml(flags).await.unwrap();
        assert!(xml.contains("counter-copy.qcow2") && !xml.contains("counter-0.qcow2"), "{xml}");
    }
    assert_eq!(Content::of(&old), left, "nothing is written to the old image any more");
    // What was copied is the whole disk, and is the user's file.
    guest.originals.insert(target.clone());
    guest.enter(State::Off).await;
    assert!(Content::of(&target).stamp > left.stamp);
    Content::of(&target).assert_whole();
    let after = guest.take("after", Kind::Internal).await;
    for truth in [&before, &after] {
        guest.domain.snapshot(&truth.name).await.unwrap().revert(0).await.unwrap();
        guest.assert_is_at(truth).await;
    }
    guest.assert_clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_is_given_up_leaves_the_disk_where_it_is() {
    let daemon = Daemon::start().await;
    let mut guest = Guest::define(&daemon, Spec::disks(1)).await;
    let target = guest.path("counter-copy.qcow2");
    copy(&guest, &target, 0, 0).await.refused("Requested operation is not valid: domain is not running");
    guest.enter(State::Running).await;
    let events = Events::listen(&daemon.client).await;
    // One byte per second: whether it ever becomes ready does not matter, it is given up.
    copy(&guest, &target, 1, 0).await.unwrap();
    abort(&guest, PIVOT).await.refused("not ready for pivot yet");
    assert_eq!(info(&guest).await.1, 1);
    guest.domain.call::<(), _>("BlockJobSetSpeed", &("vda", 5u64, BANDWIDTH_BYTES)).await.unwrap();
    assert_eq!(info(&guest).await.1, 5);
    abort(&guest, 0).await.unwrap();
    told(&events, CANCELED).await;
    guest.counts().await;
    guest.originals.insert(target.clone());
    // Nobody has it open any more, and it may be copied to again.
    copy(&guest, &target, 0, 0).await.refused("already exists and is not a block device");
    events.clear();
    copy(&guest, &target, 0, REUSE_EXT).await.unwrap();
    told(&events, READY).await;
    abort(&guest, PIVOT).await.unwrap();
    guest.advance().await;
    guest.assert_clean().await;
}

/// libvirt overwrites whatever REUSE_EXT names.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_that_a_snapshot_needs_is_not_written_over() {
    let daemon = Daemon::start().await;
    let guest = Guest::define(&daemon, Spec::disks(1)).await.running().await;
    let truth = guest.take("s", Kind::DiskOnly).await;
    guest.advance().await;
    copy(&guest, &guest.path("counter-0.qcow2"), 0, REUSE_EXT).await.refused("is needed by snapshot 's'");
    copy(&guest, &guest.path("counter-0.s"), 0, REUSE_EXT).await.refused("is needed by domain 'counter'");
    copy(&guest, &guest.path("nothing"), 0, REUSE_EXT).await.refused("missing destination file for disk vda");
    copy(&guest, Path::new("relative"), 0, 0).await.refused("must be absolute");
    guest.counts().await;
    guest.domain.snapshot("s").await.unwrap().revert(0).await.unwrap();
    guest.assert_is_at(&truth).await;
    guest.assert_clean().await;
}

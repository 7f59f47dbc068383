//! kill -9 of the daemon in the middle of everything: afterwards the operation happened or it did not, the guest runs,
//! and its memory and its disks agree.

use crate::harness::client::flag;
use crate::harness::{Daemon, Disk, Domain, Guest, Rig, eventually};
use crate::snapshots::{RUNNING, delete, named, revert, started, state};
use std::time::Duration;

/// The moments, by the text in the log that says that the step before is over or the step itself has begun.
async fn killed_in(
    daemon: &mut Daemon<'_>,
    after: Duration,
    work: impl Future<Output = Result<(), crate::harness::Failure>>,
) {
    tokio::select! {
        // It may be over before.
        _ = work => {}
        () = tokio::time::sleep(after) => {}
    }
    daemon.kill().await;
    daemon.spawn().await;
}

/// Until no operation is open: recovery holds the domain's slot.
async fn settled(domain: &Domain) {
    eventually("recovery ends", || async {
        match domain.call::<(), _>("Resume", &()).await {
            Ok(()) => Some(()),
            Err(e) if e.text.contains("already running") => Some(()),
            Err(_) => None,
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_create_that_is_killed_happened_or_did_not() {
    let Some(rig) = Rig::find() else { return };
    let mut daemon = Daemon::start(&rig).await;
    let guest = Guest::prepare(&rig, "kc", &[Disk::Qcow2, Disk::Qcow2]);
    let domain = started(&daemon, &guest).await;
    guest.stamp();
    for (n, (millis, flags)) in
        [(150, 0), (900, 0), (2500, 0), (200, flag::DISK_ONLY), (700, flag::DISK_ONLY)].into_iter().enumerate()
    {
        let name = format!("s{n}");
        let xml = named(&name, "");
        let create = async { domain.snapshot_create(&xml, flags).await.map(drop) };
        killed_in(&mut daemon, Duration::from_millis(millis), create).await;
        settled(&domain).await;
        assert_eq!(state(&domain).await, RUNNING, "after {millis} ms");
        guest.assert_whole();
        let files = rig.ok(&format!("ls {}", guest.directory()));
        if domain.names().await.contains(&name) {
            guest.counts_beyond(guest.count() + 5);
            if flags == 0 {
                revert(&domain, &name, 0).await;
                guest.assert_whole();
            }
            delete(&domain, &name).await;
        } else {
            assert!(!files.contains(&name), "nothing of {name} is left: {files}");
        }
        guest.assert_whole();
    }
    let files = rig.ok(&format!("ls {}", guest.directory()));
    assert_eq!(files.split_whitespace().collect::<Vec<_>>(), ["0.qcow2", "1.qcow2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revert_that_is_killed_ends_in_the_snapshots_state() {
    let Some(rig) = Rig::find() else { return };
    let mut daemon = Daemon::start(&rig).await;
    let guest = Guest::prepare(&rig, "kr", &[Disk::Qcow2, Disk::Qcow2]);
    let domain = started(&daemon, &guest).await;
    guest.stamp();
    domain.snapshot_create(&named("s", ""), 0).await.unwrap();
    for millis in [300, 1500, 3500] {
        let snapshot = domain.snapshot("s").await.unwrap();
        killed_in(&mut daemon, Duration::from_millis(millis), snapshot.revert(0)).await;
        eventually("recovery ends", || async {
            let running = state(&domain).await == RUNNING;
            (running && domain.call::<(), _>("Resume", &()).await.is_err()).then_some(())
        })
        .await;
        guest.assert_whole();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_that_is_killed_is_finished() {
    let Some(rig) = Rig::find() else { return };
    let mut daemon = Daemon::start(&rig).await;
    let guest = Guest::prepare(&rig, "kd", &[Disk::Qcow2]);
    let domain = started(&daemon, &guest).await;
    guest.stamp();
    for millis in [200, 1000, 2500] {
        domain.snapshot_create(&named("d", ""), flag::DISK_ONLY).await.unwrap();
        guest.write(0, &format!("kept {millis}"));
        let snapshot = domain.snapshot("d").await.unwrap();
        killed_in(&mut daemon, Duration::from_millis(millis), snapshot.delete(0)).await;
        settled(&domain).await;
        if domain.names().await.contains(&"d".to_owned()) {
            delete(&domain, "d").await;
        }
        assert_eq!(guest.read(0), format!("kept {millis}"));
        guest.assert_whole();
        assert_eq!(rig.ok(&format!("ls {}", guest.directory())).trim(), "0.qcow2");
    }
}

//! `kill -9` of the daemon in the middle of each operation, for real, at several moments; and QEMU
//! killed, or the guest destroyed, in the middle. Either nothing happened or all of it did.
//!
//! The exhaustive version, a crash at *every* step, runs on the simulator; here the moments are
//! spread over the time that the operation was measured to take.

use crate::harness::client::flag;
use crate::harness::daemon::signal;
use crate::harness::guest::Truth;
use crate::harness::{Daemon, Domain, Failure, Guest, Kind, Snapshot, Spec, State, eventually};
use std::time::{Duration, Instant};

/// How many moments, the first and last instants of the operation among them.
const MOMENTS: u32 = 6;

fn moments(whole: Duration) -> impl Iterator<Item = Duration> {
    (0..MOMENTS).map(move |n| whole * n / (MOMENTS - 1))
}

/// After a crash: the daemon is back, the guest does what it did before.
async fn recover(daemon: &mut Daemon, guest: &Guest, state: State) {
    daemon.kill().await;
    daemon.spawn().await;
    settled(guest).await;
    assert_eq!(guest.state().await, state, "recovery leaves the guest as it was");
    if state == State::Running {
        guest.counts().await;
    }
}

/// Recovery goes on behind the API, under the domain's job slot: a change that changes nothing waits for it.
async fn settled(guest: &Guest) {
    eventually("recovery ends", || async {
        match guest.domain.set_autostart(false).await {
            Ok(()) => Some(()),
            Err(failure) => {
                assert!(failure.text.contains("(held by recovery)"), "{failure}");
                None
            }
        }
    })
    .await;
}

async fn interrupted_creates(kind: Kind, state: State, disks: usize) {
    let mut daemon = Daemon::start().await;
    let guest = Guest::define(&daemon, Spec::disks(disks)).await;
    guest.enter(state).await;
    let base = guest.take("base", kind).await;
    guest.advance().await;

    let start = Instant::now();
    guest.create("whole", kind).await.unwrap();
    let whole = start.elapsed();
    for (n, moment) in moments(whole).enumerate() {
        let name = format!("s{n}");
        guest.advance().await;
        let call = {
            let (domain, xml) = (guest.domain.clone(), guest.snapshot_xml(&name, kind));
            let flags = if kind == Kind::DiskOnly { flag::DISK_ONLY } else { 0 };
            tokio::spawn(async move { domain.snapshot_create(&xml, flags).await })
        };
        tokio::time::sleep(moment).await;
        recover(&mut daemon, &guest, state).await;
        let told = call.await.unwrap();
        guest.assert_no_strays().await;
        match guest.domain.snapshot(&name).await {
            Ok(snapshot) => {
                let truth = guest.truth(&snapshot).await;
                check_revert(&guest, &snapshot, &truth, state).await;
            }
            Err(failure) => {
                assert!(failure.text.contains("no domain snapshot with matching name"), "{failure}");
                assert!(told.is_err(), "a snapshot that was promised is there");
                assert!(!guest.memory_file(&name).exists());
            }
        }
        guest.advance().await;
    }
    let snapshot = guest.domain.snapshot("base").await.unwrap();
    check_revert(&guest, &snapshot, &base, state).await;
    snapshot.delete(flag::CHILDREN).await.unwrap();
    guest.assert_clean_but_leaks().await;
}

async fn check_revert(guest: &Guest, snapshot: &Snapshot, truth: &Truth, state: State) {
    snapshot.revert(0).await.unwrap();
    guest.assert_is_at(truth).await;
    guest.enter(state).await;
}

async fn interrupted_reverts(kind: Kind, state: State, disks: usize) {
    let mut daemon = Daemon::start().await;
    let guest = Guest::define(&daemon, Spec::disks(disks)).await;
    guest.enter(state).await;
    let one = guest.take("one", kind).await;
    guest.advance().await;
    let two = guest.take("two", kind).await;
    guest.advance().await;

    let snapshot = guest.domain.snapshot("one").await.unwrap();
    let start = Instant::now();
    snapshot.revert(0).await.unwrap();
    let whole = start.elapsed();
    guest.assert_is_at(&one).await;
    guest.enter(state).await;
    for moment in moments(whole) {
        check_revert(&guest, &guest.domain.snapshot("two").await.unwrap(), &two, state).await;
        guest.advance().await;
        let marker = guest.last().memory;
        let call = {
            let snapshot = snapshot.clone();
            tokio::spawn(async move { snapshot.revert(0).await })
        };
        tokio::time::sleep(moment).await;
        daemon.kill().await;
        daemon.spawn().await;
        settled(&guest).await;
        let told = call.await.unwrap();
        guest.assert_no_strays().await;
        if snapshot.is_current().await.unwrap() {
            guest.assert_is_at(&one).await;
        } else {
            assert!(told.is_err(), "a revert that was promised has happened");
            assert_eq!(guest.state().await, state);
            if state == State::Running {
                assert!(guest.wait_beyond(marker).await.agrees(), "it goes on where it was");
            }
        }
    }
    guest.enter(State::Off).await;
    for truth in [&two, &one] {
        check_revert(&guest, &guest.domain.snapshot(&truth.name).await.unwrap(), truth, State::Running).await;
    }
    snapshot.delete(flag::CHILDREN).await.unwrap();
    guest.assert_clean_but_leaks().await;
}

async fn interrupted_deletes(kind: Kind, state: State, disks: usize) {
    let mut daemon = Daemon::start().await;
    let guest = Guest::define(&daemon, Spec::disks(disks)).await;
    guest.enter(state).await;
    let keep = guest.take("keep", kind).await;
    guest.advance().await;

    guest.take("whole", kind).await;
    guest.advance().await;
    let start = Instant::now();
    guest.domain.snapshot("whole").await.unwrap().delete(0).await.unwrap();
    let whole = start.elapsed();
    for (n, moment) in moments(whole).enumerate() {
        let name = format!("s{n}");
        guest.advance().await;
        guest.take(&name, kind).await;
        guest.advance().await;
        let snapshot = guest.domain.snapshot(&name).await.unwrap();
        let call = {
            let snapshot = snapshot.clone();
            tokio::spawn(async move { snapshot.delete(0).await })
        };
        tokio::time::sleep(moment).await;
        recover(&mut daemon, &guest, state).await;
        let told = call.await.unwrap();
        match guest.domain.snapshot(&name).await {
            Ok(snapshot) => {
                assert!(told.is_err(), "a delete that was promised has happened");
                snapshot.delete(0).await.unwrap();
            }
            Err(failure) => assert!(failure.text.contains("no domain snapshot with matching name"), "{failure}"),
        }
        guest.assert_no_strays().await;
        guest.advance().await;
    }
    let snapshot = guest.domain.snapshot("keep").await.unwrap();
    check_revert(&guest, &snapshot, &keep, state).await;
    snapshot.delete(0).await.unwrap();
    guest.assert_clean_but_leaks().await;
}

macro_rules! interrupted {
    ($($name:ident: $operation:ident $kind:ident $state:ident $disks:literal;)*) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            $operation(Kind::$kind, State::$state, $disks).await;
        })*
    };
}

interrupted! {
    create_internal_off_survives_kill_9: interrupted_creates Internal Off 2;
    create_internal_running_survives_kill_9: interrupted_creates Internal Running 2;
    create_disk_only_off_survives_kill_9: interrupted_creates DiskOnly Off 2;
    create_disk_only_running_survives_kill_9: interrupted_creates DiskOnly Running 2;
    create_memory_running_survives_kill_9: interrupted_creates Memory Running 2;
    create_memory_paused_survives_kill_9: interrupted_creates Memory Paused 1;
    revert_internal_running_survives_kill_9: interrupted_reverts Internal Running 2;
    revert_internal_off_survives_kill_9: interrupted_reverts Internal Off 2;
    revert_memory_running_survives_kill_9: interrupted_reverts Memory Running 2;
    revert_disk_only_off_survives_kill_9: interrupted_reverts DiskOnly Off 2;
    delete_internal_running_survives_kill_9: interrupted_deletes Internal Running 2;
    delete_internal_off_survives_kill_9: interrupted_deletes Internal Off 2;
    delete_external_running_survives_kill_9: interrupted_deletes Memory Running 2;
    delete_external_off_survives_kill_9: interrupted_deletes DiskOnly Off 2;
}

/// A guest with so much in its memory that a save takes a while.
fn slow_to_save() -> Spec {
    Spec { memory_mib: 400, paint: 350, cache: Some("writethrough"), ..Spec::disks(2) }
}

/// Begin an operation and wait until it is in the middle of saving memory.
async fn begin_save(guest: &Guest, name: &str, kind: Kind) -> tokio::task::JoinHandle<Result<Snapshot, Failure>> {
    let (domain, xml): (Domain, String) = (guest.domain.clone(), guest.snapshot_xml(name, kind));
    let call = tokio::spawn(async move { domain.snapshot_create(&xml, 0).await });
    match kind {
        Kind::Memory => {
            let file = guest.memory_file(name);
            eventually("the memory file grows", || async {
                std::fs::metadata(&file).ok().filter(|m| m.len() > 1 << 20).map(drop)
            })
            .await;
        }
        _ => tokio::time::sleep(Duration::from_millis(100)).await,
    }
    call
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn destroy_works_in_the_middle_of_a_long_save() {
    let daemon = Daemon::start().await;
    let guest = Guest::define(&daemon, slow_to_save()).await;
    for kind in [Kind::Memory, Kind::Internal] {
        guest.enter(State::Running).await;
        let before = guest.last();
        let call = begin_save(&guest, "long", kind).await;
        let start = Instant::now();
        guest.domain.destroy().await.unwrap();
        assert!(start.elapsed() < Duration::from_secs(10), "destroy waits for nobody");
        assert_eq!(guest.state().await, State::Off);
        let told = call.await.unwrap();
        told.unwrap_err();
        assert!(guest.domain.names().await.is_empty());
        guest.assert_clean_but_leaks().await;
        guest.enter(State::Running).await;
        let boot = guest.serial().boots.remove(0);
        assert!(boot.iter().all(|&stamp| stamp >= before.memory), "nothing that was written is lost");
    }
    guest.assert_clean_but_leaks().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_qemu_that_dies_in_the_middle_leaves_the_before_world() {
    let daemon = Daemon::start().await;
    let guest = Guest::define(&daemon, slow_to_save()).await;
    for kind in [Kind::Memory, Kind::Internal] {
        guest.enter(State::Running).await;
        let before = guest.last();
        let call = begin_save(&guest, "long", kind).await;
        for pid in daemon.hypervisors() {
            signal(pid, "KILL");
        }
        let failure = call.await.unwrap().unwrap_err();
        assert_eq!(failure.name, "org.libvirt.Error", "{failure}");
        eventually("off", || async { (guest.state().await == State::Off).then_some(()) }).await;
        assert!(guest.domain.names().await.is_empty());
        guest.assert_clean_but_leaks().await;
        guest.enter(State::Running).await;
        let boot = guest.serial().boots.remove(0);
        assert!(boot.iter().all(|&stamp| stamp >= before.memory), "nothing that was flushed is lost");
    }
    guest.assert_clean_but_leaks().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_save_cut_by_kill_9_is_undone_or_done() {
    let mut daemon = Daemon::start().await;
    let guest = Guest::define(&daemon, slow_to_save()).await.running().await;
    let call = begin_save(&guest, "long", Kind::Memory).await;
    recover(&mut daemon, &guest, State::Running).await;
    call.await.unwrap().unwrap_err();
    guest.assert_no_strays().await;
    let names = guest.domain.names().await;
    if let Some(name) = names.first() {
        let snapshot = guest.domain.snapshot(name).await.unwrap();
        let truth = guest.truth(&snapshot).await;
        check_revert(&guest, &snapshot, &truth, State::Running).await;
        snapshot.delete(0).await.unwrap();
    }
    guest.counts().await;
    guest.assert_clean_but_leaks().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_does_not_cancel_its_snapshot() {
    let daemon = Daemon::start().await;
    let guest = Guest::define(&daemon, slow_to_save()).await.running().await;
    let impatient = crate::harness::Client::connect(daemon.address()).await;
    let elsewhere = guest.seen_by(&impatient).await;
    let call = begin_save(&elsewhere, "long", Kind::Memory).await;
    call.abort();
    drop((elsewhere, impatient));
    let snapshot = eventually("the snapshot", || async { guest.domain.snapshot("long").await.ok() }).await;
    let truth = guest.truth(&snapshot).await;
    check_revert(&guest, &snapshot, &truth, State::Running).await;
}

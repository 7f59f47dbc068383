//! Reverts of a running guest: within its QEMU where the machine is the same, else by a new one; and what is refused
//! where `risky-revert = "refuse"`.

use crate::harness::client::flag;
use crate::harness::events::event;
use crate::harness::{Daemon, Events, Guest, Kind, Qemu, Refused, Spec, State};
use std::time::{Duration, Instant};

async fn id(guest: &Guest) -> String {
    format!("{:?}", guest.domain.property("Id").await.unwrap())
}

/// The QEMU stays, and a client cannot tell: events, state, reason and a new id are libvirt's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revert_to_the_same_machine_stays_in_its_qemu() {
    for emulator in [Qemu::Machine, Qemu::Backports].into_iter().filter_map(Qemu::emulator) {
        let daemon = Daemon::start().await;
        let guest = Guest::define(&daemon, Spec { emulator, ..Spec::disks(2) }).await.running().await;
        let truth = guest.take("s", Kind::Internal).await;
        let snapshot = guest.domain.snapshot("s").await.unwrap();
        let events = Events::listen(&daemon.client).await;
        for (from, flags, end, last) in [
            (State::Running, 0, (1, 4), event::RESUMED_FROM_SNAPSHOT),
            (State::Running, flag::REVERT_PAUSED, (3, 7), event::SUSPENDED_FROM_SNAPSHOT),
            (State::Paused, flag::REVERT_RUNNING | flag::REVERT_FORCE, (1, 4), event::RESUMED_FROM_SNAPSHOT),
        ] {
            guest.enter(State::Running).await;
            guest.advance().await;
            guest.enter(from).await;
            events.clear();
            let (pids, number) = (daemon.hypervisors(), id(&guest).await);
            snapshot.revert(flags).await.unwrap();
            assert_eq!(guest.domain.state().await.unwrap(), end);
            events.wait(event::DEFINED_FROM_SNAPSHOT).await;
            let told = events.lifecycle();
            let all = [
                event::SHUTDOWN_HOST,
                event::STOPPED_FROM_SNAPSHOT,
                event::STARTED_FROM_SNAPSHOT,
                last,
                event::DEFINED_FROM_SNAPSHOT,
            ];
            // What was done before may be told late.
            assert!(told.ends_with(&all), "{told:?}");
            assert!(events.signals("Reboot").is_empty());
            assert_eq!(daemon.hypervisors(), pids, "the same QEMU");
            assert_ne!(id(&guest).await, number, "libvirt's number grows with each start");
            guest.assert_is_at(&truth).await;
        }
        // What it writes now is on the disks, and more snapshots can be taken.
        let later = guest.take("later", Kind::Internal).await;
        guest.advance().await;
        guest.domain.snapshot("later").await.unwrap().revert(0).await.unwrap();
        guest.assert_is_at(&later).await;
        guest.assert_clean().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_machine_gets_a_new_qemu() {
    let daemon = Daemon::start().await;
    let guest = Guest::define(&daemon, Spec::disks(1)).await.running().await;
    let truth = guest.take("s", Kind::Internal).await;
    guest.enter(State::Off).await;
    daemon
        .client
        .define(&guest.definition().replace("<memory unit='MiB'>32<", "<memory unit='MiB'>48<"))
        .await
        .unwrap();
    guest.enter(State::Running).await;
    let pids = daemon.hypervisors();
    guest.domain.snapshot("s").await.unwrap().revert(0).await.unwrap();
    assert_ne!(daemon.hypervisors(), pids);
    guest.assert_is_at(&truth).await;
    guest.assert_clean().await;
}

/// Each kind of snapshot against each state of the guest; what needs FORCE where it is asked for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_table_of_reverts_under_both_policies() {
    for policy in ["allow", "refuse"] {
        let daemon = Daemon::start_with(&["--risky-revert", policy]).await;
        let guest = Guest::define(&daemon, Spec::disks(1)).await;
        guest.enter(State::Off).await;
        guest.take("off", Kind::DiskOnly).await;
        guest.enter(State::Running).await;
        guest.take("disks", Kind::DiskOnly).await;
        guest.take("memory", Kind::Memory).await;
        for target in ["off", "disks", "memory"] {
            for from in [State::Off, State::Running, State::Paused] {
                for (flags, to) in [(0, None), (flag::REVERT_RUNNING, Some(1)), (flag::REVERT_PAUSED, Some(3))] {
                    let what = format!("{policy}: {target} from {from:?} with {flags}");
                    guest.enter(State::Off).await;
                    if from != State::Off {
                        guest.domain.create(0).await.unwrap();
                    }
                    if from == State::Paused {
                        guest.domain.suspend().await.unwrap();
                    }
                    let before = guest.domain.state().await.unwrap();
                    let current = guest.domain.current().await.unwrap().name();
                    let (pids, tops) = (daemon.hypervisors(), guest.tops().await);
                    let snapshot = guest.domain.snapshot(target).await.unwrap();
                    let risky = from != State::Off && target != "memory";
                    if policy == "refuse" && risky {
                        let state = if target == "off" { "shutoff" } else { "disk-snapshot" };
                        snapshot.revert(flags).await.refused(&format!(
                            "revert requires force: domain is active, and snapshot '{target}' has state '{state}'"
                        ));
                        assert_eq!(guest.domain.state().await.unwrap(), before, "{what}");
                        assert_eq!(daemon.hypervisors(), pids, "{what}");
                        assert_eq!(guest.tops().await, tops, "{what}");
                        assert_eq!(guest.domain.current().await.unwrap().name(), current, "{what}");
                        snapshot.revert(flags | flag::REVERT_FORCE).await.unwrap();
                    } else {
                        snapshot.revert(flags).await.unwrap();
                    }
                    let natural = if target == "memory" { 1 } else { 5 };
                    assert_eq!(guest.domain.state().await.unwrap().0, to.unwrap_or(natural), "{what}");
                    assert!(snapshot.is_current().await.unwrap());
                }
            }
        }
        guest.assert_clean().await;
    }
}

/// A live target of another machine: refused by name, or with FORCE a new QEMU of that machine.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_machine_needs_force_where_that_is_asked_for() {
    let daemon = Daemon::start_with(&["--risky-revert", "refuse"]).await;
    let guest = Guest::define(&daemon, Spec::disks(1)).await.running().await;
    let truth = guest.take("s", Kind::Internal).await;
    guest.enter(State::Off).await;
    daemon
        .client
        .define(&guest.definition().replace("<memory unit='MiB'>32<", "<memory unit='MiB'>48<"))
        .await
        .unwrap();
    guest.enter(State::Running).await;
    let pids = daemon.hypervisors();
    let snapshot = guest.domain.snapshot("s").await.unwrap();
    let difference = "revert requires force: Target domain max memory 32768 does not match source 49152";
    snapshot.revert(0).await.refused(difference);
    assert_eq!(daemon.hypervisors(), pids);
    guest.counts().await;
    snapshot.revert(flag::REVERT_FORCE).await.unwrap();
    assert_ne!(daemon.hypervisors(), pids);
    guest.assert_is_at(&truth).await;
    // The same machine needs no force.
    guest.advance().await;
    snapshot.revert(0).await.unwrap();
    guest.assert_is_at(&truth).await;
    guest.assert_clean().await;
}

/// K10: libvirt finds out about these when the guest is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_be_checked_is_checked_while_the_guest_still_runs() {
    let daemon = Daemon::start().await;
    let guest = Guest::define(&daemon, Spec::disks(1)).await.running().await;
    guest.take("s", Kind::Memory).await;
    guest.advance().await;
    let snapshot = guest.domain.snapshot("s").await.unwrap();
    let memory = guest.memory_file("s");
    let whole = std::fs::read(&memory).unwrap();
    let pids = daemon.hypervisors();
    let other = "11111111-2222-4333-8444-555555555555";
    let uuid = guest.spec.uuid.to_string();
    let swapped = |from: &str, to: &str| {
        let mut bytes = whole.clone();
        let at = bytes.windows(from.len()).position(|w| w == from.as_bytes()).unwrap();
        bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
        bytes
    };
    let partial = swapped("LibvirtQemudSave", "LibvirtQemudPart");
    let foreign = swapped(&uuid, other);
    let mut compressed = whole.clone();
    compressed[28] = 5; // the header's format: zstd
    let smaller = swapped(">32768<", ">16384<");
    for (bytes, text) in [
        (&whole[..100], "failed to read domain XML"),
        (&partial, "failed to read domain XML"),
        (&compressed, "save images of format 'zstd' are not supported"),
        (&foreign, "Target domain uuid"),
        (&smaller, "Target domain max memory 32768 does not match source 16384"),
    ] {
        std::fs::write(&memory, bytes).unwrap();
        snapshot.revert(0).await.refused(text);
        assert_eq!(daemon.hypervisors(), pids, "{text}");
        assert_eq!(guest.state().await, State::Running);
    }
    std::fs::remove_file(&memory).unwrap();
    snapshot.revert(0).await.refused("No such file or directory");
    std::fs::write(&memory, &whole).unwrap();
    let disk = guest.originals.first().unwrap();
    let aside = disk.with_extension("aside");
    std::fs::rename(disk, &aside).unwrap();
    snapshot.revert(0).await.refused("does not exist");
    std::fs::rename(&aside, disk).unwrap();
    assert_eq!(daemon.hypervisors(), pids);
    guest.counts().await;
    snapshot.revert(0).await.unwrap();
    guest.counts().await;
    guest.assert_clean().await;
}

/// Not a bound, but a figure to be read (`--nocapture`): within the running QEMU against a new one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revert_within_the_qemu_is_not_slower_than_a_new_one() {
    let daemon = Daemon::start_quiet().await;
    let guest = Guest::define(&daemon, Spec { memory_mib: 128, paint: 64, ..Spec::disks(2) }).await.running().await;
    guest.take("s", Kind::Internal).await;
    let snapshot = guest.domain.snapshot("s").await.unwrap();
    let (mut within, mut anew) = (Duration::MAX, Duration::MAX);
    for _ in 0..3 {
        let start = Instant::now();
        snapshot.revert(0).await.unwrap();
        within = within.min(start.elapsed());
        // The same with a QEMU that has to be started: the guest is off.
        guest.enter(State::Off).await;
        let start = Instant::now();
        snapshot.revert(0).await.unwrap();
        anew = anew.min(start.elapsed());
    }
    println!("revert of a running guest: {within:?} within its QEMU, {anew:?} with a new one");
    assert!(within < anew * 2, "{within:?}, and a new QEMU takes {anew:?}");
    guest.assert_clean().await;
}

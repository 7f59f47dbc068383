//! Managed save: the guest goes on where it was, and an old memory never meets other disks.

use crate::harness::client::flag;
use crate::harness::events::event;
use crate::harness::{Daemon, Events, Guest, Kind, Refused, Spec, State, eventually};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The images that the daemon keeps.
fn images(daemon: &Daemon) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(daemon.state_directory().join("save")).unwrap();
    entries.map(|e| e.unwrap().path()).collect()
}

/// Save it; what its disks hold then.
async fn save(guest: &Guest) -> u32 {
    guest.counts().await;
    guest.domain.managed_save(0).await.unwrap();
    assert_eq!(guest.domain.state().await.unwrap(), (5, 5), "off, saved");
    assert!(guest.domain.has_managed_save().await);
    guest.last().memory
}

/// The restored guest goes on with the very memory: its QEMU begins the file anew, and there is no boot in it.
async fn assert_goes_on(guest: &Guest, from: u32) {
    let first =
        eventually("the restored guest says something", || async { guest.serial().lines.first().cloned() }).await;
    assert!(guest.serial().boots.is_empty(), "it did not boot");
    assert!((from..=from + 2).contains(&first.memory), "it was at {from} and goes on at {}", first.memory);
    assert!(!guest.domain.has_managed_save().await);
    guest.counts().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_saved_guest_goes_on_where_it_was() {
    let daemon = Daemon::start().await;
    let guest = Guest::define(&daemon, Spec::disks(2)).await.running().await;
    let events = Events::listen(&daemon.client).await;
    let from = save(&guest).await;
    events.wait(event::STOPPED_SAVED).await;
    let told = events.lifecycle();
    assert!(told.ends_with(&[event::SUSPENDED_PAUSED, event::SHUTDOWN_HOST, event::STOPPED_SAVED]), "{told:?}");
    assert!(daemon.hypervisors().is_empty());
    let [image] = &images(&daemon)[..] else { panic!("one image") };
    let bytes = std::fs::read(image).unwrap();
    assert_eq!(&bytes[..16], b"LibvirtQemudSave", "libvirt's format");
    events.clear();
    guest.domain.create(0).await.unwrap();
    assert_eq!(guest.domain.state().await.unwrap(), (1, 3), "running, restored");
    assert_goes_on(&guest, from).await;
    let told = events.lifecycle();
    assert!(told.ends_with(&[event::STARTED_RESTORED, event::RESUMED_UNPAUSED]), "{told:?}");
    assert!(images(&daemon).is_empty());
    // Once more, and the disks are whole in the end.
    let from = save(&guest).await;
    guest.domain.create(0).await.unwrap();
    assert_goes_on(&guest, from).await;
    guest.assert_clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paused_is_what_was_saved_or_what_is_asked_for() {
    let daemon = Daemon::start().await;
    let guest = Guest::define(&daemon, Spec::disks(1)).await.running().await;
    let events = Events::listen(&daemon.client).await;
    // (state at the save, flags of the save, flags of the start, paused afterwards: the event that says so)
    for (before, save, start, paused) in [
        (State::Paused, 0, 0, Some(event::SUSPENDED_RESTORED)),
        (State::Running, 0, flag::START_PAUSED, Some(event::SUSPENDED_PAUSED)),
        (State::Running, flag::SAVE_PAUSED, 0, Some(event::SUSPENDED_RESTORED)),
        (State::Paused, flag::SAVE_RUNNING, 0, None),
    ] {
        guest.enter(State::Running).await;
        guest.counts().await;
        guest.enter(before).await;
        let from = guest.last().memory;
        guest.domain.managed_save(save).await.unwrap();
        events.clear();
        guest.domain.create(start).await.unwrap();
        let last = paused.unwrap_or(event::RESUMED_UNPAUSED);
        events.wait(last).await;
        let told = events.lifecycle();
        assert!(told.ends_with(&[event::STARTED_RESTORED, last]), "{told:?}");
        assert_eq!(guest.state().await, if paused.is_some() { State::Paused } else { State::Running });
        if paused.is_some() {
            guest.domain.resume().await.unwrap();
        }
        assert_goes_on(&guest, from).await;
    }
    guest.assert_clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_saved_or_undefined_is_refused_in_libvirts_words() {
    let daemon = Daemon::start().await;
    let guest = Guest::define(&daemon, Spec::disks(1)).await.running().await;
    guest
        .domain
        .managed_save(6)
        .await
        .refused("Flags 'VIR_DOMAIN_SAVE_RUNNING' and 'VIR_DOMAIN_SAVE_PAUSED' are mutually exclusive");
    guest.domain.managed_save(8).await.refused("unsupported flags (0x8)");
    save(&guest).await;
    guest.domain.managed_save(0).await.refused("Requested operation is not valid: domain is not running");
    let in_the_way = "Requested operation is not valid: Refusing to undefine while domain managed save image exists";
    guest.domain.undefine(0).await.refused(in_the_way);
    daemon.client.create_transient(&guest.definition(), 0).await.refused("domain has a managed save image");
    assert!(guest.domain.has_managed_save().await);
    guest.domain.managed_save_remove().await.unwrap();
    guest.domain.managed_save_remove().await.refused("Failed to remove managed save file");
    assert!(images(&daemon).is_empty());
    guest.enter(State::Running).await;
    save(&guest).await;
    guest.domain.undefine(flag::UNDEFINE_MANAGED_SAVE).await.unwrap();
    assert!(images(&daemon).is_empty());
    let transient = daemon.client.create_transient(&guest.definition(), 0).await.unwrap();
    transient.managed_save(0).await.refused("cannot do managed save for transient domain");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn force_boot_boots_and_costs_the_image_only_once_it_has_booted() {
    let daemon = Daemon::start().await;
    let guest = Guest::define(&daemon, Spec::disks(1)).await.running().await;
    let from = save(&guest).await;
    let disk = guest.tops().await.remove(0);
    let aside = disk.with_extension("aside");
    std::fs::rename(&disk, &aside).unwrap();
    guest.domain.create(flag::FORCE_BOOT).await.unwrap_err();
    guest.domain.create(0).await.unwrap_err();
    assert_eq!(guest.state().await, State::Off);
    assert!(guest.domain.has_managed_save().await, "a start that failed has not cost it");
    std::fs::rename(&aside, &disk).unwrap();
    guest.domain.create(0).await.unwrap();
    assert_goes_on(&guest, from).await;

    save(&guest).await;
    let events = Events::listen(&daemon.client).await;
    guest.domain.create(flag::FORCE_BOOT).await.unwrap();
    guest.counts().await;
    assert_eq!(guest.serial().boots.len(), 1, "it booted");
    let told = events.lifecycle();
    assert!(told.ends_with(&[event::RESUMED_UNPAUSED, event::STARTED_BOOTED]), "{told:?}");
    assert!(!guest.domain.has_managed_save().await);
    assert!(images(&daemon).is_empty());
    guest.assert_clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_that_was_cut_short_or_is_missing_is_not_passed_over() {
    let daemon = Daemon::start().await;
    let guest = Guest::define(&daemon, Spec::disks(1)).await.running().await;
    save(&guest).await;
    let image = images(&daemon).remove(0);
    std::fs::File::options().write(true).open(&image).unwrap().set_len(10).unwrap();
    guest.domain.create(0).await.refused("is incomplete");
    std::fs::remove_file(&image).unwrap();
    guest.domain.create(0).await.refused("is missing");
    assert_eq!(guest.state().await, State::Off);
    guest.domain.create(flag::FORCE_BOOT).await.unwrap();
    guest.counts().await;
    guest.assert_clean().await;
}

/// libvirt would start the saved guest on the images of its file, beneath the overlays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snapshots_of_a_saved_guest_are_what_its_disks_were_and_it_goes_on_above_them() {
    for kind in [Kind::DiskOnly, Kind::Internal] {
        let daemon = Daemon::start().await;
        let guest = Guest::define(&daemon, Spec::disks(2)).await.running().await;
        let from = save(&guest).await;
        guest.create("over", kind).await.unwrap();
        let truth = guest.truth(&guest.domain.snapshot("over").await.unwrap()).await;
        assert!(guest.domain.has_managed_save().await);
        guest.domain.create(0).await.unwrap();
        assert_goes_on(&guest, from).await;
        // The snapshot is as it was, though the guest has written since.
        assert_eq!(guest.truth(&guest.domain.snapshot("over").await.unwrap()).await.disks, truth.disks);
        let from = save(&guest).await;
        guest.domain.snapshot("over").await.unwrap().delete(0).await.unwrap();
        guest.domain.create(0).await.unwrap();
        assert_goes_on(&guest, from).await;
        guest.assert_clean().await;
    }
}

/// K11: the image would be loaded over the reverted disks at the next start.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_does_not_outlive_a_revert() {
    let daemon = Daemon::start().await;
    let guest = Guest::define(&daemon, Spec::disks(1)).await;
    guest.enter(State::Off).await;
    let off = guest.take("off", Kind::Internal).await;
    guest.enter(State::Running).await;
    let memory = guest.take("memory", Kind::Internal).await;
    guest.advance().await;
    let from = save(&guest).await;
    let snapshot = |name: &'static str| guest.domain.snapshot(name);
    snapshot("off").await.unwrap().revert(0).await.refused(
        "revert requires force: snapshot without memory state, removal of existing managed saved state strongly \
         recommended to avoid corruption",
    );
    guest.domain.create(0).await.unwrap();
    assert_goes_on(&guest, from).await;

    save(&guest).await;
    snapshot("off").await.unwrap().revert(flag::REVERT_FORCE).await.unwrap();
    assert!(!guest.domain.has_managed_save().await);
    guest.assert_is_at(&off).await;
    guest.enter(State::Running).await;
    assert_eq!(guest.serial().boots.len(), 1);

    save(&guest).await;
    snapshot("memory").await.unwrap().revert(0).await.unwrap();
    assert!(!guest.domain.has_managed_save().await);
    assert!(images(&daemon).is_empty());
    guest.assert_is_at(&memory).await;
    guest.assert_clean().await;
}

/// At each moment the daemon dies: the guest runs on, or is saved and goes on from there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_9_in_the_middle_loses_nothing() {
    let mut daemon = Daemon::start().await;
    let guest = Guest::define(&daemon, Spec { memory_mib: 96, paint: 64, ..Spec::disks(2) }).await.running().await;
    let start = Instant::now();
    let from = save(&guest).await;
    let saving = start.elapsed();
    let start = Instant::now();
    guest.domain.create(0).await.unwrap();
    let starting = start.elapsed();
    assert_goes_on(&guest, from).await;
    for n in 0..6u32 {
        guest.counts().await;
        let marker = guest.last().memory;
        let domain = guest.domain.clone();
        let call = tokio::spawn(async move { domain.managed_save(0).await });
        tokio::time::sleep(saving * n / 6).await;
        recovered(&mut daemon, &guest).await;
        let told = call.await.unwrap();
        if guest.state().await == State::Running {
            assert!(told.is_err() && !guest.domain.has_managed_save().await);
            assert!(images(&daemon).is_empty());
            assert!(guest.wait_beyond(marker).await.agrees());
            save(&guest).await;
        }
        assert!(guest.domain.has_managed_save().await, "off without an image");
        let from = guest.last().memory;

        let domain = guest.domain.clone();
        let call = tokio::spawn(async move { domain.create(0).await });
        tokio::time::sleep(starting * n / 6).await;
        recovered(&mut daemon, &guest).await;
        let _ = call.await.unwrap();
        if guest.state().await == State::Off {
            assert!(guest.domain.has_managed_save().await, "off without an image");
            guest.domain.create(0).await.unwrap();
        }
        assert_goes_on(&guest, from).await;
        assert!(images(&daemon).is_empty());
    }
    guest.assert_clean_but_leaks().await;
}

async fn recovered(daemon: &mut Daemon, guest: &Guest) {
    daemon.kill().await;
    daemon.spawn().await;
    eventually("recovery ends", || async { guest.domain.set_autostart(false).await.ok() }).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
}

//! The life of a domain, and that what QEMU does by itself is noticed at once and told.

use crate::harness::client::flag;
use crate::harness::daemon::signal;
use crate::harness::events::event;
use crate::harness::{Daemon, Events, Guest, Kind, Refused, Spec, State, eventually};
use std::io::Write;
use std::os::unix::net::UnixStream;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_domain_is_defined_started_stopped_and_undefined() {
    let daemon = Daemon::start().await;
    let events = Events::listen(&daemon.client).await;
    let guest = Guest::define(&daemon, Spec::disks(1)).await;
    assert_eq!(daemon.client.list(0).await.unwrap().len(), 1);
    assert_eq!(guest.state().await, State::Off);

    guest.domain.create(flag::START_PAUSED).await.unwrap();
    assert_eq!(guest.state().await, State::Paused);
    guest.domain.resume().await.unwrap();
    guest.counts().await;
    guest.domain.create(0).await.refused("Requested operation is not valid: domain is already running");
    guest.domain.suspend().await.unwrap();
    assert_eq!(guest.state().await, State::Paused);
    guest.domain.resume().await.unwrap();
    guest.counts().await;
    guest.domain.destroy().await.unwrap();
    assert_eq!(guest.state().await, State::Off);
    guest.domain.destroy().await.refused("Requested operation is not valid: domain is not running");
    for wanted in [event::STARTED_BOOTED, event::SUSPENDED_PAUSED, event::RESUMED_UNPAUSED, event::STOPPED_DESTROYED] {
        events.wait(wanted).await;
    }
    guest.domain.undefine(0).await.unwrap();
    events.wait(event::UNDEFINED).await;
    assert!(daemon.client.list(0).await.unwrap().is_empty());
    assert!(daemon.hypervisors().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_power_button_lets_the_guest_shut_down() {
    let daemon = Daemon::start().await;
    let guest = Guest::define(&daemon, Spec::disks(1)).await.running().await;
    let events = Events::listen(&daemon.client).await;
    guest.domain.shutdown().await.unwrap();
    events.wait(event::STOPPED_SHUTDOWN).await;
    eventually("off", || async { (guest.state().await == State::Off).then_some(()) }).await;
    assert!(guest.serial().words.iter().any(|w| w == "OFF"), "the guest did it, not we");
    guest.assert_clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reset_boots_again_and_is_told() {
    let daemon = Daemon::start().await;
    let guest = Guest::define(&daemon, Spec::disks(1)).await.running().await;
    let events = Events::listen(&daemon.client).await;
    guest.domain.reset().await.unwrap();
    eventually("a second boot", || async { (guest.serial().boots.len() == 2).then_some(()) }).await;
    events.wait_signal("Reboot").await;
    assert_eq!(guest.state().await, State::Running);
    guest.counts().await;
    guest.assert_clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_guest_does_by_itself_is_told() {
    let daemon = Daemon::start().await;
    let socket = daemon.images().join("keys");
    // A second port for the keys would be COM2; the guest listens on COM1, so that is a socket.
    let mut spec = Spec::disks(1);
    spec.name = "keys".into();
    let guest = Guest::define(&daemon, spec).await;
    let xml = guest.definition().replace(
        &format!("<serial type='file'>\n      <source path='{}/keys.serial'/>", guest.directory.display()),
        &format!("<serial type='unix'>\n      <source mode='bind' path='{}'/>", socket.display()),
    );
    daemon.client.define(&xml).await.unwrap();
    let events = Events::listen(&daemon.client).await;

    guest.domain.create(0).await.unwrap();
    let mut port = UnixStream::connect(&socket).unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    port.write_all(b"r").unwrap();
    events.wait_signal("Reboot").await;
    assert_eq!(guest.state().await, State::Running);
    // The firmware swallows keys that come while it starts.
    eventually("the guest powers off", || async {
        let _ = (&port).write_all(b"q");
        events.lifecycle().contains(&event::SHUTDOWN_GUEST).then_some(())
    })
    .await;
    events.wait(event::STOPPED_SHUTDOWN).await;
    eventually("off", || async { (guest.state().await == State::Off).then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_qemu_that_dies_is_noticed_and_can_be_started_again() {
    let daemon = Daemon::start().await;
    let guest = Guest::define(&daemon, Spec::disks(1)).await.running().await;
    let events = Events::listen(&daemon.client).await;
    let pids = daemon.hypervisors();
    assert_eq!(pids.len(), 1);
    signal(pids[0], "KILL");
    eventually("STOPPED", || async { events.lifecycle().iter().any(|&(e, _)| e == 5).then_some(()) }).await;
    eventually("off", || async { (guest.state().await == State::Off).then_some(()) }).await;
    guest.enter(State::Running).await;
    guest.counts().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transient_domain_is_gone_when_it_stops() {
    let daemon = Daemon::start().await;
    let guest = Guest::define(&daemon, Spec::disks(1)).await;
    guest.domain.undefine(0).await.unwrap();
    let domain = daemon.client.create_transient(&guest.definition(), 0).await.unwrap();
    let guest = guest.seen_by(&daemon.client).await;
    guest.counts().await;
    let snapshot = guest.create("s", Kind::DiskOnly).await.unwrap();
    guest.counts().await;
    snapshot.delete(0).await.unwrap();
    domain.destroy().await.unwrap();
    domain.state().await.refused("Domain not found");
    assert!(daemon.hypervisors().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revert_tells_what_libvirt_tells() {
    let daemon = Daemon::start().await;
    let guest = Guest::define(&daemon, Spec::disks(1)).await.running().await;
    guest.take("memory", Kind::Memory).await;
    let events = Events::listen(&daemon.client).await;
    guest.domain.snapshot("memory").await.unwrap().revert(0).await.unwrap();
    events.wait(event::DEFINED_FROM_SNAPSHOT).await;
    let told = events.lifecycle();
    let order: Vec<_> = [
        event::STOPPED_FROM_SNAPSHOT,
        event::STARTED_FROM_SNAPSHOT,
        event::RESUMED_FROM_SNAPSHOT,
        event::DEFINED_FROM_SNAPSHOT,
    ]
    .iter()
    .map(|wanted| told.iter().position(|e| e == wanted))
    .collect();
    assert!(order.iter().all(Option::is_some) && order.is_sorted(), "{told:?}");
    guest.assert_clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_disk_buses_and_machines_work_the_same() {
    for (bus, machine, format) in [("scsi", "pc", "qcow2"), ("ide", "pc", "qcow2"), ("virtio", "q35", "qcow2")] {
        let daemon = Daemon::start().await;
        let mut spec = Spec { bus, machine, format, ..Spec::disks(2) };
        if bus == "ide" {
            spec.disks = 1;
        }
        let guest = Guest::define(&daemon, spec).await.running().await;
        let truth = guest.take("s", Kind::Memory).await;
        guest.advance().await;
        guest.domain.snapshot("s").await.unwrap().revert(0).await.unwrap();
        guest.assert_is_at(&truth).await;
        guest.domain.snapshot("s").await.unwrap().delete(0).await.unwrap();
        guest.counts().await;
        guest.assert_clean().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_raw_disk_takes_external_snapshots_only() {
    let daemon = Daemon::start().await;
    let guest = Guest::define(&daemon, Spec { format: "raw", ..Spec::disks(1) }).await.running().await;
    guest.create("internal", Kind::Internal).await.refused("raw");
    let truth = guest.take("external", Kind::Memory).await;
    guest.advance().await;
    guest.domain.snapshot("external").await.unwrap().revert(0).await.unwrap();
    guest.assert_is_at(&truth).await;
    guest.domain.snapshot("external").await.unwrap().delete(0).await.unwrap();
    guest.counts().await;
    guest.assert_clean().await;
}

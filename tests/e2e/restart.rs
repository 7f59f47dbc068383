//! The daemon goes and comes; its guests stay.

use crate::harness::{Daemon, Events, Guest, Kind, Spec, State};
use std::process::Stdio;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_outlives_a_clean_stop_and_is_found_again() {
    let mut daemon = Daemon::start().await;
    let guest = Guest::define(&daemon, Spec::disks(2)).await.running().await;
    let one = guest.take("one", Kind::Memory).await;
    let running = daemon.hypervisors();

    assert!(daemon.stop().await.success());
    let before = guest.last().memory;
    guest.wait_beyond(before + 2).await;
    daemon.spawn().await;

    assert_eq!(daemon.hypervisors(), running, "the same process");
    assert_eq!(guest.state().await, State::Running);
    assert_eq!(guest.domain.names().await, ["one"]);
    guest.assert_agreement();
    let two = guest.take("two", Kind::Memory).await;
    for truth in [one, two] {
        guest.domain.snapshot(&truth.name).await.unwrap().revert(0).await.unwrap();
        guest.assert_is_at(&truth).await;
    }
    guest.domain.snapshot("one").await.unwrap().delete(0).await.unwrap();
    guest.domain.snapshot("two").await.unwrap().delete(0).await.unwrap();
    guest.assert_clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_outlives_a_crash_of_the_idle_daemon() {
    let mut daemon = Daemon::start().await;
    let guest = Guest::define(&daemon, Spec::disks(1)).await.running().await;
    for state in [State::Running, State::Paused] {
        guest.enter(state).await;
        daemon.kill().await;
        daemon.spawn().await;
        assert_eq!(guest.state().await, state);
    }
    let truth = guest.take("s", Kind::Memory).await;
    guest.domain.snapshot("s").await.unwrap().revert(0).await.unwrap();
    guest.assert_is_at(&truth).await;

    // Its end is noticed by a daemon that did not start it.
    daemon.kill().await;
    daemon.spawn().await;
    let events = Events::listen(&daemon.client).await;
    guest.domain.shutdown().await.unwrap();
    events.wait(crate::harness::events::event::STOPPED_SHUTDOWN).await;
    guest.domain.snapshot("s").await.unwrap().delete(0).await.unwrap();
    guest.assert_clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_ended_while_nobody_looked_is_off() {
    let mut daemon = Daemon::start().await;
    let guest = Guest::define(&daemon, Spec::disks(1)).await.running().await;
    daemon.stop().await;
    for pid in daemon.hypervisors() {
        crate::harness::daemon::signal(pid, "TERM");
    }
    crate::harness::eventually("QEMU ends", || async { daemon.hypervisors().is_empty().then_some(()) }).await;
    daemon.spawn().await;
    assert_eq!(guest.state().await, State::Off);
    guest.enter(State::Running).await;
    guest.counts().await;
    guest.assert_clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_daemon_on_the_same_state_says_who_has_it() {
    let daemon = Daemon::start().await;
    let mut second = daemon.command();
    second.args(["--bus-name", "org.example.second"]);
    let output = second.stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains(daemon.state_directory().to_str().unwrap()), "{said}");
    // The first is not disturbed.
    assert!(daemon.client.list(0).await.unwrap().is_empty());
}

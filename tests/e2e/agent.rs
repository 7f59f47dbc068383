//! QUIESCE and its neighbours, with the real `qemu-ga` in a real Linux: frozen while the disks switch, thawed after,
//! whatever happens to the agent or to the daemon in between.

use crate::harness::client::flag;
use crate::harness::{Daemon, Failure, Linux, Snapshot, eventually};
use std::time::{Duration, Instant};

const QUIESCED: u32 = flag::DISK_ONLY | flag::QUIESCE;

async fn take(linux: &Linux, name: &str, flags: u32) -> Result<Snapshot, Failure> {
    linux.domain.snapshot_create(&format!("<domainsnapshot><name>{name}</name></domainsnapshot>"), flags).await
}

async fn freeze(linux: &Linux, mountpoints: &[&str]) -> Result<u32, Failure> {
    linux.domain.call::<(u32,), _>("FSFreeze", &(mountpoints, 0u32)).await.map(|(n,)| n)
}

async fn thaw(linux: &Linux) -> Result<u32, Failure> {
    linux.domain.call::<(u32,), _>("FSThaw", &(&[] as &[&str], 0u32)).await.map(|(n,)| n)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quiesce_leaves_a_file_system_that_needs_no_recovery() {
    let daemon = Daemon::start().await;
    let Some(linux) = Linux::boot(&daemon).await else { return };

    // Without it the image is that of a machine whose power was cut.
    take(&linux, "cut", flag::DISK_ONLY).await.unwrap();
    assert!(linux.file_system("linux.qcow2").needs_recovery());

    linux.counts().await;
    let before = linux.counter().await;
    take(&linux, "clean", QUIESCED).await.unwrap();
    let after = linux.counter().await;
    let clean = linux.file_system("linux.cut");
    assert!(!clean.needs_recovery() && clean.is_sound(), "it was frozen when the disks switched");
    let log = clean.read("/log");
    let held: u64 = log.lines().last().unwrap().parse().unwrap();
    assert!((before..=after + 1).contains(&held), "{held} is not between {before} and {after}");
    assert!(
        log.lines().enumerate().all(|(n, line)| line == (n + 1).to_string()),
        "nothing that was written is missing"
    );
    linux.counts().await;
    assert_eq!(linux.run("cat /run/hook").await, "freeze\nthaw");

    // The same by hand.
    assert_eq!(freeze(&linux, &[]).await.unwrap(), 1);
    assert!(linux.stands_still().await);
    let failure = take(&linux, "twice", QUIESCED).await.unwrap_err();
    assert!(
        failure.text.starts_with(
            "guest agent command failed: unable to execute QEMU agent command 'guest-fsfreeze-freeze': Command \
             guest-fsfreeze-freeze has been disabled"
        ),
        "{failure}"
    );
    assert!(linux.stands_still().await, "what somebody else has frozen is not thawed by a snapshot that failed");
    assert_eq!(thaw(&linux).await.unwrap(), 1);
    assert_eq!(thaw(&linux).await.unwrap(), 0);
    linux.counts().await;
    assert_eq!(freeze(&linux, &["/nowhere"]).await.unwrap(), 0);
    assert_eq!(thaw(&linux).await.unwrap(), 0);
    assert_eq!(freeze(&linux, &["/mnt"]).await.unwrap(), 1);
    assert_eq!(thaw(&linux).await.unwrap(), 1);
    type Info = Vec<(String, String, String, Vec<String>)>;
    let (info,): (Info,) = linux.domain.call("GetFSInfo", &(0u32,)).await.unwrap();
    assert_eq!(info, [("/mnt".into(), "vda".into(), "ext4".into(), vec!["vda".into()])]);

    // One that stands still cannot answer.
    linux.domain.suspend().await.unwrap();
    for failure in [
        take(&linux, "still", QUIESCED).await.map(drop).unwrap_err(),
        freeze(&linux, &[]).await.map(drop).unwrap_err(),
        thaw(&linux).await.map(drop).unwrap_err(),
    ] {
        assert_eq!(failure.text, "Requested operation is not valid: domain is not running");
    }
    linux.domain.resume().await.unwrap();
    linux.counts().await;
    assert_eq!(linux.domain.names().await, ["clean", "cut"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_hangs_or_is_gone_hangs_nobody() {
    let daemon = Daemon::start().await;
    let Some(linux) = Linux::boot(&daemon).await else { return };
    linux.run("kill -STOP $(cat /run/qga.pid)").await;
    let begun = Instant::now();
    let failure = take(&linux, "hung", QUIESCED).await.unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(8), "it took {:?}", begun.elapsed());
    assert_eq!(
        failure.text,
        "Guest agent is not responding: guest agent didn't respond to synchronization within '5' seconds"
    );
    assert!(linux.domain.names().await.is_empty() && linux.overlays().is_empty());
    linux.counts().await;
    take(&linux, "without", flag::DISK_ONLY).await.unwrap();
    linux.run("kill -CONT $(cat /run/qga.pid)").await;
    take(&linux, "again", QUIESCED).await.unwrap();
    assert!(!linux.file_system("linux.without").needs_recovery());
    linux.counts().await;

    // Killed in the middle of its freeze.
    linux.run("echo 2 >/run/slow").await;
    let call = {
        let domain = linux.domain.clone();
        let xml = "<domainsnapshot><name>middle</name></domainsnapshot>";
        tokio::spawn(async move { domain.snapshot_create(xml, QUIESCED).await })
    };
    asked_to_freeze(&linux, 2).await;
    linux.run("kill -KILL $(cat /run/qga.pid); rm /run/slow").await;
    let failure = call.await.unwrap().unwrap_err();
    assert_eq!(failure.text, "guest agent command timed out: Guest agent disappeared while executing command");
    assert!(linux.overlays().iter().all(|o| o != "linux.middle"));
    let failure = take(&linux, "nobody", QUIESCED).await.unwrap_err();
    assert_eq!(failure.text, "Guest agent is not responding: QEMU guest agent is not connected");
    linux.counts().await;
    linux.run("agent").await;
    eventually("the agent is back", || async { take(&linux, "back", QUIESCED).await.ok() }).await;
    linux.counts().await;
}

/// Its agent has been asked to freeze for the nth time.
async fn asked_to_freeze(linux: &Linux, times: usize) {
    eventually("the agent is asked to freeze", || async {
        let hook = linux.run("cat /run/hook").await;
        (hook.lines().filter(|l| *l == "freeze").count() >= times).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_a_killed_daemon_has_left_frozen_is_thawed_by_the_next() {
    let mut daemon = Daemon::start().await;
    let Some(linux) = Linux::boot(&daemon).await else { return };
    linux.run("echo 1 >/run/slow").await;
    let call = {
        let domain = linux.domain.clone();
        let xml = "<domainsnapshot><name>cut</name></domainsnapshot>";
        tokio::spawn(async move { domain.snapshot_create(xml, QUIESCED).await })
    };
    asked_to_freeze(&linux, 1).await;
    daemon.kill().await;
    call.await.unwrap().unwrap_err();
    eventually("it is frozen all the same", || async { linux.stands_still().await.then_some(()) }).await;
    linux.run("rm /run/slow").await;
    daemon.spawn().await;
    linux.counts().await;
    eventually("recovery ends", || async { linux.domain.set_autostart(false).await.ok() }).await;
    assert!(linux.domain.names().await.is_empty() && linux.overlays().is_empty());

    // At any moment: it is there or not, and the guest goes on.
    let begun = Instant::now();
    take(&linux, "whole", QUIESCED).await.unwrap();
    let whole = begun.elapsed();
    for n in 0..4u32 {
        let name = format!("s{n}");
        let call = {
            let (domain, xml) = (linux.domain.clone(), format!("<domainsnapshot><name>{name}</name></domainsnapshot>"));
            tokio::spawn(async move { domain.snapshot_create(&xml, QUIESCED).await })
        };
        tokio::time::sleep(whole * (n + 1) / 5).await;
        daemon.kill().await;
        daemon.spawn().await;
        let told = call.await.unwrap();
        linux.counts().await;
        eventually("recovery ends", || async { linux.domain.set_autostart(false).await.ok() }).await;
        let there = linux.domain.names().await.contains(&name);
        assert_eq!(linux.overlays().contains(&format!("linux.{name}")), there);
        assert!(there || told.is_err(), "a snapshot that was promised is there");
    }
}

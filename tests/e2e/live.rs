//! LIVE where QEMU may not use userfaultfd: the memory is copied while the guest runs, and the disks switch when it is
//! stopped for the rest.

use crate::harness::client::flag;
use crate::harness::guest::Truth;
use crate::harness::{Daemon, Guest, Kind, Qemu, Spec, State};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A QEMU that may not use userfaultfd, as that of a user who is not root; `None`: that cannot be arranged here, and why
/// was said.
fn confined(qemu: Qemu, directory: &Path) -> Option<PathBuf> {
    let real = qemu.emulator()?;
    let unprivileged = std::fs::read_to_string("/proc/sys/vm/unprivileged_userfaultfd").unwrap_or_default();
    if unprivileged.trim() == "1" {
        println!("SKIP: vm.unprivileged_userfaultfd is 1: nobody is refused userfaultfd");
        return None;
    }
    // Root has it by the device, or by CAP_SYS_PTRACE.
    let inside = "if [ -e /dev/userfaultfd ]; then mount --bind /dev/null /dev/userfaultfd || exit 1; fi; \
                  exec setpriv --bounding-set -sys_ptrace --inh-caps -sys_ptrace -- \"$0\" \"$@\"";
    let wrapper = directory.join("qemu-system-x86_64");
    std::fs::write(&wrapper, format!("#!/bin/sh\nexec unshare -m sh -c '{inside}' {} \"$@\"\n", real.display()))
        .unwrap();
    std::fs::set_permissions(&wrapper, PermissionsExt::from_mode(0o755)).unwrap();
    if rustix::process::geteuid().is_root() {
        let tried = Command::new(&wrapper).arg("--version").stdout(Stdio::null()).status().unwrap();
        if !tried.success() {
            println!("SKIP: no mount namespace in which /dev/userfaultfd could be hidden");
            return None;
        }
        return Some(wrapper);
    }
    std::fs::remove_file(&wrapper).unwrap();
    std::os::unix::fs::symlink(&real, &wrapper).unwrap();
    Some(wrapper)
}

struct Scene {
    daemon: Daemon,
    guest: Guest,
    _bin: tempfile::TempDir,
}

impl Scene {
    async fn new(qemu: Qemu) -> Option<Self> {
        let bin = tempfile::tempdir().unwrap();
        let emulator = confined(qemu, bin.path())?;
        let daemon = Daemon::start().await.finds_first(bin.path()).await;
        let spec = Spec { emulator, memory_mib: 256, paint: 220, ..Spec::disks(2) };
        let guest = Guest::define(&daemon, spec).await.running().await;
        Some(Self { daemon, guest, _bin: bin })
    }

    /// How the last save was done, and how long the guest stood still for it.
    fn last_pause(&self) -> Option<(String, Duration)> {
        let log = self.daemon.log();
        let line = log.lines().rev().find(|l| l.contains("memory snapshot begun"))?;
        let value = |key: &str| Some(line.split(&format!("{key}=")).nth(1)?.split(' ').next()?.trim().to_owned());
        let paused = value("paused")?;
        let number: f64 = paused.trim_end_matches(|c: char| c.is_alphabetic()).parse().ok()?;
        let seconds = match paused.trim_start_matches(|c: char| c.is_numeric() || c == '.') {
            "s" => number,
            "ms" => number / 1e3,
            _ => number / 1e6,
        };
        Some((value("way")?, Duration::from_secs_f64(seconds)))
    }
}

async fn is_copied_ahead(qemu: Qemu) {
    let Some(scene) = Scene::new(qemu).await else { return };
    let guest = &scene.guest;
    let before = guest.last().memory;
    let begun = Instant::now();
    let snapshot = guest.create_with("live", Kind::Memory, flag::LIVE).await.unwrap();
    let whole = begun.elapsed();
    let truth = guest.truth(&snapshot).await;
    let (way, paused) = scene.last_pause().expect("the log says how");
    println!("{way}: stood still for {paused:?} of {whole:?}");
    assert_eq!(way, "Ahead");
    assert!(paused < whole / 2, "the guest stood still for {paused:?} of {whole:?}");
    assert!(truth.disks[0].stamp > before, "the guest ran while its memory was copied");
    // The guest stamps one disk after the other.
    let [first, second] = [truth.disks[0].stamp, truth.disks[1].stamp];
    assert!(first == second || first == second + 1, "the disks are of one instant: {first} {second}");
    guest.advance().await;
    // Without LIVE it is as ever: the guest stands still, and nothing is saved twice.
    let plain = guest.create_with("plain", Kind::Memory, 0).await.unwrap();
    let later = guest.truth(&plain).await;
    let length = |name: &str| guest.memory_file(name).metadata().unwrap().len();
    assert!(length("plain") <= length("live"));
    assert_eq!(scene.last_pause().unwrap(), (way, paused), "the second was not saved live");
    for (snapshot, truth) in [(&snapshot, &truth), (&plain, &later)] {
        // The counter in the memory is that of the disks, in this and in every later line.
        snapshot.revert(0).await.unwrap();
        guest.assert_is_at(truth).await;
    }
    snapshot.delete(flag::CHILDREN).await.unwrap();
    guest.counts().await;
    guest.assert_clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_is_copied_ahead_without_userfaultfd() {
    is_copied_ahead(Qemu::Machine).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_is_copied_ahead_without_userfaultfd_by_the_second_qemu() {
    is_copied_ahead(Qemu::Backports).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_while_memory_is_copied_ahead_leaves_all_or_nothing() {
    let Some(mut scene) = Scene::new(Qemu::Machine).await else { return };
    let begun = Instant::now();
    scene.guest.create_with("first", Kind::Memory, flag::LIVE).await.unwrap();
    let whole = begun.elapsed();
    for n in 1..5u32 {
        let name = format!("s{n}");
        let call = {
            let (domain, xml) = (scene.guest.domain.clone(), scene.guest.snapshot_xml(&name, Kind::Memory));
            tokio::spawn(async move { domain.snapshot_create(&xml, flag::LIVE).await })
        };
        tokio::time::sleep(whole * n / 5).await;
        scene.daemon.kill().await;
        scene.daemon.spawn().await;
        let told = call.await.unwrap();
        // The recovery holds the domain until it has ended.
        while scene.guest.domain.set_autostart(false).await.is_err() {}
        scene.guest.counts().await;
        scene.guest.assert_no_strays().await;
        match scene.guest.domain.snapshot(&name).await {
            Ok(snapshot) => {
                let truth: Truth = scene.guest.truth(&snapshot).await;
                snapshot.revert(0).await.unwrap();
                scene.guest.assert_is_at(&truth).await;
            }
            Err(_) => assert!(told.is_err(), "a snapshot that was promised is there"),
        }
        assert_eq!(scene.guest.state().await, State::Running);
    }
    scene.guest.domain.snapshot("first").await.unwrap().delete(flag::CHILDREN).await.unwrap();
    scene.guest.assert_clean_but_leaks().await;
}

//! Bad input of every kind: a clear error in libvirt's words, no change, and the guest does what it
//! did before.

use crate::harness::client::{Failure, flag};
use crate::harness::events::event;
use crate::harness::{Daemon, Events, Guest, Kind, Refused, Spec, State, image};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Everything that a refused call could have changed.
struct Before {
    files: BTreeSet<PathBuf>,
    tags: Vec<Vec<String>>,
    names: Vec<String>,
    tops: Vec<PathBuf>,
    xml: String,
    state: State,
}

impl Before {
    async fn of(guest: &Guest) -> Self {
        let tops = guest.tops().await;
        Self {
            files: std::fs::read_dir(&guest.directory).unwrap().map(|e| e.unwrap().path()).collect(),
            tags: tops.iter().map(|top| image::tags(top)).collect(),
            names: guest.domain.names().await,
            tops,
            xml: guest.domain.xml(0).await.unwrap(),
            state: guest.state().await,
        }
    }

    async fn assert_unchanged(&self, guest: &Guest) {
        let now = Self::of(guest).await;
        assert_eq!(now.files, self.files);
        assert_eq!(now.tags, self.tags);
        assert_eq!(now.names, self.names);
        assert_eq!(now.tops, self.tops);
        assert_eq!(now.xml, self.xml);
        assert_eq!(now.state, self.state);
        if self.state == State::Running {
            guest.counts().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snapshot_documents_that_make_no_sense_are_refused() {
    let daemon = Daemon::start().await;
    let guest = Guest::define(&daemon, Spec::disks(2)).await.running().await;
    let target = guest.path("counter-0.taken");
    std::fs::write(&target, "somebody's data").unwrap();
    let taken = target.display();
    let existing = format!(
        "<domainsnapshot><name>x</name><disks><disk name='vda' snapshot='external'><source file='{taken}'/></disk>\
         </disks></domainsnapshot>"
    );
    let twice = format!(
        "<domainsnapshot><name>x</name><disks>\
         <disk name='vda' snapshot='external'><source file='{dir}/same'/></disk>\
         <disk name='vdb' snapshot='external'><source file='{dir}/same'/></disk></disks></domainsnapshot>",
        dir = guest.directory.display()
    );
    let nowhere = "<domainsnapshot><name>x</name><disks><disk name='vda' snapshot='external'>\
                   <source file='/nonexistent/directory/x'/></disk></disks></domainsnapshot>";
    let long = format!("<domainsnapshot><name>{}</name></domainsnapshot>", "n".repeat(300));
    let deep = format!("<domainsnapshot>{}</domainsnapshot>", "<a>".repeat(100_000));
    let cases: &[(&str, u32, &str)] = &[
        ("", 0, ""),
        ("<domainsnapshot>", 0, ""),
        ("<domainsnapshot><name>x</name", 0, ""),
        ("<domain/>", 0, "domainsnapshot"),
        ("<!DOCTYPE d [<!ENTITY a 'b'>]><domainsnapshot><name>&a;</name></domainsnapshot>", 0, ""),
        (&deep, 0, ""),
        (&long, 0, ""),
        ("<domainsnapshot><name>a/b</name></domainsnapshot>", 0, "name can't contain '/'"),
        ("<domainsnapshot><name>.a</name></domainsnapshot>", 0, "name can't start with '.'"),
        ("<domainsnapshot><memory snapshot='sometimes'/></domainsnapshot>", 0, "XML error: "),
        ("<domainsnapshot><memory snapshot='external'/></domainsnapshot>", 0, "XML error: "),
        ("<domainsnapshot><memory snapshot='external' file='relative'/></domainsnapshot>", 0, "XML error: "),
        ("<domainsnapshot><memory snapshot='internal' file='/x'/></domainsnapshot>", 0, "XML error: "),
        ("<domainsnapshot><memory snapshot='no'/></domainsnapshot>", 0, "Operation not supported: "),
        (
            "<domainsnapshot><disks><disk name='vdz' snapshot='external'/></disks></domainsnapshot>",
            flag::DISK_ONLY,
            "no disk named 'vdz'",
        ),
        (
            "<domainsnapshot><disks><disk name='vda'/><disk name='vda'/></disks></domainsnapshot>",
            flag::DISK_ONLY,
            "specified twice",
        ),
        ("<domainsnapshot><disks><disk snapshot='external'/></disks></domainsnapshot>", flag::DISK_ONLY, ""),
        (
            "<domainsnapshot><disks><disk name='vda' snapshot='perhaps'/></disks></domainsnapshot>",
            flag::DISK_ONLY,
            "XML error: ",
        ),
        (
            "<domainsnapshot><disks><disk name='vda' snapshot='external'><driver type='floppy'/></disk></disks>\
             </domainsnapshot>",
            flag::DISK_ONLY,
            "unsupported configuration: ",
        ),
        (
            "<domainsnapshot><disks><disk name='vda' snapshot='external'><source file='relative'/></disk></disks>\
             </domainsnapshot>",
            flag::DISK_ONLY,
            "XML error: ",
        ),
        (&existing, flag::DISK_ONLY, taken_text()),
        (&twice, flag::DISK_ONLY, ""),
        (nowhere, flag::DISK_ONLY, "No such file or directory"),
        ("<domainsnapshot/>", flag::REDEFINE, "a redefined snapshot must have a name"),
    ];
    for state in [State::Running, State::Paused, State::Off] {
        guest.enter(state).await;
        let before = Before::of(&guest).await;
        for (xml, flags, text) in cases {
            // A shut-off guest has no memory that an element could forbid to save.
            if state == State::Off && xml.contains("<memory snapshot='no'/>") {
                continue;
            }
            let said = guest.domain.snapshot_create(xml, *flags).await;
            let short: String = xml.chars().take(200).collect();
            assert!(said.is_err(), "{state:?}: {short}");
            said.refused(text);
            let files: BTreeSet<_> = std::fs::read_dir(&guest.directory).unwrap().map(|e| e.unwrap().path()).collect();
            assert_eq!(files, before.files, "{state:?}: {short}");
        }
        before.assert_unchanged(&guest).await;
    }
    assert_eq!(std::fs::read_to_string(&target).unwrap(), "somebody's data");
    std::fs::remove_file(&target).unwrap();
    guest.assert_clean().await;
}

fn taken_text() -> &'static str {
    "external snapshot file for disk vda already exists and is not a block device"
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_is_taken_once() {
    let daemon = Daemon::start().await;
    let guest = Guest::define(&daemon, Spec::disks(1)).await.running().await;
    for kind in [Kind::Internal, Kind::DiskOnly] {
        guest.create("x", kind).await.unwrap();
        let before = Before::of(&guest).await;
        guest.create("x", kind).await.refused("already exists");
        before.assert_unchanged(&guest).await;
        guest.domain.snapshot("x").await.unwrap().delete(0).await.unwrap();
    }
    // A tag that nobody told us about is somebody's snapshot, too.
    guest.enter(State::Off).await;
    let image = guest.tops().await.remove(0);
    let made = Command::new("qemu-img").args(["snapshot", "-c", "theirs"]).arg(&image).status().unwrap();
    assert!(made.success());
    let before = Before::of(&guest).await;
    guest.create("theirs", Kind::Internal).await.refused("theirs");
    before.assert_unchanged(&guest).await;
    guest.assert_clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_types_and_unknown_things_are_errors_of_the_bus() {
    let daemon = Daemon::start().await;
    let guest = Guest::define(&daemon, Spec::disks(1)).await.running().await;
    let wrong: Result<(), Failure> = guest.domain.call("SnapshotCreateXML", &(1u32, "x")).await;
    assert!(wrong.unwrap_err().name.starts_with("org.freedesktop.DBus.Error."));
    let none: Result<(), Failure> = guest.domain.call("Explode", &()).await;
    assert_eq!(none.unwrap_err().name, "org.freedesktop.DBus.Error.UnknownMethod");
    guest.domain.snapshot("nothing").await.refused("Domain snapshot not found: ");
    daemon.client.lookup("nobody").await.refused("Domain not found: ");
    let mut gone = guest.domain.clone();
    gone.path = "/org/libvirt/QEMU/domain/_00000000_0000_0000_0000_000000000000".into();
    gone.state().await.refused("Domain not found: ");
    for path in ["/org/libvirt/QEMU/domain/_x", "/org/libvirt/QEMU/domain", "/org/libvirt/QEMU/domainsnapshot/_"] {
        gone.path = path.into();
        gone.state().await.unwrap_err();
    }
    let snapshot = guest.create("gone", Kind::Internal).await.unwrap();
    snapshot.delete(0).await.unwrap();
    snapshot.xml().await.refused("Domain snapshot not found: ");
    guest.counts().await;
    guest.assert_clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn domain_documents_that_cannot_be_run_as_written_are_refused() {
    let daemon = Daemon::start().await;
    let guest = Guest::define(&daemon, Spec::disks(1)).await;
    let good = guest.definition();
    let uuid = format!("<uuid>{}</uuid>", guest.spec.uuid);
    let with = |from: &str, to: &str| {
        good.replacen(from, to, 1).replace("<name>counter</name>", "<name>bad</name>").replace(&uuid, "")
    };
    let cases = [
        (String::new(), ""),
        ("<domain".to_owned(), ""),
        ("<domain type='qemu'><name>x</name></domain>".to_owned(), ""),
        (with("type='qemu'>", "type='vmware'>"), ""),
        (with("arch='x86_64'", "arch='z80'"), ""),
        (with("<memory unit='MiB'>32</memory>", "<memory unit='MiB'>much</memory>"), ""),
    ];
    for (xml, text) in &cases {
        daemon.client.define(xml).await.refused(text);
    }
    assert_eq!(daemon.client.list(0).await.unwrap().len(), 1);
    // The definition of an existing one is not hurt either.
    let before = Before::of(&guest).await;
    daemon.client.define(&good.replace("type='qemu'>", "type='vmware'>")).await.refused("");
    before.assert_unchanged(&guest).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_image_is_found_before_anything_is_done() {
    let daemon = Daemon::start().await;
    let guest = Guest::define(&daemon, Spec::disks(2)).await;
    guest.enter(State::Off).await;
    let one = guest.take("one", Kind::DiskOnly).await;
    guest.enter(State::Running).await;

    // The frozen image of a snapshot is gone: no revert, and the guest is not even stopped.
    let frozen = guest.path("counter-1.qcow2");
    let hidden = guest.path("hidden");
    std::fs::rename(&frozen, &hidden).unwrap();
    let counter = guest.last().memory;
    let before = (guest.domain.names().await, guest.state().await);
    guest.domain.snapshot("one").await.unwrap().revert(0).await.refused("vdb");
    assert_eq!((guest.domain.names().await, guest.state().await), before);
    guest.wait_beyond(counter + 2).await;
    guest.domain.destroy().await.unwrap();

    // A disk's own chain is broken: no start, no snapshot.
    guest.domain.create(0).await.refused("counter-1.qcow2");
    assert_eq!(guest.state().await, State::Off);
    std::fs::rename(&hidden, &frozen).unwrap();

    // The image itself is not there.
    let top = guest.tops().await.remove(1);
    std::fs::rename(&top, &hidden).unwrap();
    guest.domain.create(0).await.refused("counter-1.one");
    for kind in [Kind::DiskOnly, Kind::Internal] {
        guest.create("two", kind).await.refused("");
    }
    assert_eq!(guest.domain.names().await, ["one"]);
    assert!(!guest.path("counter-0.two").exists());
    std::fs::rename(&hidden, &top).unwrap();

    guest.domain.snapshot("one").await.unwrap().revert(0).await.unwrap();
    guest.assert_is_at(&one).await;
    guest.assert_clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_or_damaged_memory_file_stops_no_guest() {
    let daemon = Daemon::start().await;
    let guest = Guest::define(&daemon, Spec::disks(1)).await.running().await;
    let one = guest.take("one", Kind::Memory).await;
    guest.take("two", Kind::Memory).await;
    let file = guest.memory_file("one");
    let good = std::fs::read(&file).unwrap();
    let counter = guest.last().memory;

    std::fs::remove_file(&file).unwrap();
    guest.domain.snapshot("one").await.unwrap().revert(0).await.refused("counter.one.mem");
    std::fs::write(&file, b"LibvirtQemudPart").unwrap();
    guest.domain.snapshot("one").await.unwrap().revert(0).await.refused("");
    std::fs::write(&file, b"").unwrap();
    guest.domain.snapshot("one").await.unwrap().revert(0).await.refused("");
    assert_eq!(guest.state().await, State::Running);
    guest.wait_beyond(counter + 2).await;
    guest.assert_agreement();
    assert_eq!(guest.domain.current().await.unwrap().name(), "two");

    std::fs::write(&file, good).unwrap();
    guest.domain.snapshot("one").await.unwrap().revert(0).await.unwrap();
    guest.assert_is_at(&one).await;
    guest.assert_clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_in_use_elsewhere_is_left_alone() {
    let daemon = Daemon::start().await;
    let guest = Guest::define(&daemon, Spec::disks(1)).await;
    guest.enter(State::Off).await;
    guest.take("one", Kind::Internal).await;
    let before = Before::of(&guest).await;
    // Another hypervisor, not ours, has the image open.
    let image = guest.tops().await.remove(0);
    let mut other = Command::new(&guest.spec.emulator)
        .args(["-accel", "tcg", "-M", "pc", "-nodefaults", "-display", "none", "-S", "-drive"])
        .arg(format!("file={},format=qcow2,if=ide", image.display()))
        .spawn()
        .unwrap();
    crate::harness::eventually("it has the image", || async {
        let fds = std::fs::read_dir(format!("/proc/{}/fd", other.id())).ok()?;
        fds.flatten().any(|fd| std::fs::read_link(fd.path()).is_ok_and(|l| l == image)).then_some(())
    })
    .await;
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;

    guest.create("two", Kind::Internal).await.refused("");
    guest.domain.create(0).await.refused("");
    assert_eq!(guest.state().await, State::Off);
    guest.domain.snapshot("one").await.unwrap().revert(0).await.refused("");
    assert_eq!(guest.domain.names().await, ["one"]);
    other.kill().unwrap();
    other.wait().unwrap();
    before.assert_unchanged(&guest).await;
    guest.enter(State::Running).await;
    guest.counts().await;
    guest.assert_clean_but_leaks().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_qemu_nothing_starts_and_the_error_names_it() {
    let daemon = Daemon::start().await;
    let mut spec = Spec::disks(1);
    spec.emulator = "/nonexistent/qemu-system-x86_64".into();
    let directory = daemon.images().to_owned();
    image::create(&crate::harness::guest::disk_path(&spec, &directory, 0), &spec);
    let xml = crate::harness::guest::xml(&spec, &directory);
    // It may be said at define or at start, as libvirt's versions differ; it is said.
    match daemon.client.define(&xml).await {
        Err(failure) => assert!(failure.text.contains("/nonexistent/qemu-system-x86_64"), "{failure}"),
        Ok(domain) => {
            domain.create(0).await.refused("/nonexistent/qemu-system-x86_64");
            assert_eq!(domain.state().await.unwrap().0, 5);
            // What needs no QEMU works.
            let snapshot = domain.snapshot_create("<domainsnapshot><name>x</name></domainsnapshot>", 0).await.unwrap();
            snapshot.revert(0).await.unwrap();
            snapshot.delete(0).await.unwrap();
            domain.undefine(0).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_stops_the_snapshot_and_not_the_guest() {
    let daemon = Daemon::start().await;
    let small = daemon.images().join("small");
    let Some(_mount) = Tmpfs::mount(&small, "24m") else { return };
    let spec = Spec { memory_mib: 128, paint: 100, ..Spec::disks(2) };
    let guest = Guest::define(&daemon, spec).await.running().await;
    let before = Before::of(&guest).await;

    // The memory does not fit.
    let memory = format!(
        "<domainsnapshot><name>x</name><memory snapshot='external' file='{}/x.mem'/></domainsnapshot>",
        small.display()
    );
    guest.domain.snapshot_create(&memory, 0).await.refused("No space left on device");
    assert_eq!(std::fs::read_dir(&small).unwrap().count(), 0, "nothing is left there");
    before.assert_unchanged(&guest).await;

    // Not even the overlay fits.
    std::fs::write(small.join("ballast"), vec![1u8; 23 << 20]).unwrap();
    let fill = std::fs::write(small.join("more"), vec![1u8; 2 << 20]);
    assert!(fill.is_err(), "the disk is full");
    let overlay = format!(
        "<domainsnapshot><name>x</name><disks><disk name='vda' snapshot='external'><source file='{}/x'/></disk>\
         </disks></domainsnapshot>",
        small.display()
    );
    guest.domain.snapshot_create(&overlay, flag::DISK_ONLY).await.refused("No space left on device");
    before.assert_unchanged(&guest).await;
    guest.assert_clean().await;
}

/// K14: libvirt's metadata comes last, and a snapshot of which it could not be written is forgotten, its overlays with the
/// guest's data left to nobody. Here the journal comes first, and what was switched is written down when there is room.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_state_directory_loses_no_snapshot_and_no_file() {
    let mut daemon = Daemon::start().await;
    let guest = Guest::define(&daemon, Spec::disks(1)).await.running().await;
    assert!(daemon.stop().await.success());
    let (state, before) = (daemon.state_directory(), daemon.images().join("state"));
    let copied = |from: &Path, to: &Path| Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success();
    std::fs::rename(&state, &before).unwrap();
    let Some(_mount) = Tmpfs::mount(&state, "8m") else { return };
    assert!(copied(&before.join("."), &state));
    daemon.spawn().await;

    let ballast = state.join("ballast");
    let mut refused = 0;
    for kib in [0, 12, 24, 32, 48, 64, 128] {
        let _ = std::fs::write(&ballast, vec![1_u8; 16 << 20]);
        let full = std::fs::metadata(&ballast).unwrap().len();
        std::fs::File::options().write(true).open(&ballast).unwrap().set_len(full - kib * 1024).unwrap();
        let said = guest.create("s", Kind::DiskOnly).await.map(drop);
        guest.counts().await;
        std::fs::remove_file(&ballast).unwrap();
        // The next change ends what was left open.
        let after = guest.take("after", Kind::DiskOnly).await;
        let names = guest.domain.names().await;
        match &said {
            Ok(()) => assert_eq!(names, ["after", "s"], "{kib} KiB"),
            Err(failure) => {
                refused += 1;
                assert_eq!(failure.name, "org.libvirt.Error", "{kib} KiB: {failure}");
                assert!(failure.text.contains("full") || failure.text.contains("No space"), "{kib} KiB: {failure}");
            }
        }
        guest.assert_no_strays().await;
        for name in &names {
            guest.domain.snapshot(name).await.unwrap().revert(flag::REVERT_RUNNING).await.unwrap();
            guest.counts().await;
        }
        guest.domain.snapshot("after").await.unwrap().revert(flag::REVERT_RUNNING).await.unwrap();
        guest.assert_is_at(&after).await;
        for name in &names {
            guest.domain.snapshot(name).await.unwrap().delete(0).await.unwrap();
        }
        guest.assert_no_strays().await;
    }
    assert!(refused > 0, "the directory was never full");
    guest.assert_clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_internal_snapshot_on_a_full_disk_leaves_no_tag() {
    let daemon = Daemon::start().await;
    let small = daemon.images().join("small");
    let Some(_mount) = Tmpfs::mount(&small, "24m") else { return };
    // The failed save keeps the space it took inside the image (QEMU), so the guest needs its own beforehand.
    let spec =
        Spec { memory_mib: 128, paint: 100, directory: Some(small.clone()), preallocation: "full", ..Spec::disks(2) };
    let guest = Guest::define(&daemon, spec).await.running().await;
    let before = Before::of(&guest).await;
    guest.create("x", Kind::Internal).await.refused("snapshot-save");
    before.assert_unchanged(&guest).await;
    guest.assert_clean_but_leaks().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_whose_disk_is_full_waits_for_room() {
    let daemon = Daemon::start().await;
    let small = daemon.images().join("small");
    let Some(_mount) = Tmpfs::mount(&small, "8m") else { return };
    let events = Events::listen(&daemon.client).await;
    let spec = Spec { directory: Some(small.clone()), ..Spec::disks(1) };
    let guest = Guest::define(&daemon, spec).await.running().await;
    let ballast = small.join("ballast");
    let _ = std::fs::write(&ballast, vec![1u8; 16 << 20]);
    events.wait(event::SUSPENDED_IOERROR).await;
    assert_eq!(guest.domain.state().await.unwrap(), (3, 5), "paused, I/O error");
    std::fs::remove_file(&ballast).unwrap();
    guest.domain.resume().await.unwrap();
    guest.counts().await;
    guest.assert_clean().await;
}

/// A small disk. Only root can mount one.
struct Tmpfs(PathBuf);

impl Tmpfs {
    fn mount(at: &Path, size: &str) -> Option<Self> {
        std::fs::create_dir(at).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(at);
        if mount.status().is_ok_and(|s| s.success()) {
            return Some(Self(at.to_owned()));
        }
        let root = rustix::process::geteuid().is_root();
        assert!(!root, "root could not mount a tmpfs: the full-disk tests did not run");
        println!("SKIP: full disk: only root can mount a small tmpfs");
        None
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        // A QEMU may still have a file open there.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

//! What libvirt gets wrong and nothing else here tests: `src/plan/defects.rs` has the list, and the number
//! at each test is its row.

use crate::harness::client::flag;
use crate::harness::events::event;
use crate::harness::image::{self, Content};
use crate::harness::{Daemon, Events, Guest, Kind, Refused, Spec, State};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// The document without that element.
fn without(xml: &str, element: &str) -> String {
    let (start, end) = (format!("<{element}>"), format!("</{element}>\n"));
    let (from, to) = (xml.find(&start).unwrap(), xml.find(&end).unwrap() + end.len());
    format!("{}{}", &xml[..from], &xml[to..])
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn listing(directory: &Path) -> Vec<std::ffi::OsString> {
    let mut names: Vec<_> = std::fs::read_dir(directory).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    names
}

/// K2: libvirt's daemon looked for the disks by place in a list that was not there, and crashed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redefined_snapshot_that_lists_no_disks_is_reverted_to_and_deleted() {
    let daemon = Daemon::start().await;
    let guest = Guest::define(&daemon, Spec::disks(2)).await.running().await;
    let truth = guest.take("s", Kind::Internal).await;
    let snapshot = guest.domain.snapshot("s").await.unwrap();
    let dump = snapshot.xml().await.unwrap();
    snapshot.delete(flag::METADATA_ONLY).await.unwrap();
    guest.domain.snapshot_create(&without(&dump, "disks"), flag::REDEFINE).await.unwrap();
    guest.advance().await;
    snapshot.revert(0).await.unwrap();
    guest.assert_is_at(&truth).await;
    snapshot.delete(0).await.unwrap();
    assert!(image::tags(&guest.tops().await[1]).is_empty());
    guest.counts().await;
    guest.assert_clean().await;
}

/// K3: libvirt unlinked the overlay of whatever was current, needed or not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revert_keeps_every_image_that_a_snapshot_needs() {
    let daemon = Daemon::start().await;
    let guest = Guest::define(&daemon, Spec::disks(1)).await.running().await;
    let mut truths = Vec::new();
    for name in ["a", "b", "c"] {
        truths.push(guest.take(name, Kind::DiskOnly).await);
        guest.advance().await;
    }
    let snapshot = |n: usize| {
        let (domain, name) = (guest.domain.clone(), ["a", "b", "c"][n]);
        async move { domain.snapshot(name).await.unwrap() }
    };
    // Another one is said to be current than the one that the guest came from: its overlay is beneath the others.
    for (current, target) in [(0, 2), (1, 0), (0, 1), (2, 2), (1, 2), (0, 0)] {
        let dump = snapshot(current).await.xml().await.unwrap();
        guest.domain.snapshot_create(&dump, flag::REDEFINE | flag::CURRENT).await.unwrap();
        snapshot(target).await.revert(flag::REVERT_RUNNING).await.unwrap();
        guest.assert_is_at(&truths[target]).await;
    }
    // A child that was forgotten and came back without being current.
    let dump = snapshot(2).await.xml().await.unwrap();
    snapshot(2).await.revert(flag::REVERT_RUNNING).await.unwrap();
    snapshot(2).await.delete(flag::METADATA_ONLY).await.unwrap();
    guest.domain.snapshot_create(&dump, flag::REDEFINE).await.unwrap();
    assert_eq!(guest.domain.current().await.unwrap().name(), "b");
    for target in [2, 1, 2, 0] {
        snapshot(target).await.revert(flag::REVERT_RUNNING).await.unwrap();
        guest.assert_is_at(&truths[target]).await;
    }
    guest.assert_clean().await;
}

/// K5: libvirt reverted to it, whose frozen image was partly overwritten.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_whose_deletion_was_begun_is_not_reverted_to() {
    let daemon = Daemon::start().await;
    let guest = Guest::define(&daemon, Spec::disks(1)).await.running().await;
    guest.take("s", Kind::DiskOnly).await;
    let snapshot = guest.domain.snapshot("s").await.unwrap();
    let dump = snapshot.xml().await.unwrap();
    let marked = dump.replacen("      <driver", "      <snapshotDeleteInProgress/>\n      <driver", 1);
    guest.domain.snapshot_create(&marked, flag::REDEFINE).await.unwrap();
    let counter = guest.last().memory;
    for flags in [0, flag::REVERT_RUNNING, flag::REVERT_FORCE] {
        snapshot.revert(flags).await.refused("snapshot disk 'vda' was target of not completed snapshot delete");
    }
    assert_eq!(guest.state().await, State::Running);
    guest.wait_beyond(counter + 2).await;
    guest.assert_agreement();
}

/// K18: libvirt overwrote it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_memory_file_that_is_there_is_not_overwritten() {
    let daemon = Daemon::start().await;
    let guest = Guest::define(&daemon, Spec::disks(1)).await.running().await;
    let file = guest.memory_file("s");
    std::fs::write(&file, "somebody's data").unwrap();
    for state in [State::Running, State::Paused] {
        guest.enter(state).await;
        guest.create("s", Kind::Memory).await.refused("counter.s.mem' already exists");
        assert_eq!(guest.state().await, state);
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "somebody's data");
    assert!(guest.domain.names().await.is_empty());
    std::fs::remove_file(&file).unwrap();
    guest.enter(State::Running).await;
    guest.counts().await;
    guest.assert_clean().await;
}

/// K21: libvirt named the overlay of a revert by the second.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reverts_within_one_second_do_not_meet() {
    let daemon = Daemon::start().await;
    let guest = Guest::define(&daemon, Spec::disks(2)).await;
    guest.enter(State::Off).await;
    let a = guest.take("a", Kind::DiskOnly).await;
    guest.advance().await;
    let b = guest.take("b", Kind::DiskOnly).await;
    for truth in [&a, &a, &b, &b, &a, &b, &a] {
        guest.domain.snapshot(&truth.name).await.unwrap().revert(0).await.unwrap();
        guest.assert_no_strays().await;
        guest.assert_is_at(truth).await;
    }
    guest.assert_clean().await;
}

/// K23: libvirt boots the machine, paused, to merge the images of one that is off.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deletion_while_off_starts_nothing_and_tells_nothing() {
    let daemon = Daemon::start().await;
    let guest = Guest::define(&daemon, Spec::disks(2)).await;
    guest.enter(State::Off).await;
    for name in ["a", "b", "c"] {
        guest.take(name, Kind::DiskOnly).await;
        guest.advance().await;
    }
    let before: Vec<_> = guest.tops().await.iter().map(|top| Content::of(top)).collect();
    let events = Events::listen(&daemon.client).await;
    for name in ["b", "a", "c"] {
        guest.domain.snapshot(name).await.unwrap().delete(0).await.unwrap();
        assert!(daemon.hypervisors().is_empty());
        let now: Vec<_> = guest.tops().await.iter().map(|top| Content::of(top)).collect();
        assert_eq!(now, before, "{name}");
    }
    guest.domain.create(0).await.unwrap();
    events.wait(event::STARTED_BOOTED).await;
    assert_eq!(events.lifecycle(), [event::RESUMED_UNPAUSED, event::STARTED_BOOTED], "of the start alone");
    guest.counts().await;
    guest.assert_clean().await;
}

/// K24: libvirt gave the disc an overlay, beside it in the directory of discs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disc_in_the_drive_gets_no_overlay_from_a_revert() {
    let daemon = Daemon::start().await;
    let discs = daemon.images().join("discs");
    std::fs::create_dir(&discs).unwrap();
    let disc = discs.join("disc.iso");
    std::fs::write(&disc, vec![7_u8; 64 << 10]).unwrap();
    let devices = format!(
        "<disk type='file' device='cdrom'><driver name='qemu' type='raw'/><source file='{}'/>\
         <target dev='hdc' bus='ide'/><readonly/></disk>",
        disc.display()
    );
    let guest = Guest::define(&daemon, Spec { devices, ..Spec::disks(1) }).await;
    for (name, state) in [("off", State::Off), ("on", State::Running)] {
        guest.enter(state).await;
        let snapshot = guest.create(name, Kind::DiskOnly).await.unwrap();
        for flags in [0, flag::REVERT_RUNNING] {
            snapshot.revert(flags).await.unwrap();
            assert_eq!(guest.tops().await[1], disc);
            assert_eq!(listing(&discs), ["disc.iso"]);
        }
        guest.counts().await;
        assert!(!snapshot.xml().await.unwrap().contains("<disk name='hdc' snapshot='external'"));
    }
    assert_eq!(std::fs::read(&disc).unwrap(), vec![7_u8; 64 << 10]);
    guest.domain.destroy().await.unwrap();
}

/// K26: a `manual` disk is the caller's to copy while the guest stands still: the file must be whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_image_of_a_manual_disk_is_whole_while_the_guest_stands_still() {
    let daemon = Daemon::start().await;
    let guest = Guest::define(&daemon, Spec::disks(2)).await.running().await;
    let xml = "<domainsnapshot><name>s</name><disks><disk name='vda' snapshot='external'/>\
               <disk name='vdb' snapshot='manual'/></disks></domainsnapshot>";
    let snapshot = guest.domain.snapshot_create(xml, flag::DISK_ONLY).await.unwrap();
    assert_eq!(guest.state().await, State::Paused);
    let copy = guest.path("copy.qcow2");
    std::fs::copy(guest.path("counter-1.qcow2"), &copy).unwrap();
    image::assert_sound(&copy, false);
    let (frozen, copied) = (Content::of(&guest.path("counter-0.qcow2")), Content::of(&copy));
    copied.assert_whole();
    // The guest writes one disk after the other.
    assert!(copied.stamp.abs_diff(frozen.stamp) <= 1, "{copied:?} {frozen:?}");
    guest.domain.resume().await.unwrap();
    guest.counts().await;
    snapshot.delete(0).await.unwrap();
    guest.counts().await;
    let only = "<domainsnapshot><disks><disk name='vda' snapshot='manual'/><disk name='vdb' snapshot='manual'/></disks>\
                </domainsnapshot>";
    guest.domain.snapshot_create(only, flag::DISK_ONLY).await.refused("nothing selected for snapshot");
    assert_eq!(guest.state().await, State::Running);
    guest.assert_clean().await;
}

/// K31: a redefinition may be wrong about the images; then the revert is refused, and nothing is lost by it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_redefined_as_what_it_is_not_is_refused_and_loses_nothing() {
    let daemon = Daemon::start().await;
    let guest = Guest::define(&daemon, Spec::disks(1)).await;
    guest.enter(State::Off).await;
    let truth = guest.take("s", Kind::DiskOnly).await;
    guest.advance().await;
    let snapshot = guest.domain.snapshot("s").await.unwrap();
    let dump = snapshot.xml().await.unwrap();
    let now = Content::of(&guest.tops().await[0]);

    // Without its disks it is an internal one, whose tag no image has.
    guest.domain.snapshot_create(&without(&dump, "disks"), flag::REDEFINE).await.unwrap();
    snapshot.revert(0).await.refused("does not have internal snapshot 's'");
    // Another image than the one that it froze.
    let elsewhere = dump.replace("counter-0.qcow2", "counter-9.qcow2");
    guest.domain.snapshot_create(&elsewhere, flag::REDEFINE).await.unwrap();
    snapshot.revert(0).await.refused("counter-9.qcow2");
    assert_eq!(Content::of(&guest.tops().await[0]), now);

    guest.domain.snapshot_create(&dump, flag::REDEFINE).await.unwrap();
    snapshot.revert(0).await.unwrap();
    guest.assert_is_at(&truth).await;
    guest.assert_clean().await;
}

/// K34: libvirt writes more than it reads again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_snapshot_outlives_a_restart() {
    let mut daemon = Daemon::start().await;
    let guest = Guest::define(&daemon, Spec::disks(1)).await;
    // Also what must be escaped, and white space that must stay.
    let words = format!("<&>\"'\t\n\u{e9}{}", "long ".repeat(600_000));
    let escaped = words.replace('&', "&amp;").replace('<', "&lt;");
    let xml = format!("<domainsnapshot><name>s</name><description>{escaped}</description></domainsnapshot>");
    guest.domain.snapshot_create(&xml, 0).await.unwrap();
    let before = guest.domain.snapshot("s").await.unwrap().xml().await.unwrap();
    let document = roxmltree::Document::parse(&before).unwrap();
    assert!(document.descendants().any(|n| n.has_tag_name("description") && n.text() == Some(&words)));
    assert!(daemon.stop().await.success());
    daemon.spawn().await;
    assert_eq!(guest.domain.snapshot("s").await.unwrap().xml().await.unwrap(), before);
    assert_eq!(guest.domain.current().await.unwrap().name(), "s");
    // What XML cannot say at all does not get in.
    for bad in ["\u{1a}", "&#26;", "\u{1}"] {
        let xml = format!("<domainsnapshot><name>t</name><description>{bad}</description></domainsnapshot>");
        guest.domain.snapshot_create(&xml, 0).await.refused("at line 1: ");
    }
    assert_eq!(guest.domain.names().await, ["s"]);
}

/// K35 (CVE-2025-13193): libvirt's overlays of a machine that is off were readable by everybody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_snapshot_makes_is_nobody_elses_to_read() {
    let daemon = Daemon::start().await;
    let guest = Guest::define(&daemon, Spec::disks(1)).await;
    guest.enter(State::Off).await;
    guest.create("off", Kind::DiskOnly).await.unwrap();
    guest.enter(State::Running).await;
    guest.create("on", Kind::Memory).await.unwrap();
    for made in ["counter-0.off", "counter-0.on", "counter.on.mem"] {
        assert_eq!(mode(&guest.path(made)) & 0o077, 0, "{made}");
    }
    guest.domain.snapshot("off").await.unwrap().revert(0).await.unwrap();
    assert_eq!(mode(&guest.tops().await[0]) & 0o077, 0);
    guest.assert_clean().await;
}

/// K36: libvirt believed on redefine what only itself may say.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_only_the_daemon_may_say_is_not_believed() {
    let daemon = Daemon::start().await;
    let guest = Guest::define(&daemon, Spec::disks(1)).await;
    let dump = guest.create("s", Kind::DiskOnly).await.unwrap().xml().await.unwrap();
    let overlay = format!("<source file='{}'/>", guest.path("counter-0.s").display());
    let private = overlay.replace("/>", "><privateData><nodenames/></privateData></source>");
    let said = dump.replace(&overlay, &private);
    assert_ne!(said, dump);
    guest.domain.snapshot_create(&said, flag::REDEFINE | flag::VALIDATE).await.refused("extra content: privateData");
    guest.domain.snapshot_create(&said, flag::REDEFINE).await.unwrap();
    assert_eq!(guest.domain.snapshot("s").await.unwrap().xml().await.unwrap(), dump);
}

/// K37: a disk that the document does not list and the domain wants external.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_its_domain_wants_external_is_refused_before_anything_is_done() {
    let daemon = Daemon::start().await;
    let guest = Guest::define(&daemon, Spec::disks(2)).await;
    guest.enter(State::Off).await;
    let disk = "<disk type='file' device='disk'>";
    let (first, second) = guest.definition().rsplit_once(disk).map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    let changed = format!("{first}<disk type='file' device='disk' snapshot='external'>{second}");
    daemon.client.define(&changed).await.unwrap();
    for state in [State::Off, State::Running] {
        guest.enter(state).await;
        guest.create("s", Kind::Internal).await.refused("mixing internal and external targets for a snapshot");
        assert_eq!(guest.state().await, state);
        assert!(guest.domain.names().await.is_empty());
        assert!(image::tags(&guest.path("counter-0.qcow2")).is_empty());
    }
    guest.counts().await;
    guest.assert_clean().await;
}

//! What each flag of create, revert, delete and undefine does to a real guest, and that a flag
//! which is not done yet is refused, never ignored.

use crate::harness::client::flag;
use crate::harness::events::event;
use crate::harness::image::{self, Content};
use crate::harness::{Daemon, Events, Guest, Kind, Refused, Spec, State};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn halt_stops_the_guest_at_the_snapshot() {
    let daemon = Daemon::start().await;
    let guest = Guest::define(&daemon, Spec::disks(2)).await.running().await;
    let events = Events::listen(&daemon.client).await;
    for (name, kind) in [("internal", Kind::Internal), ("memory", Kind::Memory), ("disks", Kind::DiskOnly)] {
        guest.enter(State::Running).await;
        events.clear();
        let snapshot = guest.create_with(name, kind, flag::HALT).await.unwrap();
        assert_eq!(guest.state().await, State::Off);
        events.wait(event::STOPPED_FROM_SNAPSHOT).await;
        assert!(daemon.hypervisors().is_empty());
        let truth = guest.truth(&snapshot).await;
        if kind != Kind::DiskOnly {
            snapshot.revert(0).await.unwrap();
            guest.assert_is_at(&truth).await;
        }
    }
    guest.assert_clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_metadata_switches_the_disks_and_remembers_nothing() {
    let daemon = Daemon::start().await;
    let guest = Guest::define(&daemon, Spec::disks(1)).await.running().await;
    let snapshot = guest.create_with("x", Kind::DiskOnly, flag::NO_METADATA).await.unwrap();
    assert_eq!(snapshot.name(), "x");
    assert!(guest.domain.names().await.is_empty());
    guest.domain.current().await.refused("the domain does not have a current snapshot");
    assert_eq!(guest.tops().await, [guest.path("counter-0.x")]);
    guest.counts().await;
    guest.assert_clean().await;
    guest.domain.undefine(0).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reuse_ext_takes_the_overlays_that_the_caller_has_made() {
    let daemon = Daemon::start().await;
    let guest = Guest::define(&daemon, Spec::disks(2)).await.running().await;
    let xml = |name: &str| {
        let disk = |n: usize, target: &str| {
            let file = guest.path(&format!("counter-{n}.mine-{name}"));
            format!("<disk name='{target}' snapshot='external'><source file='{}'/></disk>", file.display())
        };
        format!(
            "<domainsnapshot><name>{name}</name><disks>{}{}</disks></domainsnapshot>",
            disk(0, "vda"),
            disk(1, "vdb")
        )
    };
    for (name, state) in [("on", State::Running), ("off", State::Off)] {
        guest.enter(state).await;
        for (n, top) in guest.tops().await.iter().enumerate() {
            image::overlay(&guest.path(&format!("counter-{n}.mine-{name}")), top);
        }
        let snapshot = guest.domain.snapshot_create(&xml(name), flag::DISK_ONLY | flag::REUSE_EXT).await.unwrap();
        assert_eq!(guest.tops().await[1], guest.path(&format!("counter-1.mine-{name}")));
        guest.enter(State::Running).await;
        guest.counts().await;
        let truth = guest.truth(&snapshot).await;
        snapshot.revert(0).await.unwrap();
        guest.assert_is_at(&truth).await;
    }
    // Overlays that are not there: refused, and nothing is made.
    guest.domain.snapshot_create(&xml("missing"), flag::DISK_ONLY | flag::REUSE_EXT).await.refused("missing");
    assert!(!guest.path("counter-0.mine-missing").exists());
    assert_eq!(guest.domain.names().await, ["off", "on"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redefine_restores_forgotten_metadata_and_current_chooses() {
    let daemon = Daemon::start().await;
    let guest = Guest::define(&daemon, Spec::disks(1)).await.running().await;
    let one = guest.take("one", Kind::Memory).await;
    guest.advance().await;
    let two = guest.take("two", Kind::Memory).await;
    let mut dumps = Vec::new();
    for name in ["one", "two"] {
        dumps.push(guest.domain.snapshot(name).await.unwrap().xml().await.unwrap());
    }

    guest.domain.snapshot("one").await.unwrap().delete(flag::METADATA_ONLY | flag::CHILDREN).await.unwrap();
    assert!(guest.domain.names().await.is_empty());
    for truth in [&one, &two] {
        assert!(guest.memory_file(&truth.name).exists(), "metadata only: no file goes");
    }

    guest.domain.snapshot_create(&dumps[1], flag::REDEFINE).await.refused("parent one");
    for dump in &dumps {
        guest.domain.snapshot_create(dump, flag::REDEFINE).await.unwrap();
    }
    guest.domain.current().await.refused("the domain does not have a current snapshot");
    guest.domain.snapshot_create(&dumps[1], flag::REDEFINE | flag::CURRENT).await.unwrap();
    assert_eq!(guest.domain.current().await.unwrap().name(), "two");
    for (name, dump) in ["one", "two"].iter().zip(&dumps) {
        assert_eq!(&guest.domain.snapshot(name).await.unwrap().xml().await.unwrap(), dump);
    }
    for truth in [one, two] {
        guest.domain.snapshot(&truth.name).await.unwrap().revert(0).await.unwrap();
        guest.assert_is_at(&truth).await;
    }
    guest.assert_clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revert_running_and_paused_override_the_recorded_state() {
    let daemon = Daemon::start().await;
    let guest = Guest::define(&daemon, Spec::disks(2)).await.running().await;
    let running = guest.take("running", Kind::Memory).await;
    guest.enter(State::Paused).await;
    let paused = guest.take("paused", Kind::Memory).await;
    guest.enter(State::Off).await;
    let off = guest.take("off", Kind::DiskOnly).await;
    for truth in [&running, &paused, &off] {
        let snapshot = guest.domain.snapshot(&truth.name).await.unwrap();
        for (flags, expected) in [
            (flag::REVERT_PAUSED, State::Paused),
            (flag::REVERT_RUNNING, State::Running),
            (flag::REVERT_RUNNING | flag::REVERT_FORCE, State::Running),
        ] {
            snapshot.revert(flags).await.unwrap();
            assert_eq!(guest.state().await, expected, "{} with flags {flags}", truth.name);
            guest.assert_is_at(truth).await;
        }
        snapshot.revert(flag::REVERT_RUNNING | flag::REVERT_PAUSED).await.refused("mutually exclusive");
    }
    guest.assert_clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revert_to_a_snapshot_without_a_domain_wants_force() {
    let daemon = Daemon::start().await;
    let guest = Guest::define(&daemon, Spec::disks(1)).await;
    let xml = "<domainsnapshot><name>old</name><state>shutoff</state><creationTime>1</creationTime>\
               <disks><disk name='vda' snapshot='internal'/></disks></domainsnapshot>";
    guest.take("new", Kind::Internal).await;
    // A legacy document: its definition was not recorded. libvirt refuses the new name ("missing
    // domain in snapshot"), so that such a snapshot never gets in.
    guest.domain.snapshot_create(xml, flag::REDEFINE).await.refused("missing domain in snapshot");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn delete_children_takes_the_whole_branch() {
    for kind in [Kind::Internal, Kind::DiskOnly] {
        let daemon = Daemon::start().await;
        let guest = Guest::define(&daemon, Spec::disks(2)).await.running().await;
        let root = guest.take("root", kind).await;
        for name in ["a", "b"] {
            guest.advance().await;
            guest.take(name, kind).await;
        }
        guest.domain.snapshot("root").await.unwrap().revert(flag::REVERT_RUNNING).await.unwrap();
        guest.assert_is_at(&root).await;
        let other = guest.take("other", kind).await;
        guest.advance().await;

        let snapshot = |name: &'static str| {
            let domain = guest.domain.clone();
            async move { domain.snapshot(name).await.unwrap() }
        };
        snapshot("a").await.delete(flag::CHILDREN | flag::CHILDREN_ONLY).await.refused("mutually exclusive");
        snapshot("a").await.delete(flag::CHILDREN_ONLY).await.unwrap();
        assert_eq!(guest.domain.names().await, ["a", "other", "root"]);
        guest.assert_no_strays().await;
        snapshot("a").await.delete(flag::CHILDREN).await.unwrap();
        guest.assert_no_strays().await;
        guest.counts().await;
        snapshot("other").await.revert(flag::REVERT_RUNNING).await.unwrap();
        guest.assert_is_at(&other).await;
        snapshot("root").await.delete(flag::CHILDREN).await.unwrap();
        assert!(guest.domain.names().await.is_empty());
        guest.counts().await;
        guest.assert_clean().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn delete_metadata_only_touches_no_image() {
    let daemon = Daemon::start().await;
    let guest = Guest::define(&daemon, Spec::disks(1)).await;
    guest.enter(State::Off).await;
    let internal = guest.take("internal", Kind::Internal).await;
    guest.advance().await;
    guest.domain.snapshot("internal").await.unwrap().delete(flag::METADATA_ONLY).await.unwrap();
    assert!(guest.domain.names().await.is_empty());
    let image = guest.tops().await.remove(0);
    assert_eq!(image::tags(&image), ["internal"]);
    assert_eq!(Content::of_tag(&image, "internal"), internal.disks[0]);

    let external = guest.take("external", Kind::DiskOnly).await;
    guest.domain.snapshot("external").await.unwrap().delete(flag::METADATA_ONLY).await.unwrap();
    assert_eq!(guest.tops().await, [guest.path("counter-0.external")]);
    assert_eq!(Content::of(&image), external.disks[0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn undefine_with_snapshots_needs_the_flag_and_keeps_the_images() {
    let daemon = Daemon::start().await;
    let guest = Guest::define(&daemon, Spec::disks(1)).await;
    guest.enter(State::Off).await;
    guest.take("one", Kind::Internal).await;
    guest
        .domain
        .undefine(0)
        .await
        .refused("Requested operation is not valid: cannot delete inactive domain with 1 snapshots");
    guest.domain.undefine(flag::SNAPSHOTS_METADATA).await.unwrap();
    guest.domain.state().await.refused("Domain not found");
    assert_eq!(image::tags(&guest.path("counter-0.qcow2")), ["one"]);

    let domain = daemon.client.define(&guest.definition()).await.unwrap();
    assert!(domain.names().await.is_empty(), "the next domain of that name begins without them");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn atomic_is_a_promise_that_is_always_kept() {
    let daemon = Daemon::start().await;
    let guest = Guest::define(&daemon, Spec::disks(2)).await.running().await;
    let snapshot = guest.create_with("a", Kind::DiskOnly, flag::ATOMIC).await.unwrap();
    guest.counts().await;
    snapshot.delete(0).await.unwrap();
    guest.counts().await;
    guest.assert_clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn contradictions_and_unknown_flags_are_refused_and_change_nothing() {
    let daemon = Daemon::start().await;
    let guest = Guest::define(&daemon, Spec::disks(1)).await.running().await;
    let xml = guest.snapshot_xml("x", Kind::Internal);
    for (flags, text) in [
        (0x400, "unsupported flags (0x400) in function"),
        (flag::CURRENT, "is required by flag"),
        (flag::REDEFINE | flag::NO_METADATA, "mutually exclusive"),
        (flag::REDEFINE | flag::HALT, "mutually exclusive"),
        (flag::REDEFINE | flag::LIVE, "mutually exclusive"),
        (flag::QUIESCE, "is required by flag"),
        // Without a memory file there is nothing to do live.
        (flag::LIVE, "Operation not supported"),
    ] {
        guest.domain.snapshot_create(&xml, flags).await.refused(text);
    }
    // A guest without an agent cannot be quiesced, whoever does it.
    let quiesce = guest.create_with("x", Kind::DiskOnly, flag::QUIESCE).await.map(|s| s.name());
    assert_eq!(quiesce.unwrap_err().name, "org.libvirt.Error");

    let snapshot = guest.create("x", Kind::Internal).await.unwrap();
    snapshot.revert(0x10).await.refused("unsupported flags (0x10) in function");
    snapshot.delete(0x8).await.refused("unsupported flags (0x8) in function");
    guest.domain.snapshots(0x800).await.refused("unsupported flags (0x800) in function");
    guest.domain.undefine(0x400).await.refused("unsupported flags (0x400) in function");
    guest.counts().await;
    snapshot.delete(0).await.unwrap();
    guest.assert_clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_written_to_a_transient_disk_goes_with_its_hypervisor() {
    let daemon = Daemon::start().await;
    let guest = Guest::define(&daemon, Spec::disks(2)).await;
    let marked = guest.definition().replace("<target dev='vdb'", "<transient/>\n      <target dev='vdb'");
    daemon.client.define(&marked).await.unwrap();
    let guest = guest.running().await;
    guest.wait_beyond(3).await;
    let disk = |n| guest.path(&format!("{}-{n}.qcow2", guest.spec.name));
    let snapshot = |memory: &str| format!("<domainsnapshot><name>s</name>{memory}</domainsnapshot>");
    let disk_only = guest.domain.snapshot_create(&snapshot(""), flag::DISK_ONLY).await;
    disk_only.refused("Operation not supported: block jobs are not supported on transient disk 'vdb'");
    let full = guest.domain.snapshot_create(&snapshot(""), 0).await;
    full.refused("Requested operation is not valid: migration with transient disk is not supported");
    let others =
        format!("<memory file='{}'/><disks><disk name='vdb' snapshot='no'/></disks>", guest.memory_file("s").display());
    let memory = guest.domain.snapshot_create(&snapshot(&others), 0).await;
    memory.refused("Requested operation is not valid: migration with transient disk is not supported");

    guest.domain.destroy().await.unwrap();
    assert!(Content::of(&disk(0)).stamp > 0, "an ordinary disk keeps what was written");
    assert_eq!(Content::of(&disk(1)).stamp, 0, "a transient one does not");
    let files = std::fs::read_dir(daemon.images()).unwrap().map(|f| f.unwrap().file_name().into_string().unwrap());
    assert_eq!(files.filter(|f| f.contains("TRANSIENT")).collect::<Vec<_>>(), Vec::<String>::new());
    guest.enter(State::Running).await;
}

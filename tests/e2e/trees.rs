//! Shapes that went wrong elsewhere: odd names, shared images, kinds mixed in one tree, long chains,
//! a lost current snapshot, calls that meet.

use crate::harness::client::flag;
use crate::harness::image::{self, Content};
use crate::harness::{Daemon, Guest, Kind, Refused, Spec, State};
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_legal_name_works_in_any_kind() {
    let daemon = Daemon::start().await;
    let guest = Guest::define(&daemon, Spec::disks(1)).await.running().await;
    // Cockpit's default; a blank (libvirt: "Invalid job ID"); a number, which qemu-img takes for an
    // ID; what XML must escape; a letter outside ASCII; our own separator.
    for name in ["2026-11-20T22:18", "with a blank", "1", "2", "a'b&lt;c&gt;&amp;&quot;", "Gr\u{fc}n", "_5f"] {
        for kind in [Kind::Internal, Kind::Memory] {
            let memory = guest.path("counter.odd.mem");
            let memory = match kind {
                Kind::Memory => format!("<memory snapshot='external' file='{}'/>", memory.display()),
                _ => String::new(),
            };
            let xml = format!("<domainsnapshot><name>{name}</name>{memory}</domainsnapshot>");
            let snapshot = guest.domain.snapshot_create(&xml, 0).await.unwrap();
            let plain = name.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&");
            assert_eq!(snapshot.name(), plain);
            assert_eq!(guest.domain.snapshot(&plain).await.unwrap().path, snapshot.path);
            let truth = guest.truth(&snapshot).await;
            guest.advance().await;
            snapshot.revert(0).await.unwrap();
            guest.assert_is_at(&truth).await;
            snapshot.delete(0).await.unwrap();
            guest.counts().await;
        }
    }
    guest.assert_clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tag_whose_name_is_another_tags_id_is_not_mistaken() {
    let daemon = Daemon::start().await;
    let guest = Guest::define(&daemon, Spec::disks(1)).await;
    guest.enter(State::Off).await;
    // qemu-img counts IDs from 1 and matches an ID before a name: "2" is the first one's name and
    // the second one's ID.
    let two = guest.take("2", Kind::Internal).await;
    guest.advance().await;
    let one = guest.take("1", Kind::Internal).await;
    guest.advance().await;
    for truth in [&two, &one, &two] {
        guest.domain.snapshot(&truth.name).await.unwrap().revert(0).await.unwrap();
        guest.assert_is_at(truth).await;
    }
    guest.domain.snapshot("2").await.unwrap().delete(0).await.unwrap();
    guest.domain.snapshot("1").await.unwrap().revert(0).await.unwrap();
    guest.assert_is_at(&one).await;
    guest.domain.snapshot("1").await.unwrap().delete(0).await.unwrap();
    guest.assert_clean().await;
}

/// virt-manager #811: such a revert wrote under the overlay, and the delete after it removed the
/// user's disk.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_internal_snapshot_beneath_an_external_one_is_not_reverted_to() {
    let daemon = Daemon::start().await;
    let guest = Guest::define(&daemon, Spec::disks(1)).await.running().await;
    guest.take("inside", Kind::Internal).await;
    guest.advance().await;
    let outside = guest.take("outside", Kind::Memory).await;
    guest.advance().await;
    guest.domain.snapshot("inside").await.unwrap().revert(0).await.refused("outside");
    guest.counts().await;
    guest.domain.snapshot("outside").await.unwrap().revert(0).await.unwrap();
    guest.assert_is_at(&outside).await;
    guest.domain.snapshot("outside").await.unwrap().delete(0).await.unwrap();
    guest.counts().await;
    // Nothing lies on the image any more.
    let inside = guest.truth(&guest.domain.snapshot("inside").await.unwrap()).await;
    guest.domain.snapshot("inside").await.unwrap().revert(0).await.unwrap();
    guest.assert_is_at(&inside).await;
    guest.domain.snapshot("inside").await.unwrap().delete(0).await.unwrap();
    assert!(guest.path("counter-0.qcow2").exists());
    guest.assert_clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_that_somebody_elses_overlay_needs_is_not_written() {
    for state in [State::Off, State::Running] {
        let daemon = Daemon::start().await;
        let guest = Guest::define(&daemon, Spec::disks(1)).await;
        guest.enter(State::Off).await;
        guest.take("s", Kind::DiskOnly).await;
        // A clone that virsnap was not told about.
        let clone = guest.path("clone.qcow2");
        image::overlay(&clone, &guest.path("counter-0.qcow2"));
        let before = Content::of(&clone);
        guest.enter(state).await;
        guest.advance().await;
        // Refused or done another way: the clone's content does not change.
        let deleted = guest.domain.snapshot("s").await.unwrap().delete(0).await;
        if state == State::Running {
            guest.counts().await;
        }
        assert_eq!(Content::of(&clone), before, "{state:?}: {deleted:?}");
        if let Err(failure) = deleted {
            assert!(failure.text.contains("clone.qcow2"), "{failure}");
            assert_eq!(guest.domain.names().await, ["s"]);
        }
        guest.assert_clean().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_on_a_shared_template_leaves_the_template_alone() {
    let daemon = Daemon::start().await;
    let guest = Guest::define(&daemon, Spec::disks(1)).await;
    let template = guest.path("template.qcow2");
    let disk = guest.path("counter-0.qcow2");
    std::fs::rename(&disk, &template).unwrap();
    image::overlay(&disk, &template);
    let before = std::fs::read(&template).unwrap();
    guest.enter(State::Running).await;
    let one = guest.take("one", Kind::Memory).await;
    guest.advance().await;
    guest.take("two", Kind::Memory).await;
    guest.domain.snapshot("one").await.unwrap().revert(0).await.unwrap();
    guest.assert_is_at(&one).await;
    guest.domain.snapshot("one").await.unwrap().delete(flag::CHILDREN).await.unwrap();
    guest.counts().await;
    guest.assert_clean().await;
    assert_eq!(std::fs::read(&template).unwrap(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_chain_is_reverted_through_and_merged_from_any_place() {
    let daemon = Daemon::start().await;
    let guest = Guest::define(&daemon, Spec::disks(2)).await.running().await;
    let mut truths = Vec::new();
    for n in 0..12 {
        truths.push(guest.take(&format!("s{n}"), Kind::DiskOnly).await);
    }
    // The middle, the first, the last.
    for n in [5, 0, 11] {
        guest.domain.snapshot(&format!("s{n}")).await.unwrap().delete(0).await.unwrap();
        guest.counts().await;
        guest.assert_no_strays().await;
    }
    for n in [4, 6, 1, 10] {
        guest.domain.snapshot(&format!("s{n}")).await.unwrap().revert(flag::REVERT_RUNNING).await.unwrap();
        guest.assert_is_at(&truths[n]).await;
        guest.assert_no_strays().await;
    }
    guest.domain.snapshot("s1").await.unwrap().delete(flag::CHILDREN).await.unwrap();
    guest.counts().await;
    assert!(guest.domain.names().await.is_empty());
    guest.assert_clean().await;
}

/// libvirt's daemon crashed here (K1).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_external_snapshot_is_reverted_to_while_none_is_current() {
    let daemon = Daemon::start().await;
    let guest = Guest::define(&daemon, Spec::disks(1)).await.running().await;
    let truth = guest.take("s", Kind::Memory).await;
    let snapshot = guest.domain.snapshot("s").await.unwrap();
    let dump = snapshot.xml().await.unwrap();
    snapshot.delete(flag::METADATA_ONLY).await.unwrap();
    guest.domain.snapshot_create(&dump, flag::REDEFINE).await.unwrap();
    guest.advance().await;
    snapshot.revert(0).await.unwrap();
    guest.assert_is_at(&truth).await;
    assert!(snapshot.is_current().await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_do_not_wait_for_a_long_save_and_other_guests_go_on() {
    let daemon = Daemon::start().await;
    let slow = Spec { name: "slow".into(), memory_mib: 400, paint: 350, ..Spec::disks(1) };
    let slow = Guest::define(&daemon, slow).await.running().await;
    let quick = Guest::define(&daemon, Spec { name: "quick".into(), ..Spec::disks(1) }).await.running().await;
    let save = {
        let (domain, xml) = (slow.domain.clone(), slow.snapshot_xml("long", Kind::Memory));
        tokio::spawn(async move { domain.snapshot_create(&xml, 0).await })
    };
    let file = slow.memory_file("long");
    crate::harness::eventually("the save has begun", || async { file.exists().then_some(()) }).await;
    let start = Instant::now();
    slow.domain.state().await.unwrap();
    slow.domain.xml(0).await.unwrap();
    slow.domain.names().await;
    assert!(start.elapsed() < Duration::from_secs(5) || !save.is_finished());
    let truth = quick.take("s", Kind::DiskOnly).await;
    quick.domain.snapshot("s").await.unwrap().revert(flag::REVERT_RUNNING).await.unwrap();
    quick.assert_is_at(&truth).await;
    // A second change of the same guest waits its turn.
    let second = slow.create("second", Kind::DiskOnly).await.unwrap();
    save.await.unwrap().unwrap();
    assert_eq!(second.parent().await.unwrap().name(), "long");
    for guest in [slow, quick] {
        guest.counts().await;
        guest.assert_clean().await;
    }
}

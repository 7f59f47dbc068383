//! What libvirt lacks: signals of snapshots, plans, cancel, verify, rename, and reverts that delete.

use crate::harness::client::{Refused, flag};
use crate::harness::events::Events;
use crate::harness::{Daemon, Guest, Kind, Spec, State, eventually};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;
use zbus::{OwnedObjectPath, Variant};

/// Every signal of snapshots so far: its name and the snapshots' names in it.
fn told(events: &Events) -> Vec<String> {
    events
        .all()
        .into_iter()
        .filter_map(|(member, message)| match member.as_str() {
            "SnapshotRenamed" => {
                type Body = (OwnedObjectPath, String, OwnedObjectPath, String);
                let (_, old, path, new): Body = message.body().deserialize().unwrap();
                assert!(path.as_str().ends_with(&new), "{path:?}");
                Some(format!("renamed {old} {new}"))
            }
            "SnapshotAdded" | "SnapshotRemoved" | "SnapshotChanged" | "CurrentChanged" => {
                let (path, name): (OwnedObjectPath, String) = message.body().deserialize().unwrap();
                assert_eq!(path.as_str() == "/", name.is_empty());
                Some(format!("{} {name}", member.trim_start_matches("Snapshot").to_lowercase()))
            }
            _ => None,
        })
        .collect()
}

fn files(guest: &Guest) -> BTreeSet<PathBuf> {
    std::fs::read_dir(&guest.directory).unwrap().map(|e| e.unwrap().path()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renamed_snapshot_reverts_and_goes_as_before_and_all_is_told() {
    let daemon = Daemon::start().await;
    let guest = Guest::define(&daemon, Spec::disks(2)).await.running().await;
    let events = Events::listen(&daemon.client).await;
    let mut one = guest.take("one", Kind::Internal).await;
    guest.advance().await;
    let two = guest.take("two", Kind::Internal).await;
    eventually("what was taken is told", || async { (told(&events).len() == 4).then_some(()) }).await;
    assert_eq!(told(&events), ["added one", "currentchanged one", "added two", "currentchanged two"]);
    events.clear();

    let path = guest.domain.rename_snapshot("one", "first").await.unwrap();
    assert!(path.ends_with("_first"), "{path}");
    guest.domain.describe_snapshot("first", "the <first> one").await.unwrap();
    eventually("what was asked is told", || async { (told(&events).len() == 3).then_some(()) }).await;
    assert_eq!(told(&events), ["renamed one first", "changed two", "changed first"]);
    guest.domain.snapshot("one").await.refused("no domain snapshot with matching name 'one'");
    let first = guest.domain.snapshot("first").await.unwrap();
    let xml = first.xml().await.unwrap();
    assert!(xml.contains("<description>the &lt;first&gt; one</description>"), "{xml}");
    assert_eq!(guest.domain.snapshot("two").await.unwrap().parent().await.unwrap().name(), "first");
    assert_eq!(guest.domain.complaints().await, []);
    guest.domain.rename_snapshot("first", "two").await.refused("domain moment two already exists");
    guest.domain.rename_snapshot("first", "a/b").await.refused("can't contain '/'");
    guest.domain.rename_snapshot("none", "x").await.refused("no domain snapshot with matching name 'none'");

    // Its tag is still called "one"; a new snapshot may be called that all the same.
    guest.create("one", Kind::Internal).await.unwrap();
    one.name = "first".into();
    guest.domain.snapshot("first").await.unwrap().revert(0).await.unwrap();
    guest.assert_is_at(&one).await;
    guest.domain.snapshot("two").await.unwrap().revert(0).await.unwrap();
    guest.assert_is_at(&two).await;
    // The name of the tag goes with the document.
    first.delete(flag::METADATA_ONLY).await.unwrap();
    guest.domain.snapshot_create(&xml, flag::REDEFINE).await.unwrap();
    guest.domain.snapshot("first").await.unwrap().revert(0).await.unwrap();
    guest.assert_is_at(&one).await;
    guest.domain.snapshot("one").await.unwrap().revert(0).await.unwrap();
    guest.counts().await;
    for name in ["first", "two", "one"] {
        guest.domain.snapshot(name).await.unwrap().delete(0).await.unwrap();
    }
    guest.assert_clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_says_what_is_done_and_does_nothing() {
    let daemon = Daemon::start().await;
    let guest = Guest::define(&daemon, Spec::disks(1)).await.running().await;
    let before = files(&guest);
    let xml = guest.snapshot_xml("s", Kind::Memory);
    let plan = guest.domain.plan_create(&xml, 0).await.unwrap();
    let overlay = guest.path("counter-0.s");
    assert!(plan.contains(&format!("prepare: create the file '{}'", overlay.display())), "{plan:#?}");
    assert!(plan.iter().any(|l| l.contains(guest.memory_file("s").to_str().unwrap())), "{plan:#?}");
    assert_eq!(plan.iter().filter(|l| l.starts_with("commit: ")).count(), 1);
    assert_eq!((files(&guest), guest.domain.names().await), (before, vec![]));
    guest
        .domain
        .plan_create("<domainsnapshot><name>.x</name></domainsnapshot>", 0)
        .await
        .refused("can't start with '.'");
    guest.domain.plan_revert("s", &[]).await.refused("no domain snapshot with matching name 's'");
    guest.domain.plan_delete("s", 0).await.refused("no domain snapshot with matching name 's'");

    guest.take("s", Kind::Memory).await;
    guest.take("t", Kind::DiskOnly).await;
    let before = files(&guest);
    let plan = guest.domain.plan_delete("s", flag::CHILDREN).await.unwrap();
    let merged = guest.path("counter-0.t");
    assert!(plan.iter().any(|l| l.contains("merge") && l.contains(merged.to_str().unwrap())), "{plan:#?}");
    assert!(plan.contains(&format!("finish: remove the file '{}'", guest.memory_file("s").display())), "{plan:#?}");
    let plan = guest.domain.plan_revert("s", &["delete-children", "discard"]).await.unwrap();
    assert!(plan.contains(&format!("finish: remove the file '{}'", guest.memory_file("s").display())), "{plan:#?}");
    assert_eq!((files(&guest), guest.domain.names().await.len()), (before, 2));
    guest.counts().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn verify_finds_what_is_missing_and_what_a_redefinition_only_names() {
    let daemon = Daemon::start().await;
    let guest = Guest::define(&daemon, Spec::disks(1)).await.running().await;
    guest.take("tag", Kind::Internal).await;
    guest.take("memory", Kind::Memory).await;
    guest.advance().await;
    guest.take("disks", Kind::DiskOnly).await;
    // Of a guest that runs, and without disturbing it.
    assert_eq!(guest.domain.complaints().await, []);
    let rows = guest.domain.verify().await;
    assert!(rows.iter().any(|r| r.0 == "memory" && r.1 == "memory" && r.3 == "ok"), "{rows:#?}");
    assert!(rows.iter().any(|r| r.0.is_empty() && r.1 == "vda"), "{rows:#?}");
    guest.counts().await;
    guest.enter(State::Off).await;

    // K31: libvirt takes a snapshot that names a tag and a memory that nobody has.
    let good = guest.domain.snapshot("tag").await.unwrap().xml().await.unwrap();
    let bad = good.replace("<name>tag</name>", "<name>ghost</name>");
    guest.domain.snapshot_create(&bad, flag::REDEFINE).await.unwrap();
    let wrong = |part: &str, status: &str| ("ghost".to_owned(), part.to_owned(), status.to_owned());
    assert_eq!(guest.domain.complaints().await, [wrong("vda", "tag-missing"), wrong("memory", "memory-broken")]);
    guest.domain.snapshot("ghost").await.unwrap().revert(0).await.refused("does not have internal snapshot 'ghost'");
    guest.domain.snapshot("ghost").await.unwrap().delete(flag::METADATA_ONLY).await.unwrap();

    // A memory that was cut off, and one that is gone.
    let memory = guest.memory_file("memory");
    let whole = std::fs::read(&memory).unwrap();
    std::fs::write(&memory, &whole[..10]).unwrap();
    let complaint = |s: &str, part: &str, status: &str| vec![(s.to_owned(), part.to_owned(), status.to_owned())];
    assert_eq!(guest.domain.complaints().await, complaint("memory", "memory", "memory-broken"));
    std::fs::remove_file(&memory).unwrap();
    assert_eq!(guest.domain.complaints().await, complaint("memory", "memory", "missing"));
    std::fs::write(&memory, &whole).unwrap();

    // An overlay that lies on something else.
    let overlay = guest.path("counter-0.memory");
    let moved = guest.path("elsewhere.qcow2");
    std::fs::copy(guest.path("counter-0.qcow2"), &moved).unwrap();
    let rebase = |onto: &std::path::Path| {
        let done = std::process::Command::new("qemu-img")
            .args(["rebase", "-u", "-f", "qcow2", "-F", "qcow2", "-b"])
            .args([onto, overlay.as_path()])
            .status();
        assert!(done.unwrap().success());
    };
    rebase(&moved);
    let complaints = guest.domain.complaints().await;
    assert!(complaints.contains(&("disks".into(), "vda".into(), "wrong-backing".into())), "{complaints:?}");
    std::fs::rename(&moved, guest.path("elsewhere.else")).unwrap();
    let complaints = guest.domain.complaints().await;
    assert!(complaints.contains(&("disks".into(), "vda".into(), "missing".into())), "{complaints:?}");
    rebase(&guest.path("counter-0.qcow2"));
    assert_eq!(guest.domain.complaints().await, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revert_may_take_the_children_and_the_snapshot_itself_with_it() {
    let daemon = Daemon::start().await;
    for kind in [Kind::Memory, Kind::Internal] {
        let name = if kind == Kind::Memory { "counter" } else { "other" };
        let guest = Guest::define(&daemon, Spec { name: name.into(), ..Spec::disks(1) }).await.running().await;
        let root = guest.take("root", kind).await;
        guest.advance().await;
        let middle = guest.take("middle", kind).await;
        guest.take("leaf", kind).await;
        guest.advance().await;
        guest.domain.revert_with("middle", &["delete-children", "bogus"]).await.refused("unknown option 'bogus'");

        guest.domain.revert_with("middle", &["delete-children"]).await.unwrap();
        assert_eq!(guest.domain.names().await, ["middle", "root"]);
        guest.assert_is_at(&middle).await;
        guest.assert_no_strays().await;
        guest.domain.revert_with("middle", &["discard"]).await.unwrap();
        assert_eq!(guest.domain.names().await, ["root"]);
        guest.assert_is_at(&middle).await;
        assert_eq!(guest.domain.complaints().await, []);
        guest.domain.revert_with("root", &["discard", "delete-children"]).await.unwrap();
        assert!(guest.domain.names().await.is_empty());
        guest.assert_is_at(&root).await;
        guest.assert_clean().await;
    }
}

/// A guest whose memory takes a while to be saved.
fn heavy() -> Spec {
    Spec { memory_mib: 640, paint: 512, ..Spec::disks(1) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_save_leaves_nothing_and_the_guest_runs_on() {
    let daemon = Daemon::start().await;
    let guest = Guest::define(&daemon, heavy()).await.running().await;
    guest.domain.cancel().await.refused("Requested operation is not valid: no job is active on the domain");
    let before = files(&guest);
    for abort in ["Cancel", "AbortJob"] {
        let events = Events::listen(&daemon.client).await;
        let call = {
            let (domain, xml) = (guest.domain.clone(), guest.snapshot_xml("s", Kind::Memory));
            tokio::spawn(async move { domain.snapshot_create(&xml, 0).await })
        };
        // In the middle of the save.
        let job = eventually("the memory is being saved", || async {
            let job = guest.domain.job().await;
            let runs = job.get("running").is_some_and(|v| **v == Variant::Bool(true));
            (runs && matches!(&*job["bytes_done"], Variant::U64(1..))).then_some(job)
        })
        .await;
        assert_eq!(*job["operation"], Variant::from("create"));
        if abort == "Cancel" {
            guest.domain.cancel().await.unwrap();
        } else {
            guest.domain.call::<(), _>("AbortJob", &()).await.unwrap();
        }
        let failure = call.await.unwrap().unwrap_err();
        assert_eq!(failure.text, "operation aborted: cancelled by client");
        assert_eq!(files(&guest), before, "no file is left");
        assert!(guest.domain.names().await.is_empty());
        let last = events.wait_signal("JobProgress").await;
        let (last,): (std::collections::BTreeMap<String, zbus::OwnedVariant>,) = last.body().deserialize().unwrap();
        assert_eq!(*last["error"], Variant::from(failure.text));
        guest.counts().await;
    }
    // And the next one is taken.
    guest.take("s", Kind::Memory).await;
    let job = guest.domain.job().await;
    assert_eq!(*job["running"], Variant::Bool(false));
    assert!(matches!(&*job["paused_us"], Variant::U64(1..)), "{job:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_merge_keeps_the_guest_and_goes_on_when_it_is_asked_for_again() {
    let daemon = Daemon::start().await;
    let guest = Guest::define(&daemon, Spec::disks(1)).await.running().await;
    guest.enter(State::Off).await;
    // Enough to merge that there is a middle.
    let run = |program: &str, words: &[&str], path: PathBuf| {
        let output = std::process::Command::new(program).args(words).arg(path).arg("1G").output().unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    run("qemu-img", &["resize", "-f", "qcow2"], guest.path("counter-0.qcow2"));
    guest.take("s", Kind::DiskOnly).await;
    let written = std::process::Command::new("qemu-io")
        .args(["-f", "qcow2", "-c", "write -P 7 512M 160M"])
        .arg(guest.path("counter-0.s"))
        .output()
        .unwrap();
    assert!(written.status.success(), "{written:?}");
    guest.enter(State::Running).await;
    let call = {
        let snapshot = guest.domain.snapshot("s").await.unwrap();
        tokio::spawn(async move { snapshot.delete(0).await })
    };
    let mut accepted = false;
    while !accepted && !call.is_finished() {
        accepted = guest.domain.cancel().await.is_ok();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let failure = call.await.unwrap().unwrap_err();
    assert!(failure.text.starts_with("operation aborted: cancelled by client"), "{failure}");
    guest.counts().await;
    let snapshot = guest.domain.snapshot("s").await.unwrap();
    assert!(snapshot.xml().await.unwrap().contains("<snapshotDeleteInProgress/>"));
    assert!(guest.domain.complaints().await.contains(&("s".into(), "vda".into(), "half-deleted".into())));
    snapshot.revert(0).await.refused("was target of not completed snapshot delete");
    // Other operations do not go on with it behind anyone's back.
    guest.take("t", Kind::DiskOnly).await;
    guest.domain.snapshot("t").await.unwrap().delete(0).await.unwrap();
    guest.counts().await;
    snapshot.delete(0).await.unwrap();
    guest.counts().await;
    guest.assert_clean().await;
}

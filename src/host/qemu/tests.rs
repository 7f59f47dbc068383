//! The steps on a real QEMU: each done, repeated, undone, and with QEMU killed in between.

mod ahead;
mod guest;

use super::steps;
use super::{block::Graph, memory};
use crate::host::save_image::read_header;
use crate::host::{CommitError, HostEventKind, Probe};
use crate::plan::steps::{Existing, Prepare, ResumeWhy, Settle, SwitchDisk};
use guest::World;
use serde_json::json;

fn both(world: &World) -> Vec<SwitchDisk> {
    vec![world.switch("a", "a.qcow2", "a1"), world.switch("b", "b.qcow2", "b1")]
}

const TWO: [&str; 2] = ["a.qcow2", "b.qcow2"];
const ROOTS: [&str; 4] = ["a-0", "a-f", "b-0", "b-f"];

/// Reserve a memory file and save live into it.
async fn live_save(world: &World, disks: &[SwitchDisk]) -> (Prepare, Prepare) {
    let (instance, path) = (world.instance(), world.path("mem"));
    world.overlays(disks).await;
    world.prepare(&Prepare::Reserve { path: path.clone(), existing: Existing::Refuse }).await.unwrap();
    let live = Prepare::LiveSave { instance, path: path.clone(), header: "<domain/>".into(), disks: disks.to_vec() };
    world.prepare(&live).await.unwrap();
    (live, Prepare::AwaitSave { instance, path })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_save_is_of_one_instant_and_loads_back() {
    let world = World::running().await;
    let disks = both(&world);
    let (_, wait) = live_save(&world, &disks).await;
    world.prepare(&wait).await.unwrap();
    world.counted(3).await;
    assert_eq!(steps::probe(&world, world.instance(), &disks).await.unwrap(), Probe::Done);
    let pauses = world.pauses.lock().unwrap().clone();
    eprintln!("paused for {pauses:?} µs");
    assert_eq!(pauses.len(), 1);
    world.kill_qemu();
    let (before, after) = (world.stamp("a.qcow2"), world.stamp("a1"));
    assert!(before < after, "the guest went on in the overlay: {before} {after}");
    let header = read_header(&world.path("mem")).unwrap();
    assert_eq!((header.xml.as_str(), header.was_running), ("<domain/>", true));
    world.start(&TWO, &["-incoming", "defer"]).await;
    memory::load_file(&world.qemu().monitor, &world.path("mem"), &world).await.unwrap();
    world.cont().await;
    world.counted(3).await;
    for [m, d0, d1] in world.lines() {
        assert!(m == d0 && m == d1 && m >= before, "{m} {d0} {d1}, saved at {before}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_undone_live_save_leaves_the_guest_on_its_old_images() {
    let world = World::running().await;
    let disks = both(&world);
    let (live, wait) = live_save(&world, &disks).await;
    world.counted(3).await;
    world.undo(&wait).await;
    world.undo(&live).await;
    world.undo(&Prepare::AddNodes { instance: world.instance(), disks: disks.clone() }).await;
    assert_eq!(world.nodes().await, ROOTS);
    for disk in &disks {
        crate::host::images::files::unlink_if_unused(&disk.overlay.path).await.unwrap();
    }
    world.counted(3).await;
    world.kill_qemu();
    let last = world.lines().pop().unwrap();
    assert!(last[0] == last[1] && last[1] == last[2], "{last:?}");
    for name in TWO {
        assert!(world.stamp(name) >= last[0]);
        world.check(name);
    }
    assert!(read_header(&world.path("mem")).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_save_is_undone_in_the_middle() {
    let world = World::running_with(192).await;
    let disks = both(&world);
    let (live, _) = live_save(&world, &disks).await;
    let state = world.qemu().monitor.execute("query-migrate", json!({})).await.unwrap();
    assert_eq!(state["status"], "active", "too little memory for this test");
    world.undo(&live).await;
    let state = world.qemu().monitor.execute("query-migrate", json!({})).await.unwrap();
    // QEMU 7.2 would hang if it was cancelled: it goes on to its end.
    assert!(state["status"] == "cancelled" || state["status"] == "completed", "{state}");
    world.undo(&Prepare::AddNodes { instance: world.instance(), disks }).await;
    assert_eq!(world.nodes().await, ROOTS);
    world.counted(3).await;
    // And a second one goes well.
    std::fs::remove_file(world.path("mem")).unwrap();
    for name in ["a1", "b1"] {
        std::fs::remove_file(world.path(name)).unwrap();
    }
    let (_, wait) = live_save(&world, &both(&world)).await;
    world.prepare(&wait).await.unwrap();
    read_header(&world.path("mem")).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_save_that_stopped_half_way_is_undone_too() {
    let world = World::running().await;
    let disks = both(&world);
    let instance = world.instance();
    let live =
        Prepare::LiveSave { instance, path: world.path("mem"), header: "<domain/>".into(), disks: disks.clone() };
    // It never ran.
    world.undo(&live).await;
    // The daemon died in the paused instant.
    world.overlays(&disks).await;
    world.qemu().monitor.execute("stop", json!({})).await.unwrap();
    assert!(steps::switch(&world, instance, &disks).await.is_ok());
    world.undo(&live).await;
    assert_eq!(world.status().await, "running");
    assert_eq!(world.nodes().await, ROOTS);
    world.counted(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_save_of_a_guest_that_died_is_undone_without_loss() {
    let world = World::running().await;
    let disks = both(&world);
    let (live, wait) = live_save(&world, &disks).await;
    world.counted(3).await;
    world.kill_qemu();
    let last = world.stamp("a1");
    assert!(world.prepare(&wait).await.unwrap_err().to_string().contains("guest unexpectedly quit"));
    world.undo(&live).await;
    assert_eq!(world.stamp("a.qcow2"), last);
    world.check("a.qcow2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reused_overlay_must_be_empty_and_is_never_merged_after_a_death() {
    let world = World::running().await;
    let mut disks = both(&world);
    disks.iter_mut().for_each(|d| d.reused = true);
    let (live, _) = live_save(&world, &disks).await;
    world.counted(3).await;
    world.kill_qemu();
    let before = world.stamp("a.qcow2");
    world.undo(&live).await;
    assert_eq!(world.stamp("a.qcow2"), before);
    world.start(&TWO, &[]).await;
    let live = Prepare::LiveSave {
        instance: world.instance(),
        path: world.path("mem"),
        header: String::new(),
        disks: disks.clone(),
    };
    let error = world.prepare(&live).await.unwrap_err().to_string();
    assert!(error.contains("is not empty"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_is_saved_standing_still_again_and_again() {
    let world = World::running().await;
    let disks = both(&world);
    let instance = world.instance();
    world.overlays(&disks).await;
    let pause = Prepare::Pause { instance };
    world.prepare(&pause).await.unwrap();
    for name in ["mem", "mem2"] {
        let path = world.path(name);
        std::fs::write(&path, "").unwrap();
        let save = Prepare::SaveMemory { instance, path: path.clone(), header: "<domain/>".into(), was_running: true };
        world.prepare(&save).await.unwrap();
        read_header(&path).unwrap();
        world.undo(&save).await;
    }
    assert!(steps::switch(&world, instance, &disks).await.is_ok());
    world.settle(&Settle::Resume { instance, why: ResumeWhy::Unpaused }).await;
    world.counted(3).await;
    world.kill_qemu();
    let saved = world.stamp("a.qcow2");
    assert!(world.stamp("a1") > saved);
    world.start(&TWO, &["-incoming", "defer"]).await;
    memory::load_file(&world.qemu().monitor, &world.path("mem2"), &world).await.unwrap();
    world.cont().await;
    world.counted(3).await;
    for [m, d0, d1] in world.lines() {
        assert!(m == d0 && m == d1 && m >= saved, "{m} {d0} {d1}, saved at {saved}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_undone_save_leaves_a_guest_that_runs() {
    let world = World::running().await;
    let instance = world.instance();
    let pause = Prepare::Pause { instance };
    let path = world.path("mem");
    std::fs::write(&path, "").unwrap();
    let save = Prepare::SaveMemory { instance, path, header: String::new(), was_running: true };
    world.undo(&save).await;
    world.prepare(&pause).await.unwrap();
    world.prepare(&save).await.unwrap();
    world.undo(&save).await;
    world.undo(&pause).await;
    assert_eq!(world.status().await, "running");
    world.counted(2).await;
    // A full disk: QEMU's own words, and the guest as before.
    world.prepare(&pause).await.unwrap();
    let full = Prepare::SaveMemory { instance, path: "/dev/full".into(), header: String::new(), was_running: true };
    let error = world.prepare(&full).await.unwrap_err().to_string();
    assert!(error.contains("No space left") || error.contains("Invalid argument"), "{error}");
    world.undo(&full).await;
    world.undo(&pause).await;
    world.counted(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn disks_are_switched_all_or_none() {
    let world = World::running().await;
    let mut disks = both(&world);
    let instance = world.instance();
    let add = Prepare::AddNodes { instance, disks: disks.clone() };
    world.overlays(&disks).await;
    world.undo(&add).await;
    assert_eq!(world.nodes().await, ROOTS);
    world.prepare(&add).await.unwrap();
    disks[1].node = "no-such-node".into();
    let refused = steps::switch(&world, instance, &disks).await;
    assert!(matches!(refused, Err(CommitError::Refused(_))), "{refused:?}");
    disks[1].node.clone_from(&both(&world)[1].node);
    assert_eq!(steps::probe(&world, instance, &disks).await.unwrap(), Probe::NotDone);
    assert!(steps::switch(&world, instance, &disks).await.is_ok());
    assert_eq!(steps::probe(&world, instance, &disks).await.unwrap(), Probe::Done);
    assert!(matches!(steps::switch(&world, instance, &disks).await, Err(CommitError::Refused(_))), "a second time");
    world.counted(2).await;
    world.kill_qemu();
    assert_eq!(steps::probe(&world, instance, &disks).await.unwrap(), Probe::Unknown);
    assert!(world.stamp("a1") > world.stamp("a.qcow2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_holds_memory_and_disks_and_is_removed_by_either_world() {
    let world = World::running().await;
    let instance = world.instance();
    let images: Vec<_> = TWO.iter().map(|n| world.image(n)).collect();
    let save =
        |tag: &str| Prepare::SaveTag { instance, tag: tag.into(), vmstate: images[0].clone(), images: images.clone() };
    let pause = Prepare::Pause { instance };
    for tag in ["keep", "1", "undone"] {
        world.prepare(&pause).await.unwrap();
        world.prepare(&save(tag)).await.unwrap();
        assert_eq!(world.status().await, "paused");
        world.undo(&pause).await;
        world.counted(2).await;
    }
    let again = world.prepare(&save("keep")).await.unwrap_err().to_string();
    assert!(again.contains("snapshot-save job failed"), "{again}");
    world.undo(&save("undone")).await;
    let tags = |name: &str| {
        let header = crate::host::images::header(&world.path(name), "qcow2").unwrap();
        header.image.tags.into_iter().map(|t| t.name).collect::<Vec<_>>()
    };
    assert_eq!((tags("a.qcow2"), tags("b.qcow2")), (vec!["keep".into(), "1".into()], vec!["keep".into(), "1".into()]));
    let count = world.lines().pop().unwrap()[0];
    world.kill_qemu();
    world.start(&TWO, &[]).await;
    let ambiguous = memory::load_tag(&world.qemu().monitor, "1", &world).await.unwrap_err().to_string();
    assert!(ambiguous.contains("also the ID"), "{ambiguous}");
    memory::load_tag(&world.qemu().monitor, "keep", &world).await.unwrap();
    world.cont().await;
    world.counted(2).await;
    let [m, d0, d1] = world.lines()[0];
    assert!(m == d0 && m == d1 && m < count, "{m} {d0} {d1}, {count} before");
    let instance = Some(world.instance());
    world.settle(&Settle::RemoveTag { instance, images: images.clone(), tag: "keep".into() }).await;
    world.kill_qemu();
    world.settle(&Settle::RemoveTag { instance, images: images.clone(), tag: "1".into() }).await;
    assert!(tags("a.qcow2").is_empty() && tags("b.qcow2").is_empty());
    TWO.iter().for_each(|n| world.check(n));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_in_a_backing_file_of_a_running_guest_is_refused() {
    let world = World::running().await;
    let instance = world.instance();
    let images = vec![world.image("a.qcow2")];
    let save = Prepare::SaveTag { instance, tag: "t".into(), vmstate: images[0].clone(), images: images.clone() };
    world.prepare(&save).await.unwrap();
    world.layer(&[world.switch("a", "a.qcow2", "a1")]).await;
    let remove = Settle::RemoveTag { instance: Some(instance), images, tag: "t".into() };
    let error = world.settle_once(&remove).await.unwrap_err().to_string();
    assert!(error.contains("is not the active layer"), "{error}");
    world.counted(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_can_be_saved_after_a_live_save_and_after_a_still_one() {
    let world = World::running().await;
    let (_, wait) = live_save(&world, &both(&world)).await;
    world.prepare(&wait).await.unwrap();
    let instance = world.instance();
    let images = vec![world.image("a1"), world.image("b1")];
    let save =
        |tag: &str| Prepare::SaveTag { instance, tag: tag.into(), vmstate: images[0].clone(), images: images.clone() };
    world.prepare(&Prepare::Pause { instance }).await.unwrap();
    world.prepare(&save("one")).await.unwrap();
    std::fs::write(world.path("mem2"), "").unwrap();
    let still = Prepare::SaveMemory { instance, path: world.path("mem2"), header: String::new(), was_running: false };
    world.prepare(&still).await.unwrap();
    world.prepare(&save("two")).await.unwrap();
    assert_eq!(world.status().await, "paused");
    world.cont().await;
    world.counted(2).await;
}

fn merge_active(world: &World, name: &str) -> (Settle, Settle) {
    let instance = world.instance();
    let target = crate::model::ids::DiskTarget(format!("vd{name}"));
    let (top, base) = (world.image(&format!("{name}1")), world.image(&format!("{name}.qcow2")));
    (
        Settle::MergeActive { instance, target: target.clone(), top: top.clone(), base: base.clone() },
        Settle::Pivot { instance, target, top, base },
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn an_active_layer_is_merged_and_left() {
    let world = World::running().await;
    let disks = both(&world);
    world.layer(&disks).await;
    let instance = world.instance();
    let steps: Vec<_> = ["a", "b"].iter().map(|n| merge_active(&world, n)).collect();
    for (active, _) in &steps {
        world.settle(active).await;
    }
    world.counted(2).await;
    assert_eq!(steps::probe(&world, instance, &disks).await.unwrap(), Probe::Done, "the overlays are the truth");
    world.settle(&Settle::Pause { instance }).await;
    for (_, pivot) in &steps {
        world.settle(pivot).await;
    }
    assert_eq!(world.nodes().await, ROOTS);
    world.settle(&Settle::Resume { instance, why: ResumeWhy::Unpaused }).await;
    for disk in &disks {
        world.settle(&Settle::Unlink { path: disk.overlay.path.clone() }).await;
    }
    world.counted(3).await;
    let job = |disk: &str, status| HostEventKind::BlockJob { disk: disk.into(), job: 4, status };
    let events = world.events.lock().unwrap().clone();
    for expected in [job("vda", 3), job("vdb", 3), job("vda", 0), job("vdb", 0)] {
        assert!(events.contains(&expected), "{events:?}");
    }
    world.kill_qemu();
    let last = world.lines().pop().unwrap()[0];
    assert!(world.stamp("a.qcow2") >= last && world.stamp("b.qcow2") >= last);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_dies_before_the_pivot_is_merged_without_it() {
    let world = World::running().await;
    world.layer(&both(&world)).await;
    let steps: Vec<_> = ["a", "b"].iter().map(|n| merge_active(&world, n)).collect();
    world.settle(&steps[0].0).await;
    world.counted(2).await;
    world.kill_qemu();
    // It may have died between its stamps of the two disks.
    let last = (world.stamp("a1"), world.stamp("b1"));
    for (active, pivot) in &steps {
        world.settle(active).await;
        world.settle(pivot).await;
    }
    assert_eq!((world.stamp("a.qcow2"), world.stamp("b.qcow2")), last);
    TWO.iter().for_each(|n| world.check(n));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pivot_finds_its_job_again_or_starts_it_anew() {
    let world = World::running().await;
    world.layer(&both(&world)).await;
    let (_, pivot) = merge_active(&world, "a");
    let instance = world.instance();
    // No MergeActive came before, as if its job had failed since.
    world.settle(&Settle::Pause { instance }).await;
    world.settle(&pivot).await;
    world.settle(&Settle::Resume { instance, why: ResumeWhy::Unpaused }).await;
    world.counted(3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inner_layer_is_merged_down_in_either_world() {
    for dead in [false, true] {
        let world = World::running().await;
        world.layer(&both(&world)).await;
        world.layer(&[world.switch("a", "a1", "a2")]).await;
        let instance = Some(world.instance());
        let (top, base) = (world.image("a1"), world.image("a.qcow2"));
        let target = crate::model::ids::DiskTarget::from("vda");
        if dead {
            world.kill_qemu();
        }
        let down = Settle::MergeDown { instance, target, top: top.clone(), base: base.clone() };
        world.settle(&down).await;
        if dead {
            world.settle(&Settle::Repoint { image: world.image("a2"), backing: base.clone() }).await;
        } else {
            // At once, with nothing flushed since.
            world.kill_qemu();
        }
        world.settle(&Settle::Unlink { path: top.path.clone() }).await;
        let header = crate::host::images::header(&world.path("a2"), "qcow2").unwrap().image;
        assert_eq!(header.backing, Some(base.path.clone()));
        assert_eq!(header.backing_format.as_deref(), Some("qcow2"));
        assert!(world.stamp("a2") > world.stamp("a.qcow2"));
        ["a.qcow2", "a2"].iter().for_each(|n| world.check(n));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_takes_what_it_needs_from_a_layer_in_either_world() {
    for (dead, whole) in [(false, false), (true, false), (false, true)] {
        let world = World::running().await;
        world.layer(&both(&world)).await;
        world.layer(&[world.switch("a", "a1", "a2")]).await;
        let instance = Some(world.instance());
        let (image, from) = (world.image("a2"), if whole { world.image("a.qcow2") } else { world.image("a1") });
        let onto = (!whole).then(|| world.image("a.qcow2"));
        if dead {
            world.kill_qemu();
        }
        world.settle(&Settle::PullUp { instance, image, from: from.clone(), onto: onto.clone() }).await;
        world.kill_qemu();
        world.settle(&Settle::Unlink { path: world.path("a1") }).await;
        let header = crate::host::images::header(&world.path("a2"), "qcow2").unwrap().image;
        assert_eq!(header.backing, onto.map(|i| i.path));
        assert!(world.stamp("a2") > world.stamp("a.qcow2"));
        world.check("a2");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_waits_ends_when_the_guest_dies() {
    let world = std::sync::Arc::new(World::running().await);
    world.layer(&both(&world)).await;
    // A job that never gets anywhere.
    let graph = Graph::read(&world.qemu().monitor).await.unwrap();
    let pair = graph.chain(&world.path("a1"), &world.path("a.qcow2")).unwrap();
    let arguments = json!({
        "job-id": "virsnap-op7-vda", "device": pair.upper, "base-node": pair.lower, "speed": 1, "auto-dismiss": false,
    });
    world.qemu().monitor.execute("block-commit", arguments).await.unwrap();
    let (active, _) = merge_active(&world, "a");
    let waiting = tokio::spawn({
        let world = world.clone();
        async move { world.settle_once(&active).await }
    });
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    assert!(!waiting.is_finished());
    world.kill_qemu();
    let error = waiting.await.unwrap().unwrap_err().to_string();
    assert_eq!(error, "operation failed: guest unexpectedly quit");
}

/// A file system with room for a header and little more; gone with the value.
struct Small(tempfile::TempDir);
impl Small {
    fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let args = ["-t", "tmpfs", "-o", "size=2m", "none", dir.path().to_str().unwrap()];
        std::process::Command::new("mount").args(args).status().is_ok_and(|s| s.success()).then_some(Self(dir))
    }
}
impl Drop for Small {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(self.0.path()).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_save_without_room_fails_and_leaves_the_guest_alive() {
    // Only root may mount.
    let Some(small) = Small::mount() else { return };
    let world = World::running_with(64).await;
    let (disks, instance) = (both(&world), world.instance());
    world.overlays(&disks).await;
    let path = camino::Utf8Path::from_path(small.0.path()).unwrap().join("mem");
    let reserve = Prepare::Reserve { path: path.clone(), existing: Existing::Refuse };
    world.prepare(&reserve).await.unwrap();
    let live = Prepare::LiveSave { instance, path: path.clone(), header: "<domain/>".into(), disks: disks.clone() };
    let failed = match world.prepare(&live).await {
        Ok(_) => world.prepare(&Prepare::AwaitSave { instance, path: path.clone() }).await,
        failed => failed,
    };
    let error = failed.unwrap_err().to_string();
    assert!(error.contains("No space left on device"), "{error}");
    world.undo(&live).await;
    world.undo(&Prepare::AddNodes { instance, disks }).await;
    assert_eq!(world.nodes().await, ROOTS);
    assert!(read_header(&path).is_err());
    world.counted(3).await;
}

//! Memory that is copied ahead: what a guest gets whose QEMU may not track its writes in the background.

use super::guest::{OP, World};
use super::{ROOTS, TWO, both};
use crate::host::images::files;
use crate::host::qemu::memory::{self, Way};
use crate::host::qemu::{saves, steps};
use crate::host::save_image::read_header;
use crate::plan::steps::{Existing, Prepare, SwitchDisk};
use serde_json::json;
use std::time::{Duration, Instant};

async fn ready(world: &World, disks: &[SwitchDisk]) -> Prepare {
    let (instance, path) = (world.instance(), world.path("mem"));
    world.overlays(disks).await;
    world.prepare(&Prepare::Reserve { path: path.clone(), existing: Existing::Refuse }).await.unwrap();
    Prepare::LiveSave { instance, path, header: "<domain/>".into(), disks: disks.to_vec() }
}

async fn save(world: &World, disks: &[SwitchDisk]) -> crate::error::Result<()> {
    saves::live(&world.qemu(), &world.path("mem"), "<domain/>", disks, &[Way::Ahead], world).await
}

/// What was saved is of the instant at which the disks were switched, and loads back.
async fn assert_of_one_instant(world: &World) {
    world.prepare(&Prepare::AwaitSave { instance: world.instance(), path: world.path("mem") }).await.unwrap();
    world.counted(3).await;
    world.kill_qemu();
    let (before, after) = (world.stamp("a.qcow2"), world.stamp("a1"));
    assert!(before < after, "the guest went on in the overlay: {before} {after}");
    assert!(read_header(&world.path("mem")).unwrap().was_running);
    world.start(&TWO, &["-incoming", "defer"]).await;
    memory::load_file(&world.qemu().monitor, &world.path("mem"), world).await.unwrap();
    world.cont().await;
    world.counted(3).await;
    for [m, d0, d1] in world.lines() {
        assert!(m == d0 && m == d1 && m >= before, "{m} {d0} {d1}, saved at {before}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guest_runs_while_its_memory_is_copied_and_stands_still_for_the_rest() {
    let world = World::running_with(192).await;
    let disks = both(&world);
    ready(&world, &disks).await;
    let begun = Instant::now();
    save(&world, &disks).await.unwrap();
    let whole = begun.elapsed();
    let pauses = world.pauses.lock().unwrap().clone();
    eprintln!("paused for {pauses:?} µs of {whole:?}");
    assert_eq!(pauses.len(), 1);
    assert!(Duration::from_micros(pauses[0]) < whole);
    assert_of_one_instant(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_writes_faster_than_it_is_copied_is_stopped_in_the_end() {
    let world = World::running_with(48).await;
    let disks = both(&world);
    ready(&world, &disks).await;
    let qemu = world.qemu();
    // The guest touches 4 MiB and more in each second, which are 64 pages in each tick.
    let slow = async {
        loop {
            let now = qemu.monitor.execute("query-migrate", json!({})).await.unwrap();
            if now["ram"]["dirty-sync-count"].as_u64().is_some_and(|passes| passes > 1) {
                qemu.monitor.execute("migrate-set-parameters", json!({ "max-bandwidth": 3 << 20 })).await.unwrap();
                return now;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let (saved, _) = tokio::join!(save(&world, &disks), slow);
    saved.unwrap();
    let length = world.path("mem").metadata().unwrap().len();
    assert!(length < 5 * (48 << 20), "{length}");
    assert_of_one_instant(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_undone_in_the_middle_of_the_copy_and_at_the_end_of_it() {
    for at_the_end in [false, true] {
        let world = World::running_with(192).await;
        let disks = both(&world);
        let step = ready(&world, &disks).await;
        let qemu = world.qemu();
        let way = memory::prepare(&qemu.monitor, &world.path("mem"), "<domain/>", true, &[Way::Ahead]).await.unwrap();
        assert_eq!(way, Way::Ahead);
        if at_the_end {
            // The daemon dies between the switch and the end of the save.
            memory::ahead(&qemu.monitor, &world).await.unwrap();
            assert!(steps::switch(&world, world.instance(), &disks).await.is_ok());
        } else {
            memory::begin(&qemu.monitor, way).await.unwrap();
            world.counted(1).await;
        }
        world.undo(&step).await;
        world.undo(&Prepare::AddNodes { instance: world.instance(), disks: disks.clone() }).await;
        assert_eq!(world.nodes().await, ROOTS);
        for disk in &disks {
            files::unlink_if_unused(&disk.overlay.path).await.unwrap();
        }
        assert_eq!(world.status().await, "running");
        world.counted(3).await;
        // And another one goes well.
        std::fs::remove_file(world.path("mem")).unwrap();
        ready(&world, &disks).await;
        save(&world, &disks).await.unwrap();
        assert_of_one_instant(&world).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_undone_when_all_is_saved() {
    let world = World::running().await;
    let disks = both(&world);
    let step = ready(&world, &disks).await;
    let qemu = world.qemu();
    memory::prepare(&qemu.monitor, &world.path("mem"), "<domain/>", true, &[Way::Ahead]).await.unwrap();
    memory::ahead(&qemu.monitor, &world).await.unwrap();
    assert!(steps::switch(&world, world.instance(), &disks).await.is_ok());
    memory::go_on(&qemu.monitor, &world).await.unwrap();
    // The daemon dies before it lets the guest go on.
    steps::undo(&world, OP, &step, None).await.unwrap();
    assert_eq!(world.status().await, "running");
    world.undo(&Prepare::AddNodes { instance: world.instance(), disks }).await;
    assert_eq!(world.nodes().await, ROOTS);
    world.counted(3).await;
}

#![allow(clippy::unwrap_used)]
//! The simulator must be able to fail what the design forbids.
use super::*;
use crate::model::ids::Image;
use crate::plan::steps::{Existing, SwitchBy};
use camino::Utf8Path;
use std::future::Future;
use uuid::Uuid;

const OP: OpId = OpId(1);
const DOMAIN: DomainId = DomainId(Uuid::from_u128(1));
const FIRST: Instance = Instance(Uuid::from_u128(11));

struct Silent;
impl Report for Silent {
    fn progress(&self, _: crate::host::StepProgress) {}
    fn paused_for(&self, _: u64) {}
}

fn image(path: &str) -> Image {
    Image { path: path.into(), format: "qcow2".into() }
}
fn switch_disk() -> SwitchDisk {
    SwitchDisk {
        target: "vda".into(),
        old: image("/a"),
        overlay: image("/a.s"),
        node: "v1-0".into(),
        reused: false,
        by: SwitchBy::Snapshot,
    }
}
fn xml(path: &str) -> String {
    format!(
        "<domain><devices><disk><driver type='qcow2'/><source file='{path}'/><target dev='vda'/></disk></devices></domain>"
    )
}
fn start(path: &str, memory: MemorySource) -> Start {
    Start { domain: DOMAIN, instance: FIRST, xml: xml(path), memory }
}

/// A world with one running guest on `/a`.
fn host(faults: &[(usize, Fault)]) -> SimHost {
    let mut world = World::default();
    world.place("/a".into(), Body::Image(ImageBody::new("qcow2", None)));
    let host = SimHost::new(
        Arc::new(Mutex::new(world)),
        Arc::new(Fuse::new(faults.iter().copied())),
        mpsc::unbounded_channel().0,
    );
    let mut guest = Guest::open(&host.world(), &start("/a", MemorySource::Boot)).unwrap();
    guest.running = true;
    host.world().admit(guest).unwrap();
    host
}
fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}
async fn overlay(host: &SimHost) {
    let reserve = Prepare::Reserve { path: "/a.s".into(), existing: Existing::Refuse };
    let format = Prepare::Format { image: image("/a.s"), backing: image("/a") };
    for step in [reserve, format, Prepare::AddNodes { instance: FIRST, disks: vec![switch_disk()] }] {
        host.prepare(OP, &step, &Silent).await.unwrap();
    }
}
fn merge_and_pivot() -> [Settle; 2] {
    let (instance, target, top, base) = (FIRST, "vda".into(), image("/a.s"), image("/a"));
    [
        Settle::MergeActive { instance, target, top: top.clone(), base: base.clone() },
        Settle::Pivot { instance, target: "vda".into(), top, base },
    ]
}
fn seen(host: &SimHost) -> world::Blocks {
    let world = host.world();
    let guest = world.guests.values().next().or(world.last_ended.as_ref()).unwrap();
    guest.truth[&"vda".into()].clone()
}
fn on(host: &SimHost, path: &str) -> world::Blocks {
    host.world().content(Utf8Path::new(path)).unwrap()
}

#[test]
fn a_guest_goes_on_writing_to_the_overlay_it_was_switched_to() {
    let host = host(&[]);
    run(async {
        overlay(&host).await;
        let below = on(&host, "/a");
        host.switch(OP, FIRST, &[switch_disk()]).await.unwrap();
        assert_eq!(host.probe(FIRST, &[switch_disk()]).await.unwrap(), Probe::Done);
        assert!(on(&host, "/a").len() >= below.len());
        assert_ne!(on(&host, "/a"), seen(&host));
        assert_eq!(on(&host, "/a.s"), seen(&host));
    });
}

#[test]
fn what_was_not_synced_is_lost_with_the_power() {
    let host = host(&[]);
    run(overlay(&host));
    let written = seen(&host);
    host.world().lose();
    assert!(host.world().ino(Utf8Path::new("/a.s")).is_none());
    assert_eq!(on(&host, "/a"), written, "what the guest flushed is there");
}

#[test]
fn leaving_a_layer_while_the_guest_runs_is_seen() {
    let host = host(&[]);
    run(async {
        overlay(&host).await;
        host.switch(OP, FIRST, &[switch_disk()]).await.unwrap();
        for step in merge_and_pivot() {
            host.settle(OP, &step, &Silent).await.unwrap();
        }
    });
    assert_eq!(host.world().violations.len(), 1);
}

/// Measured with a real QEMU: guest writes after a pivot, `kill -9`, and a second commit of the
/// overlay overwrote what the guest had flushed. So a layer that was left is emptied.
#[test]
fn a_layer_that_was_left_is_not_committed_again() {
    let host = host(&[]);
    run(async {
        overlay(&host).await;
        host.switch(OP, FIRST, &[switch_disk()]).await.unwrap();
        let [merge, pivot] = merge_and_pivot();
        host.settle(OP, &merge, &Silent).await.unwrap();
        host.pause(FIRST).await.unwrap();
        host.settle(OP, &pivot, &Silent).await.unwrap();
        host.resume(FIRST).await.unwrap();
        host.probe(FIRST, &[switch_disk()]).await.unwrap();
        assert_eq!(on(&host, "/a"), seen(&host));
        host.world().end_all();
        host.settle(OP, &pivot, &Silent).await.unwrap();
    });
    assert_eq!(on(&host, "/a"), seen(&host));
}

#[test]
fn memory_over_disks_of_another_instant_is_seen() {
    let host = host(&[]);
    run(async {
        host.world().place("/mem".into(), Body::Memory(12345));
        host.world().tick();
        host.kill(FIRST, false).await.unwrap();
        host.start(&start("/a", MemorySource::File("/mem".into())), &Silent).await.unwrap();
    });
    assert_eq!(host.world().violations.len(), 1);
}

#[test]
fn a_dead_daemon_does_nothing_more() {
    let host = host(&[(1, Fault::Crash)]);
    run(async {
        let work = overlay(&host);
        tokio::select! {
            biased;
            () = work => panic!("it must not come back"),
            () = host.fuse.burnt() => {}
        }
        assert_eq!(*host.world().body(Utf8Path::new("/a.s")).unwrap(), Body::Empty);
        assert!(host.strike("anything").is_err_and(|e| e.is_none()));
    });
}

/// Every place where the undo of a live snapshot can be cut short, by the daemon's end and by
/// QEMU's: nothing that was flushed is lost, and the second undo ends where the first would have.
#[test]
fn the_undo_of_a_live_snapshot_may_be_cut_short_anywhere() {
    for cut in 0..20 {
        for fault in [Fault::Crash, Fault::GuestDies, Fault::MachineKeeps, Fault::MachineLoses, Fault::Refuse] {
            let host = host(&[]);
            let save = Prepare::LiveSave {
                instance: FIRST,
                path: "/mem".into(),
                header: String::new(),
                disks: vec![switch_disk()],
            };
            run(async {
                overlay(&host).await;
                host.prepare(OP, &Prepare::Sync { path: "/a.s".into() }, &Silent).await.unwrap();
                host.world().place("/mem".into(), Body::Empty);
                host.prepare(OP, &save, &Silent).await.unwrap();
                let at = host.fuse.count() + cut;
                host.fuse.also(at, fault);
                tokio::select! { _ = host.undo(OP, &save, None) => {}, () = host.fuse.burnt() => {} }
                host.fuse.revive();
                host.fuse.stop();
                host.undo(OP, &save, None).await.unwrap();
            });
            host.world().tick();
            assert_eq!(on(&host, "/a"), seen(&host), "{fault:?} {:#?}", host.fuse.trace());
            assert!(host.world().guests.values().all(|g| g.running));
            assert_eq!(*host.world().body(Utf8Path::new("/a.s")).unwrap(), Body::Empty);
        }
    }
}

//! What clients change of a domain beside its life and its snapshots, on a real QEMU.

use crate::harness::{Daemon, Events, Guest, Kind, Refused, Spec, State, eventually};
use std::collections::BTreeMap;

const LIVE: u32 = 1;
const CONFIG: u32 = 2;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metadata_outlives_the_daemon_and_goes_with_a_snapshot() {
    let mut daemon = Daemon::start().await;
    let guest = Guest::define(&daemon, Spec::disks(1)).await.running().await;
    let events = Events::listen(&daemon.client).await;
    let (uri, element) = ("http://example.org/a", "<note>before</note>");
    let set = async |element: &str| {
        guest.domain.call::<(), _>("SetMetadata", &(2, element, "a", uri, LIVE | CONFIG)).await.unwrap();
    };
    let get = async |flags: u32| guest.domain.call::<String, _>("GetMetadata", &(2, uri, flags)).await;
    get(0).await.refused("metadata not found: Requested metadata element is not present");
    set(element).await;
    events.wait_signal("MetadataChange").await;
    guest.take("s", Kind::Memory).await;
    set("<note>after</note>").await;

    daemon.kill().await;
    daemon.spawn().await;
    assert_eq!(get(LIVE).await.unwrap(), "<note>after</note>");
    assert_eq!(get(CONFIG).await.unwrap(), "<note>after</note>");
    guest.domain.snapshot("s").await.unwrap().revert(0).await.unwrap();
    assert_eq!(get(LIVE).await.unwrap(), element);
    guest.domain.snapshot("s").await.unwrap().delete(0).await.unwrap();
    guest.assert_clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sizes_change_where_qemu_can_and_at_the_next_start_elsewhere() {
    let daemon = Daemon::start().await;
    let guest = Guest::define(&daemon, Spec::disks(1)).await.running().await;
    let (kib, less) = (32 << 10, 16 << 10);
    // The guest has no driver for its balloon, so it keeps what it has, and nobody says otherwise.
    guest.domain.call::<(), _>("SetMemory", &(less as u64, LIVE)).await.unwrap();
    let stats: BTreeMap<i32, u64> = guest.domain.call("MemoryStats", &(0u32,)).await.unwrap();
    assert_eq!(stats[&6], kib);
    assert!(stats[&7] > 1024, "QEMU takes memory: {stats:?}");
    guest.domain.call::<(), _>("SetMemory", &(less as u64, CONFIG)).await.unwrap();
    let inactive = guest.domain.xml(2).await.unwrap();
    assert!(inactive.contains(&format!("<currentMemory unit='KiB'>{less}</currentMemory>")), "{inactive}");
    guest
        .domain
        .call::<(), _>("SetMemory", &(kib + 1, CONFIG))
        .await
        .refused("cannot set memory higher than max memory");

    guest.domain.call::<(), _>("SetVcpus", &(2u32, LIVE)).await.refused("for the live domain: 2 > 1");
    guest.domain.call::<(), _>("SetVcpus", &(2u32, CONFIG | 4)).await.unwrap();
    let pins: Vec<Vec<bool>> = guest.domain.call("GetVcpuPinInfo", &(0u32,)).await.unwrap();
    let cpus: Vec<bool> = daemon.client.connect_call("NodeGetCPUMap", &(0u32,)).await.unwrap();
    assert_eq!(pins, [vec![true; cpus.len()]]);
    // Nothing here obeys shares and limits, so they cannot be set.
    let none = BTreeMap::<String, zbus::OwnedVariant>::new();
    let shares = guest.domain.call::<(), _>("SetSchedulerParameters", &(none, 0u32)).await;
    shares.refused("this function is not supported by the connection driver: virDomainSetSchedulerParametersFlags");

    guest.domain.destroy().await.unwrap();
    let again = guest.running().await;
    let counts = async || {
        let mut counts = Vec::new();
        for flags in [LIVE, LIVE | 4, CONFIG] {
            counts.push(again.domain.call::<u32, _>("GetVcpus", &(flags,)).await.unwrap());
        }
        counts
    };
    assert_eq!(counts().await, [1, 2, 1]);
    let plugged = again.domain.call::<(), _>("SetVcpus", &(2u32, LIVE)).await;
    plugged.refused("Operation not supported: the number of CPUs of a running guest cannot be changed");
    again.domain.call::<(), _>("SetVcpus", &(2u32, CONFIG)).await.unwrap();
    assert_eq!(counts().await, [1, 2, 2]);
    again.assert_clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_domain_marked_for_it_is_started_once_after_a_boot() {
    let mut daemon = Daemon::start().await;
    let guest = Guest::define(&daemon, Spec::disks(1)).await;
    guest.domain.set_autostart(true).await.unwrap();
    assert!(daemon.stop().await.success());
    daemon.spawn().await;
    assert_eq!(guest.state().await, State::Off, "the machine was not booted");
    assert!(daemon.stop().await.success());
    // What a boot does to /run.
    std::fs::remove_dir_all(daemon.runtime_directory()).unwrap();
    daemon.spawn().await;
    eventually("started", || async { (guest.state().await == State::Running).then_some(()) }).await;
    guest.counts().await;
    guest.assert_clean().await;
}

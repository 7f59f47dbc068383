//! What the D-Bus face costs, as ratios to an empty method on the same bus, with 10,000 snapshots.
//!
//! `cargo bench --bench dbus`

#![allow(clippy::unwrap_used)]

#[path = "../tests/dbus/bus.rs"]
#[allow(dead_code)]
mod bus;

use bus::{Bus, Daemon};
use std::time::{Duration, Instant};

const TEST: &str = "/org/libvirt/Test";
const DOMAIN: &str = "/org/libvirt/Test/domain/_0dd0dd0d_0002_4000_8000_000000000002";
const SNAPSHOT: &str = "/org/libvirt/Test/domainsnapshot/_0dd0dd0d_0002_4000_8000_000000000002_s7";
const CALLS: [(&str, &str); 3] = [
    ("org.freedesktop.DBus.Peer", "Ping"),
    ("org.libvirt.DomainSnapshot", "IsCurrent"),
    ("org.libvirt.DomainSnapshot", "GetXMLDesc"),
];
const COUNT: usize = 10_000;
const DEFINITION: &str = "<domain type='qemu'><name>ox</name><uuid>0dd0dd0d-0002-4000-8000-000000000002</uuid>\
    <memory unit='MiB'>32</memory><vcpu>2</vcpu><os><type arch='x86_64'>hvm</type></os><devices>\
    <disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='/images/vda.qcow2'/>\
    <target dev='vda' bus='virtio'/></disk></devices></domain>";

#[tokio::main]
async fn main() {
    let bus = Bus::start();
    let daemon = Daemon::start(&bus);
    let client = bus.client().await;
    client.call(TEST, "org.libvirt.Connect", "DomainDefineXML", &(DEFINITION,)).await.unwrap();
    let start = Instant::now();
    for at in 0..COUNT {
        // A flat tree with chains in it: every tenth starts anew.
        let parent = if at % 10 == 0 { String::new() } else { format!("<parent><name>s{}</name></parent>", at - 1) };
        let xml = format!(
            "<domainsnapshot><name>s{at}</name><state>shutoff</state>{parent}<creationTime>{at}</creationTime>\
             <memory snapshot='no'/><disks><disk name='vda' snapshot='internal'/></disks>{DEFINITION}</domainsnapshot>"
        );
        client.call(DOMAIN, "org.libvirt.Domain", "SnapshotCreateXML", &(xml, 1_u32)).await.unwrap();
    }
    println!("{COUNT} redefined in {:?}", start.elapsed());

    // One after the other in each round, so that a busy machine is equally busy for all.
    let mut times: [Vec<Duration>; 3] = Default::default();
    for _ in 0..3000 {
        for (at, (interface, member)) in CALLS.iter().enumerate() {
            let start = Instant::now();
            match at {
                0 => client.call(SNAPSHOT, interface, member, &()).await.unwrap(),
                _ => client.call(SNAPSHOT, interface, member, &(0_u32,)).await.unwrap(),
            };
            times[at].push(start.elapsed());
        }
    }
    let p50 = times.map(|mut t| {
        t.sort_unstable();
        t[t.len() / 2]
    });
    for ((_, member), time) in CALLS.iter().zip(p50) {
        let ratio = time.as_secs_f64() / p50[0].as_secs_f64();
        println!("{member:20} p50 {time:?}, {ratio:.2} × Ping (at most 1.5)");
    }
    let mut list = Vec::new();
    for _ in 0..20 {
        let start = Instant::now();
        client.call(DOMAIN, "org.libvirt.Domain", "ListDomainSnapshots", &(0_u32,)).await.unwrap();
        list.push(start.elapsed());
    }
    list.sort_unstable();
    println!("ListDomainSnapshots  p50 {:?}, worst {:?} (at most 50 ms)", list[list.len() / 2], list[list.len() - 1]);
    let start = Instant::now();
    let parent = "/org/libvirt/Test/domainsnapshot";
    client.call(parent, "org.freedesktop.DBus.Introspectable", "Introspect", &()).await.unwrap();
    println!("Introspect           {:?}", start.elapsed());
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.child.id())).unwrap();
    let peak = status.lines().find(|l| l.starts_with("VmHWM")).unwrap();
    println!("daemon's peak memory {} (at most 100 MiB)", peak.trim_start_matches("VmHWM:").trim());
}

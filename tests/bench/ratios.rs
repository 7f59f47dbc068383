//! `make bench`: figures as ratios within one run, so that they mean the same on a slow machine.
//!
//! Not a test: nothing fails here but the daemon. The targets are printed beside the figures.

#![allow(clippy::unwrap_used, clippy::expect_used, unreachable_pub, missing_docs)]

#[path = "../e2e"]
mod shared {
    pub mod harness;
}

use shared::harness::client::{Client, SNAPSHOT, flag};
use shared::harness::{Daemon, Events, Guest, Kind, Spec, State};
use std::collections::HashMap;
use std::time::{Duration, Instant};

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    if std::env::args().any(|word| word == "--list") {
        return; // nextest asks
    }
    println!("{:<62} {:>10}  target", "", "measured");
    if wanted("calls") {
        calls_against_ping().await;
    }
    if wanted("many") {
        ten_thousand_snapshots().await;
    }
    if wanted("pauses") {
        pauses().await;
    }
}

/// `cargo bench --bench ratios -- pauses` runs one part.
fn wanted(part: &str) -> bool {
    let named: Vec<_> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    named.is_empty() || named.iter().any(|word| word == part)
}

fn row(what: &str, measured: &str, target: &str) {
    println!("{what:<62} {measured:>10}  {target}");
}

fn milliseconds(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}

fn ratio(a: Duration, b: Duration) -> String {
    format!("{:.2} x", a.as_secs_f64() / b.as_secs_f64())
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

async fn ping(client: &Client, path: &str) {
    client
        .connection
        .call_method(Some("org.libvirt"), path, Some("org.freedesktop.DBus.Peer"), "Ping", &())
        .await
        .unwrap();
}

/// Reads are as fast as a call that does nothing.
async fn calls_against_ping() {
    let daemon = Daemon::start_quiet().await;
    let guest = Guest::define(&daemon, Spec::disks(2)).await;
    let definition = guest.domain.xml(flag::XML_INACTIVE).await.unwrap();
    let snapshot = guest.domain.snapshot_create(&redefinition("s", None, &definition), flag::REDEFINE).await.unwrap();
    let (mut pings, mut xmls, mut currents) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..2200 {
        let start = Instant::now();
        ping(&snapshot.client, &snapshot.path).await;
        let pinged = start.elapsed();
        let start = Instant::now();
        snapshot.xml().await.unwrap();
        let read = start.elapsed();
        let start = Instant::now();
        snapshot.is_current().await.unwrap();
        let asked = start.elapsed();
        if round >= 200 {
            pings.push(pinged);
            xmls.push(read);
            currents.push(asked);
        }
    }
    let empty = median(pings);
    row("an empty method (Peer.Ping), p50", &milliseconds(empty), "");
    row("DomainSnapshot.GetXMLDesc, p50, against it", &ratio(median(xmls), empty), "<= 1.5 x");
    row("DomainSnapshot.IsCurrent, p50, against it", &ratio(median(currents), empty), "<= 1.5 x");
}

fn redefinition(name: &str, parent: Option<&str>, definition: &str) -> String {
    let parent = parent.map(|p| format!("<parent><name>{p}</name></parent>")).unwrap_or_default();
    format!(
        "<domainsnapshot><name>{name}</name><state>shutoff</state>{parent}<creationTime>1700000000</creationTime>\
         <memory snapshot='no'/><disks><disk name='vda' snapshot='internal'/><disk name='vdb' snapshot='internal'/>\
         </disks>{definition}</domainsnapshot>"
    )
}

/// A hundred branches of a hundred snapshots each.
async fn ten_thousand_snapshots() {
    const BRANCHES: usize = 100;
    const DEPTH: usize = 100;
    let daemon = Daemon::start_quiet().await;
    let guest = Guest::define(&daemon, Spec::disks(2)).await;
    let definition = guest.domain.xml(flag::XML_INACTIVE).await.unwrap();
    let start = Instant::now();
    for branch in 0..BRANCHES {
        for level in 0..DEPTH {
            let parent = (level > 0).then(|| format!("s-{branch}-{}", level - 1));
            let xml = redefinition(&format!("s-{branch}-{level}"), parent.as_deref(), &definition);
            guest.domain.snapshot_create(&xml, flag::REDEFINE).await.unwrap();
        }
    }
    let each = start.elapsed() / u32::try_from(BRANCHES * DEPTH).unwrap();
    row("redefining 10,000 snapshots, each", &milliseconds(each), "");
    let mut lists = Vec::new();
    for _ in 0..20 {
        let start = Instant::now();
        assert_eq!(guest.domain.snapshots(0).await.unwrap().len(), BRANCHES * DEPTH);
        lists.push(start.elapsed());
    }
    row("ListDomainSnapshots of 10,000, median", &milliseconds(median(lists)), "< 50 ms");
    let one = guest.domain.snapshot("s-50-50").await.unwrap();
    let (mut pings, mut reads) = (Vec::new(), Vec::new());
    for _ in 0..1000 {
        let start = Instant::now();
        ping(&one.client, &one.path).await;
        pings.push(start.elapsed());
        let start = Instant::now();
        let _: String = one.client.call(&one.path, SNAPSHOT, "GetXMLDesc", &(0u32,)).await.unwrap();
        reads.push(start.elapsed());
    }
    row("GetXMLDesc among 10,000, p50, against Peer.Ping", &ratio(median(reads), median(pings)), "<= 1.5 x");
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let kib: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    row("peak memory of the daemon with 10,000 snapshots", &format!("{} MiB", kib / 1024), "< 100 MiB");
}

/// How long the guest stands still for a full-system snapshot.
async fn pauses() {
    let small = live_pause(128).await;
    let large = live_pause(1024).await;
    row("pause of a live full-system snapshot, 128 MiB touched", &milliseconds(small), "< 20 ms");
    row("pause of a live full-system snapshot, 1 GiB touched", &milliseconds(large), "< 20 ms");
    row("  1 GiB against 128 MiB", &ratio(large, small), "<= 2 x");
    let stopped = stopped_save(1024).await;
    row("stop-and-save of that guest against it", &ratio(stopped, large), "");
}

async fn painted(daemon: &Daemon, mib: u32) -> Guest {
    Guest::define(daemon, Spec { memory_mib: mib + 64, paint: mib, ..Spec::disks(2) }).await.running().await
}

/// The median of seven, as the daemon has measured it.
async fn live_pause(mib: u32) -> Duration {
    let daemon = Daemon::start_quiet().await;
    let guest = painted(&daemon, mib).await;
    let mut pauses = Vec::new();
    for n in 0..7 {
        let events = Events::listen(&daemon.client).await;
        let snapshot = guest.create(&format!("s{n}"), Kind::Memory).await.unwrap();
        let completed = events.wait_signal("JobCompleted").await;
        let body = completed.body();
        let (params,): (HashMap<String, zbus::Variant<'_>>,) = body.deserialize().unwrap();
        let told = u64::try_from(unwrap(&params["downtime"])).expect("downtime is a number");
        // The signal has whole milliseconds, the log has microseconds.
        pauses.push(logged_pause(&daemon).unwrap_or(Duration::from_millis(told)));
        guest.counts().await;
        snapshot.delete(0).await.unwrap();
    }
    guest.assert_clean().await;
    median(pauses)
}

/// Typed parameters are wrapped twice, as libvirt-dbus does.
fn unwrap<'a>(value: &'a zbus::Variant<'a>) -> &'a zbus::Variant<'a> {
    match value {
        zbus::Variant::Variant(inner) => unwrap(inner),
        other => other,
    }
}

/// The last `pause_ms=…` of the log.
fn logged_pause(daemon: &Daemon) -> Option<Duration> {
    let log = daemon.log();
    let (_, rest) = log.rsplit_once("pause_ms=")?;
    let digits: String = rest.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
    Some(Duration::from_secs_f64(digits.parse::<f64>().ok()? / 1e3))
}

/// What a guest would be stopped for without the live way: the same save of a guest that stands still.
async fn stopped_save(mib: u32) -> Duration {
    let daemon = Daemon::start_quiet().await;
    let guest = painted(&daemon, mib).await;
    guest.enter(State::Paused).await;
    let start = Instant::now();
    let snapshot = guest.create("s", Kind::Memory).await.unwrap();
    let time = start.elapsed();
    snapshot.delete(0).await.unwrap();
    guest.assert_clean().await;
    time
}

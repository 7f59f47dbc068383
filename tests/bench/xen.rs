//! What virsnap adds on Xen to what `xl` itself takes, in one run on one guest: the pause of a full-system snapshot against
//! `xl save -p` and `xl unpause`, and the way back against `xl destroy` and `xl restore`.
#![allow(clippy::unwrap_used, clippy::expect_used, unreachable_pub)]

#[path = "../xen"]
mod shared {
    pub mod harness;
}

use shared::harness::{Daemon, Disk, Domain, Guest, Rig, eventually};

const ROUNDS: usize = 5;

/// Milliseconds in dom0 that a command took there.
fn timed(rig: &Rig, command: &str) -> f64 {
    let script =
        format!("a=$(date +%s%N); {{ {command}; }} >/dev/null 2>&1 </dev/null; b=$(date +%s%N); echo $((b - a))");
    rig.ok(&script).trim().parse::<f64>().unwrap() / 1e6
}

/// The last value of `key=` in the daemon's log.
fn logged(daemon: &Daemon<'_>, kind: &str, key: &str) -> f64 {
    let log = daemon.log();
    let line = log.lines().rfind(|l| l.contains("done op=") && l.contains(kind)).expect("a finished operation");
    let value = line.split_whitespace().find_map(|w| w.strip_prefix(key)).expect(key);
    value.parse().unwrap()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

async fn snapshot(domain: &Domain, name: &str) {
    let xml = format!("<domainsnapshot><name>{name}</name></domainsnapshot>");
    domain.snapshot_create(&xml, 0).await.unwrap();
}

#[tokio::main]
async fn main() {
    if std::env::args().any(|word| word == "--list") {
        return; // nextest asks
    }
    let Some(rig) = Rig::find() else { return };
    let daemon = Daemon::start(&rig).await;
    let guest = Guest::prepare(&rig, "be", &[Disk::Qcow2, Disk::Qcow2]);
    let domain = daemon.client.define(&guest.xml()).await.unwrap();
    domain.create(0).await.unwrap();
    guest.boots_beyond(0);
    guest.stamp();
    let file = format!("{}/bare", guest.directory());
    let (mut bare, mut ours) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        // Whose turn is first makes no difference then.
        bare.push(timed(&rig, &format!("xl save -p {0} {file} && xl unpause {0}", guest.name)));
        snapshot(&domain, &format!("s{round}")).await;
        ours.push(logged(&daemon, "Create", "pause_ms="));
    }
    let (b, o) = (median(bare), median(ours));
    println!(
        "full-system snapshot, pause: xl save -p + unpause {b:.0} ms, virsnap with two disks {o:.0} ms, ratio {:.2}",
        o / b
    );

    let (mut bare, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let config = format!("{}/restore", guest.directory());
        rig.write(&config, &guest.config());
        domain.snapshot("s0").await.unwrap().revert(0).await.unwrap();
        ours.push(logged(&daemon, "Revert", "elapsed_ms="));
        bare.push(timed(
            &rig,
            &format!("xl destroy {} && xl restore {config} {}/0.s0.save", guest.name, guest.directory()),
        ));
        // What xl started is somebody else's to virsnap, until the next way back.
        eventually("it is found", || async { domain.state().await.is_ok_and(|(s, _)| s == 1).then_some(()) }).await;
    }
    let (b, o) = (median(bare), median(ours));
    println!("rollback: xl destroy + restore {b:.0} ms, virsnap with two disks {o:.0} ms, ratio {:.2}", o / b);
}

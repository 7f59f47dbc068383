//! Each kind of snapshot of a guest in each state: what its memory and its disks hold after the way back, and what a
//! deletion leaves.

use crate::harness::client::flag;
use crate::harness::{Daemon, Disk, Domain, Guest, Refused, Rig};

/// `virDomainState`.
pub const RUNNING: i32 = 1;
pub const PAUSED: i32 = 3;
pub const SHUTOFF: i32 = 5;

/// `<domainsnapshot>` with a name and what is inside.
pub fn named(name: &str, inside: &str) -> String {
    format!("<domainsnapshot><name>{name}</name>{inside}</domainsnapshot>")
}

pub async fn state(domain: &Domain) -> i32 {
    domain.state().await.unwrap().0
}

/// Define it through virsnap and start it.
pub async fn started(daemon: &Daemon<'_>, guest: &Guest<'_>) -> Domain {
    let domain = daemon.client.define(&guest.xml()).await.unwrap();
    let boots = guest.boots();
    domain.create(0).await.unwrap();
    guest.boots_beyond(boots);
    domain
}

pub async fn revert(domain: &Domain, name: &str, flags: u32) {
    domain.snapshot(name).await.unwrap().revert(flags).await.unwrap_or_else(|e| panic!("revert to {name}: {e}"));
}

pub async fn delete(domain: &Domain, name: &str) {
    domain.snapshot(name).await.unwrap().delete(0).await.unwrap_or_else(|e| panic!("delete {name}: {e}"));
}

/// The internal snapshots of an image that a guest may have open.
pub fn tags(rig: &Rig, image: &str) -> Vec<String> {
    let info = rig.ok(&format!("qemu-img info -U --output=json {image}"));
    let info: serde_json::Value = serde_json::from_str(&info).unwrap();
    let all = info["snapshots"].as_array().cloned().unwrap_or_default();
    all.iter().map(|t| t["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_guest_goes_back_to_an_internal_snapshot() {
    let Some(rig) = Rig::find() else { return };
    let daemon = Daemon::start(&rig).await;
    let guest = Guest::prepare(&rig, "in", &[Disk::Qcow2, Disk::Qcow2]);
    let domain = started(&daemon, &guest).await;
    guest.write(0, "then 0");
    guest.write(1, "then 1");
    guest.stamp();
    domain.snapshot_create(&named("s", ""), 0).await.unwrap();
    assert_eq!(state(&domain).await, RUNNING, "it goes on");
    let taken = guest.count();
    guest.write(0, "later");
    guest.counts_beyond(taken + 30);
    assert_eq!(tags(&rig, &guest.disk(0)), ["s"]);
    assert_eq!(tags(&rig, &guest.disk(1)), ["s"]);
    let memory = format!("{}/0.s.save", guest.directory());
    assert!(domain.snapshot("s").await.unwrap().xml().await.unwrap().contains(&memory), "where the memory is, is said");

    let said = guest.console().len();
    revert(&domain, "s", 0).await;
    assert_eq!(state(&domain).await, RUNNING);
    guest.assert_went_back(said, taken);
    assert_eq!((guest.read(0).as_str(), guest.read(1).as_str()), ("then 0", "then 1"));
    guest.assert_whole();
    let uuid = rig.ok(&format!("xl list -v | grep ' {} \\|^{} '", guest.name, guest.name));
    assert!(uuid.contains(&guest.uuid.to_string()), "the same UUID: {uuid}");

    delete(&domain, "s").await;
    assert!(tags(&rig, &guest.disk(0)).is_empty() && tags(&rig, &guest.disk(1)).is_empty());
    assert_ne!(rig.run(&format!("ls {memory}")).code, 0, "its memory is gone");
    guest.assert_whole();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_guest_goes_back_to_external_snapshots_and_they_are_merged_under_it() {
    let Some(rig) = Rig::find() else { return };
    let daemon = Daemon::start(&rig).await;
    let guest = Guest::prepare(&rig, "ex", &[Disk::Qcow2, Disk::Qcow2]);
    let domain = started(&daemon, &guest).await;
    guest.write(0, "first");
    guest.stamp();
    let memory = format!("<memory snapshot='external' file='{}/m.save'/>", guest.directory());
    domain.snapshot_create(&named("m", &memory), flag::LIVE).await.unwrap();
    let taken = guest.count();
    guest.write(0, "second");
    domain.snapshot_create(&named("d", ""), flag::DISK_ONLY).await.unwrap();
    guest.write(0, "third");
    guest.assert_whole();
    let here = |name: &str| format!("{}/{name}", guest.directory());
    assert!(domain.xml(0).await.unwrap().contains(&here("0.d")), "it is on the second overlay");

    revert(&domain, "d", flag::REVERT_RUNNING).await;
    guest.boots_beyond(1);
    assert_eq!(guest.read(0), "second", "what the disk held, after a boot");
    guest.counts_beyond(taken + 30);
    let said = guest.console().len();
    revert(&domain, "m", 0).await;
    guest.assert_went_back(said, taken);
    assert_eq!(guest.read(0), "first");
    guest.assert_whole();

    guest.write(0, "fourth");
    delete(&domain, "d").await;
    delete(&domain, "m").await;
    assert_eq!(guest.read(0), "fourth");
    guest.assert_whole();
    assert!(domain.xml(0).await.unwrap().contains(&guest.disk(0)), "back on the first image");
    let files = rig.ok(&format!("ls {}", guest.directory()));
    assert_eq!(files.split_whitespace().collect::<Vec<_>>(), ["0.qcow2", "1.qcow2"], "nothing is left behind");
    rig.ok(&format!("qemu-img check -q -U {}", guest.disk(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_guest_stays_paused_and_goes_back_to_paused() {
    let Some(rig) = Rig::find() else { return };
    let daemon = Daemon::start(&rig).await;
    let guest = Guest::prepare(&rig, "pa", &[Disk::Qcow2, Disk::Qcow2]);
    let domain = started(&daemon, &guest).await;
    guest.stamp();
    guest.counts_beyond(20);
    domain.suspend().await.unwrap();
    domain.snapshot_create(&named("i", ""), 0).await.unwrap();
    assert_eq!(state(&domain).await, PAUSED);
    let memory = format!("<memory snapshot='external' file='{}/e.save'/>", guest.directory());
    domain.snapshot_create(&named("e", &memory), 0).await.unwrap();
    assert_eq!(state(&domain).await, PAUSED);
    domain.resume().await.unwrap();
    guest.assert_whole();
    let taken = guest.count();
    guest.counts_beyond(taken + 30);
    let said = guest.console().len();
    revert(&domain, "e", 0).await;
    assert_eq!(state(&domain).await, PAUSED);
    // It has not run since it was restored, and only a guest that runs can suspend itself.
    let again = domain.snapshot_create(&named("again", ""), 0).await;
    again.refused("the guest has not run since it was started or restored");
    assert_eq!(state(&domain).await, PAUSED, "and nothing has changed");
    domain.resume().await.unwrap();
    guest.assert_went_back(said, taken);
    guest.assert_whole();
    // The image of "i" lies beneath the overlays of "e".
    domain.snapshot("i").await.unwrap().revert(0).await.refused("lies beneath snapshot 'e'");
    delete(&domain, "e").await;
    revert(&domain, "i", flag::REVERT_RUNNING).await;
    assert_eq!(state(&domain).await, RUNNING);
    guest.assert_whole();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_domain_that_is_off_is_snapshotted_both_ways() {
    let Some(rig) = Rig::find() else { return };
    let daemon = Daemon::start(&rig).await;
    let guest = Guest::prepare(&rig, "of", &[Disk::Qcow2, Disk::Raw]);
    let domain = started(&daemon, &guest).await;
    guest.write(0, "one");
    guest.write(1, "ONE");
    domain.destroy().await.unwrap();
    assert_eq!(state(&domain).await, SHUTOFF);
    // The raw disk cannot hold a tag, so it gets an overlay; each in its own way.
    domain.snapshot_create(&named("mixed", ""), 0).await.unwrap();
    assert_eq!(tags(&rig, &guest.disk(0)), ["mixed"]);
    let overlay = format!("{}/1.mixed", guest.directory());
    assert!(domain.xml(0).await.unwrap().contains(&overlay));
    domain.create(0).await.unwrap();
    guest.boots_beyond(1);
    assert_eq!(guest.read(1), "ONE");
    guest.write(0, "two");
    guest.write(1, "TWO");
    revert(&domain, "mixed", 0).await;
    assert_eq!(state(&domain).await, SHUTOFF, "as it was then");
    domain.create(0).await.unwrap();
    guest.boots_beyond(2);
    assert_eq!((guest.read(0).as_str(), guest.read(1).as_str()), ("one", "ONE"));
    domain.destroy().await.unwrap();
    domain.snapshot_create(&named("disks", ""), flag::DISK_ONLY).await.unwrap();
    delete(&domain, "disks").await;
    delete(&domain, "mixed").await;
    domain.create(0).await.unwrap();
    guest.boots_beyond(3);
    assert_eq!((guest.read(0).as_str(), guest.read(1).as_str()), ("one", "ONE"));
    domain.destroy().await.unwrap();
    domain.undefine(0).await.unwrap();
    daemon.client.lookup(&guest.name).await.refused("Domain not found");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_guests_are_snapshotted_and_reverted_at_once() {
    let Some(rig) = Rig::find() else { return };
    let daemon = Daemon::start(&rig).await;
    let (a, b) = (Guest::prepare(&rig, "ta", &[Disk::Qcow2]), Guest::prepare(&rig, "tb", &[Disk::Qcow2]));
    let (one, other) = (started(&daemon, &a).await, started(&daemon, &b).await);
    for (guest, text) in [(&a, "of a"), (&b, "of b")] {
        guest.write(0, text);
        guest.stamp();
    }
    let s = named("s", "");
    let taken = tokio::join!(one.snapshot_create(&s, 0), other.snapshot_create(&s, flag::HALT));
    taken.0.unwrap();
    taken.1.unwrap();
    assert_eq!((state(&one).await, state(&other).await), (RUNNING, SHUTOFF), "HALT stops the second");
    a.write(0, "later");
    tokio::join!(revert(&one, "s", 0), revert(&other, "s", 0));
    for (guest, domain, text) in [(&a, &one, "of a"), (&b, &other, "of b")] {
        assert_eq!(state(domain).await, RUNNING);
        assert_eq!(guest.read(0), text);
        guest.assert_whole();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_on_thin_volumes_goes_back_with_both_of_them() {
    let Some(rig) = Rig::find() else { return };
    let daemon = Daemon::start(&rig).await;
    let guest = Guest::prepare(&rig, "lv", &[Disk::Thin, Disk::Thin]);
    let domain = started(&daemon, &guest).await;
    guest.write(0, "then 0");
    guest.write(1, "then 1");
    guest.stamp();
    domain.snapshot_create(&named("s", ""), 0).await.unwrap();
    let taken = guest.count();
    assert_eq!(state(&domain).await, RUNNING);
    guest.write(0, "later");
    guest.counts_beyond(taken + 30);
    let source = format!("<source file='{}/x'/>", guest.directory());
    let external = named("x", &format!("<disks><disk name='xvda' snapshot='external'>{source}</disk></disks>"));
    domain
        .snapshot_create(&external, flag::DISK_ONLY)
        .await
        .refused("has backend 'phy', which cannot take an external");

    for _ in 0..2 {
        let said = guest.console().len();
        revert(&domain, "s", 0).await;
        guest.assert_went_back(said, taken);
        assert_eq!((guest.read(0).as_str(), guest.read(1).as_str()), ("then 0", "then 1"));
        guest.assert_whole();
        guest.counts_beyond(taken + 30);
    }
    delete(&domain, "s").await;
    let left = rig.ok(&format!("lvs --noheadings -o lv_name virsnap | grep {}", guest.name));
    assert_eq!(left.split_whitespace().count(), 2, "only the volumes themselves are left: {left}");
    guest.assert_whole();
}

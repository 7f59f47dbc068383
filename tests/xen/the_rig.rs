//! The rig itself, without virsnap: the ground that the other tests stand on.

use crate::harness::{Client, Daemon, Disk, Guest, Rig};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dom0s_bus_answers_from_outside() {
    let Some(rig) = Rig::find() else { return };
    let client = Client::to(&rig.address(), "org.freedesktop.DBus", "").await;
    let answer: Result<(), _> = client.call("/org/freedesktop/DBus", "org.freedesktop.DBus.Peer", "Ping", &()).await;
    answer.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_in_dom0_serves_its_test_alone() {
    let Some(rig) = Rig::find() else { return };
    let mut one = Daemon::serving(&rig, "test").await;
    let other = Daemon::serving(&rig, "test").await;
    let xml = "<domain type='test'><name>one</name><memory>1024</memory><os><type>hvm</type></os></domain>";
    one.client.define(xml).await.unwrap();
    // Beside the one that every Test driver has.
    assert_eq!(one.virsnap("list --all --name").stdout.split_whitespace().collect::<Vec<_>>(), ["test", "one"]);
    assert_eq!(other.client.list(0).await.unwrap().len(), 1);
    one.kill().await;
    one.spawn().await;
    assert_eq!(one.stop().await, 0, "{}", one.log());
}

#[test]
fn a_guest_counts_and_keeps_its_disks_apart() {
    let Some(rig) = Rig::find() else { return };
    let guest = Guest::prepare(&rig, "disks", &[Disk::Qcow2, Disk::Raw]);
    guest.create();
    guest.write(0, "to the first");
    guest.write(1, "to the second");
    assert_eq!(guest.read(0), "to the first");
    assert_eq!(guest.read(1), "to the second");
    assert!(guest.say("r2").rest.starts_with("error: "), "there is no third disk");
    let count = guest.count();
    assert!(guest.ticks(2) > count);

    rig.ok(&format!("xl pause {}", guest.name));
    assert_eq!(guest.say_within(Duration::from_secs(2), "c"), None, "it is paused");
    rig.ok(&format!("xl unpause {}", guest.name));
    guest.ticks(1);

    rig.ok(&format!("xl shutdown -w {}", guest.name));
    assert!(rig.ok(&format!("head -c 12 {}", guest.disk(1))).starts_with("to the secon"));
}

#[test]
fn a_restored_guest_knows_whether_its_disks_came_along() {
    let Some(rig) = Rig::find() else { return };
    let guest = Guest::prepare(&rig, "save", &[Disk::Qcow2, Disk::Raw]);
    guest.create();
    guest.stamp();
    guest.assert_whole();
    let save = format!("{}/save", guest.directory());
    let before = guest.ticks(1);
    rig.ok(&format!("xl save {} {save}", guest.name));
    assert!(!guest.exists());
    rig.ok(&format!("xl restore {save}"));
    guest.assert_whole();
    let after = guest.ticks(1);
    assert!(after > before, "{before} {after}: the memory is that of the save file");

    // The disks have gone on; the memory of the file has not.
    rig.ok(&format!("xl destroy {0} && xl restore {save}", guest.name));
    let answer = guest.say("d");
    assert!(answer.torn > 0, "{answer:?}");
}

#[test]
fn a_thin_volume_of_a_running_guest_can_be_snapshotted() {
    let Some(rig) = Rig::find() else { return };
    let guest = Guest::prepare(&rig, "thin", &[Disk::Qcow2, Disk::Thin]);
    guest.create();
    guest.write(1, "before");
    let volume = guest.disk(1);
    rig.ok(&format!("lvcreate -q -s -kn -n {0}_snapshot virsnap/{0}_1", guest.name));
    guest.write(1, "after");
    assert!(rig.ok(&format!("head -c 6 {volume}")).starts_with("after"));
    assert!(rig.ok(&format!("head -c 6 /dev/virsnap/{}_snapshot", guest.name)).starts_with("before"));
}

//! The tools around it: `virsnap xl`, records for other programs, and the move of a machine to another daemon.

use crate::harness::client::flag;
use crate::harness::{Daemon, Disk, Guest, Rig, eventually};
use crate::snapshots::{RUNNING, SHUTOFF, named, revert, started, state};

#[tokio::test(flavor = "multi_thread")]
async fn the_snapshot_commands_proposed_for_xl() {
    let Some(rig) = Rig::find() else { return };
    let daemon = Daemon::start(&rig).await;
    let guest = Guest::prepare(&rig, "cl", &[Disk::Qcow2]);
    let domain = started(&daemon, &guest).await;
    let xl = |words: &str| {
        let done = daemon.virsnap(&format!("xl {words}"));
        assert_eq!(done.code, 0, "{words}: {}", done.stderr);
        done.stdout
    };
    guest.write(0, "then");
    xl(&format!("snapshot-create -n one {}", guest.name));
    let config = format!("{}/snapshot", guest.directory());
    rig.write(
        &config,
        "name = 'two'\ndescription = 'by file'\ntype = 'external'\nlive = 1\ndisk = ['xvda=two.qcow2,type=qcow2']\n",
    );
    xl(&format!("snapshot-create {config} {}", guest.name));
    let listed = xl(&format!("snapshot-list {}", guest.name));
    assert!(listed.contains("one") && listed.contains("internal") && listed.contains("two"), "{listed}");
    let directory = format!("/var/lib/xen/snapshots/{}", guest.uuid);
    let record = rig.ok(&format!("cat {directory}/snapshotdata-two.libxl-json"));
    let record: serde_json::Value = serde_json::from_str(&record).unwrap();
    assert_eq!(record["description"], "by file");
    assert_eq!(record["save"], format!("{directory}/two.save"));
    assert_eq!(record["disks"][0]["file"], format!("{directory}/two.qcow2"));
    assert_eq!(record["state"]["running"], true);

    guest.write(0, "later");
    xl(&format!("snapshot-revert -n two {}", guest.name));
    assert_eq!(guest.read(0), "then");
    xl(&format!("snapshot-delete -n two {}", guest.name));
    assert_ne!(rig.run(&format!("ls {directory}/snapshotdata-two.libxl-json")).code, 0, "the record goes with it");

    // Somebody else's record that names what is not this domain's.
    let evil = r#"{"name": "evil", "save": "/etc/passwd", "state": {"running": true}, "disks": [{"device": "xvda", "name": "evil"}]}"#;
    rig.write(&format!("{directory}/snapshotdata-evil.libxl-json"), evil);
    let listed = xl(&format!("snapshot-list {}", guest.name));
    assert!(listed.contains("evil") && listed.contains("/etc/passwd"), "{listed}");
    assert!(!domain.names().await.contains(&"evil".to_owned()));
    let wrong = daemon.virsnap(&format!("xl snapshot-delete -n evil {}", guest.name));
    assert_eq!(wrong.code, 1, "{}{}", wrong.stdout, wrong.stderr);
    assert_eq!(rig.run("ls /etc/passwd").code, 0);
    rig.ok(&format!("rm -rf {directory}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_moves_to_another_daemon_with_its_snapshots() {
    let Some(rig) = Rig::find() else { return };
    let source = Daemon::start(&rig).await;
    let guest = Guest::prepare(&rig, "mv", &[Disk::Qcow2]);
    let domain = started(&source, &guest).await;
    guest.write(0, "then");
    guest.stamp();
    domain.snapshot_create(&named("i", ""), 0).await.unwrap();
    guest.write(0, "later");
    domain.destroy().await.unwrap();
    let snapshot = domain.snapshot("i").await.unwrap().xml().await.unwrap();

    let destination = Daemon::start(&rig).await;
    let moved = destination.client.define(&domain.xml(flag::XML_INACTIVE).await.unwrap()).await.unwrap();
    moved.snapshot_create(&snapshot, flag::REDEFINE | flag::CURRENT).await.unwrap();
    domain.snapshot("i").await.unwrap().delete(flag::METADATA_ONLY).await.unwrap();
    domain.undefine(0).await.unwrap();
    assert!(source.client.lookup(&guest.name).await.is_err());

    revert(&moved, "i", 0).await;
    assert_eq!((state(&moved).await, guest.read(0).as_str()), (RUNNING, "then"));
    guest.assert_whole();
    moved.destroy().await.unwrap();
    eventually("it is off", || async { (state(&moved).await == SHUTOFF).then_some(()) }).await;
}

//! What goes wrong on a Xen host, and that all is as it was afterwards.

use crate::harness::{Daemon, Disk, Guest, Refused, Rig};
use crate::snapshots::{RUNNING, SHUTOFF, named, started, state, tags};

#[tokio::test(flavor = "multi_thread")]
async fn a_save_without_room_leaves_the_guest_running_and_nothing_behind() {
    let Some(rig) = Rig::find() else { return };
    let daemon = Daemon::start(&rig).await;
    let guest = Guest::prepare(&rig, "fu", &[Disk::Qcow2]);
    let domain = started(&daemon, &guest).await;
    guest.stamp();
    let small = format!("{}/small", guest.directory());
    rig.ok(&format!("mkdir {small} && mount -t tmpfs -o size=8M none {small}"));
    let memory = format!("<memory snapshot='external' file='{small}/m.save'/>");
    let failed = domain.snapshot_create(&named("m", &memory), 0).await;
    failed.refused("Child process (xl save");
    let left = rig.ok(&format!("ls {small}; umount {small}"));
    assert_eq!(left.trim(), "", "no partial file stays");
    assert_eq!(state(&domain).await, RUNNING);
    guest.assert_whole();
    assert!(domain.names().await.is_empty());
    assert_eq!(
        rig.ok(&format!("ls {}", guest.directory())).split_whitespace().collect::<Vec<_>>(),
        ["0.qcow2", "small"]
    );
    domain.snapshot_create(&named("m", ""), 0).await.unwrap();
    guest.assert_whole();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_without_its_disk_is_an_error_though_xl_says_nothing() {
    let Some(rig) = Rig::find() else { return };
    let daemon = Daemon::start(&rig).await;
    let guest = Guest::prepare(&rig, "co", &[Disk::Qcow2]);
    let domain = daemon.client.define(&guest.xml()).await.unwrap();
    rig.ok(&format!("echo garbage >{}", guest.disk(0)));
    domain.create(0).await.refused(&format!(
        "disk 'xvda' ({}) of domain '{}' was not attached",
        guest.disk(0),
        guest.name
    ));
    assert_eq!(state(&domain).await, SHUTOFF);
    assert!(!guest.exists(), "it does not run without its disk");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_image_gets_a_second_writer() {
    let Some(rig) = Rig::find() else { return };
    let daemon = Daemon::start(&rig).await;
    let guest = Guest::prepare(&rig, "wr", &[Disk::Qcow2]);
    // Somebody's guest, and a definition of ours of the same image under another name.
    guest.create();
    guest.stamp();
    let other = guest
        .xml()
        .replace(&guest.name, &format!("{}b", guest.name))
        .replace(&guest.uuid.to_string(), &uuid::Uuid::new_v4().to_string());
    // Its files keep their names.
    let other = other.replace(&format!("/x/{}b/", guest.name), &format!("/x/{}/", guest.name));
    let twin = daemon.client.define(&other).await.unwrap();
    twin.create(0).await.refused(&format!("image '{}' is in use by", guest.disk(0)));
    twin.snapshot_create(&named("s", ""), 0).await.refused(&format!("image '{}' is in use by", guest.disk(0)));
    assert!(tags(&rig, &guest.disk(0)).is_empty(), "qemu-img has not touched it");
    guest.assert_whole();
    twin.undefine(0).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_qdisk_is_told_and_harms_no_image() {
    let Some(rig) = Rig::find() else { return };
    let daemon = Daemon::start(&rig).await;
    let guest = Guest::prepare(&rig, "qd", &[Disk::Qcow2]);
    let domain = started(&daemon, &guest).await;
    guest.write(0, "safe");
    domain.snapshot_create(&named("s", ""), 0).await.unwrap();
    rig.ok(&format!("kill -9 $(xenstore-read /local/domain/$(xl domid {})/image/device-model-pid)", guest.name));
    // No hypervisor has the image open any more, but the domain still counts on it.
    domain.snapshot_create(&named("d", ""), 0x10).await.refused("");
    let removed = domain.snapshot("s").await.unwrap().delete(0).await;
    removed.refused("is attached to domain");
    assert_eq!(tags(&rig, &guest.disk(0)), ["s"]);
    // Begun is begun: once nobody has the image, the deletion goes on with the next call.
    domain.destroy().await.unwrap();
    let boots = guest.boots();
    domain.create(0).await.unwrap();
    guest.boots_beyond(boots);
    assert!(domain.names().await.is_empty() && tags(&rig, &guest.disk(0)).is_empty());
    assert_eq!(guest.read(0), "safe");
}

//! Guests that somebody else starts and stops, and what they do by themselves.

use crate::harness::client::flag;
use crate::harness::events::event;
use crate::harness::{Daemon, Disk, Events, Guest, Rig, eventually};
use crate::snapshots::{PAUSED, RUNNING, SHUTOFF, named, revert, started, state};

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_xl_starts_is_there_at_once_and_its_snapshots_define_it() {
    let Some(rig) = Rig::find() else { return };
    let daemon = Daemon::start(&rig).await;
    let events = Events::listen(&daemon.client).await;
    let guest = Guest::prepare(&rig, "xl", &[Disk::Qcow2]);
    let config = format!("{}/config", guest.directory());
    rig.write(&config, &format!("{}cpu_weight = 300\n", guest.config()));
    rig.ok(&format!("xl create -q {config}"));
    let domain = eventually("the guest is found", || async { daemon.client.lookup(&guest.name).await.ok() }).await;
    events.wait(event::STARTED_BOOTED).await;
    guest.boots_beyond(0);
    let xml = domain.xml(0).await.unwrap();
    assert!(
        xml.contains("cpu_weight = ") && xml.contains("300") && xml.contains(&guest.disk(0)),
        "its real configuration: {xml}"
    );
    let persistent = async || domain.property("Persistent").await.unwrap().to_string();
    assert!(persistent().await.contains("false"), "nobody has defined it");

    events.clear();
    rig.ok(&format!("xl pause {}", guest.name));
    events.wait(event::SUSPENDED_PAUSED).await;
    assert_eq!(state(&domain).await, PAUSED);
    rig.ok(&format!("xl unpause {}", guest.name));
    events.wait(event::RESUMED_UNPAUSED).await;

    guest.write(0, "kept");
    domain.snapshot_create(&named("d", ""), flag::DISK_ONLY).await.unwrap();
    assert!(persistent().await.contains("true"), "its snapshots must not be forgotten when it stops");
    guest.write(0, "in the overlay");
    // xl's own record names the overlay now: a reboot, which xl itself does, must not go back to the base.
    let boots = guest.boots();
    rig.ok(&format!("xl reboot {}", guest.name));
    guest.boots_beyond(boots);
    assert_eq!(guest.read(0), "in the overlay");
    let listed = rig.ok(&format!("xl list -l {}", guest.name));
    assert!(listed.contains(&format!("{}/0.d", guest.directory())), "{listed}");

    eventually("the new domid is seen", || async { (state(&domain).await == RUNNING).then_some(()) }).await;
    revert(&domain, "d", flag::REVERT_RUNNING).await;
    guest.boots_beyond(boots + 1);
    assert_eq!(guest.read(0), "kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_of_ours_reboots_with_its_overlay_and_is_reaped_when_it_powers_off() {
    let Some(rig) = Rig::find() else { return };
    let mut daemon = Daemon::start(&rig).await;
    let events = Events::listen(&daemon.client).await;
    let guest = Guest::prepare(&rig, "re", &[Disk::Qcow2]);
    let domain = started(&daemon, &guest).await;
    guest.write(0, "base");
    domain.snapshot_create(&named("d", ""), flag::DISK_ONLY).await.unwrap();
    guest.write(0, "overlay");
    let boots = guest.boots();
    let _: () = domain.call("Reboot", &(0u32,)).await.unwrap();
    guest.boots_beyond(boots);
    assert_eq!(guest.read(0), "overlay");
    assert_eq!(state(&domain).await, RUNNING);
    events.wait_signal("Reboot").await;

    // It powers off while nobody is there to reap it.
    daemon.kill().await;
    guest.say_within(std::time::Duration::from_secs(3), "q");
    daemon.spawn().await;
    eventually("it is off", || async { (state(&domain).await == SHUTOFF).then_some(()) }).await;
    assert!(!guest.exists(), "and nothing of it is left");
    domain.create(flag::START_PAUSED).await.unwrap();
    assert_eq!(state(&domain).await, PAUSED);
    domain.resume().await.unwrap();
    guest.boots_beyond(boots + 1);
    assert_eq!(guest.read(0), "overlay");
    domain.shutdown().await.unwrap();
    eventually("it is off", || async { (state(&domain).await == SHUTOFF).then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saved_guest_goes_on_where_it_was() {
    let Some(rig) = Rig::find() else { return };
    let daemon = Daemon::start(&rig).await;
    let guest = Guest::prepare(&rig, "sv", &[Disk::Qcow2]);
    let domain = started(&daemon, &guest).await;
    guest.write(0, "before");
    let (count, boots) = (guest.count(), guest.boots());
    domain.managed_save(0).await.unwrap();
    assert_eq!(state(&domain).await, SHUTOFF);
    assert!(domain.has_managed_save().await);
    domain.create(0).await.unwrap();
    guest.counts_beyond(count + 30);
    assert_eq!(guest.boots(), boots, "it goes on, it does not boot");
    assert_eq!(guest.read(0), "before");
    assert!(!domain.has_managed_save().await);
}

//! What virt-install and cockpit write is taken as it is, and QEMU takes what becomes of it.

use crate::harness::client::flag;
use crate::harness::{Daemon, Guest, Qemu, Refused, Spec};
use std::path::Path;
use std::process::Command;

/// A definition of `tests/qemu`, for this QEMU, with images that exist.
fn definition(name: &str, emulator: &Path, images: &Path) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/qemu").join(name);
    let mut xml = std::fs::read_to_string(path).unwrap();
    for (image, format) in
        [("debian12.qcow2", "qcow2"), ("debian12.iso", "raw"), ("old.raw", "raw"), ("shared.raw", "raw")]
    {
        let image = images.join(image);
        if !image.exists() {
            let made = Command::new("qemu-img").args(["create", "-q", "-f", format]).arg(image).arg("1M").status();
            assert!(made.unwrap().success());
        }
    }
    let directory = images.display().to_string();
    for (from, to) in [
        ("type=\"kvm\"", "type=\"qemu\""),
        ("\"/i/", &format!("\"{directory}/")),
        ("/var/lib/libvirt/qemu/nvram", &directory),
        ("2097152", "262144"),
        ("<emulator>/usr/bin/qemu-system-x86_64</emulator>", ""),
        ("<devices>", &format!("<devices>\n    <emulator>{}</emulator>", emulator.display())),
    ] {
        xml = xml.replace(from, to);
    }
    xml
}

const BRIDGE: &str = "<source bridge=\"br0\"/>";
const NETWORK: &str = "<source network=\"default\"/>";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_virt_install_writes_is_defined_started_and_snapshotted() {
    for qemu in [Qemu::Machine, Qemu::Backports] {
        let Some(emulator) = qemu.emulator() else { continue };
        let daemon = Daemon::start().await;
        for name in ["virt-install-q35.xml", "virt-install-pc.xml"] {
            let xml = definition(name, &emulator, daemon.images());
            // The unpacked QEMU is without its SPICE modules, of which QXL is one.
            let xml = if qemu == Qemu::Backports {
                xml.replace("type=\"qxl\" ram=\"65536\"", "type=\"vga\"").replace(" vgamem=\"16384\"", "")
            } else {
                xml
            };
            // Networks of other daemons are another test.
            let xml = xml.replace("<interface type=\"network\">", "<interface type=\"user\">").replace(NETWORK, "");
            let xml = xml.replace("<interface type=\"bridge\">", "<interface type=\"user\">").replace(BRIDGE, "");
            let domain = daemon.client.define(&xml).await.unwrap();
            domain.create(flag::START_PAUSED).await.unwrap();
            domain.resume().await.unwrap();
            let disk = if name.contains("q35") { "vda" } else { "hda" };
            let others = if name.contains("q35") { "" } else { "<disk name='vdb' snapshot='no'/>" };
            let snapshot = format!(
                "<domainsnapshot><name>s</name><disks><disk name='{disk}' snapshot='external'/>{others}</disks></domainsnapshot>"
            );
            let snapshot = domain.snapshot_create(&snapshot, flag::DISK_ONLY).await.unwrap();
            snapshot.revert(flag::REVERT_RUNNING).await.unwrap();
            assert_eq!(domain.state().await.unwrap().0, 1, "{name} runs");
            domain.destroy().await.unwrap();
            snapshot.delete(0).await.unwrap();
            domain.undefine(flag::UNDEFINE_NVRAM).await.unwrap();
        }
    }
}

/// A bridge of the test's own.
struct Bridge(String);

impl Bridge {
    fn new() -> Option<Self> {
        let name = format!("vst{}", std::process::id());
        let made = Command::new("ip").args(["link", "add", &name, "type", "bridge"]).status();
        if !made.is_ok_and(|s| s.success()) {
            println!("SKIP: this user cannot make bridges");
            return None;
        }
        Some(Self(name))
    }
    fn ports(&self) -> Vec<String> {
        let directory = format!("/sys/class/net/{}/brif", self.0);
        let entries = std::fs::read_dir(directory).unwrap().flatten();
        entries.map(|e| e.file_name().into_string().unwrap()).collect()
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["link", "del", &self.0]).status();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_card_is_plugged_into_its_bridge_or_the_bridge_is_named() {
    let daemon = Daemon::start().await;
    let card = |source: &str| {
        format!("    <interface {source}<mac address='52:54:00:aa:bb:cc'/><model type='virtio'/></interface>\n")
    };
    let on = |bridge: &str| card(&format!("type='bridge'><source bridge='{bridge}'/>"));
    let guest = Guest::define(&daemon, Spec { devices: on("vsnone"), ..Spec::disks(1) }).await;
    guest.domain.create(0).await.refused("Cannot get interface MTU on 'vsnone': No such device");

    let network =
        Spec { devices: card("type='network'><source network='vsnone'/>"), uuid: guest.spec.uuid, ..Spec::disks(1) };
    let guest = Guest::define(&daemon, network).await;
    guest.domain.create(0).await.refused("Network not found: no network with matching name 'vsnone'");

    let Some(bridge) = Bridge::new() else { return };
    let spec = Spec { devices: on(&bridge.0), uuid: guest.spec.uuid, ..Spec::disks(1) };
    let guest = Guest::define(&daemon, spec).await.running().await;
    assert_eq!(bridge.ports(), ["vs525400aabbcc"]);
    guest.domain.destroy().await.unwrap();
    assert!(bridge.ports().is_empty(), "the tap device goes with its guest");
}

//! The test guest itself.

use crate::harness::image::{self, Content, GUEST};
use crate::harness::serial::Serial;
use crate::harness::{Qemu, eventually};
use std::process::Command;

/// Without virsnap: the ground that the other tests stand on.
#[tokio::test]
async fn its_disks_hold_what_its_memory_counted() {
    for emulator in [Qemu::Machine, Qemu::Backports].into_iter().filter_map(Qemu::emulator) {
        let directory = tempfile::tempdir().unwrap();
        let disks = [directory.path().join("0.qcow2"), directory.path().join("1.qcow2")];
        let port = directory.path().join("serial");
        let mut command = Command::new(emulator);
        command.args(["-accel", "tcg", "-M", "pc", "-m", "32", "-nodefaults", "-display", "none"]);
        command.arg("-serial").arg(format!("file:{}", port.display()));
        for disk in &disks {
            image::create(disk, &crate::harness::Spec::disks(2));
            command.arg("-drive").arg(format!("file={},if=virtio,format=qcow2", disk.display()));
        }
        let mut qemu = command.spawn().unwrap();
        let said = || Serial::parse(&std::fs::read_to_string(&port).unwrap_or_default());
        eventually("it counts", || async { (said().last()?.memory > 70).then_some(()) }).await;
        crate::harness::daemon::signal(qemu.id(), "TERM");
        qemu.wait().unwrap();
        let said = said();
        assert_eq!(said.boots, [[0, 0]]);
        assert!(said.lines.iter().all(crate::harness::serial::Line::agrees));
        assert!(said.words.is_empty(), "{:?}", said.words);
        for disk in &disks {
            let content = Content::of(disk);
            content.assert_whole();
            assert!(content.stamp.abs_diff(said.last().unwrap().memory) <= 1);
            image::assert_sound(disk, false);
        }
    }
}

#[test]
fn the_bytes_in_the_tree_are_what_the_source_says() {
    if Command::new("as").arg("--version").output().is_err() {
        println!("SKIP: no assembler on this machine, the guest's bytes were not compared with their source");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/guest/counter.S");
    let (object, binary) = (directory.path().join("o"), directory.path().join("bin"));
    let assembled = Command::new("as").arg("--32").arg("-o").arg(&object).arg(source).status().unwrap();
    assert!(assembled.success());
    let linked = Command::new("ld")
        .args(["-m", "elf_i386", "-Ttext", "0x7c00", "--oformat", "binary", "-e", "_start", "-o"])
        .args([&binary, &object])
        .status()
        .unwrap();
    assert!(linked.success());
    assert_eq!(std::fs::read(binary).unwrap(), GUEST, "run `make guest`");
}

//! Definitions in, definitions and command lines out: golden files in `tests/qemu`, written anew
//! with `UPDATE_GOLDEN=1`.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::argv::{self, Incoming};
use super::chains::{Chains, chains};
use super::hardware::Hardware;
use super::probe::{EmulatorFacts, Emulators, Machine};
use super::{define, launch};
use crate::model::ids::Image;
use crate::plan::facts::{Facts, FileFact, FileKind, ImageHeader};
use camino::Utf8Path;

fn emulators() -> Emulators {
    let machine = |name: &str, alias: &str| Machine {
        name: name.to_owned(),
        alias: Some(alias.to_owned()),
        is_default: alias == "pc",
        max_cpus: 255,
    };
    let machines = vec![machine("pc-i440fx-7.2", "pc"), machine("pc-q35-7.2", "q35"), machine("microvm", "mv")];
    Emulators::pretend(EmulatorFacts { machines, ..EmulatorFacts::default() })
}

fn fact(kind: FileKind, format: &str, backing: Option<(&str, Option<&str>)>) -> FileFact {
    let header = ImageHeader {
        format: format.to_owned(),
        backing: backing.map(|b| b.0.into()),
        backing_format: backing.and_then(|b| b.1).map(str::to_owned),
        virtual_size: 1 << 20,
        tags: Vec::new(),
    };
    FileFact { kind, header: (format != "raw").then_some(header), saved_memory: false }
}

/// Every image is there; qcow2 images lie on `/base.qcow2`, which lies on `/base.raw`.
fn world(hardware: &Hardware) -> Chains {
    let mut facts = Facts::default();
    for disk in &hardware.disks {
        let Some(image) = &disk.image else { continue };
        let kind = if disk.block { FileKind::Block } else { FileKind::File(1) };
        let backing = (image.format == "qcow2").then_some(("/base.qcow2", Some("qcow2")));
        facts.files.insert(image.path.clone(), fact(kind, &image.format, backing));
    }
    facts.files.insert("/base.qcow2".into(), fact(FileKind::File(1), "qcow2", Some(("/base.raw", Some("raw")))));
    facts.files.insert("/base.raw".into(), fact(FileKind::File(1), "raw", None));
    chains(&hardware.disks, &facts).unwrap()
}

fn golden(name: &str, got: &str) {
    let path = Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/qemu").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, got).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(got == expected, "{name} differs (UPDATE_GOLDEN=1 writes it anew):\n{got}");
}

#[test]
fn every_definition_becomes_its_stored_text_and_its_command_line() {
    for name in ["bare", "pc", "q35"] {
        let path = Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/qemu").join(format!("{name}.xml"));
        let given = std::fs::read_to_string(path).unwrap();
        let stored = define::check(&given, &emulators()).unwrap();
        golden(&format!("{name}.stored.xml"), &stored);
        assert_eq!(define::check(&stored, &emulators()).unwrap(), stored, "{name}: stored twice");
        let hardware = launch::read(&stored).unwrap();
        let args = argv::build(&hardware, &world(&hardware), Utf8Path::new("/run/virsnap/d/i"), Incoming::No);
        let mut lines = String::new();
        for arg in args {
            lines.push_str(if arg.starts_with('-') && !lines.is_empty() { "\n" } else { " " });
            lines.push_str(&arg);
        }
        golden(&format!("{name}.args"), &format!("{}\n", lines.trim_start()));
    }
}

fn domain(rest: &str, devices: &str) -> String {
    format!(
        "<domain type='qemu'>\n<name>n</name>\n<memory>65536</memory>\n<os><type>hvm</type></os>\n{rest}\n<devices>\n{devices}\n</devices>\n</domain>"
    )
}

#[test]
fn what_is_not_supported_is_refused_by_element_and_line() {
    let disk = |more: &str| format!("<disk type='file'>\n<source file='/a'/>\n<target dev='vda'/>\n{more}\n</disk>");
    for (rest, devices, expected) in [
        (
            "",
            disk("<iotune><read_bytes_sec>1</read_bytes_sec></iotune>"),
            "element <iotune> (line 10, column 1) is not supported",
        ),
        (
            "",
            disk("<driver iothread='1'/>"),
            "attribute 'iothread' of element <driver> (line 10, column 1) is not supported",
        ),
        ("", disk("<driver type='vmdk'/>"), "type='vmdk' of element <driver> (line 10, column 1) is not supported"),
        (
            "",
            disk("<driver cache='sometimes'/>"),
            "cache='sometimes' of element <driver> (line 10, column 1) is not supported",
        ),
        ("", "<disk type='network'/>".into(), "type='network' of element <disk> (line 7, column 1) is not supported"),
        ("", "<disk device='lun'/>".into(), "device='lun' of element <disk> (line 7, column 1) is not supported"),
        ("", "<hostdev mode='subsystem'/>".into(), "element <hostdev> (line 7, column 1) is not supported"),
        ("", "<tpm/>".into(), "element <tpm> (line 7, column 1) is not supported"),
        (
            "",
            "<interface type='bridge'/>".into(),
            "type='bridge' of element <interface> (line 7, column 1) is not supported",
        ),
        (
            "",
            "<graphics type='spice'/>".into(),
            "type='spice' of element <graphics> (line 7, column 1) is not supported",
        ),
        ("<memoryBacking/>", String::new(), "element <memoryBacking> (line 5, column 1) is not supported"),
        ("<features><viridian/></features>", String::new(), "element <viridian> (line 5, column 11) is not supported"),
        (
            "<vcpu current='0'>2</vcpu>",
            String::new(),
            "current='0' of element <vcpu> (line 5, column 1) is not supported",
        ),
        (
            "<on_crash>rename-restart</on_crash>",
            String::new(),
            "value 'rename-restart' of element <on_crash> (line 5, column 1) is not supported",
        ),
        (
            "<q:commandline xmlns:q='http://libvirt.org/schemas/domain/qemu/1.0'><q:x/></q:commandline>",
            String::new(),
            "element <q:x> (line 5, column 69) is not supported",
        ),
        ("<x:y xmlns:x='urn:x'/>", String::new(), "element <x:y> (line 5, column 1) is not supported"),
        ("<cpu><topology sockets='2'/></cpu>", String::new(), "CPU topology doesn't match maximum vcpu count"),
    ] {
        let error = define::check(&domain(rest, &devices), &emulators()).expect_err(expected);
        assert_eq!(error.to_string(), format!("unsupported configuration: {expected}"));
    }
}

#[test]
fn two_devices_at_one_place_are_refused() {
    let at = |slot: &str, function: &str| {
        format!(
            "<rng model='virtio'><backend model='builtin'/><address type='pci' slot='{slot}' function='{function}'/></rng>"
        )
    };
    for (devices, expected) in [
        (at("4", "0") + &at("0x04", "0x0"), "XML error: Attempted double use of PCI Address 0000:00:04.0"),
        (at("0", "0"), "XML error: Invalid PCI address 0000:00:00.0. slot must be in 1..=31"),
        (at("1", "1"), "XML error: Attempted double use of PCI Address 0000:00:01.1"),
        (
            "<disk><source file='/a'/><target dev='hda'/></disk>".repeat(2),
            "XML error: target 'hda' duplicated",
        ),
        (
            "<disk><source file='/a'/><target dev='hda'/></disk><disk><source file='/a'/><target dev='hdb' bus='ide'/><address type='drive' unit='0'/></disk>".to_owned(),
            "XML error: Found duplicate drive address for disk with target name 'hdb' controller='0' bus='0' target='0' unit='0'",
        ),
        (
            "<disk><source file='/a'/><target dev='sda' bus='sata'/></disk>".to_owned(),
            "unsupported configuration: SATA is not supported with this QEMU binary",
        ),
    ] {
        let error = define::check(&domain("", &devices), &emulators()).expect_err(expected);
        assert_eq!(error.to_string(), expected);
    }
    define::check(&domain("", &(at("4", "0") + &at("4", "1"))), &emulators()).unwrap();
}

#[test]
fn what_must_not_change_is_written_down_and_the_rest_is_left_alone() {
    let given = "<domain type='qemu'>\n\t<name>n</name> <!-- mine -->\n\t<memory>65536</memory>\n\t<os><type machine=\"pc\" >hvm</type></os>\n\t<devices>\n\t\t<interface type='user'/>\n\t\t<input type='tablet'/>\n\t</devices>\n</domain>\n";
    let stored = define::check(given, &emulators()).unwrap();
    for kept in ["<!-- mine -->", "<type machine=\"pc-i440fx-7.2\" >hvm</type>", "\t<memory>65536</memory>\n"] {
        assert!(stored.contains(kept), "{stored}");
    }
    for new in [
        "<uuid>",
        "<mac address='52:54:00:",
        "<emulator>",
        "model='piix3-uhci'",
        "<memballoon model='virtio'",
        "<address type='usb' bus='0' port='1'/>",
    ] {
        assert!(stored.contains(new), "{new} in {stored}");
    }
    assert_eq!(define::check(&stored, &emulators()).unwrap(), stored);
}

#[test]
fn a_backing_file_without_a_written_format_is_not_guessed_at() {
    let image = |path: &str| Image { path: path.into(), format: "qcow2".into() };
    let hardware =
        launch::read(&domain("", "<disk><driver type='qcow2'/><source file='/top'/><target dev='vda'/></disk>"));
    let disks = hardware.unwrap().disks;
    let with = |files: &[(&str, FileFact)]| {
        let mut facts = Facts::default();
        facts.files.extend(files.iter().map(|(p, f)| ((*p).into(), f.clone())));
        chains(&disks, &facts)
    };
    let file = |format, backing| fact(FileKind::File(1), format, backing);
    let good = with(&[("/top", file("qcow2", Some(("/base", None)))), ("/base", file("qcow2", None))]).unwrap();
    assert_eq!(good["vda"].iter().map(|l| l.image.clone()).collect::<Vec<_>>(), [image("/top"), image("/base")]);
    let unnamed = "Requested operation is not valid: format of backing image '/base' of image '/top' was not specified";
    for (base, expected) in [
        (Some(file("raw", None)), unnamed),
        (Some(file("qcow2", Some(("/etc/shadow", Some("raw"))))), unnamed),
        (None, "Cannot access backing file '/base' of storage file '/top': No such file or directory"),
    ] {
        let mut files = vec![("/top", file("qcow2", Some(("/base", None))))];
        files.extend(base.map(|b| ("/base", b)));
        let error = with(&files).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
    assert_eq!(with(&[]).unwrap_err().to_string(), "Cannot access storage file '/top': No such file or directory");
}

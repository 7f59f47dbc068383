//! The `-device` (and backend) arguments of each kind of device. A new device is one function
//! here and one line in `argv`.
//!
//! Must not know: where a value came from.

use super::argv::{Args, Value};
use super::chains::{Layer, node_name};
use super::hardware::Hardware;
use super::hardware::address::Pci;
use super::hardware::board_device::{Sound, SoundModel, Watchdog, WatchdogModel};
use super::hardware::chardev::{Backend, Chardev, Port};
use super::hardware::controller::{Controller, ControllerKind, PciModel, ScsiModel, UsbModel};
use super::hardware::device::{Balloon, Input, InputPlug, Listen, Rng, Video, VideoModel, Vnc};
use super::hardware::disk::{Disk, DiskBus, Media};
use super::hardware::interface::{Interface, Net};
use camino::Utf8Path;

/// Where a device is plugged in.
pub(crate) struct Board {
    root: &'static str,
    lsi: Vec<u32>,
}

impl Board {
    pub(crate) fn of(hardware: &Hardware) -> Self {
        let lsi = hardware.controllers.iter().filter(|c| c.kind == ControllerKind::Scsi(ScsiModel::LsiLogic));
        Self { root: if hardware.is_q35() { "pcie.0" } else { "pci.0" }, lsi: lsi.map(|c| c.index).collect() }
    }
    fn plug(&self, device: Value, pci: Option<Pci>) -> Value {
        let Some(at) = pci else { return device };
        let bus = if at.bus == 0 { self.root.to_owned() } else { format!("pci.{}", at.bus) };
        let addr = match at.function {
            0 => format!("{:#x}", at.slot),
            f => format!("{:#x}.{f:#x}", at.slot),
        };
        device.set("bus", bus).maybe("multifunction", at.multifunction.then_some("on")).set("addr", addr)
    }
}

pub(crate) fn controller(args: &mut Args, board: &Board, c: &Controller) {
    let id = c.alias();
    let device = match c.kind {
        ControllerKind::Ide
        | ControllerKind::Sata
        | ControllerKind::Fdc
        | ControllerKind::Usb(UsbModel::None)
        | ControllerKind::Pci(PciModel::Root | PciModel::PcieRoot) => return,
        ControllerKind::Pci(PciModel::RootPort { chassis, port }) => {
            let port = port.unwrap_or_else(|| c.pci.map_or(0, |p| p.slot << 3 | p.function));
            Value::of("pcie-root-port")
                .set("port", port)
                .set("chassis", chassis.map_or(c.index, u32::from))
                .set("id", id)
        }
        ControllerKind::Pci(PciModel::Bridge { chassis }) => {
            Value::of("pci-bridge").set("chassis_nr", chassis.map_or(c.index, u32::from)).set("id", id)
        }
        ControllerKind::Pci(PciModel::ToPciBridge) => Value::of("pcie-pci-bridge").set("id", id),
        ControllerKind::Scsi(ScsiModel::Virtio) => Value::of("virtio-scsi-pci").set("id", id),
        ControllerKind::Scsi(ScsiModel::LsiLogic) => Value::of("lsi").set("id", id),
        ControllerKind::VirtioSerial { ports, vectors } => {
            Value::of("virtio-serial-pci").set("id", id).maybe("max_ports", ports).maybe("vectors", vectors)
        }
        ControllerKind::Usb(model) => usb(c, model, id),
    };
    args.device(board.plug(device, c.pci));
}

fn usb(c: &Controller, model: UsbModel, id: String) -> Value {
    let xhci = |name| Value::of(name).maybe("p2", c.ports).maybe("p3", c.ports).set("id", id.clone());
    let companion =
        |name| Value::of(name).set("masterbus", format!("{id}.0")).set("firstport", c.first_port.unwrap_or(0));
    match model {
        UsbModel::QemuXhci => xhci("qemu-xhci"),
        UsbModel::NecXhci => xhci("nec-usb-xhci"),
        UsbModel::Ehci => Value::of("ich9-usb-ehci1").set("id", id),
        UsbModel::Uhci1 => companion("ich9-usb-uhci1"),
        UsbModel::Uhci2 => companion("ich9-usb-uhci2"),
        UsbModel::Uhci3 => companion("ich9-usb-uhci3"),
        UsbModel::Piix4 => Value::of("piix4-usb-uhci").set("id", id),
        UsbModel::Piix3 | UsbModel::None => Value::of("piix3-usb-uhci").set("id", id),
    }
}

pub(crate) fn disk(args: &mut Args, board: &Board, d: &Disk, layers: Option<&[Layer]>, boot: Option<u32>) {
    for node in super::chains::nodes(d, layers.unwrap_or_default()) {
        args.add("-blockdev", node.to_string());
    }
    let cdrom = d.media == Media::Cdrom;
    let at = d.drive;
    let device = match d.bus {
        DiskBus::Virtio => Value::of("virtio-blk-pci").maybe("num-queues", d.queues),
        DiskBus::Ide | DiskBus::Sata => {
            let name = if cdrom { "ide-cd" } else { "ide-hd" };
            let (bus, unit) = match (d.bus, at) {
                (DiskBus::Sata, Some(at)) => (at.unit, 0),
                (_, Some(at)) => (at.bus, at.unit),
                (_, None) => (0, 0),
            };
            Value::of(name).set("bus", format!("ide.{bus}")).maybe("unit", (d.bus == DiskBus::Ide).then_some(unit))
        }
        DiskBus::Scsi => {
            let name = if cdrom { "scsi-cd" } else { "scsi-hd" };
            let (controller, target, unit) = at.map_or((0, 0, 0), |a| (a.controller, a.target, a.unit));
            let device = Value::of(name).set("bus", format!("scsi{controller}.0"));
            // The old controller has one unit per ID, the other whole targets of units.
            let device = if board.lsi.contains(&controller) {
                device.set("scsi-id", unit)
            } else {
                device.set("channel", 0).set("scsi-id", target).set("lun", unit)
            };
            let id = format!("drive-{}", d.alias());
            device.set("device_id", d.serial.clone().unwrap_or(id))
        }
        DiskBus::Fdc => Value::of("floppy").set("unit", at.map_or(0, |a| a.unit)),
    };
    let device = board
        .plug(device, d.pci)
        .maybe("share-rw", d.shareable.then_some("on"))
        .maybe("drive", layers.map(|_| node_name(&d.target, 0)))
        .set("id", d.alias());
    if d.bus == DiskBus::Fdc {
        args.device(device);
        return;
    }
    args.device(
        device
            .maybe("bootindex", boot)
            .maybe("logical_block_size", d.logical_block)
            .maybe("physical_block_size", d.physical_block)
            .maybe("write-cache", d.cache.filter(|_| !cdrom).map(|c| if c.writeback { "on" } else { "off" }))
            .maybe("serial", d.serial.clone())
            .maybe("werror", d.werror)
            .maybe("rerror", d.rerror),
    );
}

pub(crate) fn interface(args: &mut Args, board: &Board, n: usize, i: &Interface, boot: Option<u32>) {
    let id = format!("hostnet{n}");
    args.value(
        "-netdev",
        match i.net {
            Net::User => Value::of("user").set("id", id),
            // It exists as long as QEMU does, and joins the bridge before the guest runs.
            Net::Bridge(_) | Net::Network(_) => {
                Value::of("tap").set("id", id).set("ifname", i.tap()).set("script", "no").set("downscript", "no")
            }
        },
    );
    let device = Value::of(i.driver)
        .set("netdev", format!("hostnet{n}"))
        .set("id", format!("net{n}"))
        .maybe("mac", i.mac.clone());
    args.device(board.plug(device, i.pci).maybe("bootindex", boot));
}

pub(crate) fn chardev(args: &mut Args, dir: &Utf8Path, c: &Chardev) {
    if c.port == Port::SameAsSerial {
        return;
    }
    let id = c.chardev();
    let backend = match &c.backend {
        Backend::Pty => Value::of("pty").set("id", &id),
        Backend::Null => Value::of("null").set("id", &id),
        Backend::File { path, append } => {
            Value::of("file").set("id", &id).set("path", path).set("append", if *append { "on" } else { "off" })
        }
        Backend::Unix { path, listen } => {
            let path = path.clone().unwrap_or_else(|| super::argv::socket_in(dir, &format!("{}.sock", c.alias)));
            let socket = Value::of("socket").set("id", &id).set("path", path);
            if *listen { socket.set("server", "on").set("wait", "off") } else { socket }
        }
    };
    args.value("-chardev", backend);
    let virtio = |name: &str| {
        let (controller, port) = c.address.map_or((0, 1), |a| (a.controller, a.port));
        Value::of(name)
            .set("bus", format!("virtio-serial{controller}.0"))
            .set("nr", port)
            .set("chardev", &id)
            .set("id", &c.alias)
    };
    args.device(match &c.port {
        Port::IsaSerial { index } => {
            Value::of("isa-serial").set("chardev", &id).set("id", &c.alias).set("index", index)
        }
        Port::IsaParallel => Value::of("isa-parallel").set("chardev", &id).set("id", &c.alias),
        Port::Virtio { name } => virtio("virtserialport").maybe("name", name.clone()),
        Port::Hvc | Port::SameAsSerial => virtio("virtconsole"),
    });
}

pub(crate) fn vnc(args: &mut Args, v: &Vnc) {
    let display = match &v.listen {
        Listen::Socket(path) => Value::of(&format!("unix:{}", super::argv::escape(path))),
        Listen::Address(address) => {
            let address = if address.contains(':') { format!("[{address}]") } else { address.clone() };
            match v.port {
                Some(port) => Value::of(&format!("{address}:{}", port.saturating_sub(5900))),
                // QEMU takes the first that is free: no window in which another one takes it.
                None => Value::of(&format!("{address}:0")).set("to", 99),
            }
        }
    };
    // The password itself goes over QMP: a command line is public.
    args.value("-vnc", display.maybe("password", v.password.as_ref().map(|_| "on")).maybe("share", v.share));
    if let Some(keymap) = &v.keymap {
        args.add("-k", keymap);
    }
}

pub(crate) fn video(args: &mut Args, board: &Board, n: usize, v: &Video) {
    let first = n == 0;
    let device = match v.model {
        VideoModel::Qxl => Value::of(if first { "qxl-vga" } else { "qxl" })
            .set("ram_size", u64::from(v.qxl.ram) * 1024)
            .set("vram_size", u64::from(v.qxl.vram) * 1024)
            .set("vram64_size_mb", 0)
            .set("vgamem_mb", v.qxl.vgamem.div_ceil(1024))
            .maybe("max_outputs", v.heads),
        VideoModel::Vga if first => Value::of("VGA").maybe("vgamem_mb", v.memory_mib),
        VideoModel::Vga => Value::of("secondary-vga").maybe("vgamem_mb", v.memory_mib),
        VideoModel::Cirrus => Value::of("cirrus-vga"),
        VideoModel::Virtio if first => Value::of("virtio-vga").maybe("max_outputs", v.heads),
        VideoModel::Virtio => Value::of("virtio-gpu-pci").maybe("max_outputs", v.heads),
        VideoModel::Bochs => Value::of("bochs-display"),
    };
    args.device(board.plug(device.set("id", format!("video{n}")), v.pci));
}

pub(crate) fn input(args: &mut Args, board: &Board, n: usize, i: &Input) {
    let id = format!("input{n}");
    args.device(match &i.plug {
        InputPlug::Usb(at) => {
            let usb = Value::of(&format!("usb-{}", i.kind)).set("id", id);
            match at {
                Some(at) => {
                    let bus = if at.bus == 0 { "usb.0".to_owned() } else { format!("usb{}.0", at.bus) };
                    usb.set("bus", bus).set("port", &at.port)
                }
                None => usb,
            }
        }
        InputPlug::Virtio(pci) => {
            let kind = if i.kind == "kbd" { "keyboard" } else { i.kind };
            board.plug(Value::of(&format!("virtio-{kind}-pci")).set("id", id), *pci)
        }
    });
}

pub(crate) fn watchdog(args: &mut Args, board: &Board, n: usize, w: &Watchdog) {
    let id = format!("watchdog{n}");
    match w.model {
        WatchdogModel::I6300esb => args.device(board.plug(Value::of("i6300esb").set("id", id), w.pci)),
        WatchdogModel::Ib700 => args.device(Value::of("ib700").set("id", id)),
        WatchdogModel::Itco => args.add("-global", "ICH9-LPC.noreboot=off"),
    }
    args.add("-action", format!("watchdog={}", w.action));
}

/// Sound cards play into nothing: the host of a server has no ears.
pub(crate) fn sounds(args: &mut Args, board: &Board, sounds: &[Sound]) {
    const AUDIO: &str = "audio1";
    if !sounds.is_empty() {
        args.value("-audiodev", Value::of("none").set("id", AUDIO));
    }
    for (n, s) in sounds.iter().enumerate() {
        let id = format!("sound{n}");
        let card = |name: &str| Value::of(name).set("id", &id);
        let device = match s.model {
            SoundModel::Ich6 => card("intel-hda"),
            SoundModel::Ich9 => card("ich9-intel-hda"),
            SoundModel::Ac97 => card("AC97").set("audiodev", AUDIO),
            SoundModel::Es1370 => card("ES1370").set("audiodev", AUDIO),
            SoundModel::Sb16 => card("sb16").set("audiodev", AUDIO),
        };
        args.device(board.plug(device, s.pci));
        for (cad, codec) in s.codecs.iter().enumerate() {
            let codec = Value::of(codec).set("id", format!("{id}-codec{cad}")).set("bus", format!("{id}.0"));
            args.device(codec.set("cad", cad).set("audiodev", AUDIO));
        }
    }
}

pub(crate) fn rng(args: &mut Args, board: &Board, n: usize, r: &Rng) {
    let id = format!("objrng{n}");
    args.value(
        "-object",
        match &r.source {
            Some(path) => Value::of("rng-random").set("id", &id).set("filename", path),
            None => Value::of("rng-builtin").set("id", &id),
        },
    );
    let device = Value::of("virtio-rng-pci")
        .set("rng", &id)
        .set("id", format!("rng{n}"))
        .maybe("max-bytes", r.rate.map(|r| r.0))
        .maybe("period", r.rate.map(|r| r.1));
    args.device(board.plug(device, r.pci));
}

pub(crate) fn balloon(args: &mut Args, board: &Board, b: &Balloon) {
    let word = |on: bool| if on { "on" } else { "off" };
    let device = Value::of("virtio-balloon-pci")
        .set("id", "balloon0")
        .maybe("deflate-on-oom", b.deflate_on_oom.map(word))
        .maybe("free-page-reporting", b.free_page_reporting.map(word));
    args.device(board.plug(device, b.pci));
}

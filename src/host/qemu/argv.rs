//! QEMU's command line: a pure function of the definition and of the chains below its disks.
//!
//! Must not know: processes, files, QMP.

use super::chains::Chains;
use super::devices::{self, Board};
use super::hardware::board::{BootDevice, CpuMode};
use super::hardware::controller::{Controller, ControllerKind, UsbModel};
use super::hardware::disk::Media;
use super::hardware::{Hardware, OnCrash, OnEnd};
use camino::Utf8Path;
use std::fmt::Display;

/// The longest path of a socket.
const SOCKET_PATH_MAX: usize = 107;

/// How the guest gets its memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Incoming {
    /// It boots, or a tag is loaded before the CPUs run.
    No,
    /// A stream that QMP will name.
    Deferred,
}

/// One argument with its options: `driver,key=value,…`.
#[derive(Debug, Clone)]
pub(crate) struct Value(String);

impl Value {
    pub(crate) fn of(first: &str) -> Self {
        Self(first.to_owned())
    }
    pub(crate) fn set(mut self, key: &str, value: impl Display) -> Self {
        self.0 = format!("{},{key}={}", self.0, escape(&value.to_string()));
        self
    }
    pub(crate) fn maybe(self, key: &str, value: Option<impl Display>) -> Self {
        match value {
            Some(value) => self.set(key, value),
            None => self,
        }
    }
}

/// QEMU's escaping of commas.
pub(crate) fn escape(text: &str) -> String {
    text.replace(',', ",,")
}

/// A socket in the instance's directory, which is QEMU's working directory too: a path too long
/// for a socket is given relative to it.
pub(crate) fn socket_in(dir: &Utf8Path, name: &str) -> String {
    let path = dir.join(name).into_string();
    if path.len() > SOCKET_PATH_MAX { name.to_owned() } else { path }
}

/// A command line that grows.
#[derive(Debug, Default)]
pub(crate) struct Args(pub(crate) Vec<String>);

impl Args {
    pub(crate) fn flag(&mut self, flag: &str) {
        self.0.push(flag.to_owned());
    }
    pub(crate) fn add(&mut self, flag: &str, value: impl Into<String>) {
        self.0.push(flag.to_owned());
        self.0.push(value.into());
    }
    pub(crate) fn value(&mut self, flag: &str, value: Value) {
        self.add(flag, value.0);
    }
    pub(crate) fn device(&mut self, device: Value) {
        self.value("-device", device);
    }
}

/// The arguments behind the emulator's name. QMP's listening socket is file descriptor 0.
pub(crate) fn build(hardware: &Hardware, chains: &Chains, dir: &Utf8Path, incoming: Incoming) -> Vec<String> {
    let mut args = Args::default();
    args.value("-name", Value::of(&format!("guest={}", escape(&hardware.name))).set("debug-threads", "on"));
    args.flag("-S");
    board(&mut args, hardware);
    args.flag("-no-user-config");
    args.flag("-nodefaults");
    args.add("-display", "none");
    args.value(
        "-chardev",
        Value::of("socket").set("id", "charmonitor").set("fd", 0).set("server", "on").set("wait", "off"),
    );
    args.add("-mon", "chardev=charmonitor,id=monitor,mode=control");
    clocks(&mut args, hardware);
    boot(&mut args, hardware);

    let board = Board::of(hardware);
    let indices = boot_indices(hardware);
    // What others are plugged into comes first: buses, then the master of USB's companions.
    let mut controllers: Vec<&Controller> = hardware.controllers.iter().collect();
    controllers.sort_by_key(|c| match c.kind {
        ControllerKind::Pci(_) => (0, c.index),
        ControllerKind::Usb(UsbModel::Ehci) => (1, 0),
        _ => (2, 0),
    });
    for c in controllers {
        devices::controller(&mut args, &board, c);
    }
    for (disk, boot) in hardware.disks.iter().zip(&indices.disks) {
        devices::disk(&mut args, &board, disk, chains.get(&disk.target).map(Vec::as_slice), *boot);
    }
    for (n, (interface, boot)) in hardware.interfaces.iter().zip(&indices.interfaces).enumerate() {
        devices::interface(&mut args, &board, n, interface, *boot);
    }
    for chardev in &hardware.chardevs {
        devices::chardev(&mut args, dir, chardev);
    }
    for (n, input) in hardware.inputs.iter().enumerate() {
        devices::input(&mut args, &board, n, input);
    }
    if let Some(vnc) = &hardware.vnc {
        devices::vnc(&mut args, vnc);
    }
    for (n, video) in hardware.videos.iter().enumerate() {
        devices::video(&mut args, &board, n, video);
    }
    if incoming == Incoming::Deferred {
        args.add("-incoming", "defer");
    }
    if let Some(balloon) = &hardware.balloon {
        devices::balloon(&mut args, &board, balloon);
    }
    for (n, rng) in hardware.rngs.iter().enumerate() {
        devices::rng(&mut args, &board, n, rng);
    }
    if hardware.panic {
        args.device(Value::of("pvpanic").set("ioport", 1285));
        if hardware.on_crash != OnCrash::Destroy {
            args.add("-action", "panic=pause");
        }
    }
    args.add("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
    args.add("-msg", "timestamp=on");
    args.0.extend(hardware.arguments.iter().cloned());
    args.0
}

fn board(args: &mut Args, hardware: &Hardware) {
    let word = |on: bool| if on { "on" } else { "off" };
    let machine = Value::of(hardware.os.machine.as_deref().unwrap_or("pc"))
        .set("usb", "off")
        .set("dump-guest-core", "off")
        .set("acpi", word(hardware.features.acpi))
        .maybe("smm", hardware.features.smm.map(word))
        .maybe("vmport", hardware.features.vmport.map(word))
        .maybe("hpet", hardware.clock.hpet.map(word));
    args.value("-machine", machine);
    args.add("-accel", if hardware.kvm { "kvm" } else { "tcg" });
    if let Some(cpu) = cpu(hardware) {
        args.add("-cpu", cpu);
    }
    args.add("-m", format!("size={}k", hardware.memory));
    args.add("-overcommit", "mem-lock=off");
    let more = (hardware.active_vcpus < hardware.vcpus).then_some(hardware.vcpus);
    let smp = Value::of(&hardware.active_vcpus.to_string()).maybe("maxcpus", more);
    args.value(
        "-smp",
        match hardware.cpu.topology {
            Some(t) => smp
                .set("sockets", t.sockets)
                .maybe("dies", (t.dies > 1).then_some(t.dies))
                .set("cores", t.cores)
                .set("threads", t.threads),
            None => smp.set("sockets", hardware.vcpus).set("cores", 1).set("threads", 1),
        },
    );
    if let Some(uuid) = hardware.uuid {
        args.add("-uuid", uuid.to_string());
    }
}

/// `None`: the machine's own default.
fn cpu(hardware: &Hardware) -> Option<String> {
    let flags = hardware.features.cpu_flags.iter().chain(&hardware.clock.cpu_flags);
    let features = hardware.cpu.features.iter().map(|(name, on)| format!("{name}={}", if *on { "on" } else { "off" }));
    let extra: Vec<String> = features.chain(flags.cloned()).collect();
    let model = match &hardware.cpu.mode {
        Some(CpuMode::Model(model)) => model.clone(),
        // Without hardware help all that the emulation can do is what comes nearest.
        Some(CpuMode::Host { .. }) if !hardware.kvm => "max".to_owned(),
        Some(CpuMode::Host { migratable }) => {
            format!("host,migratable={}", if migratable.unwrap_or(true) { "on" } else { "off" })
        }
        Some(CpuMode::Maximum) => "max".to_owned(),
        None if extra.is_empty() => return None,
        None => (if hardware.os.arch == "i686" { "qemu32" } else { "qemu64" }).to_owned(),
    };
    Some(std::iter::once(model).chain(extra).collect::<Vec<_>>().join(","))
}

fn clocks(args: &mut Args, hardware: &Hardware) {
    let clock = &hardware.clock;
    let base = Value::of(if clock.localtime { "base=localtime" } else { "base=utc" });
    args.value("-rtc", base.maybe("driftfix", clock.rtc_catchup.then_some("slew")));
    if let Some(delay) = clock.pit_delay.filter(|_| hardware.kvm) {
        args.add("-global", format!("kvm-pit.lost_tick_policy={}", if delay { "delay" } else { "discard" }));
    }
    let chip = if hardware.is_q35() { "ICH9-LPC" } else { "PIIX4_PM" };
    for (name, enabled) in [("disable_s3", hardware.pm.mem), ("disable_s4", hardware.pm.disk)] {
        if let Some(on) = enabled {
            args.add("-global", format!("{chip}.{name}={}", u8::from(!on)));
        }
    }
    if hardware.on_poweroff == OnEnd::Restart {
        args.flag("-no-shutdown");
    }
    if hardware.on_reboot == OnEnd::Destroy {
        args.flag("-no-reboot");
    }
}

fn boot(args: &mut Args, hardware: &Hardware) {
    let os = &hardware.os;
    let menu = os.menu.map(|on| if on { "on" } else { "off" });
    let boot = Value::of("strict=on")
        .maybe("menu", menu)
        .maybe("splash-time", os.menu_timeout)
        .maybe("reboot-timeout", os.reboot_timeout);
    args.value("-boot", boot);
    for (flag, value) in
        [("-bios", &os.bios), ("-kernel", &os.kernel), ("-initrd", &os.initrd), ("-append", &os.cmdline)]
    {
        if let Some(value) = value {
            args.add(flag, value);
        }
    }
}

struct BootIndices {
    disks: Vec<Option<u32>>,
    interfaces: Vec<Option<u32>>,
}

/// `<boot dev>` names kinds of devices: the first of each kind gets its place in the order.
fn boot_indices(hardware: &Hardware) -> BootIndices {
    let mut indices = BootIndices {
        disks: hardware.disks.iter().map(|d| d.boot_order).collect(),
        interfaces: hardware.interfaces.iter().map(|i| i.boot_order).collect(),
    };
    let named = indices.disks.iter().chain(&indices.interfaces).any(Option::is_some);
    if named {
        return indices;
    }
    let default = [BootDevice::Disk];
    let order = if hardware.os.boot.is_empty() { &default[..] } else { &hardware.os.boot };
    for (n, device) in (1..).zip(order) {
        let media = match device {
            BootDevice::Disk => Media::Disk,
            BootDevice::Cdrom => Media::Cdrom,
            BootDevice::Floppy => Media::Floppy,
            BootDevice::Network => {
                if let Some(first) = indices.interfaces.first_mut() {
                    first.get_or_insert(n);
                }
                continue;
            }
        };
        let place = hardware.disks.iter().position(|d| d.media == media);
        if let Some(index) = place.and_then(|p| indices.disks.get_mut(p)) {
            index.get_or_insert(n);
        }
    }
    indices
}

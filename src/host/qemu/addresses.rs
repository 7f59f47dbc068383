//! Gives every device that has no address one, in the order libvirt does, and refuses two
//! devices at one place.
//!
//! Addresses are written into the definition once, so that a saved memory state still fits
//! after devices have come and gone. Must not know: XML positions' meaning; it only hands back
//! where an `<address>` belongs.

use super::hardware::Hardware;
use super::hardware::address::{Drive, Pci, SerialPort, Usb};
use super::hardware::board_device::{SoundModel, WatchdogModel};
use super::hardware::chardev::Port;
use super::hardware::controller::{ControllerKind, PciModel, ScsiModel, UsbModel};
use super::hardware::device::InputPlug;
use super::hardware::disk::{Disk, DiskBus};
use crate::error::{Code, Error, Result};
use std::collections::{BTreeMap, BTreeSet};

/// An `<address>` to write: the start of the device's element, and the text.
pub(crate) type Assigned = (usize, String);

/// Fill in what is missing; answers what was filled in.
pub(crate) fn assign(hardware: &mut Hardware) -> Result<Vec<Assigned>> {
    let mut assigned = Vec::new();
    drives(hardware, &mut assigned)?;
    pci(hardware, &mut assigned)?;
    serial_ports(hardware, &mut assigned)?;
    usb_ports(hardware, &mut assigned)?;
    Ok(assigned)
}

fn xml_error(text: String) -> Error {
    Error::new(Code::XmlError, text)
}

// ---- drives ----

fn drives(hardware: &mut Hardware, assigned: &mut Vec<Assigned>) -> Result<()> {
    let q35 = hardware.is_q35();
    let mut targets = BTreeSet::new();
    let mut taken = BTreeSet::new();
    for disk in &mut hardware.disks {
        if !targets.insert(disk.target.clone()) {
            return Err(xml_error(format!("target '{}' duplicated", disk.target)));
        }
        if disk.bus == DiskBus::Virtio {
            continue;
        }
        let drive = match disk.drive {
            Some(drive) => drive,
            None => {
                let drive = default_drive(disk);
                assigned.push((disk.range.start, drive.xml()));
                disk.drive = Some(drive);
                drive
            }
        };
        check_drive(disk, drive, q35)?;
        let place = (disk.bus as u8, drive.controller, drive.bus, drive.target, drive.unit);
        if !taken.insert(place) {
            return Err(xml_error(format!(
                "Found duplicate drive address for disk with target name '{}' controller='{}' bus='{}' target='{}' unit='{}'",
                disk.target, drive.controller, drive.bus, drive.target, drive.unit
            )));
        }
    }
    Ok(())
}

/// `virDomainDiskDefAssignAddress`.
fn default_drive(disk: &Disk) -> Drive {
    let index = disk.index();
    let (controller, bus, unit) = match disk.bus {
        DiskBus::Scsi => {
            // Unit 7 is the controller itself.
            let unit = index % 15;
            (index / 15, 0, if unit >= 7 { unit + 1 } else { unit })
        }
        DiskBus::Ide => (index / 4, (index % 4) / 2, index % 2),
        DiskBus::Sata => (index / 6, 0, index % 6),
        DiskBus::Fdc | DiskBus::Virtio => (index / 2, 0, index % 2),
    };
    Drive { controller, bus, target: 0, unit }
}

fn check_drive(disk: &Disk, at: Drive, q35: bool) -> Result<()> {
    let (fits, what) = match disk.bus {
        DiskBus::Ide if q35 => {
            return Err(Error::config("IDE controllers are unsupported for this QEMU binary or machine type"));
        }
        DiskBus::Sata if !q35 => {
            return Err(Error::config("SATA is not supported with this QEMU binary"));
        }
        DiskBus::Ide => (at.controller == 0 && at.bus < 2 && at.unit < 2 && at.target == 0, "ide"),
        DiskBus::Sata => (at.controller == 0 && at.bus == 0 && at.unit < 6 && at.target == 0, "sata"),
        DiskBus::Fdc => (at.controller == 0 && at.bus == 0 && at.unit < 2 && at.target == 0, "fdc"),
        DiskBus::Scsi => (at.bus == 0 && at.target < 256 && at.unit < 16384, "scsi"),
        DiskBus::Virtio => (true, "virtio"),
    };
    if fits {
        Ok(())
    } else {
        Err(Error::config(format!("disk '{}' has an address that its {what} controller does not have", disk.target)))
    }
}

// ---- PCI ----

struct Bus {
    slots: std::ops::RangeInclusive<u8>,
    /// Used functions of each slot, one bit each.
    used: BTreeMap<u8, u8>,
}

struct Slots(BTreeMap<u8, Bus>);

impl Slots {
    fn of(hardware: &Hardware) -> Self {
        let mut root = Bus { slots: 1..=31, used: BTreeMap::new() };
        // What is soldered to the board.
        if hardware.is_q35() {
            root.used = BTreeMap::from([(0, 0xff), (0x1f, 0b1101)]);
        } else {
            root.used = BTreeMap::from([(0, 0xff), (1, 0b1011)]);
        }
        let mut buses = BTreeMap::from([(0, root)]);
        for c in &hardware.controllers {
            let ControllerKind::Pci(model) = c.kind else { continue };
            let slots = match model {
                PciModel::Root | PciModel::PcieRoot => continue,
                PciModel::RootPort { .. } => 0..=0,
                PciModel::Bridge { .. } | PciModel::ToPciBridge => 1..=31,
            };
            if let Ok(index) = u8::try_from(c.index) {
                buses.insert(index, Bus { slots, used: BTreeMap::new() });
            }
        }
        Self(buses)
    }

    fn take(&mut self, at: Pci) -> Result<()> {
        let Some(bus) = self.0.get_mut(&at.bus) else {
            return Err(xml_error(format!("PCI address {at}: there is no PCI controller with index {}", at.bus)));
        };
        if !bus.slots.contains(&at.slot) {
            return Err(xml_error(format!("Invalid PCI address {at}. slot must be in {:?}", bus.slots)));
        }
        let used = bus.used.entry(at.slot).or_default();
        if *used & (1 << at.function) != 0 {
            return Err(xml_error(format!("Attempted double use of PCI Address {at}")));
        }
        *used |= 1 << at.function;
        Ok(())
    }

    /// The first slot of the root bus, and then of the bridges, that nobody uses.
    fn free(&mut self, function: u8) -> Result<Pci> {
        for (index, bus) in &mut self.0 {
            for slot in bus.slots.clone() {
                if let std::collections::btree_map::Entry::Vacant(e) = bus.used.entry(slot) {
                    e.insert(1 << function);
                    return Ok(Pci { bus: *index, slot, function, multifunction: false });
                }
            }
        }
        Err(Error::internal("No more available PCI slots"))
    }

    fn shared(&self, at: Pci) -> bool {
        self.0.get(&at.bus).and_then(|b| b.used.get(&at.slot)).is_some_and(|used| used.count_ones() > 1)
    }
}

/// Every device on the PCI bus, in the order in which addresses are given out.
fn pci_devices(hardware: &mut Hardware) -> Vec<(usize, &mut Option<Pci>)> {
    let mut all = Vec::new();
    let (mut bridges, mut others) = (Vec::new(), Vec::new());
    for c in &mut hardware.controllers {
        match c.kind {
            ControllerKind::Pci(PciModel::Root | PciModel::PcieRoot)
            | ControllerKind::Ide
            | ControllerKind::Sata
            | ControllerKind::Fdc
            | ControllerKind::Usb(UsbModel::None) => {}
            ControllerKind::Pci(_) => bridges.push((c.range.start, &mut c.pci)),
            _ => others.push((c.range.start, &mut c.pci)),
        }
    }
    all.extend(bridges);
    all.extend(hardware.interfaces.iter_mut().map(|d| (d.range.start, &mut d.pci)));
    all.extend(others);
    let disks = hardware.disks.iter_mut().filter(|d| d.bus == DiskBus::Virtio);
    all.extend(disks.map(|d| (d.range.start, &mut d.pci)));
    all.extend(hardware.balloon.iter_mut().map(|d| (d.range.start, &mut d.pci)));
    all.extend(hardware.rngs.iter_mut().map(|d| (d.range.start, &mut d.pci)));
    all.extend(hardware.videos.iter_mut().map(|d| (d.range.start, &mut d.pci)));
    let sounds = hardware.sounds.iter_mut().filter(|d| d.model != SoundModel::Sb16);
    all.extend(sounds.map(|d| (d.range.start, &mut d.pci)));
    let watchdogs = hardware.watchdogs.iter_mut().filter(|d| d.model == WatchdogModel::I6300esb);
    all.extend(watchdogs.map(|d| (d.range.start, &mut d.pci)));
    for input in &mut hardware.inputs {
        if let InputPlug::Virtio(pci) = &mut input.plug {
            all.push((input.range.start, pci));
        }
    }
    all
}

fn pci(hardware: &mut Hardware, assigned: &mut Vec<Assigned>) -> Result<()> {
    let mut slots = Slots::of(hardware);
    let q35 = hardware.is_q35();
    board_controllers(hardware, q35)?;
    for (_, device) in pci_devices(hardware) {
        if let Some(at) = *device {
            slots.take(at)?;
        }
    }
    // The first screen has a fixed place, kept free where there is none yet.
    let screen = Pci { bus: 0, slot: if q35 { 1 } else { 2 }, function: 0, multifunction: false };
    let kept = slots.take(screen).is_ok();
    if let Some(video) = hardware.videos.first_mut().filter(|v| kept && v.pci.is_none()) {
        video.pci = Some(screen);
        assigned.push((video.range.start, screen.xml()));
    }
    usb_families(hardware, &mut slots, q35, assigned)?;
    for (start, device) in pci_devices(hardware) {
        if device.is_none() {
            let at = slots.free(0)?;
            assigned.push((start, at.xml()));
            *device = Some(at);
        }
    }
    for (_, device) in pci_devices(hardware) {
        if let Some(at) = device
            && at.function == 0
            && slots.shared(*at)
        {
            at.multifunction = true;
        }
    }
    Ok(())
}

/// Controllers that are part of the board can be named, but not moved.
fn board_controllers(hardware: &Hardware, q35: bool) -> Result<()> {
    for c in &hardware.controllers {
        let place = match c.kind {
            ControllerKind::Ide if !q35 => (1, 1),
            ControllerKind::Sata if q35 => (0x1f, 2),
            ControllerKind::Ide => {
                return Err(Error::config("IDE controllers are unsupported for this QEMU binary or machine type"));
            }
            ControllerKind::Sata => return Err(Error::config("SATA is not supported with this QEMU binary")),
            ControllerKind::Pci(PciModel::Root) if !q35 && c.index == 0 => continue,
            ControllerKind::Pci(PciModel::PcieRoot) if q35 && c.index == 0 => continue,
            ControllerKind::Pci(model) => {
                let fits = match model {
                    PciModel::Root | PciModel::PcieRoot => false,
                    PciModel::RootPort { .. } | PciModel::ToPciBridge => q35,
                    PciModel::Bridge { .. } => true,
                };
                if fits && (1..=255).contains(&c.index) {
                    continue;
                }
                return Err(Error::config(format!(
                    "the PCI controller with index {} does not fit this machine type",
                    c.index
                )));
            }
            _ => continue,
        };
        if c.pci.is_some_and(|p| (p.bus, (p.slot, p.function)) != (0, place)) {
            let name = if q35 { "SATA" } else { "IDE" };
            return Err(Error::config(format!(
                "Primary {name} controller must have PCI address 0:0:{:x}.{:x}",
                place.0, place.1
            )));
        }
    }
    Ok(())
}

/// The PIIX3's own USB controller belongs beside it; an ICH9's companions share one slot.
fn usb_families(hardware: &mut Hardware, slots: &mut Slots, q35: bool, assigned: &mut Vec<Assigned>) -> Result<()> {
    let mut families: BTreeMap<u32, Pci> = BTreeMap::new();
    for c in &hardware.controllers {
        if let (ControllerKind::Usb(model), Some(at)) = (c.kind, c.pci)
            && companion(model).is_some()
        {
            families.entry(c.index).or_insert(at);
        }
    }
    for c in &mut hardware.controllers {
        let ControllerKind::Usb(model) = c.kind else { continue };
        if c.pci.is_some() {
            continue;
        }
        let own = Pci { bus: 0, slot: 1, function: 2, multifunction: false };
        let at = if model == UsbModel::Piix3 && !q35 && slots.take(own).is_ok() {
            own
        } else if let Some(function) = companion(model) {
            match families.get(&c.index) {
                Some(first) => {
                    let at = Pci { function, multifunction: false, ..*first };
                    slots.take(at)?;
                    at
                }
                None => {
                    let at = slots.free(function)?;
                    families.insert(c.index, at);
                    at
                }
            }
        } else {
            continue;
        };
        assigned.push((c.range.start, Pci { multifunction: model == UsbModel::Uhci1, ..at }.xml()));
        c.pci = Some(at);
    }
    Ok(())
}

fn companion(model: UsbModel) -> Option<u8> {
    match model {
        UsbModel::Uhci1 => Some(0),
        UsbModel::Uhci2 => Some(1),
        UsbModel::Uhci3 => Some(2),
        UsbModel::Ehci => Some(7),
        _ => None,
    }
}

// ---- virtio-serial and USB ports ----

fn serial_ports(hardware: &mut Hardware, assigned: &mut Vec<Assigned>) -> Result<()> {
    let mut taken = BTreeSet::new();
    for c in &hardware.chardevs {
        if let Some(at) = c.address
            && !taken.insert((at.controller, at.port))
        {
            return Err(Error::config(format!(
                "virtio serial port {} on controller {} is already occupied",
                at.port, at.controller
            )));
        }
    }
    for c in &mut hardware.chardevs {
        if c.address.is_some() || !matches!(c.port, Port::Hvc | Port::Virtio { .. }) {
            continue;
        }
        // Port 0 is for a console of the old kind.
        let free = (1..).find(|port| taken.insert((0, *port)));
        let at = SerialPort { controller: 0, port: free.unwrap_or(1) };
        assigned.push((c.range.start, at.xml()));
        c.address = Some(at);
    }
    Ok(())
}

fn usb_ports(hardware: &mut Hardware, assigned: &mut Vec<Assigned>) -> Result<()> {
    let mut taken = BTreeSet::new();
    for input in &hardware.inputs {
        if let InputPlug::Usb(Some(at)) = &input.plug
            && !taken.insert((at.bus, at.port.clone()))
        {
            return Err(xml_error(format!("USB port {} on bus {} is already in use", at.port, at.bus)));
        }
    }
    for input in &mut hardware.inputs {
        if let InputPlug::Usb(plug @ None) = &mut input.plug {
            let free = (1..).map(|n: u32| n.to_string()).find(|port| taken.insert((0, port.clone())));
            let at = Usb { bus: 0, port: free.unwrap_or_default() };
            assigned.push((input.range.start, at.xml()));
            *plug = Some(at);
        }
    }
    Ok(())
}

/// Indices that the definition's devices need, by kind of controller.
pub(crate) fn missing_controllers(hardware: &Hardware) -> Vec<String> {
    let mut missing = Vec::new();
    let has = |kind: fn(&ControllerKind) -> bool, index: u32| {
        hardware.controllers.iter().any(|c| kind(&c.kind) && c.index == index)
    };
    if hardware.inputs.iter().any(|i| matches!(i.plug, InputPlug::Usb(_)))
        && !has(|k| matches!(k, ControllerKind::Usb(_)), 0)
    {
        missing.push("<controller type='usb' index='0' model='piix3-uhci'/>".to_owned());
    }
    let scsi = hardware.disks.iter().filter(|d| d.bus == DiskBus::Scsi);
    let highest = scsi.map(|d| d.drive.unwrap_or_else(|| default_drive(d)).controller).max();
    for index in 0..highest.map_or(0, |h| h.min(30) + 1) {
        if !has(|k| matches!(k, ControllerKind::Scsi(_)), index) {
            let model = hardware.controllers.iter().find_map(|c| match c.kind {
                ControllerKind::Scsi(model) => Some(model),
                _ => None,
            });
            let model = if model == Some(ScsiModel::Virtio) { "virtio-scsi" } else { "lsilogic" };
            missing.push(format!("<controller type='scsi' index='{index}' model='{model}'/>"));
        }
    }
    let ports = hardware.chardevs.iter().filter(|c| matches!(c.port, Port::Hvc | Port::Virtio { .. }));
    let highest = ports.map(|c| c.address.map_or(0, |a| a.controller)).max();
    for index in 0..highest.map_or(0, |h| h.min(30) + 1) {
        if !has(|k| matches!(k, ControllerKind::VirtioSerial { .. }), index) {
            missing.push(format!("<controller type='virtio-serial' index='{index}'/>"));
        }
    }
    missing
}

//! `<controller>`: what other devices are plugged into.

use super::address::Pci;
use crate::error::Result;
use crate::host::strict::Strict;
use std::ops::Range;

/// `<controller type='usb' model='…'>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UsbModel {
    None,
    /// The default of the emulator for x86.
    Piix3,
    Piix4,
    Ehci,
    Uhci1,
    Uhci2,
    Uhci3,
    QemuXhci,
    NecXhci,
}

/// `<controller type='scsi' model='…'>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ScsiModel {
    LsiLogic,
    Virtio,
}

/// `<controller type='pci' model='…'>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PciModel {
    Root,
    PcieRoot,
    RootPort { chassis: Option<u8>, port: Option<u8> },
    Bridge { chassis: Option<u8> },
    ToPciBridge,
}

/// The kinds of controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ControllerKind {
    Usb(UsbModel),
    Ide,
    Sata,
    Fdc,
    Scsi(ScsiModel),
    VirtioSerial { ports: Option<u32>, vectors: Option<u32> },
    Pci(PciModel),
}

/// One `<controller>`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Controller {
    pub(crate) range: Range<usize>,
    pub(crate) index: u32,
    /// Whether the definition says so; if not, [`Controller::number`] has.
    pub(crate) index_given: bool,
    pub(crate) kind: ControllerKind,
    pub(crate) pci: Option<Pci>,
    /// USB ports of a controller that lets one choose.
    pub(crate) ports: Option<u32>,
    /// The first port of the companion's master that it serves.
    pub(crate) first_port: Option<u32>,
}

const USB: &[(&str, UsbModel)] = &[
    ("none", UsbModel::None),
    ("piix3-uhci", UsbModel::Piix3),
    ("piix4-uhci", UsbModel::Piix4),
    ("ich9-ehci1", UsbModel::Ehci),
    ("ich9-uhci1", UsbModel::Uhci1),
    ("ich9-uhci2", UsbModel::Uhci2),
    ("ich9-uhci3", UsbModel::Uhci3),
    ("qemu-xhci", UsbModel::QemuXhci),
    ("nec-xhci", UsbModel::NecXhci),
];

impl Controller {
    pub(crate) fn read(mut e: Strict<'_, '_>) -> Result<Self> {
        e.ignore(&["alias"]);
        // libvirt takes -1 for "any".
        let given = if e.attr("index") == Some("-1") { None } else { e.number("index")? };
        let index = given.unwrap_or(0);
        let mut controller = Self {
            range: e.range(),
            index,
            index_given: given.is_some(),
            kind: ControllerKind::Ide,
            pci: None,
            ports: None,
            first_port: None,
        };
        controller.kind = match e.need("type")? {
            "usb" => {
                controller.ports = e.number("ports")?;
                if let Some(mut m) = e.child("master")? {
                    controller.first_port = m.number("startport")?;
                    m.finish()?;
                }
                ControllerKind::Usb(e.one_of("model", USB)?.unwrap_or(UsbModel::Piix3))
            }
            "ide" => {
                e.only("model", &["piix3"])?;
                ControllerKind::Ide
            }
            "sata" => ControllerKind::Sata,
            "fdc" => ControllerKind::Fdc,
            "scsi" => {
                let models = [
                    ("virtio-scsi", ScsiModel::Virtio),
                    ("lsilogic", ScsiModel::LsiLogic),
                    ("auto", ScsiModel::LsiLogic),
                ];
                ControllerKind::Scsi(e.one_of("model", &models)?.unwrap_or(ScsiModel::LsiLogic))
            }
            "virtio-serial" => {
                ControllerKind::VirtioSerial { ports: e.number("ports")?, vectors: e.number("vectors")? }
            }
            "pci" => ControllerKind::Pci(pci_model(&mut e)?),
            _ => return Err(e.refuse_value("type")),
        };
        let alone = matches!(controller.kind, ControllerKind::Ide | ControllerKind::Sata | ControllerKind::Fdc);
        if alone && controller.index != 0 {
            return Err(e.refuse_value("index"));
        }
        controller.pci = Pci::read(&mut e)?;
        e.finish()?;
        Ok(controller)
    }

    /// Number those that the definition does not, as libvirt does: the first that is free for each type.
    pub(crate) fn number(all: &mut [Self]) {
        for at in 0..all.len() {
            let Some(this) = all.get(at).filter(|c| !c.index_given) else { continue };
            let family = std::mem::discriminant(&this.kind);
            let root = matches!(this.kind, ControllerKind::Pci(PciModel::Root | PciModel::PcieRoot));
            let bus = matches!(this.kind, ControllerKind::Pci(_)) && !root;
            // The root is 0, written or not.
            let first = u32::from(bus);
            let taken = |n: u32| {
                let known = |(i, c): (usize, &Self)| c.index == n && (c.index_given || i < at);
                let mut others = all.iter().enumerate().filter(|(i, _)| *i != at);
                others.any(|(i, c)| std::mem::discriminant(&c.kind) == family && known((i, c)))
            };
            // The parts of one USB 2.0 controller share its number.
            let part = matches!(
                this.kind,
                ControllerKind::Usb(UsbModel::Ehci | UsbModel::Uhci1 | UsbModel::Uhci2 | UsbModel::Uhci3)
            );
            let free = if root || part { 0 } else { (first..).find(|n| !taken(*n)).unwrap_or(first) };
            if let Some(this) = all.get_mut(at) {
                this.index = free;
            }
        }
    }

    /// The device's id, which is also libvirt's alias and the stem of its bus's name.
    pub(crate) fn alias(&self) -> String {
        let i = self.index;
        match self.kind {
            ControllerKind::Usb(_) if i == 0 => "usb".to_owned(),
            ControllerKind::Usb(_) => format!("usb{i}"),
            ControllerKind::Ide | ControllerKind::Sata => "ide".to_owned(),
            ControllerKind::Fdc => format!("fdc{i}"),
            ControllerKind::Scsi(_) => format!("scsi{i}"),
            ControllerKind::VirtioSerial { .. } => format!("virtio-serial{i}"),
            ControllerKind::Pci(PciModel::PcieRoot) => "pcie.0".to_owned(),
            ControllerKind::Pci(_) => format!("pci.{i}"),
        }
    }
}

fn pci_model(e: &mut Strict<'_, '_>) -> Result<PciModel> {
    let model = e.need("model")?;
    if let Some(mut m) = e.child("model")? {
        m.only("name", &["pcie-root-port", "pci-bridge", "pcie-pci-bridge"])?;
        m.finish()?;
    }
    let (mut chassis, mut port) = (None, None);
    if let Some(mut t) = e.child("target")? {
        chassis = match t.number("chassis")? {
            Some(n) => Some(n),
            None => t.number("chassisNr")?,
        };
        port = t.number("port")?;
        t.finish()?;
    }
    Ok(match model {
        "pci-root" => PciModel::Root,
        "pcie-root" => PciModel::PcieRoot,
        "pcie-root-port" => PciModel::RootPort { chassis, port },
        "pci-bridge" => PciModel::Bridge { chassis },
        "pcie-to-pci-bridge" => PciModel::ToPciBridge,
        _ => return Err(e.refuse_value("model")),
    })
}

//! A typed view over a `<domain>` document, which itself is kept as it was written.
//!
//! Only what snapshots need is looked at, with libvirt's texts for what is wrong; whether a
//! hypervisor can run the rest is for its host to say.

use super::element::{Document, Element};
use super::number;
use super::scan::{Limits, Lines, Place};
use crate::error::{Code, Error, Result};
use crate::model::ids::{DiskTarget, Image};
use crate::model::snapshot::{FrozenDisk, Location};
use camino::Utf8PathBuf;
use std::collections::HashMap;
use uuid::Uuid;

pub use super::edit::{
    drop_live, live_view, rename_root, set_disk_source, set_machine, set_memory, set_name, set_uuid, strip_secrets,
};

/// What a disk looks like to the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[allow(missing_docs)]
pub enum Device {
    #[default]
    Disk,
    Cdrom,
    Floppy,
    Lun,
}

impl Device {
    /// As written in `device='…'`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Disk => "disk",
            Self::Cdrom => "cdrom",
            Self::Floppy => "floppy",
            Self::Lun => "lun",
        }
    }
    /// The device that `device='…'` names.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Disk, Self::Cdrom, Self::Floppy, Self::Lun].into_iter().find(|d| d.as_str() == text)
    }
}

/// One `<disk>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskView {
    /// `<target dev>`.
    pub target: String,
    /// `<target bus>`, or what follows from the target's name.
    pub bus: String,
    /// `device=`.
    pub device: Device,
    /// `type=`: `file`, `block`, `network`, `volume`, ….
    pub source_type: String,
    /// `<source file=|dev=>` of a file or block disk; `None` for an empty drive and any other type.
    pub source: Option<Utf8PathBuf>,
    /// Whether there is any source at all: a network disk has one without a path.
    pub has_source: bool,
    /// `<driver name>`.
    pub driver: Option<String>,
    /// `<driver type>`.
    pub format: Option<String>,
    /// `<readonly/>`, or a cdrom.
    pub readonly: bool,
    /// `<shareable/>`.
    pub shareable: bool,
    /// `<transient/>`.
    pub transient: bool,
    /// `snapshot=`.
    pub snapshot: Option<Location>,
    /// Where it is in the text.
    pub position: Place,
}

impl DiskView {
    /// Its image; libvirt's default format is raw.
    #[must_use]
    pub fn image(&self) -> Option<Image> {
        let format = self.format.clone().unwrap_or_else(|| "raw".to_owned());
        self.source.clone().map(|path| Image { path, format })
    }
    /// libvirt's default location: `snapshot=`, else `no` for what cannot be written to.
    #[must_use]
    pub fn default_location(&self) -> Option<Location> {
        self.snapshot.or_else(|| (self.readonly || self.source_type == "vhostuser").then_some(Location::No))
    }
}

/// The definition alone: no declaration, no comments or blanks around it.
pub fn root_text(xml: &str) -> Result<String> {
    Ok(Document::parse(xml, &Limits::default())?.root().outer().to_owned())
}

/// What snapshots need to know of a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainView {
    /// `type=`: `qemu`, `kvm`, `xen`, ….
    pub kind: String,
    /// `<name>`.
    pub name: String,
    /// `<uuid>`.
    pub uuid: Option<Uuid>,
    /// `id=`, as a running domain's dump has it.
    pub id: Option<i32>,
    /// `<memory>`, or the sum of the NUMA cells.
    pub memory_kib: u64,
    /// `<currentMemory>`, never above `memory_kib`.
    pub current_memory_kib: u64,
    /// `<vcpu>`.
    pub vcpus: u32,
    /// `<os><type arch>`.
    pub arch: Option<String>,
    /// `<os><type machine>`.
    pub machine: Option<String>,
    /// `<os><type>`.
    pub os_type: String,
    /// `<devices><emulator>`.
    pub emulator: Option<String>,
    /// Every `<disk>`, in document order.
    pub disks: Vec<DiskView>,
    /// Whether the firmware has variables of its own: `<nvram>`, a pflash loader, or firmware='efi'.
    pub has_nvram: bool,
    /// Where they are, if said.
    pub nvram_path: Option<Utf8PathBuf>,
    /// `<nvram format>`.
    pub nvram_format: Option<String>,
    /// Whether the guest agent's channel is there.
    pub has_agent_channel: bool,
    /// `<description>`.
    pub description: Option<String>,
    /// `<title>`.
    pub title: Option<String>,
}

impl DomainView {
    /// The disk with that target.
    #[must_use]
    pub fn disk(&self, target: &str) -> Option<&DiskView> {
        self.disks.iter().find(|d| d.target == target)
    }
    /// The image of every disk.
    #[must_use]
    pub fn frozen(&self) -> Vec<FrozenDisk> {
        self.disks.iter().map(|d| FrozenDisk { target: DiskTarget(d.target.clone()), image: d.image() }).collect()
    }
}

/// Read a `<domain>` (or `<inactiveDomain>`) document.
pub fn view(xml: &str) -> Result<DomainView> {
    view_within(xml, &Limits::default())
}

/// The same, with other limits.
pub fn view_within(xml: &str, limits: &Limits) -> Result<DomainView> {
    let document = Document::parse(xml, limits)?;
    let root = document.root();
    if !matches!(root.name(), "domain" | "inactiveDomain") {
        let message = format!("expecting root element of 'domain', not '{}'", root.name());
        return Err(Error::new(Code::XmlError, message));
    }
    view_element(root, &document)
}

/// The image of every disk of a `<domain>` document.
pub fn frozen_disks(xml: &str) -> Result<Vec<FrozenDisk>> {
    view(xml).map(|domain| domain.frozen())
}

/// `<vcpu current>`: how many of its CPUs the guest begins with, if not all.
pub fn current_vcpus(xml: &str) -> Result<Option<u32>> {
    let document = Document::parse(xml, &Limits::default())?;
    let current = document.root().child("vcpu").and_then(|vcpu| vcpu.attribute_text("current"));
    Ok(current.and_then(number::plain).and_then(|n| u32::try_from(n).ok()))
}

pub(crate) fn view_element(root: Element<'_>, document: &Document<'_>) -> Result<DomainView> {
    const KINDS: [&str; 16] = [
        "qemu",
        "kqemu",
        "kvm",
        "xen",
        "lxc",
        "uml",
        "openvz",
        "test",
        "vmware",
        "hyperv",
        "vbox",
        "phyp",
        "parallels",
        "bhyve",
        "vz",
        "hvf",
    ];
    let kind = root.required("type")?;
    if !KINDS.contains(&kind) {
        return Err(root.invalid("type"));
    }
    let Some(name) = root.text("name") else {
        return Err(Error::bare(Code::XmlError, "missing name information"));
    };
    if name.contains('/') {
        return Err(Error::new(Code::XmlError, format!("name {name} cannot contain '/'")));
    }
    let uuid = root.text("uuid").map(|text| parse_uuid(&text)).transpose()?;
    let memory_kib = memory(root)?;
    let current = root.child("currentMemory").map(|e| kib(e, "./currentMemory[1]")).transpose()?;
    let current_memory_kib = current.filter(|n| *n != 0).unwrap_or(memory_kib).min(memory_kib);
    let vcpus = vcpus(root)?;
    let os_type = match root.text("os/type") {
        Some(text) => text,
        None if root.child("bootloader").is_some() => "xen".to_owned(),
        None => return Err(Error::new(Code::XmlError, "an os <type> must be specified")),
    };
    let type_attribute = |name| root.find("os/type").and_then(|t| t.attribute_text(name)).map(str::to_owned);
    let nvram = root.find("os/nvram");
    let pflash = root.find("os/loader").and_then(|l| l.attribute("type")) == Some("pflash");
    let automatic = root.child("os").and_then(|os| os.attribute("firmware")) == Some("efi");
    let nvram_path = nvram.and_then(|n| {
        let source = n.child("source").and_then(|s| s.attribute_text("file")).map(str::to_owned);
        source.or_else(|| Some(n.string()).filter(|text| !text.trim().is_empty()))
    });
    let has_agent_channel = root.find("devices").is_some_and(|devices| {
        devices.all("channel").any(|c| {
            c.child("target").is_some_and(|t| {
                matches!(t.attribute("type"), Some("virtio" | "xen"))
                    && t.attribute("name") == Some("org.qemu.guest_agent.0")
            })
        })
    });
    Ok(DomainView {
        kind: kind.to_owned(),
        name,
        uuid,
        id: root.attribute("id").and_then(|id| id.parse().ok()),
        memory_kib,
        current_memory_kib,
        vcpus,
        arch: type_attribute("arch"),
        machine: type_attribute("machine"),
        os_type,
        emulator: root.text("devices/emulator"),
        disks: disks(root, document)?,
        has_nvram: nvram.is_some() || pflash || automatic,
        nvram_path: nvram_path.map(Utf8PathBuf::from),
        nvram_format: nvram.and_then(|n| n.attribute_text("format")).map(str::to_owned),
        has_agent_channel,
        description: root.text("description"),
        title: root.text("title"),
    })
}

/// libvirt's idea of a UUID: 32 hexadecimal digits, dashes where you like, nothing but white
/// space around them.
pub fn parse_uuid(text: &str) -> Result<Uuid> {
    let digits: String = text.trim().chars().filter(|c| *c != '-').collect();
    let hexadecimal = digits.len() == 32 && digits.bytes().all(|b| b.is_ascii_hexdigit());
    let parsed = if hexadecimal { Uuid::try_parse(&digits).ok() } else { None };
    parsed.ok_or_else(|| Error::internal("malformed uuid element"))
}

fn kib(element: Element<'_>, place: &str) -> Result<u64> {
    let bytes = number::scaled(&element.string(), element.attribute("unit"), 1024, place)?;
    Ok(bytes.div_ceil(1024))
}

fn memory(root: Element<'_>) -> Result<u64> {
    let said = match root.child("memory").filter(|m| !m.string().is_empty()) {
        Some(memory) => kib(memory, "./memory[1]")?,
        None => 0,
    };
    let mut cells: u64 = 0;
    if let Some(numa) = root.find("cpu/numa") {
        for cell in numa.all("cell") {
            let Some(value) = cell.attribute("memory") else { continue };
            let bytes = number::scaled(value, cell.attribute("unit"), 1024, "./@memory")?;
            cells = cells.saturating_add(bytes.div_ceil(1024));
        }
    }
    match (cells, said) {
        (0, 0) => {
            Err(Error::new(Code::XmlError, "Memory size must be specified via <memory> or in the <numa> configuration"))
        }
        (0, said) => Ok(said),
        (cells, _) => Ok(cells),
    }
}

fn vcpus(root: Element<'_>) -> Result<u32> {
    let Some(text) = root.text("vcpu") else { return Ok(1) };
    match number::plain(&text).and_then(|n| u32::try_from(n).ok()) {
        None => Err(Error::new(Code::XmlError, "maximum vcpus count must be an integer")),
        Some(0) => Err(Error::new(Code::XmlError, "invalid domain vCPU count: 0")),
        Some(n) => Ok(n),
    }
}

fn disks(root: Element<'_>, document: &Document<'_>) -> Result<Vec<DiskView>> {
    let mut found: Vec<DiskView> = Vec::new();
    let mut by_target: HashMap<String, usize> = HashMap::new();
    let lines = Lines::new(document.text());
    for devices in root.all("devices") {
        for element in devices.all("disk") {
            let disk = disk(element, lines.place(element.range().start))?;
            if let Some(other) = by_target.insert(disk.target.clone(), found.len()).and_then(|at| found.get(at)) {
                let path = |d: &DiskView| d.source.as_ref().map_or_else(|| "(null)".to_owned(), Utf8PathBuf::to_string);
                let message = format!(
                    "target '{}' duplicated for disk sources '{}' and '{}'",
                    disk.target,
                    path(other),
                    path(&disk)
                );
                return Err(Error::new(Code::XmlError, message));
            }
            found.push(disk);
        }
    }
    Ok(found)
}

fn disk(element: Element<'_>, position: Place) -> Result<DiskView> {
    const TYPES: [&str; 8] = ["file", "block", "dir", "network", "volume", "nvme", "vhostuser", "vhostvdpa"];
    let source_type = element.choice("type", |t| TYPES.into_iter().find(|known| *known == t))?.unwrap_or("file");
    let device = element.choice("device", Device::parse)?.unwrap_or_default();
    let snapshot = element.choice("snapshot", Location::parse)?;
    let source = element.child("source");
    let path = match source_type {
        "file" => source.and_then(|s| s.attribute_text("file")),
        "block" => source.and_then(|s| s.attribute_text("dev")),
        _ => None,
    };
    let target = element.child("target");
    let Some(dev) = target.and_then(|t| t.attribute_text("dev")) else {
        let message = match path {
            Some(path) => format!("missing target information for device {path}"),
            None => "missing target information for device".to_owned(),
        };
        return Err(Error::bare(Code::XmlError, message));
    };
    let bus = target.and_then(|t| t.attribute_text("bus")).unwrap_or_else(|| default_bus(device, dev));
    Ok(DiskView {
        target: dev.to_owned(),
        bus: bus.to_owned(),
        device,
        source_type: source_type.to_owned(),
        source: path.map(Utf8PathBuf::from),
        has_source: match source_type {
            "file" | "block" => path.is_some(),
            _ => source.is_some(),
        },
        driver: element.find("driver").and_then(|d| d.attribute_text("name")).map(str::to_owned),
        format: element.find("driver").and_then(|d| d.attribute_text("type")).map(str::to_owned),
        readonly: device == Device::Cdrom || element.child("readonly").is_some(),
        shareable: element.child("shareable").is_some(),
        transient: element.child("transient").is_some(),
        snapshot,
        position,
    })
}

fn default_bus(device: Device, target: &str) -> &'static str {
    const PREFIXES: [(&str, &str); 6] =
        [("hd", "ide"), ("sd", "scsi"), ("vd", "virtio"), ("xvd", "xen"), ("ubd", "uml"), ("fd", "fdc")];
    if device == Device::Floppy {
        return "fdc";
    }
    PREFIXES.iter().find(|(prefix, _)| target.starts_with(prefix)).map_or("ide", |(_, bus)| bus)
}

#[cfg(test)]
#[path = "domain_tests.rs"]
mod tests;

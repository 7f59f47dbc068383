//! `<disk>`: an image and the drive that the guest sees.

use super::address::{Drive, Pci};
use crate::error::{Code, Error, Result};
use crate::host::strict::Strict;
use crate::model::ids::Image;
use std::ops::Range;

/// What kind of drive it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Media {
    Disk,
    Cdrom,
    Floppy,
}

/// What it is plugged into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DiskBus {
    Virtio,
    Scsi,
    Ide,
    Sata,
    Fdc,
}

/// What becomes of the guest's writes on the way to the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cache {
    pub(crate) direct: bool,
    pub(crate) no_flush: bool,
    pub(crate) writeback: bool,
}

const CACHE: &[(&str, Option<Cache>)] = &[
    ("default", None),
    ("none", Some(Cache { direct: true, no_flush: false, writeback: true })),
    ("writeback", Some(Cache { direct: false, no_flush: false, writeback: true })),
    ("writethrough", Some(Cache { direct: false, no_flush: false, writeback: false })),
    ("directsync", Some(Cache { direct: true, no_flush: false, writeback: false })),
    ("unsafe", Some(Cache { direct: false, no_flush: true, writeback: true })),
];
const BUS: &[(&str, DiskBus)] = &[
    ("virtio", DiskBus::Virtio),
    ("scsi", DiskBus::Scsi),
    ("ide", DiskBus::Ide),
    ("sata", DiskBus::Sata),
    ("fdc", DiskBus::Fdc),
];
const MEDIA: &[(&str, Media)] = &[("disk", Media::Disk), ("cdrom", Media::Cdrom), ("floppy", Media::Floppy)];
const FORMATS: &[&str] = &["raw", "qcow2", "qed"];
const ERROR_POLICY: &[(&str, &str)] =
    &[("stop", "stop"), ("report", "report"), ("ignore", "ignore"), ("enospace", "enospc")];

/// One `<disk>`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Disk {
    pub(crate) range: Range<usize>,
    pub(crate) media: Media,
    pub(crate) bus: DiskBus,
    pub(crate) target: String,
    /// The medium; `None` for an empty drive.
    pub(crate) image: Option<Image>,
    /// Whether the source is a block device rather than a file.
    pub(crate) block: bool,
    pub(crate) read_only: bool,
    pub(crate) shareable: bool,
    /// Whether what the guest writes goes with its QEMU.
    pub(crate) transient: bool,
    pub(crate) cache: Option<Cache>,
    pub(crate) aio: Option<&'static str>,
    pub(crate) discard: Option<&'static str>,
    pub(crate) detect_zeroes: Option<&'static str>,
    pub(crate) werror: Option<&'static str>,
    pub(crate) rerror: Option<&'static str>,
    pub(crate) queues: Option<u16>,
    pub(crate) serial: Option<String>,
    pub(crate) logical_block: Option<u32>,
    pub(crate) physical_block: Option<u32>,
    pub(crate) boot_order: Option<u32>,
    pub(crate) pci: Option<Pci>,
    pub(crate) drive: Option<Drive>,
}

impl Disk {
    pub(crate) fn read(mut e: Strict<'_, '_>) -> Result<Self> {
        let block = match e.attr("type").unwrap_or("file") {
            "file" => false,
            "block" => true,
            _ => return Err(e.refuse_value("type")),
        };
        let media = e.one_of("device", MEDIA)?.unwrap_or(Media::Disk);
        e.only("snapshot", &["no", "internal", "external", "manual"])?;
        e.only("model", &["virtio"])?;
        e.ignore(&["alias", "backingStore"]);

        let (target, bus) = {
            let Some(mut t) = e.child("target")? else {
                return Err(Error::new(Code::XmlError, format!("missing target for disk ({})", e.place())));
            };
            let target = t.need("dev")?.to_owned();
            let bus = match t.one_of("bus", BUS)? {
                Some(bus) => bus,
                None => bus_of(&target, media),
            };
            t.only("tray", &["closed"])?;
            if index_of(&target).is_none() || target.len() > 12 {
                return Err(t.malformed("dev"));
            }
            t.finish()?;
            (target, bus)
        };

        let mut disk = Self {
            range: e.range(),
            media,
            bus,
            target,
            image: None,
            block,
            read_only: e.mark("readonly")? || media == Media::Cdrom,
            shareable: e.mark("shareable")?,
            transient: e.mark("transient")?,
            cache: None,
            aio: None,
            discard: None,
            detect_zeroes: None,
            werror: None,
            rerror: None,
            queues: None,
            serial: e.child_text("serial")?.map(str::to_owned),
            logical_block: None,
            physical_block: None,
            boot_order: boot_order(&mut e)?,
            pci: None,
            drive: None,
        };
        let mut format = "raw".to_owned();
        if let Some(d) = e.child("driver")? {
            disk.driver(d, &mut format)?;
        }
        if let Some(mut s) = e.child("source")? {
            s.ignore_attrs(&["index"]);
            s.only("startupPolicy", &["mandatory"])?;
            s.ignore(&["seclabel"]);
            let path = s.attr(if block { "dev" } else { "file" }).filter(|p| !p.is_empty());
            if path.is_some_and(|p| !p.starts_with('/')) {
                return Err(s.malformed(if block { "dev" } else { "file" }));
            }
            disk.image = path.map(|p| Image { path: p.into(), format });
            s.finish()?;
        }
        if disk.image.is_none() && media == Media::Disk {
            return Err(Error::new(
                Code::XmlError,
                format!("missing source information for device {} ({})", disk.target, e.place()),
            ));
        }
        if let Some(mut b) = e.child("blockio")? {
            disk.logical_block = b.number("logical_block_size")?;
            disk.physical_block = b.number("physical_block_size")?;
            b.finish()?;
        }
        if disk.bus == DiskBus::Virtio {
            disk.pci = Pci::read(&mut e)?;
        } else {
            disk.drive = Drive::read(&mut e)?;
        }
        let fits = match disk.bus {
            DiskBus::Virtio => media == Media::Disk,
            DiskBus::Fdc => media == Media::Floppy,
            _ => media != Media::Floppy,
        };
        if !fits {
            return Err(e.refuse_value("device"));
        }
        e.finish()?;
        Ok(disk)
    }

    fn driver(&mut self, mut d: Strict<'_, '_>, format: &mut String) -> Result<()> {
        d.only("name", &["qemu"])?;
        d.only("type", FORMATS)?;
        if let Some(f) = d.attr("type") {
            f.clone_into(format);
        }
        self.cache = d.one_of("cache", CACHE)?.flatten();
        self.aio = d.one_of("io", &[("native", "native"), ("threads", "threads"), ("io_uring", "io_uring")])?;
        if self.aio == Some("native") && !self.cache.is_some_and(|c| c.direct) {
            return Err(Error::config(format!(
                "native I/O needs either no disk cache or directsync cache mode, QEMU will fallback to aio=threads ({})",
                d.place()
            )));
        }
        self.discard = d.one_of("discard", &[("unmap", "unmap"), ("ignore", "ignore")])?;
        self.detect_zeroes = d.one_of("detect_zeroes", &[("off", "off"), ("on", "on"), ("unmap", "unmap")])?;
        self.werror = d.one_of("error_policy", ERROR_POLICY)?;
        // QEMU knows "enospc" for writes only; libvirt leaves reads at their default then.
        self.rerror = d.one_of("rerror_policy", &ERROR_POLICY[..3])?.or(self.werror.filter(|p| *p != "enospc"));
        if self.bus == DiskBus::Virtio {
            self.queues = d.number("queues")?;
        }
        d.finish()
    }

    /// The device's id, which is also libvirt's alias for it.
    pub(crate) fn alias(&self) -> String {
        let d = self.drive.unwrap_or(Drive { controller: 0, bus: 0, target: 0, unit: 0 });
        match self.bus {
            DiskBus::Virtio => format!("virtio-disk{}", index_of(&self.target).unwrap_or(0)),
            DiskBus::Scsi => format!("scsi{}-{}-{}-{}", d.controller, d.bus, d.target, d.unit),
            DiskBus::Ide => format!("ide{}-{}-{}", d.controller, d.bus, d.unit),
            DiskBus::Sata => format!("sata{}-{}-{}", d.controller, d.bus, d.unit),
            DiskBus::Fdc => format!("fdc{}-{}-{}", d.controller, d.bus, d.unit),
        }
    }
    /// `a` is 0, `z` 25, `aa` 26.
    pub(crate) fn index(&self) -> u32 {
        index_of(&self.target).unwrap_or(0)
    }
}

/// `<boot order='N'/>`.
pub(crate) fn boot_order(e: &mut Strict<'_, '_>) -> Result<Option<u32>> {
    let Some(mut b) = e.child("boot")? else { return Ok(None) };
    let order = b.number("order")?;
    if order.is_none_or(|n: u32| n == 0) {
        return Err(b.malformed("order"));
    }
    b.finish()?;
    Ok(order)
}

fn bus_of(target: &str, media: Media) -> DiskBus {
    match target.get(..2) {
        _ if media == Media::Floppy => DiskBus::Fdc,
        Some("sd") => DiskBus::Scsi,
        Some("vd") => DiskBus::Virtio,
        _ => DiskBus::Ide,
    }
}

/// The number in a target's letters; `None` for anything but `hd`, `sd`, `vd` or `fd` and letters.
fn index_of(target: &str) -> Option<u32> {
    let letters = ["hd", "sd", "vd", "fd"].iter().find_map(|p| target.strip_prefix(p))?;
    if letters.is_empty() || letters.len() > 4 || !letters.bytes().all(|b| b.is_ascii_lowercase()) {
        return None;
    }
    Some(letters.bytes().fold(0, |n, b| n * 26 + u32::from(b - b'a') + 1) - 1)
}

#[cfg(test)]
mod tests {
    use super::index_of;

    #[test]
    fn targets_count_like_spreadsheet_columns() {
        for (target, index) in
            [("vda", Some(0)), ("sdz", Some(25)), ("hdaa", Some(26)), ("xda", None), ("vd", None), ("vd1", None)]
        {
            assert_eq!(index_of(target), index, "{target}");
        }
    }
}

//! One hypervisor and the guest in it.

use super::world::{Disks, Ino, World};
use crate::error::{Code, Error, Result};
use crate::model::ids::{DiskTarget, DomainId, Image, Instance};
use crate::plan::steps::Start;
use camino::Utf8PathBuf;
use std::collections::{BTreeMap, BTreeSet};

/// A disk as a definition names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskDef {
    /// Its target.
    pub target: DiskTarget,
    /// Its image.
    pub image: Image,
    /// Whether the guest can write to it.
    pub readonly: bool,
}

/// A disk that a hypervisor has open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestDisk {
    /// Its target.
    pub target: DiskTarget,
    /// Its layers, the active one first.
    pub chain: Vec<Ino>,
    /// Whether the guest can write to it.
    pub readonly: bool,
}

/// A hypervisor.
#[derive(Debug, Clone)]
pub struct Guest {
    /// Whose.
    pub domain: DomainId,
    /// Its identity.
    pub instance: Instance,
    /// Whether its CPUs run.
    pub running: bool,
    /// Whether its file systems are frozen.
    pub frozen: bool,
    /// Its memory.
    pub counter: u64,
    /// Whether its memory came from a snapshot.
    pub loaded: bool,
    /// Its disks.
    pub disks: Vec<GuestDisk>,
    /// Nodes that no disk uses.
    pub nodes: BTreeMap<String, Ino>,
    /// A memory image that is being written in the background, and the memory it will have.
    pub saving: Option<(Utf8PathBuf, u64)>,
    /// Disks with a merge of the active layer that is ready.
    pub merging: BTreeSet<DiskTarget>,
    /// What the guest has on its disks: what it found there and what it wrote and flushed.
    pub truth: Disks,
    /// The guest found this at its start.
    pub found: Disks,
}

/// The target under which a firmware's variables are seen as one more disk of the guest.
pub const NVRAM: &str = "nvram";

/// The disks of a definition that have a source, and its NVRAM.
pub fn disks_of(xml: &str) -> Result<Vec<DiskDef>> {
    let parse = |e: roxmltree::Error| Error::new(Code::XmlDetail, e.to_string());
    let document = roxmltree::Document::parse(xml).map_err(parse)?;
    let mut disks = Vec::new();
    for disk in document.descendants().filter(|n| n.has_tag_name("disk")) {
        let child = |name: &str| disk.children().find(|n| n.has_tag_name(name));
        let source = child("source").and_then(|s| s.attribute("file").or_else(|| s.attribute("dev")));
        let target = child("target").and_then(|t| t.attribute("dev"));
        let (Some(source), Some(target)) = (source, target) else { continue };
        let format = child("driver").and_then(|d| d.attribute("type")).unwrap_or("raw");
        let readonly = child("readonly").is_some() || matches!(disk.attribute("device"), Some("cdrom" | "floppy"));
        disks.push(DiskDef {
            target: target.into(),
            image: Image { path: source.into(), format: format.to_owned() },
            readonly,
        });
    }
    disks.extend(nvram_of(&document).map(|image| DiskDef { target: NVRAM.into(), image, readonly: false }));
    Ok(disks)
}

/// The NVRAM of a definition.
fn nvram_of(document: &roxmltree::Document<'_>) -> Option<Image> {
    let nvram = document.descendants().find(|n| n.has_tag_name("nvram"))?;
    let format = nvram.attribute("format").unwrap_or("raw").to_owned();
    Some(Image { path: nvram.text()?.trim().into(), format })
}

impl Guest {
    /// Open the images of `start`; refused if one is missing or in use.
    pub(super) fn open(world: &World, start: &Start) -> Result<Self> {
        let mut disks = Vec::new();
        for disk in disks_of(&start.xml)? {
            let path = &disk.image.path;
            let body = world.image(path)?;
            if body.format != disk.image.format {
                return Err(Error::failed(format_args!("'{path}' is {} and not {}", body.format, disk.image.format)));
            }
            if !disk.readonly {
                world.refuse_open(path)?;
            }
            let chain = world.chain(path)?.iter().filter_map(|p| world.ino(p)).collect();
            disks.push(GuestDisk { target: disk.target, chain, readonly: disk.readonly });
        }
        if world.guests.contains_key(&start.instance) {
            return Err(Error::failed(format_args!("instance {} runs already", start.instance)));
        }
        Ok(Self {
            domain: start.domain,
            instance: start.instance,
            running: false,
            frozen: false,
            counter: 0,
            loaded: false,
            disks,
            nodes: BTreeMap::new(),
            saving: None,
            merging: BTreeSet::new(),
            truth: Disks::new(),
            found: Disks::new(),
        })
    }

    /// Take what is on the disks for what the guest has there.
    pub(super) fn see(&mut self, world: &World) -> Result<()> {
        for disk in &self.disks {
            let Some(path) = disk.chain.first().and_then(|i| world.paths().find(|p| world.ino(p) == Some(*i))) else {
                continue;
            };
            self.truth.insert(disk.target.clone(), world.content(path)?);
        }
        self.found = self.truth.clone();
        Ok(())
    }

    /// Whether it has the file open.
    #[must_use]
    pub fn has_open(&self, ino: Ino) -> bool {
        self.disks.iter().any(|d| d.chain.contains(&ino)) || self.nodes.values().any(|n| *n == ino)
    }

    /// The disk of that target.
    pub(super) fn disk_mut(&mut self, target: &DiskTarget) -> Result<&mut GuestDisk> {
        self.disks
            .iter_mut()
            .find(|d| d.target == *target)
            .ok_or_else(|| Error::failed(format_args!("no disk '{target}'")))
    }
}

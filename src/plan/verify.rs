//! Whether everything that the snapshots of a domain need is there: files, tags, memory, and what lies on what.
//!
//! What is needed: the images in which snapshots are frozen, and those that the definitions name; what each of them lies on, to
//! the end of the chain; the tags of internal snapshots; the memory. An overlay that a snapshot made is needed only if one
//! of these is it: a revert to another snapshot gives it up, and the record goes on naming it, as in libvirt.
//!
//! libvirt never looks: a redefined snapshot may name files and tags that do not exist, and that shows when it is too late (K31).
//! A redefinition is taken here as well, and [`verify`] reports it. Must not know: how files are looked at.

use super::facts::{Facts, FileKind};
use super::graph::{Graph, overlay_image};
use crate::model::ids::Image;
use crate::model::snapshot::{Location, Memory, Snapshot};
use camino::{Utf8Path, Utf8PathBuf};
use std::collections::{BTreeSet, HashMap};

/// How it is with one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Status {
    Ok,
    /// The file is not there.
    Missing,
    /// The file cannot be read, or is no file.
    Unreadable,
    /// The image has another format than is recorded.
    WrongFormat,
    /// The image lies on another one than is recorded.
    WrongBacking,
    /// The image has no tag of that name.
    TagMissing,
    /// The image has several tags of that name.
    TagAmbiguous,
    /// The file is no whole save of a memory, or no tag has the memory.
    MemoryBroken,
    /// The deletion of the snapshot has begun: its content is not whole any more.
    HalfDeleted,
}

impl Status {
    /// As on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Missing => "missing",
            Self::Unreadable => "unreadable",
            Self::WrongFormat => "wrong-format",
            Self::WrongBacking => "wrong-backing",
            Self::TagMissing => "tag-missing",
            Self::TagAmbiguous => "tag-ambiguous",
            Self::MemoryBroken => "memory-broken",
            Self::HalfDeleted => "half-deleted",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The snapshot that needs it; empty: the domain itself.
    pub snapshot: String,
    /// The disk's target, or `memory`.
    pub part: String,
    /// The file.
    pub path: Utf8PathBuf,
    /// How it is.
    pub status: Status,
    /// What is wrong, in words; what it is, where nothing is.
    pub detail: String,
}

/// Every path that [`verify`] wants looked at.
#[must_use]
pub fn paths(graph: &Graph<'_>) -> Vec<Utf8PathBuf> {
    let mut out: BTreeSet<Utf8PathBuf> = graph.current.iter().map(|(_, i)| i.path.clone()).collect();
    for s in graph.tree.iter() {
        out.extend(s.frozen.iter().filter_map(|f| f.image.as_ref()).map(|i| i.path.clone()));
        if let Memory::External(path) = &s.memory {
            out.insert(path.clone());
        }
    }
    out.into_iter().collect()
}

/// Look at everything: the snapshots in the tree's order, then the domain.
#[must_use]
pub fn verify(graph: &Graph<'_>, facts: &Facts) -> Vec<Row> {
    let mut recorded = HashMap::new();
    for s in graph.tree.iter() {
        for disk in s.disks.iter().chain(&s.revert_disks) {
            if let (Some(overlay), Some(base)) = (overlay_image(disk), s.frozen_image(&disk.name)) {
                recorded.insert((disk.name.clone(), overlay.path), base.path.clone());
            }
        }
    }
    let told = paths(graph).into_iter().collect();
    let mut looker = Looker { facts, recorded, told, snapshot: String::new(), out: Vec::new() };
    for snapshot in graph.tree.descendants(None).iter().filter_map(|name| graph.tree.get(name)) {
        looker.snapshot.clone_from(&snapshot.name.0);
        looker.snapshot(snapshot);
    }
    looker.snapshot.clear();
    let current: BTreeSet<_> = graph.current.iter().collect();
    for (target, image) in current {
        looker.image(target.as_str(), image);
    }
    looker.out
}

struct Looker<'l> {
    facts: &'l Facts,
    /// What the overlay of a disk lies on, as the snapshot says that made it.
    recorded: HashMap<(String, Utf8PathBuf), Utf8PathBuf>,
    /// Images that have a row of their own: below another one they are mentioned only if they are wrong.
    told: BTreeSet<Utf8PathBuf>,
    snapshot: String,
    out: Vec<Row>,
}

impl Looker<'_> {
    fn row(&mut self, part: &str, path: &Utf8Path, status: Status, detail: impl Into<String>) {
        let (snapshot, part, path) = (self.snapshot.clone(), part.to_owned(), path.to_owned());
        self.out.push(Row { snapshot, part, path, status, detail: detail.into() });
    }

    fn snapshot(&mut self, snapshot: &Snapshot) {
        for disk in &snapshot.disks {
            let captured = matches!(disk.location, Some(Location::Internal | Location::External));
            let Some(image) = snapshot.frozen_image(&disk.name).filter(|_| captured) else { continue };
            if !self.image(&disk.name, image) {
                continue;
            }
            if disk.delete_in_progress {
                self.row(&disk.name, &image.path, Status::HalfDeleted, "its deletion has begun; delete it again");
            }
            if disk.location == Some(Location::Internal) {
                self.tag(&disk.name, image, snapshot.tag());
            }
        }
        match &snapshot.memory {
            Memory::External(path) => self.memory_file(path),
            Memory::Internal if snapshot.state.is_live() => self.memory_tag(snapshot),
            Memory::Internal | Memory::Default | Memory::No => {}
        }
    }

    /// The image and what it lies on; whether the image itself is right.
    fn image(&mut self, part: &str, image: &Image) -> bool {
        let mut at = image.clone();
        let mut chain = vec![at.path.clone()];
        loop {
            if !self.one(part, &at) {
                return chain.len() > 1;
            }
            let header = self.facts.header(&at.path);
            let backing = header.and_then(|h| h.backing.clone());
            let recorded = self.recorded.get(&(part.to_owned(), at.path.clone()));
            if let Some(recorded) = recorded.filter(|r| backing.as_ref() != Some(r)) {
                let found = backing.as_ref().map_or_else(|| "nothing".to_owned(), |b| format!("'{b}'"));
                let detail = format!("lies on {found} and not on '{recorded}'");
                self.row(part, &at.path, Status::WrongBacking, detail);
            } else if self.told.insert(at.path.clone()) || chain.len() == 1 {
                let detail = backing.as_ref().map_or_else(|| at.format.clone(), |b| format!("{} on '{b}'", at.format));
                self.row(part, &at.path, Status::Ok, detail);
            }
            let Some(path) = backing.filter(|b| !chain.contains(b)) else { return true };
            let declared = header.and_then(|h| h.backing_format.clone());
            let format = declared.or_else(|| self.facts.header(&path).map(|h| h.format.clone()));
            chain.push(path.clone());
            at = Image { path, format: format.unwrap_or_else(|| "raw".to_owned()) };
        }
    }

    /// The image at its path, without what it lies on.
    fn one(&mut self, part: &str, image: &Image) -> bool {
        match self.facts.kind(&image.path) {
            FileKind::File(_) | FileKind::Block => {}
            FileKind::Missing => {
                self.row(part, &image.path, Status::Missing, "no such file");
                return false;
            }
            FileKind::Unreadable(why) => {
                self.row(part, &image.path, Status::Unreadable, why.clone());
                return false;
            }
            FileKind::Directory | FileKind::Other => {
                self.row(part, &image.path, Status::Unreadable, "neither a file nor a block device");
                return false;
            }
        }
        // Whatever its content, an image that is recorded as raw is raw.
        let found = self.facts.header(&image.path).map(|h| h.format.clone());
        match found {
            Some(found) if image.format != "raw" && found != image.format => {
                self.row(part, &image.path, Status::WrongFormat, format!("is {found} and not {}", image.format));
                false
            }
            _ => true,
        }
    }

    fn tag(&mut self, part: &str, image: &Image, tag: &str) {
        let tags = self.facts.header(&image.path).map(|h| h.tags.as_slice()).unwrap_or_default();
        let (status, detail) = match tags.iter().filter(|t| t.name == tag).count() {
            0 => (Status::TagMissing, format!("has no internal snapshot '{tag}'")),
            1 => (Status::Ok, format!("internal snapshot '{tag}'")),
            n => (Status::TagAmbiguous, format!("has {n} internal snapshots '{tag}'")),
        };
        self.row(part, &image.path, status, detail);
    }

    fn memory_file(&mut self, path: &Utf8Path) {
        let (status, detail) = match self.facts.files.get(path).map(|f| (&f.kind, f.saved_memory)) {
            Some((FileKind::File(_) | FileKind::Block, true)) => (Status::Ok, "a whole save"),
            Some((FileKind::Missing, _)) | None => (Status::Missing, "no such file"),
            Some((FileKind::Unreadable(why), false)) if !why.starts_with("invalid image") => {
                (Status::Unreadable, why.as_str())
            }
            Some((_, true)) => (Status::Ok, "a whole save"),
            Some(_) => (Status::MemoryBroken, "is not a whole save of a memory"),
        };
        let detail = detail.to_owned();
        self.row("memory", path, status, detail);
    }

    fn memory_tag(&mut self, snapshot: &Snapshot) {
        let tag = snapshot.tag();
        let images: Vec<&Image> = snapshot.internal_disks().filter_map(|d| snapshot.frozen_image(&d.name)).collect();
        let has = |image: &&&Image| {
            self.facts.header(&image.path).is_some_and(|h| h.tags.iter().any(|t| t.name == tag && t.vmstate))
        };
        match images.iter().find(has) {
            Some(image) => {
                let path = image.path.clone();
                self.row("memory", &path, Status::Ok, format!("in internal snapshot '{tag}'"));
            }
            None => {
                let path = images.first().map(|i| i.path.clone()).unwrap_or_default();
                self.row("memory", &path, Status::MemoryBroken, format!("no image has the memory of '{tag}'"));
            }
        }
    }
}

//! Files, what of them is on the platter, and the guests that write to them.

use super::guest::Guest;
use crate::error::{Code, Error, Result};
use crate::model::ids::{DiskTarget, DomainId, Image, Instance};
use crate::plan::facts::{Facts, FileFact, FileKind, ImageHeader, Tag};
use crate::plan::steps::{MemorySource, Start};
use camino::{Utf8Path, Utf8PathBuf};
use std::collections::BTreeMap;

/// What a disk or a layer holds: block number to value.
pub type Blocks = BTreeMap<u32, u64>;
/// A file's identity.
pub type Ino = u64;
/// What a guest sees on each of its disks.
pub type Disks = BTreeMap<DiskTarget, Blocks>;

/// What a file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// Nothing.
    Empty,
    /// Something that was cut short.
    Garbage,
    /// An image.
    Image(ImageBody),
    /// A guest's memory: its counter.
    Memory(u64),
}

/// One layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageBody {
    /// QEMU's name of the format.
    pub format: String,
    /// What it lies on.
    pub backing: Option<Image>,
    /// What was written into this layer.
    pub blocks: Blocks,
    /// Its internal snapshots.
    pub tags: Vec<SimTag>,
}

/// An internal snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimTag {
    /// Its ID.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The layer then.
    pub blocks: Blocks,
    /// The memory, if this image has it.
    pub memory: Option<u64>,
}

#[derive(Debug, Clone)]
struct Inode {
    now: Body,
    durable: Body,
}

/// Everything there is.
#[derive(Debug, Clone, Default)]
pub struct World {
    names: BTreeMap<Utf8PathBuf, Ino>,
    durable_names: BTreeMap<Utf8PathBuf, Ino>,
    inodes: BTreeMap<Ino, Inode>,
    time: u64,
    /// Every hypervisor that runs.
    pub guests: BTreeMap<Instance, Guest>,
    /// The last hypervisor that ended, and what its guest had on its disks.
    pub last_ended: Option<Guest>,
    /// What the guest had on its disks after each of its writes, by the value it wrote.
    pub history: BTreeMap<u64, Disks>,
    /// Things that must never happen, as they happened.
    pub violations: Vec<String>,
    /// Whether a definition's images come into being by themselves (the daemon's test driver).
    pub images_on_demand: bool,
}

fn missing(path: &Utf8Path) -> Error {
    Error::new(Code::SystemError, format!("Cannot access storage file '{path}': No such file or directory"))
}

impl World {
    /// One in which definitions find their images, and which lasts: nothing is kept for a test to look at.
    #[must_use]
    pub fn of_test_driver() -> Self {
        Self { images_on_demand: true, ..Self::default() }
    }

    // --- files ---

    /// Put a file there, safely on the platter.
    pub fn place(&mut self, path: &Utf8Path, body: Body) {
        let ino = self.new_inode(body);
        self.names.insert(path.to_owned(), ino);
        self.sync(path);
    }
    /// An image of its own, if nothing is there yet.
    pub(super) fn provide(&mut self, image: &Image) {
        if !self.names.contains_key(&image.path) {
            self.place(&image.path, Body::Image(ImageBody::new(&image.format, None)));
        }
    }
    fn new_inode(&mut self, body: Body) -> Ino {
        let ino = self.inodes.keys().next_back().map_or(1, |i| i + 1);
        self.inodes.insert(ino, Inode { now: body, durable: Body::Empty });
        ino
    }
    /// Create an empty file; in the page cache only.
    pub(super) fn create(&mut self, path: &Utf8Path) -> Result<Ino> {
        if self.names.contains_key(path) {
            return Err(Error::failed(format_args!("cannot create '{path}': File exists")));
        }
        let ino = self.new_inode(Body::Empty);
        self.names.insert(path.to_owned(), ino);
        Ok(ino)
    }
    /// fsync of the file and of its directory.
    pub(super) fn sync(&mut self, path: &Utf8Path) {
        if let Some(ino) = self.names.get(path) {
            self.durable_names.insert(path.to_owned(), *ino);
            self.flush(*ino);
        }
    }
    /// fdatasync of the file.
    pub(super) fn flush(&mut self, ino: Ino) {
        if let Some(inode) = self.inodes.get_mut(&ino) {
            inode.durable.clone_from(&inode.now);
        }
    }
    /// Remove the name, and fsync the directory.
    pub(super) fn unlink(&mut self, path: &Utf8Path) {
        self.names.remove(path);
        self.durable_names.remove(path);
    }
    /// The file's identity.
    #[must_use]
    pub fn ino(&self, path: &Utf8Path) -> Option<Ino> {
        self.names.get(path).copied()
    }
    /// What the file holds.
    pub fn body(&self, path: &Utf8Path) -> Result<&Body> {
        let ino = self.ino(path).ok_or_else(|| missing(path))?;
        self.inodes.get(&ino).map(|i| &i.now).ok_or_else(|| missing(path))
    }
    /// The image at `path`.
    pub fn image(&self, path: &Utf8Path) -> Result<&ImageBody> {
        match self.body(path)? {
            Body::Image(image) => Ok(image),
            other => Err(Error::failed(format_args!("'{path}' is no image but {other:?}"))),
        }
    }
    /// Change what the file holds; in the page cache only.
    pub(super) fn set_body(&mut self, path: &Utf8Path, body: Body) -> Result<()> {
        let ino = self.ino(path).ok_or_else(|| missing(path))?;
        self.inodes.entry(ino).and_modify(|i| i.now = body);
        Ok(())
    }
    pub(super) fn image_mut(&mut self, path: &Utf8Path) -> Result<&mut ImageBody> {
        let ino = self.ino(path).ok_or_else(|| missing(path))?;
        self.layer_mut(ino).ok_or_else(|| Error::failed(format_args!("'{path}' is no image")))
    }
    pub(super) fn layer_mut(&mut self, ino: Ino) -> Option<&mut ImageBody> {
        match self.inodes.get_mut(&ino).map(|i| &mut i.now) {
            Some(Body::Image(image)) => Some(image),
            _ => None,
        }
    }
    /// Every path at which there is a file.
    pub fn paths(&self) -> impl Iterator<Item = &Utf8PathBuf> {
        self.names.keys()
    }
    /// The file and all that it lies on, top first; an error for a chain that is not whole.
    pub fn chain(&self, path: &Utf8Path) -> Result<Vec<Utf8PathBuf>> {
        let mut chain = Vec::new();
        let mut at = Some(path.to_owned());
        while let Some(path) = at {
            if chain.contains(&path) {
                return Err(Error::failed(format_args!("'{path}' lies on itself")));
            }
            at = self.image(&path)?.backing.as_ref().map(|b| b.path.clone());
            chain.push(path);
        }
        Ok(chain)
    }
    /// What a guest would see of the image at `path`.
    pub fn content(&self, path: &Utf8Path) -> Result<Blocks> {
        self.content_over(path, &self.image(path)?.blocks)
    }
    /// What a guest would see of the image at `path` after a revert to its tag.
    pub fn tagged(&self, path: &Utf8Path, name: &str) -> Result<Blocks> {
        self.content_over(path, &self.tag(path, name)?.blocks)
    }
    /// The tag of that name.
    pub fn tag(&self, path: &Utf8Path, name: &str) -> Result<&SimTag> {
        let mut tags = self.image(path)?.tags.iter().filter(|t| t.name == name);
        match (tags.next(), tags.next()) {
            (Some(tag), None) => Ok(tag),
            (found, _) => {
                let how_many = if found.is_some() { "more than one" } else { "no" };
                Err(Error::failed(format_args!("'{path}' has {how_many} tag '{name}'")))
            }
        }
    }
    fn content_over(&self, path: &Utf8Path, top: &Blocks) -> Result<Blocks> {
        let mut all = top.clone();
        for layer in self.chain(path)?.iter().skip(1) {
            for (block, value) in &self.image(layer)?.blocks {
                all.entry(*block).or_insert(*value);
            }
        }
        Ok(all)
    }
    /// The memory in a finished file.
    pub fn saved_memory(&self, path: &Utf8Path) -> Result<u64> {
        match self.body(path)? {
            Body::Memory(counter) => Ok(*counter),
            other => Err(Error::failed(format_args!("'{path}' is no memory image but {other:?}"))),
        }
    }
    /// Paths of images that have `path` as their backing file.
    pub(super) fn lying_on<'a>(&'a self, path: &'a Utf8Path) -> impl Iterator<Item = &'a Utf8PathBuf> {
        self.paths().filter(move |p| self.image(p).is_ok_and(|i| i.backing.as_ref().is_some_and(|b| b.path == path)))
    }

    pub(super) fn look(&self, paths: &[Utf8PathBuf]) -> Facts {
        let mut facts = Facts::default();
        let mut todo = paths.to_vec();
        while let Some(path) = todo.pop() {
            if facts.files.contains_key(&path) {
                continue;
            }
            let fact = self.fact(&path);
            todo.extend(fact.header.iter().filter_map(|h| h.backing.clone()));
            facts.files.insert(path, fact);
        }
        facts
    }
    /// Every image that lies on another one.
    pub(super) fn overlays(&self) -> Facts {
        let paths: Vec<Utf8PathBuf> = self.names.keys().cloned().collect();
        let mut facts = self.look(&paths);
        facts.files.retain(|_, f| f.header.as_ref().is_some_and(|h| h.backing.is_some()));
        facts
    }
    fn fact(&self, path: &Utf8Path) -> FileFact {
        let header = |format: &str| ImageHeader {
            format: format.to_owned(),
            backing: None,
            backing_format: None,
            virtual_size: 1 << 20,
            tags: Vec::new(),
        };
        let fact = |kind, header| FileFact { kind, header, saved_memory: false };
        match self.body(path) {
            Err(_) => fact(FileKind::Missing, None),
            Ok(Body::Empty) => fact(FileKind::File(0), Some(header("raw"))),
            Ok(Body::Garbage) => fact(FileKind::File(4096), Some(header("raw"))),
            Ok(Body::Memory(_)) => FileFact { saved_memory: true, ..fact(FileKind::File(4096), Some(header("raw"))) },
            Ok(Body::Image(image)) => {
                let tag = |t: &SimTag| Tag { id: t.id.clone(), name: t.name.clone(), vmstate: t.memory.is_some() };
                let header = ImageHeader {
                    backing: image.backing.as_ref().map(|b| b.path.clone()),
                    backing_format: image.backing.as_ref().map(|b| b.format.clone()),
                    tags: image.tags.iter().map(tag).collect(),
                    ..header(&image.format)
                };
                fact(FileKind::File(4096), Some(header))
            }
        }
    }

    // --- time ---

    /// A value that nobody has written yet.
    pub fn next_value(&mut self) -> u64 {
        self.time += 1;
        self.time
    }

    /// Every guest that runs counts, writes its counter to all its disks, and flushes them.
    pub fn tick(&mut self) {
        let running: Vec<Instance> =
            self.guests.values().filter(|g| g.running && !g.frozen).map(|g| g.instance).collect();
        for instance in running {
            let value = self.next_value();
            let Some(mut guest) = self.guests.remove(&instance) else { continue };
            guest.counter = value;
            for disk in guest.disks.iter().filter(|d| !d.readonly) {
                let seen = guest.truth.entry(disk.target.clone()).or_default();
                let Some(root) = disk.chain.first() else { continue };
                let Some(layer) = self.layer_mut(*root) else {
                    self.violations.push(format!("the active layer of {} is no image any more", disk.target));
                    continue;
                };
                for block in [0, 1 + u32::try_from(value % 5).unwrap_or(0)] {
                    layer.blocks.insert(block, value);
                    seen.insert(block, value);
                }
                self.flush(*root);
            }
            if !self.images_on_demand {
                self.history.insert(value, guest.truth.clone());
            }
            self.guests.insert(instance, guest);
        }
    }

    // --- guests ---

    /// A running hypervisor.
    pub(super) fn guest_mut(&mut self, instance: Instance) -> Result<&mut Guest> {
        self.guests.get_mut(&instance).ok_or_else(|| Error::invalid("domain is not running"))
    }
    /// A new hypervisor begins to exist, its CPUs stopped.
    pub(super) fn admit(&mut self, mut guest: Guest) -> Result<()> {
        guest.see(self)?;
        for disk in &guest.disks {
            let stamp = guest.truth.get(&disk.target).and_then(|b| b.get(&0));
            // The flash chip is part of the memory, which wins over what its file holds; and a guest that has never run
            // has said nothing about its disks yet.
            let told = guest.counter > 0 && disk.target.as_str() != super::guest::NVRAM;
            if guest.loaded && told && !disk.readonly && stamp.is_some_and(|s| *s != guest.counter) {
                self.violations
                    .push(format!("memory of {} was loaded over {} of {stamp:?}", guest.counter, disk.target));
            }
        }
        self.guests.insert(guest.instance, guest);
        Ok(())
    }
    /// A hypervisor loads a tag while it has the images open.
    pub(super) fn reload(&mut self, start: &Start) -> Result<()> {
        let MemorySource::Tag(tag) = &start.memory else { return Err(Error::internal("no tag to load")) };
        let mut guest = self.guest_mut(start.instance)?.clone();
        guest.counter = self.load_tag(&guest, tag)?;
        guest.loaded = true;
        self.admit(guest)
    }
    /// The hypervisor is gone.
    pub fn end(&mut self, instance: Instance) -> Option<Guest> {
        let guest = self.guests.remove(&instance)?;
        self.last_ended = Some(guest.clone());
        Some(guest)
    }
    /// Every hypervisor is gone.
    pub fn end_all(&mut self) -> Vec<(DomainId, Instance)> {
        let all: Vec<_> = self.guests.values().map(|g| (g.domain, g.instance)).collect();
        for (_, instance) in &all {
            self.end(*instance);
        }
        all
    }
    /// The power is gone, and with it all that was not fsynced.
    pub fn lose(&mut self) {
        self.end_all();
        self.names.clone_from(&self.durable_names);
        for inode in self.inodes.values_mut() {
            inode.now.clone_from(&inode.durable);
        }
    }
    /// Whether a hypervisor has the file open.
    #[must_use]
    pub fn is_open(&self, path: &Utf8Path) -> bool {
        self.ino(path).is_some_and(|ino| self.guests.values().any(|g| g.has_open(ino)))
    }
    /// QEMU's image lock.
    pub(super) fn refuse_open(&self, path: &Utf8Path) -> Result<()> {
        if self.is_open(path) {
            return Err(Error::failed(format_args!(
                "'{path}': Failed to get \"write\" lock: Is another process using the image?"
            )));
        }
        Ok(())
    }
}

impl ImageBody {
    /// A layer in which nothing was written.
    #[must_use]
    pub fn new(format: &str, backing: Option<Image>) -> Self {
        Self { format: format.to_owned(), backing, blocks: Blocks::new(), tags: Vec::new() }
    }
}

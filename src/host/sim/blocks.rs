//! What hypervisors and `qemu-img` do to layers, one indivisible part each.

use super::guest::Guest;
use super::world::{Blocks, Body, ImageBody, SimTag, World};
use crate::error::{Error, Result};
use crate::model::ids::{DiskTarget, Image, Instance};
use crate::plan::steps::SwitchDisk;
use camino::{Utf8Path, Utf8PathBuf};

impl World {
    // --- the disk switch ---

    /// What makes QEMU refuse the transaction.
    pub(super) fn can_switch(&mut self, instance: Instance, disks: &[SwitchDisk]) -> Result<()> {
        let guest = self.guest_mut(instance)?.clone();
        for disk in disks {
            if !guest.nodes.contains_key(&disk.node) {
                return Err(Error::failed(format_args!("Cannot find device='' nor node-name='{}'", disk.node)));
            }
            if !guest
                .disks
                .iter()
                .any(|d| d.target == disk.target && d.chain.first().copied() == self.ino(&disk.old.path))
            {
                return Err(Error::failed(format_args!("'{}' is not on '{}'", disk.target, disk.old.path)));
            }
        }
        Ok(())
    }
    pub(super) fn switch(&mut self, instance: Instance, disks: &[SwitchDisk]) -> Result<()> {
        self.can_switch(instance, disks)?;
        let guest = self.guest_mut(instance)?;
        for disk in disks {
            if let Some(ino) = guest.nodes.remove(&disk.node) {
                guest.disk_mut(&disk.target)?.chain.insert(0, ino);
            }
        }
        Ok(())
    }
    /// Whether every overlay is its disk's active layer.
    pub(super) fn is_switched(&self, guest: &Guest, disks: &[SwitchDisk]) -> bool {
        let on = |d: &SwitchDisk| {
            let root = guest.disks.iter().find(|g| g.target == d.target).and_then(|g| g.chain.first().copied());
            root.is_some() && root == self.ino(&d.overlay.path)
        };
        disks.iter().all(on)
    }

    // --- merging ---

    /// Copy what `top` has into `base`: the first half of its blocks, or all of them.
    pub(super) fn copy_down(&mut self, top: &Utf8Path, base: &Utf8Path, half: bool) -> Result<()> {
        let blocks = self.image(top)?.blocks.clone();
        let part = if half { blocks.len() / 2 } else { blocks.len() };
        self.image_mut(base)?.blocks.extend(blocks.into_iter().take(part));
        if !half && let Some(ino) = self.ino(base) {
            self.flush(ino);
        }
        Ok(())
    }
    /// The hypervisor takes `top` out of the disk's chain; the layer above is made to lie on `base`.
    pub(super) fn drop_layer(
        &mut self,
        instance: Instance,
        target: &DiskTarget,
        top: &Utf8Path,
        base: &Image,
    ) -> Result<()> {
        let top_ino = self.ino(top);
        let chain = self.guest_mut(instance)?.disk_mut(target)?.chain.clone();
        let Some(at) = chain.iter().position(|i| Some(*i) == top_ino) else { return Ok(()) };
        if let Some(above) = at.checked_sub(1).and_then(|i| chain.get(i)) {
            if let Some(layer) = self.layer_mut(*above) {
                layer.backing = Some(base.clone());
            }
            self.flush(*above);
        }
        self.guest_mut(instance)?.disk_mut(target)?.chain.remove(at);
        Ok(())
    }
    /// Whether the layer is the disk's active one.
    pub(super) fn is_active(&self, instance: Instance, target: &DiskTarget, layer: &Utf8Path) -> bool {
        let root = |g: &Guest| g.disks.iter().find(|d| d.target == *target).and_then(|d| d.chain.first().copied());
        self.ino(layer).is_some() && self.guests.get(&instance).and_then(root) == self.ino(layer)
    }
    /// Whether the layer is in the disk's chain.
    pub(super) fn has_layer(&self, instance: Instance, target: &DiskTarget, layer: &Utf8Path) -> bool {
        let Some(ino) = self.ino(layer) else { return false };
        self.guests
            .get(&instance)
            .is_some_and(|g| g.disks.iter().any(|d| d.target == *target && d.chain.contains(&ino)))
    }
    /// Take what lies between `image` and `onto` into `image`.
    pub(super) fn copy_up(&mut self, image: &Utf8Path, onto: Option<&Image>) -> Result<()> {
        let mut all = self.image(image)?.blocks.clone();
        for layer in
            self.chain(image)?.iter().skip(1).take_while(|p| Some(p.as_path()) != onto.map(|o| o.path.as_path()))
        {
            for (block, value) in &self.image(layer)?.blocks {
                all.entry(*block).or_insert(*value);
            }
        }
        self.image_mut(image)?.blocks = all;
        Ok(())
    }
    /// Write another backing file into the header.
    pub(super) fn set_backing(&mut self, image: &Utf8Path, backing: Option<&Image>) -> Result<()> {
        self.image_mut(image)?.backing = backing.cloned();
        let chain: Vec<_> = self.chain(image)?.iter().filter_map(|p| self.ino(p)).collect();
        let Some(ino) = self.ino(image) else { return Ok(()) };
        self.flush(ino);
        // A hypervisor that streams follows; one that only reads below would keep what it has open.
        for guest in self.guests.values_mut() {
            for disk in &mut guest.disks {
                if let Some(at) = disk.chain.iter().position(|i| *i == ino) {
                    disk.chain.truncate(at);
                    disk.chain.extend(&chain);
                }
            }
        }
        Ok(())
    }
    /// Truncate the file, and fsync it.
    pub(super) fn empty(&mut self, path: &Utf8Path) -> Result<()> {
        self.set_body(path, Body::Empty)?;
        self.sync_image(path);
        Ok(())
    }
    /// Make a merged overlay as empty as it was, and fsync it: nothing must be committed twice.
    pub(super) fn blank(&mut self, overlay: &SwitchDisk) -> Result<()> {
        let body = if overlay.reused {
            Body::Image(ImageBody::new(&overlay.overlay.format, Some(overlay.old.clone())))
        } else {
            Body::Empty
        };
        self.set_body(&overlay.overlay.path, body)?;
        if let Some(ino) = self.ino(&overlay.overlay.path) {
            self.flush(ino);
        }
        Ok(())
    }

    /// Remove a file of which nobody knows a use.
    pub(super) fn unlink_unused(&mut self, path: &Utf8Path) -> Result<()> {
        if self.is_open(path) {
            return Err(Error::failed(format_args!("'{path}' is in use")));
        }
        if let Some(other) = self.lying_on(path).find(|o| o.parent() == path.parent()) {
            return Err(Error::failed(format_args!("'{other}' lies on '{path}'")));
        }
        self.unlink(path);
        Ok(())
    }
    /// The background save starts at this instant.
    pub(super) fn begin_save(&mut self, instance: Instance, path: &Utf8Path) -> Result<()> {
        self.set_body(path, Body::Garbage)?;
        let guest = self.guest_mut(instance)?;
        guest.saving = Some((path.to_owned(), guest.counter));
        Ok(())
    }

    // --- tags ---

    /// `qemu-img snapshot -c`: twice makes two equal tags.
    pub(super) fn add_tag(&mut self, path: &Utf8Path, name: &str, memory: Option<u64>) -> Result<()> {
        let image = self.image_mut(path)?;
        if image.format != "qcow2" {
            return Err(Error::failed(format_args!("'{path}' cannot have internal snapshots")));
        }
        let id = image.tags.iter().filter_map(|t| t.id.parse::<u64>().ok()).max().unwrap_or(0) + 1;
        let tag = SimTag { id: id.to_string(), name: name.to_owned(), blocks: image.blocks.clone(), memory };
        image.tags.push(tag);
        self.sync_image(path);
        Ok(())
    }
    /// Remove the tag; fine if it is not there.
    pub(super) fn remove_tag(&mut self, path: &Utf8Path, name: &str) -> Result<()> {
        self.image_mut(path)?.tags.retain(|t| t.name != name);
        self.sync_image(path);
        Ok(())
    }
    /// `qemu-img snapshot -a`.
    pub(super) fn apply_tag(&mut self, path: &Utf8Path, name: &str) -> Result<()> {
        let blocks: Blocks = self.tag(path, name)?.blocks.clone();
        self.image_mut(path)?.blocks = blocks;
        self.sync_image(path);
        Ok(())
    }
    /// `snapshot-load` of every writable disk that has the tag, one of them with memory.
    pub(super) fn load_tag(&mut self, guest: &Guest, name: &str) -> Result<u64> {
        let mut memory = None;
        let roots = guest.disks.iter().filter(|d| !d.readonly).filter_map(|d| d.chain.first());
        let mut paths: Vec<Utf8PathBuf> =
            roots.filter_map(|i| self.paths().find(|p| self.ino(p) == Some(*i)).cloned()).collect();
        paths.retain(|path| self.tag(path, name).is_ok());
        for path in &paths {
            memory = memory.or(self.tag(path, name)?.memory);
        }
        let memory = memory.ok_or_else(|| Error::failed(format_args!("no image has memory for '{name}'")))?;
        for path in &paths {
            self.apply_tag(path, name)?;
        }
        Ok(memory)
    }
    fn sync_image(&mut self, path: &Utf8Path) {
        if let Some(ino) = self.ino(path) {
            self.flush(ino);
        }
    }
}

//! Thin logical volumes. What is a tag of a qcow2 image is here a thin snapshot of the volume, in
//! the same pool, of any age, and as cheap.
//!
//! # Which snapshots are ours
//!
//! A snapshot of ours has the name that `names` derives from the volume's and its own (`disk-vs-` and a hash), *and*
//! the LVM tags `virsnap.of=VOLUME` and `virsnap.name=NAME`, the name escaped into LVM's alphabet. One without the
//! other is somebody else's, is not listed and never touched. LVM's own `origin` is no evidence: it is empty
//! once the volume was replaced. Snapshots of ours are read-only and skipped by activation.
//!
//! # Going back
//!
//! `lvconvert --merge` consumes the snapshot, and only brings it to its `origin`, which the other snapshots lose with the
//! first merge. So the volume is replaced by a snapshot of the snapshot, which then has its name. Each line is
//! one command, atomic in LVM's metadata; `NEXT` and `ASIDE` are derived names too. What the same call does when it
//! is repeated after a cut there (`swap`):
//!
//! ```text
//!                    what there is after it            repeated
//!   1  lvcreate -s   VOLUME         NEXT   TAG         NEXT is removed, all from the start
//!   2  lvchange -an  VOLUME (off)   NEXT   TAG         as after 1
//!   3  lvrename              ASIDE  NEXT   TAG         4, 5, 6; for another tag: ASIDE is VOLUME again, then as after 1
//!   4  lvrename      VOLUME (off)   ASIDE  TAG         ASIDE is removed, all from the start
//!   5  lvchange -ay  VOLUME         ASIDE  TAG         as after 4
//!   6  lvremove      VOLUME                TAG         all from the start
//! ```
//!
//! From the start, because nobody knows what was written to the volume in between. `NEXT` carries `virsnap.replaces=UUID of
//! VOLUME`, and keeps it: only the volume of that UUID, and only under the name `ASIDE`, is ever removed. The volume must not be
//! open: command 2 proves it, by the kernel.
//!
//! The volume has the snapshot's size afterwards, as an image would. It keeps permission, activation skip, and the LVM
//! tags of others; its UUID is new, and a fixed minor number is lost.
//!
//! # What was learned from a real LVM
//!
//! - Where no udev runs, LVM makes no device nodes unless told to (`tool`); killed, it leaves nodes of
//!   devices that are gone or already another volume's (`locate`).
//! - `lvchange -an` of an open volume tries for 5 seconds; so we look before.
//! - A program of LVM may leave `dmeventd` running, with our environment.
//!
//! LVM serializes its commands by itself. Must not know: Xen, domains, plans.

mod group;
mod locate;
mod names;
mod swap;
mod tool;

#[cfg(test)]
mod real_tests;

pub use names::VolumeName;

use crate::error::{Code, Error, Result};
use crate::plan::facts::{Facts, FileKind, ImageHeader, Tag};
use camino::Utf8Path;
use group::{Group, Logical};
use names::Role;
use tool::Command;

/// A logical volume, as it is to disks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Device {
    /// One that can have tags.
    Thin(Volume),
    /// One that cannot.
    Other {
        /// Which.
        name: VolumeName,
        /// LVM's word for its kind: `linear`, `thin-pool`, `striped`, …
        kind: String,
    },
}

/// A thin volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Which.
    pub name: VolumeName,
    /// The pool that it lies in, of the same volume group.
    pub pool: String,
    /// Bytes that a guest sees.
    pub size: u64,
    /// Whether there is a device.
    pub activity: Activity,
}

/// What device a volume has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activity {
    /// None.
    Inactive,
    /// One that nobody has open.
    Active,
    /// One that somebody has open.
    Open,
    /// None, and no volume of that name either: [`apply_tag`] was cut off and must be repeated.
    Replacing,
}

/// Which logical volume is at the path; `None`: none. Links are followed; a path that has no device now is taken by its
/// words, `/dev/GROUP/VOLUME` or `/dev/mapper/GROUP-VOLUME`.
pub async fn classify(path: &Utf8Path) -> Result<Option<Device>> {
    Ok(find(path).await?.map(|(device, _)| device))
}

/// The same, and what else is in its group.
async fn find(path: &Utf8Path) -> Result<Option<(Device, Group)>> {
    let (name, certain) = match locate::locate(path) {
        locate::Located::Nothing => return Ok(None),
        locate::Located::Mapped(name) => (name, true),
        locate::Located::Named(name) => (name, false),
    };
    let group = match Group::read(&name.group).await {
        // Without LVM's tools, a path without a device is no volume.
        Err(e) if !certain && e.code == Code::OperationUnsupported => return Ok(None),
        group => group?,
    };
    let Some(group) = group else { return Ok(None) };
    // What `lvs` does not list has a device all the same: a part of a pool, for example.
    let hidden = || certain.then(|| Device::Other { name: name.clone(), kind: "hidden".to_owned() });
    Ok(group.device(&name).or_else(hidden).map(|device| (device, group)))
}

/// Add the tags of each thin volume among these to what is known of it. One that has no name for the moment
/// ([`Activity::Replacing`]) is a device, not missing.
pub async fn add_facts(facts: &mut Facts) -> Result<()> {
    for (path, fact) in &mut facts.files {
        if !matches!(fact.kind, FileKind::Block | FileKind::Missing) {
            continue;
        }
        let Some((Device::Thin(volume), group)) = find(path).await? else { continue };
        if fact.kind == FileKind::Missing && volume.activity != Activity::Replacing {
            continue;
        }
        fact.kind = FileKind::Block;
        let raw = || ImageHeader {
            format: "raw".to_owned(),
            backing: None,
            backing_format: None,
            virtual_size: volume.size,
            tags: Vec::new(),
        };
        fact.header.get_or_insert_with(raw).tags.extend(group.tags(&volume.name.volume));
    }
    Ok(())
}

/// The snapshots of the volume that we have taken, in the order of their names. A tag's ID is the snapshot's UUID.
pub async fn tags(volume: &Volume) -> Result<Vec<Tag>> {
    Ok(read(volume).await?.tags(&volume.name.volume))
}

/// Take a snapshot of the volume, which may be open: it gets the state of one moment. Refused if there is one of that name.
/// To undo: [`remove_tag`].
pub async fn create_tag(volume: &Volume, name: &str) -> Result<()> {
    let group = read(volume).await?;
    let own = &volume.name.volume;
    if group.tag(own, name).is_some() {
        return Err(Error::invalid(format!(
            "logical volume '{}' already has an internal snapshot named '{name}'",
            volume.name
        )));
    }
    if group.find(own).is_none() {
        return Err(Error::invalid(format!("logical volume '{}' does not exist", volume.name)));
    }
    tool::run(&volume.name.group, &Command::tag(own, name)).await
}

/// Bring the volume back to a snapshot, which stays. Its device is there afterwards. Refused while the volume is open, or
/// without such a snapshot.
pub async fn apply_tag(volume: &Volume, name: &str) -> Result<()> {
    let group = read(volume).await?;
    for command in swap::commands(&group, &volume.name.volume, name)? {
        tool::run(&volume.name.group, &command).await?;
    }
    Ok(())
}

/// Remove a snapshot; absent is fine.
pub async fn remove_tag(volume: &Volume, name: &str) -> Result<()> {
    match read(volume).await?.tag(&volume.name.volume, name) {
        Some(tag) => tool::run(&volume.name.group, &Command::Remove { volume: tag.name.clone() }).await,
        None => Ok(()),
    }
}

async fn read(volume: &Volume) -> Result<Group> {
    let group = &volume.name.group;
    Group::read(group).await?.ok_or_else(|| Error::invalid(format!("volume group '{group}' not found")))
}

impl Group {
    /// The volume of that name as a device.
    fn device(&self, name: &VolumeName) -> Option<Device> {
        let thin = |found: &Logical, pool: &str, activity| {
            Device::Thin(Volume { name: name.clone(), pool: pool.to_owned(), size: found.size, activity })
        };
        if let Some(found) = self.find(&name.volume) {
            return Some(match &found.pool {
                Some(pool) if found.kind == "thin" => thin(found, pool, found.activity()),
                _ => Device::Other { name: name.clone(), kind: found.kind.clone() },
            });
        }
        let (next, _) = swap::cut_between_names(self, &name.volume)?;
        Some(thin(next, next.pool.as_deref()?, Activity::Replacing))
    }

    /// Our snapshot of that name.
    fn tag(&self, volume: &str, name: &str) -> Option<&Logical> {
        let role = Role::Tag { name };
        self.find(&role.of(volume)).filter(|s| s.is(volume, name, &role))
    }

    fn tags(&self, volume: &str) -> Vec<Tag> {
        let name = |snapshot: &Logical| {
            let name = snapshot.label(names::NAME).and_then(names::unescape)?;
            self.tag(volume, &name).filter(|tag| tag.name == snapshot.name).map(|_| name)
        };
        let tag = |s: &Logical| Some(Tag { id: s.uuid.clone(), name: name(s)?, vmstate: false });
        let mut tags: Vec<Tag> = self.volumes.iter().filter_map(tag).collect();
        tags.sort_by(|a, b| a.name.cmp(&b.name));
        tags
    }
}

//! Who needs which image: the edges that the tree records, checked against the headers.
//!
//! An image is *needed* when a snapshot is frozen in it or a definition names it; everything
//! that a needed image lies on is needed too. Edges come from the metadata (an overlay lies on what its
//! snapshot froze) and count only where the overlay's header says the same.

use super::facts::{Facts, ImageHeader};
use crate::model::ids::{DiskTarget, Image, SnapshotName};
use crate::model::snapshot::{Memory, Snapshot, SnapshotDisk};
use crate::model::tree::Tree;
use camino::{Utf8Path, Utf8PathBuf};
use std::collections::BTreeSet;

/// The images of one domain.
#[derive(Clone, Copy)]
pub struct Graph<'a> {
    /// The snapshots.
    pub tree: &'a Tree,
    /// The images that the domain's definitions name, by target: running, then persistent.
    pub current: &'a [(DiskTarget, Image)],
    /// Whether something outside this domain names a path.
    pub foreign: &'a (dyn Fn(&Utf8Path) -> bool + Send + Sync),
    /// Files that virsnap is recorded to have made.
    pub owned: &'a BTreeSet<Utf8PathBuf>,
}

/// The image an external disk's overlay is.
#[must_use]
pub fn overlay_image(disk: &SnapshotDisk) -> Option<Image> {
    let path = disk.source.clone()?;
    disk.is_external().then(|| Image { path, format: disk.format.clone().unwrap_or_else(|| "qcow2".to_owned()) })
}

impl Graph<'_> {
    /// Overlays that the metadata says lie on `base`, and current images of the same disk.
    #[must_use]
    pub fn recorded_overlays(&self, target: &str, base: &Utf8Path) -> Vec<Image> {
        let mut out: Vec<Image> = Vec::new();
        let mut add = |image: Image| {
            if image.path != base && !out.iter().any(|o| o.path == image.path) {
                out.push(image);
            }
        };
        for s in self.tree.iter() {
            if s.frozen_image(target).is_some_and(|f| f.path == base) {
                s.disks
                    .iter()
                    .chain(&s.revert_disks)
                    .filter(|d| d.name == target)
                    .filter_map(overlay_image)
                    .for_each(&mut add);
            }
        }
        // A redefined tree may not say which snapshot made an overlay: every frozen image of the disk is a candidate.
        for s in self.tree.iter() {
            if let Some(image) = s.frozen_image(target) {
                add(image.clone());
            }
        }
        for (t, image) in self.current {
            if t.as_str() == target {
                add(image.clone());
            }
        }
        out
    }

    /// Images that lie directly on `base`, as their headers say, but for those that are `going`. Not only those on record:
    /// one that a revert gave up stays where somebody's file lies on it, and a snapshot whose metadata was given up may
    /// be in one.
    #[must_use]
    pub fn dependents(&self, target: &str, base: &Utf8Path, facts: &Facts, going: &[Utf8PathBuf]) -> Vec<Image> {
        let mut out = self.recorded_overlays(target, base);
        let lies_on = |h: &ImageHeader| h.backing.as_deref() == Some(base);
        out.retain(|o| facts.header(&o.path).is_some_and(lies_on));
        for (path, fact) in &facts.files {
            let Some(header) = fact.header.as_ref().filter(|h| lies_on(h)) else { continue };
            if !out.iter().any(|o| o.path == *path) {
                out.push(Image { path: path.clone(), format: header.format.clone() });
            }
        }
        out.retain(|o| !going.contains(&o.path));
        out.sort();
        out
    }

    /// Whether a snapshot other than `except` is frozen in the image, or a definition or an outsider names it.
    #[must_use]
    pub fn is_named(&self, path: &Utf8Path, except: &SnapshotName) -> bool {
        self.current.iter().any(|(_, i)| i.path == path) || self.is_frozen(path, except) || (self.foreign)(path)
    }

    /// Whether a snapshot other than `except` is frozen in the image.
    #[must_use]
    pub fn is_frozen(&self, path: &Utf8Path, except: &SnapshotName) -> bool {
        self.frozen_in(path).any(|s| s.name != *except)
    }

    /// The snapshots whose state is in the image at `path`.
    pub fn frozen_in<'s>(&'s self, path: &'s Utf8Path) -> impl Iterator<Item = &'s Snapshot> {
        self.tree
            .iter()
            .map(AsRef::as_ref)
            .filter(move |s: &&Snapshot| s.frozen.iter().any(|f| f.image.as_ref().is_some_and(|i| i.path == path)))
    }

    /// Whether the image is named, or something looked at that is named lies on it.
    #[must_use]
    pub fn is_needed(&self, path: &Utf8Path, facts: &Facts, except: &SnapshotName) -> bool {
        let mut seen = BTreeSet::new();
        let mut stack = vec![path.to_owned()];
        while let Some(at) = stack.pop() {
            // What lies on it and is not ours is somebody's.
            if self.is_named(&at, except) || (at != path && !self.is_ours(&at)) {
                return true;
            }
            if !seen.insert(at.clone()) {
                continue;
            }
            stack.extend(
                facts
                    .files
                    .iter()
                    .filter(|(_, f)| f.header.as_ref().is_some_and(|h| h.backing.as_ref() == Some(&at)))
                    .map(|(p, _)| p.clone()),
            );
        }
        false
    }

    /// Whether an image that we do not know lies directly on `path`.
    #[must_use]
    pub fn has_stranger(&self, path: &Utf8Path, facts: &Facts) -> bool {
        let lies_on = |h: &ImageHeader| h.backing.as_deref() == Some(path);
        facts.files.iter().any(|(p, f)| {
            let known =
                self.current.iter().any(|(_, i)| i.path == *p) || self.frozen_in(p).next().is_some() || self.is_ours(p);
            !known && f.header.as_ref().is_some_and(lies_on)
        })
    }

    /// Whether virsnap (or libvirt, at the machine this tree came from) made the file: only such files are ever removed.
    #[must_use]
    pub fn is_ours(&self, path: &Utf8Path) -> bool {
        self.owned.contains(path)
            || self.tree.iter().any(|s| {
                matches!(&s.memory, Memory::External(m) if m == path)
                    || s.disks
                        .iter()
                        .chain(&s.revert_disks)
                        .any(|d| d.is_external() && d.source.as_deref() == Some(path))
            })
    }

    /// The files of a chain, top first, as far as it was looked at.
    #[must_use]
    pub fn chain(&self, top: &Utf8Path, facts: &Facts) -> Vec<Utf8PathBuf> {
        let mut out = vec![top.to_owned()];
        while let Some(next) = out.last().and_then(|p| facts.header(p)).and_then(|h| h.backing.clone()) {
            if out.contains(&next) {
                break;
            }
            out.push(next);
        }
        out
    }
}

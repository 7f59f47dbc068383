//! Planning a deletion: which images merge, which go, and what the tree becomes.
//!
//! For each external disk, `base` is the image that the snapshot froze. Whatever lies on it decides:
//!
//! ```text
//!   nothing needed on base      base goes, if we made it and nothing else needs it
//!   one overlay, no tags in it  the overlay is committed down into base and goes
//!   several, or tags            every overlay takes base's content and moves to base's own
//!                               backing file (pull up); base goes, if we made it
//!   another snapshot in base,
//!   or a stranger on it         base stays as it is
//! ```
//!
//! An overlay with internal tags cannot move to another backing file (its tags read through it), and
//! a base that is the user's own image has nothing below to move to: in both cases base stays as
//! a link of the chain and only the metadata goes. libvirt refuses most of these (K22), starts a
//! guest to merge those of a domain that is off (K23), and loses the internal children of an external parent.
//!
//! The mark `<snapshotDeleteInProgress/>` is on the snapshot that is being deleted, whose frozen
//! image is being overwritten (K5), and a revert to it is refused.

use super::definition::replace_image;
use super::facts::Facts;
use super::graph::{Graph, overlay_image};
use super::refusal::Refusal;
use super::side;
use super::steps::{Change, Commit, CurrentChange, LiveChange, OpKind, Plan, PutSnapshot, ResumeWhy, Settle};
use crate::error::Result;
use crate::model::domain::DomainState;
use crate::model::flags::{self, DeleteFlags};
use crate::model::ids::{DiskTarget, DomainId, Image, Instance, OpId, SnapshotName};
use crate::model::snapshot::{Memory, Snapshot, SnapshotDisk, SnapshotTexts};
use crate::xml::domain::{self, DomainView};
use camino::{Utf8Path, Utf8PathBuf};
use std::collections::BTreeMap;

/// A deletion of one snapshot, and the domain it is about.
#[derive(Clone, Copy)]
pub struct DeleteRequest<'a> {
    /// The journal row.
    pub op: OpId,
    /// The domain.
    pub domain: DomainId,
    /// Its state.
    pub state: DomainState,
    /// The running hypervisor, if there is one.
    pub instance: Option<Instance>,
    /// Its persistent definition.
    pub inactive_xml: Option<&'a str>,
    /// Its running definition.
    pub live_xml: Option<&'a str>,
    /// Its images and snapshots.
    pub graph: Graph<'a>,
    /// The snapshot that goes.
    pub name: &'a SnapshotName,
    /// Reads the texts of a snapshot.
    pub texts: &'a (dyn Fn(&SnapshotName) -> Result<SnapshotTexts> + Send + Sync),
}

/// Flag words that no request may carry.
pub fn check_flags(bits: u32) -> Result<DeleteFlags> {
    let raw = DeleteFlags::from_bits_retain(bits);
    if raw.contains(DeleteFlags::CHILDREN | DeleteFlags::CHILDREN_ONLY) {
        return Err(flags::exclusive(
            "VIR_DOMAIN_SNAPSHOT_DELETE_CHILDREN",
            "VIR_DOMAIN_SNAPSHOT_DELETE_CHILDREN_ONLY",
        ));
    }
    DeleteFlags::parse(bits, "qemuSnapshotDelete")
}

/// The snapshots that a call deletes, in the order in which they go: the deepest first, so that most of them are leaves.
#[must_use]
pub fn order(tree: &crate::model::tree::Tree, name: &SnapshotName, flags: DeleteFlags) -> Vec<SnapshotName> {
    let mut out = Vec::new();
    if flags.intersects(DeleteFlags::CHILDREN | DeleteFlags::CHILDREN_ONLY) {
        out = tree.descendants(Some(name));
        out.reverse();
    }
    if !flags.contains(DeleteFlags::CHILDREN_ONLY) {
        out.push(name.clone());
    }
    out
}

/// Only the metadata: what remains of the tree without the snapshot.
#[must_use]
pub fn forget(tree: &crate::model::tree::Tree, name: &SnapshotName) -> Change {
    let mut change = Change { remove: vec![name.clone()], ..Change::default() };
    let Some(gone) = tree.get(name) else { return change };
    for child in tree.children(Some(name)) {
        if let Some(child) = tree.get(child) {
            let mut child = (**child).clone();
            child.parent = gone.parent.clone();
            change.put.push(PutSnapshot { snapshot: child, texts: None });
        }
    }
    let parent = tree.parent(name);
    if let Some(p) = parent.as_ref().and_then(|p| tree.get(p)).filter(|p| !p.revert_disks.is_empty()) {
        // The parent is a leaf again: the overlays of its last revert are its only ones.
        if tree.is_leaf(name) && tree.children(Some(&p.name)).count() == 1 {
            let mut p = (**p).clone();
            p.disks = std::mem::take(&mut p.revert_disks);
            change.put.push(PutSnapshot { snapshot: p, texts: None });
        }
    }
    if tree.current() == Some(name) {
        change.current = Some(parent.map_or(CurrentChange::Clear, CurrentChange::Set));
    }
    change
}

fn snapshot<'a>(request: &DeleteRequest<'a>) -> Result<&'a Snapshot, Refusal> {
    request.graph.tree.get(request.name).map(AsRef::as_ref).ok_or_else(|| Refusal::NoSnapshot(request.name.0.clone()))
}

/// Every path that [`plan`] wants looked at.
pub fn paths(request: &DeleteRequest<'_>) -> Result<Vec<Utf8PathBuf>> {
    let gone = snapshot(request)?;
    let mut out: Vec<Utf8PathBuf> = request.graph.current.iter().map(|(_, i)| i.path.clone()).collect();
    for disk in &gone.disks {
        let Some(base) = gone.frozen_image(&disk.name) else { continue };
        out.push(base.path.clone());
        out.extend(disk.source.clone());
        for overlay in request.graph.recorded_overlays(&disk.name, &base.path) {
            out.push(overlay.path);
        }
    }
    out.extend(gone.revert_disks.iter().filter_map(|d| d.source.clone()));
    out.extend(side::places(gone));
    out.sort();
    out.dedup();
    Ok(out)
}

/// What happens to one disk of the snapshot.
enum Fate {
    Down { top: Image },
    Up { images: Vec<Image>, onto: Option<Image> },
    Stay,
}

/// Decide.
pub fn plan(request: &DeleteRequest<'_>, facts: &Facts) -> Result<Plan> {
    let gone = snapshot(request)?;
    check_domain(request, gone, facts)?;
    let graph = &request.graph;
    let mut edit = Edit::new(request, forget(graph.tree, request.name), facts);
    let mut work = Vec::new();
    let mut pivots = Vec::new();
    let mut unlink: Vec<Utf8PathBuf> = Vec::new();
    // What takes the place of a merged overlay, or of a base that went, stays.
    let mut kept: Vec<Utf8PathBuf> = Vec::new();
    let open: Vec<Utf8PathBuf> = match request.instance {
        Some(_) => graph.current.iter().flat_map(|(_, i)| graph.chain(&i.path, facts)).collect(),
        None => Vec::new(),
    };
    let holder = |path: &Utf8Path| request.instance.filter(|_| open.iter().any(|o| o == path));

    let going = unneeded(request, gone, facts);
    for disk in gone.external_disks() {
        let target = disk.target();
        let Some(base) = gone.frozen_image(&disk.name) else { continue };
        let dependents = graph.dependents(&disk.name, &base.path, facts, &going);
        match fate(request, gone, base, dependents, facts) {
            Fate::Down { top } => {
                let active = graph.current.iter().any(|(_, i)| i.path == top.path);
                match holder(&top.path) {
                    Some(instance) if active => {
                        work.push(Settle::MergeActive {
                            instance,
                            target: target.clone(),
                            top: top.clone(),
                            base: base.clone(),
                        });
                        pivots.push(Settle::Pivot {
                            instance,
                            target: target.clone(),
                            top: top.clone(),
                            base: base.clone(),
                        });
                    }
                    instance => work.push(Settle::MergeDown {
                        instance,
                        target: target.clone(),
                        top: top.clone(),
                        base: base.clone(),
                    }),
                }
                // A hypervisor that merges does this itself where it has the overlay open, unless it dies first.
                let above = graph.dependents(&disk.name, &top.path, facts, &going);
                work.extend(above.into_iter().map(|image| Settle::Repoint { image, backing: base.clone() }));
                edit.replace(&target, &top, base)?;
                kept.extend(graph.chain(&base.path, facts));
                unlink.push(top.path);
            }
            Fate::Up { images, onto } => {
                for image in images {
                    work.push(Settle::PullUp {
                        instance: holder(&image.path),
                        image,
                        from: base.clone(),
                        onto: onto.clone(),
                    });
                }
                kept.extend(onto.iter().flat_map(|o| graph.chain(&o.path, facts)));
                unlink.push(base.path.clone());
            }
            Fate::Stay => {}
        }
    }
    unlink.extend(going.into_iter().filter(|p| !kept.contains(p)));
    if let Memory::External(path) = &gone.memory {
        let shared = graph.tree.iter().any(|s| s.name != gone.name && s.memory == gone.memory);
        if !shared && !(graph.foreign)(path) {
            unlink.push(path.clone());
        }
    }
    let (nvram, drops) = side::remove(gone, facts);
    work.extend(remove_tags(gone, nvram, facts, &open, request)?);
    // An image goes before what it lies on.
    unlink.sort_by_key(|p| (std::cmp::Reverse(graph.chain(p, facts).len()), p.clone()));
    unlink.dedup();
    Ok(assemble(request, gone, work, pivots, edit.finish(&unlink), unlink, drops))
}

/// Whether the domain still is what the snapshot is about: a disk that it has no more may be in use elsewhere, and a chain
/// that does not lie on what was frozen is not the snapshot's to merge.
fn check_domain(request: &DeleteRequest<'_>, gone: &Snapshot, facts: &Facts) -> Result<()> {
    let graph = &request.graph;
    let Some(xml) = request.live_xml.or(request.inactive_xml) else { return Ok(()) };
    if request.instance.is_some() {
        let now = domain::view(xml)?;
        if let Some(disk) = gone.disks.iter().find(|d| now.disk(&d.name).is_some_and(|now| now.transient)) {
            return Err(Refusal::TransientDisk(disk.name.clone()).into());
        }
    }
    let disk_of = |view: &DomainView, disk: &SnapshotDisk| view.disk(&disk.name).cloned();
    if !gone.is_external() {
        let view = request.live_xml.map(domain::view).transpose()?;
        let lost = view.and_then(|view| gone.disks.iter().find(|d| disk_of(&view, d).is_none()));
        return match lost {
            Some(disk) => Err(Refusal::DiskGone { disk: disk.name.clone(), snapshot: gone.name.0.clone() }.into()),
            None => Ok(()),
        };
    }
    let current = graph.tree.current();
    if !current.is_some_and(|c| *c == gone.name || graph.tree.ancestors(c).contains(&gone.name)) {
        return Ok(());
    }
    let view = domain::view(xml)?;
    for disk in gone.external_disks() {
        let Some(now) = disk_of(&view, disk) else { return Err(Refusal::DiskNotFound(disk.name.clone()).into()) };
        let (Some(now), Some(base)) = (now.source, gone.frozen_image(&disk.name)) else { continue };
        if !graph.chain(&now, facts).iter().skip(1).any(|p| *p == base.path) {
            return Err(Refusal::NotInChain.into());
        }
    }
    Ok(())
}

/// The images of the snapshot, and those beneath them, that we made and that nothing needs once it is gone. A tag that
/// the snapshot does not have is somebody's.
fn unneeded(request: &DeleteRequest<'_>, gone: &Snapshot, facts: &Facts) -> Vec<Utf8PathBuf> {
    let graph = &request.graph;
    let frozen = gone.frozen.iter().filter_map(|f| f.image.clone());
    let overlays = gone.disks.iter().chain(&gone.revert_disks).filter_map(overlay_image);
    let mut out: Vec<Utf8PathBuf> = frozen.chain(overlays).flat_map(|i| graph.chain(&i.path, facts)).collect();
    out.sort();
    out.dedup();
    let tagged = |p: &Utf8Path| facts.header(p).is_some_and(|h| h.tags.iter().any(|t| t.name != gone.name.0));
    out.retain(|p| graph.is_ours(p) && !graph.is_needed(p, facts, request.name) && !tagged(p));
    out
}

fn fate(request: &DeleteRequest<'_>, gone: &Snapshot, base: &Image, mut dependents: Vec<Image>, facts: &Facts) -> Fate {
    let graph = &request.graph;
    let others_in_base = graph.frozen_in(&base.path).any(|s| {
        s.name != gone.name && s.internal_disks().all(|d| s.frozen_image(&d.name).is_none_or(|i| i.path != base.path))
    });
    let current_base = graph.current.iter().any(|(_, i)| i.path == base.path);
    if others_in_base || current_base || (graph.foreign)(&base.path) || graph.has_stranger(&base.path, facts) {
        return Fate::Stay;
    }
    let tagged = |i: &Image| facts.header(&i.path).is_none_or(|h| !h.tags.is_empty());
    if dependents.iter().any(tagged) {
        return Fate::Stay;
    }
    if dependents.len() == 1 {
        let top = dependents.pop().filter(|top| !graph.has_stranger(&top.path, facts) && !(graph.foreign)(&top.path));
        return top.map_or(Fate::Stay, |top| Fate::Down { top });
    }
    let header = facts.header(&base.path);
    let onto = header.and_then(|h| {
        let path = h.backing.clone()?;
        let format = h.backing_format.clone().or_else(|| facts.header(&path).map(|b| b.format.clone()))?;
        Some(Image { path, format })
    });
    let base_tagged = header.is_none_or(|h| !h.tags.is_empty());
    // No tool lets a VHD image take its parent's content: such a base stays a link of the chain.
    let only_down = dependents.iter().any(|d| d.format == "vhd");
    if dependents.is_empty() || only_down || onto.is_none() || base_tagged || !graph.is_ours(&base.path) {
        return Fate::Stay;
    }
    Fate::Up { images: dependents, onto }
}

fn remove_tags(
    gone: &Snapshot,
    nvram: Vec<Image>,
    facts: &Facts,
    open: &[Utf8PathBuf],
    request: &DeleteRequest<'_>,
) -> Result<Vec<Settle>, Refusal> {
    let tag = gone.tag().to_owned();
    let mut by_holder: BTreeMap<Option<Instance>, Vec<Image>> = BTreeMap::new();
    for disk in gone.internal_disks() {
        let Some(image) = gone.frozen_image(&disk.name) else { continue };
        if !facts.header(&image.path).is_some_and(|h| h.tags.iter().any(|t| t.name == tag)) {
            continue;
        }
        let is_open = open.contains(&image.path);
        let is_root = request.graph.current.iter().any(|(_, i)| i.path == image.path);
        if is_open && !is_root {
            return Err(Refusal::TagNotActive { disk: disk.name.clone(), tag });
        }
        by_holder.entry(request.instance.filter(|_| is_open)).or_default().push(image.clone());
    }
    if !nvram.is_empty() {
        by_holder.entry(request.instance).or_default().extend(nvram);
    }
    Ok(by_holder
        .into_iter()
        .map(|(instance, images)| Settle::RemoveTag { instance, images, tag: tag.clone() })
        .collect())
}

/// The order of steps: mark, work, the pivots at one standstill, publish, resume, unlink.
fn assemble(
    request: &DeleteRequest<'_>,
    gone: &Snapshot,
    work: Vec<Settle>,
    pivots: Vec<Settle>,
    change: Change,
    unlink: Vec<Utf8PathBuf>,
    drops: Vec<Settle>,
) -> Plan {
    let mut settle = Vec::new();
    let commit = if work.is_empty() {
        Commit::Publish(Box::new(change))
    } else {
        let mut marked = gone.clone();
        for disk in &mut marked.disks {
            disk.delete_in_progress =
                disk.is_external() || disk.location == Some(crate::model::snapshot::Location::Internal);
        }
        let mark = Change { put: vec![PutSnapshot { snapshot: marked, texts: None }], ..Change::default() };
        settle.extend(work);
        let standstill = request.instance.filter(|_| !pivots.is_empty() && request.state == DomainState::Running);
        if let Some(instance) = standstill {
            settle.push(Settle::Pause { instance });
        }
        settle.extend(pivots);
        settle.push(Settle::Publish(Box::new(change)));
        if let Some(instance) = standstill {
            settle.push(Settle::Resume { instance, why: ResumeWhy::Unpaused });
        }
        Commit::Publish(Box::new(mark))
    };
    settle.extend(unlink.into_iter().map(|path| Settle::Unlink { path }));
    settle.extend(drops);
    Plan {
        op: request.op,
        kind: OpKind::Delete,
        domain: request.domain,
        snapshot: request.name.clone(),
        prepare: Vec::new(),
        commit,
        settle,
    }
}

/// The change under construction: every mention of a merged overlay becomes its base.
struct Edit<'r, 'a> {
    request: &'r DeleteRequest<'a>,
    change: Change,
    facts: &'r Facts,
    live: Option<String>,
    inactive: Option<String>,
    texts: BTreeMap<SnapshotName, (Snapshot, SnapshotTexts)>,
}

impl<'r, 'a> Edit<'r, 'a> {
    fn new(request: &'r DeleteRequest<'a>, change: Change, facts: &'r Facts) -> Self {
        Self {
            request,
            change,
            live: request.live_xml.map(str::to_owned),
            inactive: request.inactive_xml.map(str::to_owned),
            texts: BTreeMap::new(),
            facts,
        }
    }

    fn replace(&mut self, target: &DiskTarget, old: &Image, new: &Image) -> Result<()> {
        for xml in [&mut self.live, &mut self.inactive].into_iter().flatten() {
            *xml = replace_image(xml, target.as_str(), old, new, self.facts)?;
        }
        for s in self.request.graph.tree.iter() {
            let frozen_here = s.frozen_image(target.as_str()).is_some_and(|i| i.path == old.path);
            if s.name == *self.request.name || !frozen_here {
                continue;
            }
            if !self.texts.contains_key(&s.name) {
                let texts = (self.request.texts)(&s.name)?;
                let put = self.change.put.iter().position(|p| p.snapshot.name == s.name);
                let base = put.map_or_else(|| (**s).clone(), |at| self.change.put.remove(at).snapshot);
                self.texts.insert(s.name.clone(), (base, texts));
            }
            if let Some((snapshot, texts)) = self.texts.get_mut(&s.name) {
                for f in snapshot.frozen.iter_mut().filter(|f| f.target == *target) {
                    f.image = Some(new.clone());
                }
                for xml in [&mut texts.domain, &mut texts.inactive_domain].into_iter().flatten() {
                    *xml = replace_image(xml, target.as_str(), old, new, self.facts)?;
                }
            }
        }
        Ok(())
    }

    fn finish(mut self, unlinked: &[Utf8PathBuf]) -> Change {
        for (_, (snapshot, texts)) in self.texts {
            self.change.put.push(PutSnapshot { snapshot, texts: Some(texts) });
        }
        self.change.inactive_xml = self.inactive.filter(|x| Some(x.as_str()) != self.request.inactive_xml);
        if let (Some(instance), Some(xml)) = (self.request.instance, self.live)
            && Some(xml.as_str()) != self.request.live_xml
        {
            self.change.live = LiveChange::Edit { instance, xml };
        }
        self.change.owned = unlinked.iter().map(|p| (p.clone(), false)).collect();
        self.change
    }
}

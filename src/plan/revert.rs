//! Planning a revert: everything checkable is checked before the running guest is touched (K10).
//!
//! The commit is the publish of the target: from there the old state is given up. The old
//! hypervisor is stopped after it, and overlays that nothing names any more go last (K3: never
//! because of what a snapshot's record says alone).
//!
//! A running guest whose machine is the target's in every word goes back within its hypervisor ([`Settle::Reload`]): its
//! connections stay. Clients are told what libvirt tells, which stops and starts one at every revert. Where the machine
//! differs, or has state beside its images, a new hypervisor is started.
//!
//! A managed-save image goes with the state that is given up (K11): libvirt keeps it, and loads it at the next start over
//! the reverted disks.
//!
//! Whether a revert may end the running hypervisor without FORCE is a setting ([`RiskyRevert`]).
//!
//! Differences from libvirt, on purpose: read-only disks and empty drives get no overlay (K24); a disk that the snapshot
//! excluded (`no`) keeps its current image, because the snapshot holds no state of it;
//! an overlay name that is taken gets a counter (K21); a snapshot whose deletion has begun is refused (K5); an internal snapshot
//! beneath another snapshot's layer is refused (K9); a memory file that was saved under an earlier name of the domain is taken (K27),
//! one of another machine is refused before the guest is touched.

use super::abi;
use super::align::overlay_path;
use super::checks::check_chain;
use super::definition::{replace_image, set_image};
use super::facts::{Facts, FileFact, FileKind};
use super::graph::Graph;
use super::refusal::Refusal;
use super::side::{self, Restore};
use super::steps::{
    Change, Commit, CurrentChange, Existing, LiveChange, MemorySource, OpKind, Plan, Prepare, PutSnapshot, ResumeWhy,
    SavedChange, Settle, Start,
};
use crate::error::{Error, Result};
use crate::model::domain::{DomainState, ManagedSave};
use crate::model::flags::{self, RevertFlags};
use crate::model::ids::{DiskTarget, DomainId, Image, Instance, OpId, SnapshotName};
use crate::model::risk::RiskyRevert;
use crate::model::side_state::SideStates;
use crate::model::snapshot::{Location, Memory, Snapshot, SnapshotDisk, SnapshotState, SnapshotTexts, SourceType};
use crate::xml::domain::{self, DiskView, DomainView};
use crate::xml::edit;
use camino::Utf8PathBuf;

/// How many names are tried for one overlay.
const NAME_TRIES: usize = 32;

/// A revert call and the domain it is about.
#[derive(Clone, Copy)]
pub struct RevertRequest<'a> {
    /// The journal row.
    pub op: OpId,
    /// The domain.
    pub domain: DomainId,
    /// Its name now.
    pub domain_name: &'a str,
    /// The running hypervisor, if there is one.
    pub instance: Option<Instance>,
    /// The identity of the hypervisor that will be started.
    pub new_instance: Instance,
    /// Its definition.
    pub live_xml: Option<&'a str>,
    /// The domain's state.
    pub state: DomainState,
    /// Whether the domain survives its stop.
    pub persistent: bool,
    /// Its managed-save image.
    pub saved: Option<&'a ManagedSave>,
    /// Its images and snapshots.
    pub graph: Graph<'a>,
    /// The target.
    pub name: &'a SnapshotName,
    /// The target's texts.
    pub texts: &'a SnapshotTexts,
    /// What is asked for.
    pub flags: RevertFlags,
    /// What may be done to a running guest without FORCE.
    pub risky: RiskyRevert,
    /// Seconds since the Epoch.
    pub now: i64,
    /// What belongs, in the target's definition, to the machine beside its disks.
    pub side: &'a SideStates,
}

/// Flag words that no request may carry.
pub fn check_flags(bits: u32) -> Result<RevertFlags> {
    let raw = RevertFlags::from_bits_retain(bits);
    if raw.contains(RevertFlags::RUNNING | RevertFlags::PAUSED) {
        return Err(flags::exclusive("VIR_DOMAIN_SNAPSHOT_REVERT_RUNNING", "VIR_DOMAIN_SNAPSHOT_REVERT_PAUSED"));
    }
    RevertFlags::parse(bits, "qemuSnapshotRevert")
}

/// A revert whose rules are kept, before anything was looked at.
pub struct Draft<'a> {
    target: &'a Snapshot,
    domain_xml: String,
    inactive_xml: String,
    view: DomainView,
}

/// Check the rules that need no look at files.
pub fn draft<'a>(request: &RevertRequest<'a>) -> Result<Draft<'a>> {
    let graph = &request.graph;
    let missing = || Refusal::NoSnapshot(request.name.0.clone());
    let target = graph.tree.get(request.name).map(AsRef::as_ref).ok_or_else(missing)?;
    let start_asked = request.flags.intersects(RevertFlags::RUNNING | RevertFlags::PAUSED);
    match target.state {
        SnapshotState::Nostate | SnapshotState::Blocked => {
            return Err(Error::internal(format!(
                "Invalid target domain state '{}'. Refusing snapshot reversion",
                target.state.as_str()
            )));
        }
        SnapshotState::Pmsuspended => return Err(Refusal::RevertState(target.state.as_str()).into()),
        _ => {}
    }
    if !request.persistent && !target.state.is_live() && !start_asked {
        return Err(Refusal::TransientRevert.into());
    }
    let Some(recorded) = &request.texts.domain else {
        return Err(Refusal::NoDefinition(request.name.0.clone(), request.domain_name.to_owned()).into());
    };
    if request.saved.is_some() && !target.state.is_live() && !request.flags.contains(RevertFlags::FORCE) {
        return Err(Refusal::SavedStateInTheWay.into());
    }
    if let Some(disk) = target.disks.iter().find(|d| d.delete_in_progress) {
        return Err(Refusal::HalfDeleted(disk.name.clone()).into());
    }
    let domain_xml = edit::set_name(recorded, request.domain_name)?;
    let inactive_xml = match &request.texts.inactive_domain {
        Some(xml) => edit::set_name(&edit::rename_root(xml, "domain")?, request.domain_name)?,
        None => domain_xml.clone(),
    };
    let view = domain::view(&domain_xml)?;
    check_risk(request, target, &domain_xml)?;
    // A tag needs no overlay, and what is no file can only be brought back by hand.
    let own = |name: &str| {
        let kept = |d: &&SnapshotDisk| matches!(d.location, Some(Location::Internal | Location::Manual));
        target.disks.iter().filter(kept).any(|d| d.name == name)
    };
    let no_file = |d: &&DiskView| d.has_source && !d.readonly && d.source_type != "file" && !own(&d.target);
    if has_overlays(target)
        && let Some(disk) = view.disks.iter().find(no_file)
    {
        return Err(Refusal::RevertNeedsFiles(disk.target.clone()).into());
    }
    Ok(Draft { target, domain_xml, inactive_xml, view })
}

/// FORCE as libvirt's snapshot plan of 2011 meant it, for whoever wants it: what ends the hypervisor of a guest that runs
/// or is paused is refused without it. With it the guest is stopped, and where the target is live a new hypervisor of the
/// snapshot's machine is started.
fn check_risk(request: &RevertRequest<'_>, target: &Snapshot, domain_xml: &str) -> Result<()> {
    let Some(live) = request.live_xml.filter(|_| request.instance.is_some()) else { return Ok(()) };
    if request.risky == RiskyRevert::Allow || request.flags.contains(RevertFlags::FORCE) {
        return Ok(());
    }
    if !target.state.is_live() {
        return Err(Refusal::RiskyOff(target.name.0.clone(), target.state.as_str()).into());
    }
    match abi::difference(live, domain_xml)? {
        Some(difference) => Err(Refusal::RiskyMachine(Box::new(difference)).into()),
        None => Ok(()),
    }
}

impl Draft<'_> {
    /// The images that the domain will write to, or that overlays of it will lie on: no other guest may run on them.
    #[must_use]
    pub fn written(&self) -> Vec<&Utf8PathBuf> {
        let disks = self.view.disks.iter().filter(|d| !d.readonly && !d.shareable);
        disks.filter_map(|d| d.source.as_ref()).collect()
    }
    /// Every path that [`plan`] wants looked at.
    #[must_use]
    pub fn paths(&self, request: &RevertRequest<'_>) -> Vec<Utf8PathBuf> {
        let mut out: Vec<Utf8PathBuf> = request.graph.current.iter().map(|(_, i)| i.path.clone()).collect();
        for disk in &self.view.disks {
            let Some(source) = &disk.source else { continue };
            out.push(source.clone());
            if has_overlays(self.target) {
                out.extend((0..NAME_TRIES).map(|n| overlay_path(source, &suffix(request.now, n))));
            }
        }
        if let Memory::External(path) = &self.target.memory {
            out.push(path.clone());
        }
        out.extend(given_up(request));
        out.extend(side::places(self.target));
        // What lies on an image that is written to once more.
        if self.target.internal_disks().next().is_some() {
            let frozen = request.graph.tree.iter().flat_map(|s| &s.frozen);
            out.extend(frozen.filter_map(|f| f.image.as_ref()).map(|i| i.path.clone()));
        }
        out.sort();
        out.dedup();
        out
    }
}

/// The overlays of the state that is given up: those the definitions name, and those that the
/// current snapshot has on record (the definitions may name others by now).
fn given_up(request: &RevertRequest<'_>) -> Vec<Utf8PathBuf> {
    let graph = &request.graph;
    let named = graph.current.iter().map(|(_, i)| i.path.clone());
    let current = graph.tree.current().and_then(|c| graph.tree.get(c));
    let recorded = current.into_iter().flat_map(|s| {
        let overlays = if s.revert_disks.is_empty() { &s.disks } else { &s.revert_disks };
        overlays.iter().filter(|d| d.is_external()).filter_map(|d| d.source.clone())
    });
    named.chain(recorded).collect()
}

fn suffix(now: i64, attempt: usize) -> String {
    if attempt == 0 { now.to_string() } else { format!("{now}-{attempt}") }
}

/// One disk that gets a fresh overlay on its frozen image.
struct Fresh {
    target: DiskTarget,
    base: Image,
    overlay: Image,
}

/// Decide.
pub fn plan(request: &RevertRequest<'_>, draft: Draft<'_>, facts: &Facts) -> Result<Plan> {
    let Draft { target, mut domain_xml, mut inactive_xml, view } = draft;
    let graph = &request.graph;
    let overlays = has_overlays(target);
    let fresh = if overlays { fresh_overlays(request, target, &view, facts)? } else { Vec::new() };
    check_tags(request, target, facts)?;
    check_chains(request, &view, facts)?;
    for f in &fresh {
        domain_xml = set_image(&domain_xml, f.target.as_str(), &f.overlay, facts)?;
        inactive_xml = replace_image(&inactive_xml, f.target.as_str(), &f.base, &f.overlay, facts)?;
    }
    let readonly = |name: &str| view.disk(name).is_some_and(|d| d.readonly);
    for disk in target.disks.iter().filter(|d| d.location == Some(Location::No) && (overlays || !readonly(&d.name))) {
        let now = graph.current.iter().find(|(t, _)| t.as_str() == disk.name).map(|(_, i)| i);
        let then = target.frozen_image(&disk.name);
        if let (Some(now), Some(then)) = (now, then) {
            domain_xml = set_image(&domain_xml, &disk.name, now, facts)?;
            inactive_xml = replace_image(&inactive_xml, &disk.name, then, now, facts)?;
        }
    }
    let memory = match &target.memory {
        _ if !target.state.is_live() => MemorySource::Boot,
        Memory::External(path) => {
            check_memory(request, path, &view, facts)?;
            MemorySource::File(path.clone())
        }
        Memory::Internal => MemorySource::Tag(target.tag().to_owned()),
        Memory::No | Memory::Default => MemorySource::Boot,
    };
    let restore = Restore {
        side: request.side,
        reset_nvram: request.flags.contains(RevertFlags::RESET_NVRAM),
        force: request.flags.contains(RevertFlags::FORCE),
        loads_tags: matches!(memory, MemorySource::Tag(_)),
    };
    let restored = side::restore(target, restore, facts)?;
    // What was once is not again: a guest that asks its generation id learns that it went back.
    domain_xml = edit::set_genid(&domain_xml, request.new_instance.0)?;
    inactive_xml = edit::set_genid(&inactive_xml, request.new_instance.0)?;
    let ends_paused = request.flags.contains(RevertFlags::PAUSED)
        || (target.state == SnapshotState::Paused && !request.flags.contains(RevertFlags::RUNNING));
    let starts = target.state.is_live() || request.flags.intersects(RevertFlags::RUNNING | RevertFlags::PAUSED);

    let mut change = Change { current: Some(CurrentChange::Set(target.name.clone())), ..Change::default() };
    change.owned = fresh.iter().map(|f| (f.overlay.path.clone(), true)).collect();
    change.put = records(request, target, &fresh);
    change.inactive_xml = request.persistent.then_some(inactive_xml);
    let after = current_after(&view, &domain_xml)?;
    let mut unlink = leftovers(request, &after, facts);
    change.owned.extend(unlink.iter().map(|p| (p.clone(), false)));

    let mut prepare = Vec::new();
    for f in &fresh {
        prepare.push(Prepare::Reserve { path: f.overlay.path.clone(), existing: Existing::Refuse });
        prepare.push(Prepare::Format { image: f.overlay.clone(), backing: f.base.clone() });
        prepare.push(Prepare::Sync { path: f.overlay.path.clone() });
    }
    let mut settle = Vec::new();
    let in_place = request.instance.filter(|_| !overlays && stays(request, &memory, &domain_xml));
    if let Some(instance) = request.instance.filter(|_| in_place.is_none()) {
        settle.push(Settle::Stop { instance });
    }
    // A start from a tag brings the disks back as well. But if it fails, those beside fresh overlays must have gone back with them.
    if !matches!(memory, MemorySource::Tag(_)) || !fresh.is_empty() {
        for disk in target.internal_disks() {
            if let Some(image) = target.frozen_image(&disk.name) {
                settle.push(Settle::ApplyTag { image: image.clone(), tag: target.tag().to_owned() });
            }
        }
    }
    settle.extend(restored);
    change.live = LiveChange::Clear;
    if starts {
        let instance = in_place.unwrap_or(request.new_instance);
        change.live = LiveChange::Set { instance, xml: domain_xml.clone() };
        let why = if memory == MemorySource::Boot { ResumeWhy::Booted } else { ResumeWhy::FromSnapshot };
        let start = Box::new(Start { domain: request.domain, instance, xml: domain_xml, memory });
        settle.push(if in_place.is_some() { Settle::Reload(start) } else { Settle::Start(start) });
        if !ends_paused {
            settle.push(Settle::Resume { instance, why });
        }
    }
    // It is of the state that is given up, and the next start would load it over other disks (K11).
    if let Some(saved) = request.saved {
        change.saved = SavedChange::Clear;
        unlink.push(saved.path.clone());
    }
    settle.extend(unlink.into_iter().map(|path| Settle::Unlink { path }));
    Ok(Plan {
        op: request.op,
        kind: OpKind::Revert,
        domain: request.domain,
        snapshot: target.name.clone(),
        prepare,
        commit: Commit::Publish(Box::new(change)),
        settle,
    })
}

/// Whether the running hypervisor can go back by itself: it is the very machine, its images included, and nothing of it
/// has to change with a start (a generation id) or is kept outside of it (firmware variables, a TPM).
fn stays(request: &RevertRequest<'_>, memory: &MemorySource, domain_xml: &str) -> bool {
    matches!(memory, MemorySource::Tag(_))
        && matches!(request.state, DomainState::Running | DomainState::Paused)
        && request.live_xml == Some(domain_xml)
        && request.side.all.is_empty()
        && !domain_xml.contains("<genid")
}

/// Whether its disks are frozen below overlays: those of a snapshot without any disk of its own (memory only) are too,
/// and what the user has brought back by hand must not be written to beneath what lies on it.
fn has_overlays(target: &Snapshot) -> bool {
    target.disks.iter().any(|d| d.is_external() || d.location == Some(Location::Manual))
        || (target.is_external() && target.internal_disks().next().is_none())
}

fn fresh_overlays(
    request: &RevertRequest<'_>,
    target: &Snapshot,
    view: &DomainView,
    facts: &Facts,
) -> Result<Vec<Fresh>, Refusal> {
    let mut out: Vec<Fresh> = Vec::new();
    for disk in view.disks.iter().filter(|d| d.has_source && !d.readonly) {
        let own = target.disks.iter().find(|d| d.name == disk.target);
        let kept = own.is_some_and(|d| matches!(d.location, Some(Location::No | Location::Internal)));
        let by_hand = own.is_some_and(|d| d.location == Some(Location::Manual)) && disk.source_type != "file";
        let (Some(base), false) = (disk.image(), kept || by_hand) else { continue };
        match facts.kind(&base.path) {
            FileKind::File(_) => {}
            FileKind::Missing => return Err(Refusal::SourceMissing { disk: disk.target.clone(), path: base.path }),
            _ => return Err(Refusal::NameNeedsFile(disk.target.clone())),
        }
        let taken = |p: &Utf8PathBuf| *facts.kind(p) != FileKind::Missing || out.iter().any(|f| f.overlay.path == *p);
        let path = (0..NAME_TRIES)
            .map(|n| overlay_path(&base.path, &suffix(request.now, n)))
            .find(|p| !taken(p))
            .ok_or_else(|| Refusal::TargetExists {
                disk: disk.target.clone(),
                path: overlay_path(&base.path, &suffix(request.now, 0)),
            })?;
        let format = own.and_then(|d| d.format.clone()).unwrap_or_else(|| "qcow2".to_owned());
        out.push(Fresh { target: DiskTarget(disk.target.clone()), base, overlay: Image { path, format } });
    }
    Ok(out)
}

/// The images that the target's writable disks had are whole. Whoever's disk is named by a tag alone was looked at with it.
fn check_chains(request: &RevertRequest<'_>, view: &DomainView, facts: &Facts) -> Result<(), Refusal> {
    let excluded = |name: &str| {
        let target = request.graph.tree.get(request.name);
        target.is_some_and(|t| t.disks.iter().any(|d| d.name == name && d.location == Some(Location::No)))
    };
    for disk in view.disks.iter().filter(|d| !d.readonly && !excluded(&d.target)) {
        if let Some(image) = disk.image() {
            check_chain(&disk.target, &image.path, facts)?;
        }
    }
    Ok(())
}

fn check_tags(request: &RevertRequest<'_>, target: &Snapshot, facts: &Facts) -> Result<(), Refusal> {
    let tag = target.tag();
    let mut vmstates = 0;
    for disk in target.internal_disks() {
        let Some(image) = target.frozen_image(&disk.name) else { continue };
        let tags = facts.header(&image.path).map(|h| h.tags.as_slice()).unwrap_or_default();
        let mut hits = tags.iter().filter(|t| t.name == tag);
        let hit = hits.next().ok_or_else(|| Refusal::TagMissing { disk: disk.name.clone(), tag: tag.to_owned() })?;
        if hits.next().is_some() {
            return Err(Refusal::TagTwice { disk: disk.name.clone(), tag: tag.to_owned() });
        }
        vmstates += usize::from(hit.vmstate);
        if let Some(needs) = request.graph.tree.iter().find(|s| lies_on(&request.graph, s, &image.path, facts)) {
            return Err(Refusal::InternalBeneath {
                path: image.path.clone(),
                disk: disk.name.clone(),
                needs: needs.name.0.clone(),
            });
        }
    }
    let live_tag = target.memory == Memory::Internal && target.state.is_live();
    for disk in target.disks.iter().filter(|d| live_tag && d.location == Some(Location::No)) {
        let now = request.graph.current.iter().find(|(t, _)| t.as_str() == disk.name).map(|(_, i)| i);
        if now.and_then(|i| facts.header(&i.path)).is_some_and(|h| h.tags.iter().any(|t| t.name == *tag)) {
            return Err(Refusal::StrayTag { disk: disk.name.clone(), tag: tag.to_owned() });
        }
    }
    if live_tag && vmstates != 1 {
        return Err(Refusal::NoVmstate(tag.to_owned()));
    }
    Ok(())
}

/// Whether writing to the image would change the snapshot's own content: it is frozen there, or in a layer above (an
/// internal one too: its tag reads through). A tag in the image itself is safe.
fn lies_on(graph: &Graph<'_>, s: &Snapshot, image: &Utf8PathBuf, facts: &Facts) -> bool {
    let frozen = |disks: &mut dyn Iterator<Item = &SnapshotDisk>, below: usize| {
        let mut images = disks.filter_map(|d| s.frozen_image(&d.name));
        images.any(|i| graph.chain(&i.path, facts).iter().skip(below).any(|p| p == image))
    };
    frozen(&mut s.external_disks(), 0) || frozen(&mut s.internal_disks(), 1)
}

/// The file is a whole one, and of this machine. Its name may be an earlier one of the domain (K27).
fn check_memory(request: &RevertRequest<'_>, path: &Utf8PathBuf, view: &DomainView, facts: &Facts) -> Result<()> {
    match facts.headers.get(path) {
        None => Ok(check_memory_file(path, facts)?),
        Some(Err(why)) => Err(Refusal::MemoryHeader(why.clone()).into()),
        Some(Ok(xml)) => {
            let saved = domain::view(xml).map_err(|_| Refusal::MemoryBroken)?;
            if let Some(uuid) = saved.uuid.filter(|u| *u != request.domain.0) {
                let (new, old) = (request.domain.to_string(), uuid.to_string());
                return Err(Refusal::Abi { what: "domain uuid".to_owned(), new, old }.into());
            }
            abi::check_core(&saved, view)?;
            Ok(abi::check_disks(&saved, view)?)
        }
    }
}

fn check_memory_file(path: &Utf8PathBuf, facts: &Facts) -> Result<(), Refusal> {
    match facts.files.get(path) {
        Some(f) if matches!(f.kind, FileKind::File(_)) => {
            if f.saved_memory {
                Ok(())
            } else {
                Err(Refusal::MemoryBroken)
            }
        }
        _ => Err(Refusal::MemoryMissing { path: path.clone() }),
    }
}

/// The target's and the old current's records afterwards.
fn records(request: &RevertRequest<'_>, target: &Snapshot, fresh: &[Fresh]) -> Vec<PutSnapshot> {
    let tree = request.graph.tree;
    let mut out = Vec::new();
    if !fresh.is_empty() {
        let mut s = target.clone();
        let overlays: Vec<SnapshotDisk> = target
            .disks
            .iter()
            .map(|d| match fresh.iter().find(|f| f.target.as_str() == d.name) {
                None if matches!(d.location, Some(Location::Internal | Location::Manual)) => d.clone(),
                Some(f) => SnapshotDisk {
                    location: Some(Location::External),
                    source_type: SourceType::File,
                    source: Some(f.overlay.path.clone()),
                    format: Some(f.overlay.format.clone()),
                    ..SnapshotDisk::named(&d.name)
                },
                None => SnapshotDisk { location: Some(Location::No), ..SnapshotDisk::named(&d.name) },
            })
            .collect();
        if tree.is_leaf(&target.name) {
            s.disks = overlays;
        } else {
            s.revert_disks = overlays;
        }
        out.push(PutSnapshot { snapshot: s, texts: None });
    }
    let old = tree.current().filter(|c| **c != target.name).and_then(|c| tree.get(c));
    if let Some(old) = old.filter(|s| !s.revert_disks.is_empty()) {
        let mut old = (**old).clone();
        old.revert_disks.clear();
        out.push(PutSnapshot { snapshot: old, texts: None });
    }
    out
}

fn current_after(view: &DomainView, xml: &str) -> Result<Vec<Utf8PathBuf>> {
    let after = domain::view(xml)?;
    Ok(view.disks.iter().chain(&after.disks).filter_map(|d| d.source.clone()).collect())
}

/// The layers of the state that is given up, each before what it lies on: down to the first that stays. Below a top
/// there are some where a snapshot left no metadata, or where its deletion kept a link.
fn leftovers(request: &RevertRequest<'_>, after: &[Utf8PathBuf], facts: &Facts) -> Vec<Utf8PathBuf> {
    let graph = &request.graph;
    let kept: Vec<Utf8PathBuf> = after.iter().flat_map(|p| graph.chain(p, facts)).collect();
    let mut out: Vec<Utf8PathBuf> = Vec::new();
    let mut tops = given_up(request);
    tops.sort_by_key(|p| (std::cmp::Reverse(graph.chain(p, facts).len()), p.clone()));
    tops.dedup();
    for layer in tops.iter().flat_map(|top| going(request, top, facts)) {
        let lies_on = |f: &FileFact| f.header.as_ref().is_some_and(|h| h.backing.as_ref() == Some(&layer));
        let needed = facts.files.iter().any(|(p, f)| lies_on(f) && !out.contains(p));
        if !needed && !kept.contains(&layer) && !out.contains(&layer) {
            out.push(layer);
        }
    }
    out
}

/// The layers from `top` down that are ours and hold no snapshot, not even one whose metadata was given up.
fn going(request: &RevertRequest<'_>, top: &Utf8PathBuf, facts: &Facts) -> Vec<Utf8PathBuf> {
    let graph = &request.graph;
    let nobody = SnapshotName(String::new());
    let tagged = |p: &Utf8PathBuf| facts.header(p).is_some_and(|h| !h.tags.is_empty());
    let goes = |p: &Utf8PathBuf| graph.is_ours(p) && !graph.is_frozen(p, &nobody) && !(graph.foreign)(p) && !tagged(p);
    graph.chain(top, facts).into_iter().take_while(goes).collect()
}

/// Layers that may go although they are not the top of anything: whether something else lies on them must be looked at.
#[must_use]
pub fn inner_layers(request: &RevertRequest<'_>, facts: &Facts) -> Vec<Utf8PathBuf> {
    given_up(request).iter().flat_map(|top| going(request, top, facts).into_iter().skip(1)).collect()
}

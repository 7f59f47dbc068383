//! Planning a snapshot: which disks, which files, in which order (`qemuSnapshotCreate`).
//!
//! Two passes, because what must be looked at depends on what is asked: [`draft`] aligns the
//! request with the domain and says which paths matter; [`plan`] sees what is there and decides.
//!
//! Where virsnap differs from libvirt, on purpose:
//! - an overlay path given for two disks is refused (K8), as is one that is a disk's own image;
//! - a tag that exists in an image is refused before the guest is paused (K15);
//! - an existing memory file is refused, never overwritten (K18), except an empty one;
//! - a name is at most [`MAX_NAME`] bytes, checked before anything is done (K14), and at most [`MAX_TAG`] where nothing is recorded;
//! - a *mixed set* (K25) is planned where the document has `<virsnap:mixed xmlns:virsnap='urn:virsnap:snapshot:1'/>`: raw disks
//!   external beside qcow2 disks with tags, memory in a file beside tags, tags of a running guest without its memory, some of the
//!   disks only. All parts are of one instant and stand or fall together: the guest stands still from the first tag until the
//!   overlays are switched to, and undoing takes the tags away. Without the element libvirt's refusals stay;
//! - a thaw that the agent does not answer does not turn a finished snapshot into an error (K16): the host goes on
//!   thawing until it is answered, also in its next life.

use super::align::{self, Mode};
use super::checks::{check_disks, check_set};
use super::definition::{replace_image, set_image};
use super::facts::{Backends, Capabilities, Facts, FileKind, InternalMemory, LiveSave, SaveFrom, Transients};
use super::refusal::Refusal;
use super::side;
use super::steps::{
    Change, Commit, CurrentChange, Existing, LiveChange, OpKind, Plan, Prepare, PutSnapshot, ResumeWhy, Settle,
    SwitchBy, SwitchDisk,
};
use crate::error::Result;
use crate::model::block_job::BlockJob;
use crate::model::domain::DomainState;
use crate::model::flags::{self, CreateFlags};
use crate::model::ids::{DomainId, Image, Instance, OpId, SnapshotName};
use crate::model::side_state::SideStates;
use crate::model::snapshot::{Location, Memory, Snapshot, SnapshotDisk, SnapshotState, SnapshotTexts};
use crate::model::tree::Tree;
use crate::xml::domain::{self, Device, DiskView, DomainView};
use crate::xml::edit;
use crate::xml::snapshot::{Form, SnapshotDoc};
use camino::Utf8PathBuf;

/// The longest snapshot name in bytes: longer ones do not fit into the file names that others make of them.
pub const MAX_NAME: usize = 247;

/// The longest name of a snapshot that is not recorded: QEMU cuts longer tags off without a word.
pub const MAX_TAG: usize = 255;

/// A create call and the domain it is about.
#[derive(Debug, Clone, Copy)]
pub struct CreateRequest<'a> {
    /// The journal row.
    pub op: OpId,
    /// The domain.
    pub domain: DomainId,
    /// Its state.
    pub state: DomainState,
    /// The running hypervisor, if there is one.
    pub instance: Option<Instance>,
    /// Whether it survives its stop.
    pub persistent: bool,
    /// Its persistent definition.
    pub inactive_xml: Option<&'a str>,
    /// Its running definition, without runtime facts.
    pub live_xml: Option<&'a str>,
    /// Its snapshots.
    pub tree: &'a Tree,
    /// Seconds since the Epoch.
    pub now: i64,
    /// What is asked for.
    pub flags: CreateFlags,
    /// What the host can do.
    pub caps: Capabilities,
    /// How it has classified the domain's disks.
    pub backends: &'a Backends,
    /// What belongs to the machine beside its disks.
    pub side: &'a SideStates,
}

impl CreateRequest<'_> {
    pub(super) fn active(&self) -> bool {
        self.state.is_active()
    }
    /// The definition that the snapshot records.
    fn xml(&self) -> Result<&str> {
        self.live_xml.or(self.inactive_xml).ok_or_else(|| crate::error::Error::internal("domain without definition"))
    }
    /// The same request where the document asks for a mixed set.
    #[must_use]
    pub fn of(self, doc: &SnapshotDoc) -> Self {
        Self { caps: self.caps.for_set(doc.mixed), ..self }
    }
    /// How the document is to be read.
    #[must_use]
    pub fn form(&self) -> Form {
        Form::Create { offline: self.flags.contains(CreateFlags::DISK_ONLY) || !self.active() }
    }
}

/// Flag words that no request may carry, in libvirt's order of checks.
pub fn check_flags(bits: u32) -> Result<CreateFlags> {
    let raw = CreateFlags::from_bits_retain(bits);
    let name = |f: &str| format!("VIR_DOMAIN_SNAPSHOT_CREATE_{f}");
    if raw.contains(CreateFlags::CURRENT) && !raw.contains(CreateFlags::REDEFINE) {
        return Err(flags::requires(&name("CURRENT"), &name("REDEFINE")));
    }
    for (flag, text) in [(CreateFlags::NO_METADATA, "NO_METADATA"), (CreateFlags::HALT, "HALT")] {
        if raw.contains(CreateFlags::REDEFINE | flag) {
            return Err(flags::exclusive(&name("REDEFINE"), &name(text)));
        }
    }
    let known = CreateFlags::parse(bits, "qemuSnapshotCreateXML")?;
    if known.contains(CreateFlags::QUIESCE) && !known.contains(CreateFlags::DISK_ONLY) {
        return Err(flags::requires(&name("QUIESCE"), &name("DISK_ONLY")));
    }
    if known.contains(CreateFlags::LIVE | CreateFlags::REDEFINE) {
        return Err(flags::exclusive(&name("LIVE"), &name("REDEFINE")));
    }
    Ok(known)
}

/// libvirt's rules for names (`qemuSnapshotCreateXMLValidateDef`).
pub fn check_name(name: &str) -> Result<(), Refusal> {
    if name.contains('/') {
        return Err(Refusal::NameSlash(name.to_owned()));
    }
    if name.starts_with('.') {
        return Err(Refusal::NameDot(name.to_owned()));
    }
    check_length(name, MAX_NAME)
}

fn check_length(name: &str, max: usize) -> Result<(), Refusal> {
    if name.len() > max {
        return Err(Refusal::NameTooLong { bytes: name.len(), max });
    }
    Ok(())
}

/// A request aligned with its domain, before anything was looked at.
#[derive(Debug)]
pub struct Draft {
    snapshot: Snapshot,
    view: DomainView,
}

/// Align the document with the domain.
pub fn draft(request: &CreateRequest<'_>, doc: SnapshotDoc) -> Result<Draft> {
    let flags = request.flags;
    let name = doc.name.unwrap_or_else(|| request.now.to_string());
    if !flags.contains(CreateFlags::NO_METADATA) {
        check_name(&name)?;
    } else {
        check_length(&name, MAX_TAG)?;
    }
    let memory_external = matches!(doc.memory, Memory::External(_));
    if flags.contains(CreateFlags::LIVE) && !(request.active() && memory_external) {
        return Err(Refusal::LiveNeedsMemory.into());
    }
    let state = match request.state {
        DomainState::Running => SnapshotState::Running,
        DomainState::Paused => SnapshotState::Paused,
        DomainState::Shutdown => SnapshotState::Shutdown,
        DomainState::Shutoff => SnapshotState::Shutoff,
        DomainState::Crashed => SnapshotState::Crashed,
        DomainState::PmSuspended => {
            return Err(crate::error::Error::unsupported(
                "qemu doesn't support taking snapshots of PMSUSPENDED guests",
            ));
        }
    };
    let view = domain::view(request.xml()?)?;
    if flags.contains(CreateFlags::QUIESCE) {
        check_quiesce(request.state, &view)?;
    }
    let disk_only = flags.contains(CreateFlags::DISK_ONLY);
    let external = disk_only
        || memory_external
        || (!request.active() && !doc.mixed && doc.disks.iter().any(SnapshotDisk::is_external));
    if !external && request.active() && doc.memory == Memory::No {
        return Err(Refusal::InternalNeedsMemory.into());
    }
    let mode = if external { Mode::External } else { Mode::Internal };
    let rules = align::Rules { mode, set: request.caps.disks, backends: request.backends };
    let disks = align::align(doc.disks, &view, rules)?;
    let (state, memory) = if external {
        match (disk_only, request.active()) {
            (true, true) => (SnapshotState::DiskSnapshot, Memory::No),
            (true, false) => (SnapshotState::Shutoff, Memory::No),
            (false, _) => (state, doc.memory),
        }
    } else if request.active() {
        (state, internal_memory(request, &name, &disks, &view))
    } else {
        (state, Memory::No)
    };
    let frozen = domain::frozen_disks(request.xml()?)?;
    Ok(Draft {
        snapshot: Snapshot {
            name: SnapshotName(name),
            description: doc.description,
            parent: request.tree.current().cloned(),
            state,
            creation_time: request.now,
            memory,
            tag: None,
            disks,
            revert_disks: Vec::new(),
            frozen,
            side: Vec::new(),
            mixed: doc.mixed,
        },
        view,
    })
}

/// Where the memory of a snapshot goes whose disks are internal, if the caller does not say.
fn internal_memory(request: &CreateRequest<'_>, name: &str, disks: &[SnapshotDisk], view: &DomainView) -> Memory {
    let InternalMemory::File(directory) = request.caps.internal_memory else { return Memory::Internal };
    let captured = disks.iter().zip(&view.disks).find(|(d, _)| d.location != Some(Location::No));
    let beside = captured.and_then(|(_, own)| own.source.as_ref().filter(|_| own.source_type == "file"));
    Memory::External(match beside {
        Some(image) => align::overlay_path(image, &format!("{name}.save")),
        None => format!("{directory}/{}/{name}.save", request.domain).into(),
    })
}

/// A guest that is off has nothing to freeze; one that stands still cannot answer.
fn check_quiesce(state: DomainState, view: &DomainView) -> Result<(), Refusal> {
    match state {
        DomainState::Shutoff => Ok(()),
        DomainState::Running if view.has_agent_channel => Ok(()),
        DomainState::Running => Err(Refusal::NoAgent),
        _ => Err(Refusal::NotRunning),
    }
}

impl Draft {
    /// No disk that takes part has a block job (`qemuSnapshotPrepare`).
    pub fn check_jobs(&self, jobs: &[BlockJob]) -> Result<(), Refusal> {
        let takes_part = |d: &&SnapshotDisk| d.location != Some(Location::No);
        let busy = self.snapshot.disks.iter().filter(takes_part).find(|d| jobs.iter().any(|j| j.target == d.target()));
        busy.map_or(Ok(()), |disk| Err(Refusal::CopyActive(disk.name.clone())))
    }
    /// Every path that [`plan`] wants looked at.
    #[must_use]
    pub fn paths(&self, request: &CreateRequest<'_>) -> Vec<Utf8PathBuf> {
        let mut out: Vec<Utf8PathBuf> = self.view.disks.iter().filter_map(|d| d.source.clone()).collect();
        for (disk, own) in self.snapshot.disks.iter().zip(&self.view.disks) {
            if let Some(path) = &disk.source {
                out.push(path.clone());
            } else if let (true, Some(source)) = (disk.is_external(), &own.source) {
                out.push(align::overlay_path(source, self.snapshot.name.as_str()));
            }
        }
        if let Memory::External(path) = &self.snapshot.memory {
            out.push(path.clone());
        }
        out.extend(side::paths(request.side));
        out
    }
}

/// A plan, and the snapshot that it makes.
#[derive(Debug)]
pub struct Planned {
    /// What will be done.
    pub plan: Plan,
    /// What will have been made.
    pub name: SnapshotName,
}

/// Decide.
pub fn plan(request: &CreateRequest<'_>, draft: Draft, facts: &Facts) -> Result<Planned> {
    let Draft { mut snapshot, view } = draft;
    let flags = request.flags;
    let name = snapshot.name.clone();
    align::assign_names(&mut snapshot.disks, &view, name.as_str(), facts)?;
    check_disks(request, &mut snapshot, &view, facts)?;
    check_set(request, &snapshot, &view)?;
    let metadata = !flags.contains(CreateFlags::NO_METADATA);
    if metadata && request.tree.get(&name).is_some() {
        return Err(Refusal::Exists(name.0).into());
    }
    let switches = switch_disks(request, &snapshot);
    check_targets(&switches)?;
    let mut prepare = Vec::new();
    if !flags.contains(CreateFlags::REUSE_EXT) {
        for s in &switches {
            prepare.push(reserve(&s.overlay.path, facts));
            prepare.push(Prepare::Format { image: s.overlay.clone(), backing: s.old.clone() });
            prepare.push(Prepare::Sync { path: s.overlay.path.clone() });
        }
    }
    let mut internal: Vec<Image> = internal_images(&snapshot, &view);
    let captured = side::capture(request, &snapshot, !internal.is_empty(), metadata, facts)?;
    internal.extend(captured.tagged);
    snapshot.side = captured.copies;
    prepare.extend(captured.make);
    let mut taggable = internal.clone();
    if snapshot.memory == Memory::Internal {
        // QEMU goes back in every image that has the tag, so none that is not part of the snapshot may have it either.
        taggable.extend(view.disks.iter().filter(|d| !d.readonly).filter_map(DiskView::image));
    }
    let tag = free_tag(request, &name, &taggable, facts)?;
    snapshot.tag = (tag != name.0).then(|| tag.clone());
    let change = change(request, &snapshot, &switches, metadata, facts)?;
    let mut settle = Vec::new();
    let commit = match request.instance {
        None => {
            prepare.extend(captured.steps);
            prepare.extend(internal.into_iter().map(|image| Prepare::CreateTag { image, tag: tag.clone() }));
            Commit::Publish(Box::new(change))
        }
        Some(instance) => {
            let active = Active { request, instance, snapshot: &snapshot, internal, switches, copies: captured.steps };
            active.steps(change, facts, &mut prepare, &mut settle)?
        }
    };
    if let (true, Some(instance)) = (flags.contains(CreateFlags::HALT), request.instance) {
        settle.push(Settle::Stop { instance });
    }
    Ok(Planned {
        plan: Plan {
            op: request.op,
            kind: OpKind::Create,
            domain: request.domain,
            snapshot: name.clone(),
            prepare,
            commit,
            settle,
        },
        name,
    })
}

/// A domain with a hypervisor.
struct Active<'a> {
    request: &'a CreateRequest<'a>,
    instance: Instance,
    snapshot: &'a Snapshot,
    internal: Vec<Image>,
    switches: Vec<SwitchDisk>,
    /// Of side state.
    copies: Vec<Prepare>,
}

/// The tag of a new snapshot: its name. Another one if a snapshot that was renamed since has left a tag of that name.
fn free_tag(
    request: &CreateRequest<'_>,
    name: &SnapshotName,
    internal: &[Image],
    facts: &Facts,
) -> Result<String, Refusal> {
    let tags = |image: &Image| facts.header(&image.path).map(|h| h.tags.as_slice()).unwrap_or_default();
    let taken = |tag: &str| internal.iter().any(|i| tags(i).iter().any(|t| t.name == tag));
    let exists = || Refusal::TagExists(name.0.clone());
    if !taken(name.as_str()) {
        return Ok(name.0.clone());
    }
    if !request.tree.iter().any(|s| s.tag() == name.as_str() && s.name != *name) {
        return Err(exists());
    }
    let mut others = (1..=request.tree.len() + 1).map(|n| format!("{name}-{n}")).filter(|t| t.len() <= MAX_TAG);
    others.find(|t| !taken(t)).ok_or_else(exists)
}

impl Active<'_> {
    /// The steps that involve it, and the commit.
    fn steps(
        self,
        change: Change,
        facts: &Facts,
        prepare: &mut Vec<Prepare>,
        settle: &mut Vec<Settle>,
    ) -> Result<Commit> {
        let Self { request, instance, snapshot, internal, switches, copies } = self;
        let caps = request.caps;
        let running = request.state == DomainState::Running;
        let manual = snapshot.disks.iter().any(|d| d.location == Some(Location::Manual));
        let resume = running && !request.flags.contains(CreateFlags::HALT) && !manual;
        let tag = snapshot.tag().to_owned();
        if !switches.is_empty() {
            prepare.push(Prepare::AddNodes { instance, disks: switches.clone() });
        }
        if snapshot.memory == Memory::Internal {
            if running {
                prepare.push(Prepare::Pause { instance });
            }
            prepare.extend(copies);
            if let Some(vmstate) = internal.first().cloned() {
                prepare.push(Prepare::SaveTag { instance, tag, vmstate, images: internal });
            }
            if resume {
                settle.push(Settle::Resume { instance, why: ResumeWhy::Unpaused });
            }
            return Ok(switched(instance, switches, change, settle));
        }
        let memory = match &snapshot.memory {
            Memory::External(path) => {
                if !matches!(facts.kind(path), FileKind::Missing | FileKind::File(0)) {
                    return Err(Refusal::MemoryExists(path.clone()).into());
                }
                prepare.push(reserve(path, facts));
                Some(path.clone())
            }
            _ => None,
        };
        let header = request.xml()?.to_owned();
        let runs_on = match caps.live {
            LiveSave::Background => true,
            LiveSave::Precopy => request.flags.contains(CreateFlags::LIVE),
            LiveSave::Paused => false,
        };
        if let Some(path) = &memory
            && resume
            && runs_on
            && internal.is_empty()
            && !switches.is_empty()
        {
            prepare.extend(copies);
            prepare.push(Prepare::LiveSave { instance, path: path.clone(), header, disks: switches });
            prepare.push(Prepare::AwaitSave { instance, path: path.clone() });
            prepare.push(Prepare::Sync { path: path.clone() });
            return Ok(Commit::Publish(Box::new(change)));
        }
        let pause = running && (memory.is_some() || manual || !internal.is_empty());
        let saves_running = memory.is_some() && caps.save_from == SaveFrom::Running;
        let pauses_first = pause && !saves_running;
        if !pauses_first {
            prepare.extend(copies.iter().cloned());
        }
        // As late as can be, so that the file systems stand still no longer than the switch takes; but an agent whose
        // guest stands still does not answer.
        if running && request.flags.contains(CreateFlags::QUIESCE) {
            prepare.push(Prepare::Freeze { instance });
            settle.push(Settle::Thaw { instance });
        }
        if pauses_first {
            prepare.push(Prepare::Pause { instance });
            prepare.extend(copies);
        }
        // QEMU gives up its images with the memory and must run to get them back: the tags come first.
        let tags = (!internal.is_empty()).then_some(Prepare::TagDisks { instance, images: internal, tag });
        let (before, after) = if saves_running { (None, tags) } else { (tags, None) };
        prepare.extend(before);
        if let Some(path) = memory {
            prepare.push(Prepare::SaveMemory { instance, path: path.clone(), header, was_running: running });
            if pause && saves_running {
                prepare.push(Prepare::Pause { instance });
            }
            prepare.push(Prepare::Sync { path });
        }
        prepare.extend(after);
        if pause && resume {
            settle.push(Settle::Resume { instance, why: ResumeWhy::Unpaused });
        }
        Ok(switched(instance, switches, change, settle))
    }
}

/// The commit: the switch of the disks, after which the change is published; without any, the change.
fn switched(instance: Instance, disks: Vec<SwitchDisk>, change: Change, settle: &mut Vec<Settle>) -> Commit {
    if disks.is_empty() {
        return Commit::Publish(Box::new(change));
    }
    settle.push(Settle::Publish(Box::new(change)));
    Commit::Switch { instance, disks }
}

/// No two disks may get the same overlay (K8).
fn check_targets(switches: &[SwitchDisk]) -> Result<(), Refusal> {
    for (i, s) in switches.iter().enumerate() {
        if let Some(other) = switches[..i].iter().find(|o| o.overlay.path == s.overlay.path) {
            return Err(Refusal::TargetShared {
                disk: s.target.0.clone(),
                other: other.target.0.clone(),
                path: s.overlay.path.clone(),
            });
        }
    }
    Ok(())
}

fn reserve(path: &Utf8PathBuf, facts: &Facts) -> Prepare {
    let existing = match facts.kind(path) {
        FileKind::File(0) => Existing::AdoptEmpty,
        _ => Existing::Refuse,
    };
    Prepare::Reserve { path: path.clone(), existing }
}

fn internal_images(snapshot: &Snapshot, view: &DomainView) -> Vec<Image> {
    snapshot
        .disks
        .iter()
        .zip(&view.disks)
        .filter(|(d, own)| d.location == Some(Location::Internal) && own.device == Device::Disk)
        .filter_map(|(_, own)| own.image())
        .collect()
}

fn switch_disks(request: &CreateRequest<'_>, snapshot: &Snapshot) -> Vec<SwitchDisk> {
    let mut out = Vec::new();
    for disk in snapshot.external_disks() {
        let (Some(old), Some(path)) = (snapshot.frozen_image(&disk.name), &disk.source) else { continue };
        out.push(SwitchDisk {
            target: disk.target(),
            old: old.clone(),
            overlay: Image { path: path.clone(), format: disk.format.clone().unwrap_or_else(|| "qcow2".to_owned()) },
            node: format!("v{}-{}", request.op.0, out.len()),
            reused: request.flags.contains(CreateFlags::REUSE_EXT),
            by: SwitchBy::Snapshot,
        });
    }
    out
}

/// What the store holds afterwards.
fn change(
    request: &CreateRequest<'_>,
    snapshot: &Snapshot,
    switches: &[SwitchDisk],
    metadata: bool,
    facts: &Facts,
) -> Result<Change> {
    let mut change = Change::default();
    let mut live = request.live_xml.map(str::to_owned);
    let mut inactive = request.inactive_xml.map(str::to_owned);
    for s in switches {
        if let Some(xml) = &live {
            live = Some(set_image(xml, s.target.as_str(), &s.overlay, facts)?);
        }
        if let Some(xml) = &inactive {
            // The persistent definition moves along only where it names the same image.
            inactive = Some(replace_image(xml, s.target.as_str(), &s.old, &s.overlay, facts)?);
        }
    }
    if !switches.is_empty() {
        change.inactive_xml = inactive.filter(|x| Some(x.as_str()) != request.inactive_xml);
        if let (Some(instance), Some(xml)) = (request.instance, live.clone()) {
            change.live = LiveChange::Edit { instance, xml };
        }
    }
    if !request.flags.contains(CreateFlags::REUSE_EXT) {
        change.owned = switches.iter().map(|s| (s.overlay.path.clone(), true)).collect();
    }
    if let Memory::External(path) = &snapshot.memory {
        change.owned.push((path.clone(), true));
    }
    if !metadata {
        return Ok(change);
    }
    if !request.persistent && request.caps.transients == Transients::Defined {
        change.define(live.as_deref());
    }
    if let Some(old) = request.tree.current().and_then(|c| request.tree.get(c)).filter(|s| !s.revert_disks.is_empty()) {
        let mut old = (**old).clone();
        old.revert_disks.clear();
        change.put.push(PutSnapshot { snapshot: old, texts: None });
    }
    let inactive_domain = match (request.live_xml, request.inactive_xml) {
        (Some(_), Some(xml)) => Some(edit::rename_root(xml, "inactiveDomain")?),
        _ => None,
    };
    let texts = SnapshotTexts { domain: Some(request.xml()?.to_owned()), inactive_domain, cookie: None };
    change.put.push(PutSnapshot { snapshot: snapshot.clone(), texts: Some(texts) });
    change.current = Some(CurrentChange::Set(snapshot.name.clone()));
    Ok(change)
}

//! Planning a managed save, the start from it, and its end.
//!
//! ```text
//!   save:   reserve ▸ pause ▸ save memory ▸ sync │ publish: off, with an image │ stop the hypervisor
//!   start:  start, memory loaded, CPUs stopped   │ publish: no image           │ resume, unlink
//! ```
//!
//! The image is complete and durable before the guest is stopped, and it is on record exactly as long as the guest has not
//! run since: a hypervisor that was started from it and whose image is still on record is ended by recovery, so that an
//! old memory never meets disks that have moved on.
//!
//! Differences from libvirt, on purpose:
//! - the definition follows the domain's disks ([`follow`]): libvirt starts the saved guest on the images that its file
//!   names, beneath the overlays of snapshots that were taken since;
//! - a revert takes the image away (K11, [`super::revert`]);
//! - an image that is incomplete or missing is an error that says so, and FORCE_BOOT passes over it; libvirt boots the
//!   guest anew over what it had saved;
//! - a start with FORCE_BOOT that fails has not cost the image.

use super::facts::{Capabilities, Facts, FileKind, SaveFrom};
use super::refusal::Refusal;
use super::steps::{
    Change, Commit, Existing, LiveChange, MemorySource, OpKind, Plan, Prepare, ResumeWhy, SavedChange, Settle, Start,
};
use crate::error::Result;
use crate::model::domain::{DomainState, ManagedSave};
use crate::model::flags::{self, SaveFlags, StartFlags};
use crate::model::ids::{DomainId, Instance, OpId, SnapshotName};
use crate::xml::{domain, edit};
use camino::{Utf8Path, Utf8PathBuf};

/// A managed save, and the domain it is about.
#[derive(Debug, Clone, Copy)]
pub struct SaveRequest<'a> {
    /// The journal row.
    pub op: OpId,
    /// The domain.
    pub domain: DomainId,
    /// Its state.
    pub state: DomainState,
    /// The running hypervisor, if there is one.
    pub instance: Option<Instance>,
    /// Its running definition.
    pub live_xml: Option<&'a str>,
    /// Whether it survives its stop.
    pub persistent: bool,
    /// What is asked for.
    pub flags: SaveFlags,
    /// Where images go.
    pub directory: &'a Utf8Path,
    /// What the host can do.
    pub caps: Capabilities,
}

/// Flag words that no managed save may carry.
pub fn check_flags(bits: u32) -> Result<SaveFlags> {
    let known = SaveFlags::parse(bits, "qemuDomainManagedSave")?;
    if known.contains(SaveFlags::RUNNING | SaveFlags::PAUSED) {
        return Err(flags::exclusive("VIR_DOMAIN_SAVE_RUNNING", "VIR_DOMAIN_SAVE_PAUSED"));
    }
    Ok(known)
}

fn plan(op: OpId, kind: OpKind, domain: DomainId, prepare: Vec<Prepare>, change: Change, settle: Vec<Settle>) -> Plan {
    let commit = Commit::Publish(Box::new(change));
    Plan { op, kind, domain, snapshot: SnapshotName(String::new()), prepare, commit, settle }
}

/// Save it (`qemuDomainManagedSave`).
pub fn save(request: &SaveRequest<'_>) -> Result<Plan> {
    let (Some(instance), Some(xml)) = (request.instance, request.live_xml) else {
        return Err(Refusal::NotRunning.into());
    };
    if !request.persistent {
        return Err(Refusal::SaveTransient.into());
    }
    let running = request.state == DomainState::Running;
    let path = request.directory.join(format!("{}-{}.save", request.domain, request.op.0));
    let mut prepare = vec![Prepare::Reserve { path: path.clone(), existing: Existing::Refuse }];
    let save = Prepare::SaveMemory { instance, path: path.clone(), header: xml.to_owned(), was_running: running };
    let pause = running.then_some(Prepare::Pause { instance });
    match request.caps.save_from {
        SaveFrom::Paused => prepare.extend(pause.into_iter().chain([save])),
        SaveFrom::Running => prepare.extend([save].into_iter().chain(pause)),
    }
    prepare.push(Prepare::Sync { path: path.clone() });
    let running = !request.flags.contains(SaveFlags::PAUSED) && (running || request.flags.contains(SaveFlags::RUNNING));
    let saved = ManagedSave { path, xml: xml.to_owned(), running };
    let change = Change { live: LiveChange::Clear, saved: SavedChange::Set(saved), ..Change::default() };
    Ok(plan(request.op, OpKind::Save, request.domain, prepare, change, vec![Settle::Stop { instance }]))
}

/// A start of a domain that has an image.
#[derive(Debug, Clone, Copy)]
pub struct RestoreRequest<'a> {
    /// The journal row.
    pub op: OpId,
    /// The domain.
    pub domain: DomainId,
    /// The identity of the hypervisor that will be started.
    pub instance: Instance,
    /// The image.
    pub saved: &'a ManagedSave,
    /// The definition, for a start without the image.
    pub inactive_xml: &'a str,
    /// What is asked for.
    pub flags: StartFlags,
}

/// Start it (`qemuDomainObjStart`). The facts are those of the image.
pub fn restore(request: &RestoreRequest<'_>, facts: &Facts) -> Result<Plan> {
    let RestoreRequest { op, domain, instance, saved, flags, .. } = *request;
    let boot = flags.contains(StartFlags::FORCE_BOOT);
    let (memory, xml, why, running) = if boot {
        (MemorySource::Boot, request.inactive_xml, ResumeWhy::Booted, true)
    } else {
        check_image(&saved.path, facts)?;
        (MemorySource::File(saved.path.clone()), saved.xml.as_str(), ResumeWhy::Restored, saved.running)
    };
    let start = Start { domain, instance, xml: xml.to_owned(), memory };
    let mut settle = Vec::new();
    if running && !flags.contains(StartFlags::PAUSED) {
        settle.push(Settle::Resume { instance, why });
    }
    settle.push(Settle::Unlink { path: saved.path.clone() });
    let change = Change { saved: SavedChange::Clear, ..Change::default() };
    Ok(plan(op, OpKind::Restore, domain, vec![Prepare::Start(Box::new(start))], change, settle))
}

fn check_image(path: &Utf8PathBuf, facts: &Facts) -> Result<(), Refusal> {
    let fact = facts.files.get(path).filter(|f| f.kind != FileKind::Missing);
    match fact {
        None => Err(Refusal::SavedMissing(path.clone())),
        Some(fact) if !fact.saved_memory => Err(Refusal::SavedBroken(path.clone())),
        Some(_) => Ok(()),
    }
}

/// Give the image up (`qemuDomainManagedSaveRemove`).
#[must_use]
pub fn discard(op: OpId, domain: DomainId, saved: &ManagedSave) -> Plan {
    let change = Change { saved: SavedChange::Clear, ..Change::default() };
    plan(op, OpKind::Discard, domain, Vec::new(), change, vec![Settle::Unlink { path: saved.path.clone() }])
}

/// Where a plan gives the persistent definition another image for a disk, the saved guest gets it too: both hold the same
/// bytes to a guest that is off.
pub fn follow(plan: &mut Plan, saved: &ManagedSave, inactive_xml: &str) -> Result<()> {
    let mut saved = saved.clone();
    let mut inactive = inactive_xml.to_owned();
    let Plan { commit, settle, .. } = plan;
    let first = match commit {
        Commit::Publish(change) => Some(change),
        Commit::Switch { .. } => None,
    };
    let later = settle.iter_mut().filter_map(|s| match s {
        Settle::Publish(change) => Some(change),
        _ => None,
    });
    for change in first.into_iter().chain(later) {
        let Some(new) = change.inactive_xml.as_ref().filter(|_| change.saved == SavedChange::Keep) else { continue };
        let xml = moved(&saved.xml, &inactive, new)?;
        inactive.clone_from(new);
        if xml != saved.xml {
            saved.xml = xml;
            change.saved = SavedChange::Set(saved.clone());
        }
    }
    Ok(())
}

fn moved(saved: &str, before: &str, after: &str) -> Result<String> {
    let (view, before, after) = (domain::view(saved)?, domain::view(before)?, domain::view(after)?);
    let mut out = saved.to_owned();
    for disk in &view.disks {
        let (Some(old), Some(new)) = (before.disk(&disk.target), after.disk(&disk.target)) else { continue };
        if disk.source != old.source || old.source == new.source {
            continue;
        }
        if let Some(image) = new.image() {
            out = edit::set_disk_source(&out, &disk.target, &image, new.source_type == "block")?;
        }
    }
    Ok(out)
}

//! Planning a redefinition: metadata only, checked as libvirt checks it
//! (`qemuSnapshotRedefine`, `virDomainSnapshotRedefinePrep`), touching no image.

use super::abi;
use super::align::{self, Mode};
use super::create::check_name;
use super::facts::{Backends, Capabilities, Facts, Transients};
use super::graph::overlay_image;
use super::refusal::Refusal;
use super::steps::{Change, CurrentChange, PutSnapshot};
use crate::error::Result;
use crate::model::flags::CreateFlags;
use crate::model::ids::{DomainId, SnapshotName};
use crate::model::snapshot::{Memory, Snapshot, SnapshotDisk, SnapshotState, SnapshotTexts};
use crate::model::tree::Tree;
use crate::xml::domain::{self, DomainView};
use crate::xml::snapshot::SnapshotDoc;
use camino::Utf8PathBuf;

/// The domain that a snapshot is redefined for.
#[derive(Clone, Copy)]
pub struct RedefineRequest<'a> {
    /// The domain.
    pub domain: DomainId,
    /// Its snapshots.
    pub tree: &'a Tree,
    /// REDEFINE, and perhaps CURRENT and DISK_ONLY.
    pub flags: CreateFlags,
    /// What the host can do.
    pub caps: Capabilities,
    /// The running definition, if the domain has no other.
    pub transient: Option<&'a str>,
    /// What is at [`paths`].
    pub facts: &'a Facts,
    /// Reads the texts of a snapshot.
    pub texts: &'a (dyn Fn(&SnapshotName) -> Result<SnapshotTexts> + Send + Sync),
}

/// Every path that [`plan`] wants looked at: the images of `<domain>`, and the overlays.
pub fn paths(doc: &SnapshotDoc) -> Result<Vec<Utf8PathBuf>> {
    let mut out: Vec<Utf8PathBuf> =
        doc.disks.iter().chain(&doc.revert_disks).filter_map(|d| d.source.clone()).collect();
    if let (Some(xml), Some(name)) = (&doc.texts.domain, &doc.name) {
        for source in domain::view(xml)?.disks.into_iter().filter_map(|d| d.source) {
            out.push(align::overlay_path(&source, name));
            out.push(source);
        }
    }
    Ok(out)
}

/// Decide.
pub fn plan(request: &RedefineRequest<'_>, doc: SnapshotDoc) -> Result<(SnapshotName, Change)> {
    let name = SnapshotName(doc.name.clone().unwrap_or_default());
    check_name(name.as_str())?;
    let state = doc.state.unwrap_or(SnapshotState::Nostate);
    if matches!(state, SnapshotState::Nostate | SnapshotState::Blocked) {
        return Err(Refusal::BadState(state.as_str()).into());
    }
    if state == SnapshotState::Pmsuspended {
        return Err(crate::error::Error::unsupported("qemu doesn't support taking snapshots of PMSUSPENDED guests"));
    }
    check_parent(request.tree, &name, doc.parent.as_deref())?;
    if request.flags.contains(CreateFlags::DISK_ONLY) && state != SnapshotState::DiskSnapshot {
        return Err(Refusal::DiskOnlyState(name.0).into());
    }
    let mut texts = doc.texts;
    let new_view = texts.domain.as_deref().map(domain::view).transpose()?;
    if let Some(view) = &new_view {
        check_uuid(request, &name, view)?;
    }
    let old = request.tree.get(&name);
    if let Some(old) = old {
        check_state(&name, old.state, state)?;
        let old_texts = (request.texts)(&name)?;
        if let (Some(new), Some(old_xml)) = (&new_view, &old_texts.domain) {
            check_abi(&domain::view(old_xml)?, new)?;
        }
        if texts.domain.is_none() {
            texts.domain = old_texts.domain;
            texts.inactive_domain = texts.inactive_domain.or(old_texts.inactive_domain);
        }
    }
    let Some(domain_xml) = &texts.domain else { return Err(Refusal::NoDomain.into()) };
    let view = domain::view(domain_xml)?;
    let external = state == SnapshotState::DiskSnapshot
        || matches!(doc.memory, Memory::External(_))
        || doc.disks.iter().any(SnapshotDisk::is_external);
    let mode = if external { Mode::External } else { Mode::Internal };
    let rules = align::Rules { mode, set: request.caps.disks, backends: &Backends::new() };
    let mut disks = align::align(doc.disks, &view, rules)?;
    align::assign_names(&mut disks, &view, name.as_str(), request.facts)?;
    let snapshot = Snapshot {
        name: name.clone(),
        description: doc.description,
        parent: doc.parent.map(SnapshotName),
        state,
        creation_time: doc.creation_time.unwrap_or(0),
        memory: doc.memory,
        tag: doc.tag.or_else(|| old.and_then(|o| o.tag.clone())),
        disks,
        revert_disks: doc.revert_disks,
        frozen: domain::frozen_disks(domain_xml)?,
    };
    let mut change = Change::default();
    if request.caps.transients == Transients::Defined {
        change.define(request.transient);
    }
    if request.flags.contains(CreateFlags::CURRENT) {
        let current = request.tree.current().filter(|c| **c != name).and_then(|c| request.tree.get(c));
        if let Some(old) = current.filter(|s| !s.revert_disks.is_empty()) {
            let mut old = (**old).clone();
            old.revert_disks.clear();
            change.put.push(PutSnapshot { snapshot: old, texts: None });
        }
        change.current = Some(CurrentChange::Set(name.clone()));
    }
    // The overlays that it names were made by a virsnap or a libvirt elsewhere: they go with their last use.
    // Only those that really lie on what the snapshot froze: a document can name any file.
    for disk in snapshot.disks.iter().chain(&snapshot.revert_disks) {
        let base = snapshot.frozen_image(&disk.name).map(|i| i.path.as_path());
        if let Some(overlay) = overlay_image(disk) {
            let lies_on = request.facts.header(&overlay.path).and_then(|h| h.backing.as_deref());
            if lies_on.is_some() && lies_on == base {
                change.owned.push((overlay.path, true));
            }
        }
    }
    change.put.push(PutSnapshot { snapshot, texts: Some(texts) });
    Ok((name, change))
}

fn check_parent(tree: &Tree, name: &SnapshotName, parent: Option<&str>) -> Result<(), Refusal> {
    let Some(parent) = parent.map(SnapshotName::from) else { return Ok(()) };
    if parent == *name {
        return Err(Refusal::OwnParent(name.0.clone()));
    }
    if tree.get(&parent).is_none() {
        return Err(Refusal::ParentMissing { parent: parent.0, name: name.0.clone() });
    }
    // libvirt names the one that is the snapshot's child today.
    let chain = std::iter::once(parent.clone()).chain(tree.ancestors(&parent));
    match chain.into_iter().find(|s| tree.parent(s).as_ref() == Some(name)) {
        Some(child) => Err(Refusal::ParentCycle { parent: child.0, name: name.0.clone() }),
        None => Ok(()),
    }
}

fn check_uuid(request: &RedefineRequest<'_>, name: &SnapshotName, view: &DomainView) -> Result<(), Refusal> {
    if view.uuid.is_some_and(|u| u != request.domain.0) {
        return Err(Refusal::WrongUuid { name: name.0.clone(), uuid: request.domain.to_string() });
    }
    Ok(())
}

fn check_state(name: &SnapshotName, old: SnapshotState, new: SnapshotState) -> Result<(), Refusal> {
    if old.is_live() != new.is_live() {
        return Err(Refusal::OnlineOffline(name.0.clone()));
    }
    let disk_only = |s| s == SnapshotState::DiskSnapshot;
    if disk_only(old) != disk_only(new) {
        return Err(Refusal::DiskOnlyFull(name.0.clone()));
    }
    Ok(())
}

/// The part of libvirt's ABI check that a metadata change can break.
fn check_abi(old: &DomainView, new: &DomainView) -> Result<(), Refusal> {
    if old.name != new.name {
        let quoted = |name: &str| format!("'{name}'");
        return Err(Refusal::Abi { what: "domain name".to_owned(), new: quoted(&new.name), old: quoted(&old.name) });
    }
    abi::check_core(old, new)
}

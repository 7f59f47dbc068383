//! What libvirt checks of each disk, and of the set of them, before it creates a snapshot
//! (`qemuSnapshotPrepare` and helpers), in its order; and that every chain is whole.

use super::create::CreateRequest;
use super::facts::{Backend, DiskSet, Facts, FileKind};
use super::refusal::Refusal;
use crate::model::flags::CreateFlags;
use crate::model::snapshot::{Location, Memory, Snapshot, SnapshotDisk, SnapshotState, SourceType};
use crate::xml::domain::{Device, DiskView, DomainView};
use camino::Utf8Path;

/// libvirt's checks of every disk, in its order (`qemuSnapshotPrepare` and helpers).
pub(super) fn check_disks(
    request: &CreateRequest<'_>,
    snapshot: &mut Snapshot,
    view: &DomainView,
    facts: &Facts,
) -> Result<(), Refusal> {
    let disk_only = snapshot.state == SnapshotState::DiskSnapshot && request.caps.disks == DiskSet::Uniform;
    for (disk, own) in snapshot.disks.iter_mut().zip(&view.disks) {
        let backend = request.backends.get(&disk.target());
        match disk.location {
            Some(Location::Internal) => check_internal(request.active(), disk_only, disk, own, backend)?,
            Some(Location::External) => check_external(request, disk, own, backend, view, facts)?,
            _ => continue,
        }
        if let Some(source) = &own.source {
            check_chain(&disk.name, source, facts)?;
        }
    }
    // What the memory knows of it would be gone.
    let saves_memory = matches!(snapshot.memory, Memory::Internal | Memory::External(_));
    if request.active() && saves_memory && view.disks.iter().any(|d| d.transient) {
        return Err(Refusal::TransientMigration);
    }
    Ok(())
}

fn unfit(own: &DiskView, backend: &Backend, way: &'static str) -> Refusal {
    Refusal::Backend {
        disk: own.target.clone(),
        backend: backend.name.clone(),
        image: own.source.as_ref().map_or_else(|| own.source_type.clone(), ToString::to_string),
        way,
    }
}

fn check_internal(
    active: bool,
    disk_only: bool,
    disk: &SnapshotDisk,
    own: &DiskView,
    backend: Option<&Backend>,
) -> Result<(), Refusal> {
    if active && disk_only {
        return Err(Refusal::ActiveInternalDiskOnly(disk.name.clone()));
    }
    if !active && !is_local(own) {
        return Err(Refusal::InternalInactiveSource(own.source_type.clone()));
    }
    if active && own.transient {
        return Err(Refusal::TransientMigration);
    }
    if let Some(backend) = backend {
        return if backend.tags { Ok(()) } else { Err(unfit(own, backend, "internal")) };
    }
    match own.format.as_deref() {
        None | Some("qcow2") => Ok(()),
        Some(format) => Err(Refusal::InternalFormat { disk: disk.name.clone(), format: format.to_owned() }),
    }
}

fn check_external(
    request: &CreateRequest<'_>,
    disk: &mut SnapshotDisk,
    own: &DiskView,
    backend: Option<&Backend>,
    view: &DomainView,
    facts: &Facts,
) -> Result<(), Refusal> {
    let name = || disk.name.clone();
    let formats: Vec<&str> = match backend {
        Some(backend) => vec![backend.overlay.as_deref().ok_or_else(|| unfit(own, backend, "external"))?],
        None => vec!["qcow2", "qed"],
    };
    let format = disk.format.get_or_insert_with(|| formats[0].to_owned()).clone();
    if own.shareable && !own.readonly {
        return Err(Refusal::SharedDisk(name()));
    }
    if !formats.contains(&format.as_str()) {
        return Err(Refusal::ExternalFormat { disk: name(), format });
    }
    if disk.metadata_cache.is_some() && format != "qcow2" {
        return Err(Refusal::CacheNeedsQcow2);
    }
    if request.active() {
        if own.device == Device::Lun {
            return Err(Refusal::Lun);
        }
        if own.bus == "sd" {
            return Err(Refusal::BusNotSupported("sd".to_owned()));
        }
        if own.transient {
            return Err(Refusal::TransientDisk(name()));
        }
        if !is_local(own) || disk.source_type == SourceType::Network {
            return Err(Refusal::ExternalActiveSource(own.source_type.clone()));
        }
    } else {
        if !is_local(own) {
            return Err(Refusal::ExternalInactiveSource(own.source_type.clone()));
        }
        if disk.source_type == SourceType::Network {
            return Err(Refusal::ExternalInactiveSource("network".to_owned()));
        }
    }
    let Some(path) = disk.source.clone() else { return Err(Refusal::NameWithoutSource(name())) };
    let reuse = request.flags.contains(CreateFlags::REUSE_EXT);
    match (facts.kind(&path), disk.source_type) {
        (FileKind::Missing, _) if reuse => return Err(Refusal::ReuseMissing { disk: name(), path }),
        (FileKind::Missing, SourceType::Block) => return Err(Refusal::BlockMissing(path)),
        (FileKind::Missing, _) | (FileKind::Block, SourceType::Block) => {}
        (FileKind::File(size), SourceType::File) => {
            if *size > 0 && !reuse {
                return Err(Refusal::TargetExists { disk: name(), path });
            }
        }
        (FileKind::Unreadable(why), _) => {
            return Err(Refusal::CannotStat { disk: name(), path, why: why.clone() });
        }
        _ => return Err(Refusal::TargetType { disk: name(), path }),
    }
    if view.disks.iter().any(|d| d.source.as_ref() == Some(&path)) {
        return Err(Refusal::TargetInUse { disk: name(), path });
    }
    Ok(())
}

/// Every image of the disk's chain is there: no overlay is put on a broken one.
fn check_chain(disk: &str, top: &Utf8Path, facts: &Facts) -> Result<(), Refusal> {
    let mut seen = Vec::new();
    let mut at = Some(top.to_owned());
    while let Some(path) = at.filter(|p| !seen.contains(p)) {
        if *facts.kind(&path) == FileKind::Missing {
            return Err(Refusal::SourceMissing { disk: disk.to_owned(), path });
        }
        at = facts.header(&path).and_then(|h| h.backing.clone());
        seen.push(path);
    }
    Ok(())
}

/// libvirt's checks of the set as a whole.
pub(super) fn check_set(request: &CreateRequest<'_>, snapshot: &Snapshot, view: &DomainView) -> Result<(), Refusal> {
    let count = |l| snapshot.disks.iter().filter(|d| d.location == Some(l)).count();
    let (internal, external) = (count(Location::Internal), count(Location::External));
    let manual = count(Location::Manual) > 0;
    let excluded = snapshot
        .disks
        .iter()
        .zip(&view.disks)
        .any(|(d, own)| d.location == Some(Location::No) && own.has_source && !own.readonly);
    let no_memory = matches!(snapshot.memory, Memory::No | Memory::Default);
    if internal == 0 && external == 0 && no_memory {
        return Err(Refusal::Nothing);
    }
    if request.caps.disks == DiskSet::Mixed {
        return if internal + external + usize::from(manual) == 0 { Err(Refusal::DiskOnlyNeedsDisk) } else { Ok(()) };
    }
    let memory_internal = snapshot.memory == Memory::Internal;
    if (memory_internal && internal == 0) || (internal > 0 && (excluded || manual)) {
        return Err(Refusal::AllDisks);
    }
    if snapshot.state == SnapshotState::DiskSnapshot && external == 0 {
        return Err(Refusal::DiskOnlyNeedsDisk);
    }
    let memory_external = matches!(snapshot.memory, Memory::External(_));
    if (external > 0 && (internal > 0 || memory_internal)) || (memory_external && internal > 0) {
        return Err(Refusal::Mixed);
    }
    Ok(())
}

/// A file or block device of this machine.
fn is_local(disk: &DiskView) -> bool {
    matches!(disk.source_type.as_str(), "file" | "block")
}

//! Which disk is snapshotted how: libvirt's alignment of `<disks>` with the domain
//! (`virDomainSnapshotAlignDisks`, `virDomainSnapshotDefAssignExternalNames`).

use super::facts::{Backends, DiskSet, Facts, FileKind};
use super::refusal::Refusal;
use crate::model::ids::DiskTarget;
use crate::model::snapshot::{Location, SnapshotDisk, SourceType};
use crate::xml::domain::{DiskView, DomainView};
use camino::{Utf8Path, Utf8PathBuf};

/// How disks that say nothing are treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Internal, and nothing else may be asked for.
    Internal,
    /// External.
    External,
}

impl Mode {
    fn default_location(self) -> Location {
        match self {
            Self::Internal => Location::Internal,
            Self::External => Location::External,
        }
    }
}

/// What decides how a disk is captured.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'a> {
    /// How disks that say nothing are treated.
    pub mode: Mode,
    /// Whether they may differ.
    pub set: DiskSet,
    /// What each can do.
    pub backends: &'a Backends,
}

impl Rules<'_> {
    /// The mode's, unless the disk's backend, or without one its format, can only do the other.
    fn default_location(&self, disk: &DiskView) -> Location {
        if self.set == DiskSet::Uniform {
            return self.mode.default_location();
        }
        let no_tags = disk.format.as_deref().is_some_and(|format| format != "qcow2");
        match (self.mode, self.backends.get(&DiskTarget::from(disk.target.as_str()))) {
            (Mode::Internal, None) if no_tags => Location::External,
            (Mode::Internal, Some(b)) if !b.tags && b.overlay.is_some() => Location::External,
            (Mode::External, Some(b)) if b.tags && b.overlay.is_none() => Location::Internal,
            _ => self.mode.default_location(),
        }
    }
}

/// One entry per disk of the domain, in its order, each with a location.
pub fn align(listed: Vec<SnapshotDisk>, domain: &DomainView, rules: Rules<'_>) -> Result<Vec<SnapshotDisk>, Refusal> {
    let mixed = rules.set == DiskSet::Mixed;
    if listed.len() > domain.disks.len() {
        return Err(Refusal::TooManyDisks);
    }
    let mut by_disk: Vec<Option<SnapshotDisk>> = vec![None; domain.disks.len()];
    for mut disk in listed {
        let at = find(domain, &disk.name).ok_or_else(|| Refusal::NoDisk(disk.name.clone()))?;
        let own = domain.disks[at].default_location();
        if by_disk[at].is_some() {
            return Err(Refusal::DiskTwice(disk.name));
        }
        match disk.location {
            None => {
                let inherited = own.filter(|l| mixed || rules.mode == Mode::External || *l == Location::No);
                disk.location = Some(inherited.unwrap_or_else(|| rules.default_location(&domain.disks[at])));
            }
            Some(l) if rules.mode == Mode::Internal && l != Location::Internal && !mixed => {
                if !(l == Location::No && own == Some(Location::No)) {
                    return Err(Refusal::MustBeInternal(disk.name));
                }
            }
            Some(_) => {}
        }
        if let (Some(path), false) = (&disk.source, disk.is_external()) {
            return Err(Refusal::FileNeedsExternal { path: path.clone(), disk: disk.name.clone() });
        }
        disk.name = domain.disks[at].target.clone();
        by_disk[at] = Some(disk);
    }
    Ok(by_disk
        .into_iter()
        .zip(&domain.disks)
        .map(|(listed, own)| {
            listed.unwrap_or_else(|| {
                let mut disk = SnapshotDisk::named(&own.target);
                let location = own.default_location().unwrap_or_else(|| rules.default_location(own));
                disk.location = Some(if !own.has_source { Location::No } else { location });
                disk
            })
        })
        .collect())
}

/// By target, or by source path if exactly one disk has it.
fn find(domain: &DomainView, name: &str) -> Option<usize> {
    if !name.starts_with('/') {
        return domain.disks.iter().position(|d| d.target == name);
    }
    let mut hits = domain.disks.iter().enumerate().filter(|(_, d)| d.source.as_ref().is_some_and(|s| s == name));
    let (at, _) = hits.next()?;
    hits.next().is_none().then_some(at)
}

/// The overlay's path beside its base: the extension replaced by the snapshot's name.
#[must_use]
pub fn overlay_path(base: &Utf8Path, suffix: &str) -> Utf8PathBuf {
    let text = base.as_str();
    let stem = match text.rfind('.') {
        Some(dot) if !text[dot..].contains('/') => &text[..dot],
        _ => text,
    };
    Utf8PathBuf::from(format!("{stem}.{suffix}"))
}

/// Give every external disk without a path one.
pub fn assign_names(disks: &mut [SnapshotDisk], domain: &DomainView, name: &str, facts: &Facts) -> Result<(), Refusal> {
    for i in 0..disks.len() {
        if !disks[i].is_external() || disks[i].source.is_some() || disks[i].source_verbatim.is_some() {
            continue;
        }
        let target = disks[i].name.clone();
        if disks[i].source_type != SourceType::File {
            return Err(Refusal::NameOnDevice { disk: target, kind: disks[i].source_type.as_str().to_owned() });
        }
        let Some(source) = domain.disks[i].source.as_ref() else { return Err(Refusal::NameWithoutSource(target)) };
        if !matches!(facts.kind(source), FileKind::File(_)) {
            return Err(Refusal::NameNeedsFile(target));
        }
        let path = overlay_path(source, name);
        if let Some(other) = disks[..i].iter().find(|d| d.source.as_ref() == Some(&path)) {
            return Err(Refusal::NameCollision { disk: target, other: other.name.clone() });
        }
        disks[i].source = Some(path);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overlay_is_named_after_the_snapshot_in_place_of_the_extension() {
        for (base, expected) in
            [("/a/b.qcow2", "/a/b.s"), ("/a/b", "/a/b.s"), ("/a.d/b", "/a.d/b.s"), ("/a/b.1.x", "/a/b.1.s")]
        {
            assert_eq!(overlay_path(Utf8Path::new(base), "s"), expected);
        }
    }
}

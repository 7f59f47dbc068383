//! What becomes of a machine's side state ([`crate::model::side_state`]) in each operation.
//!
//! An internal snapshot tags a qcow2 NVRAM, as libvirt does, and refuses a raw one while the guest is up, in libvirt's
//! words; everything else that libvirt leaves out (K12) is copied. Memory that was saved holds the flash chip and the
//! TPM's state too, and wins: a start from it writes both anew. So the copies of a live save are taken just before its
//! switch, and those of a disk-only snapshot as well, without a standstill: they are of one instant each.

use super::create::CreateRequest;
use super::facts::{Facts, FileKind};
use super::refusal::Refusal;
use super::steps::{Prepare, Settle};
use crate::model::ids::Image;
use crate::model::side_state::{SideCopy, SidePlace, SideState, SideStates};
use crate::model::snapshot::Snapshot;
use camino::Utf8PathBuf;

/// What a new snapshot holds of it, and how that is made.
#[derive(Debug, Default)]
pub(super) struct Capture {
    pub(super) copies: Vec<SideCopy>,
    /// NVRAM that is to be tagged with the disks.
    pub(super) tagged: Vec<Image>,
    /// NVRAM that no start has made yet.
    pub(super) make: Vec<Prepare>,
    /// The copies.
    pub(super) steps: Vec<Prepare>,
}

/// Where the machine has it.
pub(super) fn paths(side: &SideStates) -> impl Iterator<Item = Utf8PathBuf> + '_ {
    side.all.iter().map(|s| s.path().clone())
}

/// Plan a capture. `internal`: whether the disks are captured in their own images.
pub(super) fn capture(
    request: &CreateRequest<'_>,
    snapshot: &Snapshot,
    internal: bool,
    metadata: bool,
    facts: &Facts,
) -> Result<Capture, Refusal> {
    let mut out = Capture::default();
    for state in &request.side.all {
        let mut tag = false;
        if let SideState::Nvram(nvram) = state {
            if internal && request.active() && nvram.image.format != "qcow2" {
                return Err(Refusal::NvramFormat);
            }
            if *facts.kind(&nvram.image.path) == FileKind::Missing {
                if nvram.template.is_none() {
                    continue;
                }
                out.make.push(Prepare::MakeNvram { nvram: nvram.clone() });
            }
            tag = internal && nvram.image.format == "qcow2";
            if tag {
                out.tagged.push(nvram.image.clone());
            }
        }
        let at = if tag {
            SidePlace::Tag
        } else if metadata {
            let mut to = request.side.copy(state, snapshot.creation_time, snapshot.name.as_str());
            // One that was renamed since, within the second, has its copy there.
            let at = SidePlace::Copy(to.clone());
            if request.tree.iter().any(|s| s.side.iter().any(|c| c.at == at)) {
                to = format!("{to}-{}", request.op).into();
            }
            out.steps.push(Prepare::CopySide { instance: request.instance, of: state.clone(), to: to.clone() });
            SidePlace::Copy(to)
        } else {
            // Nobody would know whose it is.
            continue;
        };
        out.copies.push(SideCopy { of: state.clone(), at });
    }
    Ok(out)
}

/// What a redefined snapshot holds of it: its own record, else what is found on this host.
pub(super) fn adopt(old: Option<&Snapshot>, new: &Snapshot, side: &SideStates, facts: &Facts) -> Vec<SideCopy> {
    if let Some(old) = old {
        return old.side.clone();
    }
    let internal = new.internal_disks().next().is_some();
    let found = |state: &SideState| {
        let copy = side.copy(state, new.creation_time, new.name.as_str());
        let at = match (state, facts.kind(&copy)) {
            (SideState::Nvram(_), FileKind::File(_)) | (SideState::Tpm(_), FileKind::Directory) => {
                SidePlace::Copy(copy)
            }
            (SideState::Nvram(nvram), _) if internal && has_tag(&nvram.image, new.name.as_str(), facts) => {
                SidePlace::Tag
            }
            _ => return None,
        };
        Some(SideCopy { of: state.clone(), at })
    };
    side.all.iter().filter_map(found).collect()
}

/// The paths that [`adopt`] wants looked at.
pub(super) fn adoptable(side: &SideStates, creation_time: i64, name: &str) -> Vec<Utf8PathBuf> {
    side.all.iter().flat_map(|s| [s.path().clone(), side.copy(s, creation_time, name)]).collect()
}

fn has_tag(image: &Image, tag: &str, facts: &Facts) -> bool {
    facts.header(&image.path).is_some_and(|h| h.tags.iter().any(|t| t.name == tag))
}

/// Everything of the snapshot's that [`restore`] and [`remove`] want looked at.
pub(super) fn places(snapshot: &Snapshot) -> impl Iterator<Item = Utf8PathBuf> + '_ {
    snapshot.side.iter().flat_map(|copy| {
        let place = match &copy.at {
            SidePlace::Tag => None,
            SidePlace::Copy(path) => Some(path.clone()),
        };
        place.into_iter().chain([copy.of.path().clone()])
    })
}

/// What a revert does to it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Restore<'a> {
    pub(super) side: &'a SideStates,
    /// A fresh NVRAM instead of the snapshot's.
    pub(super) reset_nvram: bool,
    /// Without what is lost.
    pub(super) force: bool,
    /// The start loads the tags.
    pub(super) loads_tags: bool,
}

/// The steps between the old hypervisor's end and the new one's start.
pub(super) fn restore(target: &Snapshot, how: Restore<'_>, facts: &Facts) -> Result<Vec<Settle>, Refusal> {
    let mut out = Vec::new();
    for copy in &target.side {
        if how.reset_nvram && matches!(copy.of, SideState::Nvram(_)) && !(how.loads_tags && copy.at == SidePlace::Tag) {
            continue;
        }
        match (&copy.at, &copy.of) {
            (SidePlace::Tag, SideState::Nvram(nvram)) => {
                let tag = target.tag().to_owned();
                if !has_tag(&nvram.image, &tag, facts) {
                    if how.force {
                        continue;
                    }
                    return Err(Refusal::SideMissing { path: nvram.image.path.clone() });
                }
                if !how.loads_tags {
                    out.push(Settle::ApplyTag { image: nvram.image.clone(), tag });
                }
            }
            (SidePlace::Copy(from), of) => {
                if *facts.kind(from) == FileKind::Missing {
                    if how.force {
                        continue;
                    }
                    return Err(Refusal::SideMissing { path: from.clone() });
                }
                // A qcow2 file keeps its size with its tags: better said now than when the guest is gone.
                let size = |path| facts.header(path).map(|h| h.virtual_size);
                if let SideState::Nvram(nvram) = of
                    && nvram.image.format == "qcow2"
                    && let (Some(now), Some(then)) = (size(of.path()), size(from))
                    && now != then
                {
                    return Err(Refusal::NvramSize { path: of.path().clone(), now, then });
                }
                out.push(Settle::RestoreSide { of: of.clone(), from: from.clone() });
            }
            (SidePlace::Tag, SideState::Tpm(_)) => {}
        }
    }
    if how.reset_nvram
        && let Some(nvram) = how.side.nvram()
    {
        if nvram.template.is_none() {
            return Err(Refusal::NoTemplate { path: nvram.image.path.clone() });
        }
        out.push(Settle::ResetNvram { nvram: nvram.clone() });
    }
    Ok(out)
}

/// What a deletion of the snapshot removes of it: tags in images, and copies.
pub(super) fn remove(gone: &Snapshot, facts: &Facts) -> (Vec<Image>, Vec<Settle>) {
    let (mut tagged, mut steps) = (Vec::new(), Vec::new());
    for copy in &gone.side {
        match (&copy.at, &copy.of) {
            (SidePlace::Tag, SideState::Nvram(nvram)) if has_tag(&nvram.image, gone.tag(), facts) => {
                tagged.push(nvram.image.clone());
            }
            (SidePlace::Tag, _) => {}
            (SidePlace::Copy(path), _) => steps.push(Settle::DropSide { path: path.clone() }),
        }
    }
    (tagged, steps)
}

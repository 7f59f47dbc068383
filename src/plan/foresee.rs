//! What is on the disks after a plan, as far as the next plan depends on it: for what is planned before the first is run.

use super::facts::{Facts, FileFact, FileKind, ImageHeader, Tag};
use super::steps::{Commit, Plan, Prepare, Settle, SwitchDisk};
use crate::model::ids::Image;
use camino::{Utf8Path, Utf8PathBuf};

/// Make `facts`, of before the plan, those of after it.
pub fn foresee(plan: &Plan, facts: &mut Facts) {
    for step in &plan.prepare {
        prepare(step, facts);
    }
    if let Commit::Switch { disks, .. } = &plan.commit {
        switched(disks, facts);
    }
    for step in &plan.settle {
        settle(step, facts);
    }
}

fn prepare(step: &Prepare, facts: &mut Facts) {
    match step {
        Prepare::Reserve { path, .. } => put(facts, path, None),
        Prepare::Format { image, backing } => lies_on(facts, image, backing),
        Prepare::SaveMemory { path, .. } | Prepare::AwaitSave { path, .. } => {
            put(facts, path, None);
            if let Some(fact) = facts.files.get_mut(path) {
                fact.saved_memory = true;
            }
        }
        Prepare::LiveSave { disks, .. } => switched(disks, facts),
        Prepare::SaveTag { tag, vmstate, images, .. } => {
            images.iter().for_each(|i| tagged(facts, &i.path, tag, i == vmstate));
        }
        Prepare::TagDisks { images, tag, .. } => images.iter().for_each(|i| tagged(facts, &i.path, tag, false)),
        Prepare::CreateTag { image, tag } => tagged(facts, &image.path, tag, false),
        Prepare::Sync { .. }
        | Prepare::AddNodes { .. }
        | Prepare::Freeze { .. }
        | Prepare::Pause { .. }
        | Prepare::Start(_) => {}
    }
}

fn settle(step: &Settle, facts: &mut Facts) {
    match step {
        Settle::RemoveTag { images, tag, .. } => {
            for image in images {
                if let Some(header) = header(facts, &image.path) {
                    header.tags.retain(|t| t.name != *tag);
                }
            }
        }
        Settle::MergeDown { top, base, .. } | Settle::Pivot { top, base, .. } => {
            for header in facts.files.values_mut().filter_map(|f| f.header.as_mut()) {
                if header.backing.as_ref() == Some(&top.path) {
                    header.backing = Some(base.path.clone());
                    header.backing_format = Some(base.format.clone());
                }
            }
        }
        Settle::PullUp { image, onto, .. } => backing(facts, &image.path, onto.as_ref()),
        Settle::Repoint { image, backing: onto } => backing(facts, &image.path, Some(onto)),
        Settle::Unlink { path } => drop(facts.files.remove(path)),
        _ => {}
    }
}

fn switched(disks: &[SwitchDisk], facts: &mut Facts) {
    disks.iter().for_each(|d| lies_on(facts, &d.overlay, &d.old));
}

fn put(facts: &mut Facts, path: &Utf8PathBuf, header: Option<ImageHeader>) {
    facts.files.insert(path.clone(), FileFact { kind: FileKind::File(0), header, saved_memory: false });
}

fn lies_on(facts: &mut Facts, image: &Image, on: &Image) {
    let header = ImageHeader {
        format: image.format.clone(),
        backing: Some(on.path.clone()),
        backing_format: Some(on.format.clone()),
        virtual_size: facts.header(&on.path).map_or(0, |h| h.virtual_size),
        tags: Vec::new(),
    };
    put(facts, &image.path, Some(header));
}

fn header<'f>(facts: &'f mut Facts, path: &Utf8Path) -> Option<&'f mut ImageHeader> {
    facts.files.get_mut(path)?.header.as_mut()
}

fn tagged(facts: &mut Facts, path: &Utf8Path, tag: &str, vmstate: bool) {
    if let Some(header) = header(facts, path) {
        header.tags.push(Tag { id: String::new(), name: tag.to_owned(), vmstate });
    }
}

fn backing(facts: &mut Facts, path: &Utf8Path, onto: Option<&Image>) {
    if let Some(header) = header(facts, path) {
        header.backing = onto.map(|o| o.path.clone());
        header.backing_format = onto.map(|o| o.format.clone());
    }
}

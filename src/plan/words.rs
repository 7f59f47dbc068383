//! A plan in words, one line per step, every file named: for dry runs and logs.

use super::steps::{Change, Commit, CurrentChange, LiveChange, MemorySource, Plan, Prepare, Settle, Start, SwitchDisk};
use crate::model::ids::Image;

impl Plan {
    /// `prepare: …` for what can be undone, `commit: …` for the point of no return, `finish: …` for what follows.
    pub fn lines(&self) -> impl Iterator<Item = String> + '_ {
        let commit = match &self.commit {
            Commit::Publish(change) => recorded(change),
            Commit::Switch { disks, .. } => format!("switch all disks at once: {}", switches(disks)),
        };
        let prepare = self.prepare.iter().map(|s| format!("prepare: {}", prepared(s)));
        let settle = self.settle.iter().map(|s| format!("finish: {}", settled(s)));
        prepare.chain(std::iter::once(format!("commit: {commit}"))).chain(settle)
    }
}

/// A change of metadata in words.
#[must_use]
pub fn recorded(change: &Change) -> String {
    let mut out = Vec::new();
    if let Some(rename) = &change.rename {
        out.push(format!("snapshot '{}' is called '{}'", rename.from, rename.to));
    }
    for put in &change.put {
        let marked = put.snapshot.disks.iter().any(|d| d.delete_in_progress);
        out.push(format!("snapshot '{}'{}", put.snapshot.name, if marked { " (being deleted)" } else { "" }));
    }
    out.extend(change.remove.iter().map(|name| format!("snapshot '{name}' is gone")));
    match &change.current {
        Some(CurrentChange::Set(name)) => out.push(format!("'{name}' is current")),
        Some(CurrentChange::Clear) => out.push("none is current".to_owned()),
        None => {}
    }
    if change.inactive_xml.is_some() {
        out.push("the domain's definition".to_owned());
    }
    match change.live {
        LiveChange::Keep => {}
        LiveChange::Clear => out.push("the domain is off".to_owned()),
        LiveChange::Set { .. } | LiveChange::Edit { .. } => out.push("the running definition".to_owned()),
    }
    if out.is_empty() { "record nothing".to_owned() } else { format!("record: {}", out.join(", ")) }
}

fn image(image: &Image) -> String {
    format!("'{}' ({})", image.path, image.format)
}

fn paths(images: &[Image]) -> String {
    images.iter().map(|i| format!("'{}'", i.path)).collect::<Vec<_>>().join(", ")
}

fn switches(disks: &[SwitchDisk]) -> String {
    let one = |d: &SwitchDisk| format!("{} from '{}' to '{}'", d.target, d.old.path, d.overlay.path);
    disks.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn prepared(step: &Prepare) -> String {
    match step {
        Prepare::Reserve { path, .. } => format!("create the file '{path}'"),
        Prepare::Format { image: new, backing } => format!("make {} an overlay on {}", image(new), image(backing)),
        Prepare::Sync { path } => format!("write '{path}' out to the disk"),
        Prepare::AddNodes { disks, .. } => {
            let overlays: Vec<Image> = disks.iter().map(|d| d.overlay.clone()).collect();
            format!("open {} in the running guest's hypervisor", paths(&overlays))
        }
        Prepare::Freeze { .. } => "freeze the guest's file systems".to_owned(),
        Prepare::Pause { .. } => "pause the guest".to_owned(),
        Prepare::SaveMemory { path, .. } => format!("save the memory to '{path}'"),
        Prepare::LiveSave { path, disks, .. } if disks.is_empty() => {
            format!("at one instant of the running guest: begin to save the memory to '{path}'")
        }
        Prepare::LiveSave { path, disks, .. } => {
            let disks = switches(disks);
            format!("at one instant of the running guest: switch {disks}, begin to save the memory to '{path}'")
        }
        Prepare::AwaitSave { path, .. } => format!("wait until the memory is in '{path}'"),
        Prepare::SaveTag { tag, vmstate, images, .. } => {
            format!("save the memory into '{}' and tag {} as '{tag}'", vmstate.path, paths(images))
        }
        Prepare::TagDisks { images, tag, .. } => format!("tag {} as '{tag}'", paths(images)),
        Prepare::Start(start) => started(start),
        Prepare::CreateTag { image, tag } => format!("tag '{}' as '{tag}'", image.path),
    }
}

fn started(start: &Start) -> String {
    match &start.memory {
        MemorySource::Boot => "start the guest, paused".to_owned(),
        MemorySource::File(path) => format!("start the guest, paused, with the memory in '{path}'"),
        MemorySource::Tag(tag) => format!("start the guest, paused, with the memory and the disks of tag '{tag}'"),
    }
}

fn settled(step: &Settle) -> String {
    match step {
        Settle::Publish(change) => recorded(change),
        Settle::Resume { .. } => "let the guest run".to_owned(),
        Settle::Pause { .. } => "pause the guest".to_owned(),
        Settle::Thaw { .. } => "thaw the guest's file systems".to_owned(),
        Settle::Stop { .. } => "stop the guest".to_owned(),
        Settle::Start(start) => started(start),
        Settle::Reload(start) => match &start.memory {
            MemorySource::Tag(tag) => {
                format!("bring the guest, paused, back to the memory and the disks of tag '{tag}'")
            }
            MemorySource::Boot | MemorySource::File(_) => started(start),
        },
        Settle::ApplyTag { image, tag } => format!("bring '{}' back to tag '{tag}'", image.path),
        Settle::RemoveTag { images, tag, .. } => format!("remove tag '{tag}' from {}", paths(images)),
        Settle::MergeDown { top, base, .. } => format!("merge '{}' into '{}'", top.path, base.path),
        Settle::MergeActive { target, top, base, .. } => {
            format!("merge '{}', to which {target} is written, into '{}'", top.path, base.path)
        }
        Settle::Pivot { target, top, base, .. } => {
            format!("switch {target} from '{}' back to '{}'", top.path, base.path)
        }
        Settle::PullUp { image, from, .. } => format!("copy what '{}' needs of '{}' into it", image.path, from.path),
        Settle::Repoint { image, backing } => format!("let '{}' lie on '{}'", image.path, backing.path),
        Settle::Unlink { path } => format!("remove the file '{path}'"),
    }
}

//! The steps of a plan, done to Xen: the guest through `xl`, its disks through its qdisk as QEMU's are, volumes through
//! LVM, and everything else as on any host, but never while somebody else may write to the image.
//!
//! Must not know: the order of steps, the journal.

use super::guests::Phase;
use super::writers::{self, Except};
use super::{XenHost, backends, lvm, memory, qdisk};
use crate::error::{Error, Result};
use crate::host::images::img;
use crate::host::qemu::process::RunningQemu;
use crate::host::qemu::steps::{self, Guests as _};
use crate::host::{Host as _, HostEvent, Note, Report};
use crate::model::ids::{Image, Instance, OpId};
use crate::plan::steps::{Prepare, Settle};
use async_trait::async_trait;
use camino::Utf8Path;
use std::sync::Arc;

#[async_trait]
impl steps::Guests for XenHost {
    async fn running(&self, instance: Instance) -> Option<Arc<RunningQemu>> {
        self.qdisks.of(&self.guests, instance).await
    }

    fn emit(&self, event: HostEvent) {
        self.emit(event);
    }

    async fn kill(&self, instance: Instance, _graceful: bool) -> Result<()> {
        self.end(instance).await
    }
}

impl XenHost {
    pub(super) async fn do_prepare(&self, op: OpId, step: &Prepare, report: &dyn Report) -> Result<Option<Note>> {
        match step {
            Prepare::Reserve { path, .. } => make_directory(path)?,
            Prepare::Freeze { instance } => {
                self.agents.of(&self.guests, *instance).quiesce().await?;
                return Ok(None);
            }
            Prepare::Pause { instance } => {
                // A save has done it already.
                if !self.guests.get(*instance).is_some_and(|g| g.paused) {
                    self.pause(*instance).await?;
                }
                return Ok(None);
            }
            Prepare::SaveMemory { instance, path, .. } => {
                // Connected to now, and not while the guest stands still.
                let _qdisk = self.running(*instance).await;
                memory::save(&self.guests, *instance, path, report).await?;
                return Ok(None);
            }
            Prepare::TagDisks { instance, images, tag } => {
                let (volumes, files) = backends::volumes(images).await?;
                for volume in &volumes {
                    lvm::create_tag(volume, tag).await?;
                }
                if files.is_empty() {
                    return Ok(None);
                }
                let rest = Prepare::TagDisks { instance: *instance, images: files, tag: tag.clone() };
                return steps::prepare(self, op, &rest, report).await;
            }
            Prepare::CreateTag { image, tag } => {
                self.prove(None, &[image]).await?;
                if let Some(volume) = backends::volume(image).await? {
                    lvm::create_tag(&volume, tag).await?;
                    return Ok(None);
                }
            }
            Prepare::Format { image, backing } if image.format == "vhd" => {
                backends::format_vhd(image, backing).await?;
                return Ok(None);
            }
            Prepare::LiveSave { .. } | Prepare::AwaitSave { .. } | Prepare::SaveTag { .. } => {
                return Err(Error::internal("not a step of Xen"));
            }
            Prepare::Format { .. } | Prepare::Sync { .. } | Prepare::AddNodes { .. } | Prepare::Start(_) => {}
        }
        steps::prepare(self, op, step, report).await
    }

    pub(super) async fn do_undo(&self, op: OpId, step: &Prepare, note: Option<&Note>) -> Result<()> {
        match step {
            Prepare::Pause { instance } => return self.let_run(*instance).await,
            Prepare::Freeze { instance } => {
                self.agents.of(&self.guests, *instance).release().await;
                return Ok(());
            }
            Prepare::SaveMemory { instance, was_running, .. } => {
                return memory::undo(&self.guests, *instance, *was_running, &self.settings.runtime_dir).await;
            }
            Prepare::TagDisks { instance, images, tag } => {
                let files = self.untag_volumes(Some(*instance), images, tag).await?;
                let rest = Prepare::TagDisks { instance: *instance, images: files, tag: tag.clone() };
                return steps::undo(self, op, &rest, note).await;
            }
            Prepare::CreateTag { image, tag } => {
                let files = self.untag_volumes(None, std::slice::from_ref(image), tag).await?;
                if files.is_empty() {
                    return Ok(());
                }
            }
            _ => {}
        }
        steps::undo(self, op, step, note).await
    }

    pub(super) async fn do_settle(&self, op: OpId, step: &Settle, report: &dyn Report) -> Result<()> {
        match step {
            Settle::Resume { instance, .. } => return self.let_run(*instance).await,
            Settle::Pause { instance } => {
                if self.guests.domid(*instance).is_ok() && !self.guests.get(*instance).is_some_and(|g| g.paused) {
                    self.pause(*instance).await?;
                }
                return Ok(());
            }
            Settle::Thaw { instance } => {
                self.agents.of(&self.guests, *instance).release().await;
                return Ok(());
            }
            Settle::ApplyTag { image, tag } => {
                self.prove(None, &[image]).await?;
                if let Some(volume) = backends::volume(image).await? {
                    return lvm::apply_tag(&volume, tag).await;
                }
            }
            Settle::RemoveTag { instance, images, tag } => {
                let images = self.untag_volumes(*instance, images, tag).await?;
                let rest = Settle::RemoveTag { instance: *instance, images, tag: tag.clone() };
                return steps::settle(self, op, &rest, report).await;
            }
            Settle::MergeDown { instance, top, base, .. } => {
                self.prove_if_gone(*instance, &[top, base]).await?;
                if top.format == "vhd" {
                    return backends::merge_vhd(top, base).await;
                }
            }
            Settle::MergeActive { instance, top, base, .. } => {
                self.prove_if_gone(Some(*instance), &[top, base]).await?
            }
            Settle::Pivot { instance, target, top, base } => {
                self.prove_if_gone(Some(*instance), &[top, base]).await?;
                steps::settle(self, op, step, report).await?;
                self.tell_toolstack(*instance, std::iter::once((target.as_str(), base))).await;
                return Ok(());
            }
            Settle::PullUp { instance, image, .. } => self.prove_if_gone(*instance, &[image]).await?,
            Settle::Repoint { image, backing } => {
                self.prove(None, &[image]).await?;
                if image.format == "vhd" {
                    return backends::repoint_vhd(image, backing).await;
                }
            }
            Settle::Reload(_) => return Err(Error::internal("not a step of Xen")),
            Settle::Publish(_) | Settle::Start(_) | Settle::Stop { .. } | Settle::Unlink { .. } => {}
        }
        steps::settle(self, op, step, report).await
    }

    /// Nothing if it runs or is gone.
    async fn let_run(&self, instance: Instance) -> Result<()> {
        let known = self.guests.get(instance).filter(|g| g.phase == Phase::Here && g.paused);
        if known.is_none() {
            match self.guests.locate(instance).await? {
                Some(listed) if listed.paused && !listed.dying => {}
                _ => return Ok(()),
            }
        }
        self.resume(instance).await
    }

    /// Remove the tag from those images that are volumes; the others that have it are returned, and nobody else has them.
    async fn untag_volumes(&self, instance: Option<Instance>, images: &[Image], tag: &str) -> Result<Vec<Image>> {
        let (volumes, files) = backends::volumes(images).await?;
        for volume in &volumes {
            lvm::remove_tag(volume, tag).await?;
        }
        let mut tagged = Vec::new();
        for image in files {
            if image.path.exists() && img::find_tag(&image, tag).await?.is_some() {
                tagged.push(image);
            }
        }
        self.prove(instance, &tagged.iter().collect::<Vec<_>>()).await?;
        Ok(tagged)
    }

    /// What the guest's own qdisk does, it does to images that it has open. Without it `qemu-img` does it.
    async fn prove_if_gone(&self, instance: Option<Instance>, images: &[&Image]) -> Result<()> {
        match instance {
            Some(i) if self.running(i).await.is_some() => Ok(()),
            _ => self.prove(None, images).await,
        }
    }

    /// Nobody but that guest's own qdisk has the images. Where that one does not answer, nobody at all.
    async fn prove(&self, instance: Option<Instance>, images: &[&Image]) -> Result<()> {
        let own = match instance {
            Some(i) if self.running(i).await.is_some() => self.guests.domid(i).ok(),
            _ => None,
        };
        let except = match own {
            Some(domid) => Except { domid: Some(domid), pid: qdisk::pid(domid).await },
            None => Except::default(),
        };
        let paths: Vec<&Utf8Path> = images.iter().map(|i| i.path.as_path()).collect();
        writers::prove_none(&paths, except).await
    }
}

/// Generated names may lie in a domain's own directory, which nobody has made yet.
fn make_directory(path: &Utf8Path) -> Result<()> {
    let Some(directory) = path.parent().filter(|d| d.starts_with("/var/lib/xen/snapshots")) else { return Ok(()) };
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(|e| Error::system(format!("cannot create directory '{directory}'"), &e))
}

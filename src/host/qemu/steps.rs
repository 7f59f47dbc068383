//! The steps of a plan, done to QEMU and to images: which function does which step, in which
//! world (the hypervisor runs, or is gone).
//!
//! | module | steps |
//! |---|---|
//! | [`super::disks`] | `AddNodes`, the disk switch and its probe |
//! | [`super::saves`] | `SaveMemory`, `LiveSave`, `AwaitSave` |
//! | [`super::tags`] | `SaveTag`, `RemoveTag`, `Reload` |
//! | [`super::side`] | `MakeNvram`, `CopySide`, `RestoreSide`, `ResetNvram`, `DropSide` |
//! | [`super::merges`] | `MergeDown`, `MergeActive`, `Pivot`, `PullUp` |
//! | [`crate::host::images`] | everything that needs no QEMU |
//!
//! A step that finds its QEMU gone either has a way without it (and takes it) or fails, saying
//! that the guest quit. Must not know: the order of steps, the journal.

use super::process::RunningQemu;
use super::qmp::QmpError;
use super::{cpu, disks, memory, merges, saves, side, tags};
use crate::error::{Error, Result};
use crate::host::images::{files, img};
use crate::host::{CommitError, HostEvent, HostEventKind, Note, Probe, Report, StepProgress};
use crate::model::ids::{DiskTarget, Instance, OpId};
use crate::plan::steps::{Prepare, Settle, SwitchBy, SwitchDisk};
use async_trait::async_trait;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What steps need of the host around them.
#[async_trait]
pub(in crate::host) trait Guests: Send + Sync {
    /// The QEMU of that start, if it runs.
    async fn running(&self, instance: Instance) -> Option<Arc<RunningQemu>>;
    /// Tell what happened.
    fn emit(&self, event: HostEvent);
    /// End it.
    async fn kill(&self, instance: Instance, graceful: bool) -> Result<()>;
}

/// How long a QEMU that has closed its monitor may take to end.
const DYING: Duration = Duration::from_secs(10);

/// The QEMU of that start, if it runs and listens. One that is about to end is waited for: it
/// still has its images locked.
pub(super) async fn alive(guests: &dyn Guests, instance: Option<Instance>) -> Option<Arc<RunningQemu>> {
    let instance = instance?;
    let begun = Instant::now();
    loop {
        let qemu = guests.running(instance).await?;
        if !qemu.monitor.is_gone() {
            return Some(qemu);
        }
        if begun.elapsed() > DYING {
            return None;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn must_live(guests: &dyn Guests, instance: Instance) -> Result<Arc<RunningQemu>> {
    alive(guests, Some(instance)).await.ok_or_else(|| QmpError::Gone.into())
}

/// A block job's news, with libvirt's numbers.
pub(super) fn block_job(guests: &dyn Guests, qemu: &RunningQemu, disk: &DiskTarget, job: i32, status: i32) {
    let kind = HostEventKind::BlockJob { disk: disk.0.clone(), job, status };
    guests.emit(HostEvent { domain: qemu.domain, instance: qemu.instance, kind });
}

/// Nobody watches an undo.
pub(in crate::host) struct Unwatched;
impl Report for Unwatched {
    fn progress(&self, _: StepProgress) {}
    fn paused_for(&self, _: u64) {}
}

/// Do a prepare step.
pub(in crate::host) async fn prepare(
    guests: &dyn Guests,
    op: OpId,
    step: &Prepare,
    report: &dyn Report,
) -> Result<Option<Note>> {
    match step {
        Prepare::Reserve { path, existing } => return files::reserve(path, *existing).await.map(Some),
        Prepare::Format { image, backing } => {
            img::format_overlay(image, backing).await?;
            img::carry_bitmaps(backing, image).await?;
        }
        Prepare::Sync { path } => files::sync(path).await?,
        Prepare::AddNodes { instance, disks } => disks::add(&*must_live(guests, *instance).await?, disks).await?,
        Prepare::Freeze { instance } => {
            let frozen = must_live(guests, *instance).await?.agent()?.quiesce().await?;
            tracing::debug!(frozen, "file systems are frozen");
        }
        Prepare::Pause { instance } => cpu::stop(&*must_live(guests, *instance).await?).await?,
        Prepare::SaveMemory { instance, path, header, was_running } => {
            saves::still(&*must_live(guests, *instance).await?, path, header, *was_running, report).await?;
        }
        Prepare::LiveSave { instance, path, header, disks } => {
            let qemu = must_live(guests, *instance).await?;
            saves::live(&qemu, path, header, disks, &memory::RUNNING, report).await?;
        }
        Prepare::AwaitSave { instance, path } => {
            saves::await_live(&*must_live(guests, *instance).await?, path, report).await?;
        }
        Prepare::SaveTag { instance, tag, vmstate, images } => {
            tags::save(&*must_live(guests, *instance).await?, op, tag, vmstate, images, report).await?;
        }
        Prepare::TagDisks { instance, images, tag } => {
            tags::take(&*must_live(guests, *instance).await?, tag, images).await?;
        }
        Prepare::MakeNvram { nvram } => side::make(nvram).await?,
        Prepare::CopySide { instance, of, to } => side::copy(guests, op, *instance, of, to).await?,
        Prepare::Start(_) => return Err(Error::internal("not a step of the images")),
        Prepare::CreateTag { image, tag } => img::create_tag(image, tag).await?,
    }
    Ok(None)
}

/// Undo it, also if it never ran or ran half, and also a second time.
pub(in crate::host) async fn undo(guests: &dyn Guests, op: OpId, step: &Prepare, note: Option<&Note>) -> Result<()> {
    match step {
        Prepare::Reserve { path, existing } => files::unreserve(path, *existing, note).await,
        Prepare::MakeNvram { .. } | Prepare::Format { .. } | Prepare::Sync { .. } | Prepare::AwaitSave { .. } => Ok(()),
        Prepare::CopySide { instance, to, .. } => side::undo_copy(guests, op, *instance, to).await,
        Prepare::Start(_) => Err(Error::internal("not a step of the images")),
        Prepare::Freeze { instance } => release(guests, *instance).await,
        Prepare::AddNodes { instance, disks } => match alive(guests, Some(*instance)).await {
            Some(qemu) => unless_gone(disks::remove(&qemu, disks).await),
            None => Ok(()),
        },
        Prepare::Pause { instance } => resume(guests, *instance).await,
        Prepare::SaveMemory { instance, .. } => match alive(guests, Some(*instance)).await {
            Some(qemu) => unless_gone(saves::cancel(&qemu).await),
            None => Ok(()),
        },
        Prepare::LiveSave { instance, disks, .. } => saves::undo_live(guests, op, *instance, disks).await,
        Prepare::SaveTag { instance, tag, images, .. } => tags::undo_save(guests, op, *instance, images, tag).await,
        Prepare::TagDisks { instance, images, tag } => {
            tags::remove(guests, op, Some(*instance), images, tag, &Unwatched).await
        }
        Prepare::CreateTag { image, tag } => img::remove_tag(image, tag).await,
    }
}

/// Nothing has to be undone in a QEMU that is gone.
fn unless_gone(done: Result<(), QmpError>) -> Result<()> {
    match done {
        Err(QmpError::Gone) => Ok(()),
        done => Ok(done?),
    }
}

async fn resume(guests: &dyn Guests, instance: Instance) -> Result<()> {
    match alive(guests, Some(instance)).await {
        Some(qemu) => unless_gone(cpu::resume(&qemu).await),
        None => Ok(()),
    }
}

/// Thaw what a freeze may have frozen. What is not answered now is the agent's own matter from here on.
async fn release(guests: &dyn Guests, instance: Instance) -> Result<()> {
    if let Some(agent) = alive(guests, Some(instance)).await.as_ref().and_then(|q| q.agent.as_ref()) {
        agent.release().await;
    }
    Ok(())
}

/// Switch the disks of a running guest, all or none.
pub(in crate::host) async fn switch(
    guests: &dyn Guests,
    instance: Instance,
    disks: &[SwitchDisk],
) -> Result<(), CommitError> {
    // A QEMU that was gone before has switched nothing.
    let qemu = must_live(guests, instance).await.map_err(CommitError::Refused)?;
    disks::switch(&qemu, disks).await
}

/// Whether they are switched.
pub(in crate::host) async fn probe(guests: &dyn Guests, instance: Instance, disks: &[SwitchDisk]) -> Result<Probe> {
    match alive(guests, Some(instance)).await {
        Some(qemu) => disks::probe(&qemu, disks).await,
        // The guest stood still for a copy's sake, so the old image holds all that it has written, and the copy perhaps not yet.
        None if disks.iter().all(|d| d.by == SwitchBy::Copy) => Ok(Probe::NotDone),
        None => Ok(Probe::Unknown),
    }
}

/// Do a settle step, also if it ran before or ran half.
pub(in crate::host) async fn settle(guests: &dyn Guests, op: OpId, step: &Settle, report: &dyn Report) -> Result<()> {
    match step {
        Settle::Publish(_) | Settle::Start(_) => Err(Error::internal("not a step of the images")),
        Settle::Resume { instance, .. } => resume(guests, *instance).await,
        Settle::Pause { instance } => match alive(guests, Some(*instance)).await {
            Some(qemu) => unless_gone(cpu::stop(&qemu).await),
            None => Ok(()),
        },
        Settle::Thaw { instance } => release(guests, *instance).await,
        Settle::Stop { instance } => guests.kill(*instance, true).await,
        Settle::Reload(start) => tags::reload(&*must_live(guests, start.instance).await?, &start.memory, report).await,
        Settle::ApplyTag { image, tag } => img::apply_tag(image, tag).await,
        Settle::RemoveTag { instance, images, tag } => tags::remove(guests, op, *instance, images, tag, report).await,
        Settle::MergeDown { instance, target, top, base } => {
            merges::Merge { guests, op, target, top, base, report }.down(*instance).await
        }
        Settle::MergeActive { instance, target, top, base } => {
            merges::Merge { guests, op, target, top, base, report }.active(*instance).await
        }
        Settle::Pivot { instance, target, top, base } => {
            merges::Merge { guests, op, target, top, base, report }.pivot(*instance).await
        }
        Settle::PullUp { instance, image, from, onto } => {
            merges::pull_up(guests, op, *instance, image, from, onto.as_ref(), report).await
        }
        Settle::Repoint { image, backing } => img::repoint(image, backing).await,
        Settle::RestoreSide { of, from } => side::restore(of, from).await,
        Settle::ResetNvram { nvram } => side::reset(nvram).await,
        Settle::DropSide { path } => side::drop_copy(path).await,
        Settle::Unlink { path } => files::unlink_if_unused(path).await,
    }
}

//! Memory snapshots of a guest, standing still or live.
//!
//! The live one, whose paused instant is everything's instant:
//! ```text
//!   getfd, capability, overlays opened │ stop ▶ transaction ▶ migrate ▶ writes tracked ▶ cont │ … completed
//!                guest runs            │        guest stands still, milliseconds               │ guest runs
//! ```
//!
//! Where userfaultfd is refused (to QEMU as a whole, or for memory like this guest's), most is copied before:
//! ```text
//!   getfd, capability, overlays opened, migrate ▶ … little left │ transaction ▶ migrate-continue ▶ completed ▶ cont │
//!                guest runs                                     │        guest stands still                         │ guest runs
//! ```

use super::block::Graph;
use super::memory::{self, Way};
use super::process::RunningQemu;
use super::qmp::QmpError;
use super::steps::{Guests, Unwatched, alive};
use super::{cpu, disks, merges};
use crate::error::{Code, Error, Result};
use crate::host::Report;
use crate::host::images::{files, img};
use crate::model::ids::{Instance, OpId};
use crate::plan::steps::SwitchDisk;
use camino::Utf8Path;
use serde_json::json;
use std::time::Instant;

/// Save the memory of a guest that stands still.
pub(super) async fn still(
    qemu: &RunningQemu,
    path: &Utf8Path,
    header: &str,
    was_running: bool,
    report: &dyn Report,
) -> Result<()> {
    cpu::wake(qemu).await?;
    let way = memory::prepare(&qemu.monitor, path, header, was_running, &[Way::Still]).await?;
    memory::begin(&qemu.monitor, way).await?;
    memory::finish(&qemu.monitor, report).await?;
    memory::seal(path).await
}

/// End a save. The images that a completed one gave up are taken back by the next `cont`.
pub(super) async fn cancel(qemu: &RunningQemu) -> Result<(), QmpError> {
    memory::cancel(&qemu.monitor).await
}

/// Switch the disks and begin the save at one instant, or where that must be, end it.
pub(super) async fn live(
    qemu: &RunningQemu,
    path: &Utf8Path,
    header: &str,
    disks: &[SwitchDisk],
    ways: &[Way],
    report: &dyn Report,
) -> Result<()> {
    for disk in disks.iter().filter(|d| d.reused) {
        // Its undo is a merge, which must not write what the caller had put there.
        if !img::is_empty(&disk.overlay).await? {
            return Err(Error::new(
                Code::ConfigUnsupported,
                format!("the overlay '{}' is not empty: not possible with memory", disk.overlay.path),
            ));
        }
    }
    let way = memory::prepare(&qemu.monitor, path, header, true, ways).await?;
    let actions = disks::actions(qemu, disks).await?;
    let _own = qemu.own_pause();
    let begun = match way {
        Way::Ahead => memory::ahead(&qemu.monitor, report).await?,
        Way::Live | Way::Still => Instant::now(),
    };
    let done = async {
        if way != Way::Ahead {
            qemu.monitor.execute("stop", json!({})).await?;
        }
        qemu.monitor.execute("transaction", json!({ "actions": actions })).await?;
        match way {
            Way::Ahead => memory::go_on(&qemu.monitor, report).await?,
            Way::Live | Way::Still => memory::begin(&qemu.monitor, way).await?,
        }
        Ok::<(), Error>(())
    }
    .await;
    // QEMU 7.2 has resumed by itself when tracking began; then this does nothing.
    let resumed = qemu.monitor.execute("cont", json!({})).await;
    let paused = begun.elapsed();
    done?;
    resumed?;
    report.paused_for(u64::try_from(paused.as_micros()).unwrap_or(u64::MAX));
    tracing::info!(domain = %qemu.domain, ?way, ?paused, "memory snapshot begun");
    Ok(())
}

/// Wait for the end of the save.
pub(super) async fn await_live(qemu: &RunningQemu, path: &Utf8Path, report: &dyn Report) -> Result<()> {
    memory::finish(&qemu.monitor, report).await?;
    memory::seal(path).await
}

/// End the save first: if it completed after the merge, memory and disks would disagree. Then
/// bring every overlay back down, and let the guest run.
pub(super) async fn undo_live(guests: &dyn Guests, op: OpId, instance: Instance, disks: &[SwitchDisk]) -> Result<()> {
    let Some(qemu) = alive(guests, Some(instance)).await else { return undo_offline(disks).await };
    memory::cancel(&qemu.monitor).await?;
    let graph = Graph::read(&qemu.monitor).await?;
    let attached = disks.iter().filter(|d| graph.active(&d.overlay.path).is_some());
    let merges: Vec<merges::Merge<'_>> = attached
        .map(|d| merges::Merge { guests, op, target: &d.target, top: &d.overlay, base: &d.old, report: &Unwatched })
        .collect();
    for merge in &merges {
        merge.active(instance).await?;
    }
    if !merges.is_empty() {
        cpu::stop(&qemu).await?;
    }
    for merge in &merges {
        merge.pivot(instance).await?;
    }
    for disk in disks {
        give_back(disk).await?;
    }
    Ok(cpu::resume(&qemu).await?)
}

/// An overlay that is not in use any more, as it was before: nothing in it may be merged again
/// after the guest has written below. The caller's own is made empty over its base once more.
async fn give_back(disk: &SwitchDisk) -> Result<()> {
    let path = &disk.overlay.path;
    let length = path.metadata().map_or(0, |m| m.len());
    if disk.reused {
        if length == 0 || !img::is_empty(&disk.overlay).await? {
            img::format_overlay(&disk.overlay, &disk.old).await?;
            files::sync(path).await?;
        }
    } else if length > 0 && !img::is_empty(&disk.overlay).await? {
        files::empty(path).await?;
    }
    Ok(())
}

/// The guest is gone: what it wrote into the overlays goes down. The caller's own overlays stay as
/// they are: nobody knows any more whether they were empty before.
async fn undo_offline(disks: &[SwitchDisk]) -> Result<()> {
    for disk in disks {
        let path = &disk.overlay.path;
        let formatted = path.metadata().is_ok_and(|m| m.len() > 0);
        if !formatted || img::is_empty(&disk.overlay).await? {
            continue;
        }
        if disk.reused {
            tracing::warn!(%path, "the guest died while its disk was in this overlay; it is not merged back");
            continue;
        }
        img::commit(&disk.overlay, &disk.old, None).await?;
        files::empty(path).await?;
    }
    Ok(())
}

//! Copies of disks that clients have asked for (`blockdev-mirror`): begun, looked at, given up, moved to.
//!
//! QEMU's job is the only record of a copy: its id says the disk and, with the number in it, the node that is written. So another
//! life of the daemon finds it again without having written anything down.
//!
//! Must not know: definitions, plans.

use super::block::{self, Graph};
use super::process::RunningQemu;
use super::qmp::QmpError;
use super::{cpu, disks};
use crate::error::{Code, Error, Result};
use crate::host::images::{files, img};
use crate::model::block_job::{BlockJob, BlockJobKind, DiskCopy};
use crate::model::ids::{DiskTarget, OpId};
use crate::plan::steps::{Existing, SwitchBy, SwitchDisk};
use serde_json::{Value, json};
use std::sync::PoisonError;
use std::time::Duration;

const PREFIX: &str = "virsnap-copy-";
/// How often a job that is about to end is asked for.
const TICK: Duration = Duration::from_millis(20);

fn node(op: OpId) -> String {
    format!("vcopy-{}", op.0)
}

fn id(op: OpId, disk: &super::process::RunningDisk) -> String {
    // A device's id is a legal id, which a target need not be.
    format!("{PREFIX}{}-{}", op.0, disk.device)
}

/// The node and the disk that a job's id speaks of.
fn read_id(qemu: &RunningQemu, id: &str) -> Option<(String, DiskTarget)> {
    let (op, device) = id.strip_prefix(PREFIX)?.split_once('-')?;
    let disk = qemu.disks.iter().find(|d| d.device == device)?;
    Some((node(OpId(op.parse().ok()?)), disk.target.clone()))
}

/// The disk of a job of ours, for news of it.
pub(super) fn disk_of(qemu: &RunningQemu, id: &str) -> Option<DiskTarget> {
    read_id(qemu, id).map(|(_, target)| target)
}

/// The copies that run.
pub(super) async fn list(qemu: &RunningQemu) -> Result<Vec<BlockJob>> {
    let jobs = qemu.monitor.execute("query-block-jobs", json!({})).await?;
    let jobs = jobs.as_array().map(Vec::as_slice).unwrap_or_default();
    if jobs.is_empty() {
        return Ok(Vec::new());
    }
    let graph = Graph::read(&qemu.monitor).await?;
    let number = |job: &Value, key: &str| job[key].as_u64().unwrap_or_default();
    let read = |job: &Value| {
        let id = job["device"].as_str()?;
        let (node, target) = read_id(qemu, id)?;
        Some(BlockJob {
            image: graph.image(&node)?,
            target,
            kind: BlockJobKind::Copy,
            id: id.to_owned(),
            node,
            bandwidth: number(job, "speed"),
            done: number(job, "offset"),
            total: number(job, "len"),
            ready: job["ready"].as_bool().unwrap_or_default(),
        })
    };
    Ok(jobs.iter().filter_map(read).collect())
}

/// Begin a copy. On an error nothing is left of it, the file included unless it was the caller's.
pub(super) async fn begin(qemu: &RunningQemu, op: OpId, copy: &DiskCopy) -> Result<()> {
    let Some(disk) = qemu.disk(&copy.target) else {
        return Err(Error::internal(format!("disk '{}' has no device", copy.target)));
    };
    let graph = Graph::read(&qemu.monitor).await?;
    let source = graph
        .active(&copy.from.path)
        .ok_or_else(|| Error::internal(format!("disk '{}' does not use '{}' any more", copy.target, copy.from.path)))?;
    let existing = if copy.to.path.exists() { Existing::AdoptEmpty } else { Existing::Refuse };
    let made = match copy.reuse || copy.to.path.metadata().is_ok_and(|m| !m.is_file()) {
        true => None,
        false => Some(files::reserve(&copy.to.path, existing).await?),
    };
    let switch = as_switch(copy, op);
    let begun = async {
        if !copy.reuse {
            img::format_alone(&copy.to, img::size(&copy.from).await?).await?;
        }
        disks::add(qemu, std::slice::from_ref(&switch)).await?;
        cpu::wake(qemu).await?;
        let mode = if copy.synchronous { "write-blocking" } else { "background" };
        let mut arguments = json!({
            "job-id": id(op, disk), "device": source, "target": switch.node, "sync": "full", "speed": copy.bandwidth,
            "copy-mode": mode,
        });
        for (key, value) in [("granularity", copy.granularity), ("buf-size", copy.buffer)] {
            if value > 0 {
                arguments[key] = value.into();
            }
        }
        qemu.monitor.execute("blockdev-mirror", arguments).await?;
        Ok(())
    };
    let begun: Result<()> = begun.await;
    if begun.is_err() {
        if let Err(error) = disks::remove(qemu, std::slice::from_ref(&switch)).await {
            tracing::warn!(%error, "cannot close a copy that was not begun");
        }
        if let Some(note) = made {
            files::unreserve(&copy.to.path, existing, Some(&note)).await?;
        }
    }
    begun
}

fn as_switch(copy: &DiskCopy, op: OpId) -> SwitchDisk {
    SwitchDisk {
        target: copy.target.clone(),
        old: copy.from.clone(),
        overlay: copy.to.clone(),
        node: node(op),
        reused: true,
        by: SwitchBy::Copy,
    }
}

/// Give it up: the disk stays where it is, what was copied stays in the file.
pub(super) async fn cancel(qemu: &RunningQemu, job: &BlockJob) -> Result<()> {
    qemu.own.given_up.lock().unwrap_or_else(PoisonError::into_inner).insert(job.id.clone());
    qemu.monitor.execute("block-job-cancel", json!({ "device": job.id })).await?;
    gone(qemu, job).await?;
    Ok(block::drop_unused(&qemu.monitor, &job.image.path).await?)
}

/// Give it another limit.
pub(super) async fn set_speed(qemu: &RunningQemu, job: &BlockJob, bandwidth: u64) -> Result<()> {
    let arguments = json!({ "device": job.id, "speed": bandwidth });
    Ok(qemu.monitor.execute("block-job-set-speed", arguments).await.map(drop)?)
}

async fn gone(qemu: &RunningQemu, job: &BlockJob) -> Result<()> {
    while list(qemu).await?.iter().any(|j| j.id == job.id) {
        tokio::select! {
            () = tokio::time::sleep(TICK) => {}
            () = qemu.monitor.gone() => return Err(QmpError::Gone.into()),
        }
    }
    Ok(())
}

/// Move the disk of a guest that stands still over to its copy; the job's end tells nothing, the graph does.
pub(super) async fn pivot(qemu: &RunningQemu, disk: &SwitchDisk) -> Result<()> {
    let Some(job) = list(qemu).await?.into_iter().find(|j| j.node == disk.node) else {
        return Err(Error::failed(format!("the block copy of disk '{}' has ended", disk.target)));
    };
    if !job.ready {
        return Err(Error::new(Code::BlockCopyActive, format!("block job '{}' not ready for pivot yet", job.id)));
    }
    let below = Graph::read(&qemu.monitor).await?.below(&disk.old.path);
    qemu.monitor.execute("job-complete", json!({ "id": job.id })).await?;
    gone(qemu, &job).await?;
    if !Graph::read(&qemu.monitor).await?.is_active(&disk.node) {
        return Err(Error::failed(format!("disk '{}' did not move to '{}'", disk.target, disk.overlay.path)));
    }
    for path in below {
        block::drop_unused(&qemu.monitor, &path).await?;
    }
    Ok(())
}

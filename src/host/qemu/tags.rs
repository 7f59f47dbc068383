//! Internal snapshots of a running guest.
//!
//! QEMU's snapshot jobs write to the nodes they are told; a node that is only a backing file has
//! given up its right to write, and QEMU would end in an assertion. So: active layers only.

use super::block::Graph;
use super::job::{self, Job, Until};
use super::process::RunningQemu;
use super::steps::{Guests, Unwatched, alive};
use super::{cpu, memory};
use crate::error::{Error, Result};
use crate::host::Report;
use crate::host::images::{files, img};
use crate::model::ids::{Image, Instance, OpId};
use crate::plan::steps::MemorySource;
use serde_json::json;

fn active<'g>(graph: &'g Graph, image: &Image) -> Result<&'g str> {
    graph.active(&image.path).ok_or_else(|| {
        Error::invalid(format!("image '{}' is not the active layer of a disk of the running domain", image.path))
    })
}

/// What a save that runs out of space wrote stays allocated in the image (measured with 7.2), and the guest's own next
/// write then fails: so the room for all memory that is in use is asked for before.
fn check_room(qemu: &RunningQemu, vmstate: &Image) -> Result<()> {
    let directory = vmstate.path.parent().filter(|_| vmstate.path.is_file());
    let (Some(directory), Some(resident)) = (directory, resident_bytes(qemu.pid)) else { return Ok(()) };
    let free = rustix::fs::statvfs(directory.as_std_path()).map(|s| s.f_bavail.saturating_mul(s.f_frsize));
    match free {
        Ok(free) if free < resident => Err(Error::failed(format!(
            "snapshot-save job failed: No space left on device: the guest has {} MiB of memory in use, '{directory}' has {} MiB free",
            resident >> 20,
            free >> 20
        ))),
        _ => Ok(()),
    }
}

/// What the process has in memory, in bytes.
fn resident_bytes(pid: u32) -> Option<u64> {
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * u64::try_from(rustix::param::page_size()).unwrap_or(4096))
}

/// Save memory and disks of a guest that stands still into tags.
pub(super) async fn save(
    qemu: &RunningQemu,
    op: OpId,
    tag: &str,
    vmstate: &Image,
    images: &[Image],
    report: &dyn Report,
) -> Result<()> {
    check_room(qemu, vmstate)?;
    cpu::wake(qemu).await?;
    memory::calm(&qemu.monitor).await?;
    let graph = Graph::read(&qemu.monitor).await?;
    let devices = images.iter().map(|i| active(&graph, i)).collect::<Result<Vec<_>>>()?;
    let id = job::id(op, "save");
    let job = Job { monitor: &qemu.monitor, id: &id, kind: "snapshot-save" };
    let vmstate = active(&graph, vmstate)?;
    let arguments = json!({ "job-id": id, "tag": tag, "vmstate": vmstate, "devices": devices });
    qemu.monitor.execute("snapshot-save", arguments).await?;
    job.wait(Until::Concluded, report).await?;
    for image in images {
        files::sync(&image.path).await?;
    }
    Ok(())
}

/// Tag the disks of a guest that stands still, in one transaction.
pub(super) async fn take(qemu: &RunningQemu, tag: &str, images: &[Image]) -> Result<()> {
    cpu::wake(qemu).await?;
    let graph = Graph::read(&qemu.monitor).await?;
    let action = |image: &Image| {
        let data = json!({ "device": active(&graph, image)?, "name": tag });
        Ok(json!({ "type": "blockdev-snapshot-internal-sync", "data": data }))
    };
    let actions = images.iter().map(action).collect::<Result<Vec<_>>>()?;
    qemu.monitor.execute("transaction", json!({ "actions": actions })).await?;
    for image in images {
        files::sync(&image.path).await?;
    }
    Ok(())
}

/// Load memory and disks from a tag into the running machine; its CPUs stand still afterwards.
pub(super) async fn reload(qemu: &RunningQemu, memory: &MemorySource, report: &dyn Report) -> Result<()> {
    let MemorySource::Tag(tag) = memory else {
        return Err(Error::internal("only a tag is loaded into a running machine"));
    };
    cpu::stop(qemu).await?;
    memory::calm(&qemu.monitor).await?;
    let _own = qemu.own_pause();
    memory::load_tag(&qemu.monitor, tag, report).await
}

/// Remove our tag from every image: none, all or some may have it.
pub(super) async fn undo_save(
    guests: &dyn Guests,
    op: OpId,
    instance: Instance,
    images: &[Image],
    tag: &str,
) -> Result<()> {
    if let Some(qemu) = alive(guests, Some(instance)).await {
        // A save that still runs has to end first; how is no matter.
        let id = job::id(op, "save");
        let job = Job { monitor: &qemu.monitor, id: &id, kind: "snapshot-save" };
        if !job.clear().await? {
            let verdict = job.wait(Until::Concluded, &Unwatched).await;
            if qemu.monitor.is_gone() {
                verdict?;
            }
        }
    }
    remove(guests, op, Some(instance), images, tag, &Unwatched).await
}

/// Remove a tag from images, by the QEMU that has them open or by `qemu-img`. Absent is fine.
pub(super) async fn remove(
    guests: &dyn Guests,
    op: OpId,
    instance: Option<Instance>,
    images: &[Image],
    tag: &str,
    report: &dyn Report,
) -> Result<()> {
    let mut tagged = Vec::new();
    for image in images {
        if image.path.exists() && img::find_tag(image, tag).await?.is_some() {
            tagged.push(image);
        }
    }
    let Some(qemu) = alive(guests, instance).await else {
        for image in tagged {
            img::remove_tag(image, tag).await?;
        }
        return Ok(());
    };
    let id = job::id(op, "untag");
    let job = Job { monitor: &qemu.monitor, id: &id, kind: "snapshot-delete" };
    if !job.clear().await? {
        return job.wait(Until::Concluded, report).await;
    }
    let graph = Graph::read(&qemu.monitor).await?;
    let (open, closed): (Vec<&Image>, Vec<&Image>) = tagged.into_iter().partition(|i| graph.is_open(&i.path));
    for image in closed {
        img::remove_tag(image, tag).await?;
    }
    let devices = open.into_iter().map(|i| active(&graph, i)).collect::<Result<Vec<_>>>()?;
    if devices.is_empty() {
        return Ok(());
    }
    cpu::wake(&qemu).await?;
    let arguments = json!({ "job-id": id, "tag": tag, "devices": devices });
    qemu.monitor.execute("snapshot-delete", arguments).await?;
    job.wait(Until::Concluded, report).await
}

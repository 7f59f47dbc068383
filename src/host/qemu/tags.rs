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
use serde_json::json;

fn active<'g>(graph: &'g Graph, image: &Image) -> Result<&'g str> {
    graph.active(&image.path).ok_or_else(|| {
        Error::invalid(format!("image '{}' is not the active layer of a disk of the running domain", image.path))
    })
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

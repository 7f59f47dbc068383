//! Overlays of a running guest: opened, switched to in one transaction, probed, closed.
//!
//! Must not know: memory, jobs.

use super::block::{self, Graph};
use super::copies;
use super::process::{RunningDisk, RunningQemu};
use super::qmp::QmpError;
use crate::error::{Code, Error};
use crate::host::{CommitError, Probe};
use crate::model::ids::Image;
use crate::plan::steps::{SwitchBy, SwitchDisk};
use serde_json::{Map, Value, json};
use std::os::unix::fs::FileTypeExt;

fn file_node(disk: &SwitchDisk) -> String {
    format!("{}-f", disk.node)
}

fn file_driver(image: &Image) -> &'static str {
    let block = image.path.metadata().is_ok_and(|m| m.file_type().is_block_device());
    if block { "host_device" } else { "file" }
}

/// Open the overlays, with the options of their disks, not yet in use. `backing: null`: the
/// switch puts the old image below.
pub(super) async fn add(qemu: &RunningQemu, disks: &[SwitchDisk]) -> Result<(), QmpError> {
    for disk in disks {
        let known = qemu.disk(&disk.target);
        let node = |options: Option<Map<String, Value>>, more: Value| {
            let mut node = options.unwrap_or_default();
            node.extend(more.as_object().cloned().unwrap_or_default());
            Value::Object(node)
        };
        let file = node(
            known.map(RunningDisk::file_options),
            json!({
                "driver": file_driver(&disk.overlay), "node-name": file_node(disk), "filename": disk.overlay.path,
            }),
        );
        let format = node(
            known.map(RunningDisk::format_options),
            json!({
                "driver": disk.overlay.format, "node-name": disk.node, "file": file_node(disk), "backing": null,
            }),
        );
        for node in [file, format] {
            qemu.monitor.execute("blockdev-add", node).await?;
        }
    }
    Ok(())
}

/// Close overlays that are not in use.
pub(super) async fn remove(qemu: &RunningQemu, disks: &[SwitchDisk]) -> Result<(), QmpError> {
    let graph = Graph::read(&qemu.monitor).await?;
    for disk in disks {
        for node in [disk.node.clone(), file_node(disk)] {
            if graph.has(&node) {
                qemu.monitor.execute("blockdev-del", json!({ "node-name": node })).await?;
            }
        }
        // What a merge has left.
        if graph.is_open(&disk.overlay.path) {
            block::drop_unused(&qemu.monitor, &disk.overlay.path).await?;
        }
    }
    Ok(())
}

/// The transaction's actions, as the graph now is.
pub(super) async fn actions(qemu: &RunningQemu, disks: &[SwitchDisk]) -> Result<Value, Error> {
    let graph = Graph::read(&qemu.monitor).await?;
    let action = |disk: &SwitchDisk| {
        let node = graph.active(&disk.old.path).ok_or_else(|| {
            Error::internal(format!("disk '{}' does not use '{}' any more", disk.target, disk.old.path))
        })?;
        Ok(json!({ "type": "blockdev-snapshot", "data": { "node": node, "overlay": disk.node } }))
    };
    disks.iter().map(action).collect::<Result<Vec<_>, Error>>().map(Value::Array)
}

/// Switch all or none.
pub(super) async fn switch(qemu: &RunningQemu, disks: &[SwitchDisk]) -> Result<(), CommitError> {
    if let [copy] = disks
        && copy.by == SwitchBy::Copy
    {
        return copies::pivot(qemu, copy).await.map_err(|error| {
            if error.code == Code::OperationFailed || error.code == Code::BlockCopyActive {
                CommitError::Refused(error)
            } else {
                CommitError::InDoubt(error)
            }
        });
    }
    let actions = actions(qemu, disks).await.map_err(CommitError::Refused)?;
    match qemu.monitor.execute("transaction", json!({ "actions": actions })).await {
        Ok(_) => Ok(()),
        Err(error @ QmpError::Refused { .. }) => Err(CommitError::Refused(error.into())),
        Err(error) => Err(CommitError::InDoubt(error.into())),
    }
}

/// Whether they are switched: by the devices' active layers.
pub(super) async fn probe(qemu: &RunningQemu, disks: &[SwitchDisk]) -> Result<Probe, Error> {
    let graph = match Graph::read(&qemu.monitor).await {
        Err(QmpError::Gone) => return Ok(Probe::Unknown),
        graph => graph?,
    };
    let switched = disks.iter().filter(|d| graph.is_active(&d.node)).count();
    Ok(match switched {
        0 => Probe::NotDone,
        n if n == disks.len() => Probe::Done,
        // A transaction is all or nothing; somebody else was here.
        _ => Probe::Unknown,
    })
}

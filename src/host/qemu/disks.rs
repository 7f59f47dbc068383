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

/// The transaction's actions, as the graph now is. What a backup follows with a bitmap of the old image it goes on following
/// with one of the overlay, from the same instant on.
pub(super) async fn actions(qemu: &RunningQemu, disks: &[SwitchDisk]) -> Result<Value, Error> {
    let graph = Graph::read(&qemu.monitor).await?;
    let named = qemu.monitor.execute("query-named-block-nodes", json!({ "flat": true })).await?;
    let mut actions = Vec::new();
    for disk in disks {
        let node = graph.active(&disk.old.path).ok_or_else(|| {
            Error::internal(format!("disk '{}' does not use '{}' any more", disk.target, disk.old.path))
        })?;
        if disk.overlay.format == "qcow2" {
            actions.extend(bitmaps(&named, node).map(|bitmap| {
                let data = json!({
                    "node": disk.node, "name": bitmap["name"], "granularity": bitmap["granularity"], "persistent": true,
                });
                json!({ "type": "block-dirty-bitmap-add", "data": data })
            }));
        }
        actions.push(json!({ "type": "blockdev-snapshot", "data": { "node": node, "overlay": disk.node } }));
    }
    Ok(Value::Array(actions))
}

/// The bitmaps of a node that outlive QEMU, record and can be relied on.
fn bitmaps<'v>(named: &'v Value, node: &str) -> impl Iterator<Item = &'v Value> {
    let found = named.as_array().and_then(|all| all.iter().find(|n| n["node-name"] == node));
    let bitmaps = found.and_then(|n| n["dirty-bitmaps"].as_array()).map(Vec::as_slice).unwrap_or_default();
    bitmaps.iter().filter(|b| b["persistent"] == true && b["recording"] == true && b["inconsistent"] != true)
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

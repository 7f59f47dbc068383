//! Layers that go: into the image below (commit), or into the image above (stream).
//!
//! The jobs of inner layers end in two steps (`auto-finalize: false`): QEMU writes the new
//! backing file's name without first writing out the tables that it still holds in memory, so a
//! kill in between would lose what was merged. Between the two the nodes are flushed.

use super::block::{self, Graph};
use super::cpu;
use super::job::{self, Job, Until};
use super::process::RunningQemu;
use super::qmp::Monitor;
use super::steps::{Guests, Unwatched, alive, block_job};
use crate::error::{Error, Result};
use crate::host::Report;
use crate::host::images::{files, img};
use crate::model::ids::{DiskTarget, Image, Instance, OpId};
use camino::Utf8Path;
use serde_json::json;

/// `virDomainBlockJobType`.
const PULL: i32 = 1;
const COMMIT: i32 = 3;
const ACTIVE_COMMIT: i32 = 4;
/// `virConnectDomainEventBlockJobStatus`.
const COMPLETED: i32 = 0;
const FAILED: i32 = 1;
const READY: i32 = 3;

/// One layer that goes into the image below it.
pub(super) struct Merge<'a> {
    pub(super) guests: &'a dyn Guests,
    pub(super) op: OpId,
    pub(super) target: &'a DiskTarget,
    pub(super) top: &'a Image,
    pub(super) base: &'a Image,
    pub(super) report: &'a dyn Report,
}

impl Merge<'_> {
    fn id(&self) -> String {
        job::id(self.op, self.target.as_str())
    }

    async fn offline(&self) -> Result<()> {
        img::commit(self.top, self.base, Some(self.report)).await
    }

    /// The layer was left and is in `base`. It is emptied, so that no later commit of it can
    /// overwrite what the guest writes below it from now on: nothing else on the disk shows that
    /// it was left.
    async fn give_up_layer(&self) -> Result<()> {
        match self.top.path.metadata() {
            Ok(meta) if meta.is_file() => files::empty(&self.top.path).await,
            Ok(_) => img::format_overlay(self.top, self.base).await,
            Err(_) => Ok(()),
        }
    }

    /// The active layer of a guest that is gone.
    async fn offline_active(&self) -> Result<()> {
        if self.top.path.metadata().is_ok_and(|m| m.is_file() && m.len() == 0) {
            return Ok(());
        }
        self.offline().await?;
        self.give_up_layer().await
    }

    /// Tell of a failed job, unless the whole guest failed.
    fn told(&self, qemu: &RunningQemu, kind: i32, done: Result<()>) -> Result<()> {
        if done.is_err() && !qemu.monitor.is_gone() {
            block_job(self.guests, qemu, self.target, kind, FAILED);
        }
        done
    }

    /// An inner layer, or one that no QEMU has open.
    pub(super) async fn down(&self, instance: Option<Instance>) -> Result<()> {
        let Some(qemu) = alive(self.guests, instance).await else { return self.offline().await };
        let id = self.id();
        let job = Job { monitor: &qemu.monitor, id: &id, kind: "block-commit" };
        if job.clear().await? {
            let graph = Graph::read(&qemu.monitor).await?;
            if !graph.is_open(&self.top.path) {
                // Merged before, or a chain that is not open here. What is open and has lost its
                // upper layer was merged.
                if !graph.is_open(&self.base.path) {
                    return self.offline().await;
                }
                return sync_above(&qemu.monitor, &self.base.path).await;
            }
            let Some(pair) = graph.chain(&self.top.path, &self.base.path) else {
                sync_above(&qemu.monitor, &self.base.path).await?;
                return Ok(block::drop_unused(&qemu.monitor, &self.top.path).await?);
            };
            if pair.device.is_some() || !pair.adjacent {
                return Err(Error::internal(format!(
                    "'{}' is not an inner layer on '{}'",
                    self.top.path, self.base.path
                )));
            }
            let root = graph.root_above(pair.upper).unwrap_or(pair.upper);
            let arguments = json!({
                "job-id": id, "device": root, "top-node": pair.upper, "base-node": pair.lower,
                "backing-file": self.base.path, "auto-finalize": false, "auto-dismiss": false,
            });
            cpu::wake(&qemu).await?;
            qemu.monitor.execute("block-commit", arguments).await?;
        }
        let done = finalize(&job, &self.base.path, self.report).await;
        self.told(&qemu, COMMIT, done)?;
        sync_above(&qemu.monitor, &self.base.path).await?;
        block::drop_unused(&qemu.monitor, &self.top.path).await?;
        block_job(self.guests, &qemu, self.target, COMMIT, COMPLETED);
        Ok(())
    }

    /// Whether the guest has left the layer already.
    fn left(&self, graph: &Graph) -> bool {
        graph.active(&self.base.path).is_some() && graph.active(&self.top.path).is_none()
    }

    /// The active layer: both sides become the same and stay so; the overlay stays the truth.
    /// Without QEMU there is nothing to do before [`Self::pivot`].
    pub(super) async fn active(&self, instance: Instance) -> Result<()> {
        let Some(qemu) = alive(self.guests, Some(instance)).await else { return Ok(()) };
        let id = self.id();
        let job = Job { monitor: &qemu.monitor, id: &id, kind: "block-commit" };
        if job.clear().await? {
            let graph = Graph::read(&qemu.monitor).await?;
            if self.left(&graph) {
                return Ok(());
            }
            let pair = graph.chain(&self.top.path, &self.base.path).filter(|p| p.adjacent && p.device.is_some());
            let Some(pair) = pair else {
                return Err(Error::internal(format!(
                    "'{}' is not the active layer on '{}'",
                    self.top.path, self.base.path
                )));
            };
            let arguments = json!({
                "job-id": id, "device": pair.upper, "base-node": pair.lower, "auto-dismiss": false,
            });
            cpu::wake(&qemu).await?;
            qemu.monitor.execute("block-commit", arguments).await?;
        }
        let done = job.wait(Until::Ready, self.report).await;
        self.told(&qemu, ACTIVE_COMMIT, done)?;
        block_job(self.guests, &qemu, self.target, ACTIVE_COMMIT, READY);
        Ok(())
    }

    /// Leave the active layer of a guest that stands still.
    pub(super) async fn pivot(&self, instance: Instance) -> Result<()> {
        let Some(qemu) = alive(self.guests, Some(instance)).await else { return self.offline_active().await };
        let id = self.id();
        let job = Job { monitor: &qemu.monitor, id: &id, kind: "block-commit" };
        if job.clear().await? {
            if self.left(&Graph::read(&qemu.monitor).await?) {
                block::drop_unused(&qemu.monitor, &self.top.path).await?;
                return self.give_up_layer().await;
            }
            // The job has failed since, or was lost with another QEMU's life.
            self.active(instance).await?;
        }
        let done = async {
            match job.state().await? {
                // Told before, by another life of this daemon.
                Some(state) if state.status != "ready" => {}
                _ => drop(qemu.monitor.execute("job-complete", json!({ "id": id })).await?),
            }
            job.wait(Until::Concluded, self.report).await
        };
        let done = done.await;
        self.told(&qemu, ACTIVE_COMMIT, done)?;
        block::drop_unused(&qemu.monitor, &self.top.path).await?;
        self.give_up_layer().await?;
        block_job(self.guests, &qemu, self.target, ACTIVE_COMMIT, COMPLETED);
        Ok(())
    }
}

/// Let `image` take what it reads from `from`, so that it lies on `onto`.
pub(super) async fn pull_up(
    guests: &dyn Guests,
    op: OpId,
    instance: Option<Instance>,
    image: &Image,
    from: &Image,
    onto: Option<&Image>,
    report: &dyn Report,
) -> Result<()> {
    let Some(qemu) = alive(guests, instance).await else { return img::rebase(image, onto, Some(report)).await };
    let id = job::id(op, "pull");
    let job = Job { monitor: &qemu.monitor, id: &id, kind: "block-stream" };
    let graph = Graph::read(&qemu.monitor).await?;
    let target = target_of(&qemu, &graph, image);
    if job.clear().await? {
        if !graph.is_open(&image.path) {
            return img::rebase(image, onto, Some(report)).await;
        }
        let Some(pair) = graph.chain(&image.path, &from.path) else {
            files::sync(&image.path).await?;
            return Ok(block::drop_unused(&qemu.monitor, &from.path).await?);
        };
        let mut arguments = json!({
            "job-id": id, "device": pair.upper, "auto-finalize": false, "auto-dismiss": false,
        });
        if let Some(onto) = onto {
            let lower = graph
                .chain(&image.path, &onto.path)
                .ok_or_else(|| Error::internal(format!("'{}' does not lie on '{}'", image.path, onto.path)))?;
            arguments["base-node"] = lower.lower.into();
            arguments["backing-file"] = onto.path.as_str().into();
        }
        cpu::wake(&qemu).await?;
        qemu.monitor.execute("block-stream", arguments).await?;
    }
    let done = finalize(&job, &image.path, report).await;
    if done.is_err() && !qemu.monitor.is_gone() {
        block_job(guests, &qemu, &target, PULL, FAILED);
    }
    done?;
    files::sync(&image.path).await?;
    block::drop_unused(&qemu.monitor, &from.path).await?;
    block_job(guests, &qemu, &target, PULL, COMPLETED);
    Ok(())
}

/// The disk in whose chain the image is.
fn target_of(qemu: &RunningQemu, graph: &Graph, image: &Image) -> DiskTarget {
    let device = graph.device_of(&image.path).unwrap_or_default();
    let is_it = |id: &str| device.split('/').any(|part| part == id);
    qemu.disks.iter().find(|d| is_it(&d.device)).map_or_else(|| DiskTarget::from(""), |d| d.target.clone())
}

/// Wait until the data is there, make QEMU write out its tables, then let it change the chain.
async fn finalize(job: &Job<'_>, written: &Utf8Path, report: &dyn Report) -> Result<()> {
    let status = job.state().await?.map(|s| s.status).unwrap_or_default();
    // Otherwise finalized before, by another life of this daemon.
    if ["created", "running", "paused", "pending", "ready", "standby", "waiting"].contains(&status.as_str()) {
        job.wait(Until::Pending, report).await?;
        let graph = Graph::read(job.monitor).await?;
        for node in nodes_of(&graph, written)? {
            flush(job.monitor, node).await?;
        }
        job.monitor.execute("job-finalize", json!({ "id": job.id })).await?;
    }
    // The chain is being changed: too late to cancel.
    job.wait(Until::Concluded, &Unwatched).await
}

fn nodes_of<'g>(graph: &'g Graph, path: &Utf8Path) -> Result<Vec<&'g str>> {
    let nodes: Vec<&str> = graph.nodes_of(path).collect();
    if nodes.is_empty() {
        return Err(Error::internal(format!("'{path}' is not open any more")));
    }
    Ok(nodes)
}

/// The only flush that there is for a single node. It says nothing when all is well.
async fn flush(monitor: &Monitor, node: &str) -> Result<()> {
    let line = format!("qemu-io {node} \"flush\"");
    let said = monitor.execute("human-monitor-command", json!({ "command-line": line })).await?;
    match said.as_str().map(str::trim) {
        None | Some("") => Ok(()),
        Some(words) => Err(Error::failed(format!("cannot flush '{node}': {words}"))),
    }
}

/// What lies on `base` names it now; that must be on the disk before what it named is removed.
async fn sync_above(monitor: &Monitor, base: &Utf8Path) -> Result<()> {
    let graph = Graph::read(monitor).await?;
    for path in graph.above(base) {
        files::sync(path).await?;
    }
    Ok(())
}

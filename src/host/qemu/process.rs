//! Running QEMU processes: what we know of each, and the register of all.
//!
//! Must not know: operations and plans.

use super::chains;
use super::pidfd::Process;
use super::qmp::Monitor;
use crate::host::agent::{Agent, AgentError};
use crate::model::ids::{DiskTarget, DomainId, Instance};
use camino::Utf8PathBuf;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::mpsc;

/// One disk of a running guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunningDisk {
    /// Its target.
    pub target: DiskTarget,
    /// The device's id, as in `-device …,id=`: the last parts of `qdev` in `query-block` name it
    /// (`/machine/peripheral/<device>` or `/machine/peripheral/<device>/virtio-backend`).
    pub device: String,
    /// What the definition says of its blockdev nodes (`cache`, `discard`, `aio`, …).
    pub options: Map<String, Value>,
}

impl RunningDisk {
    /// What each of its format nodes shares, for the arguments of `blockdev-add`.
    #[must_use]
    pub fn format_options(&self) -> Map<String, Value> {
        chains::format_options(&self.options)
    }
    /// The same for its protocol nodes.
    #[must_use]
    pub fn file_options(&self) -> Map<String, Value> {
        chains::file_options(&self.options)
    }
}

/// A QEMU that runs.
#[derive(Debug)]
pub struct RunningQemu {
    /// Whose.
    pub domain: DomainId,
    /// Of which start.
    pub instance: Instance,
    /// Its QMP connection.
    pub monitor: Arc<Monitor>,
    /// The process.
    pub pid: u32,
    /// Its runtime directory.
    pub dir: Utf8PathBuf,
    /// Its disks that have a medium, in the definition's order.
    pub disks: Vec<RunningDisk>,
    /// Its guest's agent, if there is a channel to it that is ours to use.
    pub(in crate::host) agent: Option<Arc<Agent>>,
    pub(super) own: Arc<OwnCommands>,
}

/// What the event task must know to tell our doing from others'.
#[derive(Debug)]
pub(super) struct OwnCommands {
    /// How many [`OwnPause`] guards live, or have ended without all their events being read.
    pub(super) pauses: AtomicU32,
    /// We are ending it: its end is no news.
    pub(super) killing: AtomicBool,
    /// Jobs of copies that a client gives up: QEMU calls those that were ready complete.
    pub(super) given_up: Mutex<BTreeSet<String>>,
    /// Ends of guards, for the event task.
    pub(super) ended: mpsc::UnboundedSender<()>,
}

/// While this lives, STOP and RESUME events of this QEMU are taken for our own doing. It may be
/// dropped as soon as the command's reply is there: events that came before it still count.
#[derive(Debug)]
#[must_use = "events are ours only while the guard lives"]
pub struct OwnPause(Arc<OwnCommands>);

impl Drop for OwnPause {
    fn drop(&mut self) {
        // The event task counts down, once it has read what came until now. Without the task
        // nobody listens to the count either.
        let _ = self.0.ended.send(());
    }
}

impl RunningQemu {
    /// A QEMU that serves the disks of a guest whose CPUs another hypervisor has.
    pub(in crate::host) fn of_disks(
        domain: DomainId,
        instance: Instance,
        monitor: Arc<Monitor>,
        pid: u32,
        disks: Vec<RunningDisk>,
    ) -> Self {
        // Its CPUs are none, so nothing stops or resumes them.
        let (ended, _) = mpsc::unbounded_channel();
        let own = OwnCommands {
            pauses: AtomicU32::new(0),
            killing: AtomicBool::new(false),
            given_up: Mutex::default(),
            ended,
        };
        Self { domain, instance, monitor, pid, dir: Utf8PathBuf::new(), disks, agent: None, own: Arc::new(own) }
    }
    /// Its guest's agent.
    pub(in crate::host) fn agent(&self) -> Result<&Arc<Agent>, AgentError> {
        self.agent.as_ref().ok_or(AgentError::NotConnected)
    }
    /// Announce that what stops or resumes the CPUs from now on is our own doing.
    pub fn own_pause(&self) -> OwnPause {
        self.own.pauses.fetch_add(1, Ordering::SeqCst);
        OwnPause(Arc::clone(&self.own))
    }
    /// The disk `target`.
    #[must_use]
    pub fn disk(&self, target: &DiskTarget) -> Option<&RunningDisk> {
        self.disks.iter().find(|d| d.target == *target)
    }
}

/// Every QEMU that this daemon is connected to.
#[derive(Debug, Default)]
pub struct Registry(Mutex<HashMap<Instance, Entry>>);

#[derive(Debug, Clone)]
struct Entry {
    qemu: Arc<RunningQemu>,
    process: Arc<Process>,
}

impl Registry {
    fn lock(&self) -> MutexGuard<'_, HashMap<Instance, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// The running QEMU of that start; `None` if it is gone.
    #[must_use]
    pub fn running(&self, instance: Instance) -> Option<Arc<RunningQemu>> {
        self.lock().get(&instance).map(|e| e.qemu.clone())
    }
    pub(super) fn process(&self, instance: Instance) -> Option<Arc<Process>> {
        self.lock().get(&instance).map(|e| e.process.clone())
    }
    pub(super) fn insert(&self, qemu: Arc<RunningQemu>, process: Arc<Process>) {
        self.lock().insert(qemu.instance, Entry { qemu, process });
    }
    pub(super) fn remove(&self, instance: Instance) {
        self.lock().remove(&instance);
    }
}

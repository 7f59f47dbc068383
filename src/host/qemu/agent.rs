//! The channel between QEMU and the guest's agent: a virtio port whose other end is a socket that QEMU listens on.
//!
//! QEMU takes one client at a time and lets others wait, so it is connected to on demand and left at once. Must not know:
//! what is asked of the agent.

use super::hardware::Hardware;
use super::hardware::address::Pci;
use super::hardware::chardev::{Backend, Chardev, Port};
use super::hardware::controller::ControllerKind;
use super::hardware::disk::{Disk, DiskBus};
use super::instance::{Info, InstanceDir};
use super::qmp::{Monitor, QmpError};
use crate::host::agent::{Agent, AgentError, Channel, Connection, GuestDisk, Mounted, NAME, unix};
use crate::model::file_system::FileSystem;
use crate::model::ids::DiskTarget;
use async_trait::async_trait;
use camino::Utf8PathBuf;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::sync::Arc;
use tokio::sync::broadcast::error::RecvError;

/// Where a running guest's agent is to be found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AgentPort {
    /// The id of the chardev.
    pub(crate) chardev: String,
    /// Its socket; a name without directory is in the instance's.
    pub(crate) socket: Utf8PathBuf,
}

impl AgentPort {
    /// The id of the port itself.
    fn device(&self) -> &str {
        self.chardev.strip_prefix("char").unwrap_or(&self.chardev)
    }
}

/// The agent's channel, if the port is that and its socket one that QEMU listens on.
pub(crate) fn port(chardev: &Chardev) -> Option<AgentPort> {
    let (Port::Virtio { name: Some(name) }, Backend::Unix { path, listen: true }) = (&chardev.port, &chardev.backend)
    else {
        return None;
    };
    let own = || format!("{}.sock", chardev.alias);
    let socket = path.clone().unwrap_or_else(own).into();
    (name == NAME).then(|| AgentPort { chardev: chardev.chardev(), socket })
}

/// The agent of a guest that runs.
pub(super) fn of(info: &Info, dir: &InstanceDir, monitor: &Arc<Monitor>) -> Option<Arc<Agent>> {
    let port = info.agent.clone()?;
    let channel = QemuChannel { port, dir: dir.clone(), monitor: Arc::clone(monitor) };
    Some(Agent::new(Box::new(channel), dir.path.join("thaw")))
}

struct QemuChannel {
    port: AgentPort,
    dir: InstanceDir,
    monitor: Arc<Monitor>,
}

#[async_trait]
impl Channel for QemuChannel {
    async fn open(&self) -> Result<Connection, AgentError> {
        let mut events = self.monitor.subscribe();
        let chardevs = self.monitor.execute("query-chardev", json!({})).await.map_err(|e| match e {
            QmpError::Gone => AgentError::GuestGone,
            _ => AgentError::NotConnected,
        })?;
        let mut all = chardevs.as_array().into_iter().flatten();
        let own = all.find(|c| c["label"] == self.port.chardev.as_str());
        // Open as long as a process in the guest has the port open.
        if !own.is_some_and(|c| c["frontend-open"] == true) {
            return Err(AgentError::NotConnected);
        }
        let connection = if self.port.socket.is_absolute() {
            unix(&self.port.socket).await?
        } else {
            let socket = self.dir.socket_named(self.port.socket.as_str()).map_err(|_| AgentError::NotConnected)?;
            unix(&socket.path).await?
        };
        // QEMU does not close the socket when the agent closes its end.
        let device = self.port.device().to_owned();
        Ok(connection.until(async move {
            loop {
                match events.recv().await {
                    Ok(e) if e.name == "VSERPORT_CHANGE" && e.data["id"] == *device && e.data["open"] == false => {
                        return;
                    }
                    Ok(_) | Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return,
                }
            }
        }))
    }
}

/// What the guest has mounted, with the names that the definition has for the disks.
pub(super) fn on_disks(mounted: Vec<Mounted>, hardware: &Hardware) -> Vec<FileSystem> {
    let system = |m: Mounted| FileSystem {
        mountpoint: m.mountpoint,
        name: m.name,
        kind: m.kind,
        disks: m.disks.iter().filter_map(|d| target(d, hardware)).collect(),
    };
    mounted.into_iter().map(system).collect()
}

/// The disk that the guest has there: a PCI device itself, or one behind a SCSI controller. As in libvirt
/// (`virDomainDiskByAddress`) the boards' own IDE and SATA are not looked for.
fn target(at: &GuestDisk, hardware: &Hardware) -> Option<DiskTarget> {
    let is_there = |pci: Option<Pci>| pci.is_some_and(|p| [0, p.bus, p.slot, p.function].map(i64::from) == at.pci);
    let is_behind = |disk: &Disk| {
        let Some(drive) = disk.drive.filter(|_| disk.bus == DiskBus::Scsi) else { return false };
        let place = [drive.bus, drive.target, drive.unit].map(i64::from);
        let mut controllers = hardware.controllers.iter().filter(|c| matches!(c.kind, ControllerKind::Scsi(_)));
        place == at.drive && controllers.any(|c| c.index == drive.controller && is_there(c.pci))
    };
    let found = hardware.disks.iter().find(|d| is_there(d.pci) || is_behind(d));
    found.map(|d| DiskTarget(d.target.clone()))
}

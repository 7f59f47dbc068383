//! A domain's run state, with libvirt's numbers.

use camino::Utf8PathBuf;
use serde::{Deserialize, Serialize};

/// `virDomainState`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum DomainState {
    Running = 1,
    Paused = 3,
    Shutdown = 4,
    Shutoff = 5,
    Crashed = 6,
    PmSuspended = 7,
}

impl DomainState {
    /// Whether a hypervisor process exists.
    #[must_use]
    pub fn is_active(self) -> bool {
        self != Self::Shutoff
    }
}

/// The state and the reason for it, as `Domain.GetState` answers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RunState {
    /// What it is.
    pub state: DomainState,
    /// `virDomain{Running,Paused,Shutoff,…}Reason`; its meaning depends on `state`.
    pub reason: i32,
}

/// `virDomainRunningReason` … as used.
#[allow(missing_docs)]
pub mod reason {
    pub const RUNNING_BOOTED: i32 = 1;
    pub const RUNNING_RESTORED: i32 = 3;
    pub const RUNNING_FROM_SNAPSHOT: i32 = 4;
    pub const RUNNING_UNPAUSED: i32 = 5;
    pub const RUNNING_SAVE_CANCELED: i32 = 7;
    pub const PAUSED_UNKNOWN: i32 = 0;
    pub const PAUSED_USER: i32 = 1;
    pub const PAUSED_MIGRATION: i32 = 2;
    pub const PAUSED_SAVE: i32 = 3;
    pub const PAUSED_IOERROR: i32 = 5;
    pub const PAUSED_FROM_SNAPSHOT: i32 = 7;
    pub const PAUSED_SHUTTING_DOWN: i32 = 8;
    pub const PAUSED_SNAPSHOT: i32 = 9;
    pub const SHUTDOWN_USER: i32 = 1;
    pub const SHUTOFF_UNKNOWN: i32 = 0;
    pub const SHUTOFF_SHUTDOWN: i32 = 1;
    pub const SHUTOFF_DESTROYED: i32 = 2;
    pub const SHUTOFF_CRASHED: i32 = 3;
    pub const SHUTOFF_SAVED: i32 = 5;
    pub const SHUTOFF_FAILED: i32 = 6;
    pub const SHUTOFF_FROM_SNAPSHOT: i32 = 7;
    pub const SHUTOFF_DAEMON: i32 = 8;
}

impl RunState {
    /// Shut off, for `reason`.
    #[must_use]
    pub fn off(reason: i32) -> Self {
        Self { state: DomainState::Shutoff, reason }
    }
    /// Running, for `reason`.
    #[must_use]
    pub fn running(reason: i32) -> Self {
        Self { state: DomainState::Running, reason }
    }
    /// Paused, for `reason`.
    #[must_use]
    pub fn paused(reason: i32) -> Self {
        Self { state: DomainState::Paused, reason }
    }
}

/// A guest that is off and goes on at the next start: its managed-save image.
///
/// The definition is kept beside the image, not only in its header, because it follows the domain's disks when snapshots
/// of the saved guest move them to other images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManagedSave {
    /// The memory, a complete save image.
    pub path: Utf8PathBuf,
    /// The definition that it was saved with.
    pub xml: String,
    /// Whether it runs again after a start.
    pub running: bool,
}

/// What only a started hypervisor knows and `GetXMLDesc` of a running domain adds.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Runtime {
    /// The process.
    pub pid: u32,
    /// KiB that the guest has, once its balloon has told.
    #[serde(default)]
    pub memory: Option<u64>,
    /// The hypervisor's own number of the guest, where it has one.
    #[serde(default)]
    pub number: Option<i32>,
    /// Paths of the pty of every `<serial|console|channel type='pty'>`, by alias-free document order.
    pub ttys: Vec<String>,
    /// The port of every `<graphics type='vnc'>`, in document order.
    pub vnc_ports: Vec<i32>,
}

//! What clients are told of: libvirt's events, with libvirt's numbers.

use super::ids::{DomainId, SnapshotName};
use super::progress::Progress;

/// `virDomainEventType` and its detail in one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Lifecycle {
    DefinedAdded,
    DefinedUpdated,
    DefinedRenamed,
    DefinedFromSnapshot,
    UndefinedRemoved,
    StartedBooted,
    StartedRestored,
    StartedFromSnapshot,
    SuspendedPaused,
    SuspendedIoError,
    SuspendedRestored,
    SuspendedFromSnapshot,
    SuspendedApiError,
    ResumedUnpaused,
    ResumedFromSnapshot,
    StoppedShutdown,
    StoppedDestroyed,
    StoppedSaved,
    StoppedFailed,
    StoppedFromSnapshot,
    ShutdownFinished,
    ShutdownGuest,
    ShutdownHost,
    Crashed,
}

impl Lifecycle {
    /// `(event, detail)` as the `DomainEvent` signal carries them.
    #[must_use]
    pub fn numbers(self) -> (i32, i32) {
        match self {
            Self::DefinedAdded => (0, 0),
            Self::DefinedUpdated => (0, 1),
            Self::DefinedRenamed => (0, 2),
            Self::DefinedFromSnapshot => (0, 3),
            Self::UndefinedRemoved => (1, 0),
            Self::StartedBooted => (2, 0),
            Self::StartedRestored => (2, 2),
            Self::StartedFromSnapshot => (2, 3),
            Self::SuspendedPaused => (3, 0),
            Self::SuspendedIoError => (3, 2),
            Self::SuspendedRestored => (3, 4),
            Self::SuspendedFromSnapshot => (3, 5),
            Self::SuspendedApiError => (3, 6),
            Self::ResumedUnpaused => (4, 0),
            Self::ResumedFromSnapshot => (4, 2),
            Self::StoppedShutdown => (5, 0),
            Self::StoppedDestroyed => (5, 1),
            Self::StoppedSaved => (5, 4),
            Self::StoppedFailed => (5, 5),
            Self::StoppedFromSnapshot => (5, 6),
            Self::ShutdownFinished => (6, 0),
            Self::ShutdownGuest => (6, 1),
            Self::ShutdownHost => (6, 2),
            Self::Crashed => (8, 0),
        }
    }
}

/// One thing that happened to a domain.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Whose it is.
    pub domain: DomainId,
    /// What happened.
    pub kind: EventKind,
}

/// What happened to a snapshot of a domain. The domain's snapshots can be read as the news says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SnapshotNews {
    /// It was taken, or defined.
    Added(SnapshotName),
    /// It is gone.
    Removed(SnapshotName),
    /// Its XML is another: redefined, described anew, its parent or its overlays are others, its deletion has begun.
    Changed(SnapshotName),
    /// It has another name, and so another object path.
    Renamed {
        /// Its name until now.
        from: SnapshotName,
        /// Its name from now on.
        to: SnapshotName,
    },
    /// Another one is current, or none.
    Current(Option<SnapshotName>),
}

/// The kinds of event that virsnap emits; each is one D-Bus signal, of libvirt-dbus's interfaces or of our own.
#[derive(Debug, Clone, PartialEq)]
pub enum EventKind {
    /// `Connect.DomainEvent`.
    Lifecycle(Lifecycle),
    /// `Domain.Reboot`.
    Reboot,
    /// `Domain.BalloonChange`: the KiB that the guest has now.
    BalloonChange(u64),
    /// `Domain.MetadataChange`.
    MetadataChange {
        /// `virDomainMetadataType`: 0 description, 1 title, 2 element.
        kind: i32,
        /// The namespace of an element.
        uri: String,
    },
    /// `Domain.DiskChange`; reason is `virConnectDomainEventDiskChangeReason` (0 missing on start, 1 dropped).
    DiskChange {
        /// The image before.
        old: String,
        /// The image now.
        new: String,
        /// The disk's alias or target.
        device: String,
        /// libvirt's reason number.
        reason: i32,
    },
    /// `Domain.BlockJob`: type (2 copy, 3 commit, 4 active commit, 1 pull), status (0 completed, 1 failed, 2 canceled, 3 ready).
    BlockJob {
        /// The disk's target.
        disk: String,
        /// `virDomainBlockJobType`.
        job: i32,
        /// `virConnectDomainEventBlockJobStatus`.
        status: i32,
    },
    /// `Snapshots1.Snapshot…` and `Snapshots1.CurrentChanged`.
    Snapshot(SnapshotNews),
    /// `Snapshots1.JobProgress`: how far the running operation is, some times a second; at last how it ended.
    JobProgress(Box<Progress>),
    /// `Domain.JobCompleted`: the statistics of a finished operation (`virDomainJobOperation`, …).
    JobCompleted {
        /// 6 create, 7 revert, 10 delete.
        operation: i32,
        /// Whole milliseconds the operation took.
        elapsed_ms: u64,
        /// How long the guest stood still, in milliseconds.
        downtime_ms: Option<u64>,
        /// The error, when it failed.
        error: Option<String>,
    },
}

//! How far an operation on a domain is, or was when it ended.

use super::ids::SnapshotName;

/// An operation that runs, or the last one that ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// `virDomainJobOperation`: 6 create, 7 revert, 10 delete; 2 managed save, 3 start from it, 0 its removal.
    pub operation: i32,
    /// The snapshot it is about.
    pub snapshot: SnapshotName,
    /// What it does now, in words.
    pub phase: String,
    /// Steps finished.
    pub step: usize,
    /// Steps in all.
    pub steps: usize,
    /// Bytes of the running step, done and in all; 0 while unknown.
    pub bytes: (u64, u64),
    /// Milliseconds since it began.
    pub elapsed_ms: u64,
    /// How long the guest has stood still for it so far, measured, in microseconds; `None`: it has not.
    pub paused_us: Option<u64>,
    /// How it ended; `None` while it runs.
    pub end: Option<Result<(), String>>,
}

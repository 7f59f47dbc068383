//! A job on a disk of a running guest that a client has started.

use super::ids::{DiskTarget, Image};

/// `virDomainBlockJobType`, as far as clients may start them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockJobKind {
    /// The disk is mirrored to another image.
    Copy = 2,
}

/// A job as it is now. The hypervisor is the only one that knows of it: nothing is stored, so nothing can be stale.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockJob {
    /// Its disk.
    pub target: DiskTarget,
    /// What it does.
    pub kind: BlockJobKind,
    /// Its id in the hypervisor.
    pub id: String,
    /// The node of the image that it writes.
    pub node: String,
    /// The image that it writes.
    pub image: Image,
    /// Bytes per second that it may take; 0: all.
    pub bandwidth: u64,
    /// Bytes done.
    pub done: u64,
    /// Bytes in all.
    pub total: u64,
    /// Whether both sides are the same, so that the disk can move over.
    pub ready: bool,
}

/// A copy that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskCopy {
    /// The disk.
    pub target: DiskTarget,
    /// Its image.
    pub from: Image,
    /// The image that it is copied to.
    pub to: Image,
    /// Whether that image is the caller's (REUSE_EXT).
    pub reuse: bool,
    /// Whether the guest's writes wait for both sides (SYNCHRONOUS_WRITES).
    pub synchronous: bool,
    /// Bytes per second; 0: no limit.
    pub bandwidth: u64,
    /// Bytes of one block of the bitmap, a power of two; 0: QEMU's choice.
    pub granularity: u64,
    /// Bytes of the buffer; 0: QEMU's choice.
    pub buffer: u64,
}

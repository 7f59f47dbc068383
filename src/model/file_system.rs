//! A file system that a guest has mounted, as its agent tells.

use super::ids::DiskTarget;

/// `virDomainFSInfo`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSystem {
    /// Where it is mounted in the guest.
    pub mountpoint: String,
    /// The guest's name of the device that it is on: `vda1`.
    pub name: String,
    /// `ext4`, `xfs`, ….
    pub kind: String,
    /// The disks of the definition that it lies on, as far as they are known.
    pub disks: Vec<DiskTarget>,
}

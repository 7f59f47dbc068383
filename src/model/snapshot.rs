//! One snapshot: what was captured, of which disks, and where it is.

use super::ids::{DiskTarget, SnapshotName};
use camino::Utf8PathBuf;
use serde::{Deserialize, Serialize};

/// The domain's state when the snapshot was taken (`virDomainSnapshotState`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)]
pub enum SnapshotState {
    Nostate,
    Running,
    Blocked,
    Paused,
    Shutdown,
    Shutoff,
    Crashed,
    Pmsuspended,
    DiskSnapshot,
}

impl SnapshotState {
    const ALL: [(Self, &'static str); 9] = [
        (Self::Nostate, "nostate"),
        (Self::Running, "running"),
        (Self::Blocked, "blocked"),
        (Self::Paused, "paused"),
        (Self::Shutdown, "shutdown"),
        (Self::Shutoff, "shutoff"),
        (Self::Crashed, "crashed"),
        (Self::Pmsuspended, "pmsuspended"),
        (Self::DiskSnapshot, "disk-snapshot"),
    ];
    /// As written in `<state>`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(s, _)| *s == self).map_or("", |(_, t)| t)
    }
    /// The state that `<state>` names.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, t)| *t == text).map(|(s, _)| *s)
    }
    /// Whether memory may have been saved with it.
    #[must_use]
    pub fn is_live(self) -> bool {
        matches!(self, Self::Running | Self::Paused)
    }
    /// libvirt's "offline": neither memory nor a cookie belong to it.
    #[must_use]
    pub fn is_offline(self) -> bool {
        matches!(self, Self::Shutoff | Self::DiskSnapshot)
    }
}

/// `snapshot=` of a disk or of the memory (`virDomainSnapshotLocation`), where given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Location {
    No,
    Internal,
    External,
    Manual,
}

impl Location {
    /// As written in `snapshot='…'`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::Internal => "internal",
            Self::External => "external",
            Self::Manual => "manual",
        }
    }
    /// The location that `snapshot='…'` names.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::No, Self::Internal, Self::External, Self::Manual].into_iter().find(|l| l.as_str() == text)
    }
}

/// `<memory>`: absent, or where it is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Memory {
    /// Nothing said.
    #[default]
    Default,
    /// Not saved.
    No,
    /// In the image of the first internal disk.
    Internal,
    /// In a file of its own.
    External(Utf8PathBuf),
}

/// The kind of source an external disk has (`type=`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SourceType {
    /// A regular file.
    #[default]
    File,
    /// A block device.
    Block,
    /// A network volume: read and written, never driven.
    Network,
}

impl SourceType {
    /// As written in `type='…'`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Block => "block",
            Self::Network => "network",
        }
    }
}

/// One `<disk>` of `<disks>` or `<revertDisks>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotDisk {
    /// The target, or on input perhaps the source path.
    pub name: String,
    /// `snapshot=`; `None` until aligned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<Location>,
    /// `type=`.
    #[serde(default)]
    pub source_type: SourceType,
    /// `<source file=/dev=>`: the overlay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Utf8PathBuf>,
    /// `<driver type=>`: the overlay's format.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// `<driver><metadata_cache><max_size>` in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata_cache: Option<u64>,
    /// Children of `<source>`, and a network source's whole element, kept verbatim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_verbatim: Option<String>,
    /// `<snapshotDeleteInProgress/>`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub delete_in_progress: bool,
}

impl SnapshotDisk {
    /// A disk of which nothing but the name is said.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            location: None,
            source_type: SourceType::File,
            source: None,
            format: None,
            metadata_cache: None,
            source_verbatim: None,
            delete_in_progress: false,
        }
    }
    /// Its target, once aligned.
    #[must_use]
    pub fn target(&self) -> DiskTarget {
        DiskTarget(self.name.clone())
    }
    /// Whether this disk has an overlay.
    #[must_use]
    pub fn is_external(&self) -> bool {
        self.location == Some(Location::External)
    }
}

/// The image that one disk of the domain had when the snapshot was taken: for an external
/// snapshot the frozen one. Derived from `<domain>` once, so that the tree can answer "who
/// needs this file" without reading 10,000 documents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrozenDisk {
    /// The disk's target.
    pub target: DiskTarget,
    /// Its image then; `None` for an empty drive or a source that is not a local file or device.
    pub image: Option<super::ids::Image>,
}

/// A snapshot's metadata without its large texts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Its name.
    pub name: SnapshotName,
    /// Free text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// `<parent><name>` as recorded; may name a snapshot that does not exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<SnapshotName>,
    /// The domain's state then.
    pub state: SnapshotState,
    /// Seconds since the Epoch.
    pub creation_time: i64,
    /// Where the memory is.
    #[serde(default)]
    pub memory: Memory,
    /// The name of its tag in the images, where that is not its own: a tag cannot be renamed with its snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// One per disk of the domain, in the domain's order.
    pub disks: Vec<SnapshotDisk>,
    /// The overlays made when this snapshot was reverted to while it had children.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub revert_disks: Vec<SnapshotDisk>,
    /// The images that `<domain>` names.
    #[serde(default)]
    pub frozen: Vec<FrozenDisk>,
}

/// The large texts of a snapshot, kept in the store and read when asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SnapshotTexts {
    /// `<domain>…</domain>`: the definition then, naming the frozen images; `None` for a legacy document.
    pub domain: Option<String>,
    /// `<inactiveDomain>…</inactiveDomain>`, for a running guest that had another persistent definition.
    pub inactive_domain: Option<String>,
    /// `<cookie>…</cookie>`.
    pub cookie: Option<String>,
}

impl Snapshot {
    /// The name of its tag in the images of its internal disks.
    #[must_use]
    pub fn tag(&self) -> &str {
        self.tag.as_deref().unwrap_or(self.name.as_str())
    }
    /// libvirt's rule: memory or any disk external (`virDomainSnapshotDefIsExternal`).
    #[must_use]
    pub fn is_external(&self) -> bool {
        matches!(self.memory, Memory::External(_)) || self.disks.iter().any(SnapshotDisk::is_external)
    }
    /// The image that `target` had when the snapshot was taken.
    #[must_use]
    pub fn frozen_image(&self, target: &str) -> Option<&super::ids::Image> {
        self.frozen.iter().find(|d| d.target.as_str() == target)?.image.as_ref()
    }
    /// The disks with a tag in their image.
    pub fn internal_disks(&self) -> impl Iterator<Item = &SnapshotDisk> {
        self.disks.iter().filter(|d| d.location == Some(Location::Internal))
    }
    /// The disks with an overlay.
    pub fn external_disks(&self) -> impl Iterator<Item = &SnapshotDisk> {
        self.disks.iter().filter(|d| d.is_external())
    }
}

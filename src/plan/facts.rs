//! What the host says of the files and of itself before a plan is made.

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FileKind {
    /// Nothing.
    Missing,
    /// A regular file of that many bytes.
    File(u64),
    /// A block device.
    Block,
    /// A directory.
    Directory,
    /// A character device, a socket, ….
    Other,
    /// It could not be looked at: the system's words.
    Unreadable(String),
}

/// An internal snapshot of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tag {
    /// qcow2's ID; unique within the image.
    pub id: String,
    /// Its name; perhaps not unique.
    pub name: String,
    /// Whether memory belongs to it.
    pub vmstate: bool,
}

/// What an image's header says. An image without a known header is raw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageHeader {
    /// QEMU's name of the format.
    pub format: String,
    /// The backing file, resolved against the image's directory.
    pub backing: Option<Utf8PathBuf>,
    /// The backing file's format, where the header names it.
    pub backing_format: Option<String>,
    /// Bytes that the guest sees.
    pub virtual_size: u64,
    /// Its internal snapshots.
    pub tags: Vec<Tag>,
}

/// A path and what was found there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileFact {
    /// What it is.
    pub kind: FileKind,
    /// Its header, for a readable file or device.
    pub header: Option<ImageHeader>,
    /// Whether it is a complete save image (libvirt's header, magic `LibvirtQemudSave`).
    #[serde(default)]
    pub saved_memory: bool,
}

/// What was found at every path that the plan depends on.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Facts {
    /// By path.
    pub files: BTreeMap<Utf8PathBuf, FileFact>,
}

impl Facts {
    /// What is at `path`; missing if it was not looked at.
    #[must_use]
    pub fn kind(&self, path: &Utf8Path) -> &FileKind {
        self.files.get(path).map_or(&FileKind::Missing, |f| &f.kind)
    }
    /// The header of the image at `path`.
    #[must_use]
    pub fn header(&self, path: &Utf8Path) -> Option<&ImageHeader> {
        self.files.get(path)?.header.as_ref()
    }
}

/// What a host can do: the only place where QEMU and Xen differ for the planner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// Memory can be saved while the guest runs on (userfaultfd).
    pub live_memory: bool,
}

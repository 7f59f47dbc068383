//! What the host says of the files and of itself before a plan is made.

use crate::model::ids::DiskTarget;
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
    /// Of each save image that was looked at: the definition in its header, or why there is none. Without an entry there
    /// is no such header.
    #[serde(default)]
    pub headers: BTreeMap<Utf8PathBuf, Result<String, String>>,
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

/// What saving the memory of a guest that runs means to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LiveSave {
    /// It stands still for all of the save; with the flag LIVE only for the rest of one that was copied while it ran. The
    /// file has some pages more than once then, which is why it is not done unasked.
    Precopy,
    /// It stands still for all of the save, and that is the best that there is: LIVE is taken.
    Paused,
    /// It runs on after milliseconds (userfaultfd).
    Background,
}

/// Where the memory of an internal snapshot goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InternalMemory {
    /// Into the tag itself, in the image of the first disk.
    Tag,
    /// Into a file beside that image, or in this directory for a domain whose first disk is a device. The snapshot
    /// names it, as an external memory.
    File(&'static str),
}

/// Whether the guest must stand still before its memory is saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SaveFrom {
    /// It must; saving does not change that.
    Paused,
    /// It takes part in its own save, and stands still afterwards.
    Running,
}

/// Which ways of capturing a disk one snapshot may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskSet {
    /// All internal with internal memory, or all external: libvirt's rule for QEMU.
    Uniform,
    /// Each disk in its own way, and the memory in a file.
    Mixed,
}

/// What becomes of a transient domain's snapshots when it stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transients {
    /// They are forgotten with it, as in libvirt.
    Forgotten,
    /// Its first snapshot defines it: others start domains here beside us, and none of them defines anything.
    Defined,
}

/// What a host can do: the only place where QEMU and Xen differ for the planner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// What a live save is here.
    pub live: LiveSave,
    /// Where internal memory goes.
    pub internal_memory: InternalMemory,
    /// When memory can be saved.
    pub save_from: SaveFrom,
    /// What one snapshot may consist of.
    pub disks: DiskSet,
    /// What transient domains leave.
    pub transients: Transients,
}

impl Capabilities {
    /// The same, where the document asks for a mixed set (`<virsnap:mixed/>`), which is off by default on a host whose
    /// clients know libvirt's refusals.
    #[must_use]
    pub fn for_set(self, mixed: bool) -> Self {
        if mixed { Self { disks: DiskSet::Mixed, ..self } } else { self }
    }
    /// QEMU's.
    #[must_use]
    pub fn qemu(live: LiveSave) -> Self {
        Self {
            live,
            internal_memory: InternalMemory::Tag,
            save_from: SaveFrom::Paused,
            disks: DiskSet::Uniform,
            transients: Transients::Forgotten,
        }
    }
    /// Xen's.
    #[must_use]
    pub fn xen() -> Self {
        Self {
            live: LiveSave::Paused,
            internal_memory: InternalMemory::File("/var/lib/xen/snapshots"),
            save_from: SaveFrom::Running,
            disks: DiskSet::Mixed,
            transients: Transients::Defined,
        }
    }
}

/// How a disk's image can be captured, on a host where the format alone does not say it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    /// Its name in the host's own words (`qdisk`, `phy`, `tap`).
    pub name: String,
    /// Whether the image can hold its own past (a qcow2 tag, a thin snapshot).
    pub tags: bool,
    /// The format of overlays on it, if there can be any.
    pub overlay: Option<String>,
}

/// The backend of each disk; empty on a host where formats say it all.
pub type Backends = BTreeMap<DiskTarget, Backend>;

//! A plan: what an operation will do, as data.
//!
//! ```text
//!   prepare 1 … n        each has an inverse that recovery can run
//!        │                crash here: undo backwards → the before-world
//!     commit              exactly one, the point of no return
//!        │                crash here: probe, then one of the two
//!   settle 1 … m          forward only, each repeatable → the after-world
//! ```
//!
//! The planner picks every name (overlay path, node-name, instance), so no data flows between
//! steps: a plan prints, its JSON is the journal row, its index is the progress. Undo of a step
//! that never ran must do no harm, and a settle step that already ran must do nothing.

use crate::model::domain::ManagedSave;
use crate::model::ids::{DiskTarget, DomainId, Image, Instance, OpId, SnapshotName};
use crate::model::side_state::{Nvram, SideState};
use crate::model::snapshot::{Snapshot, SnapshotTexts};
use camino::Utf8PathBuf;
use serde::{Deserialize, Serialize};

/// Which public operation a plan carries out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum OpKind {
    Create,
    Revert,
    Delete,
    /// A disk moves to its copy.
    Pivot,
    /// The guest's memory goes into its managed-save image.
    Save,
    /// The guest starts while it has such an image.
    Restore,
    /// The image goes.
    Discard,
}

/// Everything one operation does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Its journal row; also in the names of its nodes and jobs.
    pub op: OpId,
    /// What it does.
    pub kind: OpKind,
    /// To which domain.
    pub domain: DomainId,
    /// To which snapshot; none has the empty name.
    pub snapshot: SnapshotName,
    /// Steps that can be undone.
    pub prepare: Vec<Prepare>,
    /// The point of no return.
    pub commit: Commit,
    /// Steps that will be done, whatever happens.
    pub settle: Vec<Settle>,
}

/// One disk that moves from its image to a new overlay on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwitchDisk {
    /// Which disk.
    pub target: DiskTarget,
    /// Its image before: becomes the backing file.
    pub old: Image,
    /// Its image after.
    pub overlay: Image,
    /// The node-name of the overlay's format layer.
    pub node: String,
    /// The caller's own overlay file (REUSE_EXT): never merged back unless proved empty.
    pub reused: bool,
    /// How the disk gets there.
    #[serde(default)]
    pub by: SwitchBy,
}

/// How a running guest's disk moves to another image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SwitchBy {
    /// The image is a new overlay on the old one.
    #[default]
    Snapshot,
    /// The image is a mirror of the old one, made by a job that is ready. The guest stands still.
    Copy,
}

/// What to do about a file that is there before `Reserve`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Existing {
    /// O_EXCL: it must not be there.
    Refuse,
    /// An empty file that the caller made: used, truncated on undo, never unlinked.
    AdoptEmpty,
}

/// A step with an inverse.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Prepare {
    /// Create the file, empty, 0600. Notes device and inode. Inverse: unlink if they match, or
    /// if nothing was noted, only if it is empty.
    Reserve {
        /// The file.
        path: Utf8PathBuf,
        /// If it is there.
        existing: Existing,
    },
    /// `qemu-img create` on a reserved file. Inverse: none, the reservation's is enough.
    Format {
        /// The new overlay.
        image: Image,
        /// What it lies on.
        backing: Image,
    },
    /// fsync of the file and of its directory. Inverse: none.
    Sync {
        /// The file.
        path: Utf8PathBuf,
    },
    /// `blockdev-add` of overlays, not yet in use. Inverse: `blockdev-del`.
    AddNodes {
        /// The running hypervisor.
        instance: Instance,
        /// The overlays.
        disks: Vec<SwitchDisk>,
    },
    /// Freeze the guest's file systems, the last step before the commit. Inverse: thaw, also where the freeze was not
    /// answered.
    Freeze {
        /// The running hypervisor.
        instance: Instance,
    },
    /// Stop the CPUs of a guest that runs. Inverse: resume.
    Pause {
        /// The running hypervisor.
        instance: Instance,
    },
    /// Save the memory into a reserved file, behind libvirt's header where the host has one. The guest stands still
    /// before and after, or only after ([`SaveFrom`](super::facts::SaveFrom)). Inverse: cancel; and where the save itself
    /// stops the guest, let it run if it ran.
    SaveMemory {
        /// The running hypervisor.
        instance: Instance,
        /// The file.
        path: Utf8PathBuf,
        /// The XML in libvirt's header.
        header: String,
        /// Whether the guest ran (libvirt's header says so).
        was_running: bool,
    },
    /// Pause, switch the disks, start the background save, resume: milliseconds. Where writes cannot be tracked in the
    /// background, copy while the guest runs, then pause, switch the disks, save the rest, resume. Inverse: cancel the
    /// save, wait until it is cancelled, merge the overlays back by the pivot rule (`qemu-img commit` if the guest is gone).
    LiveSave {
        /// The running hypervisor.
        instance: Instance,
        /// The reserved memory file.
        path: Utf8PathBuf,
        /// The XML in libvirt's header.
        header: String,
        /// The disks to switch at the paused instant.
        disks: Vec<SwitchDisk>,
    },
    /// Wait for the background save. Inverse: none, `LiveSave`'s is enough.
    AwaitSave {
        /// The running hypervisor.
        instance: Instance,
        /// The memory file.
        path: Utf8PathBuf,
    },
    /// `snapshot-save` of a running hypervisor: memory and disks into tags. Inverse: remove our
    /// tag from every image (none, all or some may have it).
    SaveTag {
        /// The running hypervisor.
        instance: Instance,
        /// The tag.
        tag: String,
        /// The image that takes the memory.
        vmstate: Image,
        /// All images that take the tag, `vmstate` among them.
        images: Vec<Image>,
    },
    /// Tags of images that a running hypervisor has open, at one instant of a guest that stands still. Inverse: remove
    /// our tag from every image.
    TagDisks {
        /// The running hypervisor.
        instance: Instance,
        /// The images that take the tag.
        images: Vec<Image>,
        /// The tag, known to be absent.
        tag: String,
    },
    /// Make an NVRAM file from its template, if it is missing. Inverse: none, a start would have made it too.
    MakeNvram {
        /// The file.
        nvram: Nvram,
    },
    /// Copy a piece of side state, of one instant, over whatever is there. Inverse: remove the copy.
    CopySide {
        /// The hypervisor that has it open.
        instance: Option<Instance>,
        /// What.
        of: SideState,
        /// Where to, in the daemon's own directory.
        to: Utf8PathBuf,
    },
    /// Start the domain with its CPUs stopped. Inverse: end it.
    Start(Box<Start>),
    /// `qemu-img snapshot -c`. Inverse: remove the tag.
    CreateTag {
        /// An image that nobody has open.
        image: Image,
        /// The tag, known to be absent.
        tag: String,
    },
}

/// What a prepare step wants remembered for its undo.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// `st_dev` of the file that was created.
    pub device: u64,
    /// `st_ino` of the file that was created.
    pub inode: u64,
}

/// The point of no return.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Commit {
    /// One transaction in the store.
    Publish(Box<Change>),
    /// One QMP `transaction`; probed by the device's root node.
    Switch {
        /// The running hypervisor.
        instance: Instance,
        /// All disks at once.
        disks: Vec<SwitchDisk>,
    },
}

/// How a guest gets its memory at a start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemorySource {
    /// It boots.
    Boot,
    /// libvirt's save image.
    File(Utf8PathBuf),
    /// A tag with VM state.
    Tag(String),
}

/// One start of a domain, always with its CPUs stopped.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Start {
    /// Whose.
    pub domain: DomainId,
    /// The new hypervisor's identity.
    pub instance: Instance,
    /// The full domain XML, as stored at the publish.
    pub xml: String,
    /// Where its memory comes from.
    pub memory: MemorySource,
}

/// A step that is repeated until it has succeeded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Settle {
    /// One transaction in the store.
    Publish(Box<Change>),
    /// Let the CPUs run. Nothing if they do or if the hypervisor is gone.
    Resume {
        /// The running hypervisor.
        instance: Instance,
        /// What clients are told.
        why: ResumeWhy,
    },
    /// Stop the CPUs before a pivot. Nothing if they are stopped or if the hypervisor is gone.
    Pause {
        /// The running hypervisor.
        instance: Instance,
    },
    /// Thaw the file systems that `Freeze` may have frozen. Nothing if the hypervisor is gone. Done once the host has
    /// made it its own duty.
    Thaw {
        /// The running hypervisor.
        instance: Instance,
    },
    /// End the hypervisor process. Nothing if it is gone.
    Stop {
        /// The running hypervisor.
        instance: Instance,
    },
    /// Start the domain with its CPUs stopped. If that instance exists and this step is not
    /// recorded as done, it is killed first: it never ran.
    Start(Box<Start>),
    /// Load the start's tag in the hypervisor that runs, and leave its CPUs stopped: it has the very definition of the
    /// start. Where that fails, or is not recorded as done, it is ended and started instead.
    Reload(Box<Start>),
    /// `qemu-img snapshot -a`.
    ApplyTag {
        /// An image that nobody has open.
        image: Image,
        /// The tag.
        tag: String,
    },
    /// Remove the tag, by the hypervisor that has the images, or by `qemu-img`. Absent is fine.
    RemoveTag {
        /// The hypervisor, if there was one at planning.
        instance: Option<Instance>,
        /// The images.
        images: Vec<Image>,
        /// The tag.
        tag: String,
    },
    /// Bring an inactive layer's content down into the image below it: `block-commit`, or
    /// `qemu-img commit`. Only while nothing else lies on `base`.
    MergeDown {
        /// The hypervisor that has the chain open.
        instance: Option<Instance>,
        /// Which disk.
        target: DiskTarget,
        /// The layer that goes.
        top: Image,
        /// The image that takes it.
        base: Image,
    },
    /// The same for the active layer of a running guest: until the job is ready; the overlay stays the truth.
    MergeActive {
        /// The running hypervisor.
        instance: Instance,
        /// Which disk.
        target: DiskTarget,
        /// The active layer.
        top: Image,
        /// The image below.
        base: Image,
    },
    /// Leave the active layer while the guest stands still (see `Pause`, `Publish`, `Resume`
    /// around it). Without the hypervisor: `qemu-img commit`. The layer is emptied afterwards, and
    /// one that is empty was left: nothing is committed again over what the guest wrote below it.
    Pivot {
        /// The running hypervisor.
        instance: Instance,
        /// Which disk.
        target: DiskTarget,
        /// The active layer.
        top: Image,
        /// The image that becomes the active layer.
        base: Image,
    },
    /// Make an image independent of `from` by taking its content: `block-stream`, or `qemu-img
    /// rebase` in safe mode.
    PullUp {
        /// The hypervisor, if it has the image open.
        instance: Option<Instance>,
        /// The image that takes the content.
        image: Image,
        /// The layer it will no longer need.
        from: Image,
        /// What it lies on afterwards.
        onto: Option<Image>,
    },
    /// Name another backing file of the same content: `qemu-img rebase -u`. Nothing if it is named
    /// already; else only for an image that no hypervisor has open.
    Repoint {
        /// The image.
        image: Image,
        /// The backing file's new name.
        backing: Image,
    },
    /// Bring a piece of side state back from its copy. Nobody has it open.
    RestoreSide {
        /// What.
        of: SideState,
        /// The copy.
        from: Utf8PathBuf,
    },
    /// Make an NVRAM file from its template, whatever is in it; its tags stay. Nobody has it open.
    ResetNvram {
        /// The file.
        nvram: Nvram,
    },
    /// Remove a copy of side state. Absent is fine.
    DropSide {
        /// The copy.
        path: Utf8PathBuf,
    },
    /// Remove a file that nothing refers to; refused by the host if a process has it open or an image beside it lies on
    /// it. Absent is fine.
    Unlink {
        /// The file.
        path: Utf8PathBuf,
    },
}

/// Which event a resume is (`VIR_DOMAIN_EVENT_RESUMED_*`), and the state's reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResumeWhy {
    /// After a pause of ours.
    Unpaused,
    /// After a revert to a live state.
    FromSnapshot,
    /// After a start.
    Booted,
    /// After a start from a managed-save image.
    Restored,
}

impl Settle {
    /// Whether the operation stays open until this has succeeded. The others are reported.
    #[must_use]
    pub fn is_must(&self) -> bool {
        !matches!(
            self,
            Self::Unlink { .. }
                | Self::DropSide { .. }
                | Self::Start(_)
                | Self::Reload(_)
                | Self::Resume { .. }
                | Self::Thaw { .. }
        )
    }
}

/// A change of the stored metadata, made in one transaction.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Change {
    /// A snapshot that gets another name, before anything else: the others are named as they are afterwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rename: Option<Rename>,
    /// Snapshots that are new or replaced. New ones go to the end of the insertion order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub put: Vec<PutSnapshot>,
    /// Snapshots that go.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<SnapshotName>,
    /// The new current snapshot, if it changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<CurrentChange>,
    /// The new persistent definition, if it changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inactive_xml: Option<String>,
    /// Whether that makes a transient domain persistent.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub defines: bool,
    /// The domain's new name, if it changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What becomes of the live definition.
    #[serde(default, skip_serializing_if = "LiveChange::is_keep")]
    pub live: LiveChange,
    /// What becomes of the managed-save image.
    #[serde(default, skip_serializing_if = "SavedChange::is_keep")]
    pub saved: SavedChange,
    /// Files that virsnap made from here on (`true`) or no longer owns (`false`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub owned: Vec<(Utf8PathBuf, bool)>,
}

impl Change {
    /// The snapshots that it adds, changes, renames or removes.
    #[must_use]
    pub fn names(&self) -> Vec<SnapshotName> {
        let old = self.rename.iter().map(|r| &r.from);
        old.chain(self.put.iter().map(|p| &p.snapshot.name)).chain(&self.remove).cloned().collect()
    }

    /// Give a transient domain this definition, which keeps its snapshots when it stops.
    pub(super) fn define(&mut self, xml: Option<&str>) {
        if let Some(xml) = xml {
            self.inactive_xml = Some(xml.to_owned());
            self.defines = true;
        }
    }
}

/// A snapshot's old and new name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rename {
    /// Its name until now.
    pub from: SnapshotName,
    /// Its name from now on; no snapshot has it.
    pub to: SnapshotName,
}

/// One snapshot of a [`Change`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PutSnapshot {
    /// Its metadata.
    pub snapshot: Snapshot,
    /// Its texts; `None` keeps those that are stored.
    pub texts: Option<SnapshotTexts>,
}

/// The current pointer after a [`Change`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CurrentChange {
    /// None is current.
    Clear,
    /// This one is.
    Set(SnapshotName),
}

/// The managed-save image after a [`Change`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SavedChange {
    /// As it is.
    #[default]
    Keep,
    /// There is none.
    Clear,
    /// This one.
    Set(ManagedSave),
}

impl SavedChange {
    fn is_keep(&self) -> bool {
        *self == Self::Keep
    }
}

/// The live definition after a [`Change`].
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LiveChange {
    /// As it is.
    #[default]
    Keep,
    /// No hypervisor belongs to the domain any more.
    Clear,
    /// A hypervisor of this identity will be started.
    Set {
        /// The new hypervisor's identity.
        instance: Instance,
        /// Its definition.
        xml: String,
    },
    /// The definition of this hypervisor, if it is still the domain's.
    Edit {
        /// The running hypervisor.
        instance: Instance,
        /// Its definition.
        xml: String,
    },
}

impl LiveChange {
    fn is_keep(&self) -> bool {
        *self == Self::Keep
    }
}

//! Why a request is not planned: one variant per rule, libvirt's words in one place.

use crate::error::{Code, Error};
use camino::Utf8PathBuf;
use thiserror::Error as ThisError;

/// A rule that a request breaks. Nothing has been touched.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
#[allow(missing_docs)]
pub enum Refusal {
    #[error("cannot halt after transient domain snapshot")]
    HaltTransient,
    #[error("invalid snapshot name '{0}': name can't contain '/'")]
    NameSlash(String),
    #[error("invalid snapshot name '{0}': name can't start with '.'")]
    NameDot(String),
    #[error("snapshot name of {bytes} bytes is longer than {max} bytes")]
    NameTooLong { bytes: usize, max: usize },
    #[error("live snapshot creation is supported only during full system snapshots")]
    LiveNeedsMemory,
    #[error("QEMU guest agent is not configured")]
    NoAgent,
    #[error("domain is not running")]
    NotRunning,
    #[error("Invalid domain state {0}")]
    BadState(&'static str),
    #[error("domain moment {0} already exists")]
    Exists(String),
    #[error("too many disk snapshot requests for domain")]
    TooManyDisks,
    #[error("no disk named '{0}'")]
    NoDisk(String),
    #[error("disk '{0}' specified twice")]
    DiskTwice(String),
    #[error("disk '{0}' must use snapshot mode 'internal'")]
    MustBeInternal(String),
    #[error("file '{path}' for disk '{disk}' requires use of external snapshot mode")]
    FileNeedsExternal { path: Utf8PathBuf, disk: String },
    #[error("cannot generate external snapshot name for disk '{0}' without source")]
    NameWithoutSource(String),
    #[error("cannot generate external snapshot name for disk '{disk}' on a '{kind}' device")]
    NameOnDevice { disk: String, kind: String },
    #[error("source for disk '{0}' is not a regular file; refusing to generate external snapshot name")]
    NameNeedsFile(String),
    #[error("cannot generate external snapshot name for disk '{disk}': collision with disk '{other}'")]
    NameCollision { disk: String, other: String },
    #[error("internal snapshot of a running VM must include the memory state")]
    InternalNeedsMemory,
    #[error("active qemu domains require external disk snapshots; disk {0} requested internal")]
    ActiveInternalDiskOnly(String),
    #[error("internal inactive snapshots are not supported on '{0}' disks")]
    InternalInactiveSource(String),
    #[error("external inactive snapshots are not supported on '{0}' disks")]
    ExternalInactiveSource(String),
    #[error("external active snapshots are not supported on '{0}' disks")]
    ExternalActiveSource(String),
    #[error("internal snapshot for disk {disk} unsupported for storage type {format}")]
    InternalFormat { disk: String, format: String },
    #[error("disk '{disk}' ({image}) has backend '{backend}', which cannot take an {way} snapshot")]
    Backend { disk: String, backend: String, image: String, way: &'static str },
    #[error("external snapshot format for disk {disk} is unsupported: {format}")]
    ExternalFormat { disk: String, format: String },
    #[error("metadata cache max size control is supported only with qcow2 images")]
    CacheNeedsQcow2,
    #[error("external active snapshots are not supported on scsi passthrough devices")]
    Lun,
    #[error("external snapshots on '{0}' bus are not supported")]
    BusNotSupported(String),
    #[error("block jobs are not supported on transient disk '{0}'")]
    TransientDisk(String),
    #[error("migration with transient disk is not supported")]
    TransientMigration,
    #[error("shared access for disk '{0}' requires use of supported storage format")]
    SharedDisk(String),
    #[error("missing existing file for disk {disk}: {path}: No such file or directory")]
    ReuseMissing { disk: String, path: Utf8PathBuf },
    #[error("block device snapshot target '{0}' doesn't exist")]
    BlockMissing(Utf8PathBuf),
    #[error("unable to stat for disk {disk}: {path}: {why}")]
    CannotStat { disk: String, path: Utf8PathBuf, why: String },
    #[error("mismatch between configured type for snapshot disk '{disk}' and the type of existing file '{path}'")]
    TargetType { disk: String, path: Utf8PathBuf },
    #[error("external snapshot file for disk {disk} already exists and is not a block device: {path}")]
    TargetExists { disk: String, path: Utf8PathBuf },
    #[error("disks '{disk}' and '{other}' must not share the external snapshot file '{path}'")]
    TargetShared { disk: String, other: String, path: Utf8PathBuf },
    #[error("external snapshot file for disk {disk} is the image of a disk: {path}")]
    TargetInUse { disk: String, path: Utf8PathBuf },
    #[error("image '{path}' of disk '{disk}' does not exist")]
    SourceMissing { disk: String, path: Utf8PathBuf },
    #[error("nothing selected for snapshot")]
    Nothing,
    #[error("internal and full system snapshots require all disks to be selected for snapshot")]
    AllDisks,
    #[error("disk-only snapshots require at least one disk to be selected for snapshot")]
    DiskOnlyNeedsDisk,
    #[error("mixing internal and external targets for a snapshot is not yet supported")]
    Mixed,
    #[error("disk '{0}' already in active block job")]
    CopyActive(String),
    #[error(
        "no disk of the snapshot can hold the memory; name a file for it: <memory snapshot='external' file='...'/>"
    )]
    MemoryNeedsDisk,
    #[error("snapshot-save job failed: Snapshot '{0}' already exists in one or more devices")]
    TagExists(String),
    #[error("memory snapshot file '{0}' already exists")]
    MemoryExists(Utf8PathBuf),
    #[error("no domain snapshot with matching name '{0}'")]
    NoSnapshot(String),
    #[error("snapshot '{0}' does not have a parent")]
    NoParent(String),
    #[error("the domain does not have a current snapshot")]
    NoCurrent,
    #[error("transient domain needs to request run or pause to revert to inactive snapshot")]
    TransientRevert,
    #[error("snapshot '{0}' lacks domain '{1}' rollback info")]
    NoDefinition(String, String),
    #[error(
        "snapshot without memory state, removal of existing managed saved state strongly recommended to avoid corruption"
    )]
    SavedStateInTheWay,
    #[error("cannot do managed save for transient domain")]
    SaveTransient,
    #[error("Refusing to undefine while domain managed save image exists")]
    UndefineSaved,
    #[error("domain has a managed save image '{0}': start it, or remove the image")]
    CreateSaved(Utf8PathBuf),
    #[error("managed save image '{0}' is missing; a start with force boot does without it")]
    SavedMissing(Utf8PathBuf),
    #[error("managed save image '{0}' is incomplete; a start with force boot does without it")]
    SavedBroken(Utf8PathBuf),
    #[error("source disk for '{0}' is not a regular file, reverting to snapshot is not supported")]
    RevertNeedsFiles(String),
    #[error("snapshot disk '{0}' was target of not completed snapshot delete")]
    HalfDeleted(String),
    #[error("image of disk '{disk}' does not have internal snapshot '{tag}'")]
    TagMissing { disk: String, tag: String },
    #[error("image of disk '{disk}' has more than one internal snapshot '{tag}'")]
    TagTwice { disk: String, tag: String },
    #[error(
        "image of disk '{disk}' has an internal snapshot '{tag}' that is not part of the snapshot, and would go back too"
    )]
    StrayTag { disk: String, tag: String },
    #[error("no image of snapshot '{0}' holds its memory state")]
    NoVmstate(String),
    #[error("Failed to open file '{path}': No such file or directory")]
    MemoryMissing { path: Utf8PathBuf },
    #[error("internal snapshots of a VM with pflash based firmware require QCOW2 nvram format")]
    NvramFormat,
    #[error("the snapshot's own firmware variables or TPM state are missing at '{path}'; FORCE reverts without them")]
    SideMissing { path: Utf8PathBuf },
    #[error("NVRAM '{path}' has {now} bytes now and had {then} when the snapshot was taken")]
    NvramSize { path: Utf8PathBuf, now: u64, then: u64 },
    #[error("unable to find any master var store for NVRAM: {path}")]
    NoTemplate { path: Utf8PathBuf },
    #[error("failed to read domain XML")]
    MemoryBroken,
    #[error("image '{path}' of disk '{disk}' lies beneath snapshot '{needs}', which would be damaged")]
    InternalBeneath { path: Utf8PathBuf, disk: String, needs: String },
    #[error("image '{path}' is in use by running domain '{domain}'")]
    ImageBusy { path: Utf8PathBuf, domain: String },
    #[error("disk '{disk}' referenced by snapshot '{snapshot}' not found in the current definition")]
    DiskGone { disk: String, snapshot: String },
    #[error("disk '{0}' not found in domain")]
    DiskNotFound(String),
    #[error("failed to find parent disk source in backing chain")]
    NotInChain,
    #[error("revert to snapshot of a domain in state '{0}' is not supported")]
    RevertState(&'static str),
    #[error("disk image '{disk}' for internal snapshot '{tag}' is not the same as disk image currently used by VM")]
    TagNotActive { disk: String, tag: String },
    #[error("cannot set moment {0} as its own parent")]
    OwnParent(String),
    #[error("parent {parent} for moment {name} not found")]
    ParentMissing { parent: String, name: String },
    #[error("parent {parent} would create cycle to {name}")]
    ParentCycle { parent: String, name: String },
    #[error("disk-only flag for snapshot {0} requires disk-snapshot state")]
    DiskOnlyState(String),
    #[error("definition for snapshot {name} must use uuid {uuid}")]
    WrongUuid { name: String, uuid: String },
    #[error("cannot change between online and offline snapshot state in snapshot {0}")]
    OnlineOffline(String),
    #[error("cannot change between disk only and full system in snapshot {0}")]
    DiskOnlyFull(String),
    #[error("cannot rename active domain")]
    RenameActive,
    #[error("cannot rename a transient domain")]
    RenameTransient,
    #[error("domain with a managed saved state can't be renamed")]
    RenameSaved,
    #[error("Can't rename domain to itself")]
    RenameToItself,
    #[error("domain with name '{0}' already exists")]
    NameTaken(String),
    #[error("missing domain in snapshot")]
    NoDomain,
    #[error("Target {what} {new} does not match source {old}")]
    Abi { what: String, new: String, old: String },
    #[error("{0}")]
    RiskyMachine(Box<Self>),
    #[error("domain is active, and snapshot '{0}' has state '{1}': reverting to it stops the guest")]
    RiskyOff(String, &'static str),
    #[error("{0}")]
    MemoryHeader(String),
}

impl Refusal {
    fn code(&self) -> Code {
        use Refusal::*;
        match self {
            NoAgent => Code::ArgumentUnsupported,
            CopyActive(_) => Code::BlockCopyActive,
            RenameActive
            | RenameTransient
            | RenameToItself
            | NameTaken(_)
            | RenameSaved
            | SaveTransient
            | UndefineSaved
            | CreateSaved(_)
            | NotRunning
            | ImageBusy { .. }
            | HaltTransient
            | TransientRevert
            | HalfDeleted(_)
            | TransientMigration => Code::OperationInvalid,
            NameSlash(_) | NameDot(_) => Code::XmlDetail,
            LiveNeedsMemory
            | InternalNeedsMemory
            | BusNotSupported(_)
            | TransientDisk(_)
            | BlockMissing(_)
            | RevertNeedsFiles(_)
            | RevertState(_)
            | NvramFormat
            | InternalBeneath { .. }
            | TagNotActive { .. } => Code::OperationUnsupported,
            BadState(_)
            | InternalInactiveSource(_)
            | ExternalInactiveSource(_)
            | ExternalActiveSource(_)
            | NoDomain => Code::Internal,
            Exists(_)
            | TagExists(_)
            | TagMissing { .. }
            | TagTwice { .. }
            | StrayTag { .. }
            | NoVmstate(_)
            | MemoryHeader(_)
            | SavedMissing(_)
            | SavedBroken(_)
            | MemoryBroken
            | SideMissing { .. }
            | NoTemplate { .. }
            | NvramSize { .. }
            | DiskGone { .. }
            | NotInChain
            | MemoryExists(_)
            | NameTooLong { .. } => Code::OperationFailed,
            ReuseMissing { .. } | CannotStat { .. } | MemoryMissing { .. } => Code::SystemError,
            NoSnapshot(_) | NoParent(_) | NoCurrent => Code::NoDomainSnapshot,
            NoDefinition(..) | SavedStateInTheWay | RiskyMachine(_) | RiskyOff(..) => Code::SnapshotRevertRisky,
            DiskNotFound(_)
            | OwnParent(_)
            | ParentMissing { .. }
            | ParentCycle { .. }
            | DiskOnlyState(_)
            | WrongUuid { .. }
            | OnlineOffline(_)
            | DiskOnlyFull(_) => Code::InvalidArg,
            _ => Code::ConfigUnsupported,
        }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.code(), refusal.to_string())
    }
}

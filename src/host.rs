//! The outside world: hypervisors, images, files. Everything above is deterministic because
//! every effect goes through [`Host`]; `sim` implements it in memory, `qemu` for real.
//!
//! # What the hypervisors do with a snapshot
//!
//! As in the table of libvirt's API proposal of 2010. virsnap drives the first two columns; the other two are comparison,
//! from their vendors' documentation.
//!
//! | | QEMU ([`qemu`]) | Xen ([`xen`]) | VirtualBox | ESX |
//! |---|---|---|---|---|
//! | taken while the guest | is off, paused or runs | is off, paused or runs | is off, saved or runs | is off, suspended or runs |
//! | with memory | yes: in the image, or in a file; the guest stands still for milliseconds (userfaultfd), else for all of the save, or with LIVE for what it has written since the rest was copied | yes: in a file; it stands still for all of the save, and must have run once, because it takes part | yes, in a file; `--live` keeps it running | yes, in a file (`memory`) |
//! | without memory, running | overlays, at one instant | overlays, at one instant of all disks; thin volumes while it is paused | no | overlays |
//! | quiesce | by the guest agent | by the guest agent, over a Xen channel | no | by VMware Tools (`quiesce`) |
//! | listed | the store | the store, and a record per snapshot for other tools | its settings file | its `.vmsd` file |
//! | after a revert to memory | runs, or is paused as then; RUNNING and PAUSED choose | the same | is saved, until it is started | runs |
//! | after a revert to disks | off; RUNNING and PAUSED choose | the same | off | off |
//! | who merges, running | QEMU: block commit and stream | the domain's qdisk, the same jobs | its own process | its kernel |
//! | who merges, off | `qemu-img` | `qemu-img`, once nobody has the image; LVM; `vhd-util` | its service | its kernel |
//!
//! Must not know: the store, the engine, D-Bus.

mod agent;
pub mod command;
pub mod images;
pub mod node;
pub mod qcow2;
pub mod qemu;
pub mod save_image;
#[allow(missing_docs)]
pub mod sim;
mod strict;
pub mod xen;

use crate::error::{Code, Error, Result};
use crate::model::block_job::{BlockJob, DiskCopy};
use crate::model::domain::{RunState, Runtime};
use crate::model::file_system::FileSystem;
use crate::model::ids::{DomainId, Instance, OpId, SnapshotName};
use crate::model::side_state::{Nvram, SideState, SideStates};
use crate::model::tree::Tree;
use crate::plan::facts::{Backends, Capabilities, Facts};
use crate::plan::steps::{Prepare, Settle, Start, SwitchDisk};
use async_trait::async_trait;
use camino::Utf8PathBuf;

pub use crate::plan::steps::Note;

/// How a commit can fail.
#[derive(Debug)]
pub enum CommitError {
    /// The hypervisor said no: nothing was changed.
    Refused(Error),
    /// Nobody knows: probe.
    InDoubt(Error),
}

/// What a probe of the disk switch found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probe {
    /// The overlays are the devices' roots.
    Done,
    /// The old images are.
    NotDone,
    /// The hypervisor is gone: an overlay that was ever attached may hold guest data.
    Unknown,
}

/// Something that happened to a hypervisor without our asking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostEvent {
    /// Whose.
    pub domain: DomainId,
    /// Of which start.
    pub instance: Instance,
    /// What.
    pub kind: HostEventKind,
}

/// The kinds of [`HostEvent`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostEventKind {
    /// Somebody else has started a guest: with this definition, and in this state.
    Found {
        /// Its definition, as it really runs.
        xml: String,
        /// Whether it runs.
        run: RunState,
        /// What only it knows.
        runtime: Runtime,
    },
    /// A snapshot that somebody else has recorded and that may be taken in: a document to redefine.
    FoundSnapshot {
        /// `<domainsnapshot>`.
        xml: String,
    },
    /// The guest, or somebody for it, wants the machine to start again, which its hypervisor does not do by itself.
    Restart,
    /// The process has ended. `clean` when it announced its shutdown before.
    Gone {
        /// Whether a SHUTDOWN event came first.
        clean: bool,
    },
    /// The guest, or the host (`guest: false`), has asked QEMU to end.
    Shutdown {
        /// Who asked.
        guest: bool,
    },
    /// The guest was reset or rebooted.
    Reset,
    /// CPUs were stopped, by an I/O error (`io_error`) or by somebody else on the monitor.
    Paused {
        /// Because of an I/O error.
        io_error: bool,
    },
    /// CPUs were resumed by somebody else.
    Resumed,
    /// The guest has that much memory now.
    Memory {
        /// KiB.
        kib: u64,
    },
    /// The guest panicked.
    Crashed,
    /// A block job changed its state.
    BlockJob {
        /// The disk's target.
        disk: String,
        /// `virDomainBlockJobType`.
        job: i32,
        /// `virConnectDomainEventBlockJobStatus`.
        status: i32,
    },
}

/// A record of a snapshot that is not ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignRecord {
    /// The snapshot's name, as far as it can be told.
    pub name: String,
    /// The record.
    pub file: Utf8PathBuf,
    /// Why it is not taken in.
    pub reason: String,
}

/// Bytes of a long step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StepProgress {
    /// Bytes done.
    pub done: u64,
    /// Bytes in all; 0 while unknown.
    pub total: u64,
}

/// What a step reports while it runs and when it ends, and whether it shall end early.
#[async_trait]
pub trait Report: Send + Sync {
    /// Bytes done so far.
    fn progress(&self, progress: StepProgress);
    /// The guest stood still for that long, in microseconds.
    fn paused_for(&self, microseconds: u64);
    /// Until a client wants the operation to end. A step that takes long then ends with any error, at a moment at which its
    /// undo can take everything back (a prepare step), or it can be repeated (a settle step). The others may pass over it.
    async fn cancelled(&self) {
        std::future::pending().await
    }
}

/// The outside world on one screen.
#[async_trait]
pub trait Host: Send + Sync {
    /// What this host can do.
    fn capabilities(&self) -> Capabilities;
    /// The `<capabilities>` document.
    async fn capabilities_xml(&self) -> Result<String>;
    /// The `<domainCapabilities>` document for one emulator, architecture, machine, type; empty text: the default.
    async fn domain_capabilities_xml(
        &self,
        emulator: &str,
        arch: &str,
        machine: &str,
        virttype: &str,
    ) -> Result<String>;
    /// The machine's CPUs by number: whether each is online.
    fn cpus(&self) -> Result<Vec<bool>> {
        node::cpus()
    }
    /// What that CPU, or all of them (-1), did so far: nanoseconds by libvirt's names.
    fn cpu_times(&self, cpu: i32) -> Result<Vec<(String, u64)>> {
        node::cpu_times(cpu)
    }
    /// The names of the CPU models that guests of that architecture may have.
    fn cpu_models(&self, _arch: &str) -> Result<Vec<String>> {
        Err(Error::new(Code::NoSupport, "virConnectGetCPUModelNames"))
    }
    /// The `<sysinfo>` document.
    fn sysinfo(&self) -> Result<String> {
        Err(Error::new(Code::NoSupport, "virConnectGetSysinfo"))
    }
    /// libvirt's version number of the hypervisor: major × 1,000,000 + minor × 1,000 + micro.
    async fn hypervisor_version(&self) -> Result<u64>;
    /// Refuse what cannot be run as written (element and line), and assign what must be stable:
    /// the text as given, with addresses filled in.
    fn check_definition(&self, xml: &str) -> Result<String>;

    /// Start with CPUs stopped, memory loaded. On an error nothing is left running.
    async fn start(&self, start: &Start, report: &dyn Report) -> Result<Runtime>;
    /// Find a hypervisor that was started earlier, by another life of this daemon perhaps; `None`
    /// if it is gone. From here on its events are reported.
    async fn attach(&self, domain: DomainId, instance: Instance, xml: &str) -> Result<Option<(RunState, Runtime)>>;
    /// Every hypervisor that the store knows was looked for: from here on what others do on this host is told, too.
    async fn watch(&self) {}
    /// End it, at any moment, whatever else runs. Returns when the process is gone; fine if it is gone already. `graceful` lets it write
    /// out its caches first. No `Gone` event is reported for it;
    /// one of an end that came before is reported before this returns.
    async fn kill(&self, instance: Instance, graceful: bool) -> Result<()>;
    /// Stop the CPUs.
    async fn pause(&self, instance: Instance) -> Result<()>;
    /// Let the CPUs run.
    async fn resume(&self, instance: Instance) -> Result<()>;
    /// Press the power button.
    async fn power_button(&self, instance: Instance) -> Result<()>;
    /// Ask the guest to boot again. Where only the reset button is understood by every guest, that.
    async fn reboot(&self, instance: Instance) -> Result<()> {
        self.reset(instance).await
    }
    /// Press the reset button.
    async fn reset(&self, instance: Instance) -> Result<()>;

    /// Let the guest have that much memory, as far as it cooperates; `HostEventKind::Memory` tells what it took.
    async fn set_memory(&self, _instance: Instance, _kib: u64) -> Result<()> {
        Err(Error::unsupported("the memory of a running guest cannot be changed"))
    }
    /// KiB of the machine's memory that the hypervisor takes.
    fn resident_memory(&self, _runtime: &Runtime) -> Option<u64> {
        None
    }
    /// Let the guest have that many CPUs, of those that its definition allows.
    async fn set_vcpus(&self, _instance: Instance, _count: u32) -> Result<()> {
        Err(Error::unsupported("the number of CPUs of a running guest cannot be changed"))
    }
    /// Whether the tunables of its guests (shares, limits, pinning) can be set, because nothing obeys them.
    fn keeps_parameters(&self) -> bool {
        false
    }

    /// Ask the guest's agent to freeze what is mounted there, everything if nothing is named; how many file systems were.
    /// The definition has the agent's channel.
    async fn freeze(&self, instance: Instance, mountpoints: &[String]) -> Result<u32>;
    /// Ask it to thaw everything; how many file systems were thawed.
    async fn thaw(&self, instance: Instance) -> Result<u32>;
    /// Ask it what is mounted, and on which disks of this definition.
    async fn file_systems(&self, instance: Instance, xml: &str) -> Result<Vec<FileSystem>>;

    /// How the disks of a definition can be captured; empty where the formats say it.
    async fn backends(&self, _instance: Option<Instance>, _xml: &str) -> Result<Backends> {
        Ok(Backends::new())
    }
    /// What belongs to the machine of this definition beside its disks; a definition that is not this host's has none.
    async fn side_state(&self, _domain: DomainId, _xml: &str) -> Result<SideStates> {
        Ok(SideStates::default())
    }
    /// Make the NVRAM anew from its template.
    async fn reset_nvram(&self, _nvram: &Nvram) -> Result<()> {
        Ok(())
    }
    /// Remove a piece of it for good.
    async fn remove_side(&self, _side: &SideState) -> Result<()> {
        Ok(())
    }
    /// The snapshots of these names were added, changed or removed: `tree` is what there is now. A host that keeps
    /// records of its own for others to read brings them up to date.
    async fn record(&self, _domain: DomainId, _tree: &Tree, _changed: &[SnapshotName]) {}
    /// The same for all snapshots, when the daemon starts or the domain is found: records of snapshots that are gone go.
    async fn record_all(&self, _domain: DomainId, _tree: &Tree, _xml: &str) {}
    /// Records of snapshots that somebody else has left and that are not taken in: name, file, and why.
    async fn foreign_records(&self, _domain: DomainId, _tree: &Tree, _xml: &str) -> Vec<ForeignRecord> {
        Vec::new()
    }

    /// The block jobs that clients have started on the disks of a guest.
    async fn block_jobs(&self, _instance: Instance) -> Result<Vec<BlockJob>> {
        Ok(Vec::new())
    }
    /// Begin to mirror a disk to another image. On an error nothing is left of it.
    async fn copy_disk(&self, _op: OpId, _instance: Instance, _copy: &DiskCopy) -> Result<()> {
        Err(Error::new(Code::NoSupport, "virDomainBlockCopy"))
    }
    /// Give a job up: its disk stays where it is.
    async fn cancel_block_job(&self, _instance: Instance, _job: &BlockJob) -> Result<()> {
        Err(Error::new(Code::NoSupport, "virDomainBlockJobAbort"))
    }
    /// Give a job another limit, in bytes per second.
    async fn set_block_job_speed(&self, _instance: Instance, _job: &BlockJob, _bandwidth: u64) -> Result<()> {
        Err(Error::new(Code::NoSupport, "virDomainBlockJobSetSpeed"))
    }

    /// Wait for programs that a killed daemon has left running, before anything is recovered.
    async fn leftovers_gone(&self) {}
    /// What is at these paths, headers included; also at each backing file below them.
    async fn look(&self, paths: &[Utf8PathBuf]) -> Result<Facts>;
    /// Every image in the directories of these paths that lies on another one: overlays that
    /// nobody told us about must not lose what they lie on.
    async fn overlays_beside(&self, paths: &[Utf8PathBuf]) -> Result<Facts>;

    /// Do a prepare step.
    async fn prepare(&self, op: OpId, step: &Prepare, report: &dyn Report) -> Result<Option<Note>>;
    /// Undo it, also if it never ran or ran half.
    async fn undo(&self, op: OpId, step: &Prepare, note: Option<&Note>) -> Result<()>;
    /// Switch the disks of a running guest, all or none.
    async fn switch(&self, op: OpId, instance: Instance, disks: &[SwitchDisk]) -> Result<(), CommitError>;
    /// Whether they are switched.
    async fn probe(&self, instance: Instance, disks: &[SwitchDisk]) -> Result<Probe>;
    /// Do a settle step, also if it ran before or ran half. `Publish` and `Start` are the engine's.
    async fn settle(&self, op: OpId, step: &Settle, report: &dyn Report) -> Result<()>;
}

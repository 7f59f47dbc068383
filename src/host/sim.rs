//! A host without effects: files, guests and their writes are values in memory.
//!
//! Every effect of a step is cut into its smallest parts, and before each part the guests write
//! and the [`Fuse`] may strike: the daemon dies, the machine dies (and what was not fsynced with
//! it), the hypervisor dies, or the part is refused. A step that was cut short is what a real one
//! leaves behind. The same schedule gives the same world, always.
//!
//! ```text
//!   SimHost ── point() ──► Fuse      counts; strikes at the chosen numbers
//!      └─────────────────► World     files ─ inodes ─ bodies (now, durable); guests
//! ```
//!
//! Must not know: the store, the engine.

pub mod fuse;
pub mod guest;
pub mod machine;
pub mod world;

mod blocks;
mod prepare;
mod settle;
#[cfg(test)]
mod tests;

pub use fuse::{Fault, Fuse};
pub use world::{Body, ImageBody, World};

use super::{CommitError, Host, HostEvent, HostEventKind, Note, Probe, Report};
use crate::error::{Code, Error, Result};
use crate::model::domain::{DomainState, RunState, Runtime, reason};
use crate::model::file_system::FileSystem;
use crate::model::ids::{DomainId, Instance, OpId};
use crate::model::side_state::{Nvram, SideState, SideStates};
use crate::plan::facts::{Capabilities, Facts, LiveSave};
use crate::plan::steps::{MemorySource, Prepare, Settle, Start, SwitchDisk};
use async_trait::async_trait;
use camino::Utf8PathBuf;
use fuse::Verdict;
use guest::Guest;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::mpsc;

/// A world that outlives the daemons that act on it.
pub type SharedWorld = Arc<Mutex<World>>;

/// One daemon's hands on the world.
pub struct SimHost {
    world: SharedWorld,
    fuse: Arc<Fuse>,
    events: mpsc::UnboundedSender<HostEvent>,
    /// What the planner is told.
    pub capabilities: Capabilities,
}

/// The world, whatever happened to others who held it.
pub fn hold(world: &SharedWorld) -> MutexGuard<'_, World> {
    world.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SimHost {
    /// A daemon's hands on `world`; what happens to guests is told to `events`.
    #[must_use]
    pub fn new(world: SharedWorld, fuse: Arc<Fuse>, events: mpsc::UnboundedSender<HostEvent>) -> Self {
        Self { world, fuse, events, capabilities: Capabilities::qemu(LiveSave::Background) }
    }

    fn world(&self) -> MutexGuard<'_, World> {
        hold(&self.world)
    }

    /// Before every smallest part of an effect: time passes, and the fuse may strike. Never
    /// returns once the daemon is dead.
    async fn point(&self, what: &str) -> Result<()> {
        self.end_point(what).await?;
        if self.fuse.lets_others_act() {
            for _ in 0..16 {
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    }

    /// A point behind the last part of an effect: it is too late to cancel it.
    async fn end_point(&self, what: &str) -> Result<()> {
        match self.strike(what) {
            Ok(()) => Ok(()),
            Err(Some(error)) => Err(error),
            Err(None) => std::future::pending().await,
        }
    }

    /// The same for effects that are not the host's: `Err(None)` says that the daemon is dead.
    pub fn strike(&self, what: &str) -> Result<(), Option<Error>> {
        let mut world = self.world();
        world.tick();
        match self.fuse.strike(what) {
            Verdict::Go => Ok(()),
            Verdict::Dead => Err(None),
            Verdict::Hit(fault) => match fault {
                Fault::Crash => Err(None),
                Fault::MachineKeeps => {
                    world.end_all();
                    Err(None)
                }
                Fault::MachineLoses => {
                    world.lose();
                    Err(None)
                }
                Fault::GuestDies | Fault::GuestDiesUnseen => {
                    for (domain, instance) in world.end_all() {
                        // Nobody may be listening any more.
                        let _ = self.events.send(HostEvent {
                            domain,
                            instance,
                            kind: HostEventKind::Gone { clean: false },
                        });
                    }
                    Ok(())
                }
                Fault::Interrupt => Ok(()),
                Fault::Refuse => Err(Some(Error::failed(format_args!("simulated: {what} was refused")))),
            },
        }
    }

    async fn set_running(&self, instance: Instance, running: bool) -> Result<()> {
        self.point(if running { "resume" } else { "pause" }).await?;
        self.world().guest_mut(instance)?.running = running;
        Ok(())
    }
}

/// What takes long ends between any two of its parts.
async fn cancellable<T>(work: impl Future<Output = Result<T>>, report: &dyn Report) -> Result<T> {
    tokio::select! {
        biased;
        () = report.cancelled() => Err(Error::new(Code::OperationAborted, "simulated: it was cancelled")),
        done = work => done,
    }
}

#[async_trait]
impl Host for SimHost {
    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }
    async fn capabilities_xml(&self) -> Result<String> {
        Ok(machine::CAPABILITIES.to_owned())
    }
    async fn domain_capabilities_xml(
        &self,
        _emulator: &str,
        arch: &str,
        machine: &str,
        _virttype: &str,
    ) -> Result<String> {
        machine::domain_capabilities(arch, machine)
    }
    async fn hypervisor_version(&self) -> Result<u64> {
        Ok(machine::VERSION)
    }
    fn cpus(&self) -> Result<Vec<bool>> {
        Ok(machine::CPUS.to_vec())
    }
    fn cpu_times(&self, cpu: i32) -> Result<Vec<(String, u64)>> {
        machine::cpu_times(cpu)
    }
    fn cpu_models(&self, arch: &str) -> Result<Vec<String>> {
        machine::cpu_models(arch)
    }
    fn sysinfo(&self) -> Result<String> {
        Ok(machine::SYSINFO.to_owned())
    }
    fn keeps_parameters(&self) -> bool {
        true
    }
    fn check_definition(&self, xml: &str) -> Result<String> {
        let disks = guest::disks_of(xml)?;
        let mut world = self.world();
        if world.images_on_demand {
            disks.iter().for_each(|d| world.provide(&d.image));
        }
        Ok(xml.to_owned())
    }

    async fn start(&self, start: &Start, _report: &dyn Report) -> Result<Runtime> {
        self.point("start").await?;
        let mut guest = Guest::open(&self.world(), start)?;
        match &start.memory {
            MemorySource::Boot => {}
            MemorySource::File(path) => {
                self.point("start: load memory").await?;
                guest.counter = self.world().saved_memory(path)?;
                guest.loaded = true;
            }
            MemorySource::Tag(tag) => {
                self.point("start: load tag").await?;
                guest.counter = self.world().load_tag(&guest, tag)?;
                guest.loaded = true;
            }
        }
        self.world().admit(guest)?;
        if let Err(error) = self.point("start: running").await {
            self.world().end(start.instance);
            return Err(error);
        }
        Ok(Runtime { pid: 1, ..Runtime::default() })
    }

    async fn attach(&self, _domain: DomainId, instance: Instance, _xml: &str) -> Result<Option<(RunState, Runtime)>> {
        let run = |g: &Guest| {
            let (state, reason) = if g.running {
                (DomainState::Running, reason::RUNNING_BOOTED)
            } else {
                (DomainState::Paused, reason::PAUSED_UNKNOWN)
            };
            (RunState { state, reason }, Runtime { pid: 1, ..Runtime::default() })
        };
        Ok(self.world().guests.get(&instance).map(run))
    }

    async fn kill(&self, instance: Instance, _graceful: bool) -> Result<()> {
        self.point("kill").await?;
        self.world().end(instance);
        Ok(())
    }
    async fn pause(&self, instance: Instance) -> Result<()> {
        self.set_running(instance, false).await
    }
    async fn resume(&self, instance: Instance) -> Result<()> {
        self.set_running(instance, true).await
    }
    async fn power_button(&self, instance: Instance) -> Result<()> {
        self.point("power button").await?;
        if let Some(guest) = self.world().end(instance) {
            for kind in [HostEventKind::Shutdown { guest: true }, HostEventKind::Gone { clean: true }] {
                let _ = self.events.send(HostEvent { domain: guest.domain, instance, kind });
            }
        }
        Ok(())
    }
    async fn reset(&self, instance: Instance) -> Result<()> {
        self.point("reset").await?;
        let domain = self.world().guest_mut(instance)?.domain;
        let _ = self.events.send(HostEvent { domain, instance, kind: HostEventKind::Reset });
        Ok(())
    }

    async fn set_memory(&self, instance: Instance, kib: u64) -> Result<()> {
        self.point("set memory").await?;
        let domain = self.world().guest_mut(instance)?.domain;
        let _ = self.events.send(HostEvent { domain, instance, kind: HostEventKind::Memory { kib } });
        Ok(())
    }
    async fn set_vcpus(&self, instance: Instance, _count: u32) -> Result<()> {
        self.point("set vcpus").await?;
        self.world().guest_mut(instance).map(drop)
    }

    async fn freeze(&self, instance: Instance, _mountpoints: &[String]) -> Result<u32> {
        self.point("ask for a freeze").await?;
        let mut world = self.world();
        let guest = world.guest_mut(instance)?;
        if std::mem::replace(&mut guest.frozen, true) {
            return Err(Error::new(Code::AgentCommandFailed, "the file systems are frozen already"));
        }
        Ok(u32::try_from(guest.disks.len()).unwrap_or(u32::MAX))
    }
    async fn thaw(&self, instance: Instance) -> Result<u32> {
        self.point("ask for a thaw").await?;
        let mut world = self.world();
        let guest = world.guest_mut(instance)?;
        let thawed = if std::mem::take(&mut guest.frozen) { guest.disks.len() } else { 0 };
        Ok(u32::try_from(thawed).unwrap_or(u32::MAX))
    }
    async fn file_systems(&self, instance: Instance, _xml: &str) -> Result<Vec<FileSystem>> {
        let mut world = self.world();
        let system = |(n, disk): (usize, &guest::GuestDisk)| FileSystem {
            mountpoint: if n == 0 { "/".to_owned() } else { format!("/{}", disk.target) },
            name: disk.target.0.clone(),
            kind: "ext4".to_owned(),
            disks: vec![disk.target.clone()],
        };
        Ok(world.guest_mut(instance)?.disks.iter().enumerate().map(system).collect())
    }

    async fn side_state(&self, _domain: DomainId, xml: &str) -> Result<SideStates> {
        let nvram = guest::disks_of(xml)?.into_iter().find(|d| d.target.as_str() == guest::NVRAM);
        let all = nvram.map(|d| SideState::Nvram(Nvram { image: d.image, template: None })).into_iter().collect();
        Ok(SideStates { all, copies: "/copies".into() })
    }
    async fn remove_side(&self, side: &SideState) -> Result<()> {
        self.point("remove side state").await?;
        self.world().unlink(side.path());
        Ok(())
    }

    async fn look(&self, paths: &[Utf8PathBuf]) -> Result<Facts> {
        Ok(self.world().look(paths))
    }

    async fn overlays_beside(&self, _paths: &[Utf8PathBuf]) -> Result<Facts> {
        Ok(self.world().overlays())
    }

    async fn prepare(&self, op: OpId, step: &Prepare, report: &dyn Report) -> Result<Option<Note>> {
        match step {
            Prepare::SaveMemory { .. } | Prepare::AwaitSave { .. } => {
                cancellable(self.do_prepare(op, step), report).await
            }
            _ => self.do_prepare(op, step).await,
        }
    }
    async fn undo(&self, op: OpId, step: &Prepare, note: Option<&Note>) -> Result<()> {
        self.do_undo(op, step, note).await
    }

    async fn switch(&self, _op: OpId, instance: Instance, disks: &[SwitchDisk]) -> Result<(), CommitError> {
        self.point("switch: asked").await.map_err(CommitError::Refused)?;
        self.world().can_switch(instance, disks).map_err(CommitError::Refused)?;
        self.point("switch: on its way").await.map_err(CommitError::InDoubt)?;
        self.world().switch(instance, disks).map_err(CommitError::InDoubt)?;
        self.point("switch: its answer").await.map_err(CommitError::InDoubt)
    }
    async fn probe(&self, instance: Instance, disks: &[SwitchDisk]) -> Result<Probe> {
        self.point("probe").await?;
        let world = self.world();
        Ok(match world.guests.get(&instance) {
            None => Probe::Unknown,
            Some(guest) if world.is_switched(guest, disks) => Probe::Done,
            Some(_) => Probe::NotDone,
        })
    }

    async fn settle(&self, op: OpId, step: &Settle, report: &dyn Report) -> Result<()> {
        match step {
            Settle::MergeDown { .. } | Settle::MergeActive { .. } | Settle::PullUp { .. } => {
                cancellable(self.do_settle(op, step), report).await
            }
            _ => self.do_settle(op, step).await,
        }
    }
}

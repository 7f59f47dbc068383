//! QEMU, driven over QMP and `qemu-img`.
//!
//! ```text
//!   define:  text ─ hardware (strict) ─ addresses ─▶ text
//!   start:   text ─ hardware ─ chains ─ argv ─▶ launch ─▶ RunningQemu, registered
//!   after:   events (QMP) ─▶ HostEvent;   steps ─ Registry ─▶ QMP
//! ```
//!
//! Must not know: the store, the engine, D-Bus.

mod addresses;
mod agent;
mod argv;
mod block;
mod bridges;
mod capabilities;
mod chains;
mod copies;
mod cpu;
mod define;
#[cfg(test)]
mod definition_tests;
mod devices;
mod disks;
mod events;
mod firmware;
mod hardware;
mod instance;
mod job;
mod launch;
mod load;
mod memory;
mod merges;
mod pidfd;
mod probe;
pub mod process;
pub mod qmp;
#[cfg(test)]
mod real_tests;
mod saves;
mod side;
pub(in crate::host) mod steps;
mod tags;
#[cfg(test)]
mod tests;
mod tpm;
mod transient;

use crate::error::{Error, Result};
use crate::host::{CommitError, Host, HostEvent, Note, Probe, Report, command, images, node};
use crate::model::block_job::{BlockJob, DiskCopy};
use crate::model::domain::{RunState, Runtime};
use crate::model::file_system::FileSystem;
use crate::model::ids::{DomainId, Instance, OpId};
use crate::model::side_state::{Nvram, SideState, SideStates};
use crate::plan::facts::{Capabilities, Facts, LiveSave};
use crate::plan::steps::{Prepare, Settle, Start, SwitchDisk};
use async_trait::async_trait;
use camino::Utf8PathBuf;
use probe::{EmulatorFacts, Emulators};
use process::{Registry, RunningQemu};
use qmp::QmpError;
use serde_json::json;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Where this host keeps what, and what it runs.
#[derive(Debug, Clone)]
pub struct QemuConfig {
    /// Sockets, logs and notes of running guests; empty after a reboot.
    pub runtime_dir: Utf8PathBuf,
    /// NVRAM files that no definition places elsewhere, TPM states, and the copies of both that snapshots have.
    pub state_dir: Utf8PathBuf,
    /// The emulator of domains that name none; `None`: the first in `PATH`.
    pub emulator: Option<String>,
}

/// The QEMU of this machine.
#[derive(Debug)]
pub struct QemuHost {
    config: QemuConfig,
    emulators: Emulators,
    registry: Arc<Registry>,
    events: mpsc::UnboundedSender<HostEvent>,
}

impl QemuHost {
    /// Nothing is started or looked at yet.
    #[must_use]
    pub fn new(config: QemuConfig, events: mpsc::UnboundedSender<HostEvent>) -> Self {
        let emulators = Emulators::new(config.emulator.clone());
        Self { config, emulators, registry: Arc::default(), events }
    }

    fn must_run(&self, instance: Instance) -> Result<Arc<RunningQemu>> {
        self.registry.running(instance).ok_or_else(|| Error::invalid("domain is not running"))
    }

    fn default_emulator(&self) -> Result<(String, Arc<EmulatorFacts>)> {
        let path = self.emulators.default_for("x86_64")?;
        let facts = self.emulators.facts(&path)?;
        Ok((path, facts))
    }

    /// A command without arguments that may stop or resume the CPUs.
    async fn command(&self, instance: Instance, command: &str) -> Result<()> {
        let qemu = self.must_run(instance)?;
        let own = qemu.own_pause();
        qemu.monitor.execute(command, json!({})).await?;
        drop(own);
        Ok(())
    }
}

#[async_trait]
impl Host for QemuHost {
    fn capabilities(&self) -> Capabilities {
        let live = self.default_emulator().is_ok_and(|(_, facts)| facts.live_memory);
        Capabilities::qemu(if live { LiveSave::Background } else { LiveSave::Precopy })
    }

    async fn capabilities_xml(&self) -> Result<String> {
        let emulator = self.default_emulator().ok();
        Ok(capabilities::host(emulator.as_ref().map(|(path, facts)| (path.as_str(), facts.as_ref()))))
    }

    async fn domain_capabilities_xml(
        &self,
        emulator: &str,
        arch: &str,
        machine: &str,
        virttype: &str,
    ) -> Result<String> {
        let arch = if arch.is_empty() { "x86_64" } else { arch };
        if !matches!(arch, "x86_64" | "i686") {
            return Err(Error::new(crate::error::Code::InvalidArg, format!("unknown architecture: {arch}")));
        }
        let emulator = match emulator {
            "" => self.emulators.default_for(arch)?,
            path => path.to_owned(),
        };
        let facts = self.emulators.facts(&emulator)?;
        let machine = facts.machine(&emulator, Some(machine).filter(|m| !m.is_empty()))?;
        let virttype = match virttype {
            "" if capabilities::has_kvm() => "kvm",
            "" | "qemu" => "qemu",
            "kvm" if capabilities::has_kvm() => "kvm",
            other => {
                return Err(Error::new(
                    crate::error::Code::InvalidArg,
                    format!("the accel '{other}' is not supported by '{emulator}' on this host"),
                ));
            }
        };
        Ok(capabilities::domain(&emulator, &facts, arch, &machine, virttype))
    }

    async fn hypervisor_version(&self) -> Result<u64> {
        self.default_emulator().map(|(_, facts)| facts.version_number())
    }

    fn check_definition(&self, xml: &str) -> Result<String> {
        define::check(xml, &self.emulators, &self.config.state_dir)
    }

    async fn start(&self, start: &Start, report: &dyn Report) -> Result<Runtime> {
        self.launch(start, report).await
    }

    async fn attach(&self, domain: DomainId, instance: Instance, _xml: &str) -> Result<Option<(RunState, Runtime)>> {
        self.find(domain, instance).await
    }

    async fn kill(&self, instance: Instance, graceful: bool) -> Result<()> {
        self.end_of(instance, graceful).await
    }

    async fn pause(&self, instance: Instance) -> Result<()> {
        self.command(instance, "stop").await
    }

    async fn resume(&self, instance: Instance) -> Result<()> {
        self.command(instance, "cont").await
    }

    async fn power_button(&self, instance: Instance) -> Result<()> {
        self.command(instance, "system_powerdown").await
    }

    async fn reset(&self, instance: Instance) -> Result<()> {
        self.command(instance, "system_reset").await
    }

    async fn set_memory(&self, instance: Instance, kib: u64) -> Result<()> {
        let bytes = kib.checked_mul(1024).ok_or_else(|| Error::failed("too much memory"))?;
        let told = self.must_run(instance)?.monitor.execute("balloon", json!({ "value": bytes })).await;
        told.map(drop).map_err(|error| match error {
            QmpError::Refused { ref class, .. } if class == "DeviceNotActive" => Error::invalid(
                "Unable to change memory of active domain without the balloon device and guest OS balloon driver",
            ),
            error => error.into(),
        })
    }

    fn resident_memory(&self, runtime: &Runtime) -> Option<u64> {
        node::resident(runtime.pid)
    }

    async fn freeze(&self, instance: Instance, mountpoints: &[String]) -> Result<u32> {
        Ok(self.must_run(instance)?.agent()?.freeze(mountpoints).await?)
    }

    async fn thaw(&self, instance: Instance) -> Result<u32> {
        Ok(self.must_run(instance)?.agent()?.thaw().await?)
    }

    async fn file_systems(&self, instance: Instance, xml: &str) -> Result<Vec<FileSystem>> {
        let mounted = self.must_run(instance)?.agent()?.file_systems().await?;
        Ok(agent::on_disks(mounted, &launch::read(xml)?))
    }

    async fn side_state(&self, domain: DomainId, xml: &str) -> Result<SideStates> {
        match launch::read(xml) {
            Ok(hardware) => Ok(side::of(&hardware, domain, &self.config.state_dir)),
            // A snapshot may be redefined here whose machine could not run here: it is not this host's to capture.
            Err(error) => {
                tracing::debug!(%domain, %error, "no side state of a definition that cannot be run");
                Ok(SideStates { copies: side::copies(domain, &self.config.state_dir), ..SideStates::default() })
            }
        }
    }

    async fn reset_nvram(&self, nvram: &Nvram) -> Result<()> {
        side::reset(nvram).await
    }

    async fn remove_side(&self, side: &SideState) -> Result<()> {
        side::remove(side).await
    }

    async fn block_jobs(&self, instance: Instance) -> Result<Vec<BlockJob>> {
        copies::list(&*self.must_run(instance)?).await
    }

    async fn copy_disk(&self, op: OpId, instance: Instance, copy: &DiskCopy) -> Result<()> {
        copies::begin(&*self.must_run(instance)?, op, copy).await
    }

    async fn cancel_block_job(&self, instance: Instance, job: &BlockJob) -> Result<()> {
        copies::cancel(&*self.must_run(instance)?, job).await
    }

    async fn set_block_job_speed(&self, instance: Instance, job: &BlockJob, bandwidth: u64) -> Result<()> {
        copies::set_speed(&*self.must_run(instance)?, job, bandwidth).await
    }

    async fn leftovers_gone(&self) {
        command::leftovers_gone().await;
    }

    async fn look(&self, paths: &[Utf8PathBuf]) -> Result<Facts> {
        images::look(paths).await
    }

    async fn overlays_beside(&self, paths: &[Utf8PathBuf]) -> Result<Facts> {
        images::overlays_beside(paths).await
    }

    async fn prepare(&self, op: OpId, step: &Prepare, report: &dyn Report) -> Result<Option<Note>> {
        steps::prepare(self, op, step, report).await
    }

    async fn undo(&self, op: OpId, step: &Prepare, note: Option<&Note>) -> Result<()> {
        steps::undo(self, op, step, note).await
    }

    async fn switch(&self, _op: OpId, instance: Instance, disks: &[SwitchDisk]) -> Result<(), CommitError> {
        steps::switch(self, instance, disks).await
    }

    async fn probe(&self, instance: Instance, disks: &[SwitchDisk]) -> Result<Probe> {
        steps::probe(self, instance, disks).await
    }

    async fn settle(&self, op: OpId, step: &Settle, report: &dyn Report) -> Result<()> {
        steps::settle(self, op, step, report).await
    }
}

#[async_trait]
impl steps::Guests for QemuHost {
    async fn running(&self, instance: Instance) -> Option<Arc<RunningQemu>> {
        self.registry.running(instance)
    }

    fn emit(&self, event: HostEvent) {
        // Nobody listens any more when the daemon ends.
        let _ = self.events.send(event);
    }

    async fn kill(&self, instance: Instance, graceful: bool) -> Result<()> {
        self.end_of(instance, graceful).await
    }
}

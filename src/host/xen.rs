//! Xen, driven through `xl`, xenstore, and QMP of each domain's own qdisk.
//!
//! ```text
//!   define:  XML ─ config ─▶ checked text
//!   start:   XML ─ config ─▶ xl create / xl restore, paused ─▶ marked in xenstore ─▶ disks proved
//!   after:   watch (xenstore, xl list) ─▶ HostEvent;   steps ─▶ xl for the guest, QMP or qemu-img for its disks
//! ```
//!
//! | module | what lives there |
//! |---|---|
//! | [`config`] | xl configurations and libvirt XML, both ways |
//! | `xl`, `xenstore` | the toolstack's commands and what they say |
//! | `guests` | which domid is which start of which domain |
//! | `start`, `watch`, `memory` | starting and ending; what happens by itself; saving memory |
//! | `qdisk`, `writers`, `backends` | the QEMU of a domain's disks; never two writers; what each disk can do |
//! | `agent` | the guest agent's channel, as xenstore tells of it |
//! | [`lvm`], [`vhd`] | thin logical volumes; tapdisk's VHD images |
//! | `steps`, `toolstack` | the steps of a plan; what `xl` is told of them |
//! | [`record`], [`foreign`] | copies of the snapshots' records for others; others' records, judged |
//!
//! What differs from QEMU is said by [`Capabilities::xen`]; the planner and the engine are the same.
//! Must not know: the store, the engine, D-Bus.

mod agent;
mod backends;
pub mod config;
pub mod foreign;
mod guests;
pub mod lvm;
mod memory;
mod qdisk;
pub mod record;
mod records;
mod save_file;
mod start;
mod steps;
mod toolstack;
pub mod vhd;
mod watch;
mod writers;
mod xenstore;
mod xl;

use super::{CommitError, ForeignRecord, Host, HostEvent, HostEventKind, Note, Probe, Report, command, images, qemu};
use crate::error::{Code, Error, Result};
use crate::model::domain::{DomainState, RunState, Runtime, reason};
use crate::model::file_system::FileSystem;
use crate::model::ids::{DomainId, Instance, OpId, SnapshotName};
use crate::model::tree::Tree;
use crate::plan::facts::{Backends, Capabilities, Facts, FileKind};
use crate::plan::steps::{Prepare, Settle, Start, SwitchDisk};
use async_trait::async_trait;
use camino::Utf8PathBuf;
use guests::{Guests, Phase, Starter};
use std::fs::File;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Where this host keeps what.
#[derive(Debug, Clone)]
pub struct XenConfig {
    /// Notes and configurations of running guests; empty after a reboot.
    pub runtime_dir: Utf8PathBuf,
}

/// The Xen of this machine.
#[derive(Debug)]
pub struct XenHost {
    settings: XenConfig,
    guests: Arc<Guests>,
    qdisks: Arc<qdisk::Qdisks>,
    agents: agent::Agents,
    events: mpsc::UnboundedSender<HostEvent>,
}

/// What the watch works with.
#[derive(Clone)]
struct Hands {
    guests: Arc<Guests>,
    qdisks: Arc<qdisk::Qdisks>,
    events: mpsc::UnboundedSender<HostEvent>,
}

impl XenHost {
    /// Nothing is started or looked at yet.
    #[must_use]
    pub fn new(settings: XenConfig, events: mpsc::UnboundedSender<HostEvent>) -> Self {
        let guests = Arc::new(Guests::new(settings.runtime_dir.clone()));
        Self { settings, guests, qdisks: Arc::default(), agents: agent::Agents::default(), events }
    }

    async fn info(&self) -> Result<config::capabilities::XlInfo> {
        Ok(config::capabilities::info(&xl::info().await?))
    }

    fn emit(&self, event: HostEvent) {
        // Nobody listens any more when the daemon ends.
        let _ = self.events.send(event);
    }

    async fn set_paused(&self, instance: Instance, paused: bool) -> Result<()> {
        let domid = self.guests.domid(instance)?;
        let _busy = self.guests.busy(instance);
        let known = self.guests.get(instance);
        let ours = match (paused, known.is_some_and(|g| if paused { !g.paused } else { g.our_pause })) {
            (true, ran) => xl::pause(domid).await.map(|()| ran)?,
            (false, true) => xl::unpause(domid).await.map(|()| false)?,
            (false, false) => memory::unpause(domid).await.map(|()| false)?,
        };
        self.guests.change(instance, |g| {
            g.paused = paused;
            g.our_pause = ours;
        });
        Ok(())
    }
}

fn run_state(listed: &xl::Listed) -> RunState {
    match listed.stopped {
        Some(xl::Reason::Crash) => RunState { state: DomainState::Crashed, reason: 0 },
        Some(xl::Reason::Poweroff | xl::Reason::Reboot) => {
            RunState { state: DomainState::Shutdown, reason: reason::SHUTDOWN_USER }
        }
        Some(xl::Reason::Suspend) => RunState::paused(reason::PAUSED_SAVE),
        None if listed.paused => RunState::paused(reason::PAUSED_UNKNOWN),
        None => RunState::running(reason::RUNNING_BOOTED),
    }
}

#[async_trait]
impl Host for XenHost {
    fn capabilities(&self) -> Capabilities {
        Capabilities::xen()
    }

    async fn capabilities_xml(&self) -> Result<String> {
        Ok(config::capabilities::host(&self.info().await?))
    }

    async fn domain_capabilities_xml(
        &self,
        emulator: &str,
        arch: &str,
        machine: &str,
        virttype: &str,
    ) -> Result<String> {
        config::capabilities::domain(&self.info().await?, emulator, arch, machine, virttype)
    }

    async fn hypervisor_version(&self) -> Result<u64> {
        Ok(self.info().await?.version())
    }

    fn check_definition(&self, xml: &str) -> Result<String> {
        config::check(xml)
    }

    async fn start(&self, start: &Start, _report: &dyn Report) -> Result<Runtime> {
        self.launch(start).await
    }

    async fn attach(&self, domain: DomainId, instance: Instance, _xml: &str) -> Result<Option<(RunState, Runtime)>> {
        let Some(listed) = self.guests.locate(instance).await?.filter(|l| !l.dying && l.uuid == domain.0) else {
            self.guests.forget(instance);
            return Ok(None);
        };
        match guests::mark(listed.domid).await {
            Some(mark) => {
                let starter = if self.guests.is_own(&mark) { mark.starter } else { Starter::Others };
                self.guests.attach(domain, instance, listed.domid, starter, listed.paused);
            }
            None => self.guests.here(domain, instance, listed.domid, Starter::We).await?,
        }
        self.agents.of(&self.guests, instance).resume();
        Ok(Some((run_state(&listed), start::runtime(listed.domid).await)))
    }

    async fn watch(&self) {
        let (guests, qdisks) = (Arc::clone(&self.guests), Arc::clone(&self.qdisks));
        let hands = Hands { guests, qdisks, events: self.events.clone() };
        tokio::spawn(watch::run(hands));
    }

    async fn kill(&self, instance: Instance, _graceful: bool) -> Result<()> {
        self.end(instance).await
    }

    async fn pause(&self, instance: Instance) -> Result<()> {
        self.set_paused(instance, true).await
    }

    async fn resume(&self, instance: Instance) -> Result<()> {
        self.set_paused(instance, false).await
    }

    async fn power_button(&self, instance: Instance) -> Result<()> {
        xl::shutdown(self.guests.domid(instance)?).await
    }

    async fn reboot(&self, instance: Instance) -> Result<()> {
        xl::reboot(self.guests.domid(instance)?).await
    }

    async fn reset(&self, instance: Instance) -> Result<()> {
        let guest = self.guests.get(instance).filter(|g| g.phase == Phase::Here);
        let guest = guest.ok_or_else(|| Error::invalid("domain is not running"))?;
        self.emit(HostEvent { domain: guest.domain, instance, kind: HostEventKind::Restart });
        Ok(())
    }

    async fn backends(&self, instance: Option<Instance>, xml: &str) -> Result<Backends> {
        backends::classify(instance.and_then(|i| self.guests.domid(i).ok()), xml).await
    }

    async fn freeze(&self, instance: Instance, mountpoints: &[String]) -> Result<u32> {
        Ok(self.agents.of(&self.guests, instance).freeze(mountpoints).await?)
    }

    async fn thaw(&self, instance: Instance) -> Result<u32> {
        Ok(self.agents.of(&self.guests, instance).thaw().await?)
    }

    async fn file_systems(&self, instance: Instance, xml: &str) -> Result<Vec<FileSystem>> {
        let mounted = self.agents.of(&self.guests, instance).file_systems().await?;
        Ok(agent::on_disks(mounted, &crate::xml::domain::view(xml)?))
    }

    async fn record(&self, domain: DomainId, tree: &Tree, changed: &[SnapshotName]) {
        records::update(domain, tree, changed).await;
    }

    async fn record_all(&self, domain: DomainId, tree: &Tree, xml: &str) {
        records::reconcile(domain, tree).await;
        match records::others(domain, tree, xml).await {
            Ok((usable, _)) => {
                for xml in usable {
                    let kind = HostEventKind::FoundSnapshot { xml };
                    self.emit(HostEvent { domain, instance: Instance(uuid::Uuid::nil()), kind });
                }
            }
            Err(error) => tracing::warn!(%domain, %error, "records of others"),
        }
    }

    async fn foreign_records(&self, domain: DomainId, tree: &Tree, xml: &str) -> Vec<ForeignRecord> {
        match records::others(domain, tree, xml).await {
            Ok((_, refused)) => refused,
            Err(error) => {
                tracing::warn!(%domain, %error, "records of others");
                Vec::new()
            }
        }
    }

    async fn leftovers_gone(&self) {
        command::leftovers_gone().await;
    }

    async fn look(&self, paths: &[Utf8PathBuf]) -> Result<Facts> {
        let mut facts = images::look(paths).await?;
        for (path, fact) in &mut facts.files {
            if let FileKind::File(size) = fact.kind
                && size > 0
                && !fact.saved_memory
            {
                fact.saved_memory = File::open(path).is_ok_and(|f| save_file::is_complete(&f));
            }
        }
        backends::add_facts(&mut facts).await?;
        Ok(facts)
    }

    async fn overlays_beside(&self, paths: &[Utf8PathBuf]) -> Result<Facts> {
        let mut facts = images::overlays_beside(paths).await?;
        facts.files.extend(vhd::overlays_beside(paths).await?.files);
        Ok(facts)
    }

    async fn prepare(&self, op: OpId, step: &Prepare, report: &dyn Report) -> Result<Option<Note>> {
        self.do_prepare(op, step, report).await
    }

    async fn undo(&self, op: OpId, step: &Prepare, note: Option<&Note>) -> Result<()> {
        self.do_undo(op, step, note).await
    }

    async fn switch(&self, _op: OpId, instance: Instance, disks: &[SwitchDisk]) -> Result<(), CommitError> {
        qemu::steps::switch(self, instance, disks).await?;
        self.tell_toolstack(instance, disks.iter().map(|d| (d.target.as_str(), &d.overlay))).await;
        Ok(())
    }

    async fn probe(&self, instance: Instance, disks: &[SwitchDisk]) -> Result<Probe> {
        let probe = qemu::steps::probe(self, instance, disks).await?;
        if probe == Probe::Unknown && self.guests.locate(instance).await?.is_some() {
            return Err(Error::new(Code::OperationFailed, "the domain runs, but its qdisk does not answer"));
        }
        Ok(probe)
    }

    async fn settle(&self, op: OpId, step: &Settle, report: &dyn Report) -> Result<()> {
        self.do_settle(op, step, report).await
    }
}

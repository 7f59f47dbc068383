//! Domains: define, start, stop, and what lies between.

use super::domain::{Domain, State};
use super::service::{Inner, Service};
use crate::error::{Code, Error, Result};
use crate::model::domain::{DomainState, RunState, reason};
use crate::model::event::{EventKind, Lifecycle};
use crate::model::flags::{self, StartFlags, UndefineFlags, XmlFlags};
use crate::model::ids::{DomainId, Instance};
use crate::model::tree::Tree;
use crate::plan::refusal::Refusal;
use crate::plan::steps::{MemorySource, Start};
use crate::store::{DomainRow, LiveRow};
use crate::xml::{domain, edit};
use std::sync::Arc;
use tracing::warn;

/// A report for steps outside of an operation.
pub(super) struct NoReport;

impl crate::host::Report for NoReport {
    fn progress(&self, _: crate::host::StepProgress) {}
    fn paused_for(&self, _: u64) {}
}

fn not_running() -> Error {
    Error::invalid("domain is not running")
}

impl State {
    fn running(&self) -> Result<Instance> {
        self.instance().ok_or_else(not_running)
    }
}

impl Service {
    /// `virDomainDefineXML`.
    pub async fn define(&self, xml: &str) -> Result<DomainId> {
        let (text, id, name) = self.inner.checked(xml)?;
        if let Some(domain) = self.inner.find(id) {
            let _slot = domain.slot("define").await?;
            self.inner.finish_open_ops(&domain).await?;
            let mut row = domain.state().row;
            row.persistent = true;
            row.inactive_xml = Some(text);
            self.inner.store.put_domain(&row)?;
            domain.update(|s| s.row = row);
            self.inner.emit(id, EventKind::Lifecycle(Lifecycle::DefinedUpdated));
            return Ok(id);
        }
        let row = DomainRow {
            id,
            name,
            persistent: true,
            autostart: false,
            inactive_xml: Some(text),
            live: None,
            saved: None,
            reason: reason::SHUTOFF_UNKNOWN,
        };
        self.inner.store.put_domain(&row)?;
        self.inner.insert(Domain::new(row, RunState::off(reason::SHUTOFF_UNKNOWN), Tree::default()));
        self.inner.emit(id, EventKind::Lifecycle(Lifecycle::DefinedAdded));
        Ok(id)
    }

    /// `virDomainCreateXML`: start a transient domain, or a persistent one from another definition.
    pub async fn create_xml(&self, xml: &str, flags: u32) -> Result<DomainId> {
        let flags = start_flags(flags, "qemuDomainCreateXML")?;
        let (text, id, name) = self.inner.checked(xml)?;
        let domain = match self.inner.find(id) {
            Some(domain) => domain,
            None => {
                let row = DomainRow {
                    id,
                    name,
                    persistent: false,
                    autostart: false,
                    inactive_xml: None,
                    live: None,
                    saved: None,
                    reason: reason::SHUTOFF_UNKNOWN,
                };
                self.inner.store.put_domain(&row)?;
                self.inner.insert(Domain::new(row, RunState::off(reason::SHUTOFF_UNKNOWN), Tree::default()))
            }
        };
        let _slot = domain.slot("create").await?;
        self.inner.finish_open_ops(&domain).await?;
        if domain.state().is_active() {
            return Err(Error::invalid(format!("domain is already active as '{}'", domain.view().name)));
        }
        // libvirt boots it, and restores the image over the changed disks at the next start.
        if let Some(saved) = domain.state().row.saved {
            return Err(Refusal::CreateSaved(saved.path).into());
        }
        let started = self.inner.boot(&domain, text, flags).await;
        if started.is_err() {
            self.inner.reap_transient(&domain);
        }
        started.map(|()| id)
    }

    /// `virDomainCreateWithFlags`.
    pub async fn start(&self, id: DomainId, flags: u32) -> Result<()> {
        let flags = start_flags(flags, "qemuDomainCreateWithFlags")?;
        let domain = self.inner.domain(id)?;
        self.inner.start_domain(&domain, flags).await
    }

    /// `virDomainShutdownFlags`: the power button; the guest decides.
    pub async fn shutdown(&self, id: DomainId, flags: u32) -> Result<()> {
        const ACPI: u32 = 1;
        flags::none(flags & !ACPI, "qemuDomainShutdownFlags")?;
        let domain = self.inner.domain(id)?;
        let instance = domain.state().running()?;
        self.inner.host.power_button(instance).await?;
        // A guest that was off before the answer is off for who asks now.
        self.inner.heard_all().await;
        Ok(())
    }

    /// `virDomainReboot`: pressing the power button and starting again is the guest's to do; QEMU offers the
    /// reset button only, so this asks for what every guest understands.
    pub async fn reboot(&self, id: DomainId, flags: u32) -> Result<()> {
        const ACPI: u32 = 1;
        flags::none(flags & !ACPI, "qemuDomainReboot")?;
        let domain = self.inner.domain(id)?;
        let _slot = domain.slot("reboot").await?;
        let instance = domain.state().running()?;
        self.inner.host.reboot(instance).await
    }

    /// `virDomainReset`.
    pub async fn reset(&self, id: DomainId, flags: u32) -> Result<()> {
        flags::none(flags, "qemuDomainReset")?;
        let domain = self.inner.domain(id)?;
        let _slot = domain.slot("reset").await?;
        let instance = domain.state().running()?;
        self.inner.host.reset(instance).await
    }

    /// `virDomainDestroyFlags`: at any moment, also in the middle of an operation; that one then
    /// ends by its own rules.
    pub async fn destroy(&self, id: DomainId, flags: u32) -> Result<()> {
        const GRACEFUL: u32 = 1;
        flags::none(flags & !GRACEFUL, "qemuDomainDestroyFlags")?;
        let domain = self.inner.domain(id)?;
        let state = domain.state();
        if !state.is_active() {
            return Err(not_running());
        }
        domain.note_destroy();
        if let Some(live) = &state.row.live {
            self.inner.host.kill(live.instance, true).await?;
        }
        let after = domain.state();
        if after.is_active() && after.row.live.map(|l| l.instance) == state.row.live.map(|l| l.instance) {
            self.inner.mark_off(&domain, reason::SHUTOFF_DESTROYED);
            self.inner.emit(id, EventKind::Lifecycle(Lifecycle::ShutdownHost));
            self.inner.emit(id, EventKind::Lifecycle(Lifecycle::StoppedDestroyed));
        }
        if let Some(slot) = domain.try_slot("forgetting a transient domain") {
            self.inner.reap_transient(&domain);
            drop(slot);
        }
        Ok(())
    }

    /// `virDomainSuspend`.
    pub async fn suspend(&self, id: DomainId) -> Result<()> {
        let domain = self.inner.domain(id)?;
        let _slot = domain.slot("suspend").await?;
        self.inner.finish_open_ops(&domain).await?;
        let state = domain.state();
        let instance = state.running()?;
        if state.run.state == DomainState::Paused {
            return Ok(());
        }
        self.inner.host.pause(instance).await?;
        domain.update(|s| s.run = RunState::paused(reason::PAUSED_USER));
        self.inner.emit(id, EventKind::Lifecycle(Lifecycle::SuspendedPaused));
        Ok(())
    }

    /// `virDomainResume`.
    pub async fn resume(&self, id: DomainId) -> Result<()> {
        let domain = self.inner.domain(id)?;
        let _slot = domain.slot("resume").await?;
        self.inner.finish_open_ops(&domain).await?;
        let state = domain.state();
        let instance = state.running()?;
        if state.run.state == DomainState::Running {
            return Err(Error::invalid("domain is already running"));
        }
        self.inner.host.resume(instance).await?;
        domain.update(|s| s.run = RunState::running(reason::RUNNING_UNPAUSED));
        self.inner.emit(id, EventKind::Lifecycle(Lifecycle::ResumedUnpaused));
        Ok(())
    }

    /// `virDomainUndefineFlags`.
    pub async fn undefine(&self, id: DomainId, flags: u32) -> Result<()> {
        let flags = UndefineFlags::parse(flags, "qemuDomainUndefineFlags")?;
        let domain = self.inner.domain(id)?;
        let _slot = domain.slot("undefine").await?;
        let state = domain.state();
        if !state.row.persistent {
            return Err(Error::invalid("cannot undefine transient domain"));
        }
        if !state.is_active() && !state.tree.is_empty() && !flags.contains(UndefineFlags::SNAPSHOTS_METADATA) {
            return Err(Error::invalid(format!("cannot delete inactive domain with {} snapshots", state.tree.len())));
        }
        if state.row.saved.is_some() && !flags.contains(UndefineFlags::MANAGED_SAVE) {
            return Err(Refusal::UndefineSaved.into());
        }
        self.inner.finish_open_ops(&domain).await?;
        self.inner.discard_saved(&domain).await?;
        if state.is_active() {
            let mut row = domain.state().row;
            row.persistent = false;
            row.inactive_xml = None;
            row.autostart = false;
            self.inner.store.put_domain(&row)?;
            domain.update(|s| s.row = row);
        } else {
            self.inner.store.remove_domain(id)?;
            self.inner.forget(id);
            self.inner.tell_gone(id, &domain.view().tree);
        }
        self.inner.emit(id, EventKind::Lifecycle(Lifecycle::UndefinedRemoved));
        Ok(())
    }

    /// `virDomainSetAutostart`.
    pub async fn set_autostart(&self, id: DomainId, on: bool) -> Result<()> {
        let domain = self.inner.domain(id)?;
        let _slot = domain.slot("autostart").await?;
        if !domain.state().row.persistent {
            return Err(Error::invalid("cannot set autostart for transient domain"));
        }
        self.inner.store.set_autostart(id, on)?;
        domain.update(|s| s.row.autostart = on);
        Ok(())
    }

    /// `virDomainGetXMLDesc`.
    pub fn xml_desc(&self, id: DomainId, flags: XmlFlags) -> Result<String> {
        let view = self.view(id)?;
        let inactive = flags.contains(XmlFlags::INACTIVE);
        let text = match (&view.live_xml, &view.inactive_xml) {
            (_, Some(xml)) if inactive => xml,
            (Some(xml), _) | (None, Some(xml)) => xml,
            (None, None) => return Err(Error::internal(format!("domain '{}' has no definition", view.name))),
        };
        let text = if flags.contains(XmlFlags::SECURE) { text.to_string() } else { edit::strip_secrets(text)? };
        Ok(text + "\n")
    }
}

fn start_flags(bits: u32, call: &str) -> Result<StartFlags> {
    let flags = StartFlags::parse(bits, call)?;
    let done = StartFlags::PAUSED | StartFlags::FORCE_BOOT | StartFlags::BYPASS_CACHE | StartFlags::RESET_NVRAM;
    if done.contains(flags) {
        return Ok(flags);
    }
    Err(Error::unsupported(format!("start flags {:?} are not implemented yet", flags.difference(done))))
}

impl Inner {
    /// A definition that the host can run, alone, with a UUID and its memory in KiB; its UUID and its name.
    fn checked(&self, xml: &str) -> Result<(String, DomainId, String)> {
        let mut text = domain::root_text(&self.host.check_definition(xml)?)?;
        if domain::view(&text)?.uuid.is_none() {
            text = edit::set_uuid(&text, uuid::Uuid::new_v4())?;
        }
        let view = domain::view(&text)?;
        text = edit::set_memory(&text, view.memory_kib, view.current_memory_kib)?;
        let (id, name) = self.identify(&text)?;
        Ok((text, id, name))
    }

    /// UUID and name of a checked definition, if they fit the domains that are there
    /// (`virDomainObjListIsDuplicate`).
    fn identify(&self, xml: &str) -> Result<(DomainId, String)> {
        let view = domain::view(xml)?;
        let uuid = view.uuid.ok_or_else(|| Error::internal("definition without UUID"))?;
        let id = DomainId(uuid);
        if let Some(known) = self.find(id).map(|d| d.view()) {
            if known.name != view.name {
                return Err(Error::failed(format!("domain '{}' is already defined with uuid {id}", known.name)));
            }
        } else if let Some(known) = self.find_name(&view.name) {
            return Err(Error::failed(format!("domain '{}' already exists with uuid {}", view.name, known.id)));
        }
        Ok((id, view.name))
    }

    pub(super) async fn start_domain(self: &Arc<Self>, domain: &Arc<Domain>, flags: StartFlags) -> Result<()> {
        let _slot = domain.slot("start").await?;
        if domain.state().is_active() {
            return Err(Error::invalid("domain is already running"));
        }
        self.finish_open_ops(domain).await?;
        let state = domain.state();
        let xml = state.inactive_xml().ok_or_else(|| Error::new(Code::NoDomain, state.row.name.clone()))?.to_owned();
        if state.row.saved.is_some() {
            return self.restore(domain, &xml, flags).await;
        }
        self.boot(domain, xml, flags).await
    }

    /// Start it. The store knows of the hypervisor before it exists.
    async fn boot(&self, domain: &Arc<Domain>, xml: String, flags: StartFlags) -> Result<()> {
        self.refuse_namesake(domain)?;
        let instance = Instance(uuid::Uuid::new_v4());
        let live = LiveRow { instance, number: self.store.next_number()?, xml: xml.clone() };
        self.store.set_live(domain.id, Some(&live))?;
        let start = Start { domain: domain.id, instance, xml, memory: MemorySource::Boot };
        let paused = flags.contains(StartFlags::PAUSED);
        let destroys = domain.destroys();
        let started = match self.host.start(&start, &NoReport).await {
            Ok(runtime) => {
                domain.update(|s| {
                    s.row.live = Some(live);
                    s.runtime = runtime;
                    s.run = RunState::paused(reason::PAUSED_USER);
                });
                if paused { Ok(()) } else { self.host.resume(instance).await }
            }
            Err(error) => Err(error),
        };
        if let Err(error) = started {
            if let Err(kill) = self.host.kill(instance, false).await {
                warn!(error = %kill, "cannot end a hypervisor that did not start");
            }
            self.mark_off(domain, reason::SHUTOFF_FAILED);
            return Err(error);
        }
        if domain.destroys() != destroys {
            return Err(Error::failed("domain was destroyed while it started"));
        }
        let lifecycle = |what| self.emit(domain.id, EventKind::Lifecycle(what));
        if paused {
            lifecycle(Lifecycle::StartedBooted);
            lifecycle(Lifecycle::SuspendedPaused);
        } else {
            domain.update(|s| s.run = RunState::running(reason::RUNNING_BOOTED));
            lifecycle(Lifecycle::ResumedUnpaused);
            lifecycle(Lifecycle::StartedBooted);
        }
        Ok(())
    }
}

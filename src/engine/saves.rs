//! Managed save: the calls.

use super::domain::Domain;
use super::service::{Inner, Service};
use crate::error::{Code, Error, Result};
use crate::model::event::{EventKind, Lifecycle};
use crate::model::flags::{self, StartFlags};
use crate::model::ids::{DomainId, Instance};
use crate::plan::saved::{self, RestoreRequest, SaveRequest};
use std::sync::Arc;

impl Service {
    /// `virDomainManagedSave`.
    pub async fn managed_save(&self, id: DomainId, flags: u32) -> Result<()> {
        let flags = saved::check_flags(flags)?;
        let domain = self.inner.domain(id)?;
        let _slot = domain.slot("managed save").await?;
        self.inner.finish_open_ops(&domain).await?;
        let state = domain.state();
        let plan = saved::save(&SaveRequest {
            op: self.inner.store.new_op()?,
            domain: id,
            state: state.run.state,
            instance: state.instance(),
            live_xml: state.live_xml(),
            persistent: state.row.persistent,
            flags,
            directory: &self.inner.settings.save_dir,
            caps: self.inner.host.capabilities(),
        })?;
        self.inner.run(&domain, plan).await
    }

    /// `virDomainManagedSaveRemove`.
    pub async fn managed_save_remove(&self, id: DomainId, flags: u32) -> Result<()> {
        flags::none(flags, "qemuDomainManagedSaveRemove")?;
        let domain = self.inner.domain(id)?;
        let _slot = domain.slot("managed save remove").await?;
        self.inner.finish_open_ops(&domain).await?;
        if domain.state().row.saved.is_some() {
            return self.inner.discard_saved(&domain).await;
        }
        let name = &domain.view().name;
        let text = format!("Failed to remove managed save file '{name}.save': No such file or directory");
        Err(Error::new(Code::SystemError, text))
    }

    /// `virDomainHasManagedSaveImage`.
    pub fn has_managed_save(&self, id: DomainId, flags: u32) -> Result<bool> {
        flags::none(flags, "qemuDomainHasManagedSaveImage")?;
        Ok(self.view(id)?.saved)
    }
}

impl Inner {
    /// Take the image away, if there is one. The caller holds the slot.
    pub(super) async fn discard_saved(&self, domain: &Arc<Domain>) -> Result<()> {
        let Some(saved) = domain.state().row.saved else { return Ok(()) };
        let plan = saved::discard(self.store.new_op()?, domain.id, &saved);
        self.run(domain, plan).await
    }

    /// Start a domain that has an image. The caller holds the slot.
    pub(super) async fn restore(&self, domain: &Arc<Domain>, inactive_xml: &str, flags: StartFlags) -> Result<()> {
        let Some(saved) = domain.state().row.saved else { return Ok(()) };
        self.refuse_namesake(domain)?;
        let facts = self.host.look(std::slice::from_ref(&saved.path)).await?;
        let request = RestoreRequest {
            op: self.store.new_op()?,
            domain: domain.id,
            instance: Instance(uuid::Uuid::new_v4()),
            saved: &saved,
            inactive_xml,
            flags,
        };
        self.run(domain, saved::restore(&request, &facts)?).await?;
        let lifecycle = |what| self.emit(domain.id, EventKind::Lifecycle(what));
        let paused = flags.contains(StartFlags::PAUSED);
        if flags.contains(StartFlags::FORCE_BOOT) {
            if paused {
                lifecycle(Lifecycle::StartedBooted);
                lifecycle(Lifecycle::SuspendedPaused);
            }
        } else if paused || !saved.running {
            lifecycle(Lifecycle::StartedRestored);
            lifecycle(if paused { Lifecycle::SuspendedPaused } else { Lifecycle::SuspendedRestored });
        }
        Ok(())
    }
}

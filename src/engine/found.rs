//! What others do beside us on the same host: guests that they start, snapshots that they record, and reboots that only we
//! can carry out.
//!
//! Must not know: which host that is.

use super::domain::Domain;
use super::lifecycle::NoReport;
use super::service::{Inner, Service};
use crate::error::{Code, Error, Result};
use crate::host::ForeignRecord;
use crate::model::domain::{DomainState, RunState, Runtime, reason};
use crate::model::event::{EventKind, Lifecycle};
use crate::model::flags::CreateFlags;
use crate::model::ids::{DomainId, Instance};
use crate::model::tree::Tree;
use crate::plan::steps::{MemorySource, Start};
use crate::store::{DomainRow, LiveRow};
use crate::xml::domain;
use std::sync::Arc;
use tracing::{info, warn};

/// A guest that somebody else has started.
pub(super) struct Found {
    pub(super) domain: DomainId,
    pub(super) instance: Instance,
    pub(super) xml: String,
    pub(super) run: RunState,
    pub(super) runtime: Runtime,
}

impl Service {
    /// Records of the domain's snapshots that somebody else has left and that are not taken in.
    pub async fn foreign_records(&self, id: DomainId) -> Result<Vec<ForeignRecord>> {
        let view = self.view(id)?;
        let xml = view.live_xml.as_ref().or(view.inactive_xml.as_ref()).map(ToString::to_string).unwrap_or_default();
        Ok(self.inner.host.foreign_records(id, &view.tree, &xml).await)
    }
}

impl Inner {
    /// It becomes the domain of its UUID: a known one that was off, or a new transient one.
    pub(super) fn found(self: &Arc<Self>, found: Found) {
        let Found { domain: id, instance, xml, run, runtime } = found;
        let added = self.add_found(id, instance, xml).map(|domain| {
            let paused = run.state == DomainState::Paused;
            domain.update(|s| {
                s.run = run;
                s.runtime = runtime;
            });
            info!(domain = %domain.view().name, "somebody has started it");
            self.emit(id, EventKind::Lifecycle(Lifecycle::StartedBooted));
            if paused {
                self.emit(id, EventKind::Lifecycle(Lifecycle::SuspendedPaused));
            }
            self.record_all(&domain);
        });
        if let Err(error) = added {
            warn!(domain = %id, %error, "cannot take over a guest that somebody has started");
        }
    }

    fn add_found(&self, id: DomainId, instance: Instance, xml: String) -> Result<Arc<Domain>> {
        let name = domain::view(&xml)?.name;
        let live = LiveRow { instance, number: self.store.next_number()?, xml };
        let known = self.find(id);
        let mut row = match &known {
            Some(domain) if domain.state().is_active() => {
                return Err(Error::internal("it runs already, as another instance"));
            }
            Some(domain) => domain.state().row,
            None => DomainRow {
                id,
                name,
                persistent: false,
                autostart: false,
                inactive_xml: None,
                live: None,
                saved: None,
                reason: reason::SHUTOFF_UNKNOWN,
            },
        };
        row.live = Some(live);
        self.store.put_domain(&row)?;
        Ok(match known {
            Some(domain) => {
                domain.update(|s| s.row = row);
                domain
            }
            None => self.insert(Domain::new(row, RunState::off(reason::SHUTOFF_UNKNOWN), Tree::default())),
        })
    }

    /// Let the host bring its records of the domain's snapshots up to date, beside everything else.
    pub(super) fn record_all(self: &Arc<Self>, domain: &Arc<Domain>) {
        let (inner, domain) = (Arc::clone(self), Arc::clone(domain));
        tokio::spawn(async move {
            let state = domain.state();
            let xml = state.live_xml().or(state.inactive_xml()).unwrap_or_default();
            inner.host.record_all(domain.id, &state.tree, xml).await;
        });
    }

    /// Take in a snapshot that somebody else has recorded.
    pub(super) fn found_snapshot(self: &Arc<Self>, domain: &Arc<Domain>, xml: String) {
        let service = Service { inner: Arc::clone(self) };
        let domain = Arc::clone(domain);
        tokio::spawn(async move {
            match service.redefine(&domain, &xml, CreateFlags::REDEFINE).await {
                Ok(name) => info!(domain = %domain.view().name, snapshot = %name, "somebody's snapshot is taken in"),
                Err(error) => warn!(domain = %domain.view().name, %error, "somebody's snapshot cannot be taken in"),
            }
        });
    }

    /// Boot the machine again: the same hypervisor's identity, with the definition as it is now.
    pub(super) fn restart(self: &Arc<Self>, domain: &Arc<Domain>, instance: Instance) {
        let (inner, domain) = (Arc::clone(self), Arc::clone(domain));
        tokio::spawn(async move {
            // An operation that runs now ends first.
            let slot = loop {
                if let Ok(slot) = domain.slot("reboot").await {
                    break slot;
                }
            };
            let Some(live) = domain.state().row.live.filter(|l| l.instance == instance) else { return };
            let again = async {
                inner.finish_open_ops(&domain).await?;
                inner.host.kill(instance, true).await?;
                let xml = domain.state().row.live.map_or(live.xml, |l| l.xml);
                let start = Start { domain: domain.id, instance, xml, memory: MemorySource::Boot };
                let runtime = inner.host.start(&start, &NoReport).await?;
                inner.host.resume(instance).await?;
                Ok::<_, Error>(runtime)
            };
            match again.await {
                Ok(runtime) => {
                    domain.update(|s| {
                        s.runtime = runtime;
                        s.run = RunState::running(reason::RUNNING_BOOTED);
                    });
                    inner.emit(domain.id, EventKind::Reboot);
                }
                Err(error) => {
                    warn!(domain = %domain.view().name, %error, "it cannot be started again");
                    if let Err(error) = inner.host.kill(instance, false).await {
                        warn!(%error, "cannot end what is left of it");
                    }
                    inner.mark_off(&domain, reason::SHUTOFF_FAILED);
                    inner.emit(domain.id, EventKind::Lifecycle(Lifecycle::StoppedFailed));
                }
            }
            inner.reap_transient(&domain);
            drop(slot);
        });
    }

    /// Two running guests cannot have one name, and no image two writers.
    pub(super) fn refuse_namesake(&self, domain: &Arc<Domain>) -> Result<()> {
        let name = domain.view().name.clone();
        let other = self
            .all()
            .into_iter()
            .map(|d| d.view())
            .find(|v| v.id != domain.id && v.name == name && v.run.state.is_active());
        match other {
            Some(other) => Err(Error::new(
                Code::OperationInvalid,
                format!("another domain named '{name}' is active, with uuid {}", other.id),
            )),
            None => Ok(()),
        }
    }
}

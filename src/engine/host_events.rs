//! What happens to hypervisors without our asking becomes state and events.

use super::domain::Domain;
use super::found::Found;
use super::service::Inner;
use crate::host::{HostEvent, HostEventKind};
use crate::model::domain::{DomainState, RunState, reason};
use crate::model::event::{EventKind, Lifecycle};
use std::sync::Arc;
use tracing::{info, warn};

impl Inner {
    /// One event of one hypervisor. Events of an earlier start of the domain are passed over.
    pub(super) fn on_host_event(self: &Arc<Self>, event: HostEvent) {
        if let HostEventKind::Found { xml, run, runtime } = event.kind {
            return self.found(Found { domain: event.domain, instance: event.instance, xml, run, runtime });
        }
        let Some(domain) = self.find(event.domain) else { return };
        if let HostEventKind::FoundSnapshot { xml } = event.kind {
            return self.found_snapshot(&domain, xml);
        }
        let state = domain.state();
        if state.row.live.as_ref().is_none_or(|l| l.instance != event.instance) {
            return;
        }
        let lifecycle = |what| self.emit(event.domain, EventKind::Lifecycle(what));
        match event.kind {
            HostEventKind::Found { .. } | HostEventKind::FoundSnapshot { .. } => {}
            HostEventKind::Restart => self.restart(&domain, event.instance),
            HostEventKind::Gone { clean } => {
                info!(domain = %state.row.name, clean, "the hypervisor has ended");
                self.ended(&domain, clean);
            }
            HostEventKind::Shutdown { guest } => {
                domain.update(|s| s.run = RunState { state: DomainState::Shutdown, reason: reason::SHUTDOWN_USER });
                lifecycle(if guest { Lifecycle::ShutdownGuest } else { Lifecycle::ShutdownHost });
            }
            HostEventKind::Reset => self.emit(event.domain, EventKind::Reboot),
            HostEventKind::Paused { io_error } => {
                let why = if io_error { reason::PAUSED_IOERROR } else { reason::PAUSED_UNKNOWN };
                domain.update(|s| s.run = RunState::paused(why));
                lifecycle(if io_error { Lifecycle::SuspendedIoError } else { Lifecycle::SuspendedPaused });
            }
            HostEventKind::Resumed => {
                domain.update(|s| s.run = RunState::running(reason::RUNNING_UNPAUSED));
                lifecycle(Lifecycle::ResumedUnpaused);
            }
            HostEventKind::Memory { kib } => {
                domain.update(|s| s.runtime.memory = Some(kib));
                self.emit(event.domain, EventKind::BalloonChange(kib));
            }
            HostEventKind::Crashed => {
                domain.update(|s| s.run = RunState { state: DomainState::Crashed, reason: 0 });
                lifecycle(Lifecycle::Crashed);
            }
            HostEventKind::BlockJob { disk, job, status } => {
                self.emit(event.domain, EventKind::BlockJob { disk, job, status });
            }
        }
    }

    fn ended(self: &Arc<Self>, domain: &Arc<Domain>, clean: bool) {
        let (why, what) = if clean {
            (reason::SHUTOFF_SHUTDOWN, Lifecycle::StoppedShutdown)
        } else {
            (reason::SHUTOFF_CRASHED, Lifecycle::StoppedFailed)
        };
        self.mark_off(domain, why);
        self.emit(domain.id, EventKind::Lifecycle(what));
        // A transient domain goes with its hypervisor, but not under the feet of an operation.
        if let Some(slot) = domain.try_slot("forgetting a transient domain") {
            self.reap_transient(domain);
            drop(slot);
        }
    }

    /// There is no hypervisor any more: in the store and in memory.
    pub(super) fn mark_off(&self, domain: &Arc<Domain>, why: i32) {
        let stored = self.store.set_live(domain.id, None).and_then(|()| self.store.set_reason(domain.id, why));
        if let Err(error) = stored {
            warn!(%error, "cannot record that the hypervisor is gone; the next start will find out");
        }
        domain.update(|s| {
            s.row.live = None;
            s.row.reason = why;
            s.run = RunState::off(why);
        });
    }

    /// Forget a transient domain that is off, with its snapshots' metadata.
    pub(super) fn reap_transient(&self, domain: &Arc<Domain>) {
        let state = domain.state();
        if state.row.persistent || state.is_active() {
            return;
        }
        if let Err(error) = self.store.remove_domain(domain.id) {
            warn!(%error, "cannot forget a transient domain");
        }
        self.forget(domain.id);
        self.tell_gone(domain.id, &state.tree);
    }
}

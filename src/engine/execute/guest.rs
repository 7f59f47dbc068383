//! The guest under an operation: started, gone back within its hypervisor, running again, stopped; and what clients hear of it.

use super::Run;
use crate::error::Result;
use crate::model::domain::{DomainState, RunState, reason};
use crate::model::event::Lifecycle;
use crate::model::ids::Instance;
use crate::plan::steps::{MemorySource, OpKind, ResumeWhy, Settle, Start};
use crate::store::LiveRow;
use tracing::warn;

impl Run<'_> {
    /// Whether it runs; without an error it does not because somebody has destroyed it meanwhile.
    pub(super) async fn start(&self, start: &Start) -> Result<bool> {
        if self.domain.destroys() != self.destroys {
            return self.gone(reason::SHUTOFF_DESTROYED).map(|()| false);
        }
        // A hypervisor of this identity never ran: this step is not recorded as done.
        self.inner.host.kill(start.instance, false).await?;
        // If it died by itself just now, that must not be taken for the new one's end.
        self.inner.heard_all().await;
        let live = self.domain.state().row.live;
        let number = match &live {
            Some(l) if l.instance == start.instance => l.number,
            _ => self.inner.store.next_number()?,
        };
        let row = LiveRow { instance: start.instance, number, xml: start.xml.clone() };
        self.inner.store.set_live(self.plan.domain, Some(&row))?;
        match self.inner.host.start(start, &self.report).await {
            Ok(runtime) if self.domain.destroys() == self.destroys => {
                let why = match (&start.memory, self.plan.kind) {
                    (MemorySource::Boot, _) => reason::PAUSED_USER,
                    // As libvirt has it, which reads a saved memory as an incoming migration.
                    (_, OpKind::Restore) => reason::PAUSED_MIGRATION,
                    _ => reason::PAUSED_FROM_SNAPSHOT,
                };
                self.domain.update(|s| {
                    s.row.live = Some(row);
                    s.runtime = runtime;
                    s.run = RunState::paused(why);
                });
                Ok(true)
            }
            Ok(_) => {
                self.inner.host.kill(start.instance, false).await?;
                self.gone(reason::SHUTOFF_DESTROYED)?;
                Ok(false)
            }
            Err(error) => {
                self.gone(reason::SHUTOFF_FAILED)?;
                Err(error)
            }
        }
    }

    /// Whether the running hypervisor has gone back by itself; else it is gone. Clients are told of a stop and a start, as
    /// libvirt does both, and the domain gets another number.
    pub(super) async fn reload(&self, step: &Settle, start: &Start) -> Result<bool> {
        if self.domain.state().instance() != Some(start.instance) {
            return Ok(false);
        }
        self.lifecycle(Lifecycle::ShutdownHost);
        self.lifecycle(Lifecycle::StoppedFromSnapshot);
        let number = self.inner.store.next_number()?;
        let row = LiveRow { instance: start.instance, number, xml: start.xml.clone() };
        self.inner.store.set_live(self.plan.domain, Some(&row))?;
        let loaded = self.inner.host.settle(self.plan.op, step, &self.report).await;
        match loaded {
            Ok(()) if self.domain.state().instance() == Some(start.instance) => {
                self.domain.update(|s| {
                    s.row.live = Some(row);
                    // The balloon is again what it was then, and tells when that changes.
                    s.runtime.memory = None;
                    s.run = RunState::paused(reason::PAUSED_FROM_SNAPSHOT);
                });
                return Ok(true);
            }
            Ok(()) => {}
            Err(error) => warn!(op = %self.plan.op, %error, "the hypervisor is started anew to load the snapshot"),
        }
        self.inner.host.kill(start.instance, false).await?;
        Ok(false)
    }

    pub(super) fn tell_reverted(&self, start: &Start) {
        let resumes = self.plan.settle.iter().any(|s| matches!(s, Settle::Resume { .. }));
        if start.memory != MemorySource::Boot || !resumes {
            self.lifecycle(Lifecycle::StartedFromSnapshot);
        }
        if !resumes {
            self.lifecycle(Lifecycle::SuspendedFromSnapshot);
        }
    }

    /// There is no hypervisor any more.
    pub(super) fn gone(&self, why: i32) -> Result<()> {
        self.inner.store.set_live(self.plan.domain, None)?;
        self.inner.store.set_reason(self.plan.domain, why)?;
        self.domain.update(|s| {
            s.row.live = None;
            s.run = RunState::off(why);
        });
        Ok(())
    }

    pub(super) fn resumed(&mut self, why: ResumeWhy) {
        if let Some(since) = self.paused_at.take() {
            self.report.add_pause(since.elapsed());
        }
        let state = self.domain.state().run.state;
        if matches!(self.plan.kind, OpKind::Delete | OpKind::Pivot) {
            // The standstill of a pivot is no state that clients hear of, except after a crash within it.
            if state == DomainState::Paused {
                self.set_run(RunState::running(reason::RUNNING_UNPAUSED));
            }
            return;
        }
        match why {
            ResumeWhy::Unpaused if state == DomainState::Paused => {
                self.set_run(RunState::running(reason::RUNNING_UNPAUSED));
                self.lifecycle(Lifecycle::ResumedUnpaused);
            }
            ResumeWhy::FromSnapshot if state.is_active() => {
                self.set_run(RunState::running(reason::RUNNING_FROM_SNAPSHOT));
                self.lifecycle(Lifecycle::ResumedFromSnapshot);
            }
            ResumeWhy::Booted if state.is_active() => {
                self.set_run(RunState::running(reason::RUNNING_BOOTED));
                self.lifecycle(Lifecycle::ResumedUnpaused);
                self.lifecycle(match self.plan.kind {
                    OpKind::Restore => Lifecycle::StartedBooted,
                    _ => Lifecycle::StartedFromSnapshot,
                });
            }
            ResumeWhy::Restored if state.is_active() => {
                self.set_run(RunState::running(reason::RUNNING_RESTORED));
                self.lifecycle(Lifecycle::StartedRestored);
                self.lifecycle(Lifecycle::ResumedUnpaused);
            }
            _ => {}
        }
    }

    pub(super) fn stopped(&self, instance: Instance) -> Result<()> {
        let state = self.domain.state();
        let was_active = state.is_active();
        if state.row.live.as_ref().is_some_and(|l| l.instance == instance) {
            self.inner.store.set_live(self.plan.domain, None)?;
            self.domain.update(|s| s.row.live = None);
        }
        let (why, what) = match self.plan.kind {
            OpKind::Save => (reason::SHUTOFF_SAVED, Lifecycle::StoppedSaved),
            _ => (reason::SHUTOFF_FROM_SNAPSHOT, Lifecycle::StoppedFromSnapshot),
        };
        // After a crash of the daemon a saved guest is off before its hypervisor is.
        if was_active || self.plan.kind == OpKind::Save {
            self.inner.store.set_reason(self.plan.domain, why)?;
            self.domain.update(|s| {
                s.row.reason = why;
                s.run = RunState::off(why);
            });
        }
        if was_active {
            self.lifecycle(Lifecycle::ShutdownHost);
            self.lifecycle(what);
        }
        Ok(())
    }
}

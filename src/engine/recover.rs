//! After a start: find the hypervisors again, and end every operation that the last daemon left.

use super::domain::{Domain, Slot};
use super::service::Inner;
use crate::error::Result;
use crate::model::domain::reason;
use crate::model::event::{EventKind, Lifecycle};
use crate::model::flags::StartFlags;
use crate::model::ids::Instance;
use crate::plan::steps::{Commit, LiveChange, Plan, Prepare, Settle};
use crate::store::OpRow;
use std::collections::BTreeSet;
use std::sync::Arc;
use tracing::{info, warn};

/// A domain's open operations, with its slot already taken.
pub(super) struct Recovery {
    domain: Arc<Domain>,
    slot: Slot,
    rows: Vec<OpRow>,
}

impl Inner {
    /// Read every open operation and take its domain's slot, before anyone can call.
    pub(super) fn open_recoveries(&self) -> Result<Vec<Recovery>> {
        let mut out: Vec<Recovery> = Vec::new();
        for row in self.store.open_ops()? {
            if let Some(known) = out.iter_mut().find(|r| r.domain.id == row.plan.domain) {
                known.rows.push(row);
                continue;
            }
            match self.find(row.plan.domain) {
                Some(domain) => {
                    if let Some(slot) = domain.try_slot("recovery of an interrupted operation") {
                        out.push(Recovery { domain, slot, rows: vec![row] });
                    }
                }
                None => {
                    warn!(op = %row.plan.op, domain = %row.plan.domain, "operation of a domain that is gone");
                    self.store.close(row.plan.op)?;
                }
            }
        }
        Ok(out)
    }

    /// End one domain's operations.
    pub(super) async fn recover(&self, recovery: Recovery) {
        let Recovery { domain, slot, rows } = recovery;
        self.host.leftovers_gone().await;
        for row in rows {
            self.attach_all(&domain, &row.plan).await;
            let op = row.plan.op;
            match self.resume_op(&domain, row).await {
                Ok(()) => info!(%op, "recovered"),
                Err(error) => {
                    warn!(%op, %error, "recovery did not finish; the next operation on the domain goes on with it")
                }
            }
        }
        self.reap_transient(&domain);
        drop(slot);
    }

    /// Before an operation: end what is still open on the domain. The caller holds the slot.
    pub(super) async fn finish_open_ops(&self, domain: &Arc<Domain>) -> Result<()> {
        for row in self.store.open_ops()?.into_iter().filter(|r| r.plan.domain == domain.id) {
            self.resume_op(domain, row).await?;
        }
        Ok(())
    }

    /// Make the host know every hypervisor that the plan speaks of.
    async fn attach_all(&self, domain: &Arc<Domain>, plan: &Plan) {
        for instance in instances(plan) {
            if domain.state().row.live.as_ref().is_some_and(|l| l.instance == instance) {
                continue; // Attached with its domain.
            }
            if let Err(error) = self.host.attach(domain.id, instance, "").await {
                warn!(%instance, %error, "cannot look for a hypervisor");
            }
        }
    }

    /// Find the hypervisor of a domain that was running when the last daemon ended.
    pub(super) async fn reattach(self: &Arc<Self>, domain: &Arc<Domain>) {
        let Some(live) = domain.state().row.live else { return };
        match self.host.attach(domain.id, live.instance, &live.xml).await {
            Ok(Some((run, runtime))) => domain.update(|s| {
                s.run = run;
                s.runtime = runtime;
            }),
            Ok(None) => {
                info!(domain = %domain.view().name, "its hypervisor ended while the daemon was away");
                self.mark_off(domain, reason::SHUTOFF_UNKNOWN);
                self.emit(domain.id, EventKind::Lifecycle(Lifecycle::StoppedFailed));
            }
            Err(error) => {
                warn!(domain = %domain.view().name, %error, "cannot reach its hypervisor");
                // It may still run and write: better to say so than to start a second one.
                domain.update(|s| s.run = crate::model::domain::RunState::paused(reason::PAUSED_UNKNOWN));
            }
        }
    }

    /// Start what is marked for it.
    pub(super) async fn autostart(self: &Arc<Self>) {
        for domain in self.all() {
            let view = domain.view();
            if view.autostart
                && !view.run.state.is_active()
                && let Err(error) = self.start_domain(&domain, StartFlags::empty()).await
            {
                warn!(domain = %view.name, %error, "autostart failed");
            }
        }
    }
}

/// Every hypervisor that a plan speaks of.
fn instances(plan: &Plan) -> BTreeSet<Instance> {
    let mut out = BTreeSet::new();
    for step in &plan.prepare {
        match step {
            Prepare::AddNodes { instance, .. }
            | Prepare::Freeze { instance }
            | Prepare::Pause { instance }
            | Prepare::SaveMemory { instance, .. }
            | Prepare::LiveSave { instance, .. }
            | Prepare::AwaitSave { instance, .. }
            | Prepare::SaveTag { instance, .. }
            | Prepare::TagDisks { instance, .. } => {
                out.insert(*instance);
            }
            Prepare::Start(start) => {
                out.insert(start.instance);
            }
            Prepare::Reserve { .. } | Prepare::Format { .. } | Prepare::Sync { .. } | Prepare::CreateTag { .. } => {}
        }
    }
    if let Commit::Switch { instance, .. } = &plan.commit {
        out.insert(*instance);
    }
    if let Commit::Publish(change) = &plan.commit
        && let LiveChange::Set { instance, .. } = &change.live
    {
        out.insert(*instance);
    }
    for step in &plan.settle {
        match step {
            Settle::Resume { instance, .. }
            | Settle::Pause { instance }
            | Settle::Thaw { instance }
            | Settle::Stop { instance }
            | Settle::MergeActive { instance, .. }
            | Settle::Pivot { instance, .. } => {
                out.insert(*instance);
            }
            Settle::RemoveTag { instance, .. }
            | Settle::MergeDown { instance, .. }
            | Settle::PullUp { instance, .. } => {
                out.extend(*instance);
            }
            Settle::Start(start) | Settle::Reload(start) => {
                out.insert(start.instance);
            }
            Settle::Publish(_) | Settle::ApplyTag { .. } | Settle::Repoint { .. } | Settle::Unlink { .. } => {}
        }
    }
    out
}

//! Carries a plan out: journal, prepare, commit, settle; or back.

mod guest;

use super::domain::Domain;
use super::job::aborted;
use super::report::{Reporter, operation_number, prepare_name, settle_name};
use super::service::Inner;
use crate::error::{Error, Result};
use crate::host::{CommitError, Note, Probe};
use crate::model::domain::{DomainState, RunState, reason};
use crate::model::event::{EventKind, Lifecycle};
use crate::model::ids::{Instance, SnapshotName};
use crate::plan::saved;
use crate::plan::steps::{Change, Commit, LiveChange, OpKind, Plan, Prepare, ResumeWhy, Settle};
use crate::store::{OpRow, Phase};
use std::sync::Arc;
use std::time::Instant;
use tracing::{info, warn};

/// A plan on its way.
pub(super) struct Run<'a> {
    inner: &'a Inner,
    domain: &'a Arc<Domain>,
    plan: Plan,
    notes: Vec<(usize, Note)>,
    report: Reporter<'a>,
    /// When the guest was stopped by a step of ours.
    paused_at: Option<Instant>,
    destroys: u64,
    /// What went wrong without keeping the operation from ending.
    reported: Option<Error>,
    /// Snapshots whose records the host has not been told of: the guest comes first.
    unrecorded: Vec<SnapshotName>,
    /// The first step that did not let the guest run: the operation stays open from there.
    blocked: Option<usize>,
    /// Whether another daemon's life has begun it.
    recovered: bool,
}

impl Inner {
    /// Run a new plan to its end. Whatever happens, the domain is afterwards in the world before or after it; an
    /// operation whose settling failed stays in the journal and goes on with the next call.
    pub(super) async fn run(&self, domain: &Arc<Domain>, mut plan: Plan) -> Result<()> {
        let state = domain.state();
        if let (Some(saved), Some(xml)) = (&state.row.saved, state.inactive_xml()) {
            saved::follow(&mut plan, saved, xml)?;
        }
        self.store.begin(&plan)?;
        for line in plan.lines() {
            tracing::debug!(op = %plan.op, "{line}");
        }
        Run::new(self, domain, plan, Vec::new()).go().await
    }

    /// Finish an operation that the journal holds.
    pub(super) async fn resume_op(&self, domain: &Arc<Domain>, row: OpRow) -> Result<()> {
        let OpRow { plan, phase, settled, notes } = row;
        info!(op = %plan.op, ?phase, kind = ?plan.kind, snapshot = %plan.snapshot, "recovering");
        let mut run = Run::new(self, domain, plan, notes);
        run.recovered = true;
        domain.job.seal()?;
        match phase {
            Phase::Preparing => run.back(usize::MAX).await,
            Phase::Committing if settled == 0 => run.in_doubt(None).await,
            Phase::Committing | Phase::Settling => {
                run.end_unfinished_starts(settled).await?;
                run.settle(settled).await
            }
        }
    }
}

impl<'a> Run<'a> {
    fn new(inner: &'a Inner, domain: &'a Arc<Domain>, plan: Plan, notes: Vec<(usize, Note)>) -> Self {
        let report = Reporter::new(inner, domain, &plan);
        Self {
            inner,
            domain,
            plan,
            notes,
            report,
            paused_at: None,
            destroys: domain.destroys(),
            reported: None,
            unrecorded: Vec::new(),
            blocked: None,
            recovered: false,
        }
    }

    async fn go(mut self) -> Result<()> {
        let result = self.forward().await;
        let error = result.as_ref().err().map(ToString::to_string);
        let downtime = self.report.downtime_us();
        let (kind, op) = (self.plan.kind, self.plan.op);
        let elapsed_ms = self.report.elapsed_ms();
        match (&error, downtime) {
            (None, Some(us)) => info!(%op, ?kind, elapsed_ms, pause_ms = us as f64 / 1000.0, "done"),
            (None, None) => info!(%op, ?kind, elapsed_ms, "done"),
            (Some(error), _) => warn!(%op, ?kind, elapsed_ms, %error, "failed"),
        }
        self.report.end(error.clone());
        if matches!(kind, OpKind::Discard | OpKind::Pivot) {
            return result; // No job, to libvirt.
        }
        self.emit(EventKind::JobCompleted {
            operation: operation_number(kind),
            elapsed_ms,
            downtime_ms: downtime.map(|us| us.div_ceil(1000)),
            error,
        });
        result
    }

    async fn forward(&mut self) -> Result<()> {
        for i in 0..self.plan.prepare.len() {
            if self.domain.job.is_cancelled() {
                return self.give_up(i, aborted()).await;
            }
            self.report.step(i, prepare_name(&self.plan.prepare[i]));
            if let Err(error) = self.prepare(i).await {
                // Whatever words the step has for it.
                let error = if self.domain.job.is_cancelled() { aborted() } else { error };
                return self.give_up(i + 1, error).await;
            }
        }
        if let Err(error) = self.domain.job.seal() {
            return self.give_up(usize::MAX, error).await;
        }
        if let Some(error) = self.lost_start() {
            return self.give_up(usize::MAX, error).await;
        }
        self.report.step(self.plan.prepare.len(), "committing");
        match self.plan.commit.clone() {
            Commit::Publish(change) => {
                if let Err(error) = self.inner.store.commit_publish(self.plan.op, self.plan.domain, &change) {
                    // The store failed; the journal itself says on which side of the commit it did.
                    let phase =
                        self.inner.store.open_ops()?.into_iter().find(|r| r.plan.op == self.plan.op).map(|r| r.phase);
                    if phase != Some(Phase::Settling) {
                        return self.give_up(usize::MAX, error).await;
                    }
                }
                self.published(&change)?;
                self.settle(0).await
            }
            Commit::Switch { instance, disks } => {
                if let Err(error) = self.inner.store.committing(self.plan.op) {
                    return self.give_up(usize::MAX, error).await;
                }
                match self.inner.host.switch(self.plan.op, instance, &disks).await {
                    Ok(()) => self.settle(0).await,
                    Err(CommitError::Refused(error)) => self.retreat(error).await,
                    Err(CommitError::InDoubt(error)) => self.in_doubt(Some(error)).await,
                }
            }
        }
    }

    /// A hypervisor that was started from a saved memory has ended before it ran: the image is still needed.
    fn lost_start(&self) -> Option<Error> {
        let now = self.domain.state().instance();
        let lost = |step: &Prepare| matches!(step, Prepare::Start(s) if Some(s.instance) != now);
        self.plan.prepare.iter().any(lost).then(|| Error::failed("the domain ended while it started"))
    }

    async fn prepare(&mut self, i: usize) -> Result<()> {
        let step = self.plan.prepare[i].clone();
        if let Prepare::Start(start) = &step {
            return match self.start(start).await {
                Ok(true) => Ok(()),
                Ok(false) => Err(Error::failed("domain was destroyed while it started")),
                Err(error) => Err(error),
            };
        }
        // Where saving stops the guest, the pause after it only says so.
        let stops = matches!(step, Prepare::Pause { .. } | Prepare::SaveMemory { was_running: true, .. });
        if stops && self.paused_at.is_none() {
            self.paused_at = Some(Instant::now());
        }
        let note = self.inner.host.prepare(self.plan.op, &step, &self.report).await?;
        if let Some(note) = note {
            self.notes.push((i, note.clone()));
            self.inner.store.note(self.plan.op, i, &note)?;
        }
        match step {
            // The standstill of a pivot is no state that clients hear of.
            Prepare::Pause { .. } if self.plan.kind == OpKind::Pivot => {}
            Prepare::Pause { .. } => {
                let internal = self.plan.prepare.iter().any(|p| matches!(p, Prepare::SaveTag { .. }));
                let why = if internal || self.plan.kind == OpKind::Save {
                    reason::PAUSED_SAVE
                } else {
                    reason::PAUSED_SNAPSHOT
                };
                self.set_run(RunState::paused(why));
                self.lifecycle(Lifecycle::SuspendedPaused);
            }
            Prepare::LiveSave { .. } => {
                self.lifecycle(Lifecycle::SuspendedPaused);
                self.lifecycle(Lifecycle::ResumedUnpaused);
                self.set_run(RunState::running(reason::RUNNING_UNPAUSED));
            }
            _ => {}
        }
        Ok(())
    }

    /// Back, and answer with `error`; if even going back fails, say both.
    async fn give_up(&mut self, ran: usize, error: Error) -> Result<()> {
        match self.back(ran).await {
            Ok(()) => Err(error),
            Err(undo) => Err(error.context(format!("undoing it failed and goes on later: {undo}"))),
        }
    }

    /// The switch did not happen: back, and answer with `error`.
    async fn retreat(&mut self, error: Error) -> Result<()> {
        if let Err(store) = self.inner.store.retreat(self.plan.op) {
            // Recovery would not know that the way is back, so nothing may go. But the guest runs on.
            self.let_run().await;
            return Err(error.context(format!("undoing it goes on later: {store}")));
        }
        self.give_up(usize::MAX, error).await
    }

    /// Undo what keeps the guest from running.
    async fn let_run(&mut self) {
        for step in self.plan.prepare.iter().filter(|s| holds_guest(s)).rev() {
            if let Err(error) = self.inner.host.undo(self.plan.op, step, None).await {
                warn!(op = %self.plan.op, %error, "cannot let the guest run");
            }
        }
        self.resumed_after_undo();
    }

    /// Thaw what a step of ours may have frozen.
    async fn thaw(&self) {
        for step in self.plan.prepare.iter().filter(|s| matches!(s, Prepare::Freeze { .. })) {
            if let Err(error) = self.inner.host.undo(self.plan.op, step, None).await {
                warn!(op = %self.plan.op, %error, "cannot thaw the guest");
            }
        }
    }

    /// A small step once more if it failed.
    async fn undo_twice(&self, i: usize) -> Result<()> {
        let step = &self.plan.prepare[i];
        if let Prepare::Start(start) = step {
            self.inner.host.kill(start.instance, false).await?;
            return self.gone(reason::SHUTOFF_FAILED);
        }
        let note = self.notes.iter().find(|(n, _)| *n == i).map(|(_, note)| note);
        match self.inner.host.undo(self.plan.op, step, note).await {
            Ok(()) => Ok(()),
            Err(_) => self.inner.host.undo(self.plan.op, step, note).await,
        }
    }

    /// Undo the first `ran` prepare steps, backwards.
    async fn back(&mut self, ran: usize) -> Result<()> {
        let ran = ran.min(self.plan.prepare.len());
        let mut first_error = None;
        for i in (0..ran).rev() {
            let step = &self.plan.prepare[i];
            // What a step leaves may need what was made before it: after a failure nothing is
            // taken away any more. But the guest runs on.
            if first_error.is_some() && !holds_guest(step) {
                continue;
            }
            match self.undo_twice(i).await {
                Ok(()) => {
                    if let Prepare::Pause { .. } = step {
                        self.resumed_after_undo();
                    }
                }
                Err(error) => {
                    warn!(op = %self.plan.op, step = i, %error, "undo failed");
                    first_error.get_or_insert(error);
                }
            }
        }
        match first_error {
            None => self.inner.store.close(self.plan.op),
            Some(error) => Err(error),
        }
    }

    fn resumed_after_undo(&mut self) {
        if let Some(since) = self.paused_at.take() {
            self.report.add_pause(since.elapsed());
        }
        if self.domain.state().run.state == DomainState::Paused {
            self.set_run(RunState::running(reason::RUNNING_SAVE_CANCELED));
            self.lifecycle(Lifecycle::ResumedUnpaused);
        }
    }

    /// The disk switch was asked for, and nobody knows what became of it.
    async fn in_doubt(&mut self, error: Option<Error>) -> Result<()> {
        let Commit::Switch { instance, disks } = self.plan.commit.clone() else { return self.settle(0).await };
        let probe = match self.inner.host.probe(instance, &disks).await {
            Ok(probe) => probe,
            Err(error) => {
                // Whichever it is, the file systems need not wait for the answer.
                self.thaw().await;
                return Err(error);
            }
        };
        match probe {
            // An overlay that was ever attached may hold guest data: forward.
            Probe::Done | Probe::Unknown => self.settle(0).await,
            Probe::NotDone => match error {
                Some(error) => self.retreat(error).await,
                None => {
                    self.inner.store.retreat(self.plan.op)?;
                    self.back(usize::MAX).await
                }
            },
        }
    }

    /// A start that is not recorded as done: its hypervisor never ran, and must not hold images
    /// that the steps before it change.
    async fn end_unfinished_starts(&self, settled: usize) -> Result<()> {
        for step in self.plan.settle.iter().skip(settled) {
            if let Settle::Start(start) | Settle::Reload(start) = step {
                self.inner.host.kill(start.instance, false).await?;
            }
        }
        Ok(())
    }

    /// Settle, from step `from` on.
    async fn settle(&mut self, from: usize) -> Result<()> {
        let done = self.settle_steps(from).await;
        self.record().await;
        done
    }

    async fn record(&mut self) {
        self.inner.record(self.domain, &std::mem::take(&mut self.unrecorded)).await;
    }

    async fn settle_steps(&mut self, from: usize) -> Result<()> {
        let mut paused: Option<Instance> = None;
        self.blocked = None;
        for i in from..self.plan.settle.len() {
            let step = self.plan.settle[i].clone();
            self.report.step(self.plan.prepare.len() + 1 + i, settle_name(&step));
            if is_merge(&step) {
                self.domain.job.merges();
            }
            let mut result = self.settle_step(i, &step).await;
            let merges_on = self.plan.settle.iter().skip(i + 1).any(is_merge);
            self.domain.job.merged(result.is_ok() && !merges_on);
            if result.is_err() && is_merge(&step) && self.domain.job.is_cancelled() {
                return self.cut_short(i, &step);
            }
            if result.is_err() && !is_long(&step) {
                result = self.settle_step(i, &step).await;
            }
            match (&step, result) {
                (Settle::Pause { instance }, Ok(())) => paused = Some(*instance),
                (Settle::Resume { .. }, Ok(())) => paused = None,
                (_, Ok(())) => {}
                (_, Err(error)) if step.is_must() || matches!(step, Settle::Start(_) | Settle::Reload(_)) => {
                    // A pivot that failed may have happened, and its overlay must not be committed
                    // again after the guest has written below it: it stands still until the retry.
                    if let Some(instance) = paused.filter(|_| !matches!(step, Settle::Pivot { .. })) {
                        // Not published: the guest goes on where it is, the retry pauses it again.
                        let resume = Settle::Resume { instance, why: ResumeWhy::Unpaused };
                        if let Err(e) = self.inner.host.settle(self.plan.op, &resume, &self.report).await {
                            warn!(op = %self.plan.op, error = %e, "cannot resume the guest");
                        }
                    }
                    return Err(error.context("it is not finished; the same call goes on with it"));
                }
                (Settle::Resume { .. } | Settle::Thaw { .. }, Err(error)) => {
                    warn!(op = %self.plan.op, step = i, %error, "the guest does not run");
                    self.blocked.get_or_insert(i);
                    self.reported.get_or_insert(error);
                }
                (_, Err(error)) => {
                    warn!(op = %self.plan.op, step = i, %error, "reported");
                    if !matches!(step, Settle::Unlink { .. } | Settle::DropSide { .. }) {
                        self.reported.get_or_insert(error);
                    }
                }
            }
        }
        self.record().await;
        if self.blocked.is_none() {
            self.inner.store.close(self.plan.op)?;
        }
        if self.plan.kind == OpKind::Revert && self.domain.state().row.persistent {
            self.lifecycle(Lifecycle::DefinedFromSnapshot);
        }
        self.reported.take().map_or(Ok(()), Err)
    }

    /// A merge was cancelled. The overlay is still the truth, so nothing is lost; what becomes of the snapshot depends:
    ///
    /// - nothing was written to its image: it is whole, and as before;
    /// - its image has taken a part of the overlay: it stays marked as being deleted, and deleting it again merges again;
    /// - something else of the operation is done already: the next operation on the domain goes on with it.
    fn cut_short(&mut self, i: usize, step: &Settle) -> Result<()> {
        let name = &self.plan.snapshot;
        if i > 0 || self.recovered || self.plan.kind != OpKind::Delete {
            let op = "what is left of it is done by the next operation on the domain, or at the daemon's next start";
            return Err(aborted().context(op));
        }
        if !matches!(step, Settle::PullUp { .. }) {
            self.inner.store.close(self.plan.op)?;
            let mark = format!("snapshot '{name}' is partly merged and stays marked; delete it again to go on");
            return Err(aborted().context(mark));
        }
        if let Commit::Publish(mark) = &self.plan.commit {
            let mut change = (**mark).clone();
            for disk in change.put.iter_mut().flat_map(|p| &mut p.snapshot.disks) {
                disk.delete_in_progress = false;
            }
            // A daemon that dies between the two finds the row, and carries the deletion through.
            self.inner.store.apply(self.plan.domain, &change)?;
            self.published(&change)?;
        }
        self.inner.store.close(self.plan.op)?;
        Err(aborted())
    }

    async fn settle_step(&mut self, i: usize, step: &Settle) -> Result<()> {
        let op = self.plan.op;
        let gave_up_start = self.domain.destroys() != self.destroys;
        match step {
            Settle::Publish(change) => {
                self.inner.store.publish_step(op, self.plan.domain, change, self.done(i))?;
                self.published(change)
            }
            Settle::Start(_) | Settle::Reload(_) | Settle::Resume { .. }
                if self.plan.kind == OpKind::Revert && gave_up_start =>
            {
                self.gone(reason::SHUTOFF_DESTROYED)
            }
            Settle::Start(start) | Settle::Reload(start) => {
                let reloaded = matches!(step, Settle::Reload(_)) && self.reload(step, start).await?;
                match if reloaded { Ok(true) } else { self.start(start).await } {
                    Ok(true) => self.tell_reverted(start),
                    Ok(false) => {}
                    Err(error) => {
                        warn!(%op, %error, "the start failed");
                        self.reported.get_or_insert(error);
                    }
                }
                // Unless this is written down the guest must not run: the next try would start it again.
                self.inner.store.settled(op, self.done(i))
            }
            // The start failed, and said so.
            Settle::Resume { .. } if self.plan.kind == OpKind::Revert && !self.domain.state().is_active() => Ok(()),
            Settle::Resume { why, .. } => {
                self.inner.host.settle(op, step, &self.report).await?;
                self.resumed(*why);
                Ok(())
            }
            Settle::Pause { .. } => {
                self.paused_at = Some(Instant::now());
                self.inner.host.settle(op, step, &self.report).await
            }
            Settle::Stop { instance } => {
                self.inner.host.kill(*instance, true).await?;
                self.stopped(*instance)
            }
            _ => self.inner.host.settle(op, step, &self.report).await,
        }
    }

    /// How many steps need not be repeated once step `i` is done.
    fn done(&self, i: usize) -> usize {
        self.blocked.unwrap_or(i + 1)
    }

    /// The store has applied `change`.
    fn published(&mut self, change: &Change) -> Result<()> {
        let live = match &change.live {
            LiveChange::Set { .. } => {
                let row = self.inner.store.domains()?.into_iter().find(|r| r.id == self.plan.domain);
                row.and_then(|r| r.live)
            }
            _ => None,
        };
        let before = self.domain.state();
        self.domain.apply(change, live);
        if let LiveChange::Edit { .. } = &change.live {
            self.disk_changes(before.live_xml().unwrap_or_default());
        }
        self.inner.tell(self.domain, &before.tree, change);
        self.unrecorded.extend(change.names());
        Ok(())
    }

    fn disk_changes(&self, before: &str) {
        let after = self.domain.state();
        let (Ok(old), Ok(new)) = (
            crate::xml::domain::frozen_disks(before),
            crate::xml::domain::frozen_disks(after.live_xml().unwrap_or_default()),
        ) else {
            return;
        };
        for (o, n) in old.iter().zip(&new) {
            if let (Some(a), Some(b)) = (&o.image, &n.image)
                && a.path != b.path
            {
                self.emit(EventKind::DiskChange {
                    old: a.path.to_string(),
                    new: b.path.to_string(),
                    device: n.target.0.clone(),
                    reason: 0,
                });
            }
        }
    }

    fn set_run(&self, run: RunState) {
        self.domain.update(|s| {
            if s.run.state.is_active() || !run.state.is_active() {
                s.run = run;
            }
        });
    }

    fn lifecycle(&self, what: Lifecycle) {
        self.emit(EventKind::Lifecycle(what));
    }

    fn emit(&self, kind: EventKind) {
        self.inner.emit(self.plan.domain, kind);
    }
}

/// Whether the guest stands still or is frozen until the step is undone.
fn holds_guest(step: &Prepare) -> bool {
    matches!(step, Prepare::Pause { .. } | Prepare::SaveMemory { .. } | Prepare::Freeze { .. })
}

/// Steps that copy data from one image into another, and that can be cut short at any moment.
fn is_merge(step: &Settle) -> bool {
    matches!(step, Settle::MergeDown { .. } | Settle::MergeActive { .. } | Settle::PullUp { .. })
}

/// Steps that take long fail for good reasons: they are not tried twice in a row. A start says
/// itself what became of it.
fn is_long(step: &Settle) -> bool {
    matches!(
        step,
        Settle::MergeDown { .. }
            | Settle::MergeActive { .. }
            | Settle::PullUp { .. }
            | Settle::Start(_)
            | Settle::Reload(_)
            | Settle::Unlink { .. }
            | Settle::DropSide { .. }
    )
}

//! How far an operation is, and how long the guest stood still for it.

use super::domain::Domain;
use super::service::Inner;
use crate::host::{Report, StepProgress};
use crate::model::event::EventKind;
use crate::model::ids::SnapshotName;
use crate::model::progress::Progress;
use crate::plan::steps::{OpKind, Plan, Prepare, Settle};
use async_trait::async_trait;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// `virDomainJobOperation` of an operation.
#[must_use]
pub(super) fn operation_number(kind: OpKind) -> i32 {
    match kind {
        OpKind::Create => 6,
        OpKind::Revert => 7,
        OpKind::Delete => 10,
        OpKind::Save => 2,
        OpKind::Restore => 3,
        OpKind::Discard => 0,
    }
}

/// How often clients are told at most: what nobody could read is not sent.
const TELL_EVERY: Duration = Duration::from_millis(200);

/// The reporter of one running operation; clears the domain's progress when dropped.
pub(super) struct Reporter<'a> {
    inner: &'a Inner,
    domain: Arc<Domain>,
    began: Instant,
    steps: usize,
    operation: i32,
    snapshot: SnapshotName,
    paused_us: AtomicU64,
    was_paused: AtomicBool,
    told: Mutex<Instant>,
}

impl<'a> Reporter<'a> {
    pub(super) fn new(inner: &'a Inner, domain: &Arc<Domain>, plan: &Plan) -> Self {
        domain.job.begin();
        let began = Instant::now();
        Self {
            inner,
            domain: Arc::clone(domain),
            began,
            steps: plan.prepare.len() + 1 + plan.settle.len(),
            operation: operation_number(plan.kind),
            snapshot: plan.snapshot.clone(),
            paused_us: AtomicU64::new(0),
            was_paused: AtomicBool::new(false),
            told: Mutex::new(began),
        }
    }

    /// A step begins.
    pub(super) fn step(&self, step: usize, phase: &str) {
        self.domain.progress.send_replace(Some(Progress {
            operation: self.operation,
            snapshot: self.snapshot.clone(),
            phase: phase.to_owned(),
            step,
            steps: self.steps,
            bytes: (0, 0),
            elapsed_ms: self.elapsed_ms(),
            paused_us: self.downtime_us(),
            end: None,
        }));
        self.tell();
    }

    /// The operation has ended, with that error if any: remember it and tell.
    pub(super) fn end(&self, error: Option<String>) {
        let Some(mut last) = self.domain.progress.borrow().clone() else { return };
        last.step = if error.is_none() { self.steps } else { last.step };
        last.elapsed_ms = self.elapsed_ms();
        last.paused_us = self.downtime_us();
        last.end = Some(error.map_or(Ok(()), Err));
        self.domain.job.remember(last.clone());
        self.inner.emit(self.domain.id, EventKind::JobProgress(Box::new(last)));
    }

    fn tell(&self) {
        {
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            if told.elapsed() < TELL_EVERY {
                return;
            }
            *told = Instant::now();
        }
        let now = self.domain.progress.borrow().clone();
        if let Some(now) = now {
            self.inner.emit(self.domain.id, EventKind::JobProgress(Box::new(now)));
        }
    }

    pub(super) fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    pub(super) fn add_pause(&self, pause: Duration) {
        self.paused_for(u64::try_from(pause.as_micros()).unwrap_or(u64::MAX));
    }

    /// How long the guest stood still, in microseconds, if it did.
    pub(super) fn downtime_us(&self) -> Option<u64> {
        self.was_paused.load(Ordering::Relaxed).then(|| self.paused_us.load(Ordering::Relaxed))
    }
}

#[async_trait]
impl Report for Reporter<'_> {
    fn progress(&self, progress: StepProgress) {
        let elapsed = self.elapsed_ms();
        self.domain.progress.send_modify(|p| {
            if let Some(p) = p {
                p.bytes = (progress.done, progress.total);
                p.elapsed_ms = elapsed;
            }
        });
        self.tell();
    }

    fn paused_for(&self, microseconds: u64) {
        self.was_paused.store(true, Ordering::Relaxed);
        let sum = self.paused_us.fetch_add(microseconds, Ordering::Relaxed) + microseconds;
        self.domain.progress.send_modify(|p| {
            if let Some(p) = p {
                p.paused_us = Some(sum);
            }
        });
    }

    async fn cancelled(&self) {
        self.domain.job.cancelled().await;
    }
}

impl Drop for Reporter<'_> {
    fn drop(&mut self) {
        self.domain.progress.send_replace(None);
        self.domain.job.end();
    }
}

/// A prepare step in words.
pub(super) fn prepare_name(step: &Prepare) -> &'static str {
    match step {
        Prepare::Reserve { .. } | Prepare::Format { .. } | Prepare::Sync { .. } => "creating overlays",
        Prepare::AddNodes { .. } => "opening overlays",
        Prepare::Freeze { .. } => "freezing file systems",
        Prepare::Pause { .. } => "pausing",
        Prepare::SaveMemory { .. } | Prepare::LiveSave { .. } | Prepare::AwaitSave { .. } => "saving memory",
        Prepare::Start(_) => "starting",
        Prepare::SaveTag { .. } | Prepare::TagDisks { .. } | Prepare::CreateTag { .. } => "saving into images",
    }
}

/// A settle step in words.
pub(super) fn settle_name(step: &Settle) -> &'static str {
    match step {
        Settle::Publish(_) => "publishing",
        Settle::Resume { .. } => "resuming",
        Settle::Pause { .. } | Settle::Pivot { .. } => "leaving overlays",
        Settle::Thaw { .. } => "thawing file systems",
        Settle::Stop { .. } => "stopping",
        Settle::Start(_) => "starting",
        Settle::Reload(_) => "loading",
        Settle::ApplyTag { .. } => "restoring images",
        Settle::RemoveTag { .. } => "removing tags",
        Settle::MergeDown { .. } | Settle::MergeActive { .. } | Settle::PullUp { .. } | Settle::Repoint { .. } => {
            "merging"
        }
        Settle::Unlink { .. } => "removing files",
    }
}

//! How far an operation is, and how long the guest stood still for it.

use super::domain::Domain;
use super::view::Progress;
use crate::host::{Report, StepProgress};
use crate::plan::steps::{OpKind, Plan, Prepare, Settle};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
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

/// The reporter of one running operation; clears the domain's progress when dropped.
pub(super) struct Reporter {
    domain: Arc<Domain>,
    began: Instant,
    steps: usize,
    operation: i32,
    paused_us: AtomicU64,
    was_paused: std::sync::atomic::AtomicBool,
}

impl Reporter {
    pub(super) fn new(domain: &Arc<Domain>, plan: &Plan) -> Self {
        Self {
            domain: Arc::clone(domain),
            began: Instant::now(),
            steps: plan.prepare.len() + 1 + plan.settle.len(),
            operation: operation_number(plan.kind),
            paused_us: AtomicU64::new(0),
            was_paused: false.into(),
        }
    }

    /// A step begins.
    pub(super) fn step(&self, step: usize, phase: &str) {
        self.domain.progress.send_replace(Some(Progress {
            operation: self.operation,
            phase: phase.to_owned(),
            step,
            steps: self.steps,
            bytes: (0, 0),
            elapsed_ms: self.elapsed_ms(),
        }));
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

impl Report for Reporter {
    fn progress(&self, progress: StepProgress) {
        let elapsed = self.elapsed_ms();
        self.domain.progress.send_modify(|p| {
            if let Some(p) = p {
                p.bytes = (progress.done, progress.total);
                p.elapsed_ms = elapsed;
            }
        });
    }

    fn paused_for(&self, microseconds: u64) {
        self.was_paused.store(true, Ordering::Relaxed);
        self.paused_us.fetch_add(microseconds, Ordering::Relaxed);
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        self.domain.progress.send_replace(None);
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

//! QEMU's jobs: found again by id after a crash, waited for, their verdict read and dismissed.
//!
//! ```text
//!   created ▶ running ─▶ ready ─(job-complete)▶ … ─▶ concluded ─(job-dismiss)▶ gone
//!                 └────▶ pending ─(job-finalize)▶ …        ▲
//!                 └──────────── error ────────────────────┘
//! ```
//!
//! All jobs are started with `auto-dismiss: false` or are of a kind that waits for
//! `job-dismiss`, so that the verdict can be read by another life of the daemon.

use super::qmp::{Monitor, QmpError};
use crate::error::{Code, Error, Result};
use crate::host::{Report, StepProgress};
use crate::model::ids::OpId;
use serde_json::{Value, json};
use std::time::Duration;

/// How often progress is asked for while nothing changes.
const TICK: Duration = Duration::from_millis(200);

/// How often a job that was told to end is looked at.
const CANCELLING: Duration = Duration::from_millis(5);

/// A job-id: of the operation, so that the same step finds its job again.
#[must_use]
pub(super) fn id(op: OpId, what: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || "-._".contains(c) { c } else { '_' };
    format!("virsnap-{op}-{}", what.chars().map(safe).collect::<String>())
}

/// A job of a running QEMU.
#[derive(Debug, Clone, Copy)]
pub(super) struct Job<'a> {
    /// Where it runs.
    pub(super) monitor: &'a Monitor,
    /// Its id.
    pub(super) id: &'a str,
    /// Its kind, as in error messages.
    pub(super) kind: &'a str,
}

/// What a job can be waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Until {
    /// Both sides are the same: `job-complete` is possible.
    Ready,
    /// All done but the graph: `job-finalize` is possible.
    Pending,
    /// Over.
    Concluded,
}

impl Job<'_> {
    /// What `query-jobs` says of it.
    pub(super) async fn state(&self) -> Result<Option<State>, QmpError> {
        let jobs = self.monitor.execute("query-jobs", json!({})).await?;
        let job = jobs.as_array().and_then(|jobs| jobs.iter().find(|j| j["id"] == self.id));
        Ok(job.map(State::read))
    }

    /// Forget a job that is over, whatever its verdict; `false` if it still runs.
    pub(super) async fn clear(&self) -> Result<bool, QmpError> {
        let Some(state) = self.state().await? else { return Ok(true) };
        if state.status != "concluded" {
            return Ok(false);
        }
        self.monitor.execute("job-dismiss", json!({ "id": self.id })).await?;
        Ok(true)
    }

    /// Snapshot jobs run in QEMU's main loop: it hears of nothing before they have ended.
    fn may_be_cancelled(&self) -> bool {
        self.kind.starts_with("block-")
    }

    /// End it, without leaving any layer. When this returns it is gone; whether it was done before it could be cancelled.
    async fn cancel(&self) -> Result<bool, QmpError> {
        match self.monitor.execute("job-cancel", json!({ "id": self.id })).await {
            // It has ended meanwhile.
            Ok(_) | Err(QmpError::Refused { .. }) => {}
            Err(error) => return Err(error),
        }
        loop {
            let Some(state) = self.state().await? else { return Ok(false) };
            if state.status == "concluded" {
                self.monitor.execute("job-dismiss", json!({ "id": self.id })).await?;
                return Ok(state.error.is_none());
            }
            tokio::time::sleep(CANCELLING).await;
        }
    }

    /// Wait. A job that failed is dismissed, and its words are the error.
    pub(super) async fn wait(&self, until: Until, report: &dyn Report) -> Result<()> {
        let mut events = self.monitor.subscribe();
        loop {
            let Some(state) = self.state().await? else {
                return Err(Error::internal(format!("{} job '{}' has vanished", self.kind, self.id)));
            };
            report.progress(state.progress);
            if state.status == "concluded" {
                self.monitor.execute("job-dismiss", json!({ "id": self.id })).await?;
                return match state.error {
                    Some(error) => Err(Error::failed(format!("{} job failed: {error}", self.kind))),
                    None if until == Until::Concluded => Ok(()),
                    None => Err(Error::failed(format!("{} job ended early", self.kind))),
                };
            }
            let reached = match until {
                Until::Ready => matches!(state.status.as_str(), "ready" | "standby"),
                Until::Pending => state.status == "pending",
                Until::Concluded => false,
            };
            if reached {
                return Ok(());
            }
            tokio::select! {
                _ = next_change(&mut events) => {}
                () = tokio::time::sleep(TICK) => {}
                () = report.cancelled(), if self.may_be_cancelled() => {
                    if self.cancel().await? && until == Until::Concluded {
                        return Ok(());
                    }
                    return Err(Error::new(Code::OperationAborted, format!("{} job was cancelled", self.kind)));
                }
                () = self.monitor.gone() => return Err(QmpError::Gone.into()),
            }
        }
    }
}

async fn next_change(events: &mut tokio::sync::broadcast::Receiver<super::qmp::QmpEvent>) {
    use tokio::sync::broadcast::error::RecvError;
    loop {
        match events.recv().await {
            Ok(event) if event.name == "JOB_STATUS_CHANGE" => return,
            Ok(_) => {}
            // Some were missed: look.
            Err(RecvError::Lagged(_)) => return,
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

/// A job as `query-jobs` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct State {
    /// `running`, `ready`, `concluded`, ….
    pub(super) status: String,
    /// Why it failed.
    pub(super) error: Option<String>,
    /// How far it is.
    pub(super) progress: StepProgress,
}

impl State {
    fn read(job: &Value) -> Self {
        let number = |key: &str| job[key].as_u64().unwrap_or_default();
        Self {
            status: job["status"].as_str().unwrap_or_default().to_owned(),
            error: job["error"].as_str().map(str::to_owned),
            progress: StepProgress { done: number("current-progress"), total: number("total-progress") },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_id_is_well_formed_whatever_the_target() {
        assert_eq!(id(OpId(12), "vda"), "virsnap-op12-vda");
        assert_eq!(id(OpId(1), "x/ä y"), "virsnap-op1-x___y");
    }
}

//! The one operation of a domain that runs, as far as a client can end it.
//!
//! ```text
//!   idle ──begin──▶ open ──seal──▶ sealed ──────────▶ idle
//!                    │               │  ▲
//!              cancel: accepted      └──┘ merge: open while a merge runs
//!                                    cancel: refused, it is past its commit
//! ```
//!
//! A wish that was accepted keeps the operation from its commit: the steps see it ([`Report::cancelled`]) and the executor
//! looks between them. After the commit only a merge can be cut short, which the overlay survives whole.
//!
//! [`Report::cancelled`]: crate::host::Report::cancelled

use crate::error::{Code, Error, Result};
use crate::model::progress::Progress;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Stage {
    #[default]
    Idle,
    Open,
    Sealed,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Job {
    stage: Mutex<Stage>,
    wish: watch::Sender<bool>,
    last: Mutex<Option<Progress>>,
}

impl Default for Job {
    fn default() -> Self {
        Self { stage: Mutex::default(), wish: watch::channel(false).0, last: Mutex::default() }
    }
}

/// What the caller of a cancelled operation is told: libvirt's code 78.
pub(super) fn aborted() -> Error {
    Error::new(Code::OperationAborted, "cancelled by client")
}

impl Job {
    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An operation begins.
    pub(super) fn begin(&self) {
        let mut stage = self.stage();
        self.wish.send_replace(false);
        *stage = Stage::Open;
    }

    /// The commit is next: from here on no wish is accepted. Refused if there is one already.
    pub(super) fn seal(&self) -> Result<()> {
        let mut stage = self.stage();
        if *self.wish.borrow() {
            return Err(aborted());
        }
        *stage = Stage::Sealed;
        Ok(())
    }

    /// A merge begins.
    pub(super) fn merges(&self) {
        *self.stage() = Stage::Open;
    }

    /// It has ended. A wish that came too late for the last one is passed over: what is left to do is short, and must be done.
    pub(super) fn merged(&self, last: bool) {
        let mut stage = self.stage();
        *stage = Stage::Sealed;
        if last {
            self.wish.send_replace(false);
        }
    }

    /// It has ended.
    pub(super) fn end(&self) {
        let mut stage = self.stage();
        self.wish.send_replace(false);
        *stage = Stage::Idle;
    }

    /// A client wants it to end.
    pub(super) fn cancel(&self) -> Result<()> {
        match *self.stage() {
            Stage::Idle => Err(Error::invalid("no job is active on the domain")),
            Stage::Sealed => Err(Error::invalid(
                "cannot cancel the job: it has passed its point of no return and is carried through",
            )),
            Stage::Open => {
                self.wish.send_replace(true);
                Ok(())
            }
        }
    }

    /// Whether a client's wish was accepted.
    pub(super) fn is_cancelled(&self) -> bool {
        *self.wish.borrow()
    }

    /// Until a client's wish is accepted.
    pub(super) async fn cancelled(&self) {
        // The sender lives as long as `self`, so this cannot fail early.
        drop(self.wish.subscribe().wait_for(|wish| *wish).await);
    }

    /// Remember how the last operation ended.
    pub(super) fn remember(&self, last: Progress) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(last);
    }

    /// The last operation.
    pub(super) fn last(&self) -> Option<Progress> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_not_committed_is_cancelled() {
        let job = Job::default();
        assert_eq!(job.cancel().unwrap_err().code, Code::OperationInvalid);
        job.begin();
        job.seal().unwrap();
        assert_eq!(job.cancel().unwrap_err().code, Code::OperationInvalid);
        job.merges();
        job.cancel().unwrap();
        assert!(job.is_cancelled());
        job.end();
        assert!(!job.is_cancelled());
        job.begin();
        job.cancel().unwrap();
        assert_eq!(job.seal().unwrap_err().to_string(), "operation aborted: cancelled by client");
    }
}

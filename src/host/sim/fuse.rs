//! When what goes wrong: a counter over every smallest part of every effect, of all daemons that
//! act on one world one after the other.

use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The daemon dies; guests run on.
    Crash,
    /// Daemon and guests die; every write had reached the disk.
    MachineKeeps,
    /// Daemon and guests die; what was not fsynced is lost.
    MachineLoses,
    /// Every hypervisor dies, and the daemon is told at once.
    GuestDies,
    /// Every hypervisor dies, and the daemon is told when it next listens.
    GuestDiesUnseen,
    /// This part of the effect fails.
    Refuse,
    /// Whoever waits for [`Fuse::interrupted`] goes on, before this part of the effect does.
    Interrupt,
}

impl Fault {
    /// Whether the daemon is dead afterwards.
    #[must_use]
    pub fn ends_daemon(self) -> bool {
        matches!(self, Self::Crash | Self::MachineKeeps | Self::MachineLoses)
    }
}

/// What a part of an effect is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Go,
    Hit(Fault),
    /// A dead daemon acts no more.
    Dead,
}

/// The counter and the faults that wait for it.
#[derive(Debug, Default)]
pub struct Fuse {
    state: Mutex<State>,
    burnt: Notify,
    interrupted: Notify,
}

#[derive(Debug, Default)]
struct State {
    count: usize,
    faults: Vec<(usize, Fault)>,
    dead: bool,
    trace: Vec<String>,
}

impl Fuse {
    /// A fuse that strikes at these numbers, counted from 0.
    #[must_use]
    pub fn new(faults: impl IntoIterator<Item = (usize, Fault)>) -> Self {
        let state = State { faults: faults.into_iter().collect(), ..State::default() };
        Self { state: Mutex::new(state), burnt: Notify::new(), interrupted: Notify::new() }
    }

    /// Strike at this number too.
    pub fn also(&self, number: usize, fault: Fault) {
        self.state().faults.push((number, fault));
    }

    /// Nothing goes wrong from here on.
    pub fn stop(&self) {
        self.state().faults.clear();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn strike(&self, what: &str) -> Verdict {
        let mut state = self.state();
        if state.dead {
            return Verdict::Dead;
        }
        let number = state.count;
        state.count += 1;
        let Some(fault) = state.faults.iter().find(|(n, _)| *n == number).map(|(_, f)| *f) else {
            state.trace.push(format!("{number}: {what}"));
            return Verdict::Go;
        };
        state.trace.push(format!("{number}: {what} — {fault:?}"));
        if fault == Fault::Interrupt {
            self.interrupted.notify_one();
        }
        if fault.ends_daemon() {
            state.dead = true;
            self.burnt.notify_waiters();
            self.burnt.notify_one();
        }
        Verdict::Hit(fault)
    }

    /// Whether others shall act before this part of the effect: those whom the last fault concerns.
    pub(super) fn lets_others_act(&self) -> bool {
        let state = self.state();
        let last = state.count.checked_sub(1);
        state.faults.iter().any(|(n, f)| Some(*n) == last && matches!(f, Fault::GuestDies | Fault::Interrupt))
    }

    /// Returns after [`Fault::Interrupt`].
    pub async fn interrupted(&self) {
        self.interrupted.notified().await;
    }

    /// Returns once the daemon is dead.
    pub async fn burnt(&self) {
        while !self.is_burnt() {
            self.burnt.notified().await;
        }
    }

    /// Whether the daemon is dead.
    #[must_use]
    pub fn is_burnt(&self) -> bool {
        self.state().dead
    }

    /// A new daemon begins; the count goes on.
    pub fn revive(&self) {
        let mut state = self.state();
        state.dead = false;
        state.trace.push("— a new daemon —".to_owned());
    }

    /// Faults that have struck so far.
    #[must_use]
    pub fn struck(&self) -> usize {
        let state = self.state();
        state.faults.iter().filter(|(n, _)| *n < state.count).count()
    }

    /// Parts counted so far.
    #[must_use]
    pub fn count(&self) -> usize {
        self.state().count
    }

    /// What was done, one line per part.
    #[must_use]
    pub fn trace(&self) -> Vec<String> {
        self.state().trace.clone()
    }
}

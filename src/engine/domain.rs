//! One domain in memory: its state, the view that readers see, and its job slot.

use super::job::Job;
use super::parameters::Parameters;
use super::view::View;
use crate::error::{Code, Error, Result};
use crate::model::domain::{DomainState, RunState, Runtime, reason};
use crate::model::ids::{DiskTarget, DomainId, Image, Instance};
use crate::model::progress::Progress;
use crate::model::tree::Tree;
use crate::plan::steps::{Change, CurrentChange, LiveChange, SavedChange};
use crate::store::{DomainRow, LiveRow};
use crate::xml::{domain, edit};
use arc_swap::ArcSwap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedMutexGuard, watch};

/// How long a call waits for another operation on the same domain (libvirt: `QEMU_JOB_WAIT_TIME`).
const SLOT_WAIT: Duration = Duration::from_secs(30);

/// What is true of a domain now; changed only together with the store.
#[derive(Debug, Clone)]
pub(super) struct State {
    pub(super) row: DomainRow,
    pub(super) run: RunState,
    pub(super) runtime: Runtime,
    pub(super) tree: Arc<Tree>,
}

/// A domain.
pub(super) struct Domain {
    pub(super) id: DomainId,
    state: Mutex<State>,
    view: ArcSwap<View>,
    slot: Arc<tokio::sync::Mutex<()>>,
    holder: Mutex<String>,
    /// Grows with every Destroy: an operation that sees it grow starts nothing any more.
    destroyed: AtomicU64,
    pub(super) parameters: Mutex<Parameters>,
    pub(super) progress: watch::Sender<Option<Progress>>,
    pub(super) job: Job,
}

/// The right to change a domain; freed when dropped.
#[must_use]
pub(super) struct Slot {
    _guard: OwnedMutexGuard<()>,
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Domain {
    pub(super) fn new(row: DomainRow, run: RunState, tree: Tree) -> Self {
        let state = State { row, run, runtime: Runtime::default(), tree: Arc::new(tree) };
        Self {
            id: state.row.id,
            view: ArcSwap::from_pointee(view_of(&state)),
            state: Mutex::new(state),
            slot: Arc::default(),
            holder: Mutex::default(),
            destroyed: AtomicU64::new(0),
            parameters: Mutex::default(),
            progress: watch::channel(None).0,
            job: Job::default(),
        }
    }

    /// What readers see.
    pub(super) fn view(&self) -> Arc<View> {
        self.view.load_full()
    }

    /// A copy of the state.
    pub(super) fn state(&self) -> State {
        held(&self.state).clone()
    }

    /// Change the state and publish the view.
    pub(super) fn update<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = held(&self.state);
        let out = change(&mut state);
        self.view.store(Arc::new(view_of(&state)));
        out
    }

    /// Wait for the job slot, 30 s at most.
    pub(super) async fn slot(&self, what: &str) -> Result<Slot> {
        let guard = tokio::time::timeout(SLOT_WAIT, Arc::clone(&self.slot).lock_owned()).await.map_err(|_| {
            let holder = held(&self.holder).clone();
            Error::new(Code::OperationTimeout, format!("cannot acquire state change lock (held by {holder})"))
        })?;
        what.clone_into(&mut held(&self.holder));
        Ok(Slot { _guard: guard })
    }

    /// The job slot, if it is free.
    pub(super) fn try_slot(&self, what: &str) -> Option<Slot> {
        let guard = Arc::clone(&self.slot).try_lock_owned().ok()?;
        what.clone_into(&mut held(&self.holder));
        Some(Slot { _guard: guard })
    }

    pub(super) fn note_destroy(&self) {
        self.destroyed.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn destroys(&self) -> u64 {
        self.destroyed.load(Ordering::SeqCst)
    }

    /// Make the state what the store holds after `change` (the store has applied it).
    pub(super) fn apply(&self, change: &Change, live: Option<LiveRow>) {
        self.update(|s| s.apply(change, live));
    }
}

impl State {
    /// What `change` makes of it; `live` is the hypervisor that it sets.
    pub(super) fn apply(&mut self, change: &Change, live: Option<LiveRow>) {
        let current = change.current.as_ref().map(|c| match c {
            CurrentChange::Clear => None,
            CurrentChange::Set(name) => Some(name.clone()),
        });
        if let Some(rename) = &change.rename {
            self.tree = Arc::new(self.tree.renamed(&rename.from, &rename.to));
        }
        if !change.put.is_empty() || !change.remove.is_empty() || current.is_some() {
            let put = change.put.iter().map(|p| p.snapshot.clone()).collect();
            self.tree = Arc::new(self.tree.changed(put, &change.remove, current));
        }
        if let Some(xml) = &change.inactive_xml {
            self.row.inactive_xml = Some(xml.clone());
            self.row.persistent |= change.defines;
        }
        match &change.saved {
            SavedChange::Keep => {}
            SavedChange::Clear => self.row.saved = None,
            SavedChange::Set(saved) => self.row.saved = Some(saved.clone()),
        }
        match &change.live {
            LiveChange::Keep => {}
            LiveChange::Clear | LiveChange::Set { .. } => self.row.live = live,
            LiveChange::Edit { instance, xml } => {
                if let Some(row) = self.row.live.as_mut().filter(|l| l.instance == *instance) {
                    row.xml.clone_from(xml);
                }
            }
        }
    }

    pub(super) fn is_active(&self) -> bool {
        self.run.state.is_active()
    }

    pub(super) fn instance(&self) -> Option<Instance> {
        self.row.live.as_ref().filter(|_| self.is_active()).map(|l| l.instance)
    }

    pub(super) fn live_xml(&self) -> Option<&str> {
        self.row.live.as_ref().filter(|_| self.is_active()).map(|l| l.xml.as_str())
    }

    pub(super) fn inactive_xml(&self) -> Option<&str> {
        self.row.inactive_xml.as_deref().filter(|_| self.row.persistent)
    }

    /// The images that the definitions name, that of a saved guest included.
    pub(super) fn images(&self) -> Result<Vec<(DiskTarget, Image)>> {
        let mut out = Vec::new();
        let saved = self.row.saved.as_ref().map(|s| s.xml.as_str());
        for xml in [self.live_xml(), self.inactive_xml(), saved].into_iter().flatten() {
            for disk in domain::frozen_disks(xml)? {
                if let Some(image) = disk.image {
                    let pair = (disk.target, image);
                    if !out.contains(&pair) {
                        out.push(pair);
                    }
                }
            }
        }
        Ok(out)
    }
}

fn view_of(state: &State) -> View {
    let active = state.is_active();
    let live = state.row.live.as_ref().filter(|_| active);
    let inactive = state.row.inactive_xml.as_deref().filter(|_| state.row.persistent);
    let number = |l: &LiveRow| state.runtime.number.unwrap_or(l.number);
    View {
        id: state.row.id,
        name: state.row.name.clone(),
        persistent: state.row.persistent,
        autostart: state.row.autostart,
        saved: state.row.saved.is_some(),
        updated: live.is_some_and(|l| inactive.is_some_and(|i| i != l.xml)),
        run: state.run,
        running: live.map(|l| (l.instance, number(l))),
        inactive_xml: inactive.map(Arc::from),
        live_xml: live.map(|l| Arc::from(edit::live_view(&l.xml, number(l), &state.runtime))),
        tree: Arc::clone(&state.tree),
    }
}

/// The state of a domain that has just been read and has no hypervisor.
pub(super) fn off(row: &DomainRow) -> RunState {
    RunState { state: DomainState::Shutoff, reason: if row.reason == 0 { reason::SHUTOFF_UNKNOWN } else { row.reason } }
}

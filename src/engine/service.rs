//! One async function per API call. Reads answer from a published view and never wait.

pub use super::view::View;
pub use crate::model::progress::Progress;

use super::domain::{Domain, off};
use crate::error::{Code, Error, Result};
use crate::host::{Host, HostEvent};
use crate::model::event::{Event, EventKind};
use crate::model::flags;
use crate::model::ids::DomainId;
use crate::model::risk::RiskyRevert;
use crate::model::tree::Tree;
use crate::store::Store;
use camino::Utf8PathBuf;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};
use tokio::sync::{mpsc, oneshot, watch};

/// One driver's domains and snapshots.
pub struct Service {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) store: Store,
    pub(super) host: Arc<dyn Host>,
    pub(super) clock: Clock,
    pub(super) settings: Settings,
    /// Answered once every event of the host that came before was acted on.
    asks: mpsc::UnboundedSender<oneshot::Sender<()>>,
    domains: RwLock<HashMap<DomainId, Arc<Domain>>>,
    listeners: Mutex<Vec<mpsc::UnboundedSender<Event>>>,
}

/// What whoever runs the service decides.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where managed-save images go; it exists.
    pub save_dir: Utf8PathBuf,
    /// What a revert may do to a running guest.
    pub risky_revert: RiskyRevert,
}

impl Default for Settings {
    fn default() -> Self {
        Self { save_dir: "/var/lib/virsnap/save".into(), risky_revert: RiskyRevert::default() }
    }
}

/// Tells the time: seconds since the Epoch.
pub type Clock = fn() -> i64;

impl Service {
    /// Load what the store holds, find the hypervisors again, take the slots of the domains with
    /// an open operation and begin to recover them. Must be called within a tokio runtime.
    pub async fn open(
        store: Store,
        host: Arc<dyn Host>,
        host_events: mpsc::UnboundedReceiver<HostEvent>,
        clock: Clock,
    ) -> Result<Self> {
        Self::open_with(store, host, host_events, clock, Settings::default()).await
    }

    /// The same with settings other than the defaults.
    pub async fn open_with(
        store: Store,
        host: Arc<dyn Host>,
        mut host_events: mpsc::UnboundedReceiver<HostEvent>,
        clock: Clock,
        settings: Settings,
    ) -> Result<Self> {
        let (asks, mut asked) = mpsc::unbounded_channel::<oneshot::Sender<()>>();
        let inner = Arc::new(Inner {
            store,
            host,
            clock,
            settings,
            asks,
            domains: RwLock::default(),
            listeners: Mutex::default(),
        });
        for row in inner.store.domains()? {
            let (snapshots, current) = inner.store.snapshots(row.id)?;
            let run = off(&row);
            let domain = inner.insert(Domain::new(row, run, Tree::new(snapshots, current)));
            inner.reattach(&domain).await;
        }
        for domain in inner.all() {
            inner.record_all(&domain);
        }
        for recovery in inner.open_recoveries()? {
            let inner = Arc::clone(&inner);
            tokio::spawn(async move { inner.recover(recovery).await });
        }
        for domain in inner.all() {
            if let Some(slot) = domain.try_slot("forgetting a transient domain") {
                inner.reap_transient(&domain);
                drop(slot);
            }
        }
        inner.host.watch().await;
        let weak = Arc::downgrade(&inner);
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    biased;
                    Some(event) = host_events.recv() => match weak.upgrade() {
                        Some(inner) => inner.on_host_event(event),
                        None => return,
                    },
                    ask = asked.recv() => match ask {
                        // Whoever asked may have stopped waiting.
                        Some(ask) => drop(ask.send(())),
                        None => return,
                    },
                }
            }
        });
        Ok(Self { inner })
    }

    /// Wait until no operation runs: after `open`, until everything is recovered.
    pub async fn idle(&self) {
        for domain in self.inner.all() {
            let _ = domain.slot("wait").await;
        }
    }

    /// Start the domains that are marked for it.
    pub async fn autostart(&self) {
        self.inner.autostart().await;
    }

    /// Ids of the domains that pass libvirt's filter bits (`virConnectListAllDomainsFlags`).
    pub fn list(&self, filter: u32) -> Result<Vec<DomainId>> {
        flags::none(filter & !ListFilter::ALL, "qemuConnectListAllDomains")?;
        let mut out: Vec<DomainId> =
            self.inner.all().iter().map(|d| d.view()).filter(|v| ListFilter(filter).passes(v)).map(|v| v.id).collect();
        out.sort_unstable();
        Ok(out)
    }

    /// `virDomainLookupByName`.
    pub fn lookup_name(&self, name: &str) -> Result<DomainId> {
        let no = || Error::new(Code::NoDomain, format!("no domain with matching name '{name}'"));
        self.inner.find_name(name).map(|v| v.id).ok_or_else(no)
    }

    /// `virDomainLookupByUUIDString`.
    pub fn lookup_uuid(&self, uuid: &str) -> Result<DomainId> {
        let id = uuid::Uuid::parse_str(uuid).map(DomainId).map_err(|_| {
            Error::new(
                Code::InvalidArg,
                format!("uuidstr in virDomainLookupByUUIDString must be a valid UUID: '{uuid}'"),
            )
        })?;
        self.view(id).map(|v| v.id)
    }

    /// `virDomainLookupByID`.
    pub fn lookup_number(&self, number: i32) -> Result<DomainId> {
        let no = || Error::new(Code::NoDomain, format!("no domain with matching id {number}"));
        let hit = self.inner.all().into_iter().find(|d| d.view().running.is_some_and(|(_, n)| n == number));
        hit.map(|d| d.id).ok_or_else(no)
    }

    /// What clients may see of it; `VIR_ERR_NO_DOMAIN` if there is none.
    pub fn view(&self, id: DomainId) -> Result<Arc<View>> {
        self.inner.domain(id).map(|d| d.view())
    }

    /// The `<capabilities>` document.
    pub async fn capabilities_xml(&self) -> Result<String> {
        self.inner.host.capabilities_xml().await
    }

    /// The `<domainCapabilities>` document.
    pub async fn domain_capabilities_xml(
        &self,
        emulator: &str,
        arch: &str,
        machine: &str,
        virttype: &str,
        flags: u32,
    ) -> Result<String> {
        flags::none(flags, "qemuConnectGetDomainCapabilities")?;
        self.inner.host.domain_capabilities_xml(emulator, arch, machine, virttype).await
    }

    /// `virConnectGetVersion`: major × 1,000,000 + minor × 1,000 + micro.
    pub async fn hypervisor_version(&self) -> Result<u64> {
        self.inner.host.hypervisor_version().await
    }

    /// The running operation of a domain; `None` when idle.
    pub fn progress(&self, id: DomainId) -> Result<watch::Receiver<Option<Progress>>> {
        self.inner.domain(id).map(|d| d.progress.subscribe())
    }

    /// The running operation of a domain, or the last one.
    pub fn job(&self, id: DomainId) -> Result<Option<Progress>> {
        let domain = self.inner.domain(id)?;
        let running = domain.progress.borrow().clone();
        Ok(running.or_else(|| domain.job.last()))
    }

    /// `virDomainAbortJob`: end the running operation before its commit, or its merge. Returns once it is sure not to commit;
    /// its caller is told `operation aborted` when all that it had done is undone.
    pub fn cancel(&self, id: DomainId) -> Result<()> {
        self.inner.domain(id)?.job.cancel()
    }

    /// Everything that happens from now on.
    pub fn events(&self) -> mpsc::UnboundedReceiver<Event> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.inner.listeners.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
        receiver
    }
}

/// `virConnectListAllDomainsFlags`.
struct ListFilter(u32);

impl ListFilter {
    const ALL: u32 = 0xffff;

    fn passes(&self, view: &View) -> bool {
        use crate::model::domain::DomainState;
        let group = |members: &[(u32, bool)]| {
            members.iter().all(|(bit, _)| self.0 & bit == 0)
                || members.iter().any(|(bit, hit)| self.0 & bit != 0 && *hit)
        };
        let state = view.run.state;
        let active = state.is_active();
        let other = !matches!(state, DomainState::Running | DomainState::Paused | DomainState::Shutoff);
        let snapshots = !view.tree.is_empty();
        group(&[(1, active), (2, !active)])
            && group(&[(4, view.persistent), (8, !view.persistent)])
            && group(&[
                (0x10, state == DomainState::Running),
                (0x20, state == DomainState::Paused),
                (0x40, state == DomainState::Shutoff),
                (0x80, other),
            ])
            && group(&[(0x100, view.saved), (0x200, !view.saved)])
            && group(&[(0x400, view.autostart), (0x800, !view.autostart)])
            && group(&[(0x1000, snapshots), (0x2000, !snapshots)])
            && group(&[(0x4000, false), (0x8000, true)])
    }
}

impl Inner {
    fn read(&self) -> RwLockReadGuard<'_, HashMap<DomainId, Arc<Domain>>> {
        self.domains.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wait until all that the host has told so far was acted on.
    pub(super) async fn heard_all(&self) {
        let (ask, answer) = oneshot::channel();
        if self.asks.send(ask).is_ok() {
            let _ = answer.await;
        }
    }

    pub(super) fn find(&self, id: DomainId) -> Option<Arc<Domain>> {
        self.read().get(&id).cloned()
    }

    pub(super) fn domain(&self, id: DomainId) -> Result<Arc<Domain>> {
        self.find(id).ok_or_else(|| Error::new(Code::NoDomain, format!("no domain with matching uuid '{id}'")))
    }

    pub(super) fn find_name(&self, name: &str) -> Option<Arc<View>> {
        // Somebody else may have started one of a name that is defined here: that one is meant.
        let namesakes = self.read();
        let mut views = namesakes.values().map(|d| d.view()).filter(|v| v.name == name);
        let first = views.next()?;
        Some(std::iter::once(first.clone()).chain(views).find(|v| v.run.state.is_active()).unwrap_or(first))
    }

    pub(super) fn all(&self) -> Vec<Arc<Domain>> {
        self.read().values().cloned().collect()
    }

    pub(super) fn insert(&self, domain: Domain) -> Arc<Domain> {
        let domain = Arc::new(domain);
        self.domains.write().unwrap_or_else(PoisonError::into_inner).insert(domain.id, Arc::clone(&domain));
        domain
    }

    pub(super) fn forget(&self, id: DomainId) {
        self.domains.write().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }

    pub(super) fn emit(&self, domain: DomainId, kind: EventKind) {
        let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.retain(|l| l.send(Event { domain, kind: kind.clone() }).is_ok());
    }
}

//! What readers get: values published whole, never a lock to wait for.

use crate::model::domain::RunState;
use crate::model::ids::{DomainId, Instance};
use crate::model::tree::Tree;
use std::sync::Arc;

/// What clients may see of a domain at this moment.
#[derive(Debug, Clone)]
pub struct View {
    /// Its identity.
    pub id: DomainId,
    /// Its name.
    pub name: String,
    /// Whether it survives its own stop.
    pub persistent: bool,
    /// Whether the daemon starts it.
    pub autostart: bool,
    /// Whether a managed-save image waits for its start.
    pub saved: bool,
    /// Whether the persistent definition differs from the running one (`Updated`).
    pub updated: bool,
    /// State and reason.
    pub run: RunState,
    /// The running hypervisor: its identity and libvirt's small number.
    pub running: Option<(Instance, i32)>,
    /// The persistent definition as stored.
    pub inactive_xml: Option<Arc<str>>,
    /// The running definition, runtime facts included.
    pub live_xml: Option<Arc<str>>,
    /// Its snapshots.
    pub tree: Arc<Tree>,
}

//! One async function per API call. Reads answer from a published view and never wait.

use crate::error::{Error, Result};
use crate::model::domain::RunState;
use crate::model::event::Event;
use crate::model::flags::XmlFlags;
use crate::model::ids::{DomainId, Instance, SnapshotName};
use crate::model::tree::Tree;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};

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

/// How far the running operation of a domain is.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// `virDomainJobOperation`: 6 create, 7 revert, 10 delete.
    pub operation: i32,
    /// What it does now, in words.
    pub phase: String,
    /// Steps finished.
    pub step: usize,
    /// Steps in all.
    pub steps: usize,
    /// Bytes of the running step, done and in all; 0 while unknown.
    pub bytes: (u64, u64),
    /// Milliseconds since it began.
    pub elapsed_ms: u64,
}

/// One driver's domains and snapshots.
pub struct Service {}

#[allow(clippy::unused_async, missing_docs, unused_variables)]
impl Service {
    /// Ids of the domains that pass libvirt's filter bits (`virConnectListAllDomainsFlags`).
    pub fn list(&self, filter: u32) -> Result<Vec<DomainId>> {
        Ok(Vec::new())
    }
    pub fn lookup_name(&self, name: &str) -> Result<DomainId> {
        Err(Error::internal("stub"))
    }
    pub fn lookup_uuid(&self, uuid: &str) -> Result<DomainId> {
        Err(Error::internal("stub"))
    }
    pub fn lookup_number(&self, number: i32) -> Result<DomainId> {
        Err(Error::internal("stub"))
    }
    /// `VIR_ERR_NO_DOMAIN` if there is none.
    pub fn view(&self, id: DomainId) -> Result<Arc<View>> {
        Err(Error::internal("stub"))
    }
    pub async fn define(&self, xml: &str) -> Result<DomainId> {
        Err(Error::internal("stub"))
    }
    pub async fn create_xml(&self, xml: &str, flags: u32) -> Result<DomainId> {
        Err(Error::internal("stub"))
    }
    pub async fn start(&self, id: DomainId, flags: u32) -> Result<()> {
        Err(Error::internal("stub"))
    }
    pub async fn shutdown(&self, id: DomainId, flags: u32) -> Result<()> {
        Err(Error::internal("stub"))
    }
    pub async fn reboot(&self, id: DomainId, flags: u32) -> Result<()> {
        Err(Error::internal("stub"))
    }
    pub async fn reset(&self, id: DomainId, flags: u32) -> Result<()> {
        Err(Error::internal("stub"))
    }
    pub async fn destroy(&self, id: DomainId, flags: u32) -> Result<()> {
        Err(Error::internal("stub"))
    }
    pub async fn suspend(&self, id: DomainId) -> Result<()> {
        Err(Error::internal("stub"))
    }
    pub async fn resume(&self, id: DomainId) -> Result<()> {
        Err(Error::internal("stub"))
    }
    pub async fn undefine(&self, id: DomainId, flags: u32) -> Result<()> {
        Err(Error::internal("stub"))
    }
    pub async fn set_autostart(&self, id: DomainId, on: bool) -> Result<()> {
        Err(Error::internal("stub"))
    }
    pub fn xml_desc(&self, id: DomainId, flags: XmlFlags) -> Result<String> {
        Err(Error::internal("stub"))
    }
    pub async fn capabilities_xml(&self) -> Result<String> {
        Err(Error::internal("stub"))
    }
    pub async fn domain_capabilities_xml(
        &self,
        emulator: &str,
        arch: &str,
        machine: &str,
        virttype: &str,
        flags: u32,
    ) -> Result<String> {
        Err(Error::internal("stub"))
    }
    pub async fn hypervisor_version(&self) -> Result<u64> {
        Err(Error::internal("stub"))
    }
    pub async fn snapshot_create(&self, id: DomainId, xml: &str, flags: u32) -> Result<SnapshotName> {
        Err(Error::internal("stub"))
    }
    /// `of` = `None`: the domain's list call; else the snapshot's list-children call.
    pub fn snapshot_list(&self, id: DomainId, of: Option<&SnapshotName>, flags: u32) -> Result<Vec<SnapshotName>> {
        Err(Error::internal("stub"))
    }
    pub fn snapshot_lookup(&self, id: DomainId, name: &str, flags: u32) -> Result<SnapshotName> {
        Err(Error::internal("stub"))
    }
    pub fn snapshot_current(&self, id: DomainId, flags: u32) -> Result<SnapshotName> {
        Err(Error::internal("stub"))
    }
    pub fn snapshot_parent(&self, id: DomainId, name: &SnapshotName, flags: u32) -> Result<SnapshotName> {
        Err(Error::internal("stub"))
    }
    pub fn snapshot_is_current(&self, id: DomainId, name: &SnapshotName, flags: u32) -> Result<bool> {
        Err(Error::internal("stub"))
    }
    pub fn snapshot_xml(&self, id: DomainId, name: &SnapshotName, flags: u32) -> Result<String> {
        Err(Error::internal("stub"))
    }
    pub async fn snapshot_revert(&self, id: DomainId, name: &SnapshotName, flags: u32) -> Result<()> {
        Err(Error::internal("stub"))
    }
    pub async fn snapshot_delete(&self, id: DomainId, name: &SnapshotName, flags: u32) -> Result<()> {
        Err(Error::internal("stub"))
    }
    /// The running operation of a domain; `None` when idle.
    pub fn progress(&self, id: DomainId) -> Result<watch::Receiver<Option<Progress>>> {
        Err(Error::internal("stub"))
    }
    /// Everything that happens from now on.
    pub fn events(&self) -> mpsc::UnboundedReceiver<Event> {
        mpsc::unbounded_channel().1
    }
}

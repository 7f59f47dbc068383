//! `org.libvirt.DomainSnapshot`.

use super::{Bus, CallError};
use crate::error::Code;
use crate::model::path::parse_snapshot_leaf;
use zbus::OwnedObjectPath;

const SNAPSHOT: &str = "org.libvirt.DomainSnapshot";

/// One snapshot of the service.
#[derive(Debug)]
pub struct Snapshot<'b> {
    bus: &'b Bus,
    path: OwnedObjectPath,
    /// Its name: the API has no call for it, the path carries it.
    pub name: String,
}

impl<'b> Snapshot<'b> {
    pub(super) fn new(bus: &'b Bus, path: OwnedObjectPath) -> Result<Self, CallError> {
        let leaf = path.as_str().rsplit('/').next().unwrap_or_default();
        match parse_snapshot_leaf(leaf) {
            Some((_, name)) => Ok(Self { bus, name: name.0, path }),
            None => Err(CallError::Transport(format!("{} is no snapshot's path", path.as_str()))),
        }
    }

    async fn call<R: serde::de::DeserializeOwned + zbus::Type>(
        &self,
        member: &str,
        flags: u32,
    ) -> Result<R, CallError> {
        self.bus.call(self.path.as_str(), SNAPSHOT, member, &flags).await
    }

    /// Its document.
    pub async fn xml(&self, flags: u32) -> Result<String, CallError> {
        self.call("GetXMLDesc", flags).await
    }
    /// Whether it is the current one.
    pub async fn is_current(&self) -> Result<bool, CallError> {
        self.call("IsCurrent", 0).await
    }
    /// Its parent; a root has none.
    pub async fn parent(&self) -> Result<Option<Self>, CallError> {
        match self.call("GetParent", 0).await {
            Ok(path) => Self::new(self.bus, path).map(Some),
            Err(cause) if cause.is(Code::NoDomainSnapshot) => Ok(None),
            Err(cause) => Err(cause),
        }
    }
    /// Those below it that pass `virDomainSnapshotListFlags`.
    pub async fn children(&self, flags: u32) -> Result<Vec<Self>, CallError> {
        let paths: Vec<OwnedObjectPath> = self.call("ListChildren", flags).await?;
        paths.into_iter().map(|path| Self::new(self.bus, path)).collect()
    }
    /// Makes the domain what it was.
    pub async fn revert(&self, flags: u32) -> Result<(), CallError> {
        self.call("Revert", flags).await
    }
    /// Removes it.
    pub async fn delete(&self, flags: u32) -> Result<(), CallError> {
        self.call("Delete", flags).await
    }
}

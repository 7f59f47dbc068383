//! What a snapshot is called, and what is said of it.

use super::service::Service;
use crate::error::Result;
use crate::model::ids::{DomainId, SnapshotName};
use crate::plan::describe;

impl Service {
    /// Call a snapshot by another name. It keeps its place in the tree, its content, its files and its tags.
    pub async fn snapshot_rename(&self, id: DomainId, from: &SnapshotName, to: &SnapshotName) -> Result<()> {
        let domain = self.inner.domain(id)?;
        let _slot = domain.slot("snapshot rename").await?;
        self.inner.finish_open_ops(&domain).await?;
        let change = describe::rename(&domain.state().tree, from, to)?;
        self.inner.apply(&domain, &change).await
    }

    /// Describe a snapshot anew; an empty text removes the description.
    pub async fn snapshot_describe(&self, id: DomainId, name: &SnapshotName, text: &str) -> Result<()> {
        let domain = self.inner.domain(id)?;
        let _slot = domain.slot("snapshot description").await?;
        self.inner.finish_open_ops(&domain).await?;
        let change = describe::describe(&domain.state().tree, name, text)?;
        self.inner.apply(&domain, &change).await
    }
}

//! Another name for a domain: its snapshots go with it, in one transaction.

use super::service::Service;
use crate::error::{Code, Error, Result};
use crate::model::event::{EventKind, Lifecycle};
use crate::model::flags;
use crate::model::ids::{DomainId, SnapshotName};
use crate::plan::rename::{self, RenameRequest};

impl Service {
    /// `virDomainRename`.
    pub async fn rename(&self, id: DomainId, name: &str, flags: u32) -> Result<()> {
        if name.is_empty() {
            return Err(Error::new(Code::InvalidArg, "string new_name in virDomainRename must not be empty"));
        }
        flags::none(flags, "qemuDomainRename")?;
        let domain = self.inner.domain(id)?;
        let _slot = domain.slot("rename").await?;
        self.inner.finish_open_ops(&domain).await?;
        let state = domain.state();
        let texts = |name: &SnapshotName| self.inner.store.texts(id, name);
        let request = RenameRequest {
            old: &state.row.name,
            new: name,
            state: state.run.state,
            inactive_xml: state.inactive_xml(),
            saved: state.row.saved.is_some(),
            taken: self.inner.find_name(name).is_some_and(|other| other.id != id),
            tree: &state.tree,
            texts: &texts,
        };
        let change = rename::plan(&request)?;
        self.inner.apply(&domain, &change).await?;
        self.inner.emit(id, EventKind::Lifecycle(Lifecycle::UndefinedRenamed));
        self.inner.emit(id, EventKind::Lifecycle(Lifecycle::DefinedRenamed));
        Ok(())
    }
}

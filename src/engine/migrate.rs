//! Migration to another machine, which this service does not do: it says why.

use super::service::Service;
use crate::error::{Code, Error, Result};
use crate::model::ids::DomainId;

impl Service {
    /// `virDomainMigrateToURI3`. While there are snapshots, libvirt's own answer, because clients act on it: they dump the
    /// tree, forget it here and redefine it there (`qemuMigrationSrcIsAllowed`). Without them: not supported.
    pub fn migrate(&self, id: DomainId) -> Result<()> {
        match self.view(id)?.tree.len() {
            0 => Err(Error::new(Code::NoSupport, "virDomainMigrateToURI3")),
            n => Err(Error::invalid(format!("cannot migrate domain with {n} snapshots"))),
        }
    }
}

//! Whether what a domain's snapshots need is there.

use super::foresee::Outlook;
use super::service::Service;
use crate::error::Result;
use crate::model::ids::DomainId;
use crate::plan::verify::{self, Row};

impl Service {
    /// Every file, tag and backing link that the domain and its snapshots need, and how it is. Files are only read, also those
    /// of a running domain. Nothing is said of a domain with an operation at work before that has ended.
    pub async fn verify(&self, id: DomainId) -> Result<Vec<Row>> {
        let domain = self.inner.domain(id)?;
        let _slot = domain.slot("snapshot verify").await?;
        let outlook = Outlook::now(&domain);
        let surroundings = self.inner.surroundings(&outlook)?;
        let foreign = surroundings.foreign();
        let graph = surroundings.graph(&outlook.state, &foreign);
        let facts = self.inner.host.look(&verify::paths(&graph)).await?;
        Ok(verify::verify(&graph, &facts))
    }
}

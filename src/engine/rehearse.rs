//! Operations planned and not run, and operations of several parts that are planned whole before the first part runs.

use super::domain::Domain;
use super::foresee::Outlook;
use super::service::{Inner, Service};
use crate::error::{Error, Result};
use crate::model::flags::{CreateFlags, DeleteFlags, RevertFlags};
use crate::model::ids::{DomainId, SnapshotName};
use crate::plan::create;
use crate::plan::delete;
use crate::plan::revert;
use crate::plan::words::recorded;

impl Service {
    /// What `snapshot_create` with these arguments would do, a line per step; or its refusal.
    pub async fn rehearse_create(&self, id: DomainId, xml: &str, flags: u32) -> Result<Vec<String>> {
        let flags = create::check_flags(flags)?;
        let domain = self.inner.domain(id)?;
        let _slot = domain.slot("snapshot plan").await?;
        self.inner.refuse_open_ops(&domain)?;
        let now = Outlook::now(&domain);
        if flags.contains(CreateFlags::REDEFINE) {
            let (_, change) = self.inner.plan_redefine(&now, xml, flags).await?;
            return Ok(vec![format!("commit: {}", recorded(&change))]);
        }
        Ok(self.inner.plan_create(&now, xml, flags).await?.plan.lines().collect())
    }

    /// What `snapshot_revert_then` would do, or its refusal.
    pub async fn rehearse_revert(
        &self,
        id: DomainId,
        name: &SnapshotName,
        flags: u32,
        then: Option<DeleteFlags>,
    ) -> Result<Vec<String>> {
        let flags = revert::check_flags(flags)?;
        let domain = self.inner.domain(id)?;
        let _slot = domain.slot("snapshot plan").await?;
        self.inner.refuse_open_ops(&domain)?;
        let plan = self.inner.plan_revert(&Outlook::now(&domain), name, flags).await?;
        let mut outlook = Outlook::now(&domain).after(plan);
        if let Some(then) = then {
            outlook = self.inner.plan_deletes(outlook, name, then).await?;
        }
        Ok(outlook.into_plans().iter().flat_map(|p| p.lines().collect::<Vec<_>>()).collect())
    }

    /// What `snapshot_delete` would do, or its refusal.
    pub async fn rehearse_delete(&self, id: DomainId, name: &SnapshotName, flags: u32) -> Result<Vec<String>> {
        let flags = delete::check_flags(flags)?;
        let domain = self.inner.domain(id)?;
        let _slot = domain.slot("snapshot plan").await?;
        self.inner.refuse_open_ops(&domain)?;
        let now = Outlook::now(&domain);
        super::snapshots::existing(&now.state.tree, name)?;
        if flags.contains(DeleteFlags::METADATA_ONLY) {
            let mut tree = (*now.state.tree).clone();
            let mut lines = Vec::new();
            for one in delete::order(&tree, name, flags) {
                let change = delete::forget(&tree, &one);
                lines.push(format!("commit: {}", recorded(&change)));
                tree = tree.changed(change.put.into_iter().map(|p| p.snapshot).collect(), &change.remove, None);
            }
            return Ok(lines);
        }
        let outlook = self.inner.plan_deletes(now, name, flags).await?;
        Ok(outlook.into_plans().iter().flat_map(|p| p.lines().collect::<Vec<_>>()).collect())
    }

    /// Revert, and then delete the snapshot (`then` empty), all below it (CHILDREN_ONLY) or both (CHILDREN), as the
    /// snapshot plan of 2011 meant `discard` and `delete-children`. What cannot be deleted then is refused before anything is done.
    ///
    /// The revert and each deletion are operations of their own: what is cut off, by a crash or a cancel, leaves the domain
    /// reverted and every snapshot either whole or gone, in the order in which they go (children first).
    pub async fn snapshot_revert_then(
        &self,
        id: DomainId,
        name: &SnapshotName,
        flags: u32,
        then: DeleteFlags,
    ) -> Result<()> {
        let flags: RevertFlags = revert::check_flags(flags)?;
        let domain = self.inner.domain(id)?;
        let _slot = domain.slot("snapshot revert").await?;
        self.inner.finish_open_ops(&domain).await?;
        let plan = self.inner.plan_revert(&Outlook::now(&domain), name, flags).await?;
        self.inner.plan_deletes(Outlook::now(&domain).after(plan.clone()), name, then).await?;
        let mut done = self.inner.run(&domain, plan).await;
        for one in delete::order(&domain.state().tree, name, then) {
            if done.is_err() {
                break;
            }
            done = match self.inner.plan_delete(&Outlook::now(&domain), &one).await {
                Ok(plan) => self.inner.run(&domain, plan).await,
                Err(error) => Err(error),
            };
        }
        self.inner.reap_transient(&domain);
        done
    }
}

impl Inner {
    /// A rehearsal changes nothing, so it does not end what is open either.
    fn refuse_open_ops(&self, domain: &Domain) -> Result<()> {
        match self.store.open_ops()?.into_iter().find(|r| r.plan.domain == domain.id) {
            None => Ok(()),
            Some(row) => Err(Error::invalid(format!(
                "an operation on snapshot '{}' is not finished; the next one on the domain goes on with it first",
                row.plan.snapshot
            ))),
        }
    }

    /// The deletions that a call consists of, each planned as the domain is after those before it.
    async fn plan_deletes(&self, mut outlook: Outlook, name: &SnapshotName, flags: DeleteFlags) -> Result<Outlook> {
        for one in delete::order(&outlook.state.tree, name, flags) {
            let plan = self.plan_delete(&outlook, &one).await?;
            outlook = outlook.after(plan);
        }
        Ok(outlook)
    }
}

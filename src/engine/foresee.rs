//! A domain as it is, or as it will be after plans that were not run: what a call of several operations is planned against
//! before the first of them touches anything.

use super::domain::{Domain, State};
use super::service::Inner;
use crate::error::Result;
use crate::model::domain::{RunState, reason};
use crate::model::ids::SnapshotName;
use crate::model::snapshot::SnapshotTexts;
use crate::plan::facts::Facts;
use crate::plan::foresee::foresee;
use crate::plan::steps::{Change, Commit, LiveChange, Plan, Settle};
use crate::store::LiveRow;
use camino::Utf8PathBuf;
use std::collections::{BTreeSet, HashMap};

/// See the module.
pub(super) struct Outlook {
    pub(super) state: State,
    /// The plans that lie between now and then.
    plans: Vec<Plan>,
    /// Texts that the plans change.
    texts: HashMap<SnapshotName, SnapshotTexts>,
}

impl Outlook {
    /// As it is.
    pub(super) fn now(domain: &Domain) -> Self {
        Self { state: domain.state(), plans: Vec::new(), texts: HashMap::new() }
    }

    /// Whether nothing lies between now and then.
    pub(super) fn is_now(&self) -> bool {
        self.plans.is_empty()
    }

    /// As it is after `plan` too.
    pub(super) fn after(mut self, plan: Plan) -> Self {
        if let Commit::Publish(change) = &plan.commit {
            self.publish(change);
        }
        for step in &plan.settle {
            match step {
                Settle::Publish(change) => self.publish(change),
                Settle::Stop { .. } => self.state.run = RunState::off(reason::SHUTOFF_FROM_SNAPSHOT),
                Settle::Start(_) | Settle::Reload(_) => self.state.run = RunState::paused(reason::PAUSED_FROM_SNAPSHOT),
                Settle::Resume { .. } if self.state.is_active() => {
                    self.state.run = RunState::running(reason::RUNNING_FROM_SNAPSHOT);
                }
                _ => {}
            }
        }
        self.plans.push(plan);
        self
    }

    /// The plans, in their order.
    pub(super) fn into_plans(self) -> Vec<Plan> {
        self.plans
    }

    fn publish(&mut self, change: &Change) {
        let live = match &change.live {
            // Its number is no matter to a plan.
            LiveChange::Set { instance, xml } => Some(LiveRow { instance: *instance, number: 0, xml: xml.clone() }),
            _ => None,
        };
        self.state.apply(change, live);
        for put in &change.put {
            if let Some(texts) = &put.texts {
                self.texts.insert(put.snapshot.name.clone(), texts.clone());
            }
        }
    }

    /// Every change that the plans publish.
    fn changes(&self) -> impl Iterator<Item = &Change> {
        self.plans.iter().flat_map(|plan| {
            let commit = match &plan.commit {
                Commit::Publish(change) => Some(change),
                Commit::Switch { .. } => None,
            };
            let settle = plan.settle.iter().filter_map(|step| match step {
                Settle::Publish(change) => Some(change),
                _ => None,
            });
            commit.into_iter().chain(settle).map(AsRef::as_ref)
        })
    }
}

impl Inner {
    /// The texts of a snapshot.
    pub(super) fn texts_of(&self, outlook: &Outlook, name: &SnapshotName) -> Result<SnapshotTexts> {
        match outlook.texts.get(name) {
            Some(texts) => Ok(texts.clone()),
            None => self.store.texts(outlook.state.row.id, name),
        }
    }

    /// The files that virsnap made for the domain.
    pub(super) fn owned_by(&self, outlook: &Outlook) -> Result<BTreeSet<Utf8PathBuf>> {
        let mut owned = self.store.owned(outlook.state.row.id)?;
        for (path, ours) in outlook.changes().flat_map(|c| &c.owned) {
            if *ours {
                owned.insert(path.clone())
            } else {
                owned.remove(path)
            };
        }
        Ok(owned)
    }

    /// What is at these paths.
    pub(super) async fn look_at(&self, outlook: &Outlook, paths: &[Utf8PathBuf]) -> Result<Facts> {
        Ok(foreseen(outlook, self.host.look(paths).await?))
    }

    /// What is at these paths, and what lies on other images in their directories.
    pub(super) async fn look_beside(&self, outlook: &Outlook, paths: &[Utf8PathBuf]) -> Result<Facts> {
        let mut facts = self.host.overlays_beside(paths).await?;
        facts.files.extend(self.host.look(paths).await?.files);
        Ok(foreseen(outlook, facts))
    }
}

fn foreseen(outlook: &Outlook, mut facts: Facts) -> Facts {
    outlook.plans.iter().for_each(|plan| foresee(plan, &mut facts));
    facts
}

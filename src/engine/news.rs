//! What clients are told when snapshots change: after the store has it and readers see it.
//!
//! A client that was there when the daemon ended and began again hears what recovery publishes, but not what the old daemon had
//! published and not told: it reads again when the bus name changes its owner.

use super::domain::Domain;
use super::service::Inner;
use crate::model::event::{EventKind, Lifecycle, SnapshotNews};
use crate::model::ids::DomainId;
use crate::model::tree::Tree;
use crate::plan::steps::Change;
use std::sync::Arc;

impl Inner {
    /// Tell what `change` has made of `before`, and that it has defined the domain.
    pub(super) fn tell(&self, domain: &Arc<Domain>, before: &Tree, change: &Change) {
        for news in news(before, &domain.view().tree, change) {
            self.emit(domain.id, EventKind::Snapshot(news));
        }
        if change.defines {
            self.emit(domain.id, EventKind::Lifecycle(Lifecycle::DefinedAdded));
        }
    }

    /// Tell that the snapshots have gone with their domain, children first.
    pub(super) fn tell_gone(&self, id: DomainId, tree: &Tree) {
        for name in tree.descendants(None).into_iter().rev() {
            self.emit(id, EventKind::Snapshot(SnapshotNews::Removed(name)));
        }
    }
}

fn news(before: &Tree, after: &Tree, change: &Change) -> Vec<SnapshotNews> {
    let mut out = Vec::new();
    let renamed = change.rename.as_ref().filter(|r| before.get(&r.from).is_some());
    if let Some(rename) = renamed {
        out.push(SnapshotNews::Renamed { from: rename.from.clone(), to: rename.to.clone() });
    }
    for put in &change.put {
        let name = &put.snapshot.name;
        match before.get(name) {
            None if renamed.is_some_and(|r| r.to == *name) => {}
            None => out.push(SnapshotNews::Added(name.clone())),
            Some(old) if **old != put.snapshot || put.texts.is_some() => out.push(SnapshotNews::Changed(name.clone())),
            Some(_) => {}
        }
    }
    let gone = change.remove.iter().filter(|name| before.get(name).is_some());
    out.extend(gone.cloned().map(SnapshotNews::Removed));
    let was = before.current().map(|c| renamed.filter(|r| r.from == *c).map_or(c, |r| &r.to));
    if was != after.current() {
        out.push(SnapshotNews::Current(after.current().cloned()));
    }
    out
}

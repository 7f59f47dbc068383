//! The records of a domain's snapshots in its directory, kept up to date and read: ours are written, others' judged.
//!
//! Best effort: the store is the truth, and a record that could not be written is written at the next start.
//! Must not know: how a record looks ([`record`]), what makes one usable ([`foreign`]).

use super::foreign::{self, Chain, Foreign, Owner};
use super::record::{self, Outcome};
use crate::error::Result;
use crate::host::{ForeignRecord, images};
use crate::model::ids::{DomainId, Image, SnapshotName};
use crate::model::snapshot::Snapshot;
use crate::model::tree::Tree;
use crate::xml::domain;
use std::collections::BTreeSet;

/// Bring the records of these snapshots up to date.
pub(super) async fn update(domain: DomainId, tree: &Tree, changed: &[SnapshotName]) {
    let work: Vec<(SnapshotName, Option<Snapshot>)> =
        changed.iter().map(|n| (n.clone(), tree.get(n).map(|s| (**s).clone()))).collect();
    let done = images::blocking(move || {
        let directory = record::directory(domain);
        for (name, snapshot) in work {
            let done = match snapshot {
                Some(snapshot) => record::write(&directory, domain, &record::of(&snapshot)),
                None => record::remove(&directory, domain, &name).map(|()| Outcome::Written),
            };
            match done {
                Ok(Outcome::Written) => {}
                Ok(Outcome::Foreign) => tracing::warn!(snapshot = %name, "somebody else's record of that name stays"),
                Err(error) => tracing::warn!(snapshot = %name, %error, "the snapshot's record"),
            }
        }
        Ok(())
    });
    if let Err(error) = done.await {
        tracing::warn!(%error, "records of snapshots");
    }
}

/// Write those that are missing, remove ours of snapshots that are gone. A domain without any snapshot is not known well
/// enough for that: its records may be all that is left of another daemon's.
pub(super) async fn reconcile(domain: DomainId, tree: &Tree) {
    if tree.is_empty() {
        return;
    }
    let names: BTreeSet<SnapshotName> = tree.iter().map(|s| s.name.clone()).collect();
    let all = names.clone();
    let differing = images::blocking(move || {
        let directory = record::directory(domain);
        let missing = |n: &&SnapshotName| record::file_name(n).is_ok_and(|f| !directory.join(f).exists());
        let mut differing: Vec<SnapshotName> = all.iter().filter(missing).cloned().collect();
        differing.extend(record::stale(&directory, domain, &all)?);
        Ok(differing)
    });
    match differing.await {
        Ok(differing) => update(domain, tree, &differing).await,
        Err(error) => tracing::warn!(%error, "records of snapshots"),
    }
}

/// Records that somebody else has left: documents that may be taken in, and those that may not.
pub(super) async fn others(domain: DomainId, tree: &Tree, xml: &str) -> Result<(Vec<String>, Vec<ForeignRecord>)> {
    let directory = record::directory(domain);
    if !directory.exists() {
        return Ok((Vec::new(), Vec::new()));
    }
    let disks: Vec<(crate::model::ids::DiskTarget, Image)> =
        domain::frozen_disks(xml)?.into_iter().filter_map(|d| Some((d.target, d.image?))).collect();
    let paths: Vec<_> = disks.iter().map(|(_, i)| i.path.clone()).collect();
    let facts = images::look(&paths).await?;
    let chain = |top: &Image| {
        let mut images = vec![top.clone()];
        while let Some(header) = images.last().and_then(|i| facts.header(&i.path))
            && let Some(path) = header.backing.clone()
            && !images.iter().any(|i| i.path == path)
        {
            let format = header.backing_format.clone().or_else(|| facts.header(&path).map(|h| h.format.clone()));
            images.push(Image { path, format: format.unwrap_or_else(|| "raw".to_owned()) });
        }
        images
    };
    let chains: Vec<Chain> =
        disks.iter().map(|(target, top)| Chain { target: target.clone(), images: chain(top) }).collect();
    let snapshots: BTreeSet<SnapshotName> = tree.iter().map(|s| s.name.clone()).collect();
    let xml = xml.to_owned();
    images::blocking(move || {
        let owner = Owner { id: domain, xml: &xml, chains: &chains, snapshots: &snapshots };
        let (mut usable, mut refused) = (Vec::new(), Vec::new());
        for found in foreign::foreign(&directory, &owner)? {
            match found {
                Foreign::Usable { document, .. } => usable.push(document),
                Foreign::Refused { name, file, reason } => {
                    refused.push(ForeignRecord { name, file, reason: reason.to_string() });
                }
            }
        }
        Ok((usable, refused))
    })
    .await
}

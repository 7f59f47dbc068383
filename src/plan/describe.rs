//! Changes of what a snapshot is called and what is said of it: metadata only, one transaction, no image is touched.
//!
//! Tags keep their name: neither QEMU nor qemu-img can rename one, and a copy of gigabytes is no rename. The record remembers
//! what its tag is called ([`Snapshot::tag`]), and so does its XML, so that it can be moved. Files keep their names as well: others
//! may lie on them, and a running hypervisor has them open.

use super::create::check_name;
use super::refusal::Refusal;
use super::steps::{Change, CurrentChange, PutSnapshot, Rename};
use crate::error::{Code, Error, Result};
use crate::model::ids::SnapshotName;
use crate::model::snapshot::Snapshot;
use crate::model::tree::Tree;

/// The longest description in bytes: it is part of every listing that reads the XML.
pub const MAX_DESCRIPTION: usize = 64 << 10;

fn invalid_arg(message: impl Into<String>) -> Error {
    Error::new(Code::InvalidArg, message)
}

fn of<'t>(tree: &'t Tree, name: &SnapshotName) -> Result<&'t Snapshot, Refusal> {
    tree.get(name).map(AsRef::as_ref).ok_or_else(|| Refusal::NoSnapshot(name.0.clone()))
}

/// Call `from` `to`. Its children and the current mark follow.
pub fn rename(tree: &Tree, from: &SnapshotName, to: &SnapshotName) -> Result<Change> {
    let snapshot = of(tree, from)?;
    if to.0.is_empty() {
        return Err(invalid_arg("the new name of a snapshot must not be empty"));
    }
    check_name(to.as_str())?;
    if tree.get(to).is_some() {
        return Err(Refusal::Exists(to.0.clone()).into());
    }
    let mut renamed = Snapshot { name: to.clone(), ..snapshot.clone() };
    if renamed.internal_disks().next().is_some() {
        renamed.tag = Some(snapshot.tag().to_owned()).filter(|tag| *tag != to.0);
    }
    let mut put = vec![renamed];
    for child in tree.iter() {
        // A parent of the new name that never existed must not come to life.
        let parent = match &child.parent {
            Some(parent) if parent == from => Some(to.clone()),
            Some(parent) if parent == to => None,
            _ => continue,
        };
        if child.name == *from {
            put[0].parent = parent;
        } else {
            put.push(Snapshot { parent, ..(**child).clone() });
        }
    }
    put[1..].sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Change {
        rename: Some(Rename { from: from.clone(), to: to.clone() }),
        put: put.into_iter().map(|snapshot| PutSnapshot { snapshot, texts: None }).collect(),
        current: (tree.current() == Some(from)).then(|| CurrentChange::Set(to.clone())),
        ..Change::default()
    })
}

/// Say something else of a snapshot; nothing, if the text is empty.
pub fn describe(tree: &Tree, name: &SnapshotName, text: &str) -> Result<Change> {
    let snapshot = of(tree, name)?;
    if text.len() > MAX_DESCRIPTION {
        let length = text.len();
        return Err(invalid_arg(format!("the description of {length} bytes is longer than {MAX_DESCRIPTION} bytes")));
    }
    // XML has no other control characters, and the snapshot's document must stay one.
    if let Some(bad) = text.chars().find(|c| c.is_control() && !matches!(c, '\t' | '\n' | '\r')) {
        return Err(invalid_arg(format!("the description has the control character U+{:04X}", u32::from(bad))));
    }
    let described = Snapshot { description: Some(text.to_owned()).filter(|t| !t.is_empty()), ..snapshot.clone() };
    Ok(Change { put: vec![PutSnapshot { snapshot: described, texts: None }], ..Change::default() })
}

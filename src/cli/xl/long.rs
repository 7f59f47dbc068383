//! `xl snapshot-list --long`: each snapshot as its record, read from its document, and what virsnap knows beyond it.

use super::super::document::{child, text};
use crate::model::record::{Record, RecordDisk, RecordState};
use crate::model::snapshot::SnapshotState;
use roxmltree::{Document, Node};
use serde::Serialize;

/// One element of the array that is printed.
#[derive(Debug, Clone, Serialize)]
pub struct Entry {
    /// The domain's name.
    pub domain: String,
    /// The domain's UUID.
    pub uuid: String,
    /// What is known.
    #[serde(flatten)]
    pub what: What,
}

/// A snapshot, or a record that is not ours.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub enum What {
    /// A snapshot.
    Snapshot {
        /// Its record.
        #[serde(flatten)]
        record: Record,
        /// Its parent's name.
        #[serde(skip_serializing_if = "Option::is_none")]
        parent: Option<String>,
        /// Whether it is the current one.
        current: bool,
    },
    /// A record that was left alone.
    Foreign {
        /// The name in it, or of its file.
        name: String,
        /// Where and why.
        foreign: Foreign,
    },
}

/// Where a foreign record is, and why it was left alone.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs)]
pub struct Foreign {
    pub file: String,
    pub reason: String,
}

/// The array, as text.
#[must_use]
pub fn array(entries: &[Entry]) -> String {
    serde_json::to_string_pretty(entries).unwrap_or_default() + "\n"
}

/// The record that a snapshot's document describes, and its parent; `None` if it is no such document.
#[must_use]
pub fn record(xml: &str) -> Option<(Record, Option<String>)> {
    let document = Document::parse(xml).ok()?;
    let root = document.root_element();
    let name = child(root, "name").and_then(text)?;
    let state = SnapshotState::parse(&child(root, "state").and_then(text)?)?;
    let memory = child(root, "memory").filter(|m| m.attribute("snapshot") == Some("external"));
    let listed = child(root, "disks").map(|d| d.children().filter(|n| n.has_tag_name("disk")).collect::<Vec<_>>());
    let record = Record {
        description: child(root, "description").and_then(text),
        creation_time: child(root, "creationTime").and_then(text).and_then(|t| t.trim().parse().ok()).unwrap_or(0),
        save: memory.and_then(|m| m.attribute("file")).map(Into::into),
        state: RecordState::of(state),
        disks: listed.into_iter().flatten().filter_map(|d| disk(root, d, &name)).collect(),
        name,
    };
    Some((record, child(root, "parent").and_then(|p| child(p, "name")).and_then(text)))
}

fn disk(root: Node<'_, '_>, disk: Node<'_, '_>, snapshot: &str) -> Option<RecordDisk> {
    let device = disk.attribute("name")?.to_owned();
    let format = |of: Node<'_, '_>| child(of, "driver").and_then(|d| d.attribute("type")).map(str::to_owned);
    match disk.attribute("snapshot")? {
        "internal" => Some(RecordDisk {
            format: own(root, &device).and_then(format),
            name: Some(snapshot.to_owned()),
            file: None,
            device,
        }),
        "external" => {
            let source = child(disk, "source");
            let file = source.and_then(|s| s.attribute("file").or(s.attribute("dev"))).map(Into::into);
            Some(RecordDisk { device, name: None, file, format: format(disk) })
        }
        _ => None,
    }
}

/// The domain's own disk of that target.
fn own<'a, 'i>(root: Node<'a, 'i>, target: &str) -> Option<Node<'a, 'i>> {
    let devices = child(child(root, "domain")?, "devices")?;
    devices.children().find(|n| child(*n, "target").and_then(|t| t.attribute("dev")) == Some(target))
}

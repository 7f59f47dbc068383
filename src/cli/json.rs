//! What `--json` prints: for programs, one document per command. Keys are never renamed or removed; new ones may come.

use super::document::Facts;
use super::failure::Failure;
use serde::Serialize;

/// One domain of `list`.
#[derive(Debug, Serialize)]
pub struct Domain {
    /// Its number while it runs.
    pub id: Option<u32>,
    /// Its name.
    pub name: String,
    /// Its UUID.
    pub uuid: String,
    /// In the words of `domstate`.
    pub state: &'static str,
    /// Its title; none where it has none.
    pub title: Option<String>,
}

/// `domstate`.
#[derive(Debug, Serialize)]
#[allow(missing_docs)]
pub struct State {
    pub state: &'static str,
    pub reason: &'static str,
}

/// `dominfo`.
#[derive(Debug, Serialize)]
pub struct Info {
    /// What `list` says of it.
    #[serde(flatten)]
    pub domain: Domain,
    /// Its kind of guest: `hvm`, `xen`, …
    pub os_type: String,
    /// Its processors.
    pub cpus: u64,
    /// In KiB, as much as it may have.
    pub max_memory_kib: Option<u64>,
    /// In KiB, as much as it has.
    pub used_memory_kib: Option<u64>,
    /// Whether it is still there when it does not run.
    pub persistent: bool,
    /// Whether it starts with the host.
    pub autostart: bool,
    /// Whether its state is saved for its next start; unknown where the service has no such thing.
    pub managed_save: Option<bool>,
}

/// A snapshot: an element of `snapshot-list`, and `snapshot-current` and `snapshot-parent`.
#[derive(Debug, Serialize)]
pub struct Snapshot {
    /// Its name.
    pub name: String,
    /// Its parent's name; none of a root.
    pub parent: Option<String>,
    /// Whether it is the current one.
    pub current: bool,
    /// `running`, `paused`, `shutoff`, `disk-snapshot`, …
    pub state: String,
    /// `internal` or `external`.
    pub location: &'static str,
    /// Seconds since the Epoch.
    pub creation_time: Option<i64>,
    /// Free text of whom took it.
    pub description: Option<String>,
}

impl Snapshot {
    /// What its document says, and whether it is the current one.
    #[must_use]
    pub fn new(name: String, facts: Facts, current: bool) -> Self {
        let Facts { state, parent, created, description, location } = facts;
        Self { name, parent, current, state, location, creation_time: created, description }
    }
}

/// `snapshot-info`.
#[derive(Debug, Serialize)]
pub struct SnapshotInfo {
    /// What `snapshot-list` says of it.
    #[serde(flatten)]
    pub snapshot: Snapshot,
    /// Its domain's name.
    pub domain: String,
    /// How many hang on it.
    pub children: usize,
    /// How many hang on it and on those.
    pub descendants: usize,
    /// Whether it is remembered; always.
    pub metadata: bool,
}

/// The document, and the end of a line.
pub fn text(value: &impl Serialize) -> Result<String, Failure> {
    match serde_json::to_string_pretty(value) {
        Ok(text) => Ok(text + "\n"),
        Err(cause) => Err(Failure::new(format!("cannot write JSON: {cause}"))),
    }
}

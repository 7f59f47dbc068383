//! A snapshot's record: what the proposals for xl on xen-devel keep of each, as JSON in libxl's manner.
//!
//! ```text
//!   { "name", "description", "creation_time",     seconds since the Epoch
//!     "save",                                     the memory's file; absent: no memory was saved
//!     "state": { "running", "blocked", "paused", "shutdown", "dying" },      as in libxl_dominfo
//!     "disks": [ { "device", "name", "file", "format" } ] }
//! ```
//!
//! A disk with a `file` lies in that overlay since; one without has a tag `name` in its image. A domain in none of the states
//! was off; one that ran and has no `save` was snapshotted without its memory.

use super::ids::DomainId;
use super::snapshot::{Location, Memory, Snapshot, SnapshotState};
use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};

/// Where the records of all domains are, a directory for each.
pub const ROOT: &str = "/var/lib/xen/snapshots";

/// The directory of one domain: its records, and what a snapshot configuration names by a relative path.
#[must_use]
pub fn directory(domain: DomainId) -> Utf8PathBuf {
    Utf8Path::new(ROOT).join(domain.to_string())
}

/// The record of one snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Record {
    /// Its name.
    pub name: String,
    /// Free text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Seconds since the Epoch.
    #[serde(default)]
    pub creation_time: i64,
    /// The memory's file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub save: Option<Utf8PathBuf>,
    /// What the domain did.
    #[serde(default)]
    pub state: RecordState,
    /// The disks that were snapshotted.
    #[serde(default)]
    pub disks: Vec<RecordDisk>,
}

/// `libxl_dominfo`'s states.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct RecordState {
    #[serde(default)]
    pub running: bool,
    #[serde(default)]
    pub blocked: bool,
    #[serde(default)]
    pub paused: bool,
    #[serde(default)]
    pub shutdown: bool,
    #[serde(default)]
    pub dying: bool,
}

/// One disk of a record.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RecordDisk {
    /// Its name in the guest.
    pub device: String,
    /// The tag in its image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The overlay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<Utf8PathBuf>,
    /// The format of the overlay, or of the image with the tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
}

impl RecordState {
    /// The state of a snapshot. Of one without memory it is known only that the guest was up.
    #[must_use]
    pub fn of(state: SnapshotState) -> Self {
        let none = Self::default();
        match state {
            SnapshotState::Running | SnapshotState::DiskSnapshot => Self { running: true, ..none },
            SnapshotState::Blocked => Self { blocked: true, ..none },
            SnapshotState::Paused | SnapshotState::Pmsuspended => Self { paused: true, ..none },
            SnapshotState::Shutdown | SnapshotState::Crashed => Self { shutdown: true, ..none },
            SnapshotState::Nostate | SnapshotState::Shutoff => none,
        }
    }

    /// The state that a record with or without saved memory means; `None` if it contradicts itself.
    #[must_use]
    pub fn meant(self, save: Option<&Utf8Path>) -> Option<SnapshotState> {
        let up = self.running || self.blocked || self.paused;
        match save {
            _ if self.dying => None,
            Some(_) if self.paused => Some(SnapshotState::Paused),
            Some(_) if up => Some(SnapshotState::Running),
            Some(_) => None,
            None if up => Some(SnapshotState::DiskSnapshot),
            None => Some(SnapshotState::Shutoff),
        }
    }
}

impl Record {
    /// The record of `snapshot`.
    #[must_use]
    pub fn of(snapshot: &Snapshot) -> Self {
        let disk = |disk: &super::snapshot::SnapshotDisk| {
            let device = disk.name.clone();
            let image = snapshot.frozen_image(&disk.name);
            match disk.location? {
                Location::Internal => Some(RecordDisk {
                    device,
                    name: Some(snapshot.tag().to_owned()),
                    file: None,
                    format: image.map(|i| i.format.clone()),
                }),
                Location::External => {
                    Some(RecordDisk { device, name: None, file: disk.source.clone(), format: disk.format.clone() })
                }
                Location::No | Location::Manual => None,
            }
        };
        Self {
            name: snapshot.name.0.clone(),
            description: snapshot.description.clone(),
            creation_time: snapshot.creation_time,
            save: match &snapshot.memory {
                Memory::External(path) => Some(path.clone()),
                Memory::Default | Memory::No | Memory::Internal => None,
            },
            state: RecordState::of(snapshot.state),
            disks: snapshot.disks.iter().filter_map(disk).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ids::{DiskTarget, Image};
    use crate::model::snapshot::{FrozenDisk, SnapshotDisk};

    #[test]
    fn a_record_has_the_fields_of_the_proposal() {
        let disk = |name: &str, location| SnapshotDisk { location: Some(location), ..SnapshotDisk::named(name) };
        let mut external = disk("xvda", Location::External);
        external.source = Some("/i/a.s".into());
        external.format = Some("qcow2".into());
        let image = Some(Image { path: "/i/b".into(), format: "qcow2".into() });
        let snapshot = Snapshot {
            name: "s".into(),
            description: Some("d".into()),
            parent: Some("p".into()),
            state: SnapshotState::Paused,
            creation_time: 1_400_000_000,
            memory: Memory::External("/m/s.save".into()),
            tag: None,
            disks: vec![external, disk("xvdb", Location::Internal), disk("xvdc", Location::No)],
            revert_disks: Vec::new(),
            frozen: vec![FrozenDisk { target: DiskTarget("xvdb".into()), image }],
        };
        let written = serde_json::to_value(Record::of(&snapshot)).unwrap();
        let expected = serde_json::json!({
            "name": "s", "description": "d", "creation_time": 1_400_000_000, "save": "/m/s.save",
            "state": {"running": false, "blocked": false, "paused": true, "shutdown": false, "dying": false},
            "disks": [
                {"device": "xvda", "file": "/i/a.s", "format": "qcow2"},
                {"device": "xvdb", "name": "s", "format": "qcow2"},
            ],
        });
        assert_eq!(written, expected);
        assert_eq!(serde_json::from_value::<Record>(written).unwrap(), Record::of(&snapshot));
    }

    #[test]
    fn a_state_is_what_it_was_when_it_is_read_again() {
        let save = Some(Utf8Path::new("/m"));
        for (state, save) in [
            (SnapshotState::Running, save),
            (SnapshotState::Paused, save),
            (SnapshotState::DiskSnapshot, None),
            (SnapshotState::Shutoff, None),
        ] {
            assert_eq!(RecordState::of(state).meant(save), Some(state));
        }
        assert_eq!(RecordState::of(SnapshotState::Shutoff).meant(save), None, "memory of a domain that was off");
        assert_eq!(RecordState { running: true, dying: true, ..RecordState::default() }.meant(save), None);
    }
}

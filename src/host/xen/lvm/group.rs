//! The volumes of a volume group, as `lvs` reports them.
//!
//! Must not know: what is done with them.

use super::names::{NAME, NEXT_OF, OF, Role, escape};
use super::{Activity, tool};
use crate::error::{Error, Result};
use serde::Deserialize;

/// What is asked for, in LVM's words.
const FIELDS: &str =
    "lv_name,lv_uuid,lv_size,pool_lv,segtype,lv_active,lv_device_open,lv_permissions,lv_skip_activation,lv_tags";

/// A volume group's visible volumes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Group {
    /// In LVM's order.
    pub(super) volumes: Vec<Logical>,
}

/// One logical volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Logical {
    /// Its name, which changes.
    pub(super) name: String,
    /// Its UUID, which stays and is never used again.
    pub(super) uuid: String,
    /// Bytes.
    pub(super) size: u64,
    /// The thin pool that it lies in.
    pub(super) pool: Option<String>,
    /// LVM's segment type.
    pub(super) kind: String,
    /// Whether it has a device.
    pub(super) active: bool,
    /// Whether somebody has that open.
    pub(super) open: bool,
    /// Whether it cannot be written to.
    pub(super) read_only: bool,
    /// Whether it is left out when its group is activated.
    pub(super) skipped: bool,
    /// LVM's tags.
    pub(super) labels: Vec<String>,
}

#[derive(Deserialize)]
struct Output {
    report: Vec<Report>,
}

#[derive(Deserialize)]
struct Report {
    /// Absent in the report of a command log, which `lvm.conf` may add.
    #[serde(default)]
    lv: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    lv_name: String,
    lv_uuid: String,
    lv_size: String,
    pool_lv: String,
    segtype: String,
    lv_active: String,
    lv_device_open: String,
    lv_permissions: String,
    lv_skip_activation: String,
    lv_tags: String,
}

impl TryFrom<Row> for Logical {
    type Error = Error;
    fn try_from(row: Row) -> Result<Self> {
        let size = row.lv_size.parse();
        let size =
            size.map_err(|_| Error::internal(format!("lvs: volume '{}' has size '{}'", row.lv_name, row.lv_size)))?;
        Ok(Self {
            name: row.lv_name,
            uuid: row.lv_uuid,
            size,
            pool: Some(row.pool_lv).filter(|p| !p.is_empty()),
            kind: row.segtype,
            active: !["", "unknown"].contains(&row.lv_active.as_str()),
            open: row.lv_device_open == "open",
            // A writable one without a device is `unknown`; of `read-only-override` only the device is not writable.
            read_only: row.lv_permissions == "read-only",
            skipped: !row.lv_skip_activation.is_empty(),
            labels: row.lv_tags.split(',').filter(|t| !t.is_empty()).map(str::to_owned).collect(),
        })
    }
}

impl Logical {
    /// The text behind `label=` among LVM's tags.
    pub(super) fn label(&self, label: &str) -> Option<&str> {
        self.labels.iter().find_map(|l| l.strip_prefix(label)?.strip_prefix('='))
    }

    /// Whether it is that to `volume`, by its name and by its tags, for the snapshot of that name.
    pub(super) fn is(&self, volume: &str, name: &str, role: &Role) -> bool {
        let label = match role {
            Role::Tag { .. } => OF,
            // What was set aside has no tag of ours: its UUID is elsewhere.
            Role::Next | Role::Aside => NEXT_OF,
        };
        self.name == role.of(volume)
            && self.kind == "thin"
            && self.label(label) == Some(volume)
            && self.label(NAME) == Some(&escape(name))
    }

    pub(super) fn activity(&self) -> Activity {
        match (self.active, self.open) {
            (_, true) => Activity::Open,
            (true, false) => Activity::Active,
            (false, false) => Activity::Inactive,
        }
    }
}

impl Group {
    /// What is in the group now; `None` if there is no such group.
    pub(super) async fn read(group: &str) -> Result<Option<Self>> {
        let words = ["--reportformat", "json", "--units", "b", "--nosuffix", "--options", FIELDS, group];
        match tool::output("lvs", &words).await {
            Ok(output) => Self::parse(&output).map(Some),
            // LVM has no exit status of its own for that; we run it in the C locale.
            Err(e) if e.message().contains(&format!("Volume group \"{group}\" not found")) => Ok(None),
            Err(e) => Err(e),
        }
    }

    fn parse(output: &[u8]) -> Result<Self> {
        let output: Output = serde_json::from_slice(output).map_err(|e| Error::internal(format!("lvs: {e}")))?;
        let rows = output.report.into_iter().flat_map(|r| r.lv);
        Ok(Self { volumes: rows.map(Logical::try_from).collect::<Result<_>>()? })
    }

    /// The volume of that name.
    pub(super) fn find(&self, name: &str) -> Option<&Logical> {
        self.volumes.iter().find(|v| v.name == name)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Recorded from LVM 2.03.16 in a Xen dom0: a volume that was brought back to its first tag, a tag of ours that a
    /// user has renamed, a snapshot of a user, an old-style volume.
    const RECORDED: &str = include_str!("recorded/lvs.json");

    #[test]
    fn what_lvs_reported_is_read() {
        let group = Group::parse(RECORDED.as_bytes()).unwrap();
        let disk = group.find("disk-a").unwrap();
        assert_eq!((disk.size, disk.pool.as_deref(), disk.kind.as_str()), (64 << 20, Some("pool"), "thin"));
        assert_eq!((disk.activity(), disk.read_only, disk.skipped), (Activity::Open, false, false));
        let tags: Vec<String> = group.tags("disk-a").into_iter().map(|t| t.name).collect();
        assert_eq!(tags, ["before", "two words, ä=1"]);
        let tag = group.tag("disk-a", "before").unwrap();
        assert_eq!((tag.activity(), tag.read_only, tag.skipped), (Activity::Inactive, true, true));
        assert_eq!(group.find("plain").unwrap().kind, "linear");
        assert_eq!(group.find("pool").unwrap().kind, "thin-pool");
    }

    #[test]
    fn a_snapshot_with_our_tags_under_another_name_is_not_ours_nor_one_with_our_name_without_tags() {
        let mut group = Group::parse(RECORDED.as_bytes()).unwrap();
        assert!(group.volumes.iter().any(|v| v.name == "mine-now" && v.label(NAME) == Some("renamed")));
        assert!(group.tag("disk-a", "renamed").is_none());
        let tag = group.volumes.iter_mut().find(|v| v.name.ends_with("2abc5f1f67e67589")).unwrap();
        tag.labels.clear();
        assert!(group.tag("disk-a", "before").is_none());
    }

    #[test]
    fn another_report_beside_the_volumes_is_passed_over_and_nonsense_is_an_error() {
        let text = r#"{"report":[{"lv":[]},{"log":[{"log_seq_num":"1"}]}]}"#;
        assert_eq!(Group::parse(text.as_bytes()).unwrap(), Group::default());
        for text in ["", "{}", r#"{"report":[{"lv":[{"lv_name":"x"}]}]}"#] {
            assert!(Group::parse(text.as_bytes()).unwrap_err().to_string().starts_with("internal error: lvs: "));
        }
    }
}

//! The two listing commands: what to ask for, and in which form to show it.

use super::super::args::Typed;
use super::super::failure::Failure;
use super::snapshot::named_or_current;
use super::{Which, on, refuse_both};
use crate::model::flags::ListFlags;

/// `list`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainList {
    /// `virConnectListAllDomainsFlags`.
    pub flags: u32,
    /// How to show them.
    pub columns: DomainColumns,
}

/// What `list` shows of each domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DomainColumns {
    /// One line each, without a table.
    Bare {
        /// `--id`.
        id: bool,
        /// `--uuid`.
        uuid: bool,
        /// `--name`.
        name: bool,
    },
    /// The table.
    Table {
        /// `--title`.
        title: bool,
        /// `--managed-save`: a domain with a saved state is "saved", not "shut off".
        saved: bool,
    },
    /// For programs.
    Json,
}

impl DomainList {
    pub(super) fn from_typed(typed: &Typed) -> Result<Self, Failure> {
        refuse_both(typed, &[("table", "name"), ("table", "uuid"), ("table", "id")])?;
        refuse_both(typed, &[("json", "table"), ("json", "name"), ("json", "uuid"), ("json", "id")])?;
        let mut flags = match (typed.has("all"), typed.has("inactive")) {
            (true, _) => 0x3,
            (false, true) => 0x2,
            (false, false) => 0x1,
        };
        for (option, bit) in [
            ("persistent", 0x4),
            ("transient", 0x8),
            ("state-running", 0x10),
            ("state-paused", 0x20),
            ("state-shutoff", 0x40),
            ("state-other", 0x80),
            ("with-managed-save", 0x100),
            ("without-managed-save", 0x200),
            ("autostart", 0x400),
            ("no-autostart", 0x800),
            ("with-snapshot", 0x1000),
            ("without-snapshot", 0x2000),
            ("with-checkpoint", 0x4000),
            ("without-checkpoint", 0x8000),
        ] {
            if typed.has(option) {
                flags |= bit;
            }
        }
        let (id, uuid, name) = (typed.has("id"), typed.has("uuid"), typed.has("name"));
        let columns = if typed.has("json") {
            DomainColumns::Json
        } else if id || uuid || name {
            DomainColumns::Bare { id, uuid, name }
        } else {
            DomainColumns::Table { title: typed.has("title"), saved: typed.has("managed-save") }
        };
        Ok(Self { flags, columns })
    }
}

/// `snapshot-list`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotList {
    /// Below which snapshot; `None`: of the whole domain.
    pub from: Option<Which>,
    /// `virDomainSnapshotListFlags`.
    pub flags: ListFlags,
    /// How to show them.
    pub form: SnapshotForm,
}

/// How `snapshot-list` shows snapshots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotForm {
    /// Name, time and state.
    Table {
        /// And the parent.
        parent: bool,
    },
    /// One name per line.
    Names {
        /// And the parent behind a tab.
        parent: bool,
    },
    /// A tree.
    Tree,
    /// For programs.
    Json,
}

/// What a tree has no place for.
const FILTERS: &[(&str, ListFlags)] = &[
    ("leaves", ListFlags::LEAVES),
    ("no-leaves", ListFlags::NO_LEAVES),
    ("inactive", ListFlags::INACTIVE),
    ("active", ListFlags::ACTIVE),
    ("disk-only", ListFlags::DISK_ONLY),
    ("internal", ListFlags::INTERNAL),
    ("external", ListFlags::EXTERNAL),
];

impl SnapshotList {
    /// What is refused whether there is such a domain or not.
    pub(super) fn contradictions(typed: &Typed) -> Result<(), Failure> {
        refuse_both(
            typed,
            &[
                ("tree", "name"),
                ("parent", "roots"),
                ("parent", "tree"),
                ("roots", "tree"),
                ("roots", "from"),
                ("roots", "current"),
                ("json", "tree"),
                ("json", "name"),
            ],
        )?;
        if typed.has("tree")
            && let Some((option, _)) = FILTERS.iter().find(|(o, _)| typed.has(o))
        {
            return Err(Failure::new(format!("--{option} and --tree are mutually exclusive")));
        }
        if typed.has("descendants") && !typed.has("from") && !typed.has("current") {
            return Err(Failure::new("--descendants requires either --from or --current"));
        }
        Ok(())
    }

    pub(super) fn from_typed(typed: &Typed) -> Result<Self, Failure> {
        let flags = FILTERS.iter().fold(ListFlags::empty(), |flags, (o, f)| flags | on(typed, o, *f))
            | on(typed, "topological", ListFlags::TOPOLOGICAL)
            | on(typed, "roots", ListFlags::ROOTS_OR_DESCENDANTS)
            | on(typed, "metadata", ListFlags::METADATA)
            | on(typed, "no-metadata", ListFlags::NO_METADATA)
            | on(typed, "descendants", ListFlags::ROOTS_OR_DESCENDANTS);
        let parent = typed.has("parent");
        let form = if typed.has("tree") {
            SnapshotForm::Tree
        } else if typed.has("json") {
            SnapshotForm::Json
        } else if typed.has("name") {
            SnapshotForm::Names { parent }
        } else {
            SnapshotForm::Table { parent }
        };
        Ok(Self { from: named_or_current(typed, "from")?, flags, form })
    }
}

//! The `snapshot-*` commands.

use super::super::args::Typed;
use super::super::diskspec::snapshot_xml;
use super::super::failure::Failure;
use super::refusal::Refusal;
use super::{Action, Dump, Form, SnapshotList, domain, form, on, refuse_both, security, text};
use crate::model::flags::{CreateFlags, DeleteFlags, RevertFlags, XmlFlags};

/// Which snapshot of the domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// The one of that name.
    Named(String),
    /// The current one.
    Current,
}

/// Commands on the snapshots of a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SnapshotsAct {
    /// Take or redefine one.
    Create {
        /// Where the document comes from.
        document: Document,
        /// `virDomainSnapshotCreateFlags`.
        flags: CreateFlags,
    },
    /// `snapshot-create-as --print-xml`.
    PrintXml(String),
    /// `snapshot-list`.
    List(SnapshotList),
    /// `snapshot-current --name`.
    CurrentName,
    /// `snapshot-current --json`.
    CurrentJson,
    /// `snapshot-current`.
    CurrentXml(XmlFlags),
}

/// A `<domainsnapshot>` to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Document {
    /// In this file.
    File(String),
    /// This text.
    Text(String),
    /// The empty one: the service chooses everything.
    Empty,
}

/// What becomes of a snapshot whose name was edited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewName {
    /// Nothing: the edit is refused.
    Refused,
    /// `--rename`: the old one is forgotten.
    Renames,
    /// `--clone`: there are two.
    Clones,
}

/// Commands on one snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SnapshotAct {
    /// `snapshot-current … NAME`.
    MakeCurrent,
    /// `snapshot-dumpxml`.
    DumpXml(Dump),
    /// `snapshot-edit`.
    Edit {
        /// REDEFINE, and CURRENT where it shall become the current one.
        flags: CreateFlags,
        /// If its name changed.
        new_name: NewName,
    },
    /// `snapshot-info`.
    Info(Form),
    /// `snapshot-parent`.
    Parent(Form),
    /// `snapshot-revert`.
    Revert {
        /// Without FORCE.
        flags: RevertFlags,
        /// Whether a refused revert is tried again with FORCE.
        force: Force,
    },
    /// `snapshot-delete`.
    Delete(DeleteFlags),
}

/// What to do about `revert requires force: …`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Force {
    IfNeeded,
    Never,
}

pub(super) fn snapshot_action(typed: &Typed) -> Result<Action, Refusal> {
    let at_once = |typed: &Typed| -> Result<(), Failure> {
        match typed.command.name {
            "snapshot-list" => SnapshotList::contradictions(typed),
            "snapshot-current" => refuse_both(
                typed,
                &[("name", "snapshotname"), ("json", "name"), ("json", "snapshotname"), ("json", "security-info")],
            ),
            "snapshot-edit" => refuse_both(typed, &[("rename", "clone")]),
            "snapshot-dumpxml" => text(typed, "snapshotname").and(text(typed, "xpath")).map(drop),
            _ => Ok(()),
        }
    };
    at_once(typed)?;
    let domain = domain(typed)?;
    let name = |option| text(typed, option).map_err(Refusal::OnceFound);
    let act = match typed.command.name {
        "snapshot-create" => SnapshotsAct::Create {
            document: name("xmlfile")?.map_or(Document::Empty, |f| Document::File(f.to_owned())),
            flags: create_flags(typed),
        },
        "snapshot-create-as" => {
            let xml = snapshot_xml(typed).map_err(Refusal::OnceFound)?;
            if typed.has("print-xml") {
                SnapshotsAct::PrintXml(xml)
            } else {
                SnapshotsAct::Create { document: Document::Text(xml), flags: create_flags(typed) }
            }
        }
        "snapshot-list" => SnapshotsAct::List(SnapshotList::from_typed(typed).map_err(Refusal::OnceFound)?),
        "snapshot-current" => match name("snapshotname")? {
            Some(name) => {
                let which = Which::Named(name.to_owned());
                return Ok(Action::Snapshot { domain, which, act: SnapshotAct::MakeCurrent });
            }
            None if typed.has("json") => SnapshotsAct::CurrentJson,
            None if typed.has("name") => SnapshotsAct::CurrentName,
            None => SnapshotsAct::CurrentXml(security(typed)),
        },
        _ => {
            let (which, act) = (which(typed).map_err(Refusal::OnceFound)?, snapshot_act(typed)?);
            return Ok(Action::Snapshot { domain, which, act });
        }
    };
    Ok(Action::Snapshots { domain, act })
}

fn snapshot_act(typed: &Typed) -> Result<SnapshotAct, Failure> {
    Ok(match typed.command.name {
        "snapshot-dumpxml" => SnapshotAct::DumpXml(Dump::from_typed(typed)?),
        "snapshot-edit" => SnapshotAct::Edit {
            // Alone, --current says which one.
            flags: match typed.has("snapshotname") {
                true => CreateFlags::REDEFINE | on(typed, "current", CreateFlags::CURRENT),
                false => CreateFlags::REDEFINE,
            },
            new_name: match (typed.has("rename"), typed.has("clone")) {
                (true, _) => NewName::Renames,
                (false, true) => NewName::Clones,
                (false, false) => NewName::Refused,
            },
        },
        "snapshot-info" => SnapshotAct::Info(form(typed)),
        "snapshot-parent" => SnapshotAct::Parent(form(typed)),
        "snapshot-revert" => SnapshotAct::Revert {
            flags: on(typed, "running", RevertFlags::RUNNING)
                | on(typed, "paused", RevertFlags::PAUSED)
                | on(typed, "reset-nvram", RevertFlags::RESET_NVRAM),
            force: if typed.has("force") { Force::IfNeeded } else { Force::Never },
        },
        "snapshot-delete" => SnapshotAct::Delete(
            on(typed, "children", DeleteFlags::CHILDREN)
                | on(typed, "children-only", DeleteFlags::CHILDREN_ONLY)
                | on(typed, "metadata", DeleteFlags::METADATA_ONLY),
        ),
        other => return Err(Failure::new(format!("unknown command: '{other}'"))),
    })
}

/// virsh's `virshLookupSnapshot`: by name or `--current`, exactly one; but an edit makes the named one current.
fn which(typed: &Typed) -> Result<Which, Failure> {
    let found = match text(typed, "snapshotname")? {
        Some(name) if typed.command.name == "snapshot-edit" => Some(Which::Named(name.to_owned())),
        _ => named_or_current(typed, "snapshotname")?,
    };
    found.ok_or_else(|| Failure::new("--snapshotname or --current is required".to_owned()))
}

pub(super) fn named_or_current(typed: &Typed, option: &str) -> Result<Option<Which>, Failure> {
    match (text(typed, option)?, typed.has("current")) {
        (Some(_), true) => Err(Failure::new(format!("--{option} and --current are mutually exclusive"))),
        (Some(name), false) => Ok(Some(Which::Named(name.to_owned()))),
        (None, true) => Ok(Some(Which::Current)),
        (None, false) => Ok(None),
    }
}

fn create_flags(typed: &Typed) -> CreateFlags {
    on(typed, "redefine", CreateFlags::REDEFINE)
        | on(typed, "current", CreateFlags::CURRENT)
        | on(typed, "no-metadata", CreateFlags::NO_METADATA)
        | on(typed, "halt", CreateFlags::HALT)
        | on(typed, "disk-only", CreateFlags::DISK_ONLY)
        | on(typed, "reuse-external", CreateFlags::REUSE_EXT)
        | on(typed, "quiesce", CreateFlags::QUIESCE)
        | on(typed, "atomic", CreateFlags::ATOMIC)
        | on(typed, "live", CreateFlags::LIVE)
        | on(typed, "validate", CreateFlags::VALIDATE)
}

//! What will be done, with libvirt's flag words; made from what was typed, before anything is asked of the service.

mod beyond;
mod dump;
mod list;
mod refusal;
mod xl;

pub use beyond::{BeyondAct, Goes};
pub use dump::{Dump, Matches};
pub use list::{DomainColumns, DomainList, SnapshotForm, SnapshotList};
pub use xl::{XlAct, XlForm};

use super::args::Typed;
use super::diskspec::snapshot_xml;
use super::failure::{Failure, exclusive};
use crate::model::flags::{CreateFlags, DeleteFlags, RevertFlags, StartFlags, UndefineFlags, XmlFlags};
use refusal::Refusal;
pub(super) use refusal::text;

/// One command, ready to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// `list`.
    ListDomains(DomainList),
    /// `define`.
    Define {
        /// The document.
        file: String,
    },
    /// `create`.
    Create {
        /// The document.
        file: String,
        /// `virDomainCreateFlags`.
        flags: StartFlags,
    },
    /// A command on one domain.
    Domain {
        /// Its name, UUID or id.
        domain: String,
        /// What to do with it.
        act: DomainAct,
    },
    /// A command on the snapshots of one domain.
    Snapshots {
        /// The domain's name, UUID or id.
        domain: String,
        /// What to do.
        act: SnapshotsAct,
    },
    /// A command on one snapshot.
    Snapshot {
        /// The domain's name, UUID or id.
        domain: String,
        /// Which one.
        which: Which,
        /// What to do with it.
        act: SnapshotAct,
    },
    /// A command on one domain that libvirt has no call for.
    Beyond {
        /// Its name, UUID or id.
        domain: String,
        /// What to do.
        act: BeyondAct,
    },
    /// A command below `xl` that is no other command's.
    Xl(XlAct),
    /// A refusal that waits for the domain: virsh looks for it first, and complains of that.
    Refuse {
        /// Its name, UUID or id.
        domain: String,
        /// What is wrong if there is such a domain.
        failure: Failure,
    },
}

/// For whom an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// For people, as virsh prints it.
    Text,
    /// For programs.
    Json,
}

/// Commands on one domain.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum DomainAct {
    Undefine(UndefineFlags),
    Start(StartFlags),
    /// `virDomainShutdownFlagValues`.
    Shutdown(u32),
    /// `virDomainRebootFlagValues`; the same bits.
    Reboot(u32),
    Reset,
    /// `virDomainDestroyFlagsValues`.
    Destroy(u32),
    Suspend,
    Resume,
    Autostart(bool),
    DumpXml(Dump),
    State,
    StateAndReason,
    StateJson,
    Info(Form),
    Id,
    Name,
    Uuid,
}

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

impl Action {
    /// The action, or virsh's refusal of contradictory options.
    pub fn from_typed(typed: &Typed) -> Result<Self, Failure> {
        match made(typed) {
            Ok(action) => Ok(action),
            Err(Refusal::AtOnce(failure)) => Err(failure),
            Err(Refusal::OnceFound(failure)) => Ok(Self::Refuse { domain: domain(typed)?, failure }),
        }
    }
}

fn made(typed: &Typed) -> Result<Action, Refusal> {
    if typed.command.place().0 == Some("xl") {
        for option in typed.command.options {
            text(typed, option.name)?;
        }
        return Ok(xl::from_typed(typed)?);
    }
    let file = || text(typed, "file").map(|f| f.unwrap_or_default().to_owned());
    if let Some(action) = beyond::from_typed(typed)? {
        return Ok(action);
    }
    match typed.command.name {
        "list" => Ok(Action::ListDomains(DomainList::from_typed(typed)?)),
        "define" => Ok(Action::Define { file: file()? }),
        "create" => Ok(Action::Create { file: file()?, flags: start_flags(typed) }),
        name if name.starts_with("snapshot-") => beyond::instead(typed, snapshot_action(typed)?),
        _ => {
            let act = domain_act(typed)?;
            Ok(Action::Domain { domain: domain(typed)?, act })
        }
    }
}

fn domain(typed: &Typed) -> Result<String, Failure> {
    Ok(text(typed, "domain")?.unwrap_or_default().to_owned())
}

fn form(typed: &Typed) -> Form {
    if typed.has("json") { Form::Json } else { Form::Text }
}

fn domain_act(typed: &Typed) -> Result<DomainAct, Failure> {
    Ok(match typed.command.name {
        "undefine" => {
            refuse_both(typed, &[("nvram", "keep-nvram"), ("tpm", "keep-tpm")])?;
            DomainAct::Undefine(
                on(typed, "managed-save", UndefineFlags::MANAGED_SAVE)
                    | on(typed, "snapshots-metadata", UndefineFlags::SNAPSHOTS_METADATA)
                    | on(typed, "checkpoints-metadata", UndefineFlags::CHECKPOINTS_METADATA)
                    | on(typed, "nvram", UndefineFlags::NVRAM)
                    | on(typed, "keep-nvram", UndefineFlags::KEEP_NVRAM)
                    | on(typed, "tpm", UndefineFlags::TPM)
                    | on(typed, "keep-tpm", UndefineFlags::KEEP_TPM),
            )
        }
        "start" => DomainAct::Start(start_flags(typed)),
        "shutdown" => DomainAct::Shutdown(mode(typed)?),
        "reboot" => DomainAct::Reboot(mode(typed)?),
        "reset" => DomainAct::Reset,
        "destroy" => DomainAct::Destroy(u32::from(typed.has("graceful")) | u32::from(typed.has("remove-logs")) << 1),
        "suspend" => DomainAct::Suspend,
        "resume" => DomainAct::Resume,
        "autostart" => DomainAct::Autostart(!typed.has("disable")),
        "dumpxml" => {
            let mut dump = Dump::from_typed(typed)?;
            dump.flags |= on(typed, "inactive", XmlFlags::INACTIVE)
                | on(typed, "update-cpu", XmlFlags::UPDATE_CPU)
                | on(typed, "migratable", XmlFlags::MIGRATABLE);
            DomainAct::DumpXml(dump)
        }
        "domstate" if typed.has("json") => DomainAct::StateJson,
        "domstate" if typed.has("reason") => DomainAct::StateAndReason,
        "domstate" => DomainAct::State,
        "dominfo" => DomainAct::Info(form(typed)),
        "domid" => DomainAct::Id,
        "domname" => DomainAct::Name,
        "domuuid" => DomainAct::Uuid,
        other => return Err(Failure::new(format!("unknown command: '{other}'"))),
    })
}

fn snapshot_action(typed: &Typed) -> Result<Action, Refusal> {
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

fn named_or_current(typed: &Typed, option: &str) -> Result<Option<Which>, Failure> {
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

fn start_flags(typed: &Typed) -> StartFlags {
    on(typed, "paused", StartFlags::PAUSED)
        | on(typed, "bypass-cache", StartFlags::BYPASS_CACHE)
        | on(typed, "force-boot", StartFlags::FORCE_BOOT)
        | on(typed, "validate", StartFlags::VALIDATE)
        | on(typed, "reset-nvram", StartFlags::RESET_NVRAM)
}

fn security(typed: &Typed) -> XmlFlags {
    on(typed, "security-info", XmlFlags::SECURE)
}

/// `virDomainShutdownFlagValues`, which are `virDomainRebootFlagValues` too.
fn mode(typed: &Typed) -> Result<u32, Failure> {
    let mut bits = 0;
    for mode in text(typed, "mode")?.into_iter().flat_map(|m| m.split(',')) {
        bits |= match mode {
            "acpi" => 1,
            "agent" => 2,
            "initctl" => 4,
            "signal" => 8,
            "paravirt" => 16,
            _ => {
                let comma = if typed.command.name == "shutdown" { "," } else { "" };
                return Err(Failure::new(format!(
                    "Unknown mode {mode} value, expecting 'acpi', 'agent', 'initctl', 'signal'{comma} or 'paravirt'"
                )));
            }
        };
    }
    Ok(bits)
}

fn on<F: bitflags::Flags>(typed: &Typed, option: &str, flag: F) -> F {
    if typed.has(option) { flag } else { F::empty() }
}

fn refuse_both(typed: &Typed, pairs: &[(&str, &str)]) -> Result<(), Failure> {
    match pairs.iter().find(|(a, b)| typed.has(a) && typed.has(b)) {
        Some((a, b)) => Err(exclusive(a, b)),
        None => Ok(()),
    }
}

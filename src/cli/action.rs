//! What will be done, with libvirt's flag words; made from what was typed, before anything is asked of the service.

mod beyond;
mod domain;
mod dump;
mod list;
mod refusal;
mod snapshot;
mod xl;

pub use beyond::{BeyondAct, Goes};
pub use domain::DomainAct;
pub use dump::{Dump, Matches};
pub use list::{DomainColumns, DomainList, SnapshotForm, SnapshotList};
pub use snapshot::{Document, Force, NewName, SnapshotAct, SnapshotsAct, Which};
pub use xl::{XlAct, XlForm};

use super::args::Typed;
use super::failure::{Failure, exclusive};
use crate::model::flags::{StartFlags, XmlFlags};
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
        "create" => Ok(Action::Create { file: file()?, flags: domain::start_flags(typed) }),
        name if name.starts_with("snapshot-") => beyond::instead(typed, snapshot::snapshot_action(typed)?),
        _ => {
            let act = domain::domain_act(typed)?;
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

fn security(typed: &Typed) -> XmlFlags {
    on(typed, "security-info", XmlFlags::SECURE)
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

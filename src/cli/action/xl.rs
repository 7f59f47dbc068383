//! The commands below `xl`. Delete and revert are the other commands' own actions.

use super::super::args::Typed;
use super::super::failure::Failure;
use super::super::xl::document::Options;
use super::{Action, Force, SnapshotAct, Which, domain, on};
use crate::model::flags::{CreateFlags, DeleteFlags, RevertFlags};

/// A command that only `xl` has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum XlAct {
    /// `xl snapshot-create`.
    Create {
        /// The domain's name, UUID or id.
        domain: String,
        /// The configuration file.
        file: Option<String>,
        /// What wins over it.
        options: Options,
    },
    /// `xl snapshot-list`.
    List {
        /// The domain's name, UUID or id; `None`: all.
        domain: Option<String>,
        /// Those of this name only.
        name: Option<String>,
        /// How to show them.
        form: XlForm,
    },
}

/// How `xl snapshot-list` shows snapshots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum XlForm {
    /// One line each.
    Table,
    /// `--long`.
    Records,
}

pub(super) fn from_typed(typed: &Typed) -> Result<Action, Failure> {
    let text = |option: &str| typed.value(option).map(str::to_owned);
    let named = |act| {
        let which = Which::Named(text("name").unwrap_or_default());
        Ok(Action::Snapshot { domain: domain(typed)?, which, act })
    };
    match typed.command.place().1 {
        "snapshot-create" => {
            let flags = on(typed, "reuse-external", CreateFlags::REUSE_EXT);
            let options = Options::new(typed.value("name"), typed.has("live"), typed.has("disk-only"), flags)?;
            Ok(Action::Xl(XlAct::Create { domain: domain(typed)?, file: text("configfile"), options }))
        }
        "snapshot-list" => {
            let form = if typed.has("long") { XlForm::Records } else { XlForm::Table };
            Ok(Action::Xl(XlAct::List { domain: text("domain"), name: text("name"), form }))
        }
        "snapshot-delete" => named(SnapshotAct::Delete(
            on(typed, "children", DeleteFlags::CHILDREN) | on(typed, "children-only", DeleteFlags::CHILDREN_ONLY),
        )),
        "snapshot-revert" => named(SnapshotAct::Revert {
            flags: on(typed, "running", RevertFlags::RUNNING) | on(typed, "paused", RevertFlags::PAUSED),
            force: if typed.has("force") { Force::IfNeeded } else { Force::Never },
        }),
        other => Err(Failure::new(format!("unknown command: 'xl {other}'"))),
    }
}

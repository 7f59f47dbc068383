//! What libvirt has no call for.

use super::{Action, Document, Form, Refusal, SnapshotAct, SnapshotsAct, Which, domain, form, text};
use crate::cli::args::Typed;
use crate::cli::failure::Failure;
use crate::model::flags::{CreateFlags, DeleteFlags, RevertFlags};

/// Commands of `org.virsnap.Snapshots1` on one domain.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum BeyondAct {
    /// `--dry-run` of `snapshot-create` and `snapshot-create-as`.
    PlanCreate {
        document: Document,
        flags: CreateFlags,
    },
    /// `--dry-run` of `snapshot-delete`.
    PlanDelete {
        which: Which,
        flags: DeleteFlags,
    },
    /// `--dry-run` of `snapshot-revert`.
    PlanRevert {
        which: Which,
        flags: RevertFlags,
        goes: Goes,
    },
    /// `snapshot-revert` with `--delete-children` or `--discard`.
    Revert {
        which: Which,
        flags: RevertFlags,
        goes: Goes,
    },
    Verify {
        all: bool,
        form: Form,
    },
    Rename {
        from: String,
        to: String,
    },
    Describe {
        name: String,
        text: String,
    },
    /// `snapshot-event`; seconds.
    Watch {
        repeat: bool,
        timeout: Option<u64>,
    },
    JobInfo(Form),
    JobAbort,
}

/// What goes after a revert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Goes {
    /// `--delete-children`.
    pub children: bool,
    /// `--discard`.
    pub discard: bool,
}

/// The command, if it is one of these.
pub(super) fn from_typed(typed: &Typed) -> Result<Option<Action>, Failure> {
    let word = |option| text(typed, option).map(|t| t.unwrap_or_default().to_owned());
    let act = match typed.command.name {
        "snapshot-verify" => BeyondAct::Verify { all: typed.has("all"), form: form(typed) },
        "snapshot-rename" => BeyondAct::Rename { from: word("snapshotname")?, to: word("newname")? },
        // An empty description removes it.
        "snapshot-describe" => BeyondAct::Describe {
            name: word("snapshotname")?,
            text: typed.value("description").unwrap_or_default().to_owned(),
        },
        "snapshot-event" => BeyondAct::Watch {
            repeat: typed.has("loop"),
            timeout: match text(typed, "timeout")? {
                None => None,
                Some(seconds) => {
                    Some(seconds.parse().ok().filter(|s| (1..=u64::from(u32::MAX)).contains(s)).ok_or_else(|| {
                        Failure::new(format!(
                            "Numeric value '{seconds}' for <timeout> option is malformed or out of range"
                        ))
                    })?)
                }
            },
        },
        "domjobinfo" => BeyondAct::JobInfo(form(typed)),
        "domjobabort" => BeyondAct::JobAbort,
        _ => return Ok(None),
    };
    Ok(Some(Action::Beyond { domain: domain(typed)?, act }))
}

/// A snapshot command whose options go beyond libvirt.
pub(super) fn instead(typed: &Typed, action: Action) -> Result<Action, Refusal> {
    let goes = Goes { children: typed.has("delete-children"), discard: typed.has("discard") };
    let beyond = |domain, act| Ok(Action::Beyond { domain, act });
    match action {
        Action::Snapshots { domain, act: SnapshotsAct::Create { document, flags } } if typed.has("dry-run") => {
            beyond(domain, BeyondAct::PlanCreate { document, flags })
        }
        Action::Snapshot { domain, which, act: SnapshotAct::Delete(flags) } if typed.has("dry-run") => {
            beyond(domain, BeyondAct::PlanDelete { which, flags })
        }
        Action::Snapshot { domain, which, act: SnapshotAct::Revert { mut flags, .. } }
            if typed.has("dry-run") || goes.children || goes.discard =>
        {
            if typed.has("force") {
                flags |= RevertFlags::FORCE;
            }
            match typed.has("dry-run") {
                true => beyond(domain, BeyondAct::PlanRevert { which, flags, goes }),
                false => beyond(domain, BeyondAct::Revert { which, flags, goes }),
            }
        }
        action => Ok(action),
    }
}

//! `snapshot-edit` (`tools/virsh-snapshot.c: cmdSnapshotEdit`). What was edited and then refused is kept in a file.

use super::super::action::NewName;
use super::super::document;
use super::super::editor::Draft;
use super::super::failure::Failure;
use super::super::output::{self, Output};
use super::super::wire::{CallError, Domain, Snapshot};
use super::snapshot::redefinition;
use crate::model::flags::{CreateFlags, DeleteFlags, XmlFlags};
use std::io::{BufRead, IsTerminal, Write};

pub(super) async fn run(
    domain: &Domain<'_>,
    snapshot: &Snapshot<'_>,
    flags: CreateFlags,
    new_name: NewName,
    out: &mut Output,
) -> Result<(), Failure> {
    out.flush();
    let failed = |failure: Failure| failure.and(format!("Failed to update {}", snapshot.name));
    let original = snapshot.xml(XmlFlags::SECURE.bits()).await.map_err(|e| failed(e.into()))?;
    let draft = Draft::new(&original).map_err(failed)?;
    match edited(domain, snapshot, &original, &draft, flags, new_name, out).await {
        Ok(()) => Ok(()),
        Err(failure) if draft.text().is_ok_and(|now| now == original) => Err(failed(failure)),
        Err(failure) => {
            let kept = format!("The edited document is kept in '{}'", draft.keep());
            Err(failed(failure).and(kept))
        }
    }
}

async fn edited(
    domain: &Domain<'_>,
    snapshot: &Snapshot<'_>,
    original: &str,
    draft: &Draft,
    flags: CreateFlags,
    new_name: NewName,
    out: &mut Output,
) -> Result<(), Failure> {
    let name = &snapshot.name;
    let mut text = draft.edit()?;
    let made = loop {
        if text == original && !flags.contains(CreateFlags::CURRENT) {
            out.extra(&format!("Snapshot {name} XML configuration not changed.\n"));
            return Ok(());
        }
        let failure = match snapshot.xml(XmlFlags::SECURE.bits()).await {
            Err(cause) => Failure::from(cause),
            Ok(now) if now != original => Failure::new("ERROR: the XML configuration was changed by another user"),
            Ok(_) => match define(domain, name, original, &text, flags, new_name).await {
                Ok(Defined::Whole) => return Ok(()),
                Ok(Defined::Beside(made)) => break made,
                Err(cause) => cause.into(),
            },
        };
        match ask(&failure) {
            Answer::Edit => text = draft.edit()?,
            Answer::Again => {}
            Answer::GiveUp => return Err(failure),
            Answer::GiveUpTold => return Err(Failure::told()),
        }
    };
    if made.name == *name {
        out.extra(&format!("Snapshot {name} edited.\n"));
        return Ok(());
    }
    let superfluous = match new_name {
        NewName::Clones => {
            out.extra(&format!("Snapshot {name} cloned to {}.\n", made.name));
            return Ok(());
        }
        NewName::Renames => snapshot,
        NewName::Refused => &made,
    };
    superfluous
        .delete(DeleteFlags::METADATA_ONLY.bits())
        .await
        .map_err(|cause| Failure::from(cause).and(format!("Failed to clean up {}", superfluous.name)))?;
    match new_name {
        NewName::Refused => {
            Err(Failure::new(format!("Must use --rename or --clone to change {name} to {}", made.name)))
        }
        NewName::Renames | NewName::Clones => Ok(()),
    }
}

/// What was defined.
enum Defined<'b> {
    /// All that was asked for.
    Whole,
    /// A snapshot, which has another name where the old one is still there.
    Beside(Snapshot<'b>),
}

/// Defines the edited document. For virsh a rename is a new snapshot and the end of the old one, whose children then hang on
/// its parent, and whose tag in an image nobody finds by the new name: a service that can rename does it in place.
async fn define<'b>(
    domain: &Domain<'b>,
    name: &str,
    original: &str,
    text: &str,
    flags: CreateFlags,
    new_name: NewName,
) -> Result<Defined<'b>, CallError> {
    let flags = redefinition(original, flags).bits();
    let wanted = document::name(text).filter(|wanted| new_name == NewName::Renames && wanted != name);
    let Some(wanted) = wanted else { return domain.create_snapshot(text, flags).await.map(Defined::Beside) };
    match domain.rename_snapshot(name, &wanted).await {
        Err(CallError::NotOffered(_)) => domain.create_snapshot(text, flags).await.map(Defined::Beside),
        Err(cause) => Err(cause),
        Ok(renamed) => match domain.create_snapshot(text, flags).await {
            Ok(_) => Ok(Defined::Whole),
            Err(cause) => {
                // As if nothing had happened; should that fail too, the snapshot is there under its new name.
                let _ = domain.rename_snapshot(&renamed.name, name).await;
                Err(cause)
            }
        },
    }
}

/// What to do about an edit that was refused.
enum Answer {
    Edit,
    Again,
    GiveUp,
    /// The user has read why.
    GiveUpTold,
}

/// Asks the user, if one sits there.
fn ask(failure: &Failure) -> Answer {
    if !std::io::stdin().is_terminal() {
        return Answer::GiveUp;
    }
    failure.lines().iter().for_each(|line| output::error(line));
    loop {
        eprint!("Failed. Try again? [y,n,f,?]: ");
        let _ = std::io::stderr().flush();
        let mut line = String::new();
        if std::io::stdin().lock().read_line(&mut line).is_ok_and(|read| read == 0) {
            return Answer::GiveUpTold;
        }
        match line.trim() {
            "y" => return Answer::Edit,
            "n" => return Answer::GiveUpTold,
            "f" => return Answer::Again,
            _ => eprint!(
                "y - yes, start editor again\nn - no, keep the edited document in a file\n\
                 f - force, try to redefine again\n? - print this help\n"
            ),
        }
    }
}

//! Commands on the snapshots of a domain.

use super::super::action::{Document, Force, Form, SnapshotAct, SnapshotsAct, Which};
use super::super::document::Facts;
use super::super::failure::Failure;
use super::super::json;
use super::super::output::Output;
use super::super::progress::{Shown, during};
use super::super::render::info_line;
use super::super::wire::{CallError, Domain, Snapshot};
use super::{dumped, edit, listing, read};
use crate::error::Code;
use crate::model::flags::{CreateFlags, DeleteFlags, ListFlags, RevertFlags, XmlFlags};

/// The snapshot that was meant.
pub(super) async fn find<'b>(domain: &Domain<'b>, which: Which) -> Result<Snapshot<'b>, CallError> {
    match which {
        Which::Named(name) => domain.snapshot(&name).await,
        Which::Current => domain.current_snapshot().await,
    }
}

pub(super) async fn run_on_domain(domain: &Domain<'_>, act: SnapshotsAct, out: &mut Output) -> Result<(), Failure> {
    match act {
        SnapshotsAct::List(list) => listing::snapshots(domain, list, out).await,
        SnapshotsAct::PrintXml(xml) => {
            out.print(&format!("{xml}\n"));
            Ok(())
        }
        SnapshotsAct::Create { document, flags } => create(domain, document, flags, out).await,
        SnapshotsAct::CurrentName => {
            let name = current(domain).await?.name;
            out.print(&name);
            Ok(())
        }
        SnapshotsAct::CurrentJson => {
            out.print(&json::text(&entry(&current(domain).await?).await?)?);
            Ok(())
        }
        SnapshotsAct::CurrentXml(flags) => {
            let xml = current(domain).await?.xml(flags.bits()).await?;
            out.print(&xml);
            Ok(())
        }
    }
}

pub(super) async fn create(
    domain: &Domain<'_>,
    document: Document,
    flags: CreateFlags,
    out: &mut Output,
) -> Result<(), Failure> {
    let (xml, file) = match document {
        Document::File(path) => (read(&path)?, Some(path)),
        Document::Text(xml) => (xml, None),
        Document::Empty => ("<domainsnapshot/>".to_owned(), None),
    };
    let shown = Shown::on_terminal(out.is_quiet());
    let fallback = if file.is_some() { Fallback::Faithful } else { Fallback::WithoutValidation };
    let snapshot = during(shown, "taking the snapshot", domain, taken(domain, &xml, flags, fallback)).await?;
    match file {
        Some(file) => out.extra(&format!("Domain snapshot {} created from '{file}'", snapshot.name)),
        None => out.extra(&format!("Domain snapshot {} created", snapshot.name)),
    }
    Ok(())
}

/// What may be left out for a service that does not know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fallback {
    /// A document of our own need not be validated.
    WithoutValidation,
    Faithful,
}

/// As virsh does (`virshSnapshotCreate`), what an older service lacks is done without it: VALIDATE, and HALT by a
/// destroy after the snapshot.
async fn taken<'b>(
    domain: &Domain<'b>,
    xml: &str,
    mut flags: CreateFlags,
    fallback: Fallback,
) -> Result<Snapshot<'b>, Failure> {
    let mut answer = domain.create_snapshot(xml, flags.bits()).await;
    if fallback == Fallback::WithoutValidation
        && flags.contains(CreateFlags::VALIDATE)
        && answer.as_ref().is_err_and(|cause| cause.is(Code::NoSupport))
    {
        flags -= CreateFlags::VALIDATE;
        answer = domain.create_snapshot(xml, flags.bits()).await;
    }
    if !answer.as_ref().is_err_and(|cause| cause.refuses_flag(CreateFlags::HALT.bits())) {
        return Ok(answer?);
    }
    if !domain.is("Persistent").await? {
        return Err(Failure::new("cannot halt after snapshot of transient domain"));
    }
    let is_up = domain.is("Active").await?;
    let snapshot = domain.create_snapshot(xml, (flags - CreateFlags::HALT).bits()).await?;
    if is_up {
        domain.call::<_, ()>("Destroy", &0_u32).await?;
    }
    Ok(snapshot)
}

/// The flags to redefine a snapshot by its own document.
pub(super) fn redefinition(xml: &str, flags: CreateFlags) -> CreateFlags {
    let disks_only = xml.contains("<state>disk-snapshot</state>");
    flags | if disks_only { CreateFlags::DISK_ONLY } else { CreateFlags::empty() }
}

/// What `snapshot-list --json` says of a snapshot.
async fn entry(snapshot: &Snapshot<'_>) -> Result<json::Snapshot, Failure> {
    let facts = facts(snapshot).await?;
    Ok(json::Snapshot::new(snapshot.name.clone(), facts, snapshot.is_current().await?))
}

async fn facts(snapshot: &Snapshot<'_>) -> Result<Facts, Failure> {
    let xml = snapshot.xml(0).await?;
    Facts::read(&xml).ok_or_else(|| Failure::new("unexpected problem reading snapshot xml"))
}

async fn current<'b>(domain: &Domain<'b>) -> Result<Snapshot<'b>, Failure> {
    match domain.current_snapshot().await {
        Ok(snapshot) => Ok(snapshot),
        Err(cause) if cause.is(Code::NoDomainSnapshot) => {
            Err(Failure::new(format!("domain '{}' has no current snapshot", domain.name().await?)))
        }
        Err(cause) => Err(cause.into()),
    }
}

pub(super) async fn run(
    domain: &Domain<'_>,
    snapshot: &Snapshot<'_>,
    act: SnapshotAct,
    out: &mut Output,
) -> Result<(), Failure> {
    let name = &snapshot.name;
    match act {
        SnapshotAct::MakeCurrent => {
            let xml = snapshot.xml(XmlFlags::SECURE.bits()).await?;
            let flags = redefinition(&xml, CreateFlags::REDEFINE | CreateFlags::CURRENT);
            domain.create_snapshot(&xml, flags.bits()).await?;
            out.extra(&format!("Snapshot {name} set as current"));
        }
        SnapshotAct::DumpXml(dump) => {
            let xml = snapshot.xml(dump.flags.bits()).await?;
            out.print(&dumped(&xml, &dump)?);
        }
        SnapshotAct::Edit { flags, new_name } => edit::run(domain, snapshot, flags, new_name, out).await?,
        SnapshotAct::Info(Form::Text) => info(domain, snapshot, out).await?,
        SnapshotAct::Info(Form::Json) => {
            let said = json::SnapshotInfo {
                snapshot: entry(snapshot).await?,
                domain: domain.name().await?,
                children: below(snapshot, ListFlags::empty()).await?,
                descendants: below(snapshot, ListFlags::ROOTS_OR_DESCENDANTS).await?,
                metadata: true,
            };
            out.print(&json::text(&said)?);
        }
        SnapshotAct::Parent(form) => match snapshot.parent().await? {
            Some(parent) if form == Form::Json => out.print(&json::text(&entry(&parent).await?)?),
            Some(parent) => out.print(&parent.name),
            None => return Err(Failure::new(format!("snapshot '{name}' has no parent"))),
        },
        SnapshotAct::Revert { flags, force } => {
            let shown = Shown::on_terminal(out.is_quiet());
            during(shown, "reverting", domain, revert(snapshot, flags, force))
                .await
                .map_err(|cause| Failure::behind(format!("Failed to revert snapshot {name}"), cause))?;
            out.extra(&format!("Domain snapshot {name} reverted\n"));
        }
        SnapshotAct::Delete(flags) => {
            let shown = Shown::on_terminal(out.is_quiet());
            during(shown, "deleting", domain, snapshot.delete(flags.bits()))
                .await
                .map_err(|cause| Failure::behind(format!("Failed to delete snapshot {name}"), cause))?;
            let children = if flags.contains(DeleteFlags::CHILDREN_ONLY) { " children" } else { "" };
            out.extra(&format!("Domain snapshot {name}{children} deleted\n"));
        }
    }
    Ok(())
}

/// Force only where the service says that it makes a difference, as virsh does.
async fn revert(snapshot: &Snapshot<'_>, flags: RevertFlags, force: Force) -> Result<(), CallError> {
    match snapshot.revert(flags.bits()).await {
        Err(cause) if force == Force::IfNeeded && cause.is(Code::SnapshotRevertRisky) => {
            snapshot.revert((flags | RevertFlags::FORCE).bits()).await
        }
        answer => answer,
    }
}

async fn info(domain: &Domain<'_>, snapshot: &Snapshot<'_>, out: &mut Output) -> Result<(), Failure> {
    out.print(&info_line("Name", &snapshot.name));
    out.print(&info_line("Domain", &domain.name().await?));
    out.print(&info_line("Current", if snapshot.is_current().await? { "yes" } else { "no" }));
    let facts = facts(snapshot).await?;
    out.print(&info_line("State", &facts.state));
    out.print(&info_line("Location", facts.location));
    out.print(&info_line("Parent", facts.parent.as_deref().unwrap_or("-")));
    out.print(&info_line("Children", &below(snapshot, ListFlags::empty()).await?.to_string()));
    out.print(&info_line("Descendants", &below(snapshot, ListFlags::ROOTS_OR_DESCENDANTS).await?.to_string()));
    // The API does not tell; no driver since libvirt 0.8 has a snapshot without metadata.
    out.print(&info_line("Metadata", "yes"));
    Ok(())
}

async fn below(snapshot: &Snapshot<'_>, flags: ListFlags) -> Result<usize, CallError> {
    Ok(snapshot.children(flags.bits()).await?.len())
}

//! Commands on the snapshots of a domain.

use super::super::action::{Document, Force, SnapshotAct, SnapshotsAct, Which};
use super::super::document::Facts;
use super::super::failure::Failure;
use super::super::output::Output;
use super::super::progress::{Shown, during};
use super::super::render::info_line;
use super::super::wire::{CallError, Domain, Snapshot};
use super::{listing, read};
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
    let snapshot = during(shown, "taking the snapshot", domain, domain.create_snapshot(&xml, flags.bits())).await?;
    match file {
        Some(file) => out.extra(&format!("Domain snapshot {} created from '{file}'", snapshot.name)),
        None => out.extra(&format!("Domain snapshot {} created", snapshot.name)),
    }
    Ok(())
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
            let mut flags = CreateFlags::REDEFINE | CreateFlags::CURRENT;
            if xml.contains("<state>disk-snapshot</state>") {
                flags |= CreateFlags::DISK_ONLY;
            }
            domain.create_snapshot(&xml, flags.bits()).await?;
            out.extra(&format!("Snapshot {name} set as current"));
        }
        SnapshotAct::DumpXml(flags) => out.print(&snapshot.xml(flags.bits()).await?),
        SnapshotAct::Info => info(domain, snapshot, out).await?,
        SnapshotAct::Parent => match snapshot.parent().await? {
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
    let facts =
        Facts::read(&snapshot.xml(0).await?).ok_or_else(|| Failure::new("unexpected problem reading snapshot xml"))?;
    out.print(&info_line("State", &facts.state));
    out.print(&info_line("Location", facts.location));
    out.print(&info_line("Parent", facts.parent.as_deref().unwrap_or("-")));
    let below = async |flags: ListFlags| snapshot.children(flags.bits()).await.map(|c| c.len().to_string());
    out.print(&info_line("Children", &below(ListFlags::empty()).await?));
    out.print(&info_line("Descendants", &below(ListFlags::ROOTS_OR_DESCENDANTS).await?));
    // The API does not tell; no driver since libvirt 0.8 has a snapshot without metadata.
    out.print(&info_line("Metadata", "yes"));
    Ok(())
}

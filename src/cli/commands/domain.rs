//! Commands on one domain.

use super::super::action::{DomainAct, Form};
use super::super::domain_document::Size;
use super::super::failure::Failure;
use super::super::json;
use super::super::output::Output;
use super::super::progress::{Shown, during};
use super::super::render::{Table, info_line};
use super::super::texts;
use super::super::wire::{CallError, Domain};

/// `GetFSInfo`: mount point, name, type and the targets of its disks.
type FileSystem = (String, String, String, Vec<String>);

pub(super) async fn run(domain: &Domain<'_>, act: DomainAct, out: &mut Output) -> Result<(), Failure> {
    match act {
        DomainAct::Undefine(flags) => {
            let name = domain.name().await?;
            let answer = domain.call("Undefine", &flags.bits()).await;
            tell(
                out,
                answer,
                format!("Domain '{name}' has been undefined"),
                format!("Failed to undefine domain '{name}'"),
            )
        }
        DomainAct::Start(flags) => {
            let name = domain.name().await?;
            if domain.is("Active").await? {
                return Err(Failure::new("Domain is already active"));
            }
            let answer = domain.call("Create", &flags.bits()).await;
            tell(out, answer, format!("Domain '{name}' started"), format!("Failed to start domain '{name}'"))
        }
        DomainAct::Shutdown(mode) => {
            let name = domain.name().await?;
            let answer = domain.call("Shutdown", &mode).await;
            tell(
                out,
                answer,
                format!("Domain '{name}' is being shutdown"),
                format!("Failed to shutdown domain '{name}'"),
            )
        }
        DomainAct::Reboot(mode) => {
            let name = domain.name().await?;
            let answer = domain.call("Reboot", &mode).await;
            tell(out, answer, format!("Domain '{name}' is being rebooted"), format!("Failed to reboot domain '{name}'"))
        }
        DomainAct::Reset => {
            let name = domain.name().await?;
            let answer = domain.call("Reset", &0_u32).await;
            tell(out, answer, format!("Domain '{name}' was reset"), format!("Failed to reset domain '{name}'"))
        }
        DomainAct::Destroy(flags) => {
            let name = domain.name().await?;
            let answer = domain.call("Destroy", &flags).await;
            tell(out, answer, format!("Domain '{name}' destroyed"), format!("Failed to destroy domain '{name}'"))
        }
        DomainAct::Suspend => {
            let name = domain.name().await?;
            let answer = domain.call("Suspend", &()).await;
            tell(out, answer, format!("Domain '{name}' suspended"), format!("Failed to suspend domain '{name}'"))
        }
        DomainAct::Resume => {
            let name = domain.name().await?;
            let answer = domain.call("Resume", &()).await;
            tell(out, answer, format!("Domain '{name}' resumed"), format!("Failed to resume domain '{name}'"))
        }
        DomainAct::Autostart(on) => {
            let (name, verb) = (domain.name().await?, if on { "mark" } else { "unmark" });
            let answer = domain.set_autostart(on).await;
            let done = format!("Domain '{name}' {verb}ed as autostarted");
            tell(out, answer, done, format!("Failed to {verb} domain '{name}' as autostarted"))
        }
        DomainAct::ManagedSave(flags) => {
            let name = domain.name().await?;
            let shown = Shown::on_terminal(out.is_quiet());
            let answer = during(shown, "saving", domain, domain.call("ManagedSave", &flags)).await;
            let done = format!("\nDomain '{name}' state saved by libvirt");
            tell(out, answer, done, format!("Failed to save domain '{name}' state"))
        }
        DomainAct::ManagedSaveRemove => {
            let name = domain.name().await?;
            if !domain.has_managed_save().await? {
                out.extra(&format!("Domain '{name}' has no manage save image; removal skipped"));
                return Ok(());
            }
            let answer: Result<(), CallError> = domain.call("ManagedSaveRemove", &0_u32).await;
            let failed = format!("Failed to remove managed save image for domain '{name}'");
            answer.map_err(|cause| Failure::behind(failed, cause))?;
            out.extra(&format!("Removed managedsave image for domain '{name}'"));
            Ok(())
        }
        DomainAct::Rename(name) => {
            domain.call::<_, ()>("Rename", &(name, 0_u32)).await?;
            out.extra("Domain successfully renamed\n");
            Ok(())
        }
        DomainAct::FsFreeze(mountpoints) => {
            let answer: Result<u32, CallError> = domain.call("FSFreeze", &(mountpoints, 0_u32)).await;
            let count = answer.map_err(|cause| Failure::behind("Unable to freeze filesystems", cause))?;
            out.extra(&format!("Froze {count} filesystem(s)\n"));
            Ok(())
        }
        DomainAct::FsThaw(mountpoints) => {
            let answer: Result<u32, CallError> = domain.call("FSThaw", &(mountpoints, 0_u32)).await;
            let count = answer.map_err(|cause| Failure::behind("Unable to thaw filesystems", cause))?;
            out.extra(&format!("Thawed {count} filesystem(s)\n"));
            Ok(())
        }
        DomainAct::FsInfo => {
            let answer: Result<Vec<FileSystem>, CallError> = domain.call("GetFSInfo", &0_u32).await;
            let found = answer.map_err(|cause| Failure::behind("Unable to get filesystem information", cause))?;
            if found.is_empty() {
                out.extra("No filesystems are mounted in the domain");
                return Ok(());
            }
            let mut table = Table::new(&["Mountpoint", "Name", "Type", "Target"]);
            for (mountpoint, name, kind, targets) in &found {
                table.row(&[mountpoint, name, kind, &targets.join(",")]);
            }
            super::listing::print_table(&table, out);
            Ok(())
        }
        DomainAct::DumpXml(dump) => {
            let xml = domain.xml(dump.flags.bits()).await?;
            out.print(&super::dumped(&xml, &dump)?);
            Ok(())
        }
        DomainAct::State => {
            let (state, _) = domain.state().await?;
            out.print(&format!("{}\n", texts::state(state)));
            Ok(())
        }
        DomainAct::StateAndReason => {
            let (state, reason) = domain.state().await?;
            out.print(&format!("{} ({})\n", texts::state(state), texts::reason(state, reason)));
            Ok(())
        }
        DomainAct::StateJson => {
            let (state, reason) = domain.state().await?;
            let said = json::State { state: texts::state(state), reason: texts::reason(state, reason) };
            out.print(&json::text(&said)?);
            Ok(())
        }
        DomainAct::Id => {
            out.print(&format!("{}\n", id(domain).await?));
            Ok(())
        }
        DomainAct::Name => {
            out.print(&format!("{}\n", domain.name().await?));
            Ok(())
        }
        DomainAct::Uuid => {
            out.print(&format!("{}\n", domain.uuid().await?));
            Ok(())
        }
        DomainAct::Info(Form::Text) => info(domain, out).await,
        DomainAct::Info(Form::Json) => {
            out.print(&json::text(&full(domain).await?)?);
            Ok(())
        }
    }
}

/// The confirmation, or the command's own line before the service's.
fn tell(out: &mut Output, answer: Result<(), CallError>, done: String, failed: String) -> Result<(), Failure> {
    answer.map_err(|cause| Failure::behind(failed, cause))?;
    out.extra(&format!("{done}\n"));
    Ok(())
}

/// The id in a column; `-` for a domain that does not run.
pub(super) async fn id(domain: &Domain<'_>) -> Result<String, CallError> {
    Ok(domain.id().await?.map_or_else(|| "-".to_owned(), |id| id.to_string()))
}

async fn info(domain: &Domain<'_>, out: &mut Output) -> Result<(), Failure> {
    let yes_no = |yes: bool| if yes { "yes" } else { "no" };
    let size = Size::read(&domain.xml(0).await?);
    let kib = |kib: Option<u64>| kib.map_or_else(|| "unknown".to_owned(), |k| format!("{k} KiB"));
    let (state, _) = domain.state().await?;
    out.print(&info_line("Id", &id(domain).await?));
    out.print(&info_line("Name", &domain.name().await?));
    out.print(&info_line("UUID", &domain.uuid().await?));
    out.print(&info_line("OS Type", &domain.os_type().await?));
    out.print(&info_line("State", texts::state(state)));
    out.print(&info_line("CPU(s)", &size.cpus.to_string()));
    out.print(&info_line("Max memory", &kib(size.max_kib)));
    out.print(&info_line("Used memory", &kib(size.used_kib)));
    out.print(&info_line("Persistent", yes_no(domain.is("Persistent").await?)));
    out.print(&info_line("Autostart", if domain.is("Autostart").await? { "enable" } else { "disable" }));
    // Not every driver has managed saves.
    if let Ok(saved) = domain.has_managed_save().await {
        out.print(&info_line("Managed save", yes_no(saved)));
    }
    Ok(())
}

/// What `list --json` says of a domain.
pub(super) async fn entry(domain: &Domain<'_>) -> Result<json::Domain, CallError> {
    let (state, _) = domain.state().await?;
    Ok(json::Domain {
        id: domain.id().await?,
        name: domain.name().await?,
        uuid: domain.uuid().await?,
        state: texts::state(state),
        title: Some(domain.title().await).filter(|t| !t.is_empty()),
    })
}

async fn full(domain: &Domain<'_>) -> Result<json::Info, CallError> {
    let size = Size::read(&domain.xml(0).await?);
    Ok(json::Info {
        domain: entry(domain).await?,
        os_type: domain.os_type().await?,
        cpus: size.cpus,
        max_memory_kib: size.max_kib,
        used_memory_kib: size.used_kib,
        persistent: domain.is("Persistent").await?,
        autostart: domain.is("Autostart").await?,
        managed_save: domain.has_managed_save().await.ok(),
    })
}

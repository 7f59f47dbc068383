//! Commands on one domain.

use super::super::args::Typed;
use super::super::failure::Failure;
use super::{Dump, Form, form, on, refuse_both, text};
use crate::model::flags::{StartFlags, UndefineFlags, XmlFlags};

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
    /// `virDomainSaveRestoreFlags`.
    ManagedSave(u32),
    ManagedSaveRemove,
    /// The new name.
    Rename(String),
    /// The mount points; none: all.
    FsFreeze(Vec<String>),
    FsThaw(Vec<String>),
    FsInfo,
    DumpXml(Dump),
    State,
    StateAndReason,
    StateJson,
    Info(Form),
    Id,
    Name,
    Uuid,
}

pub(super) fn domain_act(typed: &Typed) -> Result<DomainAct, Failure> {
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
        "managedsave" => {
            let bit = |option, bit| if typed.has(option) { bit } else { 0 };
            DomainAct::ManagedSave(bit("bypass-cache", 1) | bit("running", 2) | bit("paused", 4))
        }
        "managedsave-remove" => DomainAct::ManagedSaveRemove,
        "domrename" => DomainAct::Rename(text(typed, "new-name")?.unwrap_or_default().to_owned()),
        "domfsfreeze" => DomainAct::FsFreeze(typed.values("mountpoint").map(str::to_owned).collect()),
        "domfsthaw" => DomainAct::FsThaw(typed.values("mountpoint").map(str::to_owned).collect()),
        "domfsinfo" => DomainAct::FsInfo,
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

pub(super) fn start_flags(typed: &Typed) -> StartFlags {
    on(typed, "paused", StartFlags::PAUSED)
        | on(typed, "bypass-cache", StartFlags::BYPASS_CACHE)
        | on(typed, "force-boot", StartFlags::FORCE_BOOT)
        | on(typed, "validate", StartFlags::VALIDATE)
        | on(typed, "reset-nvram", StartFlags::RESET_NVRAM)
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

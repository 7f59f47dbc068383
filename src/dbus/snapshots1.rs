//! `org.virsnap.Snapshots1`: what libvirt's interfaces lack, on domains.

use super::call::{Call, Fault, Reply};
use super::domain::done;
use super::mount::Mount;
use super::typed_params::Param;
use crate::engine::service::Progress;
use crate::error::{Code, Error};
use crate::model::flags::{self, DeleteFlags};
use crate::model::ids::{DomainId, SnapshotName};
use std::collections::BTreeMap;
use zbus::OwnedVariant;

/// Answer `member`.
pub(super) async fn call(mount: &Mount, id: DomainId, member: &str, call: &Call) -> Reply {
    let service = &mount.service;
    let no_flags = |bits| flags::none(bits, &format!("virsnap{member}"));
    match member {
        "ListForeign" => {
            let (bits,): (u32,) = call.args()?;
            no_flags(bits)?;
            let records = service.foreign_records(id).await?;
            let rows: Vec<_> = records.into_iter().map(|r| (r.name, r.file.to_string(), r.reason)).collect();
            call.reply(&(rows,))
        }
        "GetJob" => {
            let (bits,): (u32,) = call.args()?;
            no_flags(bits)?;
            call.reply(&(service.job(id)?.as_ref().map(job).unwrap_or_default(),))
        }
        "Cancel" => {
            let (bits,): (u32,) = call.args()?;
            no_flags(bits)?;
            done(call, service.cancel(id))
        }
        "PlanCreate" => {
            let (xml, bits): (String, u32) = call.args()?;
            call.reply(&(service.rehearse_create(id, &xml, bits).await?,))
        }
        "PlanDelete" => {
            let (name, bits): (String, u32) = call.args()?;
            call.reply(&(service.rehearse_delete(id, &SnapshotName(name), bits).await?,))
        }
        "PlanRevert" => {
            let (name, options): (String, BTreeMap<String, OwnedVariant>) = call.args()?;
            let Revert { flags, then } = Revert::read(&options)?;
            call.reply(&(service.rehearse_revert(id, &SnapshotName(name), flags, then).await?,))
        }
        "Revert" => {
            let (name, options): (String, BTreeMap<String, OwnedVariant>) = call.args()?;
            let (name, Revert { flags, then }) = (SnapshotName(name), Revert::read(&options)?);
            done(
                call,
                match then {
                    Some(then) => service.snapshot_revert_then(id, &name, flags, then).await,
                    None => service.snapshot_revert(id, &name, flags).await,
                },
            )
        }
        "Rename" => {
            let (from, to, bits): (String, String, u32) = call.args()?;
            no_flags(bits)?;
            let to = SnapshotName(to);
            service.snapshot_rename(id, &SnapshotName(from), &to).await?;
            call.reply(&(mount.root.snapshot(id, &to),))
        }
        "SetDescription" => {
            let (name, text, bits): (String, String, u32) = call.args()?;
            no_flags(bits)?;
            done(call, service.snapshot_describe(id, &SnapshotName(name), &text).await)
        }
        "Verify" => {
            let (bits,): (u32,) = call.args()?;
            no_flags(bits)?;
            let rows = service.verify(id).await?;
            let rows: Vec<_> = rows
                .into_iter()
                .map(|r| (r.snapshot, r.part, r.path.to_string(), r.status.as_str(), r.detail))
                .collect();
            call.reply(&(rows,))
        }
        _ => Err(Fault::unknown_method(format_args!("No such method “{member}”"))),
    }
}

/// `GetJob`'s answer and `JobProgress`'s body: the keys are in the interface's document.
pub(super) fn job(job: &Progress) -> BTreeMap<String, Param> {
    let operation = match job.operation {
        2 => "save",
        3 => "restore",
        6 => "create",
        7 => "revert",
        10 => "delete",
        _ => "discard",
    };
    let number = |n: usize| Param::U32(u32::try_from(n).unwrap_or(u32::MAX));
    let mut out = BTreeMap::from([
        ("operation", Param::from(operation)),
        ("snapshot", Param::from(job.snapshot.0.clone())),
        ("running", Param::Bool(job.end.is_none())),
        ("phase", Param::from(job.phase.clone())),
        ("step", number(job.step)),
        ("steps", number(job.steps)),
        ("bytes_done", Param::U64(job.bytes.0)),
        ("bytes_total", Param::U64(job.bytes.1)),
        ("elapsed_ms", Param::U64(job.elapsed_ms)),
    ]);
    out.extend(job.paused_us.map(|us| ("paused_us", Param::U64(us))));
    if let Some(Err(error)) = &job.end {
        out.insert("error", Param::from(error.clone()));
    }
    out.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

/// How a revert is asked for.
struct Revert {
    flags: u32,
    then: Option<DeleteFlags>,
}

impl Revert {
    fn read(options: &BTreeMap<String, OwnedVariant>) -> Result<Self, Fault> {
        let (mut flags, mut children, mut discard) = (0, false, false);
        for (key, value) in options {
            match (key.as_str(), &**value) {
                ("flags", Param::U32(bits)) => flags = *bits,
                ("delete-children", Param::Bool(on)) => children = *on,
                ("discard", Param::Bool(on)) => discard = *on,
                ("flags" | "delete-children" | "discard", other) => {
                    let given = other.value_signature().to_string();
                    return Err(Fault::invalid_args(format_args!("Option “{key}” must not be of type “{given}”")));
                }
                _ => return Err(Error::new(Code::InvalidArg, format!("unknown option '{key}' of a revert")).into()),
            }
        }
        let then = match (children, discard) {
            (false, false) => None,
            (true, false) => Some(DeleteFlags::CHILDREN_ONLY),
            (false, true) => Some(DeleteFlags::empty()),
            (true, true) => Some(DeleteFlags::CHILDREN),
        };
        Ok(Self { flags, then })
    }
}

//! `org.virsnap.Snapshots1`: what libvirt's interfaces lack, on domains.

use super::call::{Call, Fault, Reply};
use super::mount::Mount;
use crate::model::flags;
use crate::model::ids::DomainId;

/// Answer `member`.
pub(super) async fn call(mount: &Mount, id: DomainId, member: &str, call: &Call) -> Reply {
    match member {
        "ListForeign" => {
            let (bits,): (u32,) = call.args()?;
            flags::none(bits, "virsnapListForeign")?;
            let records = mount.service.foreign_records(id).await?;
            let rows: Vec<_> = records.into_iter().map(|r| (r.name, r.file.to_string(), r.reason)).collect();
            call.reply(&(rows,))
        }
        _ => Err(Fault::unknown_method(format_args!("No such method “{member}”"))),
    }
}

//! The block jobs of `org.libvirt.Domain`.

use super::call::{Call, Fault, Reply};
use super::domain::done;
use crate::engine::block_jobs::CopyLimits;
use crate::engine::service::Service;
use crate::error::{Code, Error};
use crate::model::ids::DomainId;
use std::collections::HashMap;
use zbus::{OwnedVariant, Variant};

/// Answer `member`.
pub(super) async fn call(service: &Service, id: DomainId, member: &str, call: &Call) -> Reply {
    match member {
        "BlockCopy" => {
            let (disk, xml, params, bits): (String, String, HashMap<String, OwnedVariant>, u32) = call.args()?;
            done(call, service.block_copy(id, &disk, &xml, copy_limits(&params)?, bits).await)
        }
        "BlockJobAbort" => {
            let (disk, bits): (String, u32) = call.args()?;
            done(call, service.block_job_abort(id, &disk, bits).await)
        }
        "BlockJobSetSpeed" => {
            let (disk, bandwidth, bits): (String, u64, u32) = call.args()?;
            done(call, service.block_job_set_speed(id, &disk, bandwidth, bits).await)
        }
        _ => {
            let (disk, bits): (String, u32) = call.args()?;
            let job = service.block_job_info(id, &disk, bits).await?;
            call.reply(&(job.map_or((0, 0, 0, 0), |j| (j.kind as i32, j.bandwidth, j.done, j.total)),))
        }
    }
}

/// `virDomainBlockCopy`'s typed parameters.
fn copy_limits(params: &HashMap<String, OwnedVariant>) -> Result<CopyLimits, Fault> {
    let mut limits = CopyLimits::default();
    for (name, value) in params {
        let place = match name.as_str() {
            "bandwidth" => &mut limits.bandwidth,
            "granularity" => &mut limits.granularity,
            "buf-size" => &mut limits.buffer,
            other => return Err(Error::new(Code::InvalidArg, format!("parameter '{other}' not supported")).into()),
        };
        *place = match &**value {
            Variant::U64(n) => *n,
            Variant::U32(n) => u64::from(*n),
            _ => return Err(Error::new(Code::InvalidArg, format!("invalid type for parameter '{name}'")).into()),
        };
    }
    Ok(limits)
}

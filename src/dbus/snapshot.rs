//! `org.libvirt.DomainSnapshot`.

use super::call::{Call, Fault, Reply};
use super::domain::done;
use super::mount::Mount;
use super::schema::Method;
use crate::model::ids::{DomainId, SnapshotName};

/// Answer `member`.
pub(super) async fn call(
    mount: &Mount,
    id: DomainId,
    name: &SnapshotName,
    member: &str,
    method: &Method,
    call: &Call,
) -> Reply {
    let service = &mount.service;
    let bits = || call.args::<(u32,)>().map(|(bits,)| bits);
    match member {
        "GetXMLDesc" => call.reply(&(service.snapshot_xml(id, name, bits()?)?,)),
        "IsCurrent" => call.reply(&(service.snapshot_is_current(id, name, bits()?)?,)),
        "GetParent" => {
            let parent = service.snapshot_parent(id, name, bits()?)?;
            call.reply(&(mount.root.snapshot(id, &parent),))
        }
        "ListChildren" => {
            let names = service.snapshot_list(id, Some(name), bits()?)?;
            call.reply(&(names.iter().map(|name| mount.root.snapshot(id, name)).collect::<Vec<_>>(),))
        }
        "Revert" => done(call, service.snapshot_revert(id, name, bits()?).await),
        "Delete" => done(call, service.snapshot_delete(id, name, bits()?).await),
        _ => Err(Fault::unsupported(&method.function)),
    }
}

//! The engine's events as libvirt-dbus's signals (`src/events.c`), and as those of our own interface.

use super::path::Root;
use super::snapshots1;
use super::typed_params::{self, Param};
use crate::model::event::{Event, EventKind, SnapshotNews};
use crate::model::ids::SnapshotName;
use serde::Serialize;
use zbus::message::Message;
use zbus::{DynamicType, ObjectPath};

const CONNECT: &str = "org.libvirt.Connect";
const DOMAIN: &str = "org.libvirt.Domain";
const OWN: &str = "org.virsnap.Snapshots1";

/// The signal that tells of `event`; none if it cannot be told.
pub(super) fn message(root: &Root, event: &Event) -> Option<Message> {
    let domain = root.domain(event.domain);
    let on_domain = |name, values: &dyn Fn(zbus::message::Builder<'_>) -> zbus::Result<Message>| {
        values(Message::signal(domain.clone(), DOMAIN, name))
    };
    let built = match &event.kind {
        EventKind::Lifecycle(change) => {
            let (event, detail) = change.numbers();
            Message::signal(root.path(), CONNECT, "DomainEvent").build(&(domain.clone(), event, detail))
        }
        EventKind::Reboot => on_domain("Reboot", &with(&())),
        EventKind::BalloonChange(kib) => on_domain("BalloonChange", &with(&(*kib,))),
        EventKind::MetadataChange { kind, uri } => on_domain("MetadataChange", &with(&(*kind, uri))),
        EventKind::DiskChange { old, new, device, reason } => {
            on_domain("DiskChange", &with(&(old, new, device, *reason)))
        }
        EventKind::BlockJob { disk, job, status } => on_domain("BlockJob", &with(&(disk, *job, *status))),
        EventKind::Snapshot(news) => {
            let own = |name, snapshot: Option<&SnapshotName>| {
                // D-Bus has no path that names nothing: the root stands for none.
                let none = || ObjectPath::from_static_str_unchecked("/");
                let path = snapshot.map_or_else(none, |s| root.snapshot(event.domain, s));
                let name_of = snapshot.map_or("", SnapshotName::as_str);
                Message::signal(domain.clone(), OWN, name).build(&(path, name_of))
            };
            match news {
                SnapshotNews::Added(name) => own("SnapshotAdded", Some(name)),
                SnapshotNews::Removed(name) => own("SnapshotRemoved", Some(name)),
                SnapshotNews::Changed(name) => own("SnapshotChanged", Some(name)),
                SnapshotNews::Current(name) => own("CurrentChanged", name.as_ref()),
                SnapshotNews::Renamed { from, to } => {
                    let path = |name| root.snapshot(event.domain, name);
                    let body = (path(from), from.as_str(), path(to), to.as_str());
                    Message::signal(domain.clone(), OWN, "SnapshotRenamed").build(&body)
                }
            }
        }
        EventKind::JobProgress(job) => {
            Message::signal(domain.clone(), OWN, "JobProgress").build(&(snapshots1::job(job),))
        }
        EventKind::JobCompleted { operation, elapsed_ms, downtime_ms, error } => {
            let mut params = vec![
                ("operation", Param::I32(*operation)),
                ("time_elapsed", Param::U64(*elapsed_ms)),
                ("success", Param::Bool(error.is_none())),
            ];
            params.extend(downtime_ms.map(|ms| ("downtime", Param::U64(ms))));
            params.extend(error.as_deref().map(|text| ("errmsg", Param::from(text.to_owned()))));
            on_domain("JobCompleted", &with(&(typed_params::dict(params),)))
        }
    };
    built.inspect_err(|error| tracing::error!(%error, ?event, "an event that D-Bus cannot carry")).ok()
}

fn with<B: Serialize + DynamicType>(values: &B) -> impl Fn(zbus::message::Builder<'_>) -> zbus::Result<Message> {
    move |builder| builder.build(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::event::Lifecycle;
    use crate::model::ids::DomainId;

    #[test]
    fn every_event_is_the_signal_of_libvirt_dbus() {
        let root = Root::new("QEMU");
        let domain = DomainId(uuid::Uuid::from_u128(2));
        let leaf = "/org/libvirt/QEMU/domain/_00000000_0000_0000_0000_000000000002";
        let disk = EventKind::DiskChange { old: "a".into(), new: "b".into(), device: "vda".into(), reason: 0 };
        let job =
            EventKind::JobCompleted { operation: 6, elapsed_ms: 5, downtime_ms: Some(3), error: Some("no".into()) };
        for (kind, path, member, signature) in [
            (EventKind::Lifecycle(Lifecycle::StartedFromSnapshot), "/org/libvirt/QEMU", "DomainEvent", "oii"),
            (EventKind::Reboot, leaf, "Reboot", ""),
            (EventKind::BalloonChange(7), leaf, "BalloonChange", "t"),
            (EventKind::MetadataChange { kind: 2, uri: "u".into() }, leaf, "MetadataChange", "is"),
            (disk, leaf, "DiskChange", "sssi"),
            (EventKind::BlockJob { disk: "vda".into(), job: 3, status: 0 }, leaf, "BlockJob", "sii"),
            (job, leaf, "JobCompleted", "a{sv}"),
        ] {
            let m = message(&root, &Event { domain, kind }).unwrap();
            let header = m.header();
            assert_eq!(header.path().unwrap().as_str(), path);
            assert_eq!(header.member().unwrap().as_str(), member);
            assert_eq!(header.interface().unwrap().as_str(), if member == "DomainEvent" { CONNECT } else { DOMAIN });
            assert_eq!(m.body().signature().to_string_no_parens(), signature);
        }
    }
}

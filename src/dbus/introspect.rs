//! `org.freedesktop.DBus.Introspectable`: the documents of an object, and the names below it.
//!
//! Names only: a client that wants a child's interfaces asks the child.

use super::path::{Mount, Place, domain_leaf, snapshot_leaf};
use super::schema::{Interface, Schema};
use std::fmt::Write;

const HEAD: &str = "<!DOCTYPE node PUBLIC \"-//freedesktop//DTD D-BUS Object Introspection 1.0//EN\"\n\
                    \"http://www.freedesktop.org/standards/dbus/1.0/introspect.dtd\">\n<node>\n";

/// The document of what `place` is; `path` is its path.
pub(super) fn document(schema: &Schema, mounts: &[Mount], place: &Place<'_>, path: &str) -> String {
    let mut out = HEAD.to_owned();
    let mut interfaces = |own: Option<&Interface>| {
        let standard = schema.standard.iter().filter(|i| own.is_some() || !i.name.ends_with(".Properties"));
        standard.chain(own).for_each(|i| out.push_str(&i.text));
    };
    match place {
        Place::Connect(_) => interfaces(Some(&schema.connect)),
        Place::Domain(..) => interfaces(Some(&schema.domain)),
        Place::Snapshot(..) => interfaces(Some(&schema.snapshot)),
        Place::Domains(_) | Place::Snapshots(_) => interfaces(None),
        Place::Above | Place::Nowhere => {}
    }
    for child in children(mounts, place, path) {
        // Writing to a String cannot fail; leaves need no escaping.
        let _ = writeln!(out, "  <node name=\"{child}\"/>");
    }
    out.push_str("</node>\n");
    out
}

fn children(mounts: &[Mount], place: &Place<'_>, path: &str) -> Vec<String> {
    match place {
        Place::Above if path == "/" => vec!["org".to_owned()],
        Place::Above if path == "/org" => vec!["libvirt".to_owned()],
        Place::Above => mounts.iter().map(|m| m.leaf().to_owned()).collect(),
        Place::Connect(_) => vec!["domain".to_owned(), "domainsnapshot".to_owned()],
        Place::Domains(mount) => mount.service.list(0).unwrap_or_default().into_iter().map(domain_leaf).collect(),
        Place::Snapshots(mount) => {
            let mut leaves = Vec::new();
            for id in mount.service.list(0).unwrap_or_default() {
                let names = mount.service.snapshot_list(id, None, 0).unwrap_or_default();
                leaves.extend(names.iter().map(|name| snapshot_leaf(id, name)));
            }
            leaves
        }
        Place::Domain(..) | Place::Snapshot(..) | Place::Nowhere => Vec::new(),
    }
}

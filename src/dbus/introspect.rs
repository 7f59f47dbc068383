//! `org.freedesktop.DBus.Introspectable`: the documents of an object, and the names below it.
//!
//! Names only: a client that wants a child's interfaces asks the child.

use super::mount::{Mount, Place};
use super::path::Object;
use super::schema::{Interface, Schema};
use crate::model::path::{domain_leaf, snapshot_leaf};
use std::fmt::Write;

const HEAD: &str = "<!DOCTYPE node PUBLIC \"-//freedesktop//DTD D-BUS Object Introspection 1.0//EN\"\n\
                    \"http://www.freedesktop.org/standards/dbus/1.0/introspect.dtd\">\n<node>\n";

/// The document of what `place` is; `path` is its path.
pub(super) fn document(schema: &Schema, mounts: &[Mount], place: &Place<'_>, path: &str) -> String {
    let mut out = HEAD.to_owned();
    let mut interfaces = |own: Option<&Interface>, beside: Option<&Interface>| {
        let standard = schema.standard.iter().filter(|i| own.is_some() || !i.name.ends_with(".Properties"));
        standard.chain(own).chain(beside).for_each(|i| out.push_str(&i.text));
    };
    match place {
        Place::At(_, object) => interfaces(schema.of(object), schema.beside(object)),
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
        Place::Above => mounts.iter().map(|m| m.root.leaf().to_owned()).collect(),
        Place::Nowhere => Vec::new(),
        Place::At(mount, object) => match object {
            Object::Connect => vec!["domain".to_owned(), "domainsnapshot".to_owned()],
            Object::Domains => mount.service.list(0).unwrap_or_default().into_iter().map(domain_leaf).collect(),
            Object::Snapshots => {
                let mut leaves = Vec::new();
                for id in mount.service.list(0).unwrap_or_default() {
                    let names = mount.service.snapshot_list(id, None, 0).unwrap_or_default();
                    leaves.extend(names.iter().map(|name| snapshot_leaf(id, name)));
                }
                leaves
            }
            Object::Domain(_) | Object::Snapshot(_) => Vec::new(),
        },
    }
}

//! The API as data: the introspection documents, read once into a table of members.
//!
//! Must not know: which members have a handler.

use super::path::Object;
use crate::error::{Error, Result};
use std::collections::HashMap;

/// The interfaces that every object has (D-Bus specification, "Standard Interfaces").
const STANDARD: &str = include_str!("../../schemas/org.freedesktop.DBus.xml");
const CONNECT: &str = include_str!("../../schemas/org.libvirt.Connect.xml");
const DOMAIN: &str = include_str!("../../schemas/org.libvirt.Domain.xml");
const SNAPSHOT: &str = include_str!("../../schemas/org.libvirt.DomainSnapshot.xml");
/// What libvirt's interfaces lack, on domains.
const OWN: &str = include_str!("../../schemas/org.virsnap.Snapshots1.xml");

/// One method: the types of its arguments and results, and the libvirt function it stands for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Method {
    pub(super) input: String,
    pub(super) output: String,
    pub(super) function: String,
}

/// One property.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Property {
    pub(super) name: String,
    pub(super) signature: String,
    pub(super) writable: bool,
}

/// One interface and its text.
#[derive(Debug)]
pub(super) struct Interface {
    pub(super) name: String,
    pub(super) methods: HashMap<String, Method>,
    /// In the document's order.
    pub(super) properties: Vec<Property>,
    /// `<interface>…</interface>`, indented by two.
    pub(super) text: String,
}

impl Interface {
    /// The property of that name.
    pub(super) fn property(&self, name: &str) -> Option<&Property> {
        self.properties.iter().find(|p| p.name == name)
    }
}

/// All interfaces, by what they are on.
#[derive(Debug)]
pub(super) struct Schema {
    pub(super) standard: Vec<Interface>,
    pub(super) connect: Interface,
    pub(super) domain: Interface,
    pub(super) snapshot: Interface,
    /// virsnap's own, on domains.
    pub(super) own: Interface,
}

impl Schema {
    /// The documents that were built in.
    pub(super) fn load() -> Result<Self> {
        let one = |text| {
            let first = parse(text)?.into_iter().next();
            first.ok_or_else(|| Error::internal("an introspection document without interface"))
        };
        Ok(Self {
            standard: parse(STANDARD)?,
            connect: one(CONNECT)?,
            domain: one(DOMAIN)?,
            snapshot: one(SNAPSHOT)?,
            own: one(OWN)?,
        })
    }

    /// virsnap's own interface of an object, beside libvirt's.
    pub(super) fn beside(&self, object: &Object) -> Option<&Interface> {
        matches!(object, Object::Domain(_)).then_some(&self.own)
    }

    /// The interface of an object's own; the parents of domains and of snapshots have none.
    pub(super) fn of(&self, object: &Object) -> Option<&Interface> {
        match object {
            Object::Connect => Some(&self.connect),
            Object::Domain(_) => Some(&self.domain),
            Object::Snapshot(_) => Some(&self.snapshot),
            Object::Domains | Object::Snapshots => None,
        }
    }
}

fn parse(text: &str) -> Result<Vec<Interface>> {
    let document = roxmltree::Document::parse(text).map_err(Error::internal)?;
    Ok(document.root_element().children().filter(|n| n.has_tag_name("interface")).map(|n| interface(text, n)).collect())
}

fn interface(text: &str, node: roxmltree::Node<'_, '_>) -> Interface {
    let mut methods = HashMap::new();
    let mut properties = Vec::new();
    for member in node.children().filter(roxmltree::Node::is_element) {
        let name = attribute(member, "name").to_owned();
        match member.tag_name().name() {
            "method" => {
                let input = signature(member, "in");
                methods.insert(name, Method { input, output: signature(member, "out"), function: function(member) });
            }
            "property" => properties.push(Property {
                name,
                signature: attribute(member, "type").to_owned(),
                writable: attribute(member, "access").ends_with("write"),
            }),
            _ => {}
        }
    }
    let text = format!("  {}\n", text.get(node.range()).unwrap_or_default());
    Interface { name: attribute(node, "name").to_owned(), methods, properties, text }
}

fn attribute<'a>(node: roxmltree::Node<'a, '_>, name: &str) -> &'a str {
    node.attribute(name).unwrap_or_default()
}

fn signature(member: roxmltree::Node<'_, '_>, direction: &str) -> String {
    let args = member.children().filter(|n| n.has_tag_name("arg") && n.attribute("direction") == Some(direction));
    args.map(|n| attribute(n, "type")).collect()
}

/// The last part of `See https://libvirt.org/html/…#virDomainCreate`.
fn function(member: roxmltree::Node<'_, '_>) -> String {
    let doc = member.children().find(|n| n.attribute("name") == Some("org.gtk.GDBus.DocString"));
    doc.and_then(|n| n.attribute("value")?.rsplit_once('#')).map(|(_, f)| f.to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_api_has_the_size_and_the_types_of_libvirt_dbus() {
        let s = Schema::load().unwrap();
        assert_eq!((s.connect.methods.len(), s.connect.properties.len()), (56, 5));
        assert_eq!((s.domain.methods.len(), s.domain.properties.len()), (94, 9));
        assert_eq!((s.snapshot.methods.len(), s.snapshot.properties.len()), (6, 0));
        let names: Vec<_> = s.standard.iter().map(|i| i.name.as_str()).collect();
        assert_eq!(
            names,
            ["org.freedesktop.DBus.Properties", "org.freedesktop.DBus.Introspectable", "org.freedesktop.DBus.Peer"]
        );
        for (interface, member, input, output, function) in [
            (&s.connect, "GetAllDomainStats", "uu", "a(sa{sv})", "virConnectGetAllDomainStats"),
            (&s.connect, "ListDomains", "u", "ao", "virConnectListAllDomains"),
            (&s.domain, "GetState", "u", "(ii)", "virDomainGetState"),
            (&s.domain, "GetJobInfo", "", "(ittttttttttt)", "virDomainGetJobInfo"),
            (&s.domain, "MigrateToURI3", "sa{sv}u", "", "virDomainMigrateToURI3"),
            (&s.domain, "Create", "u", "", "virDomainCreateWithFlags"),
            (&s.snapshot, "IsCurrent", "u", "b", "virDomainSnapshotIsCurrent"),
        ] {
            let m = &interface.methods[member];
            assert_eq!(
                (m.input.as_str(), m.output.as_str(), m.function.as_str()),
                (input, output, function),
                "{member}"
            );
        }
        let writable: Vec<_> = s.domain.properties.iter().filter(|p| p.writable).map(|p| p.name.as_str()).collect();
        assert_eq!(writable, ["Autostart"]);
    }
}

//! The few facts of a `<domainsnapshot>` that virsh shows, read as virsh reads them.

use chrono::{TimeZone, offset::LocalResult};
use roxmltree::{Document, Node};

/// What a snapshot's document says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// `<state>`.
    pub state: String,
    /// `<parent><name>`.
    pub parent: Option<String>,
    /// `<creationTime>`, seconds since the Epoch.
    pub created: Option<i64>,
    /// `<description>`.
    pub description: Option<String>,
    /// Where it is: `external` or `internal`.
    pub location: &'static str,
}

impl Facts {
    /// `None` if the document is not one, or has no state.
    #[must_use]
    pub fn read(xml: &str) -> Option<Self> {
        let document = Document::parse(xml).ok()?;
        let root = document.root_element();
        let state = text(child(root, "state")?)?;
        let external = |n: &Node<'_, '_>| n.attribute("snapshot") == Some("external");
        // Before libvirt 1.0.1 there was no <memory>, and only disk snapshots were external.
        let is_external = match child(root, "memory") {
            Some(memory) => {
                let disks = child(root, "disks");
                external(&memory) || disks.is_some_and(|d| d.children().any(|d| d.has_tag_name("disk") && external(&d)))
            }
            None => state == "disk-snapshot",
        };
        Some(Self {
            parent: child(root, "parent").and_then(|p| child(p, "name")).and_then(text),
            description: child(root, "description").and_then(text),
            created: child(root, "creationTime").and_then(text).and_then(|t| t.trim().parse().ok()),
            location: if is_external { "external" } else { "internal" },
            state,
        })
    }
}

/// The name in a snapshot's document.
#[must_use]
pub fn name(xml: &str) -> Option<String> {
    text(child(Document::parse(xml).ok()?.root_element(), "name")?)
}

/// `%Y-%m-%d %H:%M:%S %z` in the zone; `None` for a time that no calendar has.
#[must_use]
pub fn time<Z: TimeZone>(zone: &Z, seconds: i64) -> Option<String>
where
    Z::Offset: std::fmt::Display,
{
    match zone.timestamp_opt(seconds, 0) {
        LocalResult::Single(at) | LocalResult::Ambiguous(at, _) => Some(at.format("%Y-%m-%d %H:%M:%S %z").to_string()),
        LocalResult::None => None,
    }
}

pub(super) fn child<'a, 'i>(of: Node<'a, 'i>, name: &str) -> Option<Node<'a, 'i>> {
    of.children().find(|n| n.has_tag_name(name))
}

pub(super) fn text(of: Node<'_, '_>) -> Option<String> {
    let text: String = of.descendants().filter(Node::is_text).filter_map(|n| n.text()).collect();
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_external_if_its_memory_or_any_disk_is() {
        let with = |inner: &str| {
            let xml = format!("<domainsnapshot><name>s</name><state>running</state>{inner}</domainsnapshot>");
            Facts::read(&xml).map(|f| f.location)
        };
        for (inner, location) in [
            ("<memory snapshot='internal'/>", "internal"),
            ("<memory snapshot='external' file='/m'/>", "external"),
            ("<memory snapshot='no'/><disks><disk name='a' snapshot='external'/></disks>", "external"),
            ("<memory snapshot='no'/><disks><disk name='a' snapshot='internal'/></disks>", "internal"),
            ("<disks><disk name='a' snapshot='external'/></disks>", "internal"),
            ("", "internal"),
        ] {
            assert_eq!(with(inner), Some(location), "{inner}");
        }
        let old = "<domainsnapshot><state>disk-snapshot</state></domainsnapshot>";
        assert_eq!(Facts::read(old).map(|f| f.location), Some("external"));
    }

    #[test]
    fn the_state_of_the_domain_inside_is_not_the_snapshots() {
        let xml = "<domainsnapshot><domain><state>x</state></domain><parent><name>p&amp;q</name></parent>\
                   <state>shutoff</state><creationTime>1795246262</creationTime></domainsnapshot>";
        let facts = Facts::read(xml).unwrap();
        assert_eq!((facts.state.as_str(), facts.parent.as_deref()), ("shutoff", Some("p&q")));
        assert_eq!(facts.created, Some(1_795_246_262));
    }

    #[test]
    fn what_is_no_snapshot_is_nothing() {
        for xml in ["", "<x", "<domainsnapshot/>", "<domainsnapshot><state/></domainsnapshot>"] {
            assert_eq!(Facts::read(xml), None, "{xml}");
        }
    }

    #[test]
    fn times_are_written_with_their_zone() {
        let zone = chrono::FixedOffset::east_opt(-(3600 * 3 + 1800)).unwrap();
        assert_eq!(time(&zone, 1_795_246_262).as_deref(), Some("2026-11-21 04:01:02 -0330"));
        assert_eq!(time(&chrono::Utc, 0).as_deref(), Some("1970-01-01 00:00:00 +0000"));
        assert_eq!(time(&chrono::Utc, i64::MAX), None);
    }
}

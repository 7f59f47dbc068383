//! Object paths and what they name, as libvirt-dbus writes them (`src/util.c`).
//!
//! `<root>` is `/org/libvirt/<Driver>`; a domain is `<root>/domain/_<uuid>` with `-` as `_`; a
//! snapshot is `<root>/domainsnapshot/_<uuid>_<name>`, where every byte of the name outside
//! `[A-Za-z0-9]` is `_` and two lowercase hex digits. Any path is a valid question: what does
//! not decode names nothing (libvirt-dbus reads past the end there).
//!
//! Must not know: whether the named one exists.

use crate::model::ids::{DomainId, SnapshotName};
use std::fmt::Write;
use zbus::ObjectPath;

/// The parent of all roots.
const HALL: &str = "/org/libvirt";
/// `_00000000_1111_2222_3333_444444444444`
const UUID_LEAF: usize = 37;

/// A driver's place in the tree.
#[derive(Debug, Clone)]
pub(super) struct Root {
    leaf: String,
    path: String,
}

impl Root {
    /// `leaf` is the last element of the connect object's path.
    pub(super) fn new(leaf: &str) -> Self {
        Self { leaf: leaf.to_owned(), path: format!("{HALL}/{leaf}") }
    }
    /// The last element of its path.
    pub(super) fn leaf(&self) -> &str {
        &self.leaf
    }
    /// The connect object's path.
    pub(super) fn path(&self) -> &str {
        &self.path
    }
    /// The path of a domain.
    pub(super) fn domain(&self, id: DomainId) -> ObjectPath<'static> {
        ObjectPath::from_string_unchecked(format!("{}/domain/{}", self.path, domain_leaf(id)))
    }
    /// The path of a snapshot.
    pub(super) fn snapshot(&self, id: DomainId, name: &SnapshotName) -> ObjectPath<'static> {
        ObjectPath::from_string_unchecked(format!("{}/domainsnapshot/{}", self.path, snapshot_leaf(id, name)))
    }
}

/// What stands at a path below a root. An id that does not decode is `None`: the object is of that
/// kind, and is nobody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Object {
    Connect,
    Domains,
    Snapshots,
    Domain(Option<DomainId>),
    Snapshot(Option<(DomainId, SnapshotName)>),
}

/// A path, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Parsed<'p> {
    /// `/`, `/org` or `/org/libvirt`: only there to be walked through.
    Above,
    /// Under the root with this leaf, if there is one.
    Under(&'p str, Object),
    /// Nothing is ever there.
    Nowhere,
}

/// Read `path`.
pub(super) fn parse(path: &str) -> Parsed<'_> {
    if ["/", "/org", HALL].contains(&path) {
        return Parsed::Above;
    }
    let Some(rest) = path.strip_prefix(HALL).and_then(|r| r.strip_prefix('/')) else { return Parsed::Nowhere };
    let mut parts = rest.split('/');
    let root = parts.next().unwrap_or_default();
    let object = match (parts.next(), parts.next(), parts.next()) {
        (None, ..) => Object::Connect,
        (Some("domain"), None, _) => Object::Domains,
        (Some("domainsnapshot"), None, _) => Object::Snapshots,
        (Some("domain"), Some(leaf), None) => Object::Domain(decode_domain(leaf)),
        (Some("domainsnapshot"), Some(leaf), None) => Object::Snapshot(decode_snapshot(leaf)),
        _ => return Parsed::Nowhere,
    };
    Parsed::Under(root, object)
}

/// `_<uuid>`.
pub(super) fn domain_leaf(id: DomainId) -> String {
    format!("_{id}").replace('-', "_")
}

/// `_<uuid>_<name>`.
pub(super) fn snapshot_leaf(id: DomainId, name: &SnapshotName) -> String {
    let mut leaf = domain_leaf(id);
    leaf.push('_');
    encode(name.as_str(), &mut leaf);
    leaf
}

fn decode_domain(leaf: &str) -> Option<DomainId> {
    let uuid = leaf.strip_prefix('_').filter(|_| leaf.len() == UUID_LEAF)?;
    uuid::Uuid::parse_str(&uuid.replace('_', "-")).ok().map(DomainId)
}

fn decode_snapshot(leaf: &str) -> Option<(DomainId, SnapshotName)> {
    let (domain, name) = leaf.split_at_checked(UUID_LEAF)?;
    let name = name.strip_prefix('_').filter(|n| !n.is_empty())?;
    Some((decode_domain(domain)?, SnapshotName(decode(name))))
}

fn encode(text: &str, out: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "_{byte:02x}");
        }
    }
}

/// The reverse; what is not an escape (capital or cut off) stands for itself.
fn decode(text: &str) -> String {
    let digit = |b: &u8| match b {
        b'0'..=b'9' => Some(b - b'0'),
        b'a'..=b'f' => Some(b - b'a' + 10),
        _ => None,
    };
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        if let (b'_', [high, low, after @ ..]) = (first, tail)
            && let (Some(high), Some(low)) = (digit(high), digit(low))
        {
            bytes.push(high << 4 | low);
            rest = after;
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "0dd0dd0d-0002-4000-8000-000000000002";

    fn id() -> DomainId {
        DomainId(uuid::Uuid::parse_str(UUID).unwrap())
    }

    #[test]
    fn a_snapshot_path_is_that_of_libvirt_dbus_and_decodes_to_the_same_name() {
        for (name, leaf) in [
            ("a b-ä", "_0dd0dd0d_0002_4000_8000_000000000002_a_20b_2d_c3_a4"),
            ("2026-11-20T22:18", "_0dd0dd0d_0002_4000_8000_000000000002_2026_2d11_2d20T22_3a18"),
            ("_", "_0dd0dd0d_0002_4000_8000_000000000002__5f"),
        ] {
            let name = SnapshotName::from(name);
            assert_eq!(snapshot_leaf(id(), &name), leaf);
            assert_eq!(decode_snapshot(leaf), Some((id(), name)));
        }
    }

    #[test]
    fn an_escape_that_was_not_needed_is_read_and_one_that_is_none_stands_for_itself() {
        for (text, name) in
            [("_61b", "ab"), ("a_", "a_"), ("a_2", "a_2"), ("_2D", "_2D"), ("_zz", "_zz"), ("__5f", "__")]
        {
            assert_eq!(decode(text), name, "{text}");
        }
    }

    #[test]
    fn a_short_or_garbled_path_names_nobody_of_its_kind() {
        let uuid = "_0dd0dd0d_0002_4000_8000_000000000002";
        for leaf in ["x", "_0", uuid, &format!("{uuid}_"), &format!("{uuid}x")] {
            let path = format!("/org/libvirt/QEMU/domainsnapshot/{leaf}");
            assert_eq!(parse(&path), Parsed::Under("QEMU", Object::Snapshot(None)), "{path}");
        }
        for leaf in ["zz", "_0dd0dd0d", &format!("{uuid}_s"), "0dd0dd0d_0002_4000_8000_0000000000022"] {
            let path = format!("/org/libvirt/QEMU/domain/{leaf}");
            assert_eq!(parse(&path), Parsed::Under("QEMU", Object::Domain(None)), "{path}");
        }
        for path in ["/x", "/org/libvirtx", "/org/libvirt/QEMU/x", "/org/libvirt/QEMU/domain/a/b"] {
            assert_eq!(parse(path), Parsed::Nowhere, "{path}");
        }
    }

    #[test]
    fn every_name_survives_the_path() {
        proptest::proptest!(|(name in "\\PC*")| {
            let mut leaf = String::new();
            encode(&name, &mut leaf);
            proptest::prop_assert!(leaf.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'));
            proptest::prop_assert_eq!(decode(&leaf), name);
        });
    }
}

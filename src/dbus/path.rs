//! Object paths and what they name, as libvirt-dbus writes them (`src/util.c`).
//!
//! `<root>` is `/org/libvirt/<Driver>`; a domain is `<root>/domain/_<uuid>` with `-` as `_`; a
//! snapshot is `<root>/domainsnapshot/_<uuid>_<name>`, where every byte of the name outside
//! `[A-Za-z0-9]` is `_` and two lowercase hex digits. Any path is a valid question: what does
//! not decode names nothing (libvirt-dbus reads past the end there).

use crate::engine::service::Service;
use crate::model::ids::{DomainId, SnapshotName};
use std::fmt::Write;
use std::sync::Arc;
use zbus::ObjectPath;

/// The parent of all roots.
const HALL: &str = "/org/libvirt";
/// `_00000000_1111_2222_3333_444444444444`
const UUID_LEAF: usize = 37;

/// A driver's place in the tree and who answers there.
#[derive(Clone)]
pub struct Mount {
    leaf: String,
    root: String,
    pub(super) service: Arc<Service>,
}

impl Mount {
    /// `leaf` is the last element of the connect object's path: `QEMU`, `Xen` or `Test`.
    #[must_use]
    pub fn new(leaf: &str, service: Arc<Service>) -> Self {
        Self { leaf: leaf.to_owned(), root: format!("{HALL}/{leaf}"), service }
    }
    /// The last element of its path.
    pub(super) fn leaf(&self) -> &str {
        &self.leaf
    }
    /// The connect object.
    pub(super) fn root(&self) -> &str {
        &self.root
    }
    /// The path of a domain.
    pub(super) fn domain(&self, id: DomainId) -> ObjectPath<'static> {
        ObjectPath::from_string_unchecked(format!("{}/domain/{}", self.root, domain_leaf(id)))
    }
    /// The path of a snapshot.
    pub(super) fn snapshot(&self, id: DomainId, name: &SnapshotName) -> ObjectPath<'static> {
        ObjectPath::from_string_unchecked(format!("{}/domainsnapshot/{}", self.root, snapshot_leaf(id, name)))
    }
}

/// What a path names. An id that does not decode is `None`: the object is of that kind, and is
/// nobody.
pub(super) enum Place<'m> {
    /// `/`, `/org` or `/org/libvirt`: only there to be walked through.
    Above,
    Connect(&'m Mount),
    Domains(&'m Mount),
    Snapshots(&'m Mount),
    Domain(&'m Mount, Option<DomainId>),
    Snapshot(&'m Mount, Option<(DomainId, SnapshotName)>),
    Nowhere,
}

/// What `path` names under `mounts`.
pub(super) fn resolve<'m>(mounts: &'m [Mount], path: &str) -> Place<'m> {
    if ["/", "/org", HALL].contains(&path) {
        return Place::Above;
    }
    let Some(rest) = path.strip_prefix(HALL).and_then(|r| r.strip_prefix('/')) else { return Place::Nowhere };
    let mut parts = rest.split('/');
    let Some(mount) = parts.next().and_then(|leaf| mounts.iter().find(|m| m.leaf == leaf)) else {
        return Place::Nowhere;
    };
    match (parts.next(), parts.next(), parts.next()) {
        (None, ..) => Place::Connect(mount),
        (Some("domain"), None, _) => Place::Domains(mount),
        (Some("domainsnapshot"), None, _) => Place::Snapshots(mount),
        (Some("domain"), Some(leaf), None) => Place::Domain(mount, decode_domain(leaf)),
        (Some("domainsnapshot"), Some(leaf), None) => Place::Snapshot(mount, decode_snapshot(leaf)),
        _ => Place::Nowhere,
    }
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
        let mounts = [Mount::new("QEMU", Arc::new(Service {}))];
        let short = "/org/libvirt/QEMU/domainsnapshot/_0dd0dd0d_0002_4000_8000_000000000002";
        for path in [
            "/org/libvirt/QEMU/domainsnapshot/x",
            "/org/libvirt/QEMU/domainsnapshot/_0",
            short,
            &format!("{short}_"),
            &format!("{short}x"),
        ] {
            assert!(matches!(resolve(&mounts, path), Place::Snapshot(_, None)), "{path}");
        }
        for path in
            ["zz", "_0dd0dd0d", "_0dd0dd0d_0002_4000_8000_000000000002_s", "0dd0dd0d_0002_4000_8000_0000000000022"]
        {
            assert!(
                matches!(resolve(&mounts, &format!("/org/libvirt/QEMU/domain/{path}")), Place::Domain(_, None)),
                "{path}"
            );
        }
        for path in ["/org/libvirt/Nope", "/x", "/org/libvirtx", "/org/libvirt/QEMU/x", "/org/libvirt/QEMU/domain/a/b"]
        {
            assert!(matches!(resolve(&mounts, path), Place::Nowhere), "{path}");
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

//! Object paths and what they name, as libvirt-dbus lays them out.
//!
//! `<root>` is `/org/libvirt/<Driver>`; domains are `<root>/domain/…`, snapshots
//! `<root>/domainsnapshot/…`; the last elements are `model::path`'s. Any path is a valid question:
//! what does not decode names nobody (libvirt-dbus reads past the end there).
//!
//! Must not know: whether the named one exists.

use crate::model::ids::{DomainId, SnapshotName};
use crate::model::path::{domain_leaf, parse_domain_leaf, parse_snapshot_leaf, snapshot_leaf};
use zbus::ObjectPath;

/// The parent of all roots.
const HALL: &str = "/org/libvirt";

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
        (Some("domain"), Some(leaf), None) => Object::Domain(parse_domain_leaf(leaf)),
        (Some("domainsnapshot"), Some(leaf), None) => Object::Snapshot(parse_snapshot_leaf(leaf)),
        _ => return Parsed::Nowhere,
    };
    Parsed::Under(root, object)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_that_of_libvirt_dbus_and_is_read_back() {
        let id = DomainId(uuid::Uuid::from_u128(0x0dd0_dd0d_0002_4000_8000_0000_0000_0002));
        let root = Root::new("QEMU");
        let snapshot = root.snapshot(id, &"a b-ä".into());
        let path = "/org/libvirt/QEMU/domainsnapshot/_0dd0dd0d_0002_4000_8000_000000000002_a_20b_2d_c3_a4";
        assert_eq!(snapshot.as_str(), path);
        assert_eq!(parse(path), Parsed::Under("QEMU", Object::Snapshot(Some((id, "a b-ä".into())))));
        assert_eq!(parse(root.domain(id).as_str()), Parsed::Under("QEMU", Object::Domain(Some(id))));
        assert_eq!(parse(root.path()), Parsed::Under("QEMU", Object::Connect));
    }

    #[test]
    fn a_short_or_garbled_path_names_nobody_of_its_kind() {
        let uuid = "_0dd0dd0d_0002_4000_8000_000000000002";
        for leaf in ["x", "_0", uuid, &format!("{uuid}x"), &format!("{uuid}_a_2"), &format!("{uuid}_a_zz")] {
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
}

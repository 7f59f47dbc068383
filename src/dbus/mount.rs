//! Who answers under which root.

use super::path::{Object, Parsed, Root, parse};
use crate::engine::service::Service;
use std::sync::Arc;

/// A driver's place in the tree and the service that answers there.
#[derive(Clone)]
pub struct Mount {
    pub(super) root: Root,
    pub(super) service: Arc<Service>,
}

impl Mount {
    /// `leaf` is the last element of the connect object's path: `QEMU`, `Xen` or `Test`.
    #[must_use]
    pub fn new(leaf: &str, service: Arc<Service>) -> Self {
        Self { root: Root::new(leaf), service }
    }
}

/// What a path names here.
pub(super) enum Place<'m> {
    /// Only there to be walked through.
    Above,
    At(&'m Mount, Object),
    Nowhere,
}

/// What `path` names under `mounts`.
pub(super) fn resolve<'m>(mounts: &'m [Mount], path: &str) -> Place<'m> {
    match parse(path) {
        Parsed::Above => Place::Above,
        Parsed::Nowhere => Place::Nowhere,
        Parsed::Under(leaf, object) => match mounts.iter().find(|m| m.root.leaf() == leaf) {
            Some(mount) => Place::At(mount, object),
            None => Place::Nowhere,
        },
    }
}

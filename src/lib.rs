//! virsnap: libvirt-style snapshots for virtual machines on plain QEMU and on Xen, without libvirt.

pub mod config;
pub mod dbus;
pub mod engine;
pub mod error;
pub mod host;
pub mod model;
pub mod plan;
pub mod store;
pub mod xml;

//! QEMU, driven over QMP and `qemu-img`.
//!
//! Must not know: the store, the engine, D-Bus.

pub mod process;
pub mod qmp;

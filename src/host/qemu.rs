//! QEMU, driven through QMP and qemu-img.

pub mod qmp;

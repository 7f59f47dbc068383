//! QEMU, driven over QMP and `qemu-img`.
//!
//! Must not know: the store, the engine, D-Bus.

pub mod block;
pub mod cpu;
mod disks;
pub mod job;
pub mod memory;
mod merges;
pub mod process;
pub mod qmp;
mod saves;
pub mod steps;
mod tags;
#[cfg(test)]
mod tests;

//! On a real Xen, end to end: `virsnapd` runs in a dom0 (see `rig/rig.sh`), the tests outside.
//!
//! ```text
//! this machine                           │ one QEMU process
//!   nextest: a process per test          │   Xen, dom0
//!     Client ──────── tcp, anonymous ────┼──▶ D-Bus ◀── a virsnapd per test, with its own name and state
//!     Rig::run ────── ssh, one for all ──┼──▶ a shell
//!     Guest  ◀─────── 9p ────────────────┼─── consoles of the guests (guest.c)
//! ```
//!
//! All tests share one Xen host, which `make test` boots before them: guests are told apart by names
//! that no two tests share. Where there is no rig, a test prints a line that begins with SKIP, and passes.

#![allow(clippy::unwrap_used, clippy::expect_used, unreachable_pub)]

mod crash;
mod failures;
mod harness;
mod lifecycle;
mod snapshots;
mod the_rig;
mod tools;

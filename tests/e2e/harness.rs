//! What the tests stand on: a private message bus, a `virsnapd` on it, a D-Bus client, and a real
//! guest whose counters say what its memory and its disks hold.
//!
//! Knows virsnap only from outside: its program, its D-Bus interface, its files' names in XML.

#![allow(dead_code, unused_imports)] // the benches use a part of it

pub mod bus;
pub mod client;
pub mod daemon;
pub mod events;
pub mod guest;
pub mod image;
pub mod linux;
pub mod own;
pub mod patience;
pub mod serial;

pub use client::{Client, Domain, Failure, Refused, Snapshot};
pub use daemon::Daemon;
pub use events::Events;
pub use guest::{Guest, Kind, Qemu, Spec, State};
pub use linux::Linux;
pub use patience::eventually;

use std::time::Duration;

/// Longer than anything a loaded machine needs, shorter than a build server's patience.
pub const PATIENCE: Duration = Duration::from_secs(60);

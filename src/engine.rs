//! Runs plans: one slot per domain, the journal, recovery, and the calls that clients make.
//!
//! Must not know: D-Bus, SQL, QMP.

mod agent;
mod domain;
mod execute;
mod found;
mod host_events;
mod impact;
mod lifecycle;
mod metadata;
pub mod parameters;
mod recover;
mod report;
mod saves;
pub mod service;
mod sizes;
mod snapshots;
pub mod stats;
mod test_driver;
mod view;

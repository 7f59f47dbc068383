//! Runs plans: one slot per domain, the journal, recovery, and the calls that clients make.
//!
//! Must not know: D-Bus, SQL, QMP.

mod agent;
mod describe;
mod domain;
mod execute;
mod foresee;
mod found;
mod host_events;
mod impact;
mod job;
mod lifecycle;
mod metadata;
mod news;
pub mod parameters;
mod recover;
mod rehearse;
mod report;
mod saves;
pub mod service;
mod sizes;
mod snapshots;
pub mod stats;
mod test_driver;
mod verify;
mod view;

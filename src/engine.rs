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
mod job;
mod lifecycle;
mod news;
mod recover;
mod rehearse;
mod report;
pub mod service;
mod snapshots;
pub mod stats;
mod verify;
mod view;

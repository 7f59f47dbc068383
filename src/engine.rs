//! Runs plans: one slot per domain, the journal, recovery, and the calls that clients make.
//!
//! Must not know: D-Bus, SQL, QMP.

mod agent;
pub mod block_jobs;
mod domain;
mod execute;
mod found;
mod host_events;
mod lifecycle;
mod migrate;
mod recover;
mod rename;
mod report;
pub mod service;
mod snapshots;
pub mod stats;
mod view;

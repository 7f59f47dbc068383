//! Runs plans: one slot per domain, the journal, recovery, and the calls that clients make.

pub mod service;
pub mod stats;

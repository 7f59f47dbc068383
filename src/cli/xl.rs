//! `virsnap xl`: the snapshot commands that were proposed for xl, as calls on the same service.
//!
//! ```text
//! options ┐
//!         ├─ document::draft ─▶ <domainsnapshot>, flags ─▶ the calls of every other command
//! file ─ config::read        (what is asked of the domain first: its UUID, whether it is up, its disks)
//! ```
//!
//! Delete and revert are the other commands' with other options. Nothing is done here that the daemon does: neither files nor
//! domains are touched. Must not know: Xen.

pub mod config;
pub mod document;
pub mod long;

//! Text forms of Xen's tool stack, read: what both the client and the host of Xen need to understand.
//!
//! Must not know: files, domains, what any key means.

pub mod disk_spec;
pub mod xl;

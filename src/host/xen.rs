//! Xen, through `xl`.
//!
//! Must not know: the store, the engine.

pub mod foreign;
pub mod record;

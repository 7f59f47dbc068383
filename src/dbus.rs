//! The D-Bus face: libvirt-dbus's `org.libvirt.{Connect,Domain,DomainSnapshot}`, call for call.
//!
//! ```text
//!  bus ──► router ──► place (path → resource) ──► schema (member, signature) ──► connect
//!   ▲                                                                            domain
//!   │                                                                            tuning
//!   │                                                                            snapshot
//!   └── outbox ◄── replies, and the engine's events as signals ◄──────────────── properties
//! ```
//!
//! The API is data: the introspection documents in `schemas/` are parsed once into a table, and a call
//! is checked against that table before any handler sees it. No object is registered: a path is
//! resolved on every call, so 10,000 snapshots cost nothing and a vanished one gives an error.
//!
//! - The reading loop never waits; every call is a task of its own, and too many are refused.
//! - What a call caused is told before the call is answered (`outbox`).
//! - A caller that leaves does not cancel what it started.
//!
//! Must not know: plans, the store, the host. Everything is asked of [`Service`].
//!
//! [`Service`]: crate::engine::service::Service

mod call;
mod connect;
mod domain;
mod introspect;
mod mount;
mod outbox;
mod path;
mod properties;
mod router;
mod schema;
mod signals;
mod snapshot;
mod snapshots1;
mod tuning;
mod typed_params;

pub use mount::Mount;
pub use router::Server;

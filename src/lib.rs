//! virsnap gives virtual machines on plain QEMU and on Xen libvirt's snapshots without
//! libvirt: the same XML, flags, error texts and events, over the D-Bus API of libvirt-dbus.
//!
//! # The promises, in this order
//!
//! 1. **Nothing is lost.** A snapshot operation happened or did not, whatever died in the middle:
//!    the daemon, QEMU, the machine. No file is removed before it is proved that nothing refers to it.
//! 2. **The guest hardly notices.** A full-system snapshot of a running guest pauses it for milliseconds.
//! 3. **Clients of libvirt-dbus work unchanged**: names, signatures, paths, flags, XML, texts, events.
//! 4. **One model for every hypervisor.** Differences are data ([`plan::facts::Capabilities`]).
//!
//! # Layers
//!
//! ```text
//!   error, model, text <- xml <- plan <- { store, host } <- engine <- dbus <- bin/virsnapd
//!                                  cli (D-Bus, model, text) <- bin/virsnap
//! ```
//!
//! Architecture invariant: an inner layer knows nothing of an outer one, `store` and `host` don't
//! know each other, `dbus` knows `engine` and `model` only. `tests/layers.rs` reads the `use` lines and fails otherwise.
//!
//! | module | what lives there |
//! |---|---|
//! | [`error`] | libvirt's codes and prefixes; the text of an [`Error`](error::Error) is what crosses the wire |
//! | [`model`] | values: ids, flags, snapshots, the tree, events |
//! | [`xml`] | `<domainsnapshot>` in every form; `<domain>` as a typed view over text that is kept byte for byte |
//! | [`text`] | xl's configuration syntax, for the client and for the host of Xen |
//! | [`plan`] | pure functions from (model, facts, request) to a [`Plan`](plan::steps::Plan) or a [`Refusal`](plan::refusal::Refusal) |
//! | [`store`] | SQLite: domains, snapshots, the journal; one transaction per change |
//! | [`host`] | the [`Host`](host::Host) trait and its implementations: [`host::qemu`] and [`host::xen`] for real, [`host::sim`] in memory |
//! | [`engine`] | [`Service`](engine::service::Service): one async function per API call; slots, journal, recovery. [`test_driver`](engine::service::Service::test_driver) makes one for tests of clients |
//! | [`dbus`] | the router: a path is resolved on every call, the introspection documents are the method table |
//! | [`cli`] | `virsnap`, which speaks D-Bus only |
//!
//! # An operation
//!
//! A call reads the request ([`xml`]), drafts ([`plan`] says which files matter), looks
//! ([`host::Host::look`]), plans, and runs:
//!
//! ```text
//!   journal row ── prepare 1..n ── commit ── settle 1..m ── row closed
//!                  each undoable   one       forward only, each repeatable
//!   crash:         undo backwards  probe     go on
//! ```
//!
//! Only two things are commits: a publish (one SQLite transaction) and the disk switch of a running guest (one QMP
//! `transaction`, probed by the device's root node). Where QEMU is gone and the probe has no answer, recovery goes forward:
//! an overlay that was ever attached may hold guest data. See [`plan::steps`] for every step with its inverse, and
//! `tests/crash`, which cuts every operation at every step.
//!
//! Rules that the planner keeps, each with its reason at the rule: an image is committed into only while
//! nothing else has it as its backing file ([`plan::delete`]); an active layer is left only while the guest stands still, until
//! the store says so; an internal snapshot beneath a layer of another is not reverted to ([`plan::revert`]).
//!
//! # Differences from the first design
//!
//! - The commit of a revert publishes the target itself, not a mark: until the old hypervisor is stopped it only writes to images that are
//!   given up, so there is no state in between that a reader must understand.
//! - A revert whose target cannot be started closes its journal row: the domain is off with the target as its definition, the
//!   snapshot is still there, and the caller may revert again or to another one. An open row would block that.
//! - D-Bus calls are dispatched by hand over libvirt-dbus's introspection documents instead of zbus's `#[interface]`: one table
//!   answers introspection, signatures and what is not supported.
//! - Snapshots that cannot be merged away keep their base as a link of the chain instead of being refused.

pub mod cli;
pub mod config;
pub mod dbus;
pub mod engine;
pub mod error;
pub mod host;
pub mod model;
pub mod plan;
pub mod store;
pub mod text;
pub mod xml;

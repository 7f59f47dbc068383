//! Text to model and back. Pure: no files, no clock.
//!
//! - [`element`]: reading, with limits and positions; [`scan`] looks at the raw text first.
//! - [`snapshot`]: `<domainsnapshot>`, every form in, libvirt's exact form out.
//! - [`schema`]: the same against its RELAX NG schema, where a caller asks for that.
//! - [`domain`]: a typed view over a `<domain>` that is kept as it was written; [`edit`] changes
//!   single byte ranges of it, so that what we don't know survives.
//! - [`metadata`]: title, description, and the elements of applications.
//! - [`escape`], [`indent`], [`number`], [`splice`]: the small tools of both.
//!
//! Must not know: what a snapshot is good for, which disks exist, where anything is stored.

pub mod domain;
pub mod edit;
pub mod element;
pub mod escape;
pub mod indent;
pub mod metadata;
pub mod number;
pub mod scan;
pub mod schema;
pub mod snapshot;
pub mod splice;

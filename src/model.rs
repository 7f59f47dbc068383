//! Values: what a domain, a snapshot and a request *are*. Pure; knows no XML, no file and no clock.

pub mod domain;
pub mod event;
pub mod file_system;
pub mod flags;
pub mod ids;
pub mod path;
pub mod progress;
pub mod record;
pub mod risk;
pub mod snapshot;
pub mod tree;

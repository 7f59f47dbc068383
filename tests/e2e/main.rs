//! End to end: real QEMUs, a real message bus, the real daemon. Each test has its own of all three,
//! and reads the guest's own counters to know what became of its memory and its disks.

#![allow(clippy::unwrap_used, clippy::expect_used, unreachable_pub)]

mod agent;
mod bad_input;
mod cli;
mod crash;
mod defects;
mod deletes;
mod flags;
mod harness;
mod lifecycle;
mod live;
mod matrix;
mod moving;
mod own_api;
mod reading;
mod restart;
mod reverts;
mod saves;
mod sequences;
mod the_guest;
mod trees;
mod tuning;

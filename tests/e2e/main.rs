//! End to end: real QEMUs, a real message bus, the real daemon. Each test has its own of all three,
//! and reads the guest's own counters to know what became of its memory and its disks.

#![allow(clippy::unwrap_used, clippy::expect_used, unreachable_pub)]

mod agent;
mod bad_input;
mod bitmaps;
mod block_jobs;
mod cli;
mod crash;
mod defects;
mod deletes;
mod devices;
mod flags;
mod harness;
mod lifecycle;
mod live;
mod matrix;
mod mixed;
mod moving;
mod own_api;
mod reading;
mod rename;
mod restart;
mod reverts;
mod saves;
mod sequences;
mod side_state;
mod the_guest;
mod trees;
mod tuning;

//! From what is asked and what is there to what will be done: pure functions without files,
//! clocks or randomness. See [`steps`] for what a plan is, and [`defects`] for where libvirt's own fails.

pub mod abi;
pub mod align;
mod checks;
pub mod create;
pub mod defects;
pub mod definition;
pub mod delete;
pub mod describe;
pub mod facts;
pub mod foresee;
pub mod graph;
pub mod redefine;
pub mod refusal;
pub mod revert;
pub mod saved;
pub mod steps;
pub mod verify;
pub mod words;

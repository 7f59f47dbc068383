//! Random sequences of operations, faults among them, against a model that knows what each state holds.
//!
//! ```text
//!   step ─► [fault at n] ─► recovery, if one struck ─► check: answers, tree, contents, files, journal
//!    └──── several steps per daemon's life ────┘
//!   the end: revert to every snapshot, delete every snapshot; nothing is left but what users put there
//! ```
//!
//! What a snapshot holds is learned once, when it is taken, from what the guest had flushed; from then on it never
//! changes. Fixed cases by default; `PROPTEST_CASES` and `PROPTEST_RNG_SEED` choose others. A failure prints the
//! shortest sequence that has it; write it down in `regressions.rs`.

mod drive;
mod model;
mod op;
mod regressions;

use drive::Scene;
use op::Step;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestCaseError, TestRunner};
use std::time::{Duration, Instant};
use virsnap::plan::facts::{Capabilities, LiveSave};

/// How many sequences a test runs by itself.
const CASES: u32 = 500;
/// No new sequence is begun after that long, unless `PROPTEST_CASES` asks for more.
const BUDGET: Duration = Duration::from_secs(30);
const LENGTH: usize = 24;

fn explore(capabilities: Capabilities, steps: impl Strategy<Value = Vec<Step>>) {
    let asked = std::env::var_os("PROPTEST_CASES").is_some();
    let mut config = Config { failure_persistence: None, max_shrink_iters: 20_000, ..Config::default() };
    if !asked {
        config.cases = CASES;
    }
    if config.rng_seed == RngSeed::Random && !asked {
        config.rng_seed = RngSeed::Fixed(1);
    }
    let begun = Instant::now();
    let (mut sequences, mut taken) = (0u32, 0u32);
    let counts = std::cell::RefCell::new((&mut sequences, &mut taken));
    let result =
        TestRunner::new(config).run(&(1..=2usize, prop::bool::weighted(0.1), steps), |(disks, transient, steps)| {
            if !asked && begun.elapsed() > BUDGET {
                return Ok(());
            }
            let ended = Scene::new(disks, capabilities, transient).play(&steps);
            let mut counts = counts.borrow_mut();
            *counts.0 += 1;
            match ended {
                Ok(snapshots) => *counts.1 += snapshots,
                Err(what) => return Err(TestCaseError::fail(what)),
            }
            Ok(())
        });
    println!("{sequences} sequences, {taken} snapshots, {:?}", begun.elapsed());
    if let Err(failure) = result {
        panic!("{failure}");
    }
}

#[test]
fn undisturbed() {
    explore(Capabilities::qemu(LiveSave::Background), op::steps(LENGTH, op::Faults::None));
}

#[test]
fn with_faults() {
    explore(Capabilities::qemu(LiveSave::Background), op::steps(LENGTH, op::Faults::Any));
}

#[test]
fn with_faults_where_memory_is_saved_standing_still() {
    explore(Capabilities::qemu(LiveSave::Precopy), op::steps(LENGTH, op::Faults::Any));
}

#[test]
fn xen_undisturbed() {
    explore(Capabilities::xen(), op::steps(LENGTH, op::Faults::None));
}

#[test]
fn xen_with_faults() {
    explore(Capabilities::xen(), op::steps(LENGTH, op::Faults::Any));
}

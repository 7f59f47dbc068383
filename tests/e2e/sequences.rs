//! Random sequences of operations on a real guest, against a model that knows what each state holds. The simulator
//! plays many more, with faults among them (`tests/crash/sequence`); these show that it is right.
//!
//! After every step each snapshot still holds what it held, as read from its images and tags, and every file is needed;
//! at the end each is really reverted to and deleted. Fixed cases by default; `PROPTEST_CASES` and `PROPTEST_RNG_SEED`
//! choose others.

use crate::harness::client::flag;
use crate::harness::guest::Truth;
use crate::harness::{Daemon, Failure, Guest, Kind, Spec, State};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How many sequences a test runs by itself, and for how long it begins new ones.
const CASES: u32 = 3;
const BUDGET: Duration = Duration::from_secs(45);
const LENGTH: usize = 9;
const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

#[derive(Debug, Clone, Copy)]
enum Op {
    Create {
        kind: Kind,
        flags: u32,
    },
    Revert {
        which: u8,
        flags: u32,
    },
    Delete {
        which: u8,
        flags: u32,
    },
    /// Forgotten, and learned again from its own XML.
    Relearn {
        which: u8,
    },
    Enter(State),
    Advance,
    /// `kill -9` of the daemon, and another one.
    Restart,
}

fn op() -> impl Strategy<Value = Op> {
    let kind = prop_oneof![Just(Kind::Internal), Just(Kind::DiskOnly), Just(Kind::Memory)];
    let create = prop_oneof![8 => Just(0), 1 => Just(flag::HALT), 1 => Just(flag::ATOMIC)];
    let revert = prop_oneof![4 => Just(0), 2 => Just(flag::REVERT_RUNNING), 1 => Just(flag::REVERT_PAUSED)];
    let delete = prop_oneof![4 => Just(0), 1 => Just(flag::CHILDREN), 1 => Just(flag::CHILDREN_ONLY)];
    let state = prop_oneof![Just(State::Off), Just(State::Running), Just(State::Paused)];
    prop_oneof![
        8 => (kind, create).prop_map(|(kind, flags)| Op::Create { kind, flags }),
        5 => (any::<u8>(), revert).prop_map(|(which, flags)| Op::Revert { which, flags }),
        4 => (any::<u8>(), delete).prop_map(|(which, flags)| Op::Delete { which, flags }),
        1 => any::<u8>().prop_map(|which| Op::Relearn { which }),
        2 => state.prop_map(Op::Enter),
        2 => Just(Op::Advance),
        1 => Just(Op::Restart),
    ]
}

/// What is known without looking.
#[derive(Default)]
struct Model {
    held: BTreeMap<String, Truth>,
    parents: BTreeMap<String, Option<String>>,
    current: Option<String>,
}

impl Model {
    fn choose(&self, which: u8) -> Option<String> {
        let names: Vec<_> = self.parents.keys().collect();
        names.get(usize::from(which) % names.len().max(1)).map(|n| (*n).clone())
    }

    fn below(&self, name: &str) -> Vec<String> {
        let children = self.parents.iter().filter(|(_, p)| p.as_deref() == Some(name)).map(|(n, _)| n.clone());
        children.flat_map(|n| [self.below(&n), vec![n]].concat()).collect()
    }

    fn delete(&mut self, name: &str, flags: u32) {
        let several = flags & (flag::CHILDREN | flag::CHILDREN_ONLY) != 0;
        let mut doomed = if several { self.below(name) } else { Vec::new() };
        if flags & flag::CHILDREN_ONLY == 0 {
            doomed.push(name.to_owned());
        }
        for name in doomed {
            let parent = self.parents.remove(&name).flatten();
            self.parents.values_mut().filter(|p| p.as_deref() == Some(&name)).for_each(|p| p.clone_from(&parent));
            self.held.remove(&name);
            if self.current.as_deref() == Some(&name) {
                self.current = parent;
            }
        }
    }

    async fn check(&self, guest: &Guest) {
        let names: Vec<_> = self.parents.keys().cloned().collect();
        assert_eq!(guest.domain.names().await, names);
        assert_eq!(guest.domain.current().await.ok().map(|s| s.name()), self.current);
        for (name, parent) in &self.parents {
            let snapshot = guest.domain.snapshot(name).await.unwrap();
            assert_eq!(snapshot.parent().await.ok().map(|p| p.name()), *parent, "the parent of {name}");
            assert_eq!(guest.truth(&snapshot).await.disks, self.held[name].disks, "what {name} holds");
        }
        guest.assert_no_strays().await;
    }
}

/// Why a revert, or a delete, may be refused.
fn is_beneath(failure: &Failure) -> bool {
    ["lies beneath snapshot", "is not the same as disk image", "failed to find parent disk source"]
        .iter()
        .any(|text| failure.text.contains(text))
}

async fn revert(guest: &Guest, model: &mut Model, name: &str, flags: u32) {
    match guest.domain.snapshot(name).await.unwrap().revert(flags).await {
        Ok(()) => {
            model.current = Some(name.to_owned());
            guest.assert_is_at(&model.held[name]).await;
        }
        Err(failure) => assert!(is_beneath(&failure), "{failure}"),
    }
}

/// A deletion of several goes as far as it can; what has gone then is read back.
async fn delete(guest: &Guest, model: &mut Model, name: &str, flags: u32) -> bool {
    let state = guest.state().await;
    let done = guest.domain.snapshot(name).await.unwrap().delete(flags).await;
    assert_eq!(guest.state().await, state, "a delete does not change what the guest does");
    match done {
        Ok(()) => model.delete(name, flags),
        Err(failure) => {
            assert!(is_beneath(&failure), "{failure}");
            let there = guest.domain.names().await;
            let mut gone = model.below(name);
            gone.retain(|n| !there.contains(n));
            gone.iter().for_each(|n| model.delete(n, 0));
            return false;
        }
    }
    true
}

async fn step(daemon: &mut Daemon, guest: &Guest, model: &mut Model, op: Op) {
    let state = guest.state().await;
    match op {
        Op::Create { kind, flags } => {
            let Some(name) = NAMES.iter().find(|n| !model.parents.contains_key(**n)) else { return };
            let kind = if state == State::Off && kind == Kind::Memory { Kind::DiskOnly } else { kind };
            let snapshot = guest.create_with(name, kind, flags).await.unwrap();
            let after = if flags & flag::HALT != 0 { State::Off } else { state };
            assert_eq!(guest.state().await, after, "after a snapshot");
            model.held.insert((*name).to_owned(), guest.truth(&snapshot).await);
            let parent = model.current.replace((*name).to_owned());
            model.parents.insert((*name).to_owned(), parent);
        }
        Op::Revert { which, flags } => {
            let Some(name) = model.choose(which) else { return };
            revert(guest, model, &name, flags).await;
        }
        Op::Delete { which, flags } => {
            let Some(name) = model.choose(which) else { return };
            delete(guest, model, &name, flags).await;
        }
        Op::Relearn { which } => {
            let Some(name) = model.choose(which).filter(|n| model.below(n).is_empty()) else { return };
            let snapshot = guest.domain.snapshot(&name).await.unwrap();
            let dump = snapshot.xml().await.unwrap();
            snapshot.delete(flag::METADATA_ONLY).await.unwrap();
            let current = if model.current.as_ref() == Some(&name) { flag::CURRENT } else { 0 };
            guest.domain.snapshot_create(&dump, flag::REDEFINE | current).await.unwrap();
        }
        Op::Enter(state) => guest.enter(state).await,
        Op::Advance => guest.advance().await,
        Op::Restart => {
            daemon.kill().await;
            daemon.spawn().await;
            assert_eq!(guest.state().await, state, "a restart of the daemon is nothing to the guest");
        }
    }
}

async fn play(disks: usize, ops: &[Op]) {
    let mut daemon = Daemon::start().await;
    let guest = Guest::define(&daemon, Spec::disks(disks)).await.running().await;
    let mut model = Model::default();
    for op in ops {
        println!("{op:?}");
        step(&mut daemon, &guest, &mut model, *op).await;
        model.check(&guest).await;
    }
    let names: Vec<String> = model.parents.keys().cloned().collect();
    for name in &names {
        revert(&guest, &mut model, name, 0).await;
        model.check(&guest).await;
    }
    // Those that another holds go once that is gone, and tags beneath a running guest once it is off.
    for round in 0..3 {
        for name in names.iter().rev() {
            if model.parents.contains_key(name) {
                delete(&guest, &mut model, name, 0).await;
                model.check(&guest).await;
            }
        }
        if round == 0 {
            guest.enter(State::Off).await;
        }
    }
    assert!(model.parents.is_empty(), "{:?} cannot be deleted", model.parents.keys());
    guest.assert_clean_but_leaks().await;
}

fn explore(disks: usize, seed: u64) {
    let asked = std::env::var_os("PROPTEST_CASES").is_some();
    // One more try costs as much as the case itself.
    let mut config = Config { failure_persistence: None, max_shrink_iters: 12, ..Config::default() };
    if !asked {
        config.cases = CASES;
    }
    if config.rng_seed == RngSeed::Random && !asked {
        config.rng_seed = RngSeed::Fixed(seed);
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let begun = Instant::now();
    let ran = std::cell::Cell::new(0);
    let done = TestRunner::new(config).run(&prop::collection::vec(op(), 4..LENGTH), |ops| {
        if asked || begun.elapsed() < BUDGET {
            println!("--- a sequence");
            runtime.block_on(play(disks, &ops));
            ran.set(ran.get() + 1);
        }
        Ok(())
    });
    println!("{} sequences, {:?}", ran.get(), begun.elapsed());
    if let Err(failure) = done {
        panic!("{failure}");
    }
}

#[test]
fn of_one_disk() {
    explore(1, 1);
}

#[test]
fn of_two_disks() {
    explore(2, 2);
}

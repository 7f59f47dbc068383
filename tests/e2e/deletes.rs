//! Delete in every place of a tree, with every flag: what survives reverts to exactly its bytes.
//!
//! ```text
//!   r ── m ─┬─ l1
//!           └─ l2 (current)        a mix says how each is taken: Internal or External
//! ```
//!
//! `matrix.rs` has trees of one kind, on both QEMUs; `trees.rs` long chains and images that others share.

use crate::harness::client::flag;
use crate::harness::guest::Truth;
use crate::harness::image::{self, Content};
use crate::harness::{Daemon, Events, Failure, Guest, Kind, Snapshot, Spec, State};
use std::collections::BTreeMap;

const NAMES: [&str; 4] = ["r", "m", "l1", "l2"];

/// How r, m, l1 and l2 are taken.
#[derive(Debug, Clone, Copy)]
struct Mix([Kind; 4]);

const I: Kind = Kind::Internal;
const D: Kind = Kind::DiskOnly;
const M: Kind = Kind::Memory;

/// Who is whose child.
#[derive(Debug, Clone)]
struct Tree {
    parents: BTreeMap<&'static str, Option<&'static str>>,
    current: Option<&'static str>,
}

impl Tree {
    fn new() -> Self {
        let parents = [("r", None), ("m", Some("r")), ("l1", Some("m")), ("l2", Some("m"))];
        Self { parents: parents.into(), current: Some("l2") }
    }

    fn below(&self, name: &str) -> Vec<&'static str> {
        let children = self.parents.iter().filter(|(_, p)| **p == Some(name)).map(|(n, _)| *n);
        children.flat_map(|n| [self.below(n), vec![n]].concat()).collect()
    }

    /// What `flags` delete goes, children before parents.
    fn delete(&mut self, name: &'static str, flags: u32) {
        let mut doomed = Vec::new();
        if flags & (flag::CHILDREN | flag::CHILDREN_ONLY) != 0 {
            doomed = self.below(name);
        }
        if flags & flag::CHILDREN_ONLY == 0 {
            doomed.push(name);
        }
        for name in doomed {
            let parent = self.parents.remove(name).flatten();
            self.parents.values_mut().filter(|p| **p == Some(name)).for_each(|p| *p = parent);
            if self.current == Some(name) {
                self.current = parent;
            }
        }
    }

    async fn assert_is_that_of(&self, guest: &Guest, case: &str) {
        let names: Vec<_> = self.parents.keys().copied().collect();
        assert_eq!(guest.domain.names().await, names, "{case}");
        for (name, parent) in &self.parents {
            let found = guest.domain.snapshot(name).await.unwrap().parent().await.ok().map(|p| p.name());
            assert_eq!(found.as_deref(), *parent, "the parent of {name}, {case}");
        }
        let current = guest.domain.current().await.ok().map(|s| s.name());
        assert_eq!(current.as_deref(), self.current, "{case}");
    }
}

/// A tag that is beneath another snapshot, or that is not in the image which the guest has, is not touched.
fn is_beneath(failure: &Failure) -> bool {
    failure.text.contains("lies beneath snapshot") || failure.text.contains("is not the same as disk image")
}

// --- off ---

/// The tree of a guest that never ran: each state has a stamp and a history of its own.
async fn build(daemon: &Daemon, name: String, mix: Mix) -> (Guest, BTreeMap<&'static str, Content>) {
    let guest = Guest::define(daemon, Spec { name, ..Spec::disks(1) }).await;
    let mut held = BTreeMap::new();
    for (n, (name, kind)) in NAMES.into_iter().zip(mix.0).enumerate() {
        if name == "l2" {
            guest.domain.snapshot("m").await.unwrap().revert(0).await.unwrap();
        }
        let top = guest.tops().await.remove(0);
        image::write(&top, u8::try_from(n + 1).unwrap());
        held.insert(name, Content::of(&top));
        // Without memory in either case.
        guest.create(name, if kind == I { I } else { D }).await.unwrap();
    }
    image::write(&guest.tops().await[0], 99);
    (guest, held)
}

/// Revert to it and look; or if that must not be, read its tag.
async fn assert_holds(guest: &Guest, name: &str, held: &Content, case: &str) {
    let snapshot = guest.domain.snapshot(name).await.unwrap();
    match snapshot.revert(0).await {
        Ok(()) => assert_eq!(Content::of(&guest.tops().await[0]), *held, "{name} after {case}"),
        Err(failure) => {
            assert!(is_beneath(&failure), "{failure}, {case}");
            assert_eq!(Content::of_tag(&guest.path(&format!("{}-0.qcow2", guest.spec.name)), name), *held, "{case}");
        }
    }
}

async fn off(mix: Mix) {
    let daemon = Daemon::start().await;
    let events = Events::listen(&daemon.client).await;
    let flags = [0, flag::CHILDREN, flag::CHILDREN_ONLY, flag::METADATA_ONLY];
    for (n, (target, flags)) in NAMES.iter().flat_map(|t| flags.map(|f| (*t, f))).enumerate() {
        let case = format!("delete {target}, flags {flags}, {mix:?}");
        let (guest, held) = build(&daemon, format!("g{n}-"), mix).await;
        let before = Content::of(&guest.tops().await[0]);
        let mut tree = Tree::new();
        let snapshot = guest.domain.snapshot(target).await.unwrap();
        let dump = snapshot.xml().await.unwrap();
        events.clear();
        snapshot.delete(flags).await.unwrap_or_else(|failure| panic!("{failure}, {case}"));
        let current = tree.current;
        tree.delete(target, flags);
        tree.assert_is_that_of(&guest, &case).await;
        assert_eq!(Content::of(&guest.tops().await[0]), before, "the guest's own disk, {case}");
        if flags & flag::METADATA_ONLY == 0 {
            guest.assert_no_strays().await;
        } else if target.starts_with('l') {
            // What was only forgotten can be learned again. (Its children have another parent by now.)
            let again = if current == Some(target) { flag::CURRENT } else { 0 };
            guest.domain.snapshot_create(&dump, flag::REDEFINE | again).await.unwrap();
            Tree::new().assert_is_that_of(&guest, &case).await;
            tree = Tree::new();
        }
        // A second look, after each state was gone to and left: nothing that stays was written to.
        for _ in 0..2 {
            for name in tree.parents.keys() {
                assert_holds(&guest, name, &held[name], &case).await;
            }
        }
        let lifecycle = events.lifecycle();
        assert!(lifecycle.iter().all(|(event, _)| *event == 0), "only definitions change: {lifecycle:?}, {case}");
        guest.domain.undefine(flag::SNAPSHOTS_METADATA).await.unwrap();
    }
    assert!(!daemon.log().contains("spawned QEMU"), "no guest is started for a guest that is off");
}

macro_rules! off {
    ($($name:ident: $mix:expr;)*) => { mod a_guest_that_is_off { use super::*; $(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            off(Mix($mix)).await;
        }
    )* } };
}

off! {
    external: [D, D, D, D];
    internal: [I, I, I, I];
    internal_above_and_below_external: [I, D, I, D];
    internal_below_external: [D, I, I, I];
}

// --- running and paused ---

type Step = (&'static str, u32);

/// The branch point in the middle first, then what is left from both ends.
const INWARDS: &[Step] = &[("m", 0), ("l1", 0), ("r", flag::CHILDREN_ONLY), ("r", 0)];
/// The current one and its siblings first, then the root of what is left.
const UPWARDS: &[Step] = &[("m", flag::CHILDREN_ONLY), ("r", 0), ("m", flag::CHILDREN)];

async fn contents(snapshot: &Snapshot, guest: &Guest) -> Vec<Content> {
    guest.truth(snapshot).await.disks
}

async fn on(mix: Mix, state: State, steps: &[Step]) {
    let daemon = Daemon::start().await;
    let guest = Guest::define(&daemon, Spec::disks(1)).await;
    guest.enter(state).await;
    let mut held: BTreeMap<&str, Truth> = BTreeMap::new();
    for (name, kind) in NAMES.into_iter().zip(mix.0) {
        if name == "l2" {
            guest.domain.snapshot("m").await.unwrap().revert(0).await.unwrap();
            guest.enter(state).await;
            guest.advance().await;
        }
        held.insert(name, guest.take(name, kind).await);
        guest.advance().await;
    }
    let mut tree = Tree::new();
    for (n, (target, flags)) in steps.iter().enumerate() {
        let case = format!("delete {target}, flags {flags}, {mix:?}, {state:?}");
        let last = n + 1 == steps.len();
        if last {
            // Before nothing is left: really go back to what has survived.
            for name in tree.parents.keys() {
                match guest.domain.snapshot(name).await.unwrap().revert(0).await {
                    Ok(()) => guest.assert_is_at(&held[name]).await,
                    Err(failure) => assert!(is_beneath(&failure), "{failure}, {case}"),
                }
            }
            guest.enter(state).await;
            tree.current =
                guest.domain.current().await.ok().map(|s| s.name()).map(|s| *NAMES.iter().find(|n| **n == s).unwrap());
        }
        match guest.domain.snapshot(target).await.unwrap().delete(*flags).await {
            Ok(()) => tree.delete(target, *flags),
            // libvirt's rule too; once the guest is off it goes.
            Err(failure) => {
                assert!(is_beneath(&failure) && mix.0.contains(&I), "{failure}, {case}");
                guest.enter(State::Off).await;
                guest.domain.snapshot(target).await.unwrap().delete(*flags).await.unwrap();
                tree.delete(target, *flags);
                guest.enter(state).await;
            }
        }
        assert_eq!(guest.state().await, state, "{case}");
        if state == State::Running {
            guest.counts().await;
        }
        tree.assert_is_that_of(&guest, &case).await;
        guest.assert_no_strays().await;
        for name in tree.parents.keys() {
            let now = contents(&guest.domain.snapshot(name).await.unwrap(), &guest).await;
            assert_eq!(now, held[name].disks, "{name} after {case}");
        }
    }
    assert!(guest.domain.names().await.is_empty());
    guest.assert_clean().await;
}

macro_rules! on {
    ($($name:ident: $mix:expr, $steps:expr;)*) => {
        mod a_running_guest { use super::*; $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                on(Mix($mix), State::Running, $steps).await;
            }
        )* }
        mod a_paused_guest { use super::*; $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                on(Mix($mix), State::Paused, $steps).await;
            }
        )* }
    };
}

on! {
    external_inwards: [D, M, M, D], INWARDS;
    external_upwards: [M, D, M, M], UPWARDS;
    internal_upwards: [I, I, I, I], UPWARDS;
    internal_above_and_below_external_inwards: [I, D, I, M], INWARDS;
    internal_above_and_below_external_upwards: [I, M, I, D], UPWARDS;
    internal_below_external_inwards: [M, I, I, I], INWARDS;
}

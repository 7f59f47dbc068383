//! Whether a machine ended in one of the worlds in which it may end.

use crate::machine::{Call, Machine};
use crate::picture::{Content, Picture, Words};
use camino::Utf8PathBuf;
use std::collections::{BTreeMap, BTreeSet};
use virsnap::host::sim::guest::Guest;
use virsnap::host::sim::world::{Blocks, Disks};
use virsnap::host::sim::{Fault, World, hold};
use virsnap::model::ids::SnapshotName;

/// What there was, and what there may be.
pub struct Expected {
    pub call: Call,
    pub before: Picture,
    /// The world after the call; for a call of several operations, after each of them.
    pub after: Vec<Picture>,
}

type Verdict = Result<(), String>;

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(what()) }
}

pub fn check(machine: &Machine, expected: &Expected, faults: &[(usize, Fault)]) -> Verdict {
    let world = hold(&machine.world).clone();
    ensure(world.violations.is_empty(), || format!("violation: {}", world.violations[0]))?;
    let now = Picture::of(machine, &world);
    if !now.defined {
        return check_gone(&world, expected, faults);
    }
    let mut dark = world.clone();
    dark.lose();
    let later = Picture::of(machine, &dark);
    let off: Vec<_> = faults.iter().copied().chain([(0, Fault::MachineLoses)]).collect();
    let mut verdict = Ok(());
    for place in places(&now, expected)? {
        verdict = check_guest(&now, &world, place, expected, faults)
            .and_then(|()| check_files(machine, &now, &world, place, expected, faults))
            .and_then(|()| {
                let dark = check_files(machine, &later, &dark, place, expected, &off);
                dark.map_err(|e| format!("after a power cut: {e}"))
            });
        if verdict.is_ok() {
            break;
        }
    }
    verdict
}

/// A transient domain is gone with its hypervisor, and its snapshots' metadata too. What its guest
/// has flushed is on the disk.
fn check_gone(world: &World, expected: &Expected, faults: &[(usize, Fault)]) -> Verdict {
    ensure(expected.before.words.inactive_xml.is_none(), || "the domain is gone".to_owned())?;
    ensure(kills(faults) && world.guests.is_empty(), || "the domain is gone without its hypervisor".to_owned())?;
    let guest = world.last_ended.as_ref().ok_or("no hypervisor has ended")?;
    for (target, blocks) in &guest.truth {
        let held = world.paths().any(|p| world.content(p).is_ok_and(|c| c == *blocks));
        ensure(held, || format!("no image holds what was flushed to {target}: {blocks:?}"))?;
    }
    Ok(())
}

/// Whether one of the faults ends the guest.
fn kills(faults: &[(usize, Fault)]) -> bool {
    faults.iter().any(|(_, f)| !matches!(f, Fault::Crash | Fault::Refuse))
}

/// Which of the worlds it may be: a revert to the current snapshot changes no words.
fn places<'e>(now: &Picture, expected: &'e Expected) -> Result<Vec<&'e Picture>, String> {
    let all = std::iter::once(&expected.before).chain(&expected.after);
    let found: Vec<_> = all.clone().filter(|p| p.words == now.words).collect();
    ensure(!found.is_empty(), || {
        let differences: Vec<String> = all.map(|p| difference(&p.words, &now.words)).collect();
        format!("the store tells of neither world: {}", differences.join(" | "))
    })?;
    Ok(found)
}

fn difference(a: &Words, b: &Words) -> String {
    let names = |w: &Words| w.snapshots.iter().map(|(s, _)| s.name.0.clone()).collect::<Vec<_>>().join(",");
    if names(a) != names(b) {
        return format!("snapshots {} and not {}", names(b), names(a));
    }
    for ((s, t), (s2, t2)) in a.snapshots.iter().zip(&b.snapshots) {
        if s != s2 {
            return format!("{s2:?} and not {s:?}");
        }
        if t != t2 {
            return format!("texts of {}: {t2:?} and not {t:?}", s.name);
        }
    }
    if a.current != b.current {
        return format!("current {:?} and not {:?}", b.current, a.current);
    }
    if a.saved != b.saved {
        return format!("managed save {:?} and not {:?}", b.saved, a.saved);
    }
    if a.owned != b.owned {
        return format!("owned {:?} and not {:?}", b.owned, a.owned);
    }
    format!("inactive definition {:?} and not {:?}", b.inactive_xml, a.inactive_xml)
}

fn check_guest(
    now: &Picture,
    world: &World,
    place: &Picture,
    expected: &Expected,
    faults: &[(usize, Fault)],
) -> Verdict {
    ensure(world.guests.len() < 2, || "two guests".to_owned())?;
    let refused = faults.iter().any(|(_, f)| *f == Fault::Refuse);
    let revert = matches!(expected.call, Call::Revert(..) | Call::RevertThen(..));
    let Some(guest) = world.guests.values().next() else {
        ensure(now.live.is_none(), || "the store has a hypervisor that is gone".to_owned())?;
        return ensure(place.runs.is_none() || kills(faults) || (refused && revert), || "the guest is gone".to_owned());
    };
    ensure(place.runs.is_some(), || "a guest runs that should not".to_owned())?;
    ensure(now.live.as_ref().is_some_and(|(i, _)| *i == guest.instance), || {
        "the store does not know the guest that runs".to_owned()
    })?;
    ensure(Some(guest.running) == place.runs, || {
        format!("the guest's CPUs {}", if guest.running { "run" } else { "stand still" })
    })?;
    ensure(!guest.frozen, || "the guest is frozen".to_owned())?;
    ensure(guest.nodes.is_empty(), || format!("nodes are left: {:?}", guest.nodes))?;
    ensure(guest.merging.is_empty(), || "a merge is left".to_owned())?;
    ensure(guest.saving.is_none(), || "a save is left".to_owned())?;
    let (_, xml) = now.live.as_ref().ok_or("no live definition")?;
    let named = virsnap::host::sim::guest::disks_of(xml).map_err(|e| e.to_string())?;
    for disk in &guest.disks {
        let path = named.iter().find(|d| d.target == disk.target).map(|d| &d.image.path);
        let ino = path.and_then(|p| world.ino(p));
        ensure(ino.is_some() && disk.chain.first().copied() == ino, || {
            format!("{} writes to another image than {path:?}, which its definition names", disk.target)
        })?;
    }
    Ok(())
}

fn check_files(
    machine: &Machine,
    now: &Picture,
    world: &World,
    place: &Picture,
    expected: &Expected,
    faults: &[(usize, Fault)],
) -> Verdict {
    check_snapshots(now, world, expected)?;
    check_saved(now, place, world)?;
    check_disks(machine, now, world, place, expected)?;
    let refused = faults.iter().any(|(_, f)| *f == Fault::Refuse);
    let missing: Vec<_> = place.paths.difference(&now.paths).collect();
    ensure(missing.is_empty(), || format!("files are gone: {missing:?}"))?;
    let stray: Vec<_> = now.paths.difference(&place.paths).collect();
    // A file that cannot be removed is reported, and stays.
    ensure(stray.is_empty() || (refused && stray.iter().all(|s| removed(expected).contains(*s))), || {
        format!("stray files: {stray:?}")
    })?;
    for (path, tags) in &now.tags {
        let then = place.tags.get(path);
        ensure(then.is_none_or(|t| t == tags), || format!("tags of {path}: {tags:?} and not {then:?}"))?;
    }
    if std::ptr::eq(place, &expected.before) {
        ensure(now.empty == place.empty, || format!("empty files: {:?} and not {:?}", now.empty, place.empty))?;
    }
    Ok(())
}

/// Files that the whole call removes.
fn removed(expected: &Expected) -> BTreeSet<Utf8PathBuf> {
    let end = expected.after.last().unwrap_or(&expected.before);
    expected.before.paths.difference(&end.paths).cloned().collect()
}

/// What a snapshot was called before the call.
fn named_before(name: &SnapshotName, expected: &Expected) -> SnapshotName {
    match expected.call {
        Call::Rename(from, to) if name.as_str() == to => from.into(),
        _ => name.clone(),
    }
}

/// The image is there as long as it is on record, and its memory fits the disks of the guest that will have it.
fn check_saved(now: &Picture, place: &Picture, world: &World) -> Verdict {
    let Some(memory) = &now.saved else { return Ok(()) };
    let counter = memory.clone().map_err(|e| format!("the managed-save image: {e}"))?;
    ensure(world.guests.is_empty(), || "a guest runs whose memory is saved".to_owned())?;
    if place.saved.is_some() {
        let disks = now.disks.as_ref().map_err(Clone::clone)?;
        for (target, blocks) in disks {
            let stamp = blocks.get(&0).copied();
            ensure(stamp.is_none_or(|s| s == counter), || {
                format!("memory of {counter} was saved over {target} of {stamp:?}")
            })?;
        }
    }
    Ok(())
}

/// Every snapshot holds what it held; a new one is of one instant.
fn check_snapshots(now: &Picture, world: &World, expected: &Expected) -> Verdict {
    for (name, content) in &now.contents {
        match expected.before.contents.get(&named_before(name, expected)) {
            Some(then) => ensure(content == then, || format!("{name} holds {content:?} and not {then:?}"))?,
            None => one_instant(name, content, world, expected)?,
        }
    }
    Ok(())
}

fn one_instant(name: &SnapshotName, content: &Content, world: &World, expected: &Expected) -> Verdict {
    let mut disks = BTreeMap::new();
    for (target, held) in &content.disks {
        disks.insert(target.clone(), held.clone().map_err(|e| format!("{name}, {target}: {e}"))?);
    }
    let memory = content.memory.clone().transpose().map_err(|e| format!("memory of {name}: {e}"))?;
    let stamp = memory.or_else(|| disks.values().filter_map(|b: &Blocks| b.get(&0).copied()).max());
    let before = expected.before.disks.clone()?;
    let Some(moment) = stamp.and_then(|s| world.history.get(&s)) else {
        // Nobody has written since.
        return same(&disks, &before, name);
    };
    let off = expected.before.runs.is_none();
    same(&disks, if off { &before } else { moment }, name)
}

fn same(disks: &BTreeMap<String, Blocks>, then: &Disks, name: &SnapshotName) -> Verdict {
    for (target, held) in disks {
        let there = then.get(&target.as_str().into());
        ensure(there == Some(held), || {
            format!("{name} is not of one instant: {target} holds {held:?} and not {there:?}")
        })?;
    }
    Ok(())
}

/// The disks hold everything that was flushed.
fn check_disks(machine: &Machine, now: &Picture, world: &World, place: &Picture, expected: &Expected) -> Verdict {
    let disks = now.disks.as_ref().map_err(Clone::clone)?;
    let last: Option<&Guest> = world.guests.values().next().or(world.last_ended.as_ref());
    let truth = match expected.call {
        Call::Revert(name, _) | Call::RevertThen(name, _) if !std::ptr::eq(place, &expected.before) => {
            let target = &expected.before.contents[&name.into()];
            let mut held = Disks::new();
            for (disk, blocks) in &target.disks {
                held.insert(disk.as_str().into(), blocks.clone()?);
            }
            let new = last.filter(|g| g.loaded || ![machine.running, machine.ended].contains(&Some(g.instance)));
            if let Some(new) = new {
                ensure(new.found == held, || format!("the new guest found {:?} and not {held:?}", new.found))?;
            }
            new.map_or(held, |g| g.truth.clone())
        }
        Call::Start | Call::Boot => {
            let before = expected.before.disks.clone()?;
            let new = last.filter(|g| ![machine.running, machine.ended].contains(&Some(g.instance)));
            if let Some(new) = new {
                ensure(new.found == before, || format!("the guest found {:?} and not {before:?}", new.found))?;
                let restored = matches!(expected.call, Call::Start) && expected.before.saved.is_some();
                ensure(new.loaded == restored, || "the guest has another memory than it should".to_owned())?;
            }
            new.map_or(before, |g| g.truth.clone())
        }
        _ => match last.filter(|g| Some(g.instance) == machine.running) {
            Some(guest) => guest.truth.clone(),
            None => expected.before.disks.clone()?,
        },
    };
    ensure(*disks == truth, || format!("the disks hold {disks:?}, and what was flushed is {truth:?}"))
}

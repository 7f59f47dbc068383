//! What is known without looking: the tree, what each snapshot holds, whose files there are. And the comparison.

use super::drive::{Call, doomed};
use super::op::{HALT, METADATA_ONLY, NO_METADATA, Op, PAUSED, RUNNING};
use crate::machine::{DOMAIN, Machine};
use crate::picture::{Content, Picture};
use camino::Utf8PathBuf;
use std::collections::{BTreeMap, BTreeSet};
use virsnap::error::Result as Answer;
use virsnap::host::sim::guest::Guest;
use virsnap::host::sim::world::Disks;
use virsnap::host::sim::{Fault, World, hold};
use virsnap::model::ids::{Image, Instance, SnapshotName};
use virsnap::model::snapshot::{Location, Memory, Snapshot, SnapshotState};
use virsnap::model::tree::Tree;
use virsnap::xml::domain::frozen_disks;

type Verdict = Result<(), String>;
/// Parents by name, and the current snapshot.
type Shape = (BTreeMap<SnapshotName, Option<SnapshotName>>, Option<SnapshotName>);

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(what()) }
}

/// What there was right before a call.
pub struct Moment {
    picture: Picture,
    guest: Option<Guest>,
    ended: Option<Instance>,
    /// The newest value that a guest had written.
    newest: u64,
}

impl Moment {
    pub fn take(machine: &Machine) -> Self {
        let picture = Picture::take(machine);
        let world = hold(&machine.world);
        Self {
            picture,
            guest: world.guests.values().next().cloned(),
            ended: world.last_ended.as_ref().map(|g| g.instance),
            newest: world.history.keys().next_back().copied().unwrap_or(0),
        }
    }

    /// The image that a disk writes to.
    pub fn top(machine: &Machine, target: &str) -> Option<Image> {
        let row = machine.store.domains().unwrap().into_iter().find(|d| d.id == DOMAIN)?;
        let xml = row.live.map(|l| l.xml).or(row.inactive_xml)?;
        frozen_disks(&xml).ok()?.into_iter().find(|d| d.target.as_str() == target)?.image
    }
}

pub struct Model {
    pub parents: BTreeMap<SnapshotName, Option<SnapshotName>>,
    pub current: Option<SnapshotName>,
    contents: BTreeMap<SnapshotName, Content>,
    /// What the disks hold while nobody writes to them.
    disks: Disks,
    /// Files that users made.
    pub users: BTreeSet<Utf8PathBuf>,
    /// Files and tags whose metadata was given up on purpose.
    excused: BTreeSet<Utf8PathBuf>,
    excused_tags: BTreeSet<(Utf8PathBuf, String)>,
    /// Something was refused that nobody expects to be: files may have stayed.
    refused: bool,
    /// A transient domain that has ended.
    pub gone: bool,
    pub taken: u32,
}

impl Model {
    pub fn new(machine: &Machine) -> Self {
        let picture = Picture::take(machine);
        Self {
            parents: BTreeMap::new(),
            current: None,
            contents: BTreeMap::new(),
            disks: picture.disks.unwrap(),
            users: picture.paths,
            excused: BTreeSet::new(),
            excused_tags: BTreeSet::new(),
            refused: false,
            gone: false,
            taken: 0,
        }
    }

    fn shape(&self) -> Shape {
        (self.parents.clone(), self.current.clone())
    }

    /// All below a snapshot, parents first.
    pub fn below(&self, name: &SnapshotName) -> Vec<SnapshotName> {
        let mut out = vec![name.clone()];
        let mut at = 0;
        while at < out.len() {
            let parent = Some(out[at].clone());
            out.extend(self.parents.iter().filter(|(_, p)| **p == parent).map(|(n, _)| n.clone()));
            at += 1;
        }
        out.remove(0);
        out
    }

    /// The trees that the call may leave: that before it first, that after it last.
    fn outcomes(&self, call: &Call) -> Vec<Shape> {
        let mut out = vec![self.shape()];
        let (mut parents, mut current) = self.shape();
        match call {
            Call::Create { name, flags, .. } if flags & NO_METADATA == 0 && !parents.contains_key(name) => {
                parents.insert(name.clone(), current.clone());
                out.push((parents, Some(name.clone())));
            }
            Call::Revert(name, _) => out.push((parents, Some(name.clone()))),
            Call::Redefine { name, current: true, .. } => out.push((parents, Some(name.clone()))),
            Call::Delete(name, flags) => {
                // Several leave one after the other; siblings in an order that is not told here.
                for gone in doomed(self, name, *flags) {
                    let parent = parents.remove(&gone).flatten();
                    for p in parents.values_mut().filter(|p| **p == Some(gone.clone())) {
                        p.clone_from(&parent);
                    }
                    if current.as_ref() == Some(&gone) {
                        current = parent;
                    }
                    out.push((parents.clone(), current.clone()));
                }
            }
            _ => {}
        }
        out
    }

    /// Everything that must hold after a call; `answer` is `None` where it was cut short by `faults`.
    pub fn check(
        &mut self,
        machine: &Machine,
        moment: &Moment,
        call: &Call,
        answer: Option<&Answer<()>>,
        faults: &[Fault],
    ) -> Verdict {
        let world = hold(&machine.world).clone();
        let violations = std::mem::take(&mut hold(&machine.world).violations);
        if let Some(violation) = violations.iter().find(|v| !self.is_asked_for(v, moment, call)) {
            return Err(format!("violation: {violation}"));
        }
        let open = machine.store.open_ops().unwrap();
        ensure(open.is_empty(), || format!("the journal holds {open:?}"))?;
        let now = Picture::of(machine, &world);
        if !now.defined {
            self.gone = true;
            ensure(moment.picture.words.inactive_xml.is_none(), || "the domain is gone".to_owned())?;
            return ensure(world.guests.is_empty(), || "the domain is gone without its hypervisor".to_owned());
        }
        match answer {
            Some(Err(error)) => self.check_refusal(moment, call, &now, &error.to_string())?,
            Some(Ok(())) => check_run(moment, call, &now)?,
            None => {}
        }
        self.check_tree(call, &now, answer)?;
        self.learn(call, moment, &now, &world)?;
        self.learn_manual(moment, &now);
        self.check_contents(&now)?;
        check_guest(&now, &world)?;
        let disks = self.held(moment, call, &now, &world, answer)?;
        let mut dark = world.clone();
        dark.lose();
        let later = Picture::of(machine, &dark);
        self.check_contents(&later).map_err(|e| format!("after a power cut: {e}"))?;
        ensure(later.disks.as_ref() == Ok(&disks), || format!("after a power cut the disks hold {:?}", later.disks))?;
        self.disks = disks;
        self.excuse(call, moment, &now, answer);
        self.check_files(&now, &world, faults)
    }

    /// Memory over another state of a disk, where the snapshot excludes the disk.
    fn is_asked_for(&self, violation: &str, moment: &Moment, call: &Call) -> bool {
        let Call::Revert(name, _) = call else { return false };
        let excluded = |s: &Snapshot| {
            s.disks.iter().any(|d| {
                matches!(d.location, Some(Location::No | Location::Manual))
                    && violation.contains(&format!("was loaded over {}", d.name))
            })
        };
        // Taken after such a revert, it holds the two as they were then.
        let stamps = |c: &Content| {
            c.disks.values().any(|b| b.as_ref().ok().map(|b| b.get(&0)) != c.memory.as_ref().map(|m| m.as_ref().ok()))
        };
        let mixed = violation.starts_with("memory of ") && self.contents.get(name).is_some_and(stamps);
        mixed || moment.picture.words.snapshots.iter().any(|(s, _)| s.name == *name && excluded(s))
    }

    /// Nothing has changed, and the reason is one of those that may be.
    fn check_refusal(&self, moment: &Moment, call: &Call, now: &Picture, text: &str) -> Verdict {
        let fine = match call {
            Call::Create { simple, .. } => {
                !simple || text.contains("already exists") || text.contains("cannot halt after transient")
            }
            Call::Revert(..) => {
                text.contains("lies beneath snapshot") || text.contains("needs to request run or pause")
            }
            // libvirt's rules: a tag that the guest does not have open; a disk that a later snapshot excluded.
            Call::Delete(..) => {
                text.contains("is not the same as disk image currently used by VM")
                    || text.contains("failed to find parent disk source in backing chain")
            }
            Call::Power(_) => true,
            _ => false,
        };
        ensure(fine, || format!("{call:?} was refused: {text}"))?;
        if matches!(call, Call::Delete(_, flags) if flags & (super::op::CHILDREN | super::op::CHILDREN_ONLY) != 0) {
            return Ok(());
        }
        let then = &moment.picture;
        ensure(then.words == now.words, || "a refused call has changed the metadata".to_owned())?;
        ensure(then.runs == now.runs, || "a refused call has changed what the guest does".to_owned())?;
        ensure(then.tags == now.tags || now.paths != then.paths, || "a refused call has changed tags".to_owned())?;
        let made: Vec<_> = now.paths.difference(&then.paths).filter(|p| !self.users.contains(*p)).collect();
        ensure(made.is_empty(), || format!("a refused call has left {made:?}"))?;
        let gone: Vec<_> = then.paths.difference(&now.paths).collect();
        ensure(gone.is_empty(), || format!("a refused call has removed {gone:?}"))
    }

    fn check_tree(&mut self, call: &Call, now: &Picture, answer: Option<&Answer<()>>) -> Verdict {
        let outcomes = self.outcomes(call);
        let parents = now.words.snapshots.iter().map(|(s, _)| (s.name.clone(), s.parent.clone())).collect();
        let found: Shape = (parents, now.words.current.clone());
        let several = matches!(call, Call::Delete(..));
        let may = match answer {
            Some(Ok(())) => &outcomes[outcomes.len() - 1..],
            Some(Err(_)) if !several => &outcomes[..1],
            _ => &outcomes[..],
        };
        // Of several that go, siblings may go in any order: only the ends are known.
        let partly = several && !matches!(answer, Some(Ok(()))) && outcomes.len() > 3;
        ensure(may.contains(&found) || partly, || format!("the tree is {found:?} and not one of {may:?}"))?;
        for (s, texts) in &now.words.snapshots {
            ensure(!s.disks.iter().any(|d| d.delete_in_progress), || format!("{} is still marked", s.name))?;
            let named = texts.domain.as_deref().map(frozen_disks).transpose().map_err(|e| e.to_string())?;
            ensure(named.as_ref() == Some(&s.frozen), || {
                format!("{} is frozen in {:?}, and its definition names {named:?}", s.name, s.frozen)
            })?;
        }
        (self.parents, self.current) = found;
        self.contents.retain(|n, _| self.parents.contains_key(n));
        Ok(())
    }

    /// A new snapshot holds what there was at one instant; from now on it always does.
    fn learn(&mut self, call: &Call, moment: &Moment, now: &Picture, world: &World) -> Verdict {
        for name in self.parents.keys().filter(|n| !self.contents.contains_key(*n)).cloned().collect::<Vec<_>>() {
            ensure(matches!(call, Call::Create { name: n, .. } if *n == name), || {
                format!("{name} comes from nowhere")
            })?;
            let content = &now.contents[&name];
            let holds = |memory: u64, disks: &Disks| {
                content.memory.as_ref().is_none_or(|m| *m == Ok(memory))
                    && content.disks.iter().all(|(t, held)| held.as_ref().ok() == disks.get(&t.as_str().into()))
            };
            let first = match &moment.guest {
                Some(guest) => holds(guest.counter, &guest.truth),
                None => content.memory.is_none() && holds(0, &self.disks),
            };
            let later = moment.guest.is_some() && world.history.range(moment.newest + 1..).any(|(v, d)| holds(*v, d));
            ensure(first || later, || format!("{name} is of no instant: {content:?}"))?;
            self.contents.insert(name, content.clone());
            self.taken += 1;
        }
        Ok(())
    }

    /// A disk that was left to the user is captured by a revert, as the user has put it there: the snapshot says so
    /// then, or once it is a leaf again.
    fn learn_manual(&mut self, moment: &Moment, now: &Picture) {
        for (then, _) in &moment.picture.words.snapshots {
            let (Some(content), Some(held)) = (self.contents.get_mut(&then.name), now.contents.get(&then.name)) else {
                continue;
            };
            for disk in then.disks.iter().filter(|d| d.location == Some(Location::Manual)) {
                content.disks.extend(held.disks.get(&disk.name).map(|b| (disk.name.clone(), b.clone())));
            }
        }
    }

    fn check_contents(&self, now: &Picture) -> Verdict {
        for (name, then) in &self.contents {
            let held = &now.contents[name];
            ensure(held == then, || format!("{name} holds {held:?} and not {then:?}"))?;
        }
        Ok(())
    }

    /// What the disks hold; an error if it is not what was flushed, or what was reverted to.
    fn held(
        &self,
        moment: &Moment,
        call: &Call,
        now: &Picture,
        world: &World,
        answer: Option<&Answer<()>>,
    ) -> Result<Disks, String> {
        let disks = now.disks.clone()?;
        let old = moment.guest.as_ref().map(|g| g.instance);
        let all = || world.guests.values().chain(&world.last_ended);
        let new = all().find(|g| ![old, moment.ended].contains(&Some(g.instance)));
        let before = match old {
            // Where a new one has ended since, that is the last one that is known; then it was reverted.
            Some(old) => all().find(|g| g.instance == old).map_or_else(|| self.disks.clone(), |g| g.truth.clone()),
            None => self.disks.clone(),
        };
        let compare = |base: &Disks, new: Option<&Guest>| match new {
            Some(guest) if guest.found != *base => Err(format!("a guest found {:?} and not {base:?}", guest.found)),
            Some(guest) if guest.truth != disks => Err(format!("the disks hold {disks:?} and not {:?}", guest.truth)),
            None if *base != disks => Err(format!("the disks hold {disks:?} and not {base:?}")),
            _ => Ok(()),
        };
        // A revert may have gone back within the hypervisor that runs.
        let reverted = new.or_else(|| all().find(|g| Some(g.instance) == old));
        let started = reverted.filter(|g| new.is_some() || world.guests.contains_key(&g.instance));
        let target = match call {
            Call::Revert(name, _) if !matches!(answer, Some(Err(_))) => {
                let seen = started.map_or(&disks, |g| &g.found);
                Some(self.target(name, moment, &before, seen)?)
            }
            _ => None,
        };
        match (target, answer) {
            (Some(target), Some(_)) => compare(&target, started)?,
            (Some(target), None) => {
                compare(&before, new).or_else(|_| compare(&target, started)).or_else(|_| compare(&target, reverted))?
            }
            (None, _) => compare(&before, new)?,
        }
        Ok(disks)
    }

    /// What the disks hold after a revert: a disk that the snapshot excludes stays as it was, and one that was left to
    /// the user is as it is found.
    fn target(&self, name: &SnapshotName, moment: &Moment, before: &Disks, seen: &Disks) -> Result<Disks, String> {
        let mut out = before.clone();
        let snapshot = moment.picture.words.snapshots.iter().find(|(s, _)| s.name == *name).map(|(s, _)| s);
        for disk in snapshot.map(|s| s.disks.as_slice()).unwrap_or_default() {
            if disk.location == Some(Location::Manual) {
                out.extend(seen.get(&disk.target()).map(|b| (disk.target(), b.clone())));
            }
        }
        for (target, held) in &self.contents[name].disks {
            out.insert(target.as_str().into(), held.clone()?);
        }
        Ok(out)
    }

    /// Metadata that was given up on purpose leaves files and tags.
    fn excuse(&mut self, call: &Call, moment: &Moment, now: &Picture, answer: Option<&Answer<()>>) {
        if matches!(answer, Some(Err(_))) && !matches!(call, Call::Delete(..)) {
            return;
        }
        match call {
            Call::Create { flags, .. } if flags & NO_METADATA != 0 => {
                self.excused.extend(
                    now.paths
                        .iter()
                        .filter(|p| p.extension() == Some("mem") || p.extension() == Some("save"))
                        .filter(|p| !moment.picture.paths.contains(*p))
                        .cloned(),
                );
                for (path, tags) in &now.tags {
                    let then = moment.picture.tags.get(path);
                    let new = tags.iter().filter(|t| !then.is_some_and(|then| then.contains(t)));
                    self.excused_tags.extend(new.map(|t| (path.clone(), t.clone())));
                }
            }
            Call::Delete(_, flags) if flags & METADATA_ONLY != 0 => {
                for (s, _) in moment.picture.words.snapshots.iter().filter(|(s, _)| !self.parents.contains_key(&s.name))
                {
                    self.excused.extend(files(s));
                    let tags = s.internal_disks().filter_map(|d| s.frozen_image(&d.name));
                    self.excused_tags.extend(tags.map(|i| (i.path.clone(), s.name.0.clone())));
                }
            }
            _ => {}
        }
    }

    /// Every file is needed, and everything needed is there.
    fn check_files(&mut self, now: &Picture, world: &World, faults: &[Fault]) -> Verdict {
        // Below an overlay of a user's nothing goes.
        let users = self.users.iter().filter_map(|p| world.chain(p).ok());
        self.excused.extend(users.flatten().filter(|p| !self.users.contains(p)).collect::<Vec<_>>());
        let mut roots: BTreeSet<Utf8PathBuf> = self.excused.intersection(&now.paths).cloned().collect();
        // An image with a snapshot that nobody knows any more stays for whoever knows it.
        let tagged = now.tags.iter().filter(|(_, tags)| !tags.is_empty()).map(|(p, _)| p.clone());
        roots.extend(tagged);
        let mut memories = BTreeSet::new();
        for xml in now.live.iter().map(|(_, x)| x).chain(&now.words.inactive_xml) {
            let disks = frozen_disks(xml).map_err(|e| e.to_string())?;
            roots.extend(disks.into_iter().filter_map(|d| d.image).map(|i| i.path));
        }
        for (s, _) in &now.words.snapshots {
            roots.extend(s.frozen.iter().filter_map(|f| f.image.as_ref()).map(|i| i.path.clone()));
            if let Memory::External(path) = &s.memory {
                memories.insert(path.clone());
            }
        }
        let mut needed = memories;
        for root in roots {
            match world.chain(&root) {
                Ok(chain) => needed.extend(chain),
                Err(_) if self.excused.contains(&root) => drop(needed.insert(root)),
                Err(error) => return Err(format!("a chain is broken: {error}")),
            }
        }
        let lost: Vec<_> = needed.difference(&now.paths).collect();
        ensure(lost.is_empty(), || format!("files are gone: {lost:?}"))?;
        let strays: Vec<_> = now.paths.iter().filter(|p| !needed.contains(*p) && !self.users.contains(*p)).collect();
        // A file that cannot be removed is reported, and stays.
        self.refused |= faults.contains(&Fault::Refuse);
        if self.refused {
            self.excused.extend(strays.into_iter().cloned());
        } else {
            ensure(strays.is_empty(), || format!("nothing refers to {strays:?}"))?;
        }
        let ghosts: Vec<_> = now.words.owned.difference(&now.paths).filter(|p| !self.users.contains(*p)).collect();
        ensure(ghosts.is_empty(), || format!("recorded as ours, and not there: {ghosts:?}"))?;
        for (path, tags) in &now.tags {
            for tag in tags {
                let known = now.words.snapshots.iter().any(|(s, _)| {
                    s.name.as_str() == tag
                        && s.internal_disks().any(|d| s.frozen_image(&d.name).is_some_and(|i| i.path == *path))
                });
                let excused = self.excused_tags.contains(&(path.clone(), tag.clone()));
                ensure(known || excused, || format!("'{path}' has a tag '{tag}' of no snapshot"))?;
            }
        }
        Ok(())
    }

    /// What readers see is what is stored.
    pub fn check_view(&self, machine: &Machine, tree: &Tree) -> Verdict {
        let (snapshots, current) = machine.store.snapshots(DOMAIN).unwrap();
        ensure(tree.current() == current.as_ref(), || format!("readers see {:?} as current", tree.current()))?;
        ensure(tree.len() == snapshots.len(), || "readers see another tree".to_owned())?;
        for s in &snapshots {
            let seen = tree.get(&s.name);
            ensure(seen.is_some_and(|v| **v == *s), || format!("readers see {seen:?} and not {s:?}"))?;
        }
        Ok(())
    }
}

/// The files that a snapshot names.
fn files(s: &Snapshot) -> Vec<Utf8PathBuf> {
    let frozen = s.frozen.iter().filter_map(|f| f.image.as_ref()).map(|i| i.path.clone());
    let overlays = s.disks.iter().chain(&s.revert_disks).filter_map(|d| d.source.clone());
    let memory = match &s.memory {
        Memory::External(path) => Some(path.clone()),
        _ => None,
    };
    frozen.chain(overlays).chain(memory).collect()
}

/// What the guest does after a call that went well.
fn check_run(moment: &Moment, call: &Call, now: &Picture) -> Verdict {
    let then = moment.picture.runs;
    let wanted = match call {
        Call::Create { flags, .. } if flags & HALT != 0 => None,
        Call::Create { xml, .. } if xml.contains("'manual'") => then.map(|_| false),
        Call::Create { .. } | Call::Delete(..) | Call::Redefine { .. } | Call::Relearn(..) | Call::Nothing => then,
        Call::Revert(_, flags) if flags & RUNNING != 0 => Some(true),
        Call::Revert(_, flags) if flags & PAUSED != 0 => Some(false),
        Call::Revert(name, _) => {
            let target = now.words.snapshots.iter().find(|(s, _)| s.name == *name);
            match target.map(|(s, _)| s.state) {
                Some(SnapshotState::Running) => Some(true),
                Some(SnapshotState::Paused) => Some(false),
                _ => None,
            }
        }
        Call::Power(Op::Start { paused }) => Some(!paused),
        Call::Power(Op::Suspend) => Some(false),
        Call::Power(Op::Resume) => Some(true),
        Call::Power(Op::Destroy | Op::Shutdown) => None,
        Call::Power(_) => then,
    };
    ensure(now.runs == wanted, || format!("{call:?}: the guest's CPUs are {:?} and not {wanted:?}", now.runs))
}

/// The guest that runs is the one that is known, and nothing of an operation is left in it.
fn check_guest(now: &Picture, world: &World) -> Verdict {
    ensure(world.guests.len() < 2, || "two guests".to_owned())?;
    let Some(guest) = world.guests.values().next() else {
        return ensure(now.live.is_none(), || "the store has a hypervisor that is gone".to_owned());
    };
    let Some((instance, xml)) = &now.live else { return Err("a guest runs that nobody knows".to_owned()) };
    ensure(*instance == guest.instance, || "another guest runs than the store knows".to_owned())?;
    ensure(!guest.frozen && guest.nodes.is_empty() && guest.merging.is_empty() && guest.saving.is_none(), || {
        format!("something is left in the guest: {guest:?}")
    })?;
    let named = frozen_disks(xml).map_err(|e| e.to_string())?;
    for disk in &guest.disks {
        let image = named.iter().find(|d| d.target == disk.target).and_then(|d| d.image.as_ref());
        let ino = image.and_then(|i| world.ino(&i.path));
        ensure(ino.is_some() && disk.chain.first().copied() == ino, || {
            format!("{} writes to another image than {image:?}, which its definition names", disk.target)
        })?;
        let chain = image.map(|i| world.chain(&i.path)).transpose().map_err(|e| e.to_string())?.unwrap_or_default();
        let inos: Vec<_> = chain.iter().filter_map(|p| world.ino(p)).collect();
        ensure(inos == disk.chain, || {
            format!("the chain that {} has open is not the one on disk: {chain:?}", disk.target)
        })?;
    }
    Ok(())
}

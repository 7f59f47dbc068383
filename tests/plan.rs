//! The planner's decisions as text: for a domain, its files and a request, every step of the plan.
//! No guest and no file is touched; the golden files are in `tests/snapshots`.

#![allow(clippy::unwrap_used)]

use camino::{Utf8Path, Utf8PathBuf};
use std::collections::{BTreeMap, BTreeSet};
use virsnap::model::domain::DomainState;
use virsnap::model::flags::{CreateFlags, RevertFlags};
use virsnap::model::ids::{DiskTarget, DomainId, Image, Instance, OpId, SnapshotName};
use virsnap::model::risk::RiskyRevert;
use virsnap::model::side_state::{Nvram, SidePlace, SideState, SideStates};
use virsnap::model::snapshot::{Snapshot, SnapshotTexts};
use virsnap::model::tree::Tree;
use virsnap::plan::abi;
use virsnap::plan::create::{self, CreateRequest};
use virsnap::plan::delete::{self, DeleteRequest};
use virsnap::plan::facts::{Backend, Backends, Capabilities, Facts, FileFact, FileKind, ImageHeader, LiveSave, Tag};
use virsnap::plan::graph::Graph;
use virsnap::plan::revert::{self, RevertRequest};
use virsnap::plan::steps::{Change, Commit, CurrentChange, LiveChange, Plan, Prepare, Settle};
use virsnap::xml;
use virsnap::xml::scan::Limits;

const UUID: &str = "0dd0dd0d-0002-4000-8000-000000000002";

fn id() -> DomainId {
    DomainId(uuid::Uuid::parse_str(UUID).unwrap())
}

fn instance(n: u128) -> Instance {
    Instance(uuid::Uuid::from_u128(n))
}

fn domain_xml(disks: &[(&str, &str)]) -> String {
    let disks: String = disks
        .iter()
        .map(|(target, file)| {
            let format = if file.ends_with(".raw") { "raw" } else { "qcow2" };
            format!(
                "    <disk type='file' device='disk'>\n      <driver name='qemu' type='{format}'/>\n      <source file='/i/{file}'/>\n      \
                 <target dev='{target}' bus='virtio'/>\n    </disk>\n"
            )
        })
        .collect();
    format!(
        "<domain type='qemu'>\n  <name>g</name>\n  <uuid>{UUID}</uuid>\n  <memory>1024</memory>\n  <os>\n    <type>hvm</type>\n  </os>\n  \
         <devices>\n{disks}  </devices>\n</domain>\n"
    )
}

/// A domain with its files, as far as the planner sees them.
#[derive(Clone)]
struct World {
    xml: String,
    state: DomainState,
    snapshots: Vec<(Snapshot, SnapshotTexts)>,
    current: Option<SnapshotName>,
    files: BTreeMap<Utf8PathBuf, FileFact>,
    owned: BTreeSet<Utf8PathBuf>,
    caps: Capabilities,
    backends: Backends,
    side: SideStates,
    now: i64,
    risky: RiskyRevert,
}

impl World {
    fn new(state: DomainState, disks: &[(&str, &str)]) -> Self {
        let mut world = Self {
            xml: domain_xml(disks),
            state,
            snapshots: Vec::new(),
            current: None,
            files: BTreeMap::new(),
            owned: BTreeSet::new(),
            caps: Capabilities::qemu(LiveSave::Background),
            backends: Backends::new(),
            side: SideStates::default(),
            now: 100,
            risky: RiskyRevert::Allow,
        };
        for (_, file) in disks {
            world.image(&format!("/i/{file}"), None);
        }
        world
    }

    fn with_agent(mut self) -> Self {
        let channel = "<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>";
        self.xml = self.xml.replace("  </devices>", &format!("    {channel}\n  </devices>"));
        self
    }

    /// UEFI with variables of that format, and a TPM.
    fn with_side_state(mut self, format: &str) -> Self {
        let image = Image { path: "/i/vars".into(), format: format.to_owned() };
        let nvram = SideState::Nvram(Nvram { image, template: None });
        self.side = SideStates { all: vec![nvram, SideState::Tpm("/tpm".into())], copies: "/copies".into() };
        self.image("/i/vars", None);
        if let Some(header) = self.files.get_mut(Utf8Path::new("/i/vars")).and_then(|f| f.header.as_mut()) {
            format.clone_into(&mut header.format);
        }
        self
    }

    fn image(&mut self, path: &str, backing: Option<&Image>) {
        let format = if path.ends_with(".raw") { "raw" } else { "qcow2" };
        let header = ImageHeader {
            format: format.to_owned(),
            backing: backing.map(|b| b.path.clone()),
            backing_format: backing.map(|b| b.format.clone()),
            virtual_size: 1024,
            tags: Vec::new(),
        };
        self.files.insert(path.into(), FileFact { kind: FileKind::File(1), header: Some(header), saved_memory: false });
    }

    fn facts(&self) -> Facts {
        Facts { files: self.files.clone(), ..Facts::default() }
    }

    fn tree(&self) -> Tree {
        Tree::new(self.snapshots.iter().map(|(s, _)| s.clone()).collect(), self.current.clone())
    }

    fn instance(&self) -> Option<Instance> {
        self.state.is_active().then(|| instance(1))
    }

    fn create(&mut self, xml: &str, flags: CreateFlags) -> Result<Plan, String> {
        let tree = self.tree();
        let live = self.state.is_active().then_some(self.xml.as_str());
        let request = CreateRequest {
            op: OpId(7),
            domain: id(),
            state: self.state,
            instance: self.instance(),
            persistent: true,
            inactive_xml: Some(&self.xml),
            live_xml: live,
            tree: &tree,
            now: self.now,
            flags,
            caps: self.caps,
            backends: &self.backends,
            side: &self.side,
        };
        let doc = xml::snapshot::parse(xml, request.form(), &Limits::default()).map_err(|e| e.to_string())?;
        let request = request.of(&doc);
        let draft = create::draft(&request, doc).map_err(|e| e.to_string())?;
        let plan = create::plan(&request, draft, &self.facts()).map_err(|e| e.to_string())?.plan;
        self.pretend(&plan);
        Ok(plan)
    }

    fn graph<'a>(&'a self, tree: &'a Tree, current: &'a [(DiskTarget, Image)]) -> Graph<'a> {
        Graph { tree, current, foreign: &|_: &Utf8Path| false, owned: &self.owned }
    }

    fn current_images(&self) -> Vec<(DiskTarget, Image)> {
        let disks = xml::domain::frozen_disks(&self.xml).unwrap();
        disks.into_iter().filter_map(|d| Some((d.target, d.image?))).collect()
    }

    fn texts(&self, name: &SnapshotName) -> SnapshotTexts {
        self.snapshots.iter().find(|(s, _)| s.name == *name).map(|(_, t)| t.clone()).unwrap()
    }

    fn delete(&mut self, name: &str) -> Result<Plan, String> {
        let (tree, images, name) = (self.tree(), self.current_images(), SnapshotName::from(name));
        let texts = |n: &SnapshotName| Ok(self.texts(n));
        let request = DeleteRequest {
            op: OpId(7),
            domain: id(),
            state: self.state,
            instance: self.instance(),
            inactive_xml: Some(&self.xml),
            live_xml: self.state.is_active().then_some(self.xml.as_str()),
            graph: self.graph(&tree, &images),
            name: &name,
            texts: &texts,
        };
        let plan = delete::plan(&request, &self.facts()).map_err(|e| e.to_string())?;
        self.pretend(&plan);
        Ok(plan)
    }

    fn revert(&mut self, name: &str, flags: RevertFlags) -> Result<Plan, String> {
        let (tree, images, name) = (self.tree(), self.current_images(), SnapshotName::from(name));
        let texts = self.texts(&name);
        let request = RevertRequest {
            op: OpId(7),
            domain: id(),
            domain_name: "g",
            instance: self.instance(),
            new_instance: instance(2),
            live_xml: self.state.is_active().then_some(self.xml.as_str()),
            state: self.state,
            persistent: true,
            saved: None,
            graph: self.graph(&tree, &images),
            name: &name,
            texts: &texts,
            flags,
            risky: self.risky,
            now: self.now,
            side: &self.side,
        };
        let draft = revert::draft(&request).map_err(|e| e.to_string())?;
        let plan = revert::plan(&request, draft, &self.facts()).map_err(|e| e.to_string())?;
        self.pretend(&plan);
        Ok(plan)
    }

    /// What the plan would leave: its files and its last published change.
    fn pretend(&mut self, plan: &Plan) {
        for step in &plan.prepare {
            match step {
                Prepare::Format { image, backing } => self.image(image.path.as_str(), Some(backing)),
                Prepare::CreateTag { image, tag } => self.tag(image, tag, false),
                Prepare::TagDisks { images, tag, .. } => images.iter().for_each(|i| self.tag(i, tag, false)),
                Prepare::SaveTag { images, tag, vmstate, .. } => {
                    for image in images {
                        self.tag(image, tag, image == vmstate);
                    }
                }
                Prepare::SaveMemory { path, .. } | Prepare::LiveSave { path, .. } => {
                    self.files
                        .insert(path.clone(), FileFact { kind: FileKind::File(9), header: None, saved_memory: true });
                }
                _ => {}
            }
        }
        if let Commit::Publish(change) = &plan.commit {
            self.publish(change);
        }
        for step in &plan.settle {
            match step {
                Settle::Publish(change) => self.publish(change),
                Settle::Unlink { path } => {
                    self.files.remove(path);
                }
                Settle::Stop { .. } => self.state = DomainState::Shutoff,
                Settle::Start(_) | Settle::Reload(_) | Settle::Resume { .. } => self.state = DomainState::Running,
                Settle::Repoint { image, backing } | Settle::PullUp { image, onto: Some(backing), .. } => {
                    self.image(image.path.as_str(), Some(backing));
                }
                _ => {}
            }
        }
    }

    fn tag(&mut self, image: &Image, tag: &str, vmstate: bool) {
        let header = self.files.get_mut(&image.path).and_then(|f| f.header.as_mut()).unwrap();
        let id = (header.tags.len() + 1).to_string();
        header.tags.push(Tag { id, name: tag.to_owned(), vmstate });
    }

    fn publish(&mut self, change: &Change) {
        let put = change.put.iter().map(|p| p.snapshot.clone()).collect();
        let current = change.current.clone().map(|c| match c {
            CurrentChange::Set(name) => Some(name),
            CurrentChange::Clear => None,
        });
        let tree = self.tree().changed(put, &change.remove, current);
        self.current = tree.current().cloned();
        let old = std::mem::take(&mut self.snapshots);
        for s in tree.descendants(None) {
            let new = change.put.iter().find(|p| p.snapshot.name == s).and_then(|p| p.texts.clone());
            let kept = old.iter().find(|(o, _)| o.name == s).map(|(_, t)| t.clone());
            let snapshot = (**tree.get(&s).unwrap()).clone();
            self.snapshots.push((snapshot, new.or(kept).unwrap()));
        }
        if let Some(xml) = &change.inactive_xml {
            self.xml.clone_from(xml);
        }
        if let LiveChange::Edit { xml, .. } | LiveChange::Set { xml, .. } = &change.live {
            self.xml.clone_from(xml);
        }
        self.owned.extend(change.owned.iter().filter(|(_, ours)| *ours).map(|(p, _)| p.clone()));
    }
}

/// A plan, with the large texts left out.
fn show(plan: &Plan) -> String {
    let change = |c: &Change| {
        let mut parts: Vec<String> = c.put.iter().map(|p| format!("put {}", p.snapshot.name)).collect();
        parts.extend(c.remove.iter().map(|n| format!("remove {n}")));
        parts.extend(c.current.iter().map(|c| format!("{c:?}")));
        for (what, xml) in [("inactive", c.inactive_xml.as_deref()), ("live", live_of(c))] {
            if let Some(xml) = xml {
                let disks = xml::domain::frozen_disks(xml).unwrap();
                let files: Vec<String> = disks.into_iter().filter_map(|d| Some(d.image?.path.to_string())).collect();
                parts.push(format!("{what} on {}", files.join(" ")));
            }
        }
        parts.join(", ")
    };
    let mut out = String::new();
    let mut line = |phase: &str, text: String| out.push_str(&format!("{phase:8}{text}\n"));
    let image = |i: &Image| i.path.to_string();
    for step in &plan.prepare {
        let text = match step {
            Prepare::Format { image: i, backing } => {
                format!("format {} on {} ({})", i.path, backing.path, backing.format)
            }
            Prepare::Reserve { path, existing } => format!("reserve {path} ({existing:?})"),
            Prepare::Sync { path } => format!("sync {path}"),
            Prepare::AddNodes { disks, .. } => {
                format!(
                    "add nodes {}",
                    disks.iter().map(|d| format!("{}={}", d.node, d.overlay.path)).collect::<Vec<_>>().join(" ")
                )
            }
            Prepare::LiveSave { path, disks, .. } => format!("live save {path}, switching {} disks", disks.len()),
            Prepare::AwaitSave { path, .. } => format!("await {path}"),
            Prepare::SaveMemory { path, was_running, .. } => format!("save memory {path} (ran: {was_running})"),
            Prepare::SaveTag { tag, vmstate, images, .. } => {
                format!(
                    "save tag {tag} in {}, memory in {}",
                    images.iter().map(image).collect::<Vec<_>>().join(" "),
                    vmstate.path
                )
            }
            Prepare::MakeNvram { nvram } => format!("make {}", nvram.image.path),
            Prepare::CopySide { of, to, instance } => {
                let by = if instance.is_some() { " by QEMU" } else { "" };
                format!("copy {} to {to}{by}", of.path())
            }
            Prepare::CreateTag { image: i, tag } => format!("create tag {tag} in {}", i.path),
            Prepare::Pause { .. } => "pause".to_owned(),
            Prepare::TagDisks { tag, images, .. } => {
                format!("tag {tag} of the running {}", images.iter().map(image).collect::<Vec<_>>().join(" "))
            }
            Prepare::Start(s) => format!("start with {:?}", s.memory),
            Prepare::Freeze { .. } => "freeze".to_owned(),
        };
        line("prepare", text);
    }
    match &plan.commit {
        Commit::Publish(c) => line("commit", change(c)),
        Commit::Switch { disks, .. } => {
            let all: Vec<String> = disks.iter().map(|d| format!("{} to {}", d.target, d.overlay.path)).collect();
            line("commit", format!("switch {}", all.join(", ")));
        }
    }
    for step in &plan.settle {
        let text = match step {
            Settle::Publish(c) => change(c),
            Settle::Resume { why, .. } => format!("resume ({why:?})"),
            Settle::Pause { .. } => "pause".to_owned(),
            Settle::Thaw { .. } => "thaw".to_owned(),
            Settle::Stop { .. } => "stop".to_owned(),
            Settle::Reload(s) => format!("reload {:?}", s.memory),
            Settle::Start(s) => format!("start with {:?}", s.memory),
            Settle::ApplyTag { image: i, tag } => format!("apply tag {tag} of {}", i.path),
            Settle::RemoveTag { instance, images, tag } => {
                let by = if instance.is_some() { "QEMU" } else { "qemu-img" };
                format!("remove tag {tag} of {} by {by}", images.iter().map(image).collect::<Vec<_>>().join(" "))
            }
            Settle::MergeDown { instance, top, base, .. } => {
                format!(
                    "merge {} down into {} by {}",
                    top.path,
                    base.path,
                    if instance.is_some() { "QEMU" } else { "qemu-img" }
                )
            }
            Settle::MergeActive { top, base, .. } => format!("merge active {} down into {}", top.path, base.path),
            Settle::Pivot { top, base, .. } => format!("pivot {} to {}", top.path, base.path),
            Settle::PullUp { instance, image: i, from, onto } => format!(
                "pull {} up into {}, onto {} by {}",
                from.path,
                i.path,
                onto.as_ref().map_or("nothing".to_owned(), image),
                if instance.is_some() { "QEMU" } else { "qemu-img" }
            ),
            Settle::Repoint { image: i, backing } => format!("repoint {} to {}", i.path, backing.path),
            Settle::RestoreSide { of, from } => format!("restore {} from {from}", of.path()),
            Settle::ResetNvram { nvram } => format!("reset {}", nvram.image.path),
            Settle::DropSide { path } => format!("drop {path}"),
            Settle::Unlink { path } => format!("unlink {path}"),
        };
        line("settle", text);
    }
    out
}

fn live_of(change: &Change) -> Option<&str> {
    match &change.live {
        LiveChange::Edit { xml, .. } | LiveChange::Set { xml, .. } => Some(xml),
        LiveChange::Keep | LiveChange::Clear => None,
    }
}

const ONE: &[(&str, &str)] = &[("vda", "a.qcow2")];
const TWO: &[(&str, &str)] = &[("vda", "a.qcow2"), ("vdb", "b.qcow2")];

fn named(name: &str) -> String {
    format!("<domainsnapshot><name>{name}</name></domainsnapshot>")
}

fn with_memory(name: &str) -> String {
    format!("<domainsnapshot><name>{name}</name><memory snapshot='external' file='/i/{name}.mem'/></domainsnapshot>")
}

fn off(disks: &[(&str, &str)]) -> World {
    World::new(DomainState::Shutoff, disks)
}

fn running(disks: &[(&str, &str)]) -> World {
    World::new(DomainState::Running, disks)
}

#[test]
fn creating_on_every_kind_of_domain() {
    let mut out = String::new();
    for (title, mut world, xml, flags) in [
        ("off, internal", off(TWO), named("s"), CreateFlags::empty()),
        ("off, external", off(TWO), named("s"), CreateFlags::DISK_ONLY),
        ("running, internal", running(TWO), named("s"), CreateFlags::empty()),
        ("running, disk-only", running(TWO), named("s"), CreateFlags::DISK_ONLY),
        ("running, memory, live", running(ONE), with_memory("s"), CreateFlags::empty()),
        ("running, memory, halt", running(ONE), with_memory("s"), CreateFlags::HALT),
        ("paused, memory", World::new(DomainState::Paused, ONE), with_memory("s"), CreateFlags::empty()),
        (
            "running, disk-only, quiesced",
            running(TWO).with_agent(),
            named("s"),
            CreateFlags::DISK_ONLY | CreateFlags::QUIESCE,
        ),
        (
            "running, disk-only, no metadata",
            running(ONE),
            named("s"),
            CreateFlags::DISK_ONLY | CreateFlags::NO_METADATA,
        ),
    ] {
        out += &format!("== {title}\n{}", show(&world.create(&xml, flags).unwrap()));
    }
    let mut stopped = running(ONE);
    stopped.caps = Capabilities::qemu(LiveSave::Precopy);
    out += &format!(
        "== running, memory, no userfaultfd\n{}",
        show(&stopped.create(&with_memory("s"), CreateFlags::empty()).unwrap())
    );
    out += &format!(
        "== running, memory, no userfaultfd, LIVE\n{}",
        show(&stopped.create(&with_memory("l"), CreateFlags::LIVE).unwrap())
    );
    insta::assert_snapshot!(out);
}

#[test]
fn side_state_goes_with_every_kind_of_snapshot() {
    let mut out = String::new();
    for (title, mut world, xml, flags) in [
        ("off, internal, raw", off(ONE).with_side_state("raw"), named("s"), CreateFlags::empty()),
        ("off, internal, qcow2", off(ONE).with_side_state("qcow2"), named("s"), CreateFlags::empty()),
        ("off, external, qcow2", off(ONE).with_side_state("qcow2"), named("s"), CreateFlags::DISK_ONLY),
        ("running, internal, qcow2", running(ONE).with_side_state("qcow2"), named("s"), CreateFlags::empty()),
        ("running, disk-only, raw", running(ONE).with_side_state("raw"), named("s"), CreateFlags::DISK_ONLY),
        ("running, memory, live", running(ONE).with_side_state("raw"), with_memory("s"), CreateFlags::empty()),
        ("running, memory, halt", running(ONE).with_side_state("raw"), with_memory("s"), CreateFlags::HALT),
    ] {
        out += &format!("== {title}\n{}", show(&world.create(&xml, flags).unwrap()));
        let paths: Vec<_> = world.snapshots[0].0.side.iter().map(|c| (c.of.clone(), c.at.clone())).collect();
        for (of, at) in paths {
            let kind = if matches!(of, SideState::Tpm(_)) { FileKind::Directory } else { FileKind::File(1) };
            match at {
                SidePlace::Copy(path) => {
                    world.files.insert(path, FileFact { kind, header: None, saved_memory: false });
                }
                SidePlace::Tag => {
                    let tag = Tag { id: "1".into(), name: "s".into(), vmstate: false };
                    let vars = world.files.get_mut(Utf8Path::new("/i/vars")).unwrap();
                    vars.header.as_mut().unwrap().tags.push(tag);
                }
            }
        }
        out += &format!("-- revert\n{}", show(&world.revert("s", RevertFlags::empty()).unwrap()));
        out += &format!("-- delete\n{}", show(&world.delete("s").unwrap()));
    }
    insta::assert_snapshot!(out);
    let refused = running(ONE).with_side_state("raw").create(&named("s"), CreateFlags::empty()).unwrap_err();
    assert_eq!(
        refused,
        "Operation not supported: internal snapshots of a VM with pflash based firmware require QCOW2 nvram format"
    );
}

/// r -> m -> l, external, of one disk.
fn chain(state: DomainState) -> World {
    let mut world = World::new(state, ONE);
    for name in ["r", "m", "l"] {
        world.create(&named(name), CreateFlags::DISK_ONLY).unwrap();
    }
    world
}

const HALF_RAW: &[(&str, &str)] = &[("vda", "a.qcow2"), ("vdb", "b.raw")];

/// A document that asks for a mixed set.
fn mixed(more: &str) -> String {
    format!(
        "<domainsnapshot><name>m</name>{more}<virsnap:mixed xmlns:virsnap='urn:virsnap:snapshot:1'/></domainsnapshot>"
    )
}

#[test]
fn a_mixed_set_is_taken_and_reverted_as_one() {
    let mut out = String::new();
    let inside = "<disks><disk name='vda' snapshot='internal'/></disks>";
    let file = "<memory snapshot='external' file='/i/m.mem'/>";
    for (title, more, flags) in [
        ("raw beside qcow2", String::new(), CreateFlags::empty()),
        ("memory in a file beside tags", format!("{file}{inside}"), CreateFlags::empty()),
        ("disks only", inside.to_owned(), CreateFlags::DISK_ONLY),
    ] {
        for state in [DomainState::Running, DomainState::Shutoff] {
            if state == DomainState::Shutoff && more.contains("memory") {
                continue;
            }
            let mut world = World::new(state, HALF_RAW);
            out += &format!("== {title}, {state:?}\n{}", show(&world.create(&mixed(&more), flags).unwrap()));
            world.now = 200;
            out += &format!("== back\n{}", show(&world.revert("m", RevertFlags::empty()).unwrap()));
            out += &format!("== away\n{}", show(&world.delete("m").unwrap()));
        }
    }
    insta::assert_snapshot!(out);
}

#[test]
fn a_mixed_set_must_be_asked_for() {
    let one = named("m");
    let refused = World::new(DomainState::Running, HALF_RAW).create(&one, CreateFlags::empty()).unwrap_err();
    assert_eq!(refused, "unsupported configuration: internal snapshot for disk vdb unsupported for storage type raw");
    let raw = &[("vda", "a.raw")];
    let refused = World::new(DomainState::Running, raw).create(&mixed(""), CreateFlags::empty()).unwrap_err();
    assert!(refused.contains("no disk of the snapshot can hold the memory"), "{refused}");
}

#[test]
fn deleting_in_every_place_of_a_chain() {
    let mut out = String::new();
    for state in [DomainState::Running, DomainState::Shutoff] {
        for name in ["l", "m", "r"] {
            out += &format!("== {name}, {state:?}\n{}", show(&chain(state).delete(name).unwrap()));
        }
    }
    insta::assert_snapshot!(out);
}

#[test]
fn a_base_that_two_branches_need_is_pulled_up_or_stays() {
    let mut world = chain(DomainState::Shutoff);
    world.now = 200;
    world.revert("m", RevertFlags::empty()).unwrap();
    world.create(&named("b"), CreateFlags::DISK_ONLY).unwrap();
    let mut out = String::new();
    out += &format!("== m, two branches\n{}", show(&world.delete("m").unwrap()));
    let mut root = chain(DomainState::Shutoff);
    root.now = 300;
    root.revert("r", RevertFlags::empty()).unwrap();
    root.create(&named("b"), CreateFlags::DISK_ONLY).unwrap();
    out += &format!("== r, two branches on the user's own image\n{}", show(&root.delete("r").unwrap()));
    out += &format!("== then l, a leaf\n{}", show(&root.delete("l").unwrap()));
    insta::assert_snapshot!(out);
}

#[test]
fn reverting_to_every_kind() {
    let mut out = String::new();
    let mut world = running(ONE);
    world.create(&with_memory("mem"), CreateFlags::empty()).unwrap();
    world.now = 200;
    out += &format!("== memory\n{}", show(&world.revert("mem", RevertFlags::empty()).unwrap()));
    world.now = 200;
    out += &format!(
        "== memory again in the same second, paused\n{}",
        show(&world.revert("mem", RevertFlags::PAUSED).unwrap())
    );
    let mut world = running(TWO);
    world.create(&named("int"), CreateFlags::empty()).unwrap();
    out += &format!("== internal, live\n{}", show(&world.revert("int", RevertFlags::empty()).unwrap()));
    let mut world = off(TWO);
    world.create(&named("tag"), CreateFlags::empty()).unwrap();
    out += &format!("== internal, off\n{}", show(&world.revert("tag", RevertFlags::RUNNING).unwrap()));
    insta::assert_snapshot!(out);
}

#[test]
fn an_internal_snapshot_beneath_an_external_one_is_not_reverted_to() {
    let mut world = off(ONE);
    world.create(&named("tag"), CreateFlags::empty()).unwrap();
    world.create(&named("ext"), CreateFlags::DISK_ONLY).unwrap();
    let refused = world.revert("tag", RevertFlags::empty()).unwrap_err();
    assert_eq!(
        refused,
        "Operation not supported: image '/i/a.qcow2' of disk 'vda' lies beneath snapshot 'ext', which would be damaged"
    );
}

#[test]
fn an_external_parent_of_an_internal_child_keeps_the_childs_image() {
    let mut world = off(ONE);
    world.create(&named("ext"), CreateFlags::DISK_ONLY).unwrap();
    world.create(&named("tag"), CreateFlags::empty()).unwrap();
    let plan = world.delete("ext").unwrap();
    assert_eq!(show(&plan), "commit  put tag, remove ext\n");
}

#[test]
fn what_cannot_be_is_refused_with_libvirts_words() {
    let two_in_one = "<domainsnapshot><name>s</name><disks><disk name='vda'><source file='/i/o'/></disk>\
                      <disk name='vdb'><source file='/i/o'/></disk></disks></domainsnapshot>";
    for (xml, flags, expected) in [
        (named(".x"), CreateFlags::empty(), "invalid snapshot name '.x': name can't start with '.'"),
        (named("a/b"), CreateFlags::empty(), "invalid snapshot name 'a/b': name can't contain '/'"),
        (
            named("s"),
            CreateFlags::LIVE,
            "Operation not supported: live snapshot creation is supported only during full system snapshots",
        ),
        (
            two_in_one.to_owned(),
            CreateFlags::DISK_ONLY,
            "unsupported configuration: disks 'vdb' and 'vda' must not share the external snapshot file '/i/o'",
        ),
        (
            "<domainsnapshot><disks><disk name='vdz'/></disks></domainsnapshot>".to_owned(),
            CreateFlags::empty(),
            "unsupported configuration: no disk named 'vdz'",
        ),
    ] {
        assert_eq!(running(TWO).create(&xml, flags).unwrap_err(), expected, "{xml}");
    }
}

/// What one planner makes of Xen's ways: no branch, only other capabilities.
#[test]
fn creating_and_reverting_on_xen() {
    let xen = |state, disks| World { caps: Capabilities::xen(), ..World::new(state, disks) };
    let both: &[(&str, &str)] = &[("vda", "vda.qcow2"), ("vdb", "vdb.raw")];
    let able =
        |tags, overlay: bool| Backend { name: "qdisk".to_owned(), tags, overlay: overlay.then(|| "qcow2".to_owned()) };
    let classified = |mut world: World, vdb: Backend| {
        world.backends = [(DiskTarget::from("vda"), able(true, true)), (DiskTarget::from("vdb"), vdb)].into();
        world
    };
    let mut out = String::new();
    for (title, mut world, xml, flags) in [
        ("off", xen(DomainState::Shutoff, ONE), named("s"), CreateFlags::empty()),
        ("running", xen(DomainState::Running, ONE), named("s"), CreateFlags::empty()),
        ("paused", xen(DomainState::Paused, ONE), named("s"), CreateFlags::empty()),
        ("running, halt", xen(DomainState::Running, ONE), named("s"), CreateFlags::HALT),
        ("running, memory and overlays, live", xen(DomainState::Running, ONE), with_memory("s"), CreateFlags::LIVE),
        ("running, disk-only", xen(DomainState::Running, ONE), named("s"), CreateFlags::DISK_ONLY),
        (
            "running, a raw disk beside a qcow2 one",
            classified(xen(DomainState::Running, both), able(false, true)),
            named("s"),
            CreateFlags::empty(),
        ),
        (
            "running, disk-only, a thin volume beside a qcow2 one",
            classified(xen(DomainState::Running, both), able(true, false)),
            named("s"),
            CreateFlags::DISK_ONLY,
        ),
    ] {
        out += &format!("== {title}\n{}", show(&world.create(&xml, flags).unwrap()));
        let after = world.revert("s", RevertFlags::empty());
        out += &format!("-- and back\n{}", show(&after.unwrap()));
    }
    let mut stuck = classified(xen(DomainState::Running, both), able(false, false));
    out += &format!(
        "== a disk with a backend that cannot\n{}\n",
        stuck.create(&named("s"), CreateFlags::empty()).unwrap_err()
    );
    insta::assert_snapshot!(out);
}

/// Every target from every state with every flag, on both hypervisors, under both policies.
#[test]
fn what_ends_a_running_guest_needs_force_where_that_is_asked_for() {
    use DomainState::{Paused, Running, Shutoff};
    let mut refused = 0;
    for caps in [Capabilities::qemu(LiveSave::Background), Capabilities::xen()] {
        let mut world = World { caps, ..World::new(Shutoff, ONE) };
        world.create(&named("off"), CreateFlags::DISK_ONLY).unwrap();
        world.state = Running;
        world.create(&named("disks"), CreateFlags::DISK_ONLY).unwrap();
        world.create(&with_memory("memory"), CreateFlags::empty()).unwrap();
        for policy in [RiskyRevert::Allow, RiskyRevert::Refuse] {
            for (state, target) in
                [Shutoff, Running, Paused].into_iter().flat_map(|s| ["off", "disks", "memory"].map(|t| (s, t)))
            {
                for flags in [RevertFlags::empty(), RevertFlags::RUNNING, RevertFlags::PAUSED] {
                    let at = World { state, risky: policy, ..world.clone() };
                    let risky = policy == RiskyRevert::Refuse && state != Shutoff && target != "memory";
                    match at.clone().revert(target, flags) {
                        Ok(_) => assert!(!risky, "{state:?} to {target} with {flags:?}"),
                        Err(error) => {
                            let named =
                                format!("revert requires force: domain is active, and snapshot '{target}' has state");
                            assert!(risky && error.starts_with(&named), "{error}");
                            refused += 1;
                        }
                    }
                    let forced = at.clone().revert(target, flags | RevertFlags::FORCE).unwrap();
                    let stops = forced.settle.iter().any(|s| matches!(s, Settle::Stop { .. }));
                    assert_eq!(stops, state != Shutoff, "{state:?} to {target} with {flags:?}");
                }
            }
        }
    }
    assert_eq!(refused, 2 * 2 * 2 * 3);
}

/// The running definition before and after a change, and what the refusal says; `None`: a guest does not see it.
#[test]
fn the_first_difference_of_two_machines_is_named() {
    let devices = "    <interface type='user'><mac address='52:54:00:00:00:01'/><model type='virtio'/></interface>\n    \
                   <graphics type='vnc' port='-1'/>\n    <serial type='pty'><target port='0'/></serial>\n  </devices>";
    let machine = domain_xml(ONE).replace("  </devices>", devices);
    for (old, new, difference) in [
        ("<memory>1024", "<memory>2048", Some("Target domain max memory 2048 does not match source 1024")),
        ("<os>", "<vcpu>3</vcpu><os>", Some("Target domain vCPU max 3 does not match source 1")),
        ("type='qemu'", "type='kvm'", Some("Target domain virt type kvm does not match source qemu")),
        ("bus='virtio'", "bus='scsi'", Some("Target disk vda bus scsi does not match source virtio")),
        ("00:01", "00:02", Some("Target interface 0 address=52:54:00:00:00:02 type=virtio does not match source")),
        (
            "    <serial",
            "    <sound model='ich6'/><serial",
            Some("Target domain sound count 1 does not match source 0"),
        ),
        (
            "<os>",
            "<cpu mode='host-model'/><os>",
            Some("Target domain <cpu> <cpu mode='host-model'></> does not match source "),
        ),
        ("port='-1'", "port='5900'", None),
        ("/i/a.", "/i/other.", None),
        ("<serial type='pty'>", "<serial type='null'>", None),
        ("<name>g", "<title>t</title><name>g", None),
    ] {
        let changed = machine.replacen(old, new, 1);
        assert_ne!(changed, machine, "{old}");
        let told = abi::difference(&machine, &changed).unwrap().map(|d| d.to_string());
        match difference {
            Some(text) => assert!(told.as_deref().is_some_and(|t| t.starts_with(text)), "{told:?}, not {text}"),
            None => assert_eq!(told, None, "{new}"),
        }
    }
}

/// K10: libvirt finds out when it starts the target, and the guest is gone.
#[test]
fn a_chain_that_is_not_whole_is_noticed_before_anything_is_touched() {
    let mut world = World::new(DomainState::Running, ONE);
    for name in ["a", "b", "c"] {
        world.create(&named(name), CreateFlags::DISK_ONLY).unwrap();
    }
    world.files.remove(Utf8Path::new("/i/a.qcow2"));
    let error = world.revert("c", RevertFlags::empty()).unwrap_err();
    assert_eq!(error, "unsupported configuration: image '/i/a.qcow2' of disk 'vda' does not exist");
}

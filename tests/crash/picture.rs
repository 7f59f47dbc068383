//! What a machine is at one moment: the store's words, and what the files hold.

use crate::machine::{DOMAIN, Machine};
use camino::Utf8PathBuf;
use std::collections::{BTreeMap, BTreeSet};
use virsnap::host::sim::world::{Blocks, Disks};
use virsnap::host::sim::{Body, World, hold};
use virsnap::model::domain::ManagedSave;
use virsnap::model::ids::{Instance, SnapshotName};
use virsnap::model::snapshot::{Location, Memory, Snapshot, SnapshotTexts};
use virsnap::xml::domain::frozen_disks;

/// What the store says; nothing in it depends on when it was said.
#[derive(Debug, Clone, PartialEq)]
pub struct Words {
    pub snapshots: Vec<(Snapshot, SnapshotTexts)>,
    pub current: Option<SnapshotName>,
    pub inactive_xml: Option<String>,
    pub owned: BTreeSet<Utf8PathBuf>,
    pub saved: Option<ManagedSave>,
}

/// What a snapshot holds.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Content {
    pub disks: BTreeMap<String, Result<Blocks, String>>,
    pub memory: Option<Result<u64, String>>,
}

#[derive(Debug, Clone)]
pub struct Picture {
    /// Whether the domain is there; a transient one goes with its hypervisor.
    pub defined: bool,
    pub words: Words,
    pub live: Option<(Instance, String)>,
    /// Whether the guest's CPUs run; `None` without a guest.
    pub runs: Option<bool>,
    pub contents: BTreeMap<SnapshotName, Content>,
    /// What the definition's images hold.
    pub disks: Result<Disks, String>,
    /// What the managed-save image holds.
    pub saved: Option<Result<u64, String>>,
    pub paths: BTreeSet<Utf8PathBuf>,
    pub empty: BTreeSet<Utf8PathBuf>,
    pub tags: BTreeMap<Utf8PathBuf, Vec<String>>,
}

impl Picture {
    pub fn take(machine: &Machine) -> Self {
        let world = hold(&machine.world);
        Self::of(machine, &world)
    }

    /// The same machine with another world.
    pub fn of(machine: &Machine, world: &World) -> Self {
        let row = machine.store.domains().unwrap().into_iter().find(|d| d.id == DOMAIN);
        let defined = row.is_some();
        let (inactive_xml, live, saved) = row.map_or((None, None, None), |r| (r.inactive_xml, r.live, r.saved));
        let (snapshots, current) = machine.store.snapshots(DOMAIN).unwrap();
        let contents = snapshots.iter().map(|s| (s.name.clone(), content(world, s))).collect();
        let with_texts = |s: Snapshot| {
            let texts = machine.store.texts(DOMAIN, &s.name).unwrap();
            (s, texts)
        };
        let live = live.map(|l| (l.instance, l.xml));
        let xml = live.as_ref().map(|(_, x)| x.as_str()).or(inactive_xml.as_deref()).unwrap_or_default();
        Self {
            defined,
            disks: if defined { disks(world, xml) } else { Ok(Disks::new()) },
            saved: saved.as_ref().map(|s| world.saved_memory(&s.path).map_err(|e| e.to_string())),
            runs: world.guests.values().next().map(|g| g.running),
            contents,
            paths: world.paths().cloned().collect(),
            empty: world.paths().filter(|p| world.body(p).is_ok_and(|b| *b == Body::Empty)).cloned().collect(),
            tags: tags(world),
            live,
            words: Words {
                snapshots: snapshots.into_iter().map(with_texts).collect(),
                current,
                inactive_xml,
                saved,
                owned: machine.store.owned(DOMAIN).unwrap(),
            },
        }
    }
}

fn disks(world: &World, xml: &str) -> Result<Disks, String> {
    let mut out = Disks::new();
    for disk in frozen_disks(xml).map_err(|e| e.to_string())? {
        let Some(image) = disk.image else { continue };
        out.insert(disk.target, world.content(&image.path).map_err(|e| e.to_string())?);
    }
    Ok(out)
}

fn tags(world: &World) -> BTreeMap<Utf8PathBuf, Vec<String>> {
    let names = |p: &Utf8PathBuf| world.image(p).map(|i| i.tags.iter().map(|t| t.name.clone()).collect::<Vec<_>>());
    world.paths().filter_map(|p| Some((p.clone(), names(p).ok()?))).collect()
}

fn content(world: &World, snapshot: &Snapshot) -> Content {
    let name = snapshot.tag();
    let mut out = Content::default();
    for disk in &snapshot.disks {
        let Some(image) = snapshot.frozen_image(&disk.name) else { continue };
        let held = match disk.location {
            Some(Location::Internal) => world.tagged(&image.path, name),
            Some(Location::External) => world.content(&image.path),
            _ => continue,
        };
        out.disks.insert(disk.name.clone(), held.map_err(|e| e.to_string()));
    }
    out.memory = match &snapshot.memory {
        Memory::External(path) => Some(world.saved_memory(path).map_err(|e| e.to_string())),
        Memory::Internal => {
            let mut tags = snapshot.internal_disks().filter_map(|d| snapshot.frozen_image(&d.name));
            let found = tags.find_map(|i| world.tag(&i.path, name).ok()?.memory);
            Some(found.ok_or_else(|| "no image has the memory".to_owned()))
        }
        _ => None,
    };
    out
}

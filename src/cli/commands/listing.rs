//! `list` and `snapshot-list`. One call per entry, many at a time; an entry that goes away
//! meanwhile is left out.

use super::super::action::{DomainColumns, DomainList, SnapshotForm, SnapshotList};
use super::super::document::{Facts, time};
use super::super::failure::Failure;
use super::super::json;
use super::super::output::Output;
use super::super::render::{Table, name_order};
use super::super::texts;
use super::super::tree::{self, Node};
use super::super::wire::{Bus, Domain, Snapshot};
use super::{AT_ONCE, snapshot};
use crate::error::Code;
use crate::model::flags::ListFlags;
use futures_util::{StreamExt, stream};

/// One domain of the list.
struct Entry<'b> {
    domain: Domain<'b>,
    id: Option<u32>,
    name: String,
}

impl Entry<'_> {
    fn id_text(&self) -> String {
        self.id.map_or_else(|| "-".to_owned(), |id| id.to_string())
    }
}

pub(super) async fn domains(bus: &Bus, list: &DomainList, out: &mut Output) -> Result<(), Failure> {
    let found = bus.domains(list.flags).await?.into_iter().map(|domain| async move {
        let (id, name) = (domain.id().await.ok()?, domain.name().await.ok()?);
        Some(Entry { domain, id, name })
    });
    let mut entries: Vec<Entry<'_>> = stream::iter(found).buffered(AT_ONCE).filter_map(async |e| e).collect().await;
    // Running ones by id, then the others by name.
    entries.sort_by(|a, b| match (a.id, b.id) {
        (Some(a), Some(b)) => a.cmp(&b),
        (None, None) => name_order(&a.name, &b.name),
        (runs, other) => other.is_some().cmp(&runs.is_some()),
    });
    match list.columns {
        DomainColumns::Json => {
            let mut array = Vec::new();
            for entry in &entries {
                array.extend(super::domain::entry(&entry.domain).await.ok());
            }
            out.print(&json::text(&array)?);
        }
        DomainColumns::Bare { id, uuid, name } => {
            for entry in &entries {
                let mut words = Vec::new();
                if uuid {
                    words.push(entry.domain.uuid().await?);
                }
                if id {
                    words.push(entry.id_text());
                }
                if name {
                    words.push(entry.name.clone());
                }
                out.print(&format!("{}\n", words.join(" ")));
            }
        }
        DomainColumns::Table { title, saved } => {
            let heading = ["Id", "Name", "State", "Title"];
            let mut table = Table::new(if title { &heading } else { &heading[..3] });
            for entry in &entries {
                let Ok((state, _)) = entry.domain.state().await else { continue };
                let mut state = texts::state(state);
                if saved && entry.id.is_none() && entry.domain.has_managed_save().await == Ok(true) {
                    state = "saved";
                }
                let title = if title { entry.domain.title().await } else { String::new() };
                table.row(&[&entry.id_text(), &entry.name, state, &title]);
            }
            print_table(&table, out);
        }
    }
    Ok(())
}

pub(super) async fn snapshots(domain: &Domain<'_>, list: SnapshotList, out: &mut Output) -> Result<(), Failure> {
    let from = match list.from {
        Some(which) => Some(snapshot::find(domain, which).await?),
        None => None,
    };
    let mut found = match &from {
        Some(from) => from.children(list.flags.bits()).await?,
        None => domain.snapshots(list.flags.bits()).await?,
    };
    if !list.flags.contains(ListFlags::TOPOLOGICAL) {
        found.sort_by(|a, b| name_order(&a.name, &b.name));
    }
    match list.form {
        SnapshotForm::Json => {
            let current = match domain.current_snapshot().await {
                Ok(current) => Some(current.name),
                Err(cause) if cause.is(Code::NoDomainSnapshot) => None,
                Err(cause) => return Err(cause.into()),
            };
            let of = |(s, facts): (Snapshot<'_>, Facts)| {
                let is_current = Some(&s.name) == current.as_ref();
                json::Snapshot::new(s.name, facts, is_current)
            };
            let array: Vec<json::Snapshot> = with_facts(found).await.into_iter().map(of).collect();
            out.print(&json::text(&array)?);
        }
        SnapshotForm::Tree => out.print(&tree::draw(&nodes(found, from, list.flags).await?)),
        SnapshotForm::Names { parent: false } => found.iter().for_each(|s| out.print(&format!("{}\n", s.name))),
        SnapshotForm::Names { parent: true } => {
            for (snapshot, facts) in with_facts(found).await {
                match facts.parent {
                    Some(parent) => out.print(&format!("{}\t{parent}\n", snapshot.name)),
                    None => out.print(&format!("{}\n", snapshot.name)),
                }
            }
        }
        SnapshotForm::Table { parent } => {
            let heading = ["Name", "Creation Time", "State", "Parent"];
            let mut table = Table::new(if parent { &heading } else { &heading[..3] });
            for (snapshot, facts) in with_facts(found).await {
                let Some(created) = facts.created.and_then(|c| time(&chrono::Local, c)) else { continue };
                table.row(&[&snapshot.name, &created, &facts.state, &facts.parent.unwrap_or_default()]);
            }
            print_table(&table, out);
        }
    }
    Ok(())
}

/// The snapshots that still answer, with what their documents say.
async fn with_facts(found: Vec<Snapshot<'_>>) -> Vec<(Snapshot<'_>, Facts)> {
    let read = found.into_iter().map(|snapshot| async move {
        let facts = Facts::read(&snapshot.xml(0).await.ok()?)?;
        Some((snapshot, facts))
    });
    stream::iter(read).buffered(AT_ONCE).filter_map(async |s| s).collect().await
}

/// The forest to draw; the snapshot that the list starts from is its root.
async fn nodes(found: Vec<Snapshot<'_>>, from: Option<Snapshot<'_>>, flags: ListFlags) -> Result<Vec<Node>, Failure> {
    let asked = found.into_iter().map(|snapshot| async move {
        let parent = snapshot.parent().await?.map(|p| p.name);
        Ok(Node { name: snapshot.name, parent })
    });
    let nodes: Vec<Result<Node, _>> = stream::iter(asked).buffered(AT_ONCE).collect().await;
    let mut nodes = nodes.into_iter().collect::<Result<Vec<Node>, super::super::wire::CallError>>()?;
    if let Some(from) = from {
        nodes.push(Node { name: from.name, parent: None });
        if !flags.contains(ListFlags::TOPOLOGICAL) {
            nodes.sort_by(|a, b| name_order(&a.name, &b.name));
        }
    }
    Ok(nodes)
}

pub(super) fn print_table(table: &Table, out: &mut Output) {
    let text = if out.is_quiet() { table.without_heading() } else { table.with_heading() };
    out.print(&text);
}

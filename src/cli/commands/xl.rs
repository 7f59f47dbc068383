//! The commands below `xl` that are no other command's.

use super::super::action::{Document, XlAct, XlForm};
use super::super::document::{Facts, time};
use super::super::domain_document;
use super::super::failure::Failure;
use super::super::output::Output;
use super::super::render::{Table, name_order};
use super::super::wire::{Bus, CallError, Domain, ForeignRecord, Snapshot};
use super::super::xl::config::{self, Config};
use super::super::xl::document::{Activity, Options, Subject, draft};
use super::super::xl::long::{self, Entry, Foreign, What};
use super::{ANY, AT_ONCE, read, snapshot};
use crate::error::Code;
use crate::model::ids::DomainId;
use futures_util::{StreamExt, stream};

pub(super) async fn run(bus: &Bus, act: XlAct, out: &mut Output) -> Result<(), Failure> {
    match act {
        XlAct::Create { domain, file, options } => {
            let config = match &file {
                Some(file) => config::read(file, &read(file)?)?,
                None => Config::default(),
            };
            let domain = Domain::find(bus, &domain, ANY).await?;
            create(&domain, &config, &options, out).await
        }
        XlAct::List { domain, name, form } => {
            let domains = match &domain {
                Some(domain) => vec![Domain::find(bus, domain, ANY).await?],
                None => bus.domains(0).await?,
            };
            let mut found = Vec::new();
            for of in &domains {
                match Listed::of(of, name.as_deref()).await {
                    Ok(listed) => found.push(listed),
                    // Of all domains one may go meanwhile.
                    Err(CallError::Libvirt(_)) if domain.is_none() => {}
                    Err(cause) => return Err(cause.into()),
                }
            }
            found.sort_by(|a, b| name_order(&a.domain, &b.domain));
            if let Some(name) = name.filter(|_| found.iter().all(|l| l.snapshots.is_empty() && l.foreign.is_empty())) {
                let error = format!("no domain snapshot with matching name '{name}'");
                return Err(Failure::new(format!("{}{error}", Code::NoDomainSnapshot.prefix())));
            }
            match form {
                XlForm::Table => table(&found, domain.is_none(), out),
                XlForm::Records => records(found, out),
            }
            Ok(())
        }
    }
}

async fn create(domain: &Domain<'_>, config: &Config, options: &Options, out: &mut Output) -> Result<(), Failure> {
    let uuid = domain.uuid().await?;
    let id = uuid.parse().map(DomainId).map_err(|_| Failure::new(format!("'{uuid}' is no UUID of a domain")))?;
    let activity = if domain.is("Active").await? { Activity::Up } else { Activity::Off };
    let disks = domain_document::disks(&domain.xml(0).await?);
    let subject = Subject { id, activity, disks };
    let (xml, flags) = draft(options, config, &subject, chrono::Utc::now().timestamp())?;
    snapshot::create(domain, Document::Text(xml), flags, out).await
}

/// The snapshots of one domain.
struct Listed<'b> {
    domain: String,
    uuid: String,
    snapshots: Vec<(Snapshot<'b>, String, Facts)>,
    foreign: Vec<ForeignRecord>,
    current: Option<String>,
}

impl<'b> Listed<'b> {
    async fn of(domain: &Domain<'b>, name: Option<&str>) -> Result<Self, CallError> {
        let wanted = |n: &str| name.is_none_or(|name| name == n);
        let mut found = domain.snapshots(0).await?;
        found.retain(|s| wanted(&s.name));
        found.sort_by(|a, b| name_order(&a.name, &b.name));
        let read = found.into_iter().map(|snapshot| async move {
            let xml = snapshot.xml(0).await.ok()?;
            let facts = Facts::read(&xml)?;
            Some((snapshot, xml, facts))
        });
        let snapshots = stream::iter(read).buffered(AT_ONCE).filter_map(async |s| s).collect().await;
        let mut foreign = domain.foreign_records().await?;
        foreign.retain(|f| wanted(&f.name));
        let current = match domain.current_snapshot().await {
            Ok(current) => Some(current.name),
            Err(cause) if cause.is(Code::NoDomainSnapshot) => None,
            Err(cause) => return Err(cause),
        };
        Ok(Self { domain: domain.name().await?, uuid: domain.uuid().await?, snapshots, foreign, current })
    }
}

/// Snapshots first, then what was left alone; `-q` lists snapshots only.
fn table(found: &[Listed<'_>], with_domain: bool, out: &mut Output) {
    let from = usize::from(!with_domain);
    let mut table = Table::new(&["Domain", "Name", "Creation Time", "State", "Type"][from..]);
    for listed in found {
        for (snapshot, xml, facts) in &listed.snapshots {
            // Of the disks: the memory is a file in either.
            let overlay = long::record(xml).is_some_and(|(record, _)| record.disks.iter().any(|d| d.file.is_some()));
            let kind = if overlay { "external" } else { "internal" };
            let created = facts.created.and_then(|c| time(&chrono::Local, c)).unwrap_or_default();
            table.row(&[&listed.domain, &snapshot.name, &created, &facts.state, kind][from..]);
        }
    }
    if out.is_quiet() {
        out.print(&table.without_heading());
        return;
    }
    out.print(&table.with_heading());
    let mut table = Table::new(&["Domain", "Foreign record", "File", "Reason"][from..]);
    for listed in found {
        for record in &listed.foreign {
            table.row(&[listed.domain.as_str(), &record.name, &record.file, &record.reason][from..]);
        }
    }
    if found.iter().any(|l| !l.foreign.is_empty()) {
        out.print(&format!("\n{}", table.with_heading()));
    }
}

fn records(found: Vec<Listed<'_>>, out: &mut Output) {
    let mut entries = Vec::new();
    let mut strangers = Vec::new();
    for listed in found {
        let entry = |what| Entry { domain: listed.domain.clone(), uuid: listed.uuid.clone(), what };
        for (snapshot, xml, _) in &listed.snapshots {
            let Some((record, parent)) = long::record(xml) else { continue };
            let current = listed.current.as_ref() == Some(&snapshot.name);
            entries.push(entry(What::Snapshot { record, parent, current }));
        }
        strangers.extend(
            listed
                .foreign
                .iter()
                .cloned()
                .map(|f| entry(What::Foreign { name: f.name, foreign: Foreign { file: f.file, reason: f.reason } })),
        );
    }
    entries.extend(strangers);
    out.print(&long::array(&entries));
}

//! Records that somebody else wrote, judged: which may be taken in as a snapshot, and as what document.
//!
//! ```text
//!   file ─ root's alone? ─ parse ─ its own name? ─ paths resolved: this domain's? ─▶ Usable, a redefinition
//!                     └───────────┴──────────────┴─────────────────────────────────▶ Refused, with the reason
//! ```
//!
//! A record can name any file of the machine, and a snapshot made from it would one day be reverted to, or deleted. So a record
//! counts only if root wrote it where only root can, and if every path in it is resolved (`..`, links) to an image of that disk's own
//! chain or to a file of root's below the domain's directory. Whoever takes in a [`Foreign::Usable`] owns none of the files
//! that it names: forgetting it is all that may ever be done to it. Calls block.

use super::record::{self, Author, Form, MAX_RECORDS, Record, RecordDisk, RecordState};
use crate::error::Result;
use crate::host::images;
use crate::model::ids::{DiskTarget, DomainId, Image, SnapshotName};
use crate::model::snapshot::{Location, Memory, Snapshot, SnapshotDisk, SnapshotTexts};
use crate::text::disk_spec::DiskSpec;
use crate::text::xl;
use crate::xml::domain::{self, DiskView, DomainView};
use crate::xml::{edit, snapshot};
use camino::{Utf8Path, Utf8PathBuf};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt;
use std::fs::Metadata;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

/// A domain has fewer.
const MAX_DISKS: usize = 256;

/// Whose directory it is.
#[derive(Debug, Clone, Copy)]
pub struct Owner<'a> {
    /// The domain.
    pub id: DomainId,
    /// Its persistent definition.
    pub xml: &'a str,
    /// The chain of each of its disks.
    pub chains: &'a [Chain],
    /// Its snapshots, those taken in earlier too.
    pub snapshots: &'a BTreeSet<SnapshotName>,
}

/// The images of one disk, the one in use first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// The disk.
    pub target: DiskTarget,
    /// Its images, each on the next.
    pub images: Vec<Image>,
}

/// A record that is not ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Foreign {
    /// It may be taken in.
    Usable {
        /// The snapshot's name.
        name: SnapshotName,
        /// The record.
        file: Utf8PathBuf,
        /// A `<domainsnapshot>` to redefine from.
        document: String,
    },
    /// It is left alone.
    Refused {
        /// The name that its file says.
        name: String,
        /// The record.
        file: Utf8PathBuf,
        /// Why.
        reason: Reason,
    },
}

/// Why a record is left alone.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Reason {
    Unreadable(String),
    NotRegular(Utf8PathBuf),
    NotRoots { path: Utf8PathBuf, uid: u32 },
    Writable { path: Utf8PathBuf, mode: u32 },
    NotText,
    Syntax(String),
    TooMany,
    Altered,
    OtherName(String),
    Exists,
    BadName,
    State,
    Empty,
    TooManyDisks,
    NoDisk(String),
    DiskTwice(String),
    Missing { path: Utf8PathBuf, why: String },
    Outside(Utf8PathBuf),
    NoBase { disk: String, path: Utf8PathBuf },
    Format { disk: String, path: Utf8PathBuf, why: String },
    OtherTag { disk: String, tag: String },
    NoTag { disk: String, tag: String },
    Incomplete(String),
    Definition(String),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(why) => write!(f, "it cannot be read: {why}"),
            Self::NotRegular(path) => write!(f, "'{path}' is not a regular file"),
            Self::NotRoots { path, uid } => write!(f, "'{path}' is owned by user {uid}, not by root"),
            Self::Writable { path, mode } => write!(f, "'{path}' can be written by others than root (mode {mode:04o})"),
            Self::NotText => write!(f, "it is too large, or no UTF-8 text"),
            Self::Syntax(why) => write!(f, "it is not understood: {why}"),
            Self::TooMany => write!(f, "there are more than {MAX_RECORDS} records; the rest was not read"),
            Self::Altered => write!(f, "virsnap wrote it, and it was changed since or is another domain's"),
            Self::OtherName(name) => write!(f, "its file does not bear its name '{name}'"),
            Self::Exists => write!(f, "there is a snapshot, or another record, of that name"),
            Self::BadName => write!(f, "no snapshot can have its name"),
            Self::State => write!(f, "its state and its memory contradict each other"),
            Self::Empty => write!(f, "it names neither memory nor a disk"),
            Self::TooManyDisks => write!(f, "it names more than {MAX_DISKS} disks"),
            Self::NoDisk(disk) => write!(f, "the domain has no disk '{disk}'"),
            Self::DiskTwice(disk) => write!(f, "it names disk '{disk}' twice"),
            Self::Missing { path, why } => write!(f, "'{path}': {why}"),
            Self::Outside(path) => {
                write!(f, "'{path}' is neither in the chain of that disk nor below the domain's directory")
            }
            Self::NoBase { disk, path } => {
                write!(f, "'{path}' does not lie on an image in the chain of disk '{disk}'")
            }
            Self::Format { disk, path, why } => write!(f, "'{path}' is no overlay of disk '{disk}': {why}"),
            Self::OtherTag { disk, tag } => write!(f, "the tag '{tag}' of disk '{disk}' is not the snapshot's name"),
            Self::NoTag { disk, tag } => write!(f, "no image in the chain of disk '{disk}' has the tag '{tag}'"),
            Self::Incomplete(disk) => write!(f, "it says nothing of disk '{disk}', which belongs to it"),
            Self::Definition(why) => write!(f, "the domain's definition does not take it: {why}"),
        }
    }
}

/// Every record in `dir` that is not ours, judged.
pub fn foreign(dir: &Utf8Path, owner: &Owner<'_>) -> Result<Vec<Foreign>> {
    let view = domain::view(owner.xml)?;
    let listing = record::list(dir)?;
    let mut out = Vec::new();
    let judge = Judge { dir, owner, view: &view, place: place(dir) };
    for record::Listed { file, name, form } in listing.records {
        match judge.record(&file, &name, form) {
            Ok(None) => {}
            Ok(Some(document)) => {
                let name = SnapshotName(name);
                let twice = |f: &Foreign| matches!(f, Foreign::Usable { name: other, .. } if *other == name);
                out.push(if owner.snapshots.contains(&name) || out.iter().any(twice) {
                    Foreign::Refused { name: name.0, file, reason: Reason::Exists }
                } else {
                    Foreign::Usable { name, file, document }
                });
            }
            Err(reason) => out.push(Foreign::Refused { name, file, reason }),
        }
    }
    if listing.more {
        out.push(Foreign::Refused { name: String::new(), file: dir.to_owned(), reason: Reason::TooMany });
    }
    Ok(out)
}

/// The directory, resolved, if nobody but root can put anything there.
fn place(dir: &Utf8Path) -> Result<Utf8PathBuf, Reason> {
    let missing = |e: std::io::Error| Reason::Missing { path: dir.to_owned(), why: strerror(&e) };
    let meta = std::fs::symlink_metadata(dir).map_err(missing)?;
    roots(dir, &meta)?;
    let resolved = dir.canonicalize_utf8().map_err(missing)?;
    if meta.is_dir() { Ok(resolved) } else { Err(Reason::Missing { path: dir.to_owned(), why: "no directory".into() }) }
}

fn roots(path: &Utf8Path, meta: &Metadata) -> Result<(), Reason> {
    if meta.uid() != 0 {
        return Err(Reason::NotRoots { path: path.to_owned(), uid: meta.uid() });
    }
    let mode = meta.mode() & 0o7777;
    if mode & 0o022 != 0 {
        return Err(Reason::Writable { path: path.to_owned(), mode });
    }
    Ok(())
}

struct Judge<'a> {
    dir: &'a Utf8Path,
    owner: &'a Owner<'a>,
    view: &'a DomainView,
    place: Result<Utf8PathBuf, Reason>,
}

impl Judge<'_> {
    /// The document; `None`: the record is ours.
    fn record(&self, file: &Utf8Path, name: &str, form: Form) -> Result<Option<String>, Reason> {
        let unreadable = |e: std::io::Error| Reason::Unreadable(strerror(&e));
        let opened = record::open(file).map_err(unreadable)?;
        let (open, meta) = opened.ok_or_else(|| Reason::NotRegular(file.to_owned()))?;
        let text = record::read(&open).map_err(unreadable)?.ok_or(Reason::NotText);
        // Deep nesting ends here, not where a key is passed over.
        let value: Option<serde_json::Result<Value>> =
            text.as_ref().ok().filter(|_| form == Form::Json).map(|text| serde_json::from_str(text));
        if let Some(Ok(value)) = &value
            && meta.uid() == rustix::process::geteuid().as_raw()
        {
            match record::author(value, self.owner.id) {
                Author::Us => return Ok(None),
                Author::Altered => return Err(Reason::Altered),
                Author::Another => {}
            }
        }
        self.place.clone()?;
        roots(file, &meta)?;
        let syntax = |e: serde_json::Error| Reason::Syntax(e.to_string());
        let text = text?;
        let record: Record = match value {
            Some(value) => value.and_then(serde_json::from_value).map_err(syntax)?,
            None => key_value(&text, name)?,
        };
        if record.name != name {
            return Err(Reason::OtherName(record.name));
        }
        if record::file_name(&SnapshotName(record.name.clone())).is_err() {
            return Err(Reason::BadName);
        }
        self.document(&record, meta.mtime()).map(Some)
    }

    fn document(&self, record: &Record, written: i64) -> Result<String, Reason> {
        if record.save.is_none() && record.disks.is_empty() {
            return Err(Reason::Empty);
        }
        if record.disks.len() > MAX_DISKS {
            return Err(Reason::TooManyDisks);
        }
        let state = record.state.meant(record.save.as_deref()).ok_or(Reason::State)?;
        let memory = match &record.save {
            Some(path) => Memory::External(self.below(path)?),
            None => Memory::No,
        };
        let mut xml = self.owner.xml.to_owned();
        let mut disks: Vec<SnapshotDisk> = Vec::new();
        for disk in &record.disks {
            if disks.iter().any(|d| d.name == disk.device) {
                return Err(Reason::DiskTwice(disk.device.clone()));
            }
            let (taken, frozen) = self.disk(disk, &record.name)?;
            let block = std::fs::metadata(&frozen.path).is_ok_and(|m| m.file_type().is_block_device());
            xml = edit::set_disk_source(&xml, &disk.device, &frozen, block)
                .map_err(|e| Reason::Definition(e.to_string()))?;
            disks.push(taken);
        }
        // Memory belongs to every disk; a set of tags to every disk that can have one. Overlays stand for themselves.
        let whole = record.save.is_some() || !disks.iter().any(SnapshotDisk::is_external);
        for own in self.view.disks.iter().filter(|d| d.has_source && d.default_location() != Some(Location::No)) {
            if disks.iter().any(|d| d.name == own.target) {
                continue;
            }
            if whole {
                return Err(Reason::Incomplete(own.target.clone()));
            }
            disks.push(SnapshotDisk { location: Some(Location::No), ..SnapshotDisk::named(&own.target) });
        }
        let snapshot = Snapshot {
            name: SnapshotName(record.name.clone()),
            description: record.description.clone(),
            parent: None,
            state,
            creation_time: if record.creation_time > 0 { record.creation_time } else { written.max(1) },
            memory,
            tag: None,
            disks,
            revert_disks: Vec::new(),
            frozen: domain::frozen_disks(&xml).map_err(|e| Reason::Definition(e.to_string()))?,
        };
        let texts = SnapshotTexts { domain: Some(xml), ..SnapshotTexts::default() };
        Ok(snapshot::format(&snapshot, &texts, true))
    }

    /// The disk as taken, and the image that it froze.
    fn disk(&self, disk: &RecordDisk, snapshot: &str) -> Result<(SnapshotDisk, Image), Reason> {
        let device = || disk.device.clone();
        let own: Option<&DiskView> = self.view.disk(&disk.device);
        let chain = self.owner.chains.iter().find(|c| c.target.as_str() == disk.device);
        let (Some(own), Some(chain)) = (own, chain) else { return Err(Reason::NoDisk(device())) };
        let taken = SnapshotDisk::named(&own.target);
        let Some(file) = &disk.file else {
            let tag = disk.name.as_deref().unwrap_or(snapshot);
            if tag != snapshot {
                return Err(Reason::OtherTag { disk: device(), tag: tag.to_owned() });
            }
            let tagged = |i: &&Image| {
                images::header(&i.path, &i.format).is_ok_and(|h| h.image.tags.iter().any(|t| t.name == tag))
            };
            let image = chain.images.iter().find(tagged).cloned();
            let image = image.ok_or_else(|| Reason::NoTag { disk: device(), tag: tag.to_owned() })?;
            return Ok((SnapshotDisk { location: Some(Location::Internal), ..taken }, image));
        };
        let no_base = |path: &Utf8Path| Reason::NoBase { disk: device(), path: path.to_owned() };
        let (overlay, base) = match self.in_chain(chain, &self.resolve(file)?) {
            Some(at) => {
                let overlay = chain.images[at].clone();
                let base = chain.images.get(at + 1).cloned().ok_or_else(|| no_base(&overlay.path))?;
                (overlay, base)
            }
            None => {
                let path = self.below(file)?;
                let format = disk.format.clone().unwrap_or_else(|| "qcow2".to_owned());
                let wrong = |why: String| Reason::Format { disk: device(), path: path.clone(), why };
                if format != "qcow2" && format != "qed" {
                    return Err(wrong(format!("its format is {format}")));
                }
                let header = images::header(&path, &format).map_err(|e| wrong(e.to_string()))?.image;
                let backing = header.backing.ok_or_else(|| no_base(&path))?;
                let at = self.in_chain(chain, &self.resolve(&backing)?).ok_or_else(|| no_base(&path))?;
                (Image { path, format }, chain.images[at].clone())
            }
        };
        let taken = SnapshotDisk {
            location: Some(Location::External),
            source: Some(overlay.path),
            format: Some(overlay.format),
            ..taken
        };
        Ok((taken, base))
    }

    /// The path without links and `..`; a relative one lies in the directory.
    fn resolve(&self, path: &Utf8Path) -> Result<Utf8PathBuf, Reason> {
        let path = self.dir.join(path);
        path.canonicalize_utf8().map_err(|e| Reason::Missing { why: strerror(&e), path })
    }

    /// Which image of the chain it is.
    fn in_chain(&self, chain: &Chain, resolved: &Utf8Path) -> Option<usize> {
        chain.images.iter().position(|i| i.path.canonicalize_utf8().is_ok_and(|path| path == resolved))
    }

    /// A regular file of root's below the directory, resolved; no image of the domain.
    fn below(&self, path: &Utf8Path) -> Result<Utf8PathBuf, Reason> {
        let resolved = self.resolve(path)?;
        let place = self.place.clone()?;
        if !resolved.starts_with(&place) || self.owner.chains.iter().any(|c| self.in_chain(c, &resolved).is_some()) {
            return Err(Reason::Outside(path.to_owned()));
        }
        let missing = |e: std::io::Error| Reason::Missing { path: resolved.clone(), why: strerror(&e) };
        let meta = std::fs::symlink_metadata(&resolved).map_err(missing)?;
        if !meta.is_file() {
            return Err(Reason::NotRegular(resolved));
        }
        // Neither it nor a directory on the way is anybody else's.
        for at in resolved.ancestors().take_while(|at| *at != place) {
            let meta = std::fs::symlink_metadata(at).map_err(missing)?;
            roots(at, &meta)?;
        }
        Ok(resolved)
    }
}

/// The older form: the snapshot configuration's keys. What it does not know it passes over.
fn key_value(text: &str, name: &str) -> Result<Record, Reason> {
    let syntax = |what: String| Reason::Syntax(what);
    let mut record = Record { name: name.to_owned(), ..Record::default() };
    let mut state = None;
    for setting in xl::parse(text).map_err(|wrong| syntax(wrong.to_string()))? {
        let wrong = || syntax(format!("{}: '{}' has a value of another kind", setting.value_place, setting.key));
        match (setting.key.as_str(), &setting.value) {
            ("name", xl::Value::Text(text)) => record.name.clone_from(text),
            ("description", xl::Value::Text(text)) => record.description = Some(text.clone()),
            ("creationtime" | "creation_time", xl::Value::Integer(time)) => record.creation_time = *time,
            ("creationtime" | "creation_time", xl::Value::Text(text)) => {
                record.creation_time = text.parse().map_err(|_| wrong())?;
            }
            ("memory", xl::Value::Text(text)) if text == "no" => {}
            ("memory", xl::Value::Text(text)) if text == "yes" => record.save = Some(format!("{name}.save").into()),
            ("save" | "memory", xl::Value::Text(text)) => record.save = Some(text.into()),
            ("state", xl::Value::Text(text)) => state = Some(named_state(text).ok_or_else(wrong)?),
            ("disk" | "disks", xl::Value::List(list)) => {
                for (value, place) in list {
                    let xl::Value::Text(spec) = value else { return Err(wrong()) };
                    let disk = DiskSpec::parse(spec).map_err(|what| syntax(format!("{place}: {what}")))?;
                    let file = disk.file.map(Utf8PathBuf::from);
                    record.disks.push(RecordDisk { device: disk.device, name: None, file, format: disk.format });
                }
            }
            (
                "name" | "description" | "creationtime" | "creation_time" | "save" | "memory" | "state" | "disk"
                | "disks",
                _,
            ) => return Err(wrong()),
            _ => {}
        }
    }
    // It had no state: memory is that of a guest that ran.
    record.state = state.unwrap_or(RecordState { running: record.save.is_some(), ..RecordState::default() });
    Ok(record)
}

fn named_state(text: &str) -> Option<RecordState> {
    let none = RecordState::default();
    Some(match text {
        "running" => RecordState { running: true, ..none },
        "blocked" => RecordState { blocked: true, ..none },
        "paused" => RecordState { paused: true, ..none },
        "shutdown" => RecordState { shutdown: true, ..none },
        "dying" => RecordState { dying: true, ..none },
        "shutoff" => none,
        _ => return None,
    })
}

fn strerror(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

#[cfg(test)]
#[path = "foreign_tests.rs"]
mod tests;

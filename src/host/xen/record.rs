//! Records in a domain's directory: a copy of what the store knows, for tools that know the proposals of 2014.
//!
//! ```text
//!   /var/lib/xen/snapshots/UUID/snapshotdata-NAME.libxl-json
//!   { …the record…, "virsnap": { "version": 1, "domain": UUID, "digest": … } }
//! ```
//!
//! The mark says that we wrote the file and that nobody changed it since: only such a file is ever replaced or removed. A
//! record is written by rename, so that a reader finds a whole one or none. Calls block. Must not know: what a foreign record
//! may do ([`super::foreign`]).

pub use crate::model::record::{ROOT, Record, RecordDisk, RecordState, directory};

use crate::error::{Error, Result};
use crate::model::ids::{DomainId, SnapshotName};
use crate::model::snapshot::Snapshot;
use camino::{Utf8Path, Utf8PathBuf};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::fs::{DirBuilder, File, Metadata};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};

/// Before a name.
const PREFIX: &str = "snapshotdata-";
/// Behind it.
const SUFFIX: &str = ".libxl-json";
/// Behind it, in the older form of `key = value`.
const OLDER: &str = ".xl";
/// A file's name on every file system we know.
const MAX_FILE_NAME: usize = 255;
/// A record has some hundred bytes.
const MAX_BYTES: u64 = 1 << 20;
/// More records than this in one directory are not read.
pub(super) const MAX_RECORDS: usize = 4096;
/// Our key.
const MARK: &str = "virsnap";
const VERSION: u32 = 1;
/// The record under construction; there is one at a time, as there is one operation at a time on a domain.
const NEW: &str = ".virsnap-record.new";

/// What became of a record that was to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Outcome {
    /// It is there, durably.
    Written,
    /// Somebody else's record of that name is there: it was left alone.
    Foreign,
}

/// How a record is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Json,
    KeyValue,
}

/// A file that is named like a record.
#[derive(Debug, Clone)]
pub(super) struct Listed {
    pub(super) file: Utf8PathBuf,
    pub(super) name: String,
    pub(super) form: Form,
}

/// The records of one directory.
#[derive(Debug, Clone, Default)]
pub(super) struct Listing {
    pub(super) records: Vec<Listed>,
    /// Whether there are so many that not all were read.
    pub(super) more: bool,
}

/// Who wrote a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Author {
    Us,
    /// We did, and somebody changed it or moved it to another domain.
    Altered,
    Another,
}

/// The record of a snapshot.
#[must_use]
pub fn of(snapshot: &Snapshot) -> Record {
    Record::of(snapshot)
}

/// The name of the file of snapshot `name`: control characters and `%` as `%XX`.
pub fn file_name(name: &SnapshotName) -> Result<String> {
    let bad = |why: &str| Error::invalid(format!("snapshot '{name}' cannot have a record: its name {why}"));
    let text = name.as_str();
    if text.is_empty() || text.starts_with('.') || text.contains('/') {
        return Err(bad("is empty, begins with '.' or contains '/'"));
    }
    let mut out = String::from(PREFIX);
    for c in text.chars() {
        if c == '%' || c.is_ascii_control() {
            out.push_str(&format!("%{:02X}", u32::from(c)));
        } else {
            out.push(c);
        }
    }
    out.push_str(SUFFIX);
    if out.len() > MAX_FILE_NAME { Err(bad("is too long for a file")) } else { Ok(out) }
}

/// The snapshot's name in a file's name; `None`: it is no record.
pub(super) fn named(file: &str) -> Option<(String, Form)> {
    let rest = file.strip_prefix(PREFIX)?;
    let (encoded, form) = match (rest.strip_suffix(SUFFIX), rest.strip_suffix(OLDER)) {
        (Some(name), _) => (name, Form::Json),
        (None, Some(name)) => (name, Form::KeyValue),
        (None, None) => return None,
    };
    if encoded.is_empty() {
        return None;
    }
    // What no encoder of ours made is the name itself.
    Some((decoded(encoded).unwrap_or_else(|| encoded.to_owned()), form))
}

fn decoded(encoded: &str) -> Option<String> {
    let mut out = String::new();
    let mut rest = encoded;
    while let Some((before, behind)) = rest.split_once('%') {
        let code = u8::from_str_radix(behind.get(..2)?, 16).ok().filter(|c| *c == b'%' || c.is_ascii_control())?;
        out.push_str(before);
        out.push(char::from(code));
        rest = &behind[2..];
    }
    Some(out + rest)
}

/// Write the record of `domain` into its directory, which is made if it is missing.
pub fn write(dir: &Utf8Path, domain: DomainId, record: &Record) -> Result<Outcome> {
    let path = dir.join(file_name(&SnapshotName(record.name.clone()))?);
    make(dir)?;
    match author_at(&path, domain)? {
        None | Some(Author::Us) => {}
        Some(Author::Altered | Author::Another) => return Ok(Outcome::Foreign),
    }
    let text = text(domain, record)?;
    let new = dir.join(NEW);
    let fail = |what: &str, e: &std::io::Error| Error::system(format!("cannot {what} '{path}'"), e);
    match std::fs::remove_file(&new) {
        Err(e) if e.kind() != ErrorKind::NotFound => return Err(fail("write", &e)),
        _ => {}
    }
    let write = || {
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&new, &path)
    };
    if let Err(error) = write() {
        // Nothing is lost with it, and the next write removes it first.
        let _ = std::fs::remove_file(&new);
        return Err(fail("write", &error));
    }
    sync(dir)?;
    Ok(Outcome::Written)
}

/// Remove the record of snapshot `name`, if we wrote it. Fine if it is not there.
pub fn remove(dir: &Utf8Path, domain: DomainId, name: &SnapshotName) -> Result<()> {
    let path = dir.join(file_name(name)?);
    if author_at(&path, domain)? != Some(Author::Us) {
        return Ok(());
    }
    match std::fs::remove_file(&path) {
        Ok(()) => sync(dir),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        Err(e) => Err(Error::system(format!("cannot unlink file '{path}'"), &e)),
    }
}

/// The snapshots whose records we wrote and that are not among `names`: a crash came between the snapshot's end and its
/// record's, or the domain has gone and come back.
pub fn stale(dir: &Utf8Path, domain: DomainId, names: &BTreeSet<SnapshotName>) -> Result<Vec<SnapshotName>> {
    let mut out = Vec::new();
    for Listed { file, name, form } in list(dir)?.records {
        let name = SnapshotName(name);
        if form == Form::Json && !names.contains(&name) && author_at(&file, domain)? == Some(Author::Us) {
            out.push(name);
        }
    }
    Ok(out)
}

/// The records in the directory by file name. No directory: no records.
pub(super) fn list(dir: &Utf8Path) -> Result<Listing> {
    let fail = |e: std::io::Error| Error::system(format!("cannot read directory '{dir}'"), &e);
    let entries = match dir.read_dir_utf8() {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Listing::default()),
        entries => entries.map_err(fail)?,
    };
    let mut out = Vec::new();
    for entry in entries {
        // A name that is not UTF-8 is none of ours.
        let Ok(entry) = entry else { continue };
        if let Some((name, form)) = named(entry.file_name()) {
            out.push(Listed { file: entry.path().to_owned(), name, form });
        }
    }
    out.sort_by(|a, b| a.file.cmp(&b.file));
    let more = out.len() > MAX_RECORDS;
    out.truncate(MAX_RECORDS);
    Ok(Listing { records: out, more })
}

/// Open a regular file and nothing else: no link is followed, no pipe waited for, no device woken.
pub(super) fn open(path: &Utf8Path) -> std::io::Result<Option<(File, Metadata)>> {
    if !std::fs::symlink_metadata(path)?.is_file() {
        return Ok(None);
    }
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let file = File::options().read(true).custom_flags(flags.bits().cast_signed()).open(path)?;
    let meta = file.metadata()?;
    Ok(meta.is_file().then_some((file, meta)))
}

/// The text of an open file; `None` if there is too much of it, or it is no UTF-8.
pub(super) fn read(file: &File) -> std::io::Result<Option<String>> {
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(Some(bytes).filter(|b| b.len() as u64 <= MAX_BYTES).and_then(|b| String::from_utf8(b).ok()))
}

/// Who wrote the record at `path`; `None`: nothing is there.
fn author_at(path: &Utf8Path, domain: DomainId) -> Result<Option<Author>> {
    let look = || {
        let Some((file, meta)) = open(path)? else { return Ok(Author::Another) };
        if meta.uid() != rustix::process::geteuid().as_raw() {
            return Ok(Author::Another);
        }
        let value = read(&file)?.and_then(|text| serde_json::from_str(&text).ok());
        Ok(value.map_or(Author::Another, |value| author(&value, domain)))
    };
    match look() {
        Ok(author) => Ok(Some(author)),
        Err(e) if ErrorKind::NotFound == std::io::Error::kind(&e) => Ok(None),
        Err(e) => Err(Error::system(format!("cannot read '{path}'"), &e)),
    }
}

/// Who wrote a record, by its mark.
pub(super) fn author(value: &Value, domain: DomainId) -> Author {
    let Value::Object(object) = value else { return Author::Another };
    let mut record = object.clone();
    match record.remove(MARK) {
        None => Author::Another,
        Some(mark) if mark == self::mark(domain, &record) => Author::Us,
        Some(_) => Author::Altered,
    }
}

fn text(domain: DomainId, record: &Record) -> Result<String> {
    let cannot = |e| Error::internal(format!("cannot write record '{}': {e}", record.name));
    let Value::Object(mut object) = serde_json::to_value(record).map_err(cannot)? else {
        return Err(Error::internal("a record is an object"));
    };
    let mark = mark(domain, &object);
    object.insert(MARK.to_owned(), mark);
    serde_json::to_string_pretty(&object).map(|text| text + "\n").map_err(cannot)
}

/// The mark of an object without one.
fn mark(domain: DomainId, record: &Map<String, Value>) -> Value {
    let sum = fnv(format!("{VERSION} {domain} {}", Value::Object(record.clone())).as_bytes());
    json!({ "version": VERSION, "domain": domain.to_string(), "digest": format!("{sum:016x}") })
}

/// FNV-1a: finds changes, and is no proof against forgery; who may write here is root.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

/// Make the directory and those above it, for nobody else.
fn make(dir: &Utf8Path) -> Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(|e| Error::system(format!("cannot create directory '{dir}'"), &e))?;
    dir.parent().map_or(Ok(()), sync)
}

fn sync(dir: &Utf8Path) -> Result<()> {
    let synced = File::open(dir).and_then(|d| d.sync_all());
    synced.map_err(|e| Error::system(format!("unable to sync '{dir}'"), &e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    const ID: DomainId = DomainId(uuid::Uuid::from_u128(0x0dd0_0dd0_0002_4000_8000_0000_0000_0002));
    const OTHER: DomainId = DomainId(uuid::Uuid::from_u128(7));

    fn dir() -> (tempfile::TempDir, Utf8PathBuf) {
        let temp = tempfile::tempdir().unwrap();
        let dir = Utf8PathBuf::from_path_buf(temp.path().join("snapshots").join(ID.to_string())).unwrap();
        (temp, dir)
    }
    fn record(name: &str) -> Record {
        Record { name: name.to_owned(), creation_time: 3, ..Record::default() }
    }
    fn mode(path: &Utf8Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn a_record_is_written_for_root_alone_and_read_as_it_was() {
        let (_temp, dir) = dir();
        assert_eq!(write(&dir, ID, &record("s")).unwrap(), Outcome::Written);
        let path = dir.join("snapshotdata-s.libxl-json");
        assert_eq!((mode(&path), mode(&dir), mode(dir.parent().unwrap())), (0o600, 0o700, 0o700));
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), record("s"));
        let mark = &serde_json::from_str::<Value>(&text).unwrap()["virsnap"];
        assert_eq!((&mark["version"], &mark["domain"]), (&json!(1), &json!(ID.to_string())));
        // Once more, after a crash that left half a record behind.
        std::fs::write(dir.join(NEW), "{").unwrap();
        assert_eq!(write(&dir, ID, &Record { creation_time: 4, ..record("s") }).unwrap(), Outcome::Written);
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 1);
        remove(&dir, ID, &"s".into()).unwrap();
        remove(&dir, ID, &"s".into()).unwrap();
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 0);
    }

    #[test]
    fn what_somebody_else_wrote_or_changed_is_neither_replaced_nor_removed() {
        let (_temp, dir) = dir();
        assert_eq!(write(&dir, ID, &record("s")).unwrap(), Outcome::Written);
        let path = dir.join("snapshotdata-s.libxl-json");
        let ours = std::fs::read_to_string(&path).unwrap();
        for theirs in ["{}", "", "[]", r#"{"name":"s"}"#, &ours.replace("\"creation_time\": 3", "\"creation_time\": 4")]
        {
            std::fs::write(&path, theirs).unwrap();
            assert_eq!(write(&dir, ID, &record("s")).unwrap(), Outcome::Foreign, "{theirs}");
            remove(&dir, ID, &"s".into()).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), theirs);
            assert_eq!(stale(&dir, ID, &BTreeSet::new()).unwrap(), []);
        }
        // Of another domain, and a link to one of ours.
        std::fs::write(&path, &ours).unwrap();
        remove(&dir, OTHER, &"s".into()).unwrap();
        std::os::unix::fs::symlink(&path, dir.join("snapshotdata-l.libxl-json")).unwrap();
        remove(&dir, ID, &"l".into()).unwrap();
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 2);
    }

    #[test]
    fn a_record_whose_snapshot_is_gone_is_stale() {
        let (_temp, dir) = dir();
        assert_eq!(stale(&dir, ID, &BTreeSet::new()).unwrap(), []);
        for name in ["a", "b\n%", "c"] {
            assert_eq!(write(&dir, ID, &record(name)).unwrap(), Outcome::Written);
        }
        std::fs::write(dir.join("snapshotdata-d.libxl-json"), r#"{"name":"d"}"#).unwrap();
        std::fs::write(dir.join("other"), "").unwrap();
        let names = BTreeSet::from(["a".into()]);
        assert_eq!(stale(&dir, ID, &names).unwrap(), ["b\n%".into(), "c".into()]);
        assert_eq!(stale(&dir, OTHER, &names).unwrap(), []);
    }

    #[test]
    fn every_name_has_a_file_and_back() {
        for (name, file) in [
            ("s", "snapshotdata-s.libxl-json"),
            ("né x", "snapshotdata-né x.libxl-json"),
            ("a%\n", "snapshotdata-a%25%0A.libxl-json"),
        ] {
            assert_eq!(file_name(&name.into()).unwrap(), file);
            assert_eq!(named(file), Some((name.to_owned(), Form::Json)));
        }
        for bad in ["", ".", "..", ".x", "a/b", &"x".repeat(232)] {
            assert!(file_name(&bad.into()).is_err(), "{bad}");
        }
        assert!(file_name(&SnapshotName("x".repeat(231))).is_ok());
        assert_eq!(named("snapshotdata-100%.xl"), Some(("100%".to_owned(), Form::KeyValue)));
        for none in ["snapshotdata-.xl", "snapshotdata-s.libxl-json~", "snapshotdata-s", "s.libxl-json", NEW] {
            assert_eq!(named(none), None, "{none}");
        }
    }

    #[test]
    fn a_directory_that_cannot_be_made_or_written_is_an_error() {
        let (temp, dir) = dir();
        std::fs::write(temp.path().join("snapshots"), "").unwrap();
        let told = write(&dir, ID, &record("s")).unwrap_err().to_string();
        assert!(told.starts_with("cannot create directory"), "{told}");
    }
}

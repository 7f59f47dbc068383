//! The file's format: how it is opened, what version it has, how an older one becomes ours.

use super::failed;
use crate::error::{Error, Result};
use camino::Utf8Path;
use rusqlite::{Connection, OpenFlags};
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

/// Each entry takes the file from version `index` to `index + 1`. Never edit one that was
/// released: append.
const MIGRATIONS: [&str; 2] = [
    "
CREATE TABLE domains (
    seq INTEGER PRIMARY KEY,
    driver TEXT NOT NULL,
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    persistent INTEGER NOT NULL,
    autostart INTEGER NOT NULL,
    reason INTEGER NOT NULL,
    inactive_xml TEXT,
    live_instance TEXT,
    live_number INTEGER,
    live_xml TEXT,
    current TEXT,
    UNIQUE (driver, id)
);
CREATE TABLE snapshots (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    domain INTEGER NOT NULL REFERENCES domains (seq) ON DELETE CASCADE,
    name TEXT NOT NULL,
    meta TEXT NOT NULL,
    UNIQUE (domain, name)
);
-- Apart from the metadata, so that reading 10,000 of those does not walk over the texts.
CREATE TABLE texts (
    snapshot INTEGER PRIMARY KEY REFERENCES snapshots (seq) ON DELETE CASCADE,
    domain TEXT,
    inactive_domain TEXT,
    cookie TEXT
);
CREATE TABLE owned (
    domain INTEGER NOT NULL REFERENCES domains (seq) ON DELETE CASCADE,
    path TEXT NOT NULL,
    PRIMARY KEY (domain, path)
) WITHOUT ROWID;
-- An operation may outlive its domain, so no reference.
CREATE TABLE ops (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    driver TEXT NOT NULL,
    phase TEXT NOT NULL CHECK (phase IN ('preparing', 'committing', 'settling')),
    settled INTEGER NOT NULL DEFAULT 0,
    plan TEXT NOT NULL
);
CREATE TABLE notes (
    op INTEGER NOT NULL REFERENCES ops (id) ON DELETE CASCADE,
    step INTEGER NOT NULL,
    note TEXT NOT NULL,
    PRIMARY KEY (op, step)
) WITHOUT ROWID;
",
    "
ALTER TABLE domains ADD COLUMN save_path TEXT;
ALTER TABLE domains ADD COLUMN save_xml TEXT;
ALTER TABLE domains ADD COLUMN save_running INTEGER;
",
];

const VERSION: u32 = MIGRATIONS.len() as u32;

/// The writer's and the reader's connection.
pub(super) fn open_file(path: &Utf8Path) -> Result<(Connection, Connection)> {
    refuse_newer(path)?;
    // Definitions hold passwords; SQLite itself would make the file readable for everyone.
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(|e| Error::system(format_args!("cannot open '{path}'"), &e))?;
    let open = || {
        let mut writer = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        writer.busy_timeout(Duration::from_secs(5))?;
        writer.pragma_update(None, "journal_mode", "wal")?;
        settings(&writer)?;
        migrate(&mut writer)?;
        let reader = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        reader.busy_timeout(Duration::from_secs(5))?;
        Ok((writer, reader))
    };
    open().map_err(|e| failed(path, &e))
}

pub(super) fn open_memory() -> rusqlite::Result<Connection> {
    let mut connection = Connection::open_in_memory()?;
    settings(&connection)?;
    migrate(&mut connection)?;
    Ok(connection)
}

/// The last operation and domain number that were given out.
pub(super) fn counters(connection: &Connection) -> rusqlite::Result<(i64, i32)> {
    let op = connection
        .query_row("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'ops'", [], |r| r.get(0))?;
    let number = connection.query_row("SELECT coalesce(max(live_number), 0) FROM domains", [], |r| r.get(0))?;
    Ok((op, number))
}

fn settings(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(())
}

fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    let version: u32 = connection.pragma_query_value(None, "user_version", |r| r.get(0))?;
    for (index, sql) in (0..).zip(MIGRATIONS).skip(version as usize) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(sql)?;
        transaction.pragma_update(None, "user_version", index + 1)?;
        transaction.commit()?;
    }
    Ok(())
}

/// Opening a file for writing may change it (recovery of its WAL, a checkpoint), so its version
/// is read without that first.
fn refuse_newer(path: &Utf8Path) -> Result<()> {
    let Some(mut version) = header_version(path)? else { return Ok(()) };
    // A version still in the WAL is seen by SQLite only.
    if std::fs::metadata(format!("{path}-wal")).is_ok_and(|m| m.len() > 0) {
        let read = || {
            let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
            connection.pragma_query_value(None, "user_version", |r| r.get(0))
        };
        version = version.max(read().map_err(|e| failed(path, &e))?);
    }
    if version > VERSION {
        return Err(Error::failed(format_args!(
            "state file '{path}' was written by a newer virsnap (schema {version}, this one knows {VERSION}); it was left as it is"
        )));
    }
    Ok(())
}

/// `user_version` of the database header (<https://www.sqlite.org/fileformat.html>, offset 60);
/// `None` if there is no header yet.
fn header_version(path: &Utf8Path) -> Result<Option<u32>> {
    let open = |e: &std::io::Error| Error::system(format_args!("cannot read '{path}'"), e);
    let mut header = Vec::new();
    match File::open(path) {
        Ok(file) => file.take(64).read_to_end(&mut header).map_err(|e| open(&e))?,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(open(&e)),
    };
    Ok(header.get(60..64).and_then(|b| b.try_into().ok()).map(u32::from_be_bytes))
}

//! What virsnap remembers: domains, snapshots and the journal, in one SQLite file.
//!
//! Every public method that writes is one transaction with `synchronous=FULL`, so after a crash
//! each of them happened or did not. Reads go over a connection of their own and never wait for
//! a writer (WAL). Large texts stay in the file; only [`Store::texts`] reads them.
//!
//! Must not know: hosts, the engine, what a plan's steps do.

mod domains;
mod journal;
mod lock;
mod schema;
mod snapshots;
#[cfg(test)]
mod tests;

pub use domains::{DomainRow, LiveRow};
pub use journal::{OpRow, Phase};

use crate::error::{Code, Error, Result};
use camino::{Utf8Path, Utf8PathBuf};
use rusqlite::{Connection, Transaction, TransactionBehavior};
use std::sync::atomic::{AtomicI32, AtomicI64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Asked before every write; an error keeps the write from happening. Tests stop the world here.
pub type Gate = Arc<dyn Fn(&'static str) -> Result<()> + Send + Sync>;

/// One driver's view of the state file.
pub struct Store {
    shared: Arc<Shared>,
    driver: String,
    gate: Option<Gate>,
}

/// What all drivers of one daemon have in common.
struct Shared {
    path: Utf8PathBuf,
    writer: Mutex<Connection>,
    /// `None` in memory, where the writer's connection is the only one.
    reader: Option<Mutex<Connection>>,
    last_op: AtomicI64,
    last_number: AtomicI32,
    /// Held as long as anyone has the store.
    _lock: Option<lock::Lock>,
}

impl Store {
    /// Open the state directory, making it if it is not there. Fails if another daemon has it, or
    /// if a newer virsnap wrote it; the file is left as it is then.
    pub fn open(dir: &Utf8Path, driver: &str) -> Result<Self> {
        let lock = lock::Lock::take(dir)?;
        let path = dir.join("virsnap.db");
        let (writer, reader) = schema::open_file(&path)?;
        Self::build(path, writer, Some(reader), Some(lock), driver)
    }

    /// A store without a file, for tests and the simulator.
    pub fn in_memory() -> Result<Self> {
        let path = Utf8PathBuf::from(":memory:");
        let writer = schema::open_memory().map_err(|e| failed(&path, &e))?;
        Self::build(path, writer, None, None, "test")
    }

    fn build(
        path: Utf8PathBuf,
        writer: Connection,
        reader: Option<Connection>,
        lock: Option<lock::Lock>,
        driver: &str,
    ) -> Result<Self> {
        let (op, number) = schema::counters(&writer).map_err(|e| failed(&path, &e))?;
        let shared = Shared {
            path,
            writer: Mutex::new(writer),
            reader: reader.map(Mutex::new),
            last_op: AtomicI64::new(op),
            last_number: AtomicI32::new(number),
            _lock: lock,
        };
        Ok(Self { shared: Arc::new(shared), driver: driver.to_owned(), gate: None })
    }

    /// The same file, for another driver of the same daemon.
    #[must_use]
    pub fn for_driver(&self, driver: &str) -> Self {
        Self { shared: Arc::clone(&self.shared), driver: driver.to_owned(), gate: self.gate.clone() }
    }

    /// The same store with every write asked for first.
    #[must_use]
    pub fn gated(&self, gate: Gate) -> Self {
        Self { shared: Arc::clone(&self.shared), driver: self.driver.clone(), gate: Some(gate) }
    }

    /// One transaction; nothing of it stays unless `work` returns `Ok`.
    fn write<T>(
        &self,
        what: &'static str,
        work: impl FnOnce(&Transaction<'_>, &str) -> rusqlite::Result<T>,
    ) -> Result<T> {
        if let Some(gate) = &self.gate {
            gate(what)?;
        }
        let mut connection = hold(&self.shared.writer);
        let run = || {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let out = work(&transaction, &self.driver)?;
            transaction.commit()?;
            Ok(out)
        };
        run().map_err(|e| failed(&self.shared.path, &e))
    }

    fn read<T>(&self, work: impl FnOnce(&Connection, &str) -> rusqlite::Result<T>) -> Result<T> {
        let connection = hold(self.shared.reader.as_ref().unwrap_or(&self.shared.writer));
        work(&connection, &self.driver).map_err(|e| failed(&self.shared.path, &e))
    }
}

/// A panic elsewhere leaves SQLite's own state whole: transactions roll back when dropped.
fn hold(mutex: &Mutex<Connection>) -> MutexGuard<'_, Connection> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn failed(path: &Utf8Path, error: &rusqlite::Error) -> Error {
    if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull) {
        return Error::new(Code::SystemError, format!("cannot write '{path}': No space left on device"));
    }
    Error::internal(format!("state file '{path}': {error}"))
}

/// A stored text that cannot be what we wrote.
fn malformed(error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(error))
}

fn to_json(value: &impl serde::Serialize) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|e| rusqlite::Error::ToSqlConversionFailure(Box::new(e)))
}

fn from_json<T: serde::de::DeserializeOwned>(text: &str) -> rusqlite::Result<T> {
    serde_json::from_str(text).map_err(malformed)
}

//! Domain rows: what survives the daemon, running guests included.

use super::{Store, malformed};
use crate::error::Result;
use crate::model::domain::ManagedSave;
use crate::model::ids::{DomainId, Instance};
use rusqlite::{OptionalExtension, Row, Transaction, params};
use std::sync::atomic::Ordering;

/// A domain as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainRow {
    /// Its identity.
    pub id: DomainId,
    /// Its name; unique among those that were defined here, but somebody else may have started another of the same name.
    pub name: String,
    /// Whether it survives its own stop.
    pub persistent: bool,
    /// Whether the daemon starts it.
    pub autostart: bool,
    /// The persistent definition.
    pub inactive_xml: Option<String>,
    /// The hypervisor that belongs to it, if one was started.
    pub live: Option<LiveRow>,
    /// Its managed-save image.
    pub saved: Option<ManagedSave>,
    /// `virDomainShutoffReason` of its last stop.
    pub reason: i32,
}

/// A domain's hypervisor as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveRow {
    /// Its identity.
    pub instance: Instance,
    /// libvirt's small domain id.
    pub number: i32,
    /// The running definition.
    pub xml: String,
}

impl Store {
    /// Every domain, in the order of their definition.
    pub fn domains(&self) -> Result<Vec<DomainRow>> {
        self.read(|db, driver| {
            let mut statement = db.prepare_cached(
                "SELECT id, name, persistent, autostart, inactive_xml, live_instance, live_number, live_xml, reason,
                 save_path, save_xml, save_running
                 FROM domains WHERE driver = ? ORDER BY seq",
            )?;
            statement.query_map([driver], domain_row)?.collect()
        })
    }

    /// Add the domain, or replace what is stored of it; its snapshots stay.
    pub fn put_domain(&self, row: &DomainRow) -> Result<()> {
        self.write("put_domain", |db, driver| {
            db.execute(
                "INSERT INTO domains (driver, id, name, persistent, autostart, reason, inactive_xml) VALUES (?, ?, ?, ?, ?, ?, ?)
                 ON CONFLICT (driver, id) DO UPDATE SET name = excluded.name, persistent = excluded.persistent,
                 autostart = excluded.autostart, reason = excluded.reason, inactive_xml = excluded.inactive_xml",
                params![driver, row.id.to_string(), row.name, row.persistent, row.autostart, row.reason, row.inactive_xml],
            )?;
            put_live(db, driver, row.id, row.live.as_ref())?;
            put_saved(db, driver, row.id, row.saved.as_ref())
        })
    }

    /// Forget the domain and everything of it; fine if it is not there.
    pub fn remove_domain(&self, id: DomainId) -> Result<()> {
        self.write("remove_domain", |db, driver| {
            db.execute("DELETE FROM domains WHERE driver = ? AND id = ?", params![driver, id.to_string()]).map(drop)
        })
    }

    /// Which hypervisor belongs to the domain.
    pub fn set_live(&self, id: DomainId, live: Option<&LiveRow>) -> Result<()> {
        self.write("set_live", |db, driver| put_live(db, driver, id, live))
    }

    /// Whether the daemon starts it.
    pub fn set_autostart(&self, id: DomainId, on: bool) -> Result<()> {
        self.write("set_autostart", |db, driver| {
            db.execute(
                "UPDATE domains SET autostart = ? WHERE driver = ? AND id = ?",
                params![on, driver, id.to_string()],
            )
            .map(drop)
        })
    }

    /// Why it is shut off.
    pub fn set_reason(&self, id: DomainId, reason: i32) -> Result<()> {
        self.write("set_reason", |db, driver| {
            db.execute(
                "UPDATE domains SET reason = ? WHERE driver = ? AND id = ?",
                params![reason, driver, id.to_string()],
            )
            .map(drop)
        })
    }

    /// libvirt's small domain id for a start: above that of every running domain, and above all
    /// that this daemon gave out.
    pub fn next_number(&self) -> Result<i32> {
        Ok(self.take_number())
    }

    pub(super) fn take_number(&self) -> i32 {
        let after = |n: i32| n.checked_add(1).unwrap_or(1);
        let taken = self.shared.last_number.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| Some(after(n)));
        taken.map_or(1, after)
    }
}

pub(super) fn put_live(
    db: &Transaction<'_>,
    driver: &str,
    id: DomainId,
    live: Option<&LiveRow>,
) -> rusqlite::Result<()> {
    let instance = live.map(|l| l.instance.to_string());
    db.execute(
        "UPDATE domains SET live_instance = ?, live_number = ?, live_xml = ? WHERE driver = ? AND id = ?",
        params![instance, live.map(|l| l.number), live.map(|l| &l.xml), driver, id.to_string()],
    )
    .map(drop)
}

pub(super) fn put_saved(
    db: &Transaction<'_>,
    driver: &str,
    id: DomainId,
    saved: Option<&ManagedSave>,
) -> rusqlite::Result<()> {
    db.execute(
        "UPDATE domains SET save_path = ?, save_xml = ?, save_running = ? WHERE driver = ? AND id = ?",
        params![
            saved.map(|s| s.path.as_str()),
            saved.map(|s| &s.xml),
            saved.map(|s| s.running),
            driver,
            id.to_string()
        ],
    )
    .map(drop)
}

/// The row's key for other tables; `None` if the domain is gone.
pub(super) fn key(db: &rusqlite::Connection, driver: &str, id: DomainId) -> rusqlite::Result<Option<i64>> {
    db.prepare_cached("SELECT seq FROM domains WHERE driver = ? AND id = ?")?
        .query_row(params![driver, id.to_string()], |r| r.get(0))
        .optional()
}

fn domain_row(row: &Row<'_>) -> rusqlite::Result<DomainRow> {
    let uuid = |text: String| uuid::Uuid::parse_str(&text).map_err(malformed);
    let live = match row.get::<_, Option<String>>(5)? {
        Some(instance) => Some(LiveRow { instance: Instance(uuid(instance)?), number: row.get(6)?, xml: row.get(7)? }),
        None => None,
    };
    let saved = match row.get::<_, Option<String>>(9)? {
        Some(path) => Some(ManagedSave { path: path.into(), xml: row.get(10)?, running: row.get(11)? }),
        None => None,
    };
    Ok(DomainRow {
        id: DomainId(uuid(row.get(0)?)?),
        name: row.get(1)?,
        persistent: row.get(2)?,
        autostart: row.get(3)?,
        inactive_xml: row.get(4)?,
        live,
        saved,
        reason: row.get(8)?,
    })
}

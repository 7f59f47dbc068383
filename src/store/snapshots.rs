//! Snapshot rows, and the one way in which metadata changes: [`Change`].

use super::domains::{self, LiveRow};
use super::{Store, from_json, to_json};
use crate::error::{Code, Error, Result};
use crate::model::ids::{DomainId, SnapshotName};
use crate::model::snapshot::{Snapshot, SnapshotTexts};
use crate::plan::steps::{Change, CurrentChange, LiveChange, PutSnapshot, SavedChange};
use camino::Utf8PathBuf;
use rusqlite::{OptionalExtension, Transaction, params};
use std::collections::BTreeSet;

impl Store {
    /// A domain's snapshots in the order of their insertion, and the current one.
    pub fn snapshots(&self, domain: DomainId) -> Result<(Vec<Snapshot>, Option<SnapshotName>)> {
        self.read(|db, driver| {
            // One statement, so that both come from the same moment.
            let mut statement = db.prepare_cached(
                "SELECT d.current, s.meta FROM domains d LEFT JOIN snapshots s ON s.domain = d.seq
                 WHERE d.driver = ? AND d.id = ? ORDER BY s.seq",
            )?;
            let mut rows = statement.query(params![driver, domain.to_string()])?;
            let (mut snapshots, mut current) = (Vec::new(), None);
            while let Some(row) = rows.next()? {
                if snapshots.is_empty() {
                    current = row.get::<_, Option<String>>(0)?.map(SnapshotName);
                }
                if let Some(meta) = row.get_ref(1)?.as_str_or_null().map_err(super::malformed)? {
                    snapshots.push(from_json(meta)?);
                }
            }
            Ok((snapshots, current))
        })
    }

    /// The large texts of one snapshot.
    pub fn texts(&self, domain: DomainId, name: &SnapshotName) -> Result<SnapshotTexts> {
        let found = self.read(|db, driver| {
            db.prepare_cached(
                "SELECT t.domain, t.inactive_domain, t.cookie FROM domains d JOIN snapshots s ON s.domain = d.seq
                 LEFT JOIN texts t ON t.snapshot = s.seq WHERE d.driver = ? AND d.id = ? AND s.name = ?",
            )?
            .query_row(params![driver, domain.to_string(), name.as_str()], |r| {
                Ok(SnapshotTexts { domain: r.get(0)?, inactive_domain: r.get(1)?, cookie: r.get(2)? })
            })
            .optional()
        })?;
        found.ok_or_else(|| {
            Error::new(Code::NoDomainSnapshot, format!("no domain snapshot with matching name '{name}'"))
        })
    }

    /// Change a domain's metadata, all of it or nothing. What the change says of a domain, or of
    /// a hypervisor, that is no longer there is passed over: a transient guest may die at any moment.
    pub fn apply(&self, domain: DomainId, change: &Change) -> Result<()> {
        self.write("apply", |db, driver| self.apply_in(db, driver, domain, change))
    }

    /// The files that virsnap made for this domain.
    pub fn owned(&self, domain: DomainId) -> Result<BTreeSet<Utf8PathBuf>> {
        self.read(|db, driver| {
            db.prepare_cached(
                "SELECT o.path FROM domains d JOIN owned o ON o.domain = d.seq WHERE d.driver = ? AND d.id = ?",
            )?
            .query_map(params![driver, domain.to_string()], |r| r.get::<_, String>(0).map(Utf8PathBuf::from))?
            .collect()
        })
    }

    pub(super) fn apply_in(
        &self,
        db: &Transaction<'_>,
        driver: &str,
        domain: DomainId,
        change: &Change,
    ) -> rusqlite::Result<()> {
        let Some(key) = domains::key(db, driver, domain)? else { return Ok(()) };
        if let Some(rename) = &change.rename {
            db.prepare_cached("UPDATE snapshots SET name = ? WHERE domain = ? AND name = ?")?.execute(params![
                rename.to.as_str(),
                key,
                rename.from.as_str()
            ])?;
        }
        for name in &change.remove {
            db.prepare_cached("DELETE FROM snapshots WHERE domain = ? AND name = ?")?
                .execute(params![key, name.as_str()])?;
        }
        for put in &change.put {
            put_snapshot(db, key, put)?;
        }
        match &change.current {
            Some(CurrentChange::Set(name)) => {
                db.execute("UPDATE domains SET current = ? WHERE seq = ?", params![name.as_str(), key])?;
            }
            Some(CurrentChange::Clear) => {
                db.execute("UPDATE domains SET current = NULL WHERE seq = ?", [key])?;
            }
            None => {}
        }
        // The pointer never dangles, whatever the change said.
        db.execute(
            "UPDATE domains SET current = NULL
             WHERE seq = ? AND current NOT IN (SELECT name FROM snapshots WHERE domain = domains.seq AND name = domains.current)",
            [key],
        )?;
        if let Some(xml) = &change.inactive_xml {
            db.execute(
                "UPDATE domains SET inactive_xml = ?, persistent = persistent OR ? WHERE seq = ?",
                params![xml, change.defines, key],
            )?;
        }
        self.apply_live(db, driver, domain, &change.live)?;
        match &change.saved {
            SavedChange::Keep => {}
            SavedChange::Clear => domains::put_saved(db, driver, domain, None)?,
            SavedChange::Set(saved) => domains::put_saved(db, driver, domain, Some(saved))?,
        }
        for (path, ours) in &change.owned {
            let sql = if *ours {
                "INSERT OR IGNORE INTO owned (domain, path) VALUES (?, ?)"
            } else {
                "DELETE FROM owned WHERE domain = ? AND path = ?"
            };
            db.prepare_cached(sql)?.execute(params![key, path.as_str()])?;
        }
        Ok(())
    }

    fn apply_live(
        &self,
        db: &Transaction<'_>,
        driver: &str,
        domain: DomainId,
        live: &LiveChange,
    ) -> rusqlite::Result<()> {
        match live {
            LiveChange::Keep => Ok(()),
            LiveChange::Clear => domains::put_live(db, driver, domain, None),
            LiveChange::Set { instance, xml } => {
                // A step that is repeated keeps the number that clients have seen.
                let number: Option<i32> = db
                    .query_row(
                        "SELECT live_number FROM domains WHERE driver = ? AND id = ? AND live_instance = ?",
                        params![driver, domain.to_string(), instance.to_string()],
                        |r| r.get(0),
                    )
                    .optional()?;
                let number = number.unwrap_or_else(|| self.take_number());
                let row = LiveRow { instance: *instance, number, xml: xml.clone() };
                domains::put_live(db, driver, domain, Some(&row))
            }
            LiveChange::Edit { instance, xml } => db
                .execute(
                    "UPDATE domains SET live_xml = ? WHERE driver = ? AND id = ? AND live_instance = ?",
                    params![xml, driver, domain.to_string(), instance.to_string()],
                )
                .map(drop),
        }
    }
}

fn put_snapshot(db: &Transaction<'_>, domain: i64, put: &PutSnapshot) -> rusqlite::Result<()> {
    let seq: i64 = db
        .prepare_cached(
            "INSERT INTO snapshots (domain, name, meta) VALUES (?, ?, ?)
             ON CONFLICT (domain, name) DO UPDATE SET meta = excluded.meta RETURNING seq",
        )?
        .query_row(params![domain, put.snapshot.name.as_str(), to_json(&put.snapshot)?], |r| r.get(0))?;
    if let Some(texts) = &put.texts {
        db.prepare_cached(
            "INSERT OR REPLACE INTO texts (snapshot, domain, inactive_domain, cookie) VALUES (?, ?, ?, ?)",
        )?
        .execute(params![seq, texts.domain, texts.inactive_domain, texts.cookie])?;
    }
    Ok(())
}

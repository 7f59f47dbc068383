//! The journal: one row per running operation. A row is written before the first effect and goes
//! after the last, so what is left in it at a start is what a crash interrupted.

use super::{Store, from_json, malformed, to_json};
use crate::error::Result;
use crate::model::ids::{DomainId, OpId};
use crate::plan::steps::{Change, Note, Plan};
use rusqlite::{Transaction, params};
use std::sync::atomic::Ordering;

/// Where an operation is, as far as recovery must know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Before the commit: undo.
    Preparing,
    /// Perhaps in the middle of a disk switch: probe.
    Committing,
    /// After the commit: settle.
    Settling,
}

impl Phase {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Preparing => "preparing",
            Self::Committing => "committing",
            Self::Settling => "settling",
        }
    }
    fn parse(text: &str) -> rusqlite::Result<Self> {
        [Self::Preparing, Self::Committing, Self::Settling]
            .into_iter()
            .find(|p| p.as_str() == text)
            .ok_or_else(|| malformed(std::io::Error::other(format!("phase '{text}'"))))
    }
}

/// One operation of the journal.
#[derive(Debug, Clone, PartialEq)]
pub struct OpRow {
    /// What it does.
    pub plan: Plan,
    /// Where it is.
    pub phase: Phase,
    /// How many settle steps are done.
    pub settled: usize,
    /// Notes of prepare steps, by the step's index.
    pub notes: Vec<(usize, Note)>,
}

impl Store {
    /// A number for a new operation. One that never began may be given out again by the next
    /// daemon: nothing bears its name.
    pub fn new_op(&self) -> Result<OpId> {
        Ok(OpId(self.shared.last_op.fetch_add(1, Ordering::Relaxed) + 1))
    }

    /// Write the plan down; the operation is preparing.
    pub fn begin(&self, plan: &Plan) -> Result<()> {
        self.write("begin", |db, driver| {
            db.execute(
                "INSERT INTO ops (id, driver, phase, plan) VALUES (?, ?, ?, ?)",
                params![plan.op.0, driver, Phase::Preparing.as_str(), to_json(plan)?],
            )
            .map(drop)
        })
    }

    /// What prepare step `step` wants remembered.
    pub fn note(&self, op: OpId, step: usize, note: &Note) -> Result<()> {
        self.write("note", |db, _| {
            db.execute(
                "INSERT OR REPLACE INTO notes (op, step, note) VALUES (?, ?, ?)",
                params![op.0, number(step), to_json(note)?],
            )
            .map(drop)
        })
    }

    /// The disk switch comes next.
    pub fn committing(&self, op: OpId) -> Result<()> {
        self.write("committing", |db, _| set_phase(db, op, Phase::Committing))
    }

    /// The disk switch did not happen, and the way is back. Said before the first undo: once files
    /// are gone, a probe that finds no hypervisor must not lead forward.
    pub fn retreat(&self, op: OpId) -> Result<()> {
        self.write("retreat", |db, _| set_phase(db, op, Phase::Preparing))
    }

    /// The commit of a plan whose commit is a publish.
    pub fn commit_publish(&self, op: OpId, domain: DomainId, change: &Change) -> Result<()> {
        self.write("commit_publish", |db, driver| {
            self.apply_in(db, driver, domain, change)?;
            set_phase(db, op, Phase::Settling)
        })
    }

    /// The disk switch is done.
    pub fn settling(&self, op: OpId) -> Result<()> {
        self.write("settling", |db, _| set_phase(db, op, Phase::Settling))
    }

    /// The first `steps_done` settle steps are done.
    pub fn settled(&self, op: OpId, steps_done: usize) -> Result<()> {
        self.write("settled", |db, _| set_settled(db, op, steps_done))
    }

    /// A settle step that is a publish, and that it is done.
    pub fn publish_step(&self, op: OpId, domain: DomainId, change: &Change, steps_done: usize) -> Result<()> {
        self.write("publish_step", |db, driver| {
            self.apply_in(db, driver, domain, change)?;
            set_settled(db, op, steps_done)
        })
    }

    /// Nothing is left to do; fine if the row is gone.
    pub fn close(&self, op: OpId) -> Result<()> {
        self.write("close", |db, _| db.execute("DELETE FROM ops WHERE id = ?", [op.0]).map(drop))
    }

    /// Every operation that is not closed, oldest first.
    pub fn open_ops(&self) -> Result<Vec<OpRow>> {
        self.read(|db, driver| {
            let mut ops = db.prepare_cached("SELECT id, plan, phase, settled FROM ops WHERE driver = ? ORDER BY id")?;
            let mut notes = db.prepare_cached("SELECT step, note FROM notes WHERE op = ? ORDER BY step")?;
            let mut rows = ops.query([driver])?;
            let mut out = Vec::new();
            while let Some(row) = rows.next()? {
                let id: i64 = row.get(0)?;
                let notes = notes.query_map([id], |r| Ok((index(r.get(0)?)?, from_json(&r.get::<_, String>(1)?)?)))?;
                out.push(OpRow {
                    plan: from_json(&row.get::<_, String>(1)?)?,
                    phase: Phase::parse(&row.get::<_, String>(2)?)?,
                    settled: index(row.get(3)?)?,
                    notes: notes.collect::<rusqlite::Result<_>>()?,
                });
            }
            Ok(out)
        })
    }
}

fn number(index: usize) -> i64 {
    i64::try_from(index).unwrap_or(i64::MAX)
}

fn index(number: i64) -> rusqlite::Result<usize> {
    usize::try_from(number).map_err(malformed)
}

/// A row that is not there means that somebody else closed it: going on would act without a journal.
fn one(rows: usize) -> rusqlite::Result<()> {
    if rows == 1 { Ok(()) } else { Err(rusqlite::Error::QueryReturnedNoRows) }
}

fn set_phase(db: &Transaction<'_>, op: OpId, phase: Phase) -> rusqlite::Result<()> {
    one(db.execute("UPDATE ops SET phase = ? WHERE id = ?", params![phase.as_str(), op.0])?)
}

fn set_settled(db: &Transaction<'_>, op: OpId, steps: usize) -> rusqlite::Result<()> {
    one(db.execute("UPDATE ops SET settled = ?, phase = 'settling' WHERE id = ?", params![number(steps), op.0])?)
}

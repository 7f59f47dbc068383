//! Which domid is which start of which domain.
//!
//! ```text
//!   expected ── xl create/restore ──▶ here (domid, mark in xenstore) ──▶ ending ── xl destroy ──▶ forgotten
//!   found by the watch ─────────────▶ here                          └──▶ gone, told
//! ```
//!
//! A domid changes at every start and is used again after some, so each is proved by our mark in xenstore. A note on disk,
//! written before a start, says which domain an instance is: where the daemon died between a start and its mark, the note
//! tells, and without a note there is nothing. Notes and xenstore both end with the machine's uptime.
//! Must not know: what is done to guests.

use super::xenstore;
use super::xl::{self, Listed};
use crate::error::{Error, Result};
use crate::model::ids::{DomainId, Instance};
use camino::Utf8PathBuf;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use uuid::Uuid;

/// Who has started it, and so who reaps it and boots it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Starter {
    /// This program, in this life or an earlier one.
    We,
    /// Somebody else, whose `xl` may be watching it.
    Others,
}

impl Starter {
    fn word(self) -> &'static str {
        match self {
            Self::We => "started",
            Self::Others => "found",
        }
    }
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// It is being built.
    Expected,
    Here,
    Ending,
}

/// One start of one domain.
#[derive(Debug, Clone)]
pub(super) struct Guest {
    pub(super) domain: DomainId,
    pub(super) domid: u32,
    pub(super) starter: Starter,
    pub(super) phase: Phase,
    /// As it was last told.
    pub(super) paused: bool,
    /// Whether that is one pause, of ours: pauses are counted.
    pub(super) our_pause: bool,
    /// How often in a row it was seen to be different from that.
    pub(super) differs: u8,
    /// How many operations of ours that pause and unpause it are on their way.
    pub(super) busy: u32,
    /// Whether its stop was told.
    pub(super) stop_told: bool,
}

/// All that are known.
#[derive(Debug, Default)]
pub(super) struct Guests {
    map: Mutex<HashMap<Instance, Guest>>,
    notes: Utf8PathBuf,
}

/// While this lives, pauses and resumes of the guest are our own doing.
#[must_use]
pub(super) struct Busy {
    guests: Arc<Guests>,
    instance: Instance,
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.guests.change(self.instance, |g| {
            g.busy = g.busy.saturating_sub(1);
            g.differs = 0;
        });
    }
}

fn mark_path(domid: u32) -> String {
    format!("/local/domain/{domid}/virsnap")
}

/// The mark of a domid: which start it is, and who watches over it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) instance: Instance,
    pub(super) starter: Starter,
    /// The daemon, by where it keeps its notes.
    pub(super) owner: String,
}

/// It, if there is one.
pub(super) async fn mark(domid: u32) -> Option<Mark> {
    let text = xenstore::read(&mark_path(domid)).await?;
    let mut words = text.splitn(3, ' ');
    let instance = Instance(Uuid::try_parse(words.next()?).ok()?);
    let starter = if words.next()? == Starter::We.word() { Starter::We } else { Starter::Others };
    Some(Mark { instance, starter, owner: words.next()?.to_owned() })
}

impl Guests {
    /// None yet; notes are kept in `directory`.
    pub(super) fn new(directory: Utf8PathBuf) -> Self {
        Self { map: Mutex::default(), notes: directory }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, HashMap<Instance, Guest>> {
        self.map.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of it.
    pub(super) fn get(&self, instance: Instance) -> Option<Guest> {
        self.lock().get(&instance).cloned()
    }

    /// Change what is known of it.
    pub(super) fn change(&self, instance: Instance, change: impl FnOnce(&mut Guest)) {
        if let Some(guest) = self.lock().get_mut(&instance) {
            change(guest);
        }
    }

    /// Announce that it is paused and unpaused by us from now on.
    pub(super) fn busy(self: &Arc<Self>, instance: Instance) -> Busy {
        self.change(instance, |g| g.busy += 1);
        Busy { guests: Arc::clone(self), instance }
    }

    fn note(&self, instance: Instance) -> Utf8PathBuf {
        self.notes.join(format!("{instance}.note"))
    }

    /// What is not noted is not there.
    fn write_note(&self, domain: DomainId, instance: Instance) -> Result<()> {
        let note = self.note(instance);
        std::fs::create_dir_all(&self.notes)
            .and_then(|()| std::fs::write(&note, domain.to_string()))
            .map_err(|e| Error::system(format!("cannot write '{note}'"), &e))
    }

    /// Before it is built.
    pub(super) fn expect(&self, domain: DomainId, instance: Instance) -> Result<()> {
        self.write_note(domain, instance)?;
        let guest = Guest {
            domain,
            domid: 0,
            starter: Starter::We,
            phase: Phase::Expected,
            paused: true,
            our_pause: false,
            differs: 0,
            busy: 0,
            stop_told: false,
        };
        self.lock().insert(instance, guest);
        Ok(())
    }

    /// It is there: mark it.
    pub(super) async fn here(&self, domain: DomainId, instance: Instance, domid: u32, starter: Starter) -> Result<()> {
        self.write_note(domain, instance)?;
        self.write_mark(domid, instance, starter).await?;
        self.attach(domain, instance, domid, starter, true);
        Ok(())
    }

    async fn write_mark(&self, domid: u32, instance: Instance, starter: Starter) -> Result<()> {
        xenstore::write(&mark_path(domid), &format!("{instance} {} {}", starter.word(), self.notes)).await
    }

    /// It is there, and another daemon has marked it.
    pub(super) fn anothers(&self, domain: DomainId, instance: Instance, domid: u32) -> Result<()> {
        self.write_note(domain, instance)?;
        self.attach(domain, instance, domid, Starter::Others, true);
        Ok(())
    }

    /// Whether that is this daemon's mark.
    pub(super) fn is_own(&self, mark: &Mark) -> bool {
        mark.owner == self.notes
    }

    /// Nobody else watches over it any more.
    pub(super) async fn take_over(&self, instance: Instance) -> Result<()> {
        let Some(guest) = self.get(instance).filter(|g| g.starter == Starter::Others) else { return Ok(()) };
        self.write_mark(guest.domid, instance, Starter::We).await?;
        self.change(instance, |g| g.starter = Starter::We);
        Ok(())
    }

    /// It is there and marked.
    pub(super) fn attach(&self, domain: DomainId, instance: Instance, domid: u32, starter: Starter, paused: bool) {
        let guest = Guest {
            domain,
            domid,
            starter,
            phase: Phase::Here,
            paused,
            our_pause: false,
            differs: 0,
            busy: 0,
            stop_told: false,
        };
        self.lock().insert(instance, guest);
    }

    /// Where it is noted that it may be frozen by us.
    pub(super) fn thaw_note(&self, instance: Instance) -> Utf8PathBuf {
        self.notes.join(format!("{instance}.thaw"))
    }

    /// There is nothing of it any more.
    pub(super) fn forget(&self, instance: Instance) {
        self.lock().remove(&instance);
        // It may not have come that far.
        let _ = std::fs::remove_file(self.note(instance));
        let _ = std::fs::remove_file(self.thaw_note(instance));
    }

    /// The domain that this start is, if it is there: by our mark, or by the note of a start that was not marked.
    pub(super) async fn locate(&self, instance: Instance) -> Result<Option<Listed>> {
        let noted = std::fs::read_to_string(self.note(instance)).ok().and_then(|t| Uuid::try_parse(t.trim()).ok());
        let Some(noted) = noted else { return Ok(None) };
        let list = xl::list().await?;
        let known = self.get(instance).filter(|g| g.phase != Phase::Expected);
        if let Some(guest) = &known
            && let Some(listed) = list.iter().find(|l| l.domid == guest.domid && l.uuid == guest.domain.0)
        {
            return Ok(Some(listed.clone()));
        }
        for listed in list.into_iter().filter(|l| l.uuid == noted) {
            match mark(listed.domid).await {
                Some(mark) if mark.instance != instance => {}
                _ => return Ok(Some(listed)),
            }
        }
        Ok(None)
    }

    /// Its domid; an error if it is gone.
    pub(super) fn domid(&self, instance: Instance) -> Result<u32> {
        let guest = self.get(instance).filter(|g| g.phase == Phase::Here);
        guest.map(|g| g.domid).ok_or_else(|| Error::invalid("domain is not running"))
    }
}

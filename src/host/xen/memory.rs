//! Saving a guest's memory, which the guest takes part in.
//!
//! ```text
//!   runs   ── xl save -p ──▶ suspends itself ▶ memory written ▶ stands still, paused
//!   paused ── xl save -p, and when the guest was asked, xl unpause ──▶ the same: it runs for the moment that it
//!             needs to suspend itself, because nothing else can
//! ```
//!
//! Any save ends the `xl` that somebody's `xl create` has left to watch over the guest, so from then on we do. A save that fails leaves the guest running, also one that was paused before; one whose `xl` was killed leaves it
//! suspended, and only another save gets it out of that. Must not know: what is saved with the memory.

use super::guests::Guests;
use super::xl::{self, Listed, Reason};
use super::{save_file, xenstore};
use crate::error::{Error, Result};
use crate::host::Report;
use crate::host::images::blocking;
use crate::host::qemu::steps::Unwatched;
use crate::model::ids::Instance;
use camino::{Utf8Path, Utf8PathBuf};
use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

/// How long a guest may take until it is asked to suspend itself.
const ASKED: Duration = Duration::from_secs(10);
/// How often what was saved so far is written out.
const WRITE_OUT: Duration = Duration::from_millis(100);
/// How many pauses of others are undone.
const PAUSES: usize = 16;

/// Save the memory; the guest is paused afterwards. One that runs stands still from here on, so nothing is asked that need
/// not be.
pub(super) async fn save(guests: &Arc<Guests>, instance: Instance, path: &Utf8Path, report: &dyn Report) -> Result<()> {
    let _busy = guests.busy(instance);
    let domid = guests.domid(instance)?;
    let paused = guests.get(instance).is_some_and(|g| g.paused);
    let saved = if paused { save_paused(domid, path, report).await } else { save_running(domid, path, report).await };
    if let Err(error) = saved {
        return Err(why(guests, instance, error).await);
    }
    guests.change(instance, |g| {
        g.paused = true;
        g.our_pause = true;
    });
    // Whoever's xl watched over it has taken the suspend for its end, and has left.
    guests.take_over(instance).await?;
    if is_complete(path).await? {
        Ok(())
    } else {
        Err(Error::failed(format!("the save file '{path}' is not complete")))
    }
}

/// The file is written out while it is written to: the guest stands still until all of it is.
async fn save_running(domid: u32, path: &Utf8Path, report: &dyn Report) -> Result<()> {
    let mut save = std::pin::pin!(xl::save(domid, path, report));
    loop {
        tokio::select! {
            saved = &mut save => return saved,
            () = tokio::time::sleep(WRITE_OUT) => {
                let path = path.to_owned();
                // What is not written out now is later.
                let _ = blocking(move || Ok(File::open(&path).and_then(|f| f.sync_data()))).await;
            }
        }
    }
}

/// What xl cannot say better.
async fn why(guests: &Guests, instance: Instance, error: Error) -> Error {
    match guests.locate(instance).await {
        Ok(Some(listed)) if listed.never_ran => Error::invalid(
            "the guest has not run since it was started or restored: it cannot take part in saving its memory",
        ),
        Ok(None) => Error::invalid("domain is not running"),
        _ => error,
    }
}

async fn save_paused(domid: u32, path: &Utf8Path, report: &dyn Report) -> Result<()> {
    let mut save = std::pin::pin!(xl::save(domid, path, report));
    let release = async {
        // If it is never asked the save says why.
        asked(domid).await;
        unpause(domid).await
    };
    tokio::select! {
        saved = &mut save => saved,
        released = release => {
            released?;
            save.await
        }
    }
}

/// Whether the file holds a whole save.
pub(super) async fn is_complete(path: &Utf8Path) -> Result<bool> {
    let path = path.to_owned();
    blocking(move || Ok(File::open(&path).is_ok_and(|f| save_file::is_complete(&f)))).await
}

async fn must_be_there(guests: &Guests, instance: Instance) -> Result<Listed> {
    guests.locate(instance).await?.ok_or_else(|| Error::invalid("domain is not running"))
}

/// Let it run: an unpause for each pause.
pub(super) async fn unpause(domid: u32) -> Result<()> {
    for _ in 0..PAUSES {
        xl::unpause(domid).await?;
        let listed = xl::list().await?.into_iter().find(|l| l.domid == domid);
        if listed.is_none_or(|l| !l.paused) {
            return Ok(());
        }
    }
    Err(Error::failed(format!("domain {domid} stays paused")))
}

/// Whatever became of a save: the guest runs again, or is paused as it was. Fine if it is gone.
pub(super) async fn undo(
    guests: &Arc<Guests>,
    instance: Instance,
    was_running: bool,
    scratch: &Utf8Path,
) -> Result<()> {
    let _busy = guests.busy(instance);
    let Some(mut guest) = guests.locate(instance).await? else { return Ok(()) };
    if guest.stopped == Some(Reason::Suspend) {
        repair(guest.domid, scratch).await?;
        guest = must_be_there(guests, instance).await?;
    } else if xenstore::read(&request(guest.domid)).await.as_deref() == Some("suspend") {
        // Asked, but not yet answered: it would suspend itself as soon as it runs.
        xenstore::write(&request(guest.domid), "").await?;
    }
    match (guest.paused, was_running) {
        (true, true) => unpause(guest.domid).await?,
        (false, false) => xl::pause(guest.domid).await?,
        _ => {}
    }
    guests.change(instance, |g| {
        g.paused = !was_running;
        g.our_pause = false;
    });
    Ok(())
}

/// Where a guest is asked to suspend itself.
fn request(domid: u32) -> String {
    format!("/local/domain/{domid}/control/shutdown")
}

/// A guest whose `xl save` was killed is suspended and nobody resumes it: another save does. That one asks the guest
/// again, which cannot answer; the answer is given for it, or it would be waited for for a minute.
async fn repair(domid: u32, scratch: &Utf8Path) -> Result<()> {
    tracing::warn!(domid, "a save was cut short and left the guest suspended; another save lets it go on");
    std::fs::create_dir_all(scratch).map_err(|e| Error::system(format!("cannot create directory '{scratch}'"), &e))?;
    let file: Utf8PathBuf = scratch.join(format!("repair-{domid}"));
    let answer = async {
        asked(domid).await;
        xenstore::write(&request(domid), "").await
    };
    let (saved, answered) = tokio::join!(xl::save(domid, &file, &Unwatched), answer);
    let _ = std::fs::remove_file(&file);
    // It may well fail, and has resumed the guest all the same.
    if let Some(error) = saved.err().or(answered.err()) {
        tracing::debug!(%error, "the save that lets the guest go on");
    }
    Ok(())
}

/// Wait until the guest is asked to suspend itself, or nearly for ever.
async fn asked(domid: u32) {
    let poll = async {
        while xenstore::read(&request(domid)).await.as_deref() != Some("suspend") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let _ = tokio::time::timeout(ASKED, poll).await;
}

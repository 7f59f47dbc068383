//! What happens to domains without our asking.
//!
//! ```text
//!   xenstore-watch @introduceDomain @releaseDomain ─┐
//!   every few seconds ──────────────────────────────┴▶ xl list ▶ compared with what is known ▶ HostEvents
//! ```
//!
//! A pause changes nothing in xenstore, hence the clock. A guest that we started has no `xl` that waits for its end (it would
//! boot it with disks that are no longer its own): we reap it, or ask for its restart. Must not know: who listens.

use super::guests::{Guest, Guests, Phase, Starter, mark};
use super::xl::{self, Listed, Reason};
use super::{Hands, config, start};
use crate::error::Result;
use crate::host::{HostEvent, HostEventKind};
use crate::model::domain::{RunState, reason};
use crate::model::ids::{DomainId, Instance};
use std::collections::HashMap;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

/// How often the list is read when nothing is heard.
const CLOCK: Duration = Duration::from_secs(2);
/// How often a change of the run state must be seen: the list may be older than what we did.
const SEEN: u8 = 2;

/// How often a domain that has not run yet is looked at before it is believed to be meant so, and not under construction.
const BUILT: u8 = 3;

/// How often each domain that is not known was looked at.
type Strangers = HashMap<u32, u8>;

/// What a guest that has stopped by itself wants (`<on_poweroff>`, …).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Destroy,
    Restart,
    Preserve,
}

/// Tells xenstore's news, if the program is there.
struct Ear {
    lines: Lines<BufReader<ChildStdout>>,
    _program: Child,
}

impl Ear {
    fn open() -> Option<Self> {
        let mut program = Command::new("xenstore-watch")
            .args(["@introduceDomain", "@releaseDomain"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .ok()?;
        let lines = BufReader::new(program.stdout.take()?).lines();
        Some(Self { lines, _program: program })
    }
}

/// Tell from now on, until nobody listens.
pub(super) async fn run(hands: Hands) {
    let mut ear = Ear::open();
    let mut strangers = Strangers::new();
    loop {
        if hands.events.is_closed() {
            return;
        }
        hands.qdisks.leave_idle();
        match look(&hands, &mut strangers).await {
            Ok(()) => {}
            Err(error) => tracing::warn!(%error, "cannot see which domains run"),
        }
        let deaf = match &mut ear {
            Some(ear) => tokio::select! {
                line = ear.lines.next_line() => !matches!(line, Ok(Some(_))),
                () = tokio::time::sleep(CLOCK) => false,
            },
            None => {
                tokio::time::sleep(CLOCK).await;
                false
            }
        };
        if deaf {
            ear = None;
        }
    }
}

async fn look(hands: &Hands, strangers: &mut Strangers) -> Result<()> {
    let list = xl::list().await?;
    let known: Vec<(Instance, Guest)> = hands.guests.lock().iter().map(|(i, g)| (*i, g.clone())).collect();
    for (instance, guest) in known.iter().filter(|(_, g)| g.phase == Phase::Here) {
        match list.iter().find(|l| l.domid == guest.domid && l.uuid == guest.domain.0) {
            Some(listed) => seen(hands, *instance, guest, listed).await,
            None => gone(hands, *instance, guest),
        }
    }
    strangers.retain(|domid, _| list.iter().any(|l| l.domid == *domid));
    for listed in &list {
        if let Err(error) = maybe_found(hands, listed, strangers).await {
            tracing::debug!(domid = listed.domid, %error, "a domain that cannot be read yet");
        }
    }
    Ok(())
}

fn send(hands: &Hands, guest: &Guest, instance: Instance, kind: HostEventKind) {
    // Nobody listening means that the daemon is ending.
    let _ = hands.events.send(HostEvent { domain: guest.domain, instance, kind });
}

/// It is not in the list any more, and we did not end it. A new look: the list may be older than its start.
fn gone(hands: &Hands, instance: Instance, guest: &Guest) {
    let still = hands.guests.get(instance).is_some_and(|g| g.phase == Phase::Here && g.domid == guest.domid);
    if !still {
        return;
    }
    if guest.differs < SEEN {
        hands.guests.change(instance, |g| g.differs += 1);
        return;
    }
    hands.guests.forget(instance);
    send(hands, guest, instance, HostEventKind::Gone { clean: guest.stop_told });
}

async fn seen(hands: &Hands, instance: Instance, guest: &Guest, listed: &Listed) {
    if let Some(why) = listed.stopped.filter(|r| *r != Reason::Suspend) {
        if !guest.stop_told && !listed.dying {
            stopped(hands, instance, guest, listed, why).await;
        }
        return;
    }
    if listed.paused == guest.paused || guest.busy > 0 || listed.stopped.is_some() {
        hands.guests.change(instance, |g| g.differs = 0);
        return;
    }
    let mut told = false;
    hands.guests.change(instance, |g| {
        if g.busy == 0 {
            g.differs += 1;
            told = g.differs >= SEEN;
            if told {
                g.paused = listed.paused;
                g.our_pause = false;
                g.differs = 0;
            }
        }
    });
    if told {
        let kind = if listed.paused { HostEventKind::Paused { io_error: false } } else { HostEventKind::Resumed };
        send(hands, guest, instance, kind);
    }
}

/// The guest has stopped by itself.
async fn stopped(hands: &Hands, instance: Instance, guest: &Guest, listed: &Listed, why: Reason) {
    hands.guests.change(instance, |g| g.stop_told = why != Reason::Crash);
    if guest.starter == Starter::Others {
        // Its own xl reaps it or boots it again.
        return match why {
            Reason::Crash => {}
            _ => send(hands, guest, instance, HostEventKind::Shutdown { guest: true }),
        };
    }
    hands.guests.change(instance, |g| g.stop_told = true);
    let then = wishes(listed).await.unwrap_or([Then::Destroy, Then::Restart, Then::Destroy]);
    let (then, news) = match why {
        Reason::Reboot => (then[1], None),
        Reason::Crash => (then[2], Some(HostEventKind::Crashed)),
        _ => (then[0], Some(HostEventKind::Shutdown { guest: true })),
    };
    tracing::info!(domain = %listed.name, domid = listed.domid, ?why, ?then, "the guest has stopped");
    if let Some(news) = news {
        send(hands, guest, instance, news);
    }
    match then {
        Then::Restart => send(hands, guest, instance, HostEventKind::Restart),
        Then::Preserve => {}
        Then::Destroy => {
            if let Err(error) = xl::destroy(listed.domid).await {
                tracing::warn!(domid = listed.domid, %error, "cannot reap a domain");
            }
            // It was asked for by nobody but the guest: its end is told when it is gone.
            hands.guests.change(instance, |g| g.differs = SEEN);
        }
    }
}

/// What `xl list -l` says of the events that a domain can stop with.
async fn wishes(listed: &Listed) -> Result<[Then; 3]> {
    let details = xl::details(listed.domid).await?;
    let then = |key: &str, default: Then| match details["config"][key].as_str() {
        Some("destroy" | "coredump_destroy") => Then::Destroy,
        Some("restart" | "rename_restart" | "coredump_restart" | "soft_reset") => Then::Restart,
        Some("preserve") => Then::Preserve,
        _ => default,
    };
    Ok([then("on_poweroff", Then::Destroy), then("on_reboot", Then::Restart), then("on_crash", Then::Destroy)])
}

/// A domain that is not known: one that somebody else has started, unless it is one of ours on its way.
async fn maybe_found(hands: &Hands, listed: &Listed, strangers: &mut Strangers) -> Result<()> {
    let known = |guests: &Guests| {
        let map = guests.lock();
        map.values().any(|g| g.domid == listed.domid || (g.phase == Phase::Expected && g.domain.0 == listed.uuid))
    };
    if known(&hands.guests) || listed.dying || listed.stopped.is_some() {
        return Ok(());
    }
    let looks = strangers.entry(listed.domid).or_default();
    *looks += 1;
    if listed.paused && listed.never_ran && *looks < BUILT {
        return Ok(());
    }
    let details = xl::details(listed.domid).await?;
    let original = config_text(listed).await;
    let Some(running) = config::from_running(&details, original.as_deref())? else { return Ok(()) };
    if known(&hands.guests) {
        return Ok(());
    }
    let domain = DomainId(listed.uuid);
    let instance = match mark(listed.domid).await {
        // Whose domain was forgotten here.
        Some(mark) if hands.guests.is_own(&mark) => {
            hands.guests.here(domain, mark.instance, listed.domid, mark.starter).await?;
            mark.instance
        }
        // Another daemon on this host watches over it.
        Some(mark) => {
            hands.guests.anothers(domain, mark.instance, listed.domid)?;
            mark.instance
        }
        None => {
            let instance = Instance(uuid::Uuid::new_v4());
            hands.guests.here(domain, instance, listed.domid, Starter::Others).await?;
            instance
        }
    };
    hands.guests.change(instance, |g| g.paused = listed.paused);
    let run = if listed.paused {
        RunState::paused(reason::PAUSED_UNKNOWN)
    } else {
        RunState::running(reason::RUNNING_BOOTED)
    };
    let kind = HostEventKind::Found { xml: running.xml, run, runtime: start::runtime(listed.domid).await };
    let _ = hands.events.send(HostEvent { domain, instance, kind });
    Ok(())
}

/// The text of the configuration that a domain was started with, where its `xl` keeps it as the domain's user data (that of
/// Xen 4.17 does not).
async fn config_text(listed: &Listed) -> Option<String> {
    let path = format!("/var/lib/xen/userdata-d.{}.{}.xl", listed.domid, listed.uuid);
    let text = tokio::fs::read(&path).await.ok()?;
    Some(String::from_utf8_lossy(&text).into_owned())
}

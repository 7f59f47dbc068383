//! Memory to a file and back: QEMU's migration stream behind libvirt's save-image header.
//!
//! The target is always an open file handed over with `getfd` (QEMU 7.2 has no `file:`), so
//! permissions, position and fsync are ours. Migration capabilities stay set in a QEMU and spoil
//! what comes after (`snapshot-save` fails with an I/O error): each user sets what it needs, and
//! [`calm`] clears them.
//!
//! Must not know: disks, plans.

use super::job::{Job, Until};
use super::qmp::{Monitor, QmpError};
use crate::error::{Code, Error, Result};
use crate::host::images::blocking;
use crate::host::{Report, StepProgress, save_image};
use camino::Utf8Path;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

const LIVE: &str = "background-snapshot";
/// Capabilities that change what stream a plain `migrate` writes.
const SPOILERS: [&str; 5] = [LIVE, SWITCHOVER, "mapped-ram", "multifd", "events"];
/// QEMU stops the guest once little is left to copy, and waits to be told to go on.
const SWITCHOVER: &str = "pause-before-switchover";
/// So little that it takes about this long, in milliseconds.
const STANDSTILL_MS: u32 = 50;
/// A guest that writes faster than its memory is copied is stopped after this many passes over it, or once the file is
/// this many times its memory: neither the time nor the room is without an end.
const MAX_PASSES: u64 = 20;
const MAX_COPIES: u64 = 2;
/// The name under which QEMU keeps the file until `migrate` takes it.
const FD_NAME: &str = "virsnap-memory";

/// Whether a live save may end before its end. Before 8.1 QEMU leaves the guest's memory write
/// protected then, with nobody to lift the protection: guest and monitor hang at their next
/// write (measured with 7.2.22; "migration: stop tracking ram writes when cancelling background
/// migration"). `switchover-ack` came with the same release.
fn may_fail(monitor: &Monitor) -> bool {
    monitor.schema().has_migration_capability("switchover-ack")
}

/// Set aside the room that the whole stream may take, so that it cannot fail for want of space.
async fn set_aside(monitor: &Monitor, file: &File, start: u64) -> Result<bool, QmpError> {
    let memory = monitor.execute("query-memory-size-summary", json!({})).await?;
    let size = |key: &str| memory[key].as_u64().unwrap_or_default();
    let pages = size("base-memory").saturating_add(size("plugged-memory"));
    // Page headers, video memory, devices.
    let stream = pages.saturating_add(pages / 256).saturating_add(128 << 20);
    let Ok(file) = file.try_clone() else { return Ok(false) };
    let done = blocking(move || {
        let flags = rustix::fs::FallocateFlags::KEEP_SIZE;
        rustix::fs::fallocate(&file, flags, start, stream).map_err(|e| Error::system("fallocate", &e.into()))
    });
    Ok(done.await.inspect_err(|error| tracing::info!(%error, "no room for a live save that must not fail")).is_ok())
}

async fn set_capabilities(monitor: &Monitor, states: &[(&str, bool)]) -> Result<(), QmpError> {
    let states = states.iter().filter(|(name, _)| monitor.schema().has_migration_capability(name));
    let list: Vec<Value> = states.map(|(name, on)| json!({ "capability": name, "state": on })).collect();
    monitor.execute("migrate-set-capabilities", json!({ "capabilities": list })).await.map(drop)
}

/// Whether a live save that must not fail goes on at this moment.
pub(super) async fn must_not_fail_now(monitor: &Monitor) -> Result<bool, QmpError> {
    Ok(!may_fail(monitor) && is_live(monitor).await? && !Migration::read(monitor).await?.is_over())
}

async fn is_live(monitor: &Monitor) -> Result<bool, QmpError> {
    let states = monitor.execute("query-migrate-capabilities", json!({})).await?;
    let states = states.as_array().map(Vec::as_slice).unwrap_or_default();
    Ok(states.iter().any(|s| s["capability"] == LIVE && s["state"] == true))
}

async fn set_live(monitor: &Monitor) -> Result<bool, QmpError> {
    if !monitor.schema().has_migration_capability(LIVE) {
        return Ok(false);
    }
    match set_capabilities(monitor, &[(LIVE, true)]).await {
        Ok(()) => Ok(true),
        Err(QmpError::Refused { desc, .. }) => {
            tracing::info!(reason = desc, "QEMU cannot save memory while the guest runs");
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// No capability set and no migration at work: the state in which snapshots can be taken.
pub(super) async fn calm(monitor: &Monitor) -> Result<(), QmpError> {
    idle(monitor).await?;
    set_capabilities(monitor, &SPOILERS.map(|name| (name, false))).await
}

/// How a migration stands.
struct Migration(Value);

impl Migration {
    async fn read(monitor: &Monitor) -> Result<Self, QmpError> {
        monitor.execute("query-migrate", json!({})).await.map(Self)
    }
    fn status(&self) -> &str {
        self.0["status"].as_str().unwrap_or("none")
    }
    fn is_over(&self) -> bool {
        matches!(self.status(), "none" | "completed" | "failed" | "cancelled")
    }
    fn pages(&self) -> u64 {
        let count = |key: &str| self.0["ram"][key].as_u64().unwrap_or_default();
        count("normal") + count("duplicate")
    }
    /// Whether copying further while the guest runs leads nowhere.
    fn is_enough(&self) -> bool {
        let count = |key: &str| self.0["ram"][key].as_u64().unwrap_or_default();
        count("dirty-sync-count") > MAX_PASSES || count("transferred") > count("total").saturating_mul(MAX_COPIES)
    }
    fn progress(&self) -> StepProgress {
        let total = self.0["ram"]["total"].as_u64().unwrap_or_default();
        let done = self.pages().saturating_mul(self.0["ram"]["page-size"].as_u64().unwrap_or(4096));
        StepProgress { done: done.min(total), total }
    }
    fn error(&self) -> Error {
        let desc = self.0["error-desc"].as_str().unwrap_or(self.status());
        Error::failed(format!("migration job: failed: {desc}"))
    }
}

/// Wait until QEMU has put away its last migration. A new one that comes between the status
/// `completed` and that moment fails ("duplicate yank instance") and is never heard of again
/// (measured with 10.0.2).
async fn idle(monitor: &Monitor) -> Result<(), QmpError> {
    if !monitor.schema().has_command("query-yank") {
        return Ok(());
    }
    let clear = async {
        loop {
            let at_work = monitor.execute("query-yank", json!({})).await?;
            let at_work = at_work.as_array().is_some_and(|list| list.iter().any(|i| i["type"] == "migration"));
            if !at_work {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), clear).await.unwrap_or(Err(QmpError::Timeout))
}

/// A way to save.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// While the guest runs on; the stream is of the instant when it began.
    Live,
    /// While the guest runs on, but for the last of it.
    Ahead,
    /// While the guest stands still.
    Still,
}

/// The ways to save the memory of a guest that runs, the best first.
pub(super) const RUNNING: [Way; 2] = [Way::Live, Way::Ahead];

/// Everything that can be made ready while the guest still runs, for the first of these ways that is possible here.
pub(super) async fn prepare(
    monitor: &Monitor,
    path: &Utf8Path,
    header: &str,
    running: bool,
    ways: &[Way],
) -> Result<Way> {
    calm(monitor).await?;
    let (path, xml) = (path.to_owned(), header.to_owned());
    let (file, start) = blocking(move || {
        let fail = |e: std::io::Error| Error::system(format!("unable to write to '{path}'"), &e);
        let mut file = File::options().write(true).open(&path).map_err(fail)?;
        let start = save_image::begin(&file, &xml, running).map_err(fail)?;
        file.seek(SeekFrom::Start(start)).map_err(fail)?;
        Ok((file, start))
    })
    .await?;
    // 0: no limit (measured with 7.2 and 10.0).
    monitor.execute("migrate-set-parameters", json!({ "max-bandwidth": 0 })).await?;
    let mut chosen = Way::Still;
    for way in ways {
        let possible = match way {
            Way::Live => (may_fail(monitor) || set_aside(monitor, &file, start).await?) && set_live(monitor).await?,
            Way::Ahead => set_ahead(monitor).await.map(|()| true)?,
            Way::Still => true,
        };
        if possible {
            chosen = *way;
            break;
        }
    }
    monitor.send_fd(FD_NAME, file.as_fd()).await?;
    Ok(chosen)
}

async fn set_ahead(monitor: &Monitor) -> Result<(), QmpError> {
    set_capabilities(monitor, &[(SWITCHOVER, true)]).await?;
    monitor.execute("migrate-set-parameters", json!({ "downtime-limit": STANDSTILL_MS })).await.map(drop)
}

/// Copy while the guest runs, until little is left, and wait until the guest stands still: the instant of which the
/// stream will be. [`go_on`] writes the rest. Returns when the guest was stopped.
pub(super) async fn ahead(monitor: &Monitor, report: &dyn Report) -> Result<Instant> {
    let mut events = monitor.subscribe();
    begin(monitor, Way::Ahead).await?;
    let mut stopped = None;
    loop {
        let now = Migration::read(monitor).await?;
        report.progress(now.progress());
        match now.status() {
            "pre-switchover" => return Ok(stopped.unwrap_or_else(Instant::now)),
            _ if now.is_over() => return Err(now.error()),
            "active" if stopped.is_none() && now.is_enough() => {
                stopped = Some(Instant::now());
                monitor.execute("stop", json!({})).await?;
            }
            _ => {}
        }
        let nap = tokio::time::sleep(Duration::from_millis(if stopped.is_some() { 1 } else { 20 }));
        tokio::pin!(nap);
        tokio::select! {
            () = &mut nap => {}
            event = events.recv() => {
                if event.is_ok_and(|e| e.name == "STOP") {
                    stopped.get_or_insert_with(Instant::now);
                }
            }
            () = monitor.gone() => return Err(QmpError::Gone.into()),
        }
    }
}

/// Write the rest of what was copied [`ahead`].
pub(super) async fn go_on(monitor: &Monitor, report: &dyn Report) -> Result<()> {
    monitor.execute("migrate-continue", json!({ "state": "pre-switchover" })).await?;
    finish(monitor, report).await
}

/// Begin to write what [`prepare`] made ready. For [`Way::Live`] it returns as soon as writes
/// are tracked, so that the guest may go on.
pub(super) async fn begin(monitor: &Monitor, way: Way) -> Result<()> {
    monitor.execute("migrate", json!({ "uri": format!("fd:{FD_NAME}") })).await?;
    if way != Way::Live {
        return Ok(());
    }
    let mut asked = 0u32;
    loop {
        let now = Migration::read(monitor).await?;
        match now.status() {
            "completed" => return Ok(()),
            // The first page is written after tracking was switched on.
            "active" if now.pages() > 0 => return Ok(()),
            _ if now.is_over() => return Err(now.error()),
            _ => asked += 1,
        }
        if asked > 50 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// Wait until all is written.
pub(super) async fn finish(monitor: &Monitor, report: &dyn Report) -> Result<()> {
    let mut nap = Duration::from_millis(1);
    loop {
        let now = Migration::read(monitor).await?;
        report.progress(now.progress());
        if now.status() == "completed" {
            calm(monitor).await?;
            return Ok(());
        }
        if now.is_over() {
            calm(monitor).await?;
            return Err(now.error());
        }
        tokio::select! {
            () = tokio::time::sleep(nap) => {}
            () = report.cancelled() => return Err(Error::new(Code::OperationAborted, "the save of the memory was cancelled")),
            () = monitor.gone() => return Err(QmpError::Gone.into()),
        }
        // A guest may stand still meanwhile: never much longer than it has taken already.
        nap = (nap * 5 / 4).min(Duration::from_millis(200));
    }
}

/// Declare the file complete and durable.
pub(super) async fn seal(path: &Utf8Path) -> Result<()> {
    let path = path.to_owned();
    blocking(move || save_image::complete(&path)).await
}

/// End a save, in whatever state it is; one that must not fail goes on to its end. When this
/// returns, none runs.
pub(super) async fn cancel(monitor: &Monitor) -> Result<(), QmpError> {
    let may_cancel = may_fail(monitor) || !is_live(monitor).await?;
    loop {
        let now = Migration::read(monitor).await?;
        if now.is_over() {
            break;
        }
        if may_cancel && now.status() != "cancelling" {
            monitor.execute("migrate_cancel", json!({})).await?;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    calm(monitor).await?;
    // Not there if `migrate` has taken it.
    match monitor.execute("closefd", json!({ "fdname": FD_NAME })).await {
        Ok(_) | Err(QmpError::Refused { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Load memory from a save image into a QEMU that was started with `-S -incoming defer`.
pub(super) async fn load_file(monitor: &Monitor, path: &Utf8Path, report: &dyn Report) -> Result<()> {
    let at = path.to_owned();
    let file = blocking(move || {
        let header = save_image::read_header(&at)?;
        let fail = |e: std::io::Error| Error::system(format!("Failed to open file '{at}'"), &e);
        let mut file = File::open(&at).map_err(fail)?;
        file.seek(SeekFrom::Start(header.data_offset)).map_err(fail)?;
        Ok(file)
    })
    .await?;
    monitor.send_fd(FD_NAME, file.as_fd()).await?;
    monitor.execute("migrate-incoming", json!({ "uri": format!("fd:{FD_NAME}") })).await?;
    finish(monitor, report).await.map_err(|e| e.context(format!("cannot load memory from '{path}'")))
}

/// Load memory and disks from the tag, in every active image that has it. QEMU matches an ID
/// before a name when it goes back to a disk's tag, so a name that is another tag's ID is refused.
pub(super) async fn load_tag(monitor: &Monitor, tag: &str, report: &dyn Report) -> Result<()> {
    let named = monitor.execute("query-named-block-nodes", json!({ "flat": true })).await?;
    let graph = super::block::Graph::read(monitor).await?;
    let (mut devices, mut vmstate) = (Vec::new(), None);
    for node in named.as_array().map(Vec::as_slice).unwrap_or_default() {
        let Some(name) = node["node-name"].as_str().filter(|n| graph.is_active(n)) else { continue };
        let tags = node["image"]["snapshots"].as_array().map(Vec::as_slice).unwrap_or_default();
        let ours: Vec<_> = tags.iter().filter(|t| t["name"] == tag).collect();
        let [one] = ours[..] else {
            if ours.is_empty() {
                continue;
            }
            return Err(Error::invalid(format!("several internal snapshots are named '{tag}'")));
        };
        if tags.iter().any(|t| t["id"] == tag && t["id"] != one["id"]) {
            return Err(Error::invalid(format!("'{tag}' is also the ID of another internal snapshot")));
        }
        if one["vm-state-size"].as_u64().is_some_and(|size| size > 0) {
            vmstate = Some(name.to_owned());
        }
        devices.push(name.to_owned());
    }
    let Some(vmstate) = vmstate else {
        return Err(Error::invalid(format!("no image has an internal snapshot '{tag}' with memory")));
    };
    let job = Job { monitor, id: "virsnap-load", kind: "snapshot-load" };
    job.clear().await?;
    let arguments = json!({ "job-id": job.id, "tag": tag, "vmstate": vmstate, "devices": devices });
    monitor.execute("snapshot-load", arguments).await?;
    job.wait(Until::Concluded, report).await
}

//! The QEMU that serves a domain's disks: its monitor, proved to be that domain's.
//!
//! It is left again some seconds after its last use: it answers one client at a time, and others may want to ask it. (`xl`
//! itself needs it only while it starts the domain.) Must not know: what is done through it.

use super::guests::Guests;
use super::xenstore;
use crate::error::{Error, Result};
use crate::host::qemu::process::{RunningDisk, RunningQemu};
use crate::host::qemu::qmp::Monitor;
use crate::model::ids::{DiskTarget, DomainId, Instance};
use camino::{Utf8Path, Utf8PathBuf};
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long another client may hold the monitor.
const GREETING: Duration = Duration::from_secs(10);

/// Where libxl puts the sockets, in a directory that only root can enter.
fn socket(domid: u32) -> Utf8PathBuf {
    format!("/var/run/xen/qmp-libxl-{domid}").into()
}

/// The process that serves the disks; `None` for a domain that needs none.
pub(super) async fn pid(domid: u32) -> Option<u32> {
    xenstore::read(&format!("/local/domain/{domid}/image/device-model-pid")).await?.parse().ok()
}

/// How long it is held after its last use.
const IDLE: Duration = Duration::from_secs(5);

/// The monitors that are in use.
#[derive(Debug, Default)]
pub(super) struct Qdisks(Mutex<HashMap<Instance, (Arc<RunningQemu>, Instant)>>);

impl Qdisks {
    fn lock(&self) -> MutexGuard<'_, HashMap<Instance, (Arc<RunningQemu>, Instant)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leave those that nobody has used for a while, and those that are gone.
    pub(super) fn leave_idle(&self) {
        self.lock().retain(|_, (qemu, used)| {
            !qemu.monitor.is_gone() && (Arc::strong_count(qemu) > 1 || used.elapsed() < IDLE)
        });
    }

    /// The QEMU of that start, if the domain is there and has one that answers.
    pub(super) async fn of(&self, guests: &Guests, instance: Instance) -> Option<Arc<RunningQemu>> {
        let guest = guests.get(instance)?;
        if let Some((qemu, used)) = self.lock().get_mut(&instance).filter(|(q, _)| !q.monitor.is_gone()) {
            *used = Instant::now();
            return Some(Arc::clone(qemu));
        }
        match connect(guest.domain, instance, guest.domid).await {
            Ok(qemu) => {
                let qemu = Arc::new(qemu);
                self.lock().insert(instance, (Arc::clone(&qemu), Instant::now()));
                Some(qemu)
            }
            Err(error) => {
                tracing::debug!(domid = guest.domid, %error, "no qdisk");
                None
            }
        }
    }
}

async fn connect(domain: DomainId, instance: Instance, domid: u32) -> Result<RunningQemu> {
    let path = socket(domid);
    let pid = pid(domid).await.ok_or_else(|| Error::internal(format!("domain {domid} has no qdisk")))?;
    if !serves(pid, domid, &path) {
        return Err(Error::internal(format!("'{path}' is not the monitor of process {pid}, domain {domid}'s qdisk")));
    }
    let monitor = Monitor::connect(&path, GREETING).await?;
    let disks = disks(&monitor).await?;
    Ok(RunningQemu::of_disks(domain, instance, monitor, pid, disks))
}

/// Whether the process is a QEMU for that domain and has the socket open. (The socket's own credentials are those of `xl`,
/// which made it.)
fn serves(pid: u32, domid: u32, path: &Utf8Path) -> bool {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words: Vec<&[u8]> = line.split(|b| *b == 0).collect();
    let domid = domid.to_string();
    let for_domain = words.windows(2).any(|w| w[0] == b"-xen-domid" && w[1] == domid.as_bytes());
    let sockets = std::fs::read_to_string("/proc/net/unix").unwrap_or_default();
    let inode = sockets.lines().find_map(|l| {
        let fields: Vec<&str> = l.split_whitespace().collect();
        // Num RefCount Protocol Flags Type St Inode Path; flag 0x10000: it listens.
        (fields.get(7) == Some(&path.as_str()) && fields[3] == "00010000").then(|| format!("socket:[{}]", fields[6]))
    });
    let Ok(fds) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    for_domain
        && fds
            .flatten()
            .any(|fd| std::fs::read_link(fd.path()).ok().as_deref().and_then(|l| l.to_str()) == inode.as_deref())
}

/// The disks and the paths of their devices, by which the block graph knows them.
async fn disks(monitor: &Monitor) -> Result<Vec<RunningDisk>> {
    let mut out = Vec::new();
    for entry in monitor.execute("query-block", json!({})).await?.as_array().into_iter().flatten() {
        let Some(qdev) = entry["qdev"].as_str() else { continue };
        let vdev = monitor.execute("qom-get", json!({ "path": qdev, "property": "vdev" })).await;
        let target = vdev.ok().as_ref().and_then(Value::as_str).unwrap_or_default().to_owned();
        let device = qdev.rsplit('/').next().unwrap_or_default().to_owned();
        out.push(RunningDisk { target: DiskTarget(target), device, options: Map::new() });
    }
    Ok(out)
}

/// The images that are attached, top layers first in each disk.
pub(super) async fn attached(qemu: &RunningQemu) -> Result<Vec<Utf8PathBuf>> {
    let blocks = qemu.monitor.execute("query-block", json!({})).await?;
    let file = |entry: &Value| entry["inserted"]["file"].as_str().map(Utf8PathBuf::from);
    Ok(blocks.as_array().into_iter().flatten().filter_map(file).collect())
}

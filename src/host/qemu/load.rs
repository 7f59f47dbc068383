//! Between QMP's greeting and the end of a start: the guest's memory, and what a command line
//! cannot or must not say.
//!
//! Must not know: plans, processes.

use super::chains::node_name;
use super::hardware::Hardware;
use super::process::RunningQemu;
use crate::error::{Error, Result};
use crate::host::{images, save_image};
use crate::plan::facts::Facts;
use crate::plan::steps::MemorySource;
use camino::Utf8Path;
use serde_json::json;
use std::io::{Seek, SeekFrom};
use std::os::fd::AsFd;
use std::time::Duration;

/// The name of the memory file's descriptor within QEMU.
const DESCRIPTOR: &str = "virsnap-memory";
/// The job that loads a tag.
const JOB: &str = "virsnap-load";

/// Make the QEMU ready to run.
pub(super) async fn load(qemu: &RunningQemu, memory: &MemorySource, hw: &Hardware, facts: &Facts) -> Result<()> {
    if let Some(password) = hw.vnc.as_ref().and_then(|v| v.password.as_deref()) {
        let arguments = json!({ "protocol": "vnc", "password": password });
        qemu.monitor.execute("set_password", arguments).await?;
    }
    match memory {
        MemorySource::Boot => {
            if let Some(kib) = hw.current_memory.filter(|_| hw.balloon.is_some()) {
                qemu.monitor.execute("balloon", json!({ "value": kib * 1024 })).await?;
            }
        }
        MemorySource::File(path) => file(qemu, path).await?,
        MemorySource::Tag(tag) => self::tag(qemu, tag, hw, facts).await?,
    }
    if let Some(seconds) = hw.balloon.as_ref().and_then(|b| b.period) {
        let path = "/machine/peripheral/balloon0";
        let arguments = json!({ "path": path, "property": "guest-stats-polling-interval", "value": seconds });
        qemu.monitor.execute("qom-set", arguments).await?;
    }
    Ok(())
}

/// Pauses between two polls: short at first, since most loads take milliseconds.
struct Backoff(Duration);

impl Backoff {
    async fn wait(&mut self) {
        tokio::time::sleep(self.0).await;
        self.0 = (self.0 * 2).min(Duration::from_millis(50));
    }
}

/// libvirt's save image: the stream behind its header.
async fn file(qemu: &RunningQemu, path: &Utf8Path) -> Result<()> {
    let path = path.to_owned();
    let stream = images::blocking(move || {
        let header = save_image::read_header(&path)?;
        let failed = |e: std::io::Error| Error::system(format!("Failed to open file '{path}'"), &e);
        let mut stream = std::fs::File::open(&path).map_err(failed)?;
        stream.seek(SeekFrom::Start(header.data_offset)).map_err(failed)?;
        Ok(stream)
    });
    let stream = stream.await?;
    qemu.monitor.send_fd(DESCRIPTOR, stream.as_fd()).await?;
    drop(stream);
    qemu.monitor.execute("migrate-incoming", json!({ "uri": format!("fd:{DESCRIPTOR}") })).await?;
    let mut backoff = Backoff(Duration::from_millis(1));
    loop {
        let state = qemu.monitor.execute("query-migrate", json!({})).await?;
        match state["status"].as_str() {
            Some("completed") => return Ok(()),
            Some("failed" | "cancelled") => {
                let why = state["error-desc"].as_str().unwrap_or("the stream does not fit this guest");
                return Err(Error::failed(format!("job 'restore' failed: {why}")));
            }
            _ => backoff.wait().await,
        }
    }
}

/// An internal snapshot with memory: one image has the memory, all that have the tag go back.
async fn tag(qemu: &RunningQemu, tag: &str, hw: &Hardware, facts: &Facts) -> Result<()> {
    let mut devices = Vec::new();
    let mut vmstate = None;
    for disk in hw.disks.iter().filter(|d| !d.read_only) {
        let header = disk.image.as_ref().and_then(|image| facts.header(&image.path));
        let Some(found) = header.and_then(|h| h.tags.iter().find(|t| t.name == tag)) else { continue };
        let node = node_name(&disk.target, 0);
        if found.vmstate {
            vmstate.get_or_insert_with(|| node.clone());
        }
        devices.push(node);
    }
    let Some(vmstate) = vmstate else {
        return Err(Error::failed(format!("no disk has the memory of the internal snapshot '{tag}'")));
    };
    let arguments = json!({ "job-id": JOB, "tag": tag, "vmstate": vmstate, "devices": devices });
    qemu.monitor.execute("snapshot-load", arguments).await?;
    let mut backoff = Backoff(Duration::from_millis(1));
    let error = loop {
        let jobs = qemu.monitor.execute("query-jobs", json!({})).await?;
        let job = jobs.as_array().and_then(|jobs| jobs.iter().find(|j| j["id"] == JOB));
        let Some(job) = job else { return Err(Error::internal("QEMU has forgotten its job")) };
        if job["status"] == "concluded" {
            break job["error"].as_str().map(str::to_owned);
        }
        backoff.wait().await;
    };
    qemu.monitor.execute("job-dismiss", json!({ "id": JOB })).await?;
    match error {
        None => Ok(()),
        Some(why) => Err(Error::failed(format!("Failed to load snapshot: {why}"))),
    }
}

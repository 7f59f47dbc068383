//! Between QMP's greeting and the end of a start: the guest's memory, and what a command line
//! cannot or must not say.
//!
//! Must not know: plans, processes.

use super::hardware::Hardware;
use super::memory;
use super::process::RunningQemu;
use crate::error::Result;
use crate::host::Report;
use crate::plan::steps::MemorySource;
use serde_json::json;

/// Make the QEMU ready to run.
pub(super) async fn load(qemu: &RunningQemu, source: &MemorySource, hw: &Hardware, report: &dyn Report) -> Result<()> {
    if let Some(password) = hw.vnc.as_ref().and_then(|v| v.password.as_deref()) {
        let arguments = json!({ "protocol": "vnc", "password": password });
        qemu.monitor.execute("set_password", arguments).await?;
    }
    for (n, interface) in hw.interfaces.iter().enumerate().filter(|(_, i)| !i.link_up) {
        tracing::debug!(mac = interface.mac, "its cable is not plugged in");
        qemu.monitor.execute("set_link", json!({ "name": format!("net{n}"), "up": false })).await?;
    }
    match source {
        MemorySource::Boot => {
            if let Some(kib) = hw.current_memory.filter(|_| hw.balloon.is_some()) {
                qemu.monitor.execute("balloon", json!({ "value": kib * 1024 })).await?;
            }
        }
        MemorySource::File(path) => memory::load_file(&qemu.monitor, path, report).await?,
        MemorySource::Tag(tag) => memory::load_tag(&qemu.monitor, tag, report).await?,
    }
    if let Some(seconds) = hw.balloon.as_ref().and_then(|b| b.period) {
        let path = "/machine/peripheral/balloon0";
        let arguments = json!({ "path": path, "property": "guest-stats-polling-interval", "value": seconds });
        qemu.monitor.execute("qom-set", arguments).await?;
    }
    Ok(())
}

//! Stopping and resuming the CPUs, as our own doing and not as an event.
//!
//! Must not know: why.

use super::process::RunningQemu;
use super::qmp::QmpError;
use serde_json::json;

/// QEMU's `RunState`.
pub(super) async fn status(qemu: &RunningQemu) -> Result<String, QmpError> {
    let status = qemu.monitor.execute("query-status", json!({})).await?;
    Ok(status["status"].as_str().unwrap_or_default().to_owned())
}

/// Stop the CPUs of a guest that runs.
pub(super) async fn stop(qemu: &RunningQemu) -> Result<(), QmpError> {
    let _own = qemu.own_pause();
    qemu.monitor.execute("stop", json!({})).await.map(drop)
}

/// Let a guest run that was stopped, by us or for a save. One that was stopped by an I/O error,
/// has panicked or has shut down stays so.
pub(super) async fn resume(qemu: &RunningQemu) -> Result<(), QmpError> {
    let standing = ["paused", "prelaunch", "postmigrate", "save-vm", "restore-vm", "finish-migrate"];
    if standing.contains(&status(qemu).await?.as_str()) {
        let _own = qemu.own_pause();
        qemu.monitor.execute("cont", json!({})).await?;
    }
    Ok(())
}

/// After a save of a guest that stood still, QEMU has given up its images and refuses another
/// save until the guest runs; writing to such an image (a tag, a merge) would even end it in an
/// assertion. There is no way out but to run: so it does, for the microseconds between two
/// commands that are sent together.
pub(super) async fn wake(qemu: &RunningQemu) -> Result<(), QmpError> {
    if status(qemu).await? == "postmigrate" {
        let _own = qemu.own_pause();
        let (cont, stop) = tokio::join!(
            biased;
            qemu.monitor.execute("cont", json!({})),
            qemu.monitor.execute("stop", json!({})),
        );
        cont.and(stop)?;
    }
    Ok(())
}

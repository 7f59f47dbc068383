//! The TPM's emulator: one swtpm per running guest, ended by the end of its QEMU's connection.
//!
//! Its state has no endorsement certificate: that would need a certificate authority of this host (`swtpm_setup`).
//!
//! Must not know: what QEMU does with it.

use super::argv::TPM_SOCKET;
use super::instance::InstanceDir;
use crate::error::{Error, Result};
use crate::host::images::files;
use crate::model::ids::DomainId;
use camino::{Utf8Path, Utf8PathBuf};
use std::fs::File;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// The file by which swtpm keeps a second one away.
pub(super) const LOCK: &str = ".lock";
/// How long it may take until it listens, and until an old one has left.
const PATIENCE: Duration = Duration::from_secs(15);
const TICK: Duration = Duration::from_millis(20);

/// Where a domain's TPM has its state.
pub(super) fn directory(state_dir: &Utf8Path, domain: DomainId) -> Utf8PathBuf {
    state_dir.join("tpm").join(domain.to_string())
}

/// Wait until no swtpm has the state.
pub(super) async fn released(state: &Utf8Path) -> Result<()> {
    let lock = state.join(LOCK);
    let begun = Instant::now();
    while let Some(user) = files::user_of(&lock, None) {
        if begun.elapsed() > PATIENCE {
            return Err(Error::invalid(format!("TPM state '{state}' is in use by {user}")));
        }
        tokio::time::sleep(TICK).await;
    }
    Ok(())
}

/// Start one that listens in the instance's directory. It ends with the connection that it is given, or when the returned
/// guard is dropped before.
pub(super) async fn start(dir: &InstanceDir, state: &Utf8Path) -> Result<Starting> {
    super::side::make_directory(state)?;
    released(state).await?;
    let socket = dir.path.join(TPM_SOCKET);
    if [state, &socket].iter().any(|p| p.as_str().contains(',')) {
        return Err(Error::config(format!("swtpm takes no comma in a path: '{state}'")));
    }
    let log_path = dir.path.join("swtpm.log");
    let failed = |e: std::io::Error| Error::system(format!("failed to create logfile {log_path}"), &e);
    let log = File::create(&log_path).map_err(failed)?;
    let log_too = log.try_clone().map_err(failed)?;
    let mut command = super::launch::detached("virsnap TPM");
    command
        .args(["swtpm", "socket", "--tpm2", "--terminate", "--tpmstate"])
        .arg(format!("dir={state},mode=0600"))
        .arg("--ctrl")
        .arg(format!("type=unixio,path={socket},mode=0600"))
        .current_dir("/")
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(log_too)
        // Not even when the daemon ends.
        .kill_on_drop(false);
    let child = command.spawn().map_err(|e| Error::system("Unable to find 'swtpm' binary in $PATH", &e))?;
    let mut starting = Starting(Some(child));
    let begun = Instant::now();
    loop {
        // It binds the socket under its name at once.
        if socket.exists() {
            return Ok(starting);
        }
        if let Some(Ok(Some(status))) = starting.0.as_mut().map(tokio::process::Child::try_wait) {
            let said = std::fs::read_to_string(&log_path).unwrap_or_default();
            return Err(Error::internal(format!("Could not start 'swtpm': {status}: {}", said.trim())));
        }
        if begun.elapsed() > PATIENCE {
            return Err(Error::internal("Could not start 'swtpm': it does not listen"));
        }
        tokio::time::sleep(TICK).await;
    }
}

/// A swtpm that nobody is connected to yet: dropped, it is killed.
#[must_use]
pub(super) struct Starting(Option<tokio::process::Child>);

impl Starting {
    /// QEMU is connected: from here on it ends with that.
    pub(super) fn connected(mut self) {
        if let Some(mut child) = self.0.take() {
            // Whoever starts a child buries it.
            tokio::spawn(async move { child.wait().await });
        }
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            // An error says that it has ended already.
            let _ = child.start_kill();
            tokio::spawn(async move { child.wait().await });
        }
    }
}

//! The runtime directory of one start of a guest, and what is remembered there for another life
//! of the daemon.
//!
//! ```text
//!   RUNTIME/<domain>/<instance>/     0700, QEMU's working directory
//!       qmp.sock                     bound by us, QEMU listens on it
//!       qemu.log                     stdout and stderr
//!       info.json                    written once QEMU was started
//!       channel0.sock …              sockets that the definition leaves to us
//!       thaw                         there while the guest may be frozen by us
//! ```
//!
//! Must not know: QMP.

use super::agent::AgentPort;
use super::pidfd::Process;
use super::process::RunningDisk;
use crate::error::{Error, Result};
use crate::model::ids::{DomainId, Instance};
use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixListener;

/// What is known of a QEMU that was started.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Info {
    pub(crate) domain: DomainId,
    pub(crate) instance: Instance,
    pub(crate) name: String,
    pub(crate) pid: u32,
    pub(crate) start_time: u64,
    pub(crate) disks: Vec<RunningDisk>,
    /// The channel of the guest's agent.
    #[serde(default)]
    pub(crate) agent: Option<AgentPort>,
    /// The chardevs that are terminals, in the definition's order.
    pub(crate) ttys: Vec<String>,
    pub(crate) vnc: bool,
    /// What to do when the guest powers off or panics, where QEMU waits for us.
    pub(crate) restart_on_poweroff: bool,
    pub(crate) restart_on_crash: bool,
}

/// The directory of one start.
#[derive(Debug, Clone)]
pub(crate) struct InstanceDir {
    pub(crate) path: Utf8PathBuf,
}

/// A socket's path that the kernel takes, however deep the directory is. The directory is held
/// open as long as the path is needed.
pub(crate) struct SocketPath {
    pub(crate) path: Utf8PathBuf,
    _directory: File,
}

impl InstanceDir {
    pub(crate) fn of(runtime: &Utf8Path, domain: DomainId, instance: Instance) -> Self {
        Self { path: runtime.join(domain.to_string()).join(instance.to_string()) }
    }
    /// The directory of that start, whosever it is.
    pub(crate) fn find(runtime: &Utf8Path, instance: Instance) -> Option<Self> {
        let name = instance.to_string();
        let domains = runtime.read_dir_utf8().ok()?.flatten();
        domains.map(|d| d.path().join(&name)).find(|p| p.is_dir()).map(|path| Self { path })
    }

    /// Make it anew.
    pub(crate) fn create(&self) -> Result<()> {
        let failed = |e: &std::io::Error| Error::system(format!("cannot create directory '{}'", self.path), e);
        match fs::remove_dir_all(&self.path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(failed(&e)),
            _ => {}
        }
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.path).map_err(|e| failed(&e))
    }
    /// Remove it, and the domain's directory with the last one.
    pub(crate) fn remove(&self) {
        if let Err(error) = fs::remove_dir_all(&self.path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(%error, path = %self.path, "cannot remove a runtime directory");
        }
        if let Some(domain) = self.path.parent() {
            // Not empty while another start of the domain is there.
            let _ = fs::remove_dir(domain);
        }
    }

    pub(crate) fn log_path(&self) -> Utf8PathBuf {
        self.path.join("qemu.log")
    }
    /// The last lines that QEMU wrote, without time stamps.
    pub(crate) fn log_tail(&self) -> String {
        let bytes = fs::read(self.log_path()).unwrap_or_default();
        let tail = bytes.get(bytes.len().saturating_sub(4096)..).unwrap_or_default();
        let text = String::from_utf8_lossy(tail);
        let lines: Vec<&str> = text.lines().filter(|l| !l.trim().is_empty()).collect();
        lines.get(lines.len().saturating_sub(6)..).unwrap_or_default().join("\n")
    }

    /// QMP's socket.
    pub(crate) fn socket(&self) -> Result<SocketPath> {
        self.socket_named("qmp.sock")
    }
    /// A socket in it.
    pub(crate) fn socket_named(&self, name: &str) -> Result<SocketPath> {
        let failed = |e: &std::io::Error| Error::system(format!("cannot open directory '{}'", self.path), e);
        let directory = File::open(&self.path).map_err(|e| failed(&e))?;
        let plain = self.path.join(name);
        let path = if plain.as_str().len() > 107 {
            format!("/proc/self/fd/{}/{name}", directory.as_raw_fd()).into()
        } else {
            plain
        };
        Ok(SocketPath { path, _directory: directory })
    }
    /// Listen on the QMP socket on behalf of a QEMU to be started.
    pub(crate) fn listen(&self) -> Result<UnixListener> {
        let socket = self.socket()?;
        UnixListener::bind(&socket.path)
            .map_err(|e| Error::system(format!("Failed to bind socket to '{}'", self.path.join("qmp.sock")), &e))
    }

    pub(crate) fn write(&self, info: &Info) -> Result<()> {
        let failed = |e: std::io::Error| Error::system(format!("cannot write '{}/info.json'", self.path), &e);
        let text = serde_json::to_string(info).map_err(Error::internal)?;
        let temporary = self.path.join("info.json.new");
        fs::write(&temporary, text).map_err(failed)?;
        fs::rename(&temporary, self.path.join("info.json")).map_err(failed)
    }
    /// What was written; `None` if nothing was. What cannot be read is an error: a guest may run
    /// that another version of the daemon has written down.
    pub(crate) fn read(&self) -> Result<Option<Info>> {
        let path = self.path.join("info.json");
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::system(format!("cannot read '{path}'"), &e)),
        };
        serde_json::from_slice(&text).map(Some).map_err(|e| Error::internal(format!("cannot read '{path}': {e}")))
    }
    /// The process that runs in it; also one that was started but not yet written down.
    pub(crate) fn process(&self) -> Option<Process> {
        match self.read() {
            Ok(Some(info)) => Process::reopen(info.pid, info.start_time),
            Ok(None) | Err(_) => Process::in_directory(&self.path),
        }
    }
}

//! One process, held by a pidfd: a number that is reused never stands for another process.
//!
//! Must not know: what the process is.

use camino::{Utf8Path, Utf8PathBuf};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A process that runs or has run.
#[derive(Debug)]
pub(crate) struct Process {
    pid: u32,
    /// When it was started, in ticks since the machine was.
    start_time: u64,
    fd: AsyncFd<OwnedFd>,
}

impl Process {
    /// The process that has this number now.
    pub(crate) fn open(pid: u32) -> io::Result<Self> {
        let number = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidInput)?;
        let fd = pidfd_open(number, PidfdFlags::empty())?;
        // Read behind the pidfd: it is this process's, or the process is gone.
        let start_time = start_time(pid).ok_or(io::ErrorKind::NotFound)?;
        // Deprecated for types that may close their descriptor behind its back; an OwnedFd cannot.
        #[allow(deprecated)]
        let fd = AsyncFd::with_interest(fd, Interest::READABLE)?;
        Ok(Self { pid, start_time, fd })
    }
    /// The process that had this number and started then; `None` if it is gone.
    pub(crate) fn reopen(pid: u32, start_time: u64) -> Option<Self> {
        Self::open(pid).ok().filter(|p| p.start_time == start_time && !p.has_exited())
    }
    /// The process whose working directory that is.
    pub(crate) fn in_directory(dir: &Utf8Path) -> Option<Self> {
        let dir = dir.canonicalize().ok()?;
        for entry in std::fs::read_dir("/proc").ok()?.flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse::<u32>().ok()) else { continue };
            if std::fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd == dir)
                && let Ok(process) = Self::open(pid)
                && !process.has_exited()
            {
                return Some(process);
            }
        }
        None
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }
    pub(crate) fn start_time(&self) -> u64 {
        self.start_time
    }

    /// Whether it has ended, be it as a zombie: its files are closed then, its locks free.
    pub(crate) fn has_exited(&self) -> bool {
        let mut fds = [PollFd::new(self.fd.get_ref(), PollFlags::IN)];
        poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|n| n > 0)
    }
    /// Wait for its end.
    pub(crate) async fn exited(&self) {
        while !self.has_exited() {
            match self.fd.readable().await {
                Ok(mut guard) if !self.has_exited() => guard.clear_ready(),
                Ok(_) => return,
                // Only while the runtime shuts down.
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }
    /// Wait for its end; whether it came in time.
    pub(crate) async fn exits_within(&self, time: Duration) -> bool {
        tokio::time::timeout(time, self.exited()).await.is_ok()
    }

    /// End it: with a request first, by force `patience` later.
    pub(crate) async fn end(&self, patience: Duration) -> io::Result<()> {
        // A failing signal means that it is gone.
        let _ = pidfd_send_signal(self.fd.get_ref(), Signal::TERM);
        if self.exits_within(patience).await {
            return Ok(());
        }
        let _ = pidfd_send_signal(self.fd.get_ref(), Signal::KILL);
        if self.exits_within(Duration::from_secs(30)).await {
            return Ok(());
        }
        Err(io::Error::from_raw_os_error(rustix::io::Errno::BUSY.raw_os_error()))
    }
}

/// Field 22 of `/proc/PID/stat`; the name in field 2 may hold anything.
fn start_time(pid: u32) -> Option<u64> {
    let path = Utf8PathBuf::from(format!("/proc/{pid}/stat"));
    let stat = std::fs::read(path).ok()?;
    let text = String::from_utf8_lossy(&stat);
    let (_, fields) = text.rsplit_once(')')?;
    fields.split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::process::Command;

    #[tokio::test]
    async fn a_process_that_ignores_the_request_is_ended_by_force() {
        let mut command = Command::new("sh");
        command.args(["-c", "trap '' TERM; echo; while :; do :; done"]);
        let mut child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
        // Its line says that the trap is set.
        let mut line = [0];
        io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut line).unwrap();
        let process = Process::open(child.id()).unwrap();
        assert!(Process::reopen(child.id(), process.start_time() + 1).is_none());
        assert!(!process.exits_within(Duration::from_millis(10)).await);
        process.end(Duration::from_millis(50)).await.unwrap();
        assert!(process.has_exited());
        assert!(Process::reopen(child.id(), process.start_time()).is_none(), "a zombie is not running");
        child.wait().unwrap();
    }
}

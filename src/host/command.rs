//! Child programs: never through a shell, always in the C locale, their output captured.
//!
//! Must not know: which programs there are.

use crate::error::{Code, Error, Result};
use crate::host::Report;
use std::ffi::{OsStr, OsString};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;

/// Marks our children, so that the next daemon knows those that a killed one has left running. The value is the program,
/// because what a child leaves behind on purpose (a guest's QEMU) inherits the mark.
const MARK: &str = "VIRSNAP_CHILD";

/// The most that is kept of a child's output, each of stdout and stderr.
const MAX_OUTPUT: usize = 16 << 20;

/// A program and its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Child {
    program: OsString,
    args: Vec<OsString>,
}

impl Child {
    /// A call of `program`, found in `PATH` unless it is a path.
    #[must_use]
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self { program: program.as_ref().to_owned(), args: Vec::new() }
    }

    /// With one more argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// With more arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(|a| a.as_ref().to_owned()));
        self
    }

    /// The call as an error message shows it.
    #[must_use]
    pub fn line(&self) -> String {
        let words = std::iter::once(&self.program).chain(&self.args);
        words.map(|w| w.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    /// As the kernel calls a process of it.
    fn name(&self) -> OsString {
        let name = std::path::Path::new(&self.program).file_name().unwrap_or(&self.program);
        let bytes = std::os::unix::ffi::OsStrExt::as_bytes(name);
        std::os::unix::ffi::OsStringExt::from_vec(bytes[..bytes.len().min(15)].to_vec())
    }

    /// Run it to its end and return what it wrote to stdout. A status other than 0 is libvirt's
    /// `Child process (…) unexpected exit status N: <stderr>`.
    pub async fn run(&self) -> Result<Vec<u8>> {
        self.run_watched(|_| ()).await
    }

    /// The same, unless somebody wants it to end early: it is killed then, and has ended when this returns.
    pub async fn run_cancellable(&self, report: &dyn Report) -> Result<Vec<u8>> {
        self.run_until(report.cancelled(), |_| ()).await
    }

    /// The same; `watch` sees each piece of stdout as it comes, for progress.
    pub async fn run_watched(&self, watch: impl FnMut(&[u8]) + Send) -> Result<Vec<u8>> {
        self.run_until(std::future::pending(), watch).await
    }

    /// The same, until `cancelled`: then it is killed. One that had succeeded by then has succeeded.
    pub async fn run_until(
        &self,
        cancelled: impl Future<Output = ()> + Send,
        mut watch: impl FnMut(&[u8]) + Send,
    ) -> Result<Vec<u8>> {
        let mut child = Command::new(&self.program)
            .args(&self.args)
            .env("LC_ALL", "C")
            .env(MARK, self.name())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|e| match e.kind() {
                std::io::ErrorKind::NotFound => {
                    Error::system(format!("Cannot find '{}' in path", self.program.to_string_lossy()), &e)
                }
                _ => Error::system(format!("cannot execute binary {}", self.program.to_string_lossy()), &e),
            })?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let mut nothing = |_: &[u8]| ();
        let mut killed = false;
        let ended = async {
            tokio::select! {
                status = child.wait() => return status,
                () = cancelled => {}
            }
            killed = true;
            child.start_kill()?;
            child.wait().await
        };
        let (out, err, status) = tokio::join!(capture(stdout, &mut watch), capture(stderr, &mut nothing), ended);
        let status = status.map_err(|e| Error::system("unable to wait for process", &e))?;
        if status.success() {
            return Ok(out);
        }
        if killed {
            return Err(Error::new(
                Code::OperationAborted,
                format!("'{}' was cancelled", self.program.to_string_lossy()),
            ));
        }
        // libvirt's words of the status (`virProcessTranslateStatus`).
        let said = String::from_utf8_lossy(&err);
        let status = match (status.code(), std::os::unix::process::ExitStatusExt::signal(&status)) {
            (Some(code), _) => format!("exit status {code}"),
            (None, Some(signal)) => format!("fatal signal {signal}"),
            (None, None) => "status".to_owned(),
        };
        Err(Error::new(
            Code::Internal,
            format!("Child process ({}) unexpected {status}: {}", self.line(), said.trim_end()),
        ))
    }
}

/// Wait until every child that a killed daemon has left behind has ended. It may still be writing
/// to an image: nothing may be concluded from, or done to, that image before.
pub async fn leftovers_gone() {
    let mut waited = Duration::ZERO;
    while let Some(pid) = tokio::task::spawn_blocking(leftover).await.ok().flatten() {
        if waited == Duration::from_secs(5) {
            tracing::warn!(pid, "waiting for a program that an earlier daemon has started");
        }
        tokio::time::sleep(LOOK_AGAIN).await;
        waited += LOOK_AGAIN;
    }
}

/// How often a leftover is looked for again.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A process with our mark whose parent is no daemon any more.
fn leftover() -> Option<u32> {
    let pids = std::fs::read_dir("/proc").ok()?.flatten().filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok());
    pids.into_iter().find(|pid| {
        let comm = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        let mark = format!("{MARK}={}", comm.trim_end());
        let marked = std::fs::read(format!("/proc/{pid}/environ"))
            .is_ok_and(|environ| environ.split(|b| *b == 0).any(|entry| entry == mark.as_bytes()));
        // The parent is the fourth field; the second, the name, may hold anything but ends at the last ')'.
        let parent = || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse::<u32>().ok()
        };
        marked && parent().is_some_and(|p| p != std::process::id() && !is_daemon(p))
    })
}

fn is_daemon(pid: u32) -> bool {
    let exe = |pid: &str| std::fs::read_link(format!("/proc/{pid}/exe")).ok();
    let name = exe(&pid.to_string());
    name.is_some() && (name == exe("self") || name.is_some_and(|n| n.ends_with("virsnapd")))
}

async fn capture(pipe: Option<impl AsyncRead + Unpin>, watch: &mut (impl FnMut(&[u8]) + Send)) -> Vec<u8> {
    let mut kept = Vec::new();
    let Some(mut pipe) = pipe else { return kept };
    let mut chunk = [0u8; 4096];
    while let Ok(count @ 1..) = pipe.read(&mut chunk).await {
        let piece = &chunk[..count];
        watch(piece);
        let room = MAX_OUTPUT.saturating_sub(kept.len());
        kept.extend_from_slice(&piece[..count.min(room)]);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_failing_child_is_reported_as_libvirt_does() {
        let child = Child::new("sh").args(["-c", "echo \"$LC_ALL\"; echo no >&2; exit 3"]);
        assert_eq!(
            child.run().await.unwrap_err().to_string(),
            "internal error: Child process (sh -c echo \"$LC_ALL\"; echo no >&2; exit 3) unexpected exit status 3: no"
        );
        let child = Child::new("sh").args(["-c", "kill -9 $$"]);
        assert!(child.run().await.unwrap_err().to_string().contains("unexpected fatal signal 9"));
    }

    #[tokio::test]
    async fn a_child_runs_in_the_c_locale_and_without_a_shell() {
        let out = Child::new("printenv").arg("LC_ALL").run().await.unwrap();
        assert_eq!(out, b"C\n");
        let out = Child::new("printf").args(["%s", "$(id) ; a b"]).run().await.unwrap();
        assert_eq!(out, b"$(id) ; a b");
    }

    #[tokio::test]
    async fn a_child_that_is_cancelled_is_gone_when_that_is_said() {
        let soon = tokio::time::sleep(Duration::from_millis(50));
        let begun = std::time::Instant::now();
        let error = Child::new("sleep").arg("60").run_until(soon, |_| ()).await.unwrap_err();
        assert_eq!(error.to_string(), "operation aborted: 'sleep' was cancelled");
        assert!(begun.elapsed() < Duration::from_secs(30));
    }

    #[tokio::test]
    async fn a_missing_program_is_named() {
        let error = Child::new("virsnap-no-such-program").run().await.unwrap_err();
        assert_eq!(error.to_string(), "Cannot find 'virsnap-no-such-program' in path: No such file or directory");
    }
}

//! A `virsnapd` with a state directory of its own, on a bus of its own.

use super::bus::Bus;
use super::{Client, eventually};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// What is asked of the program under test.
const PROGRAM: &str = env!("CARGO_BIN_EXE_virsnapd");

pub struct Daemon {
    pub client: Client,
    bus: Bus,
    child: Option<Child>,
    /// A line per start, and everything the daemon and its QEMUs say.
    log: PathBuf,
    directory: TempDir,
    /// Where its guests keep their files; another daemon's directory if images are shared.
    images: PathBuf,
    level: String,
    extra: Vec<String>,
    /// Directories before the others in its `PATH`.
    first: Option<PathBuf>,
}

impl Daemon {
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Saying only what matters, for measurements.
    pub async fn start_quiet() -> Self {
        Self::build(&[], "virsnap=info,virsnapd=info").await
    }

    /// With more words on the command line.
    pub async fn start_with(extra: &[&str]) -> Self {
        Self::build(extra, "virsnap=debug,virsnapd=debug").await
    }

    async fn build(extra: &[&str], level: &str) -> Self {
        // Unix socket paths are short: 107 bytes.
        let directory = tempfile::Builder::new().prefix("vs").tempdir_in("/tmp").unwrap();
        let images = directory.path().join("images");
        std::fs::create_dir(&images).unwrap();
        let bus = Bus::start(directory.path());
        let client = Client::connect(&bus.address).await;
        let mut daemon = Self {
            client,
            bus,
            child: None,
            log: directory.path().join("log"),
            directory,
            images,
            level: std::env::var("VIRSNAP_TEST_LOG").unwrap_or_else(|_| level.to_owned()),
            extra: extra.iter().map(|&s| s.to_owned()).collect(),
            first: None,
        };
        daemon.spawn().await;
        daemon
    }

    /// The same daemon, which finds its programs in this directory first.
    pub async fn finds_first(mut self, directory: &Path) -> Self {
        self.stop().await;
        self.first = Some(directory.to_owned());
        self.spawn().await;
        self
    }

    /// Another daemon on another bus, over the same images.
    pub async fn beside(other: &Self) -> Self {
        let mut daemon = Self::start().await;
        daemon.images.clone_from(&other.images);
        daemon
    }

    pub fn address(&self) -> &str {
        &self.bus.address
    }

    pub fn images(&self) -> &Path {
        &self.images
    }

    pub fn state_directory(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    /// What a boot empties.
    pub fn runtime_directory(&self) -> PathBuf {
        self.directory.path().join("run")
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// The command that starts it, for tests of the command line.
    pub fn command(&self) -> Command {
        let mut command = Command::new(PROGRAM);
        command
            .args(["--bus", &self.bus.address])
            .args(["--driver", "qemu"])
            .arg("--state-dir")
            .arg(self.state_directory())
            .arg("--runtime-dir")
            .arg(self.runtime_directory())
            .args(&self.extra)
            .stdin(Stdio::null());
        if let Some(first) = &self.first {
            let path = std::env::var("PATH").unwrap_or_default();
            command.env("PATH", format!("{}:{path}", first.display()));
        }
        command
    }

    /// Start it, and wait until it serves.
    pub async fn spawn(&mut self) {
        assert!(self.child.is_none(), "it runs already");
        let log = File::options().create(true).append(true).open(&self.log).unwrap();
        let mut command = self.command();
        command.env("NO_COLOR", "1").env("VIRSNAP_LOG", &self.level).stdout(log.try_clone().unwrap()).stderr(log);
        self.child = Some(command.spawn().unwrap());
        eventually("virsnapd serves", || async {
            if let Some(status) = self.child.as_ref().and_then(|c| exited(c.id())) {
                panic!("virsnapd ended at once ({status}):\n{}", self.log());
            }
            self.client.is_served().await?.then_some(())
        })
        .await;
    }

    /// As a crash would: no signal handler runs.
    pub async fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        self.gone_from_bus().await;
    }

    /// As a service manager would.
    pub async fn stop(&mut self) -> ExitStatus {
        let mut child = self.child.take().unwrap();
        signal(child.id(), "TERM");
        let status = eventually("virsnapd stops on SIGTERM", || {
            let status = child.try_wait().unwrap();
            async move { status }
        })
        .await;
        self.gone_from_bus().await;
        status
    }

    /// The next daemon can take the name only when the bus has seen this one go.
    async fn gone_from_bus(&self) {
        eventually("the bus sees it go", || async { (!self.client.is_served().await?).then_some(()) }).await;
    }

    /// Process ids of the QEMUs that work in this test's directories.
    pub fn hypervisors(&self) -> Vec<u32> {
        hypervisors(self.directory.path())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        // Guests outlive their daemon; these must not outlive their test.
        for pid in self.hypervisors() {
            signal(pid, "KILL");
        }
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<_> = log.lines().collect();
            eprintln!("--- the daemon's last words ---");
            for line in &lines[lines.len().saturating_sub(200)..] {
                eprintln!("{line}");
            }
            if std::env::var_os("VIRSNAP_TEST_KEEP").is_some() {
                let kept = std::mem::replace(&mut self.directory, tempfile::tempdir().unwrap()).keep();
                eprintln!("--- kept {}", kept.display());
            }
        }
    }
}

pub fn signal(pid: u32, name: &str) {
    let _ = Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).stderr(Stdio::null()).status();
}

/// QEMUs whose command line names this directory.
pub fn hypervisors(directory: &Path) -> Vec<u32> {
    let needle = directory.to_str().unwrap();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse().ok()) else { continue };
        let Ok(line) = std::fs::read(entry.path().join("cmdline")) else { continue };
        let line = String::from_utf8_lossy(&line);
        if line.split('\0').next().is_some_and(|p| p.contains("qemu-")) && line.contains(needle) {
            found.push(pid);
        }
    }
    found
}

/// How a child ended, without reaping it.
fn exited(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let state = stat.rsplit(')').next()?.trim().chars().next()?;
    (state == 'Z').then(|| "a zombie".to_owned())
}

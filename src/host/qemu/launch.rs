//! Starting a QEMU, finding one that runs, ending one.
//!
//! ```text
//!   listen ─▶ spawn ─▶ info.json ─▶ QMP greets ─▶ registered ─▶ memory loaded ─▶ events told
//!      └────────┴─────────┴─────────────┴──────────────┴── fails ──▶ killed, directory removed
//! ```
//!
//! QEMU gets the listening QMP socket as its standard input: it can be connected to at once, and
//! its death closes the connection, whatever it was doing. Must not know: plans.

use super::argv::{self, Incoming};
use super::chains::{self, Chains};
use super::events::Watch;
use super::hardware::{Hardware, OnCrash, OnEnd};
use super::instance::{Info, InstanceDir};
use super::pidfd::Process;
use super::process::{OwnCommands, RunningDisk, RunningQemu};
use super::qmp::{Monitor, QmpError};
use super::{QemuHost, addresses, agent, bridges, load, memory, side, tpm, transient};
use crate::error::{Error, Result};
use crate::host::{Report, images};
use crate::model::domain::{DomainState, RunState, Runtime, reason};
use crate::model::ids::{DiskTarget, DomainId, Instance};
use crate::plan::steps::{MemorySource, Start};
use crate::xml::element::Document;
use crate::xml::scan::Limits;
use camino::Utf8PathBuf;
use serde_json::{Value, json};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc;

/// How long a QEMU may take until it greets.
const GREETING: Duration = Duration::from_secs(60);
/// How long an old QEMU may take to answer a new life of the daemon.
const REATTACH: Duration = Duration::from_secs(10);
/// How long a QEMU may flush its caches when it is asked to end.
const GRACE: Duration = Duration::from_secs(15);
/// The same when nobody asked for grace: what can be had at no cost.
const HASTE: Duration = Duration::from_millis(300);

/// A definition read for a start.
struct Machine {
    hardware: Hardware,
    chains: Chains,
}

impl Machine {
    async fn of(xml: &str) -> Result<Self> {
        let hardware = read(xml)?;
        let paths: Vec<Utf8PathBuf> =
            hardware.disks.iter().filter_map(|d| Some(d.image.as_ref()?.path.clone())).collect();
        let facts = images::look(&paths).await?;
        let chains = chains::chains(&hardware.disks, &facts)?;
        Ok(Self { hardware, chains })
    }

    fn info(&self, start: &Start, process: &Process) -> Info {
        let hw = &self.hardware;
        let with_medium = hw.disks.iter().filter(|d| self.chains.contains_key(&d.target));
        Info {
            domain: start.domain,
            instance: start.instance,
            name: hw.name.clone(),
            pid: process.pid(),
            start_time: process.start_time(),
            disks: with_medium
                .map(|d| RunningDisk {
                    target: DiskTarget(d.target.clone()),
                    device: d.alias(),
                    options: chains::options(d),
                })
                .collect(),
            agent: hw.chardevs.iter().find_map(agent::port),
            ttys: hw.chardevs.iter().filter(|c| c.has_tty()).map(|c| c.chardev()).collect(),
            vnc: hw.vnc.is_some(),
            restart_on_poweroff: hw.on_poweroff == OnEnd::Restart,
            restart_on_crash: hw.on_crash == OnCrash::Restart,
        }
    }
}

/// A stored definition; addresses that it lacks are given out as at define.
pub(crate) fn read(xml: &str) -> Result<Hardware> {
    let document = Document::parse(xml, &Limits::default())?;
    let mut hardware = Hardware::read(document.root().node())?;
    addresses::assign(&mut hardware)?;
    hardware.check()?;
    Ok(hardware)
}

impl QemuHost {
    pub(super) async fn launch(&self, start: &Start, report: &dyn Report) -> Result<Runtime> {
        let mut machine = Machine::of(&start.xml).await?;
        // It exists only if an earlier attempt was cut short; it never ran.
        self.end(start.instance, HASTE).await?;
        let dir = InstanceDir::of(&self.config.runtime_dir, start.domain, start.instance);
        dir.create()?;
        let launched = async {
            // Their names are needed until QEMU has opened them.
            let _overlays = transient::overlay(&machine.hardware, &mut machine.chains).await?;
            self.launch_in(&dir, start, &machine, report).await
        };
        let launched = launched.await;
        if launched.is_err() {
            self.end(start.instance, Duration::ZERO).await?;
        }
        launched
    }

    async fn launch_in(
        &self,
        dir: &InstanceDir,
        start: &Start,
        machine: &Machine,
        report: &dyn Report,
    ) -> Result<Runtime> {
        let name = machine.hardware.name.clone();
        let plugs = bridges::plugs(&machine.hardware)?;
        if let Some(nvram) = machine.hardware.os.firmware.nvram() {
            side::make(&nvram).await?;
        }
        let tpm = match machine.hardware.tpm {
            Some(_) => Some(tpm::start(dir, &tpm::directory(&self.config.state_dir, start.domain)).await?),
            None => None,
        };
        let process = Arc::new(self.spawn(dir, start, &machine.hardware, &machine.chains)?);
        let info = machine.info(start, &process);
        dir.write(&info)?;
        let socket = dir.socket()?;
        let monitor = match Monitor::connect(&socket.path, GREETING).await {
            Ok(monitor) => monitor,
            Err(QmpError::Gone | QmpError::Connect(..)) => {
                process.exits_within(Duration::from_secs(5)).await;
                return Err(Error::internal(format!("process exited while connecting to monitor: {}", dir.log_tail())));
            }
            Err(error) => return Err(error.into()),
        };
        if let Some(tpm) = tpm {
            tpm.connected();
        }
        let (qemu, pauses_ended) = running(&info, dir, monitor);
        self.registry.insert(qemu.clone(), process.clone());
        bridges::join(&plugs).await?;
        let loaded = load::load(&qemu, &start.memory, &machine.hardware, report).await;
        let runtime = match loaded {
            Ok(()) => runtime(&qemu.monitor, &info).await,
            Err(error) => Err(error),
        };
        match runtime {
            Err(_) if qemu.monitor.is_gone() => {
                process.exits_within(Duration::from_secs(5)).await;
                let log = dir.log_tail();
                Err(Error::internal(format!("QEMU unexpectedly closed the monitor (vm='{name}'): {log}")))
            }
            Ok(runtime) => {
                tracing::info!(domain = %name, pid = runtime.pid, "started QEMU");
                self.watch(qemu, process, info, dir.clone(), pauses_ended);
                Ok(runtime)
            }
            error => error,
        }
    }

    fn spawn(&self, dir: &InstanceDir, start: &Start, hardware: &Hardware, chains: &Chains) -> Result<Process> {
        let emulator = match &hardware.emulator {
            Some(path) => path.clone(),
            None => self.emulators.default_for(&hardware.os.arch)?,
        };
        std::fs::metadata(&emulator).map_err(|e| Error::system(format!("Cannot check QEMU binary {emulator}"), &e))?;
        let incoming = if matches!(start.memory, MemorySource::File(_)) { Incoming::Deferred } else { Incoming::No };
        let arguments = argv::build(hardware, chains, &dir.path, incoming);

        let log_failed = |e: std::io::Error| Error::system(format!("failed to create logfile {}", dir.log_path()), &e);
        let log = File::create(dir.log_path()).map_err(log_failed)?;
        let log_too = log.try_clone().map_err(log_failed)?;
        let mut command = detached(&format!("virsnap guest {}", hardware.name));
        command.arg(&emulator).args(&arguments).current_dir(&dir.path).env("LC_ALL", "C");
        for private in ["NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"]
        {
            command.env_remove(private);
        }
        command.envs(hardware.environment.iter().map(|(k, v)| (k, v)));
        command.stdin(Stdio::from(OwnedFd::from(dir.listen()?))).stdout(log).stderr(log_too).kill_on_drop(false);
        let failed = |e: &std::io::Error| Error::system(format!("cannot execute binary {emulator}"), e);
        let mut child = command.spawn().map_err(|e| failed(&e))?;
        // The parent's copy of the listening socket must go, or its end would not be noticed.
        drop(command);
        let pid = child.id().unwrap_or(0);
        tracing::debug!(domain = %hardware.name, pid, ?arguments, "spawned QEMU");
        let process = Process::open(pid).map_err(|e| failed(&e))?;
        // Whoever starts a child buries it.
        tokio::spawn(async move { child.wait().await });
        Ok(process)
    }

    fn watch(
        &self,
        qemu: Arc<RunningQemu>,
        process: Arc<Process>,
        info: Info,
        dir: InstanceDir,
        pauses_ended: mpsc::UnboundedReceiver<()>,
    ) {
        let (registry, events) = (self.registry.clone(), self.events.clone());
        Watch { qemu, process, info, dir, registry, events, pauses_ended }.start();
    }

    pub(super) async fn find(&self, domain: DomainId, instance: Instance) -> Result<Option<(RunState, Runtime)>> {
        let dir = InstanceDir::of(&self.config.runtime_dir, domain, instance);
        if let Some(qemu) = self.registry.running(instance)
            && let Some(info) = dir.read()?
        {
            return Ok(Some((run_state(&qemu.monitor).await?, runtime(&qemu.monitor, &info).await?)));
        }
        let (Some(info), Some(process)) = (dir.read()?, dir.process()) else {
            // Gone; or started so shortly before the daemon's death that its CPUs never ran.
            self.end(instance, HASTE).await?;
            return Ok(None);
        };
        let socket = dir.socket()?;
        let process = Arc::new(process);
        let found = async {
            let monitor = Monitor::connect(&socket.path, REATTACH).await?;
            let state = run_state(&monitor).await?;
            let runtime = runtime(&monitor, &info).await?;
            Ok::<_, Error>((monitor, state, runtime))
        };
        match found.await {
            Ok((monitor, state, runtime)) => {
                let (qemu, pauses_ended) = running(&info, &dir, monitor);
                self.registry.insert(qemu.clone(), process.clone());
                tracing::info!(domain = %info.name, pid = info.pid, "attached to a running QEMU");
                if let Some(agent) = &qemu.agent {
                    agent.resume();
                }
                self.watch(qemu, process, info, dir, pauses_ended);
                Ok(Some((state, runtime)))
            }
            Err(_) if process.exits_within(Duration::from_millis(500)).await => {
                self.end(instance, HASTE).await?;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// End it and forget it; fine if there is none.
    pub(super) async fn end(&self, instance: Instance, patience: Duration) -> Result<()> {
        let dir = InstanceDir::find(&self.config.runtime_dir, instance);
        let qemu = self.registry.running(instance);
        let process = match (self.registry.process(instance), &dir) {
            (Some(process), _) => Some(process),
            (None, Some(dir)) => dir.process().map(Arc::new),
            (None, None) => None,
        };
        if let Some(qemu) = &qemu {
            qemu.own.killing.store(true, Ordering::SeqCst);
        }
        if let Some(process) = process
            && let Err(error) = process.end(patience).await
        {
            if let Some(qemu) = &qemu {
                qemu.own.killing.store(false, Ordering::SeqCst);
            }
            return Err(Error::system(format!("Failed to terminate process {} with SIGKILL", process.pid()), &error));
        }
        self.registry.remove(instance);
        if let Some(dir) = dir {
            dir.remove();
        }
        Ok(())
    }

    pub(super) async fn end_of(&self, instance: Instance, graceful: bool) -> Result<()> {
        let grace = graceful && !self.stopped_in_live_save(instance).await;
        self.end(instance, if grace { GRACE } else { HASTE }).await
    }

    /// A QEMU 7.2 that is asked to end in the middle of a live save cancels it and then waits for
    /// ever (see `memory::may_fail`), so grace would be wasted on it. `stop` has written out its caches.
    async fn stopped_in_live_save(&self, instance: Instance) -> bool {
        let Some(qemu) = self.registry.running(instance) else { return false };
        let stopped = async {
            let live = memory::must_not_fail_now(&qemu.monitor).await?;
            if live {
                let _own = qemu.own_pause();
                qemu.monitor.execute("stop", json!({})).await?;
            }
            Ok::<_, QmpError>(live)
        };
        matches!(tokio::time::timeout(Duration::from_secs(2), stopped).await, Ok(Ok(true)))
    }
}

/// A command whose program outlives the daemon.
pub(super) fn detached(description: &str) -> tokio::process::Command {
    let mut command = tokio::process::Command::new("setsid");
    if own_scope() {
        command = tokio::process::Command::new("systemd-run");
        command.args(["--scope", "--quiet", "--collect", "--slice=machine.slice"]);
        command.arg(format!("--description={description}")).args(["--", "setsid"]);
    }
    command
}

/// Whether a transient scope keeps the guest apart from the daemon's service.
fn own_scope() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some()
        && rustix::process::geteuid().is_root()
        && std::path::Path::new("/run/systemd/system").is_dir()
}

fn running(info: &Info, dir: &InstanceDir, monitor: Arc<Monitor>) -> (Arc<RunningQemu>, mpsc::UnboundedReceiver<()>) {
    let (ended, pauses_ended) = mpsc::unbounded_channel();
    let qemu = RunningQemu {
        domain: info.domain,
        instance: info.instance,
        agent: agent::of(info, dir, &monitor),
        monitor,
        pid: info.pid,
        dir: dir.path.clone(),
        disks: info.disks.clone(),
        own: Arc::new(OwnCommands {
            pauses: AtomicU32::new(0),
            killing: AtomicBool::new(false),
            given_up: Mutex::default(),
            ended,
        }),
    };
    (Arc::new(qemu), pauses_ended)
}

async fn run_state(monitor: &Monitor) -> Result<RunState> {
    let status = monitor.execute("query-status", json!({})).await?;
    Ok(match status["status"].as_str().unwrap_or_default() {
        "running" => RunState::running(reason::RUNNING_BOOTED),
        "io-error" => RunState::paused(reason::PAUSED_IOERROR),
        "shutdown" => RunState { state: DomainState::Shutdown, reason: reason::SHUTDOWN_USER },
        "guest-panicked" => RunState { state: DomainState::Crashed, reason: 0 },
        "suspended" => RunState { state: DomainState::PmSuspended, reason: 0 },
        _ => RunState::paused(reason::PAUSED_UNKNOWN),
    })
}

async fn runtime(monitor: &Monitor, info: &Info) -> Result<Runtime> {
    let mut runtime = Runtime { pid: info.pid, ..Runtime::default() };
    if !info.ttys.is_empty() {
        let chardevs = monitor.execute("query-chardev", json!({})).await?;
        let all = chardevs.as_array().map(Vec::as_slice).unwrap_or_default();
        for id in &info.ttys {
            let tty = all.iter().find(|c| c["label"] == id.as_str()).and_then(|c| c["filename"].as_str());
            runtime.ttys.push(tty.and_then(|t| t.strip_prefix("pty:")).unwrap_or_default().to_owned());
        }
    }
    if info.vnc {
        let vnc = monitor.execute("query-vnc", json!({})).await?;
        let port = Value::as_str(&vnc["service"]).and_then(|p| p.parse().ok());
        runtime.vnc_ports.push(port.unwrap_or(-1));
    }
    Ok(runtime)
}

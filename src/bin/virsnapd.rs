//! The daemon: settings, drivers, bus, READY=1, and then nothing but waiting for the end.

use anyhow::{Context, bail};
use camino::{Utf8Path, Utf8PathBuf};
use clap::Parser;
use std::io::{IsTerminal, Write};
use std::os::unix::fs::DirBuilderExt;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use virsnap::config::{Bus, Config, Driver, Settings, Surroundings};
use virsnap::dbus::{Mount, Server};
use virsnap::engine::service::{self, Service};
use virsnap::host::Host;
use virsnap::host::qemu::{QemuConfig, QemuHost};
use virsnap::host::xen::{XenConfig, XenHost};
use virsnap::model::risk::RiskyRevert;
use virsnap::store::Store;
use zbus::connection::Builder;
use zbus::fdo::RequestNameFlags;

/// How long calls that are being served may take to be answered once the end was asked for.
const PATIENCE: Duration = Duration::from_secs(2);

/// Snapshots of virtual machines, through libvirt's D-Bus API.
///
/// Set VIRSNAP_LOG (error, warn, info, debug, trace) for more or less on stderr.
#[derive(Debug, Parser)]
#[command(version, name = "virsnapd")]
struct Args {
    /// Read settings from FILE; by default /etc/virsnap/virsnapd.toml for root,
    /// ~/.config/virsnap/virsnapd.toml for a user, if it exists
    #[arg(long, value_name = "FILE")]
    config: Option<Utf8PathBuf>,
    /// Serve on this bus: system, session, or the address of one
    #[arg(long, value_name = "BUS")]
    bus: Option<Bus>,
    /// The same as --bus system; libvirt-dbus has this option
    #[arg(long, conflicts_with_all = ["bus", "session"])]
    system: bool,
    /// The same as --bus session; libvirt-dbus has this option
    #[arg(long, conflicts_with = "bus")]
    session: bool,
    /// Own this name on the bus
    #[arg(long, value_name = "NAME")]
    bus_name: Option<String>,
    /// Keep domains, snapshots and the journal in DIR
    #[arg(long, value_name = "DIR")]
    state_dir: Option<Utf8PathBuf>,
    /// Keep sockets in DIR
    #[arg(long, value_name = "DIR")]
    runtime_dir: Option<Utf8PathBuf>,
    /// Serve this hypervisor: qemu, xen or test; may be given more than once [default: qemu and test]
    #[arg(long = "driver", value_name = "DRIVER")]
    drivers: Vec<Driver>,
    /// Whether a revert may end the running hypervisor for another or for none without being
    /// forced: allow (as libvirt) or refuse
    #[arg(long, value_name = "POLICY")]
    risky_revert: Option<RiskyRevert>,
}

impl Args {
    fn config(self) -> anyhow::Result<Config> {
        let around = Surroundings::of_this_process();
        let file = match &self.config {
            Some(path) => read(path)?,
            None => match around.config_file() {
                Some(path) if path.exists() => read(&path)?,
                _ => Settings::default(),
            },
        };
        let absolute = |path: Option<Utf8PathBuf>| -> anyhow::Result<_> {
            path.map(|p| camino::absolute_utf8(&p).with_context(|| format!("cannot find '{p}'"))).transpose()
        };
        let by_name = self.system.then_some(Bus::System).or(self.session.then_some(Bus::Session));
        let said = Settings {
            bus: self.bus.or(by_name),
            bus_name: self.bus_name,
            state_dir: absolute(self.state_dir)?,
            runtime_dir: absolute(self.runtime_dir)?,
            driver: self.drivers,
            risky_revert: self.risky_revert,
        };
        Ok(Config::decide(said.over(file), &around)?)
    }
}

fn read(path: &Utf8Path) -> anyhow::Result<Settings> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read '{path}'"))?;
    Ok(Settings::parse(path, &text)?)
}

fn main() -> ExitCode {
    let args = Args::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_env("VIRSNAP_LOG").unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    let outcome = args.config().and_then(|config| {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let outcome = runtime.block_on(serve(&config));
        // What still runs is finished or undone at the next start.
        runtime.shutdown_background();
        outcome
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("virsnapd: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(config: &Config) -> anyhow::Result<()> {
    // Asked for first, so that no signal kills us half way.
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    private_dir(&config.runtime_dir)?;
    let mut drivers = Drivers { config, store: None };
    let mut services = Vec::new();
    for driver in &config.drivers {
        services.push((*driver, Arc::new(drivers.open(*driver).await?)));
    }
    let mounts = services.iter().map(|(driver, service)| Mount::new(driver.object(), service.clone())).collect();
    let connection = connect(&config.bus).await.with_context(|| format!("cannot connect to {}", config.bus))?;
    let mut server = Server::start(connection.clone(), mounts)?;
    own(&connection, config).await?;

    let line = format!("virsnapd: serving {} on {} (state {})", config.bus_name, config.bus, config.state_dir);
    // Nobody may be reading it.
    let _ = writeln!(std::io::stdout(), "{line}");
    notify(&[sd_notify::NotifyState::Ready]);
    if first_since_boot(config)? {
        for (_, service) in services {
            tokio::spawn(async move { service.autostart().await });
        }
    }
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
        () = server.disconnected() => bail!("the connection to {} is gone", config.bus),
    }
    notify(&[sd_notify::NotifyState::Stopping]);
    tracing::info!("stopping; guests keep running");
    server.stop(PATIENCE).await;
    Ok(())
}

/// Opens drivers, all on one state file.
struct Drivers<'c> {
    config: &'c Config,
    store: Option<Store>,
}

impl Drivers<'_> {
    /// Open one. When this returns, what an earlier life left unfinished has been read, and calls
    /// on those domains wait for its recovery.
    async fn open(&mut self, driver: Driver) -> anyhow::Result<Service> {
        let (events, host_events) = mpsc::unbounded_channel();
        let (store, host): (_, Arc<dyn Host>) = match driver {
            Driver::Test => return Ok(Service::test_driver(now).await?),
            Driver::Qemu => {
                let settings = QemuConfig { runtime_dir: self.config.runtime_dir.join("qemu"), emulator: None };
                (self.store(driver)?, Arc::new(QemuHost::new(settings, events)))
            }
            Driver::Xen => {
                let settings = XenConfig { runtime_dir: self.config.runtime_dir.join("xen") };
                (self.store(driver)?, Arc::new(XenHost::new(settings, events)))
            }
        };
        let settings = service::Settings { save_dir: save_dir(self.config)?, risky_revert: self.config.risky_revert };
        Ok(Service::open_with(store, host, host_events, now, settings).await?)
    }

    /// The state file, for this driver.
    fn store(&mut self, driver: Driver) -> anyhow::Result<Store> {
        let driver = driver.to_string();
        if let Some(store) = &self.store {
            return Ok(store.for_driver(&driver));
        }
        let store = Store::open(&self.config.state_dir, &driver)?;
        Ok(self.store.insert(store).for_driver(&driver))
    }
}

/// Where managed-save images go: guests' memories, so nobody else may look in.
fn save_dir(config: &Config) -> anyhow::Result<Utf8PathBuf> {
    let path = config.state_dir.join("save");
    private_dir(&path)?;
    Ok(path)
}

fn private_dir(path: &Utf8Path) -> anyhow::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).with_context(|| format!("cannot make '{path}'"))
}

/// Guests are started by themselves once after each boot, not whenever the daemon comes back: its
/// runtime directory, which a boot empties, remembers.
fn first_since_boot(config: &Config) -> anyhow::Result<bool> {
    let path = config.runtime_dir.join("autostarted");
    match std::fs::File::create_new(&path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error).with_context(|| format!("cannot write '{path}'")),
    }
}

fn now() -> i64 {
    chrono::Utc::now().timestamp()
}

async fn connect(bus: &Bus) -> zbus::Result<zbus::Connection> {
    let builder = match bus {
        Bus::System => Builder::system(),
        Bus::Session => Builder::session(),
        Bus::Address(address) => Builder::address(address.as_str()),
    };
    builder.build().await
}

async fn own(connection: &zbus::Connection, config: &Config) -> anyhow::Result<()> {
    let (name, bus) = (config.bus_name.as_str(), &config.bus);
    match connection.request_name_with_flags(name, RequestNameFlags::DO_NOT_QUEUE).await {
        Ok(_) => Ok(()),
        Err(zbus::Error::NameTaken) => {
            let owner = owner(connection, name).await.unwrap_or_else(|_| "somebody else".to_owned());
            bail!("the name {name} on {bus} is owned by {owner}; stop it, or choose another name with --bus-name")
        }
        Err(error) => {
            Err(error).with_context(|| format!("cannot own the name {name} on {bus}; is its policy file installed?"))
        }
    }
}

/// Who owns `name`: the process, as far as the bus and the system tell.
async fn owner(connection: &zbus::Connection, name: &str) -> zbus::Result<String> {
    const BUS: &str = "org.freedesktop.DBus";
    let path = "/org/freedesktop/DBus";
    let reply = connection.call_method(Some(BUS), path, Some(BUS), "GetConnectionUnixProcessID", &(name,)).await?;
    let (pid,): (u32,) = reply.body().deserialize()?;
    let command = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    Ok(match command.trim() {
        "" => format!("process {pid}"),
        command => format!("process {pid} ({command})"),
    })
}

fn notify(state: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "cannot tell the service manager");
    }
}

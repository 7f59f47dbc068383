//! A private bus, a daemon on it, and a client that reads like the calls it makes.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use zbus::{Connection, DynamicType, Message};

/// A dbus-daemon of our own; ends with the test.
pub(crate) struct Bus {
    daemon: Child,
    pub(crate) dir: tempfile::TempDir,
}

impl Bus {
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("bus");
        let config = format!(
            "<busconfig><type>session</type><listen>unix:path={}</listen><auth>EXTERNAL</auth>\
             <policy context='default'><allow send_destination='*' eavesdrop='true'/><allow eavesdrop='true'/>\
             <allow own='*'/><allow user='*'/></policy>\
             <limit name='max_replies_per_connection'>10000</limit></busconfig>",
            socket.display()
        );
        std::fs::write(dir.path().join("bus.conf"), config).unwrap();
        let config = format!("--config-file={}", dir.path().join("bus.conf").display());
        let daemon = Command::new("dbus-daemon")
            .args([&config, "--nofork", "--nopidfile"])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let bus = Self { daemon, dir };
        within("the bus's socket", || socket.exists().then_some(()));
        bus
    }
    pub(crate) fn address(&self) -> String {
        format!("unix:path={}", self.dir.path().join("bus").display())
    }
    pub(crate) fn stop(&mut self) {
        self.daemon.kill().unwrap();
        self.daemon.wait().unwrap();
    }
    pub(crate) async fn client(&self) -> Client {
        let connection = zbus::connection::Builder::address(self.address().as_str()).build().await.unwrap();
        Client { connection }
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

/// A virsnapd on a [`Bus`].
pub(crate) struct Daemon {
    pub(crate) child: Child,
    /// What it said on stdout when it was ready.
    pub(crate) line: String,
}

impl Daemon {
    /// Start it and wait for its line.
    pub(crate) fn start(bus: &Bus) -> Self {
        let mut child = Self::spawn(bus.dir.path(), &["--driver", "test", "--bus", &bus.address()]);
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, line }
    }
    /// Start it as libvirt-dbus is started in a session whose bus that is, and wait for its line.
    pub(crate) fn in_session(bus: &Bus) -> Self {
        let mut command = Self::command(bus.dir.path(), &["--session"]);
        let mut child = command.env("DBUS_SESSION_BUS_ADDRESS", bus.address()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, line }
    }
    /// Start it with these arguments and directories of its own, and nothing of this process's environment.
    pub(crate) fn spawn(dir: &Path, args: &[&str]) -> Child {
        Self::command(dir, args).spawn().unwrap()
    }
    fn command(dir: &Path, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_virsnapd"));
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", dir);
        command.arg("--state-dir").arg(dir.join("state")).arg("--runtime-dir").arg(dir.join("run")).args(args);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }
    /// Its end: status and stderr.
    pub(crate) fn end(&mut self) -> (ExitStatus, String) {
        let status = within("the daemon's end", || self.child.try_wait().unwrap());
        let mut text = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
        (status, text)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Wait for something that another process does.
pub(crate) fn within<T>(what: &str, mut poll: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = poll() {
            return found;
        }
        assert!(start.elapsed() < Duration::from_secs(20), "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A caller.
pub(crate) struct Client {
    pub(crate) connection: Connection,
}

impl Client {
    /// The reply to `interface.member` on `path`, or `name: text` of the error.
    pub(crate) async fn call<B>(&self, path: &str, interface: &str, member: &str, args: &B) -> Result<Message, String>
    where
        B: serde::Serialize + DynamicType,
    {
        let interface = Some(interface).filter(|i| !i.is_empty());
        match self.connection.call_method(Some("org.libvirt"), path, interface, member, args).await {
            Ok(reply) => Ok(reply),
            Err(zbus::Error::MethodError(name, text, _)) => Err(format!("{name}: {}", text.unwrap_or_default())),
            // zbus reads the names of the specification; the wire text is in neither form, but both parts are.
            Err(zbus::Error::FDO(error)) => {
                use zbus::DBusError;
                Err(format!("{}: {}", error.name(), error.description().unwrap_or_default()))
            }
            Err(error) => Err(error.to_string()),
        }
    }
}

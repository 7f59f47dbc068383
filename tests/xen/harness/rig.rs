//! The Xen host, as `rig/rig.sh` keeps it.

use super::{Client, within};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, UNIX_EPOCH};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/xen/rig/rig.sh");

/// To be built and to boot, while cargo works.
const COMING: Duration = Duration::from_secs(240);

/// The programs under test.
const PROGRAMS: [&str; 2] = [env!("CARGO_BIN_EXE_virsnapd"), env!("CARGO_BIN_EXE_virsnap")];

/// Where programs that are put into dom0 are found first.
const DESTINATION: &str = "/usr/local/bin";

/// How a command in dom0 ended.
#[derive(Debug)]
pub struct Done {
    /// 255 also if dom0 could not be reached.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl From<Output> for Done {
    fn from(output: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { code: output.status.code().unwrap_or(255), stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }
}

#[derive(Debug)]
pub struct Rig {
    directory: PathBuf,
    /// On 127.0.0.1: dom0's D-Bus.
    bus: u16,
}

impl Rig {
    /// The one that is up, with the programs under test in it. `None`: there is none, and a line said why.
    #[must_use]
    pub fn find() -> Option<Self> {
        // `make test` says where one is, or will be soon.
        let promised = std::env::var_os("VIRSNAP_XEN_RIG").map(PathBuf::from);
        let time = if promised.is_some() { COMING } else { Duration::ZERO };
        let directory = promised.unwrap_or_else(|| Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("xen-rig"));
        let read = |name: &str| std::fs::read_to_string(directory.join(name)).ok();
        let found = within(time, || {
            if let Some(reason) = read("failed") {
                panic!("the Xen rig did not come up: {reason}");
            }
            read("skip").map(Err).or_else(|| Some(Ok(is_up(&directory)?)))
        });
        match found {
            Some(Ok(bus)) => {
                let rig = Self { directory, bus };
                rig.install_programs();
                Some(rig)
            }
            Some(Err(reason)) => {
                println!("{}", reason.trim());
                None
            }
            None => {
                assert!(time.is_zero(), "the Xen rig is not up after {COMING:?}");
                println!("SKIP: no Xen rig is up (tests/xen/rig/rig.sh up)");
                None
            }
        }
    }

    fn script(&self, words: &[&str]) -> Command {
        let mut command = Command::new(SCRIPT);
        command.env("VIRSNAP_XEN_RIG", &self.directory).args(words).stdin(Stdio::null());
        command
    }

    /// Run a shell command in dom0 as root.
    pub fn run(&self, command: &str) -> Done {
        self.script(&["run", command]).output().unwrap().into()
    }

    /// What a command prints; it must succeed.
    #[track_caller]
    pub fn ok(&self, command: &str) -> String {
        let done = self.run(command);
        assert_eq!(done.code, 0, "in dom0: {command}\n{}{}", done.stdout, done.stderr);
        done.stdout
    }

    /// Write a file in dom0.
    #[track_caller]
    pub fn write(&self, path: &str, text: &str) {
        let mut child = self.script(&["run", &format!("cat >'{path}'")]).stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success(), "{path} was not written");
    }

    /// The D-Bus address of dom0's bus, from this machine.
    pub fn address(&self) -> String {
        format!("tcp:host=127.0.0.1,port={}", self.bus)
    }

    /// A directory of this machine that is `/share` in dom0.
    pub fn share(&self) -> PathBuf {
        self.directory.join("run/share")
    }

    /// All that was said on the consoles of guests of this name.
    pub fn console(&self, guest: &str) -> String {
        let log = self.share().join(format!("console/guest-{guest}.log"));
        String::from_utf8_lossy(&std::fs::read(log).unwrap_or_default()).replace('\r', "")
    }

    /// A volume group `virsnap` with a thin pool `pool`, made by the first who asks.
    pub fn thin_pool(&self) {
        let make = "truncate -s 512M /x/pv && loop=$(losetup -f --show /x/pv) && vgcreate -q virsnap $loop &&
            lvcreate -q --type thin-pool -L 256M -n pool virsnap";
        self.ok(&format!("flock /run/pool.lock sh -c 'lvs virsnap/pool || {{ {make}; }} </dev/null' 2>&1"));
    }

    /// Stripped and through the shared directory, by the first test after each build.
    fn install_programs(&self) {
        let lock = File::create(self.directory.join("run/programs.lock")).unwrap();
        lock.lock().unwrap();
        let note = self.directory.join("run/programs");
        let build = PROGRAMS.map(identity).join("\n");
        if std::fs::read_to_string(&note).is_ok_and(|known| known == build) {
            return;
        }
        for program in PROGRAMS.map(Path::new) {
            let name = program.file_name().unwrap().to_str().unwrap();
            let stripped = self.share().join(name);
            let status = Command::new("strip").arg("-o").arg(&stripped).arg(program).status().unwrap();
            assert!(status.success(), "strip {}", program.display());
            self.ok(&format!("install -m 755 /share/{name} {DESTINATION}/{name}"));
            std::fs::remove_file(stripped).unwrap();
        }
        std::fs::write(note, build).unwrap();
    }
}

/// A file as cargo wrote it: every build gives it another time.
fn identity(program: &str) -> String {
    let metadata = std::fs::metadata(program).unwrap();
    let time = metadata.modified().unwrap().duration_since(UNIX_EPOCH).unwrap();
    format!("{program} {} {}", metadata.len(), time.as_nanos())
}

/// The port of a rig's bus, if its process is there and dom0 is ready.
fn is_up(directory: &Path) -> Option<u16> {
    let read = |name: &str| std::fs::read_to_string(directory.join("run").join(name)).ok();
    let state = read("state")?;
    let pid = read("pid")?;
    std::fs::metadata(format!("/proc/{}", pid.trim())).ok()?;
    state.lines().find_map(|line| line.strip_prefix("bus=")?.parse().ok())
}

//! What an emulator binary can do, asked of itself once per binary.
//!
//! Must not know: domains.

use crate::error::{Error, Result};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

/// One machine type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Machine {
    pub(crate) name: String,
    pub(crate) alias: Option<String>,
    pub(crate) is_default: bool,
    pub(crate) max_cpus: u32,
}

/// What one binary says of itself.
#[derive(Debug, Clone, Default)]
pub(crate) struct EmulatorFacts {
    /// Major, minor, micro.
    pub(crate) version: (u64, u64, u64),
    pub(crate) machines: Vec<Machine>,
    pub(crate) cpu_models: Vec<String>,
    /// Whether this host lets it save memory in the background.
    pub(crate) live_memory: bool,
}

impl EmulatorFacts {
    /// The machine type without aliases: `pc` means another one after an update.
    pub(crate) fn machine(&self, emulator: &str, asked: Option<&str>) -> Result<String> {
        let found = match asked {
            Some(name) => self.machines.iter().find(|m| m.name == name || m.alias.as_deref() == Some(name)),
            None => self.machines.iter().find(|m| m.is_default),
        };
        found.map(|m| m.name.clone()).ok_or_else(|| {
            let asked = asked.unwrap_or("(default)");
            Error::config(format!("Emulator '{emulator}' does not support machine type '{asked}'"))
        })
    }
    /// libvirt's number: major × 1,000,000 + minor × 1,000 + micro.
    pub(crate) fn version_number(&self) -> u64 {
        let (major, minor, micro) = self.version;
        major * 1_000_000 + minor * 1_000 + micro
    }
}

type Stamp = (Option<SystemTime>, u64);

/// The emulators of this host.
#[derive(Debug, Default)]
pub(crate) struct Emulators {
    given: Option<String>,
    known: Mutex<HashMap<String, (Stamp, Arc<EmulatorFacts>)>>,
    pretended: Option<Arc<EmulatorFacts>>,
}

impl Emulators {
    /// `given`: the binary for domains that name none.
    pub(crate) fn new(given: Option<String>) -> Self {
        Self { given, ..Self::default() }
    }

    /// An emulator that need not exist, for tests.
    #[cfg(test)]
    pub(crate) fn pretend(facts: EmulatorFacts) -> Self {
        Self {
            given: Some("/usr/bin/qemu-system-x86_64".to_owned()),
            pretended: Some(Arc::new(facts)),
            ..Self::default()
        }
    }

    /// The binary for domains that name none.
    pub(crate) fn default_for(&self, arch: &str) -> Result<String> {
        if let Some(given) = &self.given {
            return Ok(given.clone());
        }
        let names: &[&str] = match arch {
            "i686" => &["qemu-system-i386", "qemu-system-x86_64"],
            _ => &["qemu-system-x86_64"],
        };
        let path = std::env::var("PATH").unwrap_or_default();
        let places = path.split(':').filter(|p| p.starts_with('/')).chain(["/usr/bin", "/usr/local/bin"]);
        let candidates = places.flat_map(|dir| names.iter().map(move |name| format!("{dir}/{name}")));
        candidates
            .chain(["/usr/libexec/qemu-kvm".to_owned()])
            .find(|file| std::fs::metadata(file).is_ok_and(|m| m.is_file()))
            .ok_or_else(|| Error::config(format!("No emulator found for arch '{arch}'")))
    }

    /// What that binary can do. Blocks for some ten milliseconds, the first time.
    pub(crate) fn facts(&self, emulator: &str) -> Result<Arc<EmulatorFacts>> {
        if let Some(facts) = &self.pretended {
            return Ok(facts.clone());
        }
        let metadata = std::fs::metadata(emulator)
            .map_err(|e| Error::system(format!("Cannot check QEMU binary {emulator}"), &e))?;
        let stamp = (metadata.modified().ok(), metadata.len());
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, facts)) = known.get(emulator)
            && *at == stamp
        {
            return Ok(facts.clone());
        }
        let facts = Arc::new(ask(emulator)?);
        known.insert(emulator.to_owned(), (stamp, facts.clone()));
        Ok(facts)
    }
}

/// Run it without a machine and let it tell.
fn ask(emulator: &str) -> Result<EmulatorFacts> {
    let failed = |e: &std::io::Error| Error::system(format!("Cannot check QEMU binary {emulator}"), e);
    let mut child = Command::new(emulator)
        .args(["-S", "-no-user-config", "-nodefaults", "-machine", "none,accel=tcg", "-display", "none"])
        .args(["-qmp", "stdio"])
        .current_dir("/")
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| failed(&e))?;
    let background = json!([{ "capability": "background-snapshot", "state": true }]);
    let commands = [
        json!({ "execute": "qmp_capabilities" }),
        json!({ "execute": "query-machines", "id": "machines" }),
        json!({ "execute": "query-cpu-definitions", "id": "cpus" }),
        json!({ "execute": "migrate-set-capabilities", "id": "live", "arguments": { "capabilities": background } }),
        json!({ "execute": "quit" }),
    ];
    if let Some(mut stdin) = child.stdin.take() {
        for command in commands {
            // A binary that is no QEMU may have ended already; its output says what it is.
            if writeln!(stdin, "{command}").is_err() {
                break;
            }
        }
        // Kept open until it has ended: a closed monitor may go unread.
        let output = child.wait_with_output().map_err(|e| failed(&e))?;
        drop(stdin);
        return read(emulator, &output);
    }
    Err(Error::internal(format!("Cannot check QEMU binary {emulator}")))
}

fn read(emulator: &str, output: &std::process::Output) -> Result<EmulatorFacts> {
    let mut facts = EmulatorFacts::default();
    for line in output.stdout.split(|b| *b == b'\n') {
        let Ok(message) = serde_json::from_slice::<Value>(line) else { continue };
        let version = &message["QMP"]["version"]["qemu"];
        if let (Some(a), Some(b), Some(c)) =
            (version["major"].as_u64(), version["minor"].as_u64(), version["micro"].as_u64())
        {
            facts.version = (a, b, c);
        }
        let list = message["return"].as_array().map(Vec::as_slice).unwrap_or_default();
        match message["id"].as_str() {
            Some("machines") => facts.machines = list.iter().filter_map(machine).collect(),
            Some("cpus") => {
                facts.cpu_models = list.iter().filter_map(|c| c["name"].as_str().map(str::to_owned)).collect();
                facts.cpu_models.sort_unstable();
            }
            Some("live") => facts.live_memory = message.get("return").is_some(),
            _ => {}
        }
    }
    if facts.machines.is_empty() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(Error::internal(format!("Failed to probe QEMU binary with QMP: {emulator}: {}", said.trim())));
    }
    facts.machines.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(facts)
}

fn machine(entry: &Value) -> Option<Machine> {
    Some(Machine {
        name: entry["name"].as_str()?.to_owned(),
        alias: entry["alias"].as_str().map(str::to_owned),
        is_default: entry["is-default"].as_bool().unwrap_or(false),
        max_cpus: entry["cpu-max"].as_u64().and_then(|n| u32::try_from(n).ok()).unwrap_or(1),
    })
}

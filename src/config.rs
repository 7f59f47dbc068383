//! The daemon's settings: the command line over a TOML file over defaults for root or for a user.
//!
//! ```text
//! file ─┐
//!       ├─► Settings (what was said) ─► Config (everything decided)
//! args ─┘
//! ```
//!
//! Must not know: what the daemon does with them.

use crate::model::risk::RiskyRevert;
use camino::{Utf8Path, Utf8PathBuf};
use serde::Deserialize;
use std::fmt;
use std::str::FromStr;

/// What was said, in the file or on the command line. The file's keys are the options' names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    /// `bus = "system"`, `"session"` or an address.
    pub bus: Option<Bus>,
    /// `bus-name = "org.libvirt"`.
    pub bus_name: Option<String>,
    /// `state-dir = "/var/lib/virsnap"`.
    pub state_dir: Option<Utf8PathBuf>,
    /// `runtime-dir = "/run/virsnap"`.
    pub runtime_dir: Option<Utf8PathBuf>,
    /// `driver = ["qemu"]`.
    #[serde(default)]
    pub driver: Vec<Driver>,
    /// `risky-revert = "allow"`.
    pub risky_revert: Option<RiskyRevert>,
}

/// Which bus to serve on.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Bus {
    /// The system's.
    System,
    /// The session's.
    Session,
    /// The one at this address (D-Bus specification, "Server Addresses").
    Address(String),
}

impl FromStr for Bus {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "system" => Ok(Self::System),
            "session" => Ok(Self::Session),
            address if address.contains(':') => Ok(Self::Address(address.to_owned())),
            other => Err(format!("'{other}' is neither 'system' nor 'session' nor the address of a bus")),
        }
    }
}

impl TryFrom<String> for Bus {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System => f.write_str("the system bus"),
            Self::Session => f.write_str("the session bus"),
            Self::Address(address) => f.write_str(address),
        }
    }
}

/// A hypervisor driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Driver {
    /// QEMU, with or without KVM.
    Qemu,
    /// Xen, through xl.
    Xen,
    /// For tests of clients: in memory, with one running domain.
    Test,
}

impl Driver {
    const ALL: [Self; 3] = [Self::Qemu, Self::Xen, Self::Test];

    /// The last element of its connect object's path.
    #[must_use]
    pub fn object(self) -> &'static str {
        match self {
            Self::Qemu => "QEMU",
            Self::Xen => "Xen",
            Self::Test => "Test",
        }
    }
}

impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Qemu => "qemu",
            Self::Xen => "xen",
            Self::Test => "test",
        })
    }
}

impl FromStr for Driver {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|d| d.to_string() == text);
        found.ok_or_else(|| format!("unknown driver '{text}': it is qemu, xen or test"))
    }
}

impl TryFrom<String> for Driver {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// Why the settings cannot be used, in one line.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadConfig(String);

impl Settings {
    /// What the file at `path` says, whose text is `text`. An error names line and column.
    ///
    /// # Errors
    /// Text that is no TOML, a key that does not exist, a value of the wrong type.
    pub fn parse(path: &Utf8Path, text: &str) -> Result<Self, BadConfig> {
        toml::from_str(text).map_err(|error| {
            let (line, column) = position(text, error.span().map_or(0, |s| s.start));
            BadConfig(format!("{path}:{line}:{column}: {}", error.message()))
        })
    }

    /// These settings, and `under` where they say nothing.
    #[must_use]
    pub fn over(self, under: Self) -> Self {
        Self {
            bus: self.bus.or(under.bus),
            bus_name: self.bus_name.or(under.bus_name),
            state_dir: self.state_dir.or(under.state_dir),
            runtime_dir: self.runtime_dir.or(under.runtime_dir),
            driver: if self.driver.is_empty() { under.driver } else { self.driver },
            risky_revert: self.risky_revert.or(under.risky_revert),
        }
    }
}

fn position(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |l| l.chars().count()) + 1;
    (line, column)
}

/// Who runs the daemon and where such a user's files go.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// Whether it is root.
    pub root: bool,
    /// `$HOME`.
    pub home: Option<Utf8PathBuf>,
    /// `$XDG_CONFIG_HOME`.
    pub config_home: Option<Utf8PathBuf>,
    /// `$XDG_STATE_HOME`.
    pub state_home: Option<Utf8PathBuf>,
    /// `$XDG_RUNTIME_DIR`.
    pub runtime_dir: Option<Utf8PathBuf>,
}

impl Surroundings {
    /// Those of this process. As the XDG specification has it, a relative path counts as unset.
    #[must_use]
    pub fn of_this_process() -> Self {
        let path = |name: &str| std::env::var(name).ok().map(Utf8PathBuf::from).filter(|p| p.is_absolute());
        Self {
            root: rustix::process::geteuid().is_root(),
            home: path("HOME"),
            config_home: path("XDG_CONFIG_HOME"),
            state_home: path("XDG_STATE_HOME"),
            runtime_dir: path("XDG_RUNTIME_DIR"),
        }
    }

    /// The file that is read when none is named, if it exists.
    #[must_use]
    pub fn config_file(&self) -> Option<Utf8PathBuf> {
        if self.root {
            return Some("/etc/virsnap/virsnapd.toml".into());
        }
        let home = || self.home.as_ref().map(|h| h.join(".config"));
        self.config_home.clone().or_else(home).map(|c| c.join("virsnap/virsnapd.toml"))
    }
}

/// Everything decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The bus to serve on.
    pub bus: Bus,
    /// The name to own there.
    pub bus_name: String,
    /// What must survive a reboot.
    pub state_dir: Utf8PathBuf,
    /// Sockets and the like.
    pub runtime_dir: Utf8PathBuf,
    /// At least one, each once.
    pub drivers: Vec<Driver>,
    /// Whether a revert may end a running hypervisor without FORCE.
    pub risky_revert: RiskyRevert,
}

impl Config {
    /// The settings, completed with what fits who runs the daemon.
    ///
    /// # Errors
    /// A directory that was not named and has no default, a relative one.
    pub fn decide(settings: Settings, around: &Surroundings) -> Result<Self, BadConfig> {
        let state = || {
            let home = || around.home.as_ref().map(|h| h.join(".local/state"));
            around.state_home.clone().or_else(home).map(|s| s.join("virsnap"))
        };
        let runtime = || around.runtime_dir.as_ref().map(|r| r.join("virsnap"));
        let (bus, state, runtime) = if around.root {
            (Bus::System, Some("/var/lib/virsnap".into()), Some("/run/virsnap".into()))
        } else {
            (Bus::Session, state(), runtime())
        };
        let mut drivers = Vec::new();
        for driver in settings.driver {
            if !drivers.contains(&driver) {
                drivers.push(driver);
            }
        }
        if drivers.is_empty() {
            // As libvirt-dbus: the Test driver is always there, and costs nothing until it is asked.
            drivers.extend([Driver::Qemu, Driver::Test]);
        }
        Ok(Self {
            bus: settings.bus.unwrap_or(bus),
            bus_name: settings.bus_name.unwrap_or_else(|| "org.libvirt".to_owned()),
            state_dir: directory("state-dir", "HOME", settings.state_dir.or(state))?,
            runtime_dir: directory("runtime-dir", "XDG_RUNTIME_DIR", settings.runtime_dir.or(runtime))?,
            drivers,
            risky_revert: settings.risky_revert.unwrap_or_default(),
        })
    }
}

fn directory(key: &str, variable: &str, path: Option<Utf8PathBuf>) -> Result<Utf8PathBuf, BadConfig> {
    match path {
        Some(path) if path.is_absolute() => Ok(path),
        Some(path) => Err(BadConfig(format!("{key} '{path}' is not an absolute path"))),
        None => Err(BadConfig(format!("${variable} is not set, so {key} must be given"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user() -> Surroundings {
        let (home, runtime) = (Some("/home/u".into()), Some("/run/user/7".into()));
        Surroundings { root: false, home, config_home: None, state_home: None, runtime_dir: runtime }
    }

    #[test]
    fn root_and_a_user_have_their_own_defaults() {
        let root = Config::decide(Settings::default(), &Surroundings { root: true, ..user() }).unwrap();
        assert_eq!((root.bus, root.bus_name.as_str()), (Bus::System, "org.libvirt"));
        assert_eq!((root.state_dir.as_str(), root.runtime_dir.as_str()), ("/var/lib/virsnap", "/run/virsnap"));
        assert_eq!(root.risky_revert, RiskyRevert::Allow);
        assert_eq!(root.drivers, [Driver::Qemu, Driver::Test]);
        let user = Config::decide(Settings::default(), &user()).unwrap();
        assert_eq!(user.bus, Bus::Session);
        assert_eq!(
            (user.state_dir.as_str(), user.runtime_dir.as_str()),
            ("/home/u/.local/state/virsnap", "/run/user/7/virsnap")
        );
    }

    #[test]
    fn the_command_line_wins_over_the_file() {
        let file =
            Settings::parse("f".into(), "bus = 'system'\nstate-dir = '/s'\ndriver = ['qemu', 'qemu']\n").unwrap();
        let line = Settings { bus: Some(Bus::Session), ..Settings::default() };
        let config = Config::decide(line.over(file), &user()).unwrap();
        assert_eq!((config.bus, config.state_dir.as_str(), config.drivers), (Bus::Session, "/s", vec![Driver::Qemu]));
    }

    #[test]
    fn a_mistake_in_the_file_is_named_by_line_and_column() {
        for (text, error) in [
            ("bus = 'system'\nbusname = 'x'\n", "f:2:1: unknown field `busname`"),
            ("\n\nstate-dir = 5\n", "f:3:13: invalid type: integer `5`"),
            ("driver = ['vbox']\n", "f:1:10: unknown driver 'vbox': it is qemu, xen or test"),
            ("bus = 'sytem'\n", "f:1:7: 'sytem' is neither 'system' nor 'session' nor the address of a bus"),
            ("bus = \n", "f:1:7: "),
            ("risky-revert = 'no'\n", "f:1:16: 'no' is neither 'allow' nor 'refuse'"),
        ] {
            let told = Settings::parse("f".into(), text).unwrap_err().to_string();
            assert!(told.starts_with(error), "{told}");
        }
    }

    #[test]
    fn a_directory_that_is_relative_or_unknown_is_refused() {
        let relative = Settings { state_dir: Some("x".into()), ..Settings::default() };
        let told = Config::decide(relative, &user()).unwrap_err().to_string();
        assert_eq!(told, "state-dir 'x' is not an absolute path");
        let told = Config::decide(Settings::default(), &Surroundings::default()).unwrap_err().to_string();
        assert_eq!(told, "$HOME is not set, so state-dir must be given");
    }
}

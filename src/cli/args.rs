//! The command line, by virsh's rules: options of the program, then a command and its words, or one word that is a whole
//! script (`virsnap 'list; snapshot-list demo'`). A word without `--name` fills the first option that takes a word and has
//! none yet, so `--domain D` and `D` mean the same.
//!
//! clap parses the program's own options and prints what it knows of them. A command's words are parsed here, because
//! clap cannot say which option a bare word belongs to, nor refuse in virsh's order and words.

mod command;

pub(super) use command::{filled, parts};

use super::failure::Failure;
use super::spec::Command;
use super::words;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction};
use std::ffi::OsString;

/// clap's name of the command and its words.
const WORDS: &str = "\0words";

/// The options that stand before any command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Global {
    /// `--connect`: libvirt's URI of a hypervisor.
    pub uri: Option<String>,
    /// `--bus`: `system`, `session` or an address; `None`: the user's default.
    pub bus: Option<String>,
    /// `--bus-name`.
    pub bus_name: String,
    /// `--driver`, as it stands in object paths.
    pub driver: Option<&'static str>,
    /// `-q`.
    pub quiet: bool,
}

/// What the user typed for one command.
#[derive(Debug, Clone)]
pub struct Typed {
    /// The command.
    pub command: &'static Command,
    flags: Vec<&'static str>,
    values: Vec<(&'static str, String)>,
}

impl Typed {
    /// Whether the option was given.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.flags.contains(&name) || self.value(name).is_some()
    }
    /// The option's value.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&str> {
        self.values.iter().find(|(n, _)| *n == name).map(|(_, v)| v.as_str())
    }
    /// All values of an option that may be repeated.
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.values.iter().filter(move |(n, _)| *n == name).map(|(_, v)| v.as_str())
    }
}

/// A whole command line.
#[derive(Debug, Clone)]
pub struct Parsed {
    /// Before the commands.
    pub global: Global,
    /// The commands, in their order.
    pub commands: Vec<Typed>,
}

/// Why there is no command to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// Help or version: print it, and all is well.
    Print(String),
    /// The command line is wrong.
    Usage(Failure),
}

/// Parses a command line, the program's name first.
pub fn parse(argv: Vec<OsString>) -> Result<Parsed, Stop> {
    let words = app().try_get_matches_from(&argv).map_err(stop)?.remove_many::<String>(WORDS);
    let words: Vec<String> = words.map(Iterator::collect).unwrap_or_default();
    let scripts = match words.as_slice() {
        [] => return Err(Stop::Usage(Failure::new("no command given; `virsnap help` lists them"))),
        [script] => words::commands(script).map_err(Stop::Usage)?,
        _ => vec![words.clone()],
    };
    let mut global_argv = argv;
    global_argv.truncate(global_argv.len() - words.len());
    let mut commands = Vec::new();
    for words in scripts {
        commands.push(command::command(words, &mut global_argv).map_err(Stop::Usage)?);
    }
    Ok(Parsed { global: global(global_argv)?, commands })
}

/// The program's own options, its name first.
pub(super) fn global(argv: Vec<OsString>) -> Result<Global, Stop> {
    let matches = app().try_get_matches_from(argv).map_err(stop)?;
    let text = |id: &str| matches.get_one::<String>(id).cloned();
    Ok(Global {
        uri: text("connect"),
        bus: text("bus"),
        bus_name: text("bus-name").unwrap_or_else(|| "org.libvirt".into()),
        driver: text("driver").map(|d| match d.as_str() {
            "xen" => "Xen",
            "test" => "Test",
            _ => "QEMU",
        }),
        quiet: matches.get_flag("quiet"),
    })
}

fn app() -> clap::Command {
    let words = Arg::new(WORDS).action(ArgAction::Append).num_args(0..).trailing_var_arg(true).hide(true);
    program().args_override_self(true).arg(words).after_help(super::reference::help::overview())
}

/// The program's own options.
pub(super) fn program() -> clap::Command {
    let value = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    clap::Command::new("virsnap")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Virtual machines and their snapshots, over D-Bus, in virsh's manner")
        .override_usage("virsnap [OPTIONS] COMMAND [ARGUMENTS]\n       virsnap [OPTIONS] 'COMMAND [ARGUMENTS]; ...'")
        .arg(
            value("connect", "URI", "hypervisor: qemu:///system, qemu:///session, xen:///system or test:///default")
                .short('c')
                .conflicts_with("driver"),
        )
        .arg(value(
            "bus",
            "system|session|ADDRESS",
            "message bus to use (default: as the URI says, else system for root, session for others)",
        ))
        .arg(value("bus-name", "NAME", "name of the service (default: org.libvirt)"))
        .arg(
            value("driver", "DRIVER", "hypervisor (default: qemu; of the xl commands: xen)")
                .value_parser(["qemu", "xen", "test"]),
        )
        .arg(
            Arg::new("quiet")
                .short('q')
                .long("quiet")
                .action(ArgAction::SetTrue)
                .help("quiet mode: no headers, no confirmations, no empty lines"),
        )
}

/// clap's error about the program's own options, in virsh's words where virsh has them.
fn stop(error: clap::Error) -> Stop {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        return Stop::Print(error.to_string());
    }
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        _ => String::new(),
    };
    let bare = |text: String| text.split([' ', '=']).next().unwrap_or_default().to_owned();
    let option = bare(context(ContextKind::InvalidArg));
    Stop::Usage(Failure::new(match error.kind() {
        ErrorKind::UnknownArgument => format!("unsupported option '{option}'. See --help."),
        ErrorKind::ArgumentConflict => {
            let other = bare(context(ContextKind::PriorArg));
            format!("Options {option} and {other} are mutually exclusive")
        }
        ErrorKind::InvalidValue if context(ContextKind::InvalidValue).is_empty() => {
            match program().get_arguments().find(|a| a.get_long() == option.strip_prefix("--")).and_then(Arg::get_short)
            {
                Some(letter) => format!("option '-{letter}'/'{option}' requires an argument"),
                None => format!("option '{option}' requires an argument"),
            }
        }
        _ => {
            let rendered = error.to_string();
            let lines: Vec<&str> = rendered.lines().take_while(|l| !l.is_empty()).map(str::trim).collect();
            let text = lines.join(" ");
            text.strip_prefix("error: ").unwrap_or(&text).to_owned()
        }
    }))
}

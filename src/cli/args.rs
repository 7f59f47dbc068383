//! The command line, by virsh's rules: a word without `--name` fills the first option that takes
//! a word and has none yet, so `--domain D` and `D` mean the same.
//!
//! clap splits the words and prints the help; which option a word belongs to is decided here,
//! in the order in which they were typed.

use super::spec::{self, Command, Kind, Opt};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches};
use std::ffi::OsString;

/// clap's name of the words that belong to no option yet.
const WORDS: &str = "\0words";

/// Over the options that every command has.
const EVERYWHERE: &str = "Options of every command";

/// The options that stand before any command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Global {
    /// `--bus`: `system`, `session` or an address; `None`: the user's default.
    pub bus: Option<String>,
    /// `--bus-name`.
    pub bus_name: String,
    /// `--driver`, as it stands in object paths.
    pub driver: &'static str,
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
    /// Before the command.
    pub global: Global,
    /// The command.
    pub typed: Typed,
}

/// Why there is no command to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// Help or version: print it, and all is well.
    Print(String),
    /// The command line is wrong.
    Usage(String),
}

/// Parses a command line, the program's name first.
pub fn parse(argv: Vec<OsString>) -> Result<Parsed, Stop> {
    let matches = app().try_get_matches_from(argv).map_err(stop)?;
    let (name, sub) = named(&matches).ok_or_else(|| Stop::Usage("no command given".into()))?;
    let command = spec::find(&name).ok_or_else(|| unknown_command(&name))?;
    let text = |id: &str| sub.get_one::<String>(id).cloned();
    let global = Global {
        bus: text("bus"),
        bus_name: text("bus-name").unwrap_or_else(|| "org.libvirt".into()),
        driver: match text("driver").as_deref() {
            Some("xen") => "Xen",
            Some("test") => "Test",
            None if command.place().0 == Some("xl") => "Xen",
            _ => "QEMU",
        },
        quiet: sub.get_flag("quiet"),
    };
    Ok(Parsed { global, typed: typed(command, sub)? })
}

/// The command's full name, and what was given to it.
fn named(matches: &ArgMatches) -> Option<(String, &ArgMatches)> {
    let (first, sub) = matches.subcommand()?;
    Some(sub.subcommand().map_or_else(|| (first.to_owned(), sub), |(name, sub)| (format!("{first} {name}"), sub)))
}

/// The clap definition of everything in [`spec`], for parsing and for help.
#[must_use]
pub fn app() -> clap::Command {
    program()
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommands(spec::commands().filter(|c| c.place().0.is_none()).map(subcommand))
        .subcommands(spec::GROUPS.iter().map(group))
}

/// The program with the options that every command has, and no command.
pub(super) fn program() -> clap::Command {
    let global = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help).global(true).help_heading(EVERYWHERE)
    };
    clap::Command::new("virsnap")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Virtual machines and their snapshots, over D-Bus, in virsh's manner")
        .arg(global(
            "bus",
            "system|session|ADDRESS",
            "message bus to use (default: system for root, session for others)",
        ))
        .arg(global("bus-name", "NAME", "name of the service (default: org.libvirt)"))
        .arg(
            global("driver", "DRIVER", "hypervisor (default: qemu; of the xl commands: xen)")
                .value_parser(["qemu", "xen", "test"]),
        )
        .arg(
            Arg::new("quiet")
                .short('q')
                .long("quiet")
                .action(ArgAction::SetTrue)
                .global(true)
                .help_heading(EVERYWHERE)
                .help("quiet mode: no headers, no confirmations, no empty lines"),
        )
}

fn group(group: &'static spec::Group) -> clap::Command {
    let members = spec::commands().filter(|c| c.place().0 == Some(group.name));
    clap::Command::new(group.name).about(group.help).subcommand_required(true).subcommands(members.map(subcommand))
}

fn subcommand(command: &'static Command) -> clap::Command {
    let mut app = clap::Command::new(command.place().1).about(command.help);
    for option in command.options {
        app = app.arg(argument(option));
    }
    app.arg(Arg::new(WORDS).action(ArgAction::Append).num_args(0..).hide(true))
        .override_usage(format!("virsnap {}", command.usage()))
}

/// The option by its name.
pub(super) fn argument(option: &'static Opt) -> Arg {
    let arg = Arg::new(option.name).long(option.name).help(option.help);
    let arg = match option.kind {
        Kind::Flag => arg.action(ArgAction::SetTrue),
        _ => arg.action(ArgAction::Append).value_name("string").allow_hyphen_values(true),
    };
    match option.short {
        Some(letter) => arg.short(letter),
        None => arg,
    }
}

fn typed(command: &'static Command, matches: &ArgMatches) -> Result<Typed, Stop> {
    let mut typed = Typed { command, flags: Vec::new(), values: Vec::new() };
    let mut given: Vec<(usize, Option<&'static Opt>, String)> = Vec::new();
    for option in command.options {
        if option.kind == Kind::Flag {
            typed.flags.extend(matches.get_flag(option.name).then_some(option.name));
        } else {
            given.extend(placed(matches, option.name).map(|(at, value)| (at, Some(option), value)));
        }
    }
    given.extend(placed(matches, WORDS).map(|(at, value)| (at, None, value)));
    given.sort_by_key(|(at, ..)| *at);
    let named = |option: &Opt| given.iter().any(|(_, o, _)| o.is_some_and(|o| o.name == option.name));
    let needed = command.options.iter().filter(|o| o.kind == Kind::Required && !named(o)).count();
    let mut spare = given.iter().filter(|(_, o, _)| o.is_none()).count().saturating_sub(needed);
    for (_, option, value) in given {
        let taken = |o: &Opt| o.kind != Kind::Words && typed.value(o.name).is_some();
        let option = match option {
            Some(option) if taken(option) => return Err(seen(option)),
            Some(option) => option,
            None => command
                .options
                .iter()
                .find(|o| o.takes_a_word() && !taken(o) && (o.kind != Kind::Before || spare > 0))
                .ok_or_else(|| Stop::Usage(format!("unexpected data '{value}'")))?,
        };
        spare -= usize::from(option.kind == Kind::Before && spare > 0);
        typed.values.push((option.name, value));
    }
    match command.options.iter().find(|o| o.is_required() && typed.value(o.name).is_none()) {
        Some(missing) => Err(Stop::Usage(format!("command '{}' requires <{}> option", command.name, missing.name))),
        None => Ok(typed),
    }
}

/// The values of one clap argument with their places on the command line.
fn placed<'a>(matches: &'a ArgMatches, id: &'a str) -> impl Iterator<Item = (usize, String)> + 'a {
    let values = matches.get_many::<String>(id).into_iter().flatten().cloned();
    matches.indices_of(id).into_iter().flatten().zip(values)
}

fn seen(option: &Opt) -> Stop {
    Stop::Usage(format!("option --{} already seen", option.name))
}

fn unknown_command(name: &str) -> Stop {
    Stop::Usage(format!("unknown command: '{name}'"))
}

/// clap's error in virsh's words where virsh has them, else clap's own first line.
fn stop(error: clap::Error) -> Stop {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        return Stop::Print(error.to_string());
    }
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    let rendered = error.to_string();
    let command = rendered.lines().find_map(|l| l.strip_prefix("Usage: virsnap ")).and_then(|usage| {
        let words: Vec<&str> = usage.split_whitespace().take(2).collect();
        spec::find(&words.join(" ")).or_else(|| spec::find(words.first()?))
    });
    let option = context(ContextKind::InvalidArg).and_then(|a| a.strip_prefix("--"));
    let bare = |text: &str| text.split([' ', '=', '.']).next().unwrap_or_default().to_owned();
    let first = || {
        let lines: Vec<&str> = rendered.lines().take_while(|l| !l.is_empty()).map(str::trim).collect();
        let text = lines.join(" ");
        text.strip_prefix("error: ").unwrap_or(&text).to_owned()
    };
    Stop::Usage(match (error.kind(), command, option) {
        (ErrorKind::InvalidSubcommand, ..) => {
            let name = context(ContextKind::InvalidSubcommand).unwrap_or_default();
            // clap's usage line names the group that was asked.
            let group = spec::GROUPS.iter().find(|g| rendered.contains(&format!("Usage: virsnap {} ", g.name)));
            return unknown_command(&group.map_or_else(|| name.to_owned(), |g| format!("{} {name}", g.name)));
        }
        (ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand, ..) => {
            "no command given; `virsnap help` lists them".into()
        }
        (ErrorKind::UnknownArgument, Some(command), Some(option)) => {
            format!("command '{}' doesn't support option --{}", command.name, bare(option))
        }
        (ErrorKind::UnknownArgument, Some(_), None) => {
            format!("unexpected data '{}'", context(ContextKind::InvalidArg).unwrap_or_default())
        }
        (ErrorKind::ArgumentConflict, _, Some(option)) => format!("option --{} already seen", bare(option)),
        (ErrorKind::TooManyValues, Some(_), Some(option)) => {
            format!("invalid '=' after option --{}", bare(option))
        }
        (ErrorKind::InvalidValue, _, Some(option)) if context(ContextKind::InvalidValue) == Some("") => {
            format!("expected syntax: --{} <string>", bare(option))
        }
        _ => first(),
    })
}

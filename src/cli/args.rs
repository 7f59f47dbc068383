//! The command line, by virsh's rules: options of the program, then a command and its words, or one word that is a whole
//! script (`virsnap 'list; snapshot-list demo'`). A word without `--name` fills the first option that takes a word and has
//! none yet, so `--domain D` and `D` mean the same.
//!
//! clap parses the program's own options and prints what it knows of them. A command's words are parsed here, because
//! clap cannot say which option a bare word belongs to, nor refuse in virsh's order and words.

use super::failure::Failure;
use super::spec::{self, Command, Kind, Opt};
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
        commands.push(command(words, &mut global_argv).map_err(Stop::Usage)?);
    }
    let matches = app().try_get_matches_from(global_argv).map_err(stop)?;
    let text = |id: &str| matches.get_one::<String>(id).cloned();
    let global = Global {
        uri: text("connect"),
        bus: text("bus"),
        bus_name: text("bus-name").unwrap_or_else(|| "org.libvirt".into()),
        driver: text("driver").map(|d| match d.as_str() {
            "xen" => "Xen",
            "test" => "Test",
            _ => "QEMU",
        }),
        quiet: matches.get_flag("quiet"),
    };
    Ok(Parsed { global, commands })
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

/// One word of a command, or what is wrong with it.
enum Part {
    Flag(&'static Opt),
    Value(&'static Opt, String),
    Bare(String),
    Wrong(String),
}

/// One command. The program's own options are allowed behind it where it has none of that name; they go to `global`.
fn command(words: Vec<String>, global: &mut Vec<OsString>) -> Result<Typed, Failure> {
    let mut words = words.into_iter();
    let mut name = words.next().unwrap_or_default();
    if spec::GROUPS.iter().any(|g| g.name == name) {
        let mut member = words.next();
        while let Some(option) = member.take_if(|m| m.starts_with('-')) {
            let taken = globally(&option, None, &mut words);
            let unknown = || Failure::new(format!("command '{name}' doesn't support option {option}"));
            global.extend(taken.ok_or_else(unknown)?);
            member = words.next();
        }
        let member = member.ok_or_else(|| Failure::new(format!("command '{name}' requires <command> option")))?;
        name = format!("{name} {member}");
    }
    let command = spec::find(&name).ok_or_else(|| Failure::new(format!("unknown command: '{name}'")))?;
    let parts = parts(command, words, global);
    if command.name == "help" {
        // Whatever else stands there.
        let asked =
            parts.into_iter().find_map(|p| if let Part::Bare(w) | Part::Value(_, w) = p { Some(w) } else { None });
        return Ok(Typed { command, flags: vec![], values: asked.map(|w| ("command", w)).into_iter().collect() });
    }
    let typed = filled(command, parts)?;
    if typed.has(HELP.name) {
        return help_on(command.name);
    }
    let missing = command.options.iter().filter(|o| o.is_required() && typed.value(o.name).is_none());
    let missing = missing.map(|o| Failure::new(format!("command '{}' requires <{}> option", command.name, o.name)));
    missing.reduce(|all, one| one.lines().iter().fold(all, Failure::and)).map_or(Ok(typed), Err)
}

/// `--help` behind any command.
const HELP: Opt = Opt { name: "help", short: None, kind: Kind::Flag, help: "print help for this function" };

fn help_on(name: &str) -> Result<Typed, Failure> {
    let command = spec::find("help").ok_or_else(|| Failure::new("unknown command: 'help'"))?;
    Ok(Typed { command, flags: vec![], values: vec![("command", name.to_owned())] })
}

/// What each word is, up to the first that is wrong.
fn parts(command: &'static Command, words: impl Iterator<Item = String>, global: &mut Vec<OsString>) -> Vec<Part> {
    let mut words = words.peekable();
    let mut parts = Vec::new();
    let mut only_data = false;
    let has_letters = command.options.iter().any(|o| o.short.is_some());
    while let Some(word) = words.next() {
        let long = word.strip_prefix("--").filter(|w| w.starts_with(|c: char| c.is_ascii_alphanumeric()));
        let (option, name, inline) = match (only_data, long) {
            (true, _) => {
                parts.push(Part::Bare(word));
                continue;
            }
            (false, Some(long)) => {
                let (name, inline) = long.split_once('=').map_or((long, None), |(n, v)| (n, Some(v)));
                let option = if name == HELP.name { Some(&HELP) } else { command.option(name) };
                (option, word.split('=').next().unwrap_or(&word), inline)
            }
            (false, None) if word == "--" => {
                only_data = true;
                continue;
            }
            (false, None) => match word.strip_prefix('-').and_then(|w| w.chars().next()).filter(|_| has_letters) {
                Some(letter) => {
                    let option = command.options.iter().find(|o| o.short == Some(letter));
                    let rest = word.get(1 + letter.len_utf8()..).filter(|r| !r.is_empty());
                    (option, word.as_str(), rest)
                }
                None => {
                    parts.push(Part::Bare(word));
                    continue;
                }
            },
        };
        let Some(option) = option else {
            match globally(name, inline, &mut words) {
                Some(taken) => global.extend(taken),
                None => {
                    parts.push(Part::Wrong(format!("command '{}' doesn't support option {name}", command.name)));
                    break;
                }
            }
            continue;
        };
        let part = match (option.kind, inline) {
            (Kind::Flag, None) => Part::Flag(option),
            (Kind::Flag, Some(_)) => Part::Wrong(format!("invalid '=' after option --{}", option.name)),
            (_, Some(value)) => Part::Value(option, value.to_owned()),
            (_, None) => match words.next() {
                Some(value) => Part::Value(option, value),
                None => Part::Wrong(format!("expected syntax: --{} <string>", option.name)),
            },
        };
        parts.push(part);
    }
    parts
}

/// The words of an option of the program that stands behind a command; `name` with its dashes.
fn globally(name: &str, inline: Option<&str>, words: &mut impl Iterator<Item = String>) -> Option<Vec<OsString>> {
    let program = program();
    let named = |a: &&Arg| match name.strip_prefix("--") {
        Some(long) => a.get_long() == Some(long),
        None => a.get_short().is_some_and(|letter| name.strip_prefix('-') == Some(letter.encode_utf8(&mut [0; 4]))),
    };
    let option = program.get_arguments().find(named)?;
    let mut taken = vec![match inline {
        Some(value) => format!("{name}={value}").into(),
        None => name.to_owned().into(),
    }];
    if inline.is_none() && option.get_action().takes_values() {
        taken.extend(words.next().map(OsString::from));
    }
    Some(taken)
}

/// Gives every bare word to its option.
fn filled(command: &'static Command, parts: Vec<Part>) -> Result<Typed, Failure> {
    let mut typed = Typed { command, flags: Vec::new(), values: Vec::new() };
    let named = |o: &Opt| parts.iter().any(|p| matches!(p, Part::Value(n, _) if n.name == o.name));
    let needed = command.options.iter().filter(|o| o.kind == Kind::Required && !named(o)).count();
    let mut spare = parts.iter().filter(|p| matches!(p, Part::Bare(_))).count().saturating_sub(needed);
    let seen = |option: &Opt| Failure::new(format!("option --{} already seen", option.name));
    for part in parts {
        let taken = |o: &Opt| o.kind != Kind::Words && typed.has(o.name);
        match part {
            Part::Wrong(text) => return Err(Failure::new(text)),
            Part::Flag(option) | Part::Value(option, _) if taken(option) => return Err(seen(option)),
            Part::Flag(option) => typed.flags.push(option.name),
            Part::Value(option, value) => typed.values.push((option.name, value)),
            Part::Bare(word) => {
                let mut open = command.options.iter().filter(|o| o.takes_a_word() && !taken(o));
                let option = open
                    .find(|o| o.kind != Kind::Before || spare > 0)
                    .ok_or_else(|| Failure::new(format!("unexpected data '{word}'")))?;
                spare -= usize::from(option.kind == Kind::Before && spare > 0);
                typed.values.push((option.name, word));
            }
        }
    }
    Ok(typed)
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

//! What may stand where the cursor is: the shells' scripts ask for it (`virsnap complete -- WORDS… CURRENT`), as virsh's do.
//!
//! Own code: a completion crate knows neither which option a bare word fills nor the snapshots of the domain before it.

use super::args;
use super::reference::{completion, man};
use super::spec::{self, Command, Kind, Opt};
use clap::Arg;
use std::ffi::OsString;

/// What is expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// One of these.
    Words(Vec<Offer>),
    /// A domain.
    Domain,
    /// A snapshot of the domain.
    Snapshot {
        /// Its name, UUID or id.
        domain: String,
    },
    /// A file, or something that is the user's to say.
    Unknown,
}

/// A word that may be said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// The word.
    pub word: String,
    /// What it means; may be empty.
    pub help: String,
}

/// A command line that is being typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The program's own options in it.
    pub global: Vec<OsString>,
    /// What the last word may be.
    pub expected: Expected,
}

fn offers<'a>(words: impl IntoIterator<Item = (&'a str, &'a str)>) -> Expected {
    let offer = |(word, help): (&str, &str)| Offer { word: word.to_owned(), help: help.to_owned() };
    Expected::Words(words.into_iter().map(offer).collect())
}

/// Reads the words before the cursor, the program's name not among them, and `current`, the begun one.
#[must_use]
pub fn read(before: &[String], current: &str) -> Line {
    let mut global = Vec::new();
    let mut words = before.iter();
    while let Some(word) = words.next() {
        if !word.starts_with('-') {
            let rest: Vec<String> = words.cloned().collect();
            let expected = in_command(word, rest, current, &mut global);
            return Line { global, expected };
        }
        global.push(word.into());
        let program = args::program();
        let Some(option) = program.get_arguments().find(|a| names(a, word)) else { continue };
        if option.get_action().takes_values() && !word.contains('=') {
            match words.next() {
                Some(value) => global.push(value.into()),
                None => {
                    global.pop();
                    return Line { global, expected: of_program(option) };
                }
            }
        }
    }
    let expected = if current.starts_with('-') {
        let program = args::program();
        let long = |a: &Arg| {
            Some(Offer { word: format!("--{}", a.get_long()?), help: a.get_help().map(ToString::to_string)? })
        };
        Expected::Words(program.get_arguments().filter_map(long).collect())
    } else {
        let alone = spec::commands().filter(|c| c.place().0.is_none() && c.name != spec::COMPLETE);
        offers(alone.map(|c| (c.name, c.help)).chain(spec::GROUPS.iter().map(|g| (g.name, g.help))))
    };
    Line { global, expected }
}

fn names(option: &Arg, word: &str) -> bool {
    match word.split('=').next().and_then(|w| w.strip_prefix("--")) {
        Some(long) => option.get_long() == Some(long),
        None => {
            option.get_short().is_some_and(|letter| word.strip_prefix('-') == Some(letter.encode_utf8(&mut [0; 4])))
        }
    }
}

/// What one of the program's own options may be.
fn of_program(option: &Arg) -> Expected {
    match option.get_id().as_str() {
        "connect" => offers(super::uri::KNOWN.iter().map(|uri| (*uri, ""))),
        "driver" => offers(["qemu", "xen", "test"].map(|driver| (driver, ""))),
        "bus" => offers(["system", "session"].map(|bus| (bus, ""))),
        _ => Expected::Unknown,
    }
}

fn in_command(name: &str, mut rest: Vec<String>, current: &str, global: &mut Vec<OsString>) -> Expected {
    let mut name = name.to_owned();
    if spec::GROUPS.iter().any(|g| g.name == name) {
        if rest.is_empty() {
            let members = spec::commands().filter(|c| c.place().0 == Some(&name));
            return offers(members.map(|c| (c.place().1, c.help)));
        }
        name = format!("{name} {}", rest.remove(0));
    }
    let Some(command) = spec::find(&name) else { return Expected::Unknown };
    let only_data = rest.iter().any(|w| w == "--");
    let last = rest.last().filter(|_| !only_data).and_then(|word| option(command, word));
    let begun = last.filter(|o| o.kind != Kind::Flag);
    if begun.is_some() {
        rest.pop();
    }
    let Ok(typed) = args::filled(command, args::parts(command, rest.into_iter(), global)) else {
        return Expected::Unknown;
    };
    let is_free = |o: &&Opt| o.kind == Kind::Words || !typed.has(o.name);
    if begun.is_none() && current.starts_with('-') && !only_data {
        let free: Vec<(String, &str)> =
            command.options.iter().filter(is_free).map(|o| (format!("--{}", o.name), o.help)).collect();
        return offers(free.iter().map(|(word, help)| (word.as_str(), *help)));
    }
    // Of `[FILE] DOMAIN` the domain is what can be offered.
    let by_place = || command.options.iter().filter(is_free).find(|o| o.takes_a_word() && o.kind != Kind::Before);
    match begun.or_else(by_place).map(|o| o.name) {
        Some("domain") => Expected::Domain,
        Some("snapshotname" | "from") => {
            Expected::Snapshot { domain: typed.value("domain").unwrap_or_default().to_owned() }
        }
        Some("name") if command.place().0.is_some() => {
            Expected::Snapshot { domain: typed.value("domain").unwrap_or_default().to_owned() }
        }
        Some("shell") => offers(completion::SHELLS.iter().map(|shell| (*shell, ""))),
        Some("page") => offers(man::PAGES.iter().map(|page| (*page, ""))),
        Some("mode") => offers(["acpi", "agent", "initctl", "signal", "paravirt"].map(|mode| (mode, ""))),
        Some("command") => offers(spec::commands().map(|c| (c.name, c.help))),
        _ => Expected::Unknown,
    }
}

/// The option that the word names.
fn option(command: &'static Command, word: &str) -> Option<&'static Opt> {
    match word.strip_prefix("--") {
        Some(name) => command.option(name),
        None => {
            let letter = word.strip_prefix('-').filter(|w| w.chars().count() == 1)?.chars().next();
            command.options.iter().find(|o| o.short.is_some() && o.short == letter)
        }
    }
}

/// The lines to print: what begins with `current`, and behind a tab what it means.
#[must_use]
pub fn lines(offers: &[Offer], current: &str) -> String {
    let fitting = offers.iter().filter(|o| o.word.starts_with(current) && !o.word.contains(['\n', '\t']));
    fitting
        .map(|o| if o.help.is_empty() { format!("{}\n", o.word) } else { format!("{}\t{}\n", o.word, o.help) })
        .collect()
}

//! One command's words: which option each belongs to, and the first that is wrong, in virsh's words
//! (`tools/vsh.c: vshCommandParse`).

use super::super::failure::Failure;
use super::super::spec::{self, Command, Kind, Opt};
use super::{Typed, program};
use clap::Arg;
use std::ffi::OsString;

/// One word of a command, or what is wrong with it.
pub(in crate::cli) enum Part {
    Flag(&'static Opt),
    Value(&'static Opt, String),
    Bare(String),
    Wrong(String),
}

/// One command. The program's own options are allowed behind it where it has none of that name; they go to `global`.
pub(super) fn command(words: Vec<String>, global: &mut Vec<OsString>) -> Result<Typed, Failure> {
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
pub(in crate::cli) fn parts(
    command: &'static Command,
    words: impl Iterator<Item = String>,
    global: &mut Vec<OsString>,
) -> Vec<Part> {
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
pub(in crate::cli) fn filled(command: &'static Command, parts: Vec<Part>) -> Result<Typed, Failure> {
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

//! `help`, as virsh prints it (`tools/vsh.c: vshCmddefHelp`): of everything, of the commands under one heading, of one.

use super::super::failure::Failure;
use super::super::spec::{self, Command, Kind, Section};
use std::fmt::Write;

/// What `help` prints, of all or of what was named.
pub fn of(named: Option<&str>) -> Result<String, Failure> {
    let Some(name) = named else { return Ok(format!("Grouped commands:\n\n{}", all(":"))) };
    if let Some(section) = spec::SECTIONS.iter().find(|s| s.keyword == name || s.title == name) {
        return Ok(under(section, ":"));
    }
    let found = spec::find(name);
    found.map(page).ok_or_else(|| Failure::new(format!("command or command group '{name}' doesn't exist")))
}

/// What stands below the options of `--help`.
pub(in crate::cli) fn overview() -> String {
    let mut text = all("");
    text.push_str("\n  (specify help <group> for details about the commands in the group)\n");
    text.push_str("\n  (specify help <command> for details about the command)\n");
    text
}

fn all(end: &str) -> String {
    spec::SECTIONS.iter().map(|s| under(s, end) + "\n").collect()
}

fn under(section: &Section, end: &str) -> String {
    let mut text = format!(" {} (help keyword '{}'){end}\n", section.title, section.keyword);
    for command in section.commands {
        line(&mut text, format_args!("    {:<30} {}", command.name, command.help));
    }
    text
}

fn page(command: &Command) -> String {
    let mut text = format!("  NAME\n    {} - {}\n\n  SYNOPSIS\n    {}\n", command.name, command.help, command.usage());
    if !command.about.is_empty() {
        text.push_str("\n  DESCRIPTION\n");
        command.about.lines().for_each(|l| line(&mut text, format_args!("    {l}")));
    }
    if !command.options.is_empty() {
        text.push_str("\n  OPTIONS\n");
    }
    for option in command.options {
        let letter = option.short.map(|l| format!("-{l} | ")).unwrap_or_default();
        let head = match option.kind {
            Kind::Flag => format!("{letter}--{}", option.name),
            Kind::Value | Kind::Word | Kind::Named => format!("{letter}--{} <string>", option.name),
            Kind::Required | Kind::Before | Kind::Words => format!("[--{}] <string>", option.name),
        };
        line(&mut text, format_args!("    {head:<15}  {}", option.help));
    }
    text.push('\n');
    text
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{line}");
}

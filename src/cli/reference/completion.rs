//! Completion scripts of shells.

use super::super::args;
use super::super::failure::Failure;
use super::super::spec::{self, Command, Kind, Opt};
use clap::{Arg, ArgAction, ValueHint};
use clap_complete::Shell;

/// The shells that have one.
pub const SHELLS: &[&str] = &["bash", "zsh", "fish"];

/// The script of one shell.
pub fn script(shell: &str) -> Result<String, Failure> {
    let (generator, words) = match shell {
        // bash would offer the name of a word in place of it.
        "bash" => (Shell::Bash, Words::Known),
        "zsh" => (Shell::Zsh, Words::All),
        "fish" => (Shell::Fish, Words::All),
        other => return Err(super::unknown("shell", other, SHELLS)),
    };
    let mut bytes = Vec::new();
    clap_complete::generate(generator, &mut app(words), "virsnap", &mut bytes);
    String::from_utf8(bytes).map_err(|_| Failure::new("the script is not UTF-8 text"))
}

/// The words without a dash that completion is told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Words {
    All,
    Known,
}

/// As for parsing, but every word has an argument of its own.
fn app(words: Words) -> clap::Command {
    let commands = |group| spec::commands().filter(move |c| c.place().0 == group).map(move |c| command(c, words));
    let groups =
        spec::GROUPS.iter().map(|g| clap::Command::new(g.name).about(g.help).subcommands(commands(Some(g.name))));
    args::program().disable_help_subcommand(true).subcommands(commands(None)).subcommands(groups)
}

fn command(command: &'static Command, words: Words) -> clap::Command {
    let mut app = clap::Command::new(command.place().1).about(command.help);
    for option in command.options {
        app = app.arg(hinted(argument(option), option));
        if option.takes_a_word() && (words == Words::All || !values(option).is_empty()) {
            // Another id than the option's.
            let word = Arg::new(option.name.to_uppercase()).help(option.help).required(false);
            let word = if option.kind == Kind::Words { word.num_args(0..) } else { word };
            app = app.arg(hinted(word, option));
        }
    }
    app
}

/// The option by its name.
fn argument(option: &'static Opt) -> Arg {
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

fn hinted(arg: Arg, option: &Opt) -> Arg {
    match option.name {
        _ if option.kind == Kind::Flag => arg,
        "file" | "xmlfile" | "configfile" => arg.value_hint(ValueHint::FilePath),
        _ if !values(option).is_empty() => arg.value_parser(clap::builder::PossibleValuesParser::new(values(option))),
        _ => arg.value_hint(ValueHint::Other),
    }
}

/// All that may be said, where it is known.
fn values(option: &Opt) -> &'static [&'static str] {
    match option.name {
        "shell" => SHELLS,
        "page" => super::man::PAGES,
        _ => &[],
    }
}

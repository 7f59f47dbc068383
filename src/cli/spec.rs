//! Every command and option as data: parsing and help read the same table. Names, order and help
//! texts are virsh's (`tools/virsh-*.c`); the order decides what a word without `--name` means.

mod domain;
mod snapshot;

/// How an option is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `--name`.
    Flag,
    /// Must be given, as `--name VALUE` or as a word.
    Required,
    /// `--name VALUE` or a word.
    Word,
    /// `--name VALUE` only.
    Value,
    /// `--name VALUE` or words, as often as wished.
    Words,
}

/// One option of a command.
#[derive(Debug, Clone, Copy)]
pub struct Opt {
    /// Without the dashes.
    pub name: &'static str,
    /// How it is given.
    pub kind: Kind,
    /// One line.
    pub help: &'static str,
}

/// One command.
#[derive(Debug, Clone, Copy)]
pub struct Command {
    /// As typed.
    pub name: &'static str,
    /// One line.
    pub help: &'static str,
    /// In the order in which words fill them.
    pub options: &'static [Opt],
}

impl Command {
    /// The option of that name.
    #[must_use]
    pub fn option(&self, name: &str) -> Option<&'static Opt> {
        self.options.iter().find(|o| o.name == name)
    }
}

/// All commands, in the order of the help page.
pub fn commands() -> impl Iterator<Item = &'static Command> {
    domain::COMMANDS.iter().chain(snapshot::COMMANDS)
}

/// The command of that name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Command> {
    commands().find(|c| c.name == name)
}

const fn flag(name: &'static str, help: &'static str) -> Opt {
    Opt { name, kind: Kind::Flag, help }
}
const fn required(name: &'static str, help: &'static str) -> Opt {
    Opt { name, kind: Kind::Required, help }
}
const fn word(name: &'static str, help: &'static str) -> Opt {
    Opt { name, kind: Kind::Word, help }
}
const DOMAIN: Opt = required("domain", "domain name, id or uuid");

//! Every command and option as data: parsing, help, manual pages and shell completion read the same table. Names,
//! order and help texts are virsh's (`tools/virsh-*.c`) or, below `xl`, those proposed on xen-devel; the order decides what a
//! word without `--name` means.

mod beyond;
mod domain;
mod own;
mod snapshot;
mod xl;

/// How an option is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `--name`.
    Flag,
    /// Must be given, as `--name VALUE` or as a word.
    Required,
    /// `--name VALUE` or a word.
    Word,
    /// The same, if there are more words than the required options behind it need: `[FILE] DOMAIN`.
    Before,
    /// Must be given, as `--name VALUE`.
    Named,
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
    /// Its letter, if it has one.
    pub short: Option<char>,
    /// How it is given.
    pub kind: Kind,
    /// One line.
    pub help: &'static str,
}

/// One command.
#[derive(Debug, Clone, Copy)]
pub struct Command {
    /// As typed, its group first: `list`, `xl snapshot-list`.
    pub name: &'static str,
    /// One line.
    pub help: &'static str,
    /// What `help` says of it; lines. virsh's, or none.
    pub about: &'static str,
    /// In the order in which words fill them.
    pub options: &'static [Opt],
}

impl Command {
    /// The option of that name.
    #[must_use]
    pub fn option(&self, name: &str) -> Option<&'static Opt> {
        self.options.iter().find(|o| o.name == name)
    }
    /// The group it belongs to, and its name there.
    #[must_use]
    pub fn place(&self) -> (Option<&'static str>, &'static str) {
        self.name.split_once(' ').map_or((None, self.name), |(group, name)| (Some(group), name))
    }
    /// The driver that it asks if the user names none, as it stands in object paths.
    #[must_use]
    pub fn default_driver(&self) -> &'static str {
        if self.place().0 == Some("xl") { "Xen" } else { "QEMU" }
    }
    /// How it is typed, behind the program's name.
    #[must_use]
    pub fn usage(&self) -> String {
        self.options.iter().fold(self.name.to_owned(), |usage, option| usage + " " + &option.synopsis())
    }
}

impl Opt {
    /// Whether a word may stand for it.
    #[must_use]
    pub fn takes_a_word(&self) -> bool {
        matches!(self.kind, Kind::Required | Kind::Word | Kind::Before | Kind::Words)
    }
    /// Whether the command fails without it.
    #[must_use]
    pub fn is_required(&self) -> bool {
        matches!(self.kind, Kind::Required | Kind::Named)
    }
    fn synopsis(&self) -> String {
        let name = self.name;
        match (self.kind, self.short) {
            (Kind::Flag, None) => format!("[--{name}]"),
            (Kind::Flag, Some(letter)) => format!("[-{letter}|--{name}]"),
            (Kind::Required, _) => format!("<{name}>"),
            (Kind::Before, _) => format!("[{name}]"),
            (Kind::Named, None) => format!("--{name} <string>"),
            (Kind::Named, Some(letter)) => format!("-{letter} <{name}>"),
            (Kind::Word | Kind::Value, None) => format!("[--{name} <string>]"),
            (Kind::Word | Kind::Value, Some(letter)) => format!("[-{letter} <{name}>]"),
            (Kind::Words, _) => format!("[[--{name}] <string>]..."),
        }
    }
}

/// Commands under one name.
#[derive(Debug, Clone, Copy)]
pub struct Group {
    /// As typed.
    pub name: &'static str,
    /// One line.
    pub help: &'static str,
}

/// All groups.
pub const GROUPS: &[Group] = &[xl::GROUP];

/// Commands under one heading of the help page.
#[derive(Debug, Clone, Copy)]
pub struct Section {
    /// The heading.
    pub title: &'static str,
    /// What `help` calls it.
    pub keyword: &'static str,
    /// Its commands.
    pub commands: &'static [Command],
}

/// All commands by their headings, in the order of the help page.
pub const SECTIONS: &[Section] = &[
    Section { title: "Domain Management", keyword: "domain", commands: domain::MANAGEMENT },
    Section { title: "Domain Monitoring", keyword: "monitor", commands: domain::MONITORING },
    Section { title: "Snapshot", keyword: "snapshot", commands: snapshot::COMMANDS },
    Section { title: "Beyond libvirt", keyword: "beyond", commands: beyond::COMMANDS },
    Section { title: "Snapshots in the manner of Xen's xl", keyword: "xl", commands: xl::COMMANDS },
    Section { title: "Virsnap itself", keyword: "virsnap", commands: own::COMMANDS },
];

/// The name of the command that shells use; no help speaks of it.
pub const COMPLETE: &str = own::COMPLETE.name;

/// All commands that people use, in the order of the help page.
pub fn commands() -> impl Iterator<Item = &'static Command> {
    SECTIONS.iter().flat_map(|s| s.commands)
}

/// The command of that name, its group first.
#[must_use]
pub fn find(name: &str) -> Option<&'static Command> {
    commands().chain([&own::COMPLETE]).find(|c| c.name == name)
}

const fn flag(name: &'static str, help: &'static str) -> Opt {
    Opt { name, short: None, kind: Kind::Flag, help }
}
const fn required(name: &'static str, help: &'static str) -> Opt {
    Opt { name, short: None, kind: Kind::Required, help }
}
const fn word(name: &'static str, help: &'static str) -> Opt {
    Opt { name, short: None, kind: Kind::Word, help }
}
const fn value(name: &'static str, help: &'static str) -> Opt {
    Opt { name, short: None, kind: Kind::Value, help }
}
const DOMAIN: Opt = required("domain", "domain name, id or uuid");
const SECURITY: Opt = flag("security-info", "include security sensitive information in XML dump");
const XPATH: Opt = value("xpath", "xpath expression to filter the XML document");
const WRAP: Opt = flag("wrap", "wrap xpath results in an common root element");
/// Not virsh's.
const DRY_RUN: Opt = flag("dry-run", "say what would be done, and do nothing");
/// Not virsh's.
const JSON: Opt = flag("json", "for programs: as JSON");

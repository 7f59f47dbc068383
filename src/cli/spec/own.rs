//! What the program says of itself.

use super::{Command, Kind, Opt, required, word};

pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "help",
        help: "print help",
        about: "Prints global help, command specific help, or help for a\ngroup of related commands",
        options: &[word(
            "command",
            "Prints global help, command specific help, or help for a group of related commands",
        )],
    },
    Command {
        name: "completion",
        help: "print the completion script of a shell",
        about: "",
        options: &[required("shell", "bash, zsh or fish")],
    },
    Command {
        name: "man",
        help: "print a manual page, for man(1)",
        about: "",
        options: &[word("page", "virsnap (default) or xl")],
    },
];

/// As virsh's, it is for shells.
pub(super) const COMPLETE: Command = Command {
    name: "complete",
    help: "internal command for autocompletion",
    about: "",
    options: &[Opt { name: "string", short: None, kind: Kind::Words, help: "partial string to autocomplete" }],
};

//! What the program says of itself.

use super::{Command, required, word};

pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "completion",
        help: "print the completion script of a shell",
        options: &[required("shell", "bash, zsh or fish")],
    },
    Command {
        name: "man",
        help: "print a manual page, for man(1)",
        options: &[word("page", "virsnap (default) or xl")],
    },
];

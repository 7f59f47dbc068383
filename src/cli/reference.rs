//! What the program says of itself, made from the table that it parses by: manual pages and completion scripts. No
//! service is asked.

pub mod completion;
pub mod help;
pub mod man;

use super::args::Typed;
use super::failure::Failure;
use super::spec;

/// The text that `help`, `completion` or `man` prints; `None`: another command was typed.
#[must_use]
pub fn text(typed: &Typed) -> Option<Result<String, Failure>> {
    match typed.command.name {
        "help" => Some(help::of(typed.value("command"))),
        "completion" => Some(completion::script(typed.value("shell").unwrap_or_default())),
        "man" => Some(man::page(typed.value("page").unwrap_or("virsnap"))),
        _ => None,
    }
}

/// Whether what the command prints is another program's input, which an empty line does not belong to.
#[must_use]
pub fn is_a_file(typed: &Typed) -> bool {
    matches!(typed.command.name, "completion" | "man" | spec::COMPLETE)
}

fn unknown(what: &str, said: &str, known: &[&str]) -> Failure {
    Failure::new(format!("unknown {what} '{said}'; there are {}", known.join(", ")))
}

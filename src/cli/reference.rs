//! What the program says of itself, made from the table that it parses by: manual pages and completion scripts. No
//! service is asked.

pub mod completion;
pub mod man;

use super::args::Typed;
use super::failure::Failure;

/// The text that `completion` or `man` prints; `None`: another command was typed.
#[must_use]
pub fn text(typed: &Typed) -> Option<Result<String, Failure>> {
    match typed.command.name {
        "completion" => Some(completion::script(typed.value("shell").unwrap_or_default())),
        "man" => Some(man::page(typed.value("page").unwrap_or("virsnap"))),
        _ => None,
    }
}

fn unknown(what: &str, said: &str, known: &[&str]) -> Failure {
    Failure::new(format!("unknown {what} '{said}'; there are {}", known.join(", ")))
}

//! Refusals, and when virsh makes them.

use super::super::args::Typed;
use super::super::failure::Failure;

/// Why there is no action.
#[derive(Debug)]
pub(super) enum Refusal {
    /// Whatever domain was named.
    AtOnce(Failure),
    /// Told only where there is such a domain.
    OnceFound(Failure),
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self::AtOnce(failure)
    }
}

/// The option's value; an empty one is refused (`vshCommandOptStringReq`).
pub(in crate::cli) fn text<'t>(typed: &'t Typed, option: &str) -> Result<Option<&'t str>, Failure> {
    match typed.value(option) {
        Some("") => Err(Failure::new(format!("Failed to get option '{option}': Option argument is empty"))),
        value => Ok(value),
    }
}

//! Why a command failed, as the lines that virsh prints after `error: `.

use super::wire::CallError;

/// One or more lines, the command's own first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure(Vec<String>);

impl Failure {
    /// A failure that is told in one line.
    pub fn new(line: impl Into<String>) -> Self {
        Self(vec![line.into()])
    }
    /// A failure that was told already.
    #[must_use]
    pub fn told() -> Self {
        Self(Vec::new())
    }
    /// The service's answer behind a line of the command's own. A call that never got through failed by itself.
    pub fn behind(first: impl Into<String>, cause: CallError) -> Self {
        match cause {
            CallError::Libvirt(text) => Self(vec![first.into(), text]),
            CallError::NotOffered(text) | CallError::Transport(text) => Self::new(text),
        }
    }
    /// The same with one more line.
    #[must_use]
    pub fn and(mut self, line: impl Into<String>) -> Self {
        self.0.push(line.into());
        self
    }
    /// What to print.
    #[must_use]
    pub fn lines(&self) -> &[String] {
        &self.0
    }
}

impl From<CallError> for Failure {
    fn from(cause: CallError) -> Self {
        Self::new(cause.into_text())
    }
}

impl From<super::args::Stop> for Failure {
    fn from(stop: super::args::Stop) -> Self {
        match stop {
            super::args::Stop::Usage(failure) => failure,
            super::args::Stop::Print(text) => Self::new(text),
        }
    }
}

/// virsh's `VSH_EXCLUSIVE_OPTIONS`.
#[must_use]
pub fn exclusive(a: &str, b: &str) -> Failure {
    Failure::new(format!("Options --{a} and --{b} are mutually exclusive"))
}

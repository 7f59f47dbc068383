//! The comma-separated options of one device: `mac=00:16:3e:00:00:01,bridge=xenbr0`.
//!
//! xl knows no quotes here: a value with a comma cannot be written.

use super::keys::unspeakable;
use crate::error::Result;
use crate::host::strict::Strict;
use std::fmt;

/// Options in order, each `key=value` or a word.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Options(Vec<String>);

impl Options {
    /// Split at commas; blanks around an option mean nothing.
    pub(super) fn parse(text: &str) -> Self {
        Self(text.split(',').map(str::trim).filter(|o| !o.is_empty()).map(str::to_owned).collect())
    }
    /// Take the value of `key`.
    pub(super) fn take(&mut self, key: &str) -> Option<String> {
        let value =
            |option: &String| option.split_once('=').filter(|(k, _)| k.trim() == key).map(|(_, v)| v.to_owned());
        let found = self.0.iter().rev().find_map(value)?;
        self.0.retain(|option| value(option).is_none());
        Some(found.trim().to_owned())
    }
    /// Append `key=value`; see [`plain`] for which values fit.
    pub(super) fn set(&mut self, key: &str, value: &str) {
        self.0.push(format!("{key}={value}"));
    }
    /// Append an option as it is.
    pub(super) fn push(&mut self, option: String) {
        self.0.push(option);
    }
    /// All of them.
    pub(super) fn into_all(self) -> Vec<String> {
        self.0
    }
    /// Whether an option or word of that name is there.
    pub(super) fn has(&self, key: &str) -> bool {
        self.0.iter().any(|o| o.split('=').next().map(str::trim) == Some(key))
    }
}

impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(","))
    }
}

/// An attribute that becomes an option's value; one that would come out as something else is refused.
pub(super) fn plain<'a>(e: &mut Strict<'a, '_>, name: &'static str) -> Result<Option<&'a str>> {
    match e.attr(name) {
        Some(value) if !is_plain(value) => Err(e.refuse_value(name)),
        value => Ok(value.filter(|v| !v.is_empty())),
    }
}

/// Whether a value comes back from an option as it was.
pub(super) fn is_plain(value: &str) -> bool {
    value.trim() == value && !value.contains(|c: char| c == ',' || c.is_control() || unspeakable(c))
}

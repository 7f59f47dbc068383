//! A cursor over a configuration that knows which keys were taken, as `Strict` does for XML;
//! what nobody took is preserved.
//!
//! A value that XML cannot hold as a value (empty, blanks at its ends, control characters) is left
//! to be preserved too.

use super::{Config, Value};
use crate::error::{Error, Result};
use std::fmt;

/// One configuration being read.
pub(super) struct Keys<'c> {
    config: &'c Config,
    taken: Vec<&'static str>,
}

impl<'c> Keys<'c> {
    pub(super) fn new(config: &'c Config) -> Self {
        Self { config, taken: Vec::new() }
    }

    /// Look without taking.
    pub(super) fn get(&self, key: &str) -> Option<&'c Value> {
        self.config.get(key)
    }
    /// Say that a key is in the XML now.
    pub(super) fn take(&mut self, key: &'static str) {
        self.taken.push(key);
    }
    /// What nobody took.
    pub(super) fn rest(&self) -> Config {
        let settings = self.config.settings().filter(|s| !self.taken.contains(&s.key()));
        Config { settings: settings.cloned().collect() }
    }

    /// Take a text that XML can hold.
    pub(super) fn text(&mut self, key: &'static str) -> Result<Option<&'c str>> {
        let found = self.peek_text(key)?.filter(|text| fits(text));
        if found.is_some() {
            self.take(key);
        }
        Ok(found)
    }
    /// Take a text if it is one of these words.
    pub(super) fn word(&mut self, key: &'static str, words: &[&str]) -> Result<Option<&'c str>> {
        let found = self.peek_text(key)?.filter(|text| words.contains(text));
        if found.is_some() {
            self.take(key);
        }
        Ok(found)
    }
    /// Take a number as strtol reads it: decimal, octal, hexadecimal.
    pub(super) fn number(&mut self, key: &'static str) -> Result<Option<u64>> {
        let Some(text) = self.peek_text(key)? else { return Ok(None) };
        let number = strtol(text).ok_or_else(|| self.wrong(key, format_args!("'{text}' is not a number")))?;
        self.take(key);
        Ok(Some(number))
    }
    /// Take a number that stands for yes or no.
    pub(super) fn flag(&mut self, key: &'static str) -> Result<Option<bool>> {
        Ok(self.number(key)?.map(|n| n != 0))
    }
    /// Take a list of texts; one text is a list of one.
    pub(super) fn texts(&mut self, key: &'static str) -> Result<Vec<&'c str>> {
        let texts = match self.get(key) {
            None => return Ok(Vec::new()),
            Some(Value::Text(text)) => vec![text.as_str()],
            Some(Value::List(items)) => {
                let texts: Option<Vec<_>> = items.iter().map(Value::as_text).collect();
                texts.ok_or_else(|| self.wrong(key, "a list of strings is expected"))?
            }
        };
        self.take(key);
        Ok(texts)
    }
    fn peek_text(&self, key: &'static str) -> Result<Option<&'c str>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(Value::List(_)) => Err(self.wrong(key, "a string or number is expected")),
        }
    }

    /// The error of a key's value.
    pub(super) fn wrong(&self, key: &str, reason: impl fmt::Display) -> Error {
        match self.config.place(key) {
            Some(place) => Error::config(format!("xl configuration, {place}: {key}: {reason}")),
            None => Error::config(format!("xl configuration: {key}: {reason}")),
        }
    }
    /// The error of a key that must be there.
    pub(super) fn missing(&self, key: &str) -> Error {
        Error::config(format!("xl configuration: {key} is missing"))
    }
}

/// Whether a text comes back from XML as it was.
pub(super) fn fits(text: &str) -> bool {
    !text.is_empty() && text.trim() == text && !text.contains(|c: char| c == '\n' || unspeakable(c))
}

/// What no XML document can hold, or `escape` drops.
pub(super) fn unspeakable(c: char) -> bool {
    matches!(c, '\0'..='\x08' | '\x0b' | '\x0c' | '\x0e'..='\x1f' | '\u{fffe}' | '\u{ffff}')
}

fn strtol(text: &str) -> Option<u64> {
    let text = text.trim_start();
    if let Some(hex) = text.strip_prefix("0x") {
        return u64::from_str_radix(hex, 16).ok();
    }
    match text.strip_prefix('0') {
        Some(octal) if !octal.is_empty() => u64::from_str_radix(octal, 8).ok(),
        _ => text.parse().ok(),
    }
}

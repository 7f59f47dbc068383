//! Domain configurations: xl's text, libvirt's XML of type `xen`, and what a running domain really has.
//!
//! ```text
//!   xl.cfg text ◀──────▶ Config ◀─ from_xml / to_xml ─▶ <domain type='xen'>
//!   xl list -l (JSON) ───▶ Config, with the keys of the original text that the JSON does not say
//! ```
//!
//! Keys that the XML cannot say are kept verbatim in `<metadata><xl:config xmlns:xl='urn:virsnap:xl'>`, options of a disk or
//! interface in an `<xl:options>` of its own, and are written out again. An element that a configuration cannot say is
//! refused by name and line. Must not know: files, commands.

pub mod capabilities;
mod check;
mod devices;
mod disk;
mod from_xml;
mod running;
#[cfg(test)]
mod tests;
mod to_xml;

use crate::error::{Code, Error, Result};
use crate::text::xl::{self, Value};
use std::fmt;

pub use check::check;
pub use from_xml::to_config;
pub use running::{Running, from_running};
pub use to_xml::from_config;

/// The namespace of what only xl understands.
pub(super) const NAMESPACE: &str = "urn:virsnap:xl";

/// Keys and values in their order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Config {
    settings: Vec<(String, Value)>,
}

impl Config {
    /// Read xl's text. Errors name line and column.
    pub fn parse(text: &str) -> Result<Self> {
        let settings = xl::parse(text).map_err(|wrong| Error::new(Code::ConfigUnsupported, wrong.to_string()))?;
        // As in xl: of a key that is set twice the last value counts.
        let mut config = Self::default();
        for setting in settings {
            config.set(&setting.key, setting.value);
        }
        Ok(config)
    }

    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.settings.iter().find(|(k, _)| k == key).map(|(_, v)| v)
    }
    /// Set a key, where it stands or at the end.
    pub fn set(&mut self, key: &str, value: Value) {
        match self.settings.iter_mut().find(|(k, _)| k == key) {
            Some((_, old)) => *old = value,
            None => self.settings.push((key.to_owned(), value)),
        }
    }
    /// The keys, in their order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.settings.iter().map(|(k, _)| k.as_str())
    }

    fn text(&self, key: &str) -> Option<&str> {
        match self.get(key)? {
            Value::Text(text) if !text.is_empty() => Some(text),
            _ => None,
        }
    }
    fn number(&self, key: &str) -> Option<i64> {
        match self.get(key)? {
            Value::Integer(n) => Some(*n),
            Value::Text(text) => text.trim().parse().ok(),
            Value::List(_) => None,
        }
    }
    fn list(&self, key: &str) -> Vec<&str> {
        let texts = |v: &'_ Value| matches!(v, Value::Text(_));
        match self.get(key) {
            Some(Value::List(items)) => items
                .iter()
                .filter(|(v, _)| texts(v))
                .filter_map(|(v, _)| match v {
                    Value::Text(text) => Some(text.as_str()),
                    _ => None,
                })
                .collect(),
            _ => Vec::new(),
        }
    }
    fn set_text(&mut self, key: &str, text: impl Into<String>) {
        self.set(key, Value::Text(text.into()));
    }
    fn set_number(&mut self, key: &str, number: u64) {
        self.set(key, Value::Integer(i64::try_from(number).unwrap_or(i64::MAX)));
    }
    fn set_list(&mut self, key: &str, items: Vec<String>) {
        if !items.is_empty() {
            let place = xl::Place { line: 1, column: 1 };
            self.set(key, Value::List(items.into_iter().map(|i| (Value::Text(i), place)).collect()));
        }
    }
}

impl fmt::Display for Config {
    /// xl's text: a line per key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.iter().try_for_each(|(key, value)| writeln!(f, "{key} = {}", Shown(value)))
    }
}

/// One line of a configuration.
fn line(key: &str, value: &Value) -> String {
    format!("{key} = {}", Shown(value))
}

struct Shown<'v>(&'v Value);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Value::Integer(n) => write!(f, "{n}"),
            Value::Text(text) => quoted(text, f),
            Value::List(items) => {
                f.write_str("[")?;
                for (i, (item, _)) in items.iter().enumerate() {
                    if i > 0 {
                        f.write_str(", ")?;
                    }
                    Shown(item).fmt(f)?;
                }
                f.write_str("]")
            }
        }
    }
}

fn quoted(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str("\"")?;
    for c in text.chars() {
        match c {
            '"' | '\\' => write!(f, "\\{c}")?,
            '\n' => f.write_str("\\n")?,
            '\t' => f.write_str("\\t")?,
            '\r' => f.write_str("\\r")?,
            c if c.is_control() && (c as u32) < 0x80 => write!(f, "\\x{:02x}", c as u32)?,
            c => write!(f, "{c}")?,
        }
    }
    f.write_str("\"")
}

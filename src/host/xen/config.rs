//! Domain configurations of Xen: xl's text, libvirt's XML, and what runs.
//!
//! ```text
//!              parse                 from_config
//!   xl.cfg(5) ───────▶  Config  ◀══════════════════▶  <domain type='xen'>
//!             ◀───────    ▲          to_config
//!              Display    │
//!   xl list -l ───────────┘ from_running
//! ```
//!
//! A [`Config`] is what xl reads: keys in their order, each with a text or a list; it knows no
//! key. Each noun of a domain (`guest`, `boot`, `disk`, `screen`, …) has a module with two
//! functions, `read` from XML into keys and `write` from keys into XML; both go by the same table, so
//! that a key is said once.
//!
//! Nothing is lost on either way. What XML says and xl cannot do is refused by element and line
//! (`Strict`). What xl can do and XML cannot say stays as xl's own words: a key as a line of
//! `<metadata><xl:config>`, an option of one device as `<xl:options>` within that device (`kept`).
//!
//! Must not know: files, processes, whether a path exists.

pub mod capabilities;

mod boot;
mod chardev;
mod define;
mod devices;
mod disk;
mod features;
mod guest;
mod interface;
mod kept;
mod keys;
mod listed;
mod markup;
mod options;
mod parse;
mod running;
mod screen;
#[cfg(test)]
mod tests;
mod value;

pub use define::check;
pub use parse::{Fault, MAX_BYTES, MAX_DEPTH, Malformed};
pub use running::{Running, from_running};
pub use value::Value;

use crate::error::{Code, Error, Result};
use crate::host::strict::Strict;
use crate::xml::element::Document;
use crate::xml::scan::{Limits, Place};
use guest::Guest;
use keys::Keys;
use markup::Markup;
use std::fmt;

/// One `key = value`.
#[derive(Debug, Clone)]
pub struct Setting {
    key: String,
    value: Value,
    place: Option<Place>,
}

impl Setting {
    /// The key: a small letter, then small letters, digits and underscores.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }
    /// What it is set to.
    #[must_use]
    pub fn value(&self) -> &Value {
        &self.value
    }
}

/// Where it was read does not matter.
impl PartialEq for Setting {
    fn eq(&self, other: &Self) -> bool {
        (&self.key, &self.value) == (&other.key, &other.value)
    }
}
impl Eq for Setting {}

/// The configuration of one domain, as xl reads it (xl.cfg(5)): every key once, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Config {
    settings: Vec<Setting>,
}

impl Config {
    /// Read xl's text. Of a key that is set twice the last counts, `+=` adds to the one before, as for xl.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        parse::parse(text)
    }

    /// Every setting, in order.
    pub fn settings(&self) -> impl Iterator<Item = &Setting> {
        self.settings.iter()
    }

    /// What a key is set to.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.settings.iter().find(|s| s.key == key).map(|s| &s.value)
    }

    /// What a key is set to, if that is a text.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<&str> {
        self.get(key).and_then(Value::as_text)
    }

    fn place(&self, key: &str) -> Option<Place> {
        self.settings.iter().find(|s| s.key == key).and_then(|s| s.place)
    }

    fn set(&mut self, key: &str, value: impl Into<Value>) {
        self.push(Setting { key: key.to_owned(), value: value.into(), place: None });
    }

    fn add(&mut self, key: &str, item: impl Into<Value>) {
        match self.settings.iter_mut().find(|s| s.key == key).map(|s| &mut s.value) {
            Some(Value::List(items)) => items.push(item.into()),
            _ => self.set(key, Value::List(vec![item.into()])),
        }
    }

    fn push(&mut self, setting: Setting) {
        self.settings.retain(|s| s.key != setting.key);
        self.settings.push(setting);
    }
}

/// xl's text: one setting a line.
impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.iter().try_for_each(|s| writeln!(f, "{} = {}", s.key, s.value))
    }
}

/// The configuration with which xl runs a domain of type xen; `name`, `uuid` and `type` are in
/// it. What xl cannot do is refused by element and line. Sizes are rounded up to MiB.
pub fn to_config(xml: &str) -> Result<Config> {
    let document = Document::parse(xml, &Limits::default())?;
    let root = document.root();
    if root.name() != "domain" {
        return Err(Error::new(Code::XmlError, format!("expecting root element of 'domain', not '{}'", root.name())));
    }
    let mut e = Strict::new(root.node());
    match e.attr("type") {
        Some("xen") => {}
        Some(_) => return Err(e.refuse_value("type")),
        None => return Err(Error::new(Code::XmlError, "missing domain type attribute")),
    }
    e.ignore_attrs(&["id"]);
    e.ignore(&["title", "description", "metadata", "seclabel", "resource"]);
    let guest = Guest::of(root)?;
    let mut config = Config::default();
    guest::read(&mut e, guest, &mut config)?;
    boot::read(&mut e, guest, &mut config)?;
    features::read(&mut e, guest, &mut config)?;
    devices::read(&mut e, guest, &mut config)?;
    kept::read_keys(root, &mut config)?;
    e.finish()?;
    guest.check(&config)?;
    Ok(config)
}

/// libvirt's XML for a configuration; keys and options that XML has no word for are preserved
/// in it, and [`to_config`] gives them back.
pub fn from_config(config: &Config) -> Result<String> {
    let mut keys = Keys::new(config);
    let guest = Guest::of_keys(&mut keys)?;
    let (mut head, mut body) = (Markup::at(1), Markup::at(1));
    guest::write_head(&mut keys, &mut head)?;
    guest::write(&mut keys, &mut body)?;
    boot::write(&mut keys, guest, &mut body)?;
    features::write(&mut keys, guest, &mut body)?;
    guest::write_actions(&mut keys, &mut body)?;
    devices::write(&mut keys, guest, &mut body)?;
    kept::write_keys(&keys.rest(), &mut head)?;
    Ok(format!("<domain type='xen'>\n{head}{body}</domain>\n"))
}

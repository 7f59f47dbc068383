//! A cursor over one XML element that knows what of it was read: what nobody asked for is
//! refused by element and line, so that nothing a user wrote is dropped silently.
//!
//! Must not know: what the elements mean, which hypervisor asks.

use crate::error::{Error, Result};
use roxmltree::Node;
use std::str::FromStr;

/// One element being read.
pub(crate) struct Strict<'a, 'i> {
    node: Node<'a, 'i>,
    attributes: Vec<&'static str>,
    children: Vec<&'static str>,
    foreign: Vec<(&'static str, &'static str)>,
}

fn local<'a>(node: Node<'a, '_>) -> Option<&'a str> {
    (node.is_element() && node.tag_name().namespace().is_none()).then(|| node.tag_name().name())
}

impl<'a, 'i> Strict<'a, 'i> {
    pub(crate) fn new(node: Node<'a, 'i>) -> Self {
        Self { node, attributes: Vec::new(), children: Vec::new(), foreign: Vec::new() }
    }
    pub(crate) fn range(&self) -> std::ops::Range<usize> {
        self.node.range()
    }

    /// The text of an attribute.
    pub(crate) fn attr(&mut self, name: &'static str) -> Option<&'a str> {
        self.attributes.push(name);
        self.node.attribute(name)
    }
    /// The text of an attribute that must be there.
    pub(crate) fn need(&mut self, name: &'static str) -> Result<&'a str> {
        self.attr(name).filter(|v| !v.is_empty()).ok_or_else(|| {
            Error::new(
                crate::error::Code::XmlError,
                format!("Missing required attribute '{name}' in element '{}' ({})", self.name(), self.place()),
            )
        })
    }
    /// An attribute with a fixed set of values.
    pub(crate) fn one_of<T: Copy>(&mut self, name: &'static str, table: &[(&str, T)]) -> Result<Option<T>> {
        let Some(text) = self.attr(name) else { return Ok(None) };
        match table.iter().find(|(word, _)| *word == text) {
            Some((_, value)) => Ok(Some(*value)),
            None => Err(self.refuse_value(name)),
        }
    }
    /// `yes`/`no` or `on`/`off`.
    pub(crate) fn switch(&mut self, name: &'static str) -> Result<Option<bool>> {
        self.one_of(name, &[("yes", true), ("on", true), ("no", false), ("off", false)])
    }
    /// A number, decimal or with `0x`.
    pub(crate) fn number<T: TryFrom<u64>>(&mut self, name: &'static str) -> Result<Option<T>> {
        let Some(text) = self.attr(name) else { return Ok(None) };
        match parse_number(text).and_then(|n| T::try_from(n).ok()) {
            Some(n) => Ok(Some(n)),
            None => Err(self.malformed(name)),
        }
    }
    /// Read an attribute and refuse every value but these.
    pub(crate) fn only(&mut self, name: &'static str, values: &[&str]) -> Result<()> {
        match self.attr(name) {
            Some(text) if !values.contains(&text) => Err(self.refuse_value(name)),
            _ => Ok(()),
        }
    }
    /// Attributes that say nothing about the guest.
    pub(crate) fn ignore_attrs(&mut self, names: &[&'static str]) {
        self.attributes.extend_from_slice(names);
    }

    /// Every child of that name.
    pub(crate) fn children(&mut self, name: &'static str) -> Vec<Strict<'a, 'i>> {
        self.children.push(name);
        self.node.children().filter(|n| local(*n) == Some(name)).map(Strict::new).collect()
    }
    /// The child of that name; a second one is refused.
    pub(crate) fn child(&mut self, name: &'static str) -> Result<Option<Strict<'a, 'i>>> {
        let mut all = self.children(name).into_iter();
        let first = all.next();
        match all.next() {
            Some(second) => Err(second.refuse()),
            None => Ok(first),
        }
    }
    /// Whether an element without any content of its own is there.
    pub(crate) fn mark(&mut self, name: &'static str) -> Result<bool> {
        match self.child(name)? {
            Some(e) => e.finish().map(|()| true),
            None => Ok(false),
        }
    }
    /// The trimmed text of a child; `None` if it is absent or empty.
    pub(crate) fn child_text(&mut self, name: &'static str) -> Result<Option<&'a str>> {
        let Some(e) = self.child(name)? else { return Ok(None) };
        let text = e.text();
        e.finish()?;
        Ok(text)
    }
    /// Children that say nothing about the guest.
    pub(crate) fn ignore(&mut self, names: &[&'static str]) {
        self.children.extend_from_slice(names);
    }
    /// Children of another namespace, which the caller reads whole.
    pub(crate) fn foreign_children(&mut self, namespace: &'static str, name: &'static str) -> Vec<Node<'a, 'i>> {
        self.foreign.push((namespace, name));
        self.node.children().filter(|n| n.has_tag_name((namespace, name))).collect()
    }
    /// Its trimmed text.
    pub(crate) fn text(&self) -> Option<&'a str> {
        self.node.text().map(str::trim).filter(|t| !t.is_empty())
    }
    /// Its text as another type.
    pub(crate) fn parse_text<T: FromStr>(&self) -> Result<Option<T>> {
        let Some(text) = self.text() else { return Ok(None) };
        text.parse().map(Some).map_err(|_| self.refuse_text())
    }

    /// Refuse whatever was not asked for.
    pub(crate) fn finish(self) -> Result<()> {
        for a in self.node.attributes() {
            if a.namespace().is_some() || !self.attributes.contains(&a.name()) {
                return Err(self.refuse_attr(a.name()));
            }
        }
        for child in self.node.children().filter(Node::is_element) {
            let known = local(child).is_some_and(|name| self.children.contains(&name))
                || self.foreign.iter().any(|f| child.has_tag_name(*f));
            if !known {
                return Err(Strict::new(child).refuse());
            }
        }
        Ok(())
    }

    fn name(&self) -> &'a str {
        let range = self.node.range();
        let text = self.node.document().input_text().get(range.start + 1..range.end).unwrap_or_default();
        let end = text.find(|c: char| c.is_whitespace() || matches!(c, '/' | '>')).unwrap_or(text.len());
        &text[..end]
    }
    /// `line N, column M`.
    pub(crate) fn place(&self) -> String {
        let at = self.node.document().text_pos_at(self.node.range().start);
        format!("line {}, column {}", at.row, at.col)
    }
    /// The refusal of this element.
    pub(crate) fn refuse(&self) -> Error {
        Error::config(format!("element <{}> ({}) is not supported", self.name(), self.place()))
    }
    /// The refusal of one attribute.
    pub(crate) fn refuse_attr(&self, name: &str) -> Error {
        Error::config(format!("attribute '{name}' of element <{}> ({}) is not supported", self.name(), self.place()))
    }
    /// The refusal of an attribute's value.
    pub(crate) fn refuse_value(&self, name: &str) -> Error {
        let value = self.node.attribute(name).unwrap_or_default();
        Error::config(format!("{name}='{value}' of element <{}> ({}) is not supported", self.name(), self.place()))
    }
    /// The refusal of the element's text.
    pub(crate) fn refuse_text(&self) -> Error {
        let value = self.text().unwrap_or_default();
        Error::config(format!("value '{value}' of element <{}> ({}) is not supported", self.name(), self.place()))
    }
    /// libvirt's words for a value that cannot be read.
    pub(crate) fn malformed(&self, name: &str) -> Error {
        let value = self.node.attribute(name).unwrap_or_default();
        Error::new(
            crate::error::Code::XmlError,
            format!("Invalid value for attribute '{name}' in element '{}': '{value}' ({})", self.name(), self.place()),
        )
    }
}

/// A number as libvirt writes them: decimal, or hexadecimal with `0x`.
pub(crate) fn parse_number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

/// `<memory unit='…'>`, rounded up to KiB (`virDomainParseScaledValue`).
pub(crate) fn size_kib(mut e: Strict<'_, '_>) -> Result<u64> {
    let units: &[(&str, u64)] = &[
        ("b", 1),
        ("bytes", 1),
        ("KB", 1000),
        ("k", 1024),
        ("KiB", 1024),
        ("MB", 1_000_000),
        ("M", 1 << 20),
        ("MiB", 1 << 20),
        ("GB", 1_000_000_000),
        ("G", 1 << 30),
        ("GiB", 1 << 30),
        ("TB", 1_000_000_000_000),
        ("T", 1 << 40),
        ("TiB", 1 << 40),
    ];
    let unit = e.one_of("unit", units)?.unwrap_or(1024);
    e.only("dumpCore", &["on"])?;
    let bytes = e.parse_text::<u64>()?.and_then(|n| n.checked_mul(unit)).filter(|n| *n > 0 && *n < 1 << 50);
    let bytes = bytes.ok_or_else(|| e.refuse_text())?;
    e.finish()?;
    Ok(bytes.div_ceil(1024))
}

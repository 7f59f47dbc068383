//! A cursor over a parsed document: XPath's `string(./child)` and typed attributes, with
//! libvirt's texts for what is missing or wrong.
//!
//! Elements and attributes are matched without namespace, as libvirt's XPath does, the root by
//! its local name.

use super::scan::{self, Limits, Lines, Place};
use crate::error::{Code, Error, Result};
use roxmltree::Node;
use std::fmt;
use std::ops::Range;

/// A document within its limits, well-formed, without DTD.
#[derive(Debug)]
pub struct Document<'t> {
    text: &'t str,
    lines: Lines<'t>,
    tree: roxmltree::Document<'t>,
}

impl<'t> Document<'t> {
    /// Read `text`.
    pub fn parse(text: &'t str, limits: &Limits) -> Result<Self> {
        scan::check(text, limits)?;
        let options = roxmltree::ParsingOptions { nodes_limit: limits.nodes, ..Default::default() };
        let tree = roxmltree::Document::parse_with_options(text, options).map_err(|e| {
            let place = Place { line: e.pos().row, column: e.pos().col };
            scan::not_well_formed(text, place, &e.to_string())
        })?;
        Ok(Self { text, lines: Lines::new(text), tree })
    }

    /// Read `text`, whose root must be `name`.
    pub fn parse_root(text: &'t str, name: &str, limits: &Limits) -> Result<Self> {
        let document = Self::parse(text, limits)?;
        let found = document.root().name();
        if found != name {
            let message = format!("expecting root element of '{name}', not '{found}'");
            return Err(Error::new(Code::XmlError, message));
        }
        Ok(document)
    }

    /// The outermost element.
    #[must_use]
    pub fn root(&self) -> Element<'_> {
        Element { text: self.text, node: self.tree.root_element() }
    }

    /// Where an element is.
    #[must_use]
    pub fn place(&self, element: Element<'_>) -> Place {
        self.lines.place(element.range().start)
    }

    /// The text it was read from.
    #[must_use]
    pub fn text(&self) -> &'t str {
        self.text
    }
}

/// One element.
#[derive(Clone, Copy)]
pub struct Element<'a> {
    text: &'a str,
    node: Node<'a, 'a>,
}

impl fmt::Debug for Element<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}> at {:?}", self.name(), self.range())
    }
}

impl<'a> Element<'a> {
    /// Its local name.
    #[must_use]
    pub fn name(self) -> &'a str {
        self.node.tag_name().name()
    }

    /// The parser's node, for what this cursor has no method for.
    #[must_use]
    pub fn node(self) -> Node<'a, 'a> {
        self.node
    }

    /// Every element directly within.
    pub fn children(self) -> impl Iterator<Item = Element<'a>> {
        self.node.children().filter(Node::is_element).map(move |node| Element { text: self.text, node })
    }

    /// Every element directly within of that name.
    pub fn all(self, name: &str) -> impl Iterator<Item = Element<'a>> {
        self.children().filter(move |child| child.is(name))
    }

    /// The first element directly within of that name.
    #[must_use]
    pub fn child(self, name: &str) -> Option<Element<'a>> {
        self.all(name).next()
    }

    /// The first element at a path such as `os/type`, trying every branch as XPath does.
    #[must_use]
    pub fn find(self, path: &str) -> Option<Element<'a>> {
        match path.split_once('/') {
            None => self.child(path),
            Some((first, rest)) => self.all(first).find_map(|child| child.find(rest)),
        }
    }

    /// Every element within, at any depth, in document order, itself first.
    pub fn descendants(self) -> impl Iterator<Item = Element<'a>> {
        self.node.descendants().filter(Node::is_element).map(move |node| Element { text: self.text, node })
    }

    /// Whether it has that name and no namespace.
    #[must_use]
    pub fn is(self, name: &str) -> bool {
        self.node.has_tag_name(name) && self.node.tag_name().namespace().is_none()
    }

    /// XPath's `string(.)`.
    #[must_use]
    pub fn string(self) -> String {
        self.node.descendants().filter(Node::is_text).filter_map(|n| n.text()).collect()
    }

    /// libvirt's reading of `string(./path)`: absent and empty are the same.
    #[must_use]
    pub fn text(self, path: &str) -> Option<String> {
        self.find(path).map(Element::string).filter(|s| !s.is_empty())
    }

    /// An attribute, which may be empty.
    #[must_use]
    pub fn attribute(self, name: &str) -> Option<&'a str> {
        self.node.attribute(name)
    }

    /// An attribute that is not empty.
    #[must_use]
    pub fn attribute_text(self, name: &str) -> Option<&'a str> {
        self.attribute(name).filter(|v| !v.is_empty())
    }

    /// `virXMLPropEnumDefault`: an attribute that names one of several values.
    pub fn choice<T>(self, name: &str, parse: impl FnOnce(&str) -> Option<T>) -> Result<Option<T>> {
        let Some(value) = self.attribute(name) else { return Ok(None) };
        parse(value).map(Some).ok_or_else(|| self.invalid(name))
    }

    /// `virXMLPropStringRequired`.
    pub fn required(self, name: &str) -> Result<&'a str> {
        self.attribute(name).ok_or_else(|| {
            let message = format!("Missing required attribute '{name}' in element '{}'", self.name());
            Error::new(Code::XmlError, message)
        })
    }

    /// The error for an attribute with a value that makes no sense.
    #[must_use]
    pub fn invalid(self, name: &str) -> Error {
        let value = self.attribute(name).unwrap_or_default();
        let message = format!("Invalid value for attribute '{name}' in element '{}': '{value}'.", self.name());
        Error::new(Code::XmlError, message)
    }

    /// Its bytes in the document, tags included.
    #[must_use]
    pub fn range(self) -> Range<usize> {
        self.node.range()
    }

    /// Its text in the document, tags included.
    #[must_use]
    pub fn outer(self) -> &'a str {
        self.text.get(self.range()).unwrap_or_default()
    }

    /// The bytes between its tags; `None` for `<a/>`.
    #[must_use]
    pub fn inner_range(self) -> Option<Range<usize>> {
        let outer = self.outer();
        let tag = scan::start_tag(outer).filter(|tag| !tag.empty)?;
        let start = self.range().start;
        // An end tag holds no `<` but its first.
        let end = outer.rfind("</")?;
        Some(start + tag.length..start + end)
    }

    /// The byte behind its start tag's last attribute (or name): where another one goes.
    #[must_use]
    pub fn attributes_end(self) -> usize {
        let (start, outer) = (self.range().start, self.outer());
        let Some(tag) = scan::start_tag(outer) else { return start };
        let head = outer.get(..tag.length).unwrap_or_default();
        // Behind the last quote, since the parser does not say where `xmlns:p='…'` is.
        start + head.rfind(['\'', '"']).filter(|_| tag.attributes > 0).unwrap_or(tag.name.len()) + 1
    }

    /// The blanks that stand before it on its line; `None` if something else does.
    #[must_use]
    pub fn indentation(self) -> Option<&'a str> {
        let before = self.text.get(..self.range().start)?;
        let line = &before[before.rfind('\n').map_or(0, |at| at + 1)..];
        line.chars().all(|c| c == ' ' || c == '\t').then_some(line)
    }
}

#[cfg(test)]
#[allow(clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn entities_and_undeclared_prefixes_do_not_parse() {
        for text in ["<a>&b;</a>", "<a><x:b/></a>", "<a/><b/>", "<a b='<'/>", "<a b=1/>", "<a\u{1}/>"] {
            let error = Document::parse(text, &Limits::default()).expect_err(text).to_string();
            assert!(error.starts_with("at line 1: "), "{error}");
        }
    }

    #[test]
    fn ranges_name_the_inside_and_the_place_for_another_attribute() {
        let text = "<a x:q=\"1\" xmlns:x='u>' ><b/>t</a >";
        let doc = Document::parse(text, &Limits::default()).expect("well-formed");
        let a = doc.root();
        assert_eq!(&text[a.inner_range().expect("not empty")], "<b/>t");
        assert_eq!(&text[..a.attributes_end()], "<a x:q=\"1\" xmlns:x='u>'");
        let b = a.child("b").expect("there");
        assert_eq!(b.inner_range(), None);
        assert_eq!(&text[b.range().start..b.attributes_end()], "<b");
    }
}

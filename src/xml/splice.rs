//! Changes of single byte ranges of a text; everything else stays byte for byte.

use super::element::{Document, Element};
use super::{escape, indent};
use std::ops::Range;

/// Collects changes to one document, then applies them at once. All ranges are those of the
/// text as it was; of two changes that overlap the later one is left out.
#[derive(Debug)]
pub struct Splicer<'t> {
    text: &'t str,
    edits: Vec<(Range<usize>, String)>,
}

impl<'t> Splicer<'t> {
    /// No change yet.
    #[must_use]
    pub fn new(document: &Document<'t>) -> Self {
        Self { text: document.text(), edits: Vec::new() }
    }

    /// Put `new` in the place of these bytes.
    pub fn replace(&mut self, range: Range<usize>, new: impl Into<String>) {
        self.edits.push((range, new.into()));
    }

    /// Set an attribute; a new one goes behind those that are there.
    pub fn set_attribute(&mut self, element: Element<'_>, name: &str, value: &str) {
        match attribute_range(self.text, element, name) {
            Some(range) => {
                let quote = if self.text[range.clone()].ends_with('"') { '"' } else { '\'' };
                self.replace(range, format!("{name}={quote}{}{quote}", escape::attribute(value)));
            }
            None => {
                let at = element.attributes_end();
                self.replace(at..at, format!(" {name}='{}'", escape::attribute(value)));
            }
        }
    }

    /// Remove an attribute and the white space before it.
    pub fn remove_attribute(&mut self, element: Element<'_>, name: &str) {
        let Some(range) = attribute_range(self.text, element, name) else { return };
        let start = self.text[..range.start].trim_end_matches(|c: char| c.is_ascii_whitespace()).len();
        self.replace(start..range.end, "");
    }

    /// Replace everything between an element's tags by text.
    pub fn set_text(&mut self, element: Element<'_>, value: &str) {
        self.set_inner(element, &escape::text(value));
    }

    /// Replace everything between an element's tags.
    pub fn set_inner(&mut self, element: Element<'_>, xml: &str) {
        if let Some(inner) = element.inner_range() {
            self.replace(inner, xml);
        } else {
            let (range, name) = (element.range(), qualified_name(element));
            self.replace(element.attributes_end()..range.end, format!(">{xml}</{name}>"));
        }
    }

    /// Remove an element, and its line if nothing else is on it.
    pub fn remove(&mut self, element: Element<'_>) {
        let range = element.range();
        let start = self.line_break_before(range.start).unwrap_or(range.start);
        self.replace(start..range.end, "");
    }

    /// Insert `xml` (without indentation) before `sibling`, on a line of its own if that has one.
    pub fn insert_before(&mut self, sibling: Element<'_>, xml: &str) {
        let at = sibling.range().start;
        let new = match sibling.indentation() {
            Some(blanks) => format!("{}\n{blanks}", indent::embed(xml, blanks.len())),
            None => xml.to_owned(),
        };
        self.replace(at..at, new);
    }

    /// Insert `xml` (without indentation) behind `sibling`, on a line of its own if that has one.
    pub fn insert_after(&mut self, sibling: Element<'_>, xml: &str) {
        let at = sibling.range().end;
        let new = match sibling.indentation() {
            Some(blanks) => format!("\n{blanks}{}", indent::embed(xml, blanks.len())),
            None => xml.to_owned(),
        };
        self.replace(at..at, new);
    }

    /// Insert `xml` (without indentation) as the first child.
    pub fn prepend_child(&mut self, parent: Element<'_>, xml: &str) {
        match parent.children().next() {
            Some(first) => self.insert_before(first, xml),
            None => self.insert_only_child(parent, xml),
        }
    }

    /// Insert `xml` (without indentation) as the last child.
    pub fn append_child(&mut self, parent: Element<'_>, xml: &str) {
        match parent.children().last() {
            Some(last) => self.insert_after(last, xml),
            None => self.insert_only_child(parent, xml),
        }
    }

    fn insert_only_child(&mut self, parent: Element<'_>, xml: &str) {
        let inner = match parent.indentation() {
            Some(blanks) => {
                format!("\n{blanks}  {}\n{blanks}", indent::embed(xml, blanks.len() + 2))
            }
            None => xml.to_owned(),
        };
        match parent.inner_range().filter(|r| !self.text[r.clone()].trim().is_empty()) {
            // Text or comments: leave them.
            Some(range) => self.replace(range.end..range.end, xml),
            None => self.set_inner(parent, &inner),
        }
    }

    fn line_break_before(&self, at: usize) -> Option<usize> {
        let before = self.text[..at].trim_end_matches([' ', '\t']);
        let line = before.strip_suffix('\n')?;
        Some(line.strip_suffix('\r').unwrap_or(line).len())
    }

    /// The changed text.
    #[must_use]
    pub fn finish(mut self) -> String {
        self.edits.sort_by_key(|(range, _)| (range.start, range.end));
        let mut out = String::with_capacity(self.text.len() + 256);
        let mut done = 0;
        for (range, new) in self.edits {
            if range.start < done {
                continue;
            }
            out.push_str(&self.text[done..range.start]);
            out.push_str(&new);
            done = range.end;
        }
        out.push_str(&self.text[done..]);
        out
    }
}

/// The name with its prefix, as written.
pub(crate) fn qualified_name<'a>(element: Element<'a>) -> &'a str {
    super::scan::start_tag(element.outer()).map_or("", |tag| tag.name)
}

fn attribute_range(text: &str, element: Element<'_>, name: &str) -> Option<Range<usize>> {
    let found = element.node().attributes().find(|a| a.namespace().is_none() && a.name() == name)?;
    let range = found.range();
    text.get(range.clone())?;
    Some(range)
}

#[cfg(test)]
#[allow(clippy::expect_used)]
mod tests {
    use super::*;
    use crate::xml::scan::Limits;

    fn edit(text: &str, change: impl FnOnce(&mut Splicer<'_>, Element<'_>)) -> String {
        let doc = Document::parse(text, &Limits::default()).expect("well-formed");
        let mut splicer = Splicer::new(&doc);
        change(&mut splicer, doc.root());
        splicer.finish()
    }

    #[test]
    fn attributes_keep_their_quotes_and_places() {
        assert_eq!(edit("<a  b = \"1\" c='2'/>", |s, a| s.set_attribute(a, "b", "x'y")), "<a  b=\"x&apos;y\" c='2'/>");
        assert_eq!(edit("<a  b = \"1\" c='2'/>", |s, a| s.set_attribute(a, "d", "3")), "<a  b = \"1\" c='2' d='3'/>");
        assert_eq!(edit("<a></a>", |s, a| s.set_attribute(a, "d", "3")), "<a d='3'></a>");
        assert_eq!(edit("<a\n b='1' c='2'/>", |s, a| s.remove_attribute(a, "b")), "<a c='2'/>");
        assert_eq!(edit("<a c='2'/>", |s, a| s.remove_attribute(a, "b")), "<a c='2'/>");
    }

    #[test]
    fn a_new_child_is_indented_as_its_siblings_are() {
        let text = "<a>\n   <b/>\n</a>";
        assert_eq!(
            edit(text, |s, a| s.append_child(a, "<c>\n  <d/>\n</c>")),
            "<a>\n   <b/>\n   <c>\n     <d/>\n   </c>\n</a>"
        );
        assert_eq!(edit(text, |s, a| s.prepend_child(a, "<c/>")), "<a>\n   <c/>\n   <b/>\n</a>");
        assert_eq!(edit("<a/>", |s, a| s.append_child(a, "<c/>")), "<a>\n  <c/>\n</a>");
        assert_eq!(edit("<a><b/></a>", |s, a| s.append_child(a, "<c/>")), "<a><b/><c/></a>");
        assert_eq!(edit("<a>text</a>", |s, a| s.append_child(a, "<c/>")), "<a>text<c/></a>");
    }

    #[test]
    fn a_removed_element_takes_its_line_with_it() {
        let gone = |s: &mut Splicer<'_>, a: Element<'_>| s.remove(a.child("b").expect("there"));
        assert_eq!(edit("<a>\n  <b>\n  </b>\n  <c/>\n</a>", gone), "<a>\n  <c/>\n</a>");
        assert_eq!(edit("<a> <b/><c/></a>", gone), "<a> <c/></a>");
        assert_eq!(edit("<a>\n <c/> <b/>\n</a>", gone), "<a>\n <c/> \n</a>");
    }

    #[test]
    fn of_two_overlapping_changes_one_is_made() {
        let got = edit("<a b='1'><c/></a>", |s, a| {
            s.remove(a.child("c").expect("there"));
            s.set_attribute(a, "b", "2");
            s.set_attribute(a, "b", "3");
        });
        assert_eq!(got, "<a b='2'></a>");
    }
}

//! `<title>`, `<description>` and the elements of applications in `<metadata>` of a `<domain>`.
//!
//! An application's element is known by its namespace. It is stored with the prefix that its owner
//! chose and handed out without one, as libvirt does (`virXMLInjectNamespace`, `virXMLExtractNamespaceXML`).

use super::edit::edit;
use super::element::{Document, Element};
use super::scan::{self, Limits};
use super::splice::{Splicer, qualified_name};
use super::{escape, indent};
use crate::error::{Error, Result};
use std::ops::Range;

/// What is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject<'a> {
    /// `<description>`.
    Description,
    /// `<title>`.
    Title,
    /// The element of this namespace.
    Element(&'a str),
}

impl Subject<'_> {
    /// What comes before it in a definition, the nearest first.
    fn after(self) -> &'static [&'static str] {
        match self {
            Self::Title => &["genid", "uuid", "name"],
            Self::Description => &["title", "genid", "uuid", "name"],
            Self::Element(_) => &["description", "title", "genid", "uuid", "name"],
        }
    }
}

/// What the definition says of it; `None` if nothing.
pub fn get(xml: &str, subject: Subject<'_>) -> Result<Option<String>> {
    let document = Document::parse(xml, &Limits::default())?;
    let root = document.root();
    match subject {
        Subject::Description => Ok(root.text("description")),
        Subject::Title => Ok(root.text("title")),
        Subject::Element(uri) => application(root, uri).map(|element| without_prefix(element, uri)).transpose(),
    }
}

/// The definition with this title or description; an empty one removes it.
pub fn set_text(xml: &str, subject: Subject<'_>, text: &str) -> Result<String> {
    let name = if subject == Subject::Title { "title" } else { "description" };
    edit(xml, |splicer, root| {
        match root.child(name) {
            Some(element) if text.is_empty() => splicer.remove(element),
            Some(element) => splicer.set_text(element, text),
            None if text.is_empty() => {}
            None => insert(splicer, root, subject, &format!("<{name}>{}</{name}>", escape::text(text))),
        }
        Ok(())
    })
}

/// The definition with this element for `uri` in the place of the one that is there. `element` comes without namespace.
pub fn set_element(xml: &str, uri: &str, prefix: &str, element: &str) -> Result<String> {
    let new = with_prefix(element, uri, prefix)?;
    edit(xml, |splicer, root| {
        match (application(root, uri), root.child("metadata")) {
            (Some(old), _) => {
                let blanks = old.indentation().map_or(0, str::len);
                splicer.replace(old.range(), indent::embed(&new, blanks));
            }
            (None, Some(metadata)) => splicer.append_child(metadata, &new),
            (None, None) => {
                let within = format!("<metadata>\n  {}\n</metadata>", indent::embed(&new, 2));
                insert(splicer, root, Subject::Element(uri), &within);
            }
        }
        Ok(())
    })
}

/// The definition without an element for `uri`.
pub fn remove_element(xml: &str, uri: &str) -> Result<String> {
    edit(xml, |splicer, root| {
        if let Some(old) = application(root, uri) {
            splicer.remove(old);
        }
        Ok(())
    })
}

fn application<'a>(root: Element<'a>, uri: &str) -> Option<Element<'a>> {
    root.all("metadata").flat_map(Element::children).find(|e| namespace(*e) == Some(uri))
}

fn namespace(element: Element<'_>) -> Option<&str> {
    element.node().tag_name().namespace()
}

fn insert(splicer: &mut Splicer<'_>, root: Element<'_>, subject: Subject<'_>, xml: &str) {
    match subject.after().iter().find_map(|name| root.child(name)) {
        Some(before) => splicer.insert_after(before, xml),
        None => splicer.prepend_child(root, xml),
    }
}

/// The names in an element's tags, each of one or two.
fn names(element: Element<'_>) -> Vec<Range<usize>> {
    let (start, length) = (element.range().start + 1, qualified_name(element).len());
    let end = element.inner_range().map(|inner| inner.end + 2);
    std::iter::once(start).chain(end).map(|at| at..at + length).collect()
}

/// `element`, it and all in it that has no namespace put into that of `prefix`.
fn with_prefix(element: &str, uri: &str, prefix: &str) -> Result<String> {
    let start = |c: char| c.is_alphabetic() || c == '_';
    let rest = |c: char| start(c) || c.is_numeric() || matches!(c, '-' | '.');
    if !prefix.starts_with(start) || !prefix.chars().all(rest) {
        return Err(Error::internal("failed to validate prefix for a new XML namespace"));
    }
    let document = Document::parse(element, &Limits::default()).map_err(|e| e.context("in the metadata"))?;
    let root = document.root();
    // libvirt takes an element that has a namespace already, and never finds it again.
    if namespace(root).is_some() || root.node().namespaces().any(|n| n.name() == Some(prefix)) {
        return Err(Error::internal("failed to create a new XML namespace"));
    }
    let mut splicer = Splicer::new(&document);
    for inner in root.descendants().filter(|e| namespace(*e).is_none()) {
        for name in names(inner) {
            splicer.replace(name.start..name.start, format!("{prefix}:"));
        }
    }
    let at = names(root).first().map_or(0, |name| name.end);
    splicer.replace(at..at, format!(" xmlns:{prefix}='{}'", escape::attribute(uri)));
    let (whole, text) = (root.range(), splicer.finish());
    // What stood around the element did not change.
    let behind = element.len() - whole.end;
    Ok(text.get(whole.start..text.len() - behind).unwrap_or_default().to_owned())
}

/// The element's text without the prefix and the declaration of its namespace.
fn without_prefix(element: Element<'_>, uri: &str) -> Result<String> {
    let text = indent::extract(element.outer(), element.indentation().map_or(0, str::len));
    // A prefix that is declared further out is not declared in this text.
    let own = declaration(&text, qualified_name(element).split_once(':').map(|(prefix, _)| prefix));
    let Some(own) = own else { return Ok(text) };
    let document = Document::parse(&text, &Limits::default())?;
    let mut splicer = Splicer::new(&document);
    for inner in document.root().descendants().filter(|e| namespace(*e) == Some(uri)) {
        if let Some((prefix, _)) = qualified_name(inner).split_once(':') {
            for name in names(inner) {
                splicer.replace(name.start..name.start + prefix.len() + 1, "");
            }
        }
    }
    splicer.replace(own, "");
    Ok(splicer.finish())
}

/// Where a start tag declares a prefix, or the default namespace, the blanks before it included.
fn declaration(text: &str, prefix: Option<&str>) -> Option<Range<usize>> {
    let wanted = prefix.map_or("xmlns".to_owned(), |prefix| format!("xmlns:{prefix}"));
    let tag = scan::start_tag(text)?;
    let mut at = 1 + tag.name.len();
    while at < tag.length {
        let equals = at + text.get(at..tag.length)?.find('=')?;
        let open = equals + text.get(equals..tag.length)?.find(['"', '\''])?;
        let quote = text.get(open..)?.chars().next()?;
        let close = open + 1 + text.get(open + 1..tag.length)?.find(quote)?;
        if text.get(at..equals)?.trim() == wanted {
            return Some(at..close + 1);
        }
        at = close + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const OX: &str = "<domain>\n  <name>ox</name>\n  <uuid>u</uuid>\n  <memory>1</memory>\n</domain>";

    #[test]
    fn a_title_and_a_description_go_where_the_schema_has_them() {
        let both = set_text(&set_text(OX, Subject::Description, "a<b").unwrap(), Subject::Title, "t").unwrap();
        let expected = OX.replace("</uuid>\n", "</uuid>\n  <title>t</title>\n  <description>a&lt;b</description>\n");
        assert_eq!(both, expected);
        assert_eq!(get(&both, Subject::Description).unwrap().as_deref(), Some("a<b"));
        let other = set_text(&both, Subject::Title, "q").unwrap();
        assert_eq!(other, expected.replace("<title>t", "<title>q"));
        let none = set_text(&set_text(&other, Subject::Title, "").unwrap(), Subject::Description, "").unwrap();
        assert_eq!(none, OX);
        assert_eq!(get(OX, Subject::Title).unwrap(), None);
    }

    /// What libvirt 9.0's `virsh metadata` makes of the same.
    #[test]
    fn an_applications_element_is_stored_with_its_prefix_and_handed_out_without() {
        let element = "<foo a=\"1\">\n  <bar>x</bar>\n</foo>";
        let with = set_element(OX, "http://a", "k", element).unwrap();
        let stored = "</uuid>\n  <metadata>\n    <k:foo xmlns:k='http://a' a=\"1\">\n      <k:bar>x</k:bar>\n    </k:foo>\n  </metadata>\n";
        assert_eq!(with, OX.replace("</uuid>\n", stored));
        assert_eq!(get(&with, Subject::Element("http://a")).unwrap().as_deref(), Some(element));
        assert_eq!(get(&with, Subject::Element("http://b")).unwrap(), None);
        let two = set_element(&with, "http://b", "z", "<?xml version='1.0'?><q/> ").unwrap();
        assert!(two.contains("    </k:foo>\n    <z:q xmlns:z='http://b'/>\n  </metadata>"), "{two}");
        let replaced = set_element(&two, "http://a", "n", "<new/>").unwrap();
        assert!(replaced.contains("<metadata>\n    <n:new xmlns:n='http://a'/>\n    <z:q"), "{replaced}");
        let left = remove_element(&replaced, "http://b").unwrap();
        assert_eq!(get(&left, Subject::Element("http://a")).unwrap().as_deref(), Some("<new/>"));
        assert_eq!(get(&left, Subject::Element("http://b")).unwrap(), None);
    }

    #[test]
    fn a_declaration_is_found_among_values_that_look_like_one() {
        let text = "<k:a b=\" xmlns:k='x'\" xmlns:k = 'y>' c=''/>";
        assert_eq!(declaration(text, Some("k")).map(|r| &text[r]), Some(" xmlns:k = 'y>'"));
        assert_eq!(declaration(text, None), None);
    }

    #[test]
    fn what_cannot_be_put_into_a_namespace_is_refused() {
        for (prefix, element, error) in [
            ("1", "<a/>", "internal error: failed to validate prefix for a new XML namespace"),
            ("", "<a/>", "internal error: failed to validate prefix for a new XML namespace"),
            ("k", "<a xmlns='x'/>", "internal error: failed to create a new XML namespace"),
            ("k", "<a xmlns:k='x'/>", "internal error: failed to create a new XML namespace"),
            ("k", "<a>", "at line 1: "),
            ("k", "", "at line 1: "),
        ] {
            let told = set_element(OX, "u", prefix, element).unwrap_err().to_string();
            assert!(told.starts_with(error), "{told}");
        }
    }
}

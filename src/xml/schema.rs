//! `<domainsnapshot>` against its RELAX NG schema, `schemas/domainsnapshot.rng`, which is our own.
//!
//! libvirt names the parent whose content is wrong; here it is the element or attribute itself, with its line. Where
//! libxml2 has words for a fault they are kept.

use super::element::Document;
use super::scan::{Limits, Lines};
use crate::error::{Code, Error, Result};
use relax_ng::{
    CompileError, Content, DatatypeRegistry, Element, ExpandedName, ResolveError, Schema, SchemaResolver, SchemaSource,
    SchemaSyntax, ValidationError, ValidationErrorKind,
};
use roxmltree::Node;
use std::sync::LazyLock;

/// What a document to be validated may cost: libvirt's wire takes none that is longer
/// (`REMOTE_STRING_MAX`), and every fault found in it takes memory.
pub const LIMITS: Limits = Limits { bytes: 4 << 20, depth: 256, nodes: 1 << 17, attributes: 256 };

/// How much of a wrong value a message repeats.
const SHOWN: usize = 80;

const FILE: &str = "domainsnapshot.rng";

static SCHEMA: LazyLock<Result<Schema, CompileError>> = LazyLock::new(|| {
    let text = include_str!("../../schemas/domainsnapshot.rng");
    Schema::compile(&SchemaSource::new(text, FILE, SchemaSyntax::Xml), &Alone)
});

/// Refuse what the schema does not allow, with code 92, naming the first fault, its element and its line. Faults of
/// another kind (not well-formed, another root) come first and as ever.
pub fn check_snapshot(text: &str) -> Result<()> {
    let document = Document::parse_root(text, "domainsnapshot", &LIMITS)?;
    let broken = |why: String| Error::internal(format!("{FILE}: {why}"));
    let schema = SCHEMA.as_ref().map_err(|e| broken(e.to_string()))?;
    let found =
        schema.validate(&DatatypeRegistry::new(), &View(document.root().node())).map_err(|e| broken(e.to_string()))?;
    let Some(first) = found.iter().min_by_key(|fault| fault.location()) else { return Ok(()) };
    let line = Lines::new(text).place(first.location().copied().unwrap_or(0)).line;
    Err(Error::new(
        Code::XmlInvalidSchema,
        format!("Unable to validate doc against {FILE}\nline {line}: {}", describe(first)),
    ))
}

fn describe(fault: &ValidationError<usize>) -> String {
    let element = fault.path().last().map_or("domainsnapshot", |name| name.local.as_str());
    match fault.kind() {
        ValidationErrorKind::UnexpectedElement(name) if fault.path().is_empty() => {
            format!("Expecting no namespace for element {}", name.local)
        }
        ValidationErrorKind::UnexpectedElement(name) => {
            format!("Element {element} has extra content: {}", short(&name.local))
        }
        ValidationErrorKind::UnexpectedText => format!("Did not expect text in element {element} content"),
        ValidationErrorKind::UnexpectedAttribute(name) => {
            format!("Invalid attribute {} for element {element}", short(&name.local))
        }
        ValidationErrorKind::InvalidAttributeValue(name, value) => {
            format!("Invalid attribute {} for element {element}: '{}' is not allowed here", name.local, short(value))
        }
        ValidationErrorKind::MissingContent => {
            format!("Element {element} failed to validate content: something that must be there is missing")
        }
    }
}

fn short(text: &str) -> String {
    let end = text.char_indices().nth(SHOWN).map(|(at, _)| at);
    end.map_or_else(|| text.to_owned(), |at| format!("{}…", &text[..at]))
}

/// The schema is one file.
struct Alone;

impl SchemaResolver for Alone {
    fn resolve(&self, href: &str, _base: &str) -> Result<SchemaSource, ResolveError> {
        Err(ResolveError::new(href.to_owned()))
    }
}

/// An element as the validator wants to see it. Its location is the offset of its first byte.
#[derive(Clone, Copy)]
struct View<'a>(Node<'a, 'a>);

fn expanded(namespace: Option<&str>, local: &str) -> ExpandedName {
    ExpandedName::new(namespace, local)
}

impl Element for View<'_> {
    type Location = usize;

    fn name(&self) -> ExpandedName {
        expanded(self.0.tag_name().namespace(), self.0.tag_name().name())
    }

    fn attributes(&self) -> impl Iterator<Item = (ExpandedName, String)> {
        self.0.attributes().map(|a| (expanded(a.namespace(), a.name()), a.value().to_owned()))
    }

    fn children(&self) -> impl Iterator<Item = Content<Self>> {
        // A comment does not part the text around it.
        let mut out: Vec<Content<Self>> = Vec::new();
        for node in self.0.children() {
            match (node.text().filter(|_| node.is_text()), out.last_mut()) {
                (Some(more), Some(Content::Text(text))) => text.push_str(more),
                (Some(text), _) => out.push(Content::Text(text.to_owned())),
                (None, _) if node.is_element() => out.push(Content::Element(View(node))),
                (None, _) => {}
            }
        }
        out.into_iter()
    }

    fn location(&self) -> Option<usize> {
        Some(self.0.range().start)
    }
}

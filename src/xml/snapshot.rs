//! `<domainsnapshot>`: reading every form (what a user asks for, a redefinition, a dump) and
//! writing libvirt's exact form. The checks come in libvirt's order.
//!
//! Must not know: which disks the domain has, what exists, what is possible.

mod disk;
mod output;

pub use output::{Output, format, format_as};

use super::domain;
use super::element::{Document, Element};
use super::scan::Limits;
use super::{escape, indent, number};
use crate::error::{Code, Error, Result};
use crate::model::snapshot::{Location, Memory, SnapshotDisk, SnapshotState, SnapshotTexts};
use camino::Utf8PathBuf;

/// The namespace of what libvirt's document has no place for: it passes over elements that it does not know.
pub const NAMESPACE: &str = "urn:virsnap:snapshot:1";
/// The tag of a snapshot in its images, where that is not its name: it was renamed, and goes on elsewhere under that name too.
const TAG: &str = "tag";

/// QEMU's limit.
const MAX_TAG: usize = 255;

/// How a document is meant; it decides which elements count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A wish: state, time, parent and domain are not the caller's to say.
    Create {
        /// DISK_ONLY was asked for, or the domain is off: there is no memory to save.
        offline: bool,
    },
    /// What was once dumped: everything counts.
    Redefine,
}

/// A document as read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SnapshotDoc {
    /// `<name>`; `None` also for an empty one.
    pub name: Option<String>,
    /// `<description>`.
    pub description: Option<String>,
    /// `<parent><name>`, redefine only.
    pub parent: Option<String>,
    /// `<state>`, redefine only, and there always.
    pub state: Option<SnapshotState>,
    /// `<creationTime>`, redefine only, and there always.
    pub creation_time: Option<i64>,
    /// `<memory>`.
    pub memory: Memory,
    /// `<virsnap:tag>`, redefine only.
    pub tag: Option<String>,
    /// Every child of `<disks>`, whatever its name.
    pub disks: Vec<SnapshotDisk>,
    /// Every child of `<revertDisks>`, redefine only.
    pub revert_disks: Vec<SnapshotDisk>,
    /// `<domain>`, `<inactiveDomain>`, `<cookie>`, redefine only, as written but without the
    /// indentation they had here.
    pub texts: SnapshotTexts,
    /// `<active>`, as libvirt's own files have it.
    pub active: Option<bool>,
    /// `<mixed/>` in [`NAMESPACE`]: each disk, and the memory, may be captured in its own way.
    pub mixed: bool,
}

/// Read a document.
pub fn parse(text: &str, form: Form, limits: &Limits) -> Result<SnapshotDoc> {
    let document = Document::parse_root(text, "domainsnapshot", limits)?;
    let root = document.root();
    let mut doc = SnapshotDoc { name: root.text("name"), ..SnapshotDoc::default() };
    if doc.name.is_none() && form == Form::Redefine {
        return Err(xml_error("a redefined snapshot must have a name"));
    }
    doc.description = root.text("description");
    let offline = match form {
        Form::Create { offline } => offline,
        Form::Redefine => recorded(&mut doc, root, &document)?.is_offline(),
    };
    doc.memory = memory(root, form, offline)?;
    doc.disks = disk_list(root, "disks", form)?;
    if form == Form::Redefine {
        doc.tag = tag(root)?;
        doc.revert_disks = disk_list(root, "revertDisks", form)?;
        if !offline {
            doc.texts.cookie = root.child("cookie").map(cookie);
        }
    }
    doc.mixed = root.node().children().any(|child| child.has_tag_name((NAMESPACE, "mixed")));
    doc.active = root.text("active").and_then(|text| number::signed(&text)).map(|n| n != 0);
    Ok(doc)
}

fn tag(root: Element<'_>) -> Result<Option<String>> {
    let mut own = root.children().filter(|e| e.node().tag_name().namespace() == Some(NAMESPACE) && e.name() == TAG);
    let tag = own.next().map(Element::string).filter(|t| !t.is_empty());
    match tag {
        Some(tag) if tag.len() > MAX_TAG => {
            Err(xml_error(format!("the tag of {} bytes is longer than {MAX_TAG}", tag.len())))
        }
        tag => Ok(tag),
    }
}

fn xml_error(message: impl Into<String>) -> Error {
    Error::new(Code::XmlError, message)
}

/// What only a snapshot that exists has.
fn recorded(doc: &mut SnapshotDoc, root: Element<'_>, document: &Document<'_>) -> Result<SnapshotState> {
    let time = root.text("creationTime").and_then(|text| number::signed(&text));
    doc.creation_time = Some(time.ok_or_else(|| Error::internal("missing creationTime from existing snapshot"))?);
    doc.parent = root.text("parent/name");
    let text = root.text("state").ok_or_else(|| xml_error("missing state from existing snapshot"))?;
    let state = SnapshotState::parse(&text)
        .filter(|state| *state != SnapshotState::Nostate)
        .ok_or_else(|| Error::config(format!("Invalid state '{text}' in domain snapshot XML")))?;
    doc.state = Some(state);
    // Without type= it is the form before 2011, which names a UUID only.
    if let Some(element) = root.child("domain").filter(|d| d.attribute_text("type").is_some()) {
        domain::view_element(element, document)?;
        doc.texts.domain = Some(detach(element));
    }
    if let Some(element) = root.child("inactiveDomain") {
        domain::view_element(element, document)?;
        doc.texts.inactive_domain = Some(detach(element));
    }
    Ok(state)
}

/// The element as a document of its own: without the indentation it had, with the namespaces it
/// used.
fn detach(element: Element<'_>) -> String {
    let blanks = element.indentation().map_or(0, str::len);
    let mut text = element.outer().to_owned();
    let declared: Vec<_> = element.node().namespaces().filter_map(|ns| Some((ns.name()?, ns.uri()))).collect();
    let own = |prefix: &str| {
        let start = &text[..element.attributes_end() - element.range().start];
        start.contains(&format!("xmlns:{prefix}=")) || start.contains(&format!("xmlns:{prefix} "))
    };
    let missing: String = declared
        .into_iter()
        .filter(|(prefix, _)| *prefix != "xml" && text.contains(&format!("{prefix}:")) && !own(prefix))
        .map(|(prefix, uri)| format!(" xmlns:{prefix}='{}'", escape::attribute(uri)))
        .collect();
    text.insert_str(element.attributes_end() - element.range().start, &missing);
    indent::extract(&text, blanks)
}

/// One form for an empty cookie, of which libvirt writes another.
fn cookie(element: Element<'_>) -> String {
    let empty = element.children().next().is_none() && element.string().trim().is_empty();
    if empty { "<cookie/>".to_owned() } else { detach(element) }
}

fn memory(root: Element<'_>, form: Form, offline: bool) -> Result<Memory> {
    let element = root.child("memory");
    let file = element.and_then(|e| e.attribute("file"));
    let said = element.map(|e| e.choice("snapshot", Location::parse)).transpose()?.flatten();
    if said == Some(Location::Manual) {
        return Err(xml_error("'manual' memory snapshot mode not supported"));
    }
    let location = said.or(match (file, form) {
        (Some(_), _) => Some(Location::External),
        (None, Form::Redefine) if offline => Some(Location::No),
        (None, Form::Redefine) => Some(Location::Internal),
        (None, Form::Create { .. }) => None,
    });
    let memory = match (location, file) {
        (Some(Location::External), Some(file)) => Memory::External(Utf8PathBuf::from(file)),
        (Some(Location::External), None) => {
            return Err(xml_error("external memory snapshots require a filename"));
        }
        (_, Some(file)) => return Err(xml_error(format!("memory filename '{file}' requires external snapshot"))),
        (Some(Location::No), None) => Memory::No,
        (Some(Location::Internal | Location::Manual), None) => Memory::Internal,
        (None, None) => Memory::Default,
    };
    if offline && !matches!(memory, Memory::Default | Memory::No) {
        return Err(xml_error("memory state cannot be saved with offline or disk-only snapshot"));
    }
    if let Memory::External(path) = &memory
        && !path.is_absolute()
    {
        return Err(xml_error(format!("memory snapshot file path ({path}) must be absolute")));
    }
    Ok(memory)
}

fn disk_list(root: Element<'_>, list: &str, form: Form) -> Result<Vec<SnapshotDisk>> {
    root.all(list).flat_map(Element::children).map(|element| disk::parse(element, form)).collect()
}

#[cfg(test)]
#[path = "snapshot_tests.rs"]
mod tests;

//! A snapshot as text, in libvirt's exact form (`virDomainSnapshotDefFormatInternal`): order,
//! two blanks per level, single quotes, the last byte a line feed.

use super::{OWN, disk};
use crate::model::ids::DomainId;
use crate::model::snapshot::{Memory, Snapshot, SnapshotDisk, SnapshotState, SnapshotTexts};
use crate::xml::edit::strip_secrets;
use crate::xml::escape::{attribute, text};
use crate::xml::indent;

/// What else is wanted in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Output {
    /// Passwords too.
    pub secure: bool,
    /// Whose snapshot it is: written for a legacy one that has no `<domain>`.
    pub domain: Option<DomainId>,
    /// `<active>`, for the form that libvirt keeps on disk.
    pub active: Option<bool>,
}

/// The text for `GetXMLDesc`; `secure` shows passwords too.
#[must_use]
pub fn format(snapshot: &Snapshot, texts: &SnapshotTexts, secure: bool) -> String {
    format_as(snapshot, texts, Output { secure, ..Output::default() })
}

/// The text, with what `output` asks for.
#[must_use]
pub fn format_as(snapshot: &Snapshot, texts: &SnapshotTexts, output: Output) -> String {
    let mut out = String::from("<domainsnapshot>\n");
    let mut line = |content: String| {
        out.push_str("  ");
        out.push_str(&content);
        out.push('\n');
    };
    line(format!("<name>{}</name>", text(snapshot.name.as_str())));
    if let Some(description) = &snapshot.description {
        line(format!("<description>{}</description>", text(description)));
    }
    if snapshot.state != SnapshotState::Nostate {
        line(format!("<state>{}</state>", snapshot.state.as_str()));
    }
    if let Some(parent) = &snapshot.parent {
        line(format!("<parent>\n    <name>{}</name>\n  </parent>", text(parent.as_str())));
    }
    if snapshot.creation_time != 0 {
        line(format!("<creationTime>{}</creationTime>", snapshot.creation_time));
    }
    match &snapshot.memory {
        Memory::Default => {}
        Memory::No => line("<memory snapshot='no'/>".to_owned()),
        Memory::Internal => line("<memory snapshot='internal'/>".to_owned()),
        Memory::External(path) => {
            line(format!("<memory snapshot='external' file='{}'/>", attribute(path.as_str())));
        }
    }
    if let Some(tag) = &snapshot.tag {
        line(format!("<virsnap:tag xmlns:virsnap='{OWN}'>{}</virsnap:tag>", text(tag)));
    }
    disks(&mut out, "disks", &snapshot.disks);
    disks(&mut out, "revertDisks", &snapshot.revert_disks);
    let mut nested = |xml: &str| {
        out.push_str("  ");
        out.push_str(&indent::embed(xml, 2));
        out.push('\n');
    };
    let shown = |xml: &str| if output.secure { xml.to_owned() } else { strip_secrets(xml).unwrap_or_default() };
    match (&texts.domain, output.domain) {
        (Some(domain), _) => nested(&shown(domain)),
        (None, Some(id)) => nested(&format!("<domain>\n  <uuid>{id}</uuid>\n</domain>")),
        (None, None) => {}
    }
    if let Some(inactive) = &texts.inactive_domain {
        nested(&shown(inactive));
    }
    match &texts.cookie {
        // libvirt never writes it as one tag.
        Some(cookie) if cookie == "<cookie/>" => out.push_str("  <cookie>\n  </cookie>\n"),
        Some(cookie) => nested(cookie),
        None => {}
    }
    if let Some(active) = output.active {
        out.push_str(&format!("  <active>{}</active>\n", i32::from(active)));
    }
    out.push_str("</domainsnapshot>\n");
    out
}

fn disks(out: &mut String, list: &str, disks: &[SnapshotDisk]) {
    if disks.is_empty() {
        return;
    }
    out.push_str(&format!("  <{list}>\n"));
    for disk in disks {
        disk::write(out, disk);
    }
    out.push_str(&format!("  </{list}>\n"));
}

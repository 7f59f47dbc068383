//! Title, description and the elements of applications (`virDomainSetMetadata`).

use super::impact::{CONFIG, Impact, LIVE};
use super::service::Service;
use crate::error::{Code, Error, Result};
use crate::model::event::EventKind;
use crate::model::flags;
use crate::model::ids::DomainId;
use crate::xml::metadata::{self, Subject};

/// `virDomainMetadataType`, and the namespace of an element; D-Bus has the empty string for libvirt's NULL.
fn subject<'a>(kind: i32, uri: &'a str, call: &str) -> Result<Subject<'a>> {
    let bare = |text: String| Error::bare(Code::InvalidArg, text);
    match (kind, uri) {
        (0, "") => Ok(Subject::Description),
        (1, "") => Ok(Subject::Title),
        (0 | 1, _) => Err(bare(format!("uri in {call} must be NULL"))),
        (2, "") => Err(bare(format!("uri in {call} must not be NULL"))),
        (2, uri) => Ok(Subject::Element(uri)),
        (kind, _) => Err(Error::new(Code::InvalidArg, format!("unknown metadata type '{kind}'"))),
    }
}

impl Service {
    /// `virDomainGetMetadata`.
    pub fn metadata(&self, id: DomainId, kind: i32, uri: &str, flags: u32) -> Result<String> {
        flags::none(flags & !(LIVE | CONFIG), "qemuDomainGetMetadata")?;
        let subject = subject(kind, uri, "virDomainGetMetadata")?;
        let state = self.inner.domain(id)?.state();
        let none = || Error::new(Code::NoDomainMetadata, "Requested metadata element is not present");
        metadata::get(Impact::definition(&state, flags)?, subject)?.ok_or_else(none)
    }

    /// `virDomainSetMetadata`; an empty `text` removes it.
    pub async fn set_metadata(
        &self,
        id: DomainId,
        kind: i32,
        text: &str,
        prefix: &str,
        uri: &str,
        flags: u32,
    ) -> Result<()> {
        flags::none(flags & !(LIVE | CONFIG), "qemuDomainSetMetadata")?;
        let subject = subject(kind, uri, "virDomainSetMetadata")?;
        let bare = |text: &str| Err(Error::bare(Code::InvalidArg, text));
        match subject {
            Subject::Title if text.contains('\n') => return bare("metadata title can't contain newlines"),
            Subject::Element(_) if prefix.is_empty() && !text.is_empty() => {
                return bare("key in virDomainSetMetadata must not be NULL");
            }
            Subject::Title | Subject::Description if !prefix.is_empty() => {
                return bare("key in virDomainSetMetadata must be NULL");
            }
            _ => {}
        }
        let domain = self.inner.domain(id)?;
        let _slot = domain.slot("set metadata").await?;
        self.inner.finish_open_ops(&domain).await?;
        let impact = Impact::of(&domain.state(), flags)?;
        let change = |xml: &str| match subject {
            Subject::Title | Subject::Description => metadata::set_text(xml, subject, text),
            Subject::Element(uri) if text.is_empty() => metadata::remove_element(xml, uri),
            Subject::Element(uri) => metadata::set_element(xml, uri, prefix, text),
        };
        self.inner.amend(&domain, impact, change).await?;
        self.inner.emit(id, EventKind::MetadataChange { kind, uri: uri.to_owned() });
        Ok(())
    }
}

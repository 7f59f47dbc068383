//! Planning another name for a domain (`qemuDomainRename`): one change of metadata, touching no image.
//!
//! Difference from libvirt, on purpose: the definitions in the snapshots get the new name too. There they keep the old one,
//! so that neither a revert to saved memory nor a redefinition succeeds ever again (K27).

use super::refusal::Refusal;
use super::steps::{Change, PutSnapshot};
use crate::error::{Code, Error, Result};
use crate::model::domain::DomainState;
use crate::model::ids::SnapshotName;
use crate::model::snapshot::SnapshotTexts;
use crate::model::tree::Tree;
use crate::xml::edit;

/// The domain that gets another name.
#[derive(Clone, Copy)]
pub struct RenameRequest<'a> {
    /// Its name now.
    pub old: &'a str,
    /// Its name afterwards.
    pub new: &'a str,
    /// What it does.
    pub state: DomainState,
    /// Its persistent definition.
    pub inactive_xml: Option<&'a str>,
    /// Whether it has a managed-save image.
    pub saved: bool,
    /// Whether another domain has the new name.
    pub taken: bool,
    /// Its snapshots.
    pub tree: &'a Tree,
    /// Reads the texts of a snapshot.
    pub texts: &'a (dyn Fn(&SnapshotName) -> Result<SnapshotTexts> + Send + Sync),
}

/// Decide, with libvirt's checks in its order.
pub fn plan(request: &RenameRequest<'_>) -> Result<Change> {
    if request.state.is_active() {
        return Err(Refusal::RenameActive.into());
    }
    let Some(definition) = request.inactive_xml else { return Err(Refusal::RenameTransient.into()) };
    if request.saved {
        return Err(Refusal::RenameSaved.into());
    }
    if request.new == request.old {
        return Err(Refusal::RenameToItself.into());
    }
    if request.taken {
        return Err(Refusal::NameTaken(request.new.to_owned()).into());
    }
    if request.new.contains('/') {
        return Err(Error::new(Code::XmlError, format!("name {} cannot contain '/'", request.new)));
    }
    if let Some(bad) = request.new.chars().find(|c| c.is_control()) {
        return Err(Error::new(Code::XmlDetail, format!("invalid char in name: {}", bad.escape_default())));
    }
    let named = |xml: Option<String>| xml.map(|xml| edit::set_name(&xml, request.new)).transpose();
    let mut change = Change {
        name: Some(request.new.to_owned()),
        inactive_xml: Some(edit::set_name(definition, request.new)?),
        ..Change::default()
    };
    for snapshot in request.tree.iter() {
        let texts = (request.texts)(&snapshot.name)?;
        let texts = SnapshotTexts {
            domain: named(texts.domain)?,
            inactive_domain: named(texts.inactive_domain)?,
            cookie: texts.cookie,
        };
        change.put.push(PutSnapshot { snapshot: (**snapshot).clone(), texts: Some(texts) });
    }
    Ok(change)
}

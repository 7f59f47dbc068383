//! The block graph of a start: one protocol and one format node per image of every chain.
//!
//! Nothing is left to QEMU's guessing: formats come from the definition and from the headers
//! that lie above, never from the content of the image itself. Must not know: QMP.

use super::hardware::disk::Disk;
use crate::error::{Error, Result};
use crate::model::ids::Image;
use crate::plan::facts::{Facts, FileKind};
use camino::Utf8Path;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// One layer of a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layer {
    pub(crate) image: Image,
    pub(crate) block: bool,
}

/// The layers of each disk that has a medium, by target, the active one first.
pub(crate) type Chains = BTreeMap<String, Vec<Layer>>;

/// Follow the headers below every disk's image.
pub(crate) fn chains(disks: &[Disk], facts: &Facts) -> Result<Chains> {
    let with_image = disks.iter().filter_map(|d| Some((d.target.clone(), d.image.as_ref()?)));
    with_image.map(|(target, image)| Ok((target, chain(image, facts)?))).collect()
}

fn chain(top: &Image, facts: &Facts) -> Result<Vec<Layer>> {
    let mut layers: Vec<Layer> = Vec::new();
    let mut seen = BTreeSet::new();
    let mut next = Some(top.clone());
    while let Some(image) = next.take() {
        let above = layers.last().map(|l| l.image.path.clone());
        let block = exists(&image.path, above.as_deref(), facts)?;
        if !seen.insert(image.path.clone()) {
            return Err(Error::internal(format!("backing store for {} is self-referential", top.path)));
        }
        if image.format != "raw"
            && let Some(header) = facts.header(&image.path).filter(|h| h.format == image.format)
            && let Some(backing) = &header.backing
        {
            let format = match &header.backing_format {
                Some(format) => format.clone(),
                None => unnamed_format(backing, &image.path, facts)?,
            };
            next = Some(Image { path: backing.clone(), format });
        }
        layers.push(Layer { image, block });
    }
    Ok(layers)
}

/// Whether it is a device.
fn exists(path: &Utf8Path, above: Option<&Utf8Path>, facts: &Facts) -> Result<bool> {
    let why = match facts.kind(path) {
        FileKind::File(_) => return Ok(false),
        FileKind::Block => return Ok(true),
        FileKind::Missing => "No such file or directory".to_owned(),
        FileKind::Directory => "Is a directory".to_owned(),
        FileKind::Other => "not a file or block device".to_owned(),
        FileKind::Unreadable(why) => why.clone(),
    };
    let text = match above {
        None => format!("Cannot access storage file '{path}': {why}"),
        Some(above) => format!("Cannot access backing file '{path}' of storage file '{above}': {why}"),
    };
    Err(Error::bare(crate::error::Code::SystemError, text))
}

/// A backing file whose format nobody wrote down is taken for what its own header says, but a
/// guest may have written that header: so it may not lead on to other files, and raw is not
/// believed at all.
fn unnamed_format(backing: &Utf8Path, above: &Utf8Path, facts: &Facts) -> Result<String> {
    if let Some(header) = facts.header(backing)
        && header.format != "raw"
        && header.backing.is_none()
    {
        return Ok(header.format.clone());
    }
    if *facts.kind(backing) == FileKind::Missing {
        exists(backing, Some(above), facts)?;
    }
    Err(Error::invalid(format!(
        "format of backing image '{backing}' of image '{above}' was not specified in the image metadata \
         (See https://libvirt.org/kbase/backing_chains.html for troubleshooting)"
    )))
}

/// The node-name of a layer's format node, `n` counted from the active layer.
pub(crate) fn node_name(target: &str, n: usize) -> String {
    format!("virsnap-{target}-{n}")
}

/// Options of a disk's nodes: what becomes of the guest's writes.
pub(crate) fn options(disk: &Disk) -> Map<String, Value> {
    let mut options = Map::new();
    if let Some(cache) = disk.cache {
        options.insert("cache".to_owned(), json!({ "direct": cache.direct, "no-flush": cache.no_flush }));
    }
    for (key, value) in [("aio", disk.aio), ("discard", disk.discard), ("detect-zeroes", disk.detect_zeroes)] {
        if let Some(value) = value {
            options.insert(key.to_owned(), json!(value));
        }
    }
    options
}

/// Those of them that a format node takes.
pub(crate) fn format_options(options: &Map<String, Value>) -> Map<String, Value> {
    let mut options = options.clone();
    options.remove("aio");
    options
}

/// Those that a protocol node takes, with what all have.
pub(crate) fn file_options(options: &Map<String, Value>) -> Map<String, Value> {
    let mut options = options.clone();
    options.remove("detect-zeroes");
    // What an image gives up is given back, whatever its guest may do.
    options.insert("discard".to_owned(), json!("unmap"));
    // Layers are opened read-only and for writing as jobs need it.
    options.insert("auto-read-only".to_owned(), json!(true));
    options
}

/// The arguments of `-blockdev` for a disk, lowest layer first.
pub(crate) fn nodes(disk: &Disk, layers: &[Layer]) -> Vec<Value> {
    let (mut nodes, options) = (Vec::new(), options(disk));
    for (n, layer) in layers.iter().enumerate().rev() {
        let name = node_name(&disk.target, n);
        let mut file = file_options(&options);
        file.insert("driver".to_owned(), json!(if layer.block { "host_device" } else { "file" }));
        file.insert("filename".to_owned(), json!(layer.image.path));
        file.insert("node-name".to_owned(), json!(format!("{name}-file")));
        let mut format = format_options(&options);
        format.insert("driver".to_owned(), json!(layer.image.format));
        format.insert("node-name".to_owned(), json!(name));
        format.insert("read-only".to_owned(), json!(n > 0 || disk.read_only));
        format.insert("file".to_owned(), json!(format!("{name}-file")));
        if n + 1 < layers.len() {
            format.insert("backing".to_owned(), json!(node_name(&disk.target, n + 1)));
        } else if layer.image.format != "raw" {
            format.insert("backing".to_owned(), Value::Null);
        }
        nodes.push(Value::Object(file));
        nodes.push(Value::Object(format));
    }
    nodes
}

//! One `<disk>` of a snapshot, in and out.

use super::Form;
use crate::error::{Code, Error, Result};
use crate::model::snapshot::{Location, SnapshotDisk, SourceType};
use crate::xml::element::Element;
use crate::xml::{escape, indent, number};
use camino::Utf8PathBuf;

/// `virStorageFileFormat`: what `<driver type>` may say.
const FORMATS: [&str; 16] = [
    "raw", "dir", "bochs", "cloop", "dmg", "iso", "vpc", "vdi", "fat", "vhd", "ploop", "cow", "qcow", "qcow2", "qed",
    "vmdk",
];
/// Children of `<source>` in the order in which libvirt writes them, after a network's hosts.
const SOURCE_CHILDREN: [&str; 6] = ["slices", "seclabel", "auth", "encryption", "reservations", "dataStore"];
const NETWORK_ATTRIBUTES: [&str; 5] = ["protocol", "name", "query", "tls", "tlsHostname"];

/// Read one element of `<disks>`, whatever its name.
pub(super) fn parse(element: Element<'_>, form: Form) -> Result<SnapshotDisk> {
    let name = element.attribute("name").ok_or_else(|| Error::internal("missing name from disk snapshot element"))?;
    let mut disk = SnapshotDisk::named(name);
    disk.location = element.choice("snapshot", Location::parse)?;
    disk.source_type = source_type(element)?;
    let mut has_path = false;
    if let Some(source) = element.child("source") {
        let path = match disk.source_type {
            SourceType::File => source.attribute_text("file"),
            SourceType::Block => source.attribute_text("dev"),
            SourceType::Network => source.attribute_text("name"),
        };
        has_path = path.is_some();
        if disk.source_type == SourceType::Network {
            source.required("protocol")?;
            disk.source_verbatim = Some(network_source(source));
        } else {
            disk.source = path.map(Utf8PathBuf::from);
            disk.source_verbatim = Some(children(source, &SOURCE_CHILDREN)).filter(|text| !text.is_empty());
        }
    }
    if let Some(format) = element.find("driver").and_then(|d| d.attribute_text("type")) {
        if !FORMATS.contains(&format) {
            return Err(Error::config(format!("unknown disk snapshot driver '{format}'")));
        }
        disk.format = Some(format.to_owned());
    }
    if let Some(size) = element.find("driver/metadata_cache/max_size").filter(|e| !e.string().is_empty()) {
        let place = "./driver/metadata_cache/max_size";
        let bytes = number::scaled(&size.string(), size.attribute("unit"), 1, place)?;
        disk.metadata_cache = Some(bytes).filter(|n| *n > 0);
    }
    if let Some(path) = disk.source.as_ref().filter(|p| !p.is_absolute()) {
        let message = format!("disk snapshot image path '{path}' must be absolute");
        return Err(Error::new(Code::XmlError, message));
    }
    // The form proposed in 2011 says external by naming what will be made.
    if disk.location.is_none() && (has_path || disk.format.is_some()) {
        disk.location = Some(Location::External);
    }
    disk.delete_in_progress = form == Form::Redefine && element.child("snapshotDeleteInProgress").is_some();
    Ok(disk)
}

fn source_type(element: Element<'_>) -> Result<SourceType> {
    match element.attribute("type") {
        None | Some("file") => Ok(SourceType::File),
        Some("block") => Ok(SourceType::Block),
        Some("network") => Ok(SourceType::Network),
        Some(kind @ ("dir" | "volume")) => {
            Err(Error::new(Code::XmlError, format!("unsupported disk snapshot type '{kind}'")))
        }
        // libvirt reads these, then has nothing that could snapshot onto them.
        Some(kind @ ("nvme" | "vhostuser" | "vhostvdpa")) => {
            Err(Error::internal(format!("external snapshots are not supported on '{kind}' disks")))
        }
        Some(_) => Err(element.invalid("type")),
    }
}

fn network_source(source: Element<'_>) -> String {
    let attributes = NETWORK_ATTRIBUTES
        .iter()
        .filter_map(|name| Some(format!(" {name}='{}'", escape::attribute(source.attribute_text(name)?))))
        .collect::<String>();
    // An image on a network has no label.
    let names = ["host", "slices", "auth", "encryption", "reservations", "dataStore"];
    wrap(&format!("source{attributes}"), &children(source, &names))
}

fn children(parent: Element<'_>, names: &[&str]) -> String {
    let mut lines = String::new();
    for child in names.iter().flat_map(|name| parent.all(name)) {
        lines.push_str(&plain(child));
        lines.push('\n');
    }
    lines.truncate(lines.trim_end_matches('\n').len());
    lines
}

/// An element in libvirt's form: one child per line, single quotes, no comments.
fn plain(element: Element<'_>) -> String {
    let attributes: String = element
        .node()
        .attributes()
        .filter(|a| a.namespace().is_none())
        .map(|a| format!(" {}='{}'", a.name(), escape::attribute(a.value())))
        .collect();
    let tag = format!("{}{attributes}", element.name());
    let lines: Vec<String> = element.children().map(plain).collect();
    if lines.is_empty() {
        let text = element.string();
        return if text.is_empty() {
            format!("<{tag}/>")
        } else {
            format!("<{tag}>{}</{}>", escape::text(&text), element.name())
        };
    }
    wrap(&tag, &lines.join("\n"))
}

fn wrap(tag: &str, lines: &str) -> String {
    if lines.is_empty() {
        return format!("<{tag}/>");
    }
    let name = tag.split(' ').next().unwrap_or_default();
    // One root around them, so that text within keeps its bytes.
    let nested = indent::embed(&format!("<x>\n{lines}</x>"), 2);
    let inner = nested.trim_start_matches("<x>").trim_end_matches("</x>");
    format!("<{tag}>{inner}\n</{name}>")
}

/// Write one disk, four blanks in, as libvirt does.
pub(super) fn write(out: &mut String, disk: &SnapshotDisk) {
    let network = disk.source_type == SourceType::Network;
    let described = disk.source.is_some() || disk.format.is_some() || (network && disk.source_verbatim.is_some());
    let mut tag = format!("disk name='{}'", escape::attribute(&disk.name));
    if let Some(location) = disk.location {
        tag.push_str(&format!(" snapshot='{}'", location.as_str()));
    }
    if described {
        tag.push_str(&format!(" type='{}'", disk.source_type.as_str()));
    }
    let mut lines = Vec::new();
    if disk.delete_in_progress {
        lines.push("<snapshotDeleteInProgress/>".to_owned());
    }
    if described {
        lines.extend(driver(disk));
        lines.extend(source(disk));
    }
    out.push_str(&format!("    {}\n", indent::embed(&wrap(&tag, &lines.join("\n")), 4)));
}

fn driver(disk: &SnapshotDisk) -> Option<String> {
    if disk.format.is_none() && disk.metadata_cache.is_none() {
        return None;
    }
    let kind = disk.format.as_ref().map(|f| format!(" type='{}'", escape::attribute(f))).unwrap_or_default();
    let cache = disk
        .metadata_cache
        .map(|bytes| format!("<metadata_cache>\n  <max_size unit='bytes'>{bytes}</max_size>\n</metadata_cache>"));
    Some(wrap(&format!("driver{kind}"), &cache.unwrap_or_default()))
}

fn source(disk: &SnapshotDisk) -> Option<String> {
    let verbatim = disk.source_verbatim.as_deref().unwrap_or_default();
    let attribute = match disk.source_type {
        SourceType::Network => return Some(verbatim.to_owned()).filter(|text| !text.is_empty()),
        SourceType::File => "file",
        SourceType::Block => "dev",
    };
    if disk.source.is_none() && verbatim.is_empty() {
        return None;
    }
    let path = disk.source.as_ref().map(|p| format!(" {attribute}='{}'", escape::attribute(p.as_str())));
    Some(wrap(&format!("source{}", path.unwrap_or_default()), verbatim))
}

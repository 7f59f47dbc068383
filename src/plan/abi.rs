//! Whether two definitions are the same machine to a guest: libvirt's ABI check
//! (`virDomainDefCheckABIStability`), which names the first difference.
//!
//! What only the host sees (images, cache modes, ports, paths, bridges) may differ.

use super::refusal::Refusal;
use crate::error::Result;
use crate::xml::domain::{self, DomainView};
use crate::xml::element::{Document, Element};
use crate::xml::scan::Limits;

/// What a guest sees of a device: paths of elements (`.` is the device itself) with the attributes that count; none: all.
type Seen = &'static [(&'static str, &'static [&'static str])];

/// Devices that a guest sees, apart from disks.
const DEVICES: [(&str, Seen); 20] = [
    ("controller", &[(".", &["type", "index", "model"]), ("target", &[]), ("model", &[])]),
    ("interface", &[("mac", &["address"]), ("model", &["type"])]),
    ("input", &[(".", &["type", "bus", "model"])]),
    ("sound", &[(".", &["model"])]),
    ("video", &[("model", &["type", "vram", "ram", "vgamem", "heads", "primary"])]),
    ("watchdog", &[(".", &["model"])]),
    ("memballoon", &[(".", &["model"])]),
    ("rng", &[(".", &["model"])]),
    ("tpm", &[(".", &["model"]), ("backend", &["version"])]),
    ("hostdev", &[(".", &["mode", "type"])]),
    ("serial", &[("target", &["type", "port"]), ("target/model", &["name"])]),
    ("parallel", &[("target", &["port"])]),
    ("console", &[("target", &["type", "port"])]),
    ("channel", &[("target", &["type", "name"])]),
    ("vsock", &[(".", &["model"]), ("cid", &["address"])]),
    ("memory", &[(".", &["model"]), ("target/size", &[])]),
    ("iommu", &[(".", &["model"])]),
    ("panic", &[(".", &["model"])]),
    ("hub", &[(".", &["type"])]),
    ("smartcard", &[(".", &["mode"])]),
];

/// The first difference between the machine that runs and the one of another definition, as libvirt says it.
pub fn difference(running: &str, other: &str) -> Result<Option<Refusal>> {
    let (old, new) = (domain::view(running)?, domain::view(other)?);
    if let Err(refusal) = check_core(&old, &new).and_then(|()| check_disks(&old, &new)) {
        return Ok(Some(refusal));
    }
    let (old, new) = (Document::parse(running, &Limits::default())?, Document::parse(other, &Limits::default())?);
    let checked = check_texts(old.root(), new.root()).and_then(|()| check_devices(old.root(), new.root()));
    Ok(checked.err())
}

fn differs(what: impl Into<String>, old: impl ToString, new: impl ToString) -> Result<(), Refusal> {
    let (old, new) = (old.to_string(), new.to_string());
    if old == new { Ok(()) } else { Err(Refusal::Abi { what: what.into(), new, old }) }
}

/// Memory, CPUs and machine.
pub fn check_core(old: &DomainView, new: &DomainView) -> Result<(), Refusal> {
    differs("domain max memory", old.memory_kib, new.memory_kib)?;
    differs("domain vCPU max", old.vcpus, new.vcpus)?;
    let text = |m: &Option<String>| m.clone().unwrap_or_default();
    if old.machine.is_some() && new.machine.is_some() {
        differs("domain machine type", text(&old.machine), text(&new.machine))?;
    }
    Ok(())
}

/// The same disks, in the same places.
pub fn check_disks(old: &DomainView, new: &DomainView) -> Result<(), Refusal> {
    differs("domain virt type", &old.kind, &new.kind)?;
    differs("domain disk count", old.disks.len(), new.disks.len())?;
    for (old, new) in old.disks.iter().zip(&new.disks) {
        differs("disk", &old.target, &new.target)?;
        differs(format!("disk {} bus", old.target), &old.bus, &new.bus)?;
        differs(format!("disk {} device", old.target), old.device.as_str(), new.device.as_str())?;
    }
    Ok(())
}

fn check_texts(old: Element<'_>, new: Element<'_>) -> Result<(), Refusal> {
    for what in ["os", "features", "cpu", "clock"] {
        let text = |root: Element<'_>| root.child(what).map(canonical).unwrap_or_default();
        differs(format!("domain <{what}>"), text(old), text(new))?;
    }
    Ok(())
}

fn check_devices(old: Element<'_>, new: Element<'_>) -> Result<(), Refusal> {
    for (kind, seen) in DEVICES {
        let all = |root: Element<'_>| -> Vec<String> {
            root.all("devices").flat_map(|d| d.all(kind).map(|e| shown(e, seen)).collect::<Vec<_>>()).collect()
        };
        let (old, new) = (all(old), all(new));
        differs(format!("domain {kind} count"), old.len(), new.len())?;
        for (n, (old, new)) in old.iter().zip(&new).enumerate() {
            differs(format!("{kind} {n}"), old, new)?;
        }
    }
    let disks = |root: Element<'_>| -> Vec<String> {
        root.all("devices").flat_map(|d| d.all("disk").map(address).collect::<Vec<_>>()).collect()
    };
    for (n, (old, new)) in disks(old).iter().zip(&disks(new)).enumerate() {
        differs(format!("address of disk {n}"), old, new)?;
    }
    Ok(())
}

/// What a guest sees of a device, in one line.
fn shown(device: Element<'_>, seen: Seen) -> String {
    let mut parts = Vec::new();
    for (path, attributes) in seen {
        let at = if *path == "." { Some(device) } else { device.find(path) };
        let Some(at) = at else { continue };
        if attributes.is_empty() {
            parts.push(canonical(at));
        } else {
            parts.extend(attributes.iter().filter_map(|a| at.attribute(a).map(|v| format!("{a}={v}"))));
        }
    }
    parts.push(address(device));
    parts.retain(|p| !p.is_empty());
    parts.join(" ")
}

fn address(device: Element<'_>) -> String {
    device.child("address").map(canonical).unwrap_or_default()
}

/// An element without its blanks, its attributes in order of their names.
fn canonical(element: Element<'_>) -> String {
    let mut attributes: Vec<String> =
        element.node().attributes().map(|a| format!(" {}='{}'", a.name(), a.value())).collect();
    attributes.sort();
    let inner: String = element.children().map(canonical).collect();
    let text = if inner.is_empty() { element.string().trim().to_owned() } else { inner };
    format!("<{}{}>{text}</>", element.name(), attributes.concat())
}

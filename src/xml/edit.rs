//! Changes to a `<domain>` text, each of a few byte ranges; all else stays byte for byte.

use super::element::{Document, Element};
use super::escape;
use super::scan::Limits;
use super::splice::{Splicer, qualified_name};
use crate::error::{Error, Result};
use crate::model::domain::Runtime;
use crate::model::ids::Image;
use uuid::Uuid;

/// Parse `xml`, collect changes, apply them: what every edit here is made of, and what a host
/// uses to fill in addresses.
pub fn edit(xml: &str, change: impl FnOnce(&mut Splicer<'_>, Element<'_>) -> Result<()>) -> Result<String> {
    let document = Document::parse(xml, &Limits::default())?;
    let mut splicer = Splicer::new(&document);
    change(&mut splicer, document.root())?;
    Ok(splicer.finish())
}

/// Give the disk `target` another image. What described the old chain goes.
pub fn set_disk_source(xml: &str, target: &str, image: &Image, source_is_block: bool) -> Result<String> {
    let (kind, attribute, other) = if source_is_block { ("block", "dev", "file") } else { ("file", "file", "dev") };
    edit(xml, |splicer, root| {
        let disk = find_disk(root, target)?;
        if disk.attribute("type") != Some(kind) {
            splicer.set_attribute(disk, "type", kind);
        }
        let driver = disk.child("driver");
        let new_driver = format!("<driver name='qemu' type='{}'/>", escape::attribute(&image.format));
        let new_source = format!("<source {attribute}='{}'/>", escape::attribute(image.path.as_str()));
        match disk.child("source") {
            Some(source) => {
                splicer.remove_attribute(source, other);
                splicer.remove_attribute(source, "index");
                splicer.set_attribute(source, attribute, image.path.as_str());
            }
            None => match driver {
                Some(driver) => splicer.insert_after(driver, &new_source),
                None => {
                    splicer.prepend_child(disk, &new_driver);
                    splicer.prepend_child(disk, &new_source);
                }
            },
        }
        match driver {
            Some(driver) => splicer.set_attribute(driver, "type", &image.format),
            None if disk.child("source").is_some() => splicer.prepend_child(disk, &new_driver),
            None => {}
        }
        for stale in disk.all("backingStore").chain(disk.all("mirror")) {
            splicer.remove(stale);
        }
        Ok(())
    })
}

fn find_disk<'a>(root: Element<'a>, target: &str) -> Result<Element<'a>> {
    root.all("devices")
        .flat_map(|devices| devices.children().filter(|c| c.is("disk")))
        .find(|disk| disk.child("target").and_then(|t| t.attribute("dev")) == Some(target))
        .ok_or_else(|| Error::config(format!("no disk named '{target}'")))
}

/// Give the domain another name.
pub fn set_name(xml: &str, name: &str) -> Result<String> {
    edit(xml, |splicer, root| {
        match root.child("name") {
            Some(element) => splicer.set_text(element, name),
            None => splicer.prepend_child(root, &format!("<name>{}</name>", escape::text(name))),
        }
        Ok(())
    })
}

/// Give the domain another UUID, or one.
pub fn set_uuid(xml: &str, uuid: Uuid) -> Result<String> {
    edit(xml, |splicer, root| {
        let text = uuid.hyphenated().to_string();
        match (root.child("uuid"), root.child("name")) {
            (Some(element), _) => splicer.set_text(element, &text),
            (None, Some(name)) => splicer.insert_after(name, &format!("<uuid>{text}</uuid>")),
            (None, None) => splicer.prepend_child(root, &format!("<uuid>{text}</uuid>")),
        }
        Ok(())
    })
}

/// Call the outermost element `name`: `domain` or `inactiveDomain`.
pub fn rename_root(xml: &str, name: &str) -> Result<String> {
    edit(xml, |splicer, root| {
        let (range, old) = (root.range(), qualified_name(root));
        splicer.replace(range.start + 1..range.start + 1 + old.len(), name);
        if let Some(inner) = root.inner_range() {
            splicer.replace(inner.end + 2..inner.end + 2 + old.len(), name);
        }
        Ok(())
    })
}

/// Set `<currentMemory>`.
pub fn set_current_memory(xml: &str, kib: u64) -> Result<String> {
    edit(xml, |splicer, root| {
        set_current_memory_in(splicer, root, kib);
        Ok(())
    })
}

fn set_current_memory_in(splicer: &mut Splicer<'_>, root: Element<'_>, kib: u64) {
    match (root.child("currentMemory"), root.child("memory")) {
        (Some(element), _) => {
            splicer.set_attribute(element, "unit", "KiB");
            splicer.set_text(element, &kib.to_string());
        }
        (None, Some(memory)) => {
            splicer.insert_after(memory, &format!("<currentMemory unit='KiB'>{kib}</currentMemory>"));
        }
        (None, None) => {}
    }
}

/// Set `<memory>`; what the guest has now is never more.
pub fn set_maximum_memory(xml: &str, kib: u64, current: u64) -> Result<String> {
    edit(xml, |splicer, root| {
        if let Some(memory) = root.child("memory") {
            splicer.set_attribute(memory, "unit", "KiB");
            splicer.set_text(memory, &kib.to_string());
        }
        if current > kib && root.child("currentMemory").is_some() {
            set_current_memory_in(splicer, root, kib);
        }
        Ok(())
    })
}

/// Set `<vcpu>`: how many CPUs the guest has, of how many it may have.
pub fn set_vcpus(xml: &str, current: u32, maximum: u32) -> Result<String> {
    edit(xml, |splicer, root| {
        let Some(vcpu) = root.child("vcpu") else {
            let current = if current == maximum { String::new() } else { format!(" current='{current}'") };
            let before = root.child("currentMemory").or_else(|| root.child("memory"));
            if let Some(before) = before {
                splicer.insert_after(before, &format!("<vcpu{current}>{maximum}</vcpu>"));
            }
            return Ok(());
        };
        splicer.set_text(vcpu, &maximum.to_string());
        if current == maximum {
            splicer.remove_attribute(vcpu, "current");
        } else {
            splicer.set_attribute(vcpu, "current", &current.to_string());
        }
        Ok(())
    })
}

/// Set `<os><type machine>`.
pub fn set_machine(xml: &str, machine: &str) -> Result<String> {
    edit(xml, |splicer, root| {
        let Some(element) = root.find("os/type") else {
            return Err(Error::new(crate::error::Code::XmlError, "an os <type> must be specified"));
        };
        splicer.set_attribute(element, "machine", machine);
        Ok(())
    })
}

/// Say the memory as libvirt does, whose clients expect it so: in KiB, and the current size always.
pub fn set_memory(xml: &str, memory_kib: u64, current_kib: u64) -> Result<String> {
    edit(xml, |splicer, root| {
        let Some(memory) = root.child("memory") else { return Ok(()) };
        let mut say = |element: Element<'_>, kib: u64| {
            splicer.set_attribute(element, "unit", "KiB");
            splicer.set_text(element, &kib.to_string());
        };
        say(memory, memory_kib);
        match root.child("currentMemory") {
            Some(current) => say(current, current_kib),
            None => splicer.insert_after(memory, &format!("<currentMemory unit='KiB'>{current_kib}</currentMemory>")),
        }
        Ok(())
    })
}

/// Take out what `GetXMLDesc` shows only with the SECURE flag: the passwords of `<graphics>`.
pub fn strip_secrets(xml: &str) -> Result<String> {
    // Only a text with a password is worth the parsing: every dump comes through here.
    if !xml.contains("passwd") {
        return Ok(xml.to_owned());
    }
    edit(xml, |splicer, root| {
        for graphics in root.descendants().filter(|e| e.is("graphics")) {
            splicer.remove_attribute(graphics, "passwd");
        }
        Ok(())
    })
}

fn ptys(root: Element<'_>) -> impl Iterator<Item = Element<'_>> {
    root.all("devices")
        .flat_map(Element::children)
        .filter(|e| e.is("serial") || e.is("console") || e.is("channel"))
        .filter(|e| e.attribute("type") == Some("pty"))
}

/// The text as a running domain shows it: its id, the paths of its ptys, the ports of its VNC servers. A text that does not
/// parse is shown as it is.
#[must_use]
pub fn live_view(xml: &str, id: i32, runtime: &Runtime) -> String {
    let live = edit(xml, |splicer, root| {
        splicer.set_attribute(root, "id", &id.to_string());
        if let Some(kib) = runtime.memory {
            set_current_memory_in(splicer, root, kib);
        }
        for (device, tty) in ptys(root).zip(&runtime.ttys).filter(|(_, tty)| !tty.is_empty()) {
            if device.is("console") {
                splicer.set_attribute(device, "tty", tty);
            }
            match device.child("source") {
                Some(source) => splicer.set_attribute(source, "path", tty),
                None => splicer.prepend_child(device, &format!("<source path='{}'/>", escape::attribute(tty))),
            }
        }
        let servers = root.all("devices").flat_map(Element::children).filter(|e| e.is("graphics"));
        let vnc = servers.filter(|e| e.attribute("type") == Some("vnc"));
        for (graphics, port) in vnc.zip(&runtime.vnc_ports).filter(|(_, port)| **port > 0) {
            splicer.set_attribute(graphics, "port", &port.to_string());
        }
        Ok(())
    });
    live.unwrap_or_else(|_| xml.to_owned())
}

/// The opposite of [`live_view`], for a text that a client took from a running domain: what only
/// that run knew goes, as in libvirt's INACTIVE form.
pub fn drop_live(xml: &str) -> Result<String> {
    edit(xml, |splicer, root| {
        splicer.remove_attribute(root, "id");
        for device in ptys(root) {
            splicer.remove_attribute(device, "tty");
            for source in device.all("source") {
                splicer.remove(source);
            }
        }
        let servers = root.all("devices").flat_map(Element::children).filter(|e| e.is("graphics"));
        for graphics in servers.filter(|e| e.attribute("autoport") == Some("yes")) {
            if graphics.attribute("port").is_some() {
                splicer.set_attribute(graphics, "port", "-1");
            }
        }
        for disk in root.all("devices").flat_map(Element::children).filter(|e| e.is("disk")) {
            disk.all("source").for_each(|source| splicer.remove_attribute(source, "index"));
            disk.all("mirror").for_each(|stale| splicer.remove(stale));
        }
        Ok(())
    })
}

//! What `define` does to a definition: refuse what cannot be run as written, and write down what
//! must not change from one start to the next. Everything else stays byte for byte.
//!
//! Must not know: how a guest is started.

use super::addresses;
use super::hardware::Hardware;
use super::probe::Emulators;
use crate::error::{Error, Result};
use crate::xml::element::{Document, Element};
use crate::xml::scan::Limits;
use crate::xml::splice::Splicer;

/// The definition with UUID, emulator, machine version, MACs, implied devices and addresses.
pub(crate) fn check(xml: &str, emulators: &Emulators) -> Result<String> {
    let limits = Limits::default();
    let document = Document::parse(xml, &limits)?;
    let hardware = Hardware::read(document.root().node())?;
    let completed = complete(&document, &hardware, emulators)?;

    let document = Document::parse(&completed, &limits)?;
    let mut hardware = Hardware::read(document.root().node())?;
    let assigned = addresses::assign(&mut hardware)?;
    hardware.check()?;
    let mut splicer = Splicer::new(&document);
    for (start, address) in assigned {
        if let Some(device) = document.root().descendants().find(|e| e.range().start == start) {
            splicer.append_child(device, &address);
        }
    }
    Ok(splicer.finish())
}

fn complete(document: &Document<'_>, hardware: &Hardware, emulators: &Emulators) -> Result<String> {
    let root = document.root();
    let mut splicer = Splicer::new(document);
    if hardware.uuid.is_none()
        && let Some(name) = root.child("name")
    {
        splicer.insert_after(name, &format!("<uuid>{}</uuid>", uuid::Uuid::new_v4()));
    }
    let emulator = match &hardware.emulator {
        Some(path) => path.clone(),
        None => emulators.default_for(&hardware.os.arch)?,
    };
    if let Some(kind) = root.find("os/type") {
        let machine = emulators.facts(&emulator)?.machine(&emulator, hardware.os.machine.as_deref())?;
        if hardware.os.machine.as_deref() != Some(machine.as_str()) {
            splicer.set_attribute(kind, "machine", &machine);
        }
        if !(machine.starts_with("pc-q35") || machine.starts_with("pc-i440fx") || machine == "pc") {
            return Err(Error::config(format!(
                "machine='{machine}' of element <type> (line {}) is not supported",
                document.place(kind).line
            )));
        }
    }
    for interface in &hardware.interfaces {
        if interface.mac.is_none()
            && let Some(e) = root.descendants().find(|e| e.range().start == interface.range.start)
        {
            let [a, b, c, ..] = *uuid::Uuid::new_v4().as_bytes();
            splicer.prepend_child(e, &format!("<mac address='52:54:00:{a:02x}:{b:02x}:{c:02x}'/>"));
        }
    }
    devices(root, hardware, &emulator, &mut splicer);
    Ok(splicer.finish())
}

fn devices(root: Element<'_>, hardware: &Hardware, emulator: &str, splicer: &mut Splicer<'_>) {
    let mut first = Vec::new();
    if hardware.emulator.is_none() {
        first.push(format!("<emulator>{}</emulator>", crate::xml::escape::text(emulator)));
    }
    let mut last = addresses::missing_controllers(hardware);
    if hardware.vnc.is_some() && !hardware.says_video {
        last.push("<video>\n  <model type='vga'/>\n</video>".to_owned());
    }
    if !hardware.says_balloon {
        last.push("<memballoon model='virtio'/>".to_owned());
    }
    match root.child("devices") {
        Some(devices) if devices.children().next().is_some() => {
            for xml in &first {
                splicer.prepend_child(devices, xml);
            }
            for xml in &last {
                splicer.append_child(devices, xml);
            }
        }
        Some(devices) if !first.is_empty() || !last.is_empty() => {
            first.append(&mut last);
            splicer.append_child(devices, &first.join("\n"));
        }
        Some(_) => {}
        None => {
            first.append(&mut last);
            let inner = first.join("\n").replace('\n', "\n  ");
            splicer.append_child(root, &format!("<devices>\n  {inner}\n</devices>"));
        }
    }
}

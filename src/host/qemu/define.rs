//! What `define` does to a definition: refuse what cannot be run as written, and write down what
//! must not change from one start to the next. Everything else stays byte for byte.
//!
//! Must not know: how a guest is started.

use super::addresses;
use super::firmware::{self, Purpose};
use super::hardware::Hardware;
use super::hardware::firmware::{Firmware, NvramWish};
use super::probe::Emulators;
use crate::error::{Error, Result};
use crate::model::side_state::Template;
use crate::xml::element::{Document, Element};
use crate::xml::escape;
use crate::xml::scan::Limits;
use crate::xml::splice::Splicer;
use camino::{Utf8Path, Utf8PathBuf};

/// The definition with UUID, emulator, machine version, MACs, implied devices and addresses.
pub(crate) fn check(xml: &str, emulators: &Emulators, state_dir: &Utf8Path) -> Result<String> {
    let limits = Limits::default();
    let document = Document::parse(xml, &limits)?;
    let hardware = Hardware::read(document.root().node())?;
    let completed = complete(&document, &hardware, emulators, state_dir)?;

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

fn complete(
    document: &Document<'_>,
    hardware: &Hardware,
    emulators: &Emulators,
    state_dir: &Utf8Path,
) -> Result<String> {
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
        uefi(root, hardware, &machine, state_dir, &mut splicer)?;
    }
    if hardware.genid == Some(None)
        && let Some(genid) = root.child("genid")
    {
        splicer.set_text(genid, &uuid::Uuid::new_v4().to_string());
    }
    for controller in hardware.controllers.iter().filter(|c| !c.index_given) {
        if let Some(e) = root.descendants().find(|e| e.range().start == controller.range.start) {
            splicer.set_attribute(e, "index", &controller.index.to_string());
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

/// Which firmware, and where its variables are: chosen once, so that a saved state still fits after an update.
fn uefi(
    root: Element<'_>,
    hardware: &Hardware,
    machine: &str,
    state_dir: &Utf8Path,
    splicer: &mut Splicer<'_>,
) -> Result<()> {
    let Some(os) = root.child("os") else { return Ok(()) };
    let (code, template, given) = match &hardware.os.firmware {
        Firmware::Own | Firmware::Rom(_) => return Ok(()),
        Firmware::Flash(flash) if flash.no_nvram => return Ok(()),
        Firmware::Flash(flash) => {
            let given = flash.nvram.clone().unwrap_or_default();
            let template = match (&given.template, &given.path) {
                (Some(_), Some(_)) => return Ok(()),
                (Some(path), None) => {
                    let format = given.template_format.unwrap_or("raw").to_owned();
                    Some(Template { path: path.clone(), format })
                }
                (None, _) => firmware::template_of(&firmware::all(), &flash.code.path),
            };
            if template.is_none() && given.path.is_none() {
                // As far as anybody knows it keeps its variables in its own image, or has none.
                return Ok(());
            }
            (None, template, given)
        }
        Firmware::Wanted(wanted) => {
            let all = firmware::all();
            let smm = hardware.features.smm != Some(false);
            let purpose = Purpose { wanted, arch: &hardware.os.arch, machine, smm };
            let Some(found) = firmware::choose(&all, &purpose) else {
                return Err(Error::failed(
                    "Unable to find 'efi' firmware that is compatible with the current configuration",
                ));
            };
            if found.needs_smm() && hardware.features.smm.is_none() {
                match root.child("features") {
                    Some(features) => splicer.append_child(features, "<smm state='on'/>"),
                    None => splicer.insert_after(os, "<features>\n  <smm state='on'/>\n</features>"),
                }
            }
            (Some((found.code(), found.needs_smm())), found.template(), wanted.nvram.clone().unwrap_or_default())
        }
    };
    for old in os.all("nvram") {
        splicer.remove(old);
    }
    if let Some((Some(image), secure)) = code {
        for old in os.all("loader") {
            splicer.remove(old);
        }
        splicer.append_child(
            os,
            &format!(
                "<loader readonly='yes' secure='{}' type='pflash' format='{}'>{}</loader>",
                if secure { "yes" } else { "no" },
                image.format,
                escape::text(image.path.as_str())
            ),
        );
    }
    splicer.append_child(os, &nvram_element(&hardware.name, &given, template.as_ref(), state_dir));
    Ok(())
}

fn nvram_element(name: &str, given: &NvramWish, template: Option<&Template>, state_dir: &Utf8Path) -> String {
    let format = given.format.unwrap_or("raw");
    let suffix = if format == "qcow2" { "qcow2" } else { "fd" };
    let own = || -> Utf8PathBuf { state_dir.join("nvram").join(format!("{name}_VARS.{suffix}")) };
    let path = given.path.clone().unwrap_or_else(own);
    let from = template.map(|t| {
        format!(" template='{}' templateFormat='{}'", escape::attribute(t.path.as_str()), escape::attribute(&t.format))
    });
    format!("<nvram{} format='{format}'>{}</nvram>", from.unwrap_or_default(), escape::text(path.as_str()))
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

//! `<devices>`: which modules read and write them, in which order.

use super::disk::Disk;
use super::guest::Guest;
use super::interface::Interface;
use super::keys::Keys;
use super::markup::Markup;
use super::{Config, chardev, screen};
use crate::error::Result;
use crate::host::strict::Strict;

/// The device model that is not libxl's default.
const EMULATOR: &str = "device_model_override";
/// Controllers that every guest has, which libvirt writes down.
const CONTROLLERS: [&str; 4] = ["xenbus", "ide", "usb", "pci"];

pub(super) fn read(parent: &mut Strict<'_, '_>, guest: Guest, config: &mut Config) -> Result<()> {
    let mut devices = parent.child("devices")?;
    if let Some(e) = &mut devices {
        if let Some(path) = e.child_text("emulator")? {
            config.set(EMULATOR, path);
        }
        for disk in e.children("disk") {
            config.add("disk", Disk::read(disk)?.spec());
        }
        for card in e.children("interface") {
            config.add("vif", Interface::read(card, guest)?.spec());
        }
        for mut controller in e.children("controller") {
            controller.need("type")?;
            controller.only("type", if guest == Guest::Hvm { &CONTROLLERS } else { &CONTROLLERS[..1] })?;
            controller.only("index", &["0"])?;
            controller.only("model", &["pci-root", "piix3-uhci"])?;
            controller.ignore(&["alias"]);
            controller.finish()?;
        }
        if let Some(mut balloon) = e.child("memballoon")? {
            balloon.only("model", &["xen"])?;
            balloon.ignore(&["alias"]);
            balloon.finish()?;
        }
        chardev::read(e, guest, config)?;
        screen::read(e, guest, config)?;
    } else if guest == Guest::Hvm {
        config.set("vnc", 0_u64);
    }
    devices.map_or(Ok(()), Strict::finish)
}

pub(super) fn write(keys: &mut Keys<'_>, guest: Guest, xml: &mut Markup) -> Result<()> {
    xml.open("devices", &[]);
    if let Some(path) = keys.text(EMULATOR)? {
        xml.text("emulator", &[], path);
    }
    for text in keys.texts("disk")? {
        let wrong = |reason| keys.wrong("disk", format_args!("'{text}': {reason}"));
        Disk::parse(text).map_err(wrong)?.write(xml);
    }
    for text in keys.texts("vif")? {
        let wrong = |reason| keys.wrong("vif", format_args!("'{text}': {reason}"));
        Interface::parse(text, guest).map_err(wrong)?.write(xml);
    }
    chardev::write(keys, guest, xml)?;
    screen::write(keys, guest, xml)?;
    xml.close();
    Ok(())
}

//! What one sees and types on: VNC, the emulated video card, input devices.
//!
//! HVM guests have one screen, set by keys; PV and PVH guests have virtual framebuffers, whose
//! options carry the same names within `vfb`. libxl serves an HVM guest's screen unless it is told
//! not to, so that a definition without `<graphics>` says `vnc = 0`.

use super::guest::Guest;
use super::keys::{Keys, fits};
use super::markup::Markup;
use super::options::{Options, is_plain, plain};
use super::{Config, kept};
use crate::error::{Error, Result};
use crate::host::strict::Strict;

/// Attributes of `<graphics>` that are one option each.
const TEXTS: [(&str, &str); 3] = [("listen", "vnclisten"), ("passwd", "vncpasswd"), ("keymap", "keymap")];
/// The first display's port.
const FIRST_PORT: u64 = 5900;
/// `<video><model type>` and xl's `vga`.
const CARDS: [(&str, &str); 4] = [("cirrus", "cirrus"), ("vga", "stdvga"), ("qxl", "qxl"), ("none", "none")];
/// `<input type>` on USB, which xl calls the same.
const USB: [&str; 3] = ["tablet", "mouse", "keyboard"];

/// A VNC server, in the options that both kinds of guests have.
#[derive(Default)]
struct Vnc {
    /// In the order of [`TEXTS`].
    texts: [Option<String>; 3],
    /// `None`: the first one that is free.
    display: Option<u64>,
    others: Options,
}

impl Vnc {
    fn read(mut e: Strict<'_, '_>) -> Result<Self> {
        e.need("type")?;
        e.only("type", &["vnc"])?;
        e.ignore(&["alias"]);
        let mut vnc = Self { others: kept::read_options(&mut e)?, ..Self::default() };
        for (field, (attribute, _)) in vnc.texts.iter_mut().zip(TEXTS) {
            *field = plain(&mut e, attribute)?.map(str::to_owned);
        }
        let auto = e.switch("autoport")?;
        match e.attr("port") {
            None | Some("-1") => {}
            Some(_) if auto == Some(true) => {}
            Some(_) => {
                let port = e.number::<u16>("port")?.map(u64::from);
                let display = port.and_then(|p| p.checked_sub(FIRST_PORT));
                vnc.display =
                    Some(display.ok_or_else(|| {
                        Error::config(format!("vnc port must be in range [5900,65535] ({})", e.place()))
                    })?);
            }
        }
        if let Some(mut listen) = e.child("listen")? {
            listen.need("type")?;
            listen.only("type", &["address"])?;
            if let Some(address) = plain(&mut listen, "address")? {
                let [field, ..] = &mut vnc.texts;
                if field.as_deref().is_some_and(|given| given != address) {
                    return Err(listen.refuse_value("address"));
                }
                *field = Some(address.to_owned());
            }
            listen.finish()?;
        }
        let said = TEXTS.iter().map(|t| t.1).chain(["vnc", "vncunused"]);
        if said.into_iter().any(|key| vnc.others.has(key)) || (vnc.display.is_some() && vnc.others.has("vncdisplay")) {
            return Err(e.refuse());
        }
        e.finish()?;
        Ok(vnc)
    }

    /// Its options but for the kept ones.
    fn options(&self) -> Vec<(&'static str, String)> {
        let mut all = vec![("vnc", "1".to_owned())];
        if let Some(display) = self.display {
            all.push(("vncunused", "0".to_owned()));
            all.push(("vncdisplay", display.to_string()));
        }
        let texts = self.texts.iter().zip(TEXTS);
        all.extend(texts.filter_map(|(text, (_, key))| text.clone().map(|text| (key, text))));
        all
    }

    fn write(&self, xml: &mut Markup) {
        let port = self.display.map(|d| (FIRST_PORT + d).to_string());
        let auto = if port.is_some() { "no" } else { "yes" };
        let mut attributes = vec![("type", "vnc"), ("port", port.as_deref().unwrap_or("-1")), ("autoport", auto)];
        let texts = self.texts.iter().zip(TEXTS);
        attributes.extend(texts.filter_map(|(text, (name, _))| text.as_deref().map(|text| (name, text))));
        let [listen, ..] = &self.texts;
        let kept = !self.others.to_string().is_empty();
        if listen.is_none() && !kept {
            return xml.empty("graphics", &attributes);
        }
        xml.open("graphics", &attributes);
        if let Some(address) = listen {
            xml.empty("listen", &[("type", "address"), ("address", address)]);
        }
        kept::write_options(&self.others, xml);
        xml.close();
    }
}

pub(super) fn read(e: &mut Strict<'_, '_>, guest: Guest, config: &mut Config) -> Result<()> {
    let vnc = e.child("graphics")?.map(Vnc::read).transpose()?;
    let screen = vnc.is_some();
    match (guest, vnc) {
        (Guest::Hvm, Some(vnc)) => {
            vnc.options().into_iter().for_each(|(key, value)| config.set(key, value));
        }
        (Guest::Hvm, None) => config.set("vnc", 0_u64),
        (Guest::Pv | Guest::Pvh, Some(vnc)) => {
            let mut options = Options::default();
            vnc.options().iter().for_each(|(key, value)| options.set(key, value));
            vnc.others.into_all().into_iter().for_each(|o| options.push(o));
            config.add("vfb", options.to_string());
        }
        (Guest::Pv | Guest::Pvh, None) => {}
    }
    if let Some(mut video) = e.child("video")? {
        video.ignore(&["alias"]);
        if let Some(mut model) = video.child("model")? {
            model.need("type")?;
            if guest == Guest::Hvm {
                read_card(&mut model, config)?;
            } else {
                // The framebuffer itself, as libvirt's definitions have it.
                model.only("type", if screen { &["xen", "none"] } else { &["none"] })?;
                model.ignore_attrs(&["vram", "heads", "primary"]);
            }
            model.finish()?;
        }
        video.finish()?;
    }
    for mut input in e.children("input") {
        input.need("type")?;
        input.ignore(&["alias"]);
        read_input(&mut input, guest, screen, config)?;
        input.finish()?;
    }
    Ok(())
}

fn read_card(model: &mut Strict<'_, '_>, config: &mut Config) -> Result<()> {
    model.only("heads", &["1"])?;
    model.only("primary", &["yes"])?;
    if let Some(card) = model.one_of("type", &CARDS)? {
        config.set("vga", card);
    }
    if let Some(kib) = model.number::<u64>("vram")? {
        config.set("videoram", kib.div_ceil(1024));
    }
    Ok(())
}

/// A mouse and keyboard of its own come with each screen; the rest is USB.
fn read_input(input: &mut Strict<'_, '_>, guest: Guest, screen: bool, config: &mut Config) -> Result<()> {
    let native = if guest == Guest::Hvm { "ps2" } else { "xen" };
    match input.attr("bus").unwrap_or(native) {
        bus if bus == native && (screen || guest == Guest::Hvm) => input.only("type", &["mouse", "keyboard"]),
        "usb" if guest == Guest::Hvm => {
            input.only("type", &USB)?;
            let kind = input.attr("type").unwrap_or_default();
            config.add("usbdevice", kind);
            Ok(())
        }
        _ => Err(if input.attr("bus").is_some() { input.refuse_value("bus") } else { input.refuse() }),
    }
}

pub(super) fn write(keys: &mut Keys<'_>, guest: Guest, xml: &mut Markup) -> Result<()> {
    if guest != Guest::Hvm {
        if let Some(vnc) = framebuffer(keys)? {
            vnc.write(xml);
        }
        return Ok(());
    }
    write_inputs(keys, xml);
    if keys.flag("vnc")? != Some(false) {
        hvm_screen(keys)?.write(xml);
    }
    let old = keys.flag("stdvga")?.unwrap_or(false).then_some("stdvga");
    let card = keys.word("vga", &CARDS.map(|c| c.1))?.or(if keys.get("vga").is_none() { old } else { None });
    let Some((name, _)) = CARDS.iter().find(|c| Some(c.1) == card) else { return Ok(()) };
    let kib = keys.number("videoram")?.map(|mib| mib.saturating_mul(1024).to_string());
    let mut attributes = vec![("type", *name)];
    attributes.extend(kib.as_deref().map(|kib| ("vram", kib)));
    xml.open("video", &[]);
    xml.empty("model", &attributes);
    xml.close();
    Ok(())
}

fn hvm_screen(keys: &mut Keys<'_>) -> Result<Vnc> {
    let mut vnc = Vnc::default();
    for (field, (_, key)) in vnc.texts.iter_mut().zip(TEXTS) {
        if keys.get(key).and_then(super::Value::as_text).is_some_and(is_plain) {
            *field = keys.text(key)?.map(str::to_owned);
        }
    }
    // With a search for a free one `vncdisplay` is only where it begins: preserved.
    if keys.flag("vncunused")? == Some(false) {
        vnc.display = Some(display(keys.number("vncdisplay")?, keys)?);
    }
    Ok(vnc)
}

fn display(number: Option<u64>, keys: &Keys<'_>) -> Result<u64> {
    let number = number.unwrap_or(0);
    if number + FIRST_PORT > u64::from(u16::MAX) {
        return Err(keys.wrong("vncdisplay", format_args!("{number} is not the number of a display")));
    }
    Ok(number)
}

/// The one framebuffer that is a VNC server; anything else stays xl's.
fn framebuffer(keys: &mut Keys<'_>) -> Result<Option<Vnc>> {
    let single = match keys.get("vfb").and_then(super::Value::as_list) {
        Some([only]) => only.as_text(),
        _ => None,
    };
    let Some(text) = single else { return Ok(None) };
    let mut options = Options::parse(text);
    if options.take("vnc").is_some_and(|v| v != "1") || options.take("type").is_some_and(|t| t != "vnc") {
        return Ok(None);
    }
    let mut vnc = Vnc::default();
    for (field, (_, key)) in vnc.texts.iter_mut().zip(TEXTS) {
        *field = options.take(key).filter(|text| fits(text));
    }
    match options.take("vncunused").as_deref() {
        Some("0") => {
            let number = options.take("vncdisplay").map(|n| n.parse::<u64>());
            let number = number.transpose().map_err(|_| keys.wrong("vfb", "vncdisplay is not a number"))?;
            vnc.display = Some(display(number, keys)?);
        }
        None | Some("1") => {}
        Some(_) => return Ok(None),
    }
    vnc.others = options;
    keys.take("vfb");
    Ok(Some(vnc))
}

fn write_inputs(keys: &mut Keys<'_>, xml: &mut Markup) {
    let names: Option<Vec<&str>> = match keys.get("usbdevice") {
        None => return,
        Some(super::Value::Text(name)) => Some(vec![name]),
        Some(super::Value::List(items)) => items.iter().map(super::Value::as_text).collect(),
    };
    let Some(names) = names.filter(|names| names.iter().all(|n| USB.contains(n))) else { return };
    keys.take("usbdevice");
    // A device brings its controller along.
    if keys.get("usb").and_then(super::Value::as_text) == Some("1") {
        keys.take("usb");
    }
    for name in names {
        xml.empty("input", &[("type", name), ("bus", "usb")]);
    }
}

//! What a domain starts from: a kernel, a bootloader that finds one, or a firmware.

use super::Config;
use super::guest::Guest;
use super::keys::{Keys, fits};
use super::markup::Markup;
use super::value::Value;
use crate::error::Result;
use crate::host::strict::Strict;

/// Texts within `<os>`: the element and the key.
const TEXTS: [(&str, &str); 2] = [("kernel", "kernel"), ("initrd", "ramdisk")];
/// xl's letters for `<boot dev>`.
const DEVICES: [(&str, char); 4] = [("hd", 'c'), ("cdrom", 'd'), ("network", 'n'), ("fd", 'a')];
/// xl's `bios` for `<os firmware>`.
const FIRMWARE: [(&str, &str); 2] = [("bios", "seabios"), ("efi", "ovmf")];
/// Where `<loader type>` goes: hvmloader itself, or the image that it loads.
const LOADERS: [(&str, &str); 2] = [("rom", "firmware_override"), ("pflash", "bios_path_override")];

pub(super) fn read(e: &mut Strict<'_, '_>, guest: Guest, config: &mut Config) -> Result<()> {
    for name in ["bootloader", "bootloader_args"] {
        let Some(child) = e.child(name)? else { continue };
        if guest == Guest::Hvm {
            return Err(child.refuse());
        }
        if let Some(text) = child.text() {
            config.set(name, text);
        }
        child.finish()?;
    }
    let Some(mut os) = e.child("os")? else { return Ok(()) };
    if let Some(mut kind) = os.child("type")? {
        kind.only("arch", &["x86_64"])?;
        kind.only("machine", &[guest.kind().machine])?;
        kind.finish()?;
    }
    if guest == Guest::Hvm {
        firmware(&mut os, config)?;
    }
    for (element, key) in TEXTS {
        if let Some(text) = os.child_text(element)? {
            config.set(key, text);
        }
    }
    if let Some(text) = os.child_text("cmdline")? {
        config.set("cmdline", text);
    }
    os.finish()
}

fn firmware(os: &mut Strict<'_, '_>, config: &mut Config) -> Result<()> {
    let mut bios = os.one_of("firmware", &FIRMWARE)?;
    if let Some(mut loader) = os.child("loader")? {
        let key = loader.one_of("type", &LOADERS)?.unwrap_or("firmware_override");
        if key == "bios_path_override" {
            match bios {
                None | Some("ovmf") => bios = Some("ovmf"),
                Some(_) => return Err(loader.refuse_value("type")),
            }
        }
        loader.only("readonly", &["yes"])?;
        loader.only("secure", &["no"])?;
        let path = loader.text().ok_or_else(|| loader.refuse())?;
        config.set(key, path);
        loader.finish()?;
    }
    if let Some(bios) = bios {
        config.set("bios", bios);
    }
    let mut order = String::new();
    for mut boot in os.children("boot") {
        boot.need("dev")?;
        order.extend(boot.one_of("dev", &DEVICES)?);
        boot.finish()?;
    }
    if !order.is_empty() {
        config.set("boot", order);
    }
    Ok(())
}

pub(super) fn write(keys: &mut Keys<'_>, guest: Guest, xml: &mut Markup) -> Result<()> {
    if guest != Guest::Hvm {
        if let Some(text) = keys.text("bootloader")? {
            xml.text("bootloader", &[], text);
        }
        if let Some(text) = bootloader_args(keys)? {
            xml.text("bootloader_args", &[], &text);
        }
    }
    let kind = guest.kind();
    let bios = if guest == Guest::Hvm { keys.word("bios", &FIRMWARE.map(|f| f.1))? } else { None };
    let pflash = bios == Some("ovmf") && keys.get("bios_path_override").is_some();
    // An image of its own implies the firmware.
    let firmware = FIRMWARE.iter().filter(|_| !pflash).find(|f| Some(f.1) == bios).map(|f| ("firmware", f.0));
    xml.open("os", firmware.as_slice());
    xml.text("type", &[("arch", "x86_64"), ("machine", kind.machine)], kind.os);
    if guest == Guest::Hvm {
        if pflash && let Some(path) = keys.text("bios_path_override")? {
            xml.text("loader", &[("readonly", "yes"), ("type", "pflash")], path);
        } else if let Some(path) = keys.text("firmware_override")? {
            xml.text("loader", &[("type", "rom")], path);
        }
    }
    for (element, key) in TEXTS {
        if let Some(text) = keys.text(key)? {
            xml.text(element, &[], text);
        }
    }
    if let Some(text) = cmdline(keys)? {
        xml.text("cmdline", &[], &text);
    }
    if guest == Guest::Hvm {
        boot_order(keys, xml)?;
    }
    xml.close();
    Ok(())
}

fn boot_order(keys: &mut Keys<'_>, xml: &mut Markup) -> Result<()> {
    let Some(letters) = keys.get("boot").and_then(Value::as_text) else { return Ok(()) };
    let name = |letter| DEVICES.iter().find(|d| d.1 == letter).map(|d| d.0);
    let Some(order) = letters.chars().map(name).collect::<Option<Vec<_>>>() else { return Ok(()) };
    keys.take("boot");
    for dev in order {
        xml.empty("boot", &[("dev", dev)]);
    }
    Ok(())
}

/// A string that xl splits at blanks, or a list of what would come of that.
fn bootloader_args(keys: &mut Keys<'_>) -> Result<Option<String>> {
    match keys.get("bootloader_args") {
        Some(Value::List(items)) => {
            let words: Option<Vec<&str>> = items.iter().map(Value::as_text).collect();
            let whole = |w: &&str| fits(w) && !w.contains(char::is_whitespace);
            let Some(words) = words.filter(|w| !w.is_empty() && w.iter().all(whole)) else { return Ok(None) };
            keys.take("bootloader_args");
            Ok(Some(words.join(" ")))
        }
        _ => Ok(keys.text("bootloader_args")?.map(str::to_owned)),
    }
}

/// `cmdline`, or what older configurations put together from `root` and `extra` (xl.cfg(5)).
fn cmdline(keys: &mut Keys<'_>) -> Result<Option<String>> {
    const SPELLINGS: [&str; 3] = ["cmdline", "root", "extra"];
    let mut fields = [None; 3];
    for (field, key) in fields.iter_mut().zip(SPELLINGS) {
        *field = keys.get(key).and_then(Value::as_text).filter(|t| !t.is_empty());
    }
    let text = match fields {
        [Some(cmdline), ..] => cmdline.to_owned(),
        [None, Some(root), Some(extra)] => format!("root={root} {extra}"),
        [None, Some(root), None] => format!("root={root}"),
        [None, None, Some(extra)] => extra.to_owned(),
        [None, None, None] => return Ok(None),
    };
    if !fits(&text) {
        return Ok(None);
    }
    SPELLINGS.into_iter().for_each(|key| keys.take(key));
    Ok(Some(text))
}

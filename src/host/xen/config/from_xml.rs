//! `<domain type='xen'>` as a configuration: strict, so that nothing a user wrote is dropped.

use super::disk::Disk;
use super::{Config, NAMESPACE, devices};
use crate::error::{Code, Error, Result};
use crate::host::strict::Strict;
use crate::xml::element::Document;
use crate::xml::number;
use crate::xml::scan::Limits;

/// The configuration that the definition asks for.
pub fn to_config(xml: &str) -> Result<Config> {
    let document = Document::parse(xml, &Limits::default())?;
    domain(Strict::new(document.root().node()))
}

/// What kind of machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Pv,
    Pvh,
    Hvm,
}

fn domain(mut e: Strict<'_, '_>) -> Result<Config> {
    let mut config = Config::default();
    match e.attr("type") {
        Some("xen") => {}
        Some(_) => return Err(e.refuse_value("type")),
        None => return Err(Error::new(Code::XmlError, "missing domain type attribute")),
    }
    e.ignore_attrs(&["id"]);
    e.ignore(&["title", "description", "resource", "seclabel"]);
    let name = e.child_text("name")?.ok_or_else(|| Error::new(Code::XmlError, "missing domain name"))?;
    config.set_text("name", name);
    let uuid = e.child_text("uuid")?.ok_or_else(|| Error::internal("definition without UUID"))?;
    config.set_text("uuid", crate::xml::domain::parse_uuid(uuid)?.hyphenated().to_string());
    let kind = os(&mut e, &mut config)?;
    memory(&mut e, &mut config)?;
    vcpus(&mut e, &mut config)?;
    for (element, words) in [
        ("on_poweroff", &["destroy", "restart", "preserve", "rename-restart"][..]),
        ("on_reboot", &["destroy", "restart", "preserve", "rename-restart"]),
        ("on_crash", &["destroy", "restart", "preserve", "rename-restart", "coredump-destroy", "coredump-restart"]),
    ] {
        let Some(action) = e.child(element)? else { continue };
        match action.text() {
            Some(word) if words.contains(&word) => config.set_text(element, word),
            _ => return Err(action.refuse_text()),
        }
        action.finish()?;
    }
    features(&mut e, &mut config)?;
    if let Some(mut clock) = e.child("clock")? {
        clock.only("offset", &["utc", "localtime", "variable"])?;
        if clock.attr("offset") == Some("localtime") {
            config.set_number("localtime", 1);
        }
        clock.ignore_attrs(&["adjustment", "basis"]);
        clock.ignore(&["timer"]);
        clock.finish()?;
    }
    if let Some(all) = e.child("devices")? {
        self::devices(all, kind, &mut config)?;
    }
    if let Some(mut metadata) = e.child("metadata")? {
        for kept in metadata.foreign_children(NAMESPACE, "config") {
            let more = Config::parse(kept.text().unwrap_or_default())?;
            for (key, value) in more.settings {
                if config.get(&key).is_none() {
                    config.set(&key, value);
                }
            }
        }
        // What others keep there is theirs.
    }
    e.finish()?;
    Ok(config)
}

fn os(e: &mut Strict<'_, '_>, config: &mut Config) -> Result<Kind> {
    let bootloader = e.child_text("bootloader")?;
    let bootloader_args = e.child_text("bootloader_args")?;
    let mut os = match e.child("os")? {
        Some(os) => os,
        None if bootloader.is_some() => {
            config.set_text("type", "pv");
            texts(config, &[("bootloader", bootloader), ("bootloader_args", bootloader_args)]);
            return Ok(Kind::Pv);
        }
        None => return Err(Error::new(Code::XmlError, "an os <type> must be specified")),
    };
    let Some(mut kind) = os.child("type")? else {
        return Err(Error::new(Code::XmlError, "an os <type> must be specified"));
    };
    kind.only("arch", &["x86_64", "i686", "x86_32", "aarch64"])?;
    kind.only("machine", &["xenpv", "xenpvh", "xenfv"])?;
    let machine = match (kind.text(), kind.attr("machine")) {
        (Some("linux" | "xen"), None | Some("xenpv")) => Kind::Pv,
        (Some("xenpvh"), None | Some("xenpvh")) => Kind::Pvh,
        (Some("hvm"), None | Some("xenfv")) => Kind::Hvm,
        (Some("linux" | "xen" | "xenpvh" | "hvm"), _) => return Err(kind.refuse_value("machine")),
        _ => return Err(kind.refuse_text()),
    };
    kind.finish()?;
    let word = match machine {
        Kind::Pv => "pv",
        Kind::Pvh => "pvh",
        Kind::Hvm => "hvm",
    };
    config.set_text("type", word);
    texts(
        config,
        &[
            ("kernel", os.child_text("kernel")?),
            ("ramdisk", os.child_text("initrd")?),
            ("cmdline", os.child_text("cmdline")?),
            ("bootloader", bootloader),
            ("bootloader_args", bootloader_args),
        ],
    );
    if let Some(mut loader) = os.child("loader")? {
        loader.only("readonly", &["yes", "no"])?;
        loader.only("type", &["rom", "pflash"])?;
        let uefi = loader.attr("type") == Some("pflash") || loader.text().is_some_and(|t| t.contains("ovmf"));
        match (machine, loader.text(), uefi) {
            (Kind::Hvm, _, true) => config.set_text("bios", "ovmf"),
            (Kind::Hvm, _, false) => {}
            _ => return Err(loader.refuse()),
        }
        loader.finish()?;
    }
    let mut order = String::new();
    for mut boot in os.children("boot") {
        let letter = boot.one_of("dev", &[("hd", 'c'), ("cdrom", 'd'), ("network", 'n'), ("fd", 'a')])?;
        order.extend(letter);
        boot.finish()?;
    }
    if !order.is_empty() {
        config.set_text("boot", order);
    }
    os.finish()?;
    Ok(machine)
}

fn texts(config: &mut Config, pairs: &[(&str, Option<&str>)]) {
    for (key, value) in pairs {
        if let Some(value) = value {
            config.set_text(key, *value);
        }
    }
}

fn mebibytes(mut e: Strict<'_, '_>, place: &str) -> Result<u64> {
    let unit = e.attr("unit");
    e.ignore_attrs(&["dumpCore"]);
    let bytes = number::scaled(e.text().unwrap_or_default(), unit.or(Some("KiB")), 1024, place)?;
    e.finish()?;
    Ok(bytes.div_ceil(1 << 20))
}

fn memory(e: &mut Strict<'_, '_>, config: &mut Config) -> Result<()> {
    let Some(most) = e.child("memory")? else { return Err(Error::new(Code::XmlError, "missing memory size")) };
    let most = mebibytes(most, "./memory[1]")?;
    let now =
        e.child("currentMemory")?.map(|c| mebibytes(c, "./currentMemory[1]")).transpose()?.unwrap_or(most).min(most);
    config.set_number("memory", now);
    if now != most {
        config.set_number("maxmem", most);
    }
    Ok(())
}

fn vcpus(e: &mut Strict<'_, '_>, config: &mut Config) -> Result<()> {
    let Some(mut vcpu) = e.child("vcpu")? else {
        config.set_number("vcpus", 1);
        return Ok(());
    };
    vcpu.only("placement", &["static"])?;
    let most: u64 = vcpu.parse_text()?.filter(|n| *n > 0).ok_or_else(|| vcpu.refuse_text())?;
    let now = vcpu.number("current")?.unwrap_or(most);
    config.set_number("vcpus", now);
    if now != most {
        config.set_number("maxvcpus", most);
    }
    texts(config, &[("cpus", vcpu.attr("cpuset"))]);
    vcpu.finish()
}

fn features(e: &mut Strict<'_, '_>, config: &mut Config) -> Result<()> {
    let Some(mut features) = e.child("features")? else { return Ok(()) };
    for name in ["acpi", "apic", "pae", "hap"] {
        let Some(mut feature) = features.child(name)? else { continue };
        let on = feature.switch("state")?.unwrap_or(true);
        config.set_number(name, u64::from(on));
        feature.finish()?;
    }
    features.finish()
}

fn devices(mut all: Strict<'_, '_>, kind: Kind, config: &mut Config) -> Result<()> {
    if let Some(emulator) = all.child_text("emulator")? {
        config.set_text("device_model_override", emulator);
    }
    let mut disks = Vec::new();
    for e in all.children("disk") {
        disks.push(disk(e)?.text());
    }
    config.set_list("disk", disks);
    config.set_list("vif", all.children("interface").into_iter().map(devices::interface).collect::<Result<_>>()?);
    config.set_list("channel", all.children("channel").into_iter().map(devices::channel).collect::<Result<_>>()?);
    let mut screens = Vec::new();
    for e in all.children("graphics") {
        screens.push(devices::graphics(e)?);
    }
    match (kind, screens.as_mut_slice()) {
        (_, []) => {}
        (Kind::Hvm, [screen]) => screen_keys(screen, config),
        (Kind::Hvm, _) => return Err(Error::config("more than one element <graphics> is not supported")),
        _ => config.set_list("vfb", screens.iter().map(devices::Words::text).collect()),
    }
    if let Some(mut video) = all.child("video")? {
        if let Some(mut model) = video.child("model")? {
            let vga =
                model.one_of("type", &[("vga", "stdvga"), ("cirrus", "cirrus"), ("none", "none"), ("xen", "")])?;
            texts(config, &[("vga", vga.filter(|v| !v.is_empty()))]);
            if let Some(kib) = model.number::<u64>("vram")? {
                config.set_number("videoram", kib.div_ceil(1024));
            }
            model.ignore_attrs(&["heads", "primary"]);
            model.finish()?;
        }
        video.ignore(&["address", "alias"]);
        video.finish()?;
    }
    for mut input in all.children("input") {
        match (input.attr("type"), input.attr("bus")) {
            (Some("tablet"), None | Some("usb")) => {
                config.set_number("usb", 1);
                config.set_text("usbdevice", "tablet");
            }
            // The machine has these by itself.
            (Some("mouse" | "keyboard"), None | Some("xen" | "ps2")) => {}
            _ => return Err(input.refuse_value("type")),
        }
        input.finish()?;
    }
    consoles(&mut all, kind, config)?;
    for mut balloon in all.children("memballoon") {
        balloon.only("model", &["xen", "none"])?;
        balloon.finish()?;
    }
    all.ignore(&["controller"]);
    all.finish()
}

fn consoles(all: &mut Strict<'_, '_>, kind: Kind, config: &mut Config) -> Result<()> {
    for mut console in all.children("console") {
        // Every domain has one, and it is a pty.
        console.only("type", &["pty"])?;
        console.ignore_attrs(&["tty"]);
        console.ignore(&["source", "target", "alias"]);
        console.finish()?;
    }
    for mut serial in all.children("serial") {
        if kind != Kind::Hvm {
            return Err(serial.refuse());
        }
        serial.only("type", &["pty"])?;
        config.set_text("serial", "pty");
        serial.ignore(&["source", "target", "alias"]);
        serial.finish()?;
    }
    Ok(())
}

/// An HVM guest's screen: keys of its own.
fn screen_keys(screen: &mut devices::Words, config: &mut Config) {
    for key in ["vnc", "vncunused", "vncdisplay", "vnclisten", "vncpasswd", "keymap"] {
        let Some(value) = screen.take(key) else { continue };
        match value.parse() {
            Ok(number) if key != "vncpasswd" => config.set_number(key, number),
            _ => config.set_text(key, value),
        }
    }
}

fn disk(mut e: Strict<'_, '_>) -> Result<Disk> {
    let mut disk = Disk::default();
    let block = e.one_of("type", &[("file", false), ("block", true)])?.unwrap_or(false);
    e.only("device", &["disk", "cdrom"])?;
    disk.cdrom = e.attr("device") == Some("cdrom");
    e.ignore_attrs(&["snapshot", "model"]);
    if let Some(mut driver) = e.child("driver")? {
        let backends = [
            ("qemu", Some("qdisk")),
            ("phy", Some("phy")),
            ("tap", Some("tap")),
            ("tap2", Some("tap")),
            ("file", None),
        ];
        disk.backend = driver.one_of("name", &backends)?.flatten().map(str::to_owned);
        driver.only("type", &["raw", "qcow", "qcow2", "vhd", "qed", "aio"])?;
        disk.format = driver.attr("type").filter(|t| *t != "aio").map(str::to_owned);
        match driver.attr("discard") {
            Some("unmap") => disk.more.push("discard".to_owned()),
            Some("ignore") => disk.more.push("no-discard".to_owned()),
            Some(_) => return Err(driver.refuse_value("discard")),
            None => {}
        }
        driver.finish()?;
    }
    if let Some(mut source) = e.child("source")? {
        disk.target = source.attr(if block { "dev" } else { "file" }).unwrap_or_default().to_owned();
        source.ignore_attrs(&["index"]);
        source.finish()?;
    }
    let Some(mut target) = e.child("target")? else { return Err(e.refuse()) };
    disk.vdev = target.need("dev")?.to_owned();
    target.only("bus", &["xen", "ide", "scsi"])?;
    target.finish()?;
    disk.readonly = e.mark("readonly")? || disk.cdrom;
    // Xen takes no lock, and says nothing of sharing.
    e.mark("shareable")?;
    let kept = devices::options(&mut e);
    disk.more.extend(kept.split(',').filter(|w| !w.is_empty()).map(str::to_owned));
    e.ignore(&["alias", "address", "backingStore"]);
    if disk.target.is_empty() && !disk.cdrom {
        return Err(Error::config(format!("disk '{}' ({}) has no source", disk.vdev, e.place())));
    }
    e.finish()?;
    Ok(disk)
}

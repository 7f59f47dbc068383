//! A configuration as `<domain type='xen'>`.

use super::disk::Disk;
use super::{Config, NAMESPACE, devices, line};
use crate::error::{Code, Error, Result};
use crate::text::xl::Value;
use crate::xml::escape::{attribute as escaped, text as escaped_text};
use std::fmt::Write;

/// Keys that become elements; all others are kept as they are.
const KNOWN: &[&str] = &[
    "name",
    "uuid",
    "type",
    "builder",
    "kernel",
    "ramdisk",
    "cmdline",
    "extra",
    "root",
    "bootloader",
    "bootloader_args",
    "memory",
    "maxmem",
    "vcpus",
    "maxvcpus",
    "cpus",
    "on_poweroff",
    "on_reboot",
    "on_crash",
    "disk",
    "vif",
    "acpi",
    "apic",
    "pae",
    "hap",
    "localtime",
    "boot",
    "device_model_override",
];
/// Those of them that only some machines have.
const SCREEN: &[&str] = &["vnc", "vncunused", "vncdisplay", "vnclisten", "vncpasswd", "keymap"];

/// The definition of what the configuration says.
pub fn from_config(config: &Config) -> Result<String> {
    let missing = |key: &str| Error::new(Code::ConfigUnsupported, format!("the configuration has no '{key}'"));
    let name = config.text("name").ok_or_else(|| missing("name"))?;
    let mut out = format!("<domain type='xen'>\n  <name>{}</name>\n", escaped_text(name));
    let mut kept: Vec<String> = Vec::new();
    if let Some(uuid) = config.text("uuid") {
        element(&mut out, "uuid", &crate::xml::domain::parse_uuid(uuid)?.hyphenated().to_string());
    }
    let at_metadata = out.len();
    memory(config, &mut out)?;
    vcpus(config, &mut out);
    let machine = machine(config)?;
    os(config, machine, &mut out);
    features(config, &mut out);
    let offset = if config.number("localtime") == Some(1) { "localtime" } else { "utc" };
    let _ = writeln!(out, "  <clock offset='{offset}'/>");
    for key in ["on_poweroff", "on_reboot", "on_crash"] {
        if let Some(action) = config.text(key) {
            element(&mut out, key, action);
        }
    }
    out.push_str("  <devices>\n");
    devices_xml(config, machine, &mut out, &mut kept)?;
    out.push_str("  </devices>\n</domain>\n");
    for key in config.keys().filter(|k| !is_known(k, machine)) {
        kept.extend(config.get(key).map(|v| line(key, v)));
    }
    if !kept.is_empty() {
        let lines = escaped_text(&kept.join("\n"));
        let metadata =
            format!("  <metadata>\n    <xl:config xmlns:xl='{NAMESPACE}'>\n{lines}\n    </xl:config>\n  </metadata>\n");
        out.insert_str(at_metadata, &metadata);
    }
    Ok(out)
}

fn is_known(key: &str, machine: &str) -> bool {
    let only = match key {
        "vfb" => machine != "hvm",
        "channel" => true,
        "bios" | "serial" | "vga" | "videoram" | "usb" | "usbdevice" => machine == "hvm",
        key if SCREEN.contains(&key) => machine == "hvm",
        _ => false,
    };
    KNOWN.contains(&key) || only
}

fn element(out: &mut String, name: &str, text: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "  <{name}>{}</{name}>", escaped_text(text));
}

fn machine(config: &Config) -> Result<&'static str> {
    Ok(match (config.text("type"), config.text("builder")) {
        (Some("hvm"), _) | (None, Some("hvm")) => "hvm",
        (Some("pvh"), _) => "pvh",
        (Some("pv"), _) | (None, None | Some("generic" | "linux")) => "pv",
        (kind, builder) => {
            let word = kind.or(builder).unwrap_or_default();
            return Err(Error::new(Code::ConfigUnsupported, format!("type '{word}' is not supported")));
        }
    })
}

fn memory(config: &Config, out: &mut String) -> Result<()> {
    let size = |key: &str| config.number(key).and_then(|n| u64::try_from(n).ok());
    let missing = || Error::new(Code::ConfigUnsupported, "the configuration has no 'memory'");
    let now = size("memory").or_else(|| size("maxmem")).ok_or_else(missing)?;
    let most = size("maxmem").unwrap_or(now).max(now);
    let _ = writeln!(out, "  <memory unit='KiB'>{}</memory>", most * 1024);
    let _ = writeln!(out, "  <currentMemory unit='KiB'>{}</currentMemory>", now * 1024);
    Ok(())
}

fn vcpus(config: &Config, out: &mut String) {
    let now = config.number("vcpus").unwrap_or(1);
    let most = config.number("maxvcpus").unwrap_or(now).max(now);
    let current = if most == now { String::new() } else { format!(" current='{now}'") };
    let cpus = match config.get("cpus") {
        Some(Value::Text(cpus)) => format!(" cpuset='{}'", escaped(cpus)),
        Some(Value::Integer(cpu)) => format!(" cpuset='{cpu}'"),
        _ => String::new(),
    };
    let _ = writeln!(out, "  <vcpu placement='static'{cpus}{current}>{most}</vcpu>");
}

fn os(config: &Config, machine: &str, out: &mut String) {
    for key in ["bootloader", "bootloader_args"] {
        if let Some(text) = config.text(key) {
            element(out, key, text);
        }
    }
    out.push_str("  <os>\n");
    let (kind, name) = match machine {
        "hvm" => ("hvm", "xenfv"),
        "pvh" => ("xenpvh", "xenpvh"),
        _ => ("linux", "xenpv"),
    };
    let _ = writeln!(out, "    <type arch='x86_64' machine='{name}'>{kind}</type>");
    if machine == "hvm" && config.text("bios") == Some("ovmf") {
        out.push_str("    <loader readonly='yes' type='pflash'>/usr/lib/xen/boot/ovmf.bin</loader>\n");
    } else if machine == "hvm" {
        out.push_str("    <loader type='rom'>/usr/lib/xen/boot/hvmloader</loader>\n");
    }
    // As xl joins them.
    let root = config.text("root").map(|r| format!("root={r}"));
    let joined = [root.as_deref(), config.text("extra")].into_iter().flatten().collect::<Vec<_>>().join(" ");
    let command = config.text("cmdline").unwrap_or(&joined);
    for (name, text) in [
        ("kernel", config.text("kernel")),
        ("initrd", config.text("ramdisk")),
        ("cmdline", Some(command).filter(|c| !c.is_empty())),
    ] {
        if let Some(text) = text {
            let _ = writeln!(out, "    <{name}>{}</{name}>", escaped_text(text));
        }
    }
    for letter in config.text("boot").unwrap_or_default().chars() {
        let device = match letter {
            'c' => "hd",
            'd' => "cdrom",
            'n' => "network",
            'a' => "fd",
            _ => continue,
        };
        let _ = writeln!(out, "    <boot dev='{device}'/>");
    }
    out.push_str("  </os>\n");
}

fn features(config: &Config, out: &mut String) {
    let on = |name: &&str| config.number(name).map(|n| (n != 0).then_some("on").unwrap_or("off"));
    let said: Vec<_> = ["acpi", "apic", "pae", "hap"].iter().filter_map(|f| Some((*f, on(f)?))).collect();
    if said.is_empty() {
        return;
    }
    out.push_str("  <features>\n");
    for (name, state) in said {
        let state = if state == "on" { String::new() } else { format!(" state='{state}'") };
        let _ = writeln!(out, "    <{name}{state}/>");
    }
    out.push_str("  </features>\n");
}

fn devices_xml(config: &Config, machine: &str, out: &mut String, kept: &mut Vec<String>) -> Result<()> {
    if let Some(emulator) = config.text("device_model_override") {
        let _ = writeln!(out, "    <emulator>{}</emulator>", escaped_text(emulator));
    }
    for text in config.list("disk") {
        out.push_str(&disk(&Disk::parse(text)?));
    }
    for text in config.list("vif") {
        out.push_str(&devices::interface_xml(text));
    }
    let mut other = Vec::new();
    for text in config.list("channel") {
        match devices::channel_xml(text) {
            Some(xml) => out.push_str(&xml),
            None => other.push(text.to_owned()),
        }
    }
    if !other.is_empty() {
        let mut more = Config::default();
        more.set_list("channel", other);
        kept.extend(more.get("channel").map(|v| line("channel", v)));
    }
    if machine == "hvm" {
        hvm_devices(config, out);
    } else {
        match screens(config) {
            Some(xml) => out.push_str(&xml),
            None => kept.extend(config.get("vfb").map(|v| line("vfb", v))),
        }
    }
    out.push_str("    <console type='pty'>\n      <target type='xen' port='0'/>\n    </console>\n");
    Ok(())
}

/// `None` if one of them says what XML has no word for: then all are kept as they are.
fn screens(config: &Config) -> Option<String> {
    let mut out = String::new();
    for text in config.list("vfb") {
        let mut words = devices::Words::parse(text);
        let xml = devices::graphics_xml(&mut words);
        if xml.is_empty() || !words.text().is_empty() {
            return None;
        }
        out.push_str(&xml);
    }
    Some(out)
}

fn hvm_devices(config: &Config, out: &mut String) {
    let mut words = devices::Words::default();
    for key in SCREEN {
        words.add(key, config.number(key).map(|n| n.to_string()).or_else(|| config.text(key).map(str::to_owned)));
    }
    out.push_str(&devices::graphics_xml(&mut words));
    if config.text("serial").is_some() {
        out.push_str("    <serial type='pty'>\n      <target port='0'/>\n    </serial>\n");
    }
    if config.text("usbdevice") == Some("tablet") {
        out.push_str("    <input type='tablet' bus='usb'/>\n");
    }
    let model = match config.text("vga") {
        Some("stdvga") => Some("vga"),
        Some("cirrus") => Some("cirrus"),
        Some("none") => Some("none"),
        _ => None,
    };
    if let Some(model) = model {
        let vram = config.number("videoram").map(|m| format!(" vram='{}'", m * 1024)).unwrap_or_default();
        let _ = writeln!(out, "    <video>\n      <model type='{model}'{vram}/>\n    </video>");
    }
}

fn disk(disk: &Disk) -> String {
    let block = disk.target.starts_with("/dev/");
    let (kind, attribute) = if block { ("block", "dev") } else { ("file", "file") };
    let device = if disk.cdrom { "cdrom" } else { "disk" };
    let mut out = format!("    <disk type='{kind}' device='{device}'>\n");
    let name = match disk.backend.as_deref() {
        Some("qdisk") => " name='qemu'",
        Some("phy") => " name='phy'",
        Some("tap") => " name='tap'",
        _ => "",
    };
    let format = disk.format.as_deref().map(|f| format!(" type='{}'", escaped(f))).unwrap_or_default();
    let (mut discard, mut more) = ("", Vec::new());
    for word in &disk.more {
        match word.as_str() {
            "discard" => discard = " discard='unmap'",
            "no-discard" => discard = " discard='ignore'",
            word => more.push(word),
        }
    }
    if !(name.is_empty() && format.is_empty() && discard.is_empty()) {
        let _ = writeln!(out, "      <driver{name}{format}{discard}/>");
    }
    if !disk.target.is_empty() {
        let _ = writeln!(out, "      <source {attribute}='{}'/>", escaped(&disk.target));
    }
    let bus = match disk.vdev.get(..2) {
        Some("hd") => "ide",
        Some("sd") => "scsi",
        _ => "xen",
    };
    let _ = write!(out, "      <target dev='{}' bus='{bus}'/>", escaped(&disk.vdev));
    out.push_str(&devices::kept_options(&more.join(",")));
    out.push('\n');
    if disk.readonly {
        out.push_str("      <readonly/>\n");
    }
    out + "    </disk>\n"
}

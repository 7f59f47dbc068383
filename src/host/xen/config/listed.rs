//! One domain of `xl list -l`: libxl's JSON (`libxl_types.idl`), turned into the keys it came from.
//!
//! libxl leaves out what has its default; a boolean is the string `True` or `False`. What the table
//! lacks never changes while a domain runs, and is taken from the text it was created with.

use super::Config;
use super::disk::{self, Disk};
use super::guest::Guest;
use super::interface::Interface;
use super::options::Options;
use serde_json::Value as Json;

type Read<T> = std::result::Result<T, String>;

/// How a member becomes a key's value.
#[derive(Debug, Clone, Copy)]
enum How {
    Text,
    Texts,
    Flag,
    Number,
    /// A number that is told in every domain and means something only if it is another than this.
    NumberBut(u64),
    /// KiB; xl has MiB.
    Memory,
    /// An enumeration with underscores; absent: its first value.
    Action,
    /// The standard card is `std` here.
    Card,
}

/// Each key and where its value may be; versions of libxl differ.
const TABLE: [(&str, &[&str], How); 37] = [
    ("name", &["/c_info/name"], How::Text),
    ("uuid", &["/c_info/uuid"], How::Text),
    ("type", &["/c_info/type"], How::Text),
    ("memory", &["/b_info/target_memkb"], How::Memory),
    ("maxmem", &["/b_info/max_memkb"], How::Memory),
    ("maxvcpus", &["/b_info/max_vcpus"], How::Number),
    ("cpu_weight", &["/b_info/sched_params/weight"], How::NumberBut(256)),
    ("cap", &["/b_info/sched_params/cap"], How::NumberBut(0)),
    ("bootloader", &["/b_info/bootloader", "/b_info/type.pv/bootloader"], How::Text),
    ("bootloader_args", &["/b_info/bootloader_args", "/b_info/type.pv/bootloader_args"], How::Texts),
    ("kernel", &["/b_info/kernel", "/b_info/type.pv/kernel"], How::Text),
    ("ramdisk", &["/b_info/ramdisk", "/b_info/type.pv/ramdisk"], How::Text),
    ("cmdline", &["/b_info/cmdline", "/b_info/type.pv/cmdline"], How::Text),
    ("bios", &["/b_info/type.hvm/bios"], How::Text),
    ("firmware_override", &["/b_info/type.hvm/firmware"], How::Text),
    ("bios_path_override", &["/b_info/type.hvm/system_firmware"], How::Text),
    ("boot", &["/b_info/type.hvm/boot"], How::Text),
    ("pae", &["/b_info/type.hvm/pae"], How::Flag),
    ("apic", &["/b_info/apic", "/b_info/type.hvm/apic"], How::Flag),
    ("acpi", &["/b_info/acpi", "/b_info/type.hvm/acpi"], How::Flag),
    ("hap", &["/c_info/hap"], How::Flag),
    ("e820_host", &["/b_info/type.pv/e820_host"], How::Flag),
    ("localtime", &["/b_info/localtime"], How::Flag),
    ("rtc_timeoffset", &["/b_info/rtc_timeoffset"], How::Number),
    ("device_model_override", &["/b_info/device_model"], How::Text),
    ("serial", &["/b_info/type.hvm/serial", "/b_info/type.hvm/serial_list"], How::Texts),
    ("usbdevice", &["/b_info/type.hvm/usbdevice", "/b_info/type.hvm/usbdevice_list"], How::Texts),
    ("vga", &["/b_info/type.hvm/vga/kind"], How::Card),
    ("vnc", &["/b_info/type.hvm/vnc/enable"], How::Flag),
    ("vnclisten", &["/b_info/type.hvm/vnc/listen"], How::Text),
    ("vncpasswd", &["/b_info/type.hvm/vnc/passwd"], How::Text),
    ("vncunused", &["/b_info/type.hvm/vnc/findunused"], How::Flag),
    ("vncdisplay", &["/b_info/type.hvm/vnc/display"], How::Number),
    ("keymap", &["/b_info/type.hvm/keymap"], How::Text),
    ("on_poweroff", &["/on_poweroff"], How::Action),
    ("on_reboot", &["/on_reboot"], How::Action),
    ("on_crash", &["/on_crash"], How::Action),
];

/// Keys that may differ from the text a domain was created with, be it because they are absent now.
const LIVE: [&str; 14] = [
    "name",
    "uuid",
    "type",
    "memory",
    "maxmem",
    "vcpus",
    "maxvcpus",
    "disk",
    "vif",
    "vfb",
    "channel",
    "on_poweroff",
    "on_reboot",
    "on_crash",
];

/// Whether the list alone decides about a key.
pub(super) fn is_live(key: &str) -> bool {
    LIVE.contains(&key)
}

/// Every key that the list tells.
pub(super) fn config(listed: &Json) -> Read<Config> {
    let config = listed.get("config").ok_or("no config")?;
    let mut keys = Config::default();
    for (key, places, how) in TABLE {
        let found = places.iter().find_map(|place| config.pointer(place));
        tell(key, found, how, &mut keys)?;
    }
    if let Some(online) = config.pointer("/b_info/avail_vcpus").and_then(Json::as_array)
        && !online.is_empty()
    {
        keys.set("vcpus", online.len() as u64);
    }
    let guest = match keys.text("type") {
        Some("hvm") => Guest::Hvm,
        Some("pvh") => Guest::Pvh,
        _ => Guest::Pv,
    };
    for device in all(config, "disks") {
        keys.add("disk", disk(device)?.spec());
    }
    for device in all(config, "nics") {
        keys.add("vif", interface(device, guest)?.spec());
    }
    for device in all(config, "vfbs").filter(|_| guest != Guest::Hvm) {
        keys.add("vfb", framebuffer(device)?);
    }
    for device in all(config, "channels") {
        keys.add("channel", channel(device)?);
    }
    Ok(keys)
}

fn tell(key: &str, found: Option<&Json>, how: How, keys: &mut Config) -> Read<()> {
    match (how, found) {
        (How::Action, None) => keys.set(key, "destroy"),
        (_, None) => {}
        (How::Text, Some(json)) => keys.set(key, string(json)?),
        (How::Action, Some(json)) => keys.set(key, string(json)?.replace('_', "-")),
        (How::Card, Some(json)) => keys.set(key, string(json)?.replace("std", "stdvga")),
        (How::Texts, Some(json)) => {
            let single = std::slice::from_ref(json);
            for item in json.as_array().map_or(single, Vec::as_slice) {
                keys.add(key, string(item)?);
            }
        }
        (How::Flag, Some(json)) => {
            if let Some(on) = flag(json) {
                keys.set(key, u64::from(on));
            }
        }
        (How::NumberBut(default), Some(json)) if json.as_u64() == Some(default) => {}
        (How::Number | How::NumberBut(_), Some(json)) => keys.set(key, json.to_string()),
        (How::Memory, Some(json)) => {
            let kib = json.as_u64().ok_or_else(|| format!("{key} is {json}"))?;
            keys.set(key, kib.div_ceil(1024));
        }
    }
    Ok(())
}

fn all<'j>(config: &'j Json, name: &str) -> impl Iterator<Item = &'j Json> {
    config.get(name).and_then(Json::as_array).into_iter().flatten()
}

fn string(json: &Json) -> Read<String> {
    match json.as_str() {
        Some(text) if !text.contains('\0') => Ok(text.to_owned()),
        _ => Err(format!("{json} is not a text")),
    }
}

fn flag(json: &Json) -> Option<bool> {
    match json.as_str() {
        Some("True") => Some(true),
        Some("False") => Some(false),
        _ => json.as_bool(),
    }
}

/// A member that is a text and says something.
fn member(device: &Json, name: &str) -> Read<Option<String>> {
    match device.get(name) {
        None | Some(Json::Null) => Ok(None),
        Some(json) => string(json).map(|text| Some(text).filter(|t| !t.is_empty())),
    }
}

fn on(device: &Json, name: &str) -> bool {
    device.get(name).and_then(flag) == Some(true)
}

fn disk(device: &Json) -> Read<Disk> {
    const TEXTS: [(&str, &str); 5] = [
        ("script", "script"),
        ("colo_host", "colo-host"),
        ("colo_export", "colo-export"),
        ("active_disk", "active-disk"),
        ("hidden_disk", "hidden-disk"),
    ];
    let backend = member(device, "backend")?.and_then(|name| disk::backend(&name));
    let mut disk = Disk {
        target: member(device, "pdev_path")?.unwrap_or_default(),
        format: member(device, "format")?.filter(|f| f != "empty").unwrap_or_default(),
        vdev: member(device, "vdev")?.ok_or("a disk without vdev")?,
        read_only: device.get("readwrite").and_then(Json::as_u64).unwrap_or(0) == 0,
        cdrom: device.get("is_cdrom").and_then(Json::as_u64).unwrap_or(0) != 0,
        backend,
        backend_domain: member(device, "backend_domname")?,
        discard: device.get("discard_enable").and_then(flag).map(|on| if on { "unmap" } else { "ignore" }),
        others: Options::default(),
    };
    if on(device, "direct_io_safe") {
        disk.others.push("direct-io-safe".to_owned());
    }
    if on(device, "colo_enable") {
        disk.others.push("colo".to_owned());
    }
    for (name, key) in TEXTS {
        if let Some(text) = member(device, name)? {
            disk.others.set(key, &text);
        }
    }
    if let Some(port) = device.get("colo_port").and_then(Json::as_u64).filter(|port| *port > 0) {
        disk.others.set("colo-port", &port.to_string());
    }
    disk.complete();
    Ok(disk)
}

fn interface(device: &Json, guest: Guest) -> Read<Interface> {
    /// What libxl sets where nothing was said.
    const MTU: u64 = 1492;
    let ips = member(device, "ip")?.unwrap_or_default();
    let emulated = guest == Guest::Hvm;
    let mut card = Interface {
        mac: member(device, "mac")?,
        bridge: member(device, "bridge")?,
        script: member(device, "script")?,
        model: member(device, "model")?.filter(|_| emulated),
        ips: ips.split_whitespace().map(str::to_owned).collect(),
        name: member(device, "ifname")?,
        backend_domain: member(device, "backend_domname")?,
        netfront: emulated && member(device, "nictype")?.as_deref() == Some("vif"),
        others: Options::default(),
    };
    if let Some(gateway) = member(device, "gatewaydev")? {
        card.others.set("gatewaydev", &gateway);
    }
    let number = |name| device.get(name).and_then(Json::as_u64).filter(|n| *n > 0);
    if let Some(mtu) = number("mtu").filter(|mtu| *mtu != MTU) {
        card.others.set("mtu", &mtu.to_string());
    }
    if let (Some(bytes), Some(interval)) = (number("rate_bytes_per_interval"), number("rate_interval_usecs")) {
        let rate = u128::from(bytes) * 1_000_000 / u128::from(interval);
        card.others.set("rate", &format!("{rate}B/s@{interval}us"));
    }
    Ok(card)
}

fn framebuffer(device: &Json) -> Read<String> {
    let mut options = Options::default();
    let none = Json::Null;
    let vnc = device.get("vnc").unwrap_or(&none);
    let flags =
        [("vnc", vnc.get("enable")), ("vncunused", vnc.get("findunused")), ("sdl", device.pointer("/sdl/enable"))];
    for (key, value) in flags {
        match value.and_then(flag) {
            Some(on) if on || key != "sdl" => options.set(key, if on { "1" } else { "0" }),
            _ => {}
        }
    }
    if let Some(display) = vnc.get("display").and_then(Json::as_u64) {
        options.set("vncdisplay", &display.to_string());
    }
    for (object, name, key) in
        [(vnc, "listen", "vnclisten"), (vnc, "passwd", "vncpasswd"), (device, "keymap", "keymap")]
    {
        if let Some(text) = member(object, name)? {
            options.set(key, &text);
        }
    }
    Ok(options.to_string())
}

fn channel(device: &Json) -> Read<String> {
    let mut options = Options::default();
    match device.get("connection.socket") {
        Some(socket) => {
            options.set("connection", "socket");
            options.set("path", &member(socket, "path")?.unwrap_or_default());
        }
        None => options.set("connection", "pty"),
    }
    options.set("name", &member(device, "name")?.ok_or("a channel without name")?);
    Ok(options.to_string())
}

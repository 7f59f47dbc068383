//! What a running domain really has: its element of `xl list -l`, and of the text that it was started with only what the
//! JSON does not say.

use super::disk::Disk;
use super::{Config, from_config};
use crate::error::{Error, Result};
use crate::text::xl::Value;
use serde_json::Value as Json;
use uuid::Uuid;

/// A domain that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// Its number at this start.
    pub domid: u32,
    /// Its identity.
    pub uuid: Uuid,
    /// Its name.
    pub name: String,
    /// Its definition.
    pub xml: String,
}

/// Keys of the original text that the JSON says better, if only by not saying them.
const SAID: &[&str] = &[
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
    "on_poweroff",
    "on_reboot",
    "on_crash",
    "disk",
];

/// `None` for Domain-0, which has no configuration of its own.
pub fn from_running(listed: &Json, original: Option<&str>) -> Result<Option<Running>> {
    let (made, built) = (&listed["config"]["c_info"], &listed["config"]["b_info"]);
    let text = |v: &Json| v.as_str().filter(|t| !t.is_empty()).map(str::to_owned);
    let Some(uuid) = text(&made["uuid"]).and_then(|u| Uuid::try_parse(&u).ok()).filter(|u| !u.is_nil()) else {
        return Ok(None);
    };
    let domid = listed["domid"].as_u64().and_then(|d| u32::try_from(d).ok());
    let (Some(domid), Some(name)) = (domid, text(&made["name"])) else {
        return Err(Error::internal("a domain without number or name in what 'xl list -l' says"));
    };
    let mut config = Config::default();
    config.set_text("name", &name);
    config.set_text("uuid", uuid.hyphenated().to_string());
    let kind = text(&made["type"]).unwrap_or_else(|| "pv".to_owned());
    config.set_text("type", &kind);
    let inner = &built[format!("type.{kind}").as_str()];
    for (key, value) in [
        ("kernel", text(&built["kernel"]).or_else(|| text(&inner["kernel"]))),
        ("ramdisk", text(&built["ramdisk"]).or_else(|| text(&inner["ramdisk"]))),
        ("cmdline", text(&built["cmdline"]).or_else(|| text(&inner["cmdline"]))),
        ("bootloader", text(&built["bootloader"]).or_else(|| text(&inner["bootloader"]))),
    ] {
        if let Some(value) = value {
            config.set_text(key, value);
        }
    }
    let mebibytes = |v: &Json| v.as_u64().map(|kib| kib.div_ceil(1024));
    if let Some(most) = mebibytes(&built["max_memkb"]) {
        let now = mebibytes(&built["target_memkb"]).filter(|n| *n > 0 && *n <= most).unwrap_or(most);
        config.set_number("memory", now);
        if now != most {
            config.set_number("maxmem", most);
        }
    }
    let most = built["max_vcpus"].as_u64().unwrap_or(1).max(1);
    let now = built["avail_vcpus"].as_array().map_or(most, |v| v.len() as u64).clamp(1, most);
    config.set_number("vcpus", now);
    if now != most {
        config.set_number("maxvcpus", most);
    }
    for key in ["on_poweroff", "on_reboot", "on_crash"] {
        if let Some(action) = text(&listed["config"][key]) {
            config.set_text(key, action.replace('_', "-"));
        }
    }
    let disks = listed["config"]["disks"].as_array().map(Vec::as_slice).unwrap_or_default();
    config.set_list("disk", disks.iter().filter_map(disk).map(|d| d.text()).collect());
    if let Some(original) = original {
        add_original(&mut config, original);
    }
    if config.get("vif").is_none() {
        let vifs = listed["config"]["nics"].as_array().map(Vec::as_slice).unwrap_or_default();
        config.set_list("vif", vifs.iter().map(vif).collect());
    }
    let xml = from_config(&config)?;
    Ok(Some(Running { domid, uuid, name, xml }))
}

/// A text that cannot be read is passed over: the guest runs, whatever it was started with.
fn add_original(config: &mut Config, original: &str) {
    let Ok(original) = Config::parse(original) else { return };
    let bootloader_args = original.get("bootloader_args").cloned();
    for key in original.keys().filter(|k| !SAID.contains(k)) {
        if let Some(value) = original.get(key) {
            config.set(key, value.clone());
        }
    }
    if let Some(Value::Text(args)) = bootloader_args {
        config.set_text("bootloader_args", args);
    }
}

fn disk(json: &Json) -> Option<Disk> {
    let text = |key: &str| json[key].as_str().filter(|t| !t.is_empty()).map(str::to_owned);
    let mut disk = Disk {
        target: text("pdev_path").unwrap_or_default(),
        format: text("format").filter(|f| f != "empty" && f != "unknown"),
        vdev: text("vdev")?,
        readonly: json["readwrite"].as_u64() == Some(0),
        cdrom: json["is_cdrom"].as_u64() == Some(1),
        backend: text("backend").filter(|b| b != "unknown"),
        more: Vec::new(),
    };
    if let Some(script) = text("script") {
        disk.more.push(format!("script={script}"));
    }
    Some(disk)
}

fn vif(json: &Json) -> String {
    let mut words = super::devices::Words::default();
    for key in ["mac", "bridge", "ip", "script", "model", "vifname"] {
        let name = if key == "vifname" { "ifname" } else { key };
        words.add(key, json[name].as_str().filter(|t| !t.is_empty()));
    }
    words.text()
}

//! The domain itself: its kind, name, memory, virtual CPUs, and what becomes of it when it ends.

use super::Config;
use super::keys::{Keys, fits};
use super::markup::Markup;
use crate::error::{Code, Error, Result};
use crate::host::strict::{self, Strict};
use crate::xml::domain::parse_uuid;
use crate::xml::element::Element;
use uuid::Uuid;

/// How a domain is virtualized.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Guest {
    /// Paravirtualized.
    Pv,
    /// Hardware-virtualized without emulated devices.
    Pvh,
    /// Hardware-virtualized with emulated devices.
    Hvm,
}

/// One kind in the words of both sides.
pub(super) struct Kind {
    guest: Guest,
    /// xl's `type`.
    pub(super) xl: &'static str,
    /// `<os><type>`.
    pub(super) os: &'static str,
    /// `<os><type machine>`.
    pub(super) machine: &'static str,
}

const KINDS: [Kind; 3] = [
    Kind { guest: Guest::Pv, xl: "pv", os: "linux", machine: "xenpv" },
    Kind { guest: Guest::Pvh, xl: "pvh", os: "xenpvh", machine: "xenpvh" },
    Kind { guest: Guest::Hvm, xl: "hvm", os: "hvm", machine: "xenfv" },
];

impl Guest {
    /// Its words.
    pub(super) fn kind(self) -> &'static Kind {
        let [pv, pvh, hvm] = &KINDS;
        match self {
            Self::Pv => pv,
            Self::Pvh => pvh,
            Self::Hvm => hvm,
        }
    }
    /// The kind that `<os><type>` names; `xen` is an old word for `linux`, and what has a bootloader is that too.
    pub(super) fn of(root: Element<'_>) -> Result<Self> {
        let text = root.text("os/type").map(|t| t.trim().to_owned());
        match text.as_deref() {
            Some("xen") => Ok(Self::Pv),
            Some(text) => KINDS.iter().find(|k| k.os == text).map(|k| k.guest).ok_or_else(|| {
                let e = root.find("os/type").map(|e| Strict::new(e.node()));
                e.map_or_else(|| Error::config("<os><type> is not supported"), |e| e.refuse_text())
            }),
            None if root.child("bootloader").is_some() => Ok(Self::Pv),
            None => Err(Error::new(Code::XmlError, "an os <type> must be specified")),
        }
    }
    /// The kind that `type` names, or `builder` in older configurations; xl's default is PV.
    pub(super) fn of_keys(keys: &mut Keys<'_>) -> Result<Self> {
        match (keys.text("type")?, keys.text("builder")?) {
            (Some(name), _) => {
                let found = KINDS.iter().find(|k| k.xl == name).map(|k| k.guest);
                found.ok_or_else(|| keys.wrong("type", format_args!("'{name}' is not supported")))
            }
            (None, Some("hvm")) => Ok(Self::Hvm),
            (None, None | Some("generic" | "linux")) => Ok(Self::Pv),
            (None, Some(name)) => Err(keys.wrong("builder", format_args!("'{name}' is not supported"))),
        }
    }
    /// What no single element can tell.
    pub(super) fn check(self, config: &Config) -> Result<()> {
        let has = |key| config.get(key).is_some();
        let boots = match self {
            Self::Pv => has("kernel") || has("bootloader"),
            Self::Pvh => has("kernel") || has("bootloader") || has("firmware"),
            Self::Hvm => true,
        };
        if !boots {
            let text = format!("a domain of type {} needs <kernel> or <bootloader>", self.kind().os);
            return Err(Error::config(text));
        }
        if !has("kernel") && !has("bootloader") && (has("ramdisk") || has("cmdline")) {
            return Err(Error::config("initrd and cmdline can only be used together with a direct kernel boot"));
        }
        Ok(())
    }
}

const ACTIONS: [&str; 6] = ["destroy", "restart", "preserve", "rename-restart", "coredump-destroy", "coredump-restart"];
/// Each event and what xl does when nothing is said, which is what libvirt does too.
const EVENTS: [(&str, &str); 3] = [("on_poweroff", "destroy"), ("on_reboot", "restart"), ("on_crash", "destroy")];

pub(super) fn read(e: &mut Strict<'_, '_>, guest: Guest, config: &mut Config) -> Result<()> {
    let name = e.child_text("name")?.ok_or_else(|| Error::new(Code::XmlError, "missing domain name"))?;
    if name.contains('/') {
        return Err(Error::new(Code::XmlError, format!("name {name} cannot contain '/'")));
    }
    let uuid = e.child_text("uuid")?.ok_or_else(|| Error::new(Code::XmlError, "missing domain uuid"))?;
    config.set("name", name);
    config.set("uuid", parse_uuid(uuid)?.to_string());
    config.set("type", guest.kind().xl);

    let max = match e.child("memory")? {
        Some(m) => strict::size_kib(m)?.div_ceil(1024),
        None => return Err(Error::new(Code::XmlError, "missing memory size")),
    };
    let current = e.child("currentMemory")?.map(strict::size_kib).transpose()?.map(|kib| kib.div_ceil(1024));
    let current = current.map_or(max, |c| c.min(max));
    config.set("memory", current);
    if max != current {
        config.set("maxmem", max);
    }
    vcpus(e, config)?;
    for (event, _) in EVENTS {
        let Some(e) = e.child(event)? else { continue };
        let action = ACTIONS.into_iter().find(|a| e.text() == Some(a)).ok_or_else(|| e.refuse_text())?;
        config.set(event, action);
        e.finish()?;
    }
    Ok(())
}

fn vcpus(e: &mut Strict<'_, '_>, config: &mut Config) -> Result<()> {
    let Some(mut v) = e.child("vcpu")? else {
        config.set("vcpus", 1_u64);
        return Ok(());
    };
    let max = v.parse_text::<u64>()?.unwrap_or(1);
    if max == 0 || max > 4096 {
        return Err(v.refuse_text());
    }
    let current = v.number::<u64>("current")?.unwrap_or(max);
    if current == 0 || current > max {
        return Err(v.refuse_value("current"));
    }
    v.only("placement", &["static"])?;
    config.set("vcpus", current);
    if current != max {
        config.set("maxvcpus", max);
    }
    if let Some(set) = v.attr("cpuset") {
        if !is_cpu_set(set) {
            return Err(v.refuse_value("cpuset"));
        }
        config.set("cpus", set);
    }
    v.finish()
}

/// `1-3,^2,7`, which means the same to both.
fn is_cpu_set(text: &str) -> bool {
    let number = |n: &str| !n.is_empty() && n.len() < 5 && n.bytes().all(|b| b.is_ascii_digit());
    text.split(',').all(|part| {
        let part = part.trim();
        match part.split_once('-') {
            Some((from, to)) => number(from) && number(to),
            None => number(part.strip_prefix('^').unwrap_or(part)),
        }
    })
}

/// What stands before `<metadata>`.
pub(super) fn write_head(keys: &mut Keys<'_>, xml: &mut Markup) -> Result<()> {
    let Some(name) = keys.text("name")?.filter(|n| fits(n) && !n.contains('/')) else {
        return Err(match keys.get("name") {
            Some(_) => keys.wrong("name", "is not the name of a domain"),
            None => keys.missing("name"),
        });
    };
    xml.text("name", &[], name);
    if let Some(text) = keys.text("uuid")? {
        let uuid = Uuid::try_parse(text).map_err(|_| keys.wrong("uuid", format_args!("'{text}' is not a UUID")))?;
        xml.text("uuid", &[], &uuid.to_string());
    }
    Ok(())
}

pub(super) fn write(keys: &mut Keys<'_>, xml: &mut Markup) -> Result<()> {
    let (memory, max) = (keys.number("memory")?, keys.number("maxmem")?);
    let current = memory.or(max).ok_or_else(|| keys.missing("memory"))?;
    let max = max.unwrap_or(current).max(current);
    for (element, mib) in [("memory", max), ("currentMemory", current)] {
        let kib = mib.checked_mul(1024).filter(|kib| (1..1 << 40).contains(kib));
        let kib = kib.ok_or_else(|| keys.wrong("memory", format_args!("'{mib}' MiB are not supported")))?;
        xml.text(element, &[("unit", "KiB")], &kib.to_string());
    }

    let current = keys.number("vcpus")?;
    let max = keys.number("maxvcpus")?.or(current).unwrap_or(1);
    let current = current.unwrap_or(max);
    if current == 0 || current > max || max > 4096 {
        return Err(keys.wrong("vcpus", format_args!("{current} of {max} is not a number of CPUs")));
    }
    let (current_text, mut attributes) = (current.to_string(), vec![("placement", "static")]);
    if let Some(set) = keys.get("cpus").and_then(super::Value::as_text).filter(|set| is_cpu_set(set) && fits(set)) {
        keys.take("cpus");
        attributes.push(("cpuset", set));
    }
    if current != max {
        attributes.push(("current", &current_text));
    }
    xml.text("vcpu", &attributes, &max.to_string());
    Ok(())
}

pub(super) fn write_actions(keys: &mut Keys<'_>, xml: &mut Markup) -> Result<()> {
    for (event, default) in EVENTS {
        match keys.word(event, &ACTIONS)? {
            Some(action) => xml.text(event, &[], action),
            // Preserved as it is: XML must not say something else.
            None if keys.get(event).is_some() => {}
            None => xml.text(event, &[], default),
        }
    }
    Ok(())
}

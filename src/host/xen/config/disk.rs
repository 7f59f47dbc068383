//! Disks: `<disk>` and xl's disk specifications (xl-disk-configuration(5), `libxlu_disk_l.l`).
//!
//! A specification is read in all its forms, positions and old prefixes included, and written in one:
//! `format=qcow2,vdev=xvda,access=rw,backendtype=qdisk,target=/x/a.qcow2`; the target comes last
//! because it takes the rest of the text, commas and all.
//!
//! xl does not say whether a target is a file: one below `/dev`, or of the backend `phy`, is a
//! block device.

use super::kept;
use super::markup::Markup;
use super::options::{Options, is_plain, plain};
use crate::error::{Code, Error, Result};
use crate::host::strict::Strict;

/// `<driver name>` and xl's `backendtype`; no name: libxl chooses.
const BACKENDS: [(&str, &str); 4] = [("qemu", "qdisk"), ("phy", "phy"), ("tap", "tap"), ("tap2", "tap")];
/// `<driver type>` and xl's `format`.
const FORMATS: [&str; 5] = ["raw", "qcow", "qcow2", "vhd", "qed"];
/// xl's format of a drive without medium.
const EMPTY: &str = "empty";
const ACCESS: [(&str, bool); 5] = [("r", true), ("ro", true), ("w", false), ("rw", false), ("", false)];
/// `<driver discard>` and xl's word.
const DISCARD: [(&str, &str); 2] = [("unmap", "discard"), ("ignore", "no-discard")];
/// The bus that a target's name implies; anything else is Xen's own.
const BUSES: [(&str, &str); 2] = [("hd", "ide"), ("sd", "scsi")];
/// Options that XML has no word for, with a value and without.
const KEYS: [&str; 8] =
    ["script", "specification", "colo-host", "colo-port", "colo-export", "active-disk", "hidden-disk", "grant_usage"];
const WORDS: [&str; 5] = ["direct-io-safe", "colo", "no-colo", "trusted", "untrusted"];

/// One disk, in words that both sides have, and the others.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Disk {
    /// As written; empty: no medium.
    pub(super) target: String,
    /// One of [`FORMATS`]; empty where there is no medium.
    pub(super) format: String,
    pub(super) vdev: String,
    pub(super) read_only: bool,
    pub(super) cdrom: bool,
    pub(super) backend: Option<&'static str>,
    /// The domain that has the target, if that is not Domain-0.
    pub(super) backend_domain: Option<String>,
    pub(super) discard: Option<&'static str>,
    pub(super) others: Options,
}

fn of<T: Copy>(table: &[(&str, T)], word: &str) -> Option<T> {
    table.iter().find(|(w, _)| *w == word).map(|(_, value)| *value)
}

fn bus_of(vdev: &str) -> &'static str {
    BUSES.iter().find(|(prefix, _)| vdev.starts_with(prefix)).map_or("xen", |(_, bus)| bus)
}

/// xl's `backendtype` of that name.
pub(super) fn backend(word: &str) -> Option<&'static str> {
    BACKENDS.iter().find(|b| b.1 == word).map(|b| b.1)
}

impl Disk {
    /// Read a specification; the error says what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (mut disk, mut positions, mut old) = (Self::default(), Positions::default(), false);
        let mut access = None;
        let mut rest = text;
        while !rest.trim_start().is_empty() || rest.starts_with(',') {
            rest = rest.trim_start();
            if let Some(target) = rest.strip_prefix("target=") {
                once("target", &mut positions.target, target.strip_suffix(',').unwrap_or(target))?;
                break;
            }
            if positions.target.is_none()
                && let Some(behind) = disk.old_prefix(rest)?
            {
                (old, rest) = (true, behind);
                continue;
            }
            let (option, behind) = rest.split_once(',').unwrap_or((rest, ""));
            rest = behind;
            match option.split_once('=') {
                Some(("access", word)) => access = Some(word.to_owned()),
                Some(("vdev", word)) => once("vdev", &mut positions.vdev, word)?,
                Some((key, value)) => disk.named(key, value)?,
                None if disk.word(option) => {}
                None => disk.position(option, &mut positions, &mut access, old)?,
            }
        }
        disk.target = positions.target.unwrap_or_default();
        disk.vdev = positions.vdev.filter(|v| !v.is_empty()).ok_or("vdev is missing")?;
        let access = access.unwrap_or_default();
        let read_only = of(&ACCESS, &access).ok_or_else(|| format!("unknown access '{access}'"))?;
        disk.read_only = read_only || disk.cdrom;
        if (disk.target.is_empty() && !disk.cdrom) || (!disk.target.is_empty() && disk.format == EMPTY) {
            return Err(format!("no target for {}", disk.vdev));
        }
        disk.complete();
        Ok(disk)
    }

    fn named(&mut self, key: &str, value: &str) -> Result<(), String> {
        let unknown = || format!("unknown value '{value}' of {key}");
        match key {
            "format" => self.set_format(value)?,
            "backendtype" => {
                let name = backend(value).ok_or_else(unknown)?;
                if self.backend.replace(name).is_some_and(|before| before != name) {
                    return Err(format!("{key} is said twice"));
                }
            }
            "backend" => once(key, &mut self.backend_domain, value)?,
            "devtype" => self.cdrom = of(&[("cdrom", true), ("disk", false)], value).ok_or_else(unknown)?,
            _ if !KEYS.contains(&key) => return Err(format!("unknown option '{key}'")),
            _ if self.others.has(key) => return Err(format!("{key} is said twice")),
            _ => self.others.set(key, value),
        }
        Ok(())
    }

    fn word(&mut self, option: &str) -> bool {
        let discard = DISCARD.iter().find(|(_, word)| *word == option).map(|(xml, _)| *xml);
        if discard.is_some() {
            self.discard = discard;
        } else if option == "cdrom" {
            self.cdrom = true;
        } else if WORDS.contains(&option) {
            self.others.push(option.to_owned());
        } else {
            return false;
        }
        true
    }

    fn position(
        &mut self,
        option: &str,
        at: &mut Positions,
        access: &mut Option<String>,
        old: bool,
    ) -> Result<(), String> {
        let with_type = option.rsplit_once(':');
        if at.target.is_none() {
            at.target = Some(option.to_owned());
        } else if !old && self.format.is_empty() && !(at.target.as_deref() == Some("") && with_type.is_some()) {
            self.set_format(if option.is_empty() { "raw" } else { option })?;
        } else if at.vdev.is_none() {
            at.vdev = Some(match with_type {
                Some((vdev, kind)) => {
                    self.named("devtype", kind)?;
                    if self.format.is_empty() {
                        // Or the access behind it would be taken for the format.
                        self.set_format(if at.target.as_deref() == Some("") { EMPTY } else { "" })?;
                    }
                    vdev.to_owned()
                }
                None => option.to_owned(),
            });
        } else if access.is_none() {
            *access = Some(option.to_owned());
        } else {
            return Err(format!("'{option}' is one position too many"));
        }
        Ok(())
    }

    fn set_format(&mut self, word: &str) -> Result<(), String> {
        let word = match word {
            "" => "raw",
            word if word == EMPTY || FORMATS.contains(&word) => word,
            word => return Err(format!("unknown format '{word}'")),
        };
        if !self.format.is_empty() && self.format != word {
            return Err("format is said twice".to_owned());
        }
        word.clone_into(&mut self.format);
        Ok(())
    }

    /// What is behind one of xend's prefixes: a format, a script, or a word that xl ignores.
    fn old_prefix<'t>(&mut self, text: &'t str) -> Result<Option<&'t str>, String> {
        const IGNORED: [&str; 7] = ["tapdisk", "tap", "tap2", "aio", "ioemu", "file", "phy"];
        let Some((prefix, rest)) = text.split_once(':') else { return Ok(None) };
        match prefix {
            "raw" | "qcow" | "qcow2" | "vhd" => self.set_format(prefix)?,
            "iscsi" | "nbd" | "enbd" | "drbd" => self.named("script", &format!("block-{prefix}"))?,
            prefix if IGNORED.contains(&prefix) => {}
            // `hdc:cdrom` is none, nor is a path.
            _ if !prefix.starts_with(|c: char| c.is_ascii_lowercase()) => return Ok(None),
            _ if !prefix.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()) => return Ok(None),
            _ if rest.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit()) => return Ok(None),
            prefix => return Err(format!("unknown prefix '{prefix}'")),
        }
        Ok(Some(rest))
    }

    /// A medium has a format, an empty drive none; xl looks for a relative path below `/dev`.
    pub(super) fn complete(&mut self) {
        if !self.target.is_empty() && !self.target.starts_with('/') && !self.has_script() {
            self.target.insert_str(0, "/dev/");
        }
        match (self.target.is_empty(), self.format.is_empty()) {
            (true, _) => self.format.clear(),
            (false, true) => "raw".clone_into(&mut self.format),
            (false, false) => {}
        }
    }

    /// The one form that is written.
    pub(super) fn spec(&self) -> String {
        let mut options = Options::default();
        if !self.target.is_empty() {
            options.set("format", &self.format);
        }
        options.set("vdev", &self.vdev);
        options.set("access", if self.read_only { "ro" } else { "rw" });
        if self.cdrom {
            options.set("devtype", "cdrom");
        }
        if let Some(backend) = self.backend {
            options.set("backendtype", backend);
        }
        if let Some(domain) = &self.backend_domain {
            options.set("backend", domain);
        }
        if let Some(word) = self.discard.and_then(|d| of(&DISCARD, d)) {
            options.push(word.to_owned());
        }
        self.others.clone().into_all().into_iter().for_each(|o| options.push(o));
        if !self.target.is_empty() {
            // xl takes one comma off the end.
            let comma = if self.target.ends_with(',') { "," } else { "" };
            options.set("target", &format!("{}{comma}", self.target));
        }
        options.to_string()
    }

    /// Whether the target is a name for a script rather than a path.
    fn has_script(&self) -> bool {
        self.others.has("script")
    }

    fn is_block(&self) -> bool {
        self.backend == Some("phy") || self.target.starts_with("/dev/") || self.has_script()
    }

    pub(super) fn read(mut e: Strict<'_, '_>) -> Result<Self> {
        let block = e.one_of("type", &[("file", false), ("block", true)])?.unwrap_or(false);
        let cdrom = e.one_of("device", &[("disk", false), ("cdrom", true)])?.unwrap_or(false);
        e.only("snapshot", &["no", "internal", "external", "manual"])?;
        e.ignore(&["alias", "backingStore"]);
        let mut disk = Self { cdrom, others: kept::read_options(&mut e)?, ..Self::default() };
        let Some(mut target) = e.child("target")? else {
            return Err(Error::new(Code::XmlError, format!("missing target for disk ({})", e.place())));
        };
        target.need("dev")?;
        disk.vdev = plain(&mut target, "dev")?.unwrap_or_default().to_owned();
        target.only("bus", &[bus_of(&disk.vdev)])?;
        target.only("tray", &["closed"])?;
        target.finish()?;
        if let Some(mut driver) = e.child("driver")? {
            disk.backend = driver.one_of("name", &BACKENDS)?;
            driver.only("type", &FORMATS)?;
            driver.attr("type").unwrap_or_default().clone_into(&mut disk.format);
            driver.only("discard", &DISCARD.map(|d| d.0))?;
            disk.discard = DISCARD.iter().map(|d| d.0).find(|d| driver.attr("discard") == Some(d));
            driver.finish()?;
        }
        if let Some(mut source) = e.child("source")? {
            let name = if block { "dev" } else { "file" };
            source.ignore_attrs(&["index"]);
            source.only("startupPolicy", &["mandatory"])?;
            source.ignore(&["seclabel"]);
            let path = source.attr(name).unwrap_or_default();
            let fits = path.is_empty() || path.starts_with('/') || (disk.has_script() && is_plain(path));
            if !fits || path.contains('\n') {
                return Err(source.malformed(name));
            }
            path.clone_into(&mut disk.target);
            source.finish()?;
        }
        if disk.target.is_empty() && !cdrom {
            let message = format!("missing source information for device {} ({})", disk.vdev, e.place());
            return Err(Error::new(Code::XmlError, message));
        }
        // A block device elsewhere than in /dev is one by its backend only.
        if block && disk.backend.is_none() && !disk.target.is_empty() && !disk.is_block() {
            disk.backend = Some("phy");
        }
        disk.read_only = e.mark("readonly")? || cdrom;
        if let Some(shareable) = e.child("shareable")? {
            // Xen's block script hands a device to one domain only; qdisk locks nothing.
            if disk.is_block() && disk.backend != Some("qdisk") {
                return Err(shareable.refuse());
            }
            shareable.finish()?;
        }
        disk.backend_domain = backend_domain(&mut e)?;
        disk.complete();
        if Self::parse(&disk.spec()).as_ref() != Ok(&disk) {
            // A kept option says again, or differently, what the element says.
            return Err(e.refuse());
        }
        e.finish()?;
        Ok(disk)
    }

    pub(super) fn write(&self, xml: &mut Markup) {
        let (kind, source) = if self.is_block() { ("block", "dev") } else { ("file", "file") };
        let device = if self.cdrom { "cdrom" } else { "disk" };
        xml.open("disk", &[("type", kind), ("device", device)]);
        let mut driver = Vec::new();
        driver.extend(BACKENDS.iter().find(|b| Some(b.1) == self.backend).map(|b| ("name", b.0)));
        if !self.target.is_empty() {
            driver.push(("type", self.format.as_str()));
        }
        driver.extend(self.discard.map(|d| ("discard", d)));
        if !driver.is_empty() {
            xml.empty("driver", &driver);
        }
        if !self.target.is_empty() {
            xml.empty("source", &[(source, &self.target)]);
        }
        write_backend_domain(self.backend_domain.as_deref(), xml);
        xml.empty("target", &[("dev", &self.vdev), ("bus", bus_of(&self.vdev))]);
        if self.read_only {
            xml.empty("readonly", &[]);
        }
        kept::write_options(&self.others, xml);
        xml.close();
    }
}

/// Set what may be said once; an empty text says nothing.
fn once(key: &str, field: &mut Option<String>, value: &str) -> Result<(), String> {
    match field.replace(value.to_owned()) {
        Some(before) if !before.is_empty() => Err(format!("{key} is said twice")),
        _ => Ok(()),
    }
}

/// What positions have filled in so far.
#[derive(Default)]
struct Positions {
    target: Option<String>,
    vdev: Option<String>,
}

/// `<backenddomain name>`.
pub(super) fn backend_domain(e: &mut Strict<'_, '_>) -> Result<Option<String>> {
    let Some(mut domain) = e.child("backenddomain")? else { return Ok(None) };
    domain.need("name")?;
    let name = plain(&mut domain, "name")?.map(str::to_owned);
    domain.finish()?;
    Ok(name)
}

pub(super) fn write_backend_domain(name: Option<&str>, xml: &mut Markup) {
    if let Some(name) = name {
        xml.empty("backenddomain", &[("name", name)]);
    }
}

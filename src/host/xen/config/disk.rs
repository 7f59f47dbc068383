//! One disk, as `xl-disk-configuration`(5) writes it: `target, format, vdev, access` by position, `key=value`, and the old
//! prefixes. `target=` takes the rest of the text, commas included.

use crate::error::{Code, Error, Result};

/// A disk.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Disk {
    /// The file or device; empty for an empty drive.
    pub(super) target: String,
    /// `raw`, `qcow2`, `vhd`, …; `None`: raw.
    pub(super) format: Option<String>,
    /// What the guest calls it.
    pub(super) vdev: String,
    pub(super) readonly: bool,
    pub(super) cdrom: bool,
    /// `qdisk`, `phy`, `tap`; `None`: xl chooses.
    pub(super) backend: Option<String>,
    /// What is not understood here, kept as it was.
    pub(super) more: Vec<String>,
}

impl Disk {
    /// Read one.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let mut disk = Self::default();
        let mut position = 0;
        let mut rest = text;
        while !rest.is_empty() {
            if let Some(target) = rest.trim_start().strip_prefix("target=") {
                disk.target = target.trim().to_owned();
                break;
            }
            let (word, after) = rest.split_once(',').unwrap_or((rest, ""));
            rest = after;
            let word = word.trim();
            match word.split_once('=') {
                Some((key, value)) => disk.option(key.trim(), value.trim(), word),
                None if disk.flag(word) => {}
                None => {
                    disk.positional(position, word);
                    position += 1;
                }
            }
        }
        disk.readonly |= disk.cdrom;
        if disk.vdev.is_empty() {
            return Err(Error::new(Code::ConfigUnsupported, format!("disk '{text}' has no vdev")));
        }
        Ok(disk)
    }

    fn positional(&mut self, position: usize, word: &str) {
        match position {
            0 => self.prefixed(word),
            1 if matches!(word, "raw" | "qcow" | "qcow2" | "vhd" | "qed") => self.format = Some(word.to_owned()),
            1 if word.is_empty() => {}
            _ if matches!(word, "w" | "rw") => self.readonly = false,
            _ if matches!(word, "r" | "ro") => self.readonly = true,
            _ if self.vdev.is_empty() => self.device(word),
            _ if !word.is_empty() => self.more.push(word.to_owned()),
            _ => {}
        }
    }

    /// `phy:/dev/x`, `file:/x`, `tap:aio:/x`, `qcow2:/x`.
    fn prefixed(&mut self, word: &str) {
        let mut rest = word;
        loop {
            let Some((prefix, path)) = rest.split_once(':') else { break };
            match prefix {
                "phy" => self.backend = Some("phy".to_owned()),
                "tap" | "tap2" | "file" | "aio" => {}
                "raw" | "qcow" | "qcow2" | "vhd" => self.format = Some(prefix.to_owned()),
                _ => break,
            }
            rest = path;
        }
        self.target = rest.to_owned();
    }

    /// `hdc:cdrom` is the old way to say it.
    fn device(&mut self, word: &str) {
        let (vdev, kind) = word.split_once(':').unwrap_or((word, ""));
        self.vdev = vdev.to_owned();
        self.cdrom |= kind == "cdrom";
    }

    fn flag(&mut self, word: &str) -> bool {
        match word {
            "cdrom" => self.cdrom = true,
            "readonly" => self.readonly = true,
            "discard" | "no-discard" | "direct-io-safe" => self.more.push(word.to_owned()),
            _ => return false,
        }
        true
    }

    fn option(&mut self, key: &str, value: &str, word: &str) {
        match key {
            "format" => self.format = Some(value.to_owned()),
            "vdev" => self.device(value),
            "access" => self.readonly = matches!(value, "r" | "ro"),
            "devtype" => self.cdrom = value == "cdrom",
            "backendtype" => self.backend = Some(value.to_owned()),
            _ => self.more.push(word.to_owned()),
        }
    }

    /// Write one.
    pub(super) fn text(&self) -> String {
        let mut words = Vec::new();
        if let Some(format) = &self.format {
            words.push(format!("format={format}"));
        }
        words.push(format!("vdev={}", self.vdev));
        words.push(format!("access={}", if self.readonly { "ro" } else { "rw" }));
        if self.cdrom {
            words.push("devtype=cdrom".to_owned());
        }
        if let Some(backend) = &self.backend {
            words.push(format!("backendtype={backend}"));
        }
        words.extend(self.more.iter().cloned());
        words.push(format!("target={}", self.target));
        words.join(",")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_write_a_disk_is_read_and_written_in_one_way() {
        for (text, written) in [
            ("/dev/vg/lv,raw,xvda,rw", "format=raw,vdev=xvda,access=rw,target=/dev/vg/lv"),
            ("phy:/dev/vg/lv,xvda,w", "vdev=xvda,access=rw,backendtype=phy,target=/dev/vg/lv"),
            ("file:/x/a.img,hda,r", "vdev=hda,access=ro,target=/x/a.img"),
            ("tap:qcow2:/x/a,xvda,w", "format=qcow2,vdev=xvda,access=rw,target=/x/a"),
            ("format=qcow2, vdev=xvda, access=rw, target=/x/a,b", "format=qcow2,vdev=xvda,access=rw,target=/x/a,b"),
            (",,hdc:cdrom,r", "vdev=hdc,access=ro,devtype=cdrom,target="),
            ("vdev=hdc,cdrom,readonly,target=/x/cd.iso", "vdev=hdc,access=ro,devtype=cdrom,target=/x/cd.iso"),
            (
                "vdev=xvda,script=block-drbd,discard,target=r0",
                "vdev=xvda,access=rw,script=block-drbd,discard,target=r0",
            ),
        ] {
            let disk = Disk::parse(text).unwrap();
            assert_eq!(disk.text(), written, "{text}");
            assert_eq!(Disk::parse(written).unwrap(), disk, "{text}");
        }
        assert!(Disk::parse("target=/x/a").unwrap_err().to_string().ends_with("disk 'target=/x/a' has no vdev"));
    }
}

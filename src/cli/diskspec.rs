//! `snapshot-create-as`: its options as a `<domainsnapshot>` document.
//!
//! A specification is a list `key=value,…`; `,,` stands for a comma.

use super::action::text;
use super::args::Typed;
use super::failure::Failure;
use crate::text::disk_spec::split;
use std::fmt::Write;

/// The document for `--name`, `--description`, `--memspec` and every `--diskspec`.
pub fn snapshot_xml(typed: &Typed) -> Result<String, Failure> {
    let mut xml = String::from("<domainsnapshot>\n");
    for element in ["name", "description"] {
        if let Some(text) = text(typed, element)? {
            line(&mut xml, format_args!("  <{element}>{}</{element}>", escape(text)));
        }
    }
    if let Some(spec) = text(typed, "memspec")? {
        let memory = MemSpec::parse(spec).ok_or_else(|| Failure::new(format!("unable to parse memspec: {spec}")))?;
        memory.write(&mut xml);
    }
    if typed.has("diskspec") {
        xml.push_str("  <disks>\n");
        for spec in typed.values("diskspec") {
            DiskSpec::parse(spec)?.write(&mut xml);
        }
        xml.push_str("  </disks>\n");
    }
    xml.push_str("</domainsnapshot>\n");
    Ok(xml)
}

/// `[file=]PATH[,snapshot=TYPE]`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct MemSpec {
    snapshot: Option<String>,
    file: Option<String>,
}

impl MemSpec {
    fn parse(spec: &str) -> Option<Self> {
        let mut memory = Self::default();
        for part in split(spec) {
            match part.split_once('=') {
                Some(("snapshot", value)) if memory.snapshot.is_none() => memory.snapshot = Some(value.to_owned()),
                Some(("file", value)) if memory.file.is_none() => memory.file = Some(value.to_owned()),
                _ if memory.file.is_none() && part.starts_with('/') => memory.file = Some(part),
                _ => return None,
            }
        }
        Some(memory)
    }
    fn write(&self, xml: &mut String) {
        line(
            xml,
            format_args!("  <memory{}{}/>", attribute("snapshot", &self.snapshot), attribute("file", &self.file)),
        );
    }
}

/// Whether a disk's new image is a file or a block device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Storage {
    File,
    Block,
}

/// `DISK[,snapshot=TYPE][,driver=TYPE][,stype=TYPE][,file=PATH]`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct DiskSpec {
    name: String,
    snapshot: Option<String>,
    driver: Option<String>,
    storage: Option<Storage>,
    file: Option<String>,
}

impl DiskSpec {
    fn parse(spec: &str) -> Result<Self, Failure> {
        let unable = || format!("unable to parse diskspec: {spec}");
        let mut parts = split(spec).into_iter();
        let mut disk = Self { name: parts.next().unwrap_or_default(), ..Self::default() };
        for part in parts {
            match part.split_once('=') {
                Some(("snapshot", value)) if disk.snapshot.is_none() => disk.snapshot = Some(value.to_owned()),
                Some(("driver", value)) if disk.driver.is_none() => disk.driver = Some(value.to_owned()),
                Some(("file", value)) if disk.file.is_none() => disk.file = Some(value.to_owned()),
                Some(("stype", value)) if disk.storage.is_none() => {
                    disk.storage = Some(match value {
                        "file" => Storage::File,
                        "block" => Storage::Block,
                        _ => return Err(Failure::new(format!("Unknown storage type: '{value}'")).and(unable())),
                    });
                }
                _ => return Err(Failure::new(unable())),
            }
        }
        Ok(disk)
    }
    fn write(&self, xml: &mut String) {
        let (kind, source) = match self.storage {
            Some(Storage::Block) => (" type='block'", "dev"),
            Some(Storage::File) => (" type='file'", "file"),
            None => ("", "file"),
        };
        let head = format!("    <disk name='{}'{}{kind}", escape(&self.name), attribute("snapshot", &self.snapshot));
        if self.driver.is_none() && self.file.is_none() {
            return line(xml, format_args!("{head}/>"));
        }
        line(xml, format_args!("{head}>"));
        if self.driver.is_some() {
            line(xml, format_args!("      <driver{}/>", attribute("type", &self.driver)));
        }
        if self.file.is_some() {
            line(xml, format_args!("      <source{}/>", attribute(source, &self.file)));
        }
        line(xml, format_args!("    </disk>"));
    }
}

fn attribute(name: &str, value: &Option<String>) -> String {
    value.as_deref().map(|v| format!(" {name}='{}'", escape(v))).unwrap_or_default()
}

/// As libvirt escapes, dropping what XML cannot carry (`virBufferEscapeString`).
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            '\t' | '\n' => out.push(c),
            '\0'..='\x1f' => {}
            _ => out.push(c),
        }
    }
    out
}

fn line(xml: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(xml, "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_memspec_takes_its_path_with_or_without_a_key() {
        let parse = |s| MemSpec::parse(s).map(|m| (m.file, m.snapshot));
        let some = |s: &str| Some(s.to_owned());
        assert_eq!(parse("/m,snapshot=external"), Some((some("/m"), some("external"))));
        assert_eq!(parse("snapshot=no"), Some((None, some("no"))));
        assert_eq!(parse("file=m"), Some((some("m"), None)));
        for bad in ["m", "", "/a,/b", "file=a,file=b", "snapshot=a,snapshot=b", "size=3"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn an_unknown_storage_type_is_named_before_the_diskspec() {
        let failure = DiskSpec::parse("vdb,stype=foo,file=x").unwrap_err();
        assert_eq!(failure.lines(), ["Unknown storage type: 'foo'", "unable to parse diskspec: vdb,stype=foo,file=x"]);
        let failure = DiskSpec::parse("vda,x").unwrap_err();
        assert_eq!(failure.lines(), ["unable to parse diskspec: vda,x"]);
    }
}

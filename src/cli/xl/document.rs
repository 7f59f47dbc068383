//! `xl snapshot-create`: options and file as a `<domainsnapshot>` document and libvirt's flags.
//!
//! | asked for | memory | disks that say nothing |
//! |---|---|---|
//! | nothing, `type = internal` | the service chooses; on Xen a file of its own | a tag |
//! | `save` with `type = internal` | that file | a tag, each said |
//! | `type = external`, or a disk with a file | `save`, else `<directory>/<name>.save` | an overlay |
//! | the same, of a domain that is off | none: DISK_ONLY | an overlay |
//! | `--live` | `save`, else `<directory>/<name>.save`; LIVE | an overlay |
//! | `--disk-only` | none: DISK_ONLY | an overlay; with `type = internal` a tag, each said |
//!
//! An overlay without a name is named by the service: it lies beside its base, on the same storage, as everywhere in
//! libvirt. Disks that the file does not list are snapshotted too: memory and some of the disks make no whole.

use super::super::diskspec::escape;
use super::super::failure::{Failure, exclusive};
use super::config::{Config, Kind, Mode};
use crate::model::flags::CreateFlags;
use crate::model::ids::DomainId;
use crate::model::record::directory;
use crate::text::disk_spec::{DiskSpec, How};
use std::fmt::Write;

/// What was said on the command line; it wins over the file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Options {
    /// `-n`.
    pub name: Option<String>,
    /// `--live` or `--disk-only`.
    pub mode: Option<Mode>,
    /// REUSE_EXT, or nothing.
    pub flags: CreateFlags,
}

/// What must be known of the domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// Whose snapshot it will be.
    pub id: DomainId,
    /// Whether it is up.
    pub activity: Activity,
    /// The disks that can have a snapshot, by target.
    pub disks: Vec<String>,
}

/// Whether a domain has memory to save.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Activity {
    Up,
    Off,
}

impl Options {
    /// From `--live` and `--disk-only`.
    pub fn new(name: Option<&str>, live: bool, disk_only: bool, flags: CreateFlags) -> Result<Self, Failure> {
        let mode = match (live, disk_only) {
            (true, true) => return Err(exclusive("live", "disk-only")),
            (true, false) => Some(Mode::Live),
            (false, true) => Some(Mode::DiskOnly),
            (false, false) => None,
        };
        Ok(Self { name: name.map(str::to_owned), mode, flags })
    }
}

/// The document to send, with its flags. `now` is the default name: seconds since the Epoch.
pub fn draft(
    options: &Options,
    config: &Config,
    subject: &Subject,
    now: i64,
) -> Result<(String, CreateFlags), Failure> {
    let name = options.name.clone().or_else(|| config.name.clone()).unwrap_or_else(|| now.to_string());
    let mode = options.mode.or(config.mode);
    let any = |how| config.disks.iter().any(|d| d.how == Some(how));
    if mode == Some(Mode::Live) && any(How::Internal) {
        return Err(Failure::new("a live snapshot needs external disks"));
    }
    let kind = match (mode, config.kind) {
        (Some(Mode::Live), _) => Kind::External,
        (_, Some(kind)) => kind,
        (Some(Mode::DiskOnly), None) => Kind::External,
        (None, None) if any(How::External) => Kind::External,
        (None, None) => Kind::Internal,
    };
    let makes_overlays = kind == Kind::External || any(How::External);
    // Without memory there is nothing to do live, and libvirt's name for overlays alone is DISK_ONLY.
    let bare = mode.is_none() && makes_overlays && config.save.is_none() && subject.activity == Activity::Off;
    let without_memory = mode == Some(Mode::DiskOnly) || bare;
    let memory = match &config.save {
        _ if without_memory => None,
        Some(file) => Some(below(subject.id, file)),
        None if makes_overlays => Some(below(subject.id, &format!("{name}.save"))),
        None => None,
    };
    let mut disks = config.disks.clone();
    // libvirt's default is an overlay as soon as memory has a file, or there is none.
    if kind == Kind::Internal && (memory.is_some() || without_memory) {
        let listed = |target: &String| config.disks.iter().any(|d| d.device == *target);
        let others = subject.disks.iter().filter(|target| !listed(target));
        disks.extend(others.map(|target| DiskSpec { device: target.clone(), ..DiskSpec::default() }));
    }
    let mut flags = options.flags;
    flags.set(CreateFlags::LIVE, mode == Some(Mode::Live));
    flags.set(CreateFlags::DISK_ONLY, without_memory);
    Ok((write(subject.id, &name, config.description.as_deref(), memory, &disks, kind), flags))
}

/// Relative names lie in the domain's directory.
fn below(domain: DomainId, file: &str) -> String {
    if file.starts_with('/') {
        file.to_owned()
    } else {
        format!("{}/{}", directory(domain), file.trim_start_matches("./"))
    }
}

fn write(
    domain: DomainId,
    name: &str,
    description: Option<&str>,
    memory: Option<String>,
    disks: &[DiskSpec],
    kind: Kind,
) -> String {
    let mut xml = String::from("<domainsnapshot>\n");
    // Writing to a String cannot fail.
    let mut line = |text: std::fmt::Arguments<'_>| {
        let _ = writeln!(xml, "{text}");
    };
    line(format_args!("  <name>{}</name>", escape(name)));
    if let Some(text) = description {
        line(format_args!("  <description>{}</description>", escape(text)));
    }
    if let Some(file) = memory {
        line(format_args!("  <memory snapshot='external' file='{}'/>", escape(&file)));
    }
    if !disks.is_empty() {
        line(format_args!("  <disks>"));
    }
    for disk in disks {
        let how = disk.how.unwrap_or(match kind {
            Kind::Internal => How::Internal,
            Kind::External => How::External,
        });
        let head = format!("    <disk name='{}' snapshot='{}'", escape(&disk.device), how.as_str());
        if disk.file.is_none() && disk.format.is_none() {
            line(format_args!("{head}/>"));
            continue;
        }
        line(format_args!("{head}>"));
        if let Some(format) = &disk.format {
            line(format_args!("      <driver type='{}'/>", escape(format)));
        }
        if let Some(file) = &disk.file {
            line(format_args!("      <source file='{}'/>", escape(&below(domain, file))));
        }
        line(format_args!("    </disk>"));
    }
    if !disks.is_empty() {
        line(format_args!("  </disks>"));
    }
    line(format_args!("</domainsnapshot>"));
    xml
}

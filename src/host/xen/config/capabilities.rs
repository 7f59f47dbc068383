//! `<capabilities>` and `<domainCapabilities>` of a Xen host, from what `xl info` says.
//!
//! Must not know: who asked `xl`.

use super::guest::Guest;
use crate::error::{Code, Error, Result};
use crate::host::node;
use crate::xml::escape;
use std::fmt::Write;

/// What `xl info` says, as far as clients ask.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct XlInfo {
    /// `xen_version`, such as `4.17.7`.
    pub xen_version: String,
    /// `xen_caps`: the guests that the hypervisor runs, such as `xen-3.0-x86_64`.
    pub xen_caps: Vec<String>,
    /// `virt_caps`: `pv`, `hvm`, `hap`, …; empty before Xen 4.12.
    pub virt_caps: Vec<String>,
    /// `total_memory`, in MiB.
    pub total_memory_mib: u64,
    /// `free_memory`, in MiB.
    pub free_memory_mib: u64,
    /// `nr_cpus`.
    pub cpus: u32,
    /// `cores_per_socket`.
    pub cores_per_socket: u32,
    /// `threads_per_core`.
    pub threads_per_core: u32,
    /// `cpu_mhz`, without its fraction.
    pub cpu_mhz: u32,
    /// `nr_nodes`.
    pub nodes: u32,
}

/// Read `xl info`; what it does not say is empty, zero, or one CPU.
#[must_use]
pub fn info(text: &str) -> XlInfo {
    let value = |key: &str| {
        let lines = text.lines().filter_map(|line| line.split_once(':'));
        lines.into_iter().find(|(k, _)| k.trim() == key).map_or("", |(_, value)| value.trim())
    };
    let number = |key: &str| value(key).split('.').next().and_then(|n| n.parse::<u32>().ok());
    let words = |key: &str| value(key).split_whitespace().map(str::to_owned).collect();
    XlInfo {
        xen_version: value("xen_version").to_owned(),
        xen_caps: words("xen_caps"),
        virt_caps: words("virt_caps"),
        total_memory_mib: number("total_memory").unwrap_or(0).into(),
        free_memory_mib: number("free_memory").unwrap_or(0).into(),
        cpus: number("nr_cpus").unwrap_or(1).max(1),
        cores_per_socket: number("cores_per_socket").unwrap_or(1).max(1),
        threads_per_core: number("threads_per_core").unwrap_or(1).max(1),
        cpu_mhz: number("cpu_mhz").unwrap_or(0),
        nodes: number("nr_nodes").unwrap_or(1).max(1),
    }
}

impl XlInfo {
    /// libvirt's version number: major × 1,000,000 + minor × 1,000 + micro.
    #[must_use]
    pub fn version(&self) -> u64 {
        let digits = |part: &str| part.chars().take_while(char::is_ascii_digit).collect::<String>();
        let parts = self.xen_version.split('.').map(|part| digits(part).parse::<u64>().unwrap_or(0));
        parts.chain([0, 0, 0]).take(3).zip([1_000_000, 1_000, 1]).map(|(part, weight)| part * weight).sum()
    }

    /// The kinds of guests that run here. PVH needs paging in hardware.
    fn guests(&self) -> Vec<Guest> {
        let runs = |cap: &str| self.xen_caps.iter().any(|c| c == cap);
        let hvm = runs("hvm-3.0-x86_64");
        let hap = self.virt_caps.iter().any(|c| c == "hap");
        let all = [(Guest::Pv, runs("xen-3.0-x86_64")), (Guest::Pvh, hvm && hap), (Guest::Hvm, hvm)];
        all.into_iter().filter(|(_, runs)| *runs).map(|(guest, _)| guest).collect()
    }
}

/// The most virtual CPUs of one guest: what the interface allows PV guests, and what HVM guests get.
fn max_cpus(guest: Guest) -> u32 {
    match guest {
        Guest::Pv => 512,
        Guest::Pvh | Guest::Hvm => 128,
    }
}

/// `<capabilities>`.
#[must_use]
pub fn host(info: &XlInfo) -> String {
    let mut xml = String::from("<capabilities>\n\n  <host>\n");
    if let Ok(id) = node::machine_id()
        && let Ok(uuid) = uuid::Uuid::try_parse(&id)
    {
        let _ = writeln!(xml, "    <uuid>{uuid}</uuid>");
    }
    let (cores, threads) = (info.cores_per_socket, info.threads_per_core);
    let sockets = (info.cpus / cores.saturating_mul(threads).max(1)).max(1);
    let _ = write!(
        xml,
        "    <cpu>\n      <arch>x86_64</arch>\n      <topology sockets='{sockets}' dies='1' cores='{cores}' threads='{threads}'/>\n    </cpu>\n\
         \x20   <power_management/>\n    <iommu support='no'/>\n  </host>\n\n"
    );
    for guest in info.guests() {
        write_guest(&mut xml, guest);
    }
    xml.push_str("</capabilities>\n");
    xml
}

fn write_guest(xml: &mut String, guest: Guest) {
    let (kind, max) = (guest.kind(), max_cpus(guest));
    let _ = write!(
        xml,
        "  <guest>\n    <os_type>{}</os_type>\n    <arch name='x86_64'>\n      <wordsize>64</wordsize>\n\
         \x20     <machine maxCpus='{max}'>{}</machine>\n      <domain type='xen'/>\n    </arch>\n    <features>\n",
        kind.os, kind.machine
    );
    if guest != Guest::Pv {
        xml.push_str("      <acpi default='on' toggle='yes'/>\n      <apic default='on' toggle='yes'/>\n      <hap default='on' toggle='yes'/>\n");
    }
    xml.push_str(
        "      <disksnapshot default='on' toggle='no'/>\n      <externalSnapshot/>\n    </features>\n  </guest>\n\n",
    );
}

/// `<domainCapabilities>` for one machine; an empty text means the default, which is PV where it runs.
pub fn domain(info: &XlInfo, emulator: &str, arch: &str, machine: &str, virttype: &str) -> Result<String> {
    let invalid = |what: &str, word: &str| Error::new(Code::InvalidArg, format!("unknown {what}: {word}"));
    if !matches!(virttype, "" | "xen") {
        return Err(invalid("virttype", virttype));
    }
    if !matches!(arch, "" | "x86_64") {
        return Err(invalid("architecture", arch));
    }
    let guests = info.guests();
    let found = guests.iter().copied().find(|g| machine.is_empty() || g.kind().machine == machine);
    let guest =
        found.ok_or_else(|| invalid("machine", if machine.is_empty() { "(none runs here)" } else { machine }))?;
    Ok(write_domain(guest, emulator))
}

fn write_domain(guest: Guest, emulator: &str) -> String {
    let hvm = guest == Guest::Hvm;
    let mut xml = String::from("<domainCapabilities>\n");
    if !emulator.is_empty() {
        let _ = writeln!(xml, "  <path>{}</path>", escape::text(emulator));
    }
    let _ = write!(
        xml,
        "  <domain>xen</domain>\n  <machine>{}</machine>\n  <arch>x86_64</arch>\n  <vcpu max='{}'/>\n\
         \x20 <iothreads supported='no'/>\n  <os supported='yes'>\n",
        guest.kind().machine,
        max_cpus(guest)
    );
    if hvm {
        list(&mut xml, 4, "firmware", &["bios", "efi"]);
        xml.push_str("    <loader supported='yes'>\n");
        list(&mut xml, 6, "type", &["rom", "pflash"]);
        list(&mut xml, 6, "readonly", &["yes"]);
        list(&mut xml, 6, "secure", &["no"]);
        xml.push_str("    </loader>\n");
    } else {
        xml.push_str("    <enum name='firmware'/>\n    <loader supported='no'/>\n");
    }
    xml.push_str(
        "  </os>\n  <cpu>\n    <mode name='host-passthrough' supported='yes'/>\n    <mode name='maximum' supported='no'/>\n\
         \x20   <mode name='host-model' supported='no'/>\n    <mode name='custom' supported='no'/>\n  </cpu>\n\
         \x20 <memoryBacking supported='no'/>\n  <devices>\n",
    );
    let buses: &[&str] = if hvm { &["ide", "scsi", "xen"] } else { &["xen"] };
    section(&mut xml, "disk", &[("diskDevice", &["disk", "cdrom"]), ("bus", buses)]);
    section(&mut xml, "graphics", &[("type", &["vnc"])]);
    let cards: &[&str] = if hvm { &["vga", "cirrus", "qxl", "none"] } else { &["xen"] };
    section(&mut xml, "video", &[("modelType", cards)]);
    xml.push_str("    <hostdev supported='no'/>\n    <rng supported='no'/>\n    <filesystem supported='no'/>\n    <tpm supported='no'/>\n    <redirdev supported='no'/>\n");
    section(&mut xml, "channel", &[("type", &["pty", "unix"])]);
    section(&mut xml, "interface", &[("backendType", &["default"])]);
    section(&mut xml, "console", &[("type", &["pty"])]);
    xml.push_str(
        "  </devices>\n  <features>\n    <gic supported='no'/>\n    <vmcoreinfo supported='no'/>\n    <genid supported='no'/>\n\
         \x20   <backingStoreInput supported='no'/>\n    <backup supported='no'/>\n    <sev supported='no'/>\n  </features>\n</domainCapabilities>\n",
    );
    xml
}

fn section(xml: &mut String, name: &str, enums: &[(&str, &[&str])]) {
    let _ = writeln!(xml, "    <{name} supported='yes'>");
    for (key, values) in enums {
        list(xml, 6, key, values);
    }
    let _ = writeln!(xml, "    </{name}>");
}

fn list(xml: &mut String, indent: usize, name: &str, values: &[&str]) {
    let _ = writeln!(xml, "{:indent$}<enum name='{name}'>", "");
    for value in values {
        let _ = writeln!(xml, "{:indent$}  <value>{value}</value>", "");
    }
    let _ = writeln!(xml, "{:indent$}</enum>", "");
}

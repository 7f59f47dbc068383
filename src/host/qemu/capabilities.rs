//! `<capabilities>` and `<domainCapabilities>`: what clients ask before they offer anything.
//!
//! Must not know: QMP; it reads what `probe` has found out.

use super::probe::EmulatorFacts;
use crate::host::node;
use crate::xml::escape;
use std::fmt::Write;

/// Whether hardware virtualization may be used. The device is not opened: that can hang.
pub(crate) fn has_kvm() -> bool {
    rustix::fs::access("/dev/kvm", rustix::fs::Access::READ_OK | rustix::fs::Access::WRITE_OK).is_ok()
}

/// `<capabilities>`; `emulator` is `None` where no QEMU is installed.
pub(crate) fn host(emulator: Option<(&str, &EmulatorFacts)>) -> String {
    let mut xml = String::from("<capabilities>\n\n  <host>\n");
    if let Ok(id) = node::machine_id()
        && let Ok(uuid) = uuid::Uuid::try_parse(&id)
    {
        let _ = writeln!(xml, "    <uuid>{uuid}</uuid>");
    }
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let arch = std::env::consts::ARCH;
    let _ = write!(
        xml,
        "    <cpu>\n      <arch>{arch}</arch>\n      <topology sockets='1' dies='1' cores='{cpus}' threads='1'/>\n    </cpu>\n\
         \x20   <power_management/>\n    <iommu support='no'/>\n  </host>\n\n"
    );
    if let Some((emulator, facts)) = emulator {
        for (arch, wordsize) in [("i686", 32), ("x86_64", 64)] {
            guest(&mut xml, arch, wordsize, emulator, facts);
        }
    }
    xml.push_str("</capabilities>\n");
    xml
}

fn guest(xml: &mut String, arch: &str, wordsize: u32, emulator: &str, facts: &EmulatorFacts) {
    let _ = write!(
        xml,
        "  <guest>\n    <os_type>hvm</os_type>\n    <arch name='{arch}'>\n      <wordsize>{wordsize}</wordsize>\n      <emulator>{}</emulator>\n",
        escape::text(emulator)
    );
    for machine in facts.machines.iter().filter(|m| is_supported(&m.name)) {
        let max = machine.max_cpus;
        let name = escape::text(&machine.name);
        let _ = writeln!(xml, "      <machine maxCpus='{max}'>{name}</machine>");
        if let Some(alias) = &machine.alias {
            let canonical = escape::attribute(&machine.name);
            let _ = writeln!(
                xml,
                "      <machine canonical='{canonical}' maxCpus='{max}'>{}</machine>",
                escape::text(alias)
            );
        }
    }
    xml.push_str("      <domain type='qemu'/>\n");
    if has_kvm() {
        xml.push_str("      <domain type='kvm'/>\n");
    }
    xml.push_str("    </arch>\n    <features>\n");
    if arch == "i686" {
        xml.push_str("      <pae/>\n      <nonpae/>\n");
    }
    xml.push_str(
        "      <acpi default='on' toggle='yes'/>\n      <apic default='on' toggle='no'/>\n      <cpuselection/>\n\
         \x20     <deviceboot/>\n      <disksnapshot default='on' toggle='no'/>\n      <externalSnapshot/>\n    </features>\n  </guest>\n\n",
    );
}

/// Machines whose boards we know.
pub(crate) fn is_supported(machine: &str) -> bool {
    machine.starts_with("pc-i440fx") || machine.starts_with("pc-q35")
}

/// `<domainCapabilities>` for one machine.
pub(crate) fn domain(emulator: &str, facts: &EmulatorFacts, arch: &str, machine: &str, virttype: &str) -> String {
    let q35 = machine.starts_with("pc-q35");
    let max = facts.machines.iter().find(|m| m.name == machine).map_or(1, |m| m.max_cpus);
    let (emulator, machine_name) = (escape::text(emulator), escape::text(machine));
    let mut xml = format!(
        "<domainCapabilities>\n  <path>{emulator}</path>\n  <domain>{virttype}</domain>\n  <machine>{machine_name}</machine>\n  <arch>{arch}</arch>\n\
         \x20 <vcpu max='{max}'/>\n  <iothreads supported='no'/>\n  <os supported='yes'>\n    <enum name='firmware'/>\n    <loader supported='yes'>\n"
    );
    list(&mut xml, 6, "type", &["rom"]);
    list(&mut xml, 6, "readonly", &["yes"]);
    list(&mut xml, 6, "secure", &["no"]);
    xml.push_str("    </loader>\n  </os>\n  <cpu>\n");
    let host = if virttype == "kvm" { "yes" } else { "no" };
    let _ = writeln!(xml, "    <mode name='host-passthrough' supported='{host}'/>");
    xml.push_str("    <mode name='maximum' supported='yes'/>\n");
    let _ = writeln!(xml, "    <mode name='host-model' supported='{host}'/>");
    xml.push_str("    <mode name='custom' supported='yes'>\n");
    // "base", "host" and "max" are the modes above.
    for model in facts.cpu_models.iter().filter(|m| !matches!(m.as_str(), "base" | "host" | "max")) {
        let _ = writeln!(xml, "      <model usable='unknown' vendor='unknown'>{}</model>", escape::text(model));
    }
    xml.push_str("    </mode>\n  </cpu>\n  <memoryBacking supported='no'/>\n  <devices>\n");
    let buses: &[&str] = if q35 { &["fdc", "scsi", "virtio", "sata"] } else { &["ide", "fdc", "scsi", "virtio"] };
    section(&mut xml, "disk", &[("diskDevice", &["disk", "cdrom", "floppy"]), ("bus", buses), ("model", &["virtio"])]);
    section(&mut xml, "graphics", &[("type", &["vnc"])]);
    section(&mut xml, "video", &[("modelType", &["vga", "cirrus", "virtio", "none", "bochs"])]);
    xml.push_str("    <hostdev supported='no'/>\n");
    section(&mut xml, "rng", &[("model", &["virtio"]), ("backendModel", &["random", "builtin"])]);
    xml.push_str("    <filesystem supported='no'/>\n    <tpm supported='no'/>\n    <redirdev supported='no'/>\n");
    section(&mut xml, "channel", &[("type", &["pty", "unix"])]);
    section(&mut xml, "interface", &[("backendType", &["default"])]);
    section(&mut xml, "panic", &[("model", &["isa"])]);
    section(&mut xml, "console", &[("type", &["null", "pty", "file", "unix"])]);
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

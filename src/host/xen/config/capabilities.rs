//! `<capabilities>` and `<domainCapabilities>` of a Xen host, from `xl info`.

use crate::error::{Code, Error, Result};
use crate::host::node;
use std::fmt::Write;

/// What `xl info` says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct XlInfo {
    version: (u64, u64, u64),
    processors: u64,
    /// Whether the processor can run HVM and PVH guests.
    hvm: bool,
    /// Whether there is x86 at all.
    x86: bool,
}

impl XlInfo {
    /// libvirt's number: major × 1,000,000 + minor × 1,000 + micro.
    #[must_use]
    pub fn version_number(&self) -> u64 {
        let (major, minor, micro) = self.version;
        major * 1_000_000 + minor * 1_000 + micro
    }

    /// Operating system type and machine of every kind of guest.
    fn guests(&self) -> Vec<(&'static str, &'static str)> {
        let mut out = vec![("linux", "xenpv")];
        if self.hvm {
            out.extend([("xenpvh", "xenpvh"), ("hvm", "xenfv")]);
        }
        out
    }
}

/// Read `xl info`: a line `key : value` each.
#[must_use]
pub fn info(text: &str) -> XlInfo {
    let value = |key: &str| {
        text.lines()
            .filter_map(|l| l.split_once(':'))
            .find(|(k, _)| k.trim() == key)
            .map(|(_, v)| v.trim())
            .unwrap_or_default()
    };
    let number = |key: &str| value(key).trim_start_matches('.').parse().unwrap_or(0);
    let capabilities = value("xen_caps");
    XlInfo {
        version: (number("xen_major"), number("xen_minor"), number("xen_extra")),
        processors: number("nr_cpus").max(1),
        hvm: capabilities.split_whitespace().any(|c| c.starts_with("hvm-")),
        x86: capabilities.contains("x86"),
    }
}

fn arch(info: &XlInfo) -> &'static str {
    if info.x86 { "x86_64" } else { std::env::consts::ARCH }
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
    let (arch, cpus) = (arch(info), info.processors);
    let _ = write!(
        xml,
        "    <cpu>\n      <arch>{arch}</arch>\n      <topology sockets='1' dies='1' cores='{cpus}' threads='1'/>\n    </cpu>\n\
         \x20   <power_management/>\n    <iommu support='no'/>\n  </host>\n\n"
    );
    for (kind, machine) in info.guests() {
        let _ = write!(
            xml,
            "  <guest>\n    <os_type>{kind}</os_type>\n    <arch name='{arch}'>\n      <wordsize>64</wordsize>\n\
             \x20     <machine>{machine}</machine>\n      <domain type='xen'/>\n    </arch>\n    <features>\n\
             \x20     <disksnapshot default='on' toggle='no'/>\n      <externalSnapshot/>\n    </features>\n  </guest>\n\n"
        );
    }
    xml.push_str("</capabilities>\n");
    xml
}

/// `<domainCapabilities>` for one machine; empty text: the first that there is.
pub fn domain(info: &XlInfo, wanted: &str, machine: &str, virttype: &str) -> Result<String> {
    let arch = arch(info);
    let invalid = |text: String| Err(Error::new(Code::InvalidArg, text));
    if !wanted.is_empty() && wanted != arch {
        return invalid(format!("unknown architecture: {wanted}"));
    }
    if !matches!(virttype, "" | "xen") {
        return invalid(format!("unknown virttype: {virttype}"));
    }
    let guests = info.guests();
    let found = guests.iter().find(|(_, m)| machine.is_empty() || *m == machine);
    let Some((kind, machine)) = found else { return invalid(format!("the machine '{machine}' is not supported")) };
    let loader = if *kind == "hvm" { "yes" } else { "no" };
    Ok(format!(
        "<domainCapabilities>\n  <domain>xen</domain>\n  <machine>{machine}</machine>\n  <arch>{arch}</arch>\n\
         \x20 <vcpu max='{}'/>\n  <iothreads supported='no'/>\n  <os supported='yes'>\n    <loader supported='{loader}'/>\n  </os>\n\
         \x20 <cpu>\n    <mode name='host-passthrough' supported='no'/>\n    <mode name='host-model' supported='no'/>\n\
         \x20   <mode name='custom' supported='no'/>\n  </cpu>\n  <devices>\n    <disk supported='yes'>\n\
         \x20     <enum name='diskDevice'>\n        <value>disk</value>\n        <value>cdrom</value>\n      </enum>\n\
         \x20     <enum name='bus'>\n        <value>xen</value>\n        <value>ide</value>\n        <value>scsi</value>\n      </enum>\n\
         \x20   </disk>\n    <graphics supported='yes'>\n      <enum name='type'>\n        <value>vnc</value>\n      </enum>\n\
         \x20   </graphics>\n    <hostdev supported='no'/>\n  </devices>\n  <features>\n    <gic supported='no'/>\n  </features>\n</domainCapabilities>\n",
        info.processors.max(128)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: &str = include_str!("../../../../tests/xen/recorded/info.txt");

    #[test]
    fn a_host_is_what_xl_info_says() {
        let info = info(INFO);
        assert_eq!(info.version_number(), 4_017_007);
        assert!(host(&info).contains("<os_type>xenpvh</os_type>") && host(&info).contains("<externalSnapshot/>"));
        assert!(domain(&info, "", "xenfv", "").unwrap().contains("<loader supported='yes'/>"));
        assert!(domain(&info, "", "pc", "").is_err());
        let pv_only = super::info(&INFO.replace("hvm-3.0", "pvx-3.0"));
        assert!(!host(&pv_only).contains("hvm"), "a processor without virtualization");
    }
}

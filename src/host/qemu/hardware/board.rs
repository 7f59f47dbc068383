//! What is not a device: firmware and boot, CPU, features, clocks, power management.

use super::firmware::Firmware;
use crate::error::{Code, Error, Result};
use crate::host::strict::Strict;

/// `<boot dev='…'/>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BootDevice {
    Disk,
    Cdrom,
    Floppy,
    Network,
}

/// `<os>`.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Os {
    pub(crate) arch: String,
    pub(crate) machine: Option<String>,
    pub(crate) boot: Vec<BootDevice>,
    pub(crate) kernel: Option<String>,
    pub(crate) initrd: Option<String>,
    pub(crate) cmdline: Option<String>,
    pub(crate) firmware: Firmware,
    pub(crate) menu: Option<bool>,
    pub(crate) menu_timeout: Option<u16>,
    pub(crate) reboot_timeout: Option<i32>,
}

const BOOT: &[(&str, BootDevice)] = &[
    ("hd", BootDevice::Disk),
    ("cdrom", BootDevice::Cdrom),
    ("fd", BootDevice::Floppy),
    ("network", BootDevice::Network),
];

impl Os {
    pub(crate) fn read(mut e: Strict<'_, '_>) -> Result<Self> {
        let mut os = Self { arch: "x86_64".to_owned(), ..Self::default() };
        let Some(mut t) = e.child("type")? else {
            return Err(Error::new(Code::XmlError, format!("an os <type> must be specified ({})", e.place())));
        };
        if t.text() != Some("hvm") {
            return Err(t.refuse_text());
        }
        t.only("arch", &["x86_64", "i686"])?;
        if let Some(arch) = t.attr("arch") {
            arch.clone_into(&mut os.arch);
        }
        os.machine = t.attr("machine").map(str::to_owned);
        t.finish()?;
        for mut b in e.children("boot") {
            match b.one_of("dev", BOOT)? {
                Some(device) => os.boot.push(device),
                None => return Err(b.refuse()),
            }
            b.finish()?;
        }
        os.kernel = e.child_text("kernel")?.map(str::to_owned);
        os.initrd = e.child_text("initrd")?.map(str::to_owned);
        os.cmdline = e.child_text("cmdline")?.map(str::to_owned);
        os.firmware = Firmware::read(&mut e)?;
        if let Some(mut m) = e.child("bootmenu")? {
            os.menu = m.switch("enable")?;
            os.menu_timeout = m.number("timeout")?;
            m.finish()?;
        }
        if let Some(mut b) = e.child("bios")? {
            b.only("useserial", &["no"])?;
            os.reboot_timeout = match b.attr("rebootTimeout") {
                Some("-1") => Some(-1),
                Some(_) => b.number::<u16>("rebootTimeout")?.map(i32::from),
                None => None,
            };
            b.finish()?;
        }
        if let Some(mut s) = e.child("smbios")? {
            s.only("mode", &["emulate"])?;
            s.finish()?;
        }
        e.finish()?;
        Ok(os)
    }
}

/// `<cpu>`: the text for `-cpu`, and the topology.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Cpu {
    pub(crate) mode: Option<CpuMode>,
    /// `Some(true)` switches a feature on, `Some(false)` off.
    pub(crate) features: Vec<(String, bool)>,
    pub(crate) topology: Option<Topology>,
}

/// `<cpu mode='…'>`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum CpuMode {
    Model(String),
    Host { migratable: Option<bool> },
    Maximum,
}

/// `<topology>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Topology {
    pub(crate) sockets: u32,
    pub(crate) dies: u32,
    pub(crate) cores: u32,
    pub(crate) threads: u32,
}

impl Cpu {
    pub(crate) fn read(mut e: Strict<'_, '_>) -> Result<Self> {
        e.ignore_attrs(&["check"]);
        e.only("match", &["exact", "minimum", "strict"])?;
        e.ignore(&["vendor"]);
        let mut cpu = Self::default();
        let mut model = None;
        if let Some(mut m) = e.child("model")? {
            m.ignore_attrs(&["fallback"]);
            model = m.text().filter(|t| is_word(t)).map(str::to_owned);
            if model.is_none() && m.text().is_some() {
                return Err(m.refuse_text());
            }
            m.finish()?;
        }
        let migratable = e.switch("migratable")?;
        cpu.mode = match e.attr("mode") {
            None | Some("custom") => model.map(CpuMode::Model),
            Some("host-passthrough" | "host-model") => Some(CpuMode::Host { migratable }),
            Some("maximum") => Some(CpuMode::Maximum),
            Some(_) => return Err(e.refuse_value("mode")),
        };
        let policies = [("force", true), ("require", true), ("optional", true), ("disable", false), ("forbid", false)];
        for mut f in e.children("feature") {
            let on = f.one_of("policy", &policies)?.unwrap_or(true);
            let name = f.need("name")?;
            if !is_word(name) {
                return Err(f.malformed("name"));
            }
            cpu.features.push((name.to_owned(), on));
            f.finish()?;
        }
        if !cpu.features.is_empty() && cpu.mode.is_none() {
            return Err(Error::new(
                Code::XmlError,
                format!("Non-empty feature list specified without CPU model ({})", e.place()),
            ));
        }
        if let Some(mut t) = e.child("topology")? {
            t.only("clusters", &["1"])?;
            cpu.topology = Some(Topology {
                sockets: t.number("sockets")?.unwrap_or(1),
                dies: t.number("dies")?.unwrap_or(1),
                cores: t.number("cores")?.unwrap_or(1),
                threads: t.number("threads")?.unwrap_or(1),
            });
            t.finish()?;
        }
        e.finish()?;
        Ok(cpu)
    }
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

/// `<features>`.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Features {
    pub(crate) acpi: bool,
    pub(crate) vmport: Option<bool>,
    pub(crate) smm: Option<bool>,
    /// Flags for `-cpu`.
    pub(crate) cpu_flags: Vec<String>,
}

const HYPERV: &[&str] = &[
    "relaxed",
    "vapic",
    "vpindex",
    "runtime",
    "synic",
    "reset",
    "frequencies",
    "reenlightenment",
    "tlbflush",
    "ipi",
    "evmcs",
    "avic",
];

impl Features {
    pub(crate) fn read(mut e: Strict<'_, '_>) -> Result<Self> {
        let mut features = Self { acpi: e.mark("acpi")?, ..Self::default() };
        // Every x86 CPU that QEMU makes has them.
        e.mark("pae")?;
        e.mark("apic")?;
        for (name, slot) in [("vmport", &mut features.vmport), ("smm", &mut features.smm)] {
            if let Some(mut f) = e.child(name)? {
                *slot = f.switch("state")?;
                f.finish()?;
            }
        }
        if let Some(mut h) = e.child("hyperv")? {
            h.only("mode", &["custom"])?;
            for &name in HYPERV {
                if let Some(mut f) = h.child(name)? {
                    if f.switch("state")?.unwrap_or(true) {
                        features.cpu_flags.push(format!("hv-{name}=on"));
                    }
                    f.finish()?;
                }
            }
            if let Some(mut f) = h.child("spinlocks")? {
                let retries = f.number::<u32>("retries")?.unwrap_or(8191);
                if f.switch("state")?.unwrap_or(true) {
                    features.cpu_flags.push(format!("hv-spinlocks={retries:#x}"));
                }
                f.finish()?;
            }
            if let Some(mut f) = h.child("stimer")? {
                if f.switch("state")?.unwrap_or(true) {
                    features.cpu_flags.push("hv-stimer=on".to_owned());
                }
                f.finish()?;
            }
            h.finish()?;
        }
        if let Some(mut k) = e.child("kvm")? {
            if let Some(mut hidden) = k.child("hidden")? {
                if hidden.switch("state")? == Some(true) {
                    features.cpu_flags.push("kvm=off".to_owned());
                }
                hidden.finish()?;
            }
            k.finish()?;
        }
        e.finish()?;
        Ok(features)
    }
}

/// `<clock>`: the real-time clock and the timers.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Clock {
    pub(crate) localtime: bool,
    pub(crate) rtc_catchup: bool,
    pub(crate) pit_delay: Option<bool>,
    pub(crate) hpet: Option<bool>,
    pub(crate) cpu_flags: Vec<String>,
}

impl Clock {
    pub(crate) fn read(mut e: Strict<'_, '_>) -> Result<Self> {
        let mut clock = Self {
            localtime: e.one_of("offset", &[("utc", false), ("localtime", true)])?.unwrap_or(false),
            ..Self::default()
        };
        e.only("adjustment", &["reset"])?;
        for mut t in e.children("timer") {
            let name = t.need("name")?;
            let present = t.switch("present")?;
            let policies = [("delay", "delay"), ("catchup", "catchup"), ("discard", "discard")];
            let policy = t.one_of("tickpolicy", &policies)?;
            match (name, policy) {
                ("rtc", None | Some("catchup" | "delay")) if present != Some(false) => {
                    t.only("track", &["guest"])?;
                    clock.rtc_catchup = policy == Some("catchup");
                }
                ("pit", None | Some("delay" | "discard")) if present != Some(false) => {
                    clock.pit_delay = policy.map(|p| p == "delay");
                }
                ("hpet", None) => clock.hpet = present,
                ("kvmclock", None) => {
                    clock.cpu_flags.extend(present.map(|on| format!("kvmclock={}", if on { "on" } else { "off" })));
                }
                ("hypervclock", None) => {
                    if present != Some(false) {
                        clock.cpu_flags.push("hv-time=on".to_owned());
                    }
                }
                _ => return Err(t.refuse()),
            }
            t.finish()?;
        }
        e.finish()?;
        Ok(clock)
    }
}

/// `<pm>`: whether the guest may sleep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Pm {
    pub(crate) mem: Option<bool>,
    pub(crate) disk: Option<bool>,
}

impl Pm {
    pub(crate) fn read(mut e: Strict<'_, '_>) -> Result<Self> {
        let mut pm = Self::default();
        for (name, slot) in [("suspend-to-mem", &mut pm.mem), ("suspend-to-disk", &mut pm.disk)] {
            if let Some(mut s) = e.child(name)? {
                *slot = s.switch("enabled")?;
                s.finish()?;
            }
        }
        e.finish()?;
        Ok(pm)
    }
}

//! The tunables of a domain: shares, limits, throttles, and the CPUs that it is pinned to.
//!
//! No hypervisor here obeys them, so they can be asked for and set only where there is none
//! ([`keeps_parameters`](crate::host::Host::keeps_parameters), the Test driver); elsewhere the answer is code 3, as is
//! libvirt's for a driver without the call. Names, types and values are those of libvirt's `test:///default`.

use super::domain::Domain;
use super::impact::{CONFIG, Impact, LIVE};
use super::service::Service;
use super::sizes;
use super::stats::Stat;
use crate::error::{Code, Error, Result};
use crate::model::flags;
use crate::model::ids::DomainId;
use crate::xml::scan::Limits;
use crate::xml::{domain, element};
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

/// `VIR_DOMAIN_MEMORY_PARAM_UNLIMITED`, in KiB.
const UNLIMITED: u64 = 9_007_199_254_740_991;
/// `VIR_TYPED_PARAM_STRING_OKAY`.
const STRING_OKAY: u32 = 4;

/// A set of tunables.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// `virDomainSchedParameters`.
    Scheduler,
    /// `virDomainMemoryParameters`, in KiB.
    Memory,
    /// `virDomainBlkioParameters`.
    BlockIo,
    /// `virDomainNumaParameters`.
    Numa,
    /// `virDomainPerfEvents`.
    PerfEvents,
    /// `virDomainBlockIoTune` of the disk with that target.
    Throttle(String),
    /// `virDomainInterfaceParameters` of the interface with that target.
    Interface(String),
}

/// What was set for one domain; gone with the daemon.
#[derive(Debug, Default)]
pub(super) struct Parameters {
    set: BTreeMap<Group, BTreeMap<String, Stat>>,
    vcpu_pins: BTreeMap<u32, Vec<bool>>,
    emulator_pin: Option<Vec<bool>>,
}

impl Group {
    /// The tunables, and what holds until one is set.
    fn defaults(&self) -> Vec<(String, Stat)> {
        let all =
            |names: &[&str], value: Stat| names.iter().map(|n| ((*n).to_owned(), value.clone())).collect::<Vec<_>>();
        match self {
            Self::Scheduler => all(&["weight"], Stat::UInt(50)),
            Self::Memory => all(&["hard_limit", "soft_limit", "swap_hard_limit"], Stat::ULong(UNLIMITED)),
            Self::BlockIo => {
                let devices = [
                    "device_weight",
                    "device_read_iops_sec",
                    "device_write_iops_sec",
                    "device_read_bytes_sec",
                    "device_write_bytes_sec",
                ];
                [all(&["weight"], Stat::UInt(0)), all(&devices, Stat::Text(String::new()))].concat()
            }
            Self::Numa => {
                [all(&["numa_nodeset"], Stat::Text(String::new())), all(&["numa_mode"], Stat::Int(0))].concat()
            }
            Self::PerfEvents => {
                let events = ["cmt", "mbmt", "mbml", "cpu_cycles", "instructions", "cache_references", "cache_misses"];
                all(&events, Stat::Bool(false))
            }
            Self::Interface(_) => {
                let mut out = Vec::new();
                for direction in ["inbound", "outbound"] {
                    let names = ["average", "peak", "burst"].map(|n| format!("{direction}.{n}"));
                    out.extend(names.map(|name| (name, Stat::UInt(0))));
                }
                out
            }
            Self::Throttle(_) => {
                let kinds = [
                    "total_bytes_sec",
                    "read_bytes_sec",
                    "write_bytes_sec",
                    "total_iops_sec",
                    "read_iops_sec",
                    "write_iops_sec",
                ];
                let mut out = all(&kinds, Stat::ULong(0));
                for suffix in ["_max", "_max_length"] {
                    out.extend(kinds.map(|kind| (format!("{kind}{suffix}"), Stat::ULong(0))));
                }
                out.extend(all(&["size_iops_sec"], Stat::ULong(0)));
                out.extend(all(&["group_name"], Stat::Text(String::new())));
                out
            }
        }
    }

    /// The device that is meant must be there.
    fn check(&self, xml: &str) -> Result<()> {
        let (found, what, name) = match self {
            Self::Throttle(name) => (domain::view(xml)?.disk(name).is_some(), "disk", name),
            Self::Interface(name) => {
                let document = element::Document::parse(xml, &Limits::default())?;
                let mut interfaces = document.root().all("devices").flat_map(|d| d.all("interface"));
                let named = |i: element::Element<'_>| i.find("target").and_then(|t| t.attribute("dev")) == Some(name);
                (interfaces.any(named), "interface", name)
            }
            _ => return Ok(()),
        };
        let text = || format!("{what} '{name}' was not found in the domain config");
        if found { Ok(()) } else { Err(Error::new(Code::InvalidArg, text())) }
    }
}

impl Service {
    /// The scheduler and how many parameters it has (`virDomainGetSchedulerType`).
    #[must_use]
    pub fn scheduler(&self) -> (&'static str, i32) {
        if self.inner.host.keeps_parameters() { ("fair", 1) } else { ("posix", 9) }
    }

    /// What is set; `function` is the call's name in C.
    pub fn parameters(&self, id: DomainId, group: Group, flags: u32, function: &str) -> Result<Vec<(String, Stat)>> {
        let domain = self.tunable(id, flags, function)?;
        group.check(Impact::definition(&domain.state(), flags)?)?;
        let kept = domain.parameters.lock().unwrap_or_else(PoisonError::into_inner);
        let set = kept.set.get(&group);
        let value = |(name, value): (String, Stat)| {
            let value = set.and_then(|set| set.get(&name)).cloned().unwrap_or(value);
            (name, value)
        };
        Ok(group.defaults().into_iter().map(value).collect())
    }

    /// Set some of them, or none if one does not exist or is of another type.
    pub fn set_parameters(
        &self,
        id: DomainId,
        group: Group,
        new: Vec<(String, Stat)>,
        flags: u32,
        function: &str,
    ) -> Result<()> {
        let domain = self.tunable(id, flags, function)?;
        let state = domain.state();
        for xml in Impact::of(&state, flags)?.definitions(&state) {
            group.check(xml)?;
        }
        let known: BTreeMap<_, _> = group.defaults().into_iter().collect();
        for (name, value) in &new {
            let Some(expected) = known.get(name) else {
                return Err(Error::new(Code::ArgumentUnsupported, format!("parameter '{name}' not supported")));
            };
            let (given, expected) = (value.type_name(), expected.type_name());
            if given != expected {
                let text = format!("invalid type '{given}' for parameter '{name}', expected '{expected}'");
                return Err(Error::new(Code::InvalidArg, text));
            }
        }
        let mut kept = domain.parameters.lock().unwrap_or_else(PoisonError::into_inner);
        kept.set.entry(group).or_default().extend(new);
        Ok(())
    }

    /// The machine's CPUs that each of the guest's may run on (`virDomainGetVcpuPinInfo`).
    pub fn vcpu_pins(&self, id: DomainId, flags: u32) -> Result<Vec<Vec<bool>>> {
        flags::none(flags & !(LIVE | CONFIG), "qemuDomainGetVcpuPinInfo")?;
        let (domain, all) = (self.inner.domain(id)?, vec![true; self.inner.host.cpus()?.len()]);
        let (count, _) = sizes::vcpus(Impact::definition(&domain.state(), flags)?)?;
        let kept = domain.parameters.lock().unwrap_or_else(PoisonError::into_inner);
        Ok((0..count).map(|vcpu| kept.vcpu_pins.get(&vcpu).unwrap_or(&all).clone()).collect())
    }

    /// `virDomainPinVcpuFlags`.
    pub fn pin_vcpu(&self, id: DomainId, vcpu: u32, cpus: &[bool], flags: u32) -> Result<()> {
        let domain = self.tunable(id, flags, "virDomainPinVcpuFlags")?;
        let cpus = self.pin(cpus)?;
        let state = domain.state();
        for xml in Impact::of(&state, flags)?.definitions(&state) {
            if vcpu >= sizes::vcpus(xml)?.0 {
                let text = format!("requested vcpu '{vcpu}' is not present in the domain");
                return Err(Error::new(Code::InvalidArg, text));
            }
        }
        domain.parameters.lock().unwrap_or_else(PoisonError::into_inner).vcpu_pins.insert(vcpu, cpus);
        Ok(())
    }

    /// The machine's CPUs that the hypervisor itself may run on (`virDomainGetEmulatorPinInfo`).
    pub fn emulator_pin(&self, id: DomainId, flags: u32) -> Result<Vec<bool>> {
        flags::none(flags & !(LIVE | CONFIG), "qemuDomainGetEmulatorPinInfo")?;
        let domain = self.inner.domain(id)?;
        Impact::definition(&domain.state(), flags)?;
        let pin = domain.parameters.lock().unwrap_or_else(PoisonError::into_inner).emulator_pin.clone();
        pin.map_or_else(|| Ok(vec![true; self.inner.host.cpus()?.len()]), Ok)
    }

    /// `virDomainPinEmulator`.
    pub fn pin_emulator(&self, id: DomainId, cpus: &[bool], flags: u32) -> Result<()> {
        let domain = self.tunable(id, flags, "virDomainPinEmulator")?;
        let cpus = self.pin(cpus)?;
        Impact::of(&domain.state(), flags)?;
        domain.parameters.lock().unwrap_or_else(PoisonError::into_inner).emulator_pin = Some(cpus);
        Ok(())
    }

    /// A domain whose tunables can be set.
    fn tunable(&self, id: DomainId, flags: u32, function: &str) -> Result<Arc<Domain>> {
        let domain = self.inner.domain(id)?;
        if !self.inner.host.keeps_parameters() {
            return Err(Error::new(Code::NoSupport, function));
        }
        flags::none(flags & !(LIVE | CONFIG | STRING_OKAY), function)?;
        Ok(domain)
    }

    /// The CPUs that there are, of those that are meant.
    fn pin(&self, cpus: &[bool]) -> Result<Vec<bool>> {
        let there = self.inner.host.cpus()?.len();
        let pin: Vec<bool> = (0..there).map(|cpu| cpus.get(cpu).copied().unwrap_or(false)).collect();
        if pin.contains(&true) { Ok(pin) } else { Err(Error::new(Code::InvalidArg, "Empty cpu list for pinning")) }
    }
}

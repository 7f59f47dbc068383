//! How much memory and how many CPUs a domain has.

use super::impact::{CONFIG, Impact, LIVE};
use super::service::Service;
use crate::error::{Code, Error, Result};
use crate::model::flags;
use crate::model::ids::DomainId;
use crate::xml::{domain, edit};

/// `VIR_DOMAIN_MEM_MAXIMUM` and `VIR_DOMAIN_VCPU_MAXIMUM`: not what it has but what it may have.
const MAXIMUM: u32 = 4;

/// `virDomainMemoryStatTags`.
const STAT_ACTUAL: i32 = 6;
const STAT_RSS: i32 = 7;

fn zero(argument: &str, call: &str) -> Error {
    Error::bare(Code::InvalidArg, format!("{argument} in {call} must not be zero"))
}

impl Service {
    /// `virDomainSetMemoryFlags`. A running guest gives and takes through its balloon, as far as it cooperates.
    pub async fn set_memory(&self, id: DomainId, kib: u64, flags: u32) -> Result<()> {
        flags::none(flags & !(LIVE | CONFIG | MAXIMUM), "qemuDomainSetMemoryFlags")?;
        if kib == 0 {
            return Err(zero("memory", "virDomainSetMemoryFlags"));
        }
        let domain = self.inner.domain(id)?;
        let _slot = domain.slot("set memory").await?;
        self.inner.finish_open_ops(&domain).await?;
        let state = domain.state();
        let impact = Impact::of(&state, flags)?;
        if flags & MAXIMUM != 0 {
            if impact.live {
                return Err(Error::invalid("cannot resize the maximum memory on an active domain"));
            }
            let change = |xml: &str| edit::set_maximum_memory(xml, kib, domain::view(xml)?.current_memory_kib);
            return self.inner.amend(&domain, impact, change).await;
        }
        for xml in impact.definitions(&state) {
            if kib > domain::view(xml)?.memory_kib {
                return Err(Error::new(Code::InvalidArg, "cannot set memory higher than max memory"));
            }
        }
        if let Some(instance) = state.instance().filter(|_| impact.live) {
            self.inner.host.set_memory(instance, kib).await?;
            // What the guest did at once is seen by who asks now.
            self.inner.heard_all().await;
        }
        let config = Impact { live: false, ..impact };
        self.inner.amend(&domain, config, |xml| edit::set_current_memory(xml, kib)).await
    }

    /// `virDomainSetVcpusFlags`.
    pub async fn set_vcpus(&self, id: DomainId, count: u32, flags: u32) -> Result<()> {
        flags::none(flags & !(LIVE | CONFIG | MAXIMUM), "qemuDomainSetVcpusFlags")?;
        if count == 0 {
            return Err(zero("nvcpus", "virDomainSetVcpusFlags"));
        }
        let domain = self.inner.domain(id)?;
        let _slot = domain.slot("set vcpus").await?;
        self.inner.finish_open_ops(&domain).await?;
        let state = domain.state();
        let impact = Impact::of(&state, flags)?;
        if flags & MAXIMUM != 0 {
            if impact.live {
                return Err(Error::invalid("maximum vcpu count of a live domain can't be modified"));
            }
            let change = |xml: &str| edit::set_vcpus(xml, vcpus(xml)?.0.min(count), count);
            return self.inner.amend(&domain, impact, change).await;
        }
        for (xml, which) in [(state.live_xml(), "live"), (state.inactive_xml(), "persistent")] {
            let meant = if which == "live" { impact.live } else { impact.config };
            let Some(xml) = xml.filter(|_| meant) else { continue };
            let (_, maximum) = vcpus(xml)?;
            if count > maximum {
                let text = format!(
                    "requested vcpus is greater than max allowable vcpus for the {which} domain: {count} > {maximum}"
                );
                return Err(Error::new(Code::InvalidArg, text));
            }
        }
        let unchanged = state.live_xml().map(vcpus).transpose()?.is_some_and(|(current, _)| current == count);
        if let Some(instance) = state.instance().filter(|_| impact.live && !unchanged) {
            self.inner.host.set_vcpus(instance, count).await?;
        }
        self.inner.amend(&domain, impact, |xml| edit::set_vcpus(xml, count, vcpus(xml)?.1)).await
    }

    /// `virDomainMemoryStats`: KiB by `virDomainMemoryStatTags`.
    pub fn memory_stats(&self, id: DomainId, flags: u32) -> Result<Vec<(i32, u64)>> {
        flags::none(flags, "qemuDomainMemoryStats")?;
        let state = self.inner.domain(id)?.state();
        let Some(xml) = state.live_xml() else { return Err(Error::invalid("domain is not running")) };
        let actual = state.runtime.memory.map_or_else(|| domain::view(xml).map(|v| v.current_memory_kib), Ok)?;
        let resident = self.inner.host.resident_memory(&state.runtime);
        Ok([(STAT_ACTUAL, Some(actual)), (STAT_RSS, resident)].into_iter().filter_map(|(t, v)| Some((t, v?))).collect())
    }
}

/// How many CPUs the guest has and may have.
pub(super) fn vcpus(xml: &str) -> Result<(u32, u32)> {
    let maximum = domain::view(xml)?.vcpus;
    Ok((domain::current_vcpus(xml)?.unwrap_or(maximum), maximum))
}

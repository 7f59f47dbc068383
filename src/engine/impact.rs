//! Which of a domain's definitions a call is about: the running one, the stored one, or both.
//!
//! As `virDomainObjUpdateModificationImpact`: without either bit it is the one in force.

use super::domain::{Domain, State};
use super::service::Inner;
use crate::error::{Code, Error, Result};
use crate::plan::steps::{Change, LiveChange};
use std::sync::Arc;

/// `VIR_DOMAIN_AFFECT_LIVE`.
pub(super) const LIVE: u32 = 1;
/// `VIR_DOMAIN_AFFECT_CONFIG`.
pub(super) const CONFIG: u32 = 2;

/// What a call changes; at least one of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Impact {
    pub(super) live: bool,
    pub(super) config: bool,
}

impl Impact {
    /// What the bits ask for, if the domain has it.
    pub(super) fn of(state: &State, bits: u32) -> Result<Self> {
        let active = state.is_active();
        let impact = match bits & (LIVE | CONFIG) {
            0 => Self { live: active, config: !active },
            bits => Self { live: bits & LIVE != 0, config: bits & CONFIG != 0 },
        };
        if impact.live && !active {
            return Err(Error::invalid("domain is not running"));
        }
        if impact.config && !state.row.persistent {
            return Err(Error::invalid("transient domains do not have any persistent config"));
        }
        Ok(impact)
    }

    /// The definitions that are meant.
    pub(super) fn definitions(self, state: &State) -> impl Iterator<Item = &str> {
        let live = state.live_xml().filter(|_| self.live);
        live.into_iter().chain(state.inactive_xml().filter(|_| self.config))
    }

    /// The one definition that a call reads (`virDomainObjGetOneDef`).
    pub(super) fn definition(state: &State, bits: u32) -> Result<&str> {
        if bits & (LIVE | CONFIG) == LIVE | CONFIG {
            let text = "Flags 'VIR_DOMAIN_AFFECT_LIVE' and 'VIR_DOMAIN_AFFECT_CONFIG' are mutually exclusive";
            return Err(Error::bare(Code::InvalidArg, text));
        }
        let impact = Self::of(state, bits)?;
        let xml = if impact.live { state.live_xml() } else { state.inactive_xml() };
        xml.ok_or_else(|| Error::internal(format!("domain '{}' has no definition", state.row.name)))
    }
}

impl Inner {
    /// Change the definitions that are meant, all or none; the caller has the domain's slot. What cannot be run is refused.
    pub(super) async fn amend(
        &self,
        domain: &Arc<Domain>,
        impact: Impact,
        change: impl Fn(&str) -> Result<String>,
    ) -> Result<()> {
        let state = domain.state();
        let mut all = Change::default();
        if let Some(live) = state.row.live.as_ref().filter(|_| impact.live) {
            all.live = LiveChange::Edit { instance: live.instance, xml: change(&live.xml)? };
        }
        if let Some(xml) = state.inactive_xml().filter(|_| impact.config) {
            all.inactive_xml = Some(self.host.check_definition(&change(xml)?)?);
        }
        self.apply(domain, &all).await
    }
}

//! The calls that a guest's agent answers.

use super::domain::Domain;
use super::service::Service;
use crate::error::Result;
use crate::model::domain::DomainState;
use crate::model::file_system::FileSystem;
use crate::model::flags;
use crate::model::ids::{DomainId, Instance};
use crate::plan::refusal::Refusal;
use crate::xml;
use std::sync::Arc;

impl Service {
    /// `virDomainFSFreeze`: freeze what is mounted there, everything if nothing is named.
    pub async fn freeze(&self, id: DomainId, mountpoints: &[String], flags: u32) -> Result<u32> {
        flags::none(flags, "qemuDomainFSFreeze")?;
        let domain = self.inner.domain(id)?;
        let _slot = domain.slot("freezing file systems").await?;
        self.inner.finish_open_ops(&domain).await?;
        let (instance, _) = must_have_agent(&domain)?;
        self.inner.host.freeze(instance, mountpoints).await
    }

    /// `virDomainFSThaw`: thaw everything, as libvirt's QEMU driver does whatever is named. It is not kept waiting by an
    /// operation that cannot be finished.
    pub async fn thaw(&self, id: DomainId, flags: u32) -> Result<u32> {
        flags::none(flags, "qemuDomainFSThaw")?;
        let domain = self.inner.domain(id)?;
        let _slot = domain.slot("thawing file systems").await?;
        let (instance, _) = must_have_agent(&domain)?;
        self.inner.host.thaw(instance).await
    }

    /// `virDomainGetFSInfo`.
    pub async fn file_systems(&self, id: DomainId, flags: u32) -> Result<Vec<FileSystem>> {
        flags::none(flags, "qemuDomainGetFSInfo")?;
        let domain = self.inner.domain(id)?;
        let _slot = domain.slot("asking for file systems").await?;
        let (instance, xml) = must_have_agent(&domain)?;
        self.inner.host.file_systems(instance, &xml).await
    }
}

/// The running hypervisor of a guest with an agent's channel, and its definition (`qemuDomainAgentAvailable`).
fn must_have_agent(domain: &Arc<Domain>) -> Result<(Instance, String)> {
    let state = domain.state();
    let (Some(instance), Some(xml), DomainState::Running) = (state.instance(), state.live_xml(), state.run.state)
    else {
        return Err(Refusal::NotRunning.into());
    };
    if xml::domain::view(xml)?.has_agent_channel {
        Ok((instance, xml.to_owned()))
    } else {
        Err(Refusal::NoAgent.into())
    }
}

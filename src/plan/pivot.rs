//! Planning that a disk moves over to its copy (`virDomainBlockJobAbort` with PIVOT).
//!
//! ```text
//!   pause ── commit: the copy becomes the device's root ── the definitions name it ── resume
//! ```
//!
//! The guest stands still from before the switch until the store says so: whichever side a crash leaves in the definition, both hold
//! the same bytes. The old image is left as it is: snapshots may be frozen in it or have tags there.

use super::definition::{replace_image, set_image};
use super::facts::Facts;
use super::steps::{Change, Commit, LiveChange, OpKind, Plan, Prepare, ResumeWhy, Settle, SwitchBy, SwitchDisk};
use crate::error::Result;
use crate::model::block_job::BlockJob;
use crate::model::domain::DomainState;
use crate::model::ids::{DomainId, Image, Instance, OpId, SnapshotName};

/// The domain whose disk moves.
#[derive(Clone, Copy)]
pub struct PivotRequest<'a> {
    /// The journal row.
    pub op: OpId,
    /// The domain.
    pub domain: DomainId,
    /// Its state.
    pub state: DomainState,
    /// The running hypervisor.
    pub instance: Instance,
    /// Its running definition.
    pub live_xml: &'a str,
    /// Its persistent definition.
    pub inactive_xml: Option<&'a str>,
    /// The disk's image now.
    pub old: &'a Image,
    /// The copy.
    pub job: &'a BlockJob,
}

/// Decide; `facts` is about the copy.
pub fn plan(request: &PivotRequest<'_>, facts: &Facts) -> Result<Plan> {
    let PivotRequest { op, domain, instance, job, .. } = *request;
    let target = job.target.as_str();
    let live = set_image(request.live_xml, target, &job.image, facts)?;
    let inactive =
        request.inactive_xml.map(|xml| replace_image(xml, target, request.old, &job.image, facts)).transpose()?;
    let change = Change { inactive_xml: inactive, live: LiveChange::Edit { instance, xml: live }, ..Change::default() };
    let running = request.state == DomainState::Running;
    let mut settle = vec![Settle::Publish(Box::new(change))];
    if running {
        settle.push(Settle::Resume { instance, why: ResumeWhy::Unpaused });
    }
    Ok(Plan {
        op,
        kind: OpKind::Pivot,
        domain,
        snapshot: SnapshotName(String::new()),
        prepare: if running { vec![Prepare::Pause { instance }] } else { Vec::new() },
        commit: Commit::Switch {
            instance,
            disks: vec![SwitchDisk {
                target: job.target.clone(),
                old: request.old.clone(),
                overlay: job.image.clone(),
                node: job.node.clone(),
                reused: true,
                by: SwitchBy::Copy,
            }],
        },
        settle,
    })
}

//! Block jobs as libvirt's clients start them: a copy of a disk, looked at, given up, or moved to.
//!
//! Difference from libvirt, on purpose: an image that a snapshot, a definition or another domain names is not written over, also
//! not with REUSE_EXT. libvirt would, and the snapshot would be lost.

use super::domain::{Domain, State};
use super::foresee::Outlook;
use super::service::{Inner, Service};
use crate::error::{Code, Error, Result};
use crate::model::block_job::{BlockJob, DiskCopy};
use crate::model::flags;
use crate::model::ids::{DiskTarget, DomainId, Image, Instance};
use crate::model::snapshot::Memory;
use crate::plan::facts::{FileKind, ImageHeader};
use crate::plan::pivot::{self, PivotRequest};
use crate::xml;
use crate::xml::element::Document;
use crate::xml::scan::Limits;
use camino::{Utf8Path, Utf8PathBuf};
use std::sync::Arc;

/// What a copy may take, from `virDomainBlockCopy`'s typed parameters.
#[derive(Debug, Clone, Copy, Default)]
pub struct CopyLimits {
    /// Bytes per second; 0: no limit.
    pub bandwidth: u64,
    /// Bytes of one block of the bitmap; 0: the hypervisor's choice.
    pub granularity: u64,
    /// Bytes of the buffer; 0: the hypervisor's choice.
    pub buffer: u64,
}

fn busy(code: Code, disk: &str) -> Error {
    Error::new(code, format!("disk '{disk}' already in active block job"))
}

impl Service {
    /// `virDomainBlockCopy`: begun when this returns; `Domain.BlockJob` tells when it is ready.
    pub async fn block_copy(&self, id: DomainId, disk: &str, xml: &str, limits: CopyLimits, bits: u32) -> Result<()> {
        const SHALLOW: u32 = 1;
        const REUSE_EXT: u32 = 2;
        const TRANSIENT_JOB: u32 = 4;
        const SYNCHRONOUS_WRITES: u32 = 8;
        flags::none(bits & !(SHALLOW | REUSE_EXT | TRANSIENT_JOB | SYNCHRONOUS_WRITES), "qemuDomainBlockCopy")?;
        let domain = self.inner.domain(id)?;
        let _slot = domain.slot("block copy").await?;
        self.inner.finish_open_ops(&domain).await?;
        let state = domain.state();
        let (instance, target, from) = disk_of(&state, disk)?;
        if self.inner.block_jobs(&state).await?.iter().any(|j| j.target == target) {
            return Err(busy(Code::BlockCopyActive, target.as_str()));
        }
        let to = destination(xml, &from)?;
        let reuse = bits & REUSE_EXT != 0;
        let facts = self.inner.host.look(&[to.path.clone(), from.path.clone()]).await?;
        match facts.kind(&to.path) {
            FileKind::Missing if reuse => {
                return Err(Error::new(
                    Code::SystemError,
                    format!("missing destination file for disk {disk}: {}: No such file or directory", to.path),
                ));
            }
            FileKind::File(size) if *size > 0 && !reuse => {
                return Err(Error::config(format!(
                    "external destination file for disk {disk} already exists and is not a block device: {}",
                    to.path
                )));
            }
            FileKind::Missing | FileKind::File(_) | FileKind::Block => {}
            _ => return Err(Error::config(format!("'{}' is neither a file nor a block device", to.path))),
        }
        if let Some(whose) = self.inner.needs(&to.path)? {
            return Err(Error::invalid(format!("image '{}' is needed by {whose}", to.path)));
        }
        let beside = self.inner.host.overlays_beside(std::slice::from_ref(&to.path)).await?;
        let lies_on_it = |h: &ImageHeader| h.backing.as_ref() == Some(&to.path);
        let above = facts.files.iter().chain(&beside.files).find(|(_, f)| f.header.as_ref().is_some_and(lies_on_it));
        if let Some((above, _)) = above {
            return Err(Error::invalid(format!("image '{above}' lies on '{}'", to.path)));
        }
        if bits & SHALLOW != 0 && facts.header(&from.path).is_some_and(|h| h.backing.is_some()) {
            return Err(Error::unsupported(format!("a shallow copy of '{}', which has a backing file", from.path)));
        }
        let copy = DiskCopy {
            target,
            from,
            to,
            reuse,
            synchronous: bits & SYNCHRONOUS_WRITES != 0,
            bandwidth: limits.bandwidth,
            granularity: limits.granularity,
            buffer: limits.buffer,
        };
        self.inner.host.copy_disk(self.inner.store.new_op()?, instance, &copy).await
    }

    /// `virDomainBlockJobAbort`: give the job up, or with PIVOT move the disk over.
    pub async fn block_job_abort(&self, id: DomainId, disk: &str, bits: u32) -> Result<()> {
        const ASYNC: u32 = 1;
        const PIVOT: u32 = 2;
        flags::none(bits & !(ASYNC | PIVOT), "qemuDomainBlockJobAbort")?;
        let domain = self.inner.domain(id)?;
        let _slot = domain.slot("block job abort").await?;
        self.inner.finish_open_ops(&domain).await?;
        let state = domain.state();
        let (instance, target, old) = disk_of(&state, disk)?;
        let job = self.inner.block_job(&state, &target).await?;
        if bits & PIVOT == 0 {
            return self.inner.host.cancel_block_job(instance, &job).await;
        }
        if !job.ready {
            return Err(Error::new(Code::BlockCopyActive, format!("block job '{}' not ready for pivot yet", job.id)));
        }
        let request = PivotRequest {
            op: self.inner.store.new_op()?,
            domain: id,
            state: state.run.state,
            instance,
            live_xml: state.live_xml().unwrap_or_default(),
            inactive_xml: state.inactive_xml(),
            old: &old,
            job: &job,
        };
        let facts = self.inner.host.look(std::slice::from_ref(&job.image.path)).await?;
        self.inner.run(&domain, pivot::plan(&request, &facts)?).await
    }

    /// `virDomainGetBlockJobInfo`; `None` while there is no job.
    pub async fn block_job_info(&self, id: DomainId, disk: &str, bits: u32) -> Result<Option<BlockJob>> {
        const BANDWIDTH_BYTES: u32 = 1;
        flags::none(bits & !BANDWIDTH_BYTES, "qemuDomainGetBlockJobInfo")?;
        let state = self.inner.domain(id)?.state();
        let (_, target, _) = disk_of(&state, disk)?;
        Ok(self.inner.block_jobs(&state).await?.into_iter().find(|j| j.target == target))
    }

    /// `virDomainBlockJobSetSpeed`, in MiB or with the flag in bytes per second.
    pub async fn block_job_set_speed(&self, id: DomainId, disk: &str, bandwidth: u64, bits: u32) -> Result<()> {
        const BANDWIDTH_BYTES: u32 = 1;
        flags::none(bits & !BANDWIDTH_BYTES, "qemuDomainBlockJobSetSpeed")?;
        let unit = if bits & BANDWIDTH_BYTES != 0 { 1 } else { 1 << 20 };
        let most = i64::MAX.unsigned_abs() / unit;
        if bandwidth > most {
            return Err(Error::new(Code::InvalidArg, format!("bandwidth must be less than {most}")));
        }
        let domain = self.inner.domain(id)?;
        let _slot = domain.slot("block job speed").await?;
        let state = domain.state();
        let (instance, target, _) = disk_of(&state, disk)?;
        let job = self.inner.block_job(&state, &target).await?;
        self.inner.host.set_block_job_speed(instance, &job, bandwidth * unit).await
    }
}

/// The hypervisor, the disk by target or path, and its image.
fn disk_of(state: &State, disk: &str) -> Result<(Instance, DiskTarget, Image)> {
    let (Some(instance), Some(live)) = (state.instance(), state.live_xml()) else {
        return Err(Error::invalid("domain is not running"));
    };
    let unknown = || Error::new(Code::InvalidArg, format!("disk '{disk}' not found in domain"));
    let view = xml::domain::view(live)?;
    let found = view.disks.iter().find(|d| d.target == disk || d.source.as_ref().is_some_and(|s| s == disk));
    let found = found.ok_or_else(unknown)?;
    let image = found.image().ok_or_else(|| Error::invalid(format!("disk '{disk}' has no local image")))?;
    Ok((instance, DiskTarget::from(found.target.as_str()), image))
}

/// `<disk type><source file= or dev=/><driver type=/></disk>`; without a driver the format is the source's.
fn destination(xml: &str, from: &Image) -> Result<Image> {
    let document = Document::parse_root(xml, "disk", &Limits::default())?;
    let root = document.root();
    let attribute = match root.attribute("type") {
        None | Some("file") => "file",
        Some("block") => "dev",
        Some(other) => return Err(Error::unsupported(format!("a block copy to a destination of type '{other}'"))),
    };
    let path = root.child("source").and_then(|s| s.attribute(attribute)).filter(|p| !p.is_empty());
    let path = Utf8PathBuf::from(path.ok_or_else(|| {
        Error::new(Code::XmlError, format!("the destination of a block copy needs <source {attribute}=.../>"))
    })?);
    if !path.is_absolute() {
        return Err(Error::new(Code::XmlError, format!("the destination of a block copy must be absolute: {path}")));
    }
    let format = root.child("driver").and_then(|d| d.attribute("type")).unwrap_or(&from.format);
    if !matches!(format, "raw" | "qcow2") {
        return Err(Error::unsupported(format!("a block copy to an image of format '{format}'")));
    }
    Ok(Image { path, format: format.to_owned() })
}

impl Inner {
    /// The jobs of a domain; none while it is off.
    pub(super) async fn block_jobs(&self, state: &State) -> Result<Vec<BlockJob>> {
        match state.instance() {
            Some(instance) => self.host.block_jobs(instance).await,
            None => Ok(Vec::new()),
        }
    }

    /// Those of a domain as it will be: a hypervisor that is not there yet has none.
    pub(super) async fn foreseen_block_jobs(&self, outlook: &Outlook) -> Result<Vec<BlockJob>> {
        if outlook.is_now() { self.block_jobs(&outlook.state).await } else { Ok(Vec::new()) }
    }

    async fn block_job(&self, state: &State, target: &DiskTarget) -> Result<BlockJob> {
        let none = || Error::new(Code::InvalidArg, format!("disk {target} does not have an active block job"));
        self.block_jobs(state).await?.into_iter().find(|j| j.target == *target).ok_or_else(none)
    }

    /// Libvirt's answer to an operation that no job may meet.
    pub(super) async fn refuse_block_jobs(&self, outlook: &Outlook, code: Code) -> Result<()> {
        match self.foreseen_block_jobs(outlook).await?.is_empty() {
            true => Ok(()),
            false => Err(Error::new(code, "domain has active block job")),
        }
    }

    /// Who needs the image at `path` as it is.
    fn needs(&self, path: &Utf8Path) -> Result<Option<String>> {
        for domain in self.all() {
            if let Some(whose) = needs(&domain, path)? {
                return Ok(Some(whose));
            }
        }
        Ok(None)
    }
}

fn needs(domain: &Arc<Domain>, path: &Utf8Path) -> Result<Option<String>> {
    let state = domain.state();
    if state.images()?.iter().any(|(_, image)| image.path == path) {
        return Ok(Some(format!("domain '{}'", state.row.name)));
    }
    let named = state.tree.iter().find(|s| {
        s.frozen.iter().any(|f| f.image.as_ref().is_some_and(|i| i.path == path))
            || s.disks.iter().chain(&s.revert_disks).any(|d| d.source.as_deref() == Some(path))
            || matches!(&s.memory, Memory::External(file) if file == path)
    });
    Ok(named.map(|s| format!("snapshot '{}' of domain '{}'", s.name, state.row.name)))
}

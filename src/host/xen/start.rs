//! Starting a domain, paused, and proving that it has what its definition says; ending one.
//!
//! ```text
//!   nobody has its images ─▶ configuration ─▶ noted ─▶ xl create/restore -p ─▶ marked ─▶ every disk attached
//!            └──────────────────┴───────────────┴──────────────┴──────────────────┴── fails ─▶ destroyed
//! ```
//!
//! Must not know: plans.

use super::guests::{Phase, Starter, mark};
use super::writers::{self, Except};
use super::{XenHost, config, qdisk, xenstore, xl};
use crate::error::{Error, Result};
use crate::host::images::same_file;
use crate::model::domain::Runtime;
use crate::model::ids::Instance;
use crate::plan::steps::{MemorySource, Start};
use crate::xml::domain::{self, DiskView, DomainView};
use camino::Utf8PathBuf;
use std::time::{Duration, Instant};

/// How long a disk may take until it is attached.
const ATTACHED: Duration = Duration::from_secs(10);
/// How long a destroyed domain may take until it is gone.
const GONE: Duration = Duration::from_secs(30);

impl XenHost {
    pub(super) async fn launch(&self, start: &Start) -> Result<Runtime> {
        // It exists only if an earlier attempt was cut short; it never ran.
        self.end(start.instance).await?;
        let view = domain::view(&start.xml)?;
        let written: Vec<_> = written(&view).collect();
        writers::prove_none(&written, Except::default()).await?;
        let text = config::to_config(&start.xml)?.to_string();
        self.guests.expect(start.domain, start.instance)?;
        let started = self.launch_with(start, &view, &text).await;
        if started.is_err()
            && let Err(error) = self.end(start.instance).await
        {
            tracing::warn!(%error, "cannot end a domain that did not start");
        }
        started
    }

    async fn launch_with(&self, start: &Start, view: &DomainView, text: &str) -> Result<Runtime> {
        let file = self.config_file(start.instance);
        let failed = |e: std::io::Error| Error::system(format!("cannot write '{file}'"), &e);
        write_private(&file, text).map_err(failed)?;
        let done = match &start.memory {
            MemorySource::Boot => xl::create(&file).await,
            MemorySource::File(memory) => xl::restore(&file, memory).await,
            MemorySource::Tag(tag) => Err(Error::internal(format!("no image holds the memory of '{tag}' on Xen"))),
        };
        done?;
        let listed = xl::list().await?.into_iter().find(|l| l.uuid == start.domain.0 && !l.dying);
        let domid =
            listed.ok_or_else(|| Error::failed(format!("domain '{}' is not there after its start", view.name)))?.domid;
        self.guests.here(start.domain, start.instance, domid, Starter::We).await?;
        self.check_attached(start.instance, domid, view).await?;
        tracing::info!(domain = %view.name, domid, "started");
        Ok(runtime(domid).await)
    }

    /// `xl` exits 0 for a domain that runs without its disk.
    async fn check_attached(&self, instance: Instance, domid: u32, view: &DomainView) -> Result<()> {
        let begun = Instant::now();
        loop {
            let Some(missing) = self.missing_disk(instance, domid, view).await else { return Ok(()) };
            if begun.elapsed() > ATTACHED {
                let image = missing.source.as_ref().map(ToString::to_string).unwrap_or_default();
                return Err(Error::failed(format!(
                    "disk '{}' ({image}) of domain '{}' was not attached: xl started the domain without it",
                    missing.target, view.name
                )));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// A disk that is not attached. The guest has not run, so its own side says nothing.
    async fn missing_disk<'v>(&self, instance: Instance, domid: u32, view: &'v DomainView) -> Option<&'v DiskView> {
        let tree = xenstore::tree("/local/domain/0/backend").await;
        let qdisk = self.qdisks.of(&self.guests, instance).await;
        let open = match &qdisk {
            Some(qemu) => qdisk::attached(qemu).await.unwrap_or_default(),
            None => Vec::new(),
        };
        view.disks.iter().filter(|d| d.source.is_some()).find(|disk| {
            let Some(backend) = backend(&tree, domid, &disk.target) else { return true };
            let has = |key: &str| tree.iter().any(|(k, v)| *k == format!("{backend}/{key}") && !v.is_empty());
            if backend.contains("/qdisk/") {
                !disk.source.as_ref().is_some_and(|s| open.iter().any(|o| same_file(o, s)))
            } else {
                !has("physical-device")
            }
        })
    }

    /// End it and forget it; fine if there is none.
    pub(super) async fn end(&self, instance: Instance) -> Result<()> {
        let here = self.guests.get(instance).filter(|g| g.phase == Phase::Here).map(|g| g.domid);
        let marked = match here {
            Some(domid) => mark(domid).await.filter(|m| m.instance == instance).and(here),
            None => None,
        };
        let domid = match marked {
            Some(domid) => Some(domid),
            None => self.guests.locate(instance).await?.map(|l| l.domid),
        };
        self.guests.change(instance, |g| g.phase = Phase::Ending);
        if let Some(domid) = domid {
            let done = xl::destroy(domid).await;
            // Its name and its images stay taken until it is really gone; it may also have gone by itself.
            let begun = Instant::now();
            while let Some(listed) = self.guests.locate(instance).await?.filter(|l| l.domid == domid) {
                if !listed.dying && done.is_err() {
                    self.guests.change(instance, |g| g.phase = Phase::Here);
                    return done;
                }
                if begun.elapsed() > GONE {
                    return Err(Error::failed(format!("domain {domid} does not go away")));
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        self.guests.forget(instance);
        let _ = std::fs::remove_file(self.config_file(instance));
        Ok(())
    }

    fn config_file(&self, instance: Instance) -> Utf8PathBuf {
        self.settings.runtime_dir.join(format!("{instance}.cfg"))
    }
}

/// A configuration may hold passwords.
fn write_private(path: &Utf8PathBuf, text: &str) -> std::io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    let mut file = std::fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())
}

/// The images that the guest may write to.
pub(super) fn written(view: &DomainView) -> impl Iterator<Item = &camino::Utf8Path> {
    let disks = view.disks.iter().filter(|d| !d.readonly && !d.shareable);
    disks.filter_map(|d| d.source.as_deref())
}

/// Where the backend of a domain's disk is in xenstore.
pub(super) fn backend<'t>(tree: &'t [(String, String)], domid: u32, target: &str) -> Option<&'t str> {
    let owner = format!("/{domid}/");
    let dev = tree.iter().find(|(k, v)| v == target && k.ends_with("/dev") && k.contains(&owner));
    dev.and_then(|(k, _)| k.strip_suffix("/dev"))
}

/// What only a running domain knows.
pub(super) async fn runtime(domid: u32) -> Runtime {
    let tty = xenstore::read(&format!("/local/domain/{domid}/console/tty")).await;
    Runtime {
        memory: None,
        pid: qdisk::pid(domid).await.unwrap_or_default(),
        number: i32::try_from(domid).ok(),
        ttys: tty.into_iter().collect(),
        vnc_ports: Vec::new(),
    }
}

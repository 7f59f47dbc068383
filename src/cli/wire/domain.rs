//! `org.libvirt.Domain`.

use super::super::failure::Failure;
use super::{Bus, CallError, Snapshot};
use crate::error::Code;
use serde::Serialize;
use serde::de::DeserializeOwned;
use zbus::{DynamicType, OwnedObjectPath, OwnedVariant, Type};

const DOMAIN: &str = "org.libvirt.Domain";
/// virsnap's own: what libvirt-dbus has no call for.
pub(super) const SNAPSHOTS: &str = "org.virsnap.Snapshots1";

/// One domain of the service.
#[derive(Debug)]
pub struct Domain<'b> {
    pub(super) bus: &'b Bus,
    pub(super) path: OwnedObjectPath,
}

/// By what a domain may be named on the command line; differs between virsh's commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct By {
    /// Its number while it runs.
    pub id: bool,
    /// Its UUID.
    pub uuid: bool,
    /// Its name.
    pub name: bool,
}

/// `GetJobInfo`: the type (0 none, 1 bounded, 2 unbounded), then times and amounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobInfo {
    /// Whether a job runs.
    pub active: bool,
    /// Milliseconds since it began.
    pub elapsed_ms: u64,
    /// Bytes in all; 0 while unknown.
    pub total: u64,
    /// Bytes done.
    pub done: u64,
}

/// A snapshot's record that somebody else wrote and that was not taken in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignRecord {
    /// The name in it, or of its file.
    pub name: String,
    /// Its file.
    pub file: String,
    /// Why it was left alone.
    pub reason: String,
}

impl<'b> Domain<'b> {
    pub(super) fn new(bus: &'b Bus, path: OwnedObjectPath) -> Self {
        Self { bus, path }
    }

    /// As virsh finds it: a number is an id first, 36 characters may be a UUID, anything may be a name.
    pub async fn find(bus: &'b Bus, domain: &str, by: By) -> Result<Self, Failure> {
        let nobody = || format!("failed to get domain '{domain}'");
        let mut found = None;
        if by.id
            && let Some(id) = domain.parse::<i32>().ok().filter(|id| *id >= 0)
        {
            found = found_or_none(bus.connect_call("DomainLookupByID", &id).await)?;
        }
        if found.is_none() && by.uuid && domain.len() == 36 {
            found = found_or_none(bus.connect_call("DomainLookupByUUID", &domain).await)?;
        }
        if found.is_none() && by.name {
            found = match bus.connect_call("DomainLookupByName", &domain).await {
                // virsh does not repeat the obvious, but says why it could not even ask.
                Err(cause @ CallError::Libvirt(_)) if !cause.is(Code::NoDomain) => {
                    return Err(Failure::behind(nobody(), cause));
                }
                answer => found_or_none(answer)?,
            };
        }
        found.map(|path| Self::new(bus, path)).ok_or_else(|| Failure::new(nobody()))
    }

    /// Calls a method.
    pub async fn call<B, R>(&self, member: &str, body: &B) -> Result<R, CallError>
    where
        B: Serialize + DynamicType,
        R: DeserializeOwned + Type,
    {
        self.bus.call(self.path.as_str(), DOMAIN, member, body).await
    }

    async fn property<R: TryFrom<OwnedVariant>>(&self, property: &str) -> Result<R, CallError> {
        self.bus.property(self.path.as_str(), DOMAIN, property).await
    }

    /// Its name.
    pub async fn name(&self) -> Result<String, CallError> {
        self.property("Name").await
    }
    /// Its UUID.
    pub async fn uuid(&self) -> Result<String, CallError> {
        self.property("UUID").await
    }
    /// Its number while it runs. libvirt-dbus answers C's -1 as an unsigned number for one that does not.
    pub async fn id(&self) -> Result<Option<u32>, CallError> {
        let id: u32 = self.property("Id").await?;
        Ok(if id == u32::MAX || id == 0 { None } else { Some(id) })
    }
    /// A property that is a flag: `Active`, `Persistent`, `Autostart`.
    pub async fn is(&self, property: &str) -> Result<bool, CallError> {
        self.property(property).await
    }
    /// `OSType`.
    pub async fn os_type(&self) -> Result<String, CallError> {
        self.property("OSType").await
    }
    /// State and reason.
    pub async fn state(&self) -> Result<(i32, i32), CallError> {
        let (state,): ((i32, i32),) = self.call("GetState", &0_u32).await?;
        Ok(state)
    }
    /// Its document.
    pub async fn xml(&self, flags: u32) -> Result<String, CallError> {
        self.call("GetXMLDesc", &flags).await
    }
    /// Whether a managed-save image exists.
    pub async fn has_managed_save(&self) -> Result<bool, CallError> {
        self.call("HasManagedSaveImage", &0_u32).await
    }
    /// Its title; empty without one.
    pub async fn title(&self) -> String {
        const VIR_DOMAIN_METADATA_TITLE: i32 = 1;
        self.call("GetMetadata", &(VIR_DOMAIN_METADATA_TITLE, "", 0_u32)).await.unwrap_or_default()
    }
    /// Sets `Autostart`.
    pub async fn set_autostart(&self, on: bool) -> Result<(), CallError> {
        let value = zbus::Variant::from(on);
        self.bus.call(self.path.as_str(), super::PROPERTIES, "Set", &(DOMAIN, "Autostart", value)).await
    }
    /// How far its running job is.
    pub async fn job(&self) -> Result<JobInfo, CallError> {
        // type, elapsed, remaining, then total/done/remaining of data, memory and files.
        type Info = (i32, u64, u64, u64, u64, u64, u64, u64, u64, u64, u64, u64);
        let (info,): (Info,) = self.call("GetJobInfo", &()).await?;
        Ok(JobInfo { active: info.0 != 0, elapsed_ms: info.1, total: info.3, done: info.4 })
    }

    /// Takes or redefines a snapshot.
    pub async fn create_snapshot(&self, xml: &str, flags: u32) -> Result<Snapshot<'b>, CallError> {
        Snapshot::new(self.bus, self.call("SnapshotCreateXML", &(xml, flags)).await?)
    }
    /// Gives a snapshot another name, its children and files kept; not every service can.
    pub async fn rename_snapshot(&self, from: &str, to: &str) -> Result<Snapshot<'b>, CallError> {
        let path = self.bus.call(self.path.as_str(), SNAPSHOTS, "Rename", &(from, to, 0_u32)).await?;
        Snapshot::new(self.bus, path)
    }
    /// The snapshot of that name.
    pub async fn snapshot(&self, name: &str) -> Result<Snapshot<'b>, CallError> {
        Snapshot::new(self.bus, self.call("SnapshotLookupByName", &(name, 0_u32)).await?)
    }
    /// The current one.
    pub async fn current_snapshot(&self) -> Result<Snapshot<'b>, CallError> {
        Snapshot::new(self.bus, self.call("SnapshotCurrent", &0_u32).await?)
    }
    /// Those that pass `virDomainSnapshotListFlags`.
    pub async fn snapshots(&self, flags: u32) -> Result<Vec<Snapshot<'b>>, CallError> {
        let paths: Vec<OwnedObjectPath> = self.call("ListDomainSnapshots", &flags).await?;
        paths.into_iter().map(|path| Snapshot::new(self.bus, path)).collect()
    }
    /// The records beside its snapshots that are not the service's; a service that keeps none has none.
    pub async fn foreign_records(&self) -> Result<Vec<ForeignRecord>, CallError> {
        let answer = self.bus.call(self.path.as_str(), SNAPSHOTS, "ListForeign", &0_u32).await;
        let found: Vec<(String, String, String)> = match answer {
            Err(CallError::NotOffered(_)) => Vec::new(),
            answer => answer?,
        };
        Ok(found.into_iter().map(|(name, file, reason)| ForeignRecord { name, file, reason }).collect())
    }
}

fn found_or_none(answer: Result<OwnedObjectPath, CallError>) -> Result<Option<OwnedObjectPath>, Failure> {
    match answer {
        Ok(path) => Ok(Some(path)),
        Err(CallError::Libvirt(_)) => Ok(None),
        Err(cause) => Err(cause.into()),
    }
}

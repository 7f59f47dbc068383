//! A D-Bus client of libvirt-dbus's interfaces, in the words of the tests.

use super::PATIENCE;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use zbus::{DynamicType, OwnedObjectPath, OwnedVariant, Type};

pub const CONNECT: &str = "org.libvirt.Connect";
pub const DOMAIN: &str = "org.libvirt.Domain";
pub const SNAPSHOT: &str = "org.libvirt.DomainSnapshot";

/// The flags that the tests use, by libvirt's names.
pub mod flag {
    pub const REDEFINE: u32 = 0x1;
    pub const CURRENT: u32 = 0x2;
    pub const NO_METADATA: u32 = 0x4;
    pub const HALT: u32 = 0x8;
    pub const DISK_ONLY: u32 = 0x10;
    pub const REUSE_EXT: u32 = 0x20;
    pub const QUIESCE: u32 = 0x40;
    pub const ATOMIC: u32 = 0x80;
    pub const LIVE: u32 = 0x100;
    pub const VALIDATE: u32 = 0x200;

    pub const REVERT_RUNNING: u32 = 0x1;
    pub const REVERT_PAUSED: u32 = 0x2;
    pub const REVERT_FORCE: u32 = 0x4;

    pub const CHILDREN: u32 = 0x1;
    pub const METADATA_ONLY: u32 = 0x2;
    pub const CHILDREN_ONLY: u32 = 0x4;

    pub const SNAPSHOTS_METADATA: u32 = 0x2;
    pub const UNDEFINE_MANAGED_SAVE: u32 = 0x1;
    pub const START_PAUSED: u32 = 0x1;
    pub const FORCE_BOOT: u32 = 0x8;
    pub const SAVE_RUNNING: u32 = 0x2;
    pub const SAVE_PAUSED: u32 = 0x4;
    pub const XML_INACTIVE: u32 = 0x2;
    pub const LIST_TOPOLOGICAL: u32 = 0x400;
}

/// An error as it comes over the bus.
#[derive(Debug, Clone)]
pub struct Failure {
    pub name: String,
    pub text: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.text)
    }
}

impl From<zbus::Error> for Failure {
    fn from(error: zbus::Error) -> Self {
        match &error {
            zbus::Error::MethodError(name, text, _) => {
                Self { name: name.to_string(), text: text.clone().unwrap_or_default() }
            }
            zbus::Error::FDO(fdo) => {
                let text = fdo.to_string();
                Self { name: text.split(':').next().unwrap_or_default().to_owned(), text }
            }
            other => Self { name: "zbus".into(), text: other.to_string() },
        }
    }
}

/// "This call must be refused, with this in the text."
pub trait Refused {
    fn refused(self, text: &str);
}

impl<T: fmt::Debug> Refused for Result<T, Failure> {
    #[track_caller]
    fn refused(self, text: &str) {
        let failure = self.expect_err(&format!("should have been refused: {text}"));
        assert_eq!(failure.name, "org.libvirt.Error", "{failure}");
        assert!(failure.text.contains(text), "wanted {text:?}, got {:?}", failure.text);
    }
}

/// What a guest had said when it was last reverted, and the QEMU that it said it in.
#[derive(Debug, Clone)]
struct Said {
    file: PathBuf,
    bytes: usize,
    hypervisors: Vec<u32>,
    /// The processes that have the file on their command line.
    find: fn(&Path) -> Vec<u32>,
}

/// One connection to a bus, on which a daemon serves a driver.
#[derive(Debug, Clone)]
pub struct Client {
    pub connection: zbus::Connection,
    /// The name of the daemon.
    pub service: String,
    /// The object of the driver.
    pub root: String,
    /// Of each domain, by the leaf of its object.
    said: Arc<Mutex<HashMap<String, Said>>>,
}

impl Client {
    /// To the daemon that serves QEMU under libvirt's name.
    pub async fn connect(address: &str) -> Self {
        Self::to(address, "org.libvirt", "QEMU").await
    }

    /// To a daemon of any name and its driver, named as in object paths.
    pub async fn to(address: &str, service: &str, driver: &str) -> Self {
        let connection =
            zbus::connection::Builder::address(address).build().await.expect("the test's bus accepts connections");
        Self { connection, service: service.to_owned(), root: format!("/org/libvirt/{driver}"), said: Arc::default() }
    }

    /// A guest of this domain says what it says in this file.
    pub fn listens(&self, domain: &str, file: PathBuf, find: fn(&Path) -> Vec<u32>) {
        let leaf = domain.rsplit('/').next().unwrap().to_owned();
        self.said.lock().unwrap().insert(leaf, Said { file, bytes: 0, hypervisors: Vec::new(), find });
    }

    /// How many bytes the guest had said when it was last reverted, if its QEMU has stayed since.
    pub fn said(&self, domain: &str) -> Option<usize> {
        let leaf = domain.rsplit('/').next().unwrap();
        let said = self.said.lock().unwrap().get(leaf)?.clone();
        (!said.hypervisors.is_empty() && said.hypervisors == (said.find)(&said.file)).then_some(said.bytes)
    }

    fn reverts(&self, snapshot: &str) {
        let leaf = &snapshot.rsplit('/').next().unwrap()[..37];
        if let Some(said) = self.said.lock().unwrap().get_mut(leaf) {
            said.bytes = std::fs::read(&said.file).map_or(0, |bytes| bytes.len());
            said.hypervisors = (said.find)(&said.file);
        }
    }

    /// Whether the daemon is on the bus; `None`: the bus did not say.
    pub async fn is_served(&self) -> Option<bool> {
        const BUS: &str = "org.freedesktop.DBus";
        let path = "/org/freedesktop/DBus";
        let name = (self.service.as_str(),);
        let asked = self.connection.call_method(Some(BUS), path, Some(BUS), "NameHasOwner", &name);
        asked.await.ok()?.body().deserialize().ok()
    }

    pub async fn call<R, B>(&self, path: &str, interface: &str, method: &str, body: &B) -> Result<R, Failure>
    where
        R: DeserializeOwned + Type,
        B: Serialize + DynamicType,
    {
        let call = self.connection.call_method(Some(self.service.as_str()), path, Some(interface), method, body);
        let reply = tokio::time::timeout(PATIENCE * 2, call)
            .await
            .unwrap_or_else(|_| panic!("{interface}.{method} gave no answer"))?;
        // An empty body and `()` have the same signature here, and one struct is not spread.
        Ok(reply.body().deserialize_ignore_signature::<R>()?)
    }

    pub async fn connect_call<R, B>(&self, method: &str, body: &B) -> Result<R, Failure>
    where
        R: DeserializeOwned + Type,
        B: Serialize + DynamicType,
    {
        self.call(&self.root, CONNECT, method, body).await
    }

    pub async fn define(&self, xml: &str) -> Result<Domain, Failure> {
        let path: OwnedObjectPath = self.connect_call("DomainDefineXML", &(xml,)).await?;
        Ok(Domain { client: self.clone(), path: path.to_string() })
    }

    pub async fn create_transient(&self, xml: &str, flags: u32) -> Result<Domain, Failure> {
        let path: OwnedObjectPath = self.connect_call("DomainCreateXML", &(xml, flags)).await?;
        Ok(Domain { client: self.clone(), path: path.to_string() })
    }

    pub async fn lookup(&self, name: &str) -> Result<Domain, Failure> {
        let path: OwnedObjectPath = self.connect_call("DomainLookupByName", &(name,)).await?;
        Ok(Domain { client: self.clone(), path: path.to_string() })
    }

    pub async fn list(&self, flags: u32) -> Result<Vec<OwnedObjectPath>, Failure> {
        self.connect_call("ListDomains", &(flags,)).await
    }
}

/// `org.libvirt.Domain`.
#[derive(Debug, Clone)]
pub struct Domain {
    pub client: Client,
    pub path: String,
}

impl Domain {
    pub async fn call<R, B>(&self, method: &str, body: &B) -> Result<R, Failure>
    where
        R: DeserializeOwned + Type,
        B: Serialize + DynamicType,
    {
        self.client.call(&self.path, DOMAIN, method, body).await
    }

    pub async fn create(&self, flags: u32) -> Result<(), Failure> {
        self.call("Create", &(flags,)).await
    }

    pub async fn destroy(&self) -> Result<(), Failure> {
        self.call("Destroy", &(0u32,)).await
    }

    pub async fn managed_save(&self, flags: u32) -> Result<(), Failure> {
        self.call("ManagedSave", &(flags,)).await
    }

    pub async fn managed_save_remove(&self) -> Result<(), Failure> {
        self.call("ManagedSaveRemove", &(0u32,)).await
    }

    pub async fn has_managed_save(&self) -> bool {
        let (there,): (bool,) = self.call("HasManagedSaveImage", &(0u32,)).await.unwrap();
        there
    }

    pub async fn suspend(&self) -> Result<(), Failure> {
        self.call("Suspend", &()).await
    }

    pub async fn resume(&self) -> Result<(), Failure> {
        self.call("Resume", &()).await
    }

    pub async fn shutdown(&self) -> Result<(), Failure> {
        self.call("Shutdown", &(0u32,)).await
    }

    pub async fn reset(&self) -> Result<(), Failure> {
        self.call("Reset", &(0u32,)).await
    }

    pub async fn undefine(&self, flags: u32) -> Result<(), Failure> {
        self.call("Undefine", &(flags,)).await
    }

    pub async fn xml(&self, flags: u32) -> Result<String, Failure> {
        self.call("GetXMLDesc", &(flags,)).await
    }

    /// State and reason.
    pub async fn state(&self) -> Result<(i32, i32), Failure> {
        // The single result is a struct.
        let ((state, reason),): ((i32, i32),) = self.call("GetState", &(0u32,)).await?;
        Ok((state, reason))
    }

    pub async fn property(&self, name: &str) -> Result<OwnedVariant, Failure> {
        self.client.call(&self.path, "org.freedesktop.DBus.Properties", "Get", &(DOMAIN, name)).await
    }

    pub async fn set_autostart(&self, on: bool) -> Result<(), Failure> {
        let body = (DOMAIN, "Autostart", zbus::Variant::from(on));
        self.client.call(&self.path, "org.freedesktop.DBus.Properties", "Set", &body).await
    }

    pub async fn snapshot_create(&self, xml: &str, flags: u32) -> Result<Snapshot, Failure> {
        let path: OwnedObjectPath = self.call("SnapshotCreateXML", &(xml, flags)).await?;
        Ok(self.snapshot_at(path))
    }

    pub async fn snapshot(&self, name: &str) -> Result<Snapshot, Failure> {
        let path: OwnedObjectPath = self.call("SnapshotLookupByName", &(name, 0u32)).await?;
        Ok(self.snapshot_at(path))
    }

    pub async fn current(&self) -> Result<Snapshot, Failure> {
        let path: OwnedObjectPath = self.call("SnapshotCurrent", &(0u32,)).await?;
        Ok(self.snapshot_at(path))
    }

    pub async fn snapshots(&self, flags: u32) -> Result<Vec<Snapshot>, Failure> {
        let paths: Vec<OwnedObjectPath> = self.call("ListDomainSnapshots", &(flags,)).await?;
        Ok(paths.into_iter().map(|path| self.snapshot_at(path)).collect())
    }

    /// The names of all snapshots, sorted.
    pub async fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = self.snapshots(0).await.unwrap().iter().map(Snapshot::name).collect();
        names.sort();
        names
    }

    fn snapshot_at(&self, path: OwnedObjectPath) -> Snapshot {
        Snapshot { client: self.client.clone(), path: path.to_string() }
    }
}

/// `org.libvirt.DomainSnapshot`.
#[derive(Debug, Clone)]
pub struct Snapshot {
    pub client: Client,
    pub path: String,
}

impl Snapshot {
    async fn call<R, B>(&self, method: &str, body: &B) -> Result<R, Failure>
    where
        R: DeserializeOwned + Type,
        B: Serialize + DynamicType,
    {
        self.client.call(&self.path, SNAPSHOT, method, body).await
    }

    pub async fn xml(&self) -> Result<String, Failure> {
        self.xml_with(0).await
    }

    pub async fn xml_with(&self, flags: u32) -> Result<String, Failure> {
        self.call("GetXMLDesc", &(flags,)).await
    }

    pub async fn revert(&self, flags: u32) -> Result<(), Failure> {
        self.client.reverts(&self.path);
        self.call("Revert", &(flags,)).await
    }

    pub async fn delete(&self, flags: u32) -> Result<(), Failure> {
        self.call("Delete", &(flags,)).await
    }

    pub async fn is_current(&self) -> Result<bool, Failure> {
        self.call("IsCurrent", &(0u32,)).await
    }

    pub async fn parent(&self) -> Result<Self, Failure> {
        let path: OwnedObjectPath = self.call("GetParent", &(0u32,)).await?;
        Ok(Self { client: self.client.clone(), path: path.to_string() })
    }

    pub async fn children(&self, flags: u32) -> Result<Vec<Self>, Failure> {
        let paths: Vec<OwnedObjectPath> = self.call("ListChildren", &(flags,)).await?;
        Ok(paths.into_iter().map(|p| Self { client: self.client.clone(), path: p.to_string() }).collect())
    }

    /// The name, decoded from the path as libvirt-dbus's clients do.
    pub fn name(&self) -> String {
        let leaf = self.path.rsplit('/').next().unwrap();
        let mut encoded = leaf.as_bytes()[38..].iter();
        let mut name = Vec::new();
        while let Some(&byte) = encoded.next() {
            if byte == b'_' {
                let hex = [*encoded.next().unwrap(), *encoded.next().unwrap()];
                name.push(u8::from_str_radix(std::str::from_utf8(&hex).unwrap(), 16).unwrap());
            } else {
                name.push(byte);
            }
        }
        String::from_utf8(name).unwrap()
    }
}

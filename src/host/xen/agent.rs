//! The guest agent's channel: a console of the guest whose other end is a socket or a terminal of its device model.
//!
//! ```text
//!   /local/domain/0/backend/console/<domid>/<n>/{name, connection, path}     what libxl was told
//!   /local/domain/<domid>/device/console/<n>/{state, tty}                    whether the guest has a driver for it; a pty's path
//! ```
//!
//! Must not know: what is asked of the agent.

use super::guests::{Guests, Phase};
use super::xenstore;
use crate::host::agent::{Agent, AgentError, Channel, Connection, Mounted, NAME, terminal, unix};
use crate::model::file_system::FileSystem;
use crate::model::ids::{DiskTarget, Instance};
use crate::xml::domain::DomainView;
use async_trait::async_trait;
use camino::Utf8PathBuf;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// xenbus's number of a device that both ends serve.
const CONNECTED: &str = "4";

/// The agents of the guests that were asked for one.
#[derive(Debug, Default)]
pub(super) struct Agents(Mutex<HashMap<Instance, Arc<Agent>>>);

impl Agents {
    /// The agent of that start.
    pub(super) fn of(&self, guests: &Arc<Guests>, instance: Instance) -> Arc<Agent> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|i, _| *i == instance || guests.get(*i).is_some());
        let new = || {
            let channel = XenChannel { guests: Arc::clone(guests), instance };
            Agent::new(Box::new(channel), guests.thaw_note(instance))
        };
        Arc::clone(all.entry(instance).or_insert_with(new))
    }
}

struct XenChannel {
    guests: Arc<Guests>,
    instance: Instance,
}

#[async_trait]
impl Channel for XenChannel {
    async fn open(&self) -> Result<Connection, AgentError> {
        let guest = self.guests.get(self.instance).filter(|g| g.phase == Phase::Here).ok_or(AgentError::GuestGone)?;
        let domid = guest.domid;
        let backends = xenstore::tree(&format!("/local/domain/0/backend/console/{domid}")).await;
        let devices = xenstore::tree(&format!("/local/domain/{domid}/device/console")).await;
        match end(&backends, &devices).ok_or(AgentError::NotConnected)? {
            End::Socket(path) => unix(&path).await,
            End::Terminal(path) => terminal(&path),
        }
    }
}

/// Our end of a channel.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Socket(Utf8PathBuf),
    Terminal(Utf8PathBuf),
}

/// Our end of the agent's channel, if the guest serves its own.
fn end(backends: &[(String, String)], devices: &[(String, String)]) -> Option<End> {
    let named = |(key, value): &&(String, String)| value == NAME && key.ends_with("/name");
    let backend = backends.iter().find(named)?.0.strip_suffix("/name")?;
    let number = backend.rsplit('/').next()?;
    let value = |tree: &[(String, String)], key: &str| {
        let found = tree.iter().find(|(k, v)| k.ends_with(key) && !v.is_empty());
        found.map(|(_, v)| v.clone())
    };
    let told = |key: &str| value(backends, &format!("/{number}/{key}"));
    let device = |key: &str| value(devices, &format!("/console/{number}/{key}"));
    if device("state").as_deref() != Some(CONNECTED) {
        return None;
    }
    match told("connection")?.as_str() {
        "socket" => told("path").map(|p| End::Socket(p.into())),
        "pty" => device("tty").map(|t| End::Terminal(t.into())),
        _ => None,
    }
}

/// What the guest has mounted. Its name of a disk is the definition's, and may be followed by that of a partition.
pub(super) fn on_disks(mounted: Vec<Mounted>, view: &DomainView) -> Vec<FileSystem> {
    let target = |device: &str| {
        let name = device.strip_prefix("/dev/")?;
        let is_of = |target: &str| {
            let partition = name.strip_prefix(target);
            partition.is_some_and(|p| p.bytes().all(|b| b.is_ascii_digit()))
        };
        view.disks.iter().find(|d| is_of(&d.target)).map(|d| DiskTarget(d.target.clone()))
    };
    let system = |m: Mounted| FileSystem {
        mountpoint: m.mountpoint,
        name: m.name,
        kind: m.kind,
        disks: m.disks.iter().filter_map(|d| target(d.device.as_deref()?)).collect(),
    };
    mounted.into_iter().map(system).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    type Tree = Vec<(String, String)>;

    fn tree(lines: &[(&str, &str)]) -> Tree {
        lines.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    /// A domain with the agent's channel, its second console.
    fn trees(connection: &str, state: &str) -> (Tree, Tree) {
        let backends = [
            ("/local/domain/0/backend/console/3/0/state", "4"),
            ("/local/domain/0/backend/console/3/1/name", "org.example.other"),
            ("/local/domain/0/backend/console/3/1/connection", "pty"),
            ("/local/domain/0/backend/console/3/2/name", NAME),
            ("/local/domain/0/backend/console/3/2/connection", connection),
            ("/local/domain/0/backend/console/3/2/path", "/run/agent.sock"),
        ];
        let devices = [
            ("/local/domain/3/device/console/1/state", "4"),
            ("/local/domain/3/device/console/1/tty", "/dev/pts/1"),
            ("/local/domain/3/device/console/2/state", state),
            ("/local/domain/3/device/console/2/tty", "/dev/pts/2"),
        ];
        (tree(&backends), tree(&devices))
    }

    #[test]
    fn a_channel_is_found_by_its_name() {
        let (backends, devices) = trees("socket", "4");
        assert_eq!(end(&backends, &devices), Some(End::Socket("/run/agent.sock".into())));
        let (backends, devices) = trees("pty", "4");
        assert_eq!(end(&backends, &devices), Some(End::Terminal("/dev/pts/2".into())));
    }

    #[test]
    fn a_channel_without_a_driver_in_the_guest_is_not_connected() {
        let (backends, devices) = trees("socket", "1");
        assert_eq!(end(&backends, &devices), None);
    }
}

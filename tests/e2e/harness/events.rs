//! Everything that the daemon signals, from the moment one begins to listen.

use super::{Client, eventually};
use futures_util::StreamExt;
use std::sync::{Arc, Mutex};

use zbus::{MatchRule, MessageStream, OwnedObjectPath};

/// `virDomainEventType`, with the details that the tests look at.
pub mod event {
    pub const DEFINED_FROM_SNAPSHOT: (i32, i32) = (0, 3);
    pub const UNDEFINED: (i32, i32) = (1, 0);
    pub const STARTED_BOOTED: (i32, i32) = (2, 0);
    pub const STARTED_RESTORED: (i32, i32) = (2, 2);
    pub const STARTED_FROM_SNAPSHOT: (i32, i32) = (2, 3);
    pub const SUSPENDED_PAUSED: (i32, i32) = (3, 0);
    pub const SUSPENDED_RESTORED: (i32, i32) = (3, 4);
    pub const SUSPENDED_FROM_SNAPSHOT: (i32, i32) = (3, 5);
    pub const SUSPENDED_IOERROR: (i32, i32) = (3, 2);
    pub const RESUMED_UNPAUSED: (i32, i32) = (4, 0);
    pub const RESUMED_FROM_SNAPSHOT: (i32, i32) = (4, 2);
    pub const STOPPED_SHUTDOWN: (i32, i32) = (5, 0);
    pub const STOPPED_DESTROYED: (i32, i32) = (5, 1);
    pub const STOPPED_CRASHED: (i32, i32) = (5, 2);
    pub const STOPPED_SAVED: (i32, i32) = (5, 4);
    pub const STOPPED_FAILED: (i32, i32) = (5, 5);
    pub const STOPPED_FROM_SNAPSHOT: (i32, i32) = (5, 6);
    pub const SHUTDOWN_HOST: (i32, i32) = (6, 2);
    pub const SHUTDOWN_GUEST: (i32, i32) = (6, 1);
}

pub struct Events {
    seen: Arc<Mutex<Vec<(String, zbus::Message)>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Events {
    pub async fn listen(client: &Client) -> Self {
        let rule = MatchRule::builder()
            .msg_type(zbus::message::Type::Signal)
            .sender(client.service.as_str())
            .path_namespace("/org/libvirt")
            .build()
            .unwrap();
        let many = std::num::NonZeroUsize::new(10_000);
        let mut stream = MessageStream::for_match_rule(rule, &client.connection, many).await.unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            while let Some(Ok(message)) = stream.next().await {
                let member = message.header().member().map(ToString::to_string).unwrap_or_default();
                sink.lock().unwrap().push((member, message));
            }
        });
        Self { seen, task }
    }

    /// `(event, detail)` of every DomainEvent so far.
    pub fn lifecycle(&self) -> Vec<(i32, i32)> {
        let seen = self.seen.lock().unwrap();
        seen.iter()
            .filter(|(member, _)| member == "DomainEvent")
            .filter_map(|(_, m)| m.body().deserialize::<(OwnedObjectPath, i32, i32)>().ok())
            .map(|(_, event, detail)| (event, detail))
            .collect()
    }

    /// The messages of one signal so far.
    pub fn signals(&self, member: &str) -> Vec<zbus::Message> {
        self.seen.lock().unwrap().iter().filter(|(m, _)| m == member).map(|(_, m)| m.clone()).collect()
    }

    /// Every signal so far, by its name.
    pub fn all(&self) -> Vec<(String, zbus::Message)> {
        self.seen.lock().unwrap().clone()
    }

    pub fn clear(&self) {
        self.seen.lock().unwrap().clear();
    }

    /// Wait for a lifecycle event, seen already or not.
    pub async fn wait(&self, wanted: (i32, i32)) {
        eventually(&format!("event {wanted:?}"), || async { self.lifecycle().contains(&wanted).then_some(()) }).await;
    }

    /// Wait for a signal of this name.
    pub async fn wait_signal(&self, member: &str) -> zbus::Message {
        eventually(member, || async { self.signals(member).last().cloned() }).await
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.task.abort();
    }
}

//! `org.virsnap.Snapshots1`: virsnap's own; libvirt-dbus does not have it.

use super::domain::SNAPSHOTS;
use super::{CallError, Domain};
use futures_util::StreamExt;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use zbus::message::Type as Kind;
use zbus::{DynamicType, MatchRule, MessageStream, OwnedObjectPath, OwnedVariant, Type, Variant};

/// Snapshot, part, path, status and detail of what was verified.
pub type Verified = (String, String, String, String, String);

impl Domain<'_> {
    /// Calls a method of virsnap's own interface.
    pub async fn own<B, R>(&self, member: &str, body: &B) -> Result<R, CallError>
    where
        B: Serialize + DynamicType,
        R: DeserializeOwned + Type,
    {
        self.bus.call(self.path.as_str(), SNAPSHOTS, member, body).await
    }

    /// Reverts, or says what a revert would do: `member` is `Revert` or `PlanRevert`.
    pub async fn own_revert<R: DeserializeOwned + Type>(
        &self,
        member: &str,
        name: &str,
        options: &[(&str, Variant<'static>)],
    ) -> Result<R, CallError> {
        let options: BTreeMap<&str, &Variant<'static>> = options.iter().map(|(key, value)| (*key, value)).collect();
        self.own(member, &(name, options)).await
    }

    /// The running job, or the last one.
    pub async fn own_job(&self) -> Result<BTreeMap<String, OwnedVariant>, CallError> {
        self.own("GetJob", &0_u32).await
    }

    /// What happens to its snapshots from now on.
    pub async fn news(&self) -> Result<News, CallError> {
        let rule = MatchRule::builder()
            .msg_type(Kind::Signal)
            .interface(SNAPSHOTS)
            .path(self.path.as_str())
            .build()
            .map_err(|e| CallError::Transport(e.to_string()))?;
        let stream = MessageStream::for_match_rule(rule, &self.bus.connection, None).await;
        stream.map(News).map_err(|e| CallError::Transport(e.to_string()))
    }
}

/// See [`Domain::news`].
#[derive(Debug)]
pub struct News(MessageStream);

impl News {
    /// The next one, in words; `None` when the bus is gone. How far a job is, is not among them.
    pub async fn next(&mut self) -> Option<String> {
        while let Some(Ok(message)) = self.0.next().await {
            let header = message.header();
            let body = message.body();
            let one = || body.deserialize::<(OwnedObjectPath, String)>().ok().map(|(_, name)| name);
            let words = match header.member().map(|m| m.as_str()) {
                Some("SnapshotAdded") => one().map(|name| format!("snapshot-added: {name}")),
                Some("SnapshotRemoved") => one().map(|name| format!("snapshot-removed: {name}")),
                Some("SnapshotChanged") => one().map(|name| format!("snapshot-changed: {name}")),
                Some("CurrentChanged") => one().map(|name| format!("current-changed: {name}").trim_end().to_owned()),
                Some("SnapshotRenamed") => {
                    let names = body.deserialize::<(OwnedObjectPath, String, OwnedObjectPath, String)>().ok();
                    names.map(|(_, from, _, to)| format!("snapshot-renamed: {from} {to}"))
                }
                _ => None,
            };
            if words.is_some() {
                return words;
            }
        }
        None
    }
}

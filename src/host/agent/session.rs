//! One conversation: in step first, then a command at a time.
//!
//! ```text
//!   we:     0xff {"execute":"guest-sync-delimited","arguments":{"id":R}} \n
//!   agent:  whatever was left … 0xff {"return":R} \n
//! ```
//!
//! The first byte ends what the agent may have half of; all that comes before its own 0xff is left from others. R is random,
//! so that an answer to an earlier try is not taken for this one's. Must not know: what commands mean.

use super::{AgentError, Channel, Connection};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The longest answer that is taken; libvirt's `QEMU_AGENT_MAX_RESPONSE`.
pub(super) const MAX_ANSWER: usize = 10 << 20;
/// Ends whatever came before it, in both directions.
const DELIMITER: u8 = 0xff;

/// A connection in step.
pub(super) struct Session {
    connection: Connection,
    /// What was read and not used yet.
    unread: Vec<u8>,
}

impl Session {
    /// Connect and get in step. `ahead` is a command that is sent without waiting for that; its `answer` is the first.
    pub(super) async fn begin(
        channel: &dyn Channel,
        patience: Duration,
        ahead: Option<&str>,
    ) -> Result<Self, AgentError> {
        let begun = async {
            let mut session = Self { connection: channel.open().await?, unread: Vec::new() };
            session.synchronise(ahead).await.map(|()| session)
        };
        tokio::time::timeout(patience, begun).await.unwrap_or(Err(AgentError::NotInStep(patience)))
    }

    async fn synchronise(&mut self, ahead: Option<&str>) -> Result<(), AgentError> {
        // Some agents know integers of 32 bits with a sign only.
        let id = uuid::Uuid::new_v4().as_u128() as u32 >> 1;
        let mut bytes = vec![DELIMITER];
        bytes.extend(request("guest-sync-delimited", Some(json!({ "id": id }))));
        bytes.extend(ahead.into_iter().flat_map(|command| request(command, None)));
        self.send(&bytes).await.map_err(|_| AgentError::Left)?;
        loop {
            let line = self.line(Skip::ToDelimiter).await.map_err(|e| match e {
                AgentError::LeftWithoutAnswer => AgentError::Left,
                other => other,
            })?;
            let answer: Option<Value> = serde_json::from_slice(&line).ok();
            if answer.is_some_and(|a| a["return"].as_u64() == Some(id.into())) {
                return Ok(());
            }
        }
    }

    /// Run a command.
    pub(super) async fn execute(
        &mut self,
        command: &str,
        arguments: Option<Value>,
        patience: Duration,
    ) -> Result<Value, AgentError> {
        let run = async {
            self.send(&request(command, arguments)).await.map_err(|_| AgentError::LeftWithoutAnswer)?;
            self.read_answer(command).await
        };
        tokio::time::timeout(patience, run).await.unwrap_or(Err(AgentError::NoAnswer(patience)))
    }

    /// The answer to a command that was sent.
    pub(super) async fn answer(&mut self, command: &str, patience: Duration) -> Result<Value, AgentError> {
        let read = self.read_answer(command);
        tokio::time::timeout(patience, read).await.unwrap_or(Err(AgentError::NoAnswer(patience)))
    }

    async fn read_answer(&mut self, command: &str) -> Result<Value, AgentError> {
        let line = self.line(Skip::Nothing).await?;
        let mut answer: Value = serde_json::from_slice(&line).map_err(|_| AgentError::Malformed)?;
        tracing::trace!(command, %answer, "guest agent <-");
        if let Some(error) = answer.get("error") {
            let why =
                error["desc"].as_str().or_else(|| error["class"].as_str()).unwrap_or("unknown QEMU command error");
            return Err(AgentError::Refused { command: command.to_owned(), why: why.to_owned() });
        }
        answer.get_mut("return").map(Value::take).ok_or(AgentError::Malformed)
    }

    async fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        tracing::trace!(bytes = %String::from_utf8_lossy(bytes), "guest agent ->");
        self.connection.link.write_all(bytes).await?;
        self.connection.link.flush().await
    }

    /// The next line that says something.
    async fn line(&mut self, skip: Skip) -> Result<Vec<u8>, AgentError> {
        let mut begun = skip == Skip::Nothing;
        let mut searched = 0;
        loop {
            if skip == Skip::ToDelimiter {
                // An agent that was started anew has left its answer in the middle.
                match self.unread.iter().skip(searched).rposition(|b| *b == DELIMITER) {
                    Some(at) => {
                        self.unread.drain(..=searched + at);
                        (begun, searched) = (true, 0);
                    }
                    None if !begun => self.unread.clear(),
                    None => {}
                }
            }
            let end = self.unread.iter().skip(searched).position(|b| *b == b'\n').map(|n| n + searched);
            match end {
                Some(end) => {
                    let line: Vec<u8> = self.unread.drain(..=end).collect();
                    searched = 0;
                    if !line.iter().all(u8::is_ascii_whitespace) {
                        return Ok(line);
                    }
                }
                None if self.unread.len() > MAX_ANSWER => return Err(AgentError::Malformed),
                None => {
                    searched = self.unread.len();
                    let Connection { link, left } = &mut self.connection;
                    let read = tokio::select! {
                        biased;
                        read = link.read_buf(&mut self.unread) => read.unwrap_or(0),
                        () = left => 0,
                    };
                    if read == 0 {
                        return Err(AgentError::LeftWithoutAnswer);
                    }
                }
            }
        }
    }
}

/// What comes before a line.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Skip {
    Nothing,
    /// All that was not meant for us.
    ToDelimiter,
}

fn request(command: &str, arguments: Option<Value>) -> Vec<u8> {
    let mut message = json!({ "execute": command });
    if let Some(arguments) = arguments {
        message["arguments"] = arguments;
    }
    let mut line = message.to_string().into_bytes();
    line.push(b'\n');
    line
}

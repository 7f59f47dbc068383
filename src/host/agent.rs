//! The guest agent (`qemu-ga`), which freezes and thaws the guest's file systems.
//!
//! ```text
//!   each call:  turn ─▶ connect ─▶ synchronise ─▶ command ─▶ answer ─▶ closed      every arrow but the last has its time
//!
//!   quiesce:    noted that a thaw is owed ─▶ freeze
//!   release:    thaw ─▶ answered ─▶ the note goes
//!                └─ not answered ─▶ again, in the background, until it is or the guest is gone
//! ```
//!
//! **A freeze of ours is always thawed.** Its note is a file beside the guest's other notes, written before the freeze is
//! sent and removed when a thaw was answered, so a freeze that was never answered is thawed too, and one that a killed
//! daemon has left. A thaw is written right behind the synchronisation without waiting for its answer: an agent that hangs
//! has it before its eyes when it goes on. A freeze that somebody else has asked for (FSFreeze) is never thawed by itself.
//!
//! What an agent says is not believed: answers are bounded in size and time. Must not know: hypervisors.

mod link;
mod owed;
mod session;
#[cfg(test)]
mod tests;

pub(in crate::host) use link::{Channel, Connection, terminal, unix};

use crate::error::{Code, Error};
use camino::Utf8PathBuf;
use owed::Owed;
use serde_json::{Value, json};
use session::Session;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{Mutex, MutexGuard};

/// The name of the agent's channel, in the guest too.
pub(in crate::host) const NAME: &str = "org.qemu.guest_agent.0";

/// How long an agent may take.
#[derive(Debug, Clone, Copy)]
pub(in crate::host) struct Patience {
    /// Until it is in step with us; libvirt's `QEMU_AGENT_WAIT_TIME`.
    pub(in crate::host) sync: Duration,
    /// For a command.
    pub(in crate::host) command: Duration,
    /// For a freeze, which flushes everything that the guest has not written yet.
    pub(in crate::host) freeze: Duration,
    /// Until it is in step with us, where nobody waits for it.
    pub(in crate::host) background: Duration,
    /// Between two tries in the background.
    pub(in crate::host) pause: Duration,
}

impl Patience {
    pub(in crate::host) const DEFAULT: Self = Self {
        sync: Duration::from_secs(5),
        command: Duration::from_secs(10),
        freeze: Duration::from_secs(60),
        background: Duration::from_secs(30),
        pause: Duration::from_secs(1),
    };
}

/// Why there is no answer; the texts are libvirt's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in crate::host) enum AgentError {
    /// There is no guest any more.
    #[error("guest unexpectedly quit")]
    GuestGone,
    /// Nobody in the guest has opened the channel.
    #[error("QEMU guest agent is not connected")]
    NotConnected,
    /// It has not even answered the synchronisation: no command was carried out.
    #[error("guest agent didn't respond to synchronization within '{}' seconds", .0.as_secs())]
    NotInStep(Duration),
    /// The connection ended before the synchronisation.
    #[error("Guest agent disappeared while executing command")]
    Left,
    /// The command may have been carried out, or may be at some time.
    #[error("guest agent didn't respond to command within '{}' seconds", .0.as_secs())]
    NoAnswer(Duration),
    /// The same, and the connection has ended.
    #[error("Guest agent disappeared while executing command")]
    LeftWithoutAnswer,
    /// It said no.
    #[error("unable to execute QEMU agent command '{command}': {why}")]
    Refused {
        /// The command.
        command: String,
        /// The agent's words.
        why: String,
    },
    /// It said something else.
    #[error("malformed return value")]
    Malformed,
    /// The note that a thaw is owed could not be written: nothing was asked of the agent.
    #[error("cannot note that the guest is frozen: {0}")]
    NotNoted(String),
}

impl From<AgentError> for Error {
    fn from(error: AgentError) -> Self {
        use AgentError::*;
        let code = match &error {
            GuestGone => Code::OperationFailed,
            NotConnected | NotInStep(_) | Left => Code::AgentUnresponsive,
            NoAnswer(_) | LeftWithoutAnswer => Code::AgentCommandTimeout,
            Refused { .. } => Code::AgentCommandFailed,
            Malformed => Code::Internal,
            NotNoted(_) => Code::SystemError,
        };
        Self::new(code, error.to_string())
    }
}

/// A file system, and the guest's addresses of the disks that it is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::host) struct Mounted {
    pub(in crate::host) mountpoint: String,
    pub(in crate::host) name: String,
    pub(in crate::host) kind: String,
    pub(in crate::host) disks: Vec<GuestDisk>,
}

/// Where the guest has a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::host) struct GuestDisk {
    /// The PCI device that it is, or that its controller is: domain, bus, slot, function.
    pub(in crate::host) pci: [i64; 4],
    /// Behind a controller: bus, target, unit.
    pub(in crate::host) drive: [i64; 3],
    /// `/dev/vda1`.
    pub(in crate::host) device: Option<String>,
}

/// The agent of one guest.
pub(in crate::host) struct Agent {
    channel: Box<dyn Channel>,
    patience: Patience,
    /// A channel has one client at a time.
    turn: Mutex<()>,
    owed: Owed,
    /// Whether somebody thaws it in the background.
    attended: AtomicBool,
}

impl std::fmt::Debug for Agent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Agent").field("owed", &self.owed).finish_non_exhaustive()
    }
}

impl Agent {
    /// Of the guest behind `channel`; `note` is the file that says that a thaw is owed.
    pub(in crate::host) fn new(channel: Box<dyn Channel>, note: Utf8PathBuf) -> Arc<Self> {
        Self::with_patience(channel, note, Patience::DEFAULT)
    }

    fn with_patience(channel: Box<dyn Channel>, note: Utf8PathBuf, patience: Patience) -> Arc<Self> {
        let (turn, attended) = (Mutex::new(()), AtomicBool::new(false));
        Arc::new(Self { channel, patience, turn, owed: Owed::at(note), attended })
    }

    /// Go on with what another life of the daemon has left.
    pub(in crate::host) fn resume(self: &Arc<Self>) {
        if self.owed.is_noted() {
            self.attend();
        }
    }

    /// Freeze what is mounted there, everything if nothing is named; how many file systems were frozen.
    pub(in crate::host) async fn freeze(&self, mountpoints: &[String]) -> Result<u32, AgentError> {
        let _turn = self.turn().await?;
        let mut session = self.session().await?;
        let frozen = if mountpoints.is_empty() {
            session.execute("guest-fsfreeze-freeze", None, self.patience.freeze).await?
        } else {
            let arguments = json!({ "mountpoints": mountpoints });
            session.execute("guest-fsfreeze-freeze-list", Some(arguments), self.patience.freeze).await?
        };
        count(&frozen)
    }

    /// Thaw everything, whoever has frozen it; how many file systems were thawed.
    pub(in crate::host) async fn thaw(&self) -> Result<u32, AgentError> {
        self.thaw_within(self.patience.sync).await
    }

    /// What is mounted.
    pub(in crate::host) async fn file_systems(&self) -> Result<Vec<Mounted>, AgentError> {
        let _turn = self.turn().await?;
        let answer = self.session().await?.execute("guest-get-fsinfo", None, self.patience.command).await?;
        answer.as_array().ok_or(AgentError::Malformed)?.iter().map(mounted).collect()
    }

    /// Freeze everything for a moment; `release` must follow, whatever the answer is.
    pub(in crate::host) async fn quiesce(&self) -> Result<u32, AgentError> {
        if self.owed.is_noted() {
            self.thaw().await?;
        }
        let _turn = self.turn().await?;
        let mut session = self.session().await?;
        // A freeze of somebody else is refused by the agent, and is not ours to thaw.
        if !is_frozen(&session.execute("guest-fsfreeze-status", None, self.patience.command).await?) {
            self.owed.note().map_err(|e| AgentError::NotNoted(e.to_string()))?;
        }
        count(&session.execute("guest-fsfreeze-freeze", None, self.patience.freeze).await?)
    }

    /// Thaw what `quiesce` may have frozen. An agent that does not answer now is asked until it does.
    pub(in crate::host) async fn release(self: &Arc<Self>) {
        if !self.owed.is_noted() {
            return;
        }
        match self.thaw().await {
            Ok(thawed) => tracing::debug!(thawed, "file systems are thawed"),
            Err(AgentError::GuestGone) => self.owed.forget(),
            Err(error) => {
                tracing::warn!(%error, "the guest may be frozen; it is thawed as soon as its agent answers");
                self.attend();
            }
        }
    }

    /// Thaw in the background.
    fn attend(self: &Arc<Self>) {
        if self.attended.swap(true, Ordering::SeqCst) {
            return;
        }
        let agent = Arc::clone(self);
        tokio::spawn(async move {
            loop {
                agent.thaw_at_last().await;
                agent.attended.store(false, Ordering::SeqCst);
                // Another freeze may have come in between.
                if !agent.owed.is_noted() || agent.attended.swap(true, Ordering::SeqCst) {
                    return;
                }
            }
        });
    }

    async fn thaw_at_last(&self) {
        while self.owed.is_noted() {
            match self.thaw_within(self.patience.background).await {
                Ok(thawed) => tracing::info!(thawed, "file systems are thawed at last"),
                Err(AgentError::GuestGone) => self.owed.forget(),
                Err(error) => {
                    tracing::debug!(%error, "not thawed yet");
                    tokio::time::sleep(self.patience.pause).await;
                }
            }
        }
    }

    async fn thaw_within(&self, sync: Duration) -> Result<u32, AgentError> {
        const THAW: &str = "guest-fsfreeze-thaw";
        let _turn = self.turn().await?;
        let mut session = Session::begin(self.channel.as_ref(), sync, Some(THAW)).await?;
        let thawed = match session.answer(THAW, self.patience.command).await {
            Ok(thawed) => count(&thawed)?,
            Err(error @ AgentError::Refused { .. }) => {
                // Windows says so when the freeze has ended before, by itself.
                let status = session.execute("guest-fsfreeze-status", None, self.patience.command).await?;
                if is_frozen(&status) || !self.owed.is_noted() {
                    return Err(error);
                }
                tracing::warn!(%error, "the guest was not frozen any more");
                0
            }
            Err(error) => return Err(error),
        };
        self.owed.forget();
        Ok(thawed)
    }

    async fn turn(&self) -> Result<MutexGuard<'_, ()>, AgentError> {
        let turn = tokio::time::timeout(self.patience.sync, self.turn.lock()).await;
        turn.map_err(|_| AgentError::NotInStep(self.patience.sync))
    }

    async fn session(&self) -> Result<Session, AgentError> {
        Session::begin(self.channel.as_ref(), self.patience.sync, None).await
    }
}

fn count(answer: &Value) -> Result<u32, AgentError> {
    answer.as_u64().and_then(|n| u32::try_from(n).ok()).ok_or(AgentError::Malformed)
}

fn is_frozen(status: &Value) -> bool {
    status.as_str() == Some("frozen")
}

fn mounted(value: &Value) -> Result<Mounted, AgentError> {
    let text = |key: &str| value[key].as_str().map(str::to_owned).ok_or(AgentError::Malformed);
    let disk = |value: &Value| {
        let number = |v: &Value| v.as_i64().ok_or(AgentError::Malformed);
        let pci = &value["pci-controller"];
        Ok(GuestDisk {
            pci: [number(&pci["domain"])?, number(&pci["bus"])?, number(&pci["slot"])?, number(&pci["function"])?],
            drive: [number(&value["bus"])?, number(&value["target"])?, number(&value["unit"])?],
            device: value["dev"].as_str().map(str::to_owned),
        })
    };
    let disks = value["disk"].as_array().map(Vec::as_slice).unwrap_or_default();
    Ok(Mounted {
        mountpoint: text("mountpoint")?,
        name: text("name")?,
        kind: text("type")?,
        disks: disks.iter().map(disk).collect::<Result<_, AgentError>>()?,
    })
}

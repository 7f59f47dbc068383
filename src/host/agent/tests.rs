#![allow(clippy::unwrap_used)]
//! Agents that behave, and agents that do not, behind real sockets.

use super::*;
use crate::host::agent::session::MAX_ANSWER;
use async_trait::async_trait;
use camino::Utf8Path;
use std::sync::Mutex as Held;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;

const SHORT: Patience = Patience {
    sync: Duration::from_millis(300),
    command: Duration::from_millis(300),
    freeze: Duration::from_millis(300),
    background: Duration::from_secs(2),
    pause: Duration::from_millis(10),
};

struct Socket(Utf8PathBuf);

#[async_trait]
impl Channel for Socket {
    async fn open(&self) -> Result<Connection, AgentError> {
        unix(&self.0).await
    }
}

/// What the stand-in does other than a real agent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manners {
    Good,
    /// Speaks before it is asked, with answers to others.
    Babbles,
    /// Takes that long for a freeze.
    Slow(Duration),
    /// Ends instead of answering a freeze, which it has done.
    DiesFrozen,
    /// Answers with more than anybody wants to know.
    Endless,
    /// Lets the connection be, and reads nothing.
    Hangs,
}

/// A guest: what its agent was told, and whether it is frozen.
#[derive(Default)]
struct Guest {
    frozen: bool,
    told: Vec<String>,
}

struct Stage {
    directory: TempDir,
    guest: Arc<Held<Guest>>,
}

impl Stage {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), guest: Arc::default() }
    }
    fn path(&self, name: &str) -> Utf8PathBuf {
        Utf8Path::from_path(self.directory.path()).unwrap().join(name)
    }
    /// Start the stand-in.
    fn start(&self, manners: Manners) -> JoinHandle<()> {
        let socket = self.path("agent");
        let _ = std::fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket).unwrap();
        let guest = Arc::clone(&self.guest);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                if !serve(stream, &guest, manners).await {
                    return;
                }
            }
        })
    }
    fn agent(&self) -> Arc<Agent> {
        Agent::with_patience(Box::new(Socket(self.path("agent"))), self.path("thaw"), SHORT)
    }
    fn frozen(&self) -> bool {
        self.guest.lock().unwrap().frozen
    }
    fn owes(&self) -> bool {
        self.path("thaw").exists()
    }
    async fn thawed(&self) {
        let begun = std::time::Instant::now();
        while self.frozen() || self.owes() {
            assert!(begun.elapsed() < Duration::from_secs(20), "it stays frozen");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Serve one client; `false`: the agent has ended.
async fn serve(mut stream: UnixStream, guest: &Held<Guest>, manners: Manners) -> bool {
    if manners == Manners::Hangs {
        std::future::pending::<()>().await;
    }
    if manners == Manners::Babbles {
        let words = b"{\"return\": {}}\n\xff{\"return\": 1}\nhalf of some\xff{\"ret\xff{\"return\": 2}\n\n";
        stream.write_all(words).await.unwrap();
    }
    let mut unread = Vec::new();
    loop {
        while let Some(end) = unread.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = unread.drain(..=end).collect();
            let from = line.iter().rposition(|b| *b == 0xff).map_or(0, |n| n + 1);
            let request: Value = serde_json::from_slice(&line[from..]).unwrap();
            let command = request["execute"].as_str().unwrap().to_owned();
            if command == "guest-fsfreeze-freeze" {
                if let Manners::Slow(time) = manners {
                    tokio::time::sleep(time).await;
                }
                if manners == Manners::DiesFrozen {
                    guest.lock().unwrap().frozen = true;
                    return false;
                }
                if manners == Manners::Endless {
                    let _ = stream.write_all(&vec![b'x'; MAX_ANSWER + (1 << 20)]).await;
                    return false;
                }
            }
            let answer = answer(&command, &request["arguments"], &mut guest.lock().unwrap());
            // Whoever asked may have left.
            let _ = stream.write_all(&answer).await;
        }
        if stream.read_buf(&mut unread).await.unwrap_or(0) == 0 {
            return true;
        }
    }
}

fn answer(command: &str, arguments: &Value, guest: &mut Guest) -> Vec<u8> {
    guest.told.push(match &arguments["mountpoints"] {
        Value::Null => command.to_owned(),
        named => format!("{command} {named}"),
    });
    let frozen = guest.frozen;
    let value = match command {
        "guest-sync-delimited" => {
            let mut bytes = vec![0xff];
            bytes.extend(format!("{}\n", json!({ "return": arguments["id"] })).bytes());
            return bytes;
        }
        "guest-fsfreeze-status" => json!({ "return": if frozen { "frozen" } else { "thawed" } }),
        "guest-fsfreeze-thaw" => {
            guest.frozen = false;
            json!({ "return": if frozen { 2 } else { 0 } })
        }
        _ if frozen => json!({ "error": { "class": "CommandNotFound", "desc": "the agent is in frozen state" } }),
        "guest-fsfreeze-freeze" | "guest-fsfreeze-freeze-list" => {
            guest.frozen = true;
            json!({ "return": 2 })
        }
        "guest-get-fsinfo" => {
            let pci = json!({ "domain": 0, "bus": 0, "slot": 4, "function": 0 });
            let disk = json!({ "bus-type": "virtio", "bus": 0, "target": 0, "unit": 0, "pci-controller": pci });
            json!({ "return": [{ "name": "vda", "mountpoint": "/", "type": "ext4", "disk": [disk] }] })
        }
        _ => json!({ "error": { "class": "CommandNotFound", "desc": "no such command" } }),
    };
    format!("{value}\n").into_bytes()
}

#[tokio::test]
async fn a_quiesced_moment_is_a_freeze_and_a_thaw() {
    let stage = Stage::new();
    stage.start(Manners::Good);
    let agent = stage.agent();
    assert_eq!(agent.quiesce().await, Ok(2));
    assert!(stage.frozen() && stage.owes());
    agent.release().await;
    assert!(!stage.frozen() && !stage.owes());
}

#[tokio::test]
async fn what_was_left_in_the_channel_is_no_answer_of_ours() {
    let stage = Stage::new();
    stage.start(Manners::Babbles);
    let agent = stage.agent();
    let mounted = agent.file_systems().await.unwrap();
    assert_eq!((mounted[0].mountpoint.as_str(), mounted[0].disks[0].pci), ("/", [0, 0, 4, 0]));
    assert_eq!(agent.freeze(&["/a".into(), "/b".into()]).await, Ok(2));
    assert_eq!(stage.guest.lock().unwrap().told.last().unwrap(), "guest-fsfreeze-freeze-list [\"/a\",\"/b\"]");
    assert!(!stage.owes(), "what somebody else freezes is theirs to thaw");
    assert_eq!(agent.thaw().await, Ok(2));
}

#[tokio::test]
async fn an_agent_that_hangs_was_asked_for_nothing_and_does_not_hang_us() {
    let stage = Stage::new();
    stage.start(Manners::Hangs);
    let agent = stage.agent();
    let error = Error::from(agent.quiesce().await.unwrap_err());
    assert_eq!(
        error.to_string(),
        "Guest agent is not responding: guest agent didn't respond to synchronization within '0' seconds"
    );
    assert!(!stage.owes());
    agent.release().await;
}

#[tokio::test]
async fn nobody_behind_the_channel_is_said_at_once() {
    let stage = Stage::new();
    let error = Error::from(stage.agent().quiesce().await.unwrap_err());
    assert_eq!(error.to_string(), "Guest agent is not responding: QEMU guest agent is not connected");
}

#[tokio::test]
async fn a_freeze_that_comes_too_late_is_thawed_all_the_same() {
    let stage = Stage::new();
    stage.start(Manners::Slow(Duration::from_millis(1500)));
    let agent = stage.agent();
    let error = Error::from(agent.quiesce().await.unwrap_err());
    assert_eq!(
        error.to_string(),
        "guest agent command timed out: guest agent didn't respond to command within '0' seconds"
    );
    let begun = std::time::Instant::now();
    agent.release().await;
    assert!(begun.elapsed() < Duration::from_secs(1), "nobody waits for it");
    stage.thawed().await;
    let told = stage.guest.lock().unwrap().told.clone();
    let at = |command: &str| told.iter().position(|t| t == command).unwrap();
    assert!(at("guest-fsfreeze-freeze") < at("guest-fsfreeze-thaw"), "it was frozen, and then thawed: {told:?}");
}

#[tokio::test]
async fn an_agent_that_dies_frozen_is_thawed_when_it_is_back() {
    let stage = Stage::new();
    let first = stage.start(Manners::DiesFrozen);
    let agent = stage.agent();
    assert_eq!(agent.quiesce().await, Err(AgentError::LeftWithoutAnswer));
    first.await.unwrap();
    agent.release().await;
    assert!(stage.frozen() && stage.owes());
    stage.start(Manners::Good);
    stage.thawed().await;
}

#[tokio::test]
async fn what_a_killed_daemon_has_left_frozen_is_thawed_by_the_next() {
    let stage = Stage::new();
    stage.start(Manners::Good);
    stage.agent().quiesce().await.unwrap();
    assert!(stage.frozen() && stage.owes());
    stage.agent().resume();
    stage.thawed().await;
}

#[tokio::test]
async fn an_agent_that_closes_its_end_is_not_waited_for() {
    struct Closing(Utf8PathBuf);
    #[async_trait]
    impl Channel for Closing {
        async fn open(&self) -> Result<Connection, AgentError> {
            Ok(unix(&self.0).await?.until(tokio::time::sleep(Duration::from_millis(50))))
        }
    }
    let stage = Stage::new();
    stage.start(Manners::Hangs);
    let agent = Agent::with_patience(Box::new(Closing(stage.path("agent"))), stage.path("thaw"), Patience::DEFAULT);
    assert_eq!(agent.quiesce().await, Err(AgentError::Left));
}

#[tokio::test]
async fn a_debt_is_paid_before_the_next_freeze() {
    let stage = Stage::new();
    stage.start(Manners::Good);
    stage.agent().quiesce().await.unwrap();
    let agent = stage.agent();
    assert_eq!(agent.quiesce().await, Ok(2));
    agent.release().await;
    assert!(!stage.frozen() && !stage.owes());
}

#[tokio::test]
async fn a_freeze_of_somebody_else_stays() {
    let stage = Stage::new();
    stage.start(Manners::Good);
    let agent = stage.agent();
    agent.freeze(&[]).await.unwrap();
    let error = Error::from(agent.quiesce().await.unwrap_err());
    assert_eq!(
        error.to_string(),
        "guest agent command failed: unable to execute QEMU agent command 'guest-fsfreeze-freeze': the agent is in frozen state"
    );
    agent.release().await;
    assert!(stage.frozen());
}

#[tokio::test]
async fn an_endless_answer_is_not_kept() {
    let stage = Stage::new();
    stage.start(Manners::Endless);
    let patience = Patience { freeze: Duration::from_secs(30), ..SHORT };
    let agent = Agent::with_patience(Box::new(Socket(stage.path("agent"))), stage.path("thaw"), patience);
    assert_eq!(agent.quiesce().await, Err(AgentError::Malformed));
}

#[tokio::test]
async fn a_terminal_is_a_channel_too() {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    struct Pty(Utf8PathBuf);
    #[async_trait]
    impl Channel for Pty {
        async fn open(&self) -> Result<Connection, AgentError> {
            terminal(&self.0)
        }
    }
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let path = Utf8PathBuf::from(ptsname(&master, Vec::new()).unwrap().into_string().unwrap());
    // Held open, or the other end would hang up with each of our sessions.
    let _other = std::fs::File::open(&path).unwrap();
    std::thread::spawn(move || {
        let mut guest = Guest::default();
        let mut unread = Vec::new();
        let mut chunk = [0u8; 512];
        loop {
            let Ok(count) = rustix::io::read(&master, &mut chunk) else { return };
            unread.extend_from_slice(&chunk[..count]);
            while let Some(end) = unread.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = unread.drain(..=end).collect();
                let from = line.iter().rposition(|b| *b == 0xff).map_or(0, |n| n + 1);
                let request: Value = serde_json::from_slice(&line[from..]).unwrap();
                let reply = answer(request["execute"].as_str().unwrap(), &request["arguments"], &mut guest);
                rustix::io::write(&master, &reply).unwrap();
            }
        }
    });
    let stage = Stage::new();
    let agent = Agent::with_patience(Box::new(Pty(path)), stage.path("thaw"), SHORT);
    assert_eq!(agent.quiesce().await, Ok(2));
    agent.release().await;
    assert_eq!(agent.thaw().await, Ok(0));
}

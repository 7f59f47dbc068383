//! One QMP connection: commands are pipelined by id, events broadcast.
//!
//! Written by hand: qapi-qmp fails whole replies on enum values it doesn't know and on fields
//! that QEMU 7.2 doesn't send yet.
//!
//! ```text
//!   execute ──▶ queue ──▶ writer task ──▶ socket ──▶ reader task ──▶ the waiter of that id
//!                                                         └────────▶ subscribers of events
//! ```
//!
//! Nobody but the two tasks touches the socket, so a dropped `execute` leaves the stream intact.
//! Must not know: what commands mean.

use crate::error::Error;
use camino::Utf8Path;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use serde_json::{Value, json};
use std::collections::{BTreeSet, HashMap};
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::task::AbortHandle;

/// The longest line that is accepted from QEMU; `query-qmp-schema` is about 300 KiB.
const MAX_LINE: usize = 64 << 20;
/// How long QEMU may think about one command. Those that take long are jobs and answer at once.
const REPLY_TIMEOUT: Duration = Duration::from_secs(120);

/// An event that QEMU sent.
#[derive(Debug, Clone, PartialEq)]
pub struct QmpEvent {
    /// `SHUTDOWN`, `JOB_STATUS_CHANGE`, ….
    pub name: String,
    /// Its data; `null` if it has none.
    pub data: Value,
}

/// Why a command has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QmpError {
    /// QEMU said no.
    #[error("unable to execute QEMU command '{command}': {desc}")]
    Refused {
        /// The command.
        command: String,
        /// QEMU's error class, mostly `GenericError`.
        class: String,
        /// QEMU's words.
        desc: String,
    },
    /// QEMU has closed the connection: it is dead, or about to be.
    #[error("guest unexpectedly quit")]
    Gone,
    /// QEMU did not answer in time; the command may have been carried out or may still be.
    #[error("cannot acquire state change lock: no answer from the QEMU monitor")]
    Timeout,
    /// Connected, but QEMU doesn't speak.
    #[error("no greeting from the QEMU monitor '{0}': another client may hold it")]
    NoGreeting(String),
    /// Not even connected.
    #[error("failed to connect to monitor socket '{0}': {1}")]
    Connect(String, String),
}

impl From<QmpError> for Error {
    fn from(error: QmpError) -> Self {
        match error {
            QmpError::Gone => Self::failed(error),
            QmpError::Timeout => Self::new(crate::error::Code::OperationTimeout, error.to_string()),
            QmpError::Refused { .. } | QmpError::NoGreeting(_) | QmpError::Connect(..) => Self::internal(error),
        }
    }
}

type Reply = Result<Value, QmpError>;

struct Waiter {
    command: String,
    reply: oneshot::Sender<Reply>,
    /// Held until QEMU has taken a passed descriptor: a second one would replace the first.
    _descriptor: Option<tokio::sync::OwnedMutexGuard<()>>,
}

struct Outgoing {
    line: Vec<u8>,
    fd: Option<OwnedFd>,
}

struct Shared {
    /// `None` once the connection is gone.
    waiters: Mutex<Option<HashMap<u64, Waiter>>>,
    events: broadcast::Sender<QmpEvent>,
    gone: watch::Sender<bool>,
}

impl Shared {
    fn waiters(&self) -> MutexGuard<'_, Option<HashMap<u64, Waiter>>> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }
    fn end(&self) {
        // Dropping the senders wakes every waiter with `Gone`.
        drop(self.waiters().take());
        self.gone.send_replace(true);
    }
}

/// What this QEMU can do, read at connect: never its version number.
#[derive(Debug, Clone, Default)]
pub struct Schema {
    commands: BTreeSet<String>,
    migration: BTreeSet<String>,
}

impl Schema {
    /// Whether the command exists.
    #[must_use]
    pub fn has_command(&self, name: &str) -> bool {
        self.commands.contains(name)
    }
    /// Whether `migrate-set-capabilities` knows the capability; not whether this host allows it.
    #[must_use]
    pub fn has_migration_capability(&self, name: &str) -> bool {
        self.migration.contains(name)
    }
}

/// One QMP connection.
pub struct Monitor {
    shared: Arc<Shared>,
    queue: mpsc::UnboundedSender<Outgoing>,
    next: AtomicU64,
    descriptor: Arc<tokio::sync::Mutex<()>>,
    schema: Schema,
    tasks: [AbortHandle; 2],
}

impl std::fmt::Debug for Monitor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Monitor").field("gone", &self.is_gone()).finish_non_exhaustive()
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
        self.shared.end();
    }
}

impl Monitor {
    /// Connect, wait for the greeting, and leave negotiation mode. A second client of a socket
    /// in use is connected too but gets no greeting: hence the timeout.
    pub async fn connect(path: &Utf8Path, timeout: Duration) -> Result<Arc<Self>, QmpError> {
        let stream = UnixStream::connect(path.as_std_path())
            .await
            .map_err(|e| QmpError::Connect(path.to_string(), e.to_string()))?;
        let stream = Arc::new(stream);
        let shared = Arc::new(Shared {
            waiters: Mutex::new(Some(HashMap::new())),
            events: broadcast::channel(1024).0,
            gone: watch::channel(false).0,
        });
        let (queue, outgoing) = mpsc::unbounded_channel();
        let (greeting, greeted) = oneshot::channel();
        let reader = tokio::spawn(read(stream.clone(), shared.clone(), greeting)).abort_handle();
        let writer = tokio::spawn(write(stream, shared.clone(), outgoing)).abort_handle();
        let mut monitor = Self {
            shared,
            queue,
            next: AtomicU64::new(1),
            descriptor: Arc::default(),
            schema: Schema::default(),
            tasks: [reader, writer],
        };
        match tokio::time::timeout(timeout, greeted).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(QmpError::Gone),
            Err(_) => return Err(QmpError::NoGreeting(path.to_string())),
        }
        monitor.execute("qmp_capabilities", json!({})).await?;
        let names = |list: &Value, key: &str| -> BTreeSet<String> {
            let entries = list.as_array().map(Vec::as_slice).unwrap_or_default();
            entries.iter().filter_map(|e| e[key].as_str().map(str::to_owned)).collect()
        };
        monitor.schema.commands = names(&monitor.execute("query-commands", json!({})).await?, "name");
        monitor.schema.migration =
            names(&monitor.execute("query-migrate-capabilities", json!({})).await?, "capability");
        Ok(Arc::new(monitor))
    }

    /// Run one command and wait for its answer. Dropping the future abandons the answer only.
    pub async fn execute(&self, command: &str, arguments: Value) -> Result<Value, QmpError> {
        self.request(command, arguments, None, None).await
    }

    /// Give QEMU an open file under a name (`getfd`), as `fd:NAME` of a later command.
    pub async fn send_fd(&self, name: &str, fd: BorrowedFd<'_>) -> Result<(), QmpError> {
        let Ok(fd) = fd.try_clone_to_owned() else { return Err(QmpError::Gone) };
        let turn = self.descriptor.clone().lock_owned().await;
        self.request("getfd", json!({ "fdname": name }), Some(fd), Some(turn)).await.map(drop)
    }

    async fn request(
        &self,
        command: &str,
        arguments: Value,
        fd: Option<OwnedFd>,
        turn: Option<tokio::sync::OwnedMutexGuard<()>>,
    ) -> Reply {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let mut message = json!({ "execute": command, "id": id });
        if arguments.as_object().is_some_and(|a| !a.is_empty()) {
            message["arguments"] = arguments;
        }
        let mut line = message.to_string().into_bytes();
        line.push(b'\n');
        tracing::trace!(command, id, arguments = %message["arguments"], "QMP ->");
        let (reply, answer) = oneshot::channel();
        {
            let mut waiters = self.shared.waiters();
            let Some(waiters) = waiters.as_mut() else { return Err(QmpError::Gone) };
            waiters.insert(id, Waiter { command: command.to_owned(), reply, _descriptor: turn });
            // Under the lock, so that ids go out in order.
            if self.queue.send(Outgoing { line, fd }).is_err() {
                return Err(QmpError::Gone);
            }
        }
        match tokio::time::timeout(REPLY_TIMEOUT, answer).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(_)) => Err(QmpError::Gone),
            Err(_) => Err(QmpError::Timeout),
        }
    }

    /// Events from now on.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<QmpEvent> {
        self.shared.events.subscribe()
    }

    /// Whether the connection has ended.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        *self.shared.gone.borrow()
    }

    /// Wait until the connection has ended.
    pub async fn gone(&self) {
        // The sender lives as long as `self`, so this cannot fail early.
        drop(self.shared.gone.subscribe().wait_for(|gone| *gone).await);
    }

    /// What this QEMU can do.
    #[must_use]
    pub fn schema(&self) -> &Schema {
        &self.schema
    }
}

async fn read(stream: Arc<UnixStream>, shared: Arc<Shared>, greeting: oneshot::Sender<()>) {
    let mut greeting = Some(greeting);
    let mut line = Vec::new();
    let mut chunk = vec![0u8; 64 << 10];
    'connection: loop {
        if stream.readable().await.is_err() {
            break;
        }
        let count = match stream.try_read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => count,
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => continue,
            Err(_) => break,
        };
        let mut rest = &chunk[..count];
        while let Some(end) = rest.iter().position(|b| *b == b'\n') {
            line.extend_from_slice(&rest[..end]);
            rest = &rest[end + 1..];
            if !line.iter().all(u8::is_ascii_whitespace) {
                match serde_json::from_slice::<Value>(&line) {
                    Ok(message) => deliver(message, &shared, &mut greeting),
                    Err(error) => {
                        tracing::error!(%error, "QEMU's monitor sent what is not JSON");
                        break 'connection;
                    }
                }
            }
            line.clear();
        }
        line.extend_from_slice(rest);
        if line.len() > MAX_LINE {
            tracing::error!("QEMU's monitor sent a line of more than {MAX_LINE} bytes");
            break;
        }
    }
    shared.end();
}

fn deliver(mut message: Value, shared: &Shared, greeting: &mut Option<oneshot::Sender<()>>) {
    if message.get("QMP").is_some() {
        if let Some(greeting) = greeting.take() {
            let _ = greeting.send(());
        }
    } else if let Some(name) = message["event"].as_str().map(str::to_owned) {
        let data = message["data"].take();
        tracing::trace!(event = name, %data, "QMP <-");
        // Nobody listening is fine.
        let _ = shared.events.send(QmpEvent { name, data });
    } else if let Some(id) = message["id"].as_u64() {
        let waiter = shared.waiters().as_mut().and_then(|w| w.remove(&id));
        let Some(waiter) = waiter else { return };
        let reply = match message.get_mut("error") {
            Some(error) => Err(QmpError::Refused {
                command: waiter.command,
                class: error["class"].as_str().unwrap_or_default().to_owned(),
                desc: error["desc"].as_str().unwrap_or_default().to_owned(),
            }),
            None => Ok(message["return"].take()),
        };
        tracing::trace!(id, ?reply, "QMP <-");
        // The caller may have lost interest.
        let _ = waiter.reply.send(reply);
    } else {
        tracing::warn!(%message, "QEMU's monitor sent something unknown");
    }
}

async fn write(stream: Arc<UnixStream>, shared: Arc<Shared>, mut queue: mpsc::UnboundedReceiver<Outgoing>) {
    while let Some(Outgoing { line, mut fd }) = queue.recv().await {
        let mut rest = line.as_slice();
        while !rest.is_empty() {
            let sent = stream.async_io(Interest::WRITABLE, || send(&stream, rest, fd.as_ref().map(AsFd::as_fd))).await;
            match sent {
                Ok(count) => rest = rest.get(count..).unwrap_or_default(),
                Err(_) => return shared.end(),
            }
            // The descriptor travels with the first byte.
            fd = None;
        }
    }
}

fn send(stream: &UnixStream, bytes: &[u8], fd: Option<BorrowedFd<'_>>) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = fd.map(|fd| [fd]);
    if let Some(fds) = &fds {
        control.push(SendAncillaryMessage::ScmRights(fds));
    }
    Ok(rustix::net::sendmsg(stream, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
    use tokio::net::UnixListener;

    /// A monitor that answers each line with what `answer` makes of it; `None` closes.
    fn fake(dir: &tempfile::TempDir, answer: fn(&Value) -> Option<String>) -> camino::Utf8PathBuf {
        let path = Utf8Path::from_path(dir.path()).unwrap().join("qmp");
        let listener = UnixListener::bind(&path).unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"{\"QMP\": {\"version\": {}, \"capabilities\": []}}\r\n").await.unwrap();
            let (read, mut write) = stream.split();
            let mut lines = BufReader::new(read).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let request: Value = serde_json::from_str(&line).unwrap();
                let text = match request["execute"].as_str().unwrap() {
                    "qmp_capabilities" => json!({ "id": request["id"], "return": {} }).to_string(),
                    "query-commands" => json!({ "id": request["id"], "return": [{ "name": "stop" }] }).to_string(),
                    "query-migrate-capabilities" => {
                        json!({ "id": request["id"], "return": [{ "capability": "xbzrle", "state": false }] })
                            .to_string()
                    }
                    _ => match answer(&request) {
                        Some(text) => text,
                        None => return,
                    },
                };
                write.write_all(format!("{text}\r\n").as_bytes()).await.unwrap();
            }
        });
        path
    }

    async fn connect(path: &Utf8Path) -> Arc<Monitor> {
        Monitor::connect(path, Duration::from_secs(5)).await.unwrap()
    }

    #[tokio::test]
    async fn a_refusal_reads_as_libvirt_reports_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = fake(&dir, |r| {
            Some(json!({ "id": r["id"], "error": { "class": "GenericError", "desc": "no" } }).to_string())
        });
        let monitor = connect(&path).await;
        assert!(monitor.schema().has_command("stop") && monitor.schema().has_migration_capability("xbzrle"));
        let error: Error = monitor.execute("cont", json!({})).await.unwrap_err().into();
        assert_eq!(error.to_string(), "internal error: unable to execute QEMU command 'cont': no");
    }

    #[tokio::test]
    async fn a_dropped_call_leaves_the_next_answer_in_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = fake(&dir, |r| Some(json!({ "id": r["id"], "return": r["execute"] }).to_string()));
        let monitor = connect(&path).await;
        for _ in 0..50 {
            drop(futures_util::future::select(Box::pin(monitor.execute("first", json!({}))), std::future::ready(())));
            let _ = tokio::time::timeout(Duration::ZERO, monitor.execute("first", json!({}))).await;
            assert_eq!(monitor.execute("second", json!({})).await.unwrap(), "second");
        }
    }

    #[tokio::test]
    async fn a_closed_connection_wakes_every_waiter() {
        let dir = tempfile::tempdir().unwrap();
        let path = fake(&dir, |r| (r["execute"] != "quit").then(|| json!({ "event": "STOP" }).to_string()));
        let monitor = connect(&path).await;
        let mut events = monitor.subscribe();
        let (a, b, c) = tokio::join!(
            monitor.execute("never", json!({})),
            monitor.execute("never", json!({})),
            monitor.execute("quit", json!({})),
        );
        assert_eq!([a, b, c], [Err(QmpError::Gone), Err(QmpError::Gone), Err(QmpError::Gone)]);
        monitor.gone().await;
        assert!(monitor.is_gone());
        assert_eq!(monitor.execute("stop", json!({})).await, Err(QmpError::Gone));
        assert_eq!(events.recv().await.unwrap(), QmpEvent { name: "STOP".into(), data: Value::Null });
    }

    #[tokio::test]
    async fn a_monitor_that_does_not_greet_is_said_to_be_in_use() {
        let dir = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(dir.path()).unwrap().join("qmp");
        let _listener = UnixListener::bind(&path).unwrap();
        let error = Monitor::connect(&path, Duration::from_millis(50)).await.unwrap_err();
        assert!(error.to_string().contains("another client may hold it"), "{error}");
    }
}

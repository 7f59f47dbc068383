//! The bytes' way to an agent: a socket, or a terminal.

use super::AgentError;
use async_trait::async_trait;
use camino::Utf8Path;
use futures_util::future::BoxFuture;
use rustix::fs::OFlags;
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;

/// A stream of bytes.
pub(super) trait Link: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Link for T {}

/// A connection.
pub(in crate::host) struct Connection {
    pub(super) link: Box<dyn Link>,
    /// Until the agent closes its end, where that does not end the link.
    pub(super) left: BoxFuture<'static, ()>,
}

impl Connection {
    fn new(link: impl Link + 'static) -> Self {
        Self { link: Box::new(link), left: Box::pin(std::future::pending()) }
    }
    /// The agent has gone when this is done.
    pub(in crate::host) fn until(self, left: impl Future<Output = ()> + Send + 'static) -> Self {
        Self { left: Box::pin(left), ..self }
    }
}

/// How to reach the agent of one guest.
#[async_trait]
pub(in crate::host) trait Channel: Send + Sync {
    /// Connect, if an agent has opened its end.
    async fn open(&self) -> Result<Connection, AgentError>;
}

/// Connect to a listening socket. One that is not there has no agent behind it.
pub(in crate::host) async fn unix(path: &Utf8Path) -> Result<Connection, AgentError> {
    match UnixStream::connect(path.as_std_path()).await {
        Ok(stream) => Ok(Connection::new(stream)),
        Err(error) => {
            tracing::debug!(%path, %error, "no guest agent");
            Err(AgentError::NotConnected)
        }
    }
}

/// Open a terminal, and take its line discipline out of the way.
pub(in crate::host) fn terminal(path: &Utf8Path) -> Result<Connection, AgentError> {
    match open_terminal(path) {
        Ok(link) => Ok(Connection::new(link)),
        Err(error) => {
            tracing::debug!(%path, %error, "no guest agent");
            Err(AgentError::NotConnected)
        }
    }
}

fn open_terminal(path: &Utf8Path) -> io::Result<impl Link + use<>> {
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits();
    let flags = i32::try_from(flags).map_err(io::Error::other)?;
    let file = File::options().read(true).write(true).custom_flags(flags).open(path)?;
    let mut attributes = tcgetattr(&file)?;
    attributes.make_raw();
    tcsetattr(&file, OptionalActions::Now, &attributes)?;
    // A terminal is as ready or not as a pipe is.
    let reads = pipe::Receiver::from_file_unchecked(file.try_clone()?)?;
    Ok(tokio::io::join(reads, pipe::Sender::from_file_unchecked(file)?))
}

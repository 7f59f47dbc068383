//! The bytes' way to an agent: a socket, or a terminal.

use super::AgentError;
use async_trait::async_trait;
use camino::Utf8Path;
use rustix::fs::OFlags;
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;

/// A stream of bytes.
pub(in crate::host) trait Link: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Link for T {}

/// How to reach the agent of one guest.
#[async_trait]
pub(in crate::host) trait Channel: Send + Sync {
    /// Connect, if an agent has opened its end.
    async fn open(&self) -> Result<Box<dyn Link>, AgentError>;
}

/// Connect to a listening socket. One that is not there has no agent behind it.
pub(in crate::host) async fn unix(path: &Utf8Path) -> Result<Box<dyn Link>, AgentError> {
    match UnixStream::connect(path.as_std_path()).await {
        Ok(stream) => Ok(Box::new(stream)),
        Err(error) => {
            tracing::debug!(%path, %error, "no guest agent");
            Err(AgentError::NotConnected)
        }
    }
}

/// Open a terminal, and take its line discipline out of the way.
pub(in crate::host) fn terminal(path: &Utf8Path) -> Result<Box<dyn Link>, AgentError> {
    match open_terminal(path) {
        Ok(link) => Ok(Box::new(link)),
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

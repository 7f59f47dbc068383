//! The note that a guest of ours may be frozen: a file, which outlives the daemon and not the machine.

use camino::Utf8PathBuf;
use std::fs;
use std::io;

/// Where the note is.
#[derive(Debug)]
pub(super) struct Owed(Utf8PathBuf);

impl Owed {
    /// The note at this path.
    pub(super) fn at(path: Utf8PathBuf) -> Self {
        Self(path)
    }

    /// Whether a thaw is owed.
    pub(super) fn is_noted(&self) -> bool {
        self.0.exists()
    }

    /// From now on one is.
    pub(super) fn note(&self) -> io::Result<()> {
        fs::write(&self.0, "")
    }

    /// It was paid, or there is nobody left to pay.
    pub(super) fn forget(&self) {
        match fs::remove_file(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, note = %self.0, "cannot forget that a thaw was owed");
            }
            _ => {}
        }
    }
}

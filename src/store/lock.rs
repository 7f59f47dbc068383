//! One daemon per state directory: an advisory lock that the kernel drops when its holder dies.

use crate::error::{Error, Result};
use camino::Utf8Path;
use rustix::fs::{FlockOperation, flock};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};

/// Held while the daemon lives. The file stays; only its lock counts.
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Take the lock of `dir`, making the directory (0700) if needed; refused if another process
    /// has it, naming that process.
    pub(super) fn take(dir: &Utf8Path) -> Result<Self> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(|e| Error::system(format_args!("cannot create directory '{dir}'"), &e))?;
        let path = dir.join("lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|e| Error::system(format_args!("cannot open '{path}'"), &e))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut holder = String::new();
                let _ = file.read_to_string(&mut holder);
                let holder = holder.trim();
                let who = if holder.is_empty() { String::new() } else { format!(" (process {holder})") };
                return Err(Error::failed(format_args!("state directory '{dir}' is in use by another virsnapd{who}")));
            }
            Err(e) => return Err(Error::system(format_args!("cannot lock '{path}'"), &e.into())),
        }
        // Only for the message above: a full disk must not keep the daemon from starting.
        let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(Self { _file: file })
    }
}

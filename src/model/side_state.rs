//! Side state: what belongs to a machine beside its disks and its memory, and that a snapshot of the machine therefore
//! holds too: the firmware's variables (NVRAM) and the TPM's state.
//!
//! ```text
//!   machine            snapshot
//!   NVRAM, qcow2   ──▶ an internal snapshot: a tag of the snapshot's name in it, as in the disks
//!   NVRAM          ──▶ a copy of its content (raw)                     in the daemon's state directory
//!   TPM directory  ──▶ a copy of its files, durable ones only          in the daemon's state directory
//! ```
//!
//! A snapshot names its copies itself ([`SideCopy`]); one that names none (taken elsewhere, or before there was any state)
//! leaves the machine's side state as it is when it is reverted to. libvirt captures the NVRAM only if it is qcow2 and the
//! snapshot internal, and the TPM never without the memory.
//!
//! Must not know: how a copy is made.

use super::ids::Image;
use camino::Utf8PathBuf;
use serde::{Deserialize, Serialize};

/// What an NVRAM file is made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Template {
    /// Absolute path.
    pub path: Utf8PathBuf,
    /// `raw` or `qcow2`.
    pub format: String,
}

/// The file of a UEFI's variables.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nvram {
    /// The file.
    pub image: Image,
    /// What it is made from where it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<Template>,
}

/// One piece of a machine's side state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SideState {
    /// The firmware's variables.
    Nvram(Nvram),
    /// The directory of a TPM's files; missing until the machine was started.
    Tpm(Utf8PathBuf),
}

impl SideState {
    /// Where the machine has it.
    #[must_use]
    pub fn path(&self) -> &Utf8PathBuf {
        match self {
            Self::Nvram(nvram) => &nvram.image.path,
            Self::Tpm(path) => path,
        }
    }
    /// The last part of a copy's path.
    #[must_use]
    pub fn copy_name(&self) -> &'static str {
        match self {
            Self::Nvram(_) => "nvram",
            Self::Tpm(_) => "tpm",
        }
    }
}

/// What a snapshot holds of a piece of side state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SideCopy {
    /// Of what, where the machine had it then.
    pub of: SideState,
    /// Where it is.
    pub at: SidePlace,
}

/// Where a snapshot holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SidePlace {
    /// A tag of the snapshot's name in the NVRAM image itself.
    Tag,
    /// A copy: a file for an NVRAM, a directory for a TPM.
    Copy(Utf8PathBuf),
}

/// All side state of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SideStates {
    /// Each piece.
    pub all: Vec<SideState>,
    /// The directory of the copies that the machine's snapshots have.
    pub copies: Utf8PathBuf,
}

impl SideStates {
    /// Where the copy of a piece is that belongs to the snapshot of that name and time. A tree that was forgotten and is
    /// redefined finds its copies there again.
    #[must_use]
    pub fn copy(&self, of: &SideState, creation_time: i64, snapshot: &str) -> Utf8PathBuf {
        self.copies.join(creation_time.to_string()).join(snapshot).join(of.copy_name())
    }
    /// The firmware's variables.
    #[must_use]
    pub fn nvram(&self) -> Option<&Nvram> {
        self.all.iter().find_map(|s| match s {
            SideState::Nvram(nvram) => Some(nvram),
            SideState::Tpm(_) => None,
        })
    }
}

//! libvirt's public flag words, bit for bit (section B of `include/libvirt/libvirt-domain-snapshot.h`).

use crate::error::{Code, Error, Result};

macro_rules! flags {
    ($(#[$doc:meta])* $name:ident { $($(#[doc = $fdoc:literal])* $flag:ident = $bit:expr;)* }) => {
        bitflags::bitflags! {
            $(#[$doc])*
            #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
            pub struct $name: u32 { $($(#[doc = $fdoc])* const $flag = $bit;)* }
        }
        impl $name {
            /// Every bit must be one we know; else libvirt's error names the unknown bits and
            /// the call.
            pub fn parse(bits: u32, call: &str) -> Result<Self> {
                Self::from_bits(bits).ok_or_else(|| unsupported(bits & !Self::all().bits(), call))
            }
        }
    };
}

/// libvirt's answer to bits it does not know (`src/internal.h: virCheckFlags`).
#[must_use]
pub fn unsupported(bits: u32, call: &str) -> Error {
    Error::bare(Code::InvalidArg, format!("unsupported flags (0x{bits:x}) in function {call}"))
}

/// libvirt's answer to two flags that exclude each other.
#[must_use]
pub fn exclusive(a: &str, b: &str) -> Error {
    Error::bare(Code::InvalidArg, format!("Flags '{a}' and '{b}' are mutually exclusive"))
}

/// libvirt's answer to a flag given without the one it needs.
#[must_use]
pub fn requires(given: &str, needed: &str) -> Error {
    Error::bare(Code::InvalidArg, format!("Flag '{needed}' is required by flag '{given}'"))
}

/// For calls whose flag word must be zero.
pub fn none(bits: u32, call: &str) -> Result<()> {
    if bits == 0 { Ok(()) } else { Err(unsupported(bits, call)) }
}

flags! {
    /// `virDomainSnapshotCreateFlags`.
    CreateFlags {
        /// Only metadata: the snapshot exists already.
        REDEFINE = 0x1;
        /// With REDEFINE: make it the current one.
        CURRENT = 0x2;
        /// Take it, but do not remember it.
        NO_METADATA = 0x4;
        /// Stop the guest after the snapshot.
        HALT = 0x8;
        /// No memory.
        DISK_ONLY = 0x10;
        /// Use overlay files that exist.
        REUSE_EXT = 0x20;
        /// Freeze the guest's file systems meanwhile.
        QUIESCE = 0x40;
        /// All disks or none; always true here.
        ATOMIC = 0x80;
        /// Keep the guest running while its memory is saved.
        LIVE = 0x100;
        /// Check the XML against the schema.
        VALIDATE = 0x200;
    }
}
flags! {
    /// `virDomainSnapshotListFlags`; bit 0 is ROOTS on a domain and DESCENDANTS on a snapshot.
    ListFlags {
        /// Roots only (domain), or all descendants (snapshot).
        ROOTS_OR_DESCENDANTS = 0x1;
        /// Those with metadata.
        METADATA = 0x2;
        /// Those without children.
        LEAVES = 0x4;
        /// Those with children.
        NO_LEAVES = 0x8;
        /// Those without metadata (none).
        NO_METADATA = 0x10;
        /// State shutoff.
        INACTIVE = 0x20;
        /// State running, paused, ….
        ACTIVE = 0x40;
        /// State disk-snapshot.
        DISK_ONLY = 0x80;
        /// Internal ones.
        INTERNAL = 0x100;
        /// External ones.
        EXTERNAL = 0x200;
        /// Parents before children.
        TOPOLOGICAL = 0x400;
    }
}
flags! {
    /// `virDomainSnapshotRevertFlags`.
    RevertFlags {
        /// Running afterwards.
        RUNNING = 0x1;
        /// Paused afterwards.
        PAUSED = 0x2;
        /// Even where risky.
        FORCE = 0x4;
        /// A fresh NVRAM from its template.
        RESET_NVRAM = 0x8;
    }
}
flags! {
    /// `virDomainSnapshotDeleteFlags`.
    DeleteFlags {
        /// The snapshot and all below it.
        CHILDREN = 0x1;
        /// Forget it, touch no image.
        METADATA_ONLY = 0x2;
        /// All below it, not itself.
        CHILDREN_ONLY = 0x4;
    }
}
flags! {
    /// `virDomainUndefineFlagsValues`.
    UndefineFlags {
        /// Also remove a managed-save image.
        MANAGED_SAVE = 0x1;
        /// Also forget all snapshots.
        SNAPSHOTS_METADATA = 0x2;
        /// Also remove the NVRAM file.
        NVRAM = 0x4;
        /// Keep the NVRAM file.
        KEEP_NVRAM = 0x8;
        /// Also forget checkpoints.
        CHECKPOINTS_METADATA = 0x10;
        /// Also remove TPM state.
        TPM = 0x20;
        /// Keep TPM state.
        KEEP_TPM = 0x40;
    }
}
flags! {
    /// `virDomainCreateFlags`.
    StartFlags {
        /// Do not run the guest's CPUs yet.
        PAUSED = 0x1;
        /// Destroy the guest when the client leaves.
        AUTODESTROY = 0x2;
        /// Ignore the file-system cache at a restore.
        BYPASS_CACHE = 0x4;
        /// Drop a managed-save image.
        FORCE_BOOT = 0x8;
        /// Check the XML against the schema.
        VALIDATE = 0x10;
        /// A fresh NVRAM from its template.
        RESET_NVRAM = 0x20;
    }
}
flags! {
    /// `virDomainSaveRestoreFlags`.
    SaveFlags {
        /// Ignore the file-system cache.
        BYPASS_CACHE = 0x1;
        /// It runs when it is restored, whatever it does now.
        RUNNING = 0x2;
        /// It is paused when it is restored, whatever it does now.
        PAUSED = 0x4;
    }
}
flags! {
    /// `virDomainXMLFlags`.
    XmlFlags {
        /// With passwords.
        SECURE = 0x1;
        /// The persistent definition, also of a running domain.
        INACTIVE = 0x2;
        /// With the host's CPU filled in.
        UPDATE_CPU = 0x4;
        /// As migration wants it.
        MIGRATABLE = 0x8;
    }
}

//! Save files of `xl`: whether one is whole.
//!
//! ```text
//!   0   magic[32] "Xen saved domain, xl format\n \0 \r"
//!  32   byte order, mandatory flags, optional flags, length of the optional data: u32 each
//!  48   optional data (the configuration)
//!       libxl stream: "LibxlFmt", version, options; records of type, length, body (padded to 8); ends with type 0
//!         the body of record type 1 is empty, and a libxc stream stands behind it:
//!           image header (24 bytes), domain header (16 bytes), records of the same form; ends with type 0
//! ```
//!
//! From Xen's `docs/specs/libxl-migration-stream` and `libxc-migration-stream`. A save that ran out of space, or whose `xl`
//! was killed, ends in the middle of a record. Written by hand: no crate reads it, and it is a walk over lengths.

use std::fs::File;
use std::os::unix::fs::FileExt;

const MAGIC: &[u8; 32] = b"Xen saved domain, xl format\n \0 \r";
const LIBXL: &[u8; 8] = b"LibxlFmt";
const END: u32 = 0;
const LIBXC_CONTEXT: u32 = 1;
/// Of a libxc image header, and of the domain header behind it.
const LIBXC_HEADERS: u64 = 24 + 16;
const LIBXC_ID: u32 = 0x5845_4e46;

struct Walk<'f> {
    file: &'f File,
    at: u64,
    end: u64,
}

impl Walk<'_> {
    fn u32(&self, at: u64) -> Option<u32> {
        let mut bytes = [0; 4];
        self.file.read_exact_at(&mut bytes, at).ok()?;
        Some(u32::from_le_bytes(bytes))
    }

    /// The type of the record that begins here; goes to the next one.
    fn record(&mut self) -> Option<u32> {
        let (kind, length) = (self.u32(self.at)?, self.u32(self.at + 4)?);
        self.at += 8 + u64::from(length).next_multiple_of(8);
        (self.at <= self.end).then_some(kind)
    }

    fn libxc(&mut self) -> Option<()> {
        let mut id = [0; 4];
        self.file.read_exact_at(&mut id, self.at + 8).ok()?;
        if u32::from_be_bytes(id) != LIBXC_ID {
            return None;
        }
        self.at += LIBXC_HEADERS;
        while self.record()? != END {}
        Some(())
    }

    fn whole(&mut self) -> Option<()> {
        let mut magic = [0; 32];
        self.file.read_exact_at(&mut magic, 0).ok()?;
        if magic != *MAGIC {
            return None;
        }
        self.at = 48 + u64::from(self.u32(44)?);
        let mut stream = [0; 8];
        self.file.read_exact_at(&mut stream, self.at).ok()?;
        if stream != *LIBXL {
            return None;
        }
        self.at += 16;
        loop {
            match self.record()? {
                END => return Some(()),
                LIBXC_CONTEXT => self.libxc()?,
                _ => {}
            }
        }
    }
}

/// Whether the file is a save file of `xl` from its beginning to its end.
pub(super) fn is_complete(file: &File) -> bool {
    let Ok(end) = file.metadata().map(|m| m.len()) else { return false };
    Walk { file, at: 0, end }.whole().is_some()
}

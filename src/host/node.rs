//! The machine itself: its name, its identity, its memory.
//!
//! Must not know: domains.

use crate::error::{Error, Result};
use std::fs;

/// `uname`'s node name.
#[must_use]
pub fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The machine's D-Bus identity, 32 hex digits (machine-id(5)).
pub fn machine_id() -> Result<String> {
    let read = |path| fs::read_to_string(path).map_err(|e| Error::system(format_args!("Unable to read {path}"), &e));
    Ok(read("/etc/machine-id").or_else(|_| read("/var/lib/dbus/machine-id"))?.trim().to_owned())
}

/// Total, free, buffers and cached memory in KiB, by libvirt's names (`virHostMemGetStats`).
pub fn memory() -> Result<Vec<(String, u64)>> {
    const PATH: &str = "/proc/meminfo";
    let text = fs::read_to_string(PATH).map_err(|e| Error::system(format_args!("Unable to open {PATH}"), &e))?;
    Ok(parse_memory(&text))
}

fn parse_memory(text: &str) -> Vec<(String, u64)> {
    let names = [("MemTotal", "total"), ("MemFree", "free"), ("Buffers", "buffers"), ("Cached", "cached")];
    let mut found = Vec::new();
    for line in text.lines() {
        let Some((key, value)) = line.split_once(':') else { continue };
        let kib = value.trim().trim_end_matches(" kB").parse();
        if let (Some((_, name)), Ok(kib)) = (names.iter().find(|(k, _)| *k == key), kib) {
            found.push(((*name).to_owned(), kib));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_by_name_in_kib() {
        let text = "MemTotal:       16384 kB\nMemFree:  5 kB\nMemAvailable: 9 kB\nBuffers: 1 kB\nCached: x kB\n";
        let expected = [("total", 16384), ("free", 5), ("buffers", 1)].map(|(n, v)| (n.to_owned(), v));
        assert_eq!(parse_memory(text), expected);
    }
}

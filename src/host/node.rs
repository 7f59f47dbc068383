//! The machine itself: its name, its identity, its memory and its CPUs.
//!
//! Must not know: domains.

use crate::error::{Code, Error, Result};
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

/// Its CPUs by number: whether each is online (`virHostCPUGetMap`).
pub fn cpus() -> Result<Vec<bool>> {
    let read = |name: &str| {
        let path = format!("/sys/devices/system/cpu/{name}");
        fs::read_to_string(&path).map_err(|e| Error::system(format_args!("Unable to read {path}"), &e))
    };
    let (present, online) = (parse_list(&read("present")?), parse_list(&read("online")?));
    Ok((0..present.last().map_or(0, |last| last + 1)).map(|cpu| online.contains(&cpu)).collect())
}

/// The numbers of a list such as `0-3,7`; what is no number is passed over.
fn parse_list(text: &str) -> Vec<u32> {
    /// More than any machine has.
    const MOST: u32 = 1 << 16;
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse().ok()?..=last.parse::<u32>().ok()?.min(MOST))
    };
    text.trim().split(',').filter_map(range).flatten().collect()
}

/// What a CPU, or all of them (-1), did so far: nanoseconds by libvirt's names (`virHostCPUGetStatsLinux`).
pub fn cpu_times(cpu: i32) -> Result<Vec<(String, u64)>> {
    const PATH: &str = "/proc/stat";
    let text = fs::read_to_string(PATH).map_err(|e| Error::system(format_args!("Unable to open {PATH}"), &e))?;
    parse_times(&text, cpu, rustix::param::clock_ticks_per_second())
        .ok_or_else(|| Error::new(Code::InvalidArg, format!("Invalid cpuNum in virHostCPUGetStatsLinux: {cpu}")))
}

/// The line of `/proc/stat`: user, nice, system, idle, iowait, irq, softirq, in ticks (proc(5)).
fn parse_times(text: &str, cpu: i32, ticks: u64) -> Option<Vec<(String, u64)>> {
    let name = if cpu == -1 { "cpu".to_owned() } else { format!("cpu{cpu}") };
    let line = text.lines().find_map(|line| line.strip_prefix(&name)?.strip_prefix(' '))?;
    let numbers: Vec<u64> = line.split_ascii_whitespace().map_while(|n| n.parse().ok()).collect();
    let &[user, nice, system, idle, iowait, irq, softirq, ..] = numbers.as_slice() else { return None };
    let nanoseconds = |n: u64| n.saturating_mul(1_000_000_000 / ticks.max(1));
    let times = [("kernel", system + irq + softirq), ("user", user + nice), ("idle", idle), ("iowait", iowait)];
    Some(times.map(|(name, n)| (name.to_owned(), nanoseconds(n))).to_vec())
}

/// KiB of memory that a process takes; `None` if it is gone.
#[must_use]
pub fn resident(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
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

    #[test]
    fn cpus_are_listed_in_ranges() {
        assert_eq!(parse_list("0-2,5\n"), [0, 1, 2, 5]);
        assert_eq!(parse_list("0\n"), [0]);
        assert!(parse_list("\n").is_empty());
    }

    #[test]
    fn the_times_of_a_cpu_are_in_nanoseconds() {
        let text = "cpu  10 1 3 100 7 2 4 0 0 0\ncpu0 1 0 1 1 1 0 0 0 0 0\nintr 5\n";
        let all = [("kernel", 90_000_000), ("user", 110_000_000), ("idle", 1_000_000_000), ("iowait", 70_000_000)];
        assert_eq!(parse_times(text, -1, 100).unwrap(), all.map(|(n, v)| (n.to_owned(), v)));
        assert_eq!(parse_times(text, 0, 100).unwrap()[1], ("user".to_owned(), 10_000_000));
        assert_eq!(parse_times(text, 1, 100), None);
        assert_eq!(parse_times(text, -2, 100), None);
    }
}

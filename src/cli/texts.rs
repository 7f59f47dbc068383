//! libvirt's numbers for a domain's state in virsh's words (`tools/virsh-domain-monitor.c`).

/// `virDomainState`.
#[must_use]
pub fn state(state: i32) -> &'static str {
    match state {
        1 => "running",
        2 => "idle",
        3 => "paused",
        4 => "in shutdown",
        5 => "shut off",
        6 => "crashed",
        7 => "pmsuspended",
        _ => "no state",
    }
}

/// The reason that belongs to that state.
#[must_use]
pub fn reason(state: i32, reason: i32) -> &'static str {
    const RUNNING: &[&str] = &[
        "unknown",
        "booted",
        "migrated",
        "restored",
        "from snapshot",
        "unpaused",
        "migration canceled",
        "save canceled",
        "event wakeup",
        "crashed",
        "post-copy",
        "post-copy failed",
    ];
    const PAUSED: &[&str] = &[
        "unknown",
        "user",
        "migrating",
        "saving",
        "dumping",
        "I/O error",
        "watchdog",
        "from snapshot",
        "shutting down",
        "creating snapshot",
        "crashed",
        "starting up",
        "post-copy",
        "post-copy failed",
        "API error",
    ];
    const SHUTOFF: &[&str] =
        &["unknown", "shutdown", "destroyed", "crashed", "migrated", "saved", "failed", "from snapshot", "daemon"];
    let reasons = match state {
        1 => RUNNING,
        3 => PAUSED,
        4 => &["unknown", "user"],
        5 => SHUTOFF,
        6 => &["unknown", "panicked"],
        _ => &[],
    };
    usize::try_from(reason).ok().and_then(|i| reasons.get(i)).copied().unwrap_or("unknown")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_nobody_knows_is_no_failure() {
        assert_eq!((state(1), reason(1, 4)), ("running", "from snapshot"));
        assert_eq!((state(3), reason(3, 14)), ("paused", "API error"));
        assert_eq!((state(5), reason(5, 7)), ("shut off", "from snapshot"));
        assert_eq!((state(99), reason(99, 1)), ("no state", "unknown"));
        assert_eq!(reason(1, -1), "unknown");
    }
}

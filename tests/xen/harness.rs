//! What the tests stand on: the Xen host, a `virsnapd` in its dom0, and guests that know what their
//! memory and their disks hold. The D-Bus client is that of the tests on QEMU.

#![allow(dead_code, unused_imports)] // it is there for tests to come

#[path = "../e2e/harness/client.rs"]
pub mod client;
pub mod daemon;
#[path = "../e2e/harness/events.rs"]
pub mod events;
pub mod guest;
#[path = "../e2e/harness/patience.rs"]
pub mod patience;
pub mod rig;

pub use client::{Client, Domain, Failure, Refused, Snapshot};
pub use daemon::Daemon;
pub use events::Events;
pub use guest::{Disk, Guest};
pub use patience::eventually;
pub use rig::{Done, Rig};

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// For one thing to happen, where processors are emulated and shared.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A name that no other test on this machine uses: short, and of letters and digits.
fn unique(label: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("{label}x{}x{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Ask until there is an answer or the time is over.
fn within<T>(time: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    loop {
        let answer = ask();
        if answer.is_some() || start.elapsed() > time {
            return answer;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

//! The Test driver, for authors of clients: a service whose host and store are in memory, with one running domain.
//!
//! It is the whole daemon, planner, journal and events included, on [`sim`](crate::host::sim): what a client sees
//! of a snapshot is what it would see on QEMU. Every process has its own, and nothing of it is left behind.
//!
//! Where libvirt's `test:///default` and its QEMU driver differ, this is QEMU's: names of snapshots are checked, every
//! flag is known, and a revert changes what the guest has on its disks (K39). A power button is obeyed at once, as there.

use super::service::{Clock, Service};
use crate::error::Result;
use crate::host::sim::{SimHost, World, machine};
use crate::store::Store;
use std::sync::{Arc, Mutex};
use tokio::sync::mpsc;

impl Service {
    /// A new one; its domain `test` runs. Must be called within a tokio runtime.
    pub async fn test_driver(clock: Clock) -> Result<Self> {
        let (events, host_events) = mpsc::unbounded_channel();
        let host = SimHost::new(Arc::new(Mutex::new(World::of_test_driver())), Arc::default(), events);
        let service = Self::open(Store::in_memory()?, Arc::new(host), host_events, clock).await?;
        let test = service.define(machine::DOMAIN).await?;
        service.start(test, 0).await?;
        Ok(service)
    }
}

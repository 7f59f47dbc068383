//! QMP's events, told as [`HostEvent`]s: what happened without our asking.
//!
//! ```text
//!   STOP, RESUME ── while an OwnPause lives ──▶ nothing
//!                └─ otherwise ──▶ Paused, Resumed
//!   SHUTDOWN ──▶ Shutdown;   end of the connection ── and of the process ──▶ Gone
//! ```
//!
//! Must not know: who listens.

use super::copies;
use super::instance::{Info, InstanceDir};
use super::pidfd::Process;
use super::process::{Registry, RunningQemu};
use super::qmp::QmpEvent;
use crate::host::{HostEvent, HostEventKind};
use crate::model::block_job::BlockJobKind;
use serde_json::json;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::{broadcast, mpsc};

/// `virConnectDomainEventBlockJobStatus`.
const COMPLETED: i32 = 0;
const FAILED: i32 = 1;
const CANCELED: i32 = 2;
const READY: i32 = 3;

/// One task per QEMU, which ends with it.
pub(super) struct Watch {
    pub(super) qemu: Arc<RunningQemu>,
    pub(super) process: Arc<Process>,
    pub(super) info: Info,
    pub(super) dir: InstanceDir,
    pub(super) registry: Arc<Registry>,
    pub(super) events: mpsc::UnboundedSender<HostEvent>,
    pub(super) pauses_ended: mpsc::UnboundedReceiver<()>,
}

#[derive(Default)]
struct Seen {
    shutdown: bool,
    crashed: bool,
    io_error: bool,
}

impl Watch {
    /// Tell events from now on.
    pub(super) fn start(self) {
        let events = self.qemu.monitor.subscribe();
        tokio::spawn(self.run(events));
    }

    async fn run(mut self, mut qmp: broadcast::Receiver<QmpEvent>) {
        let mut seen = Seen::default();
        loop {
            tokio::select! {
                biased;
                event = qmp.recv() => match event {
                    Ok(event) => self.tell(&event, &mut seen).await,
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => break,
                },
                Some(()) = self.pauses_ended.recv() => {
                    // What came before the guard's end is ours still.
                    self.drain(&mut qmp, &mut seen).await;
                    self.qemu.own.pauses.fetch_sub(1, Ordering::SeqCst);
                }
                () = self.qemu.monitor.gone() => break,
            }
        }
        self.drain(&mut qmp, &mut seen).await;
        self.process.exited().await;
        self.registry.remove(self.qemu.instance);
        let ours = self.qemu.own.killing.load(Ordering::SeqCst);
        if !ours {
            if !seen.shutdown {
                let log = self.dir.log_tail();
                tracing::warn!(domain = %self.info.name, pid = self.qemu.pid, log, "QEMU has ended without notice");
            }
            self.dir.remove();
            self.send(HostEventKind::Gone { clean: seen.shutdown });
        }
    }

    async fn drain(&self, qmp: &mut broadcast::Receiver<QmpEvent>, seen: &mut Seen) {
        loop {
            match qmp.try_recv() {
                Ok(event) => self.tell(&event, seen).await,
                Err(TryRecvError::Lagged(_)) => {}
                Err(TryRecvError::Empty | TryRecvError::Closed) => return,
            }
        }
    }

    async fn tell(&self, event: &QmpEvent, seen: &mut Seen) {
        let own = self.qemu.own.pauses.load(Ordering::SeqCst) > 0;
        match event.name.as_str() {
            "SHUTDOWN" => {
                let guest = event.data["guest"].as_bool().unwrap_or(false);
                if guest && self.info.restart_on_poweroff && event.data["reason"] == "guest-shutdown" {
                    return self.restart().await;
                }
                seen.shutdown = true;
                self.send(HostEventKind::Shutdown { guest });
            }
            // A revert within the running machine.
            "RESET" if event.data["reason"] == "snapshot-load" => {}
            "RESET" => {
                seen.crashed = false;
                self.send(HostEventKind::Reset);
            }
            "BLOCK_IO_ERROR" => seen.io_error |= event.data["action"] == "stop",
            "STOP" if std::mem::take(&mut seen.io_error) => self.send(HostEventKind::Paused { io_error: true }),
            // QEMU stops the CPUs after these, and that is all part of the same news.
            "STOP" if seen.shutdown || seen.crashed => {}
            "STOP" if !own => self.send(HostEventKind::Paused { io_error: false }),
            "RESUME" if !own => self.send(HostEventKind::Resumed),
            "BLOCK_JOB_READY" => self.copy(event, READY),
            "BLOCK_JOB_CANCELLED" => self.copy(event, CANCELED),
            "BLOCK_JOB_COMPLETED" if event.data["error"].is_string() => self.copy(event, FAILED),
            "BLOCK_JOB_COMPLETED" => self.copy(event, COMPLETED),
            "BALLOON_CHANGE" => {
                if let Some(bytes) = event.data["actual"].as_u64() {
                    self.send(HostEventKind::Memory { kib: bytes >> 10 });
                }
            }
            "GUEST_PANICKED" => {
                if self.info.restart_on_crash {
                    return self.restart().await;
                }
                seen.crashed = true;
                self.send(HostEventKind::Crashed);
            }
            _ => {}
        }
    }

    /// News of a copy that a client has started; other jobs are steps of our own, which tell of themselves.
    fn copy(&self, event: &QmpEvent, status: i32) {
        let id = event.data["device"].as_str().unwrap_or_default();
        if let Some(disk) = copies::disk_of(&self.qemu, id) {
            let given_up = status == COMPLETED
                && self.qemu.own.given_up.lock().unwrap_or_else(PoisonError::into_inner).contains(id);
            let status = if given_up { CANCELED } else { status };
            self.send(HostEventKind::BlockJob { disk: disk.0, job: BlockJobKind::Copy as i32, status });
        }
    }

    /// `on_poweroff` or `on_crash` is `restart`: the same QEMU boots again.
    async fn restart(&self) {
        let guard = self.qemu.own_pause();
        for command in ["system_reset", "cont"] {
            if let Err(error) = self.qemu.monitor.execute(command, json!({})).await {
                tracing::warn!(domain = %self.info.name, %error, "cannot restart the guest");
            }
        }
        drop(guard);
    }

    fn send(&self, kind: HostEventKind) {
        if self.qemu.own.killing.load(Ordering::SeqCst) {
            return;
        }
        let event = HostEvent { domain: self.qemu.domain, instance: self.qemu.instance, kind };
        // Nobody listening means that the daemon is ending.
        let _ = self.events.send(event);
    }
}

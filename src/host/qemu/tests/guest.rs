//! A real QEMU with the counting guest of `tests/guest`, on two qcow2 disks.

use crate::error::Result;
use crate::host::qemu::process::{OwnCommands, RunningDisk, RunningQemu};
use crate::host::qemu::qmp::Monitor;
use crate::host::qemu::steps::{self, Guests};
use crate::host::{HostEvent, HostEventKind, Note, Report, StepProgress};
use crate::model::ids::{DiskTarget, DomainId, Image, Instance, OpId};
use crate::plan::steps::{Prepare, Settle, SwitchBy, SwitchDisk};
use async_trait::async_trait;
use camino::{Utf8Path, Utf8PathBuf};
use serde_json::{Map, json};
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

pub(super) const OP: OpId = OpId(7);

/// Files, and at most one QEMU on them.
pub(super) struct World {
    dir: tempfile::TempDir,
    /// MiB of memory, of which the guest fills what is above 32.
    memory: u32,
    running: Mutex<Option<(Child, Arc<RunningQemu>)>>,
    pub(super) events: Mutex<Vec<HostEventKind>>,
    pub(super) pauses: Mutex<Vec<u64>>,
}

impl Drop for World {
    fn drop(&mut self) {
        self.kill_qemu();
    }
}

#[async_trait]
impl Guests for World {
    async fn running(&self, instance: Instance) -> Option<Arc<RunningQemu>> {
        let running = self.running.lock().unwrap();
        running.as_ref().map(|(_, q)| q.clone()).filter(|q| q.instance == instance)
    }
    fn emit(&self, event: HostEvent) {
        self.events.lock().unwrap().push(event.kind);
    }
    async fn kill(&self, _: Instance, _: bool) -> Result<()> {
        self.kill_qemu();
        Ok(())
    }
}

impl Report for World {
    fn progress(&self, _: StepProgress) {}
    fn paused_for(&self, microseconds: u64) {
        self.pauses.lock().unwrap().push(microseconds);
    }
}

fn run(program: &str, args: &[&str]) {
    let out = Command::new(program).args(args).output().unwrap();
    assert!(out.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&out.stderr));
}

impl World {
    /// Two disks, `a.qcow2` with the guest in it and `b.qcow2`; nothing runs.
    fn new(memory: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let world = Self { dir, memory, running: Mutex::default(), events: Mutex::default(), pauses: Mutex::default() };
        let mut guest = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/guest/counter.bin")).unwrap();
        guest[0x10..0x14].copy_from_slice(&(memory - 32).to_le_bytes());
        guest.resize(8 << 20, 0);
        std::fs::write(world.path("raw"), guest).unwrap();
        run("qemu-img", &["convert", "-O", "qcow2", world.path("raw").as_str(), world.path("a.qcow2").as_str()]);
        run("qemu-img", &["create", "-q", "-f", "qcow2", world.path("b.qcow2").as_str(), "8M"]);
        world
    }
    /// The same, running until it has counted a little.
    pub(super) async fn running() -> Self {
        Self::running_with(32).await
    }
    pub(super) async fn running_with(memory: u32) -> Self {
        let world = Self::new(memory);
        world.start(&["a.qcow2", "b.qcow2"], &[]).await;
        world.cont().await;
        world.counted(2).await;
        world
    }

    pub(super) fn path(&self, name: &str) -> Utf8PathBuf {
        Utf8Path::from_path(self.dir.path()).unwrap().join(name)
    }
    pub(super) fn image(&self, name: &str) -> Image {
        Image { path: self.path(name), format: "qcow2".into() }
    }
    /// Disk `a` or `b` from its image to an overlay.
    pub(super) fn switch(&self, disk: &str, old: &str, overlay: &str) -> SwitchDisk {
        SwitchDisk {
            target: DiskTarget(format!("vd{disk}")),
            old: self.image(old),
            overlay: self.image(overlay),
            node: format!("v7-{overlay}"),
            reused: false,
            by: SwitchBy::Snapshot,
        }
    }

    /// Start QEMU with its CPUs stopped.
    pub(super) async fn start(&self, disks: &[&str], more: &[&str]) {
        let emulator = std::env::var("VIRSNAP_TEST_EMULATOR").unwrap_or("qemu-system-x86_64".into());
        let mut args: Vec<String> =
            ["-nodefaults", "-machine", "pc,accel=tcg", "-display", "none", "-S", "-m"].map(str::to_owned).to_vec();
        args.push(self.memory.to_string());
        let (qmp, serial) = (self.path("qmp"), self.path("serial"));
        let _ = std::fs::remove_file(&qmp);
        std::fs::write(&serial, "").unwrap();
        args.extend(["-qmp".into(), format!("unix:{qmp},server=on,wait=off")]);
        args.extend(["-serial".into(), format!("file:{serial}")]);
        let mut running = Vec::new();
        for (i, (disk, name)) in disks.iter().zip(["a", "b"]).enumerate() {
            let file = json!({ "driver": "file", "node-name": format!("{name}-f"), "filename": self.path(disk) });
            let format = json!({ "driver": "qcow2", "node-name": format!("{name}-0"), "file": format!("{name}-f") });
            args.extend(["-blockdev".into(), file.to_string(), "-blockdev".into(), format.to_string()]);
            args.extend(["-device".into(), format!("virtio-blk-pci,drive={name}-0,id=dev-{name},bootindex={i}")]);
            let options = Map::default();
            running.push(RunningDisk {
                target: DiskTarget(format!("vd{name}")),
                device: format!("dev-{name}"),
                options,
            });
        }
        let mut child =
            Command::new(emulator).args(args).args(more).stderr(std::process::Stdio::null()).spawn().unwrap();
        let monitor = loop {
            match Monitor::connect(&qmp, Duration::from_secs(5)).await {
                Ok(monitor) => break monitor,
                Err(_) if child.try_wait().unwrap().is_none() => tokio::time::sleep(Duration::from_millis(5)).await,
                Err(error) => panic!("{error}"),
            }
        };
        let own = Arc::new(OwnCommands {
            pauses: Default::default(),
            killing: Default::default(),
            given_up: Default::default(),
            ended: tokio::sync::mpsc::unbounded_channel().0,
        });
        let qemu = RunningQemu {
            domain: DomainId(uuid::Uuid::nil()),
            instance: Instance(uuid::Uuid::new_v4()),
            monitor,
            pid: child.id(),
            dir: self.path(""),
            disks: running,
            agent: None,
            own,
        };
        *self.running.lock().unwrap() = Some((child, Arc::new(qemu)));
    }
    pub(super) fn qemu(&self) -> Arc<RunningQemu> {
        self.running.lock().unwrap().as_ref().unwrap().1.clone()
    }
    pub(super) fn instance(&self) -> Instance {
        self.qemu().instance
    }
    pub(super) fn kill_qemu(&self) {
        if let Some((mut child, _)) = self.running.lock().unwrap().take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
    pub(super) async fn cont(&self) {
        self.qemu().monitor.execute("cont", json!({})).await.unwrap();
    }
    pub(super) async fn status(&self) -> String {
        super::super::cpu::status(&self.qemu()).await.unwrap()
    }
    /// Wait until the guest has printed that many more lines.
    pub(super) async fn counted(&self, lines: usize) {
        let begun = Instant::now();
        let count = || std::fs::read_to_string(self.path("serial")).unwrap().matches("M=").count();
        let before = count();
        while count() < before + lines {
            assert!(begun.elapsed() < Duration::from_secs(20), "the guest stands still: {}", self.status().await);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    /// The counters that the guest has printed since it was started: memory, disks.
    pub(super) fn lines(&self) -> Vec<[u32; 3]> {
        let text = std::fs::read_to_string(self.path("serial")).unwrap();
        assert!(!text.contains("ERROR"), "{text}");
        let number = |word: &str| u32::from_str_radix(word.split('=').nth(1)?, 16).ok();
        let complete = |line: &str| {
            let words: Vec<u32> = line.split(' ').filter_map(number).collect();
            <[u32; 3]>::try_from(words).ok()
        };
        text.split_inclusive('\n').filter(|l| l.ends_with('\n')).filter_map(|l| complete(l.trim_end())).collect()
    }
    /// The counter of an image, whose whole content is checked to be what the guest wrote until then.
    pub(super) fn stamp(&self, name: &str) -> u32 {
        let raw = self.path("content");
        run("qemu-img", &["convert", "-U", "-f", "qcow2", "-O", "raw", self.path(name).as_str(), raw.as_str()]);
        let bytes = std::fs::read(raw).unwrap();
        let word = |lba: usize| u32::from_le_bytes(bytes[lba * 512..][..4].try_into().unwrap());
        let stamp = word(64);
        for slot in 0..64u32 {
            let found = word(1024 + 128 * slot as usize);
            let last = stamp.saturating_sub(stamp.wrapping_sub(slot) % 64);
            let begun = (stamp + 1) % 64 == slot && found == stamp + 1;
            assert!(found == last || begun, "{name}: slot {slot} holds {found}, stamp {stamp}");
        }
        stamp
    }
    /// `qemu-img check`; leaks are allowed.
    pub(super) fn check(&self, name: &str) {
        let out = Command::new("qemu-img").args(["check", "-f", "qcow2", self.path(name).as_str()]).output().unwrap();
        assert!(matches!(out.status.code(), Some(0 | 3)), "{name}: {}", String::from_utf8_lossy(&out.stdout));
    }

    pub(super) async fn prepare(&self, step: &Prepare) -> Result<Option<Note>> {
        steps::prepare(self, OP, step, self).await
    }
    pub(super) async fn undo(&self, step: &Prepare) {
        for _ in 0..2 {
            steps::undo(self, OP, step, None).await.unwrap();
        }
    }
    /// Once, and once more.
    pub(super) async fn settle(&self, step: &Settle) {
        for _ in 0..2 {
            steps::settle(self, OP, step, self).await.unwrap();
        }
    }
    pub(super) async fn settle_once(&self, step: &Settle) -> Result<()> {
        steps::settle(self, OP, step, self).await
    }
    /// Make overlay files and open them.
    pub(super) async fn overlays(&self, disks: &[SwitchDisk]) {
        for disk in disks {
            let path = disk.overlay.path.clone();
            self.prepare(&Prepare::Reserve { path, existing: crate::plan::steps::Existing::Refuse }).await.unwrap();
            let format = Prepare::Format { image: disk.overlay.clone(), backing: disk.old.clone() };
            self.prepare(&format).await.unwrap();
        }
        self.prepare(&Prepare::AddNodes { instance: self.instance(), disks: disks.to_vec() }).await.unwrap();
    }
    /// Put a layer on each disk and let the guest write into it.
    pub(super) async fn layer(&self, disks: &[SwitchDisk]) {
        self.overlays(disks).await;
        if let Err(error) = steps::switch(self, self.instance(), disks).await {
            panic!("{error:?}");
        }
        self.counted(3).await;
    }
    pub(super) async fn nodes(&self) -> Vec<String> {
        let nodes = self.qemu().monitor.execute("query-named-block-nodes", json!({ "flat": true })).await.unwrap();
        let mut names: Vec<String> =
            nodes.as_array().unwrap().iter().map(|n| n["node-name"].as_str().unwrap().to_owned()).collect();
        names.sort();
        names
    }
}

//! A real guest (`tests/guest/counter.S`), its files, and what its counters prove.

use super::client::flag;
use super::image::{self, Content};
use super::serial::{Line, Serial};
use super::{Client, Daemon, Domain, Failure, Snapshot, eventually};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Which QEMU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Qemu {
    /// The machine's own, or `VIRSNAP_TEST_EMULATOR`.
    Machine,
    /// The one that `tests/setup.sh` has unpacked.
    Backports,
}

impl Qemu {
    /// `None`: there is none, and why was said.
    pub fn emulator(self) -> Option<PathBuf> {
        match self {
            Self::Machine => {
                let chosen = std::env::var_os("VIRSNAP_TEST_EMULATOR").map(PathBuf::from);
                Some(chosen.unwrap_or_else(|| "/usr/bin/qemu-system-x86_64".into()))
            }
            Self::Backports => {
                let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("qemu-10");
                let emulator = target.join("bin/qemu-system-x86_64");
                if emulator.exists() {
                    return Some(emulator);
                }
                let why = std::fs::read_to_string(target.join("skip"))
                    .unwrap_or_else(|_| "SKIP: no second QEMU: tests/setup.sh has not run\n".into());
                print!("{why}");
                None
            }
        }
    }
}

/// libvirt's ways to take a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Inside the images; with memory if there is some.
    Internal,
    /// Overlays, no memory.
    DiskOnly,
    /// Overlays, and memory in a file.
    Memory,
}

/// What the guest does when something happens to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Off,
    Running,
    Paused,
}

impl State {
    /// `virDomainState`.
    pub fn of(number: i32) -> Self {
        match number {
            1 => Self::Running,
            3 => Self::Paused,
            5 => Self::Off,
            other => panic!("a domain state that the tests do not know: {other}"),
        }
    }
}

/// What kind of guest.
#[derive(Debug, Clone)]
pub struct Spec {
    pub name: String,
    pub uuid: uuid::Uuid,
    pub disks: usize,
    pub format: &'static str,
    pub bus: &'static str,
    /// qemu-img's word for a new disk.
    pub preallocation: &'static str,
    pub cache: Option<&'static str>,
    pub memory_mib: u32,
    /// MiB that the guest fills at boot.
    pub paint: u32,
    pub emulator: PathBuf,
    pub machine: &'static str,
    /// A directory for its files, else the daemon's.
    pub directory: Option<PathBuf>,
    /// More devices.
    pub devices: String,
}

impl Spec {
    pub fn disks(disks: usize) -> Self {
        Self {
            name: "counter".into(),
            uuid: uuid::Uuid::new_v4(),
            disks,
            format: "qcow2",
            bus: "virtio",
            preallocation: "off",
            cache: None,
            memory_mib: 32,
            paint: 0,
            emulator: Qemu::Machine.emulator().unwrap(),
            machine: "pc",
            directory: None,
            devices: String::new(),
        }
    }
}

/// What a snapshot holds, as found on disk right after it was taken.
#[derive(Debug, Clone)]
pub struct Truth {
    pub name: String,
    pub with_memory: bool,
    pub disks: Vec<Content>,
}

impl Truth {
    pub fn stamps(&self) -> Vec<u32> {
        self.disks.iter().map(|c| c.stamp).collect()
    }
}

pub struct Guest {
    pub domain: Domain,
    pub spec: Spec,
    pub directory: PathBuf,
    /// Files that were there before virsnap.
    pub originals: BTreeSet<PathBuf>,
}

impl Guest {
    /// Make the images and define the domain.
    pub async fn define(daemon: &Daemon, spec: Spec) -> Self {
        let directory = spec.directory.clone().unwrap_or_else(|| daemon.images().to_owned());
        for n in 0..spec.disks {
            image::create(&disk_path(&spec, &directory, n), &spec);
        }
        let originals = (0..spec.disks).map(|n| disk_path(&spec, &directory, n)).collect();
        let domain = daemon.client.define(&xml(&spec, &directory)).await.unwrap();
        Self { domain, spec, directory, originals }.heard()
    }

    fn heard(self) -> Self {
        let file = self.path(&format!("{}.serial", self.spec.name));
        self.domain.client.listens(&self.domain.path, file, super::daemon::hypervisors);
        self
    }

    /// The same guest through another client.
    pub async fn seen_by(&self, client: &Client) -> Self {
        let domain = client.lookup(&self.spec.name).await.unwrap();
        let (spec, directory) = (self.spec.clone(), self.directory.clone());
        Self { domain, spec, directory, originals: self.originals.clone() }.heard()
    }

    pub async fn running(self) -> Self {
        self.enter(State::Running).await;
        self
    }

    /// The domain XML that it was defined with.
    pub fn definition(&self) -> String {
        xml(&self.spec, &self.directory)
    }

    pub fn path(&self, file: &str) -> PathBuf {
        self.directory.join(file)
    }

    // What it says.

    pub fn serial(&self) -> Serial {
        let bytes = std::fs::read(self.path(&format!("{}.serial", self.spec.name))).unwrap_or_default();
        Serial::parse(&String::from_utf8_lossy(&bytes))
    }

    /// The newest line.
    pub fn last(&self) -> Line {
        self.serial().last().cloned().expect("the guest has said something")
    }

    pub async fn wait_beyond(&self, counter: u32) -> Line {
        eventually(&format!("the guest counts beyond {counter}"), || async {
            self.serial().last().filter(|line| line.memory > counter).cloned()
        })
        .await
    }

    /// It goes on counting; three ticks of proof.
    pub async fn counts(&self) {
        let now = eventually("the guest says something", || async { self.serial().last().cloned() }).await;
        self.wait_beyond(now.memory + 2).await;
        self.assert_agreement();
    }

    /// No disk access failed, and in no line do memory and disks differ.
    #[track_caller]
    pub fn assert_agreement(&self) {
        let serial = self.serial();
        assert!(!serial.words.iter().any(|w| w == "DISK-ERROR"), "the guest could not read or write a disk");
        for line in serial.whole() {
            assert_eq!(line.disks.len(), self.spec.disks, "the guest sees all its disks");
            assert!(line.agrees(), "memory and disks are not of the same instant: {line:?}");
        }
    }

    // What it does.

    pub async fn state(&self) -> State {
        State::of(self.domain.state().await.unwrap().0)
    }

    /// Bring it into a state by ordinary means; its disks hold something afterwards.
    pub async fn enter(&self, wanted: State) {
        match (self.state().await, wanted) {
            (State::Off, State::Off) if self.serial().lines.is_empty() => {
                self.boot().await;
                self.domain.destroy().await.unwrap();
            }
            (now, wanted) if now == wanted => {}
            (State::Off, _) => {
                self.boot().await;
                if wanted == State::Paused {
                    self.domain.suspend().await.unwrap();
                }
            }
            (_, State::Off) => self.domain.destroy().await.unwrap(),
            (_, State::Running) => {
                self.domain.resume().await.unwrap();
                self.counts().await;
            }
            (_, State::Paused) => self.domain.suspend().await.unwrap(),
        }
    }

    async fn boot(&self) {
        self.domain.create(0).await.unwrap();
        self.counts().await;
    }

    /// Let it write something more; afterwards it is in the state it was in.
    pub async fn advance(&self) {
        let state = self.state().await;
        match state {
            State::Off => self.boot().await,
            State::Paused => self.domain.resume().await.unwrap(),
            State::Running => {}
        }
        self.counts().await;
        self.enter(state).await;
    }

    // Snapshots.

    pub async fn create(&self, name: &str, kind: Kind) -> Result<Snapshot, Failure> {
        self.create_with(name, kind, 0).await
    }

    pub async fn create_with(&self, name: &str, kind: Kind, flags: u32) -> Result<Snapshot, Failure> {
        let flags = flags | if kind == Kind::DiskOnly { flag::DISK_ONLY } else { 0 };
        self.domain.snapshot_create(&self.snapshot_xml(name, kind), flags).await
    }

    pub fn snapshot_xml(&self, name: &str, kind: Kind) -> String {
        let memory = match kind {
            Kind::Memory => {
                let file = self.memory_file(name);
                format!("<memory snapshot='external' file='{}'/>", file.display())
            }
            Kind::Internal | Kind::DiskOnly => String::new(),
        };
        format!("<domainsnapshot><name>{name}</name><description>a test</description>{memory}</domainsnapshot>")
    }

    pub fn memory_file(&self, name: &str) -> PathBuf {
        self.path(&format!("{}.{name}.mem", self.spec.name))
    }

    /// Take a snapshot, check what is told about it, and learn what it holds.
    pub async fn take(&self, name: &str, kind: Kind) -> Truth {
        let state = self.state().await;
        let snapshot = self.create(name, kind).await.unwrap();
        assert_eq!(self.state().await, state, "a snapshot does not change what the guest does");
        assert!(snapshot.is_current().await.unwrap());
        if state == State::Running {
            self.counts().await;
        }
        self.truth(&snapshot).await
    }

    /// What a snapshot holds, from the images that its XML names.
    pub async fn truth(&self, snapshot: &Snapshot) -> Truth {
        let dump = snapshot.xml().await.unwrap();
        let document = roxmltree::Document::parse(&dump).unwrap();
        let root = document.root_element();
        let state = text(root, "state").unwrap();
        let name = text(root, "name").unwrap();
        let internal = root
            .descendants()
            .any(|n| n.has_tag_name("disk") && n.attribute("snapshot") == Some("internal") && in_disks(n));
        let domain = root.children().find(|n| n.has_tag_name("domain")).unwrap();
        let disks: Vec<_> = sources(domain)
            .iter()
            .map(|image| if internal { Content::of_tag(image, &name) } else { Content::of(image) })
            .collect();
        assert_eq!(disks.len(), self.spec.disks, "{dump}");
        for disk in &disks {
            disk.assert_whole();
        }
        Truth { name, with_memory: state == "running" || state == "paused", disks }
    }

    /// The guest, just reverted, holds what the snapshot held: memory, disks, both of one instant.
    /// It is left in the state the revert gave it, except that a paused guest runs afterwards.
    pub async fn assert_is_at(&self, truth: &Truth) {
        let stamp = truth.disks[0].stamp;
        match self.state().await {
            State::Off => {
                let now: Vec<_> = self.tops().await.iter().map(|top| Content::of(top)).collect();
                assert_eq!(now, truth.disks, "the disks of {}", truth.name);
                return;
            }
            State::Paused => self.domain.resume().await.unwrap(),
            State::Running => {}
        }
        // A QEMU that was started for the snapshot begins its file; one that went back by itself goes on with it.
        let stayed = self.domain.client.said(&self.domain.path);
        let (first, serial) = eventually("the reverted guest says something", || async {
            let bytes = std::fs::read(self.path(&format!("{}.serial", self.spec.name))).unwrap_or_default();
            let serial = Serial::parse(&String::from_utf8_lossy(&bytes[stayed.unwrap_or(0)..]));
            let first = if stayed.is_some() { serial.reverted(stamp) } else { serial.lines.first() }?.clone();
            Some((first, serial))
        })
        .await;
        if truth.with_memory {
            assert!(serial.boots.is_empty(), "its memory was loaded, it did not boot");
            // It was caught between two stamps: the counter in memory is the stamp's or one more.
            assert!(
                first.memory == stamp || first.memory == stamp + 1,
                "its memory says {}, the disks of {} were at {stamp}",
                first.memory,
                truth.name
            );
        } else {
            assert_eq!(serial.boots, [truth.stamps()], "the disks it booted from, {}", truth.name);
        }
        self.counts().await;
    }

    // Files.

    /// The images that the disks write to, by the persistent definition.
    pub async fn tops(&self) -> Vec<PathBuf> {
        let dump = self.domain.xml(flag::XML_INACTIVE).await.unwrap();
        let document = roxmltree::Document::parse(&dump).unwrap();
        sources(document.root_element())
    }

    /// Every file in the guest's directory is referred to, and every file referred to is there.
    pub async fn assert_no_strays(&self) {
        let mut needed = self.originals.clone();
        needed.insert(self.path(&format!("{}.serial", self.spec.name)));
        let mut images = BTreeSet::new();
        for flags in [0, flag::XML_INACTIVE] {
            let dump = self.domain.xml(flags).await.unwrap();
            images.extend(files(&dump));
        }
        for snapshot in self.domain.snapshots(0).await.unwrap() {
            images.extend(frozen_files(&snapshot.xml().await.unwrap()));
        }
        for image in images {
            assert!(image.exists(), "{} is referred to and is not there", image.display());
            if image.extension().is_some_and(|e| e == "mem") {
                needed.insert(image);
            } else {
                needed.extend(image::chain(&image));
            }
        }
        let prefix = &self.spec.name;
        let present: BTreeSet<_> = std::fs::read_dir(&self.directory)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(prefix))
            .collect();
        let strays: Vec<_> = present.difference(&needed).collect();
        assert!(strays.is_empty(), "nothing refers to {strays:?}");
    }

    /// Off: images sound, history whole, nothing left over. The end of most tests.
    pub async fn assert_clean(&self) {
        self.clean(false).await;
    }

    /// The same after a kill of QEMU.
    pub async fn assert_clean_but_leaks(&self) {
        self.clean(true).await;
    }

    async fn clean(&self, leaks_allowed: bool) {
        self.enter_off().await;
        self.assert_no_strays().await;
        for top in self.tops().await {
            for layer in image::chain(&top) {
                image::assert_sound(&layer, leaks_allowed);
            }
            Content::of(&top).assert_whole();
        }
    }

    async fn enter_off(&self) {
        if self.state().await != State::Off {
            self.domain.destroy().await.unwrap();
        }
    }
}

pub fn disk_path(spec: &Spec, directory: &Path, n: usize) -> PathBuf {
    directory.join(format!("{}-{n}.{}", spec.name, spec.format))
}

/// The `<domain>` of a guest.
pub fn xml(spec: &Spec, directory: &Path) -> String {
    let letters = ["a", "b", "c", "d"];
    let prefix = if spec.bus == "virtio" { "vd" } else { "sd" };
    let mut disks = String::new();
    for (n, letter) in letters.iter().enumerate().take(spec.disks) {
        let cache = spec.cache.map(|c| format!(" cache='{c}'")).unwrap_or_default();
        let path = disk_path(spec, directory, n);
        let _ = write!(
            disks,
            "    <disk type='file' device='disk'>
      <driver name='qemu' type='{}'{cache}/>
      <source file='{}'/>
      <target dev='{prefix}{letter}' bus='{}'/>
      <boot order='{}'/>
    </disk>
",
            spec.format,
            path.display(),
            spec.bus,
            // The BIOS shows the guest only disks that it may boot from.
            n + 1
        );
    }
    format!(
        "<domain type='qemu'>
  <name>{name}</name>
  <uuid>{uuid}</uuid>
  <memory unit='MiB'>{memory}</memory>
  <vcpu>1</vcpu>
  <os>
    <type arch='x86_64' machine='{machine}'>hvm</type>
  </os>
  <features>
    <acpi/>
  </features>
  <devices>
    <emulator>{emulator}</emulator>
{disks}    <serial type='file'>
      <source path='{directory}/{name}.serial'/>
      <target port='0'/>
    </serial>
{devices}  </devices>
</domain>
",
        name = spec.name,
        uuid = spec.uuid,
        memory = spec.memory_mib,
        machine = spec.machine,
        emulator = spec.emulator.display(),
        directory = directory.display(),
        devices = spec.devices,
    )
}

/// The text of a child element.
pub fn text(node: roxmltree::Node<'_, '_>, child: &str) -> Option<String> {
    node.children().find(|n| n.has_tag_name(child))?.text().map(str::to_owned)
}

/// The files of all disks of a `<domain>`.
fn sources(domain: roxmltree::Node<'_, '_>) -> Vec<PathBuf> {
    let devices = domain.children().find(|n| n.has_tag_name("devices")).unwrap();
    devices
        .children()
        .filter(|n| n.has_tag_name("disk"))
        .filter_map(|disk| disk.children().find(|n| n.has_tag_name("source"))?.attribute("file"))
        .map(PathBuf::from)
        .collect()
}

/// Whether a `<disk>` is one of the snapshot's `<disks>`.
fn in_disks(node: roxmltree::Node<'_, '_>) -> bool {
    node.parent().is_some_and(|p| p.has_tag_name("disks"))
}

/// The files that a snapshot cannot do without: the images of its `<domain>`, and its memory. Its
/// overlays (`<disks>`) are not among them: as in libvirt, the XML goes on naming an overlay that went
/// when the guest was reverted away from it.
fn frozen_files(xml: &str) -> Vec<PathBuf> {
    let document = roxmltree::Document::parse(xml).unwrap();
    let root = document.root_element();
    let definitions = root.children().filter(|n| n.has_tag_name("domain") || n.has_tag_name("inactiveDomain"));
    let memory = root.children().filter(|n| n.has_tag_name("memory")).filter_map(|n| n.attribute("file"));
    definitions.flat_map(sources).chain(memory.map(PathBuf::from)).collect()
}

/// All image and memory files that a document names.
fn files(xml: &str) -> Vec<PathBuf> {
    let document = roxmltree::Document::parse(xml).unwrap();
    document
        .descendants()
        .filter(|n| {
            let parent = n.parent();
            (n.has_tag_name("source") && parent.is_some_and(|p| p.has_tag_name("disk"))) || n.has_tag_name("memory")
        })
        .filter_map(|n| n.attribute("file"))
        .map(PathBuf::from)
        .collect()
}

/// The images that a disk is made of, top first.
pub fn layers(top: &Path) -> Vec<PathBuf> {
    image::chain(top)
}

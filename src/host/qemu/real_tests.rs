//! The domain half against a real QEMU: the guest is a boot sector that halts.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::instance::InstanceDir;
use super::{QemuConfig, QemuHost};
use crate::host::{Host, HostEvent, HostEventKind, Report, StepProgress, save_image};
use crate::model::domain::{DomainState, Runtime};
use crate::model::ids::{DomainId, Instance};
use crate::plan::steps::{MemorySource, Start};
use camino::{Utf8Path, Utf8PathBuf};
use serde_json::{Value, json};
use std::os::fd::AsFd;
use std::process::Command;
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use uuid::Uuid;

struct Quiet;

impl Report for Quiet {
    fn progress(&self, _: StepProgress) {}
    fn paused_for(&self, _: u64) {}
}

/// `cli; hlt; jmp $`
const HALT: &[u8] = &[0xfa, 0xf4, 0xeb, 0xfd];
/// Reset by the keyboard controller: `mov al, 0xfe; out 0x64, al; hlt`
const RESET: &[u8] = &[0xb0, 0xfe, 0xe6, 0x64, 0xf4];

struct Rig {
    dir: Utf8PathBuf,
    _temp: tempfile::TempDir,
    host: QemuHost,
    events: UnboundedReceiver<HostEvent>,
    id: DomainId,
}

fn host(dir: &Utf8Path) -> (QemuHost, UnboundedReceiver<HostEvent>) {
    let (sender, events) = unbounded_channel();
    (
        QemuHost::new(
            QemuConfig { runtime_dir: dir.join("run"), state_dir: dir.join("state"), emulator: None },
            sender,
        ),
        events,
    )
}

impl Rig {
    fn new(code: &[u8]) -> Self {
        let temp = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(temp.path()).unwrap().to_owned();
        let mut sector = code.to_vec();
        sector.resize(510, 0);
        sector.extend([0x55, 0xaa]);
        // The firmware reads no disk of less than one cylinder.
        sector.resize(1 << 20, 0);
        std::fs::write(dir.join("boot.raw"), sector).unwrap();
        let (host, events) = host(&dir);
        Self { dir, _temp: temp, host, events, id: DomainId(Uuid::new_v4()) }
    }

    fn image(&self, name: &str, args: &[&str]) -> Utf8PathBuf {
        let path = self.dir.join(name);
        let status =
            Command::new("qemu-img").args(["create", "-q", "-f", "qcow2"]).args(args).arg(&path).arg("64K").status();
        assert!(status.unwrap().success());
        path
    }

    /// A stored definition with that boot disk and more.
    fn xml(&self, rest: &str, devices: &str) -> String {
        let boot = self.dir.join("boot.raw");
        let xml = format!(
            "<domain type='qemu'><name>real</name><uuid>{}</uuid><memory unit='MiB'>16</memory>
             <os><type>hvm</type></os>{rest}<devices>
             <disk type='file'><source file='{boot}'/><target dev='vda'/></disk>{devices}</devices></domain>",
            self.id
        );
        self.host.check_definition(&xml).unwrap()
    }

    fn start(&self, xml: String, memory: MemorySource) -> Start {
        Start { domain: self.id, instance: Instance(Uuid::new_v4()), xml, memory }
    }

    async fn boot(&self, xml: String) -> (Instance, Runtime) {
        let start = self.start(xml, MemorySource::Boot);
        let runtime = self.host.start(&start, &Quiet).await.unwrap();
        (start.instance, runtime)
    }

    async fn status(&self, instance: Instance) -> String {
        let qemu = self.host.must_run(instance).unwrap();
        let status = qemu.monitor.execute("query-status", json!({})).await.unwrap();
        status["status"].as_str().unwrap().to_owned()
    }

    async fn qmp(&self, instance: Instance, command: &str, arguments: Value) -> Value {
        self.host.must_run(instance).unwrap().monitor.execute(command, arguments).await.unwrap()
    }

    async fn event(&mut self) -> HostEventKind {
        let event = tokio::time::timeout(Duration::from_secs(20), self.events.recv()).await;
        event.expect("no event in time").unwrap().kind
    }

    fn is_clean(&self) -> bool {
        std::fs::read_dir(self.dir.join("run")).map_or(true, |mut d| d.next().is_none())
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        // Whatever a failed test left running.
        let Ok(domains) = self.dir.join("run").read_dir_utf8() else { return };
        for instance in domains.flatten().filter_map(|d| d.path().read_dir_utf8().ok()).flatten().flatten() {
            if let Ok(Some(info)) = (InstanceDir { path: instance.path().to_owned() }).read() {
                let _ = Command::new("kill").args(["-9", &info.pid.to_string()]).status();
            }
        }
    }
}

#[tokio::test]
async fn a_guest_starts_paused_and_follows_orders_without_telling_news_of_them() {
    let mut rig = Rig::new(HALT);
    let (instance, runtime) = rig.boot(rig.xml("", "<serial type='pty'/><graphics type='vnc' passwd='x'/>")).await;
    assert!(runtime.ttys[0].starts_with("/dev/pts/") && runtime.vnc_ports[0] >= 5900, "{runtime:?}");
    assert_eq!(rig.status(instance).await, "prelaunch");
    for _ in 0..20 {
        rig.host.resume(instance).await.unwrap();
        assert_eq!(rig.status(instance).await, "running");
        rig.host.pause(instance).await.unwrap();
        assert_eq!(rig.status(instance).await, "paused");
    }
    // The event task has counted every guard down before it tells of what others do.
    tokio::time::sleep(Duration::from_millis(50)).await;
    rig.qmp(instance, "cont", json!({})).await;
    rig.qmp(instance, "stop", json!({})).await;
    assert_eq!(rig.event().await, HostEventKind::Resumed);
    assert_eq!(rig.event().await, HostEventKind::Paused { io_error: false });
    rig.host.reset(instance).await.unwrap();
    assert_eq!(rig.event().await, HostEventKind::Reset);
    rig.host.kill(instance, true).await.unwrap();
    rig.host.kill(instance, false).await.unwrap();
    assert!(rig.is_clean());
    assert_eq!(
        rig.host.pause(instance).await.unwrap_err().to_string(),
        "Requested operation is not valid: domain is not running"
    );
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(rig.events.try_recv().is_err(), "a kill is no news");
}

#[tokio::test]
async fn the_end_of_a_guest_is_told_at_once_and_how_it_came() {
    let mut rig = Rig::new(RESET);
    let (instance, _) = rig.boot(rig.xml("<on_reboot>destroy</on_reboot>", "")).await;
    rig.host.resume(instance).await.unwrap();
    assert_eq!(rig.event().await, HostEventKind::Shutdown { guest: true });
    assert_eq!(rig.event().await, HostEventKind::Gone { clean: true });
    assert!(rig.is_clean());

    let (_, runtime) = rig.boot(rig.xml("", "")).await;
    assert!(Command::new("kill").args(["-9", &runtime.pid.to_string()]).status().unwrap().success());
    assert_eq!(rig.event().await, HostEventKind::Gone { clean: false });

    let (_, runtime) = rig.boot(rig.xml("", "")).await;
    assert!(Command::new("kill").arg(runtime.pid.to_string()).status().unwrap().success());
    assert_eq!(rig.event().await, HostEventKind::Shutdown { guest: false });
    assert_eq!(rig.event().await, HostEventKind::Gone { clean: true });
    assert!(rig.is_clean());
}

#[tokio::test]
async fn a_frozen_process_is_killed_all_the_same() {
    let rig = Rig::new(HALT);
    let (instance, runtime) = rig.boot(rig.xml("", "")).await;
    assert!(Command::new("kill").args(["-STOP", &runtime.pid.to_string()]).status().unwrap().success());
    rig.host.kill(instance, false).await.unwrap();
    assert!(rig.is_clean());
}

#[tokio::test]
async fn a_start_that_fails_says_why_and_leaves_nothing() {
    let rig = Rig::new(HALT);
    let refused = rig.start(rig.xml("<cpu><model>no-such-cpu</model></cpu>", ""), MemorySource::Boot);
    let error = rig.host.start(&refused, &Quiet).await.unwrap_err().to_string();
    assert!(error.starts_with("internal error: process exited while connecting to monitor: "), "{error}");
    assert!(error.contains("unable to find CPU model 'no-such-cpu'"), "{error}");
    let missing = "<disk type='file'><source file='/no/such'/><target dev='vdb'/></disk>";
    let refused = rig.start(rig.xml("", missing), MemorySource::Boot);
    let error = rig.host.start(&refused, &Quiet).await.unwrap_err().to_string();
    assert_eq!(error, "Cannot access storage file '/no/such': No such file or directory");
    let mut refused = rig.start(rig.xml("", ""), MemorySource::Boot);
    refused.xml = refused.xml.replace("<emulator>", "<emulator>/no");
    let error = rig.host.start(&refused, &Quiet).await.unwrap_err().to_string();
    assert!(error.starts_with("Cannot check QEMU binary /no/"), "{error}");
    assert!(rig.is_clean());
}

#[tokio::test]
async fn an_image_in_use_is_refused_and_its_user_goes_on() {
    let rig = Rig::new(HALT);
    let (instance, _) = rig.boot(rig.xml("", "")).await;
    let second = rig.start(rig.xml("", ""), MemorySource::Boot);
    let error = rig.host.start(&second, &Quiet).await.unwrap_err().to_string();
    assert!(error.contains("Failed to get \"write\" lock"), "{error}");
    assert_eq!(rig.status(instance).await, "prelaunch");
    rig.host.kill(instance, false).await.unwrap();
}

/// Everything that the host can do, on a QEMU that is to like it.
#[tokio::test]
async fn every_device_is_one_that_qemu_takes() {
    let rig = Rig::new(HALT);
    let top = rig.image("top.qcow2", &[]);
    let over = rig.image("over.qcow2", &["-F", "qcow2", "-b", "top.qcow2"]);
    std::fs::write(rig.dir.join("floppy.img"), vec![0; 1_474_560]).unwrap();
    let dir = &rig.dir;
    let common = format!(
        "<disk><driver type='qcow2' cache='none' io='native' discard='unmap' detect_zeroes='unmap' queues='2' error_policy='enospace'/>
           <source file='{over}'/><target dev='vdb'/><serial>S</serial><blockio logical_block_size='512' physical_block_size='4096'/></disk>
         <disk device='cdrom'><target dev='sdc' bus='scsi'/></disk>
         <disk><driver cache='writethrough' rerror_policy='stop'/><source file='{dir}/floppy.img'/><target dev='sdd' bus='scsi'/><shareable/></disk>
         <controller type='usb' model='ich9-uhci1'><master startport='0'/></controller>
         <controller type='usb' model='ich9-ehci1'/>
         <controller type='usb' index='1' model='qemu-xhci' ports='8'/>
         <controller type='usb' index='2' model='nec-xhci'/>
         <interface type='user'><model type='virtio'/></interface><interface type='user'><model type='e1000'/></interface>
         <interface type='user'/>
         <serial type='unix'><source mode='bind' path='{dir}/s.sock'/></serial><serial type='file'><source path='{dir}/log'/></serial>
         <parallel type='null'/><console type='pty'/><console type='pty'><target type='virtio'/></console>
         <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
         <channel type='pty'><target type='virtio' name='x'/></channel>
         <input type='tablet'/><input type='mouse' bus='usb'/><input type='keyboard' bus='usb'/><input type='tablet' bus='virtio'/>
         <graphics type='vnc' sharePolicy='ignore' keymap='de'><listen type='socket' socket='{dir}/vnc'/></graphics>
         <memballoon model='virtio' autodeflate='on' freePageReporting='on'><stats period='5'/></memballoon>
         <rng model='virtio'><backend model='random'>/dev/urandom</backend><rate bytes='100'/></rng>
         <rng model='virtio'><backend model='builtin'/></rng><panic model='isa'/>",
    );
    let _ = top;
    let pc = "<controller type='pci' index='1' model='pci-bridge'/><controller type='scsi' model='lsilogic'/>
         <disk device='floppy'><source file='/FLOPPY'/><target dev='fda'/></disk>
         <disk device='cdrom'><target dev='hdc'/></disk>
         <controller type='usb' index='3' model='piix3-uhci'/><controller type='usb' index='4' model='piix4-uhci'/>
         <video><model type='cirrus'/></video><video><model type='virtio'/></video>";
    let q35 = "<controller type='pci' index='1' model='pcie-root-port'/><controller type='pci' index='2' model='pcie-to-pci-bridge'/>
         <controller type='scsi' model='virtio-scsi'/>
         <disk device='cdrom'><target dev='sdf' bus='sata'/></disk>
         <video><model type='virtio' heads='2'/></video><video><model type='vga' vram='32768'/></video><video><model type='bochs'/></video>";
    std::fs::copy(rig.dir.join("floppy.img"), rig.dir.join("fd2.img")).unwrap();
    let rest = "<vcpu>4</vcpu><on_crash>preserve</on_crash><on_poweroff>restart</on_poweroff><currentMemory unit='MiB'>12</currentMemory>
         <cpu mode='maximum'><topology sockets='1' dies='1' cores='2' threads='2'/><feature policy='disable' name='svm'/></cpu>
         <features><acpi/><apic/><pae/><vmport state='off'/><smm state='off'/></features>
         <clock offset='localtime'><timer name='rtc' tickpolicy='catchup'/><timer name='hpet' present='no'/></clock>
         <pm><suspend-to-mem enabled='no'/><suspend-to-disk enabled='no'/></pm>";
    for (machine, devices) in [("pc", pc), ("q35", q35)] {
        let devices = format!("{common}{}", devices.replace("/FLOPPY", rig.dir.join("fd2.img").as_str()));
        let text = rig.xml(rest, "").replace("<devices>", &format!("<devices>{devices}"));
        let text = text.replace("pc-i440fx-", if machine == "q35" { "pc-q35-" } else { "pc-i440fx-" });
        // Twice the balloon: the stored one goes.
        let end = text.rfind("<memballoon").unwrap();
        let text = format!("{}</devices></domain>", &text[..end]);
        let xml = rig.host.check_definition(&text).unwrap();
        let start = rig.start(xml, MemorySource::Boot);
        let runtime = rig.host.start(&start, &Quiet).await.unwrap_or_else(|e| panic!("{machine}: {e}"));
        assert_eq!(runtime.ttys.iter().filter(|t| t.starts_with("/dev/pts/")).count(), 2, "{machine}: {runtime:?}");
        rig.host.resume(start.instance).await.unwrap();
        rig.host.kill(start.instance, true).await.unwrap();
    }
    assert!(rig.is_clean());
}

/// Memory that was saved by hand, as libvirt's file and as a tag.
#[tokio::test]
async fn memory_comes_back_from_a_file_and_from_a_tag() {
    let rig = Rig::new(HALT);
    let disk = rig.image("d.qcow2", &[]);
    let devices = format!(
        "<disk><driver type='qcow2'/><source file='{disk}'/><target dev='vdb'/></disk><disk device='cdrom'><target dev='hda'/></disk>"
    );
    // The boot disk cannot have tags: read-only, it need not.
    let xml = rig.xml("", &devices).replace("<target dev='vda'/>", "<target dev='vda'/><readonly/>");
    let (instance, _) = rig.boot(xml.clone()).await;
    rig.host.resume(instance).await.unwrap();
    rig.host.pause(instance).await.unwrap();

    let path = rig.dir.join("memory");
    let file = std::fs::File::options().create_new(true).write(true).read(true).open(&path).unwrap();
    let offset = save_image::begin(&file, &xml, true).unwrap();
    std::io::Seek::seek(&mut &file, std::io::SeekFrom::Start(offset)).unwrap();
    rig.host.must_run(instance).unwrap().monitor.send_fd("out", file.as_fd()).await.unwrap();
    rig.qmp(instance, "migrate", json!({ "uri": "fd:out" })).await;
    while rig.qmp(instance, "query-migrate", json!({})).await["status"] != "completed" {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    rig.host.kill(instance, true).await.unwrap();
    let incomplete = rig.start(xml.clone(), MemorySource::File(path.clone()));
    let error = rig.host.start(&incomplete, &Quiet).await.unwrap_err().to_string();
    assert_eq!(error, "operation failed: save image is incomplete");
    save_image::complete(&path).unwrap();
    let start = rig.start(xml.clone(), MemorySource::File(path.clone()));
    rig.host.start(&start, &Quiet).await.unwrap();
    assert_eq!(rig.status(start.instance).await, "paused");
    rig.host.resume(start.instance).await.unwrap();

    let save = json!({ "job-id": "s", "tag": "1", "vmstate": "virsnap-vdb-0", "devices": ["virsnap-vdb-0"] });
    rig.qmp(start.instance, "snapshot-save", save).await;
    while rig.qmp(start.instance, "query-jobs", json!({})).await[0]["status"] != "concluded" {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    rig.host.kill(start.instance, true).await.unwrap();
    let start = rig.start(xml.clone(), MemorySource::Tag("1".into()));
    rig.host.start(&start, &Quiet).await.unwrap();
    assert_eq!(rig.status(start.instance).await, "prelaunch");
    rig.host.resume(start.instance).await.unwrap();
    assert_eq!(rig.status(start.instance).await, "running");
    rig.host.kill(start.instance, true).await.unwrap();
    let start = rig.start(xml, MemorySource::Tag("2".into()));
    let error = rig.host.start(&start, &Quiet).await.unwrap_err().to_string();
    assert_eq!(error, "Requested operation is not valid: no image has an internal snapshot '2' with memory");
    // A stream cut short.
    let whole = std::fs::metadata(&path).unwrap().len();
    file.set_len(offset + (whole - offset) / 2).unwrap();
    let start = rig.start(start.xml, MemorySource::File(path));
    let error = rig.host.start(&start, &Quiet).await.unwrap_err().to_string();
    assert!(error.contains("failed") || error.contains("QEMU unexpectedly closed the monitor"), "{error}");
    assert!(rig.is_clean());
}

/// Two lives of the daemon are two runtimes: the end of the first closes its connections.
#[test]
fn a_guest_outlives_the_daemon_and_is_found_again() {
    let life = || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let mut rig = Rig::new(HALT);
    let first = life();
    let (instance, before) = first.block_on(async {
        let (instance, runtime) = rig.boot(rig.xml("", "<console type='pty'/>")).await;
        rig.host.resume(instance).await.unwrap();
        (instance, runtime)
    });
    first.shutdown_timeout(Duration::from_secs(5));
    (rig.host, rig.events) = host(&rig.dir);
    life().block_on(async {
        let stranger = Instance(Uuid::new_v4());
        assert_eq!(rig.host.attach(rig.id, stranger, "").await.unwrap(), None);
        let (state, after) = rig.host.attach(rig.id, instance, "").await.unwrap().unwrap();
        assert_eq!((state.state, &after), (DomainState::Running, &before));
        assert_eq!(rig.host.attach(rig.id, instance, "").await.unwrap().unwrap().1, before);
        rig.host.pause(instance).await.unwrap();
        assert!(Command::new("kill").args(["-9", &before.pid.to_string()]).status().unwrap().success());
        assert_eq!(rig.event().await, HostEventKind::Gone { clean: false });
        assert_eq!(rig.host.attach(rig.id, instance, "").await.unwrap(), None);
    });
    assert!(rig.is_clean());
}

#[test]
fn a_guest_that_nobody_wrote_down_is_ended_by_its_instance() {
    let life = || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let mut rig = Rig::new(HALT);
    let first = life();
    let (instance, runtime) = first.block_on(rig.boot(rig.xml("", "")));
    first.shutdown_timeout(Duration::from_secs(5));
    // The daemon died between the start and its note of it.
    std::fs::remove_file(rig.dir.join(format!("run/{}/{instance}/info.json", rig.id))).unwrap();
    (rig.host, rig.events) = host(&rig.dir);
    life().block_on(async {
        assert_eq!(rig.host.attach(rig.id, instance, "").await.unwrap(), None);
    });
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", runtime.pid)).unwrap_or_default();
    assert!(stat.is_empty() || stat.contains(") Z "), "{stat}");
    assert!(rig.is_clean());
}

#[tokio::test]
async fn capabilities_speak_of_the_machine_types_and_of_external_snapshots() {
    let rig = Rig::new(HALT);
    let host = rig.host.capabilities_xml().await.unwrap();
    for part in
        ["<externalSnapshot/>", "<machine canonical='pc-i440fx-", "<domain type='qemu'/>", "<wordsize>64</wordsize>"]
    {
        assert!(host.contains(part), "{part} in {host}");
    }
    roxmltree::Document::parse(&host).unwrap();
    let domain = rig.host.domain_capabilities_xml("", "x86_64", "pc", "qemu").await.unwrap();
    for part in ["<domain>qemu</domain>", "<machine>pc-i440fx-", "<value>virtio</value>", "<model usable="] {
        assert!(domain.contains(part), "{part} in {domain}");
    }
    roxmltree::Document::parse(&domain).unwrap();
    assert!(rig.host.hypervisor_version().await.unwrap() >= 7_000_000);
}

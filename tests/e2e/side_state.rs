//! What belongs to a machine beside its disks comes back with them: the firmware's variables, the TPM's state; and its
//! generation id never does.
//!
//! The counting guest boots from a BIOS in flash, so that it has an NVRAM and is up at once; what is in the NVRAM is
//! written by the tests while it is off, as by a guest before. One guest is a real UEFI, which writes itself.

use crate::harness::client::flag;
use crate::harness::{Daemon, Guest, Kind, Qemu, Refused, Spec, State, eventually};
use std::path::{Path, PathBuf};
use std::process::Command;

const SIZE: usize = 64 << 10;
const BIOS: &str = "/usr/share/seabios/bios-256k.bin";

/// An NVRAM file, and what is in it.
struct Nvram {
    path: PathBuf,
    format: &'static str,
}

fn qemu_img(args: &[&str]) -> String {
    let out = Command::new("qemu-img").args(args).output().unwrap();
    assert!(out.status.success(), "qemu-img {args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

impl Nvram {
    fn new(daemon: &Daemon, format: &'static str) -> Self {
        let directory = daemon.state_directory().parent().unwrap().join("vars");
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join("template"), vec![b'T'; SIZE]).unwrap();
        Self { path: directory.join(format!("vars.{format}")), format }
    }
    fn file(&self, name: &str) -> PathBuf {
        self.path.with_file_name(name)
    }
    fn os(&self) -> String {
        format!(
            "    <loader readonly='yes' type='pflash'>{BIOS}</loader>\n    <nvram template='{}' format='{}'>{}</nvram>\n",
            self.file("template").display(),
            self.format,
            self.path.display()
        )
    }
    /// Fill it, as a guest would.
    fn write(&self, letter: u8) {
        let raw = self.file("new");
        std::fs::write(&raw, vec![letter; SIZE]).unwrap();
        let keep = ["convert", "-n", "-f", "raw", "-O", self.format];
        qemu_img(&[&keep[..], &[raw.to_str().unwrap(), self.path.to_str().unwrap()]].concat());
    }
    /// Its one letter.
    #[track_caller]
    fn letter(&self) -> char {
        let raw = self.file("now");
        let read =
            ["convert", "-U", "-f", self.format, "-O", "raw", self.path.to_str().unwrap(), raw.to_str().unwrap()];
        qemu_img(&read);
        let bytes = std::fs::read(raw).unwrap();
        assert_eq!(bytes.len(), SIZE);
        assert!(bytes.iter().all(|b| *b == bytes[0]), "the NVRAM is a mixture");
        char::from(bytes[0])
    }
    fn tags(&self) -> usize {
        let info = qemu_img(&["info", "-U", "--output=json", self.path.to_str().unwrap()]);
        info.matches("\"vm-state-size\"").count()
    }
}

/// The copies that snapshots have.
fn copies(daemon: &Daemon) -> Vec<PathBuf> {
    fn below(directory: &Path, out: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            if entry.path().is_dir() && entry.file_name() != "tpm" {
                below(&entry.path(), out);
            } else {
                out.push(entry.path());
            }
        }
    }
    let mut out = Vec::new();
    below(&daemon.state_directory().join("qemu/copies"), &mut out);
    out.sort();
    out
}

macro_rules! nvram {
    ($($name:ident: $qemu:ident $format:literal $kind:ident $state:ident;)*) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            nvram_comes_back(Qemu::$qemu, $format, Kind::$kind, State::$state).await;
        })*
    };
}

nvram! {
    raw_nvram_of_an_internal_snapshot_off: Machine "raw" Internal Off;
    raw_nvram_of_a_disk_only_snapshot_off: Machine "raw" DiskOnly Off;
    raw_nvram_of_a_disk_only_snapshot_running: Machine "raw" DiskOnly Running;
    raw_nvram_of_a_memory_snapshot_running: Machine "raw" Memory Running;
    raw_nvram_of_a_memory_snapshot_paused: Machine "raw" Memory Paused;
    qcow2_nvram_of_an_internal_snapshot_off: Machine "qcow2" Internal Off;
    qcow2_nvram_of_an_internal_snapshot_running: Machine "qcow2" Internal Running;
    qcow2_nvram_of_a_disk_only_snapshot_off: Machine "qcow2" DiskOnly Off;
    qcow2_nvram_of_a_disk_only_snapshot_running: Machine "qcow2" DiskOnly Running;
    qcow2_nvram_of_a_memory_snapshot_running: Machine "qcow2" Memory Running;
    raw_nvram_of_a_disk_only_snapshot_running_on_the_other_qemu: Backports "raw" DiskOnly Running;
    raw_nvram_of_a_memory_snapshot_running_on_the_other_qemu: Backports "raw" Memory Running;
    qcow2_nvram_of_an_internal_snapshot_running_on_the_other_qemu: Backports "qcow2" Internal Running;
    qcow2_nvram_of_a_memory_snapshot_running_on_the_other_qemu: Backports "qcow2" Memory Running;
}

/// Two snapshots, each with its own variables, reverted to in both orders, deleted.
async fn nvram_comes_back(qemu: Qemu, format: &'static str, kind: Kind, state: State) {
    let Some(emulator) = qemu.emulator() else { return };
    let daemon = Daemon::start().await;
    let nvram = Nvram::new(&daemon, format);
    let guest = Guest::define(&daemon, Spec { emulator, os: nvram.os(), ..Spec::disks(1) }).await;
    guest.enter(State::Running).await;
    assert_eq!(nvram.letter(), 'T', "made from its template");
    guest.enter(State::Off).await;

    nvram.write(b'A');
    guest.enter(state).await;
    let one = guest.take("one", kind).await;
    guest.enter(State::Off).await;
    nvram.write(b'B');
    guest.enter(state).await;
    let two = guest.take("two", kind).await;
    guest.enter(State::Off).await;
    nvram.write(b'C');
    let tagged = format == "qcow2" && kind == Kind::Internal;
    assert_eq!((copies(&daemon).len(), nvram.tags()), if tagged { (0, 2) } else { (2, 0) });

    for (truth, letter) in [(&one, 'A'), (&two, 'B'), (&one, 'A')] {
        guest.domain.snapshot(&truth.name).await.unwrap().revert(0).await.unwrap();
        guest.assert_is_at(truth).await;
        assert_eq!(nvram.letter(), letter, "the variables of {}", truth.name);
        guest.enter(State::Off).await;
        nvram.write(b'X');
    }
    guest.domain.snapshot("one").await.unwrap().delete(0).await.unwrap();
    guest.domain.snapshot("two").await.unwrap().revert(0).await.unwrap();
    assert_eq!(nvram.letter(), 'B', "the deletion of the other snapshot changes nothing");
    guest.domain.snapshot("two").await.unwrap().delete(0).await.unwrap();
    assert_eq!((copies(&daemon), nvram.tags()), (Vec::new(), 0), "copies and tags go with their snapshots");
    guest.enter(State::Off).await;
    guest.domain.undefine(0).await.refused("Requested operation is not valid: cannot undefine domain with nvram");
    guest.domain.undefine(flag::UNDEFINE_NVRAM).await.unwrap();
    assert!(!nvram.path.exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn raw_nvram_is_refused_by_an_internal_snapshot_of_a_guest_that_is_up() {
    let daemon = Daemon::start().await;
    let nvram = Nvram::new(&daemon, "raw");
    let guest = Guest::define(&daemon, Spec { os: nvram.os(), ..Spec::disks(1) }).await.running().await;
    guest.create("s", Kind::Internal).await.refused(
        "Operation not supported: internal snapshots of a VM with pflash based firmware require QCOW2 nvram format",
    );
    guest.counts().await;
    guest.assert_clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_nvram_is_reset_by_a_start_or_a_revert_that_asks_for_it() {
    let daemon = Daemon::start().await;
    let nvram = Nvram::new(&daemon, "qcow2");
    let guest = Guest::define(&daemon, Spec { os: nvram.os(), ..Spec::disks(1) }).await;
    guest.enter(State::Off).await;
    nvram.write(b'A');
    guest.take("s", Kind::Internal).await;
    guest.domain.create(flag::START_RESET_NVRAM).await.unwrap();
    guest.counts().await;
    guest.domain.destroy().await.unwrap();
    assert_eq!(nvram.letter(), 'T');
    let snapshot = guest.domain.snapshot("s").await.unwrap();
    snapshot.revert(flag::REVERT_RESET_NVRAM).await.unwrap();
    assert_eq!(nvram.letter(), 'T', "a fresh one, not the snapshot's");
    snapshot.revert(0).await.unwrap();
    assert_eq!(nvram.letter(), 'A', "whose own was not lost");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tree_that_was_forgotten_finds_its_variables_again_and_one_from_elsewhere_needs_none() {
    let daemon = Daemon::start().await;
    let nvram = Nvram::new(&daemon, "raw");
    let guest = Guest::define(&daemon, Spec { os: nvram.os(), ..Spec::disks(1) }).await;
    guest.enter(State::Off).await;
    nvram.write(b'A');
    let snapshot = guest.create("s", Kind::Internal).await.unwrap();
    let xml = snapshot.xml().await.unwrap();
    nvram.write(b'B');
    guest.domain.undefine(flag::SNAPSHOTS_METADATA | flag::UNDEFINE_KEEP_NVRAM).await.unwrap();
    let domain = daemon.client.define(&guest.definition()).await.unwrap();
    let again = domain.snapshot_create(&xml, flag::REDEFINE).await.unwrap();
    again.revert(0).await.unwrap();
    assert_eq!(nvram.letter(), 'A');
    again.delete(0).await.unwrap();
    assert!(copies(&daemon).is_empty());

    let snapshot = domain.snapshot_create("<domainsnapshot><name>t</name></domainsnapshot>", 0).await.unwrap();
    let xml = snapshot.xml().await.unwrap();
    snapshot.delete(flag::METADATA_ONLY).await.unwrap();
    for copy in copies(&daemon) {
        std::fs::remove_file(copy).unwrap();
    }
    nvram.write(b'C');
    domain.snapshot_create(&xml, flag::REDEFINE).await.unwrap().revert(0).await.unwrap();
    assert_eq!(nvram.letter(), 'C', "it has no variables of its own");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_variables_are_said_and_only_force_goes_on_without_them() {
    let daemon = Daemon::start().await;
    let nvram = Nvram::new(&daemon, "raw");
    let guest = Guest::define(&daemon, Spec { os: nvram.os(), ..Spec::disks(1) }).await;
    guest.enter(State::Off).await;
    let snapshot = guest.create("s", Kind::DiskOnly).await.unwrap();
    let copy = copies(&daemon).pop().unwrap();
    std::fs::remove_file(&copy).unwrap();
    guest.running().await;
    let expected = format!(
        "operation failed: the snapshot's own firmware variables or TPM state are missing at '{}'; FORCE reverts without them",
        copy.display()
    );
    snapshot.revert(0).await.refused(&expected);
    snapshot.revert(flag::REVERT_FORCE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_uefi_guest_that_asks_for_any_firmware_keeps_what_its_firmware_wrote() {
    for machine in ["q35", "pc"] {
        let daemon = Daemon::start().await;
        let spec =
            Spec { machine, memory_mib: 128, bus: if machine == "q35" { "sata" } else { "virtio" }, ..Spec::disks(1) };
        let guest = Guest::define(&daemon, spec).await;
        let xml = guest.definition().replace("  <os>", "  <os firmware='efi'>");
        daemon.client.define(&xml).await.unwrap();
        let stored = guest.domain.xml(flag::XML_INACTIVE).await.unwrap();
        assert!(stored.contains("type='pflash' format='raw'>/usr/share/OVMF/OVMF_CODE_4M.fd</loader>"), "{stored}");
        let vars = daemon.state_directory().join("qemu/nvram/counter_VARS.fd");
        let template = std::fs::read("/usr/share/OVMF/OVMF_VARS_4M.fd").unwrap();
        guest.domain.create(0).await.unwrap();
        let written = eventually("the firmware writes its variables", || async {
            std::fs::read(&vars).ok().filter(|now| *now != template)
        })
        .await;
        assert_eq!(written.len(), template.len());
        guest.domain.suspend().await.unwrap();
        let written = std::fs::read(&vars).unwrap();
        guest.create("s", Kind::DiskOnly).await.unwrap();
        guest.domain.destroy().await.unwrap();
        std::fs::write(&vars, &template).unwrap();
        guest.domain.snapshot("s").await.unwrap().revert(0).await.unwrap();
        assert!(std::fs::read(&vars).unwrap() == written, "byte for byte");
    }
}

/// The durable files of the TPM.
fn tpm_files(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .flatten()
        .filter(|e| e.file_name() != ".lock")
        .map(|e| (e.file_name().into_string().unwrap(), std::fs::read(e.path()).unwrap()))
        .collect();
    files.sort();
    files
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tpm_goes_back_with_its_machine() {
    for (qemu, model, kind, state) in [
        (Qemu::Machine, "tpm-tis", Kind::Internal, State::Off),
        (Qemu::Machine, "tpm-crb", Kind::Internal, State::Running),
        (Qemu::Backports, "tpm-tis", Kind::DiskOnly, State::Running),
        (Qemu::Backports, "tpm-crb", Kind::Memory, State::Running),
    ] {
        let Some(emulator) = qemu.emulator() else { continue };
        let daemon = Daemon::start().await;
        let devices =
            format!("    <tpm model='{model}'>\n      <backend type='emulator' version='2.0'/>\n    </tpm>\n");
        let guest = Guest::define(&daemon, Spec { devices, emulator, ..Spec::disks(1) }).await;
        let directory = daemon.state_directory().join("qemu/tpm").join(guest.spec.uuid.to_string());
        guest.enter(State::Running).await;
        guest.enter(State::Off).await;
        // A file of the test's own is taken for one of the TPM's.
        std::fs::write(directory.join("mark"), "A").unwrap();
        guest.enter(state).await;
        let truth = guest.take("s", kind).await;
        let then = tpm_files(&directory);
        assert!(then.len() > 1, "the TPM has a state");
        guest.enter(State::Off).await;
        guest.enter(State::Running).await;
        guest.enter(State::Off).await;
        std::fs::write(directory.join("mark"), "B").unwrap();

        guest.domain.snapshot("s").await.unwrap().revert(0).await.unwrap();
        if state == State::Off {
            assert!(tpm_files(&directory) == then, "byte for byte");
        }
        guest.assert_is_at(&truth).await;
        assert_eq!(std::fs::read_to_string(directory.join("mark")).unwrap(), "A", "{model} {kind:?} {state:?}");
        guest.domain.snapshot("s").await.unwrap().delete(0).await.unwrap();
        assert!(copies(&daemon).is_empty());
        guest.enter(State::Off).await;
        guest.domain.undefine(if state == State::Off { flag::UNDEFINE_KEEP_TPM } else { 0 }).await.unwrap();
        assert_eq!(directory.exists(), state == State::Off);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_generation_id_is_made_once_and_new_after_each_revert() {
    let daemon = Daemon::start().await;
    let guest = Guest::define(&daemon, Spec::disks(1)).await;
    let xml = guest.definition().replace("  <memory", "  <genid/>\n  <memory");
    daemon.client.define(&xml).await.unwrap();
    let genid = async |flags| {
        let xml = guest.domain.xml(flags).await.unwrap();
        let text = xml.split("<genid>").nth(1).unwrap().split("</genid>").next().unwrap().to_owned();
        uuid::Uuid::parse_str(&text).unwrap()
    };
    let made = genid(flag::XML_INACTIVE).await;
    guest.enter(State::Running).await;
    assert_eq!(genid(0).await, made);
    let snapshot = guest.create("s", Kind::Internal).await.unwrap();
    snapshot.revert(0).await.unwrap();
    let first = genid(0).await;
    snapshot.revert(0).await.unwrap();
    let second = genid(0).await;
    assert!(first != made && second != made && first != second);
    guest.domain.destroy().await.unwrap();
    assert_eq!(genid(flag::XML_INACTIVE).await, second, "the next start is one of the same history");
}

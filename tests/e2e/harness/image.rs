//! Images, read from outside: what the guest wrote into them, and whether they are sound.

use super::Spec;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Large enough for the guest's history, small enough to make many.
pub const SIZE: u64 = 8 << 20;

/// The guest's program.
pub const GUEST: &[u8] = include_bytes!("../../guest/counter.bin");

const SECTOR: u64 = 512;
const STAMP: u64 = 64;
const SLOT: u64 = 1024;
const SLOT_STEP: u64 = 128;
const SLOTS: u32 = 64;

fn qemu_img(arguments: &[&str]) -> Output {
    Command::new("qemu-img").args(arguments).output().expect("qemu-img is needed for the end-to-end tests")
}

#[track_caller]
fn qemu_img_ok(arguments: &[&str]) -> String {
    let output = qemu_img(arguments);
    assert!(
        output.status.success(),
        "qemu-img {arguments:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// A new disk that boots the counter.
pub fn create(path: &Path, spec: &Spec) {
    let (format, paint) = (spec.format, spec.paint);
    let raw = path.with_extension("tmp");
    let mut program = GUEST.to_vec();
    program[16..20].copy_from_slice(&paint.to_le_bytes());
    std::fs::write(&raw, program).unwrap();
    std::fs::File::options().write(true).open(&raw).unwrap().set_len(SIZE).unwrap();
    if format == "raw" {
        std::fs::rename(&raw, path).unwrap();
    } else {
        let preallocation = format!("preallocation={}", spec.preallocation);
        let (from, to) = (raw.to_str().unwrap(), path.to_str().unwrap());
        qemu_img_ok(&["convert", "-f", "raw", "-O", format, "-o", &preallocation, from, to]);
        std::fs::remove_file(&raw).unwrap();
    }
}

/// An overlay, as a user makes one beforehand for REUSE_EXT.
pub fn overlay(path: &Path, backing: &Path) {
    let (path, backing) = (path.to_str().unwrap(), backing.to_str().unwrap());
    qemu_img_ok(&["create", "-q", "-f", "qcow2", "-b", backing, "-F", "qcow2", path]);
}

/// Write as the guest would, without one: the stamp and one slot of the history, each byte of them `value`.
pub fn write(path: &Path, value: u8) {
    let at = |sector: u64| format!("write -q -P {value} {} {SECTOR}", sector * SECTOR);
    let slot = SLOT + SLOT_STEP * u64::from(value % 64);
    let format = if path.extension().is_some_and(|e| e == "raw") { "raw" } else { "qcow2" };
    let mut command = Command::new("qemu-io");
    command.args(["-f", format, "-c", &at(STAMP), "-c", &at(slot)]).arg(path);
    let output = command.output().expect("qemu-io is needed for the end-to-end tests");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// What the guest has written, through all backing files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// The last counter.
    pub stamp: u32,
    /// The history.
    pub slots: Vec<u32>,
}

impl Content {
    /// Of an image, as it is on disk now, even if a guest has it open.
    pub fn of(image: &Path) -> Self {
        Self::read(image, None)
    }

    /// Of an internal snapshot.
    pub fn of_tag(image: &Path, tag: &str) -> Self {
        Self::read(image, Some(tag))
    }

    fn read(image: &Path, tag: Option<&str>) -> Self {
        let raw = tempfile::NamedTempFile::new().unwrap();
        let option = tag.map(|tag| format!("snapshot.name={tag}"));
        let mut arguments = vec!["convert", "-U", "-O", "raw"];
        if let Some(option) = &option {
            arguments.extend(["-l", option]);
        }
        let target = raw.path().to_str().unwrap().to_owned();
        arguments.extend([image.to_str().unwrap(), &target]);
        qemu_img_ok(&arguments);
        let bytes = std::fs::read(&target).unwrap();
        let word = |sector: u64| {
            let at = usize::try_from(sector * SECTOR).unwrap();
            u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
        };
        Self { stamp: word(STAMP), slots: (0..u64::from(SLOTS)).map(|n| word(SLOT + SLOT_STEP * n)).collect() }
    }

    /// The content of a disk is a function of the stamp: no layer was lost, none was applied twice.
    #[track_caller]
    pub fn assert_whole(&self) {
        for (n, &slot) in (0..SLOTS).zip(&self.slots) {
            let age = (self.stamp.wrapping_sub(n)) % SLOTS;
            let expected = self.stamp.saturating_sub(age);
            // The next slot is written before the stamp is.
            let next = self.stamp + 1;
            assert!(
                slot == expected || (slot == next && next % SLOTS == n),
                "slot {n} holds {slot}, not {expected}; the stamp is {}: {:?}",
                self.stamp,
                self.slots
            );
        }
    }
}

/// No corruption; leaks only where the test says that QEMU was killed.
#[track_caller]
pub fn assert_sound(image: &Path, leaks_allowed: bool) {
    let output = qemu_img(&["check", "-q", image.to_str().unwrap()]);
    let code = output.status.code();
    let fine = match code {
        Some(0) => true,
        // 63: the format has no check (raw).
        Some(63) => true,
        Some(3) => leaks_allowed,
        _ => false,
    };
    assert!(
        fine,
        "qemu-img check {}: exit {code:?}\n{}{}",
        image.display(),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// The image and everything below it, top first.
pub fn chain(image: &Path) -> Vec<PathBuf> {
    let text = qemu_img_ok(&["info", "-U", "--backing-chain", "--output=json", image.to_str().unwrap()]);
    let layers: serde_json::Value = serde_json::from_str(&text).unwrap();
    layers.as_array().unwrap().iter().map(|l| PathBuf::from(l["filename"].as_str().unwrap())).collect()
}

/// The names of the internal snapshots in one image.
pub fn tags(image: &Path) -> Vec<String> {
    let text = qemu_img_ok(&["info", "-U", "--output=json", image.to_str().unwrap()]);
    let info: serde_json::Value = serde_json::from_str(&text).unwrap();
    let tags = info["snapshots"].as_array().cloned().unwrap_or_default();
    tags.iter().map(|t| t["name"].as_str().unwrap().to_owned()).collect()
}

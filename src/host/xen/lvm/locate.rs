//! From a path to a volume's name, without asking LVM: the kernel says what a device is.
//!
//! Must not know: LVM's programs.

use super::names::VolumeName;
use camino::{Utf8Path, Utf8PathBuf};
use std::os::unix::fs::{FileTypeExt, MetadataExt};

/// The most links that are followed.
const MAX_LINKS: usize = 16;

/// What a path is to LVM.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Located {
    /// No volume.
    Nothing,
    /// The kernel maps it for LVM under this name.
    Mapped(VolumeName),
    /// The kernel does not say so, but a volume of this name would be there.
    Named(VolumeName),
}

/// What is at the path. Without udev, an LVM that was killed leaves nodes behind, whose number is nobody's or
/// already another's: there the words count.
pub(super) fn locate(path: &Utf8Path) -> Located {
    let by_words = || named(path).map_or(Located::Nothing, Located::Named);
    match std::fs::metadata(path) {
        Ok(meta) if meta.file_type().is_block_device() => {
            let (major, minor) = (rustix::fs::major(meta.rdev()), rustix::fs::minor(meta.rdev()));
            let sysfs = Utf8PathBuf::from(format!("/sys/dev/block/{major}:{minor}"));
            match mapped(&sysfs.join("dm")) {
                Some(name) if named(path).is_none_or(|n| n == name) => Located::Mapped(name),
                None if sysfs.exists() => Located::Nothing,
                _ => by_words(),
            }
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => by_words(),
        _ => Located::Nothing,
    }
}

/// The volume of a device that device-mapper has made; its directory in sysfs has no such files for others.
fn mapped(sysfs: &Utf8Path) -> Option<VolumeName> {
    let read = |name| std::fs::read_to_string(sysfs.join(name)).ok();
    read("uuid").filter(|uuid| uuid.starts_with("LVM-"))?;
    VolumeName::from_mapper(read("name")?.trim_end())
}

/// The volume that LVM would put at the end of these links.
fn named(path: &Utf8Path) -> Option<VolumeName> {
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        let Ok(to) = path.read_link_utf8() else { break };
        path = path.parent()?.join(to);
        if let Some(name) = by_words(&path) {
            return Some(name);
        }
    }
    by_words(&path)
}

fn by_words(path: &Utf8Path) -> Option<VolumeName> {
    let mut words = path.strip_prefix("/dev").ok()?.components();
    match (words.next()?.as_str(), words.next()?.as_str(), words.next()) {
        ("mapper", text, None) => VolumeName::from_mapper(text),
        (group, volume, None) => VolumeName::new(group, volume),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_without_a_device_is_taken_by_its_words() {
        let dir = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(dir.path()).unwrap();
        let link = dir.join("disk");
        std::os::unix::fs::symlink("/dev/no-such-group/disk-a", dir.join("hop")).unwrap();
        std::os::unix::fs::symlink("hop", &link).unwrap();
        let named = |group, volume| Located::Named(VolumeName::new(group, volume).unwrap());
        for (path, expected) in [
            ("/dev/no-such-group/disk-a", named("no-such-group", "disk-a")),
            ("/dev/mapper/no--such--group-disk--a", named("no-such-group", "disk-a")),
            (link.as_str(), named("no-such-group", "disk-a")),
            ("/dev/no-such-device", Located::Nothing),
            ("/dev/disk/by-id/none", Located::Nothing),
            ("/no/such/file", Located::Nothing),
            ("/dev/null", Located::Nothing),
            (dir.as_str(), Located::Nothing),
        ] {
            assert_eq!(locate(Utf8Path::new(path)), expected, "{path}");
        }
    }

    #[test]
    fn only_what_lvm_has_mapped_is_its_volume() {
        let dir = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(dir.path()).unwrap();
        let write = |uuid: &str, name: &str| {
            std::fs::write(dir.join("uuid"), uuid).unwrap();
            std::fs::write(dir.join("name"), name).unwrap();
            mapped(dir)
        };
        assert_eq!(mapped(dir), None);
        assert_eq!(write("CRYPT-LUKS2-x\n", "luks-x\n"), None);
        assert_eq!(write("LVM-KGn4\n", "vg0-disk--a\n"), VolumeName::new("vg0", "disk-a"));
    }
}

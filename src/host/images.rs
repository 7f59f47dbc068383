//! Image files: what is there ([`look`]), making and removing them ([`files`]), and what
//! `qemu-img` does to them ([`img`]).
//!
//! Must not know: hypervisors, plans, who owns which file.

pub mod files;
pub mod img;

use super::qcow2;
use super::save_image;
use crate::error::{Error, Result};
use crate::plan::facts::{Facts, FileFact, FileKind};
use camino::{Utf8Path, Utf8PathBuf};
use rustix::fs::{Mode, OFlags};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::FileTypeExt;

/// The longest backing chain that is followed.
const MAX_DEPTH: usize = 256;

/// What is at these paths, and at every backing file below them. What cannot be read, a broken
/// header or a chain that never ends is a fact too ([`FileKind::Unreadable`]), not an error.
pub async fn look(paths: &[Utf8PathBuf]) -> Result<Facts> {
    let paths = paths.to_vec();
    blocking(move || {
        let mut facts = Facts::default();
        // What was asked for is probed; what is only a raw backing file is not.
        for path in &paths {
            if !facts.files.contains_key(path) {
                insert(&mut facts, path, None);
            }
        }
        for path in &paths {
            follow(path, &mut facts);
        }
        Ok(facts)
    })
    .await
}

/// Every image in the directories of these paths that names a backing file.
pub async fn overlays_beside(paths: &[Utf8PathBuf]) -> Result<Facts> {
    let directories: BTreeSet<Utf8PathBuf> = paths.iter().filter_map(|p| p.parent()).map(Utf8Path::to_owned).collect();
    blocking(move || {
        let mut facts = Facts::default();
        for entry in directories.iter().filter_map(|d| d.read_dir_utf8().ok()).flatten().flatten() {
            if entry.file_type().is_ok_and(|t| t.is_file()) {
                let (fact, _) = look_at(entry.path(), None);
                if fact.header.as_ref().is_some_and(|h| h.backing.is_some()) {
                    facts.files.insert(entry.path().to_owned(), fact);
                }
            }
        }
        Ok(facts)
    })
    .await
}

/// Run what blocks on files apart from the reactor.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|e| Err(Error::internal(e)))
}

fn follow(start: &Utf8Path, facts: &mut Facts) {
    let mut chain = vec![start.to_owned()];
    loop {
        let Some(header) = chain.last().and_then(|p| facts.header(p)) else { return };
        let Some(backing) = header.backing.clone().filter(|b| b.is_absolute()) else { return };
        let format = header.backing_format.clone();
        let why = if chain.contains(&backing) {
            "is self-referential"
        } else if chain.len() >= MAX_DEPTH {
            "is too deep"
        } else {
            if !facts.files.contains_key(&backing) {
                insert(facts, &backing, format.as_deref());
            }
            chain.push(backing);
            continue;
        };
        if let Some(path) = chain.last() {
            let kind = FileKind::Unreadable(format!("backing store for {path} {why}"));
            facts.files.insert(path.clone(), FileFact { kind, header: None, saved_memory: false });
        }
        return;
    }
}

fn insert(facts: &mut Facts, path: &Utf8Path, declared: Option<&str>) {
    let (fact, definition) = look_at(path, declared);
    facts.files.insert(path.to_owned(), fact);
    if let Some(definition) = definition {
        facts.headers.insert(path.to_owned(), definition.map_err(|e| e.message().to_owned()));
    }
}

/// What it is, and for a save image the definition in its header.
fn look_at(path: &Utf8Path, declared: Option<&str>) -> (FileFact, Option<Result<String>>) {
    let bare = |kind| (FileFact { kind, header: None, saved_memory: false }, None);
    let unreadable = |e: std::io::Error| {
        let e = Error::system(format!("Failed to open file '{path}'"), &e);
        bare(FileKind::Unreadable(e.message().to_owned()))
    };
    let meta = match std::fs::metadata(path) {
        Ok(meta) => meta,
        // A dangling symlink is something: nothing can be created there.
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && std::fs::symlink_metadata(path).is_err() => {
            return bare(FileKind::Missing);
        }
        Err(e) => return unreadable(e),
    };
    let mut kind = match meta.file_type() {
        t if t.is_file() => FileKind::File(meta.len()),
        t if t.is_block_device() => FileKind::Block,
        t if t.is_dir() => return bare(FileKind::Directory),
        _ => return bare(FileKind::Other),
    };
    let mut file = match open(path) {
        Ok(file) => file,
        Err(e) => return unreadable(e),
    };
    let size = file.seek(SeekFrom::End(0)).unwrap_or(meta.len());
    let header = match qcow2::read(&file, size, path, declared) {
        Ok(header) => Some(header.image),
        Err(why) => {
            kind = FileKind::Unreadable(format!("invalid image '{path}': {why}"));
            None
        }
    };
    let definition = save_image::definition(&file);
    (FileFact { kind, header, saved_memory: matches!(definition, Some(Ok(_))) }, definition)
}

/// Open for reading, without waiting on a FIFO that somebody put there.
fn open(path: &Utf8Path) -> std::io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    Ok(File::from(rustix::fs::open(path.as_std_path(), flags, Mode::empty())?))
}

/// The header of the image at `path`, read as `format`.
pub(crate) fn header(path: &Utf8Path, format: &str) -> Result<qcow2::Header> {
    let fail = |e: std::io::Error| Error::system(format!("Failed to open file '{path}'"), &e);
    let mut file = open(path).map_err(fail)?;
    let size = file.seek(SeekFrom::End(0)).map_err(fail)?;
    let header = qcow2::read(&file, size, path, Some(format))
        .map_err(|why| Error::internal(format!("invalid image '{path}': {why}")))?;
    if header.image.format != format && ["qcow2", "qcow", "qed"].contains(&format) {
        return Err(Error::internal(format!("invalid image '{path}': not {format} but {}", header.image.format)));
    }
    Ok(header)
}

/// Whether two paths name the same file.
#[must_use]
pub fn same_file(a: &Utf8Path, b: &Utf8Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    a == b
        || match (std::fs::metadata(a), std::fs::metadata(b)) {
            (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
            _ => false,
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ids::Image;

    pub(super) fn image(path: Utf8PathBuf, format: &str) -> Image {
        Image { path, format: format.into() }
    }

    #[tokio::test]
    async fn a_chain_is_followed_to_its_raw_end() {
        let dir = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(dir.path()).unwrap();
        std::fs::write(dir.join("base"), vec![0; 4096]).unwrap();
        let base = image(dir.join("base"), "raw");
        for (name, backing) in [("a", &base), ("b", &image(dir.join("a"), "qcow2"))] {
            std::fs::write(dir.join(name), "").unwrap();
            img::format_overlay(&image(dir.join(name), "qcow2"), backing).await.unwrap();
        }
        // The guest of the raw base wrote a header into it: it stays raw below, `a` names its format.
        let mut evil = std::fs::read(dir.join("b")).unwrap();
        evil.resize(1 << 20, 0);
        std::fs::write(dir.join("base"), evil).unwrap();
        let facts = look(&[dir.join("b"), dir.join("none"), dir.to_owned()]).await.unwrap();
        assert_eq!(facts.header(&dir.join("b")).unwrap().backing, Some(dir.join("a")));
        assert_eq!(facts.header(&dir.join("a")).unwrap().backing, Some(dir.join("base")));
        let base = facts.header(&dir.join("base")).unwrap();
        assert_eq!((base.format.as_str(), &base.backing, base.virtual_size), ("raw", &None, 1 << 20));
        assert_eq!(facts.kind(&dir.join("none")), &FileKind::Missing);
        assert_eq!(facts.kind(dir), &FileKind::Directory);
    }

    #[tokio::test]
    async fn a_loop_and_a_broken_header_are_facts() {
        let dir = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(dir.path()).unwrap();
        for (name, backing) in [("a", "b"), ("b", "a")] {
            let (path, backing) = (dir.join(name), dir.join(backing));
            let args = ["create", "-q", "-u", "-f", "qcow2", "-F", "qcow2", "-b"];
            let child = super::super::command::Child::new("qemu-img").args(args);
            child.args([backing.as_str(), path.as_str(), "1M"]).run().await.unwrap();
        }
        std::fs::write(dir.join("c"), b"QFI\xfb\0\0\0\x03garbage").unwrap();
        let facts = look(&[dir.join("a"), dir.join("c")]).await.unwrap();
        let words = |name: &str| match facts.kind(&dir.join(name)) {
            FileKind::Unreadable(words) => words.clone(),
            other => panic!("{name}: {other:?}"),
        };
        assert_eq!(words("b"), format!("backing store for {} is self-referential", dir.join("b")));
        assert_eq!(words("c"), format!("invalid image '{}': the header is cut off", dir.join("c")));
    }
}

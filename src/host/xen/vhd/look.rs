//! VHD images among other files: the same questions as for those that QEMU knows ([`images`]).
//!
//! Must not know: programs.

use super::format;
use crate::error::{Error, Result};
use crate::host::images::{self, blocking};
use crate::plan::facts::{Facts, FileFact, FileKind, ImageHeader};
use camino::{Utf8Path, Utf8PathBuf};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Seek, SeekFrom};

/// The longest chain that is followed.
const MAX_DEPTH: usize = 256;

fn open(path: &Utf8Path) -> Result<Option<ImageHeader>> {
    let fail = |e: std::io::Error| Error::system(format!("Failed to open file '{path}'"), &e);
    let mut file = File::open(path).map_err(fail)?;
    let size = file.seek(SeekFrom::End(0)).map_err(fail)?;
    format::read(&file, size, path).map_err(|why| Error::internal(format!("invalid image '{path}': {why}")))
}

/// The header of the VHD at the path; `None` if it is none. To be asked only of what somebody declares to be a VHD: the
/// end of a raw image is its guest's, who could write a footer there.
pub async fn header(path: &Utf8Path) -> Result<Option<ImageHeader>> {
    let path = path.to_owned();
    blocking(move || open(&path)).await
}

/// Give each file that was taken for raw and is a VHD its header, or the reason why that cannot be read; look at the
/// images below it too. Only what was asked for is probed, not what its child declares to be raw.
pub async fn add_facts(facts: &mut Facts) -> Result<()> {
    let raw = |f: &FileFact| {
        matches!(f.kind, FileKind::File(_) | FileKind::Block) && f.header.as_ref().is_some_and(|h| h.format == "raw")
    };
    // What lies below another image is raw because that one says so.
    let below: BTreeSet<Utf8PathBuf> =
        facts.files.values().filter_map(|f| f.header.as_ref()?.backing.clone()).collect();
    let asked = facts.files.iter().filter(|(path, fact)| raw(fact) && !below.contains(*path));
    let asked: Vec<Utf8PathBuf> = asked.map(|(path, _)| path.clone()).collect();
    for start in asked {
        let mut chain: Vec<Utf8PathBuf> = Vec::new();
        let mut next = Some(start);
        while let Some(path) = next.take() {
            let found = header(&path).await;
            if chain.contains(&path) || chain.len() >= MAX_DEPTH {
                give(facts, &path, Err(Error::internal(format!("backing store for {path} never ends"))));
                break;
            }
            if let Ok(Some(header)) = &found {
                next = header.backing.clone();
                if let (Some(below), Some("raw")) = (&next, header.backing_format.as_deref()) {
                    look_at_raw(facts, below).await?;
                    next = None;
                } else if let Some(below) = next.clone().filter(|b| !facts.files.contains_key(b)) {
                    facts.files.extend(images::look(&[below]).await?.files);
                }
            }
            give(facts, &path, found);
            chain.push(path);
        }
    }
    Ok(())
}

/// What is below a VHD and declared to be raw has no header, whatever its guest wrote.
async fn look_at_raw(facts: &mut Facts, path: &Utf8Path) -> Result<()> {
    if facts.files.contains_key(path) {
        return Ok(());
    }
    let mut fact = images::look(&[path.to_owned()]).await?.files.remove(path);
    if let Some(header) = fact.as_mut().and_then(|f| f.header.as_mut()) {
        *header = blocking({
            let path = path.to_owned();
            move || images::header(&path, "raw")
        })
        .await?
        .image;
    }
    facts.files.extend(fact.map(|f| (path.to_owned(), f)));
    Ok(())
}

fn give(facts: &mut Facts, path: &Utf8Path, found: Result<Option<ImageHeader>>) {
    let Some(fact) = facts.files.get_mut(path) else { return };
    match found {
        Ok(Some(header)) => fact.header = Some(header),
        Ok(None) => {}
        Err(why) => (fact.kind, fact.header) = (FileKind::Unreadable(why.message().to_owned()), None),
    }
}

/// Every VHD in the directories of these paths that lies on another image.
pub async fn overlays_beside(paths: &[Utf8PathBuf]) -> Result<Facts> {
    let directories: BTreeSet<Utf8PathBuf> = paths.iter().filter_map(|p| p.parent()).map(Utf8Path::to_owned).collect();
    blocking(move || {
        let mut facts = Facts::default();
        for entry in directories.iter().filter_map(|d| d.read_dir_utf8().ok()).flatten().flatten() {
            let Some(meta) = entry.metadata().ok().filter(std::fs::Metadata::is_file) else { continue };
            if let Ok(Some(header)) = open(entry.path())
                && header.backing.is_some()
            {
                let fact = FileFact { kind: FileKind::File(meta.len()), header: Some(header), saved_memory: false };
                facts.files.insert(entry.path().to_owned(), fact);
            }
        }
        Ok(facts)
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::super::format::tests::{differencing, dynamic};
    use super::*;

    fn write(dir: &Utf8Path, files: &[(&str, Vec<u8>)]) {
        for (name, bytes) in files {
            std::fs::write(dir.join(name), bytes).unwrap();
        }
    }

    #[tokio::test]
    async fn a_chain_is_followed_to_its_end_and_its_overlays_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(dir.path()).unwrap();
        write(
            dir,
            &[
                ("base", dynamic(1 << 20)),
                ("mid", differencing(2 << 20, "file://./base", true)),
                ("top", differencing(3 << 20, "file://./mid", true)),
                // Its guest wrote a VHD into it: it stays raw.
                ("disk", differencing(4 << 20, "file://./base", true)),
                ("on-disk", differencing(4096, "file://./disk", false)),
            ],
        );
        let mut facts = images::look(&[dir.join("top"), dir.join("on-disk"), dir.join("none")]).await.unwrap();
        add_facts(&mut facts).await.unwrap();
        let seen = ["top", "mid", "base", "on-disk", "disk"].map(|name| {
            let header = facts.header(&dir.join(name)).unwrap();
            (header.format.as_str(), header.backing.as_ref().and_then(|b| b.file_name()))
        });
        let expected =
            [("vhd", Some("mid")), ("vhd", Some("base")), ("vhd", None), ("vhd", Some("disk")), ("raw", None)];
        assert_eq!(seen, expected);
        let beside = overlays_beside(&[dir.join("base")]).await.unwrap();
        let names: Vec<&str> = beside.files.keys().filter_map(|p| p.file_name()).collect();
        assert_eq!(names, ["disk", "mid", "on-disk", "top"]);
    }

    #[tokio::test]
    async fn a_loop_and_a_damaged_image_are_facts() {
        let dir = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(dir.path()).unwrap();
        let mut damaged = dynamic(1 << 20);
        damaged[100] ^= 1;
        let last = damaged.len() - 400;
        damaged[last] ^= 1;
        let on = |parent: &str| differencing(1 << 20, &format!("file://./{parent}"), true);
        write(dir, &[("a", on("b")), ("b", on("a")), ("bad", damaged), ("on-bad", on("bad"))]);
        let mut facts = images::look(&[dir.join("a"), dir.join("on-bad")]).await.unwrap();
        add_facts(&mut facts).await.unwrap();
        for name in ["a", "bad"] {
            assert!(matches!(facts.kind(&dir.join(name)), FileKind::Unreadable(_)), "{name}: {facts:?}");
        }
    }
}

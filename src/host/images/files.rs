//! Making and removing files so that nothing of value can be overwritten or lost.
//!
//! Must not know: what is in them.

use super::{blocking, header, same_file};
use crate::error::{Error, Result};
use crate::host::Note;
use crate::plan::steps::Existing;
use camino::{Utf8Path, Utf8PathBuf};
use std::fs::{File, Metadata};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};

fn note(meta: &Metadata) -> Note {
    Note { device: meta.dev(), inode: meta.ino() }
}

/// Create an empty file that nobody had before, or adopt an empty one.
pub async fn reserve(path: &Utf8Path, existing: Existing) -> Result<Note> {
    let path = path.to_owned();
    blocking(move || {
        let fail = |e: std::io::Error| Error::system(format!("unable to create '{path}'"), &e);
        let mut options = File::options();
        options.write(true).custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed());
        if existing == Existing::Refuse {
            options.create_new(true).mode(0o600);
        }
        let meta = options.open(&path).and_then(|f| f.metadata()).map_err(fail)?;
        if existing == Existing::AdoptEmpty && (!meta.is_file() || meta.len() != 0) {
            return Err(Error::invalid(format!("file '{path}' is not empty")));
        }
        sync_directory(&path)?;
        Ok(note(&meta))
    })
    .await
}

/// Undo a reservation: remove the file if it is the one that was created, or, when nothing was
/// noted, if it is empty. An adopted file is emptied instead.
pub async fn unreserve(path: &Utf8Path, existing: Existing, noted: Option<&Note>) -> Result<()> {
    let (path, noted) = (path.to_owned(), noted.cloned());
    blocking(move || {
        let Ok(meta) = std::fs::symlink_metadata(&path) else { return Ok(()) };
        let ours = noted.as_ref().map_or(meta.len() == 0, |n| *n == note(&meta));
        if !meta.is_file() || !ours {
            return Ok(());
        }
        match existing {
            Existing::Refuse => remove(&path),
            Existing::AdoptEmpty if meta.len() == 0 => Ok(()),
            Existing::AdoptEmpty => File::options()
                .write(true)
                .open(&path)
                .and_then(|f| f.set_len(0).and_then(|()| f.sync_all()))
                .map_err(|e| Error::system(format!("cannot truncate '{path}'"), &e)),
        }
    })
    .await
}

/// Truncate the file, durably: a layer whose content went elsewhere, and must not go there again.
pub async fn empty(path: &Utf8Path) -> Result<()> {
    let path = path.to_owned();
    blocking(move || {
        File::options()
            .write(true)
            .open(&path)
            .and_then(|f| f.set_len(0).and_then(|()| f.sync_all()))
            .map_err(|e| Error::system(format!("cannot truncate '{path}'"), &e))
    })
    .await
}

/// fsync of the file and of its directory.
pub async fn sync(path: &Utf8Path) -> Result<()> {
    let path = path.to_owned();
    blocking(move || {
        let synced = File::open(&path).and_then(|f| f.sync_all());
        synced.map_err(|e| Error::system(format!("unable to sync '{path}'"), &e))?;
        sync_directory(&path)
    })
    .await
}

fn directory(path: &Utf8Path) -> &Utf8Path {
    path.parent().filter(|p| !p.as_str().is_empty()).unwrap_or(Utf8Path::new("."))
}

fn sync_directory(path: &Utf8Path) -> Result<()> {
    let dir = directory(path);
    let synced = File::open(dir).and_then(|d| d.sync_all());
    synced.map_err(|e| Error::system(format!("unable to sync '{dir}'"), &e))
}

fn remove(path: &Utf8Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Ok(()) => sync_directory(path),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        Err(e) => Err(Error::system(format!("cannot unlink file '{path}'"), &e)),
    }
}

/// Remove a file that nothing refers to: refused while a process has it open or an image beside
/// it lies on it, naming the one that does. Absent is fine.
pub async fn unlink_if_unused(path: &Utf8Path) -> Result<()> {
    let path = path.to_owned();
    blocking(move || {
        let meta = match std::fs::symlink_metadata(&path) {
            Ok(meta) => meta,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(Error::system(format!("cannot stat '{path}'"), &e)),
        };
        if !meta.is_file() {
            return Err(Error::invalid(format!("'{path}' is not a regular file")));
        }
        if let Some(who) = opener(&note(&meta), None) {
            return Err(Error::invalid(format!("file '{path}' is in use by {who}")));
        }
        if let Some(image) = overlay_beside(&path) {
            return Err(Error::invalid(format!("file '{path}' is the backing file of '{image}'")));
        }
        remove(&path)
    })
    .await
}

/// The process, apart from this one and `except`, that has the file at `path` open.
pub fn user_of(path: &Utf8Path, except: Option<u32>) -> Option<String> {
    opener(&note(&std::fs::metadata(path).ok()?), except)
}

fn opener(file: &Note, except: Option<u32>) -> Option<String> {
    let own = [Some(std::process::id()), except].map(|pid| pid.map(|p| p.to_string()));
    for process in std::fs::read_dir("/proc").ok()?.flatten() {
        let pid = process.file_name().into_string().ok().filter(|n| n.bytes().all(|b| b.is_ascii_digit()));
        let Some(pid) = pid.filter(|p| !own.iter().flatten().any(|o| o == p)) else { continue };
        // Other users' processes are closed to us, as their files mostly are.
        let Ok(fds) = std::fs::read_dir(process.path().join("fd")) else { continue };
        let mut metas = fds.flatten().filter_map(|fd| std::fs::metadata(fd.path()).ok());
        if metas.any(|m| note(&m) == *file) {
            let name = std::fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some(format!("process {pid} ({})", name.trim_end()));
        }
    }
    None
}

/// An image in the same directory that names `path` as its backing file.
fn overlay_beside(path: &Utf8Path) -> Option<Utf8PathBuf> {
    let entries = directory(path).read_dir_utf8().ok()?;
    let files = entries.flatten().filter(|e| e.file_type().is_ok_and(|t| t.is_file()));
    files.map(|e| e.path().to_owned()).find(|image| {
        let lies_on = |format| header(image, format).ok().and_then(|h| h.image.backing);
        // Any format: the file itself says which.
        image != path && lies_on("").is_some_and(|backing| same_file(&backing, path))
    })
}

#[cfg(test)]
mod tests {
    use super::super::img::format_overlay;
    use super::*;
    use crate::model::ids::Image;
    use std::os::unix::fs::PermissionsExt;

    fn temp() -> (tempfile::TempDir, Utf8PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(dir.path()).unwrap().to_owned();
        (dir, path)
    }

    #[tokio::test]
    async fn a_reservation_is_private_exclusive_and_undone() {
        let (_keep, dir) = temp();
        let path = dir.join("x");
        let noted = reserve(&path, Existing::Refuse).await.unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let again = reserve(&path, Existing::Refuse).await.unwrap_err();
        assert_eq!(again.to_string(), format!("unable to create '{path}': File exists"));
        std::fs::write(&path, "formatted").unwrap();
        unreserve(&path, Existing::Refuse, None).await.unwrap();
        assert!(path.exists(), "not empty and nothing noted: not ours");
        unreserve(&path, Existing::Refuse, Some(&Note { inode: 1, ..noted.clone() })).await.unwrap();
        assert!(path.exists(), "another file by that name");
        unreserve(&path, Existing::Refuse, Some(&noted)).await.unwrap();
        assert!(!path.exists());
        unreserve(&path, Existing::Refuse, Some(&noted)).await.unwrap();
        reserve(&path, Existing::Refuse).await.unwrap();
        unreserve(&path, Existing::Refuse, None).await.unwrap();
        assert!(!path.exists(), "empty and nothing noted");
    }

    #[tokio::test]
    async fn an_adopted_file_is_emptied_and_stays() {
        let (_keep, dir) = temp();
        let path = dir.join("x");
        assert!(reserve(&path, Existing::AdoptEmpty).await.is_err());
        std::fs::write(&path, "").unwrap();
        let noted = reserve(&path, Existing::AdoptEmpty).await.unwrap();
        std::fs::write(&path, "formatted").unwrap();
        assert!(reserve(&path, Existing::AdoptEmpty).await.is_err(), "no longer empty");
        unreserve(&path, Existing::AdoptEmpty, None).await.unwrap();
        assert_eq!(path.metadata().unwrap().len(), 9);
        unreserve(&path, Existing::AdoptEmpty, Some(&noted)).await.unwrap();
        assert_eq!(path.metadata().unwrap().len(), 0);
    }

    #[tokio::test]
    async fn a_symlink_is_never_followed_to_a_new_file() {
        let (_keep, dir) = temp();
        std::fs::write(dir.join("victim"), "").unwrap();
        std::os::unix::fs::symlink(dir.join("victim"), dir.join("x")).unwrap();
        assert!(reserve(&dir.join("x"), Existing::Refuse).await.is_err());
        assert!(reserve(&dir.join("x"), Existing::AdoptEmpty).await.is_err());
        assert!(unlink_if_unused(&dir.join("x")).await.is_err());
    }

    #[tokio::test]
    async fn a_file_in_use_is_kept_and_its_user_named() {
        let (_keep, dir) = temp();
        let (base, top) = (dir.join("base"), dir.join("top"));
        std::fs::write(&base, vec![0; 512]).unwrap();
        std::fs::write(&top, "").unwrap();
        let image = |path: &Utf8PathBuf, format: &str| Image { path: path.clone(), format: format.into() };
        format_overlay(&image(&top, "qcow2"), &image(&base, "raw")).await.unwrap();
        let error = unlink_if_unused(&base).await.unwrap_err().to_string();
        assert!(error.ends_with(&format!("file '{base}' is the backing file of '{top}'")), "{error}");

        let mut sleeper =
            std::process::Command::new("sleep").arg("60").stdin(File::open(&top).unwrap()).spawn().unwrap();
        let error = unlink_if_unused(&top).await.unwrap_err().to_string();
        assert!(error.ends_with(&format!("is in use by process {} (sleep)", sleeper.id())), "{error}");
        sleeper.kill().unwrap();
        sleeper.wait().unwrap();

        for path in [&top, &base, &base] {
            unlink_if_unused(path).await.unwrap();
        }
        assert!(!base.exists() && !top.exists());
    }
}

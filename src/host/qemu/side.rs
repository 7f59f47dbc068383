//! A machine's side state on this host: NVRAM files and TPM directories, and copies of them.
//!
//! ```text
//!   STATE/nvram/NAME_VARS.fd                 an NVRAM that the definition places nowhere else
//!   STATE/tpm/UUID/                          a TPM's files
//!   STATE/copies/UUID/TIME/SNAPSHOT/nvram    the content, raw
//!                                  /tpm/     the durable files
//! ```
//!
//! NVRAM is written where it is, so that its file's owner, its place and its tags stay; every such step can be
//! repeated from the copy. What a QEMU has open is copied by that QEMU (`blockdev-backup`: of one instant, whatever the guest
//! writes meanwhile).
//!
//! Must not know: which snapshot wants what.

use super::argv::NVRAM_NODE;
use super::hardware::Hardware;
use super::job::{self, Job, Until};
use super::process::RunningQemu;
use super::qmp::QmpError;
use super::steps::{Guests, Unwatched, alive};
use super::tpm;
use crate::error::{Error, Result};
use crate::host::command::Child;
use crate::host::images::{blocking, files};
use crate::model::ids::{DomainId, Image, Instance, OpId};
use crate::model::side_state::{Nvram, SideState, SideStates};
use camino::{Utf8Path, Utf8PathBuf};
use serde_json::json;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};

/// The side state of a machine.
pub(super) fn of(hardware: &Hardware, domain: DomainId, state_dir: &Utf8Path) -> SideStates {
    let mut all: Vec<SideState> = hardware.os.firmware.nvram().into_iter().map(SideState::Nvram).collect();
    if hardware.tpm.is_some() {
        all.push(SideState::Tpm(tpm::directory(state_dir, domain)));
    }
    SideStates { all, copies: copies(domain, state_dir) }
}

/// Where the copies are that the machine's snapshots have.
pub(super) fn copies(domain: DomainId, state_dir: &Utf8Path) -> Utf8PathBuf {
    state_dir.join("copies").join(domain.to_string())
}

/// Make a private directory with all above it.
pub(super) fn make_directory(path: &Utf8Path) -> Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|e| Error::system(format!("cannot create directory '{path}'"), &e))
}

fn parent(path: &Utf8Path) -> &Utf8Path {
    path.parent().unwrap_or(Utf8Path::new("/"))
}

/// Make an NVRAM file from its template, if it is missing.
pub(super) async fn make(nvram: &Nvram) -> Result<()> {
    if nvram.image.path.exists() {
        return Ok(());
    }
    let Some(template) = &nvram.template else {
        return Err(Error::failed(format!("unable to find any master var store for NVRAM: {}", nvram.image.path)));
    };
    make_directory(parent(&nvram.image.path))?;
    // Whole or not at all.
    let fresh = nvram.image.path.with_file_name(format!(".{}.new", nvram.image.path.file_name().unwrap_or("nvram")));
    let from = Image { path: template.path.clone(), format: template.format.clone() };
    create_private(&fresh)?;
    let made = async {
        convert(&from, &Image { path: fresh.clone(), format: nvram.image.format.clone() }, false).await?;
        fs::rename(&fresh, &nvram.image.path)
            .map_err(|e| Error::system(format!("cannot create file '{}'", nvram.image.path), &e))
    };
    if let Err(error) = made.await {
        let _ = fs::remove_file(&fresh);
        return Err(error);
    }
    files::sync(&nvram.image.path).await
}

/// Make it anew, whatever is in it.
pub(super) async fn reset(nvram: &Nvram) -> Result<()> {
    match &nvram.template {
        Some(template) if nvram.image.path.exists() => {
            write(&Image { path: template.path.clone(), format: template.format.clone() }, &nvram.image).await
        }
        _ => make(nvram).await,
    }
}

/// Remove a machine's side state for good.
pub(super) async fn remove(side: &SideState) -> Result<()> {
    match side {
        SideState::Nvram(nvram) => {
            let path = nvram.image.path.clone();
            blocking(move || match fs::remove_file(&path) {
                Err(e) if e.kind() != ErrorKind::NotFound => {
                    Err(Error::system(format!("failed to remove nvram: {path}"), &e))
                }
                _ => Ok(()),
            })
            .await
        }
        SideState::Tpm(path) => {
            tpm::released(path).await?;
            let path = path.clone();
            blocking(move || remove_tree(&path)).await
        }
    }
}

fn create_private(path: &Utf8Path) -> Result<()> {
    fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .map(drop)
        .map_err(|e| Error::system(format!("cannot create file '{path}'"), &e))
}

/// Write the content of one image into another. `keep`: into the image that is there, whose tags stay.
async fn convert(from: &Image, to: &Image, keep: bool) -> Result<()> {
    let mut child = Child::new("qemu-img").args(["convert", "-f"]).arg(&from.format).arg("-O").arg(&to.format);
    if keep {
        child = child.arg("-n");
    }
    child.arg(&from.path).arg(&to.path).run().await.map(drop)
}

async fn write(from: &Image, to: &Image) -> Result<()> {
    convert(from, to, to.format != "raw").await?;
    files::sync(&to.path).await
}

fn raw(path: &Utf8Path) -> Image {
    Image { path: path.to_owned(), format: "raw".to_owned() }
}

/// Copy a piece, over whatever an earlier attempt has left.
pub(super) async fn copy(
    guests: &dyn Guests,
    op: OpId,
    instance: Option<Instance>,
    of: &SideState,
    to: &Utf8Path,
) -> Result<()> {
    let at = to.to_owned();
    blocking(move || {
        remove_tree(&at)?;
        make_directory(parent(&at))
    })
    .await?;
    match (of, instance) {
        (SideState::Tpm(from), _) => {
            let (from, to) = (from.clone(), to.to_owned());
            blocking(move || copy_directory(&from, &to)).await?;
        }
        (SideState::Nvram(nvram), None) => {
            create_private(to)?;
            convert(&nvram.image, &raw(to), false).await?;
        }
        (SideState::Nvram(_), Some(instance)) => {
            let qemu = alive(guests, Some(instance)).await.ok_or(QmpError::Gone)?;
            create_private(to)?;
            backup(&qemu, op, to).await?;
        }
    }
    files::sync(to).await
}

async fn backup(qemu: &RunningQemu, op: OpId, to: &Utf8Path) -> Result<()> {
    let node = backup_node(op);
    let named = qemu.monitor.execute("query-named-block-nodes", json!({ "flat": true })).await?;
    let size = named
        .as_array()
        .and_then(|nodes| nodes.iter().find(|n| n["node-name"] == NVRAM_NODE))
        .and_then(|n| n["image"]["virtual-size"].as_u64())
        .ok_or_else(|| Error::internal("the running guest has no NVRAM"))?;
    fs::OpenOptions::new()
        .write(true)
        .open(to)
        .and_then(|f| f.set_len(size))
        .map_err(|e| Error::system(format!("cannot create file '{to}'"), &e))?;
    let file = json!({ "driver": "file", "filename": to });
    qemu.monitor.execute("blockdev-add", json!({ "driver": "raw", "node-name": node, "file": file })).await?;
    let id = job::id(op, "nvram");
    let job = Job { monitor: &qemu.monitor, id: &id, kind: "backup" };
    let arguments = json!({
        "job-id": id, "device": NVRAM_NODE, "target": node, "sync": "full", "auto-dismiss": false,
    });
    qemu.monitor.execute("blockdev-backup", arguments).await?;
    job.wait(Until::Concluded, &Unwatched).await?;
    qemu.monitor.execute("blockdev-del", json!({ "node-name": node })).await?;
    Ok(())
}

fn backup_node(op: OpId) -> String {
    format!("virsnap-{op}-nvram")
}

/// Remove a copy, and what its making has left in a QEMU.
pub(super) async fn undo_copy(guests: &dyn Guests, op: OpId, instance: Option<Instance>, to: &Utf8Path) -> Result<()> {
    if let Some(qemu) = alive(guests, instance).await {
        match let_go(&qemu, op).await {
            // Nothing is left in a QEMU that is gone.
            Err(_) if qemu.monitor.is_gone() => {}
            done => done?,
        }
    }
    drop_copy(to).await
}

async fn let_go(qemu: &RunningQemu, op: OpId) -> Result<()> {
    let id = job::id(op, "nvram");
    let job = Job { monitor: &qemu.monitor, id: &id, kind: "backup" };
    if !job.clear().await? {
        // Half a megabyte: it is as good as done; how is no matter.
        let _ = job.wait(Until::Concluded, &Unwatched).await;
    }
    match qemu.monitor.execute("blockdev-del", json!({ "node-name": backup_node(op) })).await {
        Ok(_) | Err(QmpError::Refused { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Bring a piece back.
pub(super) async fn restore(of: &SideState, from: &Utf8Path) -> Result<()> {
    match of {
        SideState::Nvram(nvram) if nvram.image.path.exists() => write(&raw(from), &nvram.image).await,
        SideState::Nvram(nvram) => {
            make_directory(parent(&nvram.image.path))?;
            create_private(&nvram.image.path)?;
            convert(&raw(from), &nvram.image, false).await?;
            files::sync(&nvram.image.path).await
        }
        SideState::Tpm(path) => {
            tpm::released(path).await?;
            let (at, path, from) = (path.clone(), path.clone(), from.to_owned());
            blocking(move || {
                let fresh = Utf8PathBuf::from(format!("{path}.new"));
                remove_tree(&fresh)?;
                make_directory(parent(&path))?;
                copy_directory(&from, &fresh)?;
                remove_tree(&path)?;
                fs::rename(&fresh, &path).map_err(|e| Error::system(format!("cannot create directory '{path}'"), &e))
            })
            .await?;
            files::sync(&at).await
        }
    }
}

/// Remove a copy; the directories of its snapshot, time and domain go with their last one.
pub(super) async fn drop_copy(path: &Utf8Path) -> Result<()> {
    let path = path.to_owned();
    blocking(move || {
        remove_tree(&path)?;
        for above in path.ancestors().skip(1).take(3) {
            if fs::remove_dir(above).is_err() {
                break; // Something else is in it.
            }
        }
        Ok(())
    })
    .await
}

/// Remove a file or a directory; absent is fine.
fn remove_tree(path: &Utf8Path) -> Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        _ => fs::remove_file(path),
    };
    removed.map_err(|e| Error::system(format!("cannot remove '{path}'"), &e))
}

/// The plain files of a directory, durable; a missing one is empty. swtpm replaces its files as a whole, so each is of
/// one instant; a lock is no state.
fn copy_directory(from: &Utf8Path, to: &Utf8Path) -> Result<()> {
    make_directory(to)?;
    let entries = match from.read_dir_utf8() {
        Ok(entries) => entries,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(Error::system(format!("cannot open directory '{from}'"), &e)),
    };
    for entry in entries {
        let entry = entry.map_err(|e| Error::system(format!("cannot open directory '{from}'"), &e))?;
        let name = entry.file_name();
        if name == tpm::LOCK || !entry.file_type().is_ok_and(|t| t.is_file()) {
            continue;
        }
        let copy = to.join(name);
        fs::copy(entry.path(), &copy)
            .and_then(|_| fs::File::open(&copy)?.sync_all())
            .map_err(|e| Error::system(format!("cannot copy '{}' to '{copy}'", entry.path()), &e))?;
    }
    Ok(())
}

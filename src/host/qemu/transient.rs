//! Disks that are `<transient/>`: the guest writes to an overlay that goes with its QEMU.
//!
//! The overlay is made beside the image and loses its name as soon as QEMU has it open: whatever dies, nothing is left to
//! clean up, and the guest's writes are gone with the process. libvirt keeps the name, and the file after a crash.

use super::chains::{Chains, Layer};
use super::hardware::Hardware;
use crate::error::{Error, Result};
use crate::host::images::img;
use crate::model::ids::Image;
use crate::plan::facts::FileKind;
use camino::Utf8PathBuf;

/// The overlays of one start; their names go when this does.
pub(super) struct Overlays(Vec<Utf8PathBuf>);

/// Lay an overlay on every transient disk's chain.
pub(super) async fn overlay(hardware: &Hardware, chains: &mut Chains) -> Result<Overlays> {
    let mut made = Overlays(Vec::new());
    for disk in hardware.disks.iter().filter(|d| d.transient) {
        let Some(layers) = chains.get_mut(&disk.target) else { continue };
        let Some(Layer { image: base, block: false }) = layers.first().cloned() else {
            let message = format!("transient disk '{}' needs an image file to lay its overlay beside", disk.target);
            return Err(Error::config(message));
        };
        let path = Utf8PathBuf::from(format!("{}.TRANSIENT-{}", base.path, hardware.name));
        let facts = crate::host::images::look(std::slice::from_ref(&path)).await?;
        if *facts.kind(&path) != FileKind::Missing {
            let message = format!("Overlay file '{path}' for transient disk '{}' already exists", disk.target);
            return Err(Error::invalid(message));
        }
        let overlay = Image { path: path.clone(), format: "qcow2".to_owned() };
        made.0.push(path);
        img::format_overlay(&overlay, &base).await?;
        layers.insert(0, Layer { image: overlay, block: false });
    }
    Ok(made)
}

impl Drop for Overlays {
    fn drop(&mut self) {
        for path in &self.0 {
            if let Err(error) = std::fs::remove_file(path)
                && error.kind() != std::io::ErrorKind::NotFound
            {
                tracing::warn!(%path, %error, "cannot remove the name of a transient disk's overlay");
            }
        }
    }
}

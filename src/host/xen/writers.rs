//! Never two writers: Xen's qdisk takes no lock on an image, so `qemu-img` would change one under a running guest and
//! exit 0. Before virsnap writes to an image by itself it proves here that nobody has it.
//!
//! A process that has it open is found in `/proc`; a domain whose device the kernel or another domain serves, in xenstore.
//! Must not know: why it is written to.

use super::xenstore;
use crate::error::{Error, Result};
use crate::host::images::{blocking, files, same_file};
use camino::{Utf8Path, Utf8PathBuf};

/// Whose use of an image is no obstacle.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Except {
    pub(super) domid: Option<u32>,
    pub(super) pid: Option<u32>,
}

/// An error names the image and its user.
pub(super) async fn prove_none(images: &[&Utf8Path], except: Except) -> Result<()> {
    if images.is_empty() {
        return Ok(());
    }
    let attached = attached().await;
    let images: Vec<Utf8PathBuf> = images.iter().map(|i| (*i).to_owned()).collect();
    blocking(move || {
        for image in &images {
            if let Some(user) = files::user_of(image, except.pid) {
                return Err(Error::invalid(format!("image '{image}' is in use by {user}")));
            }
            let user = attached.iter().find(|(d, p)| Some(*d) != except.domid && same_file(p, image));
            if let Some((domid, _)) = user {
                return Err(Error::invalid(format!("image '{image}' is attached to domain {domid}")));
            }
        }
        Ok(())
    })
    .await
}

/// Every image that xenstore says is attached for writing: the domain's id, the path.
async fn attached() -> Vec<(u32, Utf8PathBuf)> {
    let tree = xenstore::tree("/local/domain").await;
    writable(&tree)
}

/// `/local/domain/<backend>/backend/{qdisk,vbd,…}/<frontend>/<device>/params` = `[format:]path`, `mode` = `w…`.
fn writable(tree: &[(String, String)]) -> Vec<(u32, Utf8PathBuf)> {
    let mut out = Vec::new();
    for (key, value) in tree {
        let parts: Vec<&str> = key.split('/').collect();
        let ["", "local", "domain", _, "backend", kind, frontend, device, "params"] = parts.as_slice() else {
            continue;
        };
        if !matches!(*kind, "qdisk" | "vbd" | "vbd3" | "tap" | "9pfs") || value.is_empty() {
            continue;
        }
        let mode_key = key.replacen("/params", "/mode", 1);
        let reads_only = tree.iter().any(|(k, v)| *k == mode_key && v.starts_with('r'));
        let _ = device;
        let path = match value.split_once(':') {
            Some((format, path)) if !format.contains('/') => path,
            _ => value,
        };
        if let (Ok(domid), false) = (frontend.parse(), reads_only) {
            let path = if path.starts_with('/') { path.to_owned() } else { format!("/dev/{path}") };
            out.push((domid, path.into()));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_attached_for_writing_is_read_from_the_backends() {
        let key = |k: &str, v: &str| (format!("/local/domain/0/backend/{k}"), v.to_owned());
        let tree = [
            key("qdisk/1/51712/params", "qcow2:/x/g:1.qcow2"),
            key("qdisk/1/51712/mode", "w"),
            key("vbd/2/51712/params", "/dev/vg/lv"),
            key("vbd/2/51712/mode", "w"),
            key("qdisk/3/51712/params", "raw:/x/cd.iso"),
            key("qdisk/3/51712/mode", "r"),
            key("console/3/0/params", "/x/none"),
        ];
        let found = writable(&tree);
        assert_eq!(found, [(1, "/x/g:1.qcow2".into()), (2, "/dev/vg/lv".into())]);
    }
}

//! What `xl` believes a domain's disks to be, kept true.
//!
//! After a switch of disks through QMP, libxl's own record of the domain (`userdata-d.<domid>.<uuid>.libxl-json`) still
//! names the image below. An `xl` that boots the guest again, and every save file, goes by that record: the wrong disk
//! would be attached, without an error. So it is brought up to date. Best effort: virsnap itself does not go by it.
//! Must not know: why the disks were switched.

use super::XenHost;
use crate::model::ids::{Image, Instance};
use serde_json::Value;

impl XenHost {
    /// The domain's disks have these images now.
    pub(super) async fn tell_toolstack(&self, instance: Instance, disks: impl Iterator<Item = (&str, &Image)>) {
        let Some(guest) = self.guests.get(instance) else { return };
        let disks: Vec<(&str, &Image)> = disks.collect();
        let path = format!("/var/lib/xen/userdata-d.{}.{}.libxl-json", guest.domid, guest.domain);
        let rewritten = async {
            let text = tokio::fs::read(&path).await?;
            let record = with_images(&text, &disks)?;
            let temporary = format!("{path}.virsnap");
            tokio::fs::write(&temporary, record).await?;
            tokio::fs::rename(&temporary, &path).await
        };
        if let Err(error) = rewritten.await {
            tracing::warn!(%error, path, "libxl's record of the domain still names the disks before");
        }
    }
}

/// libxl's record with other images for these disks.
fn with_images(text: &[u8], disks: &[(&str, &Image)]) -> std::io::Result<Vec<u8>> {
    // The record may end in a NUL.
    let end = text.iter().rposition(|b| *b != 0).map_or(0, |at| at + 1);
    let mut record: Value = serde_json::from_slice(&text[..end])?;
    for disk in record["disks"].as_array_mut().into_iter().flatten() {
        let hit = disks.iter().find(|(target, _)| disk["vdev"] == *target);
        if let Some((_, image)) = hit {
            disk["pdev_path"] = image.path.as_str().into();
            disk["format"] = image.format.as_str().into();
        }
    }
    let mut out = serde_json::to_vec(&record)?;
    out.extend_from_slice(&text[end..]);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_named_disk_gets_another_image_and_the_end_stays() {
        let text = b"{\"c_info\":{\"name\":\"g\"},\"disks\":[{\"pdev_path\":\"/x/a\",\"vdev\":\"xvda\",\"format\":\"raw\"},{\"pdev_path\":\"/x/b\",\"vdev\":\"xvdb\"}]}\0";
        let overlay = Image { path: "/x/a.s".into(), format: "qcow2".into() };
        let out = with_images(text, &[("xvda", &overlay)]).unwrap();
        assert_eq!(out.last(), Some(&0));
        let record: Value = serde_json::from_slice(&out[..out.len() - 1]).unwrap();
        assert_eq!(record["disks"][0]["pdev_path"], "/x/a.s");
        assert_eq!(record["disks"][0]["format"], "qcow2");
        assert_eq!(record["disks"][1]["pdev_path"], "/x/b");
    }
}

//! What `qemu-img` does to images that nobody has open: always with the format said, each
//! change followed by fsync.
//!
//! Must not know: plans, running hypervisors.

use super::{blocking, files, header, same_file};
use crate::error::{Error, Result};
use crate::host::command::Child;
use crate::host::{Report, StepProgress, qcow2};
use crate::model::ids::Image;
use crate::plan::facts::Tag;
use camino::Utf8Path;

fn qemu_img() -> Child {
    Child::new("qemu-img")
}

/// An image as `--image-opts` wants it, for the subcommands that have no `-f`.
fn options(image: &Image) -> String {
    use std::os::unix::fs::FileTypeExt;
    let block = image.path.metadata().is_ok_and(|m| m.file_type().is_block_device());
    let driver = if block { "host_device" } else { "file" };
    let path = image.path.as_str().replace(',', ",,");
    format!("driver={},file.driver={driver},file.filename={path}", image.format)
}

async fn read(image: &Image) -> Result<qcow2::Header> {
    let image = image.clone();
    blocking(move || header(&image.path, &image.format)).await
}

/// Whether an overlay has nothing of its own yet. Formats whose map we can't read are not empty.
pub async fn is_empty(image: &Image) -> Result<bool> {
    let image = image.clone();
    blocking(move || {
        let fail = |e| Error::system(format!("Failed to open file '{}'", image.path), &e);
        let file = std::fs::File::open(&image.path).map_err(fail)?;
        header(&image.path, &image.format)?.is_empty(&file).map_err(fail)
    })
    .await
}

/// What `qemu-img info` says of a size, for formats whose header we don't read.
async fn size_by_info(image: &Image) -> Result<u64> {
    let child = qemu_img().args(["info", "-U", "--output=json", "-f"]).arg(&image.format).arg(&image.path);
    let info: serde_json::Value = serde_json::from_slice(&child.run().await?).map_err(Error::internal)?;
    info["virtual-size"].as_u64().ok_or_else(|| Error::internal(format!("'{}' has no size", image.path)))
}

/// Make an existing file or device an empty overlay on `backing`. The file keeps its inode and
/// mode. The backing file is only named, never opened (`-u`): a guest may hold it.
pub async fn format_overlay(image: &Image, backing: &Image) -> Result<()> {
    let below = read(backing).await?;
    let size = match backing.format.as_str() {
        "raw" | "qcow2" | "qcow" | "qed" => below.image.virtual_size,
        _ => size_by_info(backing).await?,
    };
    let mut child = qemu_img().args(["create", "-q", "-u", "-f"]).arg(&image.format);
    child = child.arg("-b").arg(&backing.path).arg("-F").arg(&backing.format);
    if image.format == "qcow2" && backing.format == "qcow2" {
        // As libvirt does: the overlay is tuned like the image below it.
        if let Some(size) = below.cluster_size {
            child = child.arg("-o").arg(format!("cluster_size={size}"));
        }
        if below.extended_l2 {
            child = child.arg("-o").arg("extended_l2=on");
        }
    }
    child.arg(&image.path).arg(size.to_string()).run().await.map(drop)
}

/// The one tag of exactly that name; `None` if there is none, refused if there are several.
pub async fn find_tag(image: &Image, name: &str) -> Result<Option<Tag>> {
    let mut tags = read(image).await?.image.tags;
    tags.retain(|t| t.name == name);
    if tags.len() > 1 {
        return Err(Error::invalid(format!("image '{}' has several internal snapshots named '{name}'", image.path)));
    }
    Ok(tags.pop())
}

async fn snapshot(image: &Image, how: &str, which: &str) -> Result<()> {
    let child = qemu_img().args(["snapshot", "-q", how, which, "--image-opts"]).arg(options(image));
    child.run().await?;
    files::sync(&image.path).await
}

/// Take a tag of an image that has none of that name.
pub async fn create_tag(image: &Image, name: &str) -> Result<()> {
    if find_tag(image, name).await?.is_some() {
        return Err(Error::invalid(format!("image '{}' already has an internal snapshot named '{name}'", image.path)));
    }
    snapshot(image, "-c", name).await
}

/// Bring an image back to a tag. By its ID: `qemu-img -a` matches an ID before a name, and would
/// take another tag whose ID is this one's name.
pub async fn apply_tag(image: &Image, name: &str) -> Result<()> {
    let tag = find_tag(image, name).await?;
    let tag =
        tag.ok_or_else(|| Error::invalid(format!("image '{}' has no internal snapshot named '{name}'", image.path)))?;
    snapshot(image, "-a", &tag.id).await
}

/// Remove a tag; absent is fine, and so is a missing image. By its name: `qemu-img -d` knows no IDs.
pub async fn remove_tag(image: &Image, name: &str) -> Result<()> {
    if !image.path.exists() || find_tag(image, name).await?.is_none() {
        return Ok(());
    }
    snapshot(image, "-d", name).await
}

/// Run a call with `-p` and tell what it prints: `    (12.34/100%)\r`.
async fn run_long(child: Child, total: u64, report: Option<&dyn Report>) -> Result<()> {
    let watch = |piece: &[u8]| {
        let text = String::from_utf8_lossy(piece);
        let percent = text.rsplit('(').find_map(|t| t.split_once('/')?.0.trim().parse::<f64>().ok());
        if let (Some(report), Some(percent)) = (report, percent.filter(|p| (0.0..=100.0).contains(p))) {
            // Percent of bytes: precise enough for a bar.
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
            let done = (total as f64 * percent / 100.0) as u64;
            report.progress(StepProgress { done, total });
        }
    };
    let cancelled = async {
        match report {
            Some(report) => report.cancelled().await,
            None => std::future::pending().await,
        }
    };
    child.run_until(cancelled, watch).await.map(drop)
}

/// Write the content of `top` into `base`, on which it lies directly. `top` stays as it is, so
/// that this can be repeated.
pub async fn commit(top: &Image, base: &Image, report: Option<&dyn Report>) -> Result<()> {
    let above = read(top).await?.image;
    if !above.backing.as_ref().is_some_and(|b| same_file(b, &base.path)) {
        return Err(Error::internal(format!("image '{}' does not lie on '{}'", top.path, base.path)));
    }
    if above.backing_format.as_deref().is_some_and(|f| f != base.format) {
        return Err(Error::internal(format!("image '{}' takes '{}' for another format", top.path, base.path)));
    }
    let child = qemu_img().args(["commit", "-p", "-d", "-f"]).arg(&top.format).arg(&top.path);
    run_long(child, above.virtual_size, report).await?;
    files::sync(&base.path).await
}

/// Put an image onto another backing file, or onto none, without changing what a guest reads.
pub async fn rebase(image: &Image, onto: Option<&Image>, report: Option<&dyn Report>) -> Result<()> {
    let now = read(image).await?.image;
    if lies_on(now.backing.as_deref(), onto) {
        return Ok(());
    }
    // Writethrough: the new backing file's name must not reach the disk before the data does.
    let mut child = qemu_img().args(["rebase", "-p", "-t", "writethrough", "-f"]).arg(&image.format);
    child = match onto {
        Some(onto) => child.arg("-F").arg(&onto.format).arg("-b").arg(&onto.path),
        None => child.args(["-b", ""]),
    };
    let child = child.arg(&image.path);
    run_long(child, now.virtual_size, report).await?;
    files::sync(&image.path).await
}

fn lies_on(backing: Option<&Utf8Path>, onto: Option<&Image>) -> bool {
    match (backing, onto) {
        (Some(backing), Some(onto)) => same_file(backing, &onto.path),
        (None, None) => true,
        _ => false,
    }
}

/// Name another backing file of the same content.
pub async fn repoint(image: &Image, backing: &Image) -> Result<()> {
    let now = read(image).await?.image;
    if now.backing.as_ref() == Some(&backing.path) && now.backing_format.as_ref() == Some(&backing.format) {
        return Ok(());
    }
    let child = qemu_img().args(["rebase", "-q", "-u", "-f"]).arg(&image.format);
    child.arg("-F").arg(&backing.format).arg("-b").arg(&backing.path).arg(&image.path).run().await?;
    files::sync(&image.path).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use camino::Utf8PathBuf;
    use std::os::unix::fs::MetadataExt;
    use std::sync::Mutex;

    struct Bench(tempfile::TempDir);
    impl Bench {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }
        fn path(&self, name: &str) -> Utf8PathBuf {
            Utf8Path::from_path(self.0.path()).unwrap().join(name)
        }
        fn image(&self, name: &str) -> Image {
            Image { path: self.path(name), format: if name.ends_with("raw") { "raw" } else { "qcow2" }.into() }
        }
        async fn overlay(&self, name: &str, on: &str) -> Image {
            std::fs::write(self.path(name), "").unwrap();
            format_overlay(&self.image(name), &self.image(on)).await.unwrap();
            self.image(name)
        }
        /// Fill megabyte `at` of the image with `byte`.
        async fn write(&self, name: &str, at: u8, byte: u8) {
            let image = self.image(name);
            let command = format!("write -P {byte} {at}M 1M");
            let io = Child::new("qemu-io").args(["-f", &image.format, "-c", &command]);
            io.arg(&image.path).run().await.unwrap();
        }
        async fn reads(&self, name: &str, at: u8, byte: u8) -> bool {
            let image = self.image(name);
            let command = format!("read -P {byte} {at}M 1M");
            Child::new("qemu-io").args(["-r", "-f", &image.format, "-c", &command]).arg(&image.path).run().await.is_ok()
        }
    }

    #[derive(Default)]
    struct Told(Mutex<Vec<StepProgress>>);
    impl Report for Told {
        fn progress(&self, progress: StepProgress) {
            self.0.lock().unwrap().push(progress);
        }
        fn paused_for(&self, _: u64) {}
    }

    #[tokio::test]
    async fn an_overlay_keeps_its_inode_and_takes_size_and_clusters_from_below() {
        let b = Bench::new();
        std::fs::write(b.path("base.raw"), vec![0; 1000]).unwrap();
        let odd = b.path("a,b=c:d");
        std::fs::write(&odd, "").unwrap();
        let inode = odd.metadata().unwrap().ino();
        let image = Image { path: odd.clone(), format: "qcow2".into() };
        format_overlay(&image, &b.image("base.raw")).await.unwrap();
        assert_eq!(odd.metadata().unwrap().ino(), inode);
        let h = header(&odd, "qcow2").unwrap();
        assert_eq!(h.image.backing, Some(b.path("base.raw")));
        assert_eq!(h.image.virtual_size, 1024, "whole sectors");
        assert!(is_empty(&image).await.unwrap());
        let fine = b.path("fine");
        qemu_img()
            .args(["create", "-q", "-f", "qcow2", "-o", "cluster_size=4k,extended_l2=off"])
            .arg(&fine)
            .arg("8M")
            .run()
            .await
            .unwrap();
        b.overlay("on-fine", "fine").await;
        assert_eq!(header(&b.path("on-fine"), "qcow2").unwrap().cluster_size, Some(4096));
        create_tag(&image, "x").await.unwrap();
        remove_tag(&image, "x").await.unwrap();
    }

    #[tokio::test]
    async fn a_tag_is_found_by_its_exact_name_even_if_that_is_anothers_id() {
        let b = Bench::new();
        qemu_img().args(["create", "-q", "-f", "qcow2"]).arg(b.path("a")).arg("4M").run().await.unwrap();
        let image = b.image("a");
        for (byte, tag) in [(1, "2"), (2, "other")] {
            b.write("a", 0, byte).await;
            create_tag(&image, tag).await.unwrap();
        }
        assert!(create_tag(&image, "2").await.is_err());
        // Tag "2" has ID 1, tag "other" has ID 2.
        apply_tag(&image, "2").await.unwrap();
        assert!(b.reads("a", 0, 1).await);
        assert!(apply_tag(&image, "1").await.is_err(), "an ID is no name");
        remove_tag(&image, "1").await.unwrap();
        for _ in 0..2 {
            remove_tag(&image, "2").await.unwrap();
        }
        apply_tag(&image, "other").await.unwrap();
        assert!(b.reads("a", 0, 2).await);
        for name in ["dup", "dup"] {
            qemu_img().args(["snapshot", "-c", name]).arg(&image.path).run().await.unwrap();
        }
        let error = remove_tag(&image, "dup").await.unwrap_err().to_string();
        assert!(error.ends_with("has several internal snapshots named 'dup'"), "{error}");
    }

    #[tokio::test]
    async fn a_commit_fills_the_base_and_leaves_the_top() {
        let b = Bench::new();
        std::fs::write(b.path("base.raw"), vec![0; 4 << 20]).unwrap();
        let (top, base) = (b.overlay("top", "base.raw").await, b.image("base.raw"));
        b.write("top", 1, 7).await;
        let told = Told::default();
        for _ in 0..2 {
            commit(&top, &base, Some(&told)).await.unwrap();
        }
        assert!(b.reads("base.raw", 1, 7).await && !is_empty(&top).await.unwrap());
        assert_eq!(told.0.lock().unwrap().last(), Some(&StepProgress { done: 4 << 20, total: 4 << 20 }));
        assert!(commit(&base, &top, None).await.is_err(), "the wrong way round");
    }

    #[tokio::test]
    async fn a_rebased_image_reads_the_same_without_the_layer() {
        let b = Bench::new();
        std::fs::write(b.path("base.raw"), vec![0; 4 << 20]).unwrap();
        let (_, top) = (b.overlay("mid", "base.raw").await, b.overlay("top", "mid").await);
        b.write("base.raw", 0, 1).await;
        b.write("mid", 1, 2).await;
        b.write("top", 2, 3).await;
        for _ in 0..2 {
            rebase(&top, Some(&b.image("base.raw")), None).await.unwrap();
        }
        std::fs::remove_file(b.path("mid")).unwrap();
        for (at, byte) in [(0, 1), (1, 2), (2, 3)] {
            assert!(b.reads("top", at, byte).await, "{at}");
        }
        std::fs::rename(b.path("base.raw"), b.path("moved.raw")).unwrap();
        repoint(&top, &b.image("moved.raw")).await.unwrap();
        assert!(b.reads("top", 0, 1).await);
        for _ in 0..2 {
            rebase(&top, None, None).await.unwrap();
        }
        std::fs::remove_file(b.path("moved.raw")).unwrap();
        assert!(b.reads("top", 0, 1).await && b.reads("top", 1, 2).await);
    }
}

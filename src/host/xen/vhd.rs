//! VHD images, as tapdisk has them: headers read by hand ([`mod@format`]), changes made by `vhd-util`, or by `td-util` where
//! only that is installed.
//!
//! **Built from the documentation and the sources of blktap, never run against the real programs**: no machine that this was
//! made on has them. The tests run a stand-in that records its command lines.
//!
//! What was learned from the sources:
//! - `vhd-util snapshot` of a parent without data links to the parent's parent, unless `-e` forbids it. `td-util` has no
//!   such option. So the new overlay is read back, whoever made it.
//! - It truncates the file that is there, and unlinks it when it fails.
//! - It writes parents as ASCII only, relative to the child.
//! - `coalesce` writes a child's data into its parent and leaves the child; a parent that is smaller is damaged.
//! - `td-util` can neither set a parent nor check.
//! - Nothing locks: the caller has proved that no tapdisk has any of the files open.
//!
//! Must not know: Xen, domains, plans.

pub mod format;
mod look;

pub use look::{add_facts, header, overlays_beside};

use crate::error::{Error, Result};
use crate::host::command::Child;
use crate::host::images::{self, files};
use crate::plan::facts::ImageHeader;
use camino::Utf8Path;

/// The programs to change images with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tools {
    vhd_util: String,
    td_util: String,
}

impl Default for Tools {
    fn default() -> Self {
        Self { vhd_util: "vhd-util".to_owned(), td_util: "td-util".to_owned() }
    }
}

async fn known(path: &Utf8Path) -> Result<ImageHeader> {
    header(path).await?.ok_or_else(|| Error::internal(format!("invalid image '{path}': not vhd")))
}

/// What a parent is to its child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parent {
    /// Another VHD.
    Vhd,
    /// A raw image.
    Raw,
}

impl Tools {
    /// Make a reserved file an empty overlay on `parent`.
    pub async fn create_overlay(&self, new: &Utf8Path, parent: &Utf8Path, kind: Parent) -> Result<()> {
        let raw: &[&str] = if kind == Parent::Raw { &["-m"] } else { &[] };
        let vhd =
            Child::new(&self.vhd_util).args(["snapshot", "-n"]).arg(new).arg("-p").arg(parent).arg("-e").args(raw);
        let td = Child::new(&self.td_util).args(["snapshot", "vhd"]).args(raw).arg(new).arg(parent);
        self.either(vhd, Some(td)).await?;
        let lies_on = known(new).await?.backing;
        if !lies_on.as_ref().is_some_and(|b| images::same_file(b, parent)) {
            let found = lies_on.map_or_else(|| "nothing".to_owned(), |b| format!("'{b}'"));
            return Err(Error::internal(format!("image '{new}' lies on {found}, not on '{parent}'")));
        }
        files::sync(new).await
    }

    /// Write the content of `child` into `parent`, on which it lies directly. The child stays as it is, so that this can be
    /// repeated.
    pub async fn coalesce(&self, child: &Utf8Path, parent: &Utf8Path) -> Result<()> {
        let above = known(child).await?;
        if !above.backing.as_ref().is_some_and(|b| images::same_file(b, parent)) {
            return Err(Error::internal(format!("image '{child}' does not lie on '{parent}'")));
        }
        let below = match above.backing_format.as_deref() {
            Some("raw") => images::header(parent, "raw")?.image,
            _ => known(parent).await?,
        };
        if above.virtual_size > below.virtual_size {
            return Err(Error::unsupported(format!("image '{child}' is larger than '{parent}', which it lies on")));
        }
        let vhd = Child::new(&self.vhd_util).args(["coalesce", "-n"]).arg(child);
        let td = Child::new(&self.td_util).args(["coalesce", "vhd"]).arg(child);
        self.either(vhd, Some(td)).await?;
        files::sync(parent).await
    }

    /// Name another parent of the same content. Nothing if it is named already.
    pub async fn set_parent(&self, child: &Utf8Path, parent: &Utf8Path, kind: Parent) -> Result<()> {
        let format = if kind == Parent::Raw { "raw" } else { "vhd" };
        let now = known(child).await?;
        if now.backing.as_deref() == Some(parent) && now.backing_format.as_deref() == Some(format) {
            return Ok(());
        }
        let raw: &[&str] = if kind == Parent::Raw { &["-m"] } else { &[] };
        let vhd = Child::new(&self.vhd_util).args(["modify", "-n"]).arg(child).arg("-p").arg(parent).args(raw);
        self.either(vhd, None).await?;
        files::sync(child).await
    }

    /// Whether an image is sound, by its own structures.
    pub async fn check(&self, path: &Utf8Path) -> Result<()> {
        self.either(Child::new(&self.vhd_util).args(["check", "-n"]).arg(path), None).await
    }

    /// Run the first, or where its program is not installed, the second.
    async fn either(&self, vhd: Child, td: Option<Child>) -> Result<()> {
        let missing = |e: &Error| e.message().starts_with("Cannot find '");
        let mut result = vhd.run().await;
        if let (Err(e), Some(td)) = (&result, td)
            && missing(e)
        {
            result = td.run().await;
        }
        result.map(drop).map_err(|e| {
            if missing(&e) {
                return Error::unsupported(format!("the tools of blktap for VHD are not installed: {}", e.message()));
            }
            e
        })
    }
}

#[cfg(test)]
mod tests {
    use super::format::tests::{differencing, dynamic};
    use super::*;
    use camino::Utf8PathBuf;

    /// A directory with images and the stand-in for both programs: it writes its arguments down, and a snapshot `top` that it
    /// makes is a copy of `made`.
    struct Bench(tempfile::TempDir);

    impl Bench {
        fn new(programs: &[&str]) -> Self {
            let bench = Self(tempfile::tempdir().unwrap());
            for program in programs {
                // Linked, not written: a program that a test has just written may be busy.
                let stand_in = concat!(env!("CARGO_MANIFEST_DIR"), "/src/host/xen/vhd/stand-in.sh");
                std::os::unix::fs::symlink(stand_in, bench.path(program)).unwrap();
            }
            std::fs::write(bench.path("base"), dynamic(8 << 20)).unwrap();
            std::fs::write(bench.path("made"), differencing(8 << 20, "file://./base", true)).unwrap();
            bench
        }
        fn path(&self, name: &str) -> Utf8PathBuf {
            Utf8Path::from_path(self.0.path()).unwrap().join(name)
        }
        fn tools(&self) -> Tools {
            Tools { vhd_util: self.path("vhd-util").into(), td_util: self.path("td-util").into() }
        }
        fn calls(&self) -> Vec<String> {
            let text = std::fs::read_to_string(self.path("calls")).unwrap_or_default();
            let _ = std::fs::remove_file(self.path("calls"));
            text.lines().map(str::to_owned).collect()
        }
    }

    #[tokio::test]
    async fn the_command_lines_of_vhd_util_are_these() {
        let b = Bench::new(&["vhd-util", "td-util"]);
        let (tools, top, base) = (b.tools(), b.path("top"), b.path("base"));
        tools.create_overlay(&top, &base, Parent::Vhd).await.unwrap();
        assert_eq!(b.calls(), ["vhd-util snapshot -n top -p base -e"]);
        let fact = header(&top).await.unwrap().unwrap();
        assert_eq!((fact.format.as_str(), fact.backing, fact.virtual_size), ("vhd", Some(base.clone()), 8 << 20));
        tools.coalesce(&top, &base).await.unwrap();
        tools.check(&top).await.unwrap();
        tools.set_parent(&top, &base, Parent::Vhd).await.unwrap();
        assert_eq!(b.calls(), ["vhd-util coalesce -n top", "vhd-util check -n top"], "the parent is that one already");
        tools.set_parent(&top, &b.path("other"), Parent::Vhd).await.unwrap();
        tools.set_parent(&top, &base, Parent::Raw).await.unwrap();
        assert_eq!(b.calls(), ["vhd-util modify -n top -p other", "vhd-util modify -n top -p base -m"]);
    }

    #[tokio::test]
    async fn a_raw_parent_is_said_to_be_one() {
        let b = Bench::new(&["vhd-util"]);
        std::fs::write(b.path("base"), vec![0; 8 << 20]).unwrap();
        std::fs::write(b.path("made"), differencing(8 << 20, "file://./base", false)).unwrap();
        b.tools().create_overlay(&b.path("top"), &b.path("base"), Parent::Raw).await.unwrap();
        assert_eq!(b.calls(), ["vhd-util snapshot -n top -p base -e -m"]);
        let fact = header(&b.path("top")).await.unwrap().unwrap();
        assert_eq!(fact.backing_format.as_deref(), Some("raw"));
        b.tools().coalesce(&b.path("top"), &b.path("base")).await.unwrap();
    }

    #[tokio::test]
    async fn td_util_does_what_it_can_where_it_is_alone() {
        let b = Bench::new(&["td-util"]);
        let (tools, top, base) = (b.tools(), b.path("top"), b.path("base"));
        tools.create_overlay(&top, &base, Parent::Vhd).await.unwrap();
        tools.coalesce(&top, &base).await.unwrap();
        assert_eq!(b.calls(), ["td-util snapshot vhd top base", "td-util coalesce vhd top"]);
        let error = tools.set_parent(&top, &b.path("other"), Parent::Vhd).await.unwrap_err().to_string();
        assert!(error.starts_with("Operation not supported: the tools of blktap for VHD are not installed"), "{error}");
    }

    #[tokio::test]
    async fn an_overlay_that_lies_on_another_image_is_noticed() {
        // An empty parent: a tool without `-e` links to what is below it.
        let b = Bench::new(&["td-util"]);
        std::fs::write(b.path("made"), differencing(8 << 20, "file://./below", true)).unwrap();
        let error = b.tools().create_overlay(&b.path("top"), &b.path("base"), Parent::Vhd).await.unwrap_err();
        let words = format!("image '{}' lies on '{}', not on '{}'", b.path("top"), b.path("below"), b.path("base"));
        assert_eq!(error.message(), words);
    }

    #[tokio::test]
    async fn a_child_is_not_written_into_a_stranger_or_into_what_is_smaller() {
        let b = Bench::new(&["vhd-util"]);
        std::fs::write(b.path("top"), differencing(16 << 20, "file://./base", true)).unwrap();
        for (parent, words) in [("made", "does not lie on"), ("base", "is larger than")] {
            let error = b.tools().coalesce(&b.path("top"), &b.path(parent)).await.unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
        assert!(b.calls().is_empty());
    }

    #[tokio::test]
    async fn a_failure_is_reported_with_its_status() {
        let b = Bench::new(&["vhd-util"]);
        std::fs::write(b.path("fail"), "").unwrap();
        let error = b.tools().check(&b.path("base")).await.unwrap_err().to_string();
        assert!(error.contains("check -n") && error.contains("unexpected exit status 22"), "{error}");
    }
}

//! Image headers, read by hand: format, backing file, size, tags.
//!
//! Written by hand because a `qemu-img info` per file costs about 15 ms, and a tree can have
//! thousands of files. Every length is checked before it is believed; the limits are QEMU's
//! (`block/qcow2.h`). All numbers in qcow2 are big endian, in qed little endian.
//!
//! Must not know: what is done with images.

use crate::plan::facts::{ImageHeader, Tag};
use camino::{Utf8Path, Utf8PathBuf};
use std::io;
use std::os::unix::fs::FileExt;

const QCOW_MAGIC: &[u8] = b"QFI\xfb";
const QED_MAGIC: &[u8] = b"QED\0";
const MAX_BACKING: u64 = 1023;
const MAX_SNAPSHOTS: u32 = 65_536;
const MAX_SNAPSHOT_TABLE: u64 = 64 << 20;
const MAX_SNAPSHOT_EXTRA: u32 = 1024;
const EXT_BACKING_FORMAT: u32 = 0xE279_2ACA;

/// A file, or bytes in a test.
pub trait ReadAt {
    /// All of `buffer` from `offset` on, or an error.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
}

impl ReadAt for std::fs::File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_exact_at(buffer, offset)
    }
}

impl ReadAt for [u8] {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let bytes = start.checked_add(buffer.len()).and_then(|end| self.get(start..end));
        buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// What a header says, and what an overlay inherits from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// What plans need of it.
    pub image: ImageHeader,
    /// Bytes of a cluster, for qcow2.
    pub cluster_size: Option<u64>,
    /// Whether L2 entries are extended, for qcow2.
    pub extended_l2: bool,
    l1: Option<(u64, u64)>,
}

impl Header {
    fn raw(size: u64) -> Self {
        let image = ImageHeader {
            format: "raw".into(),
            backing: None,
            backing_format: None,
            virtual_size: size,
            tags: Vec::new(),
        };
        Self { image, cluster_size: None, extended_l2: false, l1: None }
    }

    /// Whether a qcow2 image maps nothing of its own: the guest reads its backing file only.
    pub fn is_empty(&self, file: &(impl ReadAt + ?Sized)) -> io::Result<bool> {
        let Some((offset, entries)) = self.l1 else { return Ok(false) };
        let mut table = Reader { file, at: offset };
        for _ in 0..entries {
            if table.u64()? != 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Read the header of the image at `path`, opened as `file`, with `size` bytes in it.
/// `declared` is the format if somebody vouches for it: a raw image's first bytes are the
/// guest's, who could write a header there.
pub fn read(
    file: &(impl ReadAt + ?Sized),
    size: u64,
    path: &Utf8Path,
    declared: Option<&str>,
) -> Result<Header, String> {
    let mut magic = [0; 8];
    if declared == Some("raw") || size < 8 || file.read_at(&mut magic, 0).is_err() {
        return Ok(Header::raw(size));
    }
    let words = |e: io::Error| match e.kind() {
        io::ErrorKind::UnexpectedEof => "the header is cut off".to_owned(),
        io::ErrorKind::InvalidData => e.to_string(),
        _ => format!("the header cannot be read: {e}"),
    };
    match (&magic[..4], magic[7]) {
        (QCOW_MAGIC, 2 | 3) => qcow2(file, path).map_err(words),
        (QCOW_MAGIC, 1) => qcow1(file, path).map_err(words),
        (QCOW_MAGIC, version) => Err(format!("qcow2 version {version} is not known")),
        (QED_MAGIC, _) => qed(file, path).map_err(words),
        _ => Ok(Header::raw(size)),
    }
}

fn invalid<T>(what: &str) -> io::Result<T> {
    Err(io::Error::new(io::ErrorKind::InvalidData, what))
}

struct Reader<'a, F: ?Sized> {
    file: &'a F,
    at: u64,
}

impl<F: ReadAt + ?Sized> Reader<'_, F> {
    fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.file.read_at(&mut bytes, self.at)?;
        self.skip(N as u64)?;
        Ok(bytes)
    }
    fn skip(&mut self, count: u64) -> io::Result<()> {
        match self.at.checked_add(count) {
            Some(at) => self.at = at,
            None => return invalid("an offset of the header is too large"),
        }
        Ok(())
    }
    fn u16(&mut self) -> io::Result<u16> {
        self.array().map(u16::from_be_bytes)
    }
    fn u32(&mut self) -> io::Result<u32> {
        self.array().map(u32::from_be_bytes)
    }
    fn u64(&mut self) -> io::Result<u64> {
        self.array().map(u64::from_be_bytes)
    }
    fn text(&mut self, length: u64) -> io::Result<String> {
        // Callers have limited `length` to 64 KiB.
        let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
        self.file.read_at(&mut bytes, self.at)?;
        self.skip(length)?;
        String::from_utf8(bytes).or_else(|_| invalid("a text of the header is not UTF-8"))
    }
}

fn backing_at(
    file: &(impl ReadAt + ?Sized),
    offset: u64,
    length: u64,
    image: &Utf8Path,
) -> io::Result<Option<Utf8PathBuf>> {
    if offset == 0 || length == 0 {
        return Ok(None);
    }
    if length > MAX_BACKING {
        return invalid("the backing file's name is too long");
    }
    let text = Reader { file, at: offset }.text(length)?;
    Ok(Some(resolve(&text, image)))
}

/// The backing file's path: absolute if it is a local file. Other texts (`nbd://…`) stay as they are.
#[must_use]
pub fn resolve(text: &str, image: &Utf8Path) -> Utf8PathBuf {
    let from_json = text.strip_prefix("json:").and_then(|json| {
        let value: serde_json::Value = serde_json::from_str(json).ok()?;
        let flat = value["file.filename"].as_str().or(value["filename"].as_str());
        value["file"]["filename"].as_str().or(flat).map(str::to_owned)
    });
    let text = from_json.as_deref().unwrap_or(text);
    let text = text.strip_prefix("file:").unwrap_or(text);
    // QEMU's rule (`path_has_protocol`): a colon before the first slash.
    let protocol = text.find(':').is_some_and(|colon| !text[..colon].contains('/'));
    if protocol || text.starts_with('/') {
        return text.into();
    }
    let dir = image.parent().unwrap_or(Utf8Path::new("/"));
    // Collecting the components drops `./`.
    dir.join(text).components().collect()
}

fn qcow2(file: &(impl ReadAt + ?Sized), path: &Utf8Path) -> io::Result<Header> {
    let mut header = Reader { file, at: 4 };
    let version = header.u32()?;
    let (backing_offset, backing_length) = (header.u64()?, u64::from(header.u32()?));
    let cluster_bits = header.u32()?;
    let virtual_size = header.u64()?;
    let _encryption = header.u32()?;
    let l1_entries = u64::from(header.u32()?);
    let l1_offset = header.u64()?;
    header.skip(12)?;
    let (count, table) = (header.u32()?, header.u64()?);
    if !(9..=21).contains(&cluster_bits) {
        return invalid("the cluster size is not between 512 bytes and 2 MiB");
    }
    if l1_entries > 4 << 20 {
        return invalid("the L1 table is too large");
    }
    let (mut extensions, mut incompatible) = (72, 0);
    if version == 3 {
        incompatible = Reader { file, at: 72 }.u64()?;
        extensions = u64::from(Reader { file, at: 100 }.u32()?);
        if !(104..=1 << cluster_bits).contains(&extensions) {
            return invalid("the header's length is wrong");
        }
    }
    // Extensions end at the backing file's name, or with the first cluster.
    let end = if backing_offset == 0 { 1 << cluster_bits } else { backing_offset.min(1 << cluster_bits) };
    let image = ImageHeader {
        format: "qcow2".into(),
        backing: backing_at(file, backing_offset, backing_length, path)?,
        backing_format: backing_format(file, extensions, end)?,
        virtual_size,
        tags: tags(file, table, count)?,
    };
    Ok(Header {
        image,
        cluster_size: Some(1 << cluster_bits),
        extended_l2: incompatible & 16 != 0,
        l1: Some((l1_offset, l1_entries)),
    })
}

fn backing_format(file: &(impl ReadAt + ?Sized), start: u64, end: u64) -> io::Result<Option<String>> {
    let mut extension = Reader { file, at: start };
    while extension.at.saturating_add(8) <= end {
        // A file may end where its extensions could go on.
        let (Ok(kind), Ok(length)) = (extension.u32(), extension.u32()) else { return Ok(None) };
        let length = u64::from(length);
        match kind {
            0 => return Ok(None),
            EXT_BACKING_FORMAT if length < 16 => return extension.text(length).map(Some),
            EXT_BACKING_FORMAT => return invalid("the backing file's format is too long"),
            _ => extension.skip(length.next_multiple_of(8))?,
        }
    }
    Ok(None)
}

fn tags(file: &(impl ReadAt + ?Sized), table: u64, count: u32) -> io::Result<Vec<Tag>> {
    if count > MAX_SNAPSHOTS {
        return invalid("too many internal snapshots");
    }
    let mut entry = Reader { file, at: table };
    let mut tags = Vec::new();
    for _ in 0..count {
        entry.at = entry.at.checked_next_multiple_of(8).unwrap_or(u64::MAX);
        entry.skip(12)?;
        let (id_length, name_length) = (u64::from(entry.u16()?), u64::from(entry.u16()?));
        entry.skip(16)?;
        let mut vmstate = u64::from(entry.u32()?);
        let extra = entry.u32()?;
        if extra > MAX_SNAPSHOT_EXTRA {
            return invalid("an internal snapshot has too much extra data");
        }
        if extra >= 8 {
            vmstate = Reader { file, at: entry.at }.u64()?;
        }
        entry.skip(u64::from(extra))?;
        let (id, name) = (entry.text(id_length)?, entry.text(name_length)?);
        tags.push(Tag { id, name, vmstate: vmstate > 0 });
        if entry.at.saturating_sub(table) > MAX_SNAPSHOT_TABLE {
            return invalid("the table of internal snapshots is too large");
        }
    }
    Ok(tags)
}

fn qcow1(file: &(impl ReadAt + ?Sized), path: &Utf8Path) -> io::Result<Header> {
    let mut header = Reader { file, at: 8 };
    let (offset, length) = (header.u64()?, u64::from(header.u32()?));
    header.skip(4)?;
    let virtual_size = header.u64()?;
    let mut out = Header::raw(virtual_size);
    out.image.format = "qcow".into();
    out.image.backing = backing_at(file, offset, length, path)?;
    Ok(out)
}

fn qed(file: &(impl ReadAt + ?Sized), path: &Utf8Path) -> io::Result<Header> {
    let u64_at = |at| Reader { file, at }.array().map(u64::from_le_bytes);
    let u32_at = |at| Reader { file, at }.array().map(u32::from_le_bytes);
    let features = u64_at(16)?;
    let mut out = Header::raw(u64_at(48)?);
    out.image.format = "qed".into();
    if features & 1 != 0 {
        out.image.backing = backing_at(file, u32_at(56)?.into(), u32_at(60)?.into(), path)?;
        // "No probe" means raw; other formats are not named.
        out.image.backing_format = (features & 4 != 0).then(|| "raw".into());
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::process::Command;

    fn img(dir: &Utf8Path, args: &str) {
        let status = Command::new("qemu-img").args(args.split(' ')).current_dir(dir).status().unwrap();
        assert!(status.success(), "qemu-img {args}");
    }
    fn header(path: &Utf8Path) -> Header {
        let file = std::fs::File::open(path).unwrap();
        read(&file, file.metadata().unwrap().len(), path, None).unwrap()
    }

    #[test]
    fn what_qemu_img_wrote_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(dir.path()).unwrap();
        img(dir, "create -q -f raw base.img 3M");
        img(dir, "create -q -f qcow2 -b ./base.img -F raw -o cluster_size=128k a.qcow2");
        img(dir, "create -q -f qcow2 -o compat=0.10,backing_file=a.qcow2,backing_fmt=qcow2 b.qcow2");
        img(dir, "create -q -f qed -b base.img -F raw c.qed");
        img(dir, "create -q -f qcow -b base.img -F raw d.qcow");
        img(dir, "snapshot -c one a.qcow2");
        img(dir, "snapshot -c 7 a.qcow2");
        let a = header(&dir.join("a.qcow2"));
        assert_eq!(a.cluster_size, Some(128 << 10));
        assert!(a.is_empty(&std::fs::File::open(dir.join("a.qcow2")).unwrap()).unwrap());
        let tag = |id: &str, name: &str| Tag { id: id.into(), name: name.into(), vmstate: false };
        let expected = ImageHeader {
            format: "qcow2".into(),
            backing: Some(dir.join("base.img")),
            backing_format: Some("raw".into()),
            virtual_size: 3 << 20,
            tags: vec![tag("1", "one"), tag("2", "7")],
        };
        assert_eq!(a.image, expected);
        let b = header(&dir.join("b.qcow2")).image;
        assert_eq!((b.backing, b.backing_format.as_deref()), (Some(dir.join("a.qcow2")), Some("qcow2")));
        let c = header(&dir.join("c.qed")).image;
        assert_eq!((c.format.as_str(), c.backing, c.virtual_size), ("qed", Some(dir.join("base.img")), 3 << 20));
        assert_eq!(c.backing_format.as_deref(), Some("raw"));
        let d = header(&dir.join("d.qcow")).image;
        assert_eq!((d.format.as_str(), d.backing, d.virtual_size), ("qcow", Some(dir.join("base.img")), 3 << 20));
        assert_eq!(header(&dir.join("base.img")), Header::raw(3 << 20));
    }

    #[test]
    fn a_backing_name_is_resolved_as_qemu_does() {
        for (text, expected) in [
            ("base.img", "/images/base.img"),
            ("./base.img", "/images/base.img"),
            ("sub/../base.img", "/images/sub/../base.img"),
            ("/other/base:1.img", "/other/base:1.img"),
            ("file:/other/base.img", "/other/base.img"),
            ("nbd://host/export", "nbd://host/export"),
            (r#"json:{"driver":"raw","file":{"driver":"file","filename":"/b,c"}}"#, "/b,c"),
            (r#"json:{"driver":"qcow2","file.filename":"x"}"#, "/images/x"),
        ] {
            assert_eq!(resolve(text, Utf8Path::new("/images/top.qcow2")), expected);
        }
    }

    #[test]
    fn a_declared_raw_image_has_no_header_whatever_its_guest_wrote() {
        let dir = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(dir.path()).unwrap();
        img(dir, "create -q -f qcow2 -u -b /etc/passwd -F raw a 1M");
        let file = std::fs::File::open(dir.join("a")).unwrap();
        let header = read(&file, file.metadata().unwrap().len(), &dir.join("a"), Some("raw")).unwrap();
        assert_eq!((header.image.format.as_str(), header.image.backing), ("raw", None));
    }

    proptest! {
        #[test]
        fn garbage_is_refused_and_never_panics(
            version in 0u8..5, body in proptest::collection::vec(any::<u8>(), 0..600), qed: bool,
        ) {
            let mut bytes = if qed { b"QED\0\0\0\0\0".to_vec() } else { vec![b'Q', b'F', b'I', 0xfb, 0, 0, 0, version] };
            bytes.extend(body);
            if let Ok(header) = read(bytes.as_slice(), bytes.len() as u64, Utf8Path::new("/i/x"), None) {
                let _ = header.is_empty(bytes.as_slice());
            }
        }

        #[test]
        fn a_damaged_header_is_refused_and_never_panics(damage in proptest::collection::vec((8usize..400, any::<u8>()), 1..6)) {
            let mut bytes = vec![0; 65536 * 2];
            bytes[..8].copy_from_slice(b"QFI\xfb\0\0\0\x03");
            bytes[23] = 16;
            bytes[63] = 2;
            bytes[70] = 1;
            bytes[103] = 112;
            for (at, value) in damage {
                bytes[at] = value;
            }
            if let Ok(header) = read(bytes.as_slice(), bytes.len() as u64, Utf8Path::new("/i/x"), None) {
                let _ = header.is_empty(bytes.as_slice());
            }
        }
    }
}

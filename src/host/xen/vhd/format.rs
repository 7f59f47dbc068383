//! A VHD's own structures: what it is, how large, what it lies on.
//!
//! ```text
//!   fixed          data                                                          footer
//!   dynamic        footer  header (1024)  table, blocks …                        footer
//!   differencing   footer  header, parent's UUID and up to 8 locators  …         footer
//! ```
//!
//! The footer is the last 512 bytes. Where it is damaged, the copy at the beginning counts, as for blktap.
//! Numbers are big endian, sums are the complement of the sum of all bytes. Every length is checked before it is
//! believed.
//!
//! Must not know: programs, what is done with images.

use crate::host::qcow2::{ReadAt, resolve};
use crate::plan::facts::ImageHeader;
use camino::{Utf8Path, Utf8PathBuf};
use std::io;

const FOOTER: usize = 512;
const HEADER: usize = 1024;
const COOKIE: &[u8] = b"conectix";
const HEADER_COOKIE: &[u8] = b"cxsparse";
/// The longest path in a locator, in bytes of UTF-16.
const MAX_LOCATOR: u32 = 4096;
/// Kinds of disks.
const FIXED: u32 = 2;
const DYNAMIC: u32 = 3;
const DIFFERENCING: u32 = 4;

/// Read the image at `path`, opened as `file`, with `size` bytes in it. `None` without a footer.
pub fn read(file: &(impl ReadAt + ?Sized), size: u64, path: &Utf8Path) -> Result<Option<ImageHeader>, String> {
    let words = |e: io::Error| match e.kind() {
        io::ErrorKind::UnexpectedEof => "the header is cut off".to_owned(),
        io::ErrorKind::InvalidData => e.to_string(),
        _ => format!("the header cannot be read: {e}"),
    };
    let Some(footer) = footer(file, size).map_err(words)? else { return Ok(None) };
    let mut image = ImageHeader {
        format: "vhd".to_owned(),
        backing: None,
        backing_format: None,
        virtual_size: u64_at(&footer, 48),
        tags: Vec::new(),
    };
    match u32_at(&footer, 60) {
        FIXED | DYNAMIC => {}
        DIFFERENCING => {
            let (backing, format) = parent(file, u64_at(&footer, 16), path).map_err(words)?;
            (image.backing, image.backing_format) = (Some(backing), Some(format.to_owned()));
        }
        other => return Err(format!("disk type {other} is not known")),
    }
    Ok(Some(image))
}

fn invalid<T>(what: &str) -> io::Result<T> {
    Err(io::Error::new(io::ErrorKind::InvalidData, what))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.iter().skip(at).take(4).fold(0, |n, b| n << 8 | u32::from(*b))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) << 32 | u64::from(u32_at(bytes, at + 4))
}

/// Whether the sum at `at` is right.
fn is_whole(bytes: &[u8], at: usize) -> bool {
    let others = bytes.iter().enumerate().filter(|(i, _)| !(at..at + 4).contains(i));
    let sum = others.fold(0u32, |sum, (_, b)| sum.wrapping_add(u32::from(*b)));
    !sum == u32_at(bytes, at)
}

/// A footer that is whole; `None` if there is no sign of one.
fn footer(file: &(impl ReadAt + ?Sized), size: u64) -> io::Result<Option<[u8; FOOTER]>> {
    let Some(last) = size.checked_sub(FOOTER as u64) else { return Ok(None) };
    let mut seen = false;
    for at in [last, 0] {
        let mut footer = [0; FOOTER];
        file.read_at(&mut footer, at)?;
        let cookie = footer.starts_with(COOKIE);
        if cookie && is_whole(&footer, 64) {
            return Ok(Some(footer));
        }
        seen |= cookie;
    }
    if seen { invalid("the footer is damaged") } else { Ok(None) }
}

/// The parent of a differencing disk, and its format: without a UUID it is raw.
fn parent(file: &(impl ReadAt + ?Sized), at: u64, path: &Utf8Path) -> io::Result<(Utf8PathBuf, &'static str)> {
    let mut header = [0; HEADER];
    file.read_at(&mut header, at)?;
    if !header.starts_with(HEADER_COOKIE) || !is_whole(&header, 36) {
        return invalid("the header is damaged");
    }
    let format = if header[40..56] == [0; 16] { "raw" } else { "vhd" };
    // The first locator that can be read, as for blktap.
    for locator in header[576..768].chunks_exact(24) {
        let Some(decode) = decoder(&locator[..4]) else { continue };
        let (length, at) = (u32_at(locator, 8), u64_at(locator, 16));
        if length > MAX_LOCATOR {
            return invalid("a parent locator is too long");
        }
        let mut bytes = vec![0; length as usize];
        file.read_at(&mut bytes, at)?;
        if let Some(text) = decode(&bytes).filter(|t| !t.is_empty() && !t.contains('\0')) {
            return Ok((resolve_local(&text, path), format));
        }
    }
    invalid("no parent locator can be read")
}

type Decode = fn(&[u8]) -> Option<String>;

/// How the text of a locator is written, by its platform's code.
fn decoder(code: &[u8]) -> Option<Decode> {
    match code {
        b"MacX" => Some(url),
        b"W2ru" | b"W2ku" => Some(windows),
        _ => None,
    }
}

fn url(bytes: &[u8]) -> Option<String> {
    Some(std::str::from_utf8(bytes).ok()?.trim_end_matches('\0').strip_prefix("file://")?.to_owned())
}

/// A drive's letter is dropped, as blktap does.
fn windows(bytes: &[u8]) -> Option<String> {
    let (units, rest) = bytes.as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    let text = char::decode_utf16(units.iter().map(|u| u16::from_le_bytes(*u))).collect::<Result<String, _>>().ok()?;
    let text = text.trim_end_matches('\0').replace('\\', "/");
    Some(["C:", "c:"].iter().find_map(|drive| text.strip_prefix(drive)).unwrap_or(&text).to_owned())
}

/// Never anything but a local file, also where there is a colon in it.
fn resolve_local(text: &str, image: &Utf8Path) -> Utf8PathBuf {
    if text.starts_with('/') || text.starts_with("./") {
        resolve(text, image)
    } else {
        resolve(&format!("./{text}"), image)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    fn put(bytes: &mut [u8], at: usize, what: &[u8]) {
        bytes[at..at + what.len()].copy_from_slice(what);
    }

    fn sum(bytes: &mut [u8], at: usize) {
        put(bytes, at, &[0; 4]);
        let sum = !bytes.iter().map(|b| u32::from(*b)).sum::<u32>();
        put(bytes, at, &sum.to_be_bytes());
    }

    fn footer_of(kind: u32, size: u64) -> Vec<u8> {
        let mut footer = vec![0; FOOTER];
        put(&mut footer, 0, COOKIE);
        put(&mut footer, 12, &0x0001_0000u32.to_be_bytes());
        put(&mut footer, 16, &if kind == FIXED { u64::MAX } else { 512 }.to_be_bytes());
        put(&mut footer, 48, &size.to_be_bytes());
        put(&mut footer, 60, &kind.to_be_bytes());
        sum(&mut footer, 64);
        footer
    }

    fn sparse(kind: u32, size: u64, uuid: u8, locators: &[(&[u8], Vec<u8>)]) -> Vec<u8> {
        let footer = footer_of(kind, size);
        let mut image = footer.clone();
        let mut header = vec![0; HEADER];
        put(&mut header, 0, HEADER_COOKIE);
        put(&mut header, 40, &[uuid; 16]);
        let mut texts = Vec::<u8>::new();
        for (index, (code, text)) in locators.iter().enumerate() {
            let at = 576 + 24 * index;
            put(&mut header, at, code);
            put(&mut header, at + 8, &u32::try_from(text.len()).unwrap().to_be_bytes());
            put(&mut header, at + 16, &((FOOTER + HEADER + texts.len()) as u64).to_be_bytes());
            texts.extend(text);
        }
        sum(&mut header, 36);
        image.extend(header);
        image.extend(texts);
        image.extend(footer);
        image
    }

    /// A growing image without a parent.
    pub(in super::super) fn dynamic(size: u64) -> Vec<u8> {
        sparse(DYNAMIC, size, 0, &[])
    }

    /// An overlay on the file of that URL, a VHD or a raw image.
    pub(in super::super) fn differencing(size: u64, url: &str, vhd: bool) -> Vec<u8> {
        sparse(DIFFERENCING, size, vhd.into(), &[(b"MacX", url.into())])
    }

    fn utf16(text: &str) -> Vec<u8> {
        text.encode_utf16().flat_map(u16::to_le_bytes).collect()
    }

    fn header(bytes: &[u8]) -> Result<Option<ImageHeader>, String> {
        read(bytes, bytes.len() as u64, Utf8Path::new("/vhds/top.vhd"))
    }

    #[test]
    fn each_kind_of_disk_is_known_by_its_footer() {
        let mut fixed = vec![7; 4096];
        fixed.extend(footer_of(FIXED, 4096));
        assert_eq!(header(&fixed).unwrap().unwrap().virtual_size, 4096);
        let grown = header(&dynamic(1 << 40)).unwrap().unwrap();
        assert_eq!((grown.format.as_str(), grown.backing, grown.virtual_size), ("vhd", None, 1 << 40));
        assert_eq!(header(&vec![0; 4096]).unwrap(), None);
        assert_eq!(header(&[]).unwrap(), None);
        assert_eq!(header(&footer_of(9, 1)).unwrap_err(), "disk type 9 is not known");
    }

    #[test]
    fn a_damaged_footer_is_replaced_by_its_copy() {
        let mut image = dynamic(8 << 20);
        let last = image.len() - 400;
        image[last] ^= 1;
        assert_eq!(header(&image).unwrap().unwrap().virtual_size, 8 << 20);
        image[100] ^= 1;
        assert_eq!(header(&image).unwrap_err(), "the footer is damaged");
    }

    #[test]
    fn a_parent_is_found_by_every_locator_that_blktap_reads() {
        for (code, text, expected) in [
            (b"MacX", b"file://./base.vhd".to_vec(), "/vhds/base.vhd"),
            (b"MacX", b"file:///images/a b.vhd".to_vec(), "/images/a b.vhd"),
            (b"W2ru", utf16(".\\sub\\base.vhd"), "/vhds/sub/base.vhd"),
            (b"W2ru", utf16("b:1.vhd"), "/vhds/b:1.vhd"),
            (b"W2ku", utf16("C:\\images\\base.vhd\0"), "/images/base.vhd"),
        ] {
            let locators: [(&[u8], Vec<u8>); 3] =
                [(b"Mac ", vec![1]), (b"W2ku", vec![0, 0xd8]), (code.as_slice(), text)];
            let image = header(&sparse(DIFFERENCING, 1, 5, &locators)).unwrap().unwrap();
            assert_eq!((image.backing.unwrap().as_str(), image.backing_format.as_deref()), (expected, Some("vhd")));
        }
        let raw = header(&differencing(1, "file://./disk.img", false)).unwrap().unwrap();
        assert_eq!(raw.backing_format.as_deref(), Some("raw"));
        assert_eq!(header(&sparse(DIFFERENCING, 1, 5, &[])).unwrap_err(), "no parent locator can be read");
    }

    proptest! {
        #[test]
        fn a_damaged_image_is_refused_and_never_panics(
            damage in proptest::collection::vec((0usize..2048, any::<u8>()), 1..8), cut in 0usize..2100, whole: bool,
        ) {
            let mut image = differencing(8 << 20, "file://./base.vhd", true);
            for (at, byte) in damage {
                if let Some(b) = image.get_mut(at) { *b = byte; }
            }
            image.truncate(cut.max(1));
            if whole && image.len() > FOOTER + HEADER {
                // The sums say that it is whole: lengths and offsets must be checked all the same.
                sum(&mut image[..FOOTER], 64);
                sum(&mut image[FOOTER..FOOTER + HEADER], 36);
            }
            let _ = header(&image);
        }
    }
}

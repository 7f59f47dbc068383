//! libvirt's save image: the header before a memory stream (`src/qemu/qemu_saveimage.h`).
//!
//! ```text
//!   0   magic[16]   "LibvirtQemudPart" while it is written, "LibvirtQemudSave" once complete
//!  16   version, data_len, was_running, format, cookie_offset: u32 each, then unused u32[14]
//!  92   XML, NUL, perhaps a cookie, NUL, padding: data_len bytes in all
//!       the migration stream
//! ```
//!
//! Numbers are in the order of the host that wrote it. Must not know: QEMU's monitor, plans.

use crate::error::{Code, Error, Result};
use camino::Utf8Path;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

const COMPLETE: &[u8; 16] = b"LibvirtQemudSave";
const PARTIAL: &[u8; 16] = b"LibvirtQemudPart";
const HEADER: usize = 92;
const VERSION: u32 = 2;
/// Room for a larger XML later, as `virDomainSaveImageDefineXML` wants it.
const PAD: usize = 64 << 10;
/// The stream begins on a page.
const ALIGN: usize = 4096;
/// The largest XML and cookie that are read.
const MAX_DATA: u32 = 64 << 20;

/// What stands before the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SaveHeader {
    /// The domain's XML then; libvirt's own files may have `<domstatus>`-free migratable XML.
    pub xml: String,
    /// Whether the guest ran.
    pub was_running: bool,
    /// Where the stream begins.
    pub data_offset: u64,
}

/// Write the header of a save that has just begun; returns where the stream goes.
pub fn begin(file: &File, xml: &str, was_running: bool) -> io::Result<u64> {
    let start = (HEADER + xml.len() + 1 + PAD).next_multiple_of(ALIGN);
    let data_len = u32::try_from(start - HEADER).ok().filter(|l| *l <= MAX_DATA).ok_or(io::ErrorKind::InvalidInput)?;
    let mut bytes = Vec::with_capacity(start);
    bytes.extend_from_slice(PARTIAL);
    for number in [VERSION, data_len, u32::from(was_running), 0, 0] {
        bytes.extend_from_slice(&number.to_ne_bytes());
    }
    bytes.resize(HEADER, 0);
    bytes.extend_from_slice(xml.as_bytes());
    bytes.resize(start, 0);
    file.set_len(0)?;
    file.write_all_at(&bytes, 0)?;
    Ok(start as u64)
}

/// Declare a save complete and durable: the stream first, then the magic.
pub fn complete(path: &Utf8Path) -> Result<()> {
    let fail = |e: io::Error| Error::system(format!("unable to write to '{path}'"), &e);
    let file = File::options().read(true).write(true).open(path).map_err(fail)?;
    if is_complete(&file) {
        return Ok(());
    }
    let mut magic = [0; 16];
    file.read_exact_at(&mut magic, 0).map_err(fail)?;
    if magic != *PARTIAL {
        return Err(Error::failed("image magic is incorrect"));
    }
    // Gives back what was set aside beyond the end.
    file.metadata().and_then(|m| file.set_len(m.len())).map_err(fail)?;
    file.sync_all().map_err(fail)?;
    file.write_all_at(COMPLETE, 0).map_err(fail)?;
    file.sync_all().map_err(fail)
}

/// Whether the file begins as a complete save image does.
fn is_complete(file: &File) -> bool {
    let mut magic = [0; 16];
    file.read_exact_at(&mut magic, 0).is_ok() && magic == *COMPLETE
}

/// The definition in the header of a complete save image whose stream begins within the file; `None` for any other file.
pub fn definition(file: &File) -> Option<Result<String>> {
    let read = || {
        let header = parse(file)?;
        let length = file.metadata().map_or(0, |m| m.len());
        if header.data_offset < length { Ok(header.xml) } else { Err(Error::failed("failed to read domain XML")) }
    };
    is_complete(file).then(read)
}

/// Read the header of a complete save image; refusals have libvirt's words.
pub fn read_header(path: &Utf8Path) -> Result<SaveHeader> {
    let file = File::open(path).map_err(|e| Error::system(format!("Failed to open file '{path}'"), &e))?;
    parse(&file)
}

fn parse(file: &File) -> Result<SaveHeader> {
    let cut = |_| Error::failed("failed to read qemu header");
    let mut header = [0; HEADER];
    file.read_exact_at(&mut header, 0).map_err(cut)?;
    if header[..16] == *PARTIAL {
        return Err(Error::failed("save image is incomplete"));
    }
    if header[..16] != *COMPLETE {
        return Err(Error::failed("image magic is incorrect"));
    }
    let number = |index: usize| {
        let at = 16 + 4 * index;
        u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
    };
    let swapped = number(0) > VERSION;
    let number = |index| if swapped { number(index).swap_bytes() } else { number(index) };
    let (version, data_len, was_running, format, cookie) = (number(0), number(1), number(2), number(3), number(4));
    if version > VERSION {
        return Err(Error::failed(format!("image version is not supported ({version} should be <= {VERSION})")));
    }
    if data_len == 0 || data_len > MAX_DATA || cookie > data_len {
        return Err(Error::failed(format!("invalid header data length: {data_len}")));
    }
    const FORMATS: [&str; 7] = ["raw", "gzip", "bzip2", "xz", "lzop", "zstd", "sparse"];
    if format != 0 {
        let name = FORMATS.get(format as usize).copied().unwrap_or("unknown");
        return Err(Error::new(
            Code::ConfigUnsupported,
            format!("save images of format '{name}' are not supported, only raw ones"),
        ));
    }
    let xml_len = if cookie > 0 { cookie } else { data_len };
    let mut xml = vec![0; xml_len as usize];
    file.read_exact_at(&mut xml, HEADER as u64).map_err(|_| Error::failed("failed to read domain XML"))?;
    let end = xml.iter().position(|b| *b == 0).unwrap_or(xml.len());
    xml.truncate(end);
    let xml = String::from_utf8(xml).map_err(|_| Error::failed("failed to read domain XML"))?;
    Ok(SaveHeader { xml, was_running: was_running != 0, data_offset: HEADER as u64 + u64::from(data_len) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn file(bytes: &[u8]) -> (tempfile::NamedTempFile, camino::Utf8PathBuf) {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().write_all_at(bytes, 0).unwrap();
        let path = Utf8Path::from_path(file.path()).unwrap().to_owned();
        (file, path)
    }

    #[test]
    fn a_save_is_incomplete_until_it_is_declared_complete() {
        let (temp, path) = file(b"what was there before");
        let offset = begin(temp.as_file(), "<domain/>", true).unwrap();
        assert_eq!(read_header(&path).unwrap_err().message(), "save image is incomplete");
        complete(&path).unwrap();
        complete(&path).unwrap();
        let header = read_header(&path).unwrap();
        assert_eq!(header, SaveHeader { xml: "<domain/>".into(), was_running: true, data_offset: offset });
        assert_eq!(temp.as_file().metadata().unwrap().len(), offset);
    }

    #[test]
    fn a_file_of_libvirt_with_a_cookie_and_of_the_other_byte_order_is_read() {
        let mut bytes = COMPLETE.to_vec();
        for number in [2u32, 40, 0, 0, 10] {
            bytes.extend(number.swap_bytes().to_ne_bytes());
        }
        bytes.resize(HEADER, 0);
        bytes.extend(b"<domain/>\0<cookie/>\0");
        bytes.resize(HEADER + 40, 0);
        let header = read_header(&file(&bytes).1).unwrap();
        assert_eq!(header, SaveHeader { xml: "<domain/>".into(), was_running: false, data_offset: 132 });
    }

    #[test]
    fn what_cannot_be_read_is_refused_in_libvirts_words() {
        let with = |numbers: [u32; 5]| {
            let mut bytes = COMPLETE.to_vec();
            bytes.extend(numbers.iter().flat_map(|n| n.to_ne_bytes()));
            bytes.resize(HEADER + 10, b'x');
            read_header(&file(&bytes).1).unwrap_err().to_string()
        };
        for (said, expected) in [
            (with([3, 9, 0, 0, 0]), "operation failed: image version is not supported (50331648 should be <= 2)"),
            (with([2, 0, 0, 0, 0]), "operation failed: invalid header data length: 0"),
            (with([2, u32::MAX, 0, 0, 0]), "operation failed: invalid header data length: 4294967295"),
            (with([2, 11, 0, 0, 0]), "operation failed: failed to read domain XML"),
            (
                with([2, 9, 0, 5, 0]),
                "unsupported configuration: save images of format 'zstd' are not supported, only raw ones",
            ),
        ] {
            assert_eq!(said, expected);
        }
    }

    proptest! {
        #[test]
        fn garbage_is_refused_and_never_panics(tail in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut bytes = COMPLETE.to_vec();
            bytes.extend(tail);
            let _ = read_header(&file(&bytes).1);
        }
    }
}

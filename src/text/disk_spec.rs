//! One disk of an xl snapshot configuration: `VDEV[=FILE][,type=FORMAT][,snapshot=no|internal|external]`, as the
//! proposals on xen-devel write it. `,,` stands for a comma.

/// What is said of one disk.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DiskSpec {
    /// Its name in the guest: `hda`, `xvda`.
    pub device: String,
    /// The overlay, as written.
    pub file: Option<String>,
    /// The overlay's format.
    pub format: Option<String>,
    /// `snapshot=`, or what follows from a file or a format.
    pub how: Option<How>,
}

/// How a disk is snapshotted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum How {
    No,
    Internal,
    External,
}

impl How {
    /// As written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::Internal => "internal",
            Self::External => "external",
        }
    }
    /// What `text` names.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::No, Self::Internal, Self::External].into_iter().find(|how| how.as_str() == text)
    }
}

impl DiskSpec {
    /// Reads one; the error says what is wrong with it.
    pub fn parse(spec: &str) -> Result<Self, String> {
        let mut parts = split(spec).into_iter();
        let first = parts.next().unwrap_or_default();
        let (device, file) = match first.split_once('=') {
            Some((device, file)) => (device.trim(), Some(file.trim())),
            None => (first.trim(), None),
        };
        if device.is_empty() || device.contains(['/', ':']) {
            return Err(format!("'{spec}' names no disk: VDEV[=FILE][,type=FORMAT]"));
        }
        if file == Some("") {
            return Err(format!("'{spec}' names no file"));
        }
        let mut disk = Self { device: device.to_owned(), file: file.map(str::to_owned), ..Self::default() };
        for part in parts {
            match part.split_once('=').map(|(key, value)| (key.trim(), value.trim())) {
                Some(("type" | "format", format)) if disk.format.is_none() && !format.is_empty() => {
                    disk.format = Some(format.to_owned());
                }
                Some(("snapshot", how)) if disk.how.is_none() => {
                    disk.how =
                        Some(How::parse(how).ok_or_else(|| {
                            format!("snapshot={how} of disk '{device}' is not no, internal or external")
                        })?);
                }
                _ => return Err(format!("'{}' of disk '{device}' is not understood", part.trim())),
            }
        }
        let makes = disk.file.is_some() || disk.format.is_some();
        match disk.how {
            Some(how @ (How::No | How::Internal)) if makes => {
                Err(format!("disk '{device}': a file and its type need snapshot=external, not {}", how.as_str()))
            }
            None if makes => Ok(Self { how: Some(How::External), ..disk }),
            _ => Ok(disk),
        }
    }
}

/// The parts between commas; a double comma is a comma (`vshStringToArray`).
#[must_use]
pub fn split(spec: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut chars = spec.chars().peekable();
    while let Some(c) = chars.next() {
        if c == ',' && chars.next_if_eq(&',').is_none() {
            parts.push(String::new());
        } else if let Some(part) = parts.last_mut() {
            part.push(c);
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_double_comma_is_a_comma_and_a_single_one_separates() {
        for (spec, parts) in [
            ("a", &["a"][..]),
            ("a,b", &["a", "b"]),
            ("a,,b,c", &["a,b", "c"]),
            (",,,", &[",", ""]),
            ("", &[""]),
            ("a,", &["a", ""]),
        ] {
            assert_eq!(split(spec), parts, "{spec}");
        }
    }

    #[test]
    fn a_file_or_a_format_makes_a_disk_external() {
        let read = |spec: &str| DiskSpec::parse(spec).map(|d| (d.device, d.file, d.format, d.how.map(How::as_str)));
        let some = |s: &str| Some(s.to_owned());
        for (spec, file, format, how) in [
            ("hda", None, None, None),
            ("hda=f.qcow2", some("f.qcow2"), None, Some("external")),
            ("hda=/a,,b, type=qcow2", some("/a,b"), some("qcow2"), Some("external")),
            ("hda,format=qed", None, some("qed"), Some("external")),
            ("hda, snapshot=no", None, None, Some("no")),
            ("hda,snapshot=internal", None, None, Some("internal")),
            ("hda=f=g,snapshot=external", some("f=g"), None, Some("external")),
        ] {
            assert_eq!(read(spec), Ok(("hda".to_owned(), file, format, how)), "{spec}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_disk_is_told() {
        for (spec, told) in [
            ("", "'' names no disk: VDEV[=FILE][,type=FORMAT]"),
            ("=f", "'=f' names no disk: VDEV[=FILE][,type=FORMAT]"),
            ("phy:/dev/x,hda,w", "'phy:/dev/x,hda,w' names no disk: VDEV[=FILE][,type=FORMAT]"),
            ("hda=", "'hda=' names no file"),
            ("hda,w", "'w' of disk 'hda' is not understood"),
            ("hda,type=a,type=b", "'type=b' of disk 'hda' is not understood"),
            ("hda,snapshot=maybe", "snapshot=maybe of disk 'hda' is not no, internal or external"),
            ("hda=f,snapshot=no", "disk 'hda': a file and its type need snapshot=external, not no"),
        ] {
            assert_eq!(DiskSpec::parse(spec), Err(told.to_owned()), "{spec}");
        }
    }
}

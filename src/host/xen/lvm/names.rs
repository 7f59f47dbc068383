//! Names of volumes: how device-mapper writes them, and what we derive from them.
//!
//! LVM allows 127 characters of `[a-zA-Z0-9+_.-]`, and device-mapper 127 for group and volume together, hyphens
//! doubled. A snapshot's name may have any characters, so the derived name has a hash, and the name itself
//! is in an LVM tag: up to 1024 characters of `[a-zA-Z0-9_+.-/=!:&#]`.
//!
//! Must not know: LVM's programs.

use std::fmt;

/// The tag with the volume that a snapshot is of.
pub(super) const OF: &str = "virsnap.of";
/// The tag with a snapshot's escaped name.
pub(super) const NAME: &str = "virsnap.name";
/// The tag with the volume whose place this one takes.
pub(super) const NEXT_OF: &str = "virsnap.next";
/// The tag with the UUID of that volume.
pub(super) const REPLACES: &str = "virsnap.replaces";
/// What all of our tags begin with.
pub(super) const OURS: &str = "virsnap.";

/// As much of a volume's name as a derived name takes.
const STEM: usize = 48;

/// A logical volume within its volume group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeName {
    pub(super) group: String,
    pub(super) volume: String,
}

impl fmt::Display for VolumeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.group, self.volume)
    }
}

impl VolumeName {
    /// `None` if LVM has no such names.
    #[must_use]
    pub fn new(group: &str, volume: &str) -> Option<Self> {
        let valid = |name: &str| {
            let known = |b: u8| b.is_ascii_alphanumeric() || b"+_.-".contains(&b);
            (1..128).contains(&name.len())
                && !name.starts_with('-')
                && ![".", ".."].contains(&name)
                && name.bytes().all(known)
        };
        (valid(group) && valid(volume)).then(|| Self { group: group.to_owned(), volume: volume.to_owned() })
    }

    /// The name in device-mapper's `GROUP-VOLUME[-LAYER]`, where hyphens within names are doubled.
    pub(super) fn from_mapper(text: &str) -> Option<Self> {
        let mut parts = vec![String::new()];
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '-' if chars.next_if_eq(&'-').is_none() => parts.push(String::new()),
                c => parts.last_mut()?.push(c),
            }
        }
        match parts.as_slice() {
            [group, volume, ..] => Self::new(group, volume),
            _ => None,
        }
    }
}

/// What a volume of ours is to the volume that a guest has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role<'a> {
    /// Its snapshot of that name.
    Tag {
        /// The name.
        name: &'a str,
    },
    /// What will take its place.
    Next,
    /// What had its place.
    Aside,
}

impl Role<'_> {
    /// The derived name.
    pub(super) fn of(&self, volume: &str) -> String {
        let stem = &volume[..volume.len().min(STEM)];
        match self {
            Self::Tag { name } => format!("{stem}-vs-{:016x}", hash(&[volume, name])),
            Self::Next => format!("{stem}-vs-{:08x}-next", hash(&[volume]) >> 32),
            Self::Aside => format!("{stem}-vs-{:08x}-aside", hash(&[volume]) >> 32),
        }
    }
}

/// FNV-1a of the words, each ended by a byte that no name has. Names on disk depend on it: it stays as it is.
fn hash(words: &[&str]) -> u64 {
    let bytes = words.iter().flat_map(|w| w.bytes().chain([b'/']));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

/// A name in LVM's alphabet: other bytes are `=` and two digits.
pub(super) fn escape(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'.' | b'+' | b'-' => out.push(char::from(byte)),
            _ => out.push_str(&format!("={byte:02X}")),
        }
    }
    out
}

/// The name again; `None` for what [`escape`] does not write.
pub(super) fn unescape(text: &str) -> Option<String> {
    let mut parts = text.split('=');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(part.get(..2)?, 16).ok()?);
        bytes.extend(part.as_bytes().get(2..)?);
    }
    String::from_utf8(bytes).ok().filter(|name| escape(name) == text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn device_mapper_doubles_the_hyphens_of_names() {
        let name = |group, volume| VolumeName::new(group, volume);
        for (text, expected) in [
            ("vg0-disk", name("vg0", "disk")),
            ("vg0-disk--a", name("vg0", "disk-a")),
            ("a--b-c----d", name("a-b", "c--d")),
            ("vg0-pool-tpool", name("vg0", "pool")),
            ("control", None),
            ("luks--x", None),
            ("vg0-", None),
        ] {
            assert_eq!(VolumeName::from_mapper(text), expected, "{text}");
        }
    }

    #[test]
    fn no_name_is_an_option_or_a_path() {
        for (group, volume) in [("vg", "-n"), ("-vg", "x"), ("vg", "a b"), ("vg", ".."), ("vg", ""), ("v/g", "x")] {
            assert_eq!(VolumeName::new(group, volume), None, "{group} {volume}");
        }
    }

    #[test]
    fn derived_names_stay_as_they_are() {
        // They are on disks: what is written here must hold for ever.
        assert_eq!(Role::Tag { name: "before" }.of("disk-a"), "disk-a-vs-2abc5f1f67e67589");
        assert_eq!(Role::Next.of("disk-a"), "disk-a-vs-0f314f98-next");
        assert_eq!(Role::Aside.of("disk-a"), "disk-a-vs-0f314f98-aside");
        assert_ne!(Role::Tag { name: "bc" }.of("a"), Role::Tag { name: "c" }.of("ab"));
        let long = "x".repeat(127);
        assert_eq!(Role::Aside.of(&long).len(), 48 + 4 + 8 + 6);
    }

    #[test]
    fn an_escaped_name_is_in_lvms_alphabet() {
        assert_eq!(escape("a b=ä,-x"), "a=20b=3D=C3=A4=2C-x");
        for text in ["=", "=4", "=4g", "=FF", "a b", "=41", "=c3=a4", "x="] {
            assert_eq!(unescape(text), None, "{text}");
        }
        assert!(NAME.len() + 1 + escape(&"ä".repeat(123)).len() <= 1024);
    }

    proptest! {
        #[test]
        fn every_name_is_escaped_and_read_back(name in ".{0,247}") {
            let text = escape(&name);
            prop_assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_+.-=".contains(&b)));
            prop_assert_eq!(unescape(&text), Some(name));
        }
    }
}

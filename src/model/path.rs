//! How names travel in D-Bus object paths: libvirt-dbus's encoding (`src/util.c: virDBusUtilEncodeStr`).
//!
//! A letter or digit of ASCII stands for itself; every other *byte* is `_` and two lowercase
//! hexadecimal digits. Decoding also takes an escape that was not needed, as libvirt-dbus's does.

use super::ids::{DomainId, SnapshotName};

/// The name as an element of an object path.
#[must_use]
pub fn encode_name(name: &str) -> String {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut out = String::with_capacity(name.len() + 8);
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() {
            out.push(char::from(byte));
        } else {
            out.push('_');
            out.push(char::from(HEX[usize::from(byte >> 4)]));
            out.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
    out
}

/// The name that `encoded` stands for; `None` if no name is encoded so.
#[must_use]
pub fn decode_name(encoded: &str) -> Option<String> {
    let mut out = Vec::with_capacity(encoded.len());
    let mut bytes = encoded.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'_' => out.push(hex(bytes.next()?)? << 4 | hex(bytes.next()?)?),
            _ if byte.is_ascii_alphanumeric() => out.push(byte),
            _ => return None,
        }
    }
    String::from_utf8(out).ok()
}

/// The last element of a domain's path: `_` and the UUID with `_` for `-`.
#[must_use]
pub fn domain_leaf(id: DomainId) -> String {
    format!("_{}", id.to_string().replace('-', "_"))
}

/// The last element of a snapshot's path: its domain's, `_`, and the encoded name.
#[must_use]
pub fn snapshot_leaf(id: DomainId, name: &SnapshotName) -> String {
    format!("{}_{}", domain_leaf(id), encode_name(name.as_str()))
}

/// The domain that `leaf` names.
#[must_use]
pub fn parse_domain_leaf(leaf: &str) -> Option<DomainId> {
    let text = leaf.strip_prefix('_')?.replace('_', "-");
    let id = DomainId(uuid::Uuid::try_parse(&text).ok()?);
    (domain_leaf(id) == leaf).then_some(id)
}

/// The domain and the snapshot that `leaf` names.
#[must_use]
pub fn parse_snapshot_leaf(leaf: &str) -> Option<(DomainId, SnapshotName)> {
    const DOMAIN: usize = 37;
    let id = parse_domain_leaf(leaf.get(..DOMAIN)?)?;
    let name = decode_name(leaf.get(DOMAIN..)?.strip_prefix('_')?)?;
    Some((id, SnapshotName(name)))
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_encoded_as_libvirt_dbus_does() {
        for (name, encoded) in [
            ("snap1", "snap1"),
            ("a_b", "a_5fb"),
            ("2026-11-20T22:18", "2026_2d11_2d20T22_3a18"),
            ("né x", "n_c3_a9_20x"),
            ("", ""),
        ] {
            assert_eq!(encode_name(name), encoded);
            assert_eq!(decode_name(encoded).as_deref(), Some(name));
        }
    }

    #[test]
    fn what_no_encoder_makes_is_no_name() {
        for bad in ["_", "_5", "_5F", "_zz", "a-b", "_ff", "é", "/"] {
            assert_eq!(decode_name(bad), None, "{bad}");
        }
    }

    #[test]
    fn an_escape_that_was_not_needed_is_read() {
        assert_eq!(decode_name("_61b").as_deref(), Some("ab"));
    }

    #[test]
    fn a_snapshots_leaf_gives_back_domain_and_name() {
        let id = DomainId(uuid::Uuid::from_u128(0x0dd0_0dd0_0002_4000_8000_0000_0000_0002));
        let leaf = snapshot_leaf(id, &"a b".into());
        assert_eq!(leaf, "_0dd00dd0_0002_4000_8000_000000000002_a_20b");
        assert_eq!(parse_snapshot_leaf(&leaf), Some((id, "a b".into())));
        assert_eq!(parse_domain_leaf(&leaf), None);
        assert_eq!(parse_domain_leaf(&leaf[..37]), Some(id));
        for bad in ["", "_", "_0dd00dd0_0002_4000_8000_000000000002", "x", "_é0dd00dd0_0002_4000_8000_000000000_x"] {
            assert_eq!(parse_snapshot_leaf(bad), None, "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn every_name_survives_the_path(name in ".*") {
            proptest::prop_assert_eq!(decode_name(&encode_name(&name)), Some(name));
        }
    }
}

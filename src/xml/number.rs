//! Numbers as libvirt reads them.

use crate::error::{Code, Error, Result};

/// `virScaleInteger`: how many bytes one `unit` is.
fn unit_bytes(unit: &str) -> Option<u64> {
    let lower = unit.to_ascii_lowercase();
    if matches!(lower.as_str(), "b" | "byte" | "bytes") {
        return Some(1);
    }
    let mut chars = lower.chars();
    let power = match chars.next()? {
        'k' => 1,
        'm' => 2,
        'g' => 3,
        't' => 4,
        'p' => 5,
        'e' => 6,
        _ => return None,
    };
    let base: u64 = match chars.as_str() {
        "" | "ib" => 1024,
        "b" => 1000,
        _ => return None,
    };
    base.checked_pow(power)
}

/// `virParseScaledValue`: `value` in `unit`, or in units of `default` bytes, in bytes. `place`
/// is the XPath that libvirt names in its error.
pub fn scaled(value: &str, unit: Option<&str>, default: u64, place: &str) -> Result<u64> {
    let invalid = || Error::new(Code::XmlError, format!("Invalid value '{value}' for element or attribute '{place}'"));
    let number: u64 = plain(value).ok_or_else(invalid)?;
    let factor = match unit.filter(|u| !u.is_empty()) {
        None => default,
        Some(unit) => {
            unit_bytes(unit).ok_or_else(|| Error::new(Code::InvalidArg, format!("unknown suffix '{unit}'")))?
        }
    };
    number.checked_mul(factor).ok_or_else(|| {
        let unit = unit.unwrap_or_default();
        Error::bare(Code::XmlError, format!("numerical overflow: value too large: {number}{unit}"))
    })
}

/// A decimal number with nothing behind it; `strtoull` skips white space before it.
#[must_use]
pub fn plain(text: &str) -> Option<u64> {
    let text = text.trim_start();
    let digits = text.strip_prefix('+').unwrap_or(text);
    digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}

/// The same with a sign.
#[must_use]
pub fn signed(text: &str) -> Option<i64> {
    let text = text.trim_start();
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    (!digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_those_of_libvirt() {
        let table = [
            ("1", None, Ok(1024)),
            (" 32", Some("MiB"), Ok(32 << 20)),
            ("32", Some("m"), Ok(32 << 20)),
            ("2", Some("KB"), Ok(2000)),
            ("7", Some("bytes"), Ok(7)),
            ("7", Some(""), Ok(7 * 1024)),
            ("1", Some("EiB"), Ok(1 << 60)),
            ("99", Some("EiB"), Err("numerical overflow: value too large: 99EiB")),
            ("7", Some("parsec"), Err("invalid argument: unknown suffix 'parsec'")),
            ("7x", None, Err("XML error: Invalid value '7x' for element or attribute './memory'")),
            ("-7", None, Err("XML error: Invalid value '-7' for element or attribute './memory'")),
        ];
        for (value, unit, expected) in table {
            let got = scaled(value, unit, 1024, "./memory").map_err(|e| e.to_string());
            assert_eq!(got, expected.map_err(str::to_owned), "{value} {unit:?}");
        }
        assert_eq!(
            [signed("-5"), signed(" 5"), signed("5 "), signed(""), signed("+")],
            [Some(-5), Some(5), None, None, None]
        );
    }
}

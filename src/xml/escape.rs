//! What may stand in text and in attributes (`virBufferEscapeString`).
//!
//! As libvirt: five entities, control bytes dropped. Where libvirt's output would not read back
//! as what was written we differ: 0x1A–0x1F are dropped too, and white space that a parser would
//! normalise is written as a character reference (CR everywhere, TAB and LF in attributes).

/// `text` for between two tags.
#[must_use]
pub fn text(text: &str) -> String {
    escape(text, |c| c == '\r')
}

/// `text` for an attribute, in either quotes.
#[must_use]
pub fn attribute(text: &str) -> String {
    escape(text, |c| matches!(c, '\r' | '\n' | '\t'))
}

fn escape(text: &str, by_number: impl Fn(char) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            c if by_number(c) => out.push_str(&format!("&#{};", u32::from(c))),
            '\t' | '\n' | '\r' => out.push(c),
            '\0'..='\x1f' | '\u{fffe}' | '\u{ffff}' => {}
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entities_are_escaped_and_control_bytes_dropped() {
        assert_eq!(text("<a&\"b'>\t\n\r\x01\x19\x1a\x1fé😀"), "&lt;a&amp;&quot;b&apos;&gt;\t\n&#13;é😀");
        assert_eq!(attribute("a\tb\nc\rd\x0be"), "a&#9;b&#10;c&#13;de");
    }
}

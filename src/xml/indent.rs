//! Putting a document into another one, two blanks further in, and taking it out again.
//!
//! Only white space between elements moves. An element with text of its own keeps every byte,
//! so `extract(embed(x, n), n) == x` for every document, and `embed(extract(y, n), n) == y` for
//! every one whose tags are indented by at least `n`.

use super::scan::{self, Token};

/// `xml` with every line that starts with a tag moved right. The first line stays: it goes
/// where the caller puts it.
#[must_use]
pub fn embed(xml: &str, blanks: usize) -> String {
    let mut out = String::with_capacity(xml.len() + xml.len() / 8);
    let mut done = 0;
    for at in breaks(xml) {
        out.push_str(&xml[done..at]);
        out.extend(std::iter::repeat_n(' ', blanks));
        done = at;
    }
    out.push_str(&xml[done..]);
    out
}

/// `xml` with every line that starts with a tag moved left, as far as there are blanks.
#[must_use]
pub fn extract(xml: &str, blanks: usize) -> String {
    let mut out = String::with_capacity(xml.len());
    let mut done = 0;
    for at in breaks(xml) {
        out.push_str(&xml[done..at]);
        done = at + xml[at..].bytes().take(blanks).take_while(|b| *b == b' ').count();
    }
    out.push_str(&xml[done..]);
    out
}

/// An element whose end was not reached yet.
#[derive(Default)]
struct Open {
    /// Where lines start directly within it.
    breaks: Vec<usize>,
    /// Whether it has elements or comments.
    nested: bool,
    /// Whether it has text of its own.
    text: bool,
}

/// Where lines start that begin with a tag and may move, in ascending order. None in a text
/// that is no document: it stays as it is. Every dump comes through here, so it does not parse.
fn breaks(xml: &str) -> Vec<usize> {
    let mut found = Vec::new();
    let mut open: Vec<Open> = Vec::new();
    let mut at = 0;
    while let Some(gap) = xml[at..].find('<') {
        let start = at + gap;
        let Some((token, length)) = scan::token(&xml[start..]) else { return Vec::new() };
        if let Some(element) = open.last_mut() {
            element.take(&xml[at..start], at);
            element.text |= matches!(token, Token::Cdata);
            element.nested |= matches!(token, Token::Start(_) | Token::Markup);
        }
        match token {
            Token::Start(tag) if !tag.empty => open.push(Open::default()),
            Token::End(_) => match open.pop() {
                // White space alone is what such an element contains.
                Some(element) if element.nested && !element.text => found.extend(element.breaks),
                Some(_) => {}
                None => return Vec::new(),
            },
            _ => {}
        }
        at = start + length;
    }
    if !open.is_empty() {
        return Vec::new();
    }
    found.sort_unstable();
    found
}

impl Open {
    /// What stands between two tags.
    fn take(&mut self, gap: &str, offset: usize) {
        self.text |= !gap.bytes().all(|b| b.is_ascii_whitespace());
        self.breaks.extend(gap.rfind('\n').map(|at| offset + at + 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_white_space_between_elements_moves() {
        let table = [
            ("<a/>", "<a/>"),
            ("<a>\n</a>", "<a>\n</a>"),
            ("<a>\n  <b/>\n</a>", "<a>\n    <b/>\n  </a>"),
            ("<a><b>x\n  y</b>\n</a>", "<a><b>x\n  y</b>\n  </a>"),
            ("<a>\n<b/> text\n<c/></a>", "<a>\n<b/> text\n<c/></a>"),
            ("<a>\n<![CDATA[ ]]>\n<c/></a>", "<a>\n<![CDATA[ ]]>\n<c/></a>"),
            ("<a>\n<!-- x\n y -->\n\n<?p\n?><c\n d=''/></a>", "<a>\n  <!-- x\n y -->\n\n  <?p\n?><c\n d=''/></a>"),
            ("no document\n", "no document\n"),
        ];
        for (inner, outer) in table {
            assert_eq!(embed(inner, 2), outer);
            assert_eq!(extract(outer, 2), inner);
        }
    }

    proptest! {
        #[test]
        fn what_was_embedded_comes_out_as_it_was(
            parts in proptest::collection::vec(
                prop_oneof![
                    Just("<b>"), Just("</b>"), Just("<c/>"), Just("\n"), Just("  "), Just("x"), Just("<!-- \n -->"),
                    Just("<![CDATA[\n ]]>"), Just("&#10;"), Just("\t"), Just("<?p\n q?>"), Just("<d e='\n'>\n</d>"),
                ],
                0..24,
            ),
            blanks in 0usize..5,
        ) {
            let xml = format!("<a>{}</a>", parts.concat());
            prop_assert_eq!(extract(&embed(&xml, blanks), blanks), xml);
        }
    }
}

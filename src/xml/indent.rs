//! Putting a document into another one, two blanks further in, and taking it out again.
//!
//! Only white space between elements moves. An element with text of its own keeps every byte,
//! so `extract(embed(x, n), n) == x` for every document, and `embed(extract(y, n), n) == y` for
//! every one whose tags are indented by at least `n`.

use super::element::{Document, Element};
use super::scan::Limits;

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

/// Where lines start that begin with a tag and may move, in ascending order. None in a text
/// that is no document: it stays as it is.
fn breaks(xml: &str) -> Vec<usize> {
    let limits = Limits { bytes: usize::MAX, nodes: u32::MAX, ..Limits::default() };
    let Ok(document) = Document::parse(xml, &limits) else { return Vec::new() };
    let mut found = Vec::new();
    for element in document.root().descendants() {
        collect(xml, element, &mut found);
    }
    found.sort_unstable();
    found
}

fn collect(xml: &str, element: Element<'_>, found: &mut Vec<usize>) {
    let Some(inner) = element.inner_range() else { return };
    let before = found.len();
    let mut start = inner.start;
    let mut parts = 0;
    let markup = element.node().children().filter(|n| !n.is_text()).map(|n| n.range());
    for next in markup.chain(std::iter::once(inner.end..inner.end)) {
        parts += 1;
        let gap = xml.get(start..next.start).unwrap_or("?");
        if !gap.bytes().all(|b| b.is_ascii_whitespace()) {
            found.truncate(before);
            return;
        }
        if let Some(at) = gap.rfind('\n') {
            found.push(start + at + 1);
        }
        start = next.end;
    }
    if parts == 1 {
        found.truncate(before); // nothing but white space within: that is its content
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

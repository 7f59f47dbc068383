//! A look at the raw text before it is parsed: size, depth and attributes within bounds, no DTD,
//! tags balanced. It knows tags, quotes, comments, CDATA and nothing else; what it does not
//! understand it leaves to the parser behind it.

use crate::error::{Code, Error, Result};
use std::fmt;

/// What a document may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of text.
    pub bytes: usize,
    /// Elements within elements. libxml2 stops at 256 too; a backing chain of 200 layers fits.
    pub depth: usize,
    /// Nodes of any kind.
    pub nodes: u32,
    /// Attributes of one element.
    pub attributes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 16 << 20, depth: 256, nodes: 1 << 20, attributes: 256 }
    }
}

/// A position for humans; both count from 1, the column in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Place {
    /// The line.
    pub line: u32,
    /// The column.
    pub column: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// Finds places without counting lines from the start each time.
#[derive(Debug, Clone)]
pub struct Lines<'t> {
    text: &'t str,
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    /// The lines of `text`.
    #[must_use]
    pub fn new(text: &'t str) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { text, starts }
    }
    /// Where byte `offset` is.
    #[must_use]
    pub fn place(&self, offset: usize) -> Place {
        let line = self.starts.partition_point(|start| *start <= offset).max(1);
        let start = self.starts.get(line - 1).copied().unwrap_or(0);
        let column = self.text.get(start..offset).map_or(0, |before| before.chars().count());
        Place { line: clamp(line), column: clamp(column + 1) }
    }
    fn line(&self, line: u32) -> &'t str {
        let index = (line as usize).saturating_sub(1);
        let start = self.starts.get(index).copied().unwrap_or(0);
        let rest = self.text.get(start..).unwrap_or_default();
        rest.split('\n').next().unwrap_or_default().trim_end_matches('\r')
    }
}

fn clamp(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// libvirt's form of "not well-formed": the place, the reason, the line and a caret below it.
#[must_use]
pub fn not_well_formed(text: &str, place: Place, reason: &str) -> Error {
    const WINDOW: usize = 80;
    let before = (place.column as usize).saturating_sub(1);
    let skip = before.saturating_sub(WINDOW - 1);
    let line: String = Lines::new(text).line(place.line).chars().skip(skip).take(WINDOW).collect();
    let caret = "-".repeat(before - skip);
    Error::bare(Code::XmlDetail, format!("at line {}: {reason}\n{line}\n{caret}^", place.line))
}

struct Open<'t> {
    name: &'t str,
    at: usize,
}

/// Refuse what must not reach the parser.
pub fn check(text: &str, limits: &Limits) -> Result<()> {
    if text.len() > limits.bytes {
        return Err(Error::new(
            Code::XmlError,
            format!("document of {} bytes is larger than the limit of {} bytes", text.len(), limits.bytes),
        ));
    }
    let fail = |at: usize, reason: &str| Err(not_well_formed(text, Lines::new(text).place(at), reason));
    let body = text.strip_prefix('\u{feff}').unwrap_or(text);
    let first = body.trim_start();
    if first.is_empty() {
        return fail(0, "Document is empty");
    }
    if !first.starts_with('<') {
        return fail(text.len() - first.len(), "Start tag expected, '<' not found");
    }
    let mut open: Vec<Open<'_>> = Vec::new();
    let mut at = 0;
    while let Some(found) = text[at..].find('<') {
        let start = at + found;
        // Unterminated or unknown: the parser says it better.
        let Some((token, length)) = token(&text[start..]) else { return Ok(()) };
        match token {
            Token::Markup | Token::Cdata => {}
            Token::Doctype => {
                return fail(start, "document type declarations and entities are not accepted");
            }
            Token::Start(tag) if tag.attributes > limits.attributes => {
                return fail(start, &format!("more than {} attributes in one element", limits.attributes));
            }
            Token::Start(tag) if tag.empty => {}
            Token::Start(tag) => {
                open.push(Open { name: tag.name, at: start });
                if open.len() > limits.depth {
                    return fail(start, &format!("Excessive depth in document: {}", limits.depth));
                }
            }
            Token::End(name) => match open.pop() {
                Some(last) if last.name != name => {
                    let line = Lines::new(text).place(last.at).line;
                    let reason = format!("Opening and ending tag mismatch: {} line {line} and {name}", last.name);
                    return fail(start, &reason);
                }
                _ => {}
            },
        }
        at = start + length;
    }
    let Some(last) = open.last() else { return Ok(()) };
    let line = Lines::new(text).place(last.at).line;
    fail(text.len(), &format!("Premature end of data in tag {} line {line}", last.name))
}

/// What begins with `<`.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Token<'t> {
    /// A comment or a processing instruction.
    Markup,
    /// `<![CDATA[…]]>`.
    Cdata,
    /// `<!DOCTYPE`; its end is not looked for.
    Doctype,
    /// `<a …>`.
    Start(StartTag<'t>),
    /// `</a>`.
    End(&'t str),
}

/// The token at the beginning of `text`, if it is complete, and its length.
pub(crate) fn token(text: &str) -> Option<(Token<'_>, usize)> {
    let behind = |start: &str, end: &str, token| {
        let rest = text.strip_prefix(start)?;
        Some((token, start.len() + rest.find(end)? + end.len()))
    };
    if text.starts_with("<!--") {
        behind("<!--", "-->", Token::Markup)
    } else if text.starts_with("<![CDATA[") {
        behind("<![CDATA[", "]]>", Token::Cdata)
    } else if text.starts_with("<?") {
        behind("<?", "?>", Token::Markup)
    } else if text.starts_with("<!DOCTYPE") {
        Some((Token::Doctype, text.len()))
    } else if let Some(close) = text.strip_prefix("</") {
        let end = close.find('>')?;
        Some((Token::End(close[..end].trim_end()), end + 3))
    } else {
        start_tag(text).map(|tag| (Token::Start(tag), tag.length))
    }
}

/// What a start tag says of itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StartTag<'t> {
    /// Its qualified name.
    pub(crate) name: &'t str,
    /// Bytes from `<` to behind `>`.
    pub(crate) length: usize,
    /// Quoted values.
    pub(crate) attributes: usize,
    /// `<a/>`.
    pub(crate) empty: bool,
}

/// The start tag at the beginning of `text`, if it is complete.
pub(crate) fn start_tag(text: &str) -> Option<StartTag<'_>> {
    let bytes = text.as_bytes();
    if bytes.first() != Some(&b'<') {
        return None;
    }
    let mut quote = None;
    let mut attributes = 0;
    for (at, byte) in bytes.iter().copied().enumerate().skip(1) {
        match (quote, byte) {
            (Some(q), b) if b == q => quote = None,
            (None, b'"' | b'\'') => {
                quote = Some(byte);
                attributes += 1;
            }
            (None, b'<') => return None,
            (None, b'>') => {
                let empty = bytes[at - 1] == b'/';
                let inside = &text[1..at - usize::from(empty)];
                let name = inside.split(|c: char| c.is_ascii_whitespace() || c == '/').next().unwrap_or_default();
                return Some(StartTag { name, length: at + 1, attributes, empty });
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        check(text, &Limits { depth: 4, attributes: 3, ..Limits::default() })
            .err()
            .map(|e| e.to_string())
            .unwrap_or_default()
    }

    #[test]
    fn what_must_not_reach_the_parser_is_refused_with_its_place() {
        let table = [
            ("<a/>", ""),
            ("<a><!-- <b> --><![CDATA[<c>]]><?p <d>?></a>", ""),
            ("<a b='>' c=\"<'\"/>", ""),
            ("<a><a><a><a/></a></a></a>", ""),
            ("<a><a><a><a></a></a></a></a>", ""),
            ("hello", "at line 1: Start tag expected, '<' not found\nhello\n^"),
            ("", "at line 1: Document is empty\n\n^"),
            ("<a>", "at line 1: Premature end of data in tag a line 1\n<a>\n---^"),
            ("<a>\n <b>x", "at line 2: Premature end of data in tag b line 2\n <b>x\n-----^"),
            ("<a>\n<b></a>", "at line 2: Opening and ending tag mismatch: b line 2 and a\n<b></a>\n---^"),
            (
                "<!DOCTYPE a><a/>",
                "at line 1: document type declarations and entities are not accepted\n<!DOCTYPE a><a/>\n^",
            ),
            (
                "<a><a><a><a><a></a></a></a></a></a>",
                "at line 1: Excessive depth in document: 4\n<a><a><a><a><a></a></a></a></a></a>\n------------^",
            ),
            (
                "<a b='1' c='2' d='3' e='4'/>",
                "at line 1: more than 3 attributes in one element\n<a b='1' c='2' d='3' e='4'/>\n^",
            ),
        ];
        for (text, expected) in table {
            assert_eq!(refusal(text), expected, "{text}");
        }
    }
}

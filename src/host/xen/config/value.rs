//! What a key is set to, and how xl wants it written.
//!
//! xl has texts and lists; a bare number is a text whose quotes were left out.

use std::fmt;

/// A text or a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A string or a number, without quotes or escapes.
    Text(String),
    /// A list, perhaps of lists.
    List(Vec<Value>),
}

impl Value {
    /// The text, if it is one.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::List(_) => None,
        }
    }
    /// The items, if it is a list.
    #[must_use]
    pub fn as_list(&self) -> Option<&[Value]> {
        match self {
            Self::Text(_) => None,
            Self::List(items) => Some(items),
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}
impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}
impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Text(number.to_string())
    }
}

/// What a backslash and a letter stand for in xl's strings. Its numeric escapes lose their
/// character (`xlu__cfgl_dequote`), so that they are neither read nor written.
pub(super) const ESCAPES: [(char, char); 10] = [
    ('"', '"'),
    ('\'', '\''),
    ('\\', '\\'),
    ('a', '\x07'),
    ('b', '\x08'),
    ('f', '\x0c'),
    ('n', '\n'),
    ('r', '\r'),
    ('t', '\t'),
    ('v', '\x0b'),
];

/// Numbers bare, all else in double quotes; a list of several items has a line for each.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) if is_number(text) => f.write_str(text),
            Self::Text(text) => quoted(text, f),
            Self::List(items) if items.len() > 1 => {
                f.write_str("[\n")?;
                items.iter().try_for_each(|item| writeln!(f, "    {item},"))?;
                f.write_str("]")
            }
            Self::List(items) => {
                f.write_str("[")?;
                items.iter().try_for_each(|item| write!(f, "{item}"))?;
                f.write_str("]")
            }
        }
    }
}

fn is_number(text: &str) -> bool {
    (1..=18).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_digit())
        && (text == "0" || !text.starts_with('0'))
}

fn quoted(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    use std::fmt::Write;
    f.write_char('"')?;
    for c in text.chars() {
        match ESCAPES.iter().find(|(letter, meant)| *meant == c && *letter != '\'') {
            Some((letter, _)) => write!(f, "\\{letter}")?,
            None => f.write_char(c)?,
        }
    }
    f.write_char('"')
}

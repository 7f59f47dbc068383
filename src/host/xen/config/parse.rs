//! xl's text, read (`libxlu_cfg_l.l`, `libxlu_cfg_y.y`).
//!
//! ```text
//!   file    ::= { [ setting ] ( newline | ";" ) }          setting ::= key ( "=" | "+=" ) value
//!   value   ::= number | string | "[" [ value { "," value } [ "," ] ] "]"
//! ```
//!
//! Blanks and comments may stand between any two words, line breaks only within brackets. What xl
//! calls a number begins with a digit and goes on with digits, `a` to `f` and `x`; it is kept as written.

use super::value::ESCAPES;
use super::{Config, Setting, Value};
use crate::error::Error;
use crate::xml::scan::{Lines, Place};
use std::fmt;

/// The longest text that is read, in bytes; xl.cfg files have some hundred.
pub const MAX_BYTES: usize = 1 << 20;
/// Lists within lists.
pub const MAX_DEPTH: usize = 8;

/// A text that xl would not read, or not as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed {
    /// Where.
    pub place: Place,
    /// Why.
    pub fault: Fault,
}

/// What is wrong with a configuration's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// More than [`MAX_BYTES`].
    TooLong,
    /// More than [`MAX_DEPTH`] lists within each other.
    TooDeep,
    /// Something else where a key should be.
    NoKey,
    /// A key without `=` or `+=`.
    NoAssignment(String),
    /// Something else where a value should be.
    NoValue,
    /// A string or list without its end.
    Unterminated,
    /// A backslash before something that xl does not know.
    Escape(char),
    /// A character that no string of xl can hold.
    Nul,
    /// Something behind a value.
    Trailing,
    /// Something between two items of a list.
    NoComma,
    /// `+=` of a list to a text, or the other way.
    Mixed(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(f, "longer than {MAX_BYTES} bytes"),
            Self::TooDeep => write!(f, "more than {MAX_DEPTH} lists within each other"),
            Self::NoKey => f.write_str("expected a key"),
            Self::NoAssignment(key) => write!(f, "expected '=' behind '{key}'"),
            Self::NoValue => f.write_str("expected a string, a number or a list"),
            Self::Unterminated => f.write_str("no end of what begins here"),
            Self::Escape(c) => write!(f, "'\\{c}' means nothing in a string"),
            Self::Nul => f.write_str("a string cannot hold a NUL"),
            Self::Trailing => f.write_str("expected the end of the line"),
            Self::NoComma => f.write_str("expected ',' or ']'"),
            Self::Mixed(key) => write!(f, "'{key}' is a list here and a string there"),
        }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "xl configuration, {}: {}", self.place, self.fault)
    }
}
impl std::error::Error for Malformed {}

impl From<Malformed> for Error {
    fn from(malformed: Malformed) -> Self {
        Self::config(malformed)
    }
}

pub(super) fn parse(text: &str) -> Result<Config, Malformed> {
    let mut reader = Reader { text, at: 0 };
    let read = if text.len() > MAX_BYTES { Err((0, Fault::TooLong)) } else { reader.file() };
    read.map_err(|(at, fault)| Malformed { place: Lines::new(text).place(at), fault })
}

type Step<T> = Result<T, (usize, Fault)>;

struct Reader<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Reader<'t> {
    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }
    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }
    fn eat(&mut self, word: &str) -> bool {
        let found = self.rest().starts_with(word);
        if found {
            self.at += word.len();
        }
        found
    }
    fn take_while(&mut self, test: impl Fn(char) -> bool) -> &'t str {
        let rest = self.rest();
        let word = &rest[..rest.find(|c| !test(c)).unwrap_or(rest.len())];
        self.at += word.len();
        word
    }
    /// Blanks, and a comment up to its line break.
    fn blanks(&mut self) {
        self.take_while(|c| c == ' ' || c == '\t');
        if self.peek() == Some('#') {
            self.take_while(|c| c != '\n');
        }
    }
    fn blank_lines(&mut self) {
        self.blanks();
        while self.eat("\n") {
            self.blanks();
        }
    }

    fn file(&mut self) -> Step<Config> {
        let mut config = Config::default();
        let lines = Lines::new(self.text);
        loop {
            self.blanks();
            match self.peek() {
                None => return Ok(config),
                Some('\n' | ';') => self.at += 1,
                Some(_) => {
                    let start = self.at;
                    let (key, adds, value) = self.setting()?;
                    let before = config.get(&key).filter(|_| adds).cloned();
                    let value = match before {
                        Some(before) => joined(before, value).ok_or_else(|| (start, Fault::Mixed(key.clone())))?,
                        None => value,
                    };
                    config.push(Setting { key, value, place: Some(lines.place(start)) });
                }
            }
        }
    }

    fn setting(&mut self) -> Step<(String, bool, Value)> {
        if !self.peek().is_some_and(|c| c.is_ascii_lowercase()) {
            return Err((self.at, Fault::NoKey));
        }
        let key = self.take_while(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_').to_owned();
        self.blanks();
        let adds = self.eat("+=");
        if !adds && !self.eat("=") {
            return Err((self.at, Fault::NoAssignment(key)));
        }
        self.blanks();
        let value = self.value(0)?;
        self.blanks();
        match self.peek() {
            None | Some('\n' | ';') => Ok((key, adds, value)),
            Some(_) => Err((self.at, Fault::Trailing)),
        }
    }

    fn value(&mut self, depth: usize) -> Step<Value> {
        match self.peek() {
            Some('[') if depth == MAX_DEPTH => Err((self.at, Fault::TooDeep)),
            Some('[') => self.list(depth + 1),
            Some(quote @ ('"' | '\'')) => self.string(quote).map(Value::Text),
            Some('0'..='9') => Ok(self.take_while(|c| matches!(c, '0'..='9' | 'a'..='f' | 'x')).into()),
            _ => Err((self.at, Fault::NoValue)),
        }
    }

    fn list(&mut self, depth: usize) -> Step<Value> {
        let start = self.at;
        self.at += 1;
        let mut items = Vec::new();
        loop {
            self.blank_lines();
            if self.eat("]") {
                return Ok(Value::List(items));
            }
            if self.peek().is_none() {
                return Err((start, Fault::Unterminated));
            }
            items.push(self.value(depth)?);
            self.blank_lines();
            match self.peek() {
                Some(',') => self.at += 1,
                Some(']') => {}
                None => return Err((start, Fault::Unterminated)),
                Some(_) => return Err((self.at, Fault::NoComma)),
            }
        }
    }

    fn string(&mut self, quote: char) -> Step<String> {
        let start = self.at;
        self.at += 1;
        let mut out = String::new();
        while let Some(c) = self.peek() {
            let at = self.at;
            self.at += c.len_utf8();
            match c {
                c if c == quote => return Ok(out),
                '\n' => break,
                '\0' => return Err((at, Fault::Nul)),
                '\\' => match self.peek() {
                    None | Some('\n') => break,
                    Some(letter) => {
                        let Some((_, meant)) = ESCAPES.iter().find(|(l, _)| *l == letter) else {
                            return Err((at, Fault::Escape(letter)));
                        };
                        self.at += 1;
                        out.push(*meant);
                    }
                },
                c => out.push(c),
            }
        }
        Err((start, Fault::Unterminated))
    }
}

fn joined(before: Value, more: Value) -> Option<Value> {
    match (before, more) {
        (Value::Text(a), Value::Text(b)) => Some(Value::Text(a + &b)),
        (Value::List(mut a), Value::List(mut b)) => {
            a.append(&mut b);
            Some(Value::List(a))
        }
        _ => None,
    }
}

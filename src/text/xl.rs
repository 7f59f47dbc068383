//! xl's configuration syntax (`xl.cfg`(5)), as text → settings in their order, each with its place.
//!
//! ```text
//!   # a comment
//!   name = "text"; vcpus = 2          integers: decimal, 0x…, 0… (octal)
//!   disk = [ 'a', ['b', 3],           lists nest, may span lines and end with a comma
//!          ]
//! ```
//!
//! A string stands in `'` or `"` on one line and knows `\a \b \f \n \r \t \v`, `\xHH`, `\NNN`, and a backslash before a
//! character that is no letter or digit for that character. Must not know: what a key means. The same key twice is no error here.

use std::fmt;

/// Larger texts are refused unread.
const MAX_BYTES: usize = 1 << 20;
/// Lists within lists.
const MAX_DEPTH: usize = 16;

/// Where in the text; both count from 1, the column in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Place {
    pub line: usize,
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// What a key is set to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A string.
    Text(String),
    /// A number.
    Integer(i64),
    /// A list, each element with its place.
    List(Vec<(Value, Place)>),
}

/// One assignment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Its key.
    pub key: String,
    /// Where the key stands.
    pub place: Place,
    /// What it is set to.
    pub value: Value,
    /// Where the value stands.
    pub value_place: Place,
}

/// What is wrong with a text, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// Where.
    pub place: Place,
    /// What, without a place.
    pub what: String,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

/// Reads a text.
pub fn parse(text: &str) -> Result<Vec<Setting>, Wrong> {
    let mut reader = Reader { rest: text, place: Place { line: 1, column: 1 } };
    if text.len() > MAX_BYTES {
        return Err(reader.wrong(format!("larger than {MAX_BYTES} bytes")));
    }
    let mut out = Vec::new();
    loop {
        reader.blanks_and(|c| matches!(c, '\n' | ';'));
        if reader.rest.is_empty() {
            return Ok(out);
        }
        out.push(reader.setting()?);
    }
}

struct Reader<'t> {
    rest: &'t str,
    place: Place,
}

impl Reader<'_> {
    fn wrong(&self, what: impl Into<String>) -> Wrong {
        Wrong { place: self.place, what: what.into() }
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.rest = &self.rest[c.len_utf8()..];
        self.place = match c {
            '\n' => Place { line: self.place.line + 1, column: 1 },
            _ => Place { column: self.place.column + 1, ..self.place },
        };
        Some(c)
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> String {
        let mut out = String::new();
        while let Some(c) = self.peek().filter(|c| wanted(*c)) {
            out.push(c);
            self.next();
        }
        out
    }

    /// Skips blanks, comments, and what else is skipped here.
    fn blanks_and(&mut self, skipped: impl Fn(char) -> bool) {
        while let Some(c) = self.peek() {
            if c == '#' {
                self.take_while(|c| c != '\n');
            } else if matches!(c, ' ' | '\t' | '\r') || skipped(c) {
                self.next();
            } else {
                return;
            }
        }
    }

    fn blanks(&mut self) {
        self.blanks_and(|_| false);
    }

    fn found(&self) -> String {
        match self.peek() {
            None => "the end of the file".to_owned(),
            Some('\n') => "the end of the line".to_owned(),
            Some(c) => format!("'{}'", c.escape_debug()),
        }
    }

    fn expected(&self, what: &str) -> Wrong {
        self.wrong(format!("expected {what}, found {}", self.found()))
    }

    fn setting(&mut self) -> Result<Setting, Wrong> {
        let place = self.place;
        if !self.peek().is_some_and(|c| c.is_ascii_alphabetic() || c == '_') {
            return Err(self.expected("a key"));
        }
        let key = self.take_while(|c| c.is_ascii_alphanumeric() || c == '_');
        self.blanks();
        if self.peek() != Some('=') {
            return Err(self.expected(&format!("'=' after '{key}'")));
        }
        self.next();
        self.blanks();
        let value_place = self.place;
        let value = self.value(0)?;
        self.blanks();
        match self.peek() {
            None | Some('\n' | ';') => Ok(Setting { key, place, value, value_place }),
            Some(_) => Err(self.expected(&format!("the end of the line after '{key}'"))),
        }
    }

    fn value(&mut self, depth: usize) -> Result<Value, Wrong> {
        match self.peek() {
            Some('[') if depth == MAX_DEPTH => Err(self.wrong(format!("more than {MAX_DEPTH} lists within lists"))),
            Some('[') => self.list(depth),
            Some(quote @ ('\'' | '"')) => self.string(quote).map(Value::Text),
            Some(c) if c.is_ascii_digit() || c == '-' => self.integer().map(Value::Integer),
            _ => Err(self.expected("a string, a number or a list")),
        }
    }

    fn list(&mut self, depth: usize) -> Result<Value, Wrong> {
        let opened = self.place;
        self.next();
        let mut out = Vec::new();
        loop {
            self.blanks_and(|c| c == '\n');
            if self.peek() != Some(']') {
                let place = self.place;
                out.push((self.value(depth + 1)?, place));
                self.blanks_and(|c| c == '\n');
            }
            match self.peek() {
                Some(',') if !out.is_empty() => {
                    self.next();
                }
                Some(']') => {
                    self.next();
                    return Ok(Value::List(out));
                }
                _ => return Err(self.expected(&format!("',' or ']' in the list that begins at {opened}"))),
            }
        }
    }

    fn integer(&mut self) -> Result<i64, Wrong> {
        let place = self.place;
        let word = self.take_while(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
        let digits = word.trim_start_matches('-');
        let (digits, radix) = match (digits.strip_prefix("0x").or(digits.strip_prefix("0X")), digits) {
            (Some(hex), _) => (hex, 16),
            (None, zero) if zero.len() > 1 && zero.starts_with('0') => (zero, 8),
            (None, decimal) => (decimal, 10),
        };
        let plain = digits.chars().all(|c| c.is_digit(radix));
        let sign = if word.starts_with('-') { "-" } else { "" };
        i64::from_str_radix(&format!("{sign}{digits}"), radix)
            .ok()
            .filter(|_| plain && !word[1..].contains('-'))
            .ok_or_else(|| Wrong { place, what: format!("'{word}' is no number") })
    }

    fn string(&mut self, quote: char) -> Result<String, Wrong> {
        let opened = self.place;
        self.next();
        // Escapes say bytes.
        let mut out = Vec::new();
        loop {
            let place = self.place;
            match self.next() {
                Some(c) if c == quote => break,
                Some('\\') => out.push(self.escape(place)?),
                Some(c) if c != '\n' => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
                _ => return Err(Wrong { place: opened, what: "a string that does not end on its line".to_owned() }),
            }
        }
        match String::from_utf8(out) {
            Ok(text) if !text.contains('\0') => Ok(text),
            _ => Err(Wrong { place: opened, what: "a string that is not UTF-8 text".to_owned() }),
        }
    }

    fn escape(&mut self, place: Place) -> Result<u8, Wrong> {
        let wrong = |what: &str| Wrong { place, what: format!("{what} after a backslash") };
        let Some(c) = self.next() else { return Err(wrong("nothing")) };
        Ok(match c {
            'a' => 7,
            'b' => 8,
            'f' => 12,
            'n' => b'\n',
            'r' => b'\r',
            't' => b'\t',
            'v' => 11,
            'x' => self.number(2, 16).ok_or_else(|| wrong("not two hexadecimal digits"))?,
            '0'..='7' => {
                let rest = self.number(2, 8).ok_or_else(|| wrong("not three octal digits"))?;
                let high = c.to_digit(8).and_then(|d| u8::try_from(d).ok()).filter(|d| *d < 4);
                high.map(|d| d << 6 | rest).ok_or_else(|| wrong("more than a byte"))?
            }
            c if c.is_ascii_punctuation() || c == ' ' => u8::try_from(c).map_err(|_| wrong("no character"))?,
            _ => return Err(wrong("an unknown letter")),
        })
    }

    /// Exactly that many digits.
    fn number(&mut self, digits: usize, radix: u32) -> Option<u8> {
        let word = self.rest.get(..digits).filter(|w| w.chars().all(|c| c.is_digit(radix)))?;
        let number = u8::from_str_radix(word, radix).ok()?;
        (0..digits).for_each(|_| {
            self.next();
        });
        Some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(text: &str) -> Vec<(String, Value)> {
        parse(text).unwrap().into_iter().map(|s| (s.key, s.value)).collect()
    }
    fn text(s: &str) -> Value {
        Value::Text(s.to_owned())
    }
    fn list(of: &[Value]) -> Value {
        let place = Place { line: 0, column: 0 };
        Value::List(of.iter().map(|v| (v.clone(), place)).collect())
    }
    fn without_places(value: Value) -> Value {
        match value {
            Value::List(of) => list(&of.into_iter().map(|(v, _)| without_places(v)).collect::<Vec<_>>()),
            other => other,
        }
    }

    #[test]
    fn strings_numbers_and_lists_are_read_in_their_order() {
        let read: Vec<_> = values(
            "# first\n\nname = 'a b' # behind\n b=\"it's\";c=12 ; d = 0x1F\ne = -7\nf=017\r\n\
             disk = [ 'x,y', # here too\n  [ 1, 'z' ],\n]\nnone = [ ]",
        )
        .into_iter()
        .map(|(k, v)| (k, without_places(v)))
        .collect();
        let expected = [
            ("name", text("a b")),
            ("b", text("it's")),
            ("c", Value::Integer(12)),
            ("d", Value::Integer(31)),
            ("e", Value::Integer(-7)),
            ("f", Value::Integer(15)),
            ("disk", list(&[text("x,y"), list(&[Value::Integer(1), text("z")])])),
            ("none", list(&[])),
        ];
        assert_eq!(read, expected.map(|(k, v)| (k.to_owned(), v)));
        assert_eq!(parse(""), Ok(vec![]));
    }

    #[test]
    fn a_backslash_says_a_byte_or_takes_the_next_character_as_it_is() {
        for (written, meant) in
            [(r"'\n\t\\\'\[\x41\101'", "\n\t\\'[AA"), (r#""a\"b""#, "a\"b"), (r"'\xc3\xa9é'", "éé"), (r"'\377' ", "")]
        {
            match parse(&format!("k={written}")) {
                Ok(read) => assert_eq!(read[0].value, text(meant), "{written}"),
                Err(wrong) => assert!(meant.is_empty(), "{written}: {wrong}"),
            }
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line_and_column() {
        let deep = format!("k={}", "[".repeat(17));
        for (written, told) in [
            ("name", "1:5: expected '=' after 'name', found the end of the file"),
            ("a=1\nb = \n", "2:5: expected a string, a number or a list, found the end of the line"),
            ("a=1\n  b == 2", "2:6: expected a string, a number or a list, found '='"),
            ("= 3", "1:1: expected a key, found '='"),
            ("a = 1 b = 2", "1:7: expected the end of the line after 'a', found 'b'"),
            ("a = yes", "1:5: expected a string, a number or a list, found 'y'"),
            ("a = 'x\n'", "1:5: a string that does not end on its line"),
            ("a = \"x'", "1:5: a string that does not end on its line"),
            ("é='x'", "1:1: expected a key, found 'é'"),
            ("a='é' x", "1:7: expected the end of the line after 'a', found 'x'"),
            ("a = [ 'x'\n 'y' ]", "2:2: expected ',' or ']' in the list that begins at 1:5, found '\\''"),
            ("a = [ , ]", "1:7: expected a string, a number or a list, found ','"),
            ("a = [ 'x',, ]", "1:11: expected a string, a number or a list, found ','"),
            ("a = [ 'x'", "1:10: expected ',' or ']' in the list that begins at 1:5, found the end of the file"),
            (r"a = '\q'", "1:6: an unknown letter after a backslash"),
            (r"a = '\é'", "1:6: an unknown letter after a backslash"),
            (r"a = '\x4'", "1:6: not two hexadecimal digits after a backslash"),
            (r"a = '\8'", "1:6: an unknown letter after a backslash"),
            (r"a = '\777'", "1:6: more than a byte after a backslash"),
            (r"a = '\x00'", "1:5: a string that is not UTF-8 text"),
            ("a = 08", "1:5: '08' is no number"),
            ("a = 12k", "1:5: '12k' is no number"),
            ("a = --1", "1:5: '--1' is no number"),
            ("a = 99999999999999999999", "1:5: '99999999999999999999' is no number"),
            ("a = -", "1:5: '-' is no number"),
            (&deep, "1:19: more than 16 lists within lists"),
        ] {
            assert_eq!(parse(written).map_err(|w| w.to_string()), Err(told.to_owned()), "{written}");
        }
        assert!(parse(&" ".repeat(MAX_BYTES + 1)).is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_reader_fall(text in ".*") {
            let _ = parse(&text);
        }
        #[test]
        fn every_text_survives_its_quotes(inside in "[^\0]*") {
            let escaped: String = inside
                .chars()
                .map(|c| match c {
                    '\n' => "\\n".to_owned(),
                    '\'' | '\\' => format!("\\{c}"),
                    c => c.to_string(),
                })
                .collect();
            let read = parse(&format!("k='{escaped}'")).map(|s| s[0].value.clone());
            proptest::prop_assert_eq!(read, Ok(text(&inside)));
        }
    }
}

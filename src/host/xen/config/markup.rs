//! XML being written, in libvirt's hand: two blanks a level, single quotes.

use crate::xml::escape;
use std::fmt::{self, Write};

/// Elements of one level and below.
pub(super) struct Markup {
    out: String,
    depth: usize,
    /// Elements not yet closed, and where their contents begin.
    open: Vec<(&'static str, usize)>,
}

impl Markup {
    /// Nothing yet, `depth` levels deep.
    pub(super) fn at(depth: usize) -> Self {
        Self { out: String::new(), depth, open: Vec::new() }
    }
    fn start(&mut self, name: &str, attributes: &[(&str, &str)]) {
        let indent = 2 * (self.depth + self.open.len());
        let _ = write!(self.out, "{:indent$}<{name}", "");
        for (key, value) in attributes {
            let _ = write!(self.out, " {key}='{}'", escape::attribute(value));
        }
    }
    /// `<name …/>`
    pub(super) fn empty(&mut self, name: &str, attributes: &[(&str, &str)]) {
        self.start(name, attributes);
        self.out.push_str("/>\n");
    }
    /// `<name …>text</name>`
    pub(super) fn text(&mut self, name: &str, attributes: &[(&str, &str)], text: &str) {
        self.start(name, attributes);
        let _ = writeln!(self.out, ">{}</{name}>", escape::text(text));
    }
    /// `<name …>`, to be closed.
    pub(super) fn open(&mut self, name: &'static str, attributes: &[(&str, &str)]) {
        self.start(name, attributes);
        self.out.push_str(">\n");
        self.open.push((name, self.out.len()));
    }
    /// `</name>` of the last that was opened, or `<name …/>` if nothing is in it.
    pub(super) fn close(&mut self) {
        let Some((name, start)) = self.open.pop() else { return };
        if self.out.len() == start {
            self.out.truncate(start - ">\n".len());
            self.out.push_str("/>\n");
        } else {
            let indent = 2 * (self.depth + self.open.len());
            let _ = writeln!(self.out, "{:indent$}</{name}>", "");
        }
    }
}

impl fmt::Display for Markup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.out)
    }
}

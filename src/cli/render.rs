//! Tables in virsh's form (`tools/vsh-table.c`): every cell behind one blank, padded to its
//! column's display width and two more, the last one not padded.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// A table, its heading first.
#[derive(Debug, Clone)]
pub struct Table {
    columns: usize,
    heading: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table with this heading.
    #[must_use]
    pub fn new(heading: &[&str]) -> Self {
        Self { columns: heading.len(), heading: heading.iter().map(|h| printable(h)).collect(), rows: Vec::new() }
    }
    /// One more row; missing cells are empty, more than the heading has are dropped.
    pub fn row(&mut self, cells: &[&str]) {
        let cells = cells.iter().map(|c| printable(c)).chain(std::iter::repeat(String::new()));
        self.rows.push(cells.take(self.columns).collect());
    }
    /// The whole table.
    #[must_use]
    pub fn with_heading(&self) -> String {
        let mut lines = vec![&self.heading];
        lines.extend(&self.rows);
        let widths = self.widths(&lines);
        let rule: usize = widths.iter().map(|w| w + 3).sum();
        let mut text = line(&self.heading, &widths);
        text.push_str(&"-".repeat(rule));
        text.push('\n');
        self.rows.iter().for_each(|row| text.push_str(&line(row, &widths)));
        text
    }
    /// The rows alone, aligned among themselves.
    #[must_use]
    pub fn without_heading(&self) -> String {
        let widths = self.widths(&self.rows.iter().collect::<Vec<_>>());
        self.rows.iter().map(|row| line(row, &widths)).collect()
    }
    fn widths(&self, lines: &[&Vec<String>]) -> Vec<usize> {
        (0..self.columns).map(|i| lines.iter().filter_map(|l| l.get(i)).map(|c| c.width()).max().unwrap_or(0)).collect()
    }
}

fn line(cells: &[String], widths: &[usize]) -> String {
    let mut text = String::new();
    for (i, (cell, width)) in cells.iter().zip(widths).enumerate() {
        text.push(' ');
        text.push_str(cell);
        if i + 1 < cells.len() {
            text.push_str(&" ".repeat(width - cell.width() + 2));
        }
    }
    text.push('\n');
    text
}

/// Control characters as `\xHH`, byte for byte, and a literal `\x` so that it is not taken for one.
#[must_use]
pub fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c.width().is_none() || c.is_control() || (c == '\\' && chars.peek() == Some(&'x')) {
            let mut bytes = [0; 4];
            c.encode_utf8(&mut bytes).bytes().for_each(|b| out.push_str(&format!("\\x{b:02x}")));
        } else {
            out.push(c);
        }
    }
    out
}

/// virsh's `%-15s %s` line of the info commands.
#[must_use]
pub fn info_line(label: &str, value: &str) -> String {
    format!("{:<15} {value}\n", format!("{label}:"))
}

/// virsh's order of names: without regard to the case of ASCII letters; equal ones by their bytes.
#[must_use]
pub fn name_order(a: &str, b: &str) -> std::cmp::Ordering {
    let lower = |s: &str| s.bytes().map(|b| b.to_ascii_lowercase()).collect::<Vec<u8>>();
    lower(a).cmp(&lower(b)).then_with(|| a.cmp(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: &[&[&str]]) -> Table {
        let mut table = Table::new(&["Name", "Creation Time", "State"]);
        rows.iter().for_each(|row| table.row(row));
        table
    }

    #[test]
    fn a_table_is_as_wide_as_its_widest_cells() {
        let table = table(&[
            &["a", "2026-11-21 07:31:02 +0000", "running"],
            &["né x", "2026-11-21 07:31:02 +0000", "disk-snapshot"],
        ]);
        assert_eq!(
            table.with_heading(),
            " Name   Creation Time               State
---------------------------------------------------
 a      2026-11-21 07:31:02 +0000   running
 né x   2026-11-21 07:31:02 +0000   disk-snapshot
"
        );
        assert_eq!(
            table.without_heading(),
            " a      2026-11-21 07:31:02 +0000   running\n né x   2026-11-21 07:31:02 +0000   disk-snapshot\n"
        );
    }

    #[test]
    fn an_empty_table_is_its_heading() {
        let table = table(&[]);
        assert_eq!(table.with_heading(), " Name   Creation Time   State\n-------------------------------\n");
        assert_eq!(table.without_heading(), "");
    }

    #[test]
    fn without_heading_the_rows_are_as_narrow_as_they_can_be() {
        let mut table = Table::new(&["Name", "Parent"]);
        table.row(&["b", ""]);
        table.row(&["C", "b"]);
        assert_eq!(table.without_heading(), " b   \n C   b\n");
    }

    #[test]
    fn wide_characters_count_twice_and_combining_ones_not_at_all() {
        let mut table = Table::new(&["Id", "Name", "State"]);
        table.row(&["1", "test", "running"]);
        table.row(&["-", "日本x", "shut off"]);
        table.row(&["-", "e\u{301}t", "shut off"]);
        assert_eq!(
            table.with_heading(),
            " Id   Name    State
------------------------
 1    test    running
 -    日本x   shut off
 -    e\u{301}t      shut off
"
        );
    }

    #[test]
    fn what_a_terminal_would_obey_is_shown_instead() {
        for (name, shown) in [
            ("a\u{1b}[2Jb", "a\\x1b[2Jb"),
            ("a\nb\t", "a\\x0ab\\x09"),
            ("\\x1b", "\\x5cx1b"),
            ("C:\\dir", "C:\\dir"),
            ("\u{9b}", "\\xc2\\x9b"),
            ("日", "日"),
        ] {
            assert_eq!(printable(name), shown);
        }
    }

    #[test]
    fn names_are_ordered_without_regard_to_case() {
        let mut names = ["b", "C", "a", "B", "é", "_", "10", "9"];
        names.sort_by(|a, b| name_order(a, b));
        assert_eq!(names, ["10", "9", "_", "a", "B", "b", "C", "é"]);
    }
}

//! The table of libvirt's defects keeps its word: every row is there, and the tests that it names exist.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const TABLE: &str = include_str!("../src/plan/defects.rs");
const ROWS: usize = 41;

fn sources(directory: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, out);
        } else if path.extension().is_some_and(|e| e == "rs") {
            out.push(path);
        }
    }
}

fn all() -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    for directory in ["src", "tests"] {
        sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join(directory), &mut files);
    }
    files.into_iter().map(|path| (path.clone(), std::fs::read_to_string(path).unwrap())).collect()
}

/// The number of each row and the tests it names.
fn rows() -> Vec<(usize, Vec<&'static str>)> {
    let row = |line: &'static str| {
        let cells: Vec<&str> = line.strip_prefix("//! | K")?.split(" | ").collect();
        let [number, _, _, tests] = cells[..] else { panic!("not four cells: {line}") };
        let tests = tests.strip_suffix(" |").unwrap();
        let names = tests.split(", ").filter(|t| *t != "—");
        Some((number.parse().unwrap(), names.map(|t| t.trim_matches('`')).collect()))
    };
    TABLE.lines().filter_map(row).collect()
}

#[test]
fn every_defect_has_its_row_and_every_test_that_a_row_names_exists() {
    let rows = rows();
    assert_eq!(rows.iter().map(|(n, _)| *n).collect::<Vec<_>>(), (1..=ROWS).collect::<Vec<_>>());
    let files = all();
    let functions: BTreeSet<&str> = files
        .iter()
        .flat_map(|(_, text)| text.split("fn ").skip(1))
        .map(|rest| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default())
        .collect();
    for (number, tests) in rows {
        for test in tests {
            assert!(functions.contains(test), "K{number} names {test}, which does not exist");
        }
    }
}

#[test]
fn every_row_that_a_comment_names_exists() {
    let mut seen = 0;
    for (path, text) in all() {
        for (at, _) in text.match_indices('K') {
            let before = text[..at].chars().next_back().is_some_and(|c| c.is_alphanumeric() || c == '_');
            let digits: String = text[at + 1..].chars().take_while(char::is_ascii_digit).collect();
            let after = text[at + 1 + digits.len()..].chars().next().is_some_and(|c| c.is_alphanumeric() || c == '_');
            if let (false, false, Ok(number)) = (before, after, digits.parse::<usize>()) {
                seen += 1;
                assert!((1..=ROWS).contains(&number), "{}: K{number} is no row", path.display());
            }
        }
    }
    assert!(seen > 50, "the test reads nothing: {seen}");
}

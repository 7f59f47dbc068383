//! The layer rule of the crate documentation, read off the `use` lines and paths of the sources.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

/// Each layer and the layers it may name.
const LAYERS: [(&str, &[&str]); 11] = [
    ("error", &[]),
    ("model", &["error"]),
    ("text", &["error"]),
    ("xml", &["error", "model"]),
    ("plan", &["error", "model", "xml"]),
    ("store", &["error", "model", "xml", "plan"]),
    ("host", &["error", "model", "text", "xml", "plan"]),
    ("engine", &["error", "model", "xml", "plan", "store", "host"]),
    ("config", &["error", "model"]),
    ("dbus", &["error", "model", "engine"]),
    ("cli", &["error", "model", "text"]),
];

fn sources(dir: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, out);
        } else if path.extension().is_some_and(|e| e == "rs") {
            out.push(path);
        }
    }
}

/// The layers that a source names as `crate::<layer>`, comments left out.
fn named(text: &str) -> Vec<(usize, String)> {
    let mut out = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        for (at, _) in code.match_indices("crate::") {
            let rest = &code[at + "crate::".len()..];
            let names: Vec<&str> = match rest.strip_prefix('{') {
                Some(group) => group.split([',', '}']).map(str::trim).collect(),
                None => vec![rest],
            };
            for name in names {
                let layer: String = name.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                if !layer.is_empty() {
                    out.push((number + 1, layer));
                }
            }
        }
    }
    out
}

#[test]
fn inner_layers_know_nothing_of_outer_ones() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    let mut seen = 0;
    let mut files = Vec::new();
    sources(&root, &mut files);
    for file in files {
        let inside = file.strip_prefix(&root).unwrap();
        let first = inside.components().next().unwrap().as_os_str().to_str().unwrap();
        let layer = first.trim_end_matches(".rs");
        let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| *name == layer) else {
            assert!(["lib", "bin"].contains(&layer), "src/{layer} is in no layer: add it to the table");
            continue;
        };
        for (line, other) in named(&std::fs::read_to_string(&file).unwrap()) {
            seen += 1;
            let known = LAYERS.iter().any(|(name, _)| *name == other);
            if known && other != layer && !allowed.contains(&other.as_str()) {
                wrong.push(format!("{}:{line}: {layer} names {other}", inside.display()));
            }
        }
    }
    assert!(seen > 100, "the test reads nothing: {seen}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_reader_sees_groups_and_paths_but_no_comments() {
    let names: Vec<String> = named("use crate::{store, host::Host};\nlet x = crate::dbus::f(); // crate::cli\n")
        .into_iter()
        .map(|(_, n)| n)
        .collect();
    assert_eq!(names, ["store", "host", "dbus"]);
}

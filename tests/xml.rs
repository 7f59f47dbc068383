//! Every document under `xml-examples/`, read and written: beside each `foo.xml` is what must
//! come of it. `UPDATE_XML_EXAMPLES=1` writes what came instead; read the diff.

#![allow(clippy::expect_used)]

use std::fs;
use std::path::{Path, PathBuf};
use virsnap::error::Result;
use virsnap::model::ids::{Image, SnapshotName};
use virsnap::model::snapshot::{Snapshot, SnapshotState};
use virsnap::xml::domain;
use virsnap::xml::scan::Limits;
use virsnap::xml::snapshot::{self, Form, SnapshotDoc};

fn examples(directory: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("xml-examples").join(directory);
    let entries = fs::read_dir(&root).unwrap_or_else(|e| panic!("{}: {e}", root.display()));
    let files: Vec<PathBuf> = entries.map(|entry| entry.expect("readable").path()).collect();
    let is_input = |p: &PathBuf| p.to_string_lossy().ends_with(".xml") && !p.to_string_lossy().ends_with(".out.xml");
    let (mut found, outputs): (Vec<_>, Vec<_>) = files.into_iter().partition(is_input);
    for output in outputs {
        let stem = output.to_string_lossy().into_owned();
        let stem = stem.strip_suffix(".out.xml").or_else(|| stem.rsplit_once('.').map(|(stem, _)| stem));
        let input = PathBuf::from(format!("{}.xml", stem.unwrap_or_default()));
        assert!(found.contains(&input), "{} comes of nothing", output.display());
    }
    found.sort();
    assert!(!found.is_empty(), "{} is empty", root.display());
    found
}

fn expect(path: &Path, got: &str) {
    if std::env::var_os("UPDATE_XML_EXAMPLES").is_some() {
        fs::write(path, got).expect("writable");
    }
    let expected = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    assert_eq!(got, expected, "{}", path.display());
}

fn write(doc: &SnapshotDoc) -> String {
    let snapshot = Snapshot {
        name: SnapshotName(doc.name.clone().unwrap_or_else(|| "unnamed".to_owned())),
        description: doc.description.clone(),
        parent: doc.parent.clone().map(SnapshotName),
        state: doc.state.unwrap_or(SnapshotState::Nostate),
        creation_time: doc.creation_time.unwrap_or(0),
        memory: doc.memory.clone(),
        tag: None,
        disks: doc.disks.clone(),
        revert_disks: doc.revert_disks.clone(),
        frozen: Vec::new(),
    };
    snapshot::format(&snapshot, &doc.texts, true)
}

const FORMS: [(&str, Form); 3] = [
    ("create", Form::Create { offline: false }),
    ("create-offline", Form::Create { offline: true }),
    ("redefine", Form::Redefine),
];

#[test]
fn every_snapshot_form_is_written_in_libvirts_form_and_then_stays_as_it_is() {
    for (directory, form) in FORMS {
        for path in examples(directory) {
            let name = path.display();
            let text = fs::read_to_string(&path).expect("readable");
            let read = |text: &str| snapshot::parse(text, form, &Limits::default());
            let doc = read(&text).unwrap_or_else(|e| panic!("{name}: {e}"));
            let written = write(&doc);
            expect(&path.with_extension("out.xml"), &written);
            let again = read(&written).unwrap_or_else(|e| panic!("{name}: read again: {e}"));
            assert_eq!(write(&again), written, "{name}: written again");
        }
    }
}

#[test]
fn what_we_dumped_is_dumped_again_byte_for_byte_after_a_move() {
    for path in examples("redefine") {
        let there = snapshot::parse(&fs::read_to_string(&path).expect("readable"), Form::Redefine, &Limits::default());
        let there = there.expect("good");
        let here = snapshot::parse(&write(&there), Form::Redefine, &Limits::default()).expect("good");
        assert_eq!(here.texts, there.texts, "{}", path.display());
        assert_eq!(here.disks, there.disks, "{}", path.display());
    }
}

#[test]
fn passwords_are_shown_only_on_request() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("xml-examples/redefine/full.xml");
    let text = fs::read_to_string(path).expect("readable");
    let doc = snapshot::parse(&text, Form::Redefine, &Limits::default()).expect("good");
    let mut shown = Snapshot {
        name: "s1".into(),
        description: None,
        parent: None,
        state: SnapshotState::Shutoff,
        creation_time: 1,
        memory: doc.memory,
        tag: None,
        disks: Vec::new(),
        revert_disks: Vec::new(),
        frozen: Vec::new(),
    };
    shown.description = Some("passwd='secret' of the guest".to_owned());
    let public = snapshot::format(&shown, &doc.texts, false);
    assert_eq!(public.matches("secret").count(), 1, "{public}");
    assert!(public.contains("<graphics type='vnc' port='-1' autoport='yes'/>"), "{public}");
    assert_eq!(snapshot::format(&shown, &doc.texts, true).matches("secret").count(), 2);
}

#[test]
fn every_bad_document_is_refused_in_libvirts_words() {
    for path in examples("bad") {
        let text = fs::read_to_string(&path).expect("readable");
        let stem = path.file_stem().expect("named").to_string_lossy().into_owned();
        let form = stem.split('-').next().unwrap_or_default().to_owned();
        let outcome: Result<()> = match form.as_str() {
            "domain" => domain::view(&text).map(drop),
            form => {
                let form = match form {
                    "create" => Form::Create { offline: false },
                    "offline" => Form::Create { offline: true },
                    "redefine" => Form::Redefine,
                    other => panic!("{stem}: no form {other}"),
                };
                snapshot::parse(&text, form, &Limits::default()).map(drop)
            }
        };
        let error = outcome.expect_err(&stem).to_string();
        expect(&path.with_extension("err"), &error);
    }
}

#[test]
fn every_domain_is_viewed() {
    for path in examples("domain") {
        let text = fs::read_to_string(&path).expect("readable");
        let view = domain::view(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        expect(&path.with_extension("view"), &format!("{view:#?}\n"));
    }
}

#[test]
fn every_disk_of_every_domain_can_be_given_another_image_and_back() {
    for path in examples("domain") {
        let text = fs::read_to_string(&path).expect("readable");
        let before = domain::view(&text).expect("good");
        for disk in &before.disks {
            let image = Image { path: "/new/it's \"here\".qcow2".into(), format: "qed".to_owned() };
            for is_block in [true, false] {
                let changed = domain::set_disk_source(&text, &disk.target, &image, is_block).expect("there");
                let after = domain::view(&changed).unwrap_or_else(|e| panic!("{changed}: {e}"));
                let new = after.disk(&disk.target).expect("still there");
                assert_eq!(new.image().as_ref(), Some(&image), "{changed}");
                assert_eq!(new.source_type, if is_block { "block" } else { "file" });
                let others = |v: &domain::DomainView| {
                    v.disks.iter().filter(|d| d.target != disk.target).map(domain::DiskView::image).collect::<Vec<_>>()
                };
                assert_eq!(others(&after), others(&before));
            }
        }
    }
}

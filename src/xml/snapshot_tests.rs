#![allow(clippy::expect_used)]

use super::*;
use crate::model::ids::{DomainId, SnapshotName};
use crate::model::snapshot::{Snapshot, SourceType};
use proptest::prelude::*;

const FULL: &str = include_str!("../../xml-examples/redefine/full.xml");
const RUNNING: &str = include_str!("../../xml-examples/redefine/running.xml");
const SOURCES: &str = include_str!("../../xml-examples/create/sources.xml");

fn snapshot(doc: &SnapshotDoc) -> Snapshot {
    Snapshot {
        name: SnapshotName(doc.name.clone().unwrap_or_default()),
        description: doc.description.clone(),
        parent: doc.parent.clone().map(SnapshotName),
        state: doc.state.unwrap_or(SnapshotState::Nostate),
        creation_time: doc.creation_time.unwrap_or(0),
        memory: doc.memory.clone(),
        tag: None,
        disks: doc.disks.clone(),
        revert_disks: doc.revert_disks.clone(),
        frozen: Vec::new(),
    }
}

#[test]
fn a_document_larger_than_the_limit_is_refused_before_it_is_read() {
    let limits = Limits { bytes: 40, ..Limits::default() };
    let error = parse(FULL, Form::Redefine, &limits).expect_err("too large").to_string();
    assert_eq!(error, format!("XML error: document of {} bytes is larger than the limit of 40 bytes", FULL.len()));
}

#[test]
fn a_document_of_countless_levels_is_refused_without_harm() {
    let deep = format!("<domainsnapshot>{}", "<a>".repeat(1 << 20));
    let error = parse(&deep, Form::Redefine, &Limits::default()).expect_err("too deep").to_string();
    assert!(error.starts_with("at line 1: Excessive depth in document: 256\n"), "{error}");
}

#[test]
fn a_legacy_snapshot_and_libvirts_own_file_form_can_be_written() {
    let doc = parse(
        "<domainsnapshot><name>l</name><state>running</state><creationTime>1</creationTime><active>1</active></domainsnapshot>",
        Form::Redefine,
        &Limits::default(),
    )
    .expect("good");
    assert_eq!(doc.active, Some(true));
    let output = Output { secure: true, domain: Some(DomainId(uuid::Uuid::nil())), active: doc.active };
    let written = format_as(&snapshot(&doc), &doc.texts, output);
    assert!(
        written.ends_with(
            "  <domain>\n    <uuid>00000000-0000-0000-0000-000000000000</uuid>\n  </domain>\n  <active>1</active>\n</domainsnapshot>\n"
        ),
        "{written}"
    );
}

#[test]
fn a_moved_document_is_dumped_byte_for_byte() {
    for text in [FULL, RUNNING] {
        let doc = parse(text, Form::Redefine, &Limits::default()).expect("good");
        assert_eq!(format(&snapshot(&doc), &doc.texts, true), text);
    }
}

fn words() -> impl Strategy<Value = String> {
    "[ -~\t\n\réß<>&'\"]{0,20}"
}

fn disk() -> impl Strategy<Value = SnapshotDisk> {
    let locations =
        prop_oneof![Just(Location::No), Just(Location::Internal), Just(Location::External), Just(Location::Manual)];
    (
        words(),
        locations,
        any::<bool>(),
        proptest::option::of(words()),
        any::<bool>(),
        proptest::option::of(1u64..),
        any::<bool>(),
    )
        .prop_map(|(name, location, block, path, format, cache, delete)| SnapshotDisk {
            name,
            location: Some(location),
            // Without a source nothing says which type it was.
            source_type: if block && path.is_some() { SourceType::Block } else { SourceType::File },
            metadata_cache: cache.filter(|_| format || path.is_some()),
            source: path.map(|p| format!("/{p}").into()),
            format: format.then(|| "qcow2".to_owned()),
            source_verbatim: None,
            delete_in_progress: delete,
        })
}

proptest! {
    #[test]
    fn what_is_written_reads_back_as_the_same(
        name in words().prop_filter("a name", |n| !n.is_empty()),
        description in proptest::option::of(words().prop_filter("not empty", |d| !d.is_empty())),
        parent in proptest::option::of(words().prop_filter("not empty", |d| !d.is_empty())),
        time in any::<i64>().prop_filter("not 0", |t| *t != 0),
        memory in proptest::option::of(words()),
        disks in proptest::collection::vec(disk(), 0..4),
        revert_disks in proptest::collection::vec(disk(), 0..2),
    ) {
        let written = SnapshotDoc {
            name: Some(name),
            description,
            parent,
            state: Some(SnapshotState::Running),
            creation_time: Some(time),
            memory: memory.map_or(Memory::Internal, |m| Memory::External(format!("/{m}").into())),
            tag: None,
            disks,
            revert_disks,
            texts: SnapshotTexts::default(),
            active: None,
        };
        let text = format(&snapshot(&written), &written.texts, true);
        let read = parse(&text, Form::Redefine, &Limits::default()).expect("reads");
        prop_assert_eq!(read, written, "{}", text);
    }

    #[test]
    fn no_input_panics_and_what_is_accepted_can_be_written_and_read_again(
        text in prop_oneof![Just(FULL), Just(RUNNING), Just(SOURCES)],
        cuts in proptest::collection::vec((any::<prop::sample::Index>(), "[<>/='\"& a-z!\\[\\]é\n-]{0,6}"), 0..4),
        form in prop_oneof![
            Just(Form::Redefine), Just(Form::Create { offline: true }), Just(Form::Create { offline: false })
        ],
    ) {
        let mut xml = text.to_owned();
        for (at, junk) in cuts {
            let mut start = at.index(xml.len());
            while !xml.is_char_boundary(start) { start -= 1; }
            let end = (start + junk.len()).min(xml.len());
            if xml.is_char_boundary(end) { xml.replace_range(start..end, &junk); }
        }
        if let Ok(doc) = parse(&xml, form, &Limits::default()) {
            let once = format(&snapshot(&doc), &doc.texts, true);
            let again = parse(&once, form, &Limits::default()).expect("reads again");
            prop_assert_eq!(format(&snapshot(&again), &again.texts, true), once);
        }
    }

    #[test]
    fn no_bytes_at_all_panic(text in "\\PC{0,60}|[<>/='\"&;!?\\[\\]a \n-]{0,60}") {
        let _ = parse(&text, Form::Redefine, &Limits::default());
        let _ = indent::embed(&text, 2);
    }
}

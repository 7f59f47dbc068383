#![allow(clippy::unwrap_used)]
use super::*;
use crate::model::ids::{DomainId, Instance, OpId, SnapshotName};
use crate::model::snapshot::{Memory, Snapshot, SnapshotDisk, SnapshotState, SnapshotTexts};
use crate::plan::steps::{Change, Commit, CurrentChange, LiveChange, Note, OpKind, Plan, PutSnapshot};
use std::time::{Duration, Instant};
use uuid::Uuid;

const ID: DomainId = DomainId(Uuid::from_u128(7));

fn domain() -> DomainRow {
    DomainRow {
        id: ID,
        name: "guest".into(),
        persistent: true,
        autostart: false,
        inactive_xml: Some("<domain/>".into()),
        live: None,
        saved: None,
        reason: 1,
    }
}

fn snapshot(name: &str) -> PutSnapshot {
    let snapshot = Snapshot {
        name: name.into(),
        description: None,
        parent: None,
        state: SnapshotState::Running,
        creation_time: 1,
        memory: Memory::Default,
        tag: None,
        disks: vec![SnapshotDisk::named("vda")],
        revert_disks: Vec::new(),
        frozen: Vec::new(),
    };
    PutSnapshot {
        snapshot,
        texts: Some(SnapshotTexts { domain: Some(format!("<domain name='{name}'/>")), ..Default::default() }),
    }
}

fn put(names: &[&str]) -> Change {
    let current = names.last().map(|n| CurrentChange::Set((*n).into()));
    Change { put: names.iter().map(|n| snapshot(n)).collect(), current, ..Default::default() }
}

fn plan(op: OpId) -> Plan {
    Plan {
        op,
        kind: OpKind::Create,
        domain: ID,
        snapshot: "s".into(),
        prepare: Vec::new(),
        commit: Commit::Publish(Box::default()),
        settle: Vec::new(),
    }
}

fn dir() -> (tempfile::TempDir, Utf8PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = Utf8PathBuf::from_path_buf(dir.path().join("state")).unwrap();
    (dir, path)
}

fn names(store: &Store) -> (Vec<String>, Option<String>) {
    let (all, current) = store.snapshots(ID).unwrap();
    (all.into_iter().map(|s| s.name.0).collect(), current.map(|c| c.0))
}

#[test]
fn everything_is_there_after_a_reopen() {
    let (_keep, dir) = dir();
    let live = LiveRow { instance: Instance(Uuid::from_u128(9)), number: 4, xml: "<domain id='4'/>".into() };
    {
        let store = Store::open(&dir, "qemu").unwrap();
        store.put_domain(&domain()).unwrap();
        store.apply(ID, &put(&["a", "b"])).unwrap();
        store.set_live(ID, Some(&live)).unwrap();
        store.set_autostart(ID, true).unwrap();
        store.set_reason(ID, 3).unwrap();
        store.begin(&plan(store.new_op().unwrap())).unwrap();
    }
    let store = Store::open(&dir, "qemu").unwrap();
    let row = DomainRow { live: Some(live), autostart: true, reason: 3, ..domain() };
    assert_eq!(store.domains().unwrap(), vec![row]);
    assert_eq!(names(&store), (vec!["a".into(), "b".into()], Some("b".into())));
    assert_eq!(store.texts(ID, &"a".into()).unwrap().domain.unwrap(), "<domain name='a'/>");
    assert_eq!(store.open_ops().unwrap()[0].phase, Phase::Preparing);
    assert!(store.new_op().unwrap() > store.open_ops().unwrap()[0].plan.op);
    assert_eq!(store.next_number().unwrap(), 5);
    assert!(store.for_driver("xen").domains().unwrap().is_empty());
    assert!(store.for_driver("xen").open_ops().unwrap().is_empty());
}

#[test]
fn a_newer_schema_is_refused_and_the_file_left_as_it_is() {
    let (_keep, dir) = dir();
    drop(Store::open(&dir, "qemu").unwrap());
    let path = dir.join("virsnap.db");
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let before = std::fs::read(&path).unwrap();
    let error = Store::open(&dir, "qemu").err().unwrap().to_string();
    assert!(error.contains("newer virsnap (schema 99"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn a_newer_schema_that_is_still_in_the_wal_is_refused_too() {
    let (_keep, dir) = dir();
    drop(Store::open(&dir, "qemu").unwrap());
    let path = dir.join("virsnap.db");
    let other = Connection::open(&path).unwrap();
    other.pragma_update(None, "user_version", 99).unwrap();
    let files = || ["virsnap.db", "virsnap.db-wal"].map(|f| std::fs::read(dir.join(f)).unwrap());
    let before = files();
    assert!(Store::open(&dir, "qemu").is_err());
    assert_eq!(files(), before);
}

#[test]
fn a_file_that_is_no_database_is_named_in_the_error() {
    let (_keep, dir) = dir();
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("virsnap.db"), "x".repeat(59)).unwrap();
    let error = Store::open(&dir, "qemu").err().unwrap().to_string();
    assert!(error.contains("virsnap.db"), "{error}");
}

#[test]
fn an_empty_file_of_an_interrupted_first_start_is_migrated() {
    let (_keep, dir) = dir();
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("virsnap.db"), "").unwrap();
    assert!(Store::open(&dir, "qemu").unwrap().domains().unwrap().is_empty());
}

#[test]
fn a_second_daemon_is_told_who_has_the_directory() {
    let (_keep, dir) = dir();
    let first = Store::open(&dir, "qemu").unwrap();
    let error = Store::open(&dir, "qemu").err().unwrap().to_string();
    assert_eq!(
        error,
        format!(
            "operation failed: state directory '{dir}' is in use by another virsnapd (process {})",
            std::process::id()
        )
    );
    drop(first);
    Store::open(&dir, "qemu").unwrap();
}

#[test]
fn the_state_is_nobody_elses_to_read() {
    use std::os::unix::fs::PermissionsExt;
    let (_keep, dir) = dir();
    let _store = Store::open(&dir, "qemu").unwrap();
    let mode = |p: &Utf8Path| std::fs::metadata(p).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&dir), mode(&dir.join("virsnap.db"))), (0o700, 0o600));
}

#[test]
fn a_change_is_made_whole_or_not_at_all() {
    let store = Store::in_memory().unwrap();
    store.put_domain(&domain()).unwrap();
    store.apply(ID, &put(&["a"])).unwrap();
    // The row of op 5 is not there, so the transaction fails after the change was made in it.
    store.commit_publish(OpId(5), ID, &put(&["b"])).unwrap_err();
    store.publish_step(OpId(5), ID, &put(&["b"]), 1).unwrap_err();
    assert_eq!(names(&store), (vec!["a".into()], Some("a".into())));
}

#[test]
fn a_refusing_gate_keeps_the_write_from_happening() {
    let store = Store::in_memory().unwrap();
    store.put_domain(&domain()).unwrap();
    let gated = store.gated(Arc::new(|_| Err(Error::internal("no"))));
    gated.apply(ID, &put(&["a"])).unwrap_err();
    assert!(names(&store).0.is_empty());
}

#[test]
fn a_replaced_snapshot_keeps_its_place_and_its_texts() {
    let store = Store::in_memory().unwrap();
    store.put_domain(&domain()).unwrap();
    store.apply(ID, &put(&["a", "b", "c"])).unwrap();
    let mut again = snapshot("a");
    again.snapshot.description = Some("new".into());
    again.texts = None;
    store.apply(ID, &Change { put: vec![again], remove: vec!["c".into()], ..Default::default() }).unwrap();
    let (all, current) = store.snapshots(ID).unwrap();
    assert_eq!(all.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(all[0].description.as_deref(), Some("new"));
    assert_eq!(current, None, "the current one was removed");
    assert!(store.texts(ID, &"a".into()).unwrap().domain.is_some());
    assert_eq!(store.texts(ID, &"c".into()).unwrap_err().code, Code::NoDomainSnapshot);
}

#[test]
fn a_change_for_a_domain_that_is_gone_still_moves_its_journal_row() {
    let store = Store::in_memory().unwrap();
    let op = store.new_op().unwrap();
    store.begin(&plan(op)).unwrap();
    store.note(op, 0, &Note { device: 1, inode: u64::MAX }).unwrap();
    let change = Change { owned: vec![("/x".into(), true)], live: LiveChange::Clear, ..put(&["a"]) };
    store.commit_publish(op, ID, &change).unwrap();
    store.publish_step(op, ID, &change, 2).unwrap();
    let row = store.open_ops().unwrap().remove(0);
    assert_eq!(
        (row.phase, row.settled, row.notes),
        (Phase::Settling, 2, vec![(0, Note { device: 1, inode: u64::MAX })])
    );
    store.close(op).unwrap();
    assert!(store.open_ops().unwrap().is_empty());
    assert!(store.new_op().unwrap() > op);
}

#[test]
fn the_live_definition_is_edited_only_for_its_own_hypervisor() {
    let store = Store::in_memory().unwrap();
    store.put_domain(&domain()).unwrap();
    let (old, new) = (Instance(Uuid::from_u128(1)), Instance(Uuid::from_u128(2)));
    let live = |change| {
        store.apply(ID, &Change { live: change, ..Default::default() }).unwrap();
        store.domains().unwrap()[0].live.as_ref().map(|l| (l.instance, l.number, l.xml.clone()))
    };
    let set = LiveChange::Set { instance: new, xml: "n".into() };
    assert_eq!(live(set.clone()), Some((new, 1, "n".into())));
    assert_eq!(live(LiveChange::Edit { instance: old, xml: "x".into() }), Some((new, 1, "n".into())));
    assert_eq!(live(LiveChange::Edit { instance: new, xml: "e".into() }), Some((new, 1, "e".into())));
    assert_eq!(live(set), Some((new, 1, "n".into())), "repeated: the same number");
    assert_eq!(live(LiveChange::Clear), None);
}

#[test]
fn a_removed_domain_takes_its_snapshots_and_files_with_it() {
    let store = Store::in_memory().unwrap();
    store.put_domain(&domain()).unwrap();
    store.apply(ID, &Change { owned: vec![("/x".into(), true), ("/y".into(), true)], ..put(&["a"]) }).unwrap();
    store.apply(ID, &Change { owned: vec![("/x".into(), false)], ..Default::default() }).unwrap();
    assert_eq!(store.owned(ID).unwrap().into_iter().collect::<Vec<_>>(), ["/y"]);
    store.remove_domain(ID).unwrap();
    store.put_domain(&domain()).unwrap();
    assert!(names(&store).0.is_empty());
    assert!(store.owned(ID).unwrap().is_empty());
}

#[test]
fn ten_thousand_snapshots_are_written_and_read_in_a_moment() {
    let (_keep, dir) = dir();
    let store = Store::open(&dir, "qemu").unwrap();
    store.put_domain(&domain()).unwrap();
    let many: Vec<String> = (0..10_000).map(|i| format!("s{i}")).collect();
    let began = Instant::now();
    store.apply(ID, &put(&many.iter().map(String::as_str).collect::<Vec<_>>())).unwrap();
    assert_eq!(store.snapshots(ID).unwrap().0.len(), 10_000);
    // Order of magnitude only: a debug build on a loaded machine.
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    let began = Instant::now();
    store.apply(ID, &Change { remove: vec!["s5".into()], ..Default::default() }).unwrap();
    assert!(store.texts(ID, &SnapshotName::from("s9999")).unwrap().domain.is_some());
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

#[test]
fn reads_do_not_wait_for_a_writer() {
    let (_keep, dir) = dir();
    let store = Store::open(&dir, "qemu").unwrap();
    store.put_domain(&domain()).unwrap();
    let _writing = hold(&store.shared.writer);
    assert_eq!(store.domains().unwrap().len(), 1);
    assert!(names(&store).0.is_empty());
}

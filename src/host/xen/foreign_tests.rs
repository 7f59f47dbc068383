//! Foreign records as real files. What only root can own is tested by root only.

use super::*;
use crate::model::snapshot::SnapshotState;
use crate::xml::scan::Limits;
use crate::xml::snapshot::{Form as XmlForm, SnapshotDoc, parse};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

const ID: DomainId = DomainId(uuid::Uuid::from_u128(0x0dd0_0dd0_0002_4000_8000_0000_0000_0002));

/// A domain with two disks: `xvda` is two overlays on a base, `xvdb` one image with the tag `tagged`.
struct Scene {
    _temp: tempfile::TempDir,
    root: Utf8PathBuf,
    dir: Utf8PathBuf,
    chains: Vec<Chain>,
    xml: String,
}

/// Past the harness, which keeps what a test prints to itself.
fn skipped(why: &str) {
    let thread = std::thread::current();
    writeln!(std::io::stderr(), "SKIPPED {}: {why}", thread.name().unwrap_or_default()).unwrap();
}

fn img(args: &[&str]) {
    assert!(Command::new("qemu-img").args(args).status().unwrap().success(), "qemu-img {args:?}");
}

impl Scene {
    /// `None`, said so, without root.
    fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            skipped("only root can write a record of root's; run this test as root");
            return None;
        }
        let temp = tempfile::tempdir().unwrap();
        let root = Utf8PathBuf::from_path_buf(temp.path().canonicalize().unwrap()).unwrap();
        let dir = root.join(ID.to_string());
        std::fs::create_dir(&dir).unwrap();
        std::fs::set_permissions(&dir, PermissionsExt::from_mode(0o700)).unwrap();
        let at = |name: &str| root.join(name).into_string();
        img(&["create", "-q", "-f", "qcow2", &at("base"), "1M"]);
        img(&["create", "-q", "-f", "qcow2", "-b", &at("base"), "-F", "qcow2", &at("middle")]);
        img(&["create", "-q", "-f", "qcow2", "-b", &at("middle"), "-F", "qcow2", &at("top")]);
        img(&["create", "-q", "-f", "qcow2", &at("data"), "1M"]);
        img(&["snapshot", "-c", "tagged", &at("data")]);
        let image = |name: &str| Image { path: root.join(name), format: "qcow2".into() };
        let chains = vec![
            Chain { target: "xvda".into(), images: ["top", "middle", "base"].map(image).to_vec() },
            Chain { target: "xvdb".into(), images: vec![image("data")] },
        ];
        let disk = |file: &str, target: &str| {
            format!(
                "<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='{}'/>\
                 <target dev='{target}' bus='xen'/></disk>",
                at(file)
            )
        };
        let xml = format!(
            "<domain type='xen'><name>g</name><uuid>{ID}</uuid><memory>131072</memory><os><type>linux</type></os>\
             <devices>{}{}<disk type='file' device='cdrom'><target dev='hdc' bus='ide'/></disk></devices></domain>",
            disk("top", "xvda"),
            disk("data", "xvdb"),
        );
        let scene = Self { _temp: temp, root, dir, chains, xml };
        scene.file("s.save", "memory");
        Some(scene)
    }

    fn file(&self, name: &str, text: &str) -> Utf8PathBuf {
        let path = self.dir.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        path
    }

    fn owner<'a>(&'a self, snapshots: &'a BTreeSet<SnapshotName>) -> Owner<'a> {
        Owner { id: ID, xml: &self.xml, chains: &self.chains, snapshots }
    }

    fn all(&self) -> Vec<Foreign> {
        foreign(&self.dir, &self.owner(&BTreeSet::new())).unwrap()
    }

    /// The document of the only record there is, read as a redefinition; or the reason, paths shortened.
    fn judge(&self) -> Result<SnapshotDoc, String> {
        match <[Foreign; 1]>::try_from(self.all()).unwrap() {
            [Foreign::Usable { document, name, .. }] => {
                let doc = parse(&document, XmlForm::Redefine, &Limits::default()).unwrap();
                assert_eq!(doc.name.as_deref(), Some(name.as_str()));
                Ok(doc)
            }
            [Foreign::Refused { reason, .. }] => {
                Err(reason.to_string().replace(self.dir.as_str(), "DIR").replace(self.root.as_str(), "ROOT"))
            }
        }
    }

    fn json(&self, text: &str) -> Result<SnapshotDoc, String> {
        let text = text.replace("ROOT", self.root.as_str()).replace("DIR", self.dir.as_str());
        let file = self.file("snapshotdata-s.libxl-json", &text);
        let judged = self.judge();
        std::fs::remove_file(file).unwrap();
        judged
    }
}

fn frozen(doc: &SnapshotDoc) -> Vec<String> {
    let frozen = domain::frozen_disks(doc.texts.domain.as_deref().unwrap()).unwrap();
    frozen.into_iter().filter_map(|f| Some(f.image?.path.file_name()?.to_owned())).collect()
}

fn disks(doc: &SnapshotDoc) -> Vec<(&str, &str, Option<&str>)> {
    let row = |d: &'_ SnapshotDisk| d.location.map_or("", Location::as_str);
    doc.disks.iter().map(|d| (d.name.as_str(), row(d), d.source.as_ref().and_then(|s| s.file_name()))).collect()
}

#[test]
fn an_overlay_of_the_chain_with_memory_is_a_redefinition() {
    let Some(scene) = Scene::new() else { return };
    scene.file("xvdb.ovl", "");
    img(&[
        "create",
        "-q",
        "-f",
        "qcow2",
        "-b",
        scene.root.join("data").as_str(),
        "-F",
        "qcow2",
        scene.dir.join("xvdb.ovl").as_str(),
    ]);
    let doc = scene
        .json(
            r#"{"name": "s", "description": "a<b", "creation_time": 1400000000, "save": "DIR/../0dd00dd0-0002-4000-8000-000000000002/s.save",
            "state": {"blocked": true}, "unknown": [1],
            "disks": [{"device": "xvda", "file": "ROOT/middle"}, {"device": "xvdb", "file": "xvdb.ovl", "format": "qcow2"}]}"#,
        )
        .unwrap();
    assert_eq!((doc.state, doc.creation_time), (Some(SnapshotState::Running), Some(1_400_000_000)));
    assert_eq!(doc.memory, Memory::External(scene.dir.join("s.save")));
    assert_eq!(doc.description.as_deref(), Some("a<b"));
    assert_eq!(disks(&doc), [("xvda", "external", Some("middle")), ("xvdb", "external", Some("xvdb.ovl"))]);
    assert_eq!(frozen(&doc), ["base", "data"]);
}

#[test]
fn a_tag_is_found_in_its_image_and_overlays_alone_need_not_be_all() {
    let Some(scene) = Scene::new() else { return };
    img(&["snapshot", "-c", "s", scene.root.join("middle").as_str()]);
    img(&["snapshot", "-c", "s", scene.root.join("data").as_str()]);
    let doc = scene.json(r#"{"name": "s", "disks": [{"device": "xvda", "name": "s"}, {"device": "xvdb"}]}"#).unwrap();
    assert_eq!(doc.state, Some(SnapshotState::Shutoff));
    assert_eq!(disks(&doc), [("xvda", "internal", None), ("xvdb", "internal", None)]);
    assert_eq!(frozen(&doc), ["middle", "data"]);
    // Without a time it was taken when the record was written.
    assert!(doc.creation_time > Some(1_700_000_000));
    let doc =
        scene.json(r#"{"name": "s", "state": {"running": true}, "disks": [{"device": "xvda", "file": "ROOT/top"}]}"#);
    let doc = doc.unwrap();
    assert_eq!(doc.state, Some(SnapshotState::DiskSnapshot));
    assert_eq!(disks(&doc), [("xvda", "external", Some("top")), ("xvdb", "no", None)]);
    assert_eq!(frozen(&doc), ["middle", "data"]);
}

#[test]
fn the_older_form_says_the_same() {
    let Some(scene) = Scene::new() else { return };
    img(&["snapshot", "-c", "s", scene.root.join("data").as_str()]);
    let text = format!(
        "name = 's'\ncreationtime = \"1400000000\"\nsave = 's.save'\ntype = 'external'\nstate = 'paused'\n\
         disk = [ 'xvda={}/top,type=qcow2', 'xvdb' ]\n",
        scene.root
    );
    scene.file("snapshotdata-s.xl", &text);
    let doc = scene.judge().unwrap();
    assert_eq!((doc.state, doc.creation_time), (Some(SnapshotState::Paused), Some(1_400_000_000)));
    assert_eq!(disks(&doc), [("xvda", "external", Some("top")), ("xvdb", "internal", None)]);
    // Two records of one name are one snapshot, and a snapshot that is there is no other.
    scene.file(
        "snapshotdata-s.libxl-json",
        &format!(r#"{{"name": "s", "disks": [{{"device": "xvda", "file": "{}/top"}}]}}"#, scene.root),
    );
    let reasons = |found: Vec<Foreign>| -> Vec<Option<Reason>> {
        found.into_iter().map(|f| if let Foreign::Refused { reason, .. } = f { Some(reason) } else { None }).collect()
    };
    assert_eq!(reasons(scene.all()), [None, Some(Reason::Exists)]);
    let there = BTreeSet::from(["s".into()]);
    let found = foreign(&scene.dir, &scene.owner(&there)).unwrap();
    assert_eq!(reasons(found), [Some(Reason::Exists), Some(Reason::Exists)]);
    for (text, told) in [
        ("name = 's", "it is not understood: 1:8: a string that does not end on its line"),
        ("name = 3", "it is not understood: 1:8: 'name' has a value of another kind"),
        ("state = 'odd'", "it is not understood: 1:9: 'state' has a value of another kind"),
        ("disk = [ 'a,b' ]", "it is not understood: 1:10: 'b' of disk 'a' is not understood"),
        ("state = 'dying'\ndisk = ['xvdb']", "its state and its memory contradict each other"),
    ] {
        std::fs::remove_file(scene.dir.join("snapshotdata-s.libxl-json")).ok();
        scene.file("snapshotdata-s.xl", text);
        assert_eq!(scene.judge().map(|_| ()), Err(told.to_owned()), "{text}");
    }
}

#[test]
fn a_record_that_names_anything_else_is_refused_with_the_reason() {
    let Some(scene) = Scene::new() else { return };
    scene.file("plain", "no image");
    std::fs::write(scene.root.join("secret"), "x").unwrap();
    symlink(scene.root.join("secret"), scene.dir.join("link.save")).unwrap();
    symlink(&scene.root, scene.dir.join("up")).unwrap();
    img(&["create", "-q", "-f", "qcow2", scene.root.join("stranger").as_str(), "1M"]);
    let on = |base: &str, name: &str| {
        let args = [
            "create",
            "-q",
            "-f",
            "qcow2",
            "-F",
            "qcow2",
            "-b",
            scene.root.join(base).as_str(),
            scene.dir.join(name).as_str(),
        ]
        .map(str::to_owned);
        img(&args.each_ref().map(String::as_str));
    };
    on("stranger", "on-stranger");
    on("data", "on-data");
    std::fs::create_dir(scene.dir.join("d.save")).unwrap();
    scene.file("theirs.save", "m");
    std::os::unix::fs::chown(scene.dir.join("theirs.save"), Some(1), None).unwrap();
    scene.file("open.save", "m");
    std::fs::set_permissions(scene.dir.join("open.save"), PermissionsExt::from_mode(0o666)).unwrap();
    let outside =
        |path: &str| format!("'{path}' is neither in the chain of that disk nor below the domain's directory");
    let deep = format!(r#"{{"name": "s", "x": {}{}}}"#, "[".repeat(200), "]".repeat(200));
    let many = format!(r#"{{"name": "s", "disks": [{}]}}"#, vec![r#"{"device": "xvda"}"#; 257].join(","));
    let large = " ".repeat(1 << 21);
    for (text, told) in [
        ("", "it is not understood: EOF while parsing a value at line 1 column 0".to_owned()),
        (deep.as_str(), "it is not understood: recursion limit exceeded at line 1 column 146".to_owned()),
        (&large, "it is too large, or no UTF-8 text".to_owned()),
        (&many, "it names more than 256 disks".to_owned()),
        (r#"{"name": "t", "save": "s.save"}"#, "its file does not bear its name 't'".to_owned()),
        (r#"{"name": "s"}"#, "it names neither memory nor a disk".to_owned()),
        (r#"{"name": "s", "save": "s.save"}"#, "its state and its memory contradict each other".to_owned()),
        (
            r#"{"name": "s", "state": {"paused": true}, "save": "s.save"}"#,
            "it says nothing of disk 'xvda', which belongs to it".to_owned(),
        ),
        (
            r#"{"name": "s", "disks": [{"device": "xvdb", "name": "tagged"}]}"#,
            "the tag 'tagged' of disk 'xvdb' is not the snapshot's name".to_owned(),
        ),
        (
            r#"{"name": "s", "disks": [{"device": "xvdb"}]}"#,
            "no image in the chain of disk 'xvdb' has the tag 's'".to_owned(),
        ),
        (r#"{"name": "s", "disks": [{"device": "xvdz"}]}"#, "the domain has no disk 'xvdz'".to_owned()),
        (
            r#"{"name": "s", "disks": [{"device": "hdc", "file": "ROOT/top"}]}"#,
            "the domain has no disk 'hdc'".to_owned(),
        ),
        (
            r#"{"name": "s", "disks": [{"device": "xvda", "file": "ROOT/top"}, {"device": "xvda"}]}"#,
            "it names disk 'xvda' twice".to_owned(),
        ),
        (
            r#"{"name": "s", "disks": [{"device": "xvda", "file": "ROOT/base"}]}"#,
            "'ROOT/base' does not lie on an image in the chain of disk 'xvda'".to_owned(),
        ),
        (r#"{"name": "s", "disks": [{"device": "xvda", "file": "ROOT/data"}]}"#, outside("ROOT/data")),
        (r#"{"name": "s", "disks": [{"device": "xvda", "file": "up/data"}]}"#, outside("up/data")),
        (r#"{"name": "s", "disks": [{"device": "xvda", "file": "ROOT/stranger"}]}"#, outside("ROOT/stranger")),
        (
            r#"{"name": "s", "disks": [{"device": "xvda", "file": "on-stranger"}]}"#,
            "'DIR/on-stranger' does not lie on an image in the chain of disk 'xvda'".to_owned(),
        ),
        (
            r#"{"name": "s", "disks": [{"device": "xvda", "file": "on-data"}]}"#,
            "'DIR/on-data' does not lie on an image in the chain of disk 'xvda'".to_owned(),
        ),
        (
            r#"{"name": "s", "disks": [{"device": "xvda", "file": "plain"}]}"#,
            "'DIR/plain' is no overlay of disk 'xvda': internal error: invalid image 'DIR/plain': not qcow2 but raw"
                .to_owned(),
        ),
        (
            r#"{"name": "s", "disks": [{"device": "xvda", "file": "plain", "format": "raw"}]}"#,
            "'DIR/plain' is no overlay of disk 'xvda': its format is raw".to_owned(),
        ),
        (
            r#"{"name": "s", "disks": [{"device": "xvda", "file": "gone"}]}"#,
            "'DIR/gone': No such file or directory".to_owned(),
        ),
        (r#"{"name": "s", "state": {"paused": true}, "save": "/etc/shadow"}"#, outside("/etc/shadow")),
        (r#"{"name": "s", "state": {"paused": true}, "save": "../secret"}"#, outside("../secret")),
        (r#"{"name": "s", "state": {"paused": true}, "save": "link.save"}"#, outside("link.save")),
        (r#"{"name": "s", "state": {"paused": true}, "save": "ROOT/top"}"#, outside("ROOT/top")),
        (
            r#"{"name": "s", "state": {"paused": true}, "save": "d.save"}"#,
            "'DIR/d.save' is not a regular file".to_owned(),
        ),
        (
            r#"{"name": "s", "state": {"paused": true}, "save": "theirs.save"}"#,
            "'DIR/theirs.save' is owned by user 1, not by root".to_owned(),
        ),
        (
            r#"{"name": "s", "state": {"paused": true}, "save": "open.save"}"#,
            "'DIR/open.save' can be written by others than root (mode 0666)".to_owned(),
        ),
    ] {
        assert_eq!(scene.json(text).map(|_| ()), Err(told), "{text:.200}");
    }
}

#[test]
fn only_a_regular_file_that_root_alone_can_write_counts() {
    let Some(scene) = Scene::new() else { return };
    let text = format!(r#"{{"name": "s", "disks": [{{"device": "xvda", "file": "{}/top"}}]}}"#, scene.root);
    let file = scene.file("snapshotdata-s.libxl-json", &text);
    let mode = |path: &Utf8Path, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    let told = || scene.judge().map(|_| ()).unwrap_err();
    assert!(scene.judge().is_ok());
    mode(&file, 0o620);
    assert_eq!(told(), "'DIR/snapshotdata-s.libxl-json' can be written by others than root (mode 0620)");
    mode(&file, 0o644);
    assert!(scene.judge().is_ok());
    mode(&scene.dir, 0o1777);
    assert_eq!(told(), "'DIR' can be written by others than root (mode 1777)");
    mode(&scene.dir, 0o755);
    std::os::unix::fs::chown(&file, Some(1), None).unwrap();
    assert_eq!(told(), "'DIR/snapshotdata-s.libxl-json' is owned by user 1, not by root");
    std::fs::rename(&file, scene.dir.join("x")).unwrap();
    symlink(scene.dir.join("x"), &file).unwrap();
    assert_eq!(told(), "'DIR/snapshotdata-s.libxl-json' is not a regular file");
    std::fs::remove_file(&file).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, file.as_std_path(), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    assert_eq!(told(), "'DIR/snapshotdata-s.libxl-json' is not a regular file");
}

#[test]
fn our_own_records_are_not_foreign_until_somebody_changes_them() {
    let temp = tempfile::tempdir().unwrap();
    let dir = Utf8PathBuf::from_path_buf(temp.path().join("d")).unwrap();
    let xml = "<domain type='xen'><name>g</name><memory>1</memory><os><type>linux</type></os></domain>";
    let none = BTreeSet::new();
    let owner = Owner { id: ID, xml, chains: &[], snapshots: &none };
    assert_eq!(foreign(&dir, &owner).unwrap(), []);
    let record = Record { name: "s".into(), ..Record::default() };
    assert_eq!(record::write(&dir, ID, &record).unwrap(), record::Outcome::Written);
    assert_eq!(foreign(&dir, &owner).unwrap(), []);
    let file = dir.join("snapshotdata-s.libxl-json");
    let text = std::fs::read_to_string(&file).unwrap();
    let refused = |reason| vec![Foreign::Refused { name: "s".into(), file: file.clone(), reason }];
    std::fs::write(&file, text.replace("\"running\": false", "\"running\": true")).unwrap();
    assert_eq!(foreign(&dir, &owner).unwrap(), refused(Reason::Altered));
    std::fs::write(&file, &text).unwrap();
    let moved = Owner { id: DomainId(uuid::Uuid::from_u128(9)), ..owner };
    assert_eq!(foreign(&dir, &moved).unwrap(), refused(Reason::Altered));
}

#[test]
fn without_root_no_record_is_taken_in() {
    if rustix::process::geteuid().is_root() {
        skipped("run this test as another user than root");
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let dir = Utf8PathBuf::from_path_buf(temp.path().to_owned()).unwrap();
    std::fs::write(dir.join("snapshotdata-s.xl"), "save = '/etc/shadow'").unwrap();
    let xml = "<domain type='xen'><name>g</name><memory>1</memory><os><type>linux</type></os></domain>";
    let none = BTreeSet::new();
    let found = foreign(&dir, &Owner { id: ID, xml, chains: &[], snapshots: &none }).unwrap();
    let not_roots = |f: &Foreign| matches!(f, Foreign::Refused { reason: Reason::NotRoots { .. }, .. });
    assert!(found.len() == 1 && found.iter().all(not_roots), "{found:?}");
}

//! `virsnap` where virsh is no model: what it leaves behind when an edit is refused, what it says to programs, to shells, and
//! to services that can more or less than libvirt's.

mod services;

use super::TEST;
use super::api::ox;
use super::bus::{Bus, Daemon};
use serde_json::{Value, json};
use std::path::Path;

/// Exit code, standard output and standard error.
async fn virsnap(bus: &Bus, editor: &str, words: &[&str]) -> (i32, String, String) {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_virsnap"));
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("TMPDIR", bus.dir.path());
    command.env("EDITOR", editor).env("TZ", "UTC").stdin(std::process::Stdio::null());
    let done = command.args(["--bus", &bus.address(), "--driver", "test"]).args(words).output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (done.status.code().unwrap(), text(done.stdout), text(done.stderr))
}

/// A daemon with the domain `ox`, and an editor that does what `sed` is told.
async fn with_ox(bus: &Bus, sed: &str) -> (Daemon, String) {
    let daemon = Daemon::start(bus);
    bus.client().await.call(TEST, super::CONNECT, "DomainDefineXML", &ox()).await.unwrap();
    (daemon, executable(bus.dir.path(), &format!("#!/bin/sh\nsed -i '{sed}' \"$1\"\n")))
}

fn executable(dir: &Path, script: &str) -> String {
    use std::os::unix::fs::PermissionsExt;
    let editor = dir.join("editor");
    std::fs::write(&editor, script).unwrap();
    std::fs::set_permissions(&editor, std::fs::Permissions::from_mode(0o755)).unwrap();
    editor.to_str().unwrap().to_owned()
}

/// The edited documents that were left behind.
fn drafts(dir: &Path) -> Vec<String> {
    let names = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    names.filter(|n| n.starts_with("virsnap") && n.ends_with(".xml")).collect()
}

#[tokio::test]
async fn an_edit_that_is_refused_is_kept() {
    for (sed, why) in [
        ("s/<state>/<stat>/", "error: at line "),
        ("s/<name>one</<name>two</", "error: Must use --rename or --clone to change one to two\n"),
    ] {
        let bus = Bus::start();
        let (_daemon, editor) = with_ox(&bus, sed).await;
        virsnap(&bus, "true", &["snapshot-create-as", "ox", "one"]).await;
        let (code, out, err) = virsnap(&bus, &editor, &["snapshot-edit", "ox", "one"]).await;
        assert_eq!((code, out.as_str()), (1, "\n"), "{err}");
        let (said, kept) =
            err.split_once("error: Failed to update one\nerror: The edited document is kept in '").unwrap();
        assert!(said.starts_with(why), "{said}");
        let kept = std::fs::read_to_string(kept.strip_suffix("'\n").unwrap()).unwrap();
        assert!(kept.contains("<stat>") || kept.contains("<name>two</name>"), "{kept}");
        assert_eq!(drafts(bus.dir.path()).len(), 1);
        let (_, names, _) = virsnap(&bus, "true", &["snapshot-list", "ox", "--name"]).await;
        assert_eq!(names, "one\n\n");
    }
}

#[tokio::test]
async fn an_edit_that_is_done_or_never_began_leaves_nothing() {
    let bus = Bus::start();
    let (_daemon, editor) = with_ox(&bus, "s/<name>one</<name>two</").await;
    virsnap(&bus, "true", &["snapshot-create-as", "ox", "one"]).await;
    let unchanged = (0, "Snapshot one XML configuration not changed.\n\n".to_owned(), String::new());
    assert_eq!(virsnap(&bus, "true", &["snapshot-edit", "ox", "one"]).await, unchanged);
    let (code, _, err) = virsnap(&bus, "false", &["snapshot-edit", "ox", "one"]).await;
    assert_eq!((code, err.lines().last()), (1, Some("error: Failed to update one")));
    // virsh says nothing of a rename that was done.
    let renamed = (0, "\n".to_owned(), String::new());
    assert_eq!(virsnap(&bus, &editor, &["snapshot-edit", "ox", "one", "--rename"]).await, renamed);
    let (_, names, _) = virsnap(&bus, "true", &["snapshot-list", "ox", "--name"]).await;
    assert_eq!((names.as_str(), drafts(bus.dir.path())), ("two\n\n", vec![]));
}

#[tokio::test]
async fn programs_read_json() {
    let bus = Bus::start();
    let (_daemon, _) = with_ox(&bus, "").await;
    let run = async |words: &[&str]| {
        let (code, out, err) = virsnap(&bus, "true", words).await;
        assert_eq!((code, err.as_str()), (0, ""), "{words:?}");
        serde_json::from_str::<Value>(&out).unwrap_or_else(|e| panic!("{words:?}: {e}: {out}"))
    };
    let uuid = "0dd0dd0d-0002-4000-8000-000000000002";
    let entry = json!({"id": null, "name": "ox", "uuid": uuid, "state": "shut off", "title": null});
    let all = run(&["list", "--all", "--json"]).await;
    assert!(all.as_array().unwrap().contains(&entry), "{all}");
    assert_eq!(run(&["domstate", "ox", "--json"]).await, json!({"state": "shut off", "reason": "unknown"}));
    let info = run(&["dominfo", "ox", "--json"]).await;
    for (key, value) in [("name", json!("ox")), ("cpus", json!(2)), ("persistent", json!(true)), ("id", Value::Null)] {
        assert_eq!(info[key], value, "{key}: {info}");
    }
    for (key, is_right) in [
        ("max_memory_kib", info["max_memory_kib"].is_u64()),
        ("used_memory_kib", info["used_memory_kib"].is_u64()),
        ("autostart", info["autostart"].is_boolean()),
        ("managed_save", info["managed_save"].is_boolean()),
        ("os_type", info["os_type"].is_string()),
    ] {
        assert!(is_right, "{key}: {info}");
    }
    assert_eq!(run(&["snapshot-list", "ox", "--json"]).await, json!([]));

    virsnap(
        &bus,
        "true",
        &["snapshot-create-as ox one 'of \"one\"'; snapshot-create-as ox two; snapshot-create-as ox three"],
    )
    .await;
    let snapshot = |name: &str, parent: Value, current: bool, description: Value| {
        json!({
            "name": name, "parent": parent, "current": current, "state": "shutoff", "location": "internal",
            "creation_time": "checked", "description": description,
        })
    };
    let timed = |mut value: Value| {
        assert!(value["creation_time"].as_i64().unwrap() > 1_700_000_000, "{value}");
        value["creation_time"] = json!("checked");
        value
    };
    let (one, two) =
        (snapshot("one", Value::Null, false, json!("of \"one\"")), snapshot("two", json!("one"), false, Value::Null));
    let three = snapshot("three", json!("two"), true, Value::Null);
    let listed = run(&["snapshot-list", "ox", "--json"]).await;
    let listed: Vec<Value> = listed.as_array().unwrap().iter().cloned().map(timed).collect();
    assert_eq!(listed, [one.clone(), three.clone(), two.clone()]);
    let leaves = run(&["snapshot-list", "ox", "--json", "--leaves"]).await;
    assert_eq!(leaves.as_array().unwrap().len(), 1);
    assert_eq!(timed(run(&["snapshot-current", "ox", "--json"]).await), three);
    assert_eq!(timed(run(&["snapshot-parent", "ox", "three", "--json"]).await), two);
    let mut info = one;
    let beyond = json!({"domain": "ox", "children": 1, "descendants": 2, "metadata": true});
    info.as_object_mut().unwrap().extend(beyond.as_object().unwrap().clone());
    assert_eq!(timed(run(&["snapshot-info", "ox", "one", "--json"]).await), info);
    let (code, out, err) = virsnap(&bus, "true", &["-q", "snapshot-parent", "ox", "one", "--json"]).await;
    assert_eq!((code, out.as_str(), err.as_str()), (1, "", "error: snapshot 'one' has no parent\n"));
}

#[tokio::test]
async fn a_domain_is_frozen_saved_and_started_again() {
    let bus = Bus::start();
    let _daemon = Daemon::start(&bus);
    let line =
        " Mountpoint   Name   Type   Target\n------------------------------------\n /            vda    ext4   vda\n\n";
    let none = "Domain 'test' has no manage save image; removal skipped\n";
    for (command, said) in [
        ("domfsinfo test", line),
        ("domfsfreeze test /", "Froze 1 filesystem(s)\n\n"),
        ("domfsthaw test", "Thawed 1 filesystem(s)\n\n"),
        ("managedsave-remove test", none),
        ("managedsave test --paused", "\nDomain 'test' state saved by libvirt\n\n"),
        ("domstate test --reason", "shut off (saved)\n\n"),
        ("list --all --managed-save", " Id   Name   State\n--------------------\n -    test   saved\n\n"),
        ("start test", "Domain 'test' started\n\n"),
        ("domstate test", "paused\n\n"),
        ("managedsave test", "\nDomain 'test' state saved by libvirt\n\n"),
        ("managedsave-remove test", "Removed managedsave image for domain 'test'\n"),
        ("managedsave-remove test", none),
    ] {
        assert_eq!(virsnap(&bus, "true", &[command]).await, (0, said.to_owned(), String::new()), "{command}");
    }
}

/// The shells ask the program, and it asks the service.
#[tokio::test]
async fn domains_and_snapshots_are_completed() {
    let bus = Bus::start();
    let (_daemon, _) = with_ox(&bus, "").await;
    virsnap(&bus, "true", &["snapshot-create-as ox one; snapshot-create-as ox other; snapshot-create-as ox 'a two'"])
        .await;
    for (before, current, offered) in [
        ("start", "o", "ox\n"),
        ("snapshot-list --domain", "o", "ox\n"),
        ("snapshot-revert ox", "o", "one\nother\n"),
        ("snapshot-revert ox", "", "a two\none\nother\n"),
        ("snapshot-revert --snapshotname one", "o", "ox\n"),
        ("snapshot-list ox --tree --from", "on", "one\n"),
        ("snapshot-delete ox --snapshotname", "on", "one\n"),
        ("snapshot-delete gnu", "", ""),
        ("xl snapshot-create", "o", "ox\n"),
        ("xl snapshot-delete ox -n", "on", "one\n"),
        ("snapshot-create ox", "", ""),
    ] {
        let address = bus.address();
        let mut words = vec!["complete", "--", "--bus", &address, "--driver=test"];
        words.extend(before.split(' ').chain([current]));
        let done = tokio::process::Command::new(env!("CARGO_BIN_EXE_virsnap")).args(&words).output().await.unwrap();
        assert_eq!(String::from_utf8(done.stdout).unwrap(), offered, "{before} {current}");
        assert_eq!((done.status.code(), done.stderr), (Some(0), vec![]), "{before} {current}");
    }
}

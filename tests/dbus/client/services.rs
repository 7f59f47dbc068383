//! Services that can more than libvirt's, or less.

use super::super::api::OX;
use super::super::bus::Bus;
use super::{drafts, executable, virsnap};
use futures_util::StreamExt;
use std::sync::{Arc, Mutex};
use zbus::{Connection, Message, MessageStream, ObjectPath, Variant};

/// A service that can rename, with one snapshot; keeps what it was asked for, and takes no document with a description.
async fn renaming_service(connection: Connection, asked: Arc<Mutex<Vec<String>>>) {
    let mut calls = MessageStream::from(&connection);
    let path = |name: &str| {
        let text = format!("/org/libvirt/Test/domainsnapshot/_0dd0dd0d_0002_4000_8000_000000000002_{name}");
        ObjectPath::try_from(text).unwrap()
    };
    while let Some(Ok(call)) = calls.next().await {
        let header = call.header();
        let member = header.member().map(|m| m.to_string()).unwrap_or_default();
        let answer = match member.as_str() {
            "DomainLookupByName" => connection.reply(&header, &ObjectPath::try_from(OX).unwrap()).await,
            "SnapshotLookupByName" => connection.reply(&header, &path("one")).await,
            "GetXMLDesc" => {
                let xml = "<domainsnapshot><name>one</name><state>shutoff</state></domainsnapshot>";
                connection.reply(&header, &xml).await
            }
            "Rename" => {
                assert_eq!(header.interface().unwrap().as_str(), "org.virsnap.Snapshots1");
                let (from, to, _): (String, String, u32) = call.body().deserialize().unwrap();
                asked.lock().unwrap().push(format!("{from} is {to}"));
                connection.reply(&header, &path(&to)).await
            }
            "SnapshotCreateXML" => {
                let (xml, flags): (String, u32) = call.body().deserialize().unwrap();
                asked.lock().unwrap().push(format!("define {flags}"));
                if xml.contains("<description>") {
                    connection.send(&Message::error(&header, "org.libvirt.Error").build(&"no").unwrap()).await
                } else {
                    connection.reply(&header, &path("two")).await
                }
            }
            _ => continue,
        };
        answer.unwrap();
    }
}

#[tokio::test]
async fn a_snapshot_is_renamed_in_place_where_the_service_can() {
    let script = "#!/bin/sh\nsed -i 's/>one</>two</; MORE' \"$1\"\n";
    for (more, expected, code) in [
        ("", &["one is two", "define 1"][..], 0),
        ("s/<state>/<description>d<\\/description><state>/", &["one is two", "define 1", "two is one"], 1),
    ] {
        let bus = Bus::start();
        let connection = bus.client().await.connection;
        connection.request_name("org.libvirt").await.unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let service = tokio::spawn(renaming_service(connection, asked.clone()));
        let editor = executable(bus.dir.path(), &script.replace("MORE", more));
        let (ended, out, err) = virsnap(&bus, &editor, &["snapshot-edit", "ox", "one", "--rename"]).await;
        assert_eq!((ended, out.as_str()), (code, "\n"), "{err}");
        assert_eq!(*asked.lock().unwrap(), expected, "{more}");
        assert_eq!(drafts(bus.dir.path()).len(), usize::from(code == 1));
        service.abort();
    }
}

/// A service of an older libvirt: it knows neither VALIDATE nor HALT nor FORCE, and keeps what it was asked for.
async fn old_service(connection: Connection, persistent: bool, asked: Arc<Mutex<Vec<String>>>) {
    const SNAPSHOT: &str = "/org/libvirt/Test/domainsnapshot/_0dd0dd0d_0002_4000_8000_000000000002_s";
    const CODE_3: &str = "this function is not supported by the connection driver: virDomainSnapshotCreateXML";
    let mut calls = MessageStream::from(&connection);
    let path = |text: &'static str| ObjectPath::try_from(text).unwrap();
    while let Some(Ok(call)) = calls.next().await {
        let header = call.header();
        let member = header.member().map(|m| m.to_string()).unwrap_or_default();
        let note = |what: String| asked.lock().unwrap().push(what);
        let refuse = async |text: &str| {
            connection.send(&Message::error(&header, "org.libvirt.Error").build(&text).unwrap()).await
        };
        let answer = match member.as_str() {
            "DomainLookupByName" => connection.reply(&header, &path(OX)).await,
            "SnapshotLookupByName" => connection.reply(&header, &path(SNAPSHOT)).await,
            "Get" => {
                let (_, property): (String, String) = call.body().deserialize().unwrap();
                connection.reply(&header, &Variant::from(property == "Active" || persistent)).await
            }
            "SnapshotCreateXML" => {
                let (_, flags): (String, u32) = call.body().deserialize().unwrap();
                note(format!("create {flags:#x}"));
                match flags {
                    _ if flags & 0x200 != 0 => refuse(CODE_3).await,
                    _ if flags & 0x8 != 0 => refuse("unsupported flags (0x8) in function oldSnapshotCreateXML").await,
                    _ => connection.reply(&header, &path(SNAPSHOT)).await,
                }
            }
            "Destroy" => {
                note("destroy".to_owned());
                connection.reply(&header, &()).await
            }
            "Revert" => {
                let flags: u32 = call.body().deserialize().unwrap();
                note(format!("revert {flags:#x}"));
                match flags {
                    0 => refuse("revert requires force: must respawn guest to start inactive snapshot").await,
                    1 => refuse("Requested operation is not valid: no").await,
                    _ => connection.reply(&header, &()).await,
                }
            }
            _ => continue,
        };
        answer.unwrap();
    }
}

#[tokio::test]
async fn an_older_service_is_asked_for_what_it_can_do() {
    let persistent = "error: cannot halt after snapshot of transient domain\n";
    let code_3 = "error: this function is not supported by the connection driver: virDomainSnapshotCreateXML\n";
    let risky = "error: Failed to revert snapshot s\nerror: revert requires force: must respawn guest to start \
                 inactive snapshot\n";
    let invalid = "error: Failed to revert snapshot s\nerror: Requested operation is not valid: no\n";
    for (is_persistent, line, expected, complaint) in [
        (true, "snapshot-create-as ox s --validate", &["create 0x200", "create 0x0"][..], ""),
        (true, "snapshot-create ox --validate", &["create 0x200", "create 0x0"], ""),
        // The user's own document is validated or not taken.
        (true, "snapshot-create ox FILE --validate", &["create 0x200"], code_3),
        (true, "snapshot-create-as ox s --halt", &["create 0x8", "create 0x0", "destroy"], ""),
        (true, "snapshot-create ox --halt --atomic", &["create 0x88", "create 0x80", "destroy"], ""),
        (true, "snapshot-create ox --halt --validate", &["create 0x208", "create 0x8", "create 0x0", "destroy"], ""),
        (false, "snapshot-create-as ox s --halt", &["create 0x8"], persistent),
        (true, "snapshot-revert ox s", &["revert 0x0"], risky),
        (true, "snapshot-revert ox s --force", &["revert 0x0", "revert 0x4"], ""),
        (true, "snapshot-revert ox s --force --running", &["revert 0x1"], invalid),
        (true, "snapshot-revert ox s --force --paused", &["revert 0x2"], ""),
    ] {
        let bus = Bus::start();
        let connection = bus.client().await.connection;
        connection.request_name("org.libvirt").await.unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let service = tokio::spawn(old_service(connection, is_persistent, asked.clone()));
        let file = bus.dir.path().join("s.xml");
        std::fs::write(&file, "<domainsnapshot/>").unwrap();
        let line = line.replace("FILE", file.to_str().unwrap());
        let (code, _, err) = virsnap(&bus, "true", &line.split(' ').collect::<Vec<_>>()).await;
        assert_eq!((code, err.as_str()), (i32::from(!complaint.is_empty()), complaint), "{line}");
        assert_eq!(*asked.lock().unwrap(), expected, "{line}");
        service.abort();
    }
}

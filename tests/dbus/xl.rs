//! `virsnap xl` as a user types it: on the real daemon with its test driver, and on a service that knows foreign records.

use super::TEST;
use super::api::{OX, ox};
use super::bus::{Bus, Client, Daemon};
use futures_util::StreamExt;
use serde_json::{Value, json};
use zbus::{Connection, Message, MessageStream, ObjectPath, Variant};

/// Exit code, standard output and standard error.
async fn virsnap(bus: &Bus, driver: &str, words: &[&str]) -> (i32, String, String) {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_virsnap"));
    command.env("TZ", "UTC").args(["--bus", &bus.address(), "--driver", driver, "xl"]).args(words);
    let done = command.output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (done.status.code().unwrap(), text(done.stdout), text(done.stderr))
}

#[tokio::test]
async fn a_snapshot_is_taken_listed_reverted_to_and_deleted() {
    let bus = Bus::start();
    let _daemon = Daemon::start(&bus);
    let client: Client = bus.client().await;
    client.call(TEST, super::CONNECT, "DomainDefineXML", &ox()).await.unwrap();
    let config = bus.dir.path().join("s.cfg");
    std::fs::write(&config, "description = 'by file'\nname = 'of the file'\n").unwrap();
    let config = config.to_str().unwrap();
    let run = async |words: &[&str]| virsnap(&bus, "test", words).await;
    let said = |text: &str| (0, text.to_owned(), String::new());

    assert_eq!(run(&["snapshot-create", config, "ox"]).await, said("Domain snapshot of the file created\n"));
    assert_eq!(run(&["snapshot-create", config, "-n", "two", "ox"]).await, said("Domain snapshot two created\n"));
    let (_, created, _) = run(&["snapshot-create", "ox"]).await;
    let seconds = created.strip_prefix("Domain snapshot ").and_then(|c| c.strip_suffix(" created\n")).unwrap();
    assert!(seconds.parse::<i64>().unwrap() > 1_700_000_000, "{created}");

    let (code, long, _) = run(&["snapshot-list", "--long", "-n", "two", "ox"]).await;
    let mut records: Vec<Value> = serde_json::from_str(&long).unwrap();
    let time = records[0]["creation_time"].take().as_i64().unwrap();
    let expected = json!([{
        "domain": "ox", "uuid": "0dd0dd0d-0002-4000-8000-000000000002", "name": "two", "description": "by file",
        "creation_time": null,
        "state": {"running": false, "blocked": false, "paused": false, "shutdown": false, "dying": false},
        "disks": [{"device": "vda", "name": "two", "format": "qcow2"}],
        "parent": "of the file", "current": false,
    }]);
    assert_eq!((code, Value::from(records)), (0, expected));
    let zoned = chrono::DateTime::from_timestamp(time, 0).unwrap().format("%Y-%m-%d %H:%M:%S +0000");
    let (_, listed, _) = run(&["snapshot-list", "-n", "two"]).await;
    let table = format!(
        " Domain   Name   Creation Time               State     Type\n{}\n ox       two    {zoned}   shutoff   internal\n\n",
        "-".repeat(65),
    );
    assert_eq!(listed, table);
    let (_, quiet, _) = run(&["-q", "snapshot-list", "ox", "-n", "two"]).await;
    assert_eq!(quiet, format!(" two   {zoned}   shutoff   internal\n"));

    assert_eq!(run(&["snapshot-revert", "-n", "two", "ox"]).await, said("Domain snapshot two reverted\n\n"));
    assert_eq!(run(&["snapshot-delete", "-n", "two", "ox"]).await, said("Domain snapshot two deleted\n\n"));
    let gone = "error: Domain snapshot not found: no domain snapshot with matching name 'two'\n";
    for words in [
        &["snapshot-delete", "-n", "two", "ox"][..],
        &["snapshot-list", "-n", "two"],
        &["snapshot-list", "-n", "two", "ox"],
    ] {
        assert_eq!(run(words).await, (1, "\n".to_owned(), gone.to_owned()), "{words:?}");
    }
    let failed = |text: String| (1, "\n".to_owned(), format!("error: {text}\n"));
    assert_eq!(run(&["snapshot-list", "gnu"]).await, failed("failed to get domain 'gnu'".into()));
    std::fs::write(config, "name = 'x'\n  oops").unwrap();
    let told = format!("{config}:2:7: expected '=' after 'oops', found the end of the file");
    assert_eq!(run(&["snapshot-create", config, "gnu"]).await, failed(told));
}

/// A service with one domain that has one snapshot, and answers `ListForeign` if it is told to.
async fn serve(connection: Connection, foreign: bool) {
    const SNAPSHOT: &str = "/org/libvirt/Test/domainsnapshot/_0dd0dd0d_0002_4000_8000_000000000002_s";
    let mut calls = MessageStream::from(&connection);
    let path = |text: &'static str| ObjectPath::try_from(text).unwrap();
    while let Some(Ok(call)) = calls.next().await {
        let header = call.header();
        let member = header.member().map(|m| m.to_string()).unwrap_or_default();
        let answer = match member.as_str() {
            "ListDomains" => connection.reply(&header, &vec![path(OX)]).await,
            "ListDomainSnapshots" => connection.reply(&header, &vec![path(SNAPSHOT)]).await,
            "SnapshotCurrent" => connection.reply(&header, &path(SNAPSHOT)).await,
            "Get" => {
                let (_, property): (String, String) = call.body().deserialize().unwrap();
                let value = if property == "Name" { "ox" } else { "0dd0dd0d-0002-4000-8000-000000000002" };
                connection.reply(&header, &Variant::from(value)).await
            }
            "GetXMLDesc" => {
                let xml = "<domainsnapshot><name>s</name><state>running</state><creationTime>0</creationTime>\
                           <memory snapshot='external' file='/m'/></domainsnapshot>";
                connection.reply(&header, &xml).await
            }
            "ListForeign" if foreign => {
                assert_eq!(header.interface().unwrap().as_str(), "org.virsnap.Snapshots1");
                assert_eq!(header.path().unwrap().as_str(), OX);
                let record = ("x", "/d/snapshotdata-x.xl", "'/etc/x' is outside");
                connection.reply(&header, &vec![record]).await
            }
            _ if call.message_type() == zbus::message::Type::MethodCall => {
                let error = Message::error(&header, "org.freedesktop.DBus.Error.UnknownMethod");
                connection.send(&error.build(&"no such method").unwrap()).await
            }
            _ => continue,
        };
        answer.unwrap();
    }
}

#[tokio::test]
async fn records_that_are_not_ours_come_last_with_their_reason() {
    let table = " Domain   Name   Creation Time               State     Type\n\
         -----------------------------------------------------------------\n \
         ox       s      1970-01-01 00:00:00 +0000   running   internal\n";
    let strangers = "\n Domain   Foreign record   File                   Reason\n\
         -----------------------------------------------------------------------\n \
         ox       x                /d/snapshotdata-x.xl   '/etc/x' is outside\n";
    for (foreign, expected) in [(true, format!("{table}{strangers}\n")), (false, format!("{table}\n"))] {
        let bus = Bus::start();
        let connection = bus.client().await.connection;
        connection.request_name("org.libvirt").await.unwrap();
        let service = tokio::spawn(serve(connection, foreign));
        assert_eq!(virsnap(&bus, "test", &["snapshot-list"]).await, (0, expected, String::new()));
        let (_, long, _) = virsnap(&bus, "test", &["snapshot-list", "--long"]).await;
        let records: Vec<Value> = serde_json::from_str(&long).unwrap();
        assert_eq!((&records[0]["save"], &records[0]["current"]), (&json!("/m"), &json!(true)));
        let reason = records.get(1).map(|r| r["foreign"]["reason"].clone());
        assert_eq!(reason, foreign.then(|| json!("'/etc/x' is outside")));
        service.abort();
    }
}

//! The D-Bus face on a real bus: paths, members, types, and the daemon's own life.

#![allow(clippy::unwrap_used)]

mod api;
mod bus;
mod client;
mod test_driver;
mod tuning;
mod virsh;
mod xl;

use bus::{Bus, Client, Daemon};
use rustix::process::Signal;
use std::collections::BTreeMap;
use zbus::{OwnedVariant, Variant};

const TEST: &str = "/org/libvirt/Test";
const NOBODY: &str = "/org/libvirt/Test/domain/_00000000_0000_4000_8000_000000000000";
const NO_SNAPSHOT: &str = "/org/libvirt/Test/domainsnapshot/_00000000_0000_4000_8000_000000000000_s";
const CONNECT: &str = "org.libvirt.Connect";
const DOMAIN: &str = "org.libvirt.Domain";
const SNAPSHOT: &str = "org.libvirt.DomainSnapshot";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
const UNKNOWN: &str = "org.freedesktop.DBus.Error.UnknownMethod";
const INVALID: &str = "org.freedesktop.DBus.Error.InvalidArgs";
const LIBVIRT: &str = "org.libvirt.Error";

async fn refused<B: serde::Serialize + zbus::DynamicType>(
    client: &Client,
    path: &str,
    interface: &str,
    member: &str,
    args: &B,
) -> String {
    match client.call(path, interface, member, args).await {
        Ok(reply) => panic!("{path} {member} answered {reply}"),
        Err(text) => text,
    }
}

#[tokio::test]
async fn what_does_not_exist_is_refused_in_the_words_of_gdbus() {
    let bus = Bus::start();
    let _daemon = Daemon::start(&bus);
    let client = bus.client().await;
    let manager = "org.freedesktop.DBus.ObjectManager";
    for (path, interface, member, error) in [
        ("/org/libvirt/Nope", CONNECT, "Nope", format!("{UNKNOWN}: Object does not exist at path “/org/libvirt/Nope”")),
        (TEST, manager, "X", format!("{UNKNOWN}: No such interface “{manager}” on object at path {TEST}")),
        (
            NOBODY,
            "org.libvirt.Nope",
            "X",
            format!("{UNKNOWN}: Method “X” on interface “org.libvirt.Nope” with signature “” does not exist"),
        ),
        (
            NOBODY,
            "",
            "Suspend",
            format!("{UNKNOWN}: Method “Suspend” on interface “(null)” with signature “” does not exist"),
        ),
        (NOBODY, DOMAIN, "Nope", format!("{UNKNOWN}: No such method “Nope”")),
        (NO_SNAPSHOT, SNAPSHOT, "Nope", format!("{UNKNOWN}: No such method “Nope”")),
        (
            NOBODY,
            DOMAIN,
            "ListDomainSnapshots",
            format!("{INVALID}: Type of message, “()”, does not match expected type “(u)”"),
        ),
        ("/org/libvirt/Test/domain/zz", DOMAIN, "Suspend", format!("{LIBVIRT}: Invalid UUID")),
        (
            NOBODY,
            DOMAIN,
            "GetSecurityLabelList",
            format!(
                "{LIBVIRT}: this function is not supported by the connection driver: virDomainGetSecurityLabelList"
            ),
        ),
    ] {
        assert_eq!(refused(&client, path, interface, member, &()).await, error, "{path} {interface}.{member}");
    }
    for (path, interface, member, error) in [
        (
            NOBODY,
            DOMAIN,
            "ListDomainSnapshots",
            format!("{INVALID}: Type of message, “(s)”, does not match expected type “(u)”"),
        ),
        (TEST, PROPERTIES, "GetAll", format!("{INVALID}: No such interface “x”")),
    ] {
        assert_eq!(refused(&client, path, interface, member, &("x",)).await, error, "{path} {interface}.{member}");
    }
    let networks = refused(&client, TEST, CONNECT, "ListNetworks", &(0_u32,)).await;
    assert_eq!(
        networks,
        format!("{LIBVIRT}: this function is not supported by the connection driver: virConnectListAllNetworks")
    );
}

/// libvirt-dbus reads past the end of such paths and dies (K38).
#[tokio::test]
async fn a_path_that_is_too_short_is_an_error_and_nothing_more() {
    let bus = Bus::start();
    let _daemon = Daemon::start(&bus);
    let client = bus.client().await;
    let uuid = "/_00000000_0000_4000_8000_000000000000";
    for leaf in ["/x", "/_0", uuid, &format!("{uuid}_a_")] {
        let path = format!("{TEST}/domainsnapshot{leaf}");
        for member in ["IsCurrent", "GetXMLDesc", "Revert"] {
            assert_eq!(refused(&client, &path, SNAPSHOT, member, &(0_u32,)).await, format!("{LIBVIRT}: Invalid UUID"));
        }
    }
    let parent = refused(&client, &format!("{TEST}/domainsnapshot"), SNAPSHOT, "IsCurrent", &(0_u32,)).await;
    assert!(parent.starts_with(UNKNOWN), "{parent}");
    client.call(NOBODY, "org.freedesktop.DBus.Peer", "Ping", &()).await.unwrap();
}

#[tokio::test]
async fn properties_are_wrapped_once_by_get_and_twice_by_get_all() {
    let bus = Bus::start();
    let _daemon = Daemon::start(&bus);
    let client = bus.client().await;
    let reply = client.call(TEST, PROPERTIES, "Get", &(CONNECT, "LibVersion")).await.unwrap();
    let (version,): (OwnedVariant,) = reply.body().deserialize().unwrap();
    assert_eq!(*version, Variant::U64(11_003_000));
    let reply = client.call(TEST, PROPERTIES, "GetAll", &(CONNECT,)).await.unwrap();
    assert_eq!(reply.body().signature().to_string_no_parens(), "a{sv}");
    let (all,): (BTreeMap<String, OwnedVariant>,) = reply.body().deserialize().unwrap();
    assert_eq!(*all["Encrypted"], Variant::Variant(Box::new(Variant::Bool(false))));
    assert_eq!(*all["Secure"], Variant::Variant(Box::new(Variant::Bool(true))));
    let reply = client.call(NO_SNAPSHOT, PROPERTIES, "GetAll", &(SNAPSHOT,)).await.unwrap();
    assert_eq!(reply.body().deserialize::<(BTreeMap<String, OwnedVariant>,)>().unwrap().0.len(), 0);

    let get = refused(&client, NOBODY, PROPERTIES, "Get", &(DOMAIN, "Nope")).await;
    assert_eq!(get, format!("{INVALID}: No such property “Nope”"));
    let set = refused(&client, NOBODY, PROPERTIES, "Set", &(DOMAIN, "Name", Variant::from("x"))).await;
    assert_eq!(set, format!("{INVALID}: Property “Name” is not writable"));
}

#[tokio::test]
async fn introspection_walks_from_the_root_to_every_kind_of_object() {
    let bus = Bus::start();
    let _daemon = Daemon::start(&bus);
    let client = bus.client().await;
    for (path, holds, lacks) in [
        ("/", "<node name=\"org\"/>", "interface"),
        ("/org", "<node name=\"libvirt\"/>", "interface"),
        ("/org/libvirt", "<node name=\"Test\"/>", "interface"),
        (TEST, "<node name=\"domainsnapshot\"/>", "org.libvirt.Domain\""),
        (
            TEST,
            include_str!("../../schemas/org.libvirt.Connect.xml").split_once('\n').unwrap().1,
            "org.libvirt.Domain\"",
        ),
        (
            NOBODY,
            include_str!("../../schemas/org.libvirt.Domain.xml")
                .rsplit_once("</node>")
                .unwrap()
                .0
                .split_once('\n')
                .unwrap()
                .1,
            "<node name",
        ),
        (
            NO_SNAPSHOT,
            include_str!("../../schemas/org.libvirt.DomainSnapshot.xml")
                .rsplit_once("</node>")
                .unwrap()
                .0
                .split_once('\n')
                .unwrap()
                .1,
            "<node name",
        ),
    ] {
        let reply = client.call(path, "org.freedesktop.DBus.Introspectable", "Introspect", &()).await.unwrap();
        let (text,): (String,) = reply.body().deserialize().unwrap();
        let holds = holds.strip_suffix("</node>\n").unwrap_or(holds);
        assert!(text.contains(holds) && !text.contains(lacks), "{path}: {text}");
    }
}

#[tokio::test]
async fn the_name_is_owned_by_one_and_a_second_is_told_by_whom() {
    let bus = Bus::start();
    let first = Daemon::start(&bus);
    let dir = tempfile::tempdir().unwrap();
    let child = Daemon::spawn(dir.path(), &["--driver", "test", "--bus", &bus.address()]);
    let mut second = Daemon { child, line: String::new() };
    let (status, told) = second.end();
    assert_eq!(status.code(), Some(1));
    let owner = format!("is owned by process {} (virsnapd)", first.child.id());
    assert!(told.contains(&owner), "{told}");
}

#[tokio::test]
async fn it_says_when_it_serves_and_leaves_when_asked() {
    let bus = Bus::start();
    let mut daemon = Daemon::start(&bus);
    let state = bus.dir.path().join("state");
    let expected = format!("virsnapd: serving org.libvirt on {} (state {})\n", bus.address(), state.display());
    assert_eq!(daemon.line, expected);
    daemon.signal(Signal::TERM);
    let (status, told) = daemon.end();
    assert!(status.success(), "{told}");
}

#[tokio::test]
async fn a_bus_that_is_gone_ends_it_with_a_word() {
    let mut bus = Bus::start();
    let mut daemon = Daemon::start(&bus);
    bus.stop();
    let (status, told) = daemon.end();
    assert_eq!(status.code(), Some(1));
    assert!(told.contains(&format!("virsnapd: the connection to {} is gone", bus.address())), "{told}");
}

#[test]
fn settings_that_cannot_be_used_are_refused_in_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("c.toml");
    std::fs::write(&file, "bus = 'session'\nstate_dir = '/x'\n").unwrap();
    let file = file.to_str().unwrap();
    for (args, text) in [
        (vec!["--config", file], format!("virsnapd: {file}:2:1: unknown field `state_dir`")),
        (vec!["--config", "/nowhere"], "virsnapd: cannot read '/nowhere': No such file".to_owned()),
        (
            vec!["--driver", "test", "--bus", "unix:path=/nowhere"],
            "virsnapd: cannot connect to unix:path=/nowhere: ".to_owned(),
        ),
    ] {
        let mut daemon = Daemon { child: Daemon::spawn(dir.path(), &args), line: String::new() };
        let (status, told) = daemon.end();
        assert_eq!(status.code(), Some(1), "{told}");
        assert!(told.contains(&text), "{told}");
    }
}

#[tokio::test]
async fn a_flood_of_calls_is_answered_call_by_call() {
    let bus = Bus::start();
    let _daemon = Daemon::start(&bus);
    let client = bus.client().await;
    let calls = (0..3000).map(|_| client.call(TEST, CONNECT, "ListDomains", &(0_u32,)));
    for outcome in futures_util::future::join_all(calls).await {
        if let Err(refusal) = outcome {
            assert_eq!(refusal, "org.freedesktop.DBus.Error.LimitsExceeded: Too many calls are being served");
        }
    }
    client.call(TEST, "org.freedesktop.DBus.Peer", "Ping", &()).await.unwrap();
}

//! What a client reads and how it may ask: list filters, parents, passwords, validated documents. The domain
//! stays off, for nothing here depends on its guest.

use crate::harness::client::flag;
use crate::harness::{Daemon, Guest, Kind, Refused, Snapshot, Spec};

/// The names, sorted.
fn names(snapshots: &[Snapshot]) -> Vec<String> {
    let mut names: Vec<_> = snapshots.iter().map(Snapshot::name).collect();
    names.sort();
    names
}

/// A tree with every kind: `a` (off, internal) over `disk` (disk-snapshot), `ext` (off, external) and `ram`
/// (running, internal), which has `leaf` (running, internal).
async fn every_kind(guest: &Guest) {
    let dump = guest.create("a", Kind::Internal).await.unwrap().xml().await.unwrap();
    let external = "<disk name='vda' snapshot='external'><source file='/nonexistent/o'/></disk>";
    let internal = "<disk name='vda' snapshot='internal'/>";
    let (start, end) = (dump.find("<domain ").unwrap(), dump.find("</domain>").unwrap() + "</domain>".len());
    for (name, parent, state, memory, disk) in [
        ("ram", "a", "running", "internal", internal),
        ("leaf", "ram", "paused", "internal", internal),
        ("disk", "a", "disk-snapshot", "no", external),
        ("ext", "a", "shutoff", "no", external),
    ] {
        let xml = format!(
            "<domainsnapshot><name>{name}</name><state>{state}</state><parent><name>{parent}</name></parent>\
             <creationTime>1700000000</creationTime><memory snapshot='{memory}'/><disks>{disk}</disks>{}\
             </domainsnapshot>",
            &dump[start..end]
        );
        guest.domain.snapshot_create(&xml, flag::REDEFINE | flag::VALIDATE).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn list_filters_choose_as_documented() {
    let daemon = Daemon::start().await;
    let guest = Guest::define(&daemon, Spec::disks(1)).await;
    every_kind(&guest).await;
    let (roots, metadata, leaves, no_leaves, no_metadata) = (0x1, 0x2, 0x4, 0x8, 0x10);
    let (inactive, active, disk_only, internal, external) = (0x20, 0x40, 0x80, 0x100, 0x200);
    let all: &[&str] = &["a", "disk", "ext", "leaf", "ram"];
    for (flags, expected) in [
        (0, all),
        (roots, &["a"]),
        (leaves, &["disk", "ext", "leaf"]),
        (no_leaves, &["a", "ram"]),
        // libvirt answers nothing, against its own documentation (K33).
        (leaves | no_leaves, all),
        (metadata, all),
        (no_metadata, &[]),
        (metadata | no_metadata, all),
        (inactive, &["a", "ext"]),
        (active, &["leaf", "ram"]),
        (disk_only, &["disk"]),
        (inactive | active | disk_only, all),
        (inactive | disk_only, &["a", "disk", "ext"]),
        (internal, &["a", "leaf", "ram"]),
        (external, &["disk", "ext"]),
        (internal | external, all),
        (internal | inactive, &["a"]),
        (external | leaves | inactive, &["ext"]),
        (roots | external, &[]),
    ] {
        for flags in [flags, flags | flag::LIST_TOPOLOGICAL] {
            assert_eq!(names(&guest.domain.snapshots(flags).await.unwrap()), expected, "{flags:#x}");
        }
    }
    let (has_snapshot, has_none) = (0x1000, 0x2000);
    for (flags, domains) in [(has_snapshot, 1), (has_none, 0), (has_snapshot | has_none, 1)] {
        assert_eq!(daemon.client.list(flags).await.unwrap().len(), domains, "{flags:#x}");
    }
    let a = guest.domain.snapshot("a").await.unwrap();
    for (flags, expected) in [
        (0, &["disk", "ext", "ram"][..]),
        (0x1, &["disk", "ext", "leaf", "ram"]),
        (0x1 | leaves, &["disk", "ext", "leaf"]),
        (leaves | no_leaves, &["disk", "ext", "ram"]),
        (no_leaves, &["ram"]),
    ] {
        assert_eq!(names(&a.children(flags).await.unwrap()), expected, "{flags:#x}");
    }
    let order: Vec<String> =
        guest.domain.snapshots(flag::LIST_TOPOLOGICAL).await.unwrap().iter().map(Snapshot::name).collect();
    // Depth first, the newest sibling first, as libvirt lists.
    assert_eq!(order, ["a", "ext", "disk", "ram", "leaf"]);
    a.children(0x800).await.refused("unsupported flags (0x800)");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_parent_is_one_that_exists_or_none() {
    let daemon = Daemon::start().await;
    let guest = Guest::define(&daemon, Spec::disks(1)).await;
    every_kind(&guest).await;
    let [a, leaf, ram] = ["a", "leaf", "ram"].map(|name| guest.domain.snapshot(name));
    let (a, leaf, ram) = (a.await.unwrap(), leaf.await.unwrap(), ram.await.unwrap());
    assert_eq!(leaf.parent().await.unwrap().name(), "ram");
    a.parent().await.refused("Domain snapshot not found: snapshot 'a' does not have a parent");
    ram.delete(flag::METADATA_ONLY).await.unwrap();
    assert_eq!(leaf.parent().await.unwrap().name(), "a");
    a.delete(flag::METADATA_ONLY).await.unwrap();
    leaf.parent().await.refused("Domain snapshot not found: snapshot 'leaf' does not have a parent");
    assert!(!leaf.xml().await.unwrap().contains("<parent>"));
    // Nor does a document bring one that is not there.
    let dump = leaf.xml().await.unwrap().replace("<state>", "<parent><name>gone</name></parent><state>");
    guest.domain.snapshot_create(&dump, flag::REDEFINE).await.refused("parent gone for moment leaf not found");
    leaf.parent().await.refused("does not have a parent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passwords_are_shown_to_those_who_ask_for_them() {
    let daemon = Daemon::start().await;
    let devices = "<graphics type='vnc' autoport='yes' passwd='geheim'/>".to_owned();
    let guest = Guest::define(&daemon, Spec { devices, ..Spec::disks(1) }).await;
    let snapshot = guest.create("s", Kind::Internal).await.unwrap();
    for (secure, shown) in [(0, false), (1, true)] {
        assert_eq!(guest.domain.xml(secure).await.unwrap().contains("geheim"), shown);
        assert_eq!(guest.domain.xml(secure | flag::XML_INACTIVE).await.unwrap().contains("geheim"), shown);
        let xml = snapshot.xml_with(secure).await.unwrap();
        assert_eq!(xml.contains("passwd='geheim'"), shown, "{xml}");
        assert!(xml.contains("<graphics type='vnc'"), "{xml}");
    }
    snapshot.xml_with(2).await.refused("unsupported flags (0x2)");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_document_is_validated_where_that_is_asked_for() {
    let daemon = Daemon::start().await;
    let guest = Guest::define(&daemon, Spec::disks(1)).await;
    let bogus = "<domainsnapshot><name>s</name>\n<bogus/></domainsnapshot>";
    let words = "XML document failed to validate against schema: Unable to validate doc against domainsnapshot.rng\n\
                 line 2: Element domainsnapshot has extra content: bogus";
    for flags in [flag::VALIDATE, flag::VALIDATE | flag::DISK_ONLY, flag::VALIDATE | flag::REDEFINE] {
        guest.domain.snapshot_create(bogus, flags).await.refused(words);
        assert!(guest.domain.names().await.is_empty());
    }
    // What is not asked about is ignored, as ever.
    guest.domain.snapshot_create(bogus, 0).await.unwrap();
    for kind in [Kind::Internal, Kind::DiskOnly] {
        guest.create_with(&format!("{kind:?}"), kind, flag::VALIDATE).await.unwrap();
    }
    // And every dump is valid.
    for snapshot in guest.domain.snapshots(flag::LIST_TOPOLOGICAL).await.unwrap() {
        let dump = snapshot.xml().await.unwrap();
        guest.domain.snapshot_create(&dump, flag::REDEFINE | flag::VALIDATE).await.unwrap();
        assert_eq!(snapshot.xml().await.unwrap(), dump);
    }
    let file = guest.path("bogus.xml");
    std::fs::write(&file, bogus).unwrap();
    let mut typed = std::process::Command::new(env!("CARGO_BIN_EXE_virsnap"));
    typed.args(["--bus", daemon.address(), "snapshot-create", "counter"]).arg(&file).arg("--validate");
    let said = tokio::task::block_in_place(|| typed.output().unwrap());
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.contains(words), "{said}");
}

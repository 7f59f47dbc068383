#![allow(clippy::expect_used)]

use super::*;
use crate::model::domain::Runtime;
use crate::xml::edit::edit;
use proptest::prelude::*;

const SERVER: &str = include_str!("../../xml-examples/domain/server.xml");
const DISKS: &str = include_str!("../../xml-examples/domain/disks.xml");

/// The lines that differ, as a diff would show them.
fn changes(before: &str, after: &str) -> String {
    let (old, new): (Vec<_>, Vec<_>) = (before.lines().collect(), after.lines().collect());
    let same = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let rest = old.len().min(new.len()) - same;
    let tail = old.iter().rev().zip(new.iter().rev()).take(rest).take_while(|(a, b)| a == b).count();
    let minus = old[same..old.len() - tail].iter().map(|l| format!("-{}\n", l.trim()));
    let plus = new[same..new.len() - tail].iter().map(|l| format!("+{}\n", l.trim()));
    minus.chain(plus).collect()
}

fn image(path: &str, format: &str) -> Image {
    Image { path: path.into(), format: format.to_owned() }
}

#[test]
fn an_edit_changes_its_bytes_and_no_others() {
    let uuid = Uuid::from_u128(7);
    let table: [(&str, Result<String>, &str); 8] = [
        (SERVER, set_name(SERVER, "a<b"), "-<name>server</name>\n+<name>a&lt;b</name>\n"),
        (
            SERVER,
            set_uuid(SERVER, uuid),
            "-<uuid>3b0a1e7e-6f0a-4a4e-9d8e-1c2d3e4f5a6b</uuid>\n+<uuid>00000000-0000-0000-0000-000000000007</uuid>\n",
        ),
        (DISKS, set_uuid(DISKS, uuid), "+<uuid>00000000-0000-0000-0000-000000000007</uuid>\n"),
        (
            SERVER,
            set_machine(SERVER, "pc-q35-7.2"),
            "-<type arch='x86_64' machine='q35'>hvm</type>\n+<type arch='x86_64' machine='pc-q35-7.2'>hvm</type>\n",
        ),
        (
            SERVER,
            strip_secrets(SERVER),
            "-<graphics type='vnc' port='-1' autoport='yes' passwd='secret'>\n+<graphics type='vnc' port='-1' autoport='yes'>\n",
        ),
        (
            SERVER,
            set_disk_source(SERVER, "vda", &image("/images/server.s1", "qcow2"), false),
            "-<source file='/images/server.qcow2'/>\n+<source file='/images/server.s1'/>\n",
        ),
        (
            DISKS,
            set_disk_source(DISKS, "hdc", &image("/iso/b.iso", "raw"), false),
            "-<disk device=\"cdrom\" type=\"file\"><target dev=\"hdc\"/></disk>\n+<disk device=\"cdrom\" type=\"file\"><driver name='qemu' type='raw'/><source file='/iso/b.iso'/><target dev=\"hdc\"/></disk>\n",
        ),
        (
            DISKS,
            set_disk_source(DISKS, "vdb", &image("/dev/x", "qed"), true),
            "-<disk type=\"file\" snapshot=\"manual\"><driver type=\"qcow2\"/><source file=\"/images/vdb.qcow2\"><seclabel model=\"dac\" relabel=\"no\"/></source><backingStore type=\"file\"><format type=\"raw\"/><source file=\"/images/old.img\"/><backingStore/></backingStore><target dev=\"vdb\"/><transient/></disk>\n+<disk type=\"block\" snapshot=\"manual\"><driver type=\"qed\"/><source dev='/dev/x'><seclabel model=\"dac\" relabel=\"no\"/></source><target dev=\"vdb\"/><transient/></disk>\n",
        ),
    ];
    for (before, after, expected) in table {
        assert_eq!(changes(before, &after.expect("an edit")), expected);
    }
    let missing = set_disk_source(SERVER, "vdz", &image("/x", "raw"), false).expect_err("no such disk");
    assert_eq!(missing.to_string(), "unsupported configuration: no disk named 'vdz'");
}

#[test]
fn a_domain_becomes_an_inactive_one_and_back() {
    let inactive = rename_root(SERVER, "inactiveDomain").expect("an edit");
    assert!(inactive.starts_with("<inactiveDomain type='kvm' ") && inactive.ends_with("</inactiveDomain>\n"));
    assert_eq!(view(&inactive).expect("good").name, "server");
    assert_eq!(rename_root(&inactive, "domain").expect("an edit"), SERVER);
}

#[test]
fn a_running_domain_shows_what_only_this_run_knows_and_a_definition_forgets_it() {
    let tty = "/dev/pts/3".to_owned();
    let runtime = Runtime { pid: 1, memory: None, number: None, ttys: vec![tty.clone(), tty], vnc_ports: vec![5901] };
    let live = live_view(SERVER, 4, &runtime);
    for line in [
        "<domain type='kvm' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0' id='4'>\n",
        "    <serial type='pty'>\n      <source path='/dev/pts/3'/>\n      <target port='0'/>\n",
        "    <console type='pty' tty='/dev/pts/3'>\n      <source path='/dev/pts/3'/>\n      <target type",
        "<graphics type='vnc' port='5901' autoport='yes' passwd='secret'>\n",
    ] {
        assert!(live.contains(line), "{line} in {live}");
    }
    assert_eq!(view(&live).expect("good").id, Some(4));
    assert_eq!(drop_live(&live).expect("an edit"), SERVER);
    assert_eq!(live_view("no document", 4, &runtime), "no document");
}

#[test]
fn frozen_disks_are_the_images_that_the_text_names() {
    let frozen = frozen_disks(DISKS).expect("good");
    let images: Vec<String> = frozen
        .iter()
        .map(|d| {
            format!(
                "{}: {}",
                d.target,
                d.image.as_ref().map_or_else(String::new, |i| format!("{} {}", i.format, i.path))
            )
        })
        .collect();
    assert_eq!(
        images,
        [
            "hda: raw /images/hda.img",
            "hdc: ",
            "sda: raw /iso/a.iso",
            "fda: raw /images/fd.img",
            "sdb: raw /dev/sdx",
            "xvda: ",
            "vda: ",
            "vdb: qcow2 /images/vdb.qcow2",
            "vdc: ",
        ]
    );
}

#[test]
fn only_what_can_be_written_to_takes_part_by_default() {
    let domain = view(DISKS).expect("good");
    let default = |target| domain.disk(target).and_then(DiskView::default_location);
    assert_eq!(
        ["hda", "hdc", "vda", "vdb", "vdc", "xvda"].map(default),
        [
            None,
            Some(Location::No),
            Some(Location::No),
            Some(Location::Manual),
            Some(Location::No),
            Some(Location::External),
        ]
    );
}

#[test]
fn numa_cells_make_up_the_memory() {
    let xml = "<domain type='kvm'><name>n</name><memory>7</memory><os><type>hvm</type></os><cpu><numa>\
               <cell memory='1' unit='MiB'/><cell memory='1024'/></numa></cpu></domain>";
    assert_eq!(view(xml).expect("good").memory_kib, 2048);
}

/// Anything that may stand in a name or a path.
fn words() -> impl Strategy<Value = String> {
    "[ -~\t\né<>&'\"]{0,20}"
}

/// What we know nothing of, between what we edit.
fn unknown() -> impl Strategy<Value = Vec<String>> {
    let part = prop_oneof![
        Just("<!-- <name>n</name> -->".to_owned()),
        Just("<![CDATA[</domain>]]>".to_owned()),
        Just("<x:y xmlns:x='urn:x' x:a=\"'\"><name/></x:y>".to_owned()),
        Just("\n\t  ".to_owned()),
        Just("<?pi <name> ?>".to_owned()),
        Just("<memory2 a='>'/>".to_owned()),
        Just("&#x41;&amp;".to_owned()),
    ];
    proptest::collection::vec(part, 0..4)
}

proptest! {
    #[test]
    fn edits_read_back_as_the_asked_value_and_keep_the_rest(
        between in proptest::collection::vec(unknown(), 6),
        name in words().prop_filter("a name", |n| !n.is_empty() && !n.contains('/')),
        path in words().prop_map(|p| format!("/{p}")),
        machine in words(),
        number in any::<u128>(),
        is_block in any::<bool>(),
    ) {
        let mut parts = between.iter();
        let mut rest = || parts.next().map(|p| p.concat()).unwrap_or_default();
        let xml = format!(
            "<domain type='kvm'>{}<name>old</name>{}<memory>1</memory><os>{}<type>hvm</type></os>{}<devices><disk>{}\
             <target dev='vda'/></disk></devices>{}</domain>",
            rest(), rest(), rest(), rest(), rest(), rest(),
        );
        let image = Image { path: path.into(), format: "qcow2".to_owned() };
        let edited = set_name(&xml, &name).expect("name");
        let edited = set_uuid(&edited, Uuid::from_u128(number)).expect("uuid");
        let edited = set_machine(&edited, &machine).expect("machine");
        let edited = set_disk_source(&edited, "vda", &image, is_block).expect("disk");
        let got = view(&edited).expect("reads");
        prop_assert_eq!(&got.name, &name);
        prop_assert_eq!(got.uuid, Some(Uuid::from_u128(number)));
        prop_assert_eq!(got.machine.unwrap_or_default(), machine);
        prop_assert_eq!(got.disks[0].image(), Some(image));
        let mut at = 0;
        for part in between.iter().flatten() {
            let found = edited[at..].find(part.as_str());
            prop_assert!(found.is_some(), "{} lost in {}", part, edited);
            at += found.unwrap_or(0) + part.len();
        }
    }

    #[test]
    fn nothing_that_is_read_or_edited_panics(
        cuts in proptest::collection::vec((any::<prop::sample::Index>(), "[<>/='\"& a-z!\\[\\]é-]{0,6}"), 1..4),
        server in any::<bool>(),
    ) {
        let mut xml = if server { SERVER } else { DISKS }.to_owned();
        for (at, junk) in cuts {
            let mut start = at.index(xml.len());
            while !xml.is_char_boundary(start) { start -= 1; }
            let end = (start + junk.len()).min(xml.len());
            if xml.is_char_boundary(end) { xml.replace_range(start..end, &junk); }
        }
        let image = Image { path: "/x".into(), format: "raw".to_owned() };
        let _ = view(&xml);
        let runtime = Runtime { pid: 0, memory: None, number: None, ttys: vec!["/dev/pts/0".to_owned()], vnc_ports: vec![1] };
        let _ = live_view(&xml, 1, &runtime);
        let _ = drop_live(&xml);
        for disk in ["vda", "hdc", "vdb"] {
            if let Ok(changed) = set_disk_source(&xml, disk, &image, true) {
                prop_assert!(edit(&changed, |_, _| Ok(())).is_ok(), "{}", changed);
            }
        }
        let edits = [set_name(&xml, "n"), set_uuid(&xml, Uuid::nil()), set_machine(&xml, "m"), rename_root(&xml, "d")];
        for changed in edits.into_iter().flatten() {
            prop_assert!(edit(&changed, |_, _| Ok(())).is_ok(), "{}", changed);
        }
    }
}

#[test]
fn the_agents_channel_is_known_on_both_hypervisors_by_its_name() {
    for (target, known) in [
        ("type='virtio' name='org.qemu.guest_agent.0'", true),
        ("type='xen' name='org.qemu.guest_agent.0'", true),
        ("type='virtio' name='com.redhat.spice.0'", false),
        ("type='guestfwd' name='org.qemu.guest_agent.0'", false),
    ] {
        let xml = format!(
            "<domain type='xen'><name>g</name><memory>1024</memory><os><type>hvm</type></os><devices>\
             <channel type='unix'><target {target}/></channel></devices></domain>"
        );
        assert_eq!(view(&xml).unwrap().has_agent_channel, known, "{target}");
    }
}

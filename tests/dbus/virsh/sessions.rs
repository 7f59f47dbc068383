//! The sessions: every `snapshot-*` command and option, each refusal, and the commands on domains around them.

use super::{compare, compare_lines, help};
use virsnap::cli::spec;

/// A snapshot as virsh's user would redefine it. The test driver is of libvirt 9, which had no `<memory>` rules to break.
fn snapshot(name: &str, parent: &str, state: &str, time: u32) -> String {
    let parent = match parent {
        "" => String::new(),
        parent => format!("<parent><name>{parent}</name></parent>"),
    };
    let memory = if state == "running" { "internal" } else { "no" };
    format!(
        "<domainsnapshot><name>{name}</name><description>of {name}</description><state>{state}</state>{parent}\
         <creationTime>{time}</creationTime><memory snapshot='{memory}'/>\
         <disks><disk name='vda' snapshot='internal'/></disks>\
         <domain type='test'><name>test</name><uuid>6695eb01-f6a4-8304-79aa-97f2502e193f</uuid>\
         <memory unit='KiB'>8388608</memory><os><type arch='i686'>hvm</type></os>\
         <devices><disk type='file' device='disk'><driver name='qemu' type='qcow2'/>\
         <source file='/guest/diskimage1'/><target dev='vda' bus='virtio'/></disk></devices></domain></domainsnapshot>"
    )
}

/// Two trees: `b` over `C` over `d` and `10`; `_r` over `é x`; and `Z` alone.
fn trees() -> Vec<(&'static str, String)> {
    vec![
        ("b.xml", snapshot("b", "", "running", 1_700_000_000)),
        ("c.xml", snapshot("C", "b", "shutoff", 1_700_000_001)),
        ("d.xml", snapshot("d", "C", "running", 1_700_000_002)),
        ("10.xml", snapshot("10", "C", "paused", 1_700_000_003)),
        ("r.xml", snapshot("_r", "", "running", 1_700_000_004)),
        ("e.xml", snapshot("é x", "_r", "shutoff", 1_700_000_005)),
        ("z.xml", snapshot("Z", "", "running", 1_700_000_006)),
    ]
}

/// Redefines them all, `d` as the current one, and goes on.
fn on_trees(commands: &[&str]) {
    let files = trees();
    let files: Vec<(&str, &str)> = files.iter().map(|(n, t)| (*n, t.as_str())).collect();
    let mut session = vec![
        "snapshot-create test b.xml --redefine",
        "snapshot-create test --xmlfile c.xml --redefine",
        "snapshot-create --redefine --current test d.xml",
        "snapshot-create test 10.xml --redefine",
        "snapshot-create test r.xml --redefine",
        "snapshot-create test e.xml --redefine",
        "snapshot-create test z.xml --redefine",
    ];
    session.extend(commands);
    compare("true", &files, &session);
}

#[test]
fn lists_are_laid_out_sorted_and_filtered_alike() {
    on_trees(&[
        "snapshot-list test",
        "snapshot-list test --parent",
        "snapshot-list test --tree",
        "snapshot-list test --name",
        "snapshot-list test --roots",
        "snapshot-list test --leaves",
        "snapshot-list test --no-leaves",
        "snapshot-list test --metadata",
        "snapshot-list test --no-metadata",
        "snapshot-list test --inactive",
        "snapshot-list test --active",
        "snapshot-list test --disk-only",
        "snapshot-list test --internal",
        "snapshot-list test --external",
        "snapshot-list test --internal --external",
        "snapshot-list test --from b",
        "snapshot-list test b",
        "snapshot-list test --from b --descendants",
        "snapshot-list test --from b --descendants --leaves --name",
        "snapshot-list test --from b --tree",
        "snapshot-list test --from C --tree --descendants",
        "snapshot-list test --current",
        "snapshot-list test --current --tree",
        "snapshot-list test --from d",
        "snapshot-list test --topological --name",
        "snapshot-list test --topological --tree",
        "snapshot-list test --topological --from b --descendants --name",
        "snapshot-list test --from nosuch",
        "snapshot-list test --from ''",
        "snapshot-list test --from b --current",
        "snapshot-list test --tree --name",
        "snapshot-list test --tree --leaves",
        "snapshot-list test --tree --no-leaves",
        "snapshot-list test --tree --active",
        "snapshot-list test --tree --inactive",
        "snapshot-list test --tree --disk-only",
        "snapshot-list test --tree --internal",
        "snapshot-list test --tree --external",
        "snapshot-list test --parent --roots",
        "snapshot-list test --parent --tree",
        "snapshot-list test --roots --tree",
        "snapshot-list test --roots --from b",
        "snapshot-list test --roots --current",
        "snapshot-list test --descendants",
        "snapshot-list nosuch",
        "snapshot-list nosuch --from ''",
        "snapshot-list nosuch --tree --name",
    ]);
}

#[test]
fn one_snapshot_is_described_alike() {
    on_trees(&[
        "snapshot-info test b",
        "snapshot-info test C",
        "snapshot-info test 'é x'",
        "snapshot-info test --current",
        "snapshot-info test --snapshotname 10",
        "snapshot-info test",
        "snapshot-info test b --current",
        "snapshot-info test ''",
        "snapshot-info test nosuch",
        "snapshot-info nosuch",
        "snapshot-parent test b",
        "snapshot-parent test d",
        "snapshot-parent test --current",
        "snapshot-parent test",
        "snapshot-parent test d --current",
        "snapshot-parent test nosuch",
        "snapshot-current test --name",
        "snapshot-current test Z",
        "snapshot-current test --name --security-info",
        "snapshot-current test --name Z",
        "snapshot-current test nosuch",
        "snapshot-current test ''",
        "snapshot-current nosuch",
        "snapshot-dumpxml test C --xpath /domainsnapshot/name",
        "snapshot-dumpxml test C --xpath /domainsnapshot/parent",
        "snapshot-dumpxml test C --security-info --xpath '/domainsnapshot/parent | /domainsnapshot/state' --wrap",
        "snapshot-dumpxml test C --xpath /domainsnapshot/disks --wrap",
        "snapshot-dumpxml test C --xpath '//memory/@snapshot'",
        "snapshot-dumpxml test C --xpath '//memory/@snapshot' --wrap",
        "snapshot-dumpxml test C --xpath '/domainsnapshot/name/text()'",
        "snapshot-dumpxml test C --xpath /nothing",
        "snapshot-dumpxml test C --xpath /nothing --wrap",
        "snapshot-dumpxml test C --xpath 'count(//name)'",
        "snapshot-dumpxml test nosuch",
        "snapshot-dumpxml test ''",
        "snapshot-dumpxml nosuch ''",
        "snapshot-dumpxml nosuch x",
        "domstate test; snapshot-parent test d; list --name",
    ]);
}

#[test]
fn snapshots_are_taken_reverted_to_and_deleted_alike() {
    let own = "<domainsnapshot><name>own</name><description>d</description></domainsnapshot>";
    compare(
        "true",
        &[("own.xml", own)],
        &[
            "snapshot-current test",
            "snapshot-current test --name",
            "snapshot-list test",
            "snapshot-list test --tree",
            "snapshot-list test --name",
            "snapshot-list test --current",
            "snapshot-revert test --current",
            "snapshot-create test",
            "snapshot-create test own.xml",
            "snapshot-create test own.xml",
            "snapshot-create test nosuch.xml",
            "snapshot-create test ''",
            "snapshot-create nosuch",
            "snapshot-create-as test a 'a & <b>'",
            "snapshot-create-as --domain test --name b --description 'of b' --atomic",
            "snapshot-create-as test a",
            "snapshot-create-as test ''",
            "snapshot-create-as test c --description ''",
            "snapshot-create-as test c --memspec bad",
            "snapshot-create-as test c --memspec ''",
            "snapshot-create-as test c d vda,bad",
            "snapshot-create-as test c d nosuch",
            "snapshot-create-as nosuch c --memspec bad",
            "snapshot-create-as nosuch",
            "snapshot-dumpxml test a --xpath /domainsnapshot/description",
            "snapshot-parent test b",
            "snapshot-current test --name",
            "snapshot-list test --parent --topological",
            "snapshot-revert test a",
            "snapshot-current test --name",
            "snapshot-revert test a --paused",
            "domstate test",
            "snapshot-revert test --current --running",
            "domstate test --reason",
            "snapshot-revert test a --force",
            "snapshot-revert test a --running --paused",
            "snapshot-revert test",
            "snapshot-revert test a --current",
            "snapshot-revert test nosuch",
            "snapshot-revert nosuch a",
            "snapshot-delete test a --children --children-only",
            "snapshot-delete test",
            "snapshot-delete test a --current",
            "snapshot-delete test nosuch",
            "snapshot-delete nosuch a",
            "snapshot-delete test a --children-only",
            "snapshot-list test --tree --topological",
            "snapshot-create-as test c --halt",
            "list --all",
            "snapshot-delete test --current",
            "snapshot-delete test own --children",
            "snapshot-list test --name --internal --current",
        ],
    );
}

#[test]
fn documents_of_create_as_are_the_same() {
    compare(
        "true",
        &[],
        &[
            "snapshot-create-as test --print-xml",
            "snapshot-create-as test --print-xml --no-metadata",
            "snapshot-create-as test 'a <&>' --print-xml --description \"it's \\\"d\\\"\"",
            "snapshot-create-as test a b vda --print-xml vdb,snapshot=no",
            "snapshot-create-as test a --print-xml --memspec /m,snapshot=external",
            "snapshot-create-as test a --print-xml --memspec file=/a,,b",
            "snapshot-create-as test a --print-xml --memspec snapshot=no",
            "snapshot-create-as test a --print-xml --diskspec vda,snapshot=external,driver=qcow2,file=/a,,b",
            "snapshot-create-as test a --print-xml --diskspec vda,stype=block,file=/dev/x --diskspec vdb,stype=file",
            "snapshot-create-as test a --print-xml --diskspec vda,stype=bad",
            "snapshot-create-as test a --print-xml --diskspec vda,file=a,file=b",
            "snapshot-create-as test a --print-xml --memspec a",
            "snapshot-create-as nosuch a --print-xml",
        ],
    );
}

#[test]
fn edits_are_told_alike() {
    let files = [
        ("rename", "#!/bin/sh\nsed -i 's/<name>a</<name>b</' \"$1\"\n"),
        ("describe", "#!/bin/sh\nsed -i 's/<state>/<description>new<\\/description><state>/' \"$1\"\n"),
    ];
    let nothing = [
        "snapshot-create-as test a",
        "snapshot-edit test a",
        "snapshot-edit test --current",
        "snapshot-edit test a --current",
        "snapshot-edit test",
        "snapshot-edit test ''",
        "snapshot-edit test nosuch",
        "snapshot-edit nosuch a",
        "snapshot-edit test a --rename --clone",
    ];
    compare("true", &[], &nothing);
    let failing = ["snapshot-create-as test a", "snapshot-edit test a", "snapshot-list test"];
    for editor in ["false", "nosuch-editor", "exit 3;", "kill -9 $$;"] {
        compare(editor, &[], &failing);
    }
    compare(
        "./describe",
        &files,
        &["snapshot-create-as test a", "snapshot-edit test a", "snapshot-dumpxml test a --xpath //description"],
    );
    compare("./rename", &files, &["snapshot-create-as test a", "snapshot-edit test a --clone", "snapshot-list test"]);
}

#[test]
fn domains_are_shown_and_moved_alike() {
    compare(
        "true",
        &[],
        &[
            "list",
            "list --all",
            "list --inactive",
            "list --name",
            "list --uuid",
            "list --id",
            "list --id --name --uuid",
            "list --title",
            "list --with-snapshot",
            "list --without-snapshot",
            "list --state-running --table",
            "list --state-paused",
            "list --autostart",
            "list --table --name",
            "domstate test",
            "domstate 1",
            "domstate nosuch",
            "domid test",
            "domid 1",
            "domname 1",
            "domname test",
            "domname 6695eb01-f6a4-8304-79aa-97f2502e193f",
            "domuuid test",
            "domuuid 1",
            "dominfo nosuch",
            "dominfo ''",
            "dumpxml test --xpath /domain/name",
            "dumpxml test --xpath '/domain/vcpu | /domain/clock' --wrap",
            "start test",
            "start nosuch",
            "suspend test",
            "domstate test --reason",
            "list",
            "resume test",
            "autostart test",
            "autostart test --disable",
            "reboot test --mode bad",
            "shutdown test --mode acpi,bad",
            "shutdown nosuch --mode bad",
            "destroy test",
            "domstate test --reason",
            "list",
            "list --all",
            "list --all --id --name",
            "domid test",
            "start test",
            "shutdown test",
            "domstate test",
            "undefine test --nvram --keep-nvram",
            "undefine test --tpm --keep-tpm",
            "undefine test",
            "list --all",
            "define nosuch.xml",
            "define ''",
            "create nosuch.xml",
            "define test.xml",
        ],
    );
}

#[test]
fn command_lines_are_refused_alike() {
    compare_lines(&[
        &["frob"],
        &["list; frob"],
        &["list", "foo"],
        &["list", ""],
        &["list foo; list"],
        &["list", "--bad"],
        &["list", "--bad=1"],
        &["list", "--all", "--all"],
        &["list", "--all=3", "--bad"],
        &["list", "-q"],
        &["list \\"],
        &["list \"x"],
        &["list 'x y'"],
        &["-x", "list"],
        &["--bad", "list"],
        &["-c"],
        &["start"],
        &["define"],
        &["snapshot-dumpxml"],
        &["snapshot-dumpxml", "test"],
        &["snapshot-dumpxml test"],
        &["snapshot-create-as"],
        &["snapshot-create-as", "test", "x", "y", "--description", "z"],
        &["snapshot-create-as", "test", "--memspec", "a", "--memspec", "b"],
        &["snapshot-create-as", "test", "x", "--current"],
        &["snapshot-create", "test", "a", "b"],
        &["snapshot-info", "test", "--snapshotname"],
        &["snapshot-info", "test", "--snapshotname", "--current"],
        &["snapshot-info", "test", "--", "--current"],
        &["snapshot-info", "test", "-"],
        &["snapshot-info", "test", "---x"],
        &["snapshot-info", "test", "--"],
        &["snapshot-info", "test", "a", "--help", "--bad"],
        &["snapshot-list test --from; list"],
        &["snapshot-list", "test", "x", "y"],
        &["snapshot-edit", "test", "x", "y"],
        &["help", "nosuch"],
        &["help", "nosuch", "--bad", "x"],
        // And what is no mistake.
        &[";;list;"],
        &["list # all"],
        &["list --name\nlist --id"],
        &["# nothing"],
        &["domstate nosuch; list --name; domstate test"],
        &["domstate test; domstate nosuch"],
        &["-q", "list"],
        &["-q", "domstate test; domid test"],
        &["-q", "snapshot-list", "test"],
        &["-q", "snapshot-create-as test a; snapshot-current test --name; snapshot-delete test a"],
        &["-q", "snapshot-info", "test"],
    ]);
}

/// What virsh has and D-Bus cannot carry, or libvirt-dbus has no call for.
const NOT_OFFERED: &[&str] = &[
    "console",
    "autodestroy",
    "pass-fds",
    "storage",
    "remove-all-storage",
    "delete-storage-volume-snapshots",
    "wipe-storage",
];

/// A page of help without some options.
fn without(page: &str, options: &[&str]) -> String {
    let mut page = page.to_owned();
    for option in options {
        page = page.replace(&format!(" [--{option}]"), "").replace(&format!(" [--{option} <string>]"), "");
        let is_other = |line: &&str| !line.starts_with(&format!("    --{option} "));
        page = page.lines().filter(is_other).map(|line| format!("{line}\n")).collect();
    }
    page
}

#[test]
fn help_on_every_command_of_virsh_is_its_help() {
    for command in spec::commands().filter(|c| c.place().0.is_none() && !matches!(c.name, "completion" | "man")) {
        let (virsh, virsnap) = help(&["help", command.name]);
        // `define --validate` is another call, which libvirt-dbus has not.
        let not_offered = if command.name == "define" { &["validate"] } else { NOT_OFFERED };
        assert_eq!(without(&virsnap.out, &["json"]), without(&virsh.out, not_offered), "{}", command.name);
        assert_eq!((virsnap.code, virsnap.err), (virsh.code, virsh.err), "{}", command.name);
    }
    for words in [&["help", "snapshot"][..], &["snapshot-revert", "--help"], &["help", "help"]] {
        let (virsh, virsnap) = help(words);
        assert_eq!(virsnap, virsh, "{words:?}");
    }
}

//! Commands that take, change and drop snapshots, and those on domains around them.

use super::compare;

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
            "snapshot-dumpxml test a",
            "snapshot-current test",
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
    let other = "<domain type='test'><name>other</name>\
                 <uuid>0dd0dd0d-0000-4000-8000-000000000001</uuid><memory>1024</memory><os><type>hvm</type></os></domain>";
    compare(
        "true",
        &[("other.xml", other)],
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
            "domfsfreeze test",
            "domfsinfo test",
            "domfsthaw test /",
            "start test",
            "shutdown test",
            "domstate test",
            "domfsfreeze nosuch",
            "managedsave-remove test",
            "managedsave-remove nosuch",
            "managedsave nosuch",
            "domrename nosuch x",
            "domrename test ''",
            "undefine test --nvram --keep-nvram",
            "undefine test --tpm --keep-tpm",
            "undefine test",
            "list --all",
            "define nosuch.xml",
            "define ''",
            "create nosuch.xml",
            "define other.xml",
            "list --all --name",
            "create other.xml",
        ],
    );
}

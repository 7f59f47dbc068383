//! Commands that read snapshots, on two trees of them.

use super::compare;

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
        "snapshot-dumpxml test b",
        "snapshot-dumpxml test C --security-info",
        "snapshot-current test",
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

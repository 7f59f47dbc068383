//! Command lines: what is refused in them, and what `help` says of them.

use super::{compare_lines, help};
use virsnap::cli::spec;

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
    "completed",
    "keep-completed",
    "anystats",
    "rawstats",
    "postcopy",
    // A terminal shows it unasked.
    "verbose",
];

/// Commands that virsh has not.
const OWN_COMMANDS: &[&str] =
    &["completion", "man", "snapshot-verify", "snapshot-rename", "snapshot-describe", "snapshot-event"];

/// Options that virsh has not.
const OURS: &[&str] = &["json", "dry-run", "delete-children", "discard"];

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
    for command in spec::commands().filter(|c| c.place().0.is_none() && !OWN_COMMANDS.contains(&c.name)) {
        let (virsh, virsnap) = help(&["help", command.name]);
        // `define --validate` is another call, which libvirt-dbus has not.
        let not_offered: &[&str] = match command.name {
            "define" => &["validate"],
            "managedsave" => &[],
            _ => NOT_OFFERED,
        };
        assert_eq!(without(&virsnap.out, OURS), without(&virsh.out, not_offered), "{}", command.name);
        assert_eq!((virsnap.code, virsnap.err), (virsh.code, virsh.err), "{}", command.name);
    }
    for words in [&["help", "snapshot"][..], &["snapshot-revert", "--help"], &["help", "help"]] {
        let (virsh, virsnap) = help(words);
        assert_eq!(without(&virsnap.out, OURS), virsh.out, "{words:?}");
        assert_eq!((virsnap.code, virsnap.err), (virsh.code, virsh.err), "{words:?}");
    }
}

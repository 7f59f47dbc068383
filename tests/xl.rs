//! What `virsnap xl` makes of options and configuration files, before it asks any service: actions, documents, flags,
//! and where it says a file is wrong.

#![allow(clippy::unwrap_used)]

use std::fmt::Write;
use std::process::Command;
use virsnap::cli::action::{Action, Force, SnapshotAct, Which, XlAct, XlForm};
use virsnap::cli::args::{self, Parsed, Stop};
use virsnap::cli::xl::config::{self, Config, Mode};
use virsnap::cli::xl::document::{Activity, Options, Subject, draft};
use virsnap::model::flags::{CreateFlags, DeleteFlags, RevertFlags};
use virsnap::model::ids::DomainId;

fn parse(line: &str) -> Result<Parsed, String> {
    let words = std::iter::once("virsnap").chain(line.split_whitespace());
    args::parse(words.map(Into::into).collect()).map_err(|stop| match stop {
        Stop::Usage(failure) => failure.lines().join("\n"),
        Stop::Print(text) => text,
    })
}

fn action(line: &str) -> Result<Action, String> {
    Action::from_typed(&parse(line)?.commands[0]).map_err(|failure| failure.lines().join("\n"))
}

fn create(line: &str) -> (Option<String>, Options) {
    match action(&format!("xl snapshot-create {line}")) {
        Ok(Action::Xl(XlAct::Create { domain, file, options })) if domain == "d" => (file, options),
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn a_file_stands_before_the_domain_and_may_be_left_out() {
    let some = |s: &str| Some(s.to_owned());
    let named = |name: &str, mode| Options { name: some(name), mode, flags: CreateFlags::empty() };
    assert_eq!(create("d"), (None, Options::default()));
    assert_eq!(create("f.cfg d"), (some("f.cfg"), Options::default()));
    for line in [
        "-n s f d",
        "f -n s d",
        "f d -n s",
        "f d --name=s",
        "-ns f d",
        "--configfile f --name s d",
        "--domain d f -n s",
    ] {
        assert_eq!(create(line), (some("f"), named("s", None)), "{line}");
    }
    assert_eq!(create("-n s --live d"), (None, named("s", Some(Mode::Live))));
    assert_eq!(create("--disk-only d -n s"), (None, named("s", Some(Mode::DiskOnly))));
    assert_eq!(create("--reuse-external d").1.flags, CreateFlags::REUSE_EXT);
}

#[test]
fn the_other_commands_are_those_of_every_driver() {
    let list = |domain: Option<&str>, name: Option<&str>, form| {
        Ok(Action::Xl(XlAct::List { domain: domain.map(Into::into), name: name.map(Into::into), form }))
    };
    assert_eq!(action("xl snapshot-list"), list(None, None, XlForm::Table));
    assert_eq!(action("xl snapshot-list d"), list(Some("d"), None, XlForm::Table));
    assert_eq!(action("xl snapshot-list -l -n s d"), list(Some("d"), Some("s"), XlForm::Records));
    assert_eq!(action("xl snapshot-list --long"), list(None, None, XlForm::Records));
    let on = |act| Ok(Action::Snapshot { domain: "d".into(), which: Which::Named("s".into()), act });
    assert_eq!(action("xl snapshot-delete -n s d"), on(SnapshotAct::Delete(DeleteFlags::empty())));
    assert_eq!(action("xl snapshot-delete d --name s --children"), on(SnapshotAct::Delete(DeleteFlags::CHILDREN)));
    let revert = |flags, force| on(SnapshotAct::Revert { flags, force });
    assert_eq!(action("xl snapshot-revert -n s d"), revert(RevertFlags::empty(), Force::Never));
    assert_eq!(action("xl snapshot-revert -n s --paused --force d"), revert(RevertFlags::PAUSED, Force::IfNeeded));
}

#[test]
fn a_wrong_command_line_is_told_as_everywhere() {
    for (line, told) in [
        ("xl", "command 'xl' requires <command> option"),
        ("xl frob", "unknown command: 'xl frob'"),
        ("xl -x list", "command 'xl' doesn't support option -x"),
        ("xl list", "unknown command: 'xl list'"),
        ("xl snapshot-create", "command 'xl snapshot-create' requires <domain> option"),
        ("xl snapshot-create a b c", "unexpected data 'c'"),
        ("xl snapshot-create d --bad", "command 'xl snapshot-create' doesn't support option --bad"),
        ("xl snapshot-create d -x", "command 'xl snapshot-create' doesn't support option -x"),
        ("xl snapshot-create d -n a -n b", "option --name already seen"),
        ("xl snapshot-create --live --disk-only d", "Options --live and --disk-only are mutually exclusive"),
        ("xl snapshot-create d --name=", "Failed to get option 'name': Option argument is empty"),
        ("xl snapshot-delete d", "command 'xl snapshot-delete' requires <name> option"),
        ("xl snapshot-delete d s", "unexpected data 's'"),
        ("xl snapshot-revert -n s", "command 'xl snapshot-revert' requires <domain> option"),
        ("xl snapshot-list a b", "unexpected data 'b'"),
    ] {
        assert_eq!(action(line).map(|_| ()), Err(told.to_owned()), "{line}");
    }
}

#[test]
fn the_driver_is_xens_unless_another_is_named() {
    let driver = |line| {
        let parsed = parse(line).unwrap();
        parsed.global.driver.unwrap_or(parsed.commands[0].command.default_driver())
    };
    assert_eq!(driver("xl snapshot-list"), "Xen");
    assert_eq!(driver("snapshot-list d"), "QEMU");
    assert_eq!(driver("--driver test xl snapshot-list"), "Test");
    assert_eq!(driver("xl snapshot-list --driver qemu"), "QEMU");
    assert!(parse("xl snapshot-list d -q").unwrap().global.quiet);
}

fn subject(activity: Activity) -> Subject {
    let id = DomainId(uuid::Uuid::from_u128(0x0dd0_0dd0_0002_4000_8000_0000_0000_0002));
    Subject { id, activity, disks: vec!["xvda".into(), "xvdb".into()] }
}

/// Every file with every option, of a guest that is up and of one that is off.
#[test]
fn every_file_with_every_option_is_its_document() {
    let mut golden = String::new();
    for file in [
        "",
        "name = 'n'\ndescription = 'a<b'\ncreationtime = 3",
        "save = 'm/s.save'",
        "save = '/m/s.save'",
        "type = 'internal'",
        "type = 'external'",
        "type = 'external'\nsave = '/m'",
        "live = 1\nsave = './m'\ndisk_only = 0",
        "disk_only = 1",
        "disk_only = 1\ntype = 'internal'",
        "disk = ['xvda=o.qcow2,type=qcow2']",
        "disk = ['xvda=/o', 'xvdb,snapshot=no']\ntype = 'internal'",
        "disk = ['xvdb']",
        "disk = ['xvda,type=qed', 'xvdb,snapshot=internal']\nsave = '/m'",
    ] {
        let config = config::read("f", file).unwrap();
        for option in ["", "-n o --live", "--disk-only"] {
            let (_, options) = create(&format!("{option} d"));
            let documents = [Activity::Up, Activity::Off].map(|activity| {
                match draft(&options, &config, &subject(activity), 1_400_000_000) {
                    Ok((xml, flags)) => format!("{flags:?}\n{xml}"),
                    Err(failure) => format!("error: {}\n", failure.lines().join("\n")),
                }
            });
            writeln!(golden, "=== {} | {option}", file.replace('\n', "; ")).unwrap();
            match documents {
                [up, off] if up == off => golden.push_str(&up),
                [up, off] => write!(golden, "up: {up}off: {off}").unwrap(),
            }
        }
    }
    insta::assert_snapshot!(golden);
}

#[test]
fn a_wrong_file_is_told_with_file_line_and_column() {
    for (file, told) in [
        ("name", "f:1:5: expected '=' after 'name', found the end of the file"),
        ("name = 'a'\nname = 'b'", "f:2:1: 'name' is set twice, first at line 1"),
        ("memory = 512", "f:1:1: unknown key 'memory'"),
        ("\n name = 3", "f:2:9: 'name' must be a string"),
        ("name = ''", "f:1:8: 'name' is empty"),
        ("creationtime = []", "f:1:16: 'creationtime' must be a number"),
        ("type = 'both'", "f:1:8: 'type' is internal or external, not 'both'"),
        ("live = 2", "f:1:8: 'live' is 0 or 1"),
        ("live = '1'", "f:1:8: 'live' is 0 or 1"),
        ("live = 1\ndisk_only = 1", "f:2:1: 'live' and 'disk_only' exclude each other"),
        ("type = 'internal'\nlive = 1", "f:1:8: a live snapshot needs type external"),
        ("disk = ['a,snapshot=internal']; live = 1", "f:1:33: a live snapshot needs external disks"),
        ("disk_only = 1\nsave = '/m'", "f:2:8: a snapshot of the disks only has no memory to save"),
        ("save = '../m'", "f:1:8: '../m' leaves the domain's directory; use an absolute path"),
        ("disk = [ 'a=x/../../y' ]", "f:1:10: 'x/../../y' leaves the domain's directory; use an absolute path"),
        ("disk = 'a'", "f:1:8: 'disk' must be a list"),
        ("disk = [ 'a',\n  3 ]", "f:2:3: a disk must be a string"),
        ("disk = [ 'a', 'a=f' ]", "f:1:15: disk 'a' is there twice"),
        ("disk = [ 'a',\n 'b,ro' ]", "f:2:2: 'ro' of disk 'b' is not understood"),
    ] {
        assert_eq!(config::read("f", file).map_err(|e| e.lines().to_vec()), Err(vec![told.to_owned()]), "{file}");
    }
    assert_eq!(config::read("f", "# nothing\n;\n"), Ok(Config::default()));
}

/// Exit code, standard output and standard error of the program itself.
fn virsnap(words: &[&str]) -> (i32, String, String) {
    let done = Command::new(env!("CARGO_BIN_EXE_virsnap")).args(words).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (done.status.code().unwrap(), text(done.stdout), text(done.stderr))
}

#[test]
fn manual_pages_and_completion_name_every_command_and_option() {
    // roff writes a hyphen that must stay one as `\-`.
    let page = |words: &[&str]| virsnap(words).1.replace("\\-", "-");
    let (main, xl) = (page(&["man"]), page(&["man", "xl"]));
    let offered = |words: &[&str]| -> Vec<String> {
        let (code, out, error) = virsnap(&[&["complete", "--"], words].concat());
        assert_eq!((code, error.as_str()), (0, ""));
        out.lines().map(|line| line.split('\t').next().unwrap().to_owned()).collect()
    };
    let (commands, members) = (offered(&[""]), offered(&["xl", ""]));
    for command in virsnap::cli::spec::commands() {
        let (group, name) = command.place();
        let page = if group.is_some() { &xl } else { &main };
        assert!(main.contains(&command.usage()), "{}", command.name);
        assert!(if group.is_some() { &members } else { &commands }.contains(&name.to_owned()), "{}", command.name);
        let words: Vec<&str> = command.name.split(' ').chain(["--"]).collect();
        let options = if command.options.is_empty() { vec![] } else { offered(&words) };
        for option in command.options {
            let long = format!("--{}", option.name);
            assert!(page.contains(&long), "{}: {}", command.name, option.name);
            assert!(options.contains(&long), "{}: {long}: {options:?}", command.name);
        }
    }
    for key in ["name", "description", "creationtime", "save", "type", "live", "disk_only", "disk"] {
        assert!(xl.contains(&format!("{key} = ")), "{key}");
    }
    assert_eq!(virsnap(&["man", "x"]), (1, String::new(), "error: unknown page 'x'; there are virsnap, xl\n".into()));
    let told = "error: unknown shell 'ksh'; there are bash, zsh, fish\n";
    assert_eq!(virsnap(&["completion", "ksh"]), (1, String::new(), told.into()));
    for shell in ["zsh", "fish"] {
        assert!(virsnap(&["completion", shell]).1.contains("complete -- "), "{shell}");
    }
}

#[test]
fn bash_completes_commands_options_and_what_may_be_said() {
    let script = virsnap(&["completion", "bash"]).1;
    for (typed, offered) in [
        ("snapshot-cr", "snapshot-create snapshot-create-as"),
        ("xl snapshot-l", "snapshot-list"),
        ("xl snapshot-create --l", "--live"),
        ("snapshot-list d --parent --le", "--leaves"),
        ("snapshot-list d --parent --pa", ""),
        ("snapshot-info d -- --cu", ""),
        ("completion z", "zsh"),
        ("man ", "virsnap xl"),
        ("--driver x", "xen"),
        ("-q --connect qemu:///se", "///session"),
        ("--qu", "--quiet"),
        ("reboot d --mode p", "paravirt"),
        ("nosuch ", ""),
        ("start ; ", ""),
    ] {
        let line = format!("{} {typed}", env!("CARGO_BIN_EXE_virsnap"));
        let test =
            format!("{script}\nCOMP_LINE='{line}' COMP_POINT={}; _virsnap; echo \"${{COMPREPLY[*]}}\"", line.len());
        let done = Command::new("bash").args(["--norc", "-c", &test]).output().unwrap();
        assert_eq!(String::from_utf8(done.stdout).unwrap().trim(), offered, "{typed}");
    }
}

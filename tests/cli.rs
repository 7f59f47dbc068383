//! What `virsnap` makes of a command line, before it asks any service: actions with their flag
//! words, the documents it writes, and the words in which it refuses (virsh 11.3's).

#![allow(clippy::unwrap_used)]

use std::process::Command;
use virsnap::cli::action::{
    Action, Document, DomainAct, DomainColumns, DomainList, Dump, Force, Form, Matches, NewName, SnapshotAct,
    SnapshotForm, SnapshotList, SnapshotsAct, Which,
};
use virsnap::cli::args::{self, Parsed, Stop, Typed};
use virsnap::cli::failure::Failure;
use virsnap::model::flags::{CreateFlags, DeleteFlags, ListFlags, RevertFlags, StartFlags, UndefineFlags, XmlFlags};

fn parse(words: &[&str]) -> Result<Parsed, Stop> {
    args::parse(std::iter::once(&"virsnap").chain(words).map(Into::into).collect())
}

/// The action, or the lines that tell why not. Words are split at blanks.
fn action(line: &str) -> Result<Action, Vec<String>> {
    let words: Vec<&str> = line.split_whitespace().collect();
    // One word would be a script.
    match command(&words) {
        Ok(typed) => match Action::from_typed(&typed) {
            Ok(Action::Refuse { failure, .. }) | Err(failure) => Err(failure.lines().to_vec()),
            Ok(action) => Ok(action),
        },
        Err(failure) => Err(failure.lines().to_vec()),
    }
}

/// The one command.
fn command(words: &[&str]) -> Result<Typed, Failure> {
    match parse(words) {
        Ok(parsed) => Ok(parsed.commands.into_iter().next().unwrap()),
        Err(Stop::Usage(failure)) => Err(failure),
        Err(Stop::Print(text)) => panic!("{text}"),
    }
}

fn refused(line: &str) -> String {
    match action(line) {
        Ok(action) => panic!("{line}: {action:?}"),
        Err(lines) => lines.join("\n"),
    }
}

fn create_as_xml(words: &[&str]) -> String {
    let words: Vec<&str> = ["snapshot-create-as", "--print-xml"].iter().chain(words).copied().collect();
    match Action::from_typed(&command(&words).unwrap()).unwrap() {
        Action::Snapshots { act: SnapshotsAct::PrintXml(xml), .. } => xml,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_word_fills_the_first_option_that_takes_one_and_has_none() {
    let revert = |domain: &str, name: &str| {
        let act = SnapshotAct::Revert { flags: RevertFlags::empty(), force: Force::Never };
        Ok(Action::Snapshot { domain: domain.into(), which: Which::Named(name.into()), act })
    };
    for line in [
        "snapshot-revert d s",
        "snapshot-revert --domain d s",
        "snapshot-revert --domain=d --snapshotname=s",
        "snapshot-revert --snapshotname s d",
        "snapshot-revert d --snapshotname s",
        "-q snapshot-revert d s",
        "snapshot-revert d -- s",
    ] {
        assert_eq!(action(line), revert("d", "s"), "{line}");
    }
    assert_eq!(action("snapshot-revert d -- --s"), revert("d", "--s"));
    assert_eq!(action("snapshot-revert d --snapshotname --current"), revert("d", "--current"));
}

#[test]
fn a_wrong_command_line_is_told_in_virshs_words() {
    for (line, text) in [
        ("frob", "unknown command: 'frob'"),
        ("list foo", "unexpected data 'foo'"),
        ("list --bad", "command 'list' doesn't support option --bad"),
        ("snapshot-create d --bad=3", "command 'snapshot-create' doesn't support option --bad"),
        ("list --all --all", "option --all already seen"),
        ("list --all=3", "invalid '=' after option --all"),
        ("start", "command 'start' requires <domain> option"),
        ("define", "command 'define' requires <file> option"),
        ("snapshot-dumpxml d", "command 'snapshot-dumpxml' requires <snapshotname> option"),
        (
            "snapshot-dumpxml",
            "command 'snapshot-dumpxml' requires <domain> option\ncommand 'snapshot-dumpxml' requires <snapshotname> option",
        ),
        ("snapshot-list d d d", "unexpected data 'd'"),
        ("list -q", "unexpected data '-q'"),
        // What is wrong first is told.
        ("list --all=3 --bad", "invalid '=' after option --all"),
        ("list --bad --all=3", "command 'list' doesn't support option --bad"),
        ("list x --bad", "unexpected data 'x'"),
        ("snapshot-info --help --bad", "command 'snapshot-info' doesn't support option --bad"),
        ("snapshot-list d --domain d", "option --domain already seen"),
        ("snapshot-create-as d x t --description e", "option --description already seen"),
        ("snapshot-create-as d --memspec a --memspec b", "option --memspec already seen"),
        ("snapshot-create-as d x --current", "command 'snapshot-create-as' doesn't support option --current"),
        ("snapshot-info d --snapshotname", "expected syntax: --snapshotname <string>"),
        ("snapshot-list d --from", "expected syntax: --from <string>"),
    ] {
        assert_eq!(refused(line), text, "{line}");
    }
}

#[test]
fn contradictions_are_refused_in_virshs_words() {
    for (line, text) in [
        ("list --table --name", "Options --table and --name are mutually exclusive"),
        ("undefine d --nvram --keep-nvram", "Options --nvram and --keep-nvram are mutually exclusive"),
        ("undefine d --tpm --keep-tpm", "Options --tpm and --keep-tpm are mutually exclusive"),
        ("snapshot-list d --tree --name", "Options --tree and --name are mutually exclusive"),
        ("snapshot-list d --parent --roots", "Options --parent and --roots are mutually exclusive"),
        ("snapshot-list d --parent --tree", "Options --parent and --tree are mutually exclusive"),
        ("snapshot-list d --roots --tree", "Options --roots and --tree are mutually exclusive"),
        ("snapshot-list d --roots --from x", "Options --roots and --from are mutually exclusive"),
        ("snapshot-list d --roots --current", "Options --roots and --current are mutually exclusive"),
        ("snapshot-list d --from x --current", "--from and --current are mutually exclusive"),
        ("snapshot-list d --tree --leaves", "--leaves and --tree are mutually exclusive"),
        ("snapshot-list d --tree --no-leaves", "--no-leaves and --tree are mutually exclusive"),
        ("snapshot-list d --tree --inactive", "--inactive and --tree are mutually exclusive"),
        ("snapshot-list d --tree --active", "--active and --tree are mutually exclusive"),
        ("snapshot-list d --tree --disk-only", "--disk-only and --tree are mutually exclusive"),
        ("snapshot-list d --tree --internal", "--internal and --tree are mutually exclusive"),
        ("snapshot-list d --tree --external", "--external and --tree are mutually exclusive"),
        ("snapshot-list d --descendants", "--descendants requires either --from or --current"),
        ("snapshot-info d", "--snapshotname or --current is required"),
        ("snapshot-parent d", "--snapshotname or --current is required"),
        ("snapshot-revert d", "--snapshotname or --current is required"),
        ("snapshot-delete d", "--snapshotname or --current is required"),
        ("snapshot-info d x --current", "--snapshotname and --current are mutually exclusive"),
        ("snapshot-current d x --name", "Options --name and --snapshotname are mutually exclusive"),
        ("snapshot-edit d", "--snapshotname or --current is required"),
        ("snapshot-edit d x --rename --clone", "Options --rename and --clone are mutually exclusive"),
        ("snapshot-list d --json --tree", "Options --json and --tree are mutually exclusive"),
        ("snapshot-list d --json --name", "Options --json and --name are mutually exclusive"),
        ("snapshot-current d --json --name", "Options --json and --name are mutually exclusive"),
        ("list --json --uuid", "Options --json and --uuid are mutually exclusive"),
        ("snapshot-create-as d --memspec foo", "unable to parse memspec: foo"),
        ("snapshot-create-as d n t vda,x", "unable to parse diskspec: vda,x"),
        ("snapshot-create-as d --diskspec a,stype=b", "Unknown storage type: 'b'\nunable to parse diskspec: a,stype=b"),
        ("shutdown d --mode x", "Unknown mode x value, expecting 'acpi', 'agent', 'initctl', 'signal', or 'paravirt'"),
        (
            "reboot d --mode acpi,x",
            "Unknown mode x value, expecting 'acpi', 'agent', 'initctl', 'signal' or 'paravirt'",
        ),
    ] {
        assert_eq!(refused(line), text, "{line}");
    }
}

/// virsh looks for the domain before it reads most options, and complains of the first thing that is wrong.
#[test]
fn some_refusals_wait_for_the_domain() {
    let refusal = |words: &[&str]| match Action::from_typed(&command(words).unwrap()) {
        Ok(Action::Refuse { domain, failure }) => (Some(domain), failure.lines().join("\n")),
        Ok(other) => panic!("{other:?}"),
        Err(failure) => (None, failure.lines().join("\n")),
    };
    let empty = |option: &str| format!("Failed to get option '{option}': Option argument is empty");
    let d = || Some("d".to_owned());
    assert_eq!(refusal(&["snapshot-list", "d", "--from", ""]), (d(), empty("from")));
    assert_eq!(refusal(&["snapshot-list", "", "--from", ""]), (None, empty("domain")));
    assert_eq!(refusal(&["snapshot-create", "d", ""]), (d(), empty("xmlfile")));
    assert_eq!(refusal(&["snapshot-create-as", "d", "--memspec", "x"]), (d(), "unable to parse memspec: x".into()));
    assert_eq!(refusal(&["snapshot-info", "d"]), (d(), "--snapshotname or --current is required".into()));
    assert_eq!(refusal(&["snapshot-dumpxml", "d", ""]), (None, empty("snapshotname")));
    assert_eq!(refusal(&["define", ""]), (None, empty("file")));
    let (domain, _) = refusal(&["snapshot-current", "d", "s", "--name"]);
    assert_eq!(domain, None);
}

#[test]
fn an_edit_redefines_and_names_may_change_where_it_was_said() {
    let edit = |options: &str| match action(&format!("snapshot-edit d {options}")) {
        Ok(Action::Snapshot { which, act: SnapshotAct::Edit { flags, new_name }, .. }) => (which, flags, new_name),
        other => panic!("{other:?}"),
    };
    let named = || Which::Named("s".into());
    assert_eq!(edit("s"), (named(), CreateFlags::REDEFINE, NewName::Refused));
    assert_eq!(edit("s --rename"), (named(), CreateFlags::REDEFINE, NewName::Renames));
    assert_eq!(edit("s --clone"), (named(), CreateFlags::REDEFINE, NewName::Clones));
    assert_eq!(edit("s --current"), (named(), CreateFlags::REDEFINE | CreateFlags::CURRENT, NewName::Refused));
    assert_eq!(edit("--current"), (Which::Current, CreateFlags::REDEFINE, NewName::Refused));
}

#[test]
fn one_word_is_a_script() {
    let names = |script: &str| {
        let commands = parse(&[script]).unwrap().commands;
        commands.iter().map(|c| (c.command.name, c.value("domain").map(str::to_owned))).collect::<Vec<_>>()
    };
    let (a, b) = (Some("a b".to_owned()), Some("b".to_owned()));
    assert_eq!(names("start 'a b'; list --all;domid b"), [("start", a), ("list", None), ("domid", b)]);
    assert_eq!(names(" ; # nothing"), []);
    let Err(Stop::Usage(failure)) = parse(&["list; frob; list"]) else { panic!() };
    assert_eq!(failure.lines(), ["unknown command: 'frob'"]);
}

#[test]
fn every_create_option_is_its_flag() {
    for (option, flags) in [
        ("--redefine", CreateFlags::REDEFINE),
        ("--redefine --current", CreateFlags::REDEFINE | CreateFlags::CURRENT),
        ("--no-metadata", CreateFlags::NO_METADATA),
        ("--halt", CreateFlags::HALT),
        ("--disk-only --atomic", CreateFlags::DISK_ONLY | CreateFlags::ATOMIC),
        ("--reuse-external", CreateFlags::REUSE_EXT),
        ("--quiesce", CreateFlags::QUIESCE),
        ("--live", CreateFlags::LIVE),
        ("--validate", CreateFlags::VALIDATE),
        ("", CreateFlags::empty()),
    ] {
        let made = |document| {
            let act = SnapshotsAct::Create { document, flags };
            Ok(Action::Snapshots { domain: "d".into(), act })
        };
        assert_eq!(action(&format!("snapshot-create d {option}")), made(Document::Empty));
        assert_eq!(action(&format!("snapshot-create d {option} f.xml")), made(Document::File("f.xml".into())));
        if !option.starts_with("--redefine") {
            let text = Document::Text("<domainsnapshot>\n  <name>n</name>\n</domainsnapshot>\n".into());
            assert_eq!(action(&format!("snapshot-create-as d n {option}")), made(text));
        }
    }
}

#[test]
fn revert_and_delete_options_are_their_flags_and_force_waits_for_a_refusal() {
    let revert = |options: &str| match action(&format!("snapshot-revert d --current {options}")) {
        Ok(Action::Snapshot { which: Which::Current, act: SnapshotAct::Revert { flags, force }, .. }) => (flags, force),
        other => panic!("{other:?}"),
    };
    assert_eq!(revert(""), (RevertFlags::empty(), Force::Never));
    assert_eq!(revert("--running"), (RevertFlags::RUNNING, Force::Never));
    assert_eq!(revert("--paused --force"), (RevertFlags::PAUSED, Force::IfNeeded));
    assert_eq!(revert("--reset-nvram"), (RevertFlags::RESET_NVRAM, Force::Never));
    // Whether these exclude each other is for the service to say.
    assert_eq!(revert("--running --paused").0, RevertFlags::RUNNING | RevertFlags::PAUSED);
    let delete = |options: &str| match action(&format!("snapshot-delete d s {options}")) {
        Ok(Action::Snapshot { act: SnapshotAct::Delete(flags), .. }) => flags,
        other => panic!("{other:?}"),
    };
    assert_eq!(delete(""), DeleteFlags::empty());
    assert_eq!(delete("--children --metadata"), DeleteFlags::CHILDREN | DeleteFlags::METADATA_ONLY);
    assert_eq!(delete("--children-only"), DeleteFlags::CHILDREN_ONLY);
}

#[test]
fn the_current_snapshot_is_shown_named_or_set() {
    let on = |act| Ok(Action::Snapshots { domain: "d".into(), act });
    assert_eq!(action("snapshot-current d"), on(SnapshotsAct::CurrentXml(XmlFlags::empty())));
    assert_eq!(action("snapshot-current d --security-info"), on(SnapshotsAct::CurrentXml(XmlFlags::SECURE)));
    assert_eq!(action("snapshot-current d --name --security-info"), on(SnapshotsAct::CurrentName));
    let set = Action::Snapshot { domain: "d".into(), which: Which::Named("s".into()), act: SnapshotAct::MakeCurrent };
    assert_eq!(action("snapshot-current d s"), Ok(set));
}

#[test]
fn snapshot_list_asks_for_what_its_options_say() {
    let list = |options: &str| match action(&format!("snapshot-list d {options}")) {
        Ok(Action::Snapshots { act: SnapshotsAct::List(SnapshotList { from, flags, form }), .. }) => {
            (from, flags, form)
        }
        other => panic!("{other:?}"),
    };
    let (table, names) = (SnapshotForm::Table { parent: false }, SnapshotForm::Names { parent: false });
    assert_eq!(list(""), (None, ListFlags::empty(), table));
    assert_eq!(list("--parent"), (None, ListFlags::empty(), SnapshotForm::Table { parent: true }));
    assert_eq!(list("--name --parent"), (None, ListFlags::empty(), SnapshotForm::Names { parent: true }));
    assert_eq!(list("--tree --metadata"), (None, ListFlags::METADATA, SnapshotForm::Tree));
    assert_eq!(list("--roots"), (None, ListFlags::ROOTS_OR_DESCENDANTS, table));
    let from = Some(Which::Named("s".into()));
    assert_eq!(list("--from s --descendants"), (from.clone(), ListFlags::ROOTS_OR_DESCENDANTS, table));
    assert_eq!(list("s --topological"), (from, ListFlags::TOPOLOGICAL, table));
    assert_eq!(list("--current --name"), (Some(Which::Current), ListFlags::empty(), names));
    for (option, flag) in [
        ("--leaves", ListFlags::LEAVES),
        ("--no-leaves", ListFlags::NO_LEAVES),
        ("--no-metadata", ListFlags::NO_METADATA),
        ("--inactive", ListFlags::INACTIVE),
        ("--active", ListFlags::ACTIVE),
        ("--disk-only", ListFlags::DISK_ONLY),
        ("--internal", ListFlags::INTERNAL),
        ("--external", ListFlags::EXTERNAL),
    ] {
        assert_eq!(list(option).1, flag, "{option}");
    }
}

#[test]
fn list_asks_for_what_its_options_say() {
    let list = |options: &str| match action(&format!("list {options}")) {
        Ok(Action::ListDomains(DomainList { flags, columns })) => (flags, columns),
        other => panic!("{other:?}"),
    };
    let table = DomainColumns::Table { title: false, saved: false };
    assert_eq!(list(""), (0x1, table));
    assert_eq!(list("--inactive"), (0x2, table));
    assert_eq!(list("--all --inactive"), (0x3, table));
    assert_eq!(list("--all --with-snapshot --transient"), (0x3 | 0x1000 | 0x8, table));
    assert_eq!(list("--all --without-checkpoint --state-other"), (0x3 | 0x8000 | 0x80, table));
    assert_eq!(list("--title --managed-save").1, DomainColumns::Table { title: true, saved: true });
    assert_eq!(list("--uuid --name").1, DomainColumns::Bare { id: false, uuid: true, name: true });
}

#[test]
fn domain_commands_carry_libvirts_numbers() {
    let act = |line: &str| match action(line) {
        Ok(Action::Domain { domain, act }) if domain == "d" => act,
        other => panic!("{other:?}"),
    };
    let undefine = UndefineFlags::MANAGED_SAVE | UndefineFlags::SNAPSHOTS_METADATA | UndefineFlags::NVRAM;
    assert_eq!(act("undefine d --managed-save --snapshots-metadata --nvram"), DomainAct::Undefine(undefine));
    assert_eq!(act("undefine d"), DomainAct::Undefine(UndefineFlags::empty()));
    assert_eq!(act("start d --paused"), DomainAct::Start(StartFlags::PAUSED));
    assert_eq!(act("shutdown d --mode acpi,agent"), DomainAct::Shutdown(3));
    assert_eq!(act("reboot d --mode paravirt"), DomainAct::Reboot(16));
    assert_eq!(act("destroy d --graceful"), DomainAct::Destroy(1));
    assert_eq!(act("destroy d --remove-logs"), DomainAct::Destroy(2));
    assert_eq!(act("autostart d --disable"), DomainAct::Autostart(false));
    let dump = |flags, xpath: Option<&str>, matches| {
        DomainAct::DumpXml(Dump { flags, xpath: xpath.map(str::to_owned), matches })
    };
    let flags = XmlFlags::INACTIVE | XmlFlags::SECURE;
    assert_eq!(act("dumpxml d --inactive --security-info"), dump(flags, None, Matches::Listed));
    assert_eq!(act("dumpxml d --xpath //name --wrap"), dump(XmlFlags::empty(), Some("//name"), Matches::Wrapped));
    assert_eq!(act("dominfo d --json"), DomainAct::Info(Form::Json));
    assert_eq!(act("domstate d --reason"), DomainAct::StateAndReason);
    let create = Action::Create { file: "f".into(), flags: StartFlags::PAUSED | StartFlags::VALIDATE };
    assert_eq!(action("create f --paused --validate"), Ok(create));
    assert_eq!(action("define --file f"), Ok(Action::Define { file: "f".into() }));
}

#[test]
fn create_as_writes_virshs_document() {
    assert_eq!(create_as_xml(&["d"]), "<domainsnapshot>\n</domainsnapshot>\n");
    let written = create_as_xml(&[
        "d",
        "a",
        "d&<'",
        "vda,snapshot=external,file=/a,,b,driver=qcow2",
        "--diskspec",
        "vdb,stype=block,file=/dev/x",
        "--diskspec",
        "vdc",
        "--memspec",
        "file=/f,snapshot=external",
        "vdd,stype=file,snapshot=no",
    ]);
    let expected = "<domainsnapshot>
  <name>a</name>
  <description>d&amp;&lt;&apos;</description>
  <memory snapshot='external' file='/f'/>
  <disks>
    <disk name='vda' snapshot='external'>
      <driver type='qcow2'/>
      <source file='/a,b'/>
    </disk>
    <disk name='vdb' type='block'>
      <source dev='/dev/x'/>
    </disk>
    <disk name='vdc'/>
    <disk name='vdd' snapshot='no' type='file'/>
  </disks>
</domainsnapshot>
";
    assert_eq!(written, expected);
}

#[test]
fn the_service_is_chosen_before_or_after_the_command() {
    let global = |words: &[&str]| parse(words).unwrap().global;
    let default = global(&["list"]);
    assert_eq!(
        (default.bus, default.bus_name.as_str(), default.driver, default.uri),
        (None, "org.libvirt", None, None)
    );
    for words in [
        &["--bus", "session", "--bus-name", "a.b", "--driver", "xen", "-q", "list"][..],
        &["list", "--bus=session", "--bus-name=a.b", "--driver=xen", "--quiet"],
    ] {
        let chosen = global(words);
        assert_eq!((chosen.bus.as_deref(), chosen.bus_name.as_str()), (Some("session"), "a.b"));
        assert_eq!((chosen.driver, chosen.quiet), (Some("Xen"), true));
    }
    assert_eq!(global(&["--driver", "test", "list"]).driver, Some("Test"));
    assert_eq!(global(&["-c", "x:///", "--connect=test:///default", "list"]).uri.as_deref(), Some("test:///default"));
    for (words, text) in [
        (&["-x", "list"][..], "unsupported option '-x'. See --help."),
        (&["--bad=1", "list"], "unsupported option '--bad'. See --help."),
        (&["-c"], "option '-c'/'--connect' requires an argument"),
        (&["--bus"], "option '--bus' requires an argument"),
        (&["list", "--bus"], "option '--bus' requires an argument"),
        (&["-c", "a", "--driver", "xen", "list"], "Options --connect and --driver are mutually exclusive"),
    ] {
        assert_eq!(parse(words).unwrap_err(), Stop::Usage(Failure::new(text)), "{words:?}");
    }
}

/// Exit code, standard output and standard error of the program itself.
fn virsnap(words: &[&str]) -> (i32, String, String) {
    let done = Command::new(env!("CARGO_BIN_EXE_virsnap")).args(words).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (done.status.code().unwrap(), text(done.stdout), text(done.stderr))
}

#[test]
fn the_program_fails_with_1_and_one_error_line() {
    let usage = |line: &str| (1, String::new(), format!("error: {line}\n"));
    assert_eq!(virsnap(&["frob"]), usage("unknown command: 'frob'"));
    assert_eq!(virsnap(&[]), usage("no command given; `virsnap help` lists them"));
    // A command that was understood and fails ends, as every command does, with virsh's empty line.
    let (code, out, err) = virsnap(&["--bus", "unix:path=/nonexistent/bus", "list"]);
    assert_eq!((code, out.as_str()), (1, "\n"));
    let expected = "error: failed to connect to the bus at unix:path=/nonexistent/bus: No such file or directory \
                    (unix:path=/nonexistent/bus); is it running, and the right one (--bus)?\n";
    assert_eq!(err, expected);
    let (code, out, _) = virsnap(&["-q", "--bus", "nowhere", "list"]);
    assert_eq!((code, out.as_str()), (1, ""));
}

#[test]
fn the_users_uri_is_asked_where_nothing_else_was_said() {
    let run = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_virsnap"));
        command.env_remove("VIRSH_DEFAULT_CONNECT_URI").env("LIBVIRT_DEFAULT_URI", "qemu+ssh://host/system");
        String::from_utf8(command.args(words).arg("list").output().unwrap().stderr).unwrap()
    };
    let refused = "error: failed to connect to the hypervisor\n\
                   error: no connection to another machine: qemu+ssh://host/system\n";
    assert_eq!(run(&["-q"]), refused);
    for words in [&["--bus", "unix:path=/nonexistent/bus"][..], &["-c", "test:///default", "--bus", "unix:path=/none"]]
    {
        assert!(run(words).starts_with("error: failed to connect to the bus at unix:path=/no"), "{words:?}");
    }
}

#[test]
fn a_reader_that_leaves_is_no_failure_but_a_full_disk_is() {
    let into = |file: std::fs::File| {
        let done = Command::new(env!("CARGO_BIN_EXE_virsnap")).arg("--help").stdout(file).output().unwrap();
        (done.status.code(), String::from_utf8(done.stderr).unwrap())
    };
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let refused = "error: cannot write to standard output: No space left on device\n";
    assert_eq!(into(full), (Some(1), refused.to_owned()));
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    drop(reader);
    assert_eq!(into(writer.into()), (Some(0), String::new()));
}

#[test]
fn the_program_lists_its_commands() {
    let (code, out, err) = virsnap(&["--help"]);
    assert_eq!((code, err.as_str()), (0, ""));
    let (code, help, _) = virsnap(&["help"]);
    assert_eq!(code, 0);
    for command in virsnap::cli::spec::commands() {
        let line = format!("\n    {:<30} {}\n", command.name, command.help);
        assert!(out.contains(&line) && help.contains(&line), "{}", command.name);
    }
    let (_, out, _) = virsnap(&["help", "xl snapshot-delete"]);
    assert!(out.contains("    xl snapshot-delete -n <name> [--children] [--children-only] <domain>\n"), "{out}");
}

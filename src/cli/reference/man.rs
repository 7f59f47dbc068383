//! Manual pages: `virsnap`(1), and `virsnap-xl`(1) for the commands below `xl`.

use super::super::args;
use super::super::failure::Failure;
use super::super::spec::{self, Command, Kind};
use crate::model::record::ROOT;
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};

/// The pages.
pub const PAGES: &[&str] = &["virsnap", "xl"];

/// The text of one page, in roff.
pub fn page(name: &str) -> Result<String, Failure> {
    let cannot = |e: std::io::Error| Failure::new(format!("cannot write the page: {e}"));
    match name {
        "virsnap" => virsnap().map_err(cannot),
        "xl" => xl().map_err(cannot),
        other => Err(super::unknown("page", other, PAGES)),
    }
}

fn virsnap() -> std::io::Result<String> {
    let app = args::program().override_usage("virsnap [OPTIONS] COMMAND [ARGUMENTS]");
    let man = Man::new(app).title("VIRSNAP").manual("virsnap");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    let mut text = Roff::new();
    text.control("SH", ["DESCRIPTION"]);
    paragraph(
        &mut text,
        "Commands, options, texts and exit codes are those of virsh(1). Everything is asked of a service on D-Bus, \
         virsnapd or libvirt-dbus. An argument without an option's name fills the first option that takes one.",
    );
    paragraph(
        &mut text,
        "A single argument may hold several commands, parted by ; or line ends, with a shell's quotes. All are read before \
         the first is done; one that fails does not keep the others from being done, and the exit status is the last one's.",
    );
    text.to_writer(&mut page)?;
    man.render_options_section(&mut page)?;
    let mut text = Roff::new();
    text.control("SH", ["COMMANDS"]);
    spec::commands().filter(|c| c.place().0.is_none()).for_each(|c| command(&mut text, c));
    text.control("SH", ["COMMANDS FOR XEN"]);
    paragraph(&mut text, "See virsnap-xl(1).");
    spec::commands().filter(|c| c.place().0 == Some("xl")).for_each(|c| entry(&mut text, &c.usage(), c.help));
    json(&mut text);
    beyond_virsh(&mut text);
    environment(&mut text);
    exit_status(&mut text);
    text.control("SH", ["SEE ALSO"]);
    paragraph(&mut text, "virsnap-xl(1), virsnapd --help, virsh(1)");
    text.to_writer(&mut page)?;
    Ok(String::from_utf8_lossy(&page).into_owned())
}

fn xl() -> std::io::Result<String> {
    let app = clap::Command::new("virsnap-xl")
        .version(env!("CARGO_PKG_VERSION"))
        .about("the snapshot commands proposed for Xen's xl, on virsnapd");
    let man = Man::new(app).title("VIRSNAP-XL").manual("virsnap");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    let mut text = Roff::new();
    text.control("SH", ["SYNOPSIS"]);
    for (i, c) in spec::commands().filter(|c| c.place().0 == Some("xl")).enumerate() {
        if i > 0 {
            text.control("br", []);
        }
        text.text([bold("virsnap "), roman(c.usage())]);
    }
    text.control("SH", ["DESCRIPTION"]);
    paragraph(
        &mut text,
        "The domain snapshot commands of the proposals on xen-devel of 2014. They are asked of virsnapd's Xen driver on \
         D-Bus; the options of virsnap(1) that every command has belong to these too. A snapshot taken here is one of \
         virsnap's, and the other way round.",
    );
    text.control("SH", ["COMMANDS"]);
    spec::commands().filter(|c| c.place().0 == Some("xl")).for_each(|c| command(&mut text, c));
    taking(&mut text);
    listing(&mut text);
    configuration(&mut text);
    text.control("SH", ["FILES"]);
    entry(&mut text, &format!("{ROOT}/UUID/"), "What a configuration names by a relative path, of the domain UUID.");
    entry(
        &mut text,
        &format!("{ROOT}/UUID/snapshotdata-NAME.libxl-json"),
        "A copy of each snapshot's record, kept by virsnapd. Records that somebody else wrote are never changed.",
    );
    exit_status(&mut text);
    text.control("SH", ["SEE ALSO"]);
    paragraph(&mut text, "virsnap(1), xl(1), xl.cfg(5)");
    text.to_writer(&mut page)?;
    Ok(String::from_utf8_lossy(&page).into_owned())
}

fn json(text: &mut Roff) {
    text.control("SH", ["JSON"]);
    paragraph(
        text,
        "With --json a command prints one JSON document. Keys are never renamed or removed; later versions may add some. What \
         does not exist or is not known is null. Failures are told as without it.",
    );
    for (command, keys) in [
        ("list", "An array of objects with id, name, uuid, state (as domstate has it) and title."),
        ("domstate", "An object with state and reason."),
        (
            "dominfo",
            "An object of list's keys and os_type, cpus, max_memory_kib, used_memory_kib, persistent, autostart and \
             managed_save.",
        ),
        (
            "snapshot-list, snapshot-current, snapshot-parent",
            "An object, of snapshot-list an array of them, with name, parent, current (true or false), state (running, paused, \
             shutoff, disk-snapshot, ...), location (internal or external), creation_time (seconds since the Epoch) and \
             description.",
        ),
        ("snapshot-info", "Such an object and domain, children and descendants (how many) and metadata (true)."),
    ] {
        entry(text, command, keys);
    }
}

fn beyond_virsh(text: &mut Roff) {
    text.control("SH", ["DIFFERENCES FROM VIRSH"]);
    for (what, how) in [
        (
            "snapshot-edit",
            "An edited document that is refused is kept in a file, which is named. Asked whether to try again, an answer is \
             a line. --rename renames in place where the service can, so that children and tags in images follow.",
        ),
        ("--xpath", "An expression that is none is an error. It has no prefixes of namespaces."),
        ("Quotes", "In several commands in one argument a single quote must be closed too."),
        ("Options", "Those before a command may stand behind it, if they have two dashes."),
    ] {
        entry(text, what, how);
    }
}

fn environment(text: &mut Roff) {
    text.control("SH", ["ENVIRONMENT"]);
    for (name, meaning) in [
        (
            "VIRSH_DEFAULT_CONNECT_URI, LIBVIRT_DEFAULT_URI",
            "The first that is set stands for --connect, where neither that nor --bus nor --driver is given.",
        ),
        ("VISUAL, EDITOR", "The editor of snapshot-edit; the first that is set, else vi."),
        ("TMPDIR", "Where the document is while it is edited; default: /tmp."),
    ] {
        entry(text, name, meaning);
    }
}

fn taking(text: &mut Roff) {
    text.control("SS", ["What is taken"]);
    for (asked, taken) in [
        (
            "(nothing)",
            "Disks in a tag within their image; the memory of a guest that is up in a file that virsnapd names.",
        ),
        (
            "type external",
            "Disks in an overlay; memory in save, else NAME.save. Of a domain that is off: the disks only.",
        ),
        ("--live", "As type external, and the guest runs again after a pause that virsnapd measures and reports."),
        (
            "--disk-only",
            "No memory. Of a guest that runs it is what a power cut would leave. Overlays, unless type is internal.",
        ),
    ] {
        entry(text, asked, taken);
    }
    paragraph(
        text,
        "An overlay without a file name is named by virsnapd and lies beside its base. Disks that the configuration does not \
         list are snapshotted as type says; snapshot=no leaves one out.",
    );
}

fn listing(text: &mut Roff) {
    text.control("SS", ["What is listed"]);
    paragraph(
        text,
        "The domain (where none was named), name, creation time, state when taken and type of each snapshot; then records in the \
         domain's directory that virsnapd did not write and did not take in, with the reason. With -q the snapshots only. With \
         --long a JSON array of records: domain, uuid, name, description, creation_time, save, state (as in xl's \
         libxl_dominfo), disks (device, name of a tag, file of an overlay, format), parent and current; a foreign record has \
         foreign, with file and reason, instead.",
    );
}

fn configuration(text: &mut Roff) {
    text.control("SH", ["CONFIGURATION FILE"]);
    paragraph(
        text,
        "In the syntax of xl.cfg(5). Options win over it. Relative file names lie below the domain's directory.",
    );
    for (key, meaning) in [
        ("name = 'NAME'", "The snapshot's name; default: seconds since the Epoch."),
        ("description = 'TEXT'", "Free text."),
        ("creationtime = SECONDS", "Ignored: virsnapd says when it was taken."),
        ("save = 'FILE'", "Where the memory is saved."),
        ("type = 'internal' | 'external'", "Where disks that say nothing themselves are snapshotted."),
        ("live = 0 | 1", "As --live."),
        ("disk_only = 0 | 1", "As --disk-only."),
        (
            "disk = [ 'VDEV[=FILE][,type=FORMAT][,snapshot=no|internal|external]', ... ]",
            "How single disks are snapshotted; a file or a format makes one external. Two commas are one in a file name.",
        ),
    ] {
        entry(text, key, meaning);
    }
    text.control("SS", ["Example"]);
    text.control("nf", []);
    for line in ["name = 'before-the-update'", "type = 'external'", "disk = [ 'xvda=root.qcow2,type=qcow2', 'xvdb' ]"] {
        text.text([roman(line)]);
    }
    text.control("fi", []);
}

fn exit_status(text: &mut Roff) {
    text.control("SH", ["EXIT STATUS"]);
    paragraph(text, "0 when all was done, else 1, with the reason on standard error.");
}

fn command(text: &mut Roff, command: &Command) {
    text.control("SS", [command.name]);
    text.text([bold("virsnap "), roman(command.usage())]);
    text.control("PP", []);
    text.text([roman(sentence(command.help))]);
    for option in command.options {
        text.control("TP", []);
        let mut head: Vec<Inline> = Vec::new();
        if let Some(letter) = option.short {
            head.extend([bold(format!("-{letter}")), roman(", ")]);
        }
        head.push(bold(format!("--{}", option.name)));
        if option.kind != Kind::Flag {
            head.extend([roman(" "), italic("string")]);
        }
        text.text(head);
        text.text([roman(sentence(option.help))]);
    }
}

fn entry(text: &mut Roff, head: &str, body: &str) {
    text.control("TP", []);
    text.text([bold(head)]);
    text.text([roman(sentence(body))]);
}

fn paragraph(text: &mut Roff, words: &str) {
    text.control("PP", []);
    text.text([roman(words)]);
}

/// Help lines begin small and end without a full stop; sentences of a manual don't.
fn sentence(help: &str) -> String {
    let mut chars = help.chars();
    let first = chars.next().map(|c| c.to_uppercase().to_string()).unwrap_or_default();
    let stop = if help.ends_with('.') { "" } else { "." };
    format!("{first}{}{stop}", chars.as_str())
}

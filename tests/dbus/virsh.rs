//! `virsnap` beside the real virsh: the same commands, one after the other, on libvirt's test driver and on virsnapd's. What
//! they print, complain of and exit with is equal, but for times and names of temporary files.

mod changes;
mod lines;
mod trees;

use super::bus::{Bus, Daemon};
use std::path::Path;
use std::process::{Command, Output};

/// What stands between two commands of virsh's one process; its test driver forgets when it ends.
const MARK: &str = "@@@@";

/// One command's outcome.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Said {
    fn new(output: &Output) -> Self {
        let text = |bytes: &[u8]| mask(&frame(std::str::from_utf8(bytes).unwrap()));
        Self { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
    }
}

/// Both programs, and the environment they share.
struct Pair<'a> {
    bus: &'a Bus,
    /// `$EDITOR`.
    editor: &'a str,
}

impl Pair<'_> {
    fn run(&self, program: &str, options: &[&str], words: &[&str]) -> Output {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("TZ", "Asia/Kolkata");
        command.env("LC_ALL", "C.UTF-8");
        command.env("HOME", self.bus.dir.path()).env("TMPDIR", "/tmp").env("EDITOR", self.editor);
        command.current_dir(self.bus.dir.path()).args(options).args(words);
        command.output().unwrap_or_else(|e| panic!("{program}: {e}; tests/setup.sh installs virsh"))
    }
    fn virsh(&self, words: &[&str]) -> Output {
        self.run("virsh", &["-c", "test:///default"], words)
    }
    fn virsnap(&self, words: &[&str]) -> Output {
        let address = self.bus.address();
        self.run(env!("CARGO_BIN_EXE_virsnap"), &["-c", "test:///default", "--bus", &address], words)
    }

    /// Runs the session in both and compares command by command.
    fn compare(&self, session: &[&str]) {
        let mut before = String::new();
        let mut different = Vec::new();
        for (i, command) in session.iter().enumerate() {
            let script: String = session[..i].iter().map(|c| format!("{c}; ")).collect();
            let real = self.virsh(&[&format!("{script}echo {MARK}; {command}")]);
            let mut expected = Said::new(&real);
            let behind = expected.out.split_once(&format!("{MARK}\n")).map(|(_, out)| out.to_owned());
            expected.out = behind.unwrap_or_else(|| panic!("{command}: {expected:?}"));
            let err = expected.err;
            expected.err = err.strip_prefix(&before).unwrap_or_else(|| panic!("{command}: {before} {err}")).to_owned();
            before = err;
            let said = Said::new(&self.virsnap(&[command]));
            if said != expected {
                different.push(format!("{command}\n  virsnap {said:?}\n  virsh   {expected:?}\n"));
            }
        }
        assert!(different.is_empty(), "{}", different.concat());
    }
}

/// A session on a daemon of its own, with files to read.
fn compare(editor: &str, files: &[(&str, &str)], session: &[&str]) {
    let bus = Bus::start();
    let _daemon = Daemon::start(&bus);
    let pair = Pair { bus: &bus, editor };
    for (name, text) in files {
        write(&bus.dir.path().join(name), text);
    }
    pair.compare(session);
}

/// Command lines as words, each in both, without anything before; on a bus that only the commands need.
fn compare_lines(lines: &[&[&str]]) {
    let bus = Bus::start();
    let _daemon = Daemon::start(&bus);
    let pair = Pair { bus: &bus, editor: "true" };
    for line in lines {
        let (said, expected) = (Said::new(&pair.virsnap(line)), Said::new(&pair.virsh(line)));
        assert_eq!(said, expected, "virsnap (left) and virsh (right), at: {line:?}");
    }
}

/// What `help` prints in virsh and in virsnap.
fn help(words: &[&str]) -> (Said, Said) {
    let bus = Bus::start();
    let pair = Pair { bus: &bus, editor: "true" };
    (Said::new(&pair.virsh(words)), Said::new(&pair.virsnap(words)))
}

fn write(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, text).unwrap();
    if text.starts_with("#!") {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
}

/// A snapshot's document without the domains in it, which are the service's to choose.
fn frame(text: &str) -> String {
    let mut text = text.to_owned();
    for name in ["domain", "inactiveDomain"] {
        let (begin, end) = (format!("  <{name} type="), format!("</{name}>\n"));
        while let Some((before, (_, after))) = text.split_once(&begin).and_then(|(b, i)| Some((b, i.split_once(&end)?)))
        {
            text = format!("{before}{after}");
        }
    }
    text
}

/// What differs from run to run, in one form: times, seconds since the Epoch, temporary files.
fn mask(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let shape = "dddd-dd-dd dd:dd:dd +dddd";
        let is_time = rest.len() >= shape.len()
            && rest.bytes().zip(shape.bytes()).all(|(b, s)| if s == b'd' { b.is_ascii_digit() } else { b == s });
        let temporary = ["/tmp/virsnap", "/tmp/virsh"].iter().find(|p| rest.starts_with(**p));
        if is_time {
            out.push_str("TIME");
            rest = &rest[shape.len()..];
        } else if digits == 10 {
            out.push_str("SECONDS");
            rest = &rest[10..];
        } else if let Some(prefix) = temporary {
            out.push_str("TEMPORARY");
            rest = &rest[prefix.len() + 6..];
        } else {
            out.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    out
}

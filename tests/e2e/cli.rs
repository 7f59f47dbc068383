//! `virsnap` against the real daemon: what a user types and reads.

use crate::harness::{Daemon, Guest, Spec, State};
use std::process::Output;

struct Shell<'a> {
    daemon: &'a Daemon,
}

impl Shell<'_> {
    fn output(&self, words: &[&str]) -> Output {
        std::process::Command::new(env!("CARGO_BIN_EXE_virsnap"))
            .args(["--bus", self.daemon.address()])
            .args(words)
            .output()
            .unwrap()
    }

    /// What it prints; it must succeed.
    async fn run(&self, words: &[&str]) -> String {
        let output = tokio::task::block_in_place(|| self.output(words));
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "virsnap {words:?}: {error}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// What it complains; it must fail.
    async fn fail(&self, words: &[&str]) -> String {
        let output = tokio::task::block_in_place(|| self.output(words));
        assert_eq!(output.status.code(), Some(1), "virsnap {words:?} should fail");
        String::from_utf8(output.stderr).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_reads_like_virsh() {
    let daemon = Daemon::start().await;
    let guest = Guest::define(&daemon, Spec::disks(1)).await;
    guest.domain.undefine(0).await.unwrap();
    let file = guest.path("domain.xml");
    std::fs::write(&file, guest.definition()).unwrap();
    let shell = Shell { daemon: &daemon };

    assert!(shell.run(&["define", file.to_str().unwrap()]).await.starts_with("Domain 'counter' defined from "));
    assert!(shell.run(&["start", "counter"]).await.starts_with("Domain 'counter' started\n"));
    assert!(shell.run(&["domstate", "counter"]).await.starts_with("running\n"));
    let guest = guest.seen_by(&daemon.client).await;
    guest.counts().await;
    let memory = format!("file={}", guest.memory_file("one").display());
    let said = shell.run(&["snapshot-create-as", "counter", "one", "--memspec", &memory]).await;
    assert!(said.starts_with("Domain snapshot one created\n"), "{said}");
    shell.run(&["snapshot-create-as", "counter", "two", "--disk-only"]).await;
    guest.counts().await;
    let tree = shell.run(&["snapshot-list", "counter", "--tree"]).await;
    assert!(tree.starts_with("one\n  |\n  +- two\n"), "{tree}");
    let names = shell.run(&["snapshot-list", "counter", "--name"]).await;
    assert_eq!(names.split_whitespace().collect::<Vec<_>>(), ["one", "two"]);
    assert!(shell.run(&["snapshot-parent", "counter", "two"]).await.starts_with("one\n"));
    assert!(shell.run(&["snapshot-info", "counter", "one"]).await.contains("Location:       external"));
    assert!(shell.run(&["snapshot-current", "counter", "--name"]).await.starts_with("two\n"));
    assert!(shell.run(&["snapshot-dumpxml", "counter", "two"]).await.starts_with("<domainsnapshot>\n"));
    assert!(shell.run(&["snapshot-revert", "counter", "one"]).await.starts_with("Domain snapshot one reverted\n"));
    guest.counts().await;
    assert!(shell.run(&["snapshot-delete", "counter", "two"]).await.starts_with("Domain snapshot two deleted\n"));
    let complaint = shell.fail(&["snapshot-delete", "counter", "two"]).await;
    assert!(
        complaint.contains("error: Domain snapshot not found: no domain snapshot with matching name 'two'"),
        "{complaint}"
    );
    shell.run(&["snapshot-delete", "counter", "one"]).await;
    guest.counts().await;
    shell.run(&["suspend", "counter"]).await;
    assert_eq!(guest.state().await, State::Paused);
    shell.run(&["resume", "counter"]).await;
    shell.run(&["destroy", "counter"]).await;
    guest.assert_clean().await;
    shell.run(&["undefine", "counter"]).await;
    assert!(daemon.client.list(0).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_libvirt_lacks_is_typed_as_one_would_guess() {
    let daemon = Daemon::start().await;
    let guest = Guest::define(&daemon, Spec::disks(1)).await.running().await;
    let shell = Shell { daemon: &daemon };
    assert!(shell.run(&["domjobinfo", "counter"]).await.starts_with("Job type:         None\n"));
    let complaint = shell.fail(&["domjobabort", "counter"]).await;
    assert!(complaint.contains("Requested operation is not valid: no job is active on the domain"), "{complaint}");

    let plan = shell.run(&["snapshot-create-as", "counter", "one", "--disk-only", "--dry-run"]).await;
    let overlay = guest.path("counter-0.one");
    assert!(plan.starts_with(&format!("prepare: create the file '{}'\n", overlay.display())), "{plan}");
    assert!(!overlay.exists());
    let listening = std::process::Command::new(env!("CARGO_BIN_EXE_virsnap"))
        .args(["--bus", daemon.address(), "snapshot-event", "counter", "--loop", "--timeout", "8"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    shell.run(&["snapshot-create-as", "counter", "one"]).await;
    let renamed = shell.run(&["snapshot-rename", "counter", "one", "first"]).await;
    let heard = tokio::task::block_in_place(|| listening.wait_with_output().unwrap());
    let heard = String::from_utf8(heard.stdout).unwrap();
    assert!(renamed.starts_with("Domain snapshot one renamed to first\n"), "{renamed}");
    for line in ["snapshot-added' on 'one'", "current-changed' on 'one'", "snapshot-renamed' on 'one first'"] {
        assert!(heard.contains(&format!("event '{line} for domain 'counter'\n")), "{heard}");
    }
    let job = shell.run(&["domjobinfo", "counter"]).await;
    assert!(job.starts_with("Job type:         Completed\nOperation:        create\n"), "{job}");
    assert!(job.contains("Guest paused:"), "{job}");
    shell.run(&["snapshot-describe", "counter", "first", "of two"]).await;
    assert!(shell.run(&["snapshot-dumpxml", "counter", "first"]).await.contains("<description>of two</description>"));
    let verified = shell.run(&["snapshot-verify", "counter"]).await;
    assert!(
        verified.starts_with("All ") && verified.contains(" things that the snapshots need are right\n"),
        "{verified}"
    );
    let all = shell.run(&["snapshot-verify", "counter", "--all"]).await;
    assert!(all.contains("internal snapshot 'one'"), "{all}");
    let plan = shell.run(&["snapshot-revert", "counter", "first", "--discard", "--dry-run"]).await;
    assert!(plan.contains("remove tag 'one'"), "{plan}");
    let said = shell.run(&["snapshot-revert", "counter", "first", "--discard"]).await;
    assert!(said.starts_with("Domain snapshot first reverted\n"), "{said}");
    assert_eq!(shell.run(&["snapshot-list", "counter", "--name"]).await.trim(), "");
    guest.counts().await;
    guest.assert_clean().await;
    std::fs::remove_file(guest.path("counter-0.qcow2")).unwrap();
    let output = tokio::task::block_in_place(|| shell.output(&["snapshot-verify", "counter"]));
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("missing"), "{output:?}");
}

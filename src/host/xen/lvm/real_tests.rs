//! Against the real LVM, in a machine that can be spoilt: run with `VIRSNAP_TEST_VG` naming an empty volume group of 300 MiB
//! or more, as root, with `--test-threads=1 xen::lvm`. Without it these tests say so and do nothing.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use crate::host::command::Child;
use crate::host::images;
use camino::Utf8PathBuf;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Instant;

/// A pool and a volume of their own; removed at the end.
struct Bench {
    group: String,
    pool: String,
    disk: String,
}

async fn lvm(program: &str, words: &str) {
    let words: Vec<&str> = words.split(' ').collect();
    tool::output(program, &words).await.unwrap();
}

impl Bench {
    /// `None` where there is no group to work in.
    async fn new(disk: &str) -> Option<Self> {
        let Ok(group) = std::env::var("VIRSNAP_TEST_VG") else {
            eprintln!("NOT RUN: VIRSNAP_TEST_VG names no volume group");
            return None;
        };
        let bench = Self { pool: format!("pool-{disk}"), disk: disk.to_owned(), group };
        bench.clear().await;
        let Self { group, pool, disk } = &bench;
        lvm("lvcreate", &format!("--yes -L 64M --thinpool {pool} {group}")).await;
        lvm("lvcreate", &format!("--yes -V 32M --thin -n {disk} --addtag theirs=1 {group}/{pool}")).await;
        Some(bench)
    }

    async fn clear(&self) {
        let full = format!("{}/{}", self.group, self.pool);
        let _ = tool::output("lvremove", &["--yes", &full]).await;
    }

    fn path(&self) -> Utf8PathBuf {
        format!("/dev/{}/{}", self.group, self.disk).into()
    }

    async fn volume(&self) -> Volume {
        match classify(&self.path()).await.unwrap() {
            Some(Device::Thin(volume)) => volume,
            other => panic!("{other:?}"),
        }
    }

    async fn names(&self) -> Vec<String> {
        tags(&self.volume().await).await.unwrap().into_iter().map(|t| t.name).collect()
    }

    /// One byte, all over the first 64 KiB and one place far behind.
    fn write(&self, byte: u8) {
        let file = File::options().write(true).open(self.path()).unwrap();
        for at in [0, 20 << 20] {
            file.write_all_at(&[byte; 65536], at).unwrap();
        }
        file.sync_all().unwrap();
    }

    fn reads(&self) -> u8 {
        let file = File::open(self.path()).unwrap();
        let mut all = Vec::new();
        for at in [0, 20 << 20] {
            let mut bytes = vec![0; 65536];
            file.read_exact_at(&mut bytes, at).unwrap();
            all.extend(bytes);
        }
        assert!(all.iter().all(|b| *b == all[0]), "a mixture");
        all[0]
    }

    async fn commands(&self, tag: &str) -> Vec<Command> {
        let group = Group::read(&self.group).await.unwrap().unwrap();
        swap::commands(&group, &self.disk, tag).unwrap()
    }

    /// Nothing of ours but the tags.
    async fn check_no_leftovers(&self, tags: usize) {
        let group = Group::read(&self.group).await.unwrap().unwrap();
        let ours = group.volumes.iter().filter(|v| v.pool.as_deref() == Some(&self.pool));
        assert_eq!(ours.count(), tags + 1, "{group:?}");
        assert!(group.find(&self.disk).unwrap().labels.contains(&"theirs=1".to_owned()));
    }
}

#[tokio::test]
async fn a_volume_goes_back_and_forth_between_tags_of_any_name() {
    let Some(b) = Bench::new("any-names").await else { return };
    let long = "ä".repeat(123);
    let names = ["a b,c=d\"'\\$(id)", long.as_str(), "-n"];
    for (byte, name) in (1..).zip(names) {
        b.write(byte);
        let started = Instant::now();
        create_tag(&b.volume().await, name).await.unwrap();
        eprintln!("create_tag: {:?}", started.elapsed());
        assert!(create_tag(&b.volume().await, name).await.is_err(), "there is one");
    }
    b.write(9);
    let mut facts = images::look(&[b.path()]).await.unwrap();
    add_facts(&mut facts).await.unwrap();
    assert_eq!(facts.header(&b.path()).unwrap().tags, tags(&b.volume().await).await.unwrap());
    let mut expected: Vec<String> = names.map(str::to_owned).to_vec();
    expected.sort();
    assert_eq!(b.names().await, expected);
    for (byte, name) in [(2, 1), (1, 0), (3, 2), (3, 2), (1, 0)].map(|(b, n): (u8, usize)| (b, names[n])) {
        let started = Instant::now();
        apply_tag(&b.volume().await, name).await.unwrap();
        eprintln!("apply_tag: {:?}", started.elapsed());
        assert_eq!(b.reads(), byte);
        assert_eq!(b.names().await, expected);
        b.check_no_leftovers(3).await;
        b.write(7);
    }
    for name in names {
        for _ in 0..2 {
            remove_tag(&b.volume().await, name).await.unwrap();
        }
    }
    assert_eq!(b.reads(), 7);
    b.check_no_leftovers(0).await;
    b.clear().await;
}

#[tokio::test]
async fn a_real_call_cut_after_any_command_and_repeated_brings_the_volume_back() {
    let Some(b) = Bench::new("cuts").await else { return };
    for (byte, name) in [(1, "one"), (2, "two")] {
        b.write(byte);
        create_tag(&b.volume().await, name).await.unwrap();
    }
    for count in 0..=6 {
        for (wanted, byte) in [("one", 1), ("two", 2)] {
            b.write(3);
            for command in b.commands("one").await.iter().take(count) {
                tool::run(&b.group, command).await.unwrap();
            }
            let mut facts = images::look(&[b.path()]).await.unwrap();
            add_facts(&mut facts).await.unwrap();
            assert_eq!(facts.kind(&b.path()) == &FileKind::Block, ![2, 4].contains(&count), "{count}: {facts:?}");
            apply_tag(&b.volume().await, wanted).await.unwrap();
            assert_eq!(b.reads(), byte, "{count} commands for one, then {wanted}");
            assert_eq!(b.names().await, ["one", "two"]);
            b.check_no_leftovers(2).await;
        }
    }
    b.clear().await;
}

#[tokio::test]
async fn a_command_of_lvm_killed_at_any_moment_leaves_nothing_that_a_repetition_does_not_mend() {
    let Some(b) = Bench::new("kills").await else { return };
    b.write(1);
    create_tag(&b.volume().await, "one").await.unwrap();
    let started = Instant::now();
    apply_tag(&b.volume().await, "one").await.unwrap();
    let (whole, mut killed) = (started.elapsed(), 0);
    // A call that is dropped kills the command that runs just then.
    for at in (1..10).map(|n| whole * n / 10) {
        b.write(3);
        let volume = b.volume().await;
        match tokio::time::timeout(at, apply_tag(&volume, "one")).await {
            Ok(done) => done.unwrap(),
            Err(_) => {
                killed += 1;
                apply_tag(&b.volume().await, "one").await.unwrap();
            }
        }
        assert_eq!(b.reads(), 1, "cut after {at:?}");
        b.check_no_leftovers(1).await;
    }
    eprintln!("killed {killed} times of 9 within {whole:?}");
    assert!(killed > 0);
    for at in (1..6).map(|n| whole * n / 16) {
        b.write(5);
        let volume = b.volume().await;
        let _ = tokio::time::timeout(at, create_tag(&volume, "two")).await;
        remove_tag(&b.volume().await, "two").await.unwrap();
        b.check_no_leftovers(1).await;
        create_tag(&b.volume().await, "two").await.unwrap();
        remove_tag(&b.volume().await, "two").await.unwrap();
        b.check_no_leftovers(1).await;
    }
    b.clear().await;
}

#[tokio::test]
async fn a_volume_that_is_open_is_snapshotted_but_not_brought_back() {
    let Some(b) = Bench::new("open").await else { return };
    b.write(1);
    let open = File::open(b.path()).unwrap();
    assert_eq!(b.volume().await.activity, Activity::Open);
    create_tag(&b.volume().await, "one").await.unwrap();
    b.write(2);
    let error = apply_tag(&b.volume().await, "one").await.unwrap_err().to_string();
    assert_eq!(error, "Requested operation is not valid: logical volume 'open' is in use");
    b.check_no_leftovers(1).await;
    drop(open);
    assert_eq!(b.reads(), 2);
    // Somebody opens it after we looked: the kernel knows.
    let commands = b.commands("one").await;
    let open = File::open(b.path()).unwrap();
    tool::run(&b.group, &commands[0]).await.unwrap();
    let error = tool::run(&b.group, &commands[1]).await.unwrap_err().to_string();
    assert!(error.contains("in use"), "{error}");
    drop(open);
    apply_tag(&b.volume().await, "one").await.unwrap();
    assert_eq!(b.reads(), 1);
    b.clear().await;
}

#[tokio::test]
async fn every_path_of_a_volume_is_known_and_others_are_told_apart() {
    let Some(b) = Bench::new("pa-ths").await else { return };
    let dir = tempfile::tempdir().unwrap();
    let link = Utf8PathBuf::from_path_buf(dir.path().join("link")).unwrap();
    std::os::unix::fs::symlink(b.path(), &link).unwrap();
    let mapper = format!("/dev/mapper/{}-pa--ths", b.group.replace('-', "--"));
    let paths = [b.path(), mapper.into(), link, b.path().canonicalize_utf8().unwrap()];
    let volume = b.volume().await;
    assert_eq!((volume.size, volume.pool.as_str(), volume.activity), (32 << 20, "pool-pa-ths", Activity::Active));
    for path in &paths {
        assert_eq!(classify(path).await.unwrap(), Some(Device::Thin(volume.clone())), "{path}");
    }
    lvm("lvchange", &format!("-an {}", volume.name)).await;
    // A killed LVM leaves the nodes: of a number that nobody has, and of one that another volume has by now.
    for of in ["999", "0"] {
        let mknod = Child::new("mknod").args([paths[1].as_str(), "b", "253", of]);
        mknod.run().await.unwrap();
        let Some(Device::Thin(found)) = classify(&paths[1]).await.unwrap() else { panic!("{of}") };
        assert_eq!((found.name, found.activity), (volume.name.clone(), Activity::Inactive));
        std::fs::remove_file(&paths[1]).unwrap();
    }
    for path in &paths[..3] {
        let Some(Device::Thin(found)) = classify(path).await.unwrap() else { panic!("{path}") };
        assert_eq!(found.activity, Activity::Inactive);
    }
    let plain = format!("/dev/{}/plain-pa-ths", b.group);
    lvm("lvcreate", &format!("--yes -L 4M -n plain-pa-ths {}", b.group)).await;
    let kind = |device| match device {
        Some(Device::Other { kind, .. }) => kind,
        other => panic!("{other:?}"),
    };
    assert_eq!(kind(classify(plain.as_str().into()).await.unwrap()), "linear");
    let part = format!("/dev/mapper/{}-pool--pa--ths_tdata", b.group.replace('-', "--"));
    assert_eq!(kind(classify(part.as_str().into()).await.unwrap()), "hidden");
    for path in ["/dev/no-such-group/x", &format!("/dev/{}/none", b.group), "/dev/loop7", "/etc/passwd"] {
        assert_eq!(classify(path.into()).await.unwrap(), None, "{path}");
    }
    lvm("lvremove", &format!("--yes {}/plain-pa-ths", b.group)).await;
    b.clear().await;
}

#[tokio::test]
async fn snapshots_of_others_are_neither_listed_nor_touched() {
    let Some(b) = Bench::new("theirs").await else { return };
    b.write(1);
    lvm("lvcreate", &format!("--yes -s -n their-snapshot {}/theirs", b.group)).await;
    create_tag(&b.volume().await, "one").await.unwrap();
    b.write(2);
    apply_tag(&b.volume().await, "one").await.unwrap();
    assert_eq!(b.names().await, ["one"]);
    remove_tag(&b.volume().await, "one").await.unwrap();
    remove_tag(&b.volume().await, "their-snapshot").await.unwrap();
    assert!(Group::read(&b.group).await.unwrap().unwrap().find("their-snapshot").is_some());
    b.clear().await;
}

#[tokio::test]
async fn a_volume_in_a_pool_that_is_all_but_full_comes_back() {
    let Some(b) = Bench::new("full").await else { return };
    b.write(1);
    create_tag(&b.volume().await, "one").await.unwrap();
    b.write(2);
    // More than the pool has, written by somebody else.
    lvm("lvcreate", &format!("--yes -V 256M --thin -n hog {}/{}", b.group, b.pool)).await;
    let of = format!("of=/dev/{}/hog", b.group);
    let filled = Child::new("dd").args(["if=/dev/urandom", &of, "bs=1M", "count=62", "oflag=direct"]).run().await;
    eprintln!("filled: {filled:?}");
    let started = Instant::now();
    let result = apply_tag(&b.volume().await, "one").await;
    eprintln!("apply_tag on a full pool: {result:?} after {:?}", started.elapsed());
    assert_eq!(b.reads(), if result.is_ok() { 1 } else { 2 });
    lvm("lvremove", &format!("--yes {}/hog", b.group)).await;
    apply_tag(&b.volume().await, "one").await.unwrap();
    assert_eq!(b.reads(), 1);
    b.check_no_leftovers(1).await;
    b.clear().await;
}

/// Kill the machine while `a_command_of_lvm_killed…` runs, boot it, `vgchange -ay`, and run this with `VIRSNAP_TEST_LEFT` naming
/// the group.
#[tokio::test]
async fn what_a_machine_left_when_it_died_is_finished() {
    let Ok(group) = std::env::var("VIRSNAP_TEST_LEFT") else { return };
    let b = Bench { group, pool: "pool-kills".to_owned(), disk: "kills".to_owned() };
    eprintln!("{:?} with {:?}", b.volume().await, b.names().await);
    apply_tag(&b.volume().await, "one").await.unwrap();
    assert_eq!(b.reads(), 1);
    b.check_no_leftovers(1).await;
    b.clear().await;
}

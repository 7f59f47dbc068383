//! A paravirtual guest of the rig (see `rig/guest.c`), its disks, and what it says.

use super::{PATIENCE, Rig, unique, within};
use std::fmt::Write;
use std::time::Duration;
use uuid::Uuid;

/// What a disk lies on. All are of 16 MiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disk {
    /// A file that QEMU serves.
    Qcow2,
    /// A file that QEMU serves.
    Raw,
    /// A thin logical volume that the kernel serves.
    Thin,
}

/// What a guest says to a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// In its memory: ten more each second.
    pub count: u32,
    /// How often a disk did not hold what the memory knew of it.
    pub torn: u32,
    pub rest: String,
}

#[derive(Debug)]
pub struct Guest<'r> {
    pub name: String,
    pub uuid: Uuid,
    rig: &'r Rig,
    /// In dom0.
    directory: String,
    disks: Vec<Disk>,
}

impl<'r> Guest<'r> {
    /// The least that its kernel runs in.
    pub const MEMORY_MIB: u32 = 80;

    /// With empty disks; not started, and known to nobody.
    pub fn prepare(rig: &'r Rig, label: &str, disks: &[Disk]) -> Self {
        let name = unique(label);
        let guest = Self { directory: format!("/x/{name}"), name, uuid: Uuid::new_v4(), rig, disks: disks.to_vec() };
        if disks.contains(&Disk::Thin) {
            rig.thin_pool();
        }
        let mut commands = format!("set -e; mkdir {}", guest.directory);
        for (n, disk) in disks.iter().enumerate() {
            let path = guest.disk(n);
            let command = match disk {
                Disk::Qcow2 => format!("qemu-img create -q -f qcow2 {path} 16M"),
                Disk::Raw => format!("truncate -s 16M {path}"),
                Disk::Thin => format!("lvcreate -q -V 16M -T virsnap/pool -n {}", path.rsplit('/').next().unwrap()),
            };
            write!(commands, "; {command} >/dev/null").unwrap();
        }
        rig.ok(&commands);
        guest
    }

    /// In dom0; files that are put here go with the guest.
    pub fn directory(&self) -> &str {
        &self.directory
    }

    /// In dom0: the file or device of a disk, at first.
    pub fn disk(&self, n: usize) -> String {
        match self.disks[n] {
            Disk::Qcow2 => format!("{}/{n}.qcow2", self.directory),
            Disk::Raw => format!("{}/{n}.raw", self.directory),
            Disk::Thin => format!("/dev/virsnap/{}_{n}", self.name),
        }
    }

    /// As xl has it.
    pub fn config(&self) -> String {
        let disks: Vec<_> = (0..self.disks.len())
            .map(|n| {
                let driver = match self.disks[n] {
                    Disk::Qcow2 => "format=qcow2,backendtype=qdisk",
                    Disk::Raw => "format=raw,backendtype=qdisk",
                    Disk::Thin => "format=raw,backendtype=phy",
                };
                format!("'{driver},vdev={},access=rw,target={}'", device(n), self.disk(n))
            })
            .collect();
        format!(
            "name = \"{}\"\nuuid = \"{}\"\nkernel = \"/x/kernel\"\nramdisk = \"/x/initrd\"\nextra = \"{}\"\n\
             memory = {}\nvcpus = 1\ndisk = [{}]\non_crash = \"preserve\"\n",
            self.name,
            self.uuid,
            self.command_line(),
            Self::MEMORY_MIB,
            disks.join(", ")
        )
    }

    /// As libvirt has it.
    pub fn xml(&self) -> String {
        let mut disks = String::new();
        for (n, disk) in self.disks.iter().enumerate() {
            let (kind, source, driver) = match disk {
                Disk::Qcow2 => ("file", "file", "name='qemu' type='qcow2'"),
                Disk::Raw => ("file", "file", "name='qemu' type='raw'"),
                Disk::Thin => ("block", "dev", "name='phy' type='raw'"),
            };
            write!(
                disks,
                "    <disk type='{kind}' device='disk'>\n      <driver {driver}/>\n      <source {source}='{}'/>\n      \
                 <target dev='{}' bus='xen'/>\n    </disk>\n",
                self.disk(n),
                device(n)
            )
            .unwrap();
        }
        format!(
            "<domain type='xen'>
  <name>{}</name>
  <uuid>{}</uuid>
  <memory unit='MiB'>{}</memory>
  <vcpu>1</vcpu>
  <os>
    <type arch='x86_64' machine='xenpv'>linux</type>
    <kernel>/x/kernel</kernel>
    <initrd>/x/initrd</initrd>
    <cmdline>{}</cmdline>
  </os>
  <on_crash>preserve</on_crash>
  <devices>
{disks}    <console type='pty'>
      <target type='xen' port='0'/>
    </console>
  </devices>
</domain>
",
            self.name,
            self.uuid,
            Self::MEMORY_MIB,
            self.command_line(),
        )
    }

    fn command_line(&self) -> String {
        format!("console=hvc0 quiet mitigations=off disks={}", self.disks.len())
    }

    /// Start it without virsnap, and wait until it counts.
    #[track_caller]
    pub fn create(&self) {
        let config = format!("{}/config", self.directory);
        self.rig.write(&config, &self.config());
        let boots = self.boots();
        self.rig.ok(&format!("xl create -q {config}"));
        self.boots_beyond(boots);
    }

    /// How often it has booted.
    pub fn boots(&self) -> usize {
        self.console().lines().filter(|line| line.starts_with("READY")).count()
    }

    /// Wait until it has booted once more.
    #[track_caller]
    pub fn boots_beyond(&self, before: usize) {
        if within(PATIENCE, || (self.boots() > before).then_some(())).is_none() {
            panic!("{} does not boot: {}", self.name, self.console());
        }
        let found = format!("READY disks={}", self.disks.len());
        let console = self.console();
        assert!(console.lines().rfind(|l| l.starts_with("READY")) == Some(&found), "{console}");
    }

    /// All that it said in all its lives.
    pub fn console(&self) -> String {
        self.rig.console(&self.name)
    }

    /// Whether Xen has a domain of its name.
    pub fn exists(&self) -> bool {
        self.rig.run(&format!("xl domid {}", self.name)).code == 0
    }

    /// Its answer to a command.
    #[track_caller]
    pub fn say(&self, command: &str) -> Answer {
        self.say_within(PATIENCE, command).unwrap_or_else(|| {
            panic!("{} does not answer '{command}'; {}\n{}", self.name, self.rig.run("xl list").stdout, self.console())
        })
    }

    /// Its answer, if it gives one in time: a paused guest does not.
    pub fn say_within(&self, time: Duration, command: &str) -> Option<Answer> {
        let token = unique("t");
        let name = &self.name;
        let sent = self
            .rig
            .run(&format!("echo '{token} {command}' >$(xenstore-read /local/domain/$(xl domid {name})/console/tty)"));
        if sent.code != 0 {
            return None;
        }
        let answer = within(time, || {
            let console = self.console();
            let (_, answer) = console.split_once(&format!("={token} "))?;
            Some(answer.split_once('\n')?.0.to_owned())
        })?;
        parse(&answer)
    }

    #[track_caller]
    pub fn count(&self) -> u32 {
        self.say("c").count
    }

    /// Since its console was that long its count went back, to the one that was `taken`, but for the moments until it
    /// spoke.
    #[track_caller]
    pub fn assert_went_back(&self, console: usize, taken: u32) {
        let counts = |text: &str| -> Vec<u32> {
            let words = text.lines().filter_map(|l| l.split_once("c=")?.1.split(' ').next()?.parse().ok());
            words.collect()
        };
        self.count();
        let all = self.console();
        let said = counts(&all[console..]);
        let back = said.windows(2).find(|pair| pair[1] < pair[0]);
        let Some([before, after]) = back else { panic!("its memory did not go back: {said:?}\n{all}") };
        assert!(*before > taken + 15, "the test waits too short: {before} {taken}");
        assert!(*after <= taken + 15, "its memory is not that of the snapshot: {after}, taken at {taken}\n{all}");
    }

    /// Wait until it has counted further than this.
    #[track_caller]
    pub fn counts_beyond(&self, count: u32) {
        self.ticks_until(|ticks| ticks.iter().any(|&tick| tick > count));
    }

    /// Wait until it has said so often, from now on, that it counts; its count then.
    #[track_caller]
    pub fn ticks(&self, times: usize) -> u32 {
        self.ticks_until(|ticks| ticks.len() >= times)
    }

    /// It says them by itself: asking costs dom0 more than the guest.
    #[track_caller]
    fn ticks_until(&self, enough: impl Fn(&[u32]) -> bool) -> u32 {
        let past = self.console().len();
        let tick = |line: &str| line.strip_prefix("TICK c=")?.parse().ok();
        let seen = within(PATIENCE, || {
            let console = self.console();
            let (new, _) = console.get(past..)?.rsplit_once('\n')?;
            let ticks: Vec<u32> = new.lines().filter_map(tick).collect();
            enough(&ticks).then(|| ticks.last().copied())?
        });
        seen.unwrap_or_else(|| panic!("{} stands still; {}", self.name, self.rig.run("xl list").stdout))
    }

    /// Write to the first sector of a disk.
    #[track_caller]
    pub fn write(&self, disk: usize, text: &str) {
        let answer = self.say(&format!("w{disk} {text}"));
        assert_eq!(answer.rest, "", "{} cannot write", self.name);
    }

    /// What is in the first sector of a disk.
    #[track_caller]
    pub fn read(&self, disk: usize) -> String {
        let answer = self.say(&format!("r{disk}"));
        let text = answer.rest.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
        text.unwrap_or_else(|| panic!("{} cannot read: {}", self.name, answer.rest)).to_owned()
    }

    /// Let it write its count to all disks from now on, and look each time that they hold the one before.
    #[track_caller]
    pub fn stamp(&self) {
        assert_eq!(self.say("s").rest, "");
    }

    /// Memory and disks are of one instant: the guest, which writes and reads all the time, has seen nothing else.
    #[track_caller]
    pub fn assert_whole(&self) {
        self.ticks(2);
        let answer = self.say("d");
        assert_eq!(answer.torn, 0, "{}", self.console());
        for n in 0..self.disks.len() {
            let stamp = format!("d{n}={}", answer.count);
            assert!(answer.rest.split(' ').any(|word| word == stamp), "{answer:?}");
        }
    }
}

impl Drop for Guest<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- {} said ---\n{}", self.name, self.console());
        }
        let (name, directory) = (&self.name, &self.directory);
        let mut commands = format!("xl destroy {name} 2>/dev/null; rm -rf {directory}");
        if self.disks.contains(&Disk::Thin) {
            write!(commands, "; lvremove -qqf -S 'lv_name=~^{name}_' virsnap").unwrap();
        }
        self.rig.run(&commands);
    }
}

fn device(n: usize) -> String {
    format!("xvd{}", char::from(b"abcd"[n]))
}

/// `c=COUNT torn=TORN REST`
fn parse(answer: &str) -> Option<Answer> {
    let mut words = answer.splitn(3, ' ');
    let count = words.next()?.strip_prefix("c=")?.parse().ok()?;
    let torn = words.next()?.strip_prefix("torn=")?.parse().ok()?;
    Some(Answer { count, torn, rest: words.next().unwrap_or_default().to_owned() })
}

//! A real Linux with the real `qemu-ga` and a mounted ext4 (`tests/agent-guest`), which does what the test tells it.

use super::{Daemon, Domain, Qemu, eventually};
use std::path::{Path, PathBuf};
use std::process::Command;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

pub struct Linux {
    pub domain: Domain,
    directory: PathBuf,
}

impl Linux {
    /// Define and start it, and wait until its agent runs; `None`: it was not built, and why was said.
    pub async fn boot(daemon: &Daemon) -> Option<Self> {
        let built = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("agent-guest");
        if !built.join("built").exists() {
            let why = std::fs::read_to_string(built.join("skip"))
                .unwrap_or_else(|_| "SKIP: no Linux guest with an agent: tests/setup.sh has not run\n".into());
            print!("{why}");
            return None;
        }
        let directory = daemon.images().to_owned();
        let disk = directory.join("linux.qcow2");
        convert(&built.join("disk.raw"), "raw", &disk, "qcow2");
        let domain = daemon.client.define(&xml(&built, &directory)).await.unwrap();
        let linux = Self { domain, directory };
        linux.domain.create(0).await.unwrap();
        eventually("Linux is ready", || async {
            let said = std::fs::read(linux.path("linux.serial")).unwrap_or_default();
            String::from_utf8_lossy(&said).contains("READY").then_some(())
        })
        .await;
        linux.counts().await;
        Some(linux)
    }

    pub fn path(&self, file: &str) -> PathBuf {
        self.directory.join(file)
    }

    /// Run a line of shell in the guest; what it said.
    pub async fn run(&self, line: &str) -> String {
        let mut control = UnixStream::connect(self.path("control.sock")).await.unwrap();
        control.write_all(format!("{line}\n").as_bytes()).await.unwrap();
        let mut said = Vec::new();
        loop {
            let read = tokio::time::timeout(super::PATIENCE, control.read_buf(&mut said)).await;
            assert!(read.expect("the guest answers").unwrap() > 0, "the guest has gone");
            let text = String::from_utf8_lossy(&said);
            if text.ends_with('\n') && text.lines().last().is_some_and(|l| l.starts_with("= ")) {
                let lines: Vec<&str> = text.lines().collect();
                return lines[..lines.len() - 1].join("\n");
            }
        }
    }

    /// How often it has written to its file system.
    pub async fn counter(&self) -> u64 {
        self.run("cat /run/counter").await.trim().parse().unwrap_or_default()
    }

    /// It goes on writing.
    pub async fn counts(&self) {
        let from = self.counter().await;
        eventually("Linux writes to its file system", || async { (self.counter().await > from + 2).then_some(()) })
            .await;
    }

    /// Whatever it was writing, it does not write now.
    pub async fn stands_still(&self) -> bool {
        let from = self.counter().await;
        tokio::time::sleep(std::time::Duration::from_millis(400)).await;
        self.counter().await == from
    }

    /// The file system in an image, which the guest may have open.
    pub fn file_system(&self, image: &str) -> Ext4 {
        let raw = self.path(&format!("{image}.raw"));
        convert(&self.path(image), "qcow2", &raw, "raw");
        Ext4(raw)
    }

    pub fn overlays(&self) -> Vec<String> {
        let names = std::fs::read_dir(&self.directory).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        names.filter(|n| n.starts_with("linux.") && n != "linux.qcow2" && n != "linux.serial").collect()
    }
}

/// An ext4 in a file.
pub struct Ext4(PathBuf);

impl Ext4 {
    /// Whether it would have to replay its journal.
    pub fn needs_recovery(&self) -> bool {
        said(Command::new("dumpe2fs").arg("-h").arg(&self.0)).contains("needs_recovery")
    }
    /// Whether nothing at all is wrong with it.
    pub fn is_sound(&self) -> bool {
        Command::new("e2fsck").arg("-fn").arg(&self.0).output().unwrap().status.success()
    }
    pub fn read(&self, file: &str) -> String {
        said(Command::new("debugfs").args(["-R", &format!("cat {file}")]).arg(&self.0))
    }
}

fn said(command: &mut Command) -> String {
    String::from_utf8_lossy(&command.output().unwrap().stdout).into_owned()
}

fn convert(from: &Path, from_format: &str, to: &Path, to_format: &str) {
    let mut command = Command::new("qemu-img");
    command.args(["convert", "-U", "-f", from_format, "-O", to_format]).arg(from).arg(to);
    let done = command.output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

fn xml(built: &Path, directory: &Path) -> String {
    format!(
        "<domain type='qemu'>
  <name>linux</name>
  <memory unit='MiB'>192</memory>
  <vcpu>1</vcpu>
  <os>
    <type arch='x86_64' machine='pc'>hvm</type>
    <kernel>{built}/kernel</kernel>
    <initrd>{built}/initrd</initrd>
    <cmdline>console=ttyS0 quiet</cmdline>
  </os>
  <features>
    <acpi/>
  </features>
  <devices>
    <emulator>{emulator}</emulator>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2'/>
      <source file='{directory}/linux.qcow2'/>
      <target dev='vda' bus='virtio'/>
    </disk>
    <serial type='file'>
      <source path='{directory}/linux.serial'/>
      <target port='0'/>
    </serial>
    <channel type='unix'>
      <target type='virtio' name='org.qemu.guest_agent.0'/>
    </channel>
    <channel type='unix'>
      <source mode='bind' path='{directory}/control.sock'/>
      <target type='virtio' name='virsnap.control'/>
    </channel>
  </devices>
</domain>
",
        built = built.display(),
        directory = directory.display(),
        emulator = Qemu::Machine.emulator().unwrap().display(),
    )
}

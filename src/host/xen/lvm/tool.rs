//! LVM's programs: which command lines change a volume group.
//!
//! Must not know: why.

use super::names::{NAME, OF, Role, escape};
use crate::error::{Error, Result};
use crate::host::command::Child;
use std::path::Path;

/// One change, atomic in LVM's metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Command {
    /// A thin snapshot, without a device.
    Snapshot {
        /// Of which volume.
        of: String,
        /// Its name.
        name: String,
        /// Whether it can be written to.
        permission: Permission,
        /// Whether it is activated with its group.
        activation: Activation,
        /// Its tags, `label=text`.
        labels: Vec<String>,
    },
    /// Remove its device; refused while that is open.
    Deactivate {
        /// Which.
        volume: String,
    },
    /// Make its device.
    Activate {
        /// Which.
        volume: String,
    },
    /// Another name.
    Rename {
        /// Before.
        from: String,
        /// After.
        to: String,
    },
    /// Remove a volume and its device.
    Remove {
        /// Which.
        volume: String,
    },
}

/// Whether a volume can be written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Permission {
    /// It cannot.
    Read,
    /// It can.
    Write,
}

/// Whether a volume gets a device with its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Activation {
    /// Only when asked for by name and with `-K`.
    Skipped,
    /// With its group.
    Normal,
}

impl Command {
    /// The snapshot that is a tag.
    pub(super) fn tag(volume: &str, name: &str) -> Self {
        Self::Snapshot {
            of: volume.to_owned(),
            name: Role::Tag { name }.of(volume),
            permission: Permission::Read,
            activation: Activation::Skipped,
            labels: vec![format!("{OF}={volume}"), format!("{NAME}={}", escape(name))],
        }
    }

    /// The program and its words.
    fn words(&self, group: &str) -> (&'static str, Vec<String>) {
        let full = |volume: &str| format!("{group}/{volume}");
        let words = |fixed: &[&str], volume: &str| {
            fixed.iter().map(|w| (*w).to_owned()).chain([full(volume)]).collect::<Vec<_>>()
        };
        match self {
            Self::Snapshot { of, name, permission, activation, labels } => {
                let permission = match permission {
                    Permission::Read => "r",
                    Permission::Write => "rw",
                };
                let skip = match activation {
                    Activation::Skipped => "y",
                    Activation::Normal => "n",
                };
                let mut all = words(&["--yes", "--snapshot", "--activate", "n", "--setactivationskip", skip], of);
                let of = all.pop();
                all.extend(["--permission", permission, "--name", name].map(str::to_owned));
                all.extend(labels.iter().flat_map(|l| ["--addtag".to_owned(), l.clone()]));
                all.extend(of);
                ("lvcreate", all)
            }
            Self::Deactivate { volume } => ("lvchange", words(&["--activate", "n"], volume)),
            Self::Activate { volume } => ("lvchange", words(&["--activate", "y", "--ignoreactivationskip"], volume)),
            Self::Rename { from, to } => ("lvrename", vec![group.to_owned(), from.clone(), to.clone()]),
            Self::Remove { volume } => ("lvremove", words(&["--yes"], volume)),
        }
    }
}

/// Do it.
pub(super) async fn run(group: &str, command: &Command) -> Result<()> {
    let (program, words) = command.words(group);
    output(program, &words).await.map(drop)
}

/// What a program of LVM writes.
pub(super) async fn output(program: &str, words: &[impl AsRef<str>]) -> Result<Vec<u8>> {
    let mut child = Child::new(program);
    if !Path::new("/run/udev/control").exists() {
        // Where no udev runs, LVM waits for nobody, but leaves the device nodes to it all the same.
        child = child.args(["--config", "activation{udev_sync=0 udev_rules=0}"]);
    }
    child.args(words.iter().map(AsRef::as_ref)).run().await.map_err(|e| {
        if e.message().starts_with("Cannot find '") {
            return Error::unsupported(format!("the tools of LVM (package lvm2) are not installed: {}", e.message()));
        }
        e
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_lines_are_these() {
        let name = |n: &str| n.to_owned();
        let next = Command::Snapshot {
            of: name("tag"),
            name: name("next"),
            permission: Permission::Write,
            activation: Activation::Normal,
            labels: vec![name("a"), name("virsnap.name=x")],
        };
        for (command, expected) in [
            (
                Command::tag("disk", "a b"),
                "lvcreate --yes --snapshot --activate n --setactivationskip y --permission r --name disk-vs-e3649e60304c6d3b \
                 --addtag virsnap.of=disk --addtag virsnap.name=a=20b vg/disk",
            ),
            (
                next,
                "lvcreate --yes --snapshot --activate n --setactivationskip n --permission rw --name next \
                 --addtag a --addtag virsnap.name=x vg/tag",
            ),
            (Command::Deactivate { volume: name("disk") }, "lvchange --activate n vg/disk"),
            (Command::Activate { volume: name("disk") }, "lvchange --activate y --ignoreactivationskip vg/disk"),
            (Command::Rename { from: name("a"), to: name("b") }, "lvrename vg a b"),
            (Command::Remove { volume: name("a") }, "lvremove --yes vg/a"),
        ] {
            let (program, words) = command.words("vg");
            assert_eq!(format!("{program} {}", words.join(" ")), expected);
        }
    }

    #[tokio::test]
    async fn a_machine_without_lvm_is_told_so() {
        let error = output("lvs-that-is-not-there", &["vg"]).await.unwrap_err();
        assert!(error.to_string().starts_with(
            "Operation not supported: the tools of LVM (package lvm2) are not installed: Cannot find 'lvs-that"
        ));
    }
}

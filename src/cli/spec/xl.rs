//! The commands that were proposed for xl on xen-devel in 2014, and never merged.

use super::{Command, DOMAIN, Group, Kind, Opt, flag};

pub(super) const GROUP: Group = Group { name: "xl", help: "the snapshot commands proposed for Xen's xl" };

const NAME: &str = "name";

pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "xl snapshot-create",
        help: "take a snapshot of a domain",
        about: "",
        options: &[
            Opt {
                name: "configfile",
                short: None,
                kind: Kind::Before,
                help: "snapshot configuration; options win over it",
            },
            Opt {
                name: NAME,
                short: Some('n'),
                kind: Kind::Value,
                help: "its name (default: seconds since the Epoch)",
            },
            flag("live", "memory and external disks, the guest standing still as briefly as it can"),
            flag("disk-only", "disks without memory"),
            flag("reuse-external", "use overlays that exist"),
            DOMAIN,
        ],
    },
    Command {
        name: "xl snapshot-list",
        help: "list the snapshots of a domain, or of all",
        about: "",
        options: &[
            Opt { name: "long", short: Some('l'), kind: Kind::Flag, help: "each as its record, in JSON" },
            Opt { name: NAME, short: Some('n'), kind: Kind::Value, help: "the snapshot of that name only" },
            Opt { name: "domain", short: None, kind: Kind::Word, help: "domain name, id or uuid (default: all)" },
        ],
    },
    Command {
        name: "xl snapshot-delete",
        help: "delete a snapshot",
        about: "",
        options: &[
            Opt { name: NAME, short: Some('n'), kind: Kind::Named, help: "its name" },
            flag("children", "delete the snapshot and all below it"),
            flag("children-only", "delete all below it but not the snapshot"),
            DOMAIN,
        ],
    },
    Command {
        name: "xl snapshot-revert",
        help: "make a domain what it was when a snapshot was taken",
        about: "",
        options: &[
            Opt { name: NAME, short: Some('n'), kind: Kind::Named, help: "its name" },
            flag("running", "let the guest run afterwards"),
            flag("paused", "leave the guest paused afterwards"),
            flag("force", "try harder on risky reverts"),
            DOMAIN,
        ],
    },
];

//! The commands that libvirt has no call for: `org.virsnap.Snapshots1`.

use super::{Command, DOMAIN, JSON, flag, required, value};

pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "snapshot-verify",
        help: "Verify that all that the snapshots of a domain need is there",
        about: "Look at every file, tag and backing link that the snapshots of a domain need. Fails if something is wrong.",
        options: &[DOMAIN, flag("all", "list what is right, too"), JSON],
    },
    Command {
        name: "snapshot-rename",
        help: "Rename a snapshot",
        about: "Give a snapshot another name; its children and the current mark follow.",
        options: &[DOMAIN, required("snapshotname", "snapshot name"), required("newname", "new name of the snapshot")],
    },
    Command {
        name: "snapshot-describe",
        help: "Describe a snapshot anew",
        about: "Set the description of a snapshot.",
        options: &[
            DOMAIN,
            required("snapshotname", "snapshot name"),
            required("description", "new description of the snapshot"),
        ],
    },
    Command {
        name: "snapshot-event",
        help: "Wait for what happens to the snapshots of a domain",
        about: "List what happens to the snapshots of a domain, as it happens.",
        options: &[
            DOMAIN,
            flag("loop", "loop until timeout or interrupt, rather than one-shot"),
            value("timeout", "timeout seconds"),
        ],
    },
    Command {
        name: "domjobinfo",
        help: "domain job information",
        about: "Returns information about jobs running on a domain.",
        options: &[DOMAIN, JSON],
    },
    Command {
        name: "domjobabort",
        help: "abort active domain job",
        about: "Aborts the currently running domain job",
        options: &[DOMAIN],
    },
];

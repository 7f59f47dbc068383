//! The commands on snapshots.

use super::{Command, DOMAIN, DRY_RUN, JSON, Kind, Opt, SECURITY, WRAP, XPATH, flag, required, value, word};

const NO_METADATA: Opt = flag("no-metadata", "take snapshot but create no metadata");
const HALT: Opt = flag("halt", "halt domain after snapshot is created");
const DISK_ONLY: Opt = flag("disk-only", "capture disk state but not vm state");
const REUSE: Opt = flag("reuse-external", "reuse any existing external files");
const QUIESCE: Opt = flag("quiesce", "quiesce guest's file systems");
const ATOMIC: Opt = flag("atomic", "require atomic operation");
const LIVE: Opt = flag("live", "take a live snapshot");
const VALIDATE: Opt = flag("validate", "validate the XML against the schema");
const SNAPSHOT: Opt = word("snapshotname", "snapshot name");

pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "snapshot-create",
        help: "Create a snapshot from XML",
        about: "Create a snapshot (disk and RAM) from XML",
        options: &[
            DOMAIN,
            word("xmlfile", "domain snapshot XML"),
            flag("redefine", "redefine metadata for existing snapshot"),
            flag("current", "with redefine, set current snapshot"),
            NO_METADATA,
            HALT,
            DISK_ONLY,
            REUSE,
            QUIESCE,
            ATOMIC,
            LIVE,
            VALIDATE,
            DRY_RUN,
        ],
    },
    Command {
        name: "snapshot-create-as",
        help: "Create a snapshot from a set of args",
        about: "Create a snapshot (disk and RAM) from arguments",
        options: &[
            DOMAIN,
            word("name", "name of snapshot"),
            word("description", "description of snapshot"),
            flag("print-xml", "print XML document rather than create"),
            NO_METADATA,
            HALT,
            DISK_ONLY,
            REUSE,
            QUIESCE,
            ATOMIC,
            LIVE,
            VALIDATE,
            value("memspec", "memory attributes: [file=]name[,snapshot=type]"),
            DRY_RUN,
            Opt {
                name: "diskspec",
                short: None,
                kind: Kind::Words,
                help: "disk attributes: disk[,snapshot=type][,driver=type][,stype=type][,file=name]",
            },
        ],
    },
    Command {
        name: "snapshot-current",
        help: "Get or set the current snapshot",
        about: "Get or set the current snapshot",
        options: &[
            DOMAIN,
            flag("name", "list the name, rather than the full xml"),
            SECURITY,
            word("snapshotname", "name of existing snapshot to make current"),
            JSON,
        ],
    },
    Command {
        name: "snapshot-delete",
        help: "Delete a domain snapshot",
        about: "Snapshot Delete",
        options: &[
            DOMAIN,
            SNAPSHOT,
            flag("current", "delete current snapshot"),
            flag("children", "delete snapshot and all children"),
            flag("children-only", "delete children but not snapshot"),
            flag("metadata", "delete only libvirt metadata, leaving snapshot contents behind"),
            DRY_RUN,
        ],
    },
    Command {
        name: "snapshot-dumpxml",
        help: "Dump XML for a domain snapshot",
        about: "Snapshot Dump XML",
        options: &[DOMAIN, required("snapshotname", "snapshot name"), SECURITY, XPATH, WRAP],
    },
    Command {
        name: "snapshot-edit",
        help: "edit XML for a snapshot",
        about: "Edit the domain snapshot XML for a named snapshot",
        options: &[
            DOMAIN,
            SNAPSHOT,
            flag("current", "also set edited snapshot as current"),
            flag("rename", "allow renaming an existing snapshot"),
            flag("clone", "allow cloning to new name"),
        ],
    },
    Command {
        name: "snapshot-info",
        help: "snapshot information",
        about: "Returns basic information about a snapshot.",
        options: &[DOMAIN, SNAPSHOT, flag("current", "info on current snapshot"), JSON],
    },
    Command {
        name: "snapshot-list",
        help: "List snapshots for a domain",
        about: "Snapshot List",
        options: &[
            DOMAIN,
            flag("parent", "add a column showing parent snapshot"),
            flag("roots", "list only snapshots without parents"),
            flag("leaves", "list only snapshots without children"),
            flag("no-leaves", "list only snapshots that are not leaves (with children)"),
            flag("metadata", "list only snapshots that have metadata that would prevent undefine"),
            flag("no-metadata", "list only snapshots that have no metadata managed by libvirt"),
            flag("inactive", "filter by snapshots taken while inactive"),
            flag("active", "filter by snapshots taken while active (full system snapshots)"),
            flag("disk-only", "filter by disk-only snapshots"),
            flag("internal", "filter by internal snapshots"),
            flag("external", "filter by external snapshots"),
            flag("tree", "list snapshots in a tree"),
            word("from", "limit list to children of given snapshot"),
            flag("current", "limit list to children of current snapshot"),
            flag("descendants", "with --from, list all descendants"),
            flag("name", "list snapshot names only"),
            flag("topological", "sort list topologically rather than by name"),
            JSON,
        ],
    },
    Command {
        name: "snapshot-parent",
        help: "Get the name of the parent of a snapshot",
        about: "Extract the snapshot's parent, if any",
        options: &[
            DOMAIN,
            word("snapshotname", "find parent of snapshot name"),
            flag("current", "find parent of current snapshot"),
            JSON,
        ],
    },
    Command {
        name: "snapshot-revert",
        help: "Revert a domain to a snapshot",
        about: "Revert domain to snapshot",
        options: &[
            DOMAIN,
            SNAPSHOT,
            flag("current", "revert to current snapshot"),
            flag("running", "after reverting, change state to running"),
            flag("paused", "after reverting, change state to paused"),
            flag("force", "try harder on risky reverts"),
            flag("reset-nvram", "re-initialize NVRAM from its pristine template"),
            flag("delete-children", "after reverting, delete all children"),
            flag("discard", "after reverting, delete the snapshot"),
            DRY_RUN,
        ],
    },
];

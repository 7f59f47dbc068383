//! The commands on domains. What D-Bus cannot carry (consoles, file descriptors, storage volumes) is not offered.

use super::{Command, DOMAIN, JSON, Kind, Opt, SECURITY, WRAP, XPATH, flag, required, value};

const MODE: Opt = value("mode", "shutdown mode: acpi|agent|initctl|signal|paravirt");
const FILE: Opt = required("file", "file containing an XML domain description");
const PAUSED: Opt = flag("paused", "leave the guest paused after creation");
const RESET_NVRAM: Opt = flag("reset-nvram", "re-initialize NVRAM from its pristine template");

pub(super) const MANAGEMENT: &[Command] = &[
    Command {
        name: "autostart",
        help: "autostart a domain",
        about: "Configure a domain to be automatically started at boot.",
        options: &[DOMAIN, flag("disable", "disable autostarting")],
    },
    Command {
        name: "create",
        help: "create a domain from an XML file",
        about: "Create a domain.",
        options: &[FILE, PAUSED, flag("validate", "validate the XML against the schema"), RESET_NVRAM],
    },
    Command {
        name: "define",
        help: "define (but don't start) a domain from an XML file",
        about: "Define a domain.",
        options: &[FILE],
    },
    Command {
        name: "destroy",
        help: "destroy (stop) a domain",
        about: "Forcefully stop a given domain, but leave its resources intact.",
        options: &[DOMAIN, flag("graceful", "terminate gracefully"), flag("remove-logs", "remove domain logs")],
    },
    Command {
        name: "domfsfreeze",
        help: "Freeze domain's mounted filesystems.",
        about: "Freeze domain's mounted filesystems.",
        options: &[
            DOMAIN,
            Opt { name: "mountpoint", short: None, kind: Kind::Words, help: "mountpoint path to be frozen" },
        ],
    },
    Command {
        name: "domfsinfo",
        help: "Get information of domain's mounted filesystems.",
        about: "Get information of domain's mounted filesystems.",
        options: &[DOMAIN],
    },
    Command {
        name: "domfsthaw",
        help: "Thaw domain's mounted filesystems.",
        about: "Thaw domain's mounted filesystems.",
        options: &[
            DOMAIN,
            Opt { name: "mountpoint", short: None, kind: Kind::Words, help: "mountpoint path to be thawed" },
        ],
    },
    Command {
        name: "domid",
        help: "convert a domain name or UUID to domain id",
        about: "",
        options: &[required("domain", "domain name or uuid")],
    },
    Command {
        name: "domname",
        help: "convert a domain id or UUID to domain name",
        about: "",
        options: &[required("domain", "domain id or uuid")],
    },
    Command {
        name: "domrename",
        help: "rename a domain",
        about: "Rename an inactive domain.",
        options: &[required("domain", "domain name or uuid"), required("new-name", "new domain name")],
    },
    Command {
        name: "domuuid",
        help: "convert a domain name or id to domain UUID",
        about: "",
        options: &[required("domain", "domain id or name")],
    },
    Command {
        name: "dumpxml",
        help: "domain information in XML",
        about: "Output the domain information as an XML dump to stdout.",
        options: &[
            DOMAIN,
            flag("inactive", "show inactive defined XML"),
            SECURITY,
            flag("update-cpu", "update guest CPU according to host CPU"),
            flag("migratable", "provide XML suitable for migrations"),
            XPATH,
            WRAP,
        ],
    },
    Command {
        name: "managedsave",
        help: "managed save of a domain state",
        about: "Save and destroy a running domain, so it can be restarted from\nthe same state at a later time.  When the virsh 'start'\ncommand is next run for the domain, it will automatically\nbe started from this saved state.",
        options: &[
            DOMAIN,
            flag("bypass-cache", "avoid file system cache when saving"),
            flag("running", "set domain to be running on next start"),
            flag("paused", "set domain to be paused on next start"),
        ],
    },
    Command {
        name: "managedsave-remove",
        help: "Remove managed save of a domain",
        about: "Remove an existing managed save state file from a domain",
        options: &[DOMAIN],
    },
    Command {
        name: "reboot",
        help: "reboot a domain",
        about: "Run a reboot command in the target domain.",
        options: &[DOMAIN, MODE],
    },
    Command {
        name: "reset",
        help: "reset a domain",
        about: "Reset the target domain as if by power button",
        options: &[DOMAIN],
    },
    Command {
        name: "resume",
        help: "resume a domain",
        about: "Resume a previously suspended domain.",
        options: &[DOMAIN],
    },
    Command {
        name: "shutdown",
        help: "gracefully shutdown a domain",
        about: "Run shutdown in the target domain.",
        options: &[DOMAIN, MODE],
    },
    Command {
        name: "start",
        help: "start a (previously defined) inactive domain",
        about: "Start a domain, either from the last managedsave\nstate, or via a fresh boot if no managedsave state\nis present.",
        options: &[
            required("domain", "name of the inactive domain"),
            PAUSED,
            flag("bypass-cache", "avoid file system cache when loading"),
            flag("force-boot", "force fresh boot by discarding any managed save"),
            RESET_NVRAM,
        ],
    },
    Command { name: "suspend", help: "suspend a domain", about: "Suspend a running domain.", options: &[DOMAIN] },
    Command {
        name: "undefine",
        help: "undefine a domain",
        about: "Undefine an inactive domain, or convert persistent to transient.",
        options: &[
            DOMAIN,
            flag("managed-save", "remove domain managed state file"),
            flag("snapshots-metadata", "remove all domain snapshot metadata (vm must be inactive)"),
            flag("checkpoints-metadata", "remove all domain checkpoint metadata (vm must be inactive)"),
            flag("nvram", "remove nvram file"),
            flag("keep-nvram", "keep nvram file"),
            flag("tpm", "remove TPM state"),
            flag("keep-tpm", "keep TPM state"),
        ],
    },
];

pub(super) const MONITORING: &[Command] = &[
    Command {
        name: "dominfo",
        help: "domain information",
        about: "Returns basic information about the domain.",
        options: &[DOMAIN, JSON],
    },
    Command {
        name: "domstate",
        help: "domain state",
        about: "Returns state about a domain.",
        options: &[DOMAIN, flag("reason", "also print reason for the state"), JSON],
    },
    Command {
        name: "list",
        help: "list domains",
        about: "Returns list of domains.",
        options: &[
            flag("inactive", "list inactive domains"),
            flag("all", "list inactive & active domains"),
            flag("transient", "list transient domains"),
            flag("persistent", "list persistent domains"),
            flag("with-snapshot", "list domains with existing snapshot"),
            flag("without-snapshot", "list domains without a snapshot"),
            flag("with-checkpoint", "list domains with existing checkpoint"),
            flag("without-checkpoint", "list domains without a checkpoint"),
            flag("state-running", "list domains in running state"),
            flag("state-paused", "list domains in paused state"),
            flag("state-shutoff", "list domains in shutoff state"),
            flag("state-other", "list domains in other states"),
            flag("autostart", "list domains with autostart enabled"),
            flag("no-autostart", "list domains with autostart disabled"),
            flag("with-managed-save", "list domains with managed save state"),
            flag("without-managed-save", "list domains without managed save"),
            flag("uuid", "list uuid's only"),
            flag("name", "list domain names only"),
            flag("id", "list domain IDs only"),
            flag("table", "list table (default)"),
            flag("managed-save", "mark inactive domains with managed save state"),
            flag("title", "show domain title"),
            JSON,
        ],
    },
];

//! The commands on domains. What D-Bus cannot carry (consoles, file descriptors, storage volumes) is not offered.

use super::{Command, DOMAIN, Kind, Opt, flag, required};

const MODE: Opt = Opt {
    name: "mode",
    short: None,
    kind: Kind::Value,
    help: "shutdown mode: acpi|agent|initctl|signal|paravirt (comma separated)",
};

pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "list",
        help: "list domains",
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
        ],
    },
    Command {
        name: "define",
        help: "define (but don't start) a domain from an XML file",
        options: &[required("file", "file containing an XML domain description")],
    },
    Command {
        name: "create",
        help: "create a domain from an XML file",
        options: &[
            required("file", "file containing an XML domain description"),
            flag("paused", "leave the guest paused after creation"),
            flag("validate", "validate the XML against the schema"),
            flag("reset-nvram", "re-initialize NVRAM from its pristine template"),
        ],
    },
    Command {
        name: "undefine",
        help: "undefine a domain",
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
    Command {
        name: "start",
        help: "start a (previously defined) inactive domain",
        options: &[
            required("domain", "name of the inactive domain"),
            flag("paused", "leave the guest paused after creation"),
            flag("bypass-cache", "avoid file system cache when loading"),
            flag("force-boot", "force fresh boot by discarding any managed save"),
            flag("reset-nvram", "re-initialize NVRAM from its pristine template"),
        ],
    },
    Command { name: "shutdown", help: "gracefully shutdown a domain", options: &[DOMAIN, MODE] },
    Command { name: "reboot", help: "reboot a domain", options: &[DOMAIN, MODE] },
    Command { name: "reset", help: "reset a domain", options: &[DOMAIN] },
    Command {
        name: "destroy",
        help: "destroy (stop) a domain",
        options: &[DOMAIN, flag("graceful", "terminate gracefully"), flag("remove-logs", "remove domain logs")],
    },
    Command { name: "suspend", help: "suspend a domain", options: &[DOMAIN] },
    Command { name: "resume", help: "resume a domain", options: &[DOMAIN] },
    Command {
        name: "autostart",
        help: "autostart a domain",
        options: &[DOMAIN, flag("disable", "disable autostarting")],
    },
    Command {
        name: "dumpxml",
        help: "domain information in XML",
        options: &[
            DOMAIN,
            flag("inactive", "show inactive defined XML"),
            flag("security-info", "include security sensitive information in XML dump"),
            flag("update-cpu", "update guest CPU according to host CPU"),
            flag("migratable", "provide XML suitable for migrations"),
        ],
    },
    Command {
        name: "domstate",
        help: "domain state",
        options: &[DOMAIN, flag("reason", "also print reason for the state")],
    },
    Command { name: "dominfo", help: "domain information", options: &[DOMAIN] },
    Command {
        name: "domid",
        help: "convert a domain name or UUID to domain id",
        options: &[required("domain", "domain name or uuid")],
    },
    Command {
        name: "domname",
        help: "convert a domain id or UUID to domain name",
        options: &[required("domain", "domain id or uuid")],
    },
    Command {
        name: "domuuid",
        help: "convert a domain name or id to domain UUID",
        options: &[required("domain", "domain id or name")],
    },
];

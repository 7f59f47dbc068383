//! The UEFI images of this host, as QEMU's firmware descriptors tell them (`docs/interop/firmware.json` of QEMU): files
//! in `/usr/share/qemu/firmware`, of which one of the same name in `/etc/qemu/firmware` takes the place.
//!
//! Must not know: domains.

use super::hardware::firmware::Wanted;
use crate::model::ids::Image;
use crate::model::side_state::Template;
use camino::{Utf8Path, Utf8PathBuf};
use serde::Deserialize;
use std::collections::BTreeMap;

const DIRECTORIES: [&str; 2] = ["/usr/share/qemu/firmware", "/etc/qemu/firmware"];

/// One descriptor, as far as it matters here.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Descriptor {
    #[serde(rename = "interface-types")]
    interfaces: Vec<String>,
    mapping: Mapping,
    targets: Vec<Target>,
    #[serde(default)]
    features: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
struct Mapping {
    device: String,
    executable: Option<File>,
    #[serde(rename = "nvram-template")]
    nvram_template: Option<File>,
}

#[derive(Debug, Clone, Deserialize)]
struct File {
    filename: Utf8PathBuf,
    format: String,
}

#[derive(Debug, Clone, Deserialize)]
struct Target {
    architecture: String,
    machines: Vec<String>,
}

/// What a firmware is wanted for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Purpose<'a> {
    pub(crate) wanted: &'a Wanted,
    pub(crate) arch: &'a str,
    pub(crate) machine: &'a str,
    /// Whether the definition allows system management mode.
    pub(crate) smm: bool,
}

/// Every descriptor that can be read, in the order of their names.
pub(crate) fn all() -> Vec<Descriptor> {
    let mut files: BTreeMap<String, Utf8PathBuf> = BTreeMap::new();
    for entry in DIRECTORIES.iter().filter_map(|d| Utf8Path::new(d).read_dir_utf8().ok()).flatten().flatten() {
        if entry.path().extension() == Some("json") {
            files.insert(entry.file_name().to_owned(), entry.path().to_owned());
        }
    }
    let read = |path: &Utf8PathBuf| serde_json::from_str(&std::fs::read_to_string(path).ok()?).ok();
    files.values().filter_map(read).collect()
}

impl Descriptor {
    fn has(&self, feature: &str) -> bool {
        self.features.iter().any(|f| f == feature)
    }
    pub(crate) fn needs_smm(&self) -> bool {
        self.has("requires-smm")
    }
    /// The image that is mapped into the guest.
    pub(crate) fn code(&self) -> Option<Image> {
        let file = self.mapping.executable.as_ref()?;
        Some(Image { path: file.filename.clone(), format: file.format.clone() })
    }
    /// What its variables begin as.
    pub(crate) fn template(&self) -> Option<Template> {
        let file = self.mapping.nvram_template.as_ref()?;
        Some(Template { path: file.filename.clone(), format: file.format.clone() })
    }
    fn fits(&self, purpose: &Purpose<'_>) -> bool {
        let matches = |pattern: &String| match pattern.strip_suffix('*') {
            Some(stem) => purpose.machine.starts_with(stem),
            None => purpose.machine == pattern,
        };
        let target = |t: &Target| t.architecture == purpose.arch && t.machines.iter().any(matches);
        let wanted = |wish: Option<bool>, feature: &str| wish.is_none_or(|on| on == self.has(feature));
        // Without a wish for it no Secure Boot, unlike libvirt, which takes the first: a system that nobody has signed
        // would not start.
        let secure_boot = purpose.wanted.secure_boot.unwrap_or(purpose.wanted.enrolled_keys == Some(true));
        self.interfaces.iter().any(|i| i == "uefi")
            && self.mapping.device == "flash"
            && self.template().is_some()
            && self.code().is_some_and(|c| c.path.is_file())
            && self.targets.iter().any(target)
            && secure_boot == self.has("secure-boot")
            && wanted(purpose.wanted.enrolled_keys, "enrolled-keys")
            && (purpose.smm || !self.needs_smm())
    }
}

/// The first that fits.
pub(crate) fn choose<'d>(all: &'d [Descriptor], purpose: &Purpose<'_>) -> Option<&'d Descriptor> {
    all.iter().find(|d| d.fits(purpose))
}

/// What the variables of the firmware at `code` begin as: its descriptor says it, or its name (`…CODE…` and `…VARS…`
/// side by side, as all packages of OVMF have them).
pub(crate) fn template_of(all: &[Descriptor], code: &Utf8Path) -> Option<Template> {
    let described = all.iter().find(|d| d.code().is_some_and(|c| c.path == code)).and_then(Descriptor::template);
    described.or_else(|| {
        let name = code.file_name()?;
        let path = code.with_file_name(name.replacen("CODE", "VARS", 1));
        let format = if path.extension() == Some("qcow2") { "qcow2" } else { "raw" };
        (path != code && path.is_file()).then(|| Template { path, format: format.to_owned() })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptor(name: &str, features: &[&str]) -> Descriptor {
        serde_json::from_value(serde_json::json!({
            "interface-types": ["uefi"],
            "mapping": {
                "device": "flash",
                // Any file that is there.
                "executable": { "filename": env!("CARGO_MANIFEST_DIR").to_owned() + "/Cargo.toml", "format": "raw" },
                "nvram-template": { "filename": name, "format": "raw" },
            },
            "targets": [{ "architecture": "x86_64", "machines": ["pc-q35-*"] }],
            "features": features,
        }))
        .unwrap()
    }

    #[test]
    fn secure_boot_is_chosen_only_where_it_is_wanted_and_possible() {
        let all = [
            descriptor("/enrolled", &["secure-boot", "enrolled-keys", "requires-smm"]),
            descriptor("/empty", &["secure-boot", "requires-smm"]),
            descriptor("/plain", &[]),
        ];
        let name = |secure_boot, enrolled_keys, smm, machine| {
            let wanted = Wanted { secure_boot, enrolled_keys, nvram: None };
            let purpose = Purpose { wanted: &wanted, arch: "x86_64", machine, smm };
            choose(&all, &purpose).and_then(Descriptor::template).map(|t| t.path.to_string())
        };
        let q35 = "pc-q35-7.2";
        for (secure_boot, enrolled_keys, smm, expected) in [
            (None, None, true, Some("/plain")),
            (Some(false), None, true, Some("/plain")),
            (Some(true), None, true, Some("/enrolled")),
            (Some(true), Some(false), true, Some("/empty")),
            (None, Some(true), true, Some("/enrolled")),
            (None, Some(false), true, Some("/plain")),
            (Some(true), None, false, None),
        ] {
            assert_eq!(
                name(secure_boot, enrolled_keys, smm, q35).as_deref(),
                expected,
                "{secure_boot:?} {enrolled_keys:?}"
            );
        }
        assert_eq!(name(None, None, true, "pc-i440fx-7.2"), None);
    }
}

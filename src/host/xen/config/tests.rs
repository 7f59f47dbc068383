//! Definitions and configurations: golden files in `tests/xen/config`, written anew with
//! `UPDATE_GOLDEN=1`, and what a real Xen said, in `tests/xen/recorded`.
//!
//! | files | |
//! |---|---|
//! | `*.xml` and `*.cfg` | each becomes the other, byte for byte |
//! | `read/*.xml` | what others write of a domain: becomes its `.cfg` |
//! | `adopt/*.cfg` | what others write for xl: becomes its `.xml`, which stays as it is |

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod recorded;
mod refused;
mod text;

use super::{Config, check, from_config, to_config};
use camino::{Utf8Path, Utf8PathBuf};

fn tests() -> Utf8PathBuf {
    Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/xen")
}

fn files(dir: &str, extension: &str) -> Vec<Utf8PathBuf> {
    let entries = tests().join("config").join(dir).read_dir_utf8().unwrap();
    let mut found: Vec<_> = entries.map(|e| e.unwrap().into_path()).collect();
    found.retain(|path| path.extension() == Some(extension));
    found.sort();
    assert!(!found.is_empty(), "no .{extension} in {dir}");
    found
}

fn read(path: &Utf8Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

fn golden(path: &Utf8Path, got: &str) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, got).unwrap();
    }
    let expected = std::fs::read_to_string(path).unwrap_or_default();
    assert!(got == expected, "{path} differs (UPDATE_GOLDEN=1 writes it anew):\n{got}");
}

#[test]
fn every_supported_definition_and_its_configuration_become_each_other() {
    for path in files("", "xml") {
        let xml = read(&path);
        let config = to_config(&xml).unwrap_or_else(|e| panic!("{path}: {e}"));
        let text = config.to_string();
        golden(&path.with_extension("cfg"), &text);
        let again = Config::parse(&text).unwrap();
        assert_eq!(again, config, "{path}");
        let back = from_config(&again).unwrap();
        assert!(back == xml, "{path} came back as\n{back}");
    }
}

#[test]
fn definitions_as_libvirt_writes_them_become_configurations() {
    for path in files("read", "xml") {
        let config = to_config(&read(&path)).unwrap_or_else(|e| panic!("{path}: {e}"));
        golden(&path.with_extension("cfg"), &config.to_string());
        let again = to_config(&from_config(&config).unwrap()).unwrap();
        let keys = |c: &Config| c.settings().map(|s| s.key().to_owned()).collect::<Vec<_>>();
        assert!(config.settings().all(|s| again.get(s.key()) == Some(s.value()) || is_default(s.key())), "{path}");
        assert!(keys(&again).iter().all(|k| config.get(k).is_some() || is_default(k)), "{path}\n{again}");
    }
}

/// What a definition need not say.
fn is_default(key: &str) -> bool {
    matches!(key, "on_poweroff" | "on_reboot" | "on_crash" | "localtime")
}

#[test]
fn configurations_as_others_write_them_become_definitions_that_stay() {
    for path in files("adopt", "cfg") {
        let config = Config::parse(&read(&path)).unwrap();
        let xml = from_config(&config).unwrap_or_else(|e| panic!("{path}: {e}"));
        golden(&path.with_extension("xml"), &xml);
        let with_uuid = check(&xml).unwrap();
        let normal = to_config(&with_uuid).unwrap();
        assert_eq!(from_config(&normal).unwrap(), with_uuid, "{path}");
        assert_eq!(to_config(&from_config(&normal).unwrap()).unwrap(), normal, "{path}");
    }
}

#[test]
fn defining_fills_in_what_must_not_change_and_nothing_else() {
    let xml = "<domain type='xen'>\n <name>a</name>\n <memory>1024</memory> <!-- little -->\n \
               <os>\n  <type>hvm</type>\n </os>\n <devices>\n  <interface type='bridge'>\n   <source bridge='b'/>\n  \
               </interface>\n </devices>\n</domain>";
    let stored = check(xml).unwrap();
    let config = to_config(&stored).unwrap();
    let (uuid, vif) = (config.text("uuid").unwrap(), config.get("vif").unwrap().as_list().unwrap());
    let mac = vif[0].as_text().unwrap().strip_prefix("mac=").unwrap().strip_suffix(",bridge=b").unwrap();
    assert!(mac.starts_with("00:16:3e:"), "{mac}");
    let without = stored
        .replace(&format!("\n <uuid>{uuid}</uuid>"), "")
        .replace(&format!("\n   <mac address='{mac}'/>"), "")
        .replace(" arch='x86_64' machine='xenfv'", "");
    assert_eq!(without, xml);
    assert_eq!(check(&stored).unwrap(), stored);

    let bare = "<domain type='xen'><name>a</name><memory>1024</memory><bootloader>/b</bootloader></domain>";
    assert!(check(bare).unwrap().contains("<os>\n  <type arch='x86_64' machine='xenpv'>linux</type>\n</os>"));
}

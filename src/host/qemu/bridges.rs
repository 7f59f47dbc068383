//! Network cards on bridges of this host: QEMU makes a tap device per card, and it joins its bridge before the guest runs.
//! The device goes with its QEMU.
//!
//! Must not know: QMP, processes.

use super::hardware::Hardware;
use super::hardware::interface::Net;
use crate::error::{Code, Error, Result};
use crate::host::command::Child;
use crate::xml::element::Document;
use crate::xml::scan::Limits;
use camino::Utf8Path;

/// Where libvirt keeps the definitions of its networks.
const NETWORKS: &str = "/etc/libvirt/qemu/networks";
/// The bit of the right to change networks (`capabilities(7)`).
const CAP_NET_ADMIN: u32 = 12;

/// A tap device and the bridge it belongs on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plug {
    tap: String,
    bridge: String,
}

/// What the cards of a machine are plugged into; refused before anything is started.
pub(super) fn plugs(hardware: &Hardware) -> Result<Vec<Plug>> {
    let mut plugs = Vec::new();
    for interface in &hardware.interfaces {
        let bridge = match &interface.net {
            Net::User => continue,
            Net::Bridge(bridge) => bridge.clone(),
            Net::Network(name) => bridge_of(name)?,
        };
        if !Utf8Path::new("/sys/class/net").join(&bridge).join("bridge").is_dir() {
            let gone = std::io::Error::from_raw_os_error(rustix::io::Errno::NODEV.raw_os_error());
            return Err(Error::system(format!("Cannot get interface MTU on '{bridge}'"), &gone));
        }
        if !may_change_networks() {
            return Err(Error::new(
                Code::OperationDenied,
                format!(
                    "a tap device on bridge '{bridge}' needs the right CAP_NET_ADMIN, which virsnapd does not have"
                ),
            ));
        }
        plugs.push(Plug { tap: interface.tap(), bridge });
    }
    Ok(plugs)
}

fn bridge_of(network: &str) -> Result<String> {
    let missing = || Error::new(Code::NoNetwork, format!("no network with matching name '{network}'"));
    if network.contains('/') || network.starts_with('.') {
        return Err(missing());
    }
    let text = std::fs::read_to_string(format!("{NETWORKS}/{network}.xml")).map_err(|_| missing())?;
    let document = Document::parse(&text, &Limits::default())?;
    let bridge = document.root().child("bridge").and_then(|b| b.attribute_text("name"));
    bridge.map(str::to_owned).ok_or_else(|| Error::config(format!("network '{network}' has no bridge on this host")))
}

fn may_change_networks() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|l| l.strip_prefix("CapEff:"));
    effective.and_then(|c| u64::from_str_radix(c.trim(), 16).ok()).is_some_and(|c| c >> CAP_NET_ADMIN & 1 == 1)
}

/// Let the tap devices of a QEMU that has started join their bridges.
pub(super) async fn join(plugs: &[Plug]) -> Result<()> {
    for Plug { tap, bridge } in plugs {
        for words in [["master", bridge.as_str()].as_slice(), &["up"]] {
            let child = Child::new("ip").args(["link", "set", "dev"]).arg(tap).args(words);
            child.run().await.map_err(|e| e.context(format!("cannot plug a network card into bridge '{bridge}'")))?;
        }
    }
    Ok(())
}

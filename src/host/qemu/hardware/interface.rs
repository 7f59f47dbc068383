//! `<interface>`: a network card, and what it is connected to.

use super::address::Pci;
use super::disk::boot_order;
use crate::error::Result;
use crate::host::strict::Strict;
use std::ops::Range;

/// What the card is connected to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Net {
    /// QEMU's own network of one guest.
    User,
    /// A bridge of this host, by a tap device.
    Bridge(String),
    /// A network that libvirt defines on this host: by its bridge.
    Network(String),
}

/// One `<interface>`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Interface {
    pub(crate) range: Range<usize>,
    pub(crate) net: Net,
    /// QEMU's name of the device.
    pub(crate) driver: &'static str,
    /// `None` until one is assigned.
    pub(crate) mac: Option<String>,
    /// Whether the cable is plugged in.
    pub(crate) link_up: bool,
    pub(crate) boot_order: Option<u32>,
    pub(crate) pci: Option<Pci>,
}

const NICS: &[(&str, &str)] = &[
    ("virtio", "virtio-net-pci"),
    ("rtl8139", "rtl8139"),
    ("e1000", "e1000"),
    ("e1000e", "e1000e"),
    ("ne2k_pci", "ne2k_pci"),
    ("pcnet", "pcnet"),
];

impl Interface {
    pub(crate) fn read(mut e: Strict<'_, '_>) -> Result<Self> {
        let kind = e.need("type")?;
        let mut source = e.child("source")?;
        let net = match (kind, &mut source) {
            ("user", None) => Net::User,
            ("bridge", Some(s)) => Net::Bridge(device_name(s, "bridge")?),
            ("network", Some(s)) => {
                // What a running libvirt adds.
                s.ignore_attrs(&["portid", "bridge"]);
                Net::Network(s.need("network")?.to_owned())
            }
            ("bridge" | "network", None) => return Err(e.refuse()),
            ("user", Some(s)) => return Err(s.refuse()),
            _ => return Err(e.refuse_value("type")),
        };
        if let Some(s) = source {
            s.finish()?;
        }
        // The tap device's name is ours to choose: see `tap`.
        e.ignore(&["alias", "target"]);
        let mut driver = "rtl8139";
        if let Some(mut m) = e.child("model")? {
            driver = m.one_of("type", NICS)?.unwrap_or(driver);
            m.finish()?;
        }
        let mut mac = None;
        if let Some(mut m) = e.child("mac")? {
            let address = m.need("address")?;
            if !is_unicast_mac(address) {
                return Err(m.malformed("address"));
            }
            mac = Some(address.to_owned());
            m.finish()?;
        }
        let mut link_up = true;
        if let Some(mut l) = e.child("link")? {
            link_up = l.one_of("state", &[("up", true), ("down", false)])?.unwrap_or(true);
            l.finish()?;
        }
        let interface = Self {
            range: e.range(),
            net,
            driver,
            mac,
            link_up,
            boot_order: boot_order(&mut e)?,
            pci: Pci::read(&mut e)?,
        };
        e.finish()?;
        Ok(interface)
    }

    /// The name of its tap device: of its address, which no other card on a bridge may have.
    pub(crate) fn tap(&self) -> String {
        let hex: String = self.mac.iter().flat_map(|m| m.chars()).filter(char::is_ascii_hexdigit).collect();
        format!("vs{}", hex.to_ascii_lowercase())
    }
}

/// A network device's name: the kernel's limits, and nothing that is a path.
fn device_name(e: &mut Strict<'_, '_>, attribute: &'static str) -> Result<String> {
    let name = e.need(attribute)?;
    let word = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    if !word || name.len() > 15 || matches!(name, "." | "..") {
        return Err(e.malformed(attribute));
    }
    Ok(name.to_owned())
}

fn is_unicast_mac(text: &str) -> bool {
    let bytes: Vec<&str> = text.split(':').collect();
    let hex = |b: &&str| b.len() == 2 && b.bytes().all(|c| c.is_ascii_hexdigit());
    bytes.len() == 6
        && bytes.iter().all(hex)
        && bytes.first().and_then(|b| u8::from_str_radix(b, 16).ok()).is_some_and(|b| b & 1 == 0)
}

//! Where a device is plugged in: the kinds of `<address>`.

use crate::error::Result;
use crate::host::strict::Strict;
use std::fmt;

/// `<address type='pci'>`. The PCI domain is always 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Pci {
    pub(crate) bus: u8,
    pub(crate) slot: u8,
    pub(crate) function: u8,
    pub(crate) multifunction: bool,
}

/// `<address type='drive'>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Drive {
    pub(crate) controller: u32,
    pub(crate) bus: u32,
    pub(crate) target: u32,
    pub(crate) unit: u32,
}

/// `<address type='virtio-serial'>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct SerialPort {
    pub(crate) controller: u32,
    pub(crate) port: u32,
}

/// `<address type='usb'>`; the port is a path such as `1.2`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Usb {
    pub(crate) bus: u32,
    pub(crate) port: String,
}

impl fmt::Display for Pci {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0000:{:02x}:{:02x}.{:x}", self.bus, self.slot, self.function)
    }
}

fn typed<'a, 'i>(device: &mut Strict<'a, 'i>, kind: &str) -> Result<Option<Strict<'a, 'i>>> {
    let Some(mut e) = device.child("address")? else { return Ok(None) };
    if e.attr("type") == Some(kind) { Ok(Some(e)) } else { Err(e.refuse_value("type")) }
}

impl Pci {
    pub(crate) fn read(device: &mut Strict<'_, '_>) -> Result<Option<Self>> {
        let Some(mut e) = typed(device, "pci")? else { return Ok(None) };
        if e.number::<u16>("domain")?.unwrap_or(0) != 0 {
            return Err(e.refuse_value("domain"));
        }
        let pci = Self {
            bus: e.number("bus")?.unwrap_or(0),
            slot: e.number("slot")?.unwrap_or(0),
            function: e.number("function")?.unwrap_or(0),
            multifunction: e.switch("multifunction")?.unwrap_or(false),
        };
        if pci.slot > 31 {
            return Err(e.malformed("slot"));
        }
        if pci.function > 7 {
            return Err(e.malformed("function"));
        }
        e.finish()?;
        Ok(Some(pci))
    }
    pub(crate) fn xml(&self) -> String {
        let multifunction = if self.multifunction { " multifunction='on'" } else { "" };
        format!(
            "<address type='pci' domain='0x0000' bus='0x{:02x}' slot='0x{:02x}' function='0x{:x}'{multifunction}/>",
            self.bus, self.slot, self.function
        )
    }
}

impl Drive {
    pub(crate) fn read(device: &mut Strict<'_, '_>) -> Result<Option<Self>> {
        let Some(mut e) = typed(device, "drive")? else { return Ok(None) };
        let drive = Self {
            controller: e.number("controller")?.unwrap_or(0),
            bus: e.number("bus")?.unwrap_or(0),
            target: e.number("target")?.unwrap_or(0),
            unit: e.number("unit")?.unwrap_or(0),
        };
        e.finish()?;
        Ok(Some(drive))
    }
    pub(crate) fn xml(&self) -> String {
        format!(
            "<address type='drive' controller='{}' bus='{}' target='{}' unit='{}'/>",
            self.controller, self.bus, self.target, self.unit
        )
    }
}

impl SerialPort {
    pub(crate) fn read(device: &mut Strict<'_, '_>) -> Result<Option<Self>> {
        let Some(mut e) = typed(device, "virtio-serial")? else { return Ok(None) };
        e.only("bus", &["0"])?;
        let port = Self { controller: e.number("controller")?.unwrap_or(0), port: e.number("port")?.unwrap_or(0) };
        e.finish()?;
        Ok(Some(port))
    }
    pub(crate) fn xml(&self) -> String {
        format!("<address type='virtio-serial' controller='{}' bus='0' port='{}'/>", self.controller, self.port)
    }
}

impl Usb {
    pub(crate) fn read(device: &mut Strict<'_, '_>) -> Result<Option<Self>> {
        let Some(mut e) = typed(device, "usb")? else { return Ok(None) };
        let bus = e.number("bus")?.unwrap_or(0);
        let port = e.need("port")?.to_owned();
        if !port.split('.').all(|p| p.parse::<u8>().is_ok()) {
            return Err(e.malformed("port"));
        }
        e.finish()?;
        Ok(Some(Self { bus, port }))
    }
    pub(crate) fn xml(&self) -> String {
        format!("<address type='usb' bus='{}' port='{}'/>", self.bus, self.port)
    }
}

//! `<serial>`, `<parallel>`, `<console>` and `<channel>`: a port of the guest and where its bytes go.

use super::address::SerialPort;
use crate::error::Result;
use crate::host::strict::Strict;
use std::ops::Range;

/// Where the bytes go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Backend {
    Pty,
    Null,
    File {
        path: String,
        append: bool,
    },
    /// A socket; without a path one of our own choosing.
    Unix {
        path: Option<String>,
        listen: bool,
    },
}

/// What the guest sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Port {
    IsaSerial {
        index: u32,
    },
    IsaParallel,
    /// A virtio console, `hvc0` in Linux.
    Hvc,
    Virtio {
        name: Option<String>,
    },
    /// The first `<console>`, which is but another name of the first `<serial>`.
    SameAsSerial,
}

/// One of the four elements.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Chardev {
    pub(crate) range: Range<usize>,
    /// libvirt's alias and the device's id: `serial0`, `console1`, `channel0`, `parallel0`.
    pub(crate) alias: String,
    pub(crate) backend: Backend,
    pub(crate) port: Port,
    pub(crate) address: Option<SerialPort>,
}

impl Chardev {
    /// Every such element of `<devices>`, in document order.
    pub(crate) fn read_all(devices: &mut Strict<'_, '_>) -> Result<Vec<Self>> {
        let mut elements: Vec<(&'static str, usize, Strict<'_, '_>)> = Vec::new();
        for name in ["serial", "parallel", "console", "channel"] {
            elements.extend(devices.children(name).into_iter().enumerate().map(|(i, e)| (name, i, e)));
        }
        let serials = elements.iter().any(|(name, ..)| *name == "serial");
        elements.sort_by_key(|(.., e)| e.range().start);
        elements.into_iter().map(|(name, i, e)| Self::read(name, i, e, serials)).collect()
    }

    fn read(element: &'static str, index: usize, mut e: Strict<'_, '_>, serials: bool) -> Result<Self> {
        e.ignore(&["alias"]);
        e.ignore_attrs(&["tty"]);
        let backend = Backend::read(&mut e)?;
        let mut alias = format!("{element}{index}");
        let range = e.range();
        let mut port = None;
        if let Some(mut t) = e.child("target")? {
            port = Some(Port::read(element, index, serials, &mut t)?);
            t.finish()?;
        }
        let port = match (port, element) {
            (Some(port), _) => port,
            (None, "serial") => Port::IsaSerial { index: small(index) },
            (None, "parallel") => Port::IsaParallel,
            (None, "console") if index == 0 => first_console(serials),
            _ => return Err(e.refuse()),
        };
        if element == "console" && matches!(port, Port::IsaSerial { .. }) {
            "serial0".clone_into(&mut alias);
        }
        let address = match port {
            Port::Hvc | Port::Virtio { .. } => SerialPort::read(&mut e)?,
            _ => {
                // An ISA port's address says what the board says anyway.
                if let Some(mut a) = e.child("address")? {
                    a.only("type", &["isa"])?;
                    a.finish()?;
                }
                None
            }
        };
        e.finish()?;
        Ok(Self { range, alias, backend, port, address })
    }

    /// Whether its bytes go to a terminal whose path only the running QEMU knows.
    pub(crate) fn has_tty(&self) -> bool {
        self.backend == Backend::Pty && self.port != Port::IsaParallel
    }
    /// The id of its backend.
    pub(crate) fn chardev(&self) -> String {
        match self.port {
            Port::SameAsSerial => "charserial0".to_owned(),
            _ => format!("char{}", self.alias),
        }
    }
}

fn small(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

fn first_console(serials: bool) -> Port {
    if serials { Port::SameAsSerial } else { Port::IsaSerial { index: 0 } }
}

impl Port {
    fn read(element: &str, index: usize, serials: bool, t: &mut Strict<'_, '_>) -> Result<Self> {
        match element {
            "serial" => {
                t.only("type", &["isa-serial"])?;
                if let Some(mut m) = t.child("model")? {
                    m.only("name", &["isa-serial"])?;
                    m.finish()?;
                }
                Ok(Self::IsaSerial { index: t.number("port")?.unwrap_or(small(index)) })
            }
            "parallel" => {
                t.ignore_attrs(&["port"]);
                Ok(Self::IsaParallel)
            }
            "console" => {
                t.ignore_attrs(&["port"]);
                match t.attr("type").unwrap_or("serial") {
                    "serial" if index == 0 => Ok(first_console(serials)),
                    "virtio" => Ok(Self::Hvc),
                    _ => Err(t.refuse_value("type")),
                }
            }
            _ => {
                t.ignore_attrs(&["state"]);
                t.only("type", &["virtio"])?;
                Ok(Self::Virtio { name: t.attr("name").map(str::to_owned) })
            }
        }
    }
}

impl Backend {
    fn read(e: &mut Strict<'_, '_>) -> Result<Self> {
        let kind = e.need("type")?;
        let mut source = e.child("source")?;
        if let Some(s) = &mut source {
            s.ignore(&["seclabel"]);
        }
        let backend = match kind {
            "pty" => {
                // The path is the running guest's, written there by GetXMLDesc.
                if let Some(s) = &mut source {
                    s.ignore_attrs(&["path"]);
                }
                Self::Pty
            }
            "null" => Self::Null,
            "file" => {
                let Some(s) = &mut source else { return Err(e.refuse()) };
                Self::File { path: s.need("path")?.to_owned(), append: s.switch("append")?.unwrap_or(false) }
            }
            "unix" => {
                let mut listen = true;
                let mut path = None;
                if let Some(s) = &mut source {
                    listen = s.one_of("mode", &[("bind", true), ("connect", false)])?.unwrap_or(true);
                    path = s.attr("path").filter(|p| !p.is_empty()).map(str::to_owned);
                }
                if path.is_none() && !listen {
                    return Err(e.refuse());
                }
                Self::Unix { path, listen }
            }
            _ => return Err(e.refuse_value("type")),
        };
        if let Some(s) = source {
            s.finish()?;
        }
        Ok(backend)
    }
}

//! The smaller devices: screens, input, random numbers, balloon, panic.

use super::address::{Pci, Usb};
use crate::error::{Code, Error, Result};
use crate::host::strict::Strict;
use std::ops::Range;

/// `<graphics type='vnc'>`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Vnc {
    /// `None`: the first one that is free.
    pub(crate) port: Option<u16>,
    pub(crate) listen: Listen,
    pub(crate) password: Option<String>,
    pub(crate) keymap: Option<String>,
    pub(crate) share: Option<&'static str>,
}

/// Where a screen is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Listen {
    Address(String),
    Socket(String),
}

const SHARE: &[(&str, &str)] =
    &[("allow-exclusive", "allow-exclusive"), ("force-shared", "force-shared"), ("ignore", "ignore")];

impl Vnc {
    pub(crate) fn read(mut e: Strict<'_, '_>) -> Result<Self> {
        e.need("type")?;
        e.only("type", &["vnc"])?;
        e.ignore(&["alias"]);
        let auto = e.switch("autoport")?;
        let port = match e.attr("port") {
            None | Some("-1") => None,
            Some(_) if auto == Some(true) => None,
            Some(_) => e.number::<u16>("port")?,
        };
        if port.is_some_and(|p| p < 5900) {
            return Err(Error::config(format!("vnc port must be in range [5900,65535] ({})", e.place())));
        }
        let mut listen = e.attr("listen").map(|a| Listen::Address(a.to_owned()));
        if let Some(path) = e.attr("socket") {
            listen = Some(Listen::Socket(path.to_owned()));
        }
        if let Some(mut l) = e.child("listen")? {
            match l.need("type")? {
                "address" => {
                    if let Some(address) = l.attr("address") {
                        listen = Some(Listen::Address(address.to_owned()));
                    }
                }
                "socket" => listen = Some(Listen::Socket(l.need("socket")?.to_owned())),
                _ => return Err(l.refuse_value("type")),
            }
            l.finish()?;
        }
        let password = e.attr("passwd").filter(|p| !p.is_empty()).map(str::to_owned);
        if password.as_ref().is_some_and(|p| p.len() > 8) {
            return Err(Error::config("VNC password is longer than 8 characters"));
        }
        let vnc = Self {
            port,
            listen: listen.unwrap_or_else(|| Listen::Address("127.0.0.1".to_owned())),
            password,
            keymap: e.attr("keymap").map(str::to_owned),
            share: e.one_of("sharePolicy", SHARE)?,
        };
        e.finish()?;
        Ok(vnc)
    }
}

/// `<video>` but for `none`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Video {
    pub(crate) range: Range<usize>,
    pub(crate) model: VideoModel,
    /// MiB, for the models that let one choose.
    pub(crate) memory_mib: Option<u32>,
    /// QXL's three memories, in KiB.
    pub(crate) qxl: Qxl,
    pub(crate) heads: Option<u32>,
    pub(crate) pci: Option<Pci>,
}

/// `ram=`, `vram=` and `vgamem=` of a QXL screen, in KiB; libvirt's defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Qxl {
    pub(crate) ram: u32,
    pub(crate) vram: u32,
    pub(crate) vgamem: u32,
}

/// `<model type='…'>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum VideoModel {
    Qxl,
    Vga,
    Cirrus,
    Virtio,
    Bochs,
}

impl Video {
    /// `None` for `<model type='none'/>`.
    pub(crate) fn read(mut e: Strict<'_, '_>) -> Result<Option<Self>> {
        let models = [
            ("qxl", Some(VideoModel::Qxl)),
            ("vga", Some(VideoModel::Vga)),
            ("cirrus", Some(VideoModel::Cirrus)),
            ("virtio", Some(VideoModel::Virtio)),
            ("bochs", Some(VideoModel::Bochs)),
            ("none", None),
        ];
        e.ignore(&["alias"]);
        let (mut model, mut memory_mib, mut heads) = (Some(VideoModel::Vga), None, None);
        let mut qxl = Qxl { ram: 65536, vram: 65536, vgamem: 16384 };
        if let Some(mut m) = e.child("model")? {
            model = m.one_of("type", &models)?.unwrap_or(model);
            m.ignore_attrs(&["primary"]);
            let vram = m.number::<u32>("vram")?;
            if vram.is_some_and(|kib| kib > 1 << 20) {
                return Err(m.refuse_value("vram"));
            }
            memory_mib = vram.map(|kib| kib.div_ceil(1024).next_power_of_two());
            if model == Some(VideoModel::Qxl) {
                m.only("vram64", &["0"])?;
                qxl.vram = vram.unwrap_or(qxl.vram);
                qxl.ram = m.number("ram")?.unwrap_or(qxl.ram);
                qxl.vgamem = m.number("vgamem")?.unwrap_or(qxl.vgamem);
            }
            heads = m.number("heads")?;
            if let Some(mut a) = m.child("acceleration")? {
                a.only("accel3d", &["no"])?;
                a.only("accel2d", &["no"])?;
                a.finish()?;
            }
            m.finish()?;
        }
        let pci = Pci::read(&mut e)?;
        let range = e.range();
        e.finish()?;
        Ok(model.map(|model| Self { range, model, memory_mib, qxl, heads, pci }))
    }
}

/// `<input>` but for those that the board has anyway.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Input {
    pub(crate) range: Range<usize>,
    pub(crate) kind: &'static str,
    pub(crate) plug: InputPlug,
}

/// What an input device is plugged into.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum InputPlug {
    Usb(Option<Usb>),
    Virtio(Option<Pci>),
}

impl Input {
    /// `None` for PS/2.
    pub(crate) fn read(mut e: Strict<'_, '_>) -> Result<Option<Self>> {
        e.ignore(&["alias"]);
        let kinds = [("tablet", "tablet"), ("mouse", "mouse"), ("keyboard", "kbd")];
        let Some(kind) = e.one_of("type", &kinds)? else { return Err(e.refuse()) };
        let bus = e.attr("bus").unwrap_or(if kind == "tablet" { "usb" } else { "ps2" });
        let plug = match bus {
            "ps2" if kind != "tablet" => None,
            "usb" => Some(InputPlug::Usb(Usb::read(&mut e)?)),
            "virtio" => Some(InputPlug::Virtio(Pci::read(&mut e)?)),
            _ => return Err(e.refuse_value("bus")),
        };
        let range = e.range();
        e.finish()?;
        Ok(plug.map(|plug| Self { range, kind, plug }))
    }
}

/// `<rng model='virtio'>`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rng {
    pub(crate) range: Range<usize>,
    /// The host's device; `None` for QEMU's built-in source.
    pub(crate) source: Option<String>,
    /// Bytes per so many milliseconds.
    pub(crate) rate: Option<(u64, u64)>,
    pub(crate) pci: Option<Pci>,
}

impl Rng {
    pub(crate) fn read(mut e: Strict<'_, '_>) -> Result<Self> {
        e.ignore(&["alias"]);
        e.only("model", &["virtio"])?;
        let Some(mut b) = e.child("backend")? else {
            return Err(Error::new(Code::XmlError, format!("missing RNG device backend ({})", e.place())));
        };
        let source = match b.need("model")? {
            "random" => Some(b.text().unwrap_or("/dev/urandom").to_owned()),
            "builtin" => None,
            _ => return Err(b.refuse_value("model")),
        };
        b.finish()?;
        let mut rate = None;
        if let Some(mut r) = e.child("rate")? {
            let Some(bytes) = r.number("bytes")? else { return Err(r.refuse()) };
            rate = Some((bytes, r.number("period")?.unwrap_or(1000)));
            r.finish()?;
        }
        let rng = Self { range: e.range(), source, rate, pci: Pci::read(&mut e)? };
        e.finish()?;
        Ok(rng)
    }
}

/// `<memballoon model='virtio'>`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Balloon {
    pub(crate) range: Range<usize>,
    pub(crate) deflate_on_oom: Option<bool>,
    pub(crate) free_page_reporting: Option<bool>,
    /// Seconds between two readings of the guest's statistics.
    pub(crate) period: Option<u32>,
    pub(crate) pci: Option<Pci>,
}

impl Balloon {
    /// `None` for `model='none'`.
    pub(crate) fn read(mut e: Strict<'_, '_>) -> Result<Option<Self>> {
        e.ignore(&["alias"]);
        let there = e.one_of("model", &[("virtio", true), ("none", false)])?.unwrap_or(true);
        let mut period = None;
        if let Some(mut s) = e.child("stats")? {
            period = s.number("period")?;
            s.finish()?;
        }
        let balloon = Self {
            range: e.range(),
            deflate_on_oom: e.switch("autodeflate")?,
            free_page_reporting: e.switch("freePageReporting")?,
            period,
            pci: Pci::read(&mut e)?,
        };
        e.finish()?;
        Ok(there.then_some(balloon))
    }
}

/// `<panic model='isa'>`: whether it is there.
pub(crate) fn read_panic(mut e: Strict<'_, '_>) -> Result<()> {
    e.ignore(&["alias"]);
    e.only("model", &["isa"])?;
    if let Some(mut a) = e.child("address")? {
        a.only("type", &["isa"])?;
        a.only("iobase", &["0x505"])?;
        a.finish()?;
    }
    e.finish()
}

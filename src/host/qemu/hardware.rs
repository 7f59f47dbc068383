//! What a domain's definition asks for, typed: every element that is supported and no other.
//!
//! A new device is a struct with a `read`, a line in [`Hardware::devices`], and its arguments in
//! `devices`. Must not know: command lines.

pub(crate) mod address;
pub(crate) mod board;
pub(crate) mod chardev;
pub(crate) mod controller;
pub(crate) mod device;
pub(crate) mod disk;

use crate::error::{Code, Error, Result};
use crate::host::strict::{self, Strict};
use board::{Clock, Cpu, Features, Os, Pm};
use chardev::Chardev;
use controller::Controller;
use device::{Balloon, Input, Interface, Rng, Video, Vnc};
use disk::Disk;
use roxmltree::Node;
use uuid::Uuid;

/// The namespace of `<qemu:commandline>`.
const QEMU: &str = "http://libvirt.org/schemas/domain/qemu/1.0";

/// What QEMU does when the guest powers off or reboots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnEnd {
    Destroy,
    Restart,
}

/// What becomes of a guest that panicked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnCrash {
    Destroy,
    Restart,
    Preserve,
}

/// A whole domain.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Hardware {
    pub(crate) kvm: bool,
    pub(crate) name: String,
    pub(crate) uuid: Option<Uuid>,
    /// KiB.
    pub(crate) memory: u64,
    /// KiB that the balloon leaves to the guest.
    pub(crate) current_memory: Option<u64>,
    pub(crate) vcpus: u32,
    /// How many of them the guest begins with.
    pub(crate) active_vcpus: u32,
    pub(crate) os: Os,
    pub(crate) cpu: Cpu,
    pub(crate) features: Features,
    pub(crate) clock: Clock,
    pub(crate) pm: Pm,
    pub(crate) on_poweroff: OnEnd,
    pub(crate) on_reboot: OnEnd,
    pub(crate) on_crash: OnCrash,
    pub(crate) emulator: Option<String>,
    pub(crate) disks: Vec<Disk>,
    pub(crate) controllers: Vec<Controller>,
    pub(crate) interfaces: Vec<Interface>,
    pub(crate) chardevs: Vec<Chardev>,
    pub(crate) vnc: Option<Vnc>,
    pub(crate) videos: Vec<Video>,
    /// Whether the definition speaks of screens or of balloons at all, be it `none`.
    pub(crate) says_video: bool,
    pub(crate) says_balloon: bool,
    pub(crate) inputs: Vec<Input>,
    pub(crate) rngs: Vec<Rng>,
    pub(crate) balloon: Option<Balloon>,
    pub(crate) panic: bool,
    pub(crate) arguments: Vec<String>,
    pub(crate) environment: Vec<(String, String)>,
}

impl Hardware {
    /// Read `<domain>`; refuse what is not supported by element and line.
    pub(crate) fn read(root: Node<'_, '_>) -> Result<Self> {
        let mut e = Strict::new(root);
        if root.tag_name().name() != "domain" {
            let found = root.tag_name().name();
            return Err(Error::new(Code::XmlError, format!("expecting root element of 'domain', not '{found}'")));
        }
        let kvm = match e.attr("type") {
            Some("kvm") => true,
            Some("qemu") => false,
            Some(_) => return Err(e.refuse_value("type")),
            None => return Err(Error::new(Code::XmlError, "missing domain type attribute")),
        };
        e.ignore_attrs(&["id"]);
        e.ignore(&["title", "description", "metadata", "seclabel", "resource"]);
        let name = e.child_text("name")?.ok_or_else(|| Error::new(Code::XmlError, "missing domain name"))?.to_owned();
        let uuid = match e.child("uuid")? {
            Some(u) => Some(
                u.parse_text::<Uuid>()
                    .ok()
                    .flatten()
                    .ok_or_else(|| Error::new(Code::XmlError, format!("malformed uuid element ({})", u.place())))?,
            ),
            None => None,
        };
        let memory = match e.child("memory")? {
            Some(m) => strict::size_kib(m)?,
            None => return Err(Error::new(Code::XmlError, "missing memory size")),
        };
        let current_memory = e.child("currentMemory")?.map(strict::size_kib).transpose()?.filter(|m| *m < memory);
        let (vcpus, active_vcpus) = vcpus(&mut e)?;
        let os = match e.child("os")? {
            Some(os) => Os::read(os)?,
            None => return Err(Error::new(Code::XmlError, "an os <type> must be specified")),
        };
        let on_poweroff = action(&mut e, "on_poweroff")?.unwrap_or(OnEnd::Destroy);
        let on_reboot = action(&mut e, "on_reboot")?.unwrap_or(OnEnd::Restart);
        let on_crash = match e.child_text("on_crash")? {
            None | Some("destroy") => OnCrash::Destroy,
            Some("restart") => OnCrash::Restart,
            Some("preserve") => OnCrash::Preserve,
            Some(_) => return Err(e.child("on_crash")?.map_or_else(|| e.refuse(), |c| c.refuse_text())),
        };
        let mut hardware = Self {
            kvm,
            name,
            uuid,
            memory,
            current_memory,
            vcpus,
            active_vcpus,
            os,
            cpu: e.child("cpu")?.map(Cpu::read).transpose()?.unwrap_or_default(),
            features: e.child("features")?.map(Features::read).transpose()?.unwrap_or_default(),
            clock: e.child("clock")?.map(Clock::read).transpose()?.unwrap_or_default(),
            pm: e.child("pm")?.map(Pm::read).transpose()?.unwrap_or_default(),
            on_poweroff,
            on_reboot,
            on_crash,
            emulator: None,
            disks: Vec::new(),
            controllers: Vec::new(),
            interfaces: Vec::new(),
            chardevs: Vec::new(),
            vnc: None,
            videos: Vec::new(),
            says_video: false,
            says_balloon: false,
            inputs: Vec::new(),
            rngs: Vec::new(),
            balloon: None,
            panic: false,
            arguments: Vec::new(),
            environment: Vec::new(),
        };
        if let Some(devices) = e.child("devices")? {
            hardware.devices(devices)?;
        }
        hardware.qemu_namespace(&mut e)?;
        e.finish()?;
        Ok(hardware)
    }

    fn devices(&mut self, mut e: Strict<'_, '_>) -> Result<()> {
        self.emulator = e.child_text("emulator")?.map(str::to_owned);
        self.disks = e.children("disk").into_iter().map(Disk::read).collect::<Result<_>>()?;
        self.controllers = e.children("controller").into_iter().map(Controller::read).collect::<Result<_>>()?;
        self.interfaces = e.children("interface").into_iter().map(Interface::read).collect::<Result<_>>()?;
        self.chardevs = Chardev::read_all(&mut e)?;
        self.vnc = e.child("graphics")?.map(Vnc::read).transpose()?;
        for video in e.children("video") {
            self.says_video = true;
            self.videos.extend(Video::read(video)?);
        }
        for input in e.children("input") {
            self.inputs.extend(Input::read(input)?);
        }
        self.rngs = e.children("rng").into_iter().map(Rng::read).collect::<Result<_>>()?;
        if let Some(balloon) = e.child("memballoon")? {
            self.says_balloon = true;
            self.balloon = Balloon::read(balloon)?;
        }
        if let Some(panic) = e.child("panic")? {
            device::read_panic(panic)?;
            self.panic = true;
        }
        if let Some(mut audio) = e.child("audio")? {
            audio.ignore_attrs(&["id"]);
            audio.only("type", &["none"])?;
            audio.finish()?;
        }
        e.finish()
    }

    /// `<qemu:commandline>`: handed over as it is.
    fn qemu_namespace(&mut self, e: &mut Strict<'_, '_>) -> Result<()> {
        for extra in e.foreign_children(QEMU, "commandline") {
            for child in extra.children().filter(Node::is_element) {
                let mut c = Strict::new(child);
                if child.tag_name().namespace() != Some(QEMU) {
                    return Err(c.refuse());
                }
                match child.tag_name().name() {
                    "arg" => self.arguments.push(c.attr("value").unwrap_or_default().to_owned()),
                    "env" => {
                        let name = c.need("name")?.to_owned();
                        self.environment.push((name, c.attr("value").unwrap_or_default().to_owned()));
                    }
                    _ => return Err(c.refuse()),
                }
                c.finish()?;
            }
        }
        Ok(())
    }

    /// What no single element can tell.
    pub(crate) fn check(&self) -> Result<()> {
        if let Some(t) = self.cpu.topology {
            let product = [t.dies, t.cores, t.threads].into_iter().try_fold(t.sockets, u32::checked_mul);
            if product != Some(self.vcpus) {
                return Err(Error::config("CPU topology doesn't match maximum vcpu count"));
            }
        }
        let device_order = self.disks.iter().filter_map(|d| d.boot_order);
        let mut orders: Vec<u32> = device_order.chain(self.interfaces.iter().filter_map(|i| i.boot_order)).collect();
        if !orders.is_empty() && !self.os.boot.is_empty() {
            return Err(Error::config("per-device boot elements cannot be used together with os/boot elements"));
        }
        orders.sort_unstable();
        if let Some(pair) = orders.windows(2).find(|pair| pair.first() == pair.last()) {
            return Err(Error::new(
                Code::XmlError,
                format!("boot order '{}' used for more than one device", pair.first().unwrap_or(&0)),
            ));
        }
        if self.os.kernel.is_none() && (self.os.initrd.is_some() || self.os.cmdline.is_some()) {
            let text = "initrd and cmdline can only be used together with a direct kernel boot";
            return Err(Error::config(text));
        }
        Ok(())
    }

    /// Whether the board is a q35, whose root bus is PCI Express.
    pub(crate) fn is_q35(&self) -> bool {
        self.os.machine.as_deref().is_some_and(|m| m == "q35" || m.starts_with("pc-q35"))
    }
}

fn action(e: &mut Strict<'_, '_>, name: &'static str) -> Result<Option<OnEnd>> {
    let Some(e) = e.child(name)? else { return Ok(None) };
    let action = match e.text() {
        Some("destroy") => OnEnd::Destroy,
        Some("restart") => OnEnd::Restart,
        _ => return Err(e.refuse_text()),
    };
    e.finish()?;
    Ok(Some(action))
}

/// How many there may be, and how many there are.
fn vcpus(e: &mut Strict<'_, '_>) -> Result<(u32, u32)> {
    let Some(mut v) = e.child("vcpu")? else { return Ok((1, 1)) };
    let count = v.parse_text::<u32>()?.unwrap_or(1);
    if count == 0 || count > 4096 {
        return Err(v.refuse_text());
    }
    v.only("placement", &["static"])?;
    let current = v.number::<u32>("current")?.unwrap_or(count);
    if current == 0 {
        return Err(v.refuse_value("current"));
    }
    if current > count {
        return Err(Error::internal(format!("maxvcpus must not be less than current vcpus ({count} < {current})")));
    }
    v.finish()?;
    Ok((count, current))
}

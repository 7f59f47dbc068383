//! Figures of domains and of the machine, by libvirt's names (`virConnectGetAllDomainStats`).
//!
//! Read from the published views; nothing here waits.

use super::service::{Service, View};
use crate::error::{Code, Error, Result};
use crate::host::node;
use crate::model::flags::unsupported;
use crate::model::ids::DomainId;

/// One figure; the types are `virTypedParameter`'s.
#[derive(Debug, Clone, PartialEq)]
pub enum Stat {
    /// `VIR_TYPED_PARAM_INT`.
    Int(i32),
    /// `VIR_TYPED_PARAM_UINT`.
    UInt(u32),
    /// `VIR_TYPED_PARAM_LLONG`.
    Long(i64),
    /// `VIR_TYPED_PARAM_ULLONG`.
    ULong(u64),
    /// `VIR_TYPED_PARAM_DOUBLE`.
    Double(f64),
    /// `VIR_TYPED_PARAM_BOOLEAN`.
    Bool(bool),
    /// `VIR_TYPED_PARAM_STRING`.
    Text(String),
}

impl Stat {
    /// As libvirt's errors name the type (`virTypedParameterTypeToString`).
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Int(_) => "int",
            Self::UInt(_) => "uint",
            Self::Long(_) => "llong",
            Self::ULong(_) => "ullong",
            Self::Double(_) => "double",
            Self::Bool(_) => "boolean",
            Self::Text(_) => "string",
        }
    }
}

/// The figures of one domain, in libvirt's order.
pub type Stats = Vec<(String, Stat)>;

/// `virDomainStatsTypes` that are answered.
const STATE: u32 = 1;
const BALLOON: u32 = 4;
const VCPU: u32 = 8;
const BLOCK: u32 = 32;
const GROUPS: u32 = STATE | BALLOON | VCPU | BLOCK;
/// `VIR_CONNECT_GET_ALL_DOMAINS_STATS_*`: the filters (the bits of the list call), NOWAIT, BACKING, ENFORCE.
const FILTERS: u32 = 0xff;
const NOWAIT: u32 = 1 << 29;
const BACKING: u32 = 1 << 30;
const ENFORCE: u32 = 1 << 31;

/// `VIR_DOMAIN_AFFECT_LIVE`, `_CONFIG`, and the two that change what `GetVcpus` counts.
const VCPU_LIVE: u32 = 1;
const VCPU_CONFIG: u32 = 2;
const VCPU_MAXIMUM: u32 = 4;

impl Service {
    /// The figures of one domain; `groups` = 0: all there are.
    pub fn stats(&self, id: DomainId, groups: u32, flags: u32) -> Result<Stats> {
        let groups = groups_of(groups, flags)?;
        Ok(figures(&*self.view(id)?, groups))
    }

    /// The figures of all domains that pass the filter bits, by name.
    pub fn all_stats(&self, groups: u32, flags: u32) -> Result<Vec<(String, Stats)>> {
        let groups = groups_of(groups, flags)?;
        let mut all = Vec::new();
        for id in self.list(flags & FILTERS)? {
            // One that is gone by now is not an error.
            if let Ok(view) = self.view(id) {
                all.push((view.name.clone(), figures(&view, groups)));
            }
        }
        Ok(all)
    }

    /// `virDomainGetVcpusFlags`.
    pub fn vcpus(&self, id: DomainId, flags: u32) -> Result<u32> {
        let known = VCPU_LIVE | VCPU_CONFIG | VCPU_MAXIMUM;
        if flags & !known != 0 {
            return Err(unsupported(flags & !known, "qemuDomainGetVcpusFlags"));
        }
        let view = self.view(id)?;
        let xml = match flags & (VCPU_LIVE | VCPU_CONFIG) {
            VCPU_LIVE => view.live_xml.as_deref().ok_or_else(|| Error::invalid("domain is not running")),
            VCPU_CONFIG => view.inactive_xml.as_deref().ok_or_else(transient),
            _ => now(&view).ok_or_else(|| Error::internal("a domain without definition")),
        }?;
        let sizes = Sizes::read(xml);
        Ok(if flags & VCPU_MAXIMUM != 0 { sizes.vcpu_maximum } else { sizes.vcpu_current })
    }

    /// `<os><type>`: `hvm`, or one of Xen's.
    pub fn os_type(&self, id: DomainId) -> Result<String> {
        Ok(now(&*self.view(id)?).map(Sizes::read).unwrap_or_default().os_type)
    }

    /// The machine's name.
    #[must_use]
    pub fn hostname(&self) -> String {
        node::hostname()
    }

    /// The machine's D-Bus identity.
    pub fn machine_id(&self) -> Result<String> {
        node::machine_id()
    }

    /// `virNodeGetMemoryStats`; only `cell` = -1 (the whole machine).
    pub fn node_memory(&self, cell: i32) -> Result<Vec<(String, u64)>> {
        match cell {
            -1 => node::memory(),
            _ => Err(Error::new(Code::InvalidArg, "cellNum in virHostMemGetStats must be -1")),
        }
    }

    /// The machine's CPUs by number: whether each is online (`virNodeGetCPUMap`).
    pub fn node_cpus(&self) -> Result<Vec<bool>> {
        self.inner.host.cpus()
    }

    /// `virNodeGetCPUStats`, in nanoseconds; -1: all CPUs together.
    pub fn node_cpu_times(&self, cpu: i32) -> Result<Vec<(String, u64)>> {
        self.inner.host.cpu_times(cpu)
    }

    /// `virConnectGetCPUModelNames`.
    pub fn cpu_models(&self, arch: &str) -> Result<Vec<String>> {
        self.inner.host.cpu_models(arch)
    }

    /// `virConnectGetSysinfo`.
    pub fn sysinfo(&self) -> Result<String> {
        self.inner.host.sysinfo()
    }

    /// `virNodeGetFreeMemory`, in bytes.
    pub fn node_free_memory(&self) -> Result<u64> {
        let free = node::memory()?.into_iter().find(|(name, _)| name == "free");
        Ok(free.map_or(0, |(_, kib)| kib * 1024))
    }
}

fn transient() -> Error {
    Error::invalid("cannot change persistent config of a transient domain")
}

fn groups_of(groups: u32, flags: u32) -> Result<u32> {
    let known = FILTERS | NOWAIT | BACKING | ENFORCE;
    if flags & !known != 0 {
        return Err(unsupported(flags & !known, "qemuConnectGetAllDomainStats"));
    }
    if flags & ENFORCE != 0 && groups & !GROUPS != 0 {
        let bits = groups & !GROUPS;
        return Err(Error::unsupported(format_args!("Stats types bits 0x{bits:x} are not supported by this daemon")));
    }
    Ok(if groups == 0 { GROUPS } else { groups & GROUPS })
}

/// The definition in force.
fn now(view: &View) -> Option<&str> {
    view.live_xml.as_deref().or(view.inactive_xml.as_deref())
}

fn figures(view: &View, groups: u32) -> Stats {
    let sizes = now(view).map(Sizes::read).unwrap_or_default();
    let mut out = Stats::new();
    let mut put = |name: &str, value| out.push((name.to_owned(), value));
    if groups & STATE != 0 {
        put("state.state", Stat::Int(view.run.state as i32));
        put("state.reason", Stat::Int(view.run.reason));
    }
    if groups & BALLOON != 0 {
        put("balloon.current", Stat::ULong(sizes.memory_current));
        put("balloon.maximum", Stat::ULong(sizes.memory_maximum));
    }
    if groups & VCPU != 0 {
        put("vcpu.current", Stat::UInt(sizes.vcpu_current));
        put("vcpu.maximum", Stat::UInt(sizes.vcpu_maximum));
    }
    if groups & BLOCK != 0 {
        put("block.count", Stat::UInt(u32::try_from(sizes.disks.len()).unwrap_or(u32::MAX)));
        for (at, (target, path)) in sizes.disks.iter().enumerate() {
            put(&format!("block.{at}.name"), Stat::Text(target.clone()));
            if let Some(path) = path {
                put(&format!("block.{at}.path"), Stat::Text(path.clone()));
            }
        }
    }
    out
}

/// What a definition says of the figures. Memory in KiB.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sizes {
    memory_current: u64,
    memory_maximum: u64,
    vcpu_current: u32,
    vcpu_maximum: u32,
    os_type: String,
    disks: Vec<(String, Option<String>)>,
}

impl Sizes {
    /// Stored definitions were checked when they were stored; what is missing reads as 0.
    fn read(xml: &str) -> Self {
        let Ok(document) = roxmltree::Document::parse(xml) else { return Self::default() };
        let child =
            |of: roxmltree::Node<'_, '_>, tag: &str| of.children().find(|n| n.has_tag_name(tag)).map(|n| n.id());
        let get = |id: Option<roxmltree::NodeId>| id.and_then(|id| document.get_node(id));
        let root = document.root_element();
        let maximum = get(child(root, "memory")).and_then(kib).unwrap_or(0);
        let vcpu = get(child(root, "vcpu"));
        let vcpu_maximum = vcpu.and_then(|n| n.text()?.trim().parse().ok()).unwrap_or(1);
        let os = get(child(root, "os")).and_then(|os| get(child(os, "type")));
        let mut disks = Vec::new();
        for disk in get(child(root, "devices")).iter().flat_map(|d| d.children()).filter(|n| n.has_tag_name("disk")) {
            let target = get(child(disk, "target")).and_then(|n| n.attribute("dev")).unwrap_or_default();
            let source = get(child(disk, "source"));
            let path = source.and_then(|n| n.attribute("file").or_else(|| n.attribute("dev")));
            disks.push((target.to_owned(), path.map(ToOwned::to_owned)));
        }
        Self {
            memory_current: get(child(root, "currentMemory")).and_then(kib).unwrap_or(maximum),
            memory_maximum: maximum,
            vcpu_current: vcpu.and_then(|n| n.attribute("current")?.parse().ok()).unwrap_or(vcpu_maximum),
            vcpu_maximum,
            os_type: os.and_then(|n| n.text()).map_or("hvm", str::trim).to_owned(),
            disks,
        }
    }
}

/// A scaled size (`<memory unit='MiB'>`) in KiB, rounded up.
fn kib(node: roxmltree::Node<'_, '_>) -> Option<u64> {
    let number: u64 = node.text()?.trim().parse().ok()?;
    let unit = node.attribute("unit").unwrap_or("KiB");
    let bytes: u64 = match unit.to_ascii_lowercase().as_str() {
        "b" | "bytes" => 1,
        "kb" => 1000,
        "k" | "kib" => 1 << 10,
        "mb" => 1_000_000,
        "m" | "mib" => 1 << 20,
        "gb" => 1_000_000_000,
        "g" | "gib" => 1 << 30,
        "tb" => 1_000_000_000_000,
        "t" | "tib" => 1 << 40,
        _ => return None,
    };
    number.checked_mul(bytes).map(|b| b.div_ceil(1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_of_a_definition() {
        let xml = "<domain><memory unit='MiB'>32</memory><currentMemory>1000</currentMemory><vcpu current='1'>4</vcpu>\
                   <os><type arch='x86_64'>hvm</type></os><devices>\
                   <disk><source file='/a'/><target dev='vda'/></disk><disk><target dev='sda'/></disk></devices></domain>";
        let expected = Sizes {
            memory_current: 1000,
            memory_maximum: 32 << 10,
            vcpu_current: 1,
            vcpu_maximum: 4,
            os_type: "hvm".to_owned(),
            disks: vec![("vda".to_owned(), Some("/a".to_owned())), ("sda".to_owned(), None)],
        };
        assert_eq!(Sizes::read(xml), expected);
    }

    #[test]
    fn a_group_that_is_not_there_is_left_out_or_refused_as_asked() {
        assert_eq!(groups_of(0, 0), Ok(GROUPS));
        assert_eq!(groups_of(STATE | 2, 0), Ok(STATE));
        let refused = groups_of(2, ENFORCE).unwrap_err().to_string();
        assert_eq!(refused, "Operation not supported: Stats types bits 0x2 are not supported by this daemon");
        let flags = groups_of(0, 1 << 20).unwrap_err().to_string();
        assert_eq!(flags, "unsupported flags (0x100000) in function qemuConnectGetAllDomainStats");
    }
}

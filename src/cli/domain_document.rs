//! The few facts of a `<domain>` that commands need and D-Bus has no call for.

use roxmltree::{Document, Node};

/// What a domain's document says of its size.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Size {
    /// `<memory>` in KiB.
    pub max_kib: Option<u64>,
    /// `<currentMemory>` in KiB; without one, `<memory>`.
    pub used_kib: Option<u64>,
    /// `<vcpu current=…>`, or `<vcpu>`; one without either.
    pub cpus: u64,
}

impl Size {
    /// Everything that can be read from `xml`.
    #[must_use]
    pub fn read(xml: &str) -> Self {
        let Ok(document) = Document::parse(xml) else { return Self::default() };
        let root = document.root_element();
        let child = |name: &str| root.children().find(|n| n.has_tag_name(name));
        let max_kib = child("memory").and_then(kib);
        let cpus = child("vcpu").and_then(|v| v.attribute("current").or(v.text())?.trim().parse().ok());
        Self { max_kib, used_kib: child("currentMemory").and_then(kib).or(max_kib), cpus: cpus.unwrap_or(1) }
    }
}

/// The targets of the disks that can have a snapshot: writable, and with something in them.
#[must_use]
pub fn disks(xml: &str) -> Vec<String> {
    let Ok(document) = Document::parse(xml) else { return Vec::new() };
    let root = document.root_element();
    let devices = root.children().filter(|n| n.has_tag_name("devices")).flat_map(|n| n.children());
    let disks = devices.filter(|n| n.has_tag_name("disk")).filter(|n| {
        let has = |name: &str| n.children().any(|c| c.has_tag_name(name));
        matches!(n.attribute("device"), None | Some("disk" | "lun")) && has("source") && !has("readonly")
    });
    let target = |n: Node<'_, '_>| n.children().find(|c| c.has_tag_name("target"))?.attribute("dev").map(str::to_owned);
    disks.filter(|n| n.attribute("snapshot") != Some("no")).filter_map(target).collect()
}

/// libvirt's units (`virScaleInteger`): KiB without one, rounded up.
fn kib(element: Node<'_, '_>) -> Option<u64> {
    let amount: u64 = element.text()?.trim().parse().ok()?;
    let bytes: u64 = match element.attribute("unit").unwrap_or("KiB") {
        "b" | "bytes" => 1,
        "KB" => 1_000,
        "k" | "KiB" => 1 << 10,
        "MB" => 1_000_000,
        "M" | "MiB" => 1 << 20,
        "GB" => 1_000_000_000,
        "G" | "GiB" => 1 << 30,
        "TB" => 1_000_000_000_000,
        "T" | "TiB" => 1 << 40,
        _ => return None,
    };
    Some(amount.checked_mul(bytes)?.div_ceil(1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_in_every_unit() {
        let size = |inner: &str| Size::read(&format!("<domain>{inner}</domain>"));
        let all = size("<memory unit='MiB'>128</memory><currentMemory>65536</currentMemory><vcpu current='2'>4</vcpu>");
        assert_eq!(all, Size { max_kib: Some(131_072), used_kib: Some(65_536), cpus: 2 });
        let few = size("<memory unit='GB'>1</memory>");
        assert_eq!(few, Size { max_kib: Some(976_563), used_kib: Some(976_563), cpus: 1 });
        assert_eq!(size("<memory unit='parsec'>1</memory><vcpu>3</vcpu>").cpus, 3);
        assert_eq!(Size::read("no xml"), Size::default());
    }

    #[test]
    fn disks_that_cannot_have_a_snapshot_are_left_out() {
        let xml = "<domain><devices>\
            <disk device='disk'><source file='/a'/><target dev='xvda'/></disk>\
            <disk><source dev='/b'/><target dev='xvdb'/></disk>\
            <disk><source file='/c'/><target dev='xvdc'/><readonly/></disk>\
            <disk device='cdrom'><source file='/d'/><target dev='hdc'/></disk>\
            <disk><target dev='xvde'/></disk>\
            <disk snapshot='no'><source file='/f'/><target dev='xvdf'/></disk>\
            </devices></domain>";
        assert_eq!(disks(xml), ["xvda", "xvdb"]);
    }
}

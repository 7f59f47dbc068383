//! Network cards: `<interface>` and xl's vif specifications (xl-network-configuration(5)).

use super::guest::Guest;
use super::markup::Markup;
use super::options::{Options, plain};
use super::{disk, kept};
use crate::error::Result;
use crate::host::strict::Strict;

/// libvirt's model for a card that is Xen's own and nothing else, xl's `type=vif`.
const NETFRONT: &str = "netfront";
/// The script that attaches to a bridge, xl's default.
const BRIDGE_SCRIPT: &str = "vif-bridge";

/// One card.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Interface {
    pub(super) mac: Option<String>,
    /// `None`: the host's default, if the script wants one.
    pub(super) bridge: Option<String>,
    pub(super) script: Option<String>,
    pub(super) model: Option<String>,
    pub(super) ips: Vec<String>,
    pub(super) name: Option<String>,
    pub(super) backend_domain: Option<String>,
    /// Only Xen's own card, on a guest that would have an emulated one besides.
    pub(super) netfront: bool,
    pub(super) others: Options,
}

impl Interface {
    /// Read a specification.
    pub(super) fn parse(text: &str, guest: Guest) -> Result<Self, String> {
        let mut o = Options::parse(text);
        let kind = o.take("type");
        let netfront = match kind.as_deref() {
            Some("vif") => guest == Guest::Hvm,
            None | Some("ioemu") => false,
            Some(kind) => return Err(format!("unknown type '{kind}'")),
        };
        let mac = o.take("mac");
        if let Some(mac) = mac.as_deref().filter(|mac| !is_unicast_mac(mac)) {
            return Err(format!("'{mac}' is not the address of a card"));
        }
        // Only an emulated card has a model.
        let model = if guest == Guest::Hvm { o.take("model") } else { None };
        let ips = o.take("ip").map(|ips| ips.split_whitespace().map(str::to_owned).collect());
        Ok(Self {
            mac,
            bridge: o.take("bridge"),
            script: o.take("script"),
            model,
            ips: ips.unwrap_or_default(),
            name: o.take("vifname"),
            backend_domain: o.take("backend"),
            netfront,
            others: o,
        })
    }

    /// The specification.
    pub(super) fn spec(&self) -> String {
        let mut options = Options::default();
        let ips = self.ips.join(" ");
        let fields = [
            ("type", self.netfront.then_some("vif")),
            ("mac", self.mac.as_deref()),
            ("bridge", self.bridge.as_deref()),
            ("script", self.script.as_deref()),
            ("model", self.model.as_deref()),
            ("ip", Some(ips.as_str()).filter(|ips| !ips.is_empty())),
            ("vifname", self.name.as_deref()),
            ("backend", self.backend_domain.as_deref()),
        ];
        for (key, value) in fields {
            if let Some(value) = value {
                options.set(key, value);
            }
        }
        self.others.clone().into_all().into_iter().for_each(|o| options.push(o));
        options.to_string()
    }

    /// Whether it is attached by something else than a bridge.
    fn is_ethernet(&self) -> bool {
        let script = self.script.as_deref().map(|s| s.rsplit('/').next().unwrap_or(s));
        self.bridge.is_none() && script.is_some_and(|s| s != BRIDGE_SCRIPT)
    }

    pub(super) fn read(mut e: Strict<'_, '_>, guest: Guest) -> Result<Self> {
        e.need("type")?;
        let ethernet = e.one_of("type", &[("bridge", false), ("ethernet", true)])?.unwrap_or(false);
        e.ignore(&["alias"]);
        let mut card = Self { others: kept::read_options(&mut e)?, ..Self::default() };
        if let Some(mut mac) = e.child("mac")? {
            if !is_unicast_mac(mac.need("address")?) {
                return Err(mac.malformed("address"));
            }
            card.mac = mac.attr("address").map(str::to_owned);
            mac.finish()?;
        }
        if let Some(mut source) = e.child("source")? {
            if !ethernet {
                card.bridge = plain(&mut source, "bridge")?.map(str::to_owned);
            }
            source.finish()?;
        }
        if let Some(mut script) = e.child("script")? {
            script.need("path")?;
            card.script = plain(&mut script, "path")?.map(str::to_owned);
            script.finish()?;
        }
        if ethernet && card.script.is_none() {
            // xl would attach it to its default bridge.
            return Err(e.refuse_value("type"));
        }
        if let Some(mut model) = e.child("model")? {
            model.need("type")?;
            match plain(&mut model, "type")? {
                Some(NETFRONT) => card.netfront = guest == Guest::Hvm,
                Some(_) if guest != Guest::Hvm => return Err(model.refuse_value("type")),
                name => card.model = name.map(str::to_owned),
            }
            model.finish()?;
        }
        for mut ip in e.children("ip") {
            ip.need("address")?;
            ip.only("family", &["ipv4", "ipv6"])?;
            let address = plain(&mut ip, "address")?.filter(|a| !a.contains(' '));
            card.ips.push(address.ok_or_else(|| ip.malformed("address"))?.to_owned());
            ip.finish()?;
        }
        if let Some(mut target) = e.child("target")? {
            card.name = plain(&mut target, "dev")?.map(str::to_owned);
            target.finish()?;
        }
        card.backend_domain = disk::backend_domain(&mut e)?;
        if Self::parse(&card.spec(), guest).as_ref() != Ok(&card) {
            // A kept option says again, or differently, what the element says.
            return Err(e.refuse());
        }
        e.finish()?;
        Ok(card)
    }

    pub(super) fn write(&self, xml: &mut Markup) {
        xml.open("interface", &[("type", if self.is_ethernet() { "ethernet" } else { "bridge" })]);
        if let Some(mac) = &self.mac {
            xml.empty("mac", &[("address", mac)]);
        }
        if let Some(bridge) = &self.bridge {
            xml.empty("source", &[("bridge", bridge)]);
        }
        for ip in &self.ips {
            xml.empty("ip", &[("address", ip)]);
        }
        if let Some(script) = &self.script {
            xml.empty("script", &[("path", script)]);
        }
        if let Some(name) = &self.name {
            xml.empty("target", &[("dev", name)]);
        }
        if let Some(model) = self.model.as_deref().or(self.netfront.then_some(NETFRONT)) {
            xml.empty("model", &[("type", model)]);
        }
        disk::write_backend_domain(self.backend_domain.as_deref(), xml);
        kept::write_options(&self.others, xml);
        xml.close();
    }
}

fn is_unicast_mac(text: &str) -> bool {
    let bytes: Vec<&str> = text.split(':').collect();
    let hex = |b: &&str| b.len() == 2 && b.bytes().all(|c| c.is_ascii_hexdigit());
    let first = bytes.first().and_then(|b| u8::from_str_radix(b, 16).ok());
    bytes.len() == 6 && bytes.iter().all(hex) && first.is_some_and(|b| b & 1 == 0)
}

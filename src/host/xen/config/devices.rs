//! Interfaces, screens and channels: xl's `key=value,…` words and libvirt's elements.

use super::NAMESPACE;
use crate::error::Result;
use crate::host::strict::Strict;
use crate::xml::escape::attribute as escaped;

/// The words of one device, in their order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Words(Vec<(String, String)>);

impl Words {
    /// Read `a=b,c=d`; a word without `=` has an empty value.
    pub(super) fn parse(text: &str) -> Self {
        let words = text.split(',').map(str::trim).filter(|w| !w.is_empty());
        let pair = |w: &str| {
            w.split_once('=').map_or((w.to_owned(), String::new()), |(k, v)| (k.trim().into(), v.trim().into()))
        };
        Self(words.map(pair).collect())
    }
    /// Take a word out.
    pub(super) fn take(&mut self, key: &str) -> Option<String> {
        let at = self.0.iter().position(|(k, _)| k == key)?;
        Some(self.0.remove(at).1)
    }
    /// Add a word, if there is a value.
    pub(super) fn add(&mut self, key: &str, value: Option<impl Into<String>>) {
        self.0.extend(value.map(|v| (key.to_owned(), v.into())));
    }
    /// What is left.
    pub(super) fn text(&self) -> String {
        let word = |(k, v): &(String, String)| if v.is_empty() { k.clone() } else { format!("{k}={v}") };
        self.0.iter().map(word).collect::<Vec<_>>().join(",")
    }
    /// Those of a text that was kept.
    pub(super) fn extend(&mut self, text: &str) {
        self.0.extend(Self::parse(text).0);
    }
}

/// `<xl:options>`, if there is anything to keep.
pub(super) fn kept_options(more: &str) -> String {
    if more.is_empty() {
        return String::new();
    }
    format!("\n      <xl:options xmlns:xl='{NAMESPACE}'>{}</xl:options>", crate::xml::escape::text(more))
}

/// What an `<xl:options>` keeps.
pub(super) fn options(e: &mut Strict<'_, '_>) -> String {
    let all = e.foreign_children(NAMESPACE, "options");
    all.iter().filter_map(|n| n.text()).map(str::trim).collect::<Vec<_>>().join(",")
}

/// A `vif` as `<interface>`.
pub(super) fn interface_xml(text: &str) -> String {
    let mut words = Words::parse(text);
    let mut out = "    <interface type='bridge'>".to_owned();
    let mut child = |key: &str, words: &mut Words, xml: &dyn Fn(&str) -> String| {
        if let Some(value) = words.take(key) {
            out.push_str(&format!("\n      {}", xml(&escaped(&value))));
        }
    };
    child("mac", &mut words, &|v| format!("<mac address='{v}'/>"));
    child("bridge", &mut words, &|v| format!("<source bridge='{v}'/>"));
    child("ip", &mut words, &|v| format!("<ip address='{v}' family='ipv4'/>"));
    child("script", &mut words, &|v| format!("<script path='{v}'/>"));
    child("vifname", &mut words, &|v| format!("<target dev='{v}'/>"));
    child("model", &mut words, &|v| format!("<model type='{v}'/>"));
    out + &kept_options(&words.text()) + "\n    </interface>\n"
}

/// `<interface>` as a `vif`.
pub(super) fn interface(mut e: Strict<'_, '_>) -> Result<String> {
    e.only("type", &["bridge", "ethernet"])?;
    let mut words = Words::default();
    let mut child = |name: &'static str, attribute: &'static str, key: &str, e: &mut Strict<'_, '_>| -> Result<()> {
        let Some(mut c) = e.child(name)? else { return Ok(()) };
        if name == "ip" {
            c.only("family", &["ipv4"])?;
        }
        words.add(key, c.attr(attribute));
        c.finish()
    };
    child("mac", "address", "mac", &mut e)?;
    child("source", "bridge", "bridge", &mut e)?;
    child("ip", "address", "ip", &mut e)?;
    child("script", "path", "script", &mut e)?;
    child("target", "dev", "vifname", &mut e)?;
    child("model", "type", "model", &mut e)?;
    words.extend(&options(&mut e));
    e.finish()?;
    Ok(words.text())
}

/// The words of a screen (of `vfb`, or of an HVM guest's `vnc*` keys) as `<graphics>`.
pub(super) fn graphics_xml(words: &mut Words) -> String {
    if words.take("vnc").is_none_or(|v| v == "0") {
        return String::new();
    }
    let display: Option<i64> = words.take("vncdisplay").and_then(|d| d.parse().ok());
    let automatic = words.take("vncunused").is_none_or(|v| v != "0") && display.is_none();
    let port = display.map_or(-1, |d| 5900 + d);
    let mut out = format!("    <graphics type='vnc' port='{port}' autoport='{}'", if automatic { "yes" } else { "no" });
    for (key, name) in [("vnclisten", "listen"), ("vncpasswd", "passwd"), ("keymap", "keymap")] {
        if let Some(value) = words.take(key) {
            out.push_str(&format!(" {name}='{}'", escaped(&value)));
        }
    }
    out + "/>\n"
}

/// `<graphics>` as words.
pub(super) fn graphics(mut e: Strict<'_, '_>) -> Result<Words> {
    e.only("type", &["vnc"])?;
    let mut words = Words::default();
    words.add("vnc", Some("1"));
    let port: Option<u16> =
        e.attr("port").filter(|p| *p != "-1").map(str::parse).transpose().map_err(|_| e.malformed("port"))?;
    let automatic = e.switch("autoport")?.unwrap_or(port.is_none());
    words.add("vncunused", Some(if automatic { "1" } else { "0" }));
    if let Some(port) = port.filter(|_| !automatic) {
        let display = port.checked_sub(5900).ok_or_else(|| e.refuse_value("port"))?;
        words.add("vncdisplay", Some(display.to_string()));
    }
    for (key, name) in [("vnclisten", "listen"), ("vncpasswd", "passwd"), ("keymap", "keymap")] {
        words.add(key, e.attr(name));
    }
    if let Some(mut listen) = e.child("listen")? {
        listen.only("type", &["address"])?;
        words.take("vnclisten");
        words.add("vnclisten", listen.attr("address"));
        listen.finish()?;
    }
    e.finish()?;
    Ok(words)
}

/// A `channel` as `<channel>`; `None` for a connection that XML has no word for.
pub(super) fn channel_xml(text: &str) -> Option<String> {
    let mut words = Words::parse(text);
    let (connection, name) = (words.take("connection")?, words.take("name")?);
    let source = match connection.as_str() {
        "pty" => String::new(),
        "socket" => format!("      <source mode='bind' path='{}'/>\n", escaped(&words.take("path")?)),
        _ => return None,
    };
    let kind = if connection == "pty" { "pty" } else { "unix" };
    let name = escaped(&name);
    Some(format!("    <channel type='{kind}'>\n{source}      <target type='xen' name='{name}'/>\n    </channel>\n"))
}

/// `<channel>` as a `channel`.
pub(super) fn channel(mut e: Strict<'_, '_>) -> Result<String> {
    let kind = e.need("type")?;
    let mut words = Words::default();
    match kind {
        "pty" => words.add("connection", Some("pty")),
        "unix" => words.add("connection", Some("socket")),
        _ => return Err(e.refuse_value("type")),
    }
    if let Some(mut source) = e.child("source")? {
        source.only("mode", &["bind"])?;
        words.add("path", source.attr("path"));
        source.finish()?;
    }
    let Some(mut target) = e.child("target")? else { return Err(e.refuse()) };
    target.only("type", &["xen"])?;
    words.add("name", Some(target.need("name")?));
    target.finish()?;
    e.finish()?;
    Ok(words.text())
}

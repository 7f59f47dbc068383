//! Character devices: the console that every domain has, serial ports of HVM guests, channels.
//!
//! xl has no key for the console and none for parallel ports.

use super::guest::Guest;
use super::keys::Keys;
use super::markup::Markup;
use super::options::{Options, plain};
use super::{Config, Value};
use crate::error::Result;
use crate::host::strict::Strict;

/// Where the host's end of a serial port is.
enum Serial {
    Pty,
    Null,
    File(String),
    Unix { path: String, listens: bool },
}

/// What makes QEMU listen on a socket, and not wait for a client.
const LISTENS: &str = ",server,nowait";

impl Serial {
    fn parse(text: &str) -> Option<Self> {
        match text.split_once(':') {
            None if text == "pty" => Some(Self::Pty),
            None if matches!(text, "null" | "none") => Some(Self::Null),
            Some(("file", path)) if is_path(path) => Some(Self::File(path.to_owned())),
            Some(("unix", rest)) => {
                let (path, listens) = rest.strip_suffix(LISTENS).map_or((rest, false), |path| (path, true));
                is_path(path).then(|| Self::Unix { path: path.to_owned(), listens })
            }
            _ => None,
        }
    }
    fn text(&self) -> String {
        match self {
            Self::Pty => "pty".to_owned(),
            Self::Null => "null".to_owned(),
            Self::File(path) => format!("file:{path}"),
            Self::Unix { path, listens: true } => format!("unix:{path}{LISTENS}"),
            Self::Unix { path, listens: false } => format!("unix:{path}"),
        }
    }
    fn read(e: &mut Strict<'_, '_>) -> Result<Self> {
        let kind = e.need("type")?;
        let mut source = e.child("source")?;
        let serial = match (kind, &mut source) {
            ("pty", source) => {
                // The path is the running guest's.
                if let Some(s) = source {
                    s.ignore_attrs(&["path"]);
                }
                Self::Pty
            }
            ("null", _) => Self::Null,
            ("file", Some(s)) => Self::File(path(s)?),
            ("unix", Some(s)) => {
                let listens = s.one_of("mode", &[("bind", true), ("connect", false)])?.unwrap_or(true);
                Self::Unix { path: path(s)?, listens }
            }
            _ => return Err(e.refuse_value("type")),
        };
        if let Some(source) = source {
            source.finish()?;
        }
        Ok(serial)
    }
    fn write(&self, port: &str, xml: &mut Markup) {
        let kind = match self {
            Self::Pty => "pty",
            Self::Null => "null",
            Self::File(_) => "file",
            Self::Unix { .. } => "unix",
        };
        xml.open("serial", &[("type", kind)]);
        match self {
            Self::Pty | Self::Null => {}
            Self::File(path) => xml.empty("source", &[("path", path)]),
            Self::Unix { path, listens } => {
                xml.empty("source", &[("mode", if *listens { "bind" } else { "connect" }), ("path", path)]);
            }
        }
        xml.empty("target", &[("port", port)]);
        xml.close();
    }
}

fn is_path(text: &str) -> bool {
    text.starts_with('/') && super::options::is_plain(text)
}

fn path(source: &mut Strict<'_, '_>) -> Result<String> {
    source.need("path")?;
    let path = plain(source, "path")?.unwrap_or_default();
    if is_path(path) { Ok(path.to_owned()) } else { Err(source.malformed("path")) }
}

pub(super) fn read(e: &mut Strict<'_, '_>, guest: Guest, config: &mut Config) -> Result<()> {
    let serials = if guest == Guest::Hvm { e.children("serial") } else { Vec::new() };
    let ports = serials.len();
    for (port, mut serial) in serials.into_iter().enumerate() {
        serial.ignore(&["alias"]);
        if let Some(mut target) = serial.child("target")? {
            if target.number::<usize>("port")?.is_some_and(|p| p != port) {
                return Err(target.refuse_value("port"));
            }
            target.only("type", &["isa-serial"])?;
            target.ignore(&["model"]);
            target.finish()?;
        }
        config.add("serial", Serial::read(&mut serial)?.text());
        serial.finish()?;
    }
    for (at, mut console) in e.children("console").into_iter().enumerate() {
        read_console(&mut console, at, ports)?;
        console.finish()?;
    }
    for mut channel in e.children("channel") {
        config.add("channel", read_channel(&mut channel)?.to_string());
        channel.finish()?;
    }
    Ok(())
}

/// Xen's own console, or another name of the first serial port.
fn read_console(e: &mut Strict<'_, '_>, at: usize, ports: usize) -> Result<()> {
    e.ignore(&["alias"]);
    e.ignore_attrs(&["tty"]);
    if at > 1 {
        return Err(e.refuse());
    }
    let Some(mut target) = e.child("target")? else {
        e.only("type", &["pty"])?;
        return source_of_run(e);
    };
    target.only("port", &["0"])?;
    target.only("type", if ports > 0 { &["xen", "serial"] } else { &["xen"] })?;
    let alias = target.attr("type") == Some("serial");
    target.finish()?;
    if alias {
        return Serial::read(e).map(|_| ());
    }
    e.only("type", &["pty"])?;
    source_of_run(e)
}

fn source_of_run(e: &mut Strict<'_, '_>) -> Result<()> {
    let Some(mut source) = e.child("source")? else { return Ok(()) };
    source.ignore_attrs(&["path"]);
    source.finish()
}

/// `connection=pty,name=…`
fn read_channel(e: &mut Strict<'_, '_>) -> Result<Options> {
    e.ignore(&["alias"]);
    let kind = e.need("type")?;
    let mut options = Options::default();
    match kind {
        "pty" => {
            source_of_run(e)?;
            options.set("connection", "pty");
        }
        "unix" => {
            let Some(mut source) = e.child("source")? else { return Err(e.refuse()) };
            source.only("mode", &["bind"])?;
            options.set("connection", "socket");
            options.set("path", &path(&mut source)?);
            source.finish()?;
        }
        _ => return Err(e.refuse_value("type")),
    }
    let Some(mut target) = e.child("target")? else { return Err(e.refuse()) };
    target.need("type")?;
    target.only("type", &["xen"])?;
    target.need("name")?;
    options.set("name", plain(&mut target, "name")?.unwrap_or_default());
    target.finish()?;
    Ok(options)
}

pub(super) fn write(keys: &mut Keys<'_>, guest: Guest, xml: &mut Markup) -> Result<()> {
    if guest == Guest::Hvm {
        write_serials(keys, xml);
    }
    xml.open("console", &[("type", "pty")]);
    xml.empty("target", &[("type", "xen"), ("port", "0")]);
    xml.close();
    write_channels(keys, xml)
}

fn write_serials(keys: &mut Keys<'_>, xml: &mut Markup) {
    let texts: Option<Vec<&str>> = match keys.get("serial") {
        None => return,
        Some(Value::Text(text)) => Some(vec![text]),
        Some(Value::List(items)) => items.iter().map(Value::as_text).collect(),
    };
    // One that XML cannot say keeps all, for their order.
    let serials = texts.and_then(|texts| texts.into_iter().map(Serial::parse).collect::<Option<Vec<_>>>());
    let Some(serials) = serials else { return };
    keys.take("serial");
    for (port, serial) in serials.iter().enumerate() {
        serial.write(&port.to_string(), xml);
    }
}

fn write_channels(keys: &mut Keys<'_>, xml: &mut Markup) -> Result<()> {
    for text in keys.texts("channel")? {
        let wrong = |reason| keys.wrong("channel", format_args!("'{text}': {reason}"));
        let mut options = Options::parse(text);
        let name = options.take("name").filter(|n| !n.is_empty()).ok_or_else(|| wrong("name is missing"))?;
        let (connection, path) = (options.take("connection"), options.take("path"));
        let source = match (connection.as_deref(), path) {
            (Some("pty"), None) => None,
            (Some("socket"), Some(path)) if is_path(&path) => Some(path),
            _ => return Err(wrong("connection is neither a pty nor a socket with a path")),
        };
        if !options.to_string().is_empty() {
            return Err(wrong("more than name, connection and path"));
        }
        xml.open("channel", &[("type", if source.is_some() { "unix" } else { "pty" })]);
        if let Some(path) = source {
            xml.empty("source", &[("mode", "bind"), ("path", &path)]);
        }
        xml.empty("target", &[("type", "xen"), ("name", &name)]);
        xml.close();
    }
    Ok(())
}

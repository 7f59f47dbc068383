//! What `define` does to a definition of a Xen domain: refuse what cannot be run as written, and write down what must not
//! change from one start to the next. Everything else stays byte for byte.

use super::to_config;
use crate::error::Result;
use crate::xml::element::Document;
use crate::xml::scan::Limits;
use crate::xml::splice::Splicer;

/// The definition with a UUID and the MAC of every interface (Xen's range, 00:16:3e).
pub fn check(xml: &str) -> Result<String> {
    let limits = Limits::default();
    let document = Document::parse(xml, &limits)?;
    let root = document.root();
    let mut splicer = Splicer::new(&document);
    if root.child("uuid").is_none()
        && let Some(name) = root.child("name")
    {
        splicer.insert_after(name, &format!("<uuid>{}</uuid>", uuid::Uuid::new_v4()));
    }
    for interface in root.all("devices").flat_map(|d| d.all("interface")) {
        if interface.child("mac").is_none() {
            let [a, b, c, ..] = *uuid::Uuid::new_v4().as_bytes();
            splicer.prepend_child(interface, &format!("<mac address='00:16:3e:{:02x}:{b:02x}:{c:02x}'/>", a & 0x7f));
        }
    }
    let completed = splicer.finish();
    to_config(&completed)?;
    Ok(completed)
}

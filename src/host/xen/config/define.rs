//! What `define` does to a definition: refuse what Xen cannot run as written, and write down what
//! must not change from one start to the next. Everything else stays byte for byte.

use super::guest::Guest;
use super::to_config;
use crate::error::Result;
use crate::xml::edit;
use crate::xml::element::{Document, Element};
use crate::xml::escape;
use crate::xml::scan::Limits;
use crate::xml::splice::Splicer;

/// The definition with UUID, `<os><type arch machine>` and the MAC address of every card.
pub fn check(xml: &str) -> Result<String> {
    let kind = Document::parse(xml, &Limits::default())?.root().attribute("type") == Some("xen");
    let completed = if kind { edit::edit(xml, complete)? } else { xml.to_owned() };
    to_config(&completed)?;
    Ok(completed)
}

fn complete(splicer: &mut Splicer<'_>, root: Element<'_>) -> Result<()> {
    if root.child("uuid").is_none()
        && let Some(name) = root.child("name")
    {
        splicer.insert_after(name, &format!("<uuid>{}</uuid>", uuid::Uuid::new_v4()));
    }
    let kind = Guest::of(root)?.kind();
    let words = [("arch", "x86_64"), ("machine", kind.machine)];
    match root.find("os/type") {
        Some(element) => {
            for (name, word) in words.into_iter().filter(|(name, _)| element.attribute(name).is_none()) {
                splicer.set_attribute(element, name, word);
            }
        }
        None => {
            let attributes: String =
                words.iter().map(|(name, word)| format!(" {name}='{}'", escape::attribute(word))).collect();
            let text = format!("<type{attributes}>{}</type>", kind.os);
            match (root.child("os"), root.child("bootloader_args").or_else(|| root.child("bootloader"))) {
                (Some(os), _) => splicer.prepend_child(os, &text),
                (None, Some(before)) => splicer.insert_after(before, &format!("<os>\n  {text}\n</os>")),
                (None, None) => {}
            }
        }
    }
    let cards = root.all("devices").flat_map(Element::children).filter(|e| e.is("interface"));
    for card in cards.filter(|card| card.child("mac").is_none()) {
        // Xen's own prefix (xl-network-configuration(5)); the rest is random below 0x80.
        let [a, b, c, ..] = *uuid::Uuid::new_v4().as_bytes();
        let text = format!("<mac address='00:16:3e:{:02x}:{b:02x}:{c:02x}'/>", a & 0x7f);
        splicer.prepend_child(card, &text);
    }
    Ok(())
}

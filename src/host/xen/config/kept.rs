//! What xl can do and libvirt's XML has no word for, kept in xl's own words:
//!
//! ```xml
//! <metadata><xl:config xmlns:xl='urn:virsnap:xl'>on_watchdog = "preserve"</xl:config></metadata>
//! <disk …><xl:options xmlns:xl='urn:virsnap:xl'>direct-io-safe</xl:options></disk>
//! ```
//!
//! A key lives with the domain, an option with its device, so that an edit of the XML cannot
//! hang it onto another one. A kept key that the rest of the XML sets too is refused: one of the two
//! would be dropped.

use super::keys::unspeakable;
use super::markup::Markup;
use super::options::Options;
use super::{Config, Malformed};
use crate::error::{Code, Error, Result};
use crate::host::strict::Strict;
use crate::xml::element::Element;
use roxmltree::Node;

/// The namespace of both elements.
pub(super) const XL: &str = "urn:virsnap:xl";

/// Append the kept keys.
pub(super) fn read_keys(root: Element<'_>, config: &mut Config) -> Result<()> {
    let found = root.all("metadata").flat_map(Element::children);
    for element in found.filter(|e| e.node().has_tag_name((XL, "config"))) {
        let strict = Strict::new(element.node());
        let kept = Config::parse(&whole_text(element.node())?)
            .map_err(|e: Malformed| Error::config(format!("element <config> ({}): {e}", strict.place())))?;
        for setting in kept.settings {
            if config.get(setting.key()).is_some() {
                return Err(Error::new(
                    Code::XmlError,
                    format!("'{}' of element <config> ({}) is set elsewhere", setting.key(), strict.place()),
                ));
            }
            config.push(setting);
        }
        strict.finish()?;
    }
    Ok(())
}

/// `<metadata>` with these keys, if there are any.
pub(super) fn write_keys(keys: &Config, xml: &mut Markup) -> Result<()> {
    if keys.settings.is_empty() {
        return Ok(());
    }
    let lost = keys.settings().find(|s| s.value().to_string().contains(unspeakable));
    if let Some(setting) = lost {
        let message = format!("xl configuration: {} has a character that XML cannot hold", setting.key());
        return Err(Error::config(message));
    }
    let text = keys.to_string();
    xml.open("metadata", &[]);
    xml.text("xl:config", &[("xmlns:xl", XL)], &format!("\n{text}"));
    xml.close();
    Ok(())
}

/// The kept options of one device.
pub(super) fn read_options(e: &mut Strict<'_, '_>) -> Result<Options> {
    let mut options = Options::default();
    for node in e.foreign_children(XL, "options") {
        for option in Options::parse(&whole_text(node)?).into_all() {
            options.push(option);
        }
        Strict::new(node).finish()?;
    }
    Ok(options)
}

/// `<xl:options>` with these, if there are any.
pub(super) fn write_options(options: &Options, xml: &mut Markup) {
    let text = options.to_string();
    if !text.is_empty() {
        xml.text("xl:options", &[("xmlns:xl", XL)], &text);
    }
}

/// Comments split an element's text; none of it may be missed.
fn whole_text(node: Node<'_, '_>) -> Result<String> {
    if let Some(child) = node.children().find(Node::is_element) {
        return Err(Strict::new(child).refuse());
    }
    Ok(node.children().filter(|n| n.is_text()).filter_map(|n| n.text()).collect())
}

//! A document in the form that expressions are evaluated on. Its crate's own parser forgets the order of attributes.

use super::is_blank;
use sxd_document::QName;
use sxd_document::dom::{Document, Element};

/// Copies all but blank text between elements.
pub(super) fn copy(from: &roxmltree::Document<'_>, to: Document<'_>) {
    let root = from.root_element();
    let top = copied(root, to);
    to.root().append_child(top);
    // Elements whose children are still to be copied: depth is the document's.
    let mut open = vec![(root, top)];
    while let Some((read, made)) = open.pop() {
        let mixed = read.children().any(|c| c.is_text() && !c.text().is_none_or(is_blank));
        for child in read.children() {
            if child.is_element() {
                let element = copied(child, to);
                made.append_child(element);
                open.push((child, element));
            } else if child.is_comment() {
                made.append_child(to.create_comment(child.text().unwrap_or_default()));
            } else if let Some(instruction) = child.pi() {
                made.append_child(to.create_processing_instruction(instruction.target, instruction.value));
            } else if child.is_text() && mixed {
                made.append_child(to.create_text(child.text().unwrap_or_default()));
            }
        }
    }
}

fn copied<'d>(read: roxmltree::Node<'_, '_>, to: Document<'d>) -> Element<'d> {
    let name = read.tag_name();
    let element = to.create_element(QName::with_namespace_uri(name.namespace(), name.name()));
    let parent = read.parent();
    for namespace in read.namespaces() {
        let inherited = parent.is_some_and(|p| p.lookup_namespace_uri(namespace.name()) == Some(namespace.uri()));
        match namespace.name() {
            _ if inherited => {}
            Some(prefix) => element.register_prefix(prefix, namespace.uri()),
            None => element.set_default_namespace_uri(Some(namespace.uri())),
        }
    }
    if let Some(uri) = name.namespace() {
        element.set_preferred_prefix(read.lookup_prefix(uri).filter(|p| !p.is_empty()));
    }
    for attribute in read.attributes() {
        let name = QName::with_namespace_uri(attribute.namespace(), attribute.name());
        let made = element.set_attribute_value(name, attribute.value());
        if let Some(uri) = attribute.namespace() {
            made.set_preferred_prefix(read.lookup_prefix(uri));
        }
    }
    element
}

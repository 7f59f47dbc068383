//! `--xpath`: what an XPath 1.0 expression finds in a document, printed as virsh prints it: as libxml2 writes nodes, blank
//! text left out and elements indented.

mod copy;

use super::action::Matches;
use super::failure::Failure;
use sxd_document::dom::{ChildOfElement, ChildOfRoot, Element};
use sxd_document::{Package, QName};
use sxd_xpath::nodeset::Node;
use sxd_xpath::{Context, Factory, Value};

/// Expressions are evaluated by recursion; no sensible one is deeper.
const MAX_DEPTH: usize = 64;

/// What `expression` finds in `xml`, one match per line.
pub fn find(xml: &str, expression: &str, matches: Matches) -> Result<String, Failure> {
    let invalid = |cause: String| Failure::new(format!("invalid XPath expression '{expression}': {cause}"));
    check(expression).map_err(|cause| invalid(cause.to_owned()))?;
    let read = roxmltree::Document::parse(xml);
    let read = read.map_err(|cause| Failure::new(format!("cannot read the XML document: {cause}")))?;
    let package = Package::new();
    copy::copy(&read, package.as_document());
    let xpath = Factory::new().build(expression).map_err(|e| invalid(e.to_string()))?;
    let xpath = xpath.ok_or_else(|| invalid("it is empty".to_owned()))?;
    let value = xpath.evaluate(&Context::new(), package.as_document().root()).map_err(|e| invalid(e.to_string()))?;
    let Value::Nodeset(found) = value else {
        return Err(Failure::new(format!("internal error: Incorrect xpath '{expression}'")));
    };
    let mut found = found.document_order();
    as_written(&mut found);
    Ok(match matches {
        Matches::Listed => found.into_iter().filter_map(alone).map(|text| text + "\n").collect(),
        Matches::Wrapped => wrapped(&found),
    })
}

/// Attributes of one element in the order in which they stand there, which XPath leaves open.
fn as_written<'d>(found: &mut [Node<'d>]) {
    let owner = |node: &Node<'d>| node.attribute().and_then(|a| a.parent());
    for run in found.chunk_by_mut(|a, b| owner(a).is_some() && owner(a) == owner(b)) {
        let Some(element) = run.first().and_then(owner) else { continue };
        let written = element.attributes();
        run.sort_by_key(|node| written.iter().position(|a| node.attribute() == Some(*a)));
    }
}

/// What the evaluation would not survive.
fn check(expression: &str) -> Result<(), &'static str> {
    let (mut quote, mut depth) = (None, 0_usize);
    let mut chars = expression.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, quote) {
            (c, Some(open)) if c == open => quote = None,
            (_, Some(_)) => {}
            ('\'' | '"', None) => quote = Some(c),
            ('(' | '[', None) => depth += 1,
            (')' | ']', None) => depth = depth.saturating_sub(1),
            (':', None) if chars.next_if_eq(&':').is_none() => return Err("it has a prefix, and none is defined"),
            _ => {}
        }
        if depth > MAX_DEPTH {
            return Err("it is too deep");
        }
    }
    Ok(())
}

/// One match; a namespace is none.
fn alone(node: Node<'_>) -> Option<String> {
    let mut text = String::new();
    match node {
        Node::Root(root) => {
            text.push_str("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
            for child in root.children() {
                if let ChildOfRoot::Element(element) = child {
                    write_element(&mut text, element, Some(0));
                }
            }
        }
        Node::Element(element) => write_element(&mut text, element, Some(0)),
        Node::Attribute(attribute) => {
            write_attribute(&mut text, &prefixed(attribute.name(), attribute.preferred_prefix()), attribute.value());
        }
        Node::Text(found) => escape(&mut text, found.text(), Place::Text),
        Node::Comment(comment) => text.push_str(&format!("<!--{}-->", comment.text())),
        Node::ProcessingInstruction(pi) => text.push_str(&instruction(pi.target(), pi.value())),
        Node::Namespace(_) => return None,
    }
    Some(text)
}

/// All matches below one element. An attribute becomes one of that element; of several of a name the last one stays.
fn wrapped(found: &[Node<'_>]) -> String {
    let mut attributes: Vec<(String, &str)> = Vec::new();
    let mut children = Vec::new();
    for node in found {
        match node {
            Node::Attribute(attribute) => {
                let name = prefixed(attribute.name(), attribute.preferred_prefix());
                attributes.retain(|(n, _)| *n != name);
                attributes.push((name, attribute.value()));
            }
            Node::Element(element) => {
                let mut text = String::new();
                write_element(&mut text, *element, Some(1));
                children.push(text);
            }
            other => children.extend(alone(*other)),
        }
    }
    let mut text = String::from("<nodes");
    attributes.iter().for_each(|(name, value)| write_attribute(&mut text, name, value));
    if children.is_empty() {
        return text + "/>\n";
    }
    text.push('>');
    // As in libxml2, text among the children keeps all of them on one line.
    if found.iter().any(|n| matches!(n, Node::Text(_))) {
        children.iter().for_each(|child| text.push_str(child.trim_start()));
    } else {
        children.iter().for_each(|child| text.push_str(&format!("\n  {child}")));
        text.push('\n');
    }
    text + "</nodes>\n"
}

/// One element; below `depth` others, or on one line with text around it.
fn write_element(text: &mut String, element: Element<'_>, depth: Option<usize>) {
    let name = prefixed(element.name(), element.preferred_prefix());
    text.push('<');
    text.push_str(&name);
    let above = element.parent().and_then(|p| p.element());
    if let Some(uri) = element.default_namespace_uri().filter(|uri| !uri.is_empty()) {
        write_attribute(text, "xmlns", uri);
    }
    for namespace in element.namespaces_in_scope() {
        let inherited = above.and_then(|a| a.namespace_uri_for_prefix(namespace.prefix())) == Some(namespace.uri());
        if !inherited && namespace.prefix() != "xml" {
            write_attribute(text, &format!("xmlns:{}", namespace.prefix()), namespace.uri());
        }
    }
    for attribute in element.attributes() {
        write_attribute(text, &prefixed(attribute.name(), attribute.preferred_prefix()), attribute.value());
    }
    let children = element.children();
    let mixed = children.iter().any(|child| matches!(child, ChildOfElement::Text(_)));
    if children.is_empty() {
        text.push_str("/>");
        return;
    }
    text.push('>');
    let depth = depth.filter(|_| !mixed);
    for child in children {
        if let Some(depth) = depth {
            text.push('\n');
            text.push_str(&"  ".repeat(depth + 1));
        }
        match child {
            ChildOfElement::Element(child) => write_element(text, child, depth.map(|d| d + 1)),
            ChildOfElement::Text(found) => escape(text, found.text(), Place::Text),
            ChildOfElement::Comment(comment) => text.push_str(&format!("<!--{}-->", comment.text())),
            ChildOfElement::ProcessingInstruction(pi) => text.push_str(&instruction(pi.target(), pi.value())),
        }
    }
    if let Some(depth) = depth {
        text.push('\n');
        text.push_str(&"  ".repeat(depth));
    }
    text.push_str(&format!("</{name}>"));
}

fn write_attribute(text: &mut String, name: &str, value: &str) {
    text.push_str(&format!(" {name}=\""));
    escape(text, value, Place::Attribute);
    text.push('"');
}

fn prefixed(name: QName<'_>, prefix: Option<&str>) -> String {
    match prefix.filter(|_| name.namespace_uri().is_some()) {
        Some(prefix) => format!("{prefix}:{}", name.local_part()),
        None => name.local_part().to_owned(),
    }
}

fn instruction(target: &str, value: Option<&str>) -> String {
    value.map_or_else(|| format!("<?{target}?>"), |value| format!("<?{target} {value}?>"))
}

fn is_blank(text: &str) -> bool {
    text.chars().all(|c| matches!(c, ' ' | '\t' | '\n' | '\r'))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Text,
    Attribute,
}

fn escape(out: &mut String, text: &str, place: Place) {
    for c in text.chars() {
        match (c, place) {
            ('&', _) => out.push_str("&amp;"),
            ('<', _) => out.push_str("&lt;"),
            ('>', _) => out.push_str("&gt;"),
            ('\r', _) => out.push_str("&#13;"),
            ('"', Place::Attribute) => out.push_str("&quot;"),
            ('\n', Place::Attribute) => out.push_str("&#10;"),
            ('\t', Place::Attribute) => out.push_str("&#9;"),
            (c, _) => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const XML: &str = "<d>\n  <n z='1' a='2'>x &amp; y</n>\n  <e>\n    <f b='\"'/>\n  </e>\n  <p:q xmlns:p='urn:p' p:r='3'/>\n  <g xmlns='urn:g'><h/></g>\n</d>\n";

    #[test]
    fn matches_are_written_as_libxml2_writes_them() {
        for (expression, expected) in [
            ("/d/n", "<n z=\"1\" a=\"2\">x &amp; y</n>\n"),
            ("//e", "<e>\n  <f b=\"&quot;\"/>\n</e>\n"),
            ("//@*[name() != 'b']", " z=\"1\"\n a=\"2\"\n p:r=\"3\"\n"),
            ("//text()", "x &amp; y\n"),
            ("//*[local-name() = 'q']", "<p:q xmlns:p=\"urn:p\" p:r=\"3\"/>\n"),
            ("/d/*[last()]", "<g xmlns=\"urn:g\">\n  <h/>\n</g>\n"),
            ("//a | //n[. = 'x:y (']", ""),
            ("/nothing", ""),
        ] {
            assert_eq!(find(XML, expression, Matches::Listed).unwrap(), expected, "{expression}");
        }
        let wrapped = |expression| find(XML, expression, Matches::Wrapped).unwrap();
        assert_eq!(
            wrapped("//n | //f"),
            "<nodes>\n  <n z=\"1\" a=\"2\">x &amp; y</n>\n  <f b=\"&quot;\"/>\n</nodes>\n"
        );
        assert_eq!(wrapped("//@a | //@b"), "<nodes a=\"2\" b=\"&quot;\"/>\n");
        assert_eq!(wrapped("/nothing"), "<nodes/>\n");
    }

    #[test]
    fn what_finds_no_nodes_or_is_no_expression_is_refused() {
        let refused = |expression: &str| find(XML, expression, Matches::Listed).unwrap_err().lines().join("\n");
        let deep = "(".repeat(100_000);
        assert!(refused(&deep).ends_with(": it is too deep"));
        assert_eq!(refused("count(//n)"), "internal error: Incorrect xpath 'count(//n)'");
        for bad in ["//(", "[", "", "//n[", "x:y"] {
            let prefix = format!("invalid XPath expression '{bad}': ");
            assert!(refused(bad).starts_with(&prefix), "{}", refused(bad));
        }
    }
}

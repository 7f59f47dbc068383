//! VALIDATE: our RELAX NG schema, read by us, judges documents as libxml2's `xmllint` does; and what it says
//! of a wrong one.

#![allow(clippy::expect_used)]

use std::path::{Path, PathBuf};
use std::process::Command;
use virsnap::error::Code;
use virsnap::xml::schema;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every document under `xml-examples` that has to do with snapshots.
fn examples() -> Vec<PathBuf> {
    let mut out = Vec::new();
    for directory in ["create", "create-offline", "redefine", "bad"] {
        for entry in std::fs::read_dir(root().join("xml-examples").join(directory)).expect("there") {
            let path = entry.expect("readable").path();
            if path.extension().is_some_and(|e| e == "xml") {
                out.push(path);
            }
        }
    }
    out.sort();
    out
}

/// Ours: `None` where the document does not even get to the schema.
fn ours(text: &str) -> Option<bool> {
    match schema::check_snapshot(text) {
        Ok(()) => Some(true),
        Err(e) if e.code == Code::XmlInvalidSchema => Some(false),
        Err(_) => None,
    }
}

/// What `xmllint` says of each file; `None` where there is none, which is said.
fn theirs(files: &[PathBuf]) -> Option<Vec<bool>> {
    let mut out = Vec::new();
    for some in files.chunks(200) {
        let mut xmllint = Command::new("xmllint");
        xmllint.args(["--noout", "--relaxng"]).arg(root().join("schemas/domainsnapshot.rng")).args(some);
        let said = match xmllint.output() {
            Ok(said) => String::from_utf8_lossy(&said.stderr).into_owned(),
            Err(e) => {
                println!("SKIP: nothing to compare the schema's reader with: xmllint (libxml2-utils): {e}");
                return None;
            }
        };
        for file in some {
            let (yes, no) =
                (format!("{} validates\n", file.display()), format!("{} fails to validate\n", file.display()));
            assert!(said.contains(&yes) != said.contains(&no), "{}: {said}", file.display());
            out.push(said.contains(&yes));
        }
    }
    Some(out)
}

#[test]
fn every_example_is_judged_as_xmllint_judges_it() {
    let files: Vec<PathBuf> = examples()
        .into_iter()
        .filter(|path| ours(&std::fs::read_to_string(path).expect("readable")).is_some())
        .collect();
    let Some(theirs) = theirs(&files) else { return };
    for (file, theirs) in files.iter().zip(theirs) {
        let text = std::fs::read_to_string(file).expect("readable");
        assert_eq!(ours(&text), Some(theirs), "{}: {:?}", file.display(), schema::check_snapshot(&text));
    }
}

/// libvirt's form of every document that it takes at all: what we write must be taken again.
#[test]
fn everything_that_is_written_is_valid() {
    for file in examples().iter().filter(|path| path.to_string_lossy().ends_with(".out.xml")) {
        let text = std::fs::read_to_string(file).expect("readable");
        schema::check_snapshot(&text).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    }
}

/// What virsnap understands beyond libvirt is in namespaces of its own.
#[test]
fn our_own_elements_are_valid_in_their_namespaces_only() {
    let directory = tempfile::tempdir().expect("a directory");
    let (mixed, tag) = ("xmlns:v='urn:virsnap:snapshot:1'", "xmlns:v='urn:org.virsnap:snapshot:1'");
    let mut files = Vec::new();
    for (valid, inside) in [
        (true, format!("<v:mixed {mixed}/><name>s</name>")),
        (true, format!("<v:tag {tag}>old</v:tag>")),
        (false, format!("<v:mixed {mixed}/><v:mixed {mixed}/>")),
        (false, format!("<v:mixed {mixed}>yes</v:mixed>")),
        (false, format!("<v:tag {tag}/>")),
        (false, format!("<v:tag {tag}>{}</v:tag>", "x".repeat(256))),
        (false, "<mixed/>".into()),
        (false, "<tag>old</tag>".into()),
        (false, "<v:mixed xmlns:v='urn:another'/>".into()),
    ] {
        let text = format!("<domainsnapshot>{inside}</domainsnapshot>");
        assert_eq!(ours(&text), Some(valid), "{text}");
        let path = directory.path().join(format!("{}.xml", files.len()));
        std::fs::write(&path, text).expect("writable");
        files.push(path);
    }
    let Some(theirs) = theirs(&files) else { return };
    assert_eq!(theirs.iter().filter(|v| **v).count(), 2);
}

#[test]
fn spoiled_documents_are_judged_as_xmllint_judges_them() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut dice = Dice(0x5eed);
    let mut files = Vec::new();
    let bases: Vec<Tag> = examples()
        .iter()
        .filter_map(|path| std::fs::read_to_string(path).ok())
        .filter(|text| !text.contains("xmlns") && ours(text) == Some(true))
        .map(|text| Tag::of(roxmltree::Document::parse(&text).expect("well-formed").root_element()))
        .collect();
    assert!(bases.len() > 10, "only {} examples are valid", bases.len());
    let mut seen = std::collections::BTreeSet::new();
    while files.len() < 800 {
        let mut document = bases[dice.below(bases.len())].clone();
        for _ in 0..=dice.below(3) {
            document.spoil(&mut dice);
        }
        let text = document.text();
        if document.name != "domainsnapshot" || !seen.insert(text.clone()) {
            continue;
        }
        let path = directory.path().join(format!("{}.xml", files.len()));
        std::fs::write(&path, text).expect("writable");
        files.push(path);
    }
    let Some(theirs) = theirs(&files) else { return };
    let valid = theirs.iter().filter(|v| **v).count();
    assert!((80..720).contains(&valid), "{valid} of {} are valid: the spoiling is no good", files.len());
    for (file, theirs) in files.iter().zip(theirs) {
        let text = std::fs::read_to_string(file).expect("readable");
        assert_eq!(ours(&text), Some(theirs), "{text}\n{:?}", schema::check_snapshot(&text));
    }
}

#[test]
fn the_message_names_element_and_line() {
    let disk = |attributes: &str, inside: &str| {
        format!("<domainsnapshot>\n <disks>\n  <disk {attributes}>{inside}</disk>\n </disks>\n</domainsnapshot>")
    };
    for (document, words) in [
        (
            "<domainsnapshot>\n<bogus/></domainsnapshot>".to_owned(),
            "line 2: Element domainsnapshot has extra content: bogus",
        ),
        ("<domainsnapshot foo='1'/>".into(), "line 1: Invalid attribute foo for element domainsnapshot"),
        ("<domainsnapshot xmlns='http://x/'/>".into(), "line 1: Expecting no namespace for element domainsnapshot"),
        ("<domainsnapshot>x</domainsnapshot>".into(), "line 1: Did not expect text in element domainsnapshot content"),
        (
            "<domainsnapshot><name>a</name>\n<name>b</name></domainsnapshot>".into(),
            "line 2: Element domainsnapshot has extra content: name",
        ),
        (
            disk("name='vda' snapshot='bogus'", ""),
            "line 3: Invalid attribute snapshot for element disk: 'bogus' is not allowed here",
        ),
        (
            disk("snapshot='external'", ""),
            "line 3: Element disk failed to validate content: something that must be there is missing",
        ),
        (
            disk("name='vda' snapshot='no'", "\n   <source file='/x'/>"),
            "line 4: Element disk has extra content: source",
        ),
        (
            disk("name='vda'", "\n<source file='x.qcow2'/>"),
            "line 4: Invalid attribute file for element source: 'x.qcow2' is not allowed here",
        ),
        (
            disk("name='vda'", &format!("<source file='{}'/>", "x".repeat(1000))),
            &format!("line 3: Invalid attribute file for element source: '{}…' is not allowed here", "x".repeat(80)),
        ),
    ] {
        let error = schema::check_snapshot(&document).expect_err(&document);
        assert_eq!(
            error.to_string(),
            format!(
                "XML document failed to validate against schema: Unable to validate doc against domainsnapshot.rng\n{words}"
            )
        );
    }
    for (document, words) in [
        ("hello", "at line 1: Start tag expected, '<' not found\nhello\n^"),
        ("<snapshot/>", "XML error: expecting root element of 'domainsnapshot', not 'snapshot'"),
    ] {
        assert_eq!(schema::check_snapshot(document).expect_err(document).to_string(), words);
    }
}

#[test]
fn no_input_panics() {
    let mut dice = Dice(0xbad);
    let texts: Vec<String> = examples().iter().filter_map(|path| std::fs::read_to_string(path).ok()).collect();
    let junk =
        ["<", ">", "/", "'", "=", "&#0;", "&lt;", "<![CDATA[", "]]>", "<?x ?>", "<!-- x -->", "xmlns='u'", "\u{e9}"];
    let mut judged = 0;
    for _ in 0..4000 {
        let mut text = texts[dice.below(texts.len())].clone();
        for _ in 0..=dice.below(3) {
            let mut at = dice.below(text.len());
            while !text.is_char_boundary(at) {
                at -= 1;
            }
            text.insert_str(at, dice.one(&junk));
        }
        judged += usize::from(ours(&text).is_some());
    }
    assert!(judged > 100, "only {judged} documents came to the schema");
}

/// The largest documents cost seconds at most, however they are made.
#[test]
fn no_document_takes_the_validator_long() {
    let many = |one: &str, bytes: usize| one.repeat(bytes / one.len());
    let size = 1 << 20;
    let disk = many("<disk name='vda'/>", size);
    let bogus = many("<b/>", size / 4);
    let attributes: String = (0..250).map(|n| format!(" a{n}='x'")).collect();
    for document in [
        format!("<domainsnapshot><disks>{disk}</disks></domainsnapshot>"),
        format!("<domainsnapshot><disks>{bogus}</disks></domainsnapshot>"),
        format!("<domainsnapshot><cookie>{bogus}</cookie></domainsnapshot>"),
        format!("<domainsnapshot><domain type='q'><name>n</name>{bogus}</domain></domainsnapshot>"),
        format!("<domainsnapshot><domain type='q'{attributes}><name>n</name></domain></domainsnapshot>"),
        format!("<domainsnapshot><cookie>{}{}</cookie></domainsnapshot>", "<a>".repeat(250), "</a>".repeat(250)),
        format!(
            "<domainsnapshot><disks><disk name='vda' type='network'><source protocol='nbd'>{}</source></disk></disks>\
             </domainsnapshot>",
            many("<host/><ssl/>", size / 4)
        ),
        format!("<domainsnapshot><name>{}</name></domainsnapshot>", many("x", 2 * size)),
        format!("<domainsnapshot>{}</domainsnapshot>", many("<name/><state/>x", size / 4)),
    ] {
        let start = std::time::Instant::now();
        let _ = schema::check_snapshot(&document);
        let took = start.elapsed();
        assert!(took.as_secs() < 30, "{took:?}: {}", &document[..100]);
    }
    let over = format!("<domainsnapshot><name>{}</name></domainsnapshot>", "x".repeat(4 << 20));
    let said = schema::check_snapshot(&over).expect_err("too long").to_string();
    assert!(said.contains("larger than the limit of 4194304 bytes"), "{said}");
}

/// Numbers that are the same on every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 16).unwrap_or(0) % end.max(1)
    }
    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }
}

const ELEMENTS: &[&str] = &[
    "name",
    "disk",
    "disks",
    "source",
    "driver",
    "memory",
    "state",
    "parent",
    "domain",
    "uuid",
    "cookie",
    "active",
    "bogus",
    "revertDisks",
    "seclabel",
    "host",
    "auth",
    "inactiveDomain",
    "creationTime",
    "max_size",
    "x:disk",
];
const ATTRIBUTES: &[&str] =
    &["name", "snapshot", "type", "file", "dev", "protocol", "bogus", "unit", "port", "index", "x:name", "xml:lang"];
const VALUES: &[&str] = &[
    "no",
    "internal",
    "external",
    "manual",
    "default",
    "",
    "file",
    "block",
    "network",
    "volume",
    "/a/b",
    "a/b",
    "/",
    "vda",
    "xvdb1",
    "sda",
    "nvme0n1",
    "zz",
    "qcow2",
    "raw",
    "0",
    "1",
    "-1",
    "99999999999999999999",
    "running",
    "pmsuspended",
    "disk-snapshot",
    " running ",
    "nbd",
    "KiB",
    "3b0a1e7e-6f0a-4a4e-9d8e-1c2d3e4f5a6b",
    "ox",
    "a b",
];

/// An element that can be spoiled.
#[derive(Clone)]
struct Tag {
    name: String,
    attributes: Vec<(String, String)>,
    children: Vec<Child>,
}

#[derive(Clone)]
enum Child {
    Tag(Tag),
    Text(String),
}

impl Tag {
    fn of(node: roxmltree::Node<'_, '_>) -> Self {
        Self {
            name: node.tag_name().name().to_owned(),
            attributes: node.attributes().map(|a| (a.name().to_owned(), a.value().to_owned())).collect(),
            children: node
                .children()
                .filter_map(|child| {
                    let text = child.text().filter(|_| child.is_text()).map(|t| Child::Text(t.to_owned()));
                    text.or_else(|| child.is_element().then(|| Child::Tag(Self::of(child))))
                })
                .collect(),
        }
    }

    fn text(&self) -> String {
        let escape = |s: &str| s.replace('&', "&amp;").replace('<', "&lt;").replace('\'', "&apos;");
        let attributes: String = self.attributes.iter().map(|(n, v)| format!(" {n}='{}'", escape(v))).collect();
        let inside: String = self
            .children
            .iter()
            .map(|child| match child {
                Child::Tag(tag) => tag.text(),
                Child::Text(text) => escape(text),
            })
            .collect();
        let prefix = if self.name == "domainsnapshot" { " xmlns:x='urn:x'" } else { "" };
        format!("<{0}{prefix}{attributes}>{inside}</{0}>", self.name)
    }

    /// One of the elements in it, or itself.
    fn pick(&mut self, dice: &mut Dice) -> &mut Self {
        let inner: Vec<usize> =
            (0..self.children.len()).filter(|i| matches!(self.children[*i], Child::Tag(_))).collect();
        if inner.is_empty() || dice.below(4) == 0 {
            return self;
        }
        match &mut self.children[inner[dice.below(inner.len())]] {
            Child::Tag(tag) => tag.pick(dice),
            Child::Text(_) => unreachable!("an element was picked"),
        }
    }

    fn set(&mut self, name: &str, value: &str) {
        self.attributes.retain(|(n, _)| n != name);
        self.attributes.push((name.to_owned(), value.to_owned()));
    }

    fn spoil(&mut self, dice: &mut Dice) {
        let other = self.pick(dice).clone();
        let tag = self.pick(dice);
        let at = dice.below(tag.children.len());
        match dice.below(12) {
            0 if !tag.children.is_empty() => drop(tag.children.remove(at)),
            1 if !tag.children.is_empty() => tag.children.push(tag.children[at].clone()),
            2 => tag.name = dice.one(ELEMENTS).to_owned(),
            3 => tag.children.insert(at, Child::Tag(other)),
            4 if !tag.attributes.is_empty() => drop(tag.attributes.remove(dice.below(tag.attributes.len()))),
            5 => tag.set(dice.one(ATTRIBUTES), dice.one(VALUES)),
            6 | 7 if !tag.attributes.is_empty() => {
                let at = dice.below(tag.attributes.len());
                tag.attributes[at].1 = dice.one(VALUES).to_owned();
            }
            8 => tag.children.reverse(),
            9 => tag.children.insert(at, Child::Text(dice.one(VALUES).to_owned())),
            10 => tag.children = vec![Child::Text(dice.one(VALUES).to_owned())],
            _ => {
                let new = Self { name: dice.one(ELEMENTS).to_owned(), attributes: Vec::new(), children: Vec::new() };
                tag.children.insert(at, Child::Tag(new));
            }
        }
    }
}

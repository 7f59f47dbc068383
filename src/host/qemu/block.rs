//! The block graph of a running QEMU: which node holds which image, what lies on what.
//!
//! ```text
//!   device ─root─▶ (filters) ─▶ overlay ─backing─▶ base        format nodes
//!                                  │file             │file
//!                                  ▼                 ▼
//!                               protocol          protocol     nodes with a path
//! ```
//!
//! Read from `x-debug-query-block-graph` (the only command of QEMU 7.2 that tells edges) and
//! `query-named-block-nodes`. Node-names are ours, the command line's or QEMU's own; images are
//! found by path. Must not know: plans, jobs.

use super::qmp::{Monitor, QmpError};
use crate::host::images::same_file;
use crate::model::ids::Image;
use camino::{Utf8Path, Utf8PathBuf};
use serde_json::{Value, json};
use std::collections::HashMap;

/// Nodes that QEMU puts in between and that hold nothing of their own.
const FILTERS: [&str; 6] = ["mirror_top", "commit_top", "copy-on-read", "throttle", "compress", "preallocate"];

#[derive(Debug)]
struct Node {
    name: String,
    driver: String,
    path: Option<Utf8PathBuf>,
}

#[derive(Debug)]
enum Parent {
    Node(u64),
    /// A device's block backend; those of jobs have no name.
    Device(String),
    Other,
}

#[derive(Debug)]
struct Edge {
    parent: Parent,
    child: u64,
    role: String,
}

/// One reading of the graph.
#[derive(Debug, Default)]
pub(super) struct Graph {
    nodes: HashMap<u64, Node>,
    edges: Vec<Edge>,
}

impl Graph {
    /// Ask for it.
    pub(super) async fn read(monitor: &Monitor) -> Result<Self, QmpError> {
        let named = monitor.execute("query-named-block-nodes", json!({ "flat": true })).await?;
        let graph = monitor.execute("x-debug-query-block-graph", json!({})).await?;
        Ok(Self::parse(&named, &graph))
    }

    fn parse(named: &Value, graph: &Value) -> Self {
        let list = |v: &Value| v.as_array().cloned().unwrap_or_default();
        let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
        let named: HashMap<String, Value> = list(named).into_iter().map(|n| (text(&n["node-name"]), n)).collect();
        let mut out = Self::default();
        let mut devices = HashMap::new();
        for entry in list(&graph["nodes"]) {
            let (Some(id), name) = (entry["id"].as_u64(), text(&entry["name"])) else { continue };
            match entry["type"].as_str() {
                Some("block-driver") => {
                    let info = named.get(&name).unwrap_or(&Value::Null);
                    let driver = text(&info["drv"]);
                    let is_protocol = matches!(driver.as_str(), "file" | "host_device");
                    let path = is_protocol.then(|| text(&info["file"]).into());
                    out.nodes.insert(id, Node { name, driver, path });
                }
                Some("block-backend") if !name.is_empty() => drop(devices.insert(id, name)),
                _ => {}
            }
        }
        for edge in list(&graph["edges"]) {
            let (Some(parent), Some(child)) = (edge["parent"].as_u64(), edge["child"].as_u64()) else { continue };
            let parent = match devices.get(&parent) {
                Some(device) => Parent::Device(device.clone()),
                None if out.nodes.contains_key(&parent) => Parent::Node(parent),
                None => Parent::Other,
            };
            out.edges.push(Edge { parent, child, role: text(&edge["name"]) });
        }
        out
    }

    fn name(&self, id: u64) -> Option<&str> {
        self.nodes.get(&id).map(|n| n.name.as_str())
    }
    fn id(&self, name: &str) -> Option<u64> {
        self.nodes.iter().find(|(_, n)| n.name == name).map(|(id, _)| *id)
    }
    fn is_filter(&self, id: u64) -> bool {
        self.nodes.get(&id).is_some_and(|n| FILTERS.contains(&n.driver.as_str()))
    }
    fn child(&self, of: u64, role: &str) -> Option<u64> {
        let is_it = |e: &&Edge| matches!(e.parent, Parent::Node(p) if p == of) && e.role == role;
        let mut child = self.edges.iter().find(is_it)?.child;
        // Filters in a row end, as the graph has no circles.
        while self.is_filter(child) {
            child = self.child(child, "backing").or_else(|| self.child(child, "file"))?;
        }
        Some(child)
    }
    /// The image file of a format node, or of a protocol node itself.
    fn path_of(&self, id: u64) -> Option<&Utf8Path> {
        match &self.nodes.get(&id)?.path {
            Some(path) => Some(path),
            None => self.child(id, "file").and_then(|file| self.path_of(file)),
        }
    }
    fn parents(&self, id: u64) -> impl Iterator<Item = &Edge> {
        self.edges.iter().filter(move |e| e.child == id)
    }
    fn device_above(&self, id: u64) -> Option<&str> {
        self.parents(id).find_map(|e| match &e.parent {
            Parent::Device(device) => Some(device.as_str()),
            Parent::Node(p) if self.is_filter(*p) => self.device_above(*p),
            _ => None,
        })
    }
    /// All format nodes over the file, or bare protocol nodes.
    fn holders(&self, path: &Utf8Path) -> Vec<u64> {
        let tops = |matches: &dyn Fn(&Utf8Path) -> bool| -> Vec<u64> {
            let over_file = |id: u64| {
                // A protocol node below a format node is not the holder, the format node is. Some
                // filters call what is below them their file, too.
                let is_format = |e: &Edge| matches!(e.parent, Parent::Node(p) if !self.is_filter(p));
                self.parents(id).any(|e| e.role == "file" && is_format(e))
            };
            let mut ids: Vec<u64> = self.nodes.keys().copied().collect();
            ids.sort_unstable();
            ids.retain(|id| !self.is_filter(*id) && self.path_of(*id).is_some_and(matches) && !over_file(*id));
            ids
        };
        let exact = tops(&|p| p == path);
        if exact.is_empty() { tops(&|p| same_file(p, path)) } else { exact }
    }

    /// Whether any node holds the image.
    #[must_use]
    pub(super) fn is_open(&self, path: &Utf8Path) -> bool {
        !self.holders(path).is_empty()
    }
    /// The node that holds the image as a device's active layer.
    #[must_use]
    pub(super) fn active(&self, path: &Utf8Path) -> Option<&str> {
        self.holders(path).into_iter().find(|id| self.device_above(*id).is_some()).and_then(|id| self.name(id))
    }
    /// Whether that node is a device's active layer.
    #[must_use]
    pub(super) fn is_active(&self, node: &str) -> bool {
        self.id(node).is_some_and(|id| self.device_above(id).is_some())
    }
    /// Whether the node exists.
    #[must_use]
    pub(super) fn has(&self, node: &str) -> bool {
        self.id(node).is_some()
    }
    /// The node of `upper` and the node of `lower` below it, however deep, in one chain; and
    /// whether `lower` is directly below.
    #[must_use]
    pub(super) fn chain(&self, upper: &Utf8Path, lower: &Utf8Path) -> Option<Pair<'_>> {
        self.holders(upper).into_iter().find_map(|top| {
            let mut at = top;
            let mut adjacent = true;
            loop {
                at = self.child(at, "backing")?;
                if self.path_of(at).is_some_and(|p| same_file(p, lower)) {
                    let device = self.device_above(top);
                    return Some(Pair { upper: self.name(top)?, lower: self.name(at)?, adjacent, device });
                }
                adjacent = false;
            }
        })
    }
    /// The active node of the chain that `node` is in.
    #[must_use]
    pub(super) fn root_above(&self, node: &str) -> Option<&str> {
        let mut at = self.id(node)?;
        while self.device_above(at).is_none() {
            at = self.parents(at).find_map(|e| match e.parent {
                Parent::Node(p) => Some(p),
                _ => None,
            })?;
        }
        self.name(at)
    }
    /// The files of everything that lies on the image, directly or not.
    #[must_use]
    pub(super) fn above(&self, path: &Utf8Path) -> Vec<&Utf8Path> {
        let mut ids = self.holders(path);
        let mut paths = Vec::new();
        while let Some(id) = ids.pop() {
            for edge in self.parents(id) {
                if let Parent::Node(parent) = edge.parent {
                    ids.push(parent);
                    paths.extend(self.path_of(parent).filter(|_| !self.is_filter(parent)));
                }
            }
        }
        paths
    }
    /// The image of a format node.
    #[must_use]
    pub(super) fn image(&self, node: &str) -> Option<Image> {
        let id = self.id(node)?;
        Some(Image { path: self.path_of(id)?.to_owned(), format: self.nodes.get(&id)?.driver.clone() })
    }
    /// The files of the image and of everything that it lies on, the image first.
    #[must_use]
    pub(super) fn below(&self, path: &Utf8Path) -> Vec<Utf8PathBuf> {
        let active = self.holders(path).into_iter().find(|id| self.device_above(*id).is_some());
        std::iter::successors(active, |id| self.child(*id, "backing"))
            .filter_map(|id| self.path_of(id).map(Utf8Path::to_owned))
            .collect()
    }
    /// The format nodes of the image.
    pub(super) fn nodes_of(&self, path: &Utf8Path) -> impl Iterator<Item = &str> {
        self.holders(path).into_iter().filter_map(|id| self.name(id))
    }
    /// The device above the image, however deep the image is.
    #[must_use]
    pub(super) fn device_of(&self, path: &Utf8Path) -> Option<&str> {
        let mut roots = self.holders(path).into_iter().filter_map(|id| self.root_above(self.name(id)?));
        roots.find_map(|root| self.device_above(self.id(root)?))
    }
}

/// Two nodes of one chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pair<'a> {
    /// The one above.
    pub(super) upper: &'a str,
    /// The one below.
    pub(super) lower: &'a str,
    /// Whether there is nothing between them.
    pub(super) adjacent: bool,
    /// The device that has `upper` as its active layer.
    pub(super) device: Option<&'a str>,
}

/// Remove the nodes of an image that nothing uses any more, so that its file is closed. Nodes
/// that were opened as somebody's backing file go by themselves; ours have to be told to.
pub(super) async fn drop_unused(monitor: &Monitor, path: &Utf8Path) -> Result<(), QmpError> {
    // Once for the format nodes, once for the protocol nodes below them.
    for _ in 0..2 {
        let graph = Graph::read(monitor).await?;
        for id in graph.holders(path) {
            let Some(name) = graph.name(id).filter(|_| graph.parents(id).next().is_none()) else { continue };
            match monitor.execute("blockdev-del", json!({ "node-name": name })).await {
                // Not the monitor's own: it goes with its user.
                Ok(_) | Err(QmpError::Refused { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `device → #mirror (filter) → top → base`, the job's own backend on `base`.
    fn graph() -> Graph {
        let node = |name: &str, drv: &str, file: &str| json!({ "node-name": name, "drv": drv, "file": file });
        let named = json!([
            node("#mirror", "mirror_top", "/i/top"),
            node("top", "qcow2", "json:{}"),
            node("top-f", "file", "/i/top"),
            node("base", "raw", "/i/base"),
            node("base-f", "file", "/i/base"),
        ]);
        let entry = |id: u64, name: &str, kind: &str| json!({ "id": id, "name": name, "type": kind });
        let edge = |p: u64, c: u64, role: &str| json!({ "parent": p, "child": c, "name": role });
        let edges = [
            edge(1, 2, "root"),
            edge(2, 3, "backing"),
            edge(3, 4, "file"),
            edge(3, 5, "backing"),
            edge(5, 6, "file"),
            edge(7, 5, "root"),
            edge(8, 5, "main node"),
        ];
        let nodes = [
            entry(1, "/machine/peripheral/vda/virtio-backend", "block-backend"),
            entry(2, "#mirror", "block-driver"),
            entry(3, "top", "block-driver"),
            entry(4, "top-f", "block-driver"),
            entry(5, "base", "block-driver"),
            entry(6, "base-f", "block-driver"),
            entry(7, "", "block-backend"),
            entry(8, "job0", "block-job"),
        ];
        Graph::parse(&named, &json!({ "nodes": nodes, "edges": edges }))
    }

    #[test]
    fn an_active_layer_is_found_through_the_filter_of_a_job() {
        let g = graph();
        assert_eq!(g.active("/i/top".into()), Some("top"));
        assert!(g.is_active("top") && !g.is_active("base") && g.has("base-f"));
        assert_eq!(g.active("/i/base".into()), None, "a job's backend is no device");
        assert!(g.is_open("/i/base".into()) && !g.is_open("/i/other".into()));
        assert_eq!(g.root_above("base"), Some("top"));
        assert_eq!(g.above("/i/base".into()), [Utf8Path::new("/i/top")]);
    }

    #[test]
    fn a_chain_is_walked_by_path() {
        let g = graph();
        let device = Some("/machine/peripheral/vda/virtio-backend");
        let pair = Pair { upper: "top", lower: "base", adjacent: true, device };
        assert_eq!(g.chain("/i/top".into(), "/i/base".into()), Some(pair));
        assert_eq!(g.chain("/i/base".into(), "/i/top".into()), None);
    }
}

//! A domain's snapshots as a tree: parents, children, order, the current one.
//!
//! Siblings are ordered newest-inserted first, as libvirt's are
//! (`virDomainMomentSetParent` inserts at the head).

use super::flags::ListFlags;
use super::ids::SnapshotName;
use super::snapshot::{Snapshot, SnapshotState};
use rpds::HashTrieMapSync;
use std::sync::Arc;

/// All snapshots of one domain. The maps are persistent: a changed tree shares all that did not
/// change with the one that readers still look at, so a change costs the same in a tree of 10,000.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    by_name: HashTrieMapSync<SnapshotName, Arc<Snapshot>>,
    /// Children of each snapshot (`None`: the roots), in order of insertion.
    children: HashTrieMapSync<Option<SnapshotName>, Arc<Vec<SnapshotName>>>,
    current: Option<SnapshotName>,
}

impl Tree {
    /// The tree of `snapshots`, in the order in which they were inserted. A parent that does not
    /// exist makes its child a root.
    #[must_use]
    pub fn new(snapshots: Vec<Snapshot>, current: Option<SnapshotName>) -> Self {
        let order: Vec<SnapshotName> = snapshots.iter().map(|s| s.name.clone()).collect();
        let by_name = snapshots.into_iter().map(|s| (s.name.clone(), Arc::new(s))).collect();
        let mut tree = Self { by_name, children: HashTrieMapSync::new_sync(), current };
        for name in order {
            tree.attach(tree.parent(&name), name);
        }
        tree.current = tree.current.take().filter(|c| tree.by_name.contains_key(c));
        tree
    }
    /// The same tree with snapshots replaced or added at the end, and some gone.
    #[must_use]
    pub fn changed(&self, put: Vec<Snapshot>, remove: &[SnapshotName], current: Option<Option<SnapshotName>>) -> Self {
        let mut tree = self.clone();
        for snapshot in put {
            let name = snapshot.name.clone();
            let before = tree.by_name.contains_key(&name).then(|| tree.parent(&name));
            tree.by_name.insert_mut(name.clone(), Arc::new(snapshot));
            let parent = tree.parent(&name);
            if before.as_ref() != Some(&parent) {
                if let Some(old) = before {
                    tree.detach(&old, &name);
                }
                tree.attach(parent, name);
            }
        }
        for name in remove {
            let parent = tree.parent(name);
            if tree.by_name.remove_mut(name) {
                tree.detach(&parent, name);
            }
        }
        // Children of what went were put with another parent before, or are roots now.
        for name in remove {
            let key = Some(name.clone());
            let orphans = tree.children.get(&key).cloned().unwrap_or_default();
            tree.children.remove_mut(&key);
            for orphan in orphans.iter().filter(|o| tree.by_name.contains_key(o)).cloned().collect::<Vec<_>>() {
                tree.attach(None, orphan);
            }
        }
        if let Some(current) = current {
            tree.current = current;
        }
        tree.current = tree.current.take().filter(|c| tree.by_name.contains_key(c));
        tree
    }
    /// The same tree where `from` is called `to`, in its own place and in its children's eyes.
    #[must_use]
    pub fn renamed(&self, from: &SnapshotName, to: &SnapshotName) -> Self {
        let mut tree = self.clone();
        let Some(snapshot) = self.by_name.get(from).filter(|_| !self.by_name.contains_key(to)) else { return tree };
        let parent = self.parent(from);
        tree.by_name.remove_mut(from);
        tree.by_name.insert_mut(to.clone(), Arc::new(Snapshot { name: to.clone(), ..(**snapshot).clone() }));
        if let Some(siblings) = tree.children.get_mut(&parent) {
            Arc::make_mut(siblings).iter_mut().filter(|s| *s == from).for_each(|s| s.clone_from(to));
        }
        let key = Some(from.clone());
        if let Some(children) = self.children.get(&key) {
            for child in children.iter().filter_map(|c| self.by_name.get(c)) {
                let moved = Snapshot { parent: Some(to.clone()), ..(**child).clone() };
                tree.by_name.insert_mut(child.name.clone(), Arc::new(moved));
            }
            tree.children.remove_mut(&key);
            tree.children.insert_mut(Some(to.clone()), Arc::clone(children));
        }
        if tree.current.as_ref() == Some(from) {
            tree.current = Some(to.clone());
        }
        tree
    }
    fn detach(&mut self, parent: &Option<SnapshotName>, name: &SnapshotName) {
        if let Some(siblings) = self.children.get_mut(parent) {
            Arc::make_mut(siblings).retain(|s| s != name);
            if siblings.is_empty() {
                self.children.remove_mut(parent);
            }
        }
    }
    fn attach(&mut self, parent: Option<SnapshotName>, name: SnapshotName) {
        match self.children.get_mut(&parent) {
            Some(siblings) => Arc::make_mut(siblings).push(name),
            None => self.children.insert_mut(parent, Arc::new(vec![name])),
        }
    }
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_name.size()
    }
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }
    /// The snapshot of that name.
    #[must_use]
    pub fn get(&self, name: &SnapshotName) -> Option<&Arc<Snapshot>> {
        self.by_name.get(name)
    }
    /// The current snapshot's name.
    #[must_use]
    pub fn current(&self) -> Option<&SnapshotName> {
        self.current.as_ref()
    }
    /// Every snapshot, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Snapshot>> {
        self.by_name.values()
    }
    /// The parent that exists.
    #[must_use]
    pub fn parent(&self, name: &SnapshotName) -> Option<SnapshotName> {
        self.by_name.get(name)?.parent.clone().filter(|p| self.by_name.contains_key(p))
    }
    /// The nearest ancestors first, ending at a root. Ends at a cycle too.
    #[must_use]
    pub fn ancestors(&self, name: &SnapshotName) -> Vec<SnapshotName> {
        let mut out = Vec::new();
        let mut at = self.parent(name);
        while let Some(p) = at {
            if out.contains(&p) || p == *name {
                break;
            }
            at = self.parent(&p);
            out.push(p);
        }
        out
    }
    /// Direct children of a snapshot (`None`: the roots), newest first.
    pub fn children(&self, of: Option<&SnapshotName>) -> impl Iterator<Item = &SnapshotName> {
        self.children.get(&of.cloned()).into_iter().flat_map(|c| c.iter().rev())
    }
    /// Whether it has no children.
    #[must_use]
    pub fn is_leaf(&self, name: &SnapshotName) -> bool {
        self.children(Some(name)).next().is_none()
    }
    /// All below `of` (`None`: all), parents before children, siblings newest first. Without recursion: depth is the user's.
    #[must_use]
    pub fn descendants(&self, of: Option<&SnapshotName>) -> Vec<SnapshotName> {
        let mut out = Vec::new();
        let mut stack: Vec<&SnapshotName> =
            self.children.get(&of.cloned()).map(|c| c.iter().collect()).unwrap_or_default();
        while let Some(name) = stack.pop() {
            out.push(name.clone());
            if let Some(children) = self.children.get(&Some(name.clone())) {
                stack.extend(children.iter());
            }
        }
        out
    }
    /// `virDomainListAllSnapshots` (`of` = `None`) and `virDomainSnapshotListAllChildren`.
    #[must_use]
    pub fn list(&self, of: Option<&SnapshotName>, flags: ListFlags) -> Vec<SnapshotName> {
        let bit0 = flags.contains(ListFlags::ROOTS_OR_DESCENDANTS);
        let deep = if of.is_none() { !bit0 } else { bit0 };
        let all = if deep { self.descendants(of) } else { self.children(of).cloned().collect() };
        all.into_iter().filter(|n| self.passes(n, flags)).collect()
    }
    fn passes(&self, name: &SnapshotName, flags: ListFlags) -> bool {
        let Some(s) = self.by_name.get(name) else { return false };
        let group = |members: &[(ListFlags, bool)]| {
            members.iter().all(|(f, _)| !flags.contains(*f))
                || members.iter().any(|(f, hit)| flags.contains(*f) && *hit)
        };
        let leaf = self.is_leaf(name);
        let inactive = s.state == SnapshotState::Shutoff;
        let disk_only = s.state == SnapshotState::DiskSnapshot;
        let external = s.is_external();
        group(&[(ListFlags::LEAVES, leaf), (ListFlags::NO_LEAVES, !leaf)])
            && group(&[(ListFlags::METADATA, true), (ListFlags::NO_METADATA, false)])
            && group(&[
                (ListFlags::INACTIVE, inactive),
                (ListFlags::DISK_ONLY, disk_only),
                (ListFlags::ACTIVE, !inactive && !disk_only),
            ])
            && group(&[(ListFlags::INTERNAL, !external), (ListFlags::EXTERNAL, external)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::snapshot::Memory;

    fn snapshot(name: &str, parent: Option<&str>) -> Snapshot {
        Snapshot {
            name: name.into(),
            description: None,
            parent: parent.map(SnapshotName::from),
            state: SnapshotState::Shutoff,
            creation_time: 1,
            memory: Memory::No,
            tag: None,
            disks: Vec::new(),
            revert_disks: Vec::new(),
            frozen: Vec::new(),
        }
    }

    fn names(list: &[SnapshotName]) -> Vec<&str> {
        list.iter().map(SnapshotName::as_str).collect()
    }

    #[test]
    fn siblings_are_listed_newest_first_and_parents_before_children() {
        let tree = Tree::new(
            vec![snapshot("a", None), snapshot("b", Some("a")), snapshot("c", Some("a")), snapshot("d", Some("b"))],
            Some("d".into()),
        );
        assert_eq!(names(&tree.descendants(None)), ["a", "c", "b", "d"]);
        assert_eq!(names(&tree.list(None, ListFlags::ROOTS_OR_DESCENDANTS)), ["a"]);
        assert_eq!(names(&tree.list(None, ListFlags::LEAVES)), ["c", "d"]);
        assert_eq!(tree.list(None, ListFlags::LEAVES | ListFlags::NO_LEAVES).len(), 4);
    }

    #[test]
    fn a_renamed_snapshot_keeps_its_place_its_children_and_the_current_mark() {
        let tree = Tree::new(
            vec![snapshot("a", None), snapshot("b", Some("a")), snapshot("c", Some("a")), snapshot("d", Some("b"))],
            Some("b".into()),
        );
        let after = tree.renamed(&"b".into(), &"x".into());
        assert_eq!(names(&after.descendants(None)), ["a", "c", "x", "d"]);
        assert_eq!(after.current(), Some(&"x".into()));
        assert_eq!(after.parent(&"d".into()), Some("x".into()));
        assert_eq!(names(&after.renamed(&"a".into(), &"y".into()).descendants(None)), ["y", "c", "x", "d"]);
        assert_eq!(names(&tree.renamed(&"b".into(), &"c".into()).descendants(None)), ["a", "c", "b", "d"], "taken");
    }

    #[test]
    fn removing_a_middle_snapshot_moves_its_children_up() {
        let tree =
            Tree::new(vec![snapshot("a", None), snapshot("b", Some("a")), snapshot("c", Some("b"))], Some("b".into()));
        let after = tree.changed(vec![snapshot("c", Some("a"))], &["b".into()], Some(Some("a".into())));
        assert_eq!(names(&after.descendants(None)), ["a", "c"]);
        assert_eq!(after.current(), Some(&"a".into()));
        assert!(after.parent(&"c".into()) == Some("a".into()));
    }
}

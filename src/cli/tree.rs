//! A forest in virsh's drawing (`tools/vsh.c: vshTreePrint`). Without recursion: depth is the user's.

use std::collections::HashMap;

/// One thing of the forest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its name, unique in the forest.
    pub name: String,
    /// What it hangs on; `None`: it is a root.
    pub parent: Option<String>,
}

/// The drawing of all trees, children in the order of `nodes`. What hangs on something that is not there is not drawn.
#[must_use]
pub fn draw(nodes: &[Node]) -> String {
    let mut children: Children<'_> = HashMap::new();
    for node in nodes {
        children.entry(node.parent.as_deref()).or_default().push(&node.name);
    }
    let mut text = String::new();
    for root in children.get(&None).into_iter().flatten() {
        text.push_str(root);
        text.push('\n');
        if below(&children, root).is_empty() {
            text.push('\n');
            continue;
        }
        text.push_str("  |\n");
        let mut indent = String::from("  ");
        // The children still to be drawn on each level; a cycle hangs on no root and is never reached.
        let mut levels = vec![below(&children, root).iter()];
        while let Some(level) = levels.last_mut() {
            let Some(name) = level.next() else {
                levels.pop();
                indent.truncate(indent.len().saturating_sub(4));
                continue;
            };
            let last = level.len() == 0;
            text.push_str(&indent);
            text.push_str("+- ");
            text.push_str(name);
            text.push('\n');
            let (bar, grandchildren) = (if last { "  " } else { "| " }, below(&children, name));
            if !grandchildren.is_empty() {
                indent.push_str(bar);
                text.push_str(&indent);
                text.push_str("  |\n");
                indent.push_str("  ");
                levels.push(grandchildren.iter());
            } else if last {
                text.push_str(&indent);
                text.push_str(bar);
                text.push('\n');
            }
        }
    }
    text
}

type Children<'n> = HashMap<Option<&'n str>, Vec<&'n str>>;

fn below<'c, 'n>(children: &'c Children<'n>, name: &'n str) -> &'c [&'n str] {
    children.get(&Some(name)).map(Vec::as_slice).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forest(pairs: &[(&str, &str)]) -> Vec<Node> {
        let parent = |p: &str| (!p.is_empty()).then(|| p.to_owned());
        pairs.iter().map(|(name, p)| Node { name: (*name).to_owned(), parent: parent(p) }).collect()
    }

    #[test]
    fn a_tree_is_drawn_as_virsh_draws_it() {
        let drawn = draw(&forest(&[("a", "b"), ("b", ""), ("C", "b"), ("d", "C"), ("né x", "a")]));
        let expected = [
            "b",
            "  |",
            "  +- a",
            "  |   |",
            "  |   +- né x",
            "  |     ",
            "  +- C",
            "      |",
            "      +- d",
            "        ",
        ];
        assert_eq!(drawn, expected.map(|l| format!("{l}\n")).concat());
    }

    #[test]
    fn a_childless_root_is_followed_by_an_empty_line() {
        assert_eq!(draw(&forest(&[("a", "r"), ("r", ""), ("z", "")])), "r\n  |\n  +- a\n    \nz\n\n");
        assert_eq!(draw(&[]), "");
    }

    #[test]
    fn neither_a_cycle_nor_a_missing_parent_is_followed() {
        assert_eq!(draw(&forest(&[("a", "b"), ("b", "a"), ("c", "gone")])), "");
    }

    #[test]
    fn a_long_chain_needs_no_stack() {
        let chain: Vec<Node> = (0..3000)
            .map(|i: usize| Node { name: i.to_string(), parent: i.checked_sub(1).map(|p| p.to_string()) })
            .collect();
        assert_eq!(draw(&chain).lines().count(), 2 * 3000);
    }
}

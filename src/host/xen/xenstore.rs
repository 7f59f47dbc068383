//! Xenstore, through its command-line tools.
//!
//! A key of our own, `/local/domain/<domid>/virsnap`, says which start of which domain a domid is. It lives exactly as long
//! as the domid does, and the guest may read but not write it. Must not know: what the keys mean to others.

use crate::error::Result;
use crate::host::command::Child;

/// What is at a path; `None` if nothing is.
pub(super) async fn read(path: &str) -> Option<String> {
    let text = Child::new("xenstore-read").arg(path).run().await.ok()?;
    Some(String::from_utf8_lossy(&text).trim_end_matches('\n').to_owned())
}

/// Write a key.
pub(super) async fn write(path: &str, value: &str) -> Result<()> {
    Child::new("xenstore-write").args([path, value]).run().await.map(drop)
}

/// Everything below a path; empty if there is nothing.
pub(super) async fn tree(path: &str) -> Vec<(String, String)> {
    let text = Child::new("xenstore-ls").args(["-f", path]).run().await.unwrap_or_default();
    parse_tree(&String::from_utf8_lossy(&text))
}

/// Read `xenstore-ls -f`: a line `path = "value"` per key.
fn parse_tree(text: &str) -> Vec<(String, String)> {
    let pair = |line: &str| {
        let (path, rest) = line.split_once(" = \"")?;
        let value = rest.rsplit_once('"')?.0;
        Some((path.to_owned(), value.to_owned()))
    };
    text.lines().filter_map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_a_line_per_key() {
        let text = "/local/domain/0/backend/qdisk/1/51712 = \"\"   (n0,r1)\n\
                    /local/domain/0/backend/qdisk/1/51712/params = \"qcow2:/x/g1.qcow2\"\n";
        let tree = parse_tree(text);
        assert_eq!(tree[1], ("/local/domain/0/backend/qdisk/1/51712/params".into(), "qcow2:/x/g1.qcow2".into()));
        assert_eq!(tree[0].1, "");
    }
}

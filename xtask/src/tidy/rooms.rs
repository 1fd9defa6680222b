//! Every folder of the plugins crate is in its list.

use std::collections::BTreeSet;

use super::Finding;
use super::source::Tree;

const LIST: &str = "crates/plugins/src/lib.rs";

/// Rooms whose module or list entry is missing.
pub fn check(tree: &Tree, plugins: &[&str]) -> Vec<Finding> {
    let inside = tree.sources.iter().filter_map(|source| source.path.strip_prefix("crates/plugins/src/"));
    let rooms: BTreeSet<&str> = inside
        .filter(|path| *path != "lib.rs")
        .filter_map(|path| path.split('/').next())
        .map(|name| name.trim_end_matches(".rs"))
        .collect();
    let list = tree.sources.iter().find(|source| source.path == LIST);
    let declared = |room: &str| {
        let code = list.map(|list| list.masks.code.as_str()).unwrap_or_default();
        code.lines().any(|line| line.trim_start_matches("pub ").trim() == format!("mod {room};"))
    };
    let mut findings = Vec::new();
    for room in rooms {
        let name = room.replace('_', "-");
        let mut wrong = |message: &str| {
            findings.push(Finding {
                path: format!("crates/plugins/src/{room}"),
                line: 0,
                message: message.to_owned(),
            });
        };
        if !declared(room) {
            wrong("no 'mod' line in the list of plugins");
        }
        if !plugins.contains(&name.as_str()) {
            wrong("no entry in the list of plugins (ROOMS)");
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_that_is_not_listed_is_found() {
        let tree = Tree::of(&[
            (LIST, "pub mod key_auth;\n"),
            ("crates/plugins/src/key_auth/mod.rs", ""),
            ("crates/plugins/src/key_auth/body.rs", ""),
            ("crates/plugins/src/acl.rs", ""),
        ]);
        assert_eq!(check(&tree, &["key-auth"]).len(), 2);
        assert_eq!(check(&tree, &["key-auth", "acl"]).len(), 1);
        let paths =
            check(&tree, &["key-auth"]).into_iter().map(|finding| finding.path).collect::<BTreeSet<_>>();
        assert_eq!(paths, BTreeSet::from(["crates/plugins/src/acl".to_owned()]));
    }
}

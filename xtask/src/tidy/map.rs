//! ARCHITECTURE.md names every module of the crates that it maps, and every link in it leads to something.

use std::collections::BTreeSet;

use super::Finding;
use super::source::{MAP_PAGE, Tree};

/// Crates whose modules it lists. Rooms have pages of their own.
const MAPPED: [&str; 6] = ["wire", "model", "plugin", "engine", "control", "biplane"];

/// Modules that the page does not name, and links of which `exists` knows nothing.
pub fn check(tree: &Tree, exists: impl Fn(&str) -> bool) -> Vec<Finding> {
    let unnamed = modules(tree).into_iter().filter(|(_, name)| !tree.map_page.contains(&format!("`{name}`")));
    let unnamed = unnamed.map(|(krate, name)| Finding {
        path: format!("crates/{krate}/src/{name}"),
        line: 0,
        message: format!("the module is not in {MAP_PAGE}"),
    });
    let dead = links(&tree.map_page).filter(|(_, link)| !exists(link)).map(|(line, link)| Finding {
        path: MAP_PAGE.to_owned(),
        line: line + 1,
        message: format!("there is no {link}"),
    });
    unnamed.chain(dead).collect()
}

/// The modules of mapped crates: each with the name of its crate.
fn modules(tree: &Tree) -> BTreeSet<(&str, &str)> {
    tree.sources.iter().filter_map(|source| module(&source.path)).collect()
}

/// The crate and the module that a source of a mapped crate belongs to.
fn module(path: &str) -> Option<(&str, &str)> {
    let (krate, inside) = path.strip_prefix("crates/")?.split_once("/src/")?;
    let name = inside.split('/').next()?.trim_end_matches(".rs");
    let is_root = matches!(name, "lib" | "main" | "tests");
    (MAPPED.contains(&krate) && !is_root).then_some((krate, name))
}

/// Links to files of ours, each with its line from 0.
fn links(page: &str) -> impl Iterator<Item = (usize, &str)> {
    page.lines().enumerate().flat_map(|(line, text)| {
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
        let files = targets.map(|(target, _)| target.split('#').next().unwrap_or(target));
        files.filter(|file| !file.is_empty() && !file.contains("://")).map(move |file| (line, file))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_that_is_not_on_the_map_is_found_once() {
        let tree = Tree::of(&[
            ("crates/engine/src/lib.rs", ""),
            ("crates/engine/src/flow.rs", ""),
            ("crates/engine/src/tls/keeper.rs", ""),
            ("crates/engine/src/tls/trust.rs", ""),
            ("crates/plugins/src/acl/mod.rs", ""),
            (MAP_PAGE, "`flow`, tls\n"),
        ]);
        let paths: Vec<_> = check(&tree, |_| true).into_iter().map(|finding| finding.path).collect();
        assert_eq!(paths, ["crates/engine/src/tls"]);
    }

    #[test]
    fn a_link_that_leads_nowhere_is_found_at_its_line() {
        let page = "[a](here.rs)\n[b](https://x.test/) [c](gone.rs#part), [d](#below)\n";
        let found = check(&Tree::of(&[(MAP_PAGE, page)]), |path| path == "here.rs");
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!((found[0].line, found[0].message.as_str()), (2, "there is no gone.rs"));
    }
}

//! The engine knows definitions of plugins, never a plugin: none is named in it.

use super::Finding;
use super::source::Tree;

/// Words that are the engine's own, although a plugin's name sounds like them: a failure, what a certificate's key is
/// for, and a connection that is served.
const OWN: &[&str] = &["session", "upstreamtimeout", "usage"];

/// Names of plugins in the engine's code or comments outside tests.
pub fn check(tree: &Tree, plugins: &[&str]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in tree.sources.iter().filter(|source| source.path.starts_with("crates/engine/src/")) {
        for (line, text) in source.text.lines().enumerate().filter(|(line, _)| !source.is_test(*line)) {
            let lower = text.to_ascii_lowercase();
            for name in plugins.iter().filter(|name| names(&lower, name)) {
                findings.push(source.finding(line, format!("the engine names the plugin '{name}'")));
            }
        }
    }
    findings
}

/// Whether the text has the name as a whole word, in its own spelling or as an identifier.
fn names(text: &str, name: &str) -> bool {
    let bounded = |at: usize, length: usize| {
        let part =
            |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(byte));
        let bytes = text.as_bytes();
        !part(at.checked_sub(1).and_then(|before| bytes.get(before))) && !part(bytes.get(at + length))
    };
    let spellings = [name.to_owned(), name.replace('-', "_"), name.replace('-', "")];
    let mut of_plugin = spellings.iter().filter(|spelling| !OWN.contains(&spelling.as_str()));
    of_plugin.any(|spelling| text.match_indices(spelling.as_str()).any(|(at, _)| bounded(at, spelling.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_named_in_the_engine_is_found() {
        let found = |path: &str, text: &str| check(&Tree::of(&[(path, text)]), &["key-auth", "acl"]).len();
        assert_eq!(found("crates/engine/src/flow.rs", "if name == \"key-auth\" {}\n"), 1);
        assert_eq!(found("crates/engine/src/flow.rs", "use plugins::key_auth;\n"), 1);
        assert_eq!(found("crates/engine/src/flow.rs", "/// Asks ACL first.\n"), 1);
        assert_eq!(found("crates/engine/src/flow.rs", "fn oracle() {} // miracles\n"), 0);
        let own =
            Tree::of(&[("crates/engine/src/flow.rs", "Failure::UpstreamTimeout\n// upstream_timeout\n")]);
        assert_eq!(check(&own, &["upstream-timeout"]).len(), 1);
        assert_eq!(found("crates/engine/src/tests/lab.rs", "fn acl() {}\n"), 0);
        assert_eq!(found("crates/control/src/lib.rs", "fn acl() {}\n"), 0);
    }
}

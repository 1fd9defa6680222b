//! Every setting that the gateway reads from its environment is on the page that lists them.

use super::Finding;
use super::lexer::is_word;
use super::source::{SETTINGS_PAGE, Tree};

const READER: &str = "crates/biplane/src/settings.rs";
/// What is shorter is a unit or a word such as `off`, no setting.
const SHORTEST: usize = 6;

/// Settings that the page does not name.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in tree.sources.iter().filter(|source| source.path == READER) {
        let lines = source.masks.with_strings.lines().enumerate();
        for (line, text) in lines.filter(|(line, _)| !source.is_test(*line)) {
            for name in text.split("=>").next().filter(|_| text.contains("=>")).into_iter().flat_map(quoted) {
                let variable = format!("KONG_{}", name.to_ascii_uppercase());
                if !tree.settings_page.contains(&format!("`{variable}`")) {
                    findings.push(source.finding(line, format!("{variable} is not in {SETTINGS_PAGE}")));
                }
            }
        }
    }
    findings
}

/// The quoted names in a pattern.
fn quoted(pattern: &str) -> impl Iterator<Item = &str> {
    let is_name = |name: &&str| name.len() >= SHORTEST && name.bytes().all(is_word);
    pattern.split('"').skip(1).step_by(2).filter(is_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_without_documentation_is_found() {
        let code = "match name {\n\"max_uri_size\" | \"max_head_size\" => 1,\n\"ms\" => 2,\n}\n";
        let found = |page: &str| check(&Tree::of(&[(READER, code), (SETTINGS_PAGE, page)]));
        assert_eq!(found("`KONG_MAX_URI_SIZE` and `KONG_MAX_HEAD_SIZE`"), []);
        let missing = found("`KONG_MAX_URI_SIZE`");
        assert_eq!((missing.len(), missing[0].line), (1, 2));
        assert!(missing[0].message.contains("KONG_MAX_HEAD_SIZE"));
    }
}

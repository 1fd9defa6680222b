//! Functions and files stay small enough to be read at once.

use super::Finding;
use super::lexer::is_word;
use super::source::{Source, Tree, item_end, line_of};

/// A function is never longer, signature and braces included.
const FUNCTION_LINES: usize = 70;
/// A file is never longer.
const FILE_LINES: usize = 600;
/// What a file aims to stay under.
pub const FILE_AIM: usize = 400;
/// The life of a request stays on a few screens.
const FLOW: (&str, usize) = ("crates/engine/src/flow.rs", 400);

/// Functions and files that are too long. Functions of tests may be as long as their tables.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in &tree.sources {
        let lines = source.tests.len();
        let bound = if source.path == FLOW.0 { FLOW.1 } else { FILE_LINES };
        if lines > bound {
            findings.push(source.finding_of_file(format!("{lines} lines, more than {bound}")));
        }
        findings.extend(long_functions(source));
    }
    findings
}

/// Files longer than they aim to be.
pub fn over_the_aim(tree: &Tree) -> Vec<String> {
    let long = tree.sources.iter().filter(|source| source.tests.len() > FILE_AIM);
    long.map(|source| format!("{} ({})", source.path, source.tests.len())).collect()
}

fn long_functions(source: &Source) -> Vec<Finding> {
    let code = &source.masks.code;
    let mut findings = Vec::new();
    for (start, name) in functions(code) {
        let first = line_of(code, start);
        let end = item_end(&code[start..]).map_or(start, |length| start + length);
        let lines = line_of(code, end) - first + 1;
        if lines > FUNCTION_LINES && !source.is_test(first) {
            let message = format!("function '{name}' has {lines} lines, more than {FUNCTION_LINES}");
            findings.push(source.finding(first, message));
        }
    }
    findings
}

/// Position and name of every function.
fn functions(code: &str) -> impl Iterator<Item = (usize, &str)> {
    code.match_indices("fn ").filter_map(|(start, keyword)| {
        let bytes = code.as_bytes();
        let begins = start == 0 || !is_word(bytes[start - 1]);
        let rest = &code[start + keyword.len()..];
        let length = rest.bytes().take_while(|byte| is_word(*byte)).count();
        (begins && length > 0).then(|| (start, &rest[..length]))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(name: &str, lines: usize) -> String {
        format!("fn {name}() {{\n{}}}\n", "    call(\"}\");\n".repeat(lines - 2))
    }

    #[test]
    fn a_function_of_71_lines_is_found_and_one_of_70_is_not() {
        let text = [function("short", 70), function("long", 71)].concat();
        let findings = check(&Tree::of(&[("crates/a/src/lib.rs", &text)]));
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert_eq!((findings[0].line, findings[0].message.contains("'long' has 71 lines")), (71, true));
    }

    #[test]
    fn functions_of_tests_may_be_long() {
        let text = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", function("table", 90));
        assert_eq!(check(&Tree::of(&[("crates/a/src/lib.rs", &text)])), []);
    }

    #[test]
    fn a_file_of_601_lines_is_found_and_the_flow_may_have_400() {
        let tree = |path: &str, lines: usize| Tree::of(&[(path, &"//\n".repeat(lines))]);
        assert_eq!(check(&tree("crates/a/src/lib.rs", 600)), []);
        assert_eq!(check(&tree("crates/a/src/lib.rs", 601)).len(), 1);
        assert_eq!(check(&tree(FLOW.0, 400)), []);
        assert_eq!(check(&tree(FLOW.0, 401)).len(), 1);
        assert_eq!(over_the_aim(&tree("crates/a/src/lib.rs", 401)).len(), 1);
    }
}

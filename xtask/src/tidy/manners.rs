//! What no file of ours does, and what every one has.

use super::Finding;
use super::source::{Source, Tree};

/// Code that is never committed, and why.
const CODE: [(&str, &str); 5] = [
    ("todo!", "unfinished code is not committed"),
    ("unimplemented!", "unfinished code is not committed"),
    ("dbg!", "left over from debugging"),
    ("#[ignore", "an ignored test proves nothing: assert today's behaviour, or delete it"),
    ("thread::sleep", "wait for the event itself, or use an injected clock"),
];
/// Words that comments do not hold.
const COMMENTS: [&str; 2] = ["TODO", "FIXME"];
/// Folders of machines that builds run on.
const MACHINE: [&str; 3] = ["work", "root", "tmp"];
/// Where the product itself puts what is for a look and for throwing away.
const OWN: &str = "/tmp/biplane-";

/// Everything found.
pub fn check(tree: &Tree) -> Vec<Finding> {
    tree.sources
        .iter()
        .flat_map(|source| [said(source), unfinished(source), paths(source)].concat())
        .collect()
}

/// Every file begins by saying what it is.
fn said(source: &Source) -> Vec<Finding> {
    if source.text.starts_with("//!") || source.text.starts_with("#![doc") {
        return Vec::new();
    }
    vec![source.finding_of_file("does not begin with '//!' and what the file is")]
}

fn unfinished(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (line, code) in source.masks.code.lines().enumerate() {
        for (word, reason) in CODE.iter().filter(|(word, _)| code.contains(word)) {
            findings.push(source.finding(line, format!("'{word}': {reason}")));
        }
    }
    for (line, comment) in source.masks.comments.lines().enumerate() {
        for word in COMMENTS.iter().filter(|word| comment.contains(*word)) {
            findings.push(source.finding(line, format!("'{word}': open ends are issues, not comments")));
        }
    }
    findings
}

/// No code outside tests knows the folders of one machine.
fn paths(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (line, code) in source.masks.with_strings.lines().enumerate() {
        if source.is_test(line) {
            continue;
        }
        for folder in MACHINE {
            let path = format!("/{folder}/");
            let absolute = |(at, _): &(usize, &str)| {
                !code[..*at].ends_with(|before: char| before.is_alphanumeric() || "._-}".contains(before))
                    && !code[*at..].starts_with(OWN)
            };
            if code.match_indices(&path).any(|hit| absolute(&hit)) {
                findings.push(source.finding(line, format!("'{path}' is a folder of some machine")));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(text: &str) -> Vec<String> {
        let text = format!("//! A file.\n{text}\n");
        let findings = check(&Tree::of(&[("crates/a/src/lib.rs", &text)]));
        findings.into_iter().map(|finding| finding.to_string()).collect()
    }

    #[test]
    fn a_file_that_does_not_say_what_it_is_is_found() {
        let tree = |text: &str| Tree::of(&[("crates/a/src/lib.rs", text)]);
        assert_eq!(check(&tree("fn f() {}\n")).len(), 1);
        assert_eq!(check(&tree("#![doc = include_str!(\"doc.md\")]\n")), []);
    }

    #[test]
    fn unfinished_code_ignored_tests_and_sleeps_are_found() {
        for code in ["todo!()", "unimplemented!()", "dbg!(x)", "#[ignore]", "std::thread::sleep(second)"] {
            let found = messages(&format!("fn f() {{\n{code}\n}}"));
            assert_eq!(found.len(), 1, "{code}: {found:?}");
            assert!(found[0].starts_with("crates/a/src/lib.rs:3: "), "{found:?}");
        }
        assert_eq!(messages("// todo!() is not used here\nconst A: &str = \"dbg!\";"), [""; 0]);
    }

    #[test]
    fn open_ends_in_comments_are_found() {
        assert_eq!(messages("// TODO: more").len(), 1);
        assert_eq!(messages("/* FIXME */").len(), 1);
        assert_eq!(messages("const METHODS: &str = \"TODO\";"), [""; 0]);
    }

    #[test]
    fn folders_of_a_machine_are_found_outside_tests() {
        assert_eq!(messages("const A: &str = \"/work/main\";").len(), 1);
        assert_eq!(messages("const A: &str = \"/tmp/x\";").len(), 1);
        assert_eq!(messages("const A: &str = \"https://example.com/tmp/x\";"), [""; 0]);
        assert_eq!(messages("const A: &str = \"/tmp/biplane-demo/requests.log\";"), [""; 0]);
        assert_eq!(messages("#[cfg(test)]\nmod tests {\nconst A: &str = \"/tmp/x\";\n}"), [""; 0]);
    }
}

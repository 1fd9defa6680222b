//! Declarative files: whatever the text, there is a configuration or a list of errors that lie within the text.

use model::{Catalog, Severity};
use std::sync::LazyLock;

/// Pieces of YAML and of Kong's format.
pub const TOKENS: &[&[u8]] = &[
    b"\n",
    b"  ",
    b"- ",
    b": ",
    b"{",
    b"}",
    b"[",
    b"]",
    b"\"",
    b"'",
    b"&a ",
    b"*a",
    b"<<: *a\n",
    b"!!str ",
    b"|\n",
    b">-\n",
    b"#",
    b"? ",
    b"---\n",
    b"...\n",
    b"\t",
    b"~",
    b"null",
    b"true",
    b"-1",
    b"1e9",
    b"0x10",
    b".inf",
    b"_format_version: \"3.0\"\n",
    b"services:\n",
    b"routes:\n",
    b"plugins:\n",
    b"consumers:\n",
    b"name: a\n",
    b"id: 4e8d95d4-40f2-4818-adcb-30e00c349618\n",
    b"url: http://a:80/b\n",
    b"config: {}\n",
    b"tags: [a]\n",
    b"paths: [/a, \"~/b$\"]\n",
    b"\xff",
    b"\xe2\x80\xa8",
    b"\0",
];

static CATALOG: LazyLock<Catalog> = LazyLock::new(plugins::catalog);

/// Loads the text, which need not be one.
pub fn run(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let outcome = model::declarative::load("fuzz.yml", &text, &CATALOG);
    let problems = match &outcome {
        Ok(config) => &config.warnings,
        Err(problems) => problems,
    };
    let is_error = |problem: &model::Problem| problem.severity == Severity::Error;
    assert_eq!(outcome.is_err(), problems.iter().any(is_error), "an error that is none, or none that is");
    // What is printed for people must not fail on any place either.
    let source = model::Source::new("fuzz.yml", &text);
    for problem in problems {
        assert!(!problem.message.is_empty());
        assert!(!source.render(problem).is_empty());
        source.to_json(problem);
    }
}

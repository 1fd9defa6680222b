//! The route-by-header room, through the harness.

use plugin::harness::Harness;
use plugin::room;

use super::RouteByHeader;

fn document(rules: &str) -> String {
    format!(
        "_format_version: '3.0'\nservices:\n- {{name: s, url: 'http://old.test', routes: [{{name: r, paths: [/]}}]}}\nupstreams:\n\
         - {{name: one, targets: [{{target: '10.0.0.1:80'}}]}}\n- {{name: two, targets: [{{target: '10.0.0.2:80'}}]}}\nplugins:\n- \
         {{name: route-by-header, service: s, config: {{rules: {rules}}}}}\n"
    )
}

const RULES: &str =
    "[{condition: {X-A: a, X-B: b}, upstream_name: one}, {condition: {X-A: a}, upstream_name: two}]";
const DEFAULT: &str = "[{condition: {X-A: a}, upstream_name: one}, {upstream_name: two}]";

#[test]
fn the_first_rule_with_all_its_headers_counts() {
    let mut harness = Harness::new(room::<RouteByHeader>(), &document(RULES)).unwrap();
    let cases = [
        ("X-A: a\nX-B: b\n", Some("one")),
        ("x-b: b\nx-a: a\n", Some("one")),
        ("X-A: a\nX-B: c\n", Some("two")),
        ("X-B: b\n", None),
        ("X-A: A\n", None),
        ("X-A: a, a\n", None),
        ("", None),
    ];
    for (headers, expected) in cases {
        let outcome = harness.send(&format!("GET / HTTP/1.1\n{headers}\n"));
        assert_eq!(outcome.sent_to.as_deref(), expected, "{headers}");
    }
}

#[test]
fn a_rule_without_a_condition_is_for_all() {
    let mut harness = Harness::new(room::<RouteByHeader>(), &document(DEFAULT)).unwrap();
    assert_eq!(harness.send("GET / HTTP/1.1\nX-A: a\n\n").sent_to.as_deref(), Some("one"));
    assert_eq!(harness.send("GET / HTTP/1.1\n\n").sent_to.as_deref(), Some("two"));
}

#[test]
fn an_upstream_has_to_exist() {
    let rules = "[{condition: {X-A: a}, upstream_name: one}, {condition: {X-A: b}, upstream_name: tow}]";
    let refusal = Harness::new(room::<RouteByHeader>(), &document(rules)).err().unwrap();
    let expected = "config.rules[1].upstream_name: there is no upstream 'tow'; there are: one, two";
    assert!(refusal.contains(expected), "{refusal}");
}

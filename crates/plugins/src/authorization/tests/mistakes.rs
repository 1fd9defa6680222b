//! Configurations that are wrong, and what is said about them.

use plugin::harness::Subject;

use super::Authorization;

#[track_caller]
fn assert_refused(config: &str, message: &str) {
    let refusal = Subject(plugin::room::<Authorization>()).refuses(config);
    assert!(refusal.contains(message), "{config}\n{refusal}");
}

#[test]
fn an_expression_that_is_wrong_is_named_with_its_place() {
    for (expression, message) in [
        ("claims.a ==", "a value is expected, not the end (line 1, column 12 of the expression)"),
        ("reqest.method == 'GET'", "reqest is not known; did you mean request? (line 1, column 1 of"),
        ("request.methd == 'GET'", "methd is not known; did you mean method? (line 1, column 9 of"),
        ("request.method", "a truth value is needed here, and this is a string (line 1, column 9"),
        ("request.method == 1", "== does not go with a string and an int (line 1, column 16"),
        (
            "request.path.startWith('/a')",
            "startWith is not known; did you mean startsWith? (line 1, column 14",
        ),
        ("request.path.startsWith(1)", "a string is needed here, and this is an int (line 1, column 25"),
        ("request.path.startsWith()", "startsWith takes 1 arguments, not 0"),
        ("request.path.matches('(')", "this is no regular expression: unclosed group (line 1, column 22"),
        ("request.path.matches(claims.x)", "the pattern must be a constant string"),
        ("request.path.matches('(a{1000}){1000}')", "this is no regular expression"),
        ("claims == 1", "claims as a whole is no value: name a part of it, such as claims.sub"),
        ("claims[request.path] == 1", "a constant string is needed here (line 1, column 16"),
        ("request.headers.exists(h, h == 'x')", "request.headers as a whole is no value"),
        ("parameters.id == '7'", "the paths of the rule have no part {id}"),
        ("roles.map(r, r)", "a truth value is needed here, and this is a list"),
        ("roles.map(r) == []", "a name for an element and what becomes of it are needed, as in map("),
        ("roles.filter('a', true) == []", "a name for an element and a condition are needed, as in filter("),
        ("roles.filter(r, 'a') == []", "a truth value is needed here, and this is a string"),
        ("{'a': 1} == claims.x", "maps cannot be written here (line 1, column 1"),
        ("b'a' == claims.x", "there are no bytes here, only text"),
        (
            "timestamp('yesterday') < request.time",
            "\"yesterday\" is no timestamp, as 2026-01-31T18:00:00Z is",
        ),
        ("duration('1 day') < claims.x", "\"1 day\" is no duration, as 1h30m is"),
        ("request.time.getHours('Europe/Berlin') < 8", "zones are told by their offset, as in '+02:00'"),
        ("cidr('10.0.0.1/8').containsIP(client.ip)", "\"10.0.0.1/8\" is no network, as 10.0.0.0/8 is"),
        ("claims.x == 'a", "this string has no end (line 1, column 13"),
        ("claims.x == 'a\n'", "this string has no end in its line (line 1, column 13"),
        ("claims.x == 9223372036854775808", "this number is beyond 64 bits with a sign"),
        ("claims.für == 1", "'ü' means nothing here (line 1, column 9"),
        ("a && for", "\"for\" is a word that CEL keeps and no name (line 1, column 6"),
        ("has(claims)", "has takes one member, as in has(claims.sub)"),
        ("-request.path == 'a'", "a string has no negative"),
        ("1 + 'a' == 2", "+ does not go with an int and a string"),
        (
            "claims.x == 1 claims.y == 2",
            "an operator or the end is expected, not \"claims\" (line 1, column 15",
        ),
    ] {
        let config = serde_json::json!({"rules": [{"name": "ok"}, {"when": expression}]});
        assert_refused(&config.to_string(), message);
    }
    let lines = serde_json::json!({"rules": [{"when": "claims.a == 1\n  && // why\n  clams.b == 2"}]});
    assert_refused(
        &lines.to_string(),
        "clams is not known; did you mean claims? (line 3, column 3 of the expression)",
    );
}

#[test]
fn an_expression_cannot_exhaust_the_stack() {
    for deep in ["(", "[", "!", "-", "a.b(", "a[", "a?b:", "1+", "a.", "[[", "f(", "!-", "a.all(x,"] {
        let expression = deep.repeat(4096 / deep.len());
        let config = serde_json::json!({"rules": [{"when": expression}]});
        let refusal = Subject(plugin::room::<Authorization>()).refuses(&config.to_string());
        assert!(refusal.contains("of the expression)"), "{refusal}");
    }
    let long = vec!["claims.a == 1"; 240].join(" || ");
    assert!(long.len() < 4096);
    let _taken = Subject(plugin::room::<Authorization>())
        .with(&serde_json::json!({"rules": [{"when": long}]}).to_string());
}

#[test]
fn a_pattern_that_is_wrong_is_named() {
    for (pattern, message) in [
        ("/a/b*", "\"b*\" in \"/a/b*\": *, ** and {name} stand for whole segments"),
        ("/**/a", "\"**\" in \"/**/a\""),
        ("/a//b", "has a segment without text"),
        ("/{}", "a name has letters, digits and _ only"),
        ("/a/../b", "\"..\" in \"/a/../b\" can be in no path"),
        ("/a?b", "\"a?b\" in \"/a?b\""),
    ] {
        for config in [
            serde_json::json!({"public_paths": ["/ok", pattern]}),
            serde_json::json!({"rules": [{"paths": [pattern]}]}),
            serde_json::json!({"permissions": {pattern: ["a"]}}),
        ] {
            assert_refused(&config.to_string(), message);
        }
    }
    assert_refused("{public_paths: [a]}", "\"a\" must begin with a slash");
    assert_refused("{permissions: {'get /a': [x]}}", "methods are written as in `GET,HEAD /path`");
    assert_refused("{permissions: {'GET, HEAD /a': [x]}}", "methods are written as in");
}

#[test]
fn names_tell_rules_apart() {
    for config in [
        "{rules: [{name: a}, {name: a}]}",
        "{rules: [{name: default}]}",
        "{rules: [{name: public_paths}]}",
        "{rules: [{name: 'rules[1]'}, {}]}",
        "{rules: [{name: /a}], permissions: {/a: [x]}}",
    ] {
        assert_refused(config, "logs and metrics tell rules by their names");
    }
    assert_refused("{rules: [{roles: []}]}", "length must be at least 1");
    assert_refused("{rules: [{methods: [get]}]}", "invalid value");
}

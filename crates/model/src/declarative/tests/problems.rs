//! How problems are told: all at once, each with its place, to people and to programs.

use serde_json::json;

use super::{bad, catalog, faults};
use crate::Source;
use crate::declarative::{load, problems_to_kong};
use crate::problem::Severity;

#[test]
fn every_problem_is_reported_at_once_where_it_stands() {
    let text = "\
servces: []
services:
- name: a
  host: h
  retry: 3
  routes:
  - name: r
    paths: [api]
    methods: [get]
    strip_paths: true
- name: b
  protocol: htp
plugins:
- name: rate-limitting
- name: rate-limiting
  config: {minute: 5, hour: 3, polcy: local}
- name: cors
  consumer: nobody
";
    assert_eq!(
        faults(text),
        [
            "2:1 servces: unknown field",
            "6:3 services[0].retry: unknown field",
            "9:13 services[0].routes[0].paths[0]: should start with: / (fixed path) or ~/ (regex path)",
            "10:15 services[0].routes[0].methods[0]: invalid value: get",
            "11:5 services[0].routes[0].strip_paths: unknown field",
            "12:3 services[1].host: required field missing",
            "13:13 services[1].protocol: expected one of: grpc, grpcs, http, https, tcp, tls, tls_passthrough, udp, ws, wss",
            "15:9 plugins[0].name: plugin 'rate-limitting' not enabled; add it to the 'plugins' configuration property",
            "17:12 plugins[1].config: The limit for hour(3.0) cannot be lower than the limit for minute(5.0)",
            "17:32 plugins[1].config.polcy: unknown field",
            "19:13 plugins[2].consumer: value must be null",
            "19:13 plugins[2].consumer: invalid reference 'consumer: nobody' (no such entry in 'consumers')",
        ]
    );
}

#[test]
fn problems_are_shown_with_their_line_and_a_suggestion() {
    let text = "_format_version: \"3.0\"\nservices:\n- name: a\n  host: h\n  routes:\n  - name: r\n    paths: [/]\n    strip_paths: true\n";
    let problems = bad(text);
    let source = Source::new("kong.yml", text);
    assert_eq!(
        source.render(&problems[0]),
        "kong.yml:8:5: error: services[0].routes[0].strip_paths: unknown field\n8 |     strip_paths: true\n  |     ^^^^^^^^^^^\nhelp: did you mean 'strip_path'?\n"
    );
    assert_eq!(
        source.to_json(&problems[0]),
        json!({"file": "kong.yml", "line": 8, "column": 5, "length": 11, "path": "services[0].routes[0].strip_paths",
            "severity": "error", "message": "unknown field", "suggestion": "did you mean 'strip_path'?"})
    );
}

#[test]
fn the_admin_api_gets_message_tree_and_list() {
    let text = "_format_version: '3.0'\nservices:\n- {name: ok, host: h}\n- name: b\n  id: 7fca84d6-7d37-4a74-a7b0-93e576089a41\n  tags: [t]\n  host: 5\n  routes:\n  - name: r\nnothing: 1\n";
    let (message, fields, flattened) = problems_to_kong(&bad(text));
    assert_eq!(
        fields,
        json!({"services": [null, {"host": "expected a string",
            "routes": [{"@entity": ["must set one of 'methods', 'hosts', 'headers', 'paths', 'snis' when 'protocols' is 'https'"]}]}],
            "nothing": "unknown field"})
    );
    assert_eq!(
        message,
        "declarative config is invalid: {services={[2]={host=\"expected a string\",routes={{[\"@entity\"]={\"must set one of 'methods', 'hosts', 'headers', 'paths', 'snis' when 'protocols' is 'https'\"}}}}},nothing=\"unknown field\"}"
    );
    assert_eq!(
        flattened,
        json!([
            {"entity_type": "service", "entity_id": "7fca84d6-7d37-4a74-a7b0-93e576089a41", "entity_name": "b",
             "entity_tags": ["t"],
             "entity": {"name": "b", "id": "7fca84d6-7d37-4a74-a7b0-93e576089a41", "tags": ["t"], "host": 5},
             "errors": [{"type": "field", "field": "host", "message": "expected a string"}]},
            {"entity_type": "route", "entity_name": "r", "entity": {"name": "r"},
             "errors": [{"type": "entity", "message": "must set one of 'methods', 'hosts', 'headers', 'paths', 'snis' when 'protocols' is 'https'"}]}
        ])
    );
    let (message, fields, _) = problems_to_kong(&bad("a: ["));
    assert!(fields["error"].is_string() && message.starts_with("declarative config is invalid: {error="));
}

#[test]
fn anchors_are_reported_where_they_are_written() {
    let text = "_format_version: '3.0'\n_ignore: [&shared {minute: -1}]\nplugins:\n- {name: rate-limiting, config: *shared}\n";
    let problems = bad(text);
    assert_eq!(
        (problems[0].span.line, problems[0].place.to_string().as_str()),
        (2, "plugins[0].config.minute")
    );
}

#[test]
fn values_of_the_wrong_type_come_with_advice() {
    let text = "_format_version: '3.0'\nservices: [{host: h, name: 5, enabled: yes, retries: '3', routes: [{paths: [/, '/x\\d'], path_handling: v1}]}]\nroutes: [{service: {name: a}, paths: [/]}]\n";
    let problems = bad(text);
    let advice: Vec<&str> = problems.iter().filter_map(|problem| problem.suggestion.as_deref()).collect();
    assert_eq!(
        advice,
        [
            "put the value in quotes",
            "write true",
            "write the number without quotes",
            "a regular expression begins with '~'",
            "write the name itself: a"
        ]
    );
    let warning = problems.iter().find(|problem| problem.severity == Severity::Warning).unwrap();
    assert_eq!(warning.message, "path_handling='v1' is deprecated and treated as 'v0'");
}

#[test]
fn of_very_many_problems_the_first_are_told_and_the_others_counted() {
    let ones = vec!["1"; 5000].join(", ");
    for file in ["kong.yml", "kong.json"] {
        let text = format!("{{\"_format_version\": \"3.0\", \"services\": [{ones}]}}");
        let problems = load(file, &text, &catalog()).unwrap_err();
        assert_eq!(problems.len(), 1001);
        assert_eq!(problems[999].place.to_string(), "services[999]");
        assert_eq!(problems[1000].message, "4000 more errors are not shown");
        // All in one line, each shown where it stands.
        let source = Source::new(file, &text);
        let shown = source.render(&problems[999]);
        let column = text.find('[').unwrap() + 2 + 999 * 3;
        assert!(shown.starts_with(&format!("{file}:1:{column}: error: services[999]")), "{shown}");
        assert!(shown.contains("1, 1, 1") && shown.ends_with(&format!("{}^\n", " ".repeat(63))), "{shown}");
        assert_eq!(
            source.render(&problems[0]),
            Source::new(file, &text).render(&problems[0]),
            "the order is free"
        );
    }
}

#[test]
fn of_very_many_warnings_the_first_are_told() {
    let routes: String =
        (0..1500).map(|number| format!("- {{name: r{number}, paths: ['/{{a}}{number}']}}\n")).collect();
    let text = format!("_format_version: \"3.0\"\nroutes:\n{routes}");
    assert_eq!(load("kong.yml", &text, &catalog()).unwrap().warnings.len(), 1000);
}

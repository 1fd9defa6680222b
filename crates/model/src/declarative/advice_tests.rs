//! Tests of the module `advice`.

use super::advice::ON_STREAMS;
use super::load;
use super::tests::catalog;

/// The warnings about a document without errors, each with its line and place.
fn warnings(text: &str) -> Vec<String> {
    let config = load("kong.yml", &format!("_format_version: \"3.0\"\n{text}"), &catalog()).unwrap();
    let shown = config.warnings.iter().map(|warning| {
        let (line, place) = (warning.span.line, &warning.place);
        format!("{line} {place}: {}", warning.message)
    });
    shown.collect()
}

#[test]
fn a_plugin_without_a_protocol_of_its_route_is_told_in_kongs_words() {
    let text = "services:
- name: s
  host: h
  routes:
  - name: plain
    paths: [/]
    protocols: [http]
    plugins:
    - name: cors
      protocols: [https]
    - {name: jwt, protocols: [https, http]}
    - {name: file-log}
";
    assert_eq!(
        warnings(text),
        ["11 services[0].routes[0].plugins[0].protocols: must match the associated route's protocols"]
    );
}

#[test]
fn a_plugin_needs_a_protocol_of_one_route_of_its_service() {
    let text = "services:
- {name: s, host: h}
- {name: none, host: h}
routes:
- {name: a, service: s, paths: [/a], protocols: [http]}
- {name: b, service: s, paths: [/b], protocols: [https]}
plugins:
- {name: cors, service: s, protocols: [https]}
- {name: jwt, service: s, protocols: [grpc]}
- {name: cors, service: none, protocols: [grpc]}
- {name: prometheus, protocols: [grpc]}
";
    let message = "must match the protocols of at least one route pointing to this Plugin's service";
    assert_eq!(warnings(text), [format!("10 plugins[1].protocols: {message}")]);
}

#[test]
fn a_plugin_that_does_not_run_on_the_bytes_it_is_for_is_told() {
    let mut catalog = catalog();
    for plugin in &mut catalog.plugins {
        plugin.streams = if plugin.name == "file-log" { &["tcp"] } else { &[] };
    }
    let text = "_format_version: '3.0'
services:
- name: s
  host: h
  routes:
  - {name: bytes, protocols: [tcp], sources: [{port: 1}]}
- {name: both, host: h, routes: [{name: x, protocols: [tcp], sources: [{port: 2}]}, {name: y, paths: [/]}]}
plugins:
- {name: file-log, route: bytes, protocols: [tcp]}
- {name: file-log, service: s}
- {name: cors, route: bytes}
- {name: cors, service: both}
- {name: file-log}
";
    let config = load("kong.yml", text, &catalog).unwrap();
    let told: Vec<_> = config.warnings.iter().map(|one| (one.span.line, one.message.as_str())).collect();
    let (route, service) = (
        "must match the associated route's protocols",
        "must match the protocols of at least one route pointing to this Plugin's service",
    );
    assert_eq!(told, [(10, service), (11, route)]);
    assert!(config.warnings.iter().all(|one| one.suggestion.as_deref() == Some(ON_STREAMS)));
    let text = text.replace("cors, route: bytes", "cors, route: bytes, protocols: [tcp]");
    let refusal = load("kong.yml", &text, &catalog).unwrap_err();
    assert!(refusal[0].message.starts_with("expected one of: "), "{refusal:?}");
}

#[test]
fn routes_with_the_same_criteria_are_told() {
    let text = "services:
- name: s
  host: h
  routes:
  - {name: first, paths: [/b, /a], hosts: [A.test], methods: [GET, PUT], headers: {X-A: [One, two]}}
  - {name: other, paths: [/a, /b], hosts: [a.test], methods: [PUT, GET], headers: {x-a: [TWO, one]}, strip_path: false}
";
    let message =
        "has the same criteria as the route 'first' on line 6: a request is given to one of them only";
    assert_eq!(warnings(text), [format!("7 services[0].routes[1]: {message}")]);
}

#[test]
fn routes_that_differ_in_one_criterion_are_not_told() {
    let text = "routes:
- {name: a, paths: [/a], hosts: [a.test]}
- {name: b, paths: [/a], hosts: [b.test]}
- {name: c, paths: [/A], hosts: [a.test]}
- {name: d, paths: [/a], hosts: [a.test], methods: [GET]}
- {name: e, paths: [/a], hosts: [a.test], methods: [PUT]}
- {name: f, paths: [/a], hosts: [a.test], headers: {x-a: ['~*\\S']}}
- {name: g, paths: [/a], hosts: [a.test], headers: {x-a: ['~*\\s']}}
- {name: h, paths: [/a], hosts: [a.test], headers: {x-b: ['~*\\s']}}
- {name: i, paths: [/a], hosts: [a.test], protocols: [https]}
- {name: j, paths: [/a], hosts: [a.test], protocols: [https], snis: [a.test]}
";
    assert_eq!(warnings(text), [""; 0]);
}

#[test]
fn routes_of_a_disabled_service_match_nothing() {
    let text = "services:
- {name: off, host: h, enabled: false, routes: [{name: a, paths: [/a]}]}
- {name: on, host: h, routes: [{name: b, paths: [/a]}]}
";
    assert_eq!(warnings(text), [""; 0]);
}

#[test]
fn which_route_wins_by_chance_is_told() {
    let load =
        |text: &str| load("kong.yml", &format!("_format_version: \"3.0\"\n{text}"), &catalog()).unwrap();
    let named = load("routes: [{name: a, paths: [/a]}, {name: b, paths: [/a]}]");
    let unnamed = load("routes: [{name: a, paths: [/a]}, {paths: [/a]}]");
    let suggestion = |config: &crate::Config| config.warnings[0].suggestion.clone().unwrap();
    assert!(!suggestion(&named).contains("after each load"));
    assert!(suggestion(&unnamed).contains("after each load"));
}

#[test]
fn a_prefix_that_looks_like_a_pattern_is_taken_and_told() {
    let text = "routes:
- name: a
  paths: [/b, '/users/{id}']
- name: c
  paths: ['~/users/{1}', /d]
";
    assert_eq!(warnings(text), ["4 routes[0].paths[1]: as a prefix it stands for just these characters"]);
}

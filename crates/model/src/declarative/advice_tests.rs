//! Tests of the module `advice`.

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

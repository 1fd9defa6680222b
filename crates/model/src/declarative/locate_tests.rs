//! Tests of the module `locate`, and of what is advised where something is unknown or cannot be read.

use super::tests::catalog;
use super::{load, locate};
use crate::problem::{Place, Problem, Step};
use crate::{Config, Source};

const TEXT: &str = "_format_version: '3.0'
services:
- name: orders
  host: h
  plugins:
  - name: cors
    config:
      origins: [one]
  routes:
  - name: orders
    paths: [/orders]
    plugins:
    - name: file-log
      config: {path: /tmp/log}
";

fn config() -> Config {
    load("kong.yml", TEXT, &catalog()).unwrap()
}

/// A problem as those have it who know the entity and the field alone.
fn problem(collection: &str, index: usize, field: &str) -> Problem {
    let config = config();
    let entity = config.entities(collection)[index].complete();
    let steps = [collection, field].map(|step| Step::Field(step.to_owned()));
    Problem::new(Place(steps.to_vec()), entity.span, "is wrong".to_owned())
}

#[test]
fn what_was_found_behind_the_reading_is_told_with_the_place_of_its_value() {
    let found = [
        problem("plugins", 1, "config.path"),
        problem("plugins", 0, "config.origins[0]"),
        problem("plugins", 0, "config.methods"),
        problem("routes", 0, "paths"),
        problem("services", 0, "tls_verify"),
    ];
    let located = locate("kong.yml", TEXT, &catalog(), found.to_vec());
    let told: Vec<String> = located.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "kong.yml:3:3: services[0].tls_verify: is wrong",
            "kong.yml:8:7: services[0].plugins[0].config.methods: is wrong",
            "kong.yml:8:17: services[0].plugins[0].config.origins[0]: is wrong",
            "kong.yml:11:12: services[0].routes[0].paths: is wrong",
            "kong.yml:14:22: services[0].routes[0].plugins[0].config.path: is wrong",
        ]
    );
    let owners: Vec<_> = located.iter().map(|problem| problem.owner.as_ref().unwrap()).collect();
    assert_eq!((owners[0].entity_type.as_str(), owners[4].entity_type.as_str()), ("service", "plugin"));
}

#[test]
fn what_stands_nowhere_stays_as_it_is() {
    let nowhere = Problem::new(Place::default(), crate::node::Span::default(), "is wrong".to_owned());
    let located = locate("kong.yml", TEXT, &catalog(), vec![nowhere]);
    assert_eq!(located[0].to_string(), "kong.yml: is wrong");
}

#[test]
fn a_misspelt_name_is_shown_itself_and_not_its_value() {
    let text = "_format_version: '3.0'\nservices:\n- retrys: 3\n  name: s\n  host: h\n";
    let problems = load("kong.yml", text, &catalog()).unwrap_err();
    assert_eq!(
        problems[0].to_string(),
        "kong.yml:3:3: services[0].retrys: unknown field (did you mean 'retries'?)"
    );
}

/// What is advised about the only problem of a document.
fn advice(text: &str) -> String {
    let problems = load("kong.yml", &format!("_format_version: '3.0'\n{text}"), &catalog()).unwrap_err();
    problems[0].suggestion.clone().unwrap_or_default()
}

#[test]
fn a_field_at_the_wrong_level_is_told_where_it_belongs() {
    let misplaced = advice("plugins:\n- name: cors\n  config:\n  origins: [one]\n");
    assert_eq!(misplaced, "'origins' belongs under 'config': indent it further");
    assert!(
        advice("upstreams:\n- name: u\n  active: {}\n").contains("'active' belongs under 'healthchecks'")
    );
}

#[test]
fn who_writes_an_unknown_name_is_told_which_there_are() {
    assert_eq!(
        advice("plugins:\n- name: pre-function\n"),
        "this gateway has no plugin of that name; `GET /plugins/enabled` lists those it has"
    );
    assert_eq!(advice("plugins:\n- name: cors\n  config: {whitelist: [a]}\n"), "the fields here are origins");
    assert!(
        advice("services:\n- {name: s, host: h, whatever: 1}\n")
            .starts_with("the fields here are id, name, ")
    );
    assert_eq!(advice("plugins:\n- {name: rate}\n"), "did you mean 'rate-limiting'?");
}

#[test]
fn who_gives_one_value_for_a_list_is_told_how_to_write_it() {
    assert_eq!(advice("routes:\n- name: r\n  paths: /a\n"), "put a single value in brackets, too: [...]");
}

#[test]
fn what_is_no_yaml_is_told_in_words_that_are_no_grammars() {
    for (text, advised) in [
        ("services:\n- name: a\n   host: h\n", "indented too far"),
        ("services:\n  - name: a\n - name: b\n", "indented otherwise"),
        ("services:\n- name: a\n\thost: h\n", "no tabs"),
        ("services:\n- name: \"a\n", "quotation mark"),
        ("services: [{name: a, host: h]\n", "closing bracket"),
    ] {
        assert!(advice(text).contains(advised), "{text}: {}", advice(text));
    }
}

#[test]
fn an_anonymous_consumer_who_is_none_is_a_warning() {
    let mut catalog = catalog();
    let known = catalog.plugins.iter().position(|plugin| plugin.name == "cors").unwrap();
    catalog.plugins[known].config = super::tests::loose(&["anonymous"]);
    let warnings = |anonymous: &str| {
        let text = format!(
            "_format_version: '3.0'\nconsumers:\n- {{username: nobody, id: 5f4c3e0a-6a67-4f6e-9d0b-0e7f4cf1a001}}\nplugins:\n- name: cors\n  config:\n    anonymous: {anonymous}\n"
        );
        let warnings = load("kong.yml", &text, &catalog).unwrap().warnings;
        let located = locate("kong.yml", &text, &catalog, warnings);
        located.iter().map(|warning| Source::new("kong.yml", &text).render(warning)).collect::<String>()
    };
    for known in ["nobody", "5f4c3e0a-6a67-4f6e-9d0b-0e7f4cf1a001", "''", "null"] {
        assert_eq!(warnings(known), "", "{known}");
    }
    let told = warnings("nobdy");
    assert!(
        told.starts_with("kong.yml:7:16: warning: plugins[0].config.anonymous: there is no consumer 'nobdy'"),
        "{told}"
    );
    assert!(warnings("5f4c3e0a-6a67-4f6e-9d0b-0e7f4cf1a002").contains("there is no consumer"));
}

#[test]
fn a_secret_on_a_line_of_its_own_is_not_shown_and_what_is_none_is() {
    let steps = ["config", "client_secret"].map(|step| Step::Field(step.to_owned()));
    let shown = |line: &str| {
        let column = line.len() as u32 - line.trim_start().len() as u32 + 1;
        let span = crate::node::Span { line: 2, column, length: 1 };
        let problem = Problem::new(Place(steps.to_vec()), span, "is wrong".to_owned());
        Source::new("kong.yml", &format!("client_secret:\n{line}\n")).render(&problem)
    };
    for line in ["  - the-secret", "  the-secret", "  \"the-secret\"", "  the:secret", "  [a, the-secret]"] {
        assert!(!shown(line).contains("secret\n") && shown(line).contains("***"), "{line}: {}", shown(line));
    }
    for line in ["  name: oauth2", "  \"{vault://env/secret}\"", "  {name: oauth2}", "  \"name\": 1"] {
        assert!(shown(line).contains(line.trim()), "{line}: {}", shown(line));
    }
}

//! Tests of the module `declarative`.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{Catalog, Config, PluginSchema, Scopes, load, problems_to_kong};
use crate::entity::{Entity as _, stable_id};
use crate::problem::{Problem, Severity};
use crate::schema::{Field, Record as _, RecordSchema, checks};
use crate::{Reference, Source};

mod identities;
mod problems;

crate::record! {
    /// Settings of the fake rate limit.
    #[allow(dead_code)]
    pub struct Limits {
        /// Per minute.
        minute: Option<f64>, [gt(0)];
        /// Per hour.
        hour: Option<f64>, [gt(0)];
        /// Where counters are kept.
        policy: String = "local", [one_of(&["local", "redis"])];
    }
    checks: [at_least_one_of(&["minute", "hour"]), custom(ordered)]
}

fn ordered(config: &Value) -> Result<(), String> {
    match (config["minute"].as_f64(), config["hour"].as_f64()) {
        (Some(minute), Some(hour)) if hour < minute => Err(format!(
            "The limit for hour({hour:.1}) cannot be lower than the limit for minute({minute:.1})"
        )),
        _ => Ok(()),
    }
}

crate::entity! {
    /// A key of a consumer.
    pub struct Credential in "keyauth_credentials" {
        /// Whose it is.
        consumer: Reference, [to("consumers")];
        /// The key.
        key: String, [auto(), unique()];
        /// Seconds to live.
        ttl: Option<i64>;
    }
    admin: ("key-auths", "key-auth")
    endpoint_key: "key"
    cache_key: ["key"]
}

crate::entity! {
    /// A group of a consumer.
    pub struct Acl in "acls" {
        /// Whose it is.
        consumer: Reference, [to("consumers")];
        /// The group.
        group: String;
    }
    cache_key: ["consumer", "group"]
}

const HTTP: &[&str] = &["grpc", "grpcs", "http", "https"];

fn plugin(name: &'static str, config: RecordSchema, scopes: Scopes) -> PluginSchema {
    PluginSchema { name, priority: 1, config, scopes, protocols: HTTP, streams: &[] }
}

/// A schema with free fields.
pub(super) fn loose(names: &[&'static str]) -> RecordSchema {
    let fields = names.iter().map(|name| Field::of::<Value>(name, "", None, Vec::new())).collect();
    RecordSchema { fields, ..RecordSchema::default() }
}

pub(super) fn catalog() -> Catalog {
    let caching = loose(&["response_code", "request_method", "content_type", "cache_ttl", "strategy"]);
    let choice =
        RecordSchema { checks: vec![checks::only_one_of(&["allow", "deny"])], ..loose(&["allow", "deny"]) };
    Catalog {
        plugins: vec![
            plugin("rate-limiting", Limits::schema(), Scopes::ALL),
            plugin("jwt", loose(&["secret_is_base64", "claims_to_verify"]), Scopes::NO_CONSUMER),
            plugin("cors", loose(&["origins"]), Scopes::NO_CONSUMER),
            plugin("proxy-cache", caching, Scopes::ALL),
            plugin("correlation-id", loose(&["header_name", "generator"]), Scopes::ALL),
            plugin("prometheus", loose(&["per_consumer"]), Scopes::ALL),
            plugin("file-log", loose(&["path"]), Scopes::ALL),
            plugin("acl", choice, Scopes::ALL),
        ],
        entities: vec![Credential::entity_schema(), Acl::entity_schema()],
    }
}

pub(super) fn good(text: &str) -> Config {
    load("kong.yml", text, &catalog()).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

fn bad(text: &str) -> Vec<Problem> {
    load("kong.yml", text, &catalog()).unwrap_err()
}

/// `line:column path: message` of every error.
pub(super) fn faults(body: &str) -> Vec<String> {
    let errors = bad(&format!("_format_version: \"3.0\"\n{body}"));
    let errors = errors.iter().filter(|problem| problem.severity == Severity::Error);
    errors
        .map(|problem| {
            format!("{}:{} {}: {}", problem.span.line, problem.span.column, problem.place, problem.message)
        })
        .collect()
}

pub(super) const SEED_0: &str = include_str!("../../testdata/kong-000.yml");
const SEED_2: &str = include_str!("../../testdata/kong-002.yml");
const SEED_3: &str = include_str!("../../testdata/kong-003.yml");

#[test]
fn the_seed_files_load_with_everything_in_them() {
    let config = good(SEED_0);
    assert_eq!((config.services.len(), config.routes.len(), config.plugins.len()), (3, 3, 7));
    assert_eq!(config.services[0].host, "user-service");
    assert_eq!(config.services[0].port, 8080);
    assert!(!config.routes[0].strip_path);
    let caching = config.plugins.iter().find(|plugin| plugin.name == "proxy-cache").unwrap();
    assert_eq!(caching.service, Some(config.services[2].id));
    let config = good(SEED_2);
    assert_eq!(config.plugins.len(), 3);
    assert!(config.plugins.iter().all(|plugin| plugin.route == Some(config.routes[0].id)));
    let config = good(SEED_3);
    assert_eq!(config.plugins[1].service, config.find("services", "user-service").map(|service| service.id));
    assert_eq!(config.plugins[1].config["hour"], json!(1000));
}

#[test]
fn the_header_is_checked() {
    let messages = |text: &str| -> Vec<String> {
        bad(text).iter().map(|problem| format!("{}: {}", problem.place, problem.message)).collect()
    };
    assert_eq!(messages("_format_version: 3.0"), ["_format_version: expected a string"]);
    assert_eq!(messages("services: []"), ["_format_version: required field missing"]);
    assert_eq!(messages("_format_version: '4.0'"), ["_format_version: expected one of: 1.1, 2.1, 3.0"]);
    assert_eq!(messages(""), [": expected a declarative configuration"]);
    assert_eq!(messages("- a"), [": expected a declarative configuration"]);
    assert_eq!(
        messages("_format_version: '3.0'\n_transform: 1\n_comment: 1\n_ignore: 1"),
        ["_transform: expected a boolean", "_comment: expected a string", "_ignore: expected an array"]
    );
    assert_eq!(messages("_format_version: '3.0'\nservices: {a: b}"), ["services: expected an array"]);
    assert_eq!(
        messages("_format_version: '3.0'\nservices: [x, null]"),
        ["services[0]: expected a record", "services[1]: expected a record"]
    );
    let config = good(
        "_format_version: '1.1'\n_transform: false\n_comment: c\n_ignore: [1]\nservices:\n- {host: h, _comment: c, _ignore: [x]}",
    );
    assert_eq!((config.transform, config.format_version.as_str()), (false, "1.1"));
}

#[test]
fn older_formats_find_out_which_paths_are_patterns() {
    for version in ["1.1", "2.1"] {
        let config = good(&format!(
            "_format_version: '{version}'\nservices: [{{host: h, routes: [{{paths: ['/a/%58', '/u/\\d+$']}}]}}]\nroutes: [{{paths: [/x]}}]\n"
        ));
        let paths = |index: usize| config.routes[index].paths.clone().unwrap();
        assert_eq!(paths(0), ["/a/X", "~/u/\\d+$"]);
        assert_eq!(paths(1), ["/x"]);
    }
    let found = faults("routes:\n- paths: ['/a/%58']\n- paths: ['~/a(?!b)']\n");
    assert_eq!(found[0], "3:11 routes[0].paths[0]: non-normalized path, consider use '/a/X' instead");
    assert!(found[1].contains("invalid regex: '/a(?!b)' (look-around"), "{found:?}");
}

#[test]
fn deck_keys_are_accepted_and_do_their_work() {
    let config = good(
        "_format_version: '3.0'\n_workspace: default\n_konnect: {control_plane_name: x}\n_info:\n  select_tags: [team]\n  defaults: {service: {retries: 2, host: d.test}, upstream: {healthchecks: {active: {timeout: 3}}}}\n_plugin_configs:\n  shared: {minute: 5, hour: 9}\nservices:\n- name: a\n  tags: [own]\nupstreams: [{name: u.test, tags: [team], healthchecks: {active: {concurrency: 2}}}]\nplugins:\n- {name: rate-limiting, _config: shared, config: {hour: 7}}\nconsumer_groups:\n- {name: gold, plugins: [{name: rate-limiting, config: {minute: 1}}]}\nconsumers:\n- username: u\n  groups: [{name: gold}]\n",
    );
    assert_eq!((config.services[0].retries, config.services[0].host.as_str()), (2, "d.test"));
    assert_eq!(config.services[0].tags.as_ref().unwrap().0, ["own", "team"]);
    assert_eq!(config.upstreams[0].tags.as_ref().unwrap().0, ["team"]);
    let active = &config.upstreams[0].healthchecks.active;
    assert_eq!((active.timeout, active.concurrency), (3.0, 2));
    assert_eq!(
        (&config.plugins[0].config["minute"], &config.plugins[0].config["hour"]),
        (&json!(5), &json!(7))
    );
    assert_eq!(config.plugins[1].consumer_group, Some(config.consumer_groups[0].id));
    assert_eq!(config.consumer_group_consumers[0].consumer_group.0, config.consumer_groups[0].id);
    assert_eq!(config.consumer_group_consumers[0].consumer.0, config.consumers[0].id);
    assert_eq!(config.groups_of(config.consumers[0].id), [config.consumer_groups[0].id]);
    assert_eq!(config.warnings.len(), 1);
    let found = faults("plugins:\n- {name: jwt, _config: nowhere}\n");
    assert_eq!(found, ["3:24 plugins[0]._config: '_config' names no entry of '_plugin_configs'"]);
}

#[test]
fn scopes_and_choices_of_plugins_are_held() {
    let found = faults(
        "consumers:\n- username: u\n  plugins: [{name: jwt}]\nplugins:\n- {name: acl, config: {allow: [a], deny: [b]}}\n- {name: acl, service: s, protocols: [tcp]}\n",
    );
    assert_eq!(found[0], "4:14 consumers[0].plugins[0].consumer: value must be null");
    assert_eq!(
        found[1],
        "6:24 plugins[0].config: only one of these fields must be non-empty: 'allow', 'deny'"
    );
    assert!(
        found.iter().any(|fault| fault.ends_with("protocols[0]: expected one of: grpc, grpcs, http, https"))
    );
}

#[test]
fn json_documents_load_like_yaml_ones() {
    let text = r#"{"_format_version":"3.0","services":[{"name":"a","url":"http://h","routes":[{"name":"r","paths":["/"]}]}]}"#;
    for name in ["kong.json", "", "kong.yaml"] {
        let config = load(name, text, &catalog()).unwrap();
        assert_eq!(config.services[0].id, stable_id("services", "a"));
        assert_eq!(config.hash, super::digest(text));
    }
    assert_eq!(super::digest(""), "d41d8cd98f00b204e9800998ecf8427e");
}

#[test]
fn keys_and_vaults_load() {
    let text = "_format_version: '3.0'\nkey_sets: [{name: s, keys: [{kid: k, jwk: '{\"kid\":\"k\"}'}]}]\nvaults: [{prefix: my-env, name: env, config: {prefix: SECRET_}}]\n";
    let config = good(text);
    assert_eq!(config.keys[0].set.map(|Reference(id)| id), Some(config.key_sets[0].id));
    assert_eq!(
        faults("keys: [{kid: a, jwk: '{\"kid\":\"b\"}'}]\n"),
        ["2:9 keys[0]: kid in jwk.kid must be equal to keys.kid"]
    );
}

#[test]
fn mutated_documents_load_or_are_refused_but_never_panic() {
    let seeds = [SEED_0, SEED_2, SEED_3];
    let mut state: u64 = 42;
    let mut random = move |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let catalog = catalog();
    for round in 0..400 {
        let mut bytes = seeds[round % 3].as_bytes().to_vec();
        for _ in 0..=random(5) {
            let at = random(bytes.len());
            match random(4) {
                0 => bytes[at] = random(256) as u8,
                1 => bytes.insert(at, b"&*[]{}:,?-|>'\"#%~!\n \\"[random(21)]),
                2 => drop(bytes.drain(at..(at + random(30)).min(bytes.len()))),
                _ => {
                    let copied = bytes[at..(at + 40).min(bytes.len())].to_vec();
                    bytes.splice(at..at, copied);
                }
            }
        }
        let text = String::from_utf8_lossy(&bytes);
        if let Err(problems) = load("kong.yml", &text, &catalog) {
            let source = Source::new("kong.yml", &text);
            assert!(problems.iter().all(|problem| !source.render(problem).is_empty()));
            problems_to_kong(&problems);
        }
    }
}

#[test]
fn what_loading_an_entity_allocates_does_not_grow_with_their_number() {
    let build = |count: usize| {
        let mut text = "_format_version: '3.0'\nservices:\n".to_owned();
        for index in 0..count {
            write!(text, "- name: s{index}\n  url: http://h{index}.test\n  routes: [{{name: r{index}, paths: [/p{index}]}}]\n  plugins: [{{name: rate-limiting, config: {{minute: 5}}}}]\n").unwrap();
        }
        text
    };
    let allocated = |count: usize| {
        let text = build(count);
        let allocated = allocation_counter::measure(|| assert_eq!(good(&text).services.len(), count));
        [allocated.count_total, allocated.bytes_total]
    };
    let [few, twice, four_times] = [200, 400, 800].map(allocated);
    for (few, twice, four_times) in [(few[0], twice[0], four_times[0]), (few[1], twice[1], four_times[1])] {
        let (next, last) = ((twice - few) as f64, (four_times - twice) as f64);
        assert!(last <= 2.0 * next * 1.03, "200 more took {next}, 400 more {last}");
    }
}

#[test]
fn a_gateway_without_a_document_has_collections_without_entities() {
    let config = super::empty(&catalog());
    assert_eq!(config.hash, "0".repeat(32));
    assert!(config.entities("services").is_empty() && config.schema("acls").is_some());
}

#[test]
fn plugin_schemas_print_as_kong_prints_them() {
    let schema = &catalog().plugins[1];
    let printed = schema.to_kong_json();
    assert_eq!(
        printed["fields"][2],
        json!({"consumer": {"type": "foreign", "reference": "consumers", "eq": null}})
    );
    assert_eq!(printed["fields"][5]["config"]["fields"][0], json!({"secret_is_base64": {"type": "any"}}));
    assert_eq!(printed["fields"][4]["protocols"]["default"], json!(["grpc", "grpcs", "http", "https"]));
}

#[test]
fn urls_give_protocol_host_port_and_path() {
    for (url, protocol, host, port, path) in [
        ("http://h", "http", "h", 80, None),
        ("https://h", "https", "h", 443, None),
        ("https://h:8443/a/b", "https", "h", 8443, Some("/a/b")),
        ("//h:443", "https", "h", 443, None),
        ("HTTPS://h/A", "https", "h", 443, Some("/A")),
        ("grpc://h:9000", "grpc", "h", 9000, None),
        ("http://[::1]:81/", "http", "[::1]", 81, Some("/")),
        ("http://h/p?q=1", "http", "h", 80, Some("/p")),
    ] {
        let config = good(&format!("_format_version: '3.0'\nservices: [{{url: '{url}'}}]"));
        let service = &config.services[0];
        let found = (service.protocol.as_str(), service.host.as_str(), service.port, service.path.as_deref());
        assert_eq!(found, (protocol, host, port, path), "{url}");
    }
    assert_eq!(faults("services: [{url: 'http://'}]"), ["2:18 services[0].url: missing host in url"]);
    assert_eq!(faults("services: [{url: 'http://h:x'}]"), ["2:18 services[0].url: missing host in url"]);
    assert_eq!(faults("services: [{url: 5}]"), ["2:18 services[0].url: expected a string"]);
}

#[test]
fn what_follows_from_other_fields_is_filled_in() {
    let config = good(
        "_format_version: '3.0'\nroutes: [{protocols: [grpc, grpcs], hosts: [h]}, {hosts: [h]}]\nupstreams:\n- {name: a, hash_on: ip}\n- {name: b, algorithm: least-connections, hash_on: ip}\n- {name: c, algorithm: consistent-hashing, hash_on: none}\n",
    );
    assert_eq!((config.routes[0].strip_path, config.routes[1].strip_path), (false, true));
    let settled: Vec<(&str, &str)> = config
        .upstreams
        .iter()
        .map(|upstream| (upstream.algorithm.as_str(), upstream.hash_on.as_str()))
        .collect();
    assert_eq!(
        settled,
        [("consistent-hashing", "ip"), ("least-connections", "none"), ("round-robin", "none")]
    );
    assert_eq!(config.upstream("b").unwrap().id, config.upstreams[1].id);
}

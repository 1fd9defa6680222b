//! Tests of the module `entity`.

use serde_json::{Value, json};

use super::{Consumer, Entity, Healthchecks, Route, Service, Target, Upstream, Vault, core_schemas};
use crate::schema::Record;

fn faults<T: Entity>(value: &Value) -> Vec<String> {
    let problems = T::schema().check(value).err().unwrap_or_default();
    problems.iter().map(|problem| format!("{}: {}", problem.place, problem.message)).collect()
}

#[track_caller]
fn accepted<T: Entity>(value: &Value) {
    assert_eq!(faults::<T>(value), [""; 0], "{value}");
}

#[track_caller]
fn refused<T: Entity>(value: &Value, fault: &str) {
    assert_eq!(faults::<T>(value).first().map(String::as_str), Some(fault), "{value}");
}

#[test]
fn services() {
    accepted::<Service>(&json!({"host": "example.test", "path": "/a/b%20c", "tags": ["a b", "ü"]}));
    for host in ["127.0.0.1", "::1", "[::1]", "my_service", "a-b.c", "localhost."] {
        accepted::<Service>(&json!({ "host": host }));
    }
    refused::<Service>(&json!({}), "host: required field missing");
    refused::<Service>(&json!({"host": "h:80"}), "host: must not have a port");
    refused::<Service>(&json!({"host": "a b"}), "host: invalid value: a b");
    refused::<Service>(&json!({"host": "999.1.1.1"}), "host: invalid value: 999.1.1.1");
    refused::<Service>(&json!({"host": "h", "path": "a"}), "path: should start with: /");
    refused::<Service>(&json!({"host": "h", "path": "/a//b"}), "path: must not have empty segments");
    for path in ["/a?b", "/a#b", "/[a]"] {
        refused::<Service>(
            &json!({"host": "h", "path": path}),
            &format!(
                "path: invalid path: '{path}' (characters outside of the reserved list of RFC 3986 found)"
            ),
        );
    }
    refused::<Service>(&json!({"host": "h", "path": "/%zz"}), "path: invalid url-encoded value: '%zz'");
    refused::<Service>(
        &json!({"host": "h", "path": "/a b"}),
        "path: invalid path: '/a b' (characters outside of the reserved list of RFC 3986 found)",
    );
    refused::<Service>(&json!({"host": "h", "port": 65536}), "port: value should be between 0 and 65535");
    refused::<Service>(
        &json!({"host": "h", "retries": 32768}),
        "retries: value should be between 0 and 32767",
    );
    refused::<Service>(
        &json!({"host": "h", "read_timeout": 2_147_483_647}),
        "read_timeout: value should be between 1 and 2147483646",
    );
    refused::<Service>(&json!({"host": "h", "protocol": "tcp", "path": "/"}), "path: value must be null");
    refused::<Service>(&json!({"host": "h", "tls_verify": true}), "tls_verify: value must be null");
    accepted::<Service>(
        &json!({"host": "h", "protocol": "https", "tls_verify": true, "tls_verify_depth": 3}),
    );
    for protocol in ["http", "https"] {
        accepted::<Service>(
            &json!({"host": "h", "protocol": protocol, "http2": true, "proxy_protocol": "v2"}),
        );
    }
    accepted::<Service>(&json!({"host": "h", "protocol": "tls", "http2": false, "proxy_protocol": "v1"}));
    for protocol in ["grpc", "tcp"] {
        refused::<Service>(
            &json!({"host": "h", "protocol": protocol, "http2": true}),
            "http2: only services of 'http' and 'https' have a choice of HTTP versions",
        );
    }
    refused::<Service>(
        &json!({"host": "h", "protocol": "grpcs", "proxy_protocol": "v1"}),
        "proxy_protocol: only services of 'http', 'https', 'tcp', 'tls', 'ws' and 'wss' can be told so",
    );
    refused::<Service>(
        &json!({"host": "h", "proxy_protocol": "v3"}),
        "proxy_protocol: expected one of: v1, v2",
    );
    refused::<Service>(
        &json!({"host": "h", "name": "a/b"}),
        "name: invalid value 'a/b': the only accepted ascii characters are alphanumerics or ., -, _, and ~",
    );
    refused::<Service>(
        &json!({"host": "h", "tags": ["a,b"]}),
        "tags[0]: invalid tag 'a,b': expected printable ascii (except `,` and `/`) or valid utf-8 sequences",
    );
}

#[test]
fn routes_need_something_to_match_on() {
    accepted::<Route>(&json!({"paths": ["/"]}));
    accepted::<Route>(&json!({"snis": ["a.test"]}));
    accepted::<Route>(&json!({"protocols": ["tcp"], "sources": [{"ip": "10.0.0.0/8"}]}));
    accepted::<Route>(&json!({"protocols": ["grpc"], "strip_path": false, "hosts": ["h"]}));
    for (route, fault) in [
        (
            json!({}),
            ": must set one of 'methods', 'hosts', 'headers', 'paths', 'snis' when 'protocols' is 'https'",
        ),
        (
            json!({"protocols": ["http"]}),
            ": must set one of 'methods', 'hosts', 'headers', 'paths' when 'protocols' is 'http'",
        ),
        (
            json!({"protocols": ["grpc"], "strip_path": false}),
            ": must set one of 'hosts', 'headers', 'paths' when 'protocols' is 'grpc'",
        ),
        (
            json!({"protocols": ["tcp"]}),
            ": must set one of 'sources', 'destinations', 'snis' when 'protocols' is 'tcp', 'tls' or 'udp'",
        ),
        (json!({"protocols": ["tls_passthrough"]}), ": must set snis when 'protocols' is 'tls_passthrough'"),
        (
            json!({"protocols": ["http"], "snis": ["a"], "paths": ["/"]}),
            "snis: 'snis' can only be set when 'protocols' is 'grpcs', 'https', 'tls' or 'tls_passthrough'",
        ),
        (
            json!({"paths": ["/"], "sources": [{"ip": "1.1.1.1"}]}),
            "sources: cannot set 'sources' when 'protocols' is 'http' or 'https'",
        ),
        (
            json!({"protocols": ["grpc"], "hosts": ["h"]}),
            "strip_path: cannot set 'strip_path' when 'protocols' is 'grpc' or 'grpcs'",
        ),
        (
            json!({"protocols": ["http", "tcp"], "paths": ["/"]}),
            "protocols: these sets are mutually exclusive: ('http', 'https'), ('tcp', 'tls', 'udp')",
        ),
        (json!({"protocols": [], "paths": ["/"]}), "protocols: length must be at least 1"),
        (
            json!({"paths": ["/"], "sources": [{}]}),
            "sources[0]: at least one of these fields must be non-empty: 'ip', 'port'",
        ),
    ] {
        refused::<Route>(&route, fault);
    }
}

#[test]
fn values_of_routes() {
    accepted::<Route>(
        &json!({"paths": ["/a%2Fb", "~/a/\\d+$", "~/(?<n>x)", "/a.b/~c", "/a b", "/ü", "/users/{id}"], "hosts": ["*.a.test", "a.*", "a:80", "1.2.3.4"]}),
    );
    accepted::<Route>(&json!({"headers": {"x-a": ["1", "~*^v[0-9]$"]}}));
    for (route, fault) in [
        (json!({"paths": ["a"]}), "paths[0]: should start with: / (fixed path) or ~/ (regex path)"),
        (json!({"paths": ["~a"]}), "paths[0]: should start with: / (fixed path) or ~/ (regex path)"),
        (json!({"paths": ["/a//b"]}), "paths[0]: must not have empty segments"),
        (json!({"paths": ["/a/../b"]}), "paths[0]: non-normalized path, consider use '/b' instead"),
        (json!({"paths": ["/a%2fb"]}), "paths[0]: non-normalized path, consider use '/a%2Fb' instead"),
        (
            json!({"paths": ["/u/\\d+"]}),
            "paths[0]: invalid path: '/u/\\d+' (characters outside of the reserved list of RFC 3986 found)",
        ),
        (
            json!({"paths": ["/users/%7Bid%7D"]}),
            "paths[0]: non-normalized path, consider use '/users/{id}' instead",
        ),
        (json!({"paths": ["/"], "regex_priority": u64::MAX}), "regex_priority: expected an integer"),
        (json!({"protocols": ["tls"], "snis": ["a.test:443"]}), "snis[0]: must not have a port"),
        (json!({"protocols": ["tls"], "snis": ["::1"]}), "snis[0]: must not be an IP"),
        (json!({"paths": ["/a%2"]}), "paths[0]: invalid url-encoded value: '%2'"),
        (json!({"paths": ["/a%20b"]}), "paths[0]: non-normalized path, consider use '/a b' instead"),
        (json!({"paths": ["~/(a"]}), "paths[0]: invalid regex: '/(a' (unclosed group)"),
        (json!({"hosts": ["*.a.*"]}), "hosts[0]: only one wildcard must be specified"),
        (json!({"hosts": ["a*.test"]}), "hosts[0]: wildcard must be leftmost or rightmost character"),
        (json!({"hosts": ["a b"]}), "hosts[0]: invalid value: a b"),
        (json!({"methods": ["get"]}), "methods[0]: invalid value: get"),
        (
            json!({"headers": {"Host": ["a"]}}),
            "headers.Host: cannot contain 'host' header, which must be specified in the 'hosts' attribute",
        ),
        (json!({"headers": {"x": []}}), "headers.x: length must be at least 1"),
        (json!({"headers": {"x": ["~*("]}}), "headers.x[0]: invalid regex: '(' (unclosed group)"),
        (
            json!({"paths": ["/"], "https_redirect_status_code": 303}),
            "https_redirect_status_code: expected one of: 426, 301, 302, 307, 308",
        ),
        (json!({"paths": ["/"], "service": 5}), "service: expected a string"),
        (
            json!({"protocols": ["tcp"], "sources": [{"ip": "10.0.0.0/33"}]}),
            "sources[0].ip: invalid ip or cidr range: '10.0.0.0/33'",
        ),
    ] {
        refused::<Route>(&route, fault);
    }
}

#[test]
fn health_of_upstreams() {
    let with = |healthchecks: Value| json!({"name": "u.test", "healthchecks": healthchecks});
    accepted::<Upstream>(&with(json!({"panic_threshold": 50, "outliers": {}})));
    accepted::<Upstream>(&with(json!({"panic_threshold": 0, "threshold": 50})));
    refused::<Upstream>(
        &with(json!({"panic_threshold": 50, "threshold": 1})),
        "healthchecks.panic_threshold: sends requests to all targets where 'threshold' sends them to none; set one of both",
    );
    refused::<Upstream>(
        &with(json!({"outliers": {"max_ejected_percent": 100}})),
        "healthchecks.outliers.max_ejected_percent: value should be between 0 and 99",
    );
    let read = |healthchecks: &Value| {
        let checked = Healthchecks::schema().check(healthchecks).unwrap();
        Healthchecks::from_value(&checked).unwrap()
    };
    let strict = read(&json!({"threshold": 50}));
    assert!(strict.is_too_little(50, 100) && !strict.is_too_little(51, 100) && !strict.is_panic(0, 100));
    let lax = read(&json!({"panic_threshold": 50}));
    assert!(lax.is_panic(49, 100) && !lax.is_panic(50, 100) && !lax.is_panic(0, 0));
    assert!(lax.is_too_little(0, 100) && !lax.is_too_little(1, 100));
    assert!(!lax.are_on(), "nothing would find out");
    assert!(read(&json!({"outliers": {}})).are_on());
}

#[test]
fn upstreams() {
    accepted::<Upstream>(&json!({"name": "u.test"}));
    accepted::<Upstream>(&json!({"name": "u.test", "healthchecks": {"active": {"http_path": "/up?a=1"}}}));
    for (upstream, fault) in [
        (json!({}), "name: required field missing"),
        (json!({"name": "1.2.3.4"}), "name: Invalid name ('1.2.3.4'); no ip addresses allowed"),
        (json!({"name": "u:80"}), "name: Invalid name ('u:80'); no port allowed"),
        (json!({"name": "a b"}), "name: Invalid name ('a b'); must be a valid hostname"),
        (
            json!({"name": "u", "healthchecks": {"active": {"http_path": "/up?a=[1]"}}}),
            "healthchecks.active.http_path: invalid path: '/up?a=[1]' (characters outside of the reserved list of RFC 3986 found)",
        ),
        (json!({"name": "u", "slots": 9}), "slots: value should be between 10 and 65536"),
        (json!({"name": "u", "hash_on": "header"}), "hash_on_header: required field missing"),
        (json!({"name": "u", "hash_on": "cookie"}), "hash_on_cookie: required field missing"),
        (json!({"name": "u", "hash_fallback": "ip"}), "hash_fallback: expected one of: none"),
        (
            json!({"name": "u", "hash_on": "ip", "hash_fallback": "ip"}),
            "hash_fallback: expected one of: none, consumer, header, cookie, path, query_arg, uri_capture",
        ),
        (
            json!({"name": "u", "hash_on": "header", "hash_fallback": "header", "hash_on_header": "x", "hash_fallback_header": "x"}),
            ": values of these fields must be distinct: 'hash_on_header', 'hash_fallback_header'",
        ),
        (
            json!({"name": "u", "healthchecks": {"active": {"healthy": {"http_statuses": [99]}}}}),
            "healthchecks.active.healthy.http_statuses[0]: value should be between 100 and 999",
        ),
        (
            json!({"name": "u", "healthchecks": {"passive": {"unhealthy": {"timeouts": 256}}}}),
            "healthchecks.passive.unhealthy.timeouts: value should be between 0 and 255",
        ),
        (
            json!({"name": "u", "healthchecks": {"threshold": 101}}),
            "healthchecks.threshold: value should be between 0 and 100",
        ),
    ] {
        refused::<Upstream>(&upstream, fault);
    }
}

#[test]
fn hashing_and_algorithm_settle_each_other() {
    use super::settle_algorithm;
    assert_eq!(settle_algorithm(None, Some("ip")), [("algorithm", json!("consistent-hashing"))]);
    assert_eq!(
        settle_algorithm(Some("round-robin"), Some("ip")),
        [("algorithm", json!("consistent-hashing"))]
    );
    assert_eq!(
        settle_algorithm(Some("consistent-hashing"), Some("none")),
        [("algorithm", json!("round-robin"))]
    );
    assert_eq!(settle_algorithm(Some("latency"), Some("ip")), [("hash_on", Value::Null)]);
    assert!(settle_algorithm(Some("consistent-hashing"), None).is_empty());
    for algorithm in ["sticky-sessions", "p2c", "least-connections", "latency"] {
        let settled = settle_algorithm(Some(algorithm), Some("none"));
        assert!(settled.iter().all(|(field, _)| *field != "algorithm"), "{algorithm} stays");
    }
}

#[test]
fn upstreams_of_sticky_sessions_name_their_cookie() {
    refused::<Upstream>(
        &json!({"name": "u", "algorithm": "sticky-sessions"}),
        "sticky_sessions_cookie: required field missing",
    );
    refused::<Upstream>(
        &json!({"name": "u", "algorithm": "sticky-sessions", "sticky_sessions_cookie": "a;b"}),
        "sticky_sessions_cookie: invalid value: a;b",
    );
    refused::<Upstream>(
        &json!({"name": "u", "slow_start": 86401}),
        "slow_start: value should be between 0 and 86400",
    );
    accepted::<Upstream>(&json!({"name": "u", "algorithm": "p2c", "slow_start": 0.5}));
}

#[test]
fn targets_consumers_vaults() {
    for (target, normal) in [
        ("a", "a:8000"),
        ("a:80", "a:80"),
        ("::1", "[::1]:8000"),
        ("[::1]:80", "[::1]:80"),
        ("1.2.3.4", "1.2.3.4:8000"),
    ] {
        accepted::<Target>(&json!({"upstream": "u", "target": target}));
        assert_eq!(super::target_normal_form(target).as_deref(), Some(normal));
    }
    refused::<Target>(&json!({"upstream": "u", "target": "a:x"}), "target: invalid value: a:x");
    refused::<Target>(
        &json!({"upstream": "u", "target": "a", "weight": 65536}),
        "weight: value should be between 0 and 65535",
    );
    refused::<Consumer>(
        &json!({}),
        ": at least one of these fields must be non-empty: 'custom_id', 'username'",
    );
    accepted::<Consumer>(&json!({"username": "Jöhn Doe, jr. /x"}));
    refused::<Vault>(&json!({"prefix": "env", "name": "env"}), "prefix: must not be one of: env, file, hcv");
    refused::<Vault>(&json!({"prefix": "My", "name": "env"}), "prefix: invalid value: My");
    refused::<Vault>(&json!({"prefix": "my", "name": "aws"}), "name: expected one of: env, file, hcv");
}

#[test]
fn every_entity_describes_all_its_fields_and_prints_itself() {
    for schema in core_schemas() {
        for field in &schema.record.fields {
            assert!(!field.doc.trim().is_empty(), "{}.{}", schema.name, field.name);
        }
        let of_kong = schema.record.fields.iter().filter(|field| !field.extension).count();
        assert_eq!(schema.record.to_kong_json()["fields"].as_array().map(Vec::len), Some(of_kong));
    }
    let services = Service::schema().to_kong_json();
    assert_eq!(services["fields"][0]["id"]["auto"], json!(true));
    assert_eq!(services["fields"][10]["client_certificate"]["reference"], json!("certificates"));
}

#[test]
fn ids_are_those_of_version_5() {
    for key in ["", "a", &"x".repeat(200)] {
        let space = super::space_of_names("routes");
        assert_eq!(super::stable_id("routes", key), uuid::Uuid::new_v5(&space, key.as_bytes()), "{key}");
    }
}

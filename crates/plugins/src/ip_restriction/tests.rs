//! What the ip-restriction room does, seen from outside: requests in, outcomes out.

use plugin::harness::{Harness, Outcome};

use super::IpRestriction;

fn harness(config: &str) -> Harness {
    Harness::global(plugin::room::<IpRestriction>(), config).unwrap()
}

fn send(config: &str, address: &str) -> Outcome {
    let mut harness = harness(config);
    harness.peer = (address.parse::<std::net::IpAddr>().unwrap(), 40_000).into();
    harness.send("GET / HTTP/1.1")
}

#[track_caller]
fn assert_refused(outcome: &Outcome, address: &str) {
    assert_eq!(outcome.status, 403);
    assert_eq!(outcome.message, Some(format!("IP address not allowed: {address}")));
}

#[test]
fn who_is_denied_does_not_pass() {
    assert_refused(&send("{deny: [127.0.0.1]}", "127.0.0.1"), "127.0.0.1");
    assert!(!send("{deny: [127.0.0.1]}", "127.0.0.2").answered);
    assert_refused(&send("{deny: ['2001:db8::/32']}", "2001:db8::7"), "2001:db8::7");
    assert!(!send("{deny: ['::/0']}", "127.0.0.1").answered);
}

#[test]
fn with_an_allow_list_nobody_else_passes() {
    assert!(!send("{allow: [10.0.0.0/8, 127.0.0.1]}", "10.255.0.1").answered);
    assert_refused(&send("{allow: [10.0.0.0/8]}", "127.0.0.1"), "127.0.0.1");
    assert_refused(&send("{allow: [0.0.0.0/0]}", "::1"), "::1");
}

#[test]
fn who_is_on_both_lists_is_denied() {
    let config = "{allow: [10.0.0.0/8], deny: [10.9.0.0/16]}";
    assert!(!send(config, "10.8.0.1").answered);
    assert_refused(&send(config, "10.9.0.1"), "10.9.0.1");
}

#[test]
fn an_empty_list_is_none() {
    assert!(!send("{allow: [], deny: [10.0.0.1]}", "127.0.0.1").answered);
}

#[test]
fn a_mapped_address_is_an_ipv4_address() {
    assert_refused(&send("{deny: [192.0.2.0/24]}", "::ffff:192.0.2.7"), "192.0.2.7");
}

#[test]
fn status_and_message_are_configurable() {
    let outcome = send("{deny: [127.0.0.1], status: 401, message: go away}", "127.0.0.1");
    assert_eq!((outcome.status, outcome.message.as_deref()), (401, Some("go away")));
}

#[test]
fn what_cannot_be_enforced_is_refused() {
    for (config, says) in [
        ("{}", "at least one of these fields must be non-empty: 'allow', 'deny'"),
        ("{allow: [10.0.0.0/33]}", "invalid ip or cidr range: '10.0.0.0/33'"),
        ("{deny: [localhost]}", "invalid ip or cidr range: 'localhost'"),
        ("{deny: [127.0.0.1], status: 99}", "expected a status code between 200 and 599"),
    ] {
        let refusal = Harness::global(plugin::room::<IpRestriction>(), config).err().unwrap_or_default();
        assert!(refusal.contains(says), "{config}: {refusal}");
    }
}

fn beside_a_stream(plugin: &str) -> Result<Harness, String> {
    let document = format!(
        r#"
_format_version: "3.0"
services:
- {{name: web, url: "http://web:80", routes: [{{name: web, paths: [/]}}]}}
- {{name: db, url: "tcp://db:5432", routes: [{{name: db, protocols: [tcp], destinations: [{{port: 5432}}]}}]}}
consumers: [{{username: ann}}]
plugins:
- {{name: ip-restriction, config: {{deny: [127.0.0.1]}}, {plugin}}}
"#
    );
    Harness::new(plugin::room::<IpRestriction>(), &document)
}

#[test]
fn a_restriction_of_streams_is_refused() {
    for plugin in ["enabled: true", "service: db", "route: db", "route: db, protocols: [tcp]"] {
        let refusal = beside_a_stream(plugin).err().unwrap_or_default();
        assert!(refusal.starts_with("protocols: 'tcp' is carried by the route db"), "{plugin}: {refusal}");
    }
    // Nobody is known on a stream, so that a consumer's would not run there in any case.
    for plugin in ["protocols: [http, https]", "service: web", "route: web", "consumer: ann"] {
        assert!(beside_a_stream(plugin).is_ok(), "{plugin}");
    }
}

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

#[test]
fn sessions_are_let_in_or_kept_out_as_requests_are() {
    let document = |config: &str| {
        format!(
            "_format_version: '3.0'\nservices:\n- {{name: db, url: 'tcp://db:1', routes: [{{name: db, protocols: [tcp], \
             destinations: [{{port: 1}}]}}]}}\nplugins:\n- {{name: ip-restriction, config: {config}}}\n"
        )
    };
    let admits = |config: &str, client: &str| {
        let mut harness = Harness::new(plugin::room::<IpRestriction>(), &document(config)).unwrap();
        harness.peer = client.parse().unwrap();
        harness.begin_session().err()
    };
    for (config, client, expected) in [
        ("{deny: [10.0.0.0/8]}", "10.0.0.1:1", Some(403)),
        ("{deny: [10.0.0.0/8], status: 429}", "10.0.0.1:1", Some(429)),
        ("{deny: [10.0.0.0/8]}", "11.0.0.1:1", None),
        ("{allow: [10.0.0.0/8]}", "10.0.0.1:1", None),
        ("{allow: [10.0.0.0/8]}", "[::ffff:10.0.0.1]:1", None),
        ("{allow: [10.0.0.0/8]}", "11.0.0.1:1", Some(403)),
        ("{allow: [10.0.0.0/8], deny: [10.0.0.1]}", "10.0.0.1:1", Some(403)),
    ] {
        assert_eq!(admits(config, client), expected, "{config} {client}");
    }
}

//! What the acl room does, seen from outside: requests in, outcomes out.

use plugin::harness::vouching::Vouching;
use plugin::harness::{Harness, Outcome};

use super::Acl;
use crate::key_auth::KeyAuth;

/// Callers are told apart by their keys, which are their names.
fn harness(anonymous: &str, config: &str) -> Harness {
    let document = format!(
        r#"
_format_version: "3.0"
plugins:
- {{name: key-auth, config: {{anonymous: {anonymous}}}}}
- {{name: acl, config: {config}}}
consumer_groups:
- name: gold
consumers:
- {{username: alice, keyauth_credentials: [{{key: alice}}], acls: [{{group: staff}}, {{group: admins}}]}}
- {{username: guest, keyauth_credentials: [{{key: guest}}], groups: [{{name: gold}}]}}
- {{username: anybody}}
- {{username: visitor}}
acls:
- {{consumer: visitor, group: visitors}}
"#
    );
    Harness::chain(&[plugin::room::<KeyAuth>(), plugin::room::<Acl>()], &document).unwrap()
}

fn send(config: &str, caller: &str) -> Outcome {
    harness("null", config).send(&format!("GET / HTTP/1.1\napikey: {caller}"))
}

#[track_caller]
fn assert_forbidden(outcome: &Outcome) {
    let message = Some("You cannot consume this service");
    assert_eq!((outcome.answered, outcome.status, outcome.message.as_deref()), (true, 403, message));
}

#[track_caller]
fn assert_unauthorized(outcome: &Outcome) {
    assert_eq!((outcome.status, outcome.message.as_deref()), (401, Some("Unauthorized")));
}

fn groups(outcome: &Outcome) -> Option<String> {
    assert!(!outcome.answered, "{:?}", outcome.message);
    outcome.upstream_header("X-Consumer-Groups")
}

#[test]
fn an_allow_list_lets_only_its_groups_in() {
    assert_eq!(groups(&send("{allow: [other, admins]}", "alice")).as_deref(), Some("staff, admins"));
    assert_forbidden(&send("{allow: [other]}", "alice"));
    assert_forbidden(&send("{allow: [Staff]}", "alice"));
    assert_forbidden(&send("{allow: [staff]}", "guest"));
}

#[test]
fn a_deny_list_keeps_only_its_groups_out() {
    assert_forbidden(&send("{deny: [other, admins]}", "alice"));
    assert_eq!(groups(&send("{deny: [other]}", "alice")).as_deref(), Some("staff, admins"));
    assert_eq!(groups(&send("{deny: [staff]}", "guest")), None);
}

#[test]
fn the_groups_can_be_hidden_and_never_be_forged() {
    let forged = "\nX-Consumer-Groups: root\nX-Consumer-Groups: more\nX-Authenticated-Groups: root";
    let send = |config: &str, caller: &str| {
        harness("null", config).send(&format!("GET / HTTP/1.1\napikey: {caller}{forged}"))
    };
    for (config, caller, told) in [
        ("{allow: [staff], hide_groups_header: true}", "alice", None),
        ("{allow: [staff]}", "alice", Some("staff, admins")),
        ("{deny: [staff]}", "guest", None),
    ] {
        let outcome = send(config, caller);
        assert_eq!(groups(&outcome).as_deref(), told, "{config} {caller}");
        assert!(outcome.upstream_headers.count("X-Consumer-Groups") <= 1);
        assert_eq!(outcome.upstream_header("X-Authenticated-Groups"), None);
    }
}

#[test]
fn without_authentication_nobody_is_known() {
    for config in ["{allow: [staff]}", "{deny: [staff]}"] {
        assert_unauthorized(&Harness::global(plugin::room::<Acl>(), config).unwrap().send("GET / HTTP/1.1"));
    }
}

#[test]
fn an_anonymous_consumer_is_judged_by_its_groups() {
    let send = |anonymous: &str, config: &str| harness(anonymous, config).send("GET / HTTP/1.1");
    assert_unauthorized(&send("anybody", "{allow: [staff]}"));
    assert_eq!(groups(&send("anybody", "{deny: [staff]}")), None);
    assert_eq!(groups(&send("visitor", "{allow: [visitors]}")).as_deref(), Some("visitors"));
    assert_forbidden(&send("visitor", "{allow: [staff]}"));
    assert_forbidden(&send("visitor", "{deny: [visitors]}"));
}

#[test]
fn consumer_groups_count_when_they_are_included() {
    assert_forbidden(&send("{allow: [gold]}", "guest"));
    assert_eq!(
        groups(&send("{allow: [gold], include_consumer_groups: true}", "guest")).as_deref(),
        Some("gold")
    );
    assert_forbidden(&send("{deny: [gold], include_consumer_groups: true}", "guest"));
    assert_eq!(
        groups(&send("{allow: [staff], include_consumer_groups: true}", "alice")).as_deref(),
        Some("staff, admins")
    );
}

/// Sends a request by a caller who is vouched to be in the groups `ldap` and `vpn`.
fn send_vouched(acl: &str, key_auth: Option<&str>, caller: &str) -> Outcome {
    let key_auth =
        key_auth.map(|config| format!("- {{name: key-auth, config: {config}}}\n")).unwrap_or_default();
    let document = format!(
        r#"
_format_version: "3.0"
consumers:
- {{username: alice, keyauth_credentials: [{{key: alice}}], acls: [{{group: staff}}]}}
- {{username: visitor, acls: [{{group: visitors}}]}}
plugins:
- {{name: vouching}}
- {{name: acl, config: {acl}}}
{key_auth}"#
    );
    let chain = [plugin::room::<Vouching>(), plugin::room::<KeyAuth>(), plugin::room::<Acl>()];
    Harness::chain(&chain, &document)
        .unwrap()
        .send(&format!("GET / HTTP/1.1\nvouched: ldap,vpn\napikey: {caller}"))
}

#[test]
fn groups_vouched_for_count_for_callers_who_are_no_consumer() {
    let outcome = send_vouched("{allow: [vpn]}", None, "");
    assert_eq!(groups(&outcome), None);
    assert_eq!(outcome.upstream_header("X-Authenticated-Groups").as_deref(), Some("ldap, vpn"));
    assert_forbidden(&send_vouched("{deny: [vpn]}", None, ""));
}

#[test]
fn groups_vouched_for_outweigh_those_of_an_anonymous_consumer() {
    let key_auth = Some("{anonymous: visitor}");
    assert_eq!(groups(&send_vouched("{allow: [vpn]}", key_auth, "")), None);
    assert_forbidden(&send_vouched("{allow: [visitors]}", key_auth, ""));
}

#[test]
fn groups_vouched_for_count_for_a_consumer_only_when_told_to() {
    let outcome = send_vouched("{allow: [staff]}", Some("{}"), "alice");
    assert_eq!(groups(&outcome).as_deref(), Some("staff"));
    assert_eq!(outcome.upstream_header("X-Authenticated-Groups"), None);
    let always = "always_use_authenticated_groups: true";
    assert_forbidden(&send_vouched(&format!("{{allow: [staff], {always}}}"), Some("{}"), "alice"));
    let outcome = send_vouched(&format!("{{allow: [ldap], {always}}}"), Some("{}"), "alice");
    assert_eq!(outcome.upstream_header("X-Authenticated-Groups").as_deref(), Some("ldap, vpn"));
    let hidden =
        send_vouched(&format!("{{allow: [ldap], hide_groups_header: true, {always}}}"), Some("{}"), "alice");
    assert_eq!(hidden.upstream_header("X-Authenticated-Groups"), None);
}

#[test]
fn always_using_authenticated_groups_falls_back_to_the_consumers_own() {
    let outcome = send("{allow: [staff], always_use_authenticated_groups: true}", "alice");
    assert_eq!(groups(&outcome).as_deref(), Some("staff, admins"));
}

#[test]
fn a_list_of_one_kind_is_needed() {
    let refusal = |config| Harness::global(plugin::room::<Acl>(), config).err().unwrap();
    let message = "only one of these fields must be non-empty: 'allow', 'deny'";
    for config in ["{}", "{allow: [a], deny: [b]}", "{allow: []}"] {
        assert!(refusal(config).contains(message), "{config}");
    }
}

#[test]
fn a_consumer_is_in_a_group_once() {
    let document = "{_format_version: \"3.0\", consumers: [{username: a, acls: [{group: g}, {group: g}]}]}";
    let refusal = Harness::new(plugin::room::<Acl>(), document).err();
    assert!(refusal.is_some_and(|refusal| refusal.contains("uniqueness violation")));
}

#[test]
fn consumer_groups_vouched_for_count_beside_those_of_the_consumer() {
    let send = |acl: &str, caller: &str| {
        let document = format!(
            r#"
_format_version: "3.0"
consumer_groups: [{{name: suspended}}, {{name: gold}}]
consumers:
- {{username: alice, keyauth_credentials: [{{key: alice}}], acls: [{{group: staff}}]}}
- {{username: bob, keyauth_credentials: [{{key: bob}}]}}
plugins:
- {{name: vouching}}
- {{name: key-auth}}
- {{name: acl, config: {acl}}}
"#
        );
        let chain = [plugin::room::<Vouching>(), plugin::room::<KeyAuth>(), plugin::room::<Acl>()];
        let request = format!("GET / HTTP/1.1\nvouched-consumer-groups: suspended\napikey: {caller}");
        Harness::chain(&chain, &document).unwrap().send(&request)
    };
    for caller in ["alice", "bob"] {
        assert_forbidden(&send("{deny: [suspended], include_consumer_groups: true}", caller));
        assert_forbidden(&send("{allow: [gold], include_consumer_groups: true}", caller));
    }
    let told = |acl: &str, caller: &str| groups(&send(acl, caller));
    assert_eq!(told("{deny: [suspended]}", "alice").as_deref(), Some("staff"));
    let allowed = "{allow: [suspended], include_consumer_groups: true}";
    assert_eq!(told(allowed, "alice").as_deref(), Some("staff, suspended"));
    assert_eq!(told(allowed, "bob").as_deref(), Some("suspended"));
}

//! What the authorization room does, seen from outside: requests in, outcomes out.

mod cost;
mod mistakes;

use plugin::harness::vouching::Vouching;
use plugin::harness::{Harness, Outcome};

use super::Authorization;
use crate::acl::Acl;
use crate::key_auth::KeyAuth;

/// A gateway whose callers are told apart by their keys, which are their names, and by the claims of their tokens.
pub(super) fn gateway(config: &str) -> Harness {
    let document = format!(
        r#"
_format_version: "3.0"
plugins:
- {{name: vouching, config: {{}}}}
- {{name: key-auth, config: {{anonymous: nobody}}}}
- {{name: authorization, config: {config}}}
consumer_groups:
- name: finance
consumers:
- username: ann
  custom_id: "17"
  tags: [internal, berlin]
  keyauth_credentials: [{{key: ann}}]
  groups: [{{name: finance}}]
- {{username: bob, keyauth_credentials: [{{key: bob}}], acls: [{{group: hr}}]}}
- {{username: nobody}}
services:
- {{name: payments, url: "http://payments.test", routes: [{{name: api, paths: [/]}}]}}
"#
    );
    let rooms = [
        plugin::room::<Vouching>(),
        plugin::room::<KeyAuth>(),
        plugin::room::<Acl>(),
        plugin::room::<Authorization>(),
    ];
    Harness::chain(&rooms, &document).unwrap()
}

/// Who decided, as it is logged, and the status.
pub(super) fn decided(outcome: &Outcome) -> (String, u16) {
    let field = outcome.log_fields.iter().find(|(name, _)| name == "authorization");
    (field.map(|(_, value)| value.clone()).unwrap_or_default(), outcome.status)
}

fn send(config: &str, request: &str) -> (String, u16) {
    decided(&gateway(config).send(request))
}

#[track_caller]
fn assert_decided(config: &str, request: &str, decision: &str, status: u16) {
    assert_eq!(send(config, request), (decision.to_owned(), status), "{request}");
}

/// The sample of roles by path.
const PERMISSIONS: &str = r#"{default: authenticated, public_paths: [/api/auth/login, /api/health], permissions: {
    "/api/admin/*": [admin], "/api/users/*/profile": [user, admin], "/api/orders/*": [user, admin]}}"#;

#[test]
fn roles_open_the_paths_they_are_for() {
    let admin = "token: {\"roles\":[\"admin\"]}";
    let user = "token: {\"roles\":[\"user\"]}";
    let other = "token: {\"roles\":[\"other\"]}";
    for (path, caller, decision, status) in [
        ("/api/admin/users", admin, "allow: /api/admin/*", 200),
        ("/api/admin/users/7", admin, "allow: /api/admin/*", 200),
        ("/api/admin/users", user, "deny: /api/admin/*", 403),
        ("/api/admin/", user, "deny: /api/admin/*", 403),
        ("/api/admin", user, "allow: default", 200),
        ("/api/users/7/profile", user, "allow: /api/users/*/profile", 200),
        ("/api/users/7/profile/", other, "deny: /api/users/*/profile", 403),
        ("/api/users/7/8/profile", other, "allow: default", 200),
        ("/api/orders/1", other, "deny: /api/orders/*", 403),
        ("/api/products", other, "allow: default", 200),
        ("/api/products", "x: y", "deny: default", 401),
        ("/api/admin/users", "x: y", "deny: /api/admin/*", 401),
        ("/api/health", "x: y", "allow: public_paths", 200),
        ("/api/healthy", "x: y", "deny: default", 401),
    ] {
        assert_decided(PERMISSIONS, &format!("GET {path} HTTP/1.1\n{caller}"), decision, status);
    }
}

#[test]
fn a_refusal_says_why() {
    let mut gateway = gateway(PERMISSIONS);
    let outcome = gateway.send("GET /api/products HTTP/1.1");
    assert_eq!(outcome.header("WWW-Authenticate").as_deref(), Some("Bearer"));
    assert_eq!((outcome.answered, outcome.message.as_deref()), (true, Some("Unauthorized")));
    let outcome = gateway.send("GET /api/admin/x HTTP/1.1\napikey: bob");
    assert_eq!(outcome.header("WWW-Authenticate"), None);
    assert_eq!(outcome.message.as_deref(), Some("You cannot consume this service"));
    let mut gateway = self::gateway("{message: no, challenge: 'Key realm=\"x\"'}");
    let outcome = gateway.send("GET / HTTP/1.1");
    assert_eq!(outcome.header("WWW-Authenticate").as_deref(), Some("Key realm=\"x\""));
    assert_eq!(gateway.send("GET / HTTP/1.1\napikey: bob").message.as_deref(), Some("no"));
}

#[test]
fn the_permission_that_says_most_counts() {
    let config = r#"{permissions: {"/**": [any], "/a/*": [low], "/a/b": [high], "POST,PUT /a/b": [writer], "/a/{x}/c": [c]}}"#;
    for (request, decision) in [
        ("GET /a/b", "deny: /a/b"),
        ("POST /a/b", "deny: POST,PUT /a/b"),
        ("PUT /a/b", "deny: POST,PUT /a/b"),
        ("GET /a/x", "deny: /a/*"),
        ("GET /a/b/c", "deny: /a/{x}/c"),
        ("GET /a", "deny: /**"),
        ("GET /", "deny: /**"),
    ] {
        assert_decided(config, &format!("{request} HTTP/1.1\napikey: ann"), decision, 403);
    }
}

#[test]
fn rules_are_taken_in_order_and_by_method() {
    let config = r#"{rules: [
        {name: blocked, effect: deny, when: "consumer.username == 'bob'", paths: [/x/**]},
        {name: read, methods: [GET, HEAD], paths: [/x/**, /y]},
        {name: write, methods: [POST], roles: [finance]},
        {name: purge, methods: [PURGE], roles: [finance]}]}"#;
    for (request, caller, decision, status) in [
        ("GET /x", "ann", "allow: read", 200),
        ("GET /x", "bob", "deny: blocked", 403),
        ("GET /y", "bob", "allow: read", 200),
        ("HEAD /y", "bob", "allow: read", 200),
        ("GET /z", "ann", "deny: default", 403),
        ("POST /z", "ann", "allow: write", 200),
        ("POST /z", "bob", "deny: default", 403),
        ("PURGE /z", "ann", "allow: purge", 200),
        ("BREW /z", "ann", "deny: default", 403),
    ] {
        assert_decided(config, &format!("{request} HTTP/1.1\napikey: {caller}"), decision, status);
    }
}

#[test]
fn scopes_and_claims_can_be_required_by_method() {
    let config = r#"{default: authenticated, rules: [
        {name: scopes, effect: require, methods: [POST, PUT], scopes: ["orders:write", "orders:read"]},
        {name: mfa, effect: require, methods: [DELETE], claims: {amr: [mfa, hwk], level: ["2", "3"], a.b: ["true"]}}]}"#;
    for (request, token, decision, status) in [
        ("GET /", r#"{}"#, "allow: default", 200),
        ("POST /", r#"{"scope":"orders:read orders:write x"}"#, "allow: default", 200),
        ("POST /", r#"{"scp":["orders:read","orders:write"]}"#, "allow: default", 200),
        ("POST /", r#"{"scp":["orders:read"],"scope":"orders:write"}"#, "allow: default", 200),
        ("POST /", r#"{"scope":"orders:read"}"#, "deny: scopes", 403),
        ("PUT /", r#"{"scope":"orders:read,orders:write"}"#, "deny: scopes", 403),
        ("DELETE /", r#"{"amr":["pwd","mfa"],"level":2,"a":{"b":true}}"#, "allow: default", 200),
        ("DELETE /", r#"{"amr":"hwk","level":"3","a.b":"true"}"#, "allow: default", 200),
        ("DELETE /", r#"{"amr":["pwd"],"level":2,"a":{"b":true}}"#, "deny: mfa", 403),
        ("DELETE /", r#"{"amr":["mfa"],"level":1,"a":{"b":true}}"#, "deny: mfa", 403),
        ("DELETE /", r#"{"amr":["mfa"],"level":3}"#, "deny: mfa", 403),
        ("DELETE /", r#"{"amr":{"mfa":1},"level":3,"a":{"b":true}}"#, "deny: mfa", 403),
    ] {
        assert_decided(config, &format!("{request} HTTP/1.1\ntoken: {token}"), decision, status);
    }
    let mut gateway = gateway(config);
    let outcome = gateway.send("POST / HTTP/1.1\ntoken: {\"scope\":\"orders:read\"}");
    let challenge = r#"Bearer error="insufficient_scope", scope="orders:write orders:read""#;
    assert_eq!(outcome.header("WWW-Authenticate").as_deref(), Some(challenge));
    let outcome = gateway.send("POST / HTTP/1.1");
    assert_eq!((outcome.status, outcome.header("WWW-Authenticate").as_deref()), (401, Some("Bearer")));
}

#[test]
fn roles_come_from_groups_claims_and_a_header_as_told() {
    let rule = r#"rules: [{name: r, roles: [finance, hr, ldap, k, flat, sent]}]"#;
    let all = r#"roles_from: {claims: [realm_access.roles, "https://x.test/roles"], header: X-Roles}"#;
    let none = "roles_from: {consumer_groups: false, authenticated_groups: false, claims: []}";
    for (sources, caller, status) in [
        (all, "apikey: ann", 200),
        (all, "apikey: bob", 200),
        (all, "vouched: vpn,ldap", 200),
        (all, r#"token: {"realm_access":{"roles":["a","k"]}}"#, 200),
        (all, r#"token: {"realm_access.roles":"flat"}"#, 200),
        (all, r#"token: {"https://x.test/roles":["flat"]}"#, 200),
        (all, r#"token: {"realm_access":["k"]}"#, 403),
        (all, r#"token: {"roles":["k"]}"#, 403),
        (all, r#"token: {"realm_access":{"roles":"a k"}}"#, 403),
        (all, "apikey: ann\nX-Roles: x", 200),
        (all, "apikey: nobody\nX-Roles: x , sent", 200),
        (all, "apikey: nobody\nX-Roles: x sent", 401),
        (none, "apikey: ann", 403),
        (none, "apikey: bob", 403),
        (none, "vouched: ldap", 403),
        (none, r#"token: {"roles":["k"]}"#, 403),
        (none, "apikey: nobody\nX-Roles: sent", 401),
    ] {
        let (_, found) = send(&format!("{{{sources}, {rule}}}"), &format!("GET / HTTP/1.1\n{caller}"));
        assert_eq!(found, status, "{sources} {caller}");
    }
}

#[test]
fn a_condition_without_a_value_never_allows() {
    let config = r#"{default: allow, rules: [
        {name: allow, paths: [/allow], when: "claims.level > 3"},
        {name: deny, effect: deny, paths: [/deny], when: "claims.level > 3"},
        {name: require, effect: require, paths: [/require], when: "claims.level > 3"},
        {name: rest, effect: deny, paths: [/allow]}]}"#;
    for (path, token, decision, status) in [
        ("/allow", r#"{"level":4}"#, "allow: allow", 200),
        ("/allow", r#"{"level":3}"#, "deny: rest", 403),
        ("/allow", r#"{"level":"4"}"#, "deny: rest", 403),
        ("/allow", "{}", "deny: rest", 403),
        ("/deny", r#"{"level":3}"#, "allow: default", 200),
        ("/deny", "{}", "deny: deny", 403),
        ("/require", r#"{"level":4}"#, "allow: default", 200),
        ("/require", "{}", "deny: require", 403),
    ] {
        assert_decided(config, &format!("GET {path} HTTP/1.1\ntoken: {token}"), decision, status);
    }
}

#[test]
fn attributes_of_caller_and_request_go_together() {
    let config = r#"{rules: [{name: abac, paths: ["/{type}/{id}"], when: "claims.department == 'finance' && parameters.type == 'payment'"}]}"#;
    let finance = r#"token: {"department":"finance"}"#;
    assert_decided(config, &format!("GET /payment/1 HTTP/1.1\n{finance}"), "allow: abac", 200);
    assert_decided(config, &format!("GET /person/1 HTTP/1.1\n{finance}"), "deny: default", 403);
    assert_decided(config, "GET /payment/1 HTTP/1.1\ntoken: {\"department\":\"hr\"}", "deny: default", 403);
    assert_decided(config, "GET /payment/1 HTTP/1.1\ntoken: {}", "deny: default", 403);
}

#[test]
fn who_decided_is_counted_and_shown_if_wanted() {
    let config = r#"{debug_header: X-Decided, rules: [{name: r, when: "claims.x == 1"}]}"#;
    let mut gateway = gateway(config);
    let shown = gateway.send("GET / HTTP/1.1\ntoken: {\"x\":1}").header("X-Decided");
    assert_eq!(shown.as_deref(), Some("allow: r"));
    assert_eq!(gateway.send("GET / HTTP/1.1").header("X-Decided").as_deref(), Some("deny: default"));
    gateway.send("GET / HTTP/1.1\ntoken: {\"x\":1}");
    let mut counts = Vec::new();
    gateway.services.figures.each(|family, values| {
        let counted =
            values.iter().filter(|(_, count)| family.name.starts_with("authorization") && *count > 0);
        counts.extend(counted.map(|(labels, count)| (labels[1..].join(" "), *count)));
    });
    let expected = [("default denied", 1), ("r allowed", 2), ("r failed", 1)];
    assert_eq!(counts, expected.map(|(name, count)| (name.to_owned(), count)));
    assert_eq!(self::gateway("{}").send("GET / HTTP/1.1").header("X-Decided"), None);
}

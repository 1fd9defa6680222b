//! Who passes with which token, and what is told of it. The provider's keys are handed in; nothing is asked for.

mod asking;
mod beside;
mod callers;
mod clients;
mod distributed;
mod exchanged;
mod handing;
mod holders;
mod logging_out;
mod login;
mod parameters;
mod passed_on;
mod passing_on;
mod pooled;
mod pseudo;
mod refused;
mod sessions;
mod signed;
mod telling;
mod world;

use plugin::harness::{GET, Harness, Outcome, START_MS, Subject};
use plugin::jose::{Algorithm, KeySet, Signer, to_base64url};
use plugin::remember::Published;
use serde_json::{Map, Value, json};

use super::OpenidConnect;
use super::provider::Issuer;

const NOW: u64 = START_MS / 1_000;
const ISSUER: &str = "http://issuer.test";
/// RFC 7515 A.3.
const P256: &str = r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0","d":"jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"}"#;
/// RFC 8037 A.1.
const ED25519: &str = r#"{"kty":"OKP","crv":"Ed25519","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
    "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
const SECRET: &str = "a-secret-of-at-least-32-characters";

/// A key pair with an id.
fn key(jwk: &str, id: &str) -> Value {
    let mut key: Value = serde_json::from_str(jwk).unwrap();
    key["kid"] = id.into();
    key
}

fn sign(key: &Value, claims: &Value) -> String {
    Signer::from_jwk(key).unwrap().sign(claims.as_object().unwrap()).unwrap()
}

/// Claims of a good token, with others in their place; null leaves one out.
fn claims(others: Value) -> Value {
    let mut claims =
        json!({"iss": ISSUER, "sub": "alice", "exp": NOW + 300, "iat": NOW, "scope": "read write"});
    let others: Map<String, Value> = serde_json::from_value(others).unwrap();
    for (name, value) in others {
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(&name)),
            value => claims[name] = value,
        }
    }
    claims
}

fn token(others: Value) -> String {
    sign(&key(P256, "one"), &claims(others))
}

fn bearer(token: &str) -> String {
    format!("GET / HTTP/1.1\nAuthorization: Bearer {token}")
}

/// Has the provider publish these keys.
fn publish(harness: &Harness, keys: &[Value]) {
    let keys = KeySet::published(json!({ "keys": keys }).to_string().as_bytes()).unwrap();
    let (_, provider) = harness.services.all_kept::<Published<Issuer>>().pop().unwrap();
    provider.publish(Issuer { name: Some(ISSUER.into()), keys, ..Issuer::default() });
}

/// The room with `fields` beside the issuer, the keys of the provider at hand, and some consumers.
fn harness(fields: &str) -> Harness {
    let shows = if fields.contains("display_errors") { "" } else { "display_errors: true," };
    let document = format!(
        r#"
_format_version: "3.0"
plugins:
- name: openid-connect
  config: {{issuer: "{ISSUER}", auth_methods: [bearer], {shows} {fields}}}
consumers:
- {{id: 5a0c4e11-9c1b-4b64-8d8c-0c7d3b6ef001, username: Alice, custom_id: "7"}}
- {{username: nobody}}
"#
    );
    let harness = Harness::new(plugin::room::<OpenidConnect>(), &document).unwrap();
    publish(&harness, &[key(P256, "one")]);
    harness
}

fn send(fields: &str, others: Value) -> Outcome {
    harness(fields).send(&bearer(&token(others)))
}

#[track_caller]
fn assert_passes(outcome: &Outcome) {
    assert!(!outcome.answered, "{} {}", outcome.status, outcome.json());
}

#[track_caller]
fn assert_refused(outcome: &Outcome, reason: &str) {
    let message = format!("Unauthorized ({reason})");
    assert_eq!((outcome.status, outcome.json()), (401, json!({ "message": message })));
    let challenge = "Bearer realm=\"issuer.test\", error=\"invalid_token\"";
    assert_eq!(outcome.header("WWW-Authenticate").as_deref(), Some(challenge));
}

#[track_caller]
fn assert_forbidden(outcome: &Outcome, reason: &str) {
    let message = format!("Forbidden ({reason})");
    assert_eq!((outcome.status, outcome.json()), (403, json!({ "message": message })));
    let challenge = "Bearer realm=\"issuer.test\", error=\"insufficient_scope\"";
    assert_eq!(outcome.header("WWW-Authenticate").as_deref(), Some(challenge));
}

#[test]
fn a_token_of_the_provider_passes_and_tells_who_calls() {
    let token = token(json!({}));
    let outcome = harness("")
        .send(&(bearer(&token) + "\nX-Consumer-Username: forged\nX-Credential-Identifier: forged"));
    assert_passes(&outcome);
    assert_eq!(outcome.upstream_header("X-Credential-Identifier").as_deref(), Some("alice"));
    assert_eq!(outcome.upstream_header("X-Consumer-Username"), None);
    assert_eq!(outcome.upstream_header("Authorization"), Some(format!("Bearer {token}")));
    let hidden = harness("upstream_access_token_header: \"\"").send(&bearer(&token));
    assert_eq!(hidden.upstream_header("Authorization"), None, "hidden, and not sent on otherwise");
}

#[test]
fn without_a_token_nobody_passes() {
    let mut harness = harness("display_errors: false");
    for request in [GET, "GET / HTTP/1.1\nAuthorization: Basic YTpi", "GET /?access_token= HTTP/1.1"] {
        let outcome = harness.send(request);
        assert_eq!((outcome.status, outcome.json()), (401, json!({"message": "Unauthorized"})));
        assert_eq!(outcome.header("WWW-Authenticate").as_deref(), Some("Bearer realm=\"issuer.test\""));
    }
    assert_eq!(
        harness.send(&bearer("a.b.c")).json(),
        json!({"message": "Unauthorized"}),
        "no reason is told"
    );
}

#[test]
fn a_challenge_names_the_host_of_the_provider() {
    for (issuer, realm) in [
        ("http://idp.test:8443/realms/a", "idp.test"),
        ("http://[2001:db8::1]:8080/realms/a", "[2001:db8::1]"),
        ("http://127.0.0.1?x", "127.0.0.1"),
    ] {
        let config = format!("{{issuer: '{issuer}', auth_methods: [bearer]}}");
        let outcome = Subject(plugin::room::<OpenidConnect>()).with(&config).send(GET);
        assert_eq!(outcome.header("WWW-Authenticate"), Some(format!("Bearer realm=\"{realm}\"")));
    }
}

#[test]
fn what_is_wrong_with_a_token_is_found() {
    let cases = [
        (json!({"exp": NOW}), "token expired"),
        (json!({"exp": NOW - 3600}), "token expired"),
        (json!({"exp": null}), "no expiry"),
        (json!({"exp": "tomorrow"}), "a time that is no number"),
        (json!({"nbf": NOW + 1}), "token not valid yet"),
        (json!({"iat": NOW + 1}), "token issued in the future"),
        (json!({"iss": "http://issuer.test.evil"}), "not an accepted issuer"),
        (json!({"iss": null}), "not an accepted issuer"),
        (json!({"iss": [ISSUER]}), "not an accepted issuer"),
    ];
    let mut harness = harness("");
    for (others, reason) in cases {
        assert_refused(&harness.send(&bearer(&token(others))), reason);
    }
    let long = token(json!({"x": "y".repeat(17 << 10)}));
    let form = "Content-Type: application/x-www-form-urlencoded";
    let long = harness.send(&format!("POST / HTTP/1.1\n{form}\n\naccess_token={long}"));
    assert_refused(&long, "token is too long");
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(2_000), "]".repeat(2_000));
    let header = to_base64url(br#"{"alg":"ES256"}"#);
    let deep = format!("{header}.{}.{}", to_base64url(deep.as_bytes()), to_base64url(&[1; 64]));
    assert_refused(&harness.send(&bearer(&deep)), "invalid signature");
    for text in ["x", "a.b.c", "e30.e30.", "...."] {
        assert_eq!(harness.send(&bearer(text)).status, 401, "{text}");
    }
}

#[test]
fn clocks_may_differ_by_the_leeway_and_no_more() {
    for (others, passes) in [
        (json!({"exp": NOW - 9}), true),
        (json!({"exp": NOW - 10}), false),
        (json!({"nbf": NOW + 10, "iat": NOW + 10}), true),
        (json!({"nbf": NOW + 11}), false),
        (json!({"iat": NOW + 11}), false),
    ] {
        let outcome = send("leeway: 10", others.clone());
        assert_eq!(!outcome.answered, passes, "{others}");
    }
}

#[test]
fn only_the_keys_of_the_provider_sign_its_tokens() {
    let mut harness = harness("");
    let stranger = sign(&key(ED25519, "one"), &claims(json!({})));
    assert_refused(&harness.send(&bearer(&stranger)), "no suitable key");
    let (head, _) =
        token(json!({})).rsplit_once('.').map(|(head, tail)| (head.to_owned(), tail.to_owned())).unwrap();
    assert_refused(
        &harness.send(&bearer(&format!("{head}.{}", to_base64url(&[1; 64])))),
        "invalid signature",
    );
    let body = to_base64url(claims(json!({})).to_string().as_bytes());
    for algorithm in ["none", "None", "NONE", ""] {
        let header = to_base64url(json!({ "alg": algorithm }).to_string().as_bytes());
        assert_refused(&harness.send(&bearer(&format!("{header}.{body}."))), "unsupported algorithm");
    }
    // The public key, in the forms in which it is published, is no shared secret.
    for secret in [P256.to_owned(), key(P256, "one").to_string()] {
        let signer = Signer::with_secret(Algorithm::Hs256, secret.as_bytes()).unwrap();
        let forged = signer.sign(claims(json!({})).as_object().unwrap()).unwrap();
        assert_refused(&harness.send(&bearer(&forged)), "unsupported algorithm");
    }
    for id in ["two", "../../../dev/null", "one' OR '1'='1", "http://127.0.0.1:1/keys", "one\u{0}"] {
        let injected = sign(&key(P256, id), &claims(json!({})));
        assert_refused(&harness.send(&bearer(&injected)), "no suitable key");
    }
}

#[test]
fn tokens_of_other_kinds_are_no_access_tokens() {
    let signed = |kind: &str| {
        let key = aws_key();
        let header = to_base64url(json!({"alg": "ES256", "typ": kind}).to_string().as_bytes());
        let text = format!("{header}.{}", to_base64url(claims(json!({})).to_string().as_bytes()));
        let random = aws_lc_rs::rand::SystemRandom::new();
        let signature = key.sign(&random, text.as_bytes()).unwrap();
        format!("{text}.{}", to_base64url(signature.as_ref()))
    };
    let mut harness = harness("");
    for (kind, passes) in [
        ("JWT", true),
        ("at+jwt", true),
        ("application/at+jwt", true),
        ("AT+JWT", true),
        ("logout+jwt", false),
        ("dpop+jwt", false),
        ("secevent+jwt", false),
        ("", false),
    ] {
        assert_eq!(!harness.send(&bearer(&signed(kind))).answered, passes, "{kind}");
    }
}

fn aws_key() -> aws_lc_rs::signature::EcdsaKeyPair {
    aws_pair(&key(P256, "one"))
}

fn aws_pair(key: &Value) -> aws_lc_rs::signature::EcdsaKeyPair {
    let part = |name: &str| plugin::jose::from_base64url(key[name].as_str().unwrap()).unwrap();
    let public = [vec![4], part("x"), part("y")].concat();
    let algorithm = &aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED_SIGNING;
    aws_lc_rs::signature::EcdsaKeyPair::from_private_key_and_public_key(algorithm, &part("d"), &public)
        .unwrap()
}

#[test]
fn keys_come_and_go_with_the_provider() {
    let mut harness = harness("");
    let (old, new) = (token(json!({})), sign(&key(ED25519, "two"), &claims(json!({}))));
    assert_passes(&harness.send(&bearer(&old)));
    assert_refused(&harness.send(&bearer(&new)), "no suitable key");
    publish(&harness, &[key(P256, "one"), key(ED25519, "two")]);
    assert_passes(&harness.send(&bearer(&new)));
    assert_passes(&harness.send(&bearer(&old)));
    publish(&harness, &[key(ED25519, "two")]);
    assert_refused(&harness.send(&bearer(&old)), "no suitable key");
    assert_passes(&harness.send(&bearer(&new)));
}

#[test]
fn a_remembered_token_still_expires() {
    for leeway in ["leeway: 0", "leeway: 5"] {
        let mut harness = harness(leeway);
        let request = bearer(&token(json!({"exp": NOW + 10})));
        assert_passes(&harness.send(&request));
        assert_passes(&harness.send(&request));
        harness.clock.advance(15_000);
        assert_refused(&harness.send(&request), "token expired");
    }
}

#[test]
fn secrets_sign_tokens_only_where_that_is_allowed() {
    let signer = Signer::with_secret(Algorithm::Hs256, SECRET.as_bytes()).unwrap();
    let token = signer.sign(claims(json!({})).as_object().unwrap()).unwrap();
    assert_refused(
        &harness(&format!("client_secret: [{SECRET}]")).send(&bearer(&token)),
        "unsupported algorithm",
    );
    let mut allowed = harness(&format!("client_secret: [{SECRET}], enable_hs_signatures: true"));
    assert_passes(&allowed.send(&bearer(&token)));
    let stranger = Signer::with_secret(Algorithm::Hs256, b"another-secret-of-at-least-32-bytes").unwrap();
    let forged = stranger.sign(claims(json!({})).as_object().unwrap()).unwrap();
    assert_refused(&allowed.send(&bearer(&forged)), "invalid signature");
    let refusal = Subject(plugin::room::<OpenidConnect>()).refuses(
        "{issuer: 'http://issuer.test', auth_methods: [bearer], client_secret: [short], enable_hs_signatures: true}",
    );
    assert!(refusal.contains("config.client_secret"), "{refusal}");
}

#[test]
fn requirements_take_one_entry_and_all_its_words() {
    let cases = [
        ("scopes_required: [read]", json!({}), true),
        ("scopes_required: [admin, read]", json!({}), true),
        ("scopes_required: [\"read write\"]", json!({}), true),
        ("scopes_required: [\"read admin\"]", json!({}), false),
        ("scopes_required: [rea]", json!({}), false),
        ("scopes_required: [read]", json!({"scope": null}), false),
        ("scopes_required: [read]", json!({"scope": ["read"]}), true),
        ("scopes_required: [read], scopes_claim: [realm, scp]", json!({"realm": {"scp": "read"}}), true),
        ("audience_required: [orders]", json!({"aud": "orders"}), true),
        ("audience_required: [orders]", json!({"aud": ["x", "orders"]}), true),
        ("audience_required: [orders]", json!({"aud": "orders others"}), false),
        ("audience_required: [orders]", json!({}), false),
        ("groups_required: [staff]", json!({"groups": ["staff"]}), true),
        ("groups_required: [staff]", json!({"groups": ["guests"]}), false),
        (
            "roles_required: [admin], roles_claim: [realm_access, roles]",
            json!({"realm_access": {"roles": ["admin"]}}),
            true,
        ),
        ("roles_required: [admin]", json!({"roles": {"admin": true}}), false),
        ("claims_forbidden: [act]", json!({"act": null}), true),
        ("claims_forbidden: [act]", json!({"act": {"sub": "bob"}}), false),
    ];
    for (fields, others, passes) in cases {
        let outcome = send(fields, others.clone());
        assert_eq!(outcome.status, if passes { 200 } else { 403 }, "{fields} {others}");
    }
    assert_forbidden(&send("scopes_required: [admin]", json!({})), "a required scope is missing");
}

#[test]
fn domains_and_issuers_are_those_that_are_listed() {
    assert_passes(&send("domains: [example.com]", json!({"hd": "example.com"})));
    assert_refused(&send("domains: [example.com]", json!({"hd": "example.org"})), "not one of the domains");
    assert_refused(&send("domains: [example.com]", json!({})), "not one of the domains");
    let fields = "issuers_allowed: [\"http://other.test\"]";
    assert_passes(&send(fields, json!({"iss": "http://other.test"})));
    assert_refused(&send(fields, json!({})), "not an accepted issuer");
}

#[test]
fn a_claim_names_the_consumer() {
    let cases = [
        ("consumer_claims: [[name]]", json!({"name": "Alice"}), true),
        ("consumer_claim: [name]", json!({"name": "Alice"}), true),
        ("consumer_claims: [[name]]", json!({"name": 7}), true),
        ("consumer_claims: [[name]]", json!({"name": "alice"}), false),
        ("consumer_claims: [[name]], by_username_ignore_case: true", json!({"name": "aLICE"}), true),
        ("consumer_claims: [[nick], [name]]", json!({"nick": "al", "name": "Alice"}), true),
        ("consumer_claims: [[who, name]]", json!({"who": {"name": "Alice"}}), true),
        ("consumer_claims: [[name]], consumer_by: [custom_id]", json!({"name": "Alice"}), false),
        (
            "consumer_claims: [[name]], consumer_by: [id]",
            json!({"name": "5a0c4e11-9c1b-4b64-8d8c-0c7d3b6ef001"}),
            true,
        ),
    ];
    for (fields, others, found) in cases {
        let outcome = send(fields, others);
        let consumer = outcome.upstream_header("X-Consumer-Username");
        assert_eq!(
            (consumer.as_deref(), outcome.status),
            if found { (Some("Alice"), 200) } else { (None, 403) },
            "{fields}"
        );
    }
    assert_forbidden(&send("consumer_claims: [[name]]", json!({})), "no consumer");
    let outcome = send("consumer_claims: [[name]], consumer_optional: true", json!({"name": "who"}));
    assert_passes(&outcome);
    assert_eq!(outcome.upstream_header("X-Consumer-Username"), None);
}

#[test]
fn claims_become_headers_and_nobody_else_writes_them() {
    let fields = "upstream_headers_claims: [email, level], upstream_headers_names: [X-Email, X-Level], \
        upstream_headers: [{header: X-City, path: [address, city]}, {header: X-Roles, path: [roles]}], \
        downstream_headers_claims: [sub], downstream_headers_names: [X-Who]";
    let others = json!({"email": "a@example.com", "address": {"city": "Ulm"}, "roles": ["a", "b"]});
    let request = bearer(&token(others)) + "\nX-Level: forged\nX-Email: forged\nX-City: forged";
    let outcome = harness(fields).send(&request);
    assert_passes(&outcome);
    let sent = ["X-Email", "X-City", "X-Roles", "X-Level"].map(|name| outcome.upstream_header(name));
    assert_eq!(sent, [Some("a@example.com".into()), Some("Ulm".into()), Some("a,b".into()), None]);
    assert_eq!(outcome.header("X-Who").as_deref(), Some("alice"));
    let split = send(
        "upstream_headers_claims: [email], upstream_headers_names: [X-Email]",
        json!({"email": "a\r\nX-Evil: 1"}),
    );
    assert_passes(&split);
    assert_eq!((split.upstream_header("X-Email"), split.upstream_header("X-Evil")), (None, None));
}

#[test]
fn tokens_are_found_where_they_may_stand_and_hidden() {
    let fields = "bearer_token_param_type: [header, query, body, cookie], bearer_token_cookie_name: at, \
        upstream_access_token_header: X-Token";
    let (mut harness, token) = (harness(fields), token(json!({})));
    let form = "Content-Type: application/x-www-form-urlencoded";
    for request in [
        format!("GET / HTTP/1.1\nAuthorization: bearer {token}"),
        format!("GET /?a=1&access_token={token} HTTP/1.1"),
        format!("GET / HTTP/1.1\nCookie: x=y; at={token}"),
        format!("POST / HTTP/1.1\n{form}\n\na=1&access_token={token}"),
        format!("GET /?access_token={token} HTTP/1.1\nAuthorization: Bearer {token}"),
    ] {
        let outcome = harness.send(&request);
        assert_passes(&outcome);
        assert_eq!(outcome.upstream_header("X-Token").as_deref(), Some(token.as_str()));
        assert_eq!(outcome.upstream_header("Authorization"), None);
        let cookies = outcome.upstream_header("Cookie");
        assert_eq!(cookies.as_deref(), request.contains("Cookie").then_some("x=y"));
        assert!(!outcome.upstream_query.unwrap_or_default().contains("access_token"));
        assert!(!String::from_utf8_lossy(&outcome.upstream_body).contains("access_token"));
    }
    let mut elsewhere =
        super::tests::harness("bearer_token_param_type: [header], bearer_token_header_name: X-Jwt");
    assert_passes(&elsewhere.send(&format!("GET / HTTP/1.1\nX-Jwt: {token}")));
    assert_eq!(elsewhere.send(&bearer(&token)).status, 401);
    assert_eq!(elsewhere.send(&format!("GET /?access_token={token} HTTP/1.1")).status, 401);
}

#[test]
fn several_tokens_are_too_many() {
    let (one, other) = (token(json!({})), token(json!({"sub": "bob"})));
    let mut harness = harness("");
    for request in [
        format!("GET / HTTP/1.1\nAuthorization: Bearer {one}\nAuthorization: Bearer {other}"),
        format!("GET /?access_token={one} HTTP/1.1\nAuthorization: Bearer {other}"),
    ] {
        let outcome = harness.send(&request);
        let challenge = "Bearer realm=\"issuer.test\", error=\"invalid_request\"";
        assert_eq!((outcome.status, outcome.header("WWW-Authenticate").as_deref()), (401, Some(challenge)));
    }
}

#[test]
fn an_anonymous_consumer_stands_in_for_who_proves_nothing() {
    let mut harness = harness("anonymous: nobody, scopes_required: [admin]");
    for request in [GET.to_owned(), bearer(&token(json!({"exp": NOW - 1})))] {
        let outcome = harness.send(&request);
        assert_passes(&outcome);
        assert_eq!(outcome.upstream_header("X-Anonymous-Consumer").as_deref(), Some("true"));
        assert_eq!(outcome.upstream_header("Authorization"), None, "a bad token is not sent on");
    }
    assert_forbidden(&harness.send(&bearer(&token(json!({})))), "a required scope is missing");
}

#[test]
fn a_preflight_may_pass_without_a_token() {
    assert_passes(&harness("run_on_preflight: false").send("OPTIONS / HTTP/1.1"));
    assert_eq!(harness("").send("OPTIONS / HTTP/1.1").status, 401);
}

#[test]
fn what_does_not_verify_is_said_plainly() {
    let fields = "verify_claims: false";
    assert_passes(&send(fields, json!({"exp": NOW - 1, "iss": "x"})));
    let mut unsigned = harness("verify_signature: false");
    let (head, _) =
        token(json!({})).rsplit_once('.').map(|(head, tail)| (head.to_owned(), tail.len())).unwrap();
    assert_passes(&unsigned.send(&bearer(&format!("{head}.AAAA"))));
    assert_refused(&unsigned.send(&bearer(&token(json!({"exp": NOW})))), "token expired");
}

#[test]
fn a_provider_that_was_never_reached_fails_requests_as_the_gateways_fault() {
    let config = "{issuer: 'http://127.0.0.1:1', auth_methods: [bearer]}";
    let mut harness = Subject(plugin::room::<OpenidConnect>()).with(config);
    let outcome = harness.send(&bearer(&token(json!({}))));
    assert_eq!((outcome.status, outcome.message.as_deref()), (500, Some("An unexpected error occurred")));
    assert_eq!(harness.send(GET).status, 401, "who has no token is told so");
}

#[test]
fn the_default_methods_are_those_that_the_rest_makes_possible() {
    let room = Subject(plugin::room::<OpenidConnect>());
    let mut bare = room.with("{issuer: 'http://issuer.test'}");
    publish(&bare, &[key(P256, "one")]);
    assert_passes(&bare.send(&bearer(&token(json!({})))));
    let nobody = bare.send(GET);
    assert_eq!((nobody.status, nobody.header("Location")), (401, None), "nobody can log in without a client");
}

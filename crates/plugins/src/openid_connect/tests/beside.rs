//! ID tokens that callers bring beside their bearer token.

use aws_lc_rs::digest::{SHA256, digest};
use plugin::outbound::loopback::{Given, Loopback};

use super::*;

const FIELDS: &str = "client_id: [gateway], client_secret: [secret], id_token_param_name: id_token, upstream_id_token_header: X-Id, \
                      upstream_headers_claims: [email, scope], upstream_headers_names: [X-Email, X-Scope]";

fn id_token(others: Value) -> String {
    let mut own = json!({"aud": "gateway", "email": "a@b.test", "scope": "everything"});
    let others: Map<String, Value> = serde_json::from_value(others).unwrap();
    own.as_object_mut().unwrap().extend(others);
    token(own)
}

/// A request with both.
fn with(access: &str, id: &str) -> String {
    format!("{}\nid_token: {id}", bearer(access))
}

#[test]
fn an_id_token_beside_a_bearer_token_counts_wherever_it_stands() {
    let (access, id) = (token(json!({})), id_token(json!({})));
    let in_form = format!(
        "POST / HTTP/1.1\nAuthorization: Bearer {access}\nContent-Type: application/x-www-form-urlencoded"
    );
    let mut harness = harness(FIELDS);
    for (request, body) in [
        (with(&access, &id), String::new()),
        (format!("GET /?a=1&id_token={id} HTTP/1.1\nAuthorization: Bearer {access}"), String::new()),
        (in_form, format!("a=1&id_token={id}")),
        (with(&access, &id), String::new()),
    ] {
        let outcome = harness.send_bytes(&request, body.as_bytes());
        assert_passes(&outcome);
        assert_eq!(outcome.upstream_header("X-Email").as_deref(), Some("a@b.test"), "{request}");
        assert_eq!(outcome.upstream_header("X-Id").as_deref(), Some(id.as_str()));
        assert_eq!(
            outcome.upstream_header("X-Scope").as_deref(),
            Some("read write"),
            "that of the bearer token"
        );
        assert_eq!(outcome.upstream_header("id_token"), None, "it is hidden");
        assert!(!outcome.upstream_query.unwrap_or_default().contains("id_token"), "it is hidden");
    }
    let alone = harness.send(&bearer(&access));
    assert_passes(&alone);
    assert_eq!((alone.upstream_header("X-Email"), alone.upstream_header("X-Id")), (None, None));
}

#[test]
fn an_id_token_of_somebody_else_is_no_company() {
    let access = token(json!({}));
    let hash = to_base64url(&digest(&SHA256, access.as_bytes()).as_ref()[..16]);
    let mut harness = harness(FIELDS);
    assert_passes(&harness.send(&with(&access, &id_token(json!({"at_hash": hash})))));
    for (others, reason) in [
        (json!({"sub": "bob"}), "an ID token about another person"),
        (json!({"aud": "other"}), "an ID token for another client"),
        (json!({"iss": "http://evil.test"}), "not an accepted issuer"),
        (json!({"exp": NOW}), "token has expired"),
        (json!({"at_hash": "AAAA"}), "an ID token of another access token"),
    ] {
        // The first time is remembered.
        for _ in 0..2 {
            let outcome = harness.send(&with(&access, &id_token(others.clone())));
            assert_eq!(outcome.status, 401, "{others}");
            if reason != "token has expired" {
                assert_refused(&outcome, reason);
            }
        }
    }
    let forged = sign(&key(ED25519, "one"), &claims(json!({"aud": "gateway"})));
    assert_refused(&harness.send(&with(&access, &forged)), "no suitable key");
    let several = format!(
        "GET /?id_token={} HTTP/1.1\nAuthorization: Bearer {access}\nid_token: {}",
        id_token(json!({})),
        id_token(json!({"email": "c"}))
    );
    assert_eq!(harness.send(&several).status, 401);
    assert_passes(&harness.send(&with(&access, &id_token(json!({})))));
    let other = token(json!({"sub": "bob"}));
    assert_refused(&harness.send(&with(&other, &id_token(json!({})))), "an ID token about another person");
}

#[test]
fn an_id_token_makes_nobody_of_a_token_without_a_name() {
    let provider = Loopback::answering(|asked| match asked.text().contains("token=named") {
        true => Given::json(r#"{"active":true,"sub":"alice","exp":9999999999}"#),
        false => Given::json(r#"{"active":true,"exp":9999999999}"#),
    });
    let fields = format!("{FIELDS}, introspection_endpoint: '{}'", provider.url("/introspect"));
    let harness = || {
        let document = format!(
            "_format_version: '3.0'\nplugins:\n- name: openid-connect\n  config: {{issuer: '{ISSUER}', auth_methods: [introspection], \
             display_errors: true, {fields}}}\n"
        );
        let harness = Harness::new(plugin::room::<OpenidConnect>(), &document).unwrap().in_real_time();
        publish(&harness, &[key(P256, "one")]);
        harness
    };
    let outcome = harness().send(&with("named", &id_token(json!({}))));
    assert_passes(&outcome);
    assert_eq!(outcome.upstream_header("X-Email").as_deref(), Some("a@b.test"));
    let stolen = harness().send(&with("nameless", &id_token(json!({}))));
    assert_refused(&stolen, "an ID token that nothing ties to the token");
    let hash = to_base64url(&digest(&SHA256, b"nameless").as_ref()[..16]);
    assert_passes(&harness().send(&with("nameless", &id_token(json!({"at_hash": hash})))));
}

#[test]
fn an_id_token_needs_a_client_that_it_is_for() {
    let room = Subject(plugin::room::<OpenidConnect>());
    let refusal =
        room.refuses("{issuer: 'http://issuer.test', auth_methods: [bearer], id_token_param_name: id}");
    assert!(refusal.contains("config.id_token_param_name: needs a 'client_id'"), "{refusal}");
}

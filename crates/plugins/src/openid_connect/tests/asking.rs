//! What the provider is asked, and how often. A server on the loopback plays it.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use plugin::outbound::loopback::{Given, Loopback};

use super::*;

/// A provider that answers about tokens: those that begin with `good` are.
fn asked_about_tokens() -> Loopback {
    Loopback::answering(|asked| {
        let form = asked.text();
        match (asked.target.as_str(), form.contains("token=good")) {
            ("/introspect", true) => {
                Given::json(r#"{"active":true,"sub":"bob","scope":"read","exp":9999999999}"#)
            }
            ("/introspect", false) => Given::json(r#"{"active":false,"sub":"bob"}"#),
            _ => Given::answer(500, &[], ""),
        }
    })
}

fn introspecting(provider: &Loopback, fields: &str) -> Harness {
    Subject(plugin::room::<OpenidConnect>())
        .with(&format!(
            "{{issuer: 'http://issuer.test', auth_methods: [introspection], introspection_endpoint: '{}', \
         client_id: ['the gateway'], client_secret: ['s:cret'], display_errors: true, {fields}}}",
            provider.url("/introspect")
        ))
        .in_real_time()
}

#[test]
fn the_provider_is_asked_about_a_token_once() {
    let provider = asked_about_tokens();
    let mut harness = introspecting(&provider, "scopes_required: [read]");
    for _ in 0..3 {
        let outcome = harness.send(&bearer("good"));
        assert_passes(&outcome);
        assert_eq!(outcome.upstream_header("X-Credential-Identifier").as_deref(), Some("bob"));
        assert_refused(&harness.send(&bearer("bad")), "token is not active");
    }
    assert_eq!(provider.seen().len(), 2);
    let asked = &provider.seen()[0];
    assert_eq!(asked.text(), "token=good&token_type_hint=access_token");
    // RFC 6749 2.3.1: "the+gateway:s%3Acret".
    assert_eq!(asked.header("Authorization").as_deref(), Some("Basic dGhlK2dhdGV3YXk6cyUzQWNyZXQ="));
    harness.clock.advance(10_000);
    assert_refused(&harness.send(&bearer("bad")), "token is not active");
    assert_eq!(provider.seen().len(), 3, "a bad token may become good");
    assert_forbidden(
        &introspecting(&provider, "scopes_required: [admin]").send(&bearer("good")),
        "a required scope is missing",
    );
}

#[test]
fn the_gateway_signs_in_as_the_configuration_says() {
    let provider = asked_about_tokens();
    let ask = |fields: &str| {
        introspecting(&provider, fields).send(&bearer("good"));
        provider.last()
    };
    let post = ask("client_auth: [client_secret_post]");
    assert!(post.text().ends_with("&client_id=the+gateway&client_secret=s%3Acret"), "{}", post.text());
    assert_eq!(post.header("Authorization"), None);
    assert!(ask("client_auth: [none]").text().ends_with("&client_id=the+gateway"));
    let signed = ask("client_auth: [client_secret_jwt]").text();
    let (_, assertion) = signed.rsplit_once("client_assertion=").unwrap();
    let claims = plugin::jose::Token::without_verification(assertion.as_bytes()).unwrap().claims;
    assert_eq!(claims["aud"], json!(provider.url("/introspect")));
    assert_eq!((&claims["iss"], &claims["exp"]), (&json!("the gateway"), &json!(NOW + 60)));
    let room = Subject(plugin::room::<OpenidConnect>());
    for (fields, name) in [
        (
            "client_id: [a], client_secret: [b], client_auth: [tls_client_auth]",
            "config.client_auth: 'tls_client_auth' needs the id of a certificate",
        ),
        (
            "client_id: [a], client_auth: [self_signed_tls_client_auth], tls_client_auth_cert_id: nobody",
            "config.tls_client_auth_cert_id: names no certificate",
        ),
        ("client_id: [a]", "config.client_id: 'client_secret_basic' needs a 'client_secret'"),
        ("client_secret: [a]", "config.auth_methods: needs a 'client_id'"),
    ] {
        let config = format!("{{issuer: 'http://issuer.test', auth_methods: [introspection], {fields}}}");
        let refusal = room.refuses(&config);
        assert!(refusal.contains(name), "{name}: {refusal}");
    }
}

#[test]
fn what_is_signed_with_a_key_names_its_certificate() {
    let provider = asked_about_tokens();
    let assertion = |members: Value| {
        let mut jwk = key(P256, "client");
        jwk.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        let fields = format!("client_auth: [private_key_jwt], client_jwk: [{jwk}]");
        introspecting(&provider, &fields).send(&bearer("good"));
        let (_, assertion) = provider
            .last()
            .text()
            .rsplit_once("client_assertion=")
            .map(|(form, assertion)| (form.to_owned(), assertion.to_owned()))
            .unwrap();
        let (header, _) = assertion.split_once('.').unwrap();
        serde_json::from_slice::<Value>(&BASE64_URL_SAFE_NO_PAD.decode(header).unwrap()).unwrap()
    };
    let plain = json!({"alg": "ES256", "typ": "JWT", "kid": "client"});
    assert_eq!(assertion(json!({"use": "sig", "key_ops": ["sign"]})), plain);
    let certificate = json!({"x5t": "c2hhMQ", "x5t#S256": "c2hhMjU2", "x5c": ["MIIB"]});
    let mut named = plain;
    named.as_object_mut().unwrap().extend(certificate.as_object().unwrap().clone());
    assert_eq!(assertion(certificate), named);
}

#[test]
fn a_key_that_does_not_sign_is_refused_with_its_reason() {
    let room = Subject(plugin::room::<OpenidConnect>());
    let refusal = |members: Value| {
        let mut jwk = key(P256, "client");
        jwk.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        room.refuses(&format!(
            "{{issuer: 'http://issuer.test', auth_methods: [introspection], client_id: [a], client_auth: [private_key_jwt], \
             client_jwk: [{jwk}]}}"
        ))
    };
    let purpose = refusal(json!({"key_ops": ["verify"]}));
    assert!(purpose.contains("config.client_jwk: cannot sign"), "{purpose}");
    for name in ["issuer", "oth", "r", "t", "x5u"] {
        let refusal = refusal(json!({ name: "x" }));
        assert!(refusal.contains(&format!("'{name}' is not used when the gateway signs")), "{refusal}");
    }
}

#[test]
fn a_provider_that_does_not_answer_about_tokens_lets_nobody_pass() {
    let provider = Loopback::answering(|_| Given::answer(503, &[], ""));
    assert_eq!(introspecting(&provider, "").send(&bearer("good")).status, 500);
}

/// Its keys are known, and what it says about tokens is `said`.
fn asked_about_signed_tokens(said: (u16, &'static str)) -> Loopback {
    let keys = json!({"keys": [key(P256, "one")]}).to_string();
    Loopback::answering(move |asked| match asked.target.as_str() {
        "/.well-known/openid-configuration" => {
            let base = format!("http://{}", asked.header("Host").unwrap_or_default());
            let about = format!("{base}/introspect");
            let document = json!({"issuer": ISSUER, "jwks_uri": format!("{base}/keys"), "introspection_endpoint": about});
            Given::json(&document.to_string())
        }
        "/keys" => Given::json(&keys),
        _ => Given::answer(said.0, &[("Content-Type", "application/json")], said.1),
    })
}

#[test]
fn a_signature_alone_is_not_enough_where_the_provider_is_asked_about_signed_tokens_too() {
    let (inactive, active) = (r#"{"active":false}"#, r#"{"active":true,"sub":"alice","exp":9999999999}"#);
    for (said, more, status) in [
        ((503, ""), "", 500),
        ((200, inactive), "", 401),
        ((200, inactive), ", cache_introspection: false", 401),
        ((200, active), ", cache_introspection: false", 200),
    ] {
        let provider = asked_about_signed_tokens(said);
        let config = format!(
            "{{issuer: '{}', auth_methods: [bearer, introspection], introspect_jwt_tokens: true, client_id: [gateway], \
             client_secret: [secret]{more}}}",
            provider.url("/")
        );
        let mut harness = Subject(plugin::room::<OpenidConnect>()).with(&config).in_real_time();
        for _ in 0..3 {
            let outcome = harness.send(&bearer(&token(json!({}))));
            assert_eq!((outcome.answered, outcome.status), (status != 200, status), "{said:?}{more}");
        }
    }
}

#[test]
fn a_provider_that_cannot_describe_itself_is_asked_again_after_the_time_that_is_said() {
    let provider = Loopback::answering(|_| Given::answer(503, &[], ""));
    let config = format!("{{issuer: '{}', auth_methods: [bearer], cache_ttl_neg: 5}}", provider.url("/"));
    let mut harness = Subject(plugin::room::<OpenidConnect>()).with(&config).in_real_time();
    for (wait_ms, asked) in [(0, 1), (4_999, 1), (1, 2), (4_999, 2), (1, 3)] {
        harness.clock.advance(wait_ms);
        assert_eq!(harness.send(&bearer(&token(json!({})))).status, 500);
        assert_eq!(provider.seen().len(), asked, "after {wait_ms} more milliseconds");
    }
}

#[test]
fn discovery_leads_to_the_keys() {
    let keys = json!({"keys": [key(P256, "one")]}).to_string();
    let provider = Loopback::answering(move |asked| match asked.target.as_str() {
        "/.well-known/openid-configuration" => {
            let host = asked.header("Host").unwrap_or_default();
            Given::json(&json!({"issuer": ISSUER, "jwks_uri": format!("http://{host}/keys")}).to_string())
        }
        "/keys" => Given::json(&keys),
        _ => Given::answer(404, &[], ""),
    });
    let config = format!("{{issuer: '{}', auth_methods: [bearer]}}", provider.url("/"));
    let mut harness = Subject(plugin::room::<OpenidConnect>()).with(&config).in_real_time();
    for _ in 0..3 {
        assert_passes(&harness.send(&bearer(&token(json!({})))));
        assert_eq!(harness.send(&bearer(&sign(&key(ED25519, "two"), &claims(json!({}))))).status, 401);
    }
    let asked: Vec<String> = provider.seen().iter().map(|asked| asked.target.clone()).collect();
    assert_eq!(asked, ["/.well-known/openid-configuration", "/keys"], "unknown keys reach nobody so soon");
    harness.clock.advance(30_000);
    for _ in 0..3 {
        assert_eq!(harness.send(&bearer(&sign(&key(ED25519, "two"), &claims(json!({}))))).status, 401);
    }
    assert_eq!(provider.seen().len(), 4, "one more look after the cool-down");
}

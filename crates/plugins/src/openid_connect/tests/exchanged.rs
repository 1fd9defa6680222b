//! Tokens that are exchanged for others.

use plugin::outbound::loopback::{Given, Loopback, Received};

use super::world::argument;
use super::*;

/// A provider that exchanges whatever it is shown for a token of the audience `orders`, and a partner with keys of its own.
fn exchanging() -> Loopback {
    Loopback::answering(|asked: &Received| {
        let base = format!("http://{}", asked.header("Host").unwrap());
        match asked.target.as_str() {
            "/.well-known/openid-configuration" => Given::json(
                &json!({"issuer": base, "jwks_uri": format!("{base}/keys"), "token_endpoint": format!("{base}/token")})
                    .to_string(),
            ),
            "/keys" => Given::json(&json!({ "keys": [key(P256, "one")] }).to_string()),
            "/partner" => Given::json(&json!({ "keys": [key(ED25519, "two")] }).to_string()),
            "/token" | "/exchange" if asked.text().contains("subject_token=bad") => Given::answer(400, &[], "{}"),
            "/token" | "/exchange" => {
                let made = token(json!({"iss": base, "aud": "orders", "sub": "exchanged"}));
                Given::json(&json!({"access_token": made, "expires_in": 60, "token_type": "Bearer"}).to_string())
            }
            _ => Given::answer(404, &[], ""),
        }
    })
}

fn gateway(provider: &Loopback, exchange: &str, more: &str) -> Harness {
    let config = format!(
        "{{issuer: '{}', client_id: [gateway], client_secret: [secret], display_errors: true, auth_methods: [bearer], \
         token_exchange: {{subject_token_issuers: [{{issuer: 'http://partner.test'{exchange}}}]{more}}}",
        provider.url("")
    );
    Subject(plugin::room::<OpenidConnect>()).with(&config).in_real_time()
}

fn partners(others: Value) -> String {
    let mut said = claims(json!({"iss": "http://partner.test", "aud": "partner"}));
    let others: Map<String, Value> = serde_json::from_value(others).unwrap();
    said.as_object_mut().unwrap().extend(others);
    sign(&key(ED25519, "two"), &said)
}

fn asked(provider: &Loopback, path: &str) -> Vec<Received> {
    provider.seen().into_iter().filter(|asked| asked.target == path).collect()
}

#[test]
fn a_partners_token_is_exchanged_for_one_of_the_provider() {
    let provider = exchanging();
    let mut harness = gateway(
        &provider,
        "",
        ", request: {audience: [orders], scopes: [read, write]}}, audience_required: [orders]",
    );
    for _ in 0..3 {
        let outcome = harness.send(&bearer(&partners(json!({}))));
        assert_passes(&outcome);
        assert_eq!(outcome.upstream_header("X-Credential-Identifier").as_deref(), Some("exchanged"));
        let sent = outcome.upstream_header("Authorization").unwrap();
        assert_ne!(sent, format!("Bearer {}", partners(json!({}))), "the upstream gets the new token");
    }
    let form = asked(&provider, "/token").pop().unwrap().text();
    let said = |name: &str| argument(&form, name).unwrap();
    assert_eq!(said("grant_type"), "urn:ietf:params:oauth:grant-type:token-exchange");
    assert_eq!(said("subject_token_type"), "urn:ietf:params:oauth:token-type:access_token");
    assert_eq!(
        [said("subject_token"), said("audience"), said("scope")],
        [partners(json!({})), "orders".into(), "read write".into()]
    );
    assert_eq!(asked(&provider, "/token").len(), 1, "it is used again");
    let own = token(json!({"iss": provider.url(""), "aud": "orders"}));
    assert_passes(&harness.send(&bearer(&own)));
    assert_eq!(asked(&provider, "/token").len(), 1, "tokens of the provider are good as they are");
    assert_eq!(harness.send(&bearer(&partners(json!({"exp": NOW})))).status, 401);
    assert_eq!(harness.send(&bearer(&partners(json!({"iss": "http://other.test"})))).status, 401);
    assert_eq!(asked(&provider, "/token").len(), 1, "and others are not shown to it");
}

#[test]
fn conditions_and_signatures_say_which_tokens_are_exchanged() {
    let provider = exchanging();
    for (conditions, exchanged) in [
        ("has_audience: [partner, x]", true),
        ("has_audience: [x]", false),
        ("has_scopes: [read]", true),
        ("has_scopes: [admin]", false),
        ("missing_audience: [orders]", true),
        ("missing_audience: [orders, partner]", false),
        ("missing_scopes: [admin]", true),
        ("missing_scopes: [read]", false),
        ("has_scopes: [read], missing_audience: [partner]", false),
    ] {
        let exchange = format!(", conditions: {{{conditions}}}");
        let outcome = gateway(&provider, &exchange, "}").send(&bearer(&partners(json!({}))));
        assert_eq!(!outcome.answered, exchanged, "{conditions}");
    }
    let checked = format!(", verify_signature: true, jwks_uri: '{}'", provider.url("/partner"));
    let mut harness = gateway(&provider, &checked, ", cache: {enabled: false}}");
    assert_passes(&harness.send(&bearer(&partners(json!({})))));
    let forged = sign(&key(P256, "two"), &claims(json!({"iss": "http://partner.test"})));
    assert_refused_by(&harness.send(&bearer(&forged)), "no suitable key");
    let before = asked(&provider, "/token").len();
    assert_passes(&harness.send(&bearer(&partners(json!({})))));
    assert_eq!(asked(&provider, "/token").len(), before + 1, "nothing is remembered");
    let elsewhere = format!("}}, token_exchange_endpoint: '{}'", provider.url("/exchange"));
    assert_passes(&gateway(&provider, "", &elsewhere).send(&bearer(&partners(json!({})))));
    assert_eq!(asked(&provider, "/exchange").len(), 1);
    let refusal = Subject(plugin::room::<OpenidConnect>()).refuses(
        "{issuer: 'http://issuer.test', auth_methods: [bearer], client_id: [a], client_secret: [b], token_exchange: {subject_token_issuers: [{issuer: a, verify_signature: true}]}}",
    );
    assert!(
        refusal.contains("token_exchange.subject_token_issuers[0].verify_signature: signatures are checked"),
        "{refusal}"
    );
}

#[track_caller]
fn assert_refused_by(outcome: &Outcome, reason: &str) {
    assert_eq!(
        (outcome.status, outcome.json()["message"].clone()),
        (401, json!(format!("Unauthorized ({reason})")))
    );
}

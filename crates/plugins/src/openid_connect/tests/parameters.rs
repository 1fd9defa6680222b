//! The configuration beside what a provider says about itself, and ways to the provider.

use std::sync::{Arc, Mutex};

use plugin::outbound::loopback::{Given, Loopback, Received};

use super::*;

/// A provider that says this about itself, beside what every provider says.
fn saying(more: Arc<Mutex<Value>>) -> Loopback {
    Loopback::answering(move |asked: &Received| {
        let base = format!("http://{}", asked.header("Host").unwrap());
        match asked.target.as_str() {
            "/.well-known/openid-configuration" => {
                let mut document = json!({"issuer": base, "jwks_uri": format!("{base}/keys")});
                document.as_object_mut().unwrap().extend(more.lock().unwrap().as_object().unwrap().clone());
                Given::json(&document.to_string())
            }
            "/keys" => Given::json(&json!({ "keys": [key(P256, "one")] }).to_string()),
            _ => Given::answer(404, &[], ""),
        }
    })
}

fn gateway(provider: &Loopback, fields: &str) -> Harness {
    let config = format!(
        "{{issuer: '{}', client_id: [gateway], client_secret: [secret], {fields}}}",
        provider.url("")
    );
    Subject(plugin::room::<OpenidConnect>()).with(&config).in_real_time()
}

fn status(fields: &str, more: Value) -> u16 {
    let provider = saying(Arc::new(Mutex::new(more)));
    let own = token(json!({"iss": provider.url("")}));
    gateway(&provider, fields).send(&bearer(&own)).status
}

#[test]
fn a_configuration_that_asks_for_what_a_provider_has_not_is_found_out() {
    let people = "auth_methods: [bearer, authorization_code, session], scopes: [openid, email]";
    let addresses =
        json!({"authorization_endpoint": "http://idp.test/auth", "token_endpoint": "http://idp.test/token"});
    let with = |more: Value| {
        let mut all = addresses.clone();
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        all
    };
    for (fields, more, fits) in [
        ("auth_methods: [bearer]", json!({}), true),
        (people, with(json!({})), true),
        (people, json!({"authorization_endpoint": "http://idp.test/auth"}), false),
        (people, json!({"token_endpoint": "http://idp.test/token"}), false),
        (people, with(json!({"scopes_supported": ["openid", "email", "x"]})), true),
        (people, with(json!({"scopes_supported": ["openid"]})), false),
        (people, with(json!({"response_types_supported": ["id_token"]})), false),
        (people, with(json!({"response_modes_supported": ["fragment"]})), false),
        (people, with(json!({"grant_types_supported": ["implicit"]})), false),
        (people, with(json!({"code_challenge_methods_supported": ["plain"]})), false),
        (people, with(json!({"token_endpoint_auth_methods_supported": ["private_key_jwt"]})), false),
        (people, with(json!({"token_endpoint_auth_methods_supported": ["client_secret_basic"]})), true),
        (
            "auth_methods: [bearer, password]",
            with(json!({"grant_types_supported": ["authorization_code"]})),
            false,
        ),
        ("auth_methods: [bearer, introspection]", json!({}), false),
        (
            "auth_methods: [bearer, introspection]",
            json!({"introspection_endpoint": "http://idp.test/i"}),
            true,
        ),
        (
            "auth_methods: [bearer], proof_of_possession_mtls: strict",
            json!({"tls_client_certificate_bound_access_tokens": false}),
            false,
        ),
    ] {
        let checked = format!("{fields}, verify_parameters: true");
        let found = status(&checked, more.clone());
        assert_eq!(found == 500, !fits, "{fields} {more}: {found}");
        if !fields.contains("proof") {
            assert_eq!(status(fields, more.clone()), 200, "unchecked: {fields} {more}");
        }
    }
    let another = json!({"issuer": "http://another.test"});
    let listed = "auth_methods: [bearer], verify_parameters: true, issuers_allowed: ['http://another.test']";
    assert_eq!(status("auth_methods: [bearer], verify_parameters: true", another.clone()), 500);
    assert_ne!(status(listed, another), 500);
    let refusal = Subject(plugin::room::<OpenidConnect>()).refuses(
        "{issuer: x, using_pseudo_issuer: true, jwks_endpoint: 'http://a.test', issuers_allowed: [x], auth_methods: [bearer], \
         verify_parameters: true}",
    );
    assert!(refusal.contains("config.verify_parameters"), "{refusal}");
}

#[test]
fn a_provider_that_changes_is_compared_again() {
    let more = Arc::new(Mutex::new(json!({"scopes_supported": ["other"]})));
    let provider = saying(more.clone());
    let own = bearer(&token(json!({"iss": provider.url("")})));
    let fields =
        "auth_methods: [bearer, password], token_endpoint: 'http://idp.test/token', verify_parameters: true";
    let mut harness = gateway(&provider, fields);
    assert_eq!([harness.send(&own).status, harness.send(&own).status], [500, 500]);
    let (_, published) = harness.services.all_kept::<Published<Issuer>>().pop().unwrap();
    let issuer = |scopes: Value| Issuer {
        name: Some(provider.url("").into()),
        keys: KeySet::published(json!({ "keys": [key(P256, "one")] }).to_string().as_bytes()).unwrap(),
        document: json!({"issuer": provider.url(""), "scopes_supported": scopes}),
        ..Issuer::default()
    };
    for (scopes, status) in [(json!(["openid"]), 200), (json!(["other"]), 500), (json!(["openid"]), 200)] {
        published.publish(issuer(scopes));
        assert_eq!([harness.send(&own).status, harness.send(&own).status], [status, status]);
    }
}

#[test]
fn a_provider_is_asked_through_the_proxy_that_is_named() {
    let issuer = "http://idp.nowhere.test";
    let proxy = Loopback::answering(move |asked: &Received| {
        if asked.header("Proxy-Authorization").as_deref() != Some("Basic YTpi") {
            return Given::answer(407, &[], "");
        }
        match asked.target.strip_prefix(issuer) {
            Some("/.well-known/openid-configuration") => {
                Given::json(&json!({"issuer": issuer, "jwks_uri": format!("{issuer}/keys")}).to_string())
            }
            Some("/keys") => Given::json(&json!({ "keys": [key(P256, "one")] }).to_string()),
            _ => Given::answer(404, &[], ""),
        }
    });
    let through = format!("http_proxy: '{}'", proxy.url(""));
    let own = token(json!({ "iss": issuer }));
    for (fields, status) in [
        (format!("{through}, http_proxy_authorization: 'Basic YTpi'"), 200),
        (
            format!("{through}, http_proxy_authorization: 'Basic YTpi', http_version: 1.0, keepalive: false"),
            200,
        ),
        (through.clone(), 500),
        (format!("{through}, http_proxy_authorization: 'Basic YTpi', no_proxy: nowhere.test"), 500),
    ] {
        let config = format!("{{issuer: '{issuer}', auth_methods: [bearer], timeout: 2000, {fields}}}");
        let mut harness = Subject(plugin::room::<OpenidConnect>()).with(&config).in_real_time();
        assert_eq!(harness.send(&bearer(&own)).status, status, "{fields}");
    }
}

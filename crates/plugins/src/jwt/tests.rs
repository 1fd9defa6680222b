//! How tokens are found and judged; [`keys`] makes the keys and signs.

mod keys;
mod remembered;
mod signatures;

use plugin::harness::{Harness, Outcome, START_MS};
use serde_json::{Value, json};

use super::Jwt;
use keys::{hmac, segment, token};

const NOW: u64 = START_MS / 1000;

/// Consumer `bob` with the credential `iss1` (HS256, secret `s`) and others given as YAML.
fn harness_with(config: &str, secrets: &str) -> Harness {
    let document = format!(
        r#"
_format_version: "3.0"
plugins:
- {{name: jwt, config: {config}}}
consumers:
- username: bob
  jwt_secrets:
  - {{key: iss1, secret: s}}
  - {{key: encoded, secret: "c2VjcmV0-_8="}}
- username: nobody
jwt_secrets:
- {{consumer: bob, key: other, secret: s2}}
{secrets}
"#
    );
    Harness::new(plugin::room::<Jwt>(), &document).unwrap()
}

fn harness(config: &str) -> Harness {
    harness_with(config, "")
}

/// A token signed with the secret `s`.
pub(crate) fn hs256(claims: &Value) -> String {
    token(&json!({"alg": "HS256", "typ": "JWT"}), claims, |message| hmac("HS256", b"s", message))
}

fn valid() -> String {
    hs256(&json!({"iss": "iss1"}))
}

fn bearer(token: &str) -> String {
    format!("GET / HTTP/1.1\nAuthorization: Bearer {token}")
}

fn send(config: &str, token: &str) -> Outcome {
    harness(config).send(&bearer(token))
}

#[track_caller]
fn assert_bob(outcome: &Outcome) {
    assert!(!outcome.answered, "{}", outcome.json());
    assert_eq!(outcome.upstream_header("X-Consumer-Username").as_deref(), Some("bob"));
}

#[track_caller]
fn assert_refused(outcome: &Outcome, body: &Value) {
    assert_eq!((outcome.answered, outcome.status, &outcome.json()), (true, 401, body));
    assert_eq!(outcome.message, None, "the body is compact JSON, not the template");
    assert_eq!(outcome.header("WWW-Authenticate").as_deref(), Some("Bearer error=\"invalid_token\""));
}

#[track_caller]
fn assert_message(outcome: &Outcome, message: &str) {
    assert_refused(outcome, &json!({ "message": message }));
}

#[test]
fn a_valid_token_tells_the_upstream_who_calls() {
    let outcome = harness("{}").send(&(bearer(&valid()) + "\nX-Credential-Identifier: forged"));
    assert_bob(&outcome);
    assert_eq!(outcome.upstream_header("X-Credential-Identifier").as_deref(), Some("iss1"));
    assert_eq!(outcome.upstream_header("Authorization"), Some(format!("Bearer {}", valid())));
}

#[test]
fn no_token_is_unauthorized() {
    for (config, challenge) in [("{}", "Bearer"), ("{realm: r}", "Bearer realm=\"r\"")] {
        let mut harness = harness(config);
        for request in [
            "GET / HTTP/1.1",
            "GET /?jwt= HTTP/1.1",
            "GET / HTTP/1.1\nAuthorization: Basic YTpi",
            "GET / HTTP/1.1\nAuthorization: Bearer",
            "GET / HTTP/1.1\nAuthorization: Bearerx",
        ] {
            let outcome = harness.send(request);
            assert_eq!((outcome.status, outcome.json()), (401, json!({"message": "Unauthorized"})));
            assert_eq!(outcome.header("WWW-Authenticate").as_deref(), Some(challenge));
        }
    }
    let wrong = send("{realm: r}", "x.y.z").header("WWW-Authenticate");
    assert_eq!(wrong.as_deref(), Some("Bearer realm=\"r\", error=\"invalid_token\""));
}

#[test]
fn a_token_is_found_in_query_cookie_and_headers() {
    let mut harness =
        harness("{uri_param_names: [jwt, t], cookie_names: [c], header_names: [authorization, x-token]}");
    let token = valid();
    for request in [
        format!("GET /?jwt={token} HTTP/1.1"),
        format!("GET /?a=b&t={} HTTP/1.1", token.replace('.', "%2E")),
        format!("GET / HTTP/1.1\nCookie: a=b; c={token}"),
        format!("GET / HTTP/1.1\nX-Token: bearer   {token}"),
        format!("GET /?jwt={token} HTTP/1.1\nCookie: c={token}\nAuthorization: Bearer {token}"),
        format!("GET / HTTP/1.1\nAuthorization: Bearer {token}\nAuthorization: Bearer {token}"),
    ] {
        assert_bob(&harness.send(&request));
    }
    let elsewhere = harness.send(&format!("GET /?other={token} HTTP/1.1\nX-Other: Bearer {token}"));
    assert_eq!(elsewhere.json(), json!({"message": "Unauthorized"}));
}

#[test]
fn tokens_are_hidden_from_the_service_where_that_is_wanted() {
    let config =
        "{hide_credentials: true, cookie_names: [t, u], uri_param_names: [jwt, token], anonymous: nobody}";
    for (token, username) in [(valid(), "bob"), ("wrong".to_owned(), "nobody")] {
        let outcome = harness(config).send(&format!(
            "GET /?a=1&jwt={token}&token={token}&b=2 HTTP/1.1\nAuthorization: Bearer {token}\nCookie: a=1; t={token}; b=2\nCookie: u={token}"
        ));
        assert_eq!(outcome.upstream_header("X-Consumer-Username").as_deref(), Some(username));
        assert_eq!(outcome.upstream_header("Authorization"), None);
        assert_eq!(outcome.upstream_query.as_deref(), Some("a=1&b=2"));
        let cookies: Vec<_> = outcome.upstream_headers.all("Cookie").collect();
        assert_eq!(cookies, [b"a=1; b=2"]);
    }
    let others = harness(config).send("GET / HTTP/1.1\nAuthorization: Basic YTpi\nCookie: x=1");
    assert_eq!(others.upstream_header("Authorization").as_deref(), Some("Basic YTpi"));
    assert_eq!(others.upstream_header("Cookie").as_deref(), Some("x=1"));
}

#[test]
fn different_tokens_are_too_many() {
    let (one, two) = (valid(), hs256(&json!({"iss": "iss1", "sub": "x"})));
    let mut harness = harness("{}");
    for request in [
        format!("GET /?jwt={one} HTTP/1.1\nAuthorization: Bearer {two}"),
        format!("GET /?jwt={one}&jwt={two} HTTP/1.1"),
        format!("GET / HTTP/1.1\nAuthorization: Bearer {one}\nAuthorization: Bearer {two}"),
    ] {
        assert_message(&harness.send(&request), "Multiple tokens provided");
    }
}

#[test]
fn the_key_claim_names_the_credential() {
    let refused = |claims: Value, message: &str| assert_message(&send("{}", &hs256(&claims)), message);
    refused(json!({}), "No mandatory 'iss' in claims");
    refused(json!({"iss": ""}), "Invalid 'iss' in claims");
    refused(json!({"iss": 5}), "Invalid 'iss' in claims");
    refused(json!({"iss": ["iss1"]}), "Invalid 'iss' in claims");
    refused(json!({"iss": "unknown"}), "No credentials found for given 'iss'");
    refused(json!({"iss": "ISS1"}), "No credentials found for given 'iss'");
    assert_bob(&send("{}", &hs256(&json!({"deep": {"iss": "x"}, "iss": "iss1", "list": [[1], {}]}))));
}

#[test]
fn the_key_may_be_a_header_field_or_another_claim() {
    let in_header =
        token(&json!({"alg": "HS256", "kid": "iss1"}), &json!({}), |message| hmac("HS256", b"s", message));
    assert_bob(&send("{key_claim_name: kid}", &in_header));
    assert_message(&send("{}", &in_header), "No mandatory 'iss' in claims");
    assert_bob(&send("{key_claim_name: sub}", &hs256(&json!({"sub": "iss1", "iss": "other"}))));
    assert_message(&send("{key_claim_name: kid}", &valid()), "No mandatory 'kid' in claims");
}

#[test]
fn what_is_no_token_is_told_apart() {
    let header = segment(br#"{"alg":"HS256"}"#);
    let claims = segment(br#"{"iss":"iss1"}"#);
    let deep = segment(format!("{{\"a\":{}", "[".repeat(5_000)).as_bytes());
    let deep_claim =
        segment(format!("{{\"iss\":\"iss1\",\"a\":{}1{}}}", "[".repeat(900), "]".repeat(900)).as_bytes());
    let cases = [
        ("garbage".to_owned(), "invalid JSON"),
        ("..".to_owned(), "invalid JSON"),
        ("a.b".to_owned(), "invalid JSON"),
        (format!("{header}.{claims}"), "invalid JSON"),
        (format!("!!!.{claims}.x"), "invalid JSON"),
        (format!("{header}.{}.x", segment(b"{\"iss\":")), "invalid JSON"),
        (format!("{header}.{}.x", segment(b"{} {}")), "invalid JSON"),
        (format!("{header}.{deep}.x"), "invalid JSON"),
        (format!("{}.{claims}.x", segment(b"\"HS256\"")), "invalid JSON"),
        (format!("{}.{claims}.x", segment(b"{}")), "invalid alg"),
        (format!("{}.{claims}.x", segment(br#"{"alg":"HS999"}"#)), "invalid alg"),
        (format!("{}.{claims}.x", segment(br#"{"alg":["HS256"]}"#)), "invalid alg"),
        (format!("{}.{claims}.", segment(br#"{"alg":"none"}"#)), "invalid alg"),
        (format!("{}.{claims}.", segment(br#"{"alg":"None"}"#)), "invalid alg"),
        (format!("{header}.{}.x", segment(b"null")), "invalid claims"),
        (format!("{header}.{}.x", segment(b"[1]")), "invalid claims"),
        (format!("{header}.{claims}.a.b"), "invalid signature"),
        (format!("{header}.{claims}.!"), "invalid signature"),
    ];
    let mut harness = harness("{}");
    for (token, defect) in cases {
        assert_message(&harness.send(&bearer(&token)), &format!("Bad token; {defect}"));
    }
    assert_message(&harness.send(&bearer(&format!("{header}.{deep_claim}.AAAA"))), "Invalid signature");
    let large = hs256(&json!({"iss": "iss1", "fill": "x".repeat(5_000)}));
    assert_bob(&harness.send(&bearer(&large)));
    assert_bob(&harness.send(&bearer(&large)));
}

#[test]
fn times_are_checked_only_when_told_to() {
    let old = hs256(&json!({"iss": "iss1", "exp": NOW - 10, "nbf": NOW + 10}));
    assert_bob(&send("{}", &old));
    assert_refused(&send("{claims_to_verify: [exp]}", &old), &json!({"exp": "token expired"}));
    assert_refused(&send("{claims_to_verify: [nbf]}", &old), &json!({"nbf": "token not valid yet"}));
    let both = json!({"exp": "token expired", "nbf": "token not valid yet"});
    assert_refused(&send("{claims_to_verify: [exp, nbf]}", &old), &both);
    let now = hs256(&json!({"iss": "iss1", "exp": NOW, "nbf": NOW}));
    assert_refused(&send("{claims_to_verify: [exp]}", &now), &json!({"exp": "token expired"}));
    assert_bob(&send("{claims_to_verify: [nbf]}", &now));
    let fraction = hs256(&json!({"iss": "iss1", "exp": NOW as f64 + 0.5}));
    assert_bob(&send("{claims_to_verify: [exp]}", &fraction));
}

#[test]
fn times_must_be_numbers() {
    for claims in [
        json!({"iss": "iss1"}),
        json!({"iss": "iss1", "exp": "9999999999"}),
        json!({"iss": "iss1", "exp": null}),
    ] {
        let body = json!({"exp": "must be a number"});
        assert_refused(&send("{claims_to_verify: [exp]}", &hs256(&claims)), &body);
    }
}

#[test]
fn an_expiry_may_not_be_too_far_away() {
    let config = "{claims_to_verify: [exp], maximum_expiration: 300}";
    assert_bob(&send(config, &hs256(&json!({"iss": "iss1", "exp": NOW + 300}))));
    let far = send(config, &hs256(&json!({"iss": "iss1", "exp": NOW + 301})));
    assert_refused(&far, &json!({"exp": "exceeds maximum allowed expiration"}));
}

#[test]
fn a_preflight_may_pass_without_a_token() {
    assert_eq!(harness("{}").send("OPTIONS / HTTP/1.1").status, 401);
    assert!(!harness("{run_on_preflight: false}").send("OPTIONS / HTTP/1.1").answered);
    assert_eq!(harness("{run_on_preflight: false}").send("GET / HTTP/1.1").status, 401);
}

#[test]
fn an_anonymous_consumer_stands_in() {
    let mut harness = harness("{anonymous: nobody, claims_to_verify: [exp]}");
    for request in ["GET / HTTP/1.1".to_owned(), bearer("garbage"), bearer(&valid())] {
        let outcome = harness.send(&request);
        assert!(!outcome.answered);
        assert_eq!(outcome.upstream_header("X-Consumer-Username").as_deref(), Some("nobody"));
        assert_eq!(outcome.upstream_header("X-Anonymous-Consumer").as_deref(), Some("true"));
    }
}

#[test]
fn either_of_two_plugins_will_do_when_both_have_an_anonymous_consumer() {
    use crate::key_auth::KeyAuth;
    let document = r#"
_format_version: "3.0"
plugins:
- {name: jwt, config: {anonymous: nobody}}
- {name: key-auth, config: {anonymous: nobody}}
consumers:
- {username: bob, jwt_secrets: [{key: iss1, secret: s}]}
- {username: ann, keyauth_credentials: [{key: k}]}
- {username: nobody}
"#;
    let mut harness = Harness::chain(&[plugin::room::<Jwt>(), plugin::room::<KeyAuth>()], document).unwrap();
    let mut name = |request: &str| harness.send(request).upstream_header("X-Consumer-Username").unwrap();
    assert_eq!(name(&bearer(&valid())), "bob");
    assert_eq!(name("GET / HTTP/1.1\napikey: k"), "ann");
    assert_eq!(name(&(bearer(&valid()) + "\napikey: k")), "bob");
    assert_eq!(name("GET / HTTP/1.1"), "nobody");
}

#[test]
fn without_anonymous_consumers_both_plugins_must_be_satisfied() {
    use crate::key_auth::KeyAuth;
    let document = r#"
_format_version: "3.0"
plugins: [{name: jwt}, {name: key-auth}]
consumers:
- {username: bob, jwt_secrets: [{key: iss1, secret: s}]}
- {username: ann, keyauth_credentials: [{key: k}]}
"#;
    let mut harness = Harness::chain(&[plugin::room::<Jwt>(), plugin::room::<KeyAuth>()], document).unwrap();
    assert_eq!(harness.send(&bearer(&valid())).status, 401);
    assert_eq!(harness.send("GET / HTTP/1.1\napikey: k").status, 401);
    let both = harness.send(&(bearer(&valid()) + "\napikey: k"));
    assert_eq!(
        both.upstream_header("X-Consumer-Username").as_deref(),
        Some("ann"),
        "the last one owns the credential"
    );
}

#[test]
fn wrong_settings_are_refused() {
    let refusal = |config| Harness::global(plugin::room::<Jwt>(), config).err().unwrap();
    assert!(refusal("{claims_to_verify: [iat]}").contains("expected one of"));
    assert!(refusal("{maximum_expiration: 300}").contains("expected to contain: exp"));
    assert!(
        refusal("{maximum_expiration: 300, claims_to_verify: [nbf]}").contains("expected to contain: exp")
    );
    assert!(
        refusal("{maximum_expiration: 31536001, claims_to_verify: [exp]}")
            .contains("value should be between")
    );
    assert!(refusal("{realm: 'a\"b'}").contains("invalid value"));
    assert!(refusal("{header_names: [authorization, 'a b']}").contains("bad header name 'a b'"));
}

#[test]
fn credentials_are_checked_when_they_are_loaded() {
    let refusal = |secret: &str| {
        let document =
            format!("_format_version: \"3.0\"\nconsumers:\n- username: bob\n  jwt_secrets:\n  - {secret}\n");
        Harness::new(plugin::room::<Jwt>(), &document).err()
    };
    let pem = |algorithm| json!(keys::Signer::new(algorithm).pem());
    let missing = refusal("{key: k, algorithm: RS256}").unwrap();
    assert!(missing.contains("required field missing"), "{missing}");
    for (algorithm, key) in [
        ("RS256", json!("nonsense")),
        ("RS256", json!("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n")),
        ("RS256", json!(keys::RSA_1024)),
        ("RS256", pem("ES256")),
        ("ES384", pem("ES256")),
        ("ES256", pem("RS256")),
        ("EdDSA", pem("ES256")),
    ] {
        let refusal = refusal(&format!("{{key: k, algorithm: {algorithm}, rsa_public_key: {key}}}"));
        assert!(refusal.unwrap().contains("invalid key"), "{algorithm} {key}");
    }
    assert!(refusal("{key: k, secret: ''}").unwrap().contains("length must be at least 1"));
    assert!(refusal("{key: k, algorithm: none}").unwrap().contains("expected one of"));
    assert_eq!(refusal("{}"), None, "key and secret are made up when absent");
}

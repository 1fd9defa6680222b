//! Tokens that have been found valid and are not verified again.

use plugin::harness::{Harness, Subject};
use serde_json::json;

use super::{NOW, assert_bob, assert_message, assert_refused, bearer, harness, hs256, valid};
use crate::jwt::Jwt;

#[test]
fn a_remembered_token_still_expires() {
    let mut harness = harness("{claims_to_verify: [exp, nbf]}");
    let request = bearer(&hs256(&json!({"iss": "iss1", "exp": NOW + 2, "nbf": NOW + 1})));
    assert_refused(&harness.send(&request), &json!({"nbf": "token not valid yet"}));
    harness.clock.advance(1000);
    assert_bob(&harness.send(&request));
    assert_bob(&harness.send(&request));
    harness.clock.advance(1000);
    assert_refused(&harness.send(&request), &json!({"exp": "token expired"}));
}

#[test]
fn clocks_may_differ_by_the_leeway_and_no_more() {
    let mut harness = harness("{claims_to_verify: [exp, nbf], leeway: 5, maximum_expiration: 9}");
    let request = bearer(&hs256(&json!({"iss": "iss1", "exp": NOW + 9, "nbf": NOW + 6})));
    assert_refused(&harness.send(&request), &json!({"nbf": "token not valid yet"}));
    harness.clock.advance(1000);
    assert_bob(&harness.send(&request));
    harness.clock.advance(12_000);
    assert_bob(&harness.send(&request));
    harness.clock.advance(1000);
    assert_refused(&harness.send(&request), &json!({"exp": "token expired"}));
    let far = bearer(&hs256(&json!({"iss": "iss1", "exp": NOW + 24, "nbf": NOW})));
    assert_refused(&harness.send(&far), &json!({"exp": "exceeds maximum allowed expiration"}));
    for leeway in [-1, 86_401] {
        let refusal = Subject(plugin::room::<Jwt>()).refuses(&format!("{{leeway: {leeway}}}"));
        assert!(refusal.contains("between 0 and 86400"), "{refusal}");
    }
}

#[test]
fn a_remembered_token_is_forgotten_with_its_credential() {
    let mut harness = harness("{}");
    assert_bob(&harness.send(&bearer(&valid())));
    let document = "{_format_version: \"3.0\", plugins: [{name: jwt}], consumers: [{username: bob}]}";
    harness.reload(document).unwrap();
    assert_message(&harness.send(&bearer(&valid())), "No credentials found for given 'iss'");
}

#[test]
fn more_tokens_than_can_be_remembered_all_pass() {
    let mut harness = harness("{}");
    for number in (0..5000).step_by(3).chain(0..5000) {
        assert_bob(&harness.send(&bearer(&hs256(&json!({"iss": "iss1", "n": number})))));
    }
}

#[test]
fn a_token_remembered_by_one_claim_is_not_known_by_another() {
    let document = r#"
_format_version: "3.0"
consumers:
- {username: bob, jwt_secrets: [{key: one, secret: s}]}
- {username: eve, jwt_secrets: [{key: two, secret: s}]}
services:
- {name: a, url: "http://a", routes: [{name: a, paths: [/a]}], plugins: [{name: jwt}]}
plugins:
- {name: jwt, config: {key_claim_name: sub}}
"#;
    let mut harness = Harness::new(plugin::room::<Jwt>(), document).unwrap();
    let token = hs256(&json!({"iss": "one", "sub": "two"}));
    for _ in 0..2 {
        // Both instances run on every request of the harness; the last one names the consumer.
        let outcome = harness.send(&bearer(&token));
        assert_eq!(outcome.upstream_header("X-Credential-Identifier").as_deref(), Some("two"));
    }
}

#[test]
fn a_token_that_begins_like_a_remembered_one_is_verified() {
    let mut harness = harness("{}");
    let token = valid();
    assert_bob(&harness.send(&bearer(&token)));
    assert!(harness.send(&bearer(&token[..token.len() - 1])).answered);
    assert!(harness.send(&bearer(&format!("{token}A"))).answered);
}

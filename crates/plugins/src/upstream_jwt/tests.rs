//! Tokens for upstreams, read with the keys that the gateway publishes.

use std::sync::Arc;

use plugin::harness::{Harness, Outcome, START_MS};
use plugin::jose::{KeySet, Token};
use plugin::keyring;
use plugin::{Access, Build, BuildError, Flow, Phase, Phases, Plugin, Scopes};

use serde_json::{Value, json};

use super::UpstreamJwt;
use crate::key_auth::KeyAuth;

const CONSUMERS: &str = r#"
services: [{name: orders, url: "http://127.0.0.1:1", routes: [{name: orders, paths: [/]}]}]
consumer_groups: [{name: gold}]
consumers:
- {username: ada, custom_id: a-1, groups: [{name: gold}], keyauth_credentials: [{key: ada}]}
- {username: bob, keyauth_credentials: [{key: bob}]}
- {username: anybody}
"#;

fn document(config: &str) -> String {
    format!(
        "_format_version: \"3.0\"\nplugins:\n- {{name: key-auth, config: {{anonymous: anybody}}}}\n\
         - {{name: upstream-jwt, config: {config}}}\n{CONSUMERS}"
    )
}

fn harness(config: &str) -> Harness {
    Harness::chain(&[plugin::room::<KeyAuth>(), plugin::room::<UpstreamJwt>()], &document(config)).unwrap()
}

fn send(harness: &mut Harness, key: &str) -> Outcome {
    harness.send(&format!("GET / HTTP/1.1\nAuthorization: Bearer theirs\napikey: {key}\n\n"))
}

/// The token that a service gets, as sent.
fn token(outcome: &Outcome) -> String {
    let value = outcome.upstream_header("Authorization").unwrap();
    value.strip_prefix("Bearer ").unwrap().to_owned()
}

/// What a service makes of it.
fn claims(harness: &Harness, token: &str) -> Value {
    let keys = keyring::jwks(&harness.services, None).to_string();
    let token = Token::verify(token.as_bytes(), &KeySet::published(keys.as_bytes()).unwrap()).unwrap();
    Value::Object(token.claims)
}

#[test]
fn the_service_is_told_who_calls_by_a_token_it_can_check() {
    let mut harness = harness("{issuer: gateway, lifetime: 100, set_claims: {env: prod, level: \"7\"}}");
    let outcome = send(&mut harness, "ada");
    let mut said = claims(&harness, &token(&outcome));
    let now_s = START_MS / 1_000;
    let id = outcome.upstream_header("X-Consumer-ID").unwrap();
    let credential = outcome.upstream_header("X-Credential-Identifier").unwrap();
    assert!(said["jti"].take().as_str().unwrap().len() > 30);
    let expected = json!({
        "iss": "gateway", "aud": "orders", "sub": id, "iat": now_s, "exp": now_s + 100, "jti": null,
        "consumer": {"id": id, "username": "ada", "custom_id": "a-1"},
        "credential": {"id": credential, "identifier": credential},
        "groups": ["gold"], "env": "prod", "level": 7,
    });
    assert_eq!(said, expected);
}

#[test]
fn an_anonymous_caller_is_told_as_such_and_strangers_have_no_token() {
    let mut harness = harness("{subject: username}");
    let outcome = send(&mut harness, "wrong");
    let said = claims(&harness, &token(&outcome));
    assert_eq!(
        (&said["anonymous"], &said["sub"], &said["credential"]),
        (&json!(true), &json!("anybody"), &Value::Null)
    );
    let open = format!("_format_version: \"3.0\"\nplugins: [{{name: upstream-jwt}}]\n{CONSUMERS}");
    let mut open =
        Harness::chain(&[plugin::room::<KeyAuth>(), plugin::room::<UpstreamJwt>()], &open).unwrap();
    let outcome = send(&mut open, "ada");
    assert!(!outcome.answered);
    assert_eq!(
        outcome.upstream_header("Authorization"),
        None,
        "a token of the client passes for none of the gateway"
    );
}

#[test]
fn no_trailer_passes_for_a_token_of_the_gateway() {
    let open = format!("_format_version: \"3.0\"\nplugins: [{{name: upstream-jwt}}]\n{CONSUMERS}");
    let open = Harness::chain(&[plugin::room::<KeyAuth>(), plugin::room::<UpstreamJwt>()], &open).unwrap();
    let mut open = open.trailing(&["Authorization", "X-Consumer-Username"]);
    // Where nobody is authenticated, claims are not the gateway's to judge.
    assert_eq!(send(&mut open, "ada").trailer_names(), ["X-Consumer-Username"]);
}

#[test]
fn a_known_caller_costs_no_signature_until_half_of_the_tokens_life() {
    let mut harness = harness("{lifetime: 100}");
    let first = token(&send(&mut harness, "ada"));
    assert_ne!(first, token(&send(&mut harness, "bob")));
    harness.clock.advance(49_999);
    assert_eq!(first, token(&send(&mut harness, "ada")));
    harness.clock.advance(1);
    let second = token(&send(&mut harness, "ada"));
    assert_ne!(first, second);
    assert_eq!(claims(&harness, &second)["iat"], json!(START_MS / 1_000 + 50));
    let mut each = self::harness("{reuse: 0}");
    assert_ne!(token(&send(&mut each, "ada")), token(&send(&mut each, "ada")));
}

#[test]
fn a_token_goes_with_no_more_requests_because_the_clock_is_set() {
    let mut harness = harness("{lifetime: 100}");
    let first = token(&send(&mut harness, "ada"));
    harness.clock.set(START_MS - 3_600_000);
    harness.clock.advance(49_999);
    assert_eq!(first, token(&send(&mut harness, "ada")));
    harness.clock.advance(1);
    let second = token(&send(&mut harness, "ada"));
    assert_eq!(claims(&harness, &second)["iat"], json!(START_MS / 1_000 - 3_550));
    harness.clock.set(START_MS);
    let third = token(&send(&mut harness, "ada"));
    assert_eq!(claims(&harness, &third)["iat"], json!(START_MS / 1_000), "the last one is over");
}

#[test]
fn after_an_exchange_of_keys_the_new_one_signs() {
    let mut harness = harness("{}");
    let first = token(&send(&mut harness, "ada"));
    for ring in keyring::rings(&harness.services, "biplane") {
        ring.exchange().unwrap();
    }
    let second = token(&send(&mut harness, "ada"));
    assert_ne!(first, second);
    assert_eq!(claims(&harness, &first)["sub"], claims(&harness, &second)["sub"]);
    harness.reload(&document("{}")).unwrap();
    claims(&harness, &first);
}

#[test]
fn declared_keys_sign_whatever_the_process_makes_for_itself() {
    let (private, public) = (
        r#"{"kty":"OKP","crv":"Ed25519","kid":"one","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#,
        r#"{"kty":"OKP","crv":"Ed25519","kid":"one","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#,
    );
    let sets = format!("key_sets: [{{name: own, keys: [{{kid: one, jwk: '{private}'}}]}}]\n");
    let with_keys = |algorithm: &str| document(&format!("{{keyset: own, algorithm: {algorithm}}}")) + &sets;
    let rooms = [plugin::room::<KeyAuth>(), plugin::room::<UpstreamJwt>()];
    let mut harness = Harness::chain(&rooms, &with_keys("EdDSA")).unwrap();
    let sent = token(&send(&mut harness, "ada"));
    let keys = format!("{{\"keys\":[{public}]}}");
    assert!(Token::verify(sent.as_bytes(), &KeySet::published(keys.as_bytes()).unwrap()).is_ok());
    let published = keyring::jwks(&harness.services, Some("own")).to_string();
    assert!(published.contains("11qYAYKxCrfVS") && !published.contains("nWGxne"), "{published}");
    let refused = Harness::chain(&rooms, &with_keys("RS256")).err().unwrap();
    assert!(refused.contains("config.keyset") && refused.contains("RS256"), "{refused}");
}

#[test]
fn headers_that_say_the_same_can_be_left_out() {
    let mut harness = harness("{header: X-Identity, hide_identity_headers: true}");
    let outcome =
        harness.send("GET / HTTP/1.1\napikey: ada\nX-Identity: forged\nAuthorization: Basic eDp5\n\n");
    let sent = outcome.upstream_header("X-Identity").unwrap();
    assert_eq!(claims(&harness, &sent)["consumer"]["username"], "ada");
    assert_eq!(outcome.upstream_header("X-Consumer-Username"), None);
    assert_eq!(outcome.upstream_header("Authorization").as_deref(), Some("Basic eDp5"));
}

#[test]
fn a_wrong_configuration_names_its_field() {
    let subject = plugin::harness::Subject(plugin::room::<UpstreamJwt>());
    for (config, problem) in [
        ("{header: 'Host'}", "cannot be the name of a header"),
        ("{header: 'a b'}", "cannot be the name of a header"),
        ("{set_claims: {exp: '1'}}", "'exp' is the gateway's to say"),
        ("{claims_from_token: [consumer]}", "'consumer' is the gateway's to say"),
        ("{rotate_period: 5}", "value should be 0, or between"),
        ("{algorithm: none}", "expected one of"),
    ] {
        let refused = subject.refuses(config);
        assert!(refused.contains(problem), "{config}: {refused}");
    }
}

/// Finds a caller out anew for each request, as rooms without an index do.
struct Anew;

plugin::record! {
    /// Nothing.
    pub struct Nothing {}
}

impl Plugin for Anew {
    const NAME: &'static str = "anew";
    const PRIORITY: i64 = 1500;
    const RUNS: &'static [Phase] = &[Phase::Access];
    const SCOPES: Scopes = Scopes::ALL;
    const DOC: &'static str = "";
    const AUTHENTICATES: bool = true;

    type Config = Nothing;

    fn build(_config: Nothing, _cx: &Build<'_>) -> Result<Self, BuildError> {
        Ok(Self)
    }
}

impl Phases for Anew {
    fn access(&self, cx: &mut Access<'_>) -> Flow {
        use plugin::identity::{Caller, Credential};
        let name =
            cx.request.headers.get("name").map(String::from_utf8_lossy).unwrap_or_default().into_owned();
        let groups: Arc<[Box<str>]> = [name.as_str().into()].into();
        let credential = Credential { id: uuid::Uuid::nil(), identifier: name.into() };
        cx.authenticate(Caller::authenticated(None, credential));
        cx.vouch_for_groups(groups);
        Flow::Next
    }
}

#[test]
fn a_caller_that_is_found_out_anew_costs_no_signature_either() {
    let document =
        format!("_format_version: \"3.0\"\nplugins: [{{name: anew}}, {{name: upstream-jwt}}]\n{CONSUMERS}");
    let rooms = [plugin::room::<Anew>(), plugin::room::<KeyAuth>(), plugin::room::<UpstreamJwt>()];
    let mut harness = Harness::chain(&rooms, &document).unwrap();
    let mut send = |name: &str| harness.send(&format!("GET / HTTP/1.1\nname: {name}\n\n"));
    let (first, other, again) = (token(&send("ada")), token(&send("bob")), token(&send("ada")));
    assert_eq!(first, again);
    assert_ne!(first, other);
    let said = claims(&harness, &first);
    assert_eq!((&said["sub"], &said["groups"]), (&json!("ada"), &json!(["ada"])));
}

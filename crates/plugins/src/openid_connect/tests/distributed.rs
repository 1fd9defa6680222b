//! Claims that a token only points to. The provider and another server are servers on the loopback.

use std::sync::{Arc, Mutex};

use plugin::outbound::loopback::{Given, Loopback, Received};

use super::world::{World, cookies};
use super::*;

const FIELDS: &str = "resolve_distributed_claims: true, groups_required: [admin]";
const UNTRUSTED: &str = "claims at a server that is not trusted";

/// A provider, and what it says where claims are asked for.
struct Source {
    server: Loopback,
    answer: Arc<Mutex<Given>>,
}

impl Source {
    /// With the key `own`.
    fn new(own: Value) -> Self {
        let answer = Arc::new(Mutex::new(Given::answer(404, &[], "")));
        let shared = answer.clone();
        let server = Loopback::answering(move |asked: &Received| {
            let base = format!("http://{}", asked.header("Host").unwrap());
            match asked.target.as_str() {
                "/.well-known/openid-configuration" => {
                    Given::json(&json!({"issuer": base, "jwks_uri": format!("{base}/keys")}).to_string())
                }
                "/keys" => Given::json(&json!({"keys": [own]}).to_string()),
                _ => shared.lock().unwrap().clone(),
            }
        });
        Self { server, answer }
    }

    fn say(&self, given: Given) {
        *self.answer.lock().unwrap() = given;
    }

    fn sign(&self, own: &Value, others: Value) -> String {
        let mut said = json!({"iss": self.server.url(""), "groups": ["admin"]});
        let others: Map<String, Value> = serde_json::from_value(others).unwrap();
        said.as_object_mut().unwrap().extend(others);
        sign(own, &said)
    }

    /// A bearer token of it whose groups are at `source`.
    fn token(&self, source: Value) -> String {
        let (names, sources) = (json!({"groups": "a"}), Map::from_iter([("a".to_owned(), source)]));
        token(json!({"iss": self.server.url(""), "_claim_names": names, "_claim_sources": sources}))
    }

    /// One whose groups it is to be asked for itself.
    fn pointing(&self) -> String {
        self.token(json!({"endpoint": self.server.url("/claims"), "access_token": "key"}))
    }

    fn gateway(&self, fields: &str) -> Harness {
        let config = format!(
            "{{issuer: '{}', auth_methods: [bearer], display_errors: true, {fields}}}",
            self.server.url("")
        );
        Subject(plugin::room::<OpenidConnect>()).with(&config).in_real_time()
    }

    /// What it was asked for.
    fn asked(&self) -> Vec<Received> {
        self.server.seen().into_iter().filter(|asked| asked.target == "/claims").collect()
    }
}

fn provider() -> Source {
    Source::new(key(P256, "one"))
}

fn signed(token: &str) -> Given {
    Given::answer(200, &[("Content-Type", "application/jwt")], token)
}

#[track_caller]
fn assert_told(outcome: &Outcome, reason: &str) {
    let message = format!("Unauthorized ({reason})");
    assert_eq!((outcome.status, outcome.json()["message"].as_str()), (401, Some(message.as_str())));
}

#[test]
fn claims_that_a_token_points_to_are_asked_for_once_and_decide() {
    let provider = provider();
    provider.say(signed(&provider.sign(&key(P256, "one"), json!({}))));
    let token = provider.pointing();
    let mut harness = provider.gateway(FIELDS);
    for _ in 0..3 {
        assert_passes(&harness.send(&bearer(&token)));
    }
    let asked = provider.asked();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].header("Authorization").as_deref(), Some("Bearer key"));
    provider.say(signed(&provider.sign(&key(P256, "one"), json!({"groups": ["user"]}))));
    let other = provider.token(json!({"endpoint": provider.server.url("/claims"), "access_token": "other"}));
    assert_eq!(harness.send(&bearer(&other)).status, 403);
    assert_eq!(provider.gateway("groups_required: [admin]").send(&bearer(&token)).status, 403, "unasked");
}

#[test]
fn the_provider_may_answer_as_about_users_and_knows_the_callers_token() {
    let provider = provider();
    let token = provider.token(json!({"endpoint": provider.server.url("/claims")}));
    provider.say(Given::json(r#"{"sub": "alice", "groups": ["admin"]}"#));
    assert_passes(&provider.gateway(FIELDS).send(&bearer(&token)));
    let shown = provider.asked()[0].header("Authorization");
    assert_eq!(shown, Some(format!("Bearer {token}")));
    provider.say(Given::json(r#"{"sub": "bob", "groups": ["admin"]}"#));
    assert_told(&provider.gateway(FIELDS).send(&bearer(&token)), "claims about another person");
    let own = provider.sign(&key(P256, "one"), json!({"sub": "bob"}));
    provider.say(signed(&own));
    assert_told(&provider.gateway(FIELDS).send(&bearer(&token)), "claims about another person");
}

#[test]
fn no_token_has_the_gateway_ask_whom_the_configuration_does_not_name() {
    let (provider, other) = (provider(), Source::new(key(ED25519, "two")));
    other.say(signed(&other.sign(&key(ED25519, "two"), json!({"sub": "7"}))));
    let token = provider.token(json!({"endpoint": other.server.url("/claims")}));
    assert_told(&provider.gateway(FIELDS).send(&bearer(&token)), UNTRUSTED);
    for endpoint in ["file:///etc/passwd", "http://user@127.0.0.1/", "claims", ""] {
        let token = provider.token(json!({"endpoint": endpoint}));
        let unreadable = "claims from elsewhere that cannot be read";
        assert_told(&provider.gateway(FIELDS).send(&bearer(&token)), unreadable);
    }
    assert!(other.server.seen().is_empty(), "it was not asked");
    let named = format!(
        "{FIELDS}, extra_jwks_uris: ['{}'], issuers_allowed: ['{}', '{}']",
        other.server.url("/keys"),
        provider.server.url(""),
        other.server.url("")
    );
    assert_passes(&provider.gateway(&named).send(&bearer(&token)));
    assert_eq!(other.asked()[0].header("Authorization"), None, "the token is the provider's");
    other.say(Given::json(r#"{"groups": ["admin"]}"#));
    assert_eq!(provider.gateway(&named).send(&bearer(&token)).status, 401, "nobody has signed it");
    let over_tls = format!(
        "{FIELDS}, issuer: 'https://127.0.0.1:1', using_pseudo_issuer: true, {}",
        &named[FIELDS.len() + 2..]
    );
    let config = format!("{{auth_methods: [bearer], display_errors: true, {over_tls}}}");
    let mut harness = Subject(plugin::room::<OpenidConnect>()).with(&config).in_real_time();
    let own = sign(
        &key(ED25519, "two"),
        &claims(json!({
            "iss": other.server.url(""), "_claim_names": {"groups": "a"},
            "_claim_sources": {"a": {"endpoint": other.server.url("/claims")}},
        })),
    );
    assert_told(&harness.send(&bearer(&own)), UNTRUSTED);
}

#[test]
fn claims_that_come_with_a_token_are_signed_by_who_is_trusted() {
    let provider = provider();
    let mut harness = provider.gateway(FIELDS);
    let mut send = |token: String| harness.send(&bearer(&provider.token(json!({"JWT": token}))));
    assert_passes(&send(provider.sign(&key(P256, "one"), json!({}))));
    assert_eq!(send(provider.sign(&key(ED25519, "one"), json!({}))).status, 401);
    let own = key(P256, "one");
    assert_told(&send(provider.sign(&own, json!({"iss": "http://bank.test"}))), "not an accepted issuer");
    assert_told(&send(provider.sign(&own, json!({"exp": NOW - 1}))), "token expired");
    assert_told(&send(provider.sign(&own, json!({"sub": "bob"}))), "claims about another person");
    assert_eq!(send(r#"{"groups":["admin"]}"#.to_owned()).status, 401);
}

#[test]
fn what_cannot_be_found_out_lets_nobody_in() {
    let provider = provider();
    let forbidding = "resolve_distributed_claims: true, claims_forbidden: [groups]";
    for (given, status) in [
        (Given::answer(503, &[], ""), 500),
        (Given::answer(404, &[], ""), 401),
        (Given::answer(302, &[("Location", "/elsewhere")], ""), 500),
        (Given::json("[]"), 401),
        (signed(&provider.sign(&key(P256, "one"), json!({}))), 403),
    ] {
        provider.say(given);
        let outcome = provider.gateway(forbidding).send(&bearer(&provider.pointing()));
        assert_eq!((outcome.answered, outcome.status), (true, status));
    }
    for names in [json!("groups"), json!({"groups": 1}), json!({"groups": "nowhere"})] {
        let token =
            token(json!({"iss": provider.server.url(""), "_claim_names": names, "_claim_sources": {}}));
        let outcome = provider.gateway(forbidding).send(&bearer(&token));
        assert_told(&outcome, "claims from elsewhere that cannot be read");
    }
}

#[test]
fn only_what_is_looked_at_is_asked_for_and_a_token_has_its_own_word() {
    let provider = provider();
    let everything =
        json!({"sub": "root", "exp": 1, "address": "x", "scope": "all", "groups": "admin", "level": 9});
    provider.say(Given::json(&everything.to_string()));
    let names: Map<String, Value> =
        everything.as_object().unwrap().keys().map(|name| (name.clone(), "a".into())).collect();
    let source = json!({"a": {"endpoint": provider.server.url("/claims")}});
    let token =
        token(json!({"iss": provider.server.url(""), "_claim_names": names, "_claim_sources": source}));
    let tells = "resolve_distributed_claims: true, upstream_headers_claims: [sub, scope], upstream_headers_names: [X-Sub, X-Scope]";
    let outcome = provider.gateway(tells).send(&bearer(&token));
    assert_passes(&outcome);
    assert_eq!(outcome.upstream_header("X-Sub").as_deref(), Some("alice"));
    assert_eq!(outcome.upstream_header("X-Scope").as_deref(), Some("read write"));
    assert!(provider.asked().is_empty());
}

#[test]
fn a_token_leads_to_few_servers() {
    let provider = provider();
    provider.say(Given::json("{}"));
    let names: Map<String, Value> =
        (0..5).map(|number| (format!("c{number}"), format!("s{number}").into())).collect();
    let source = |number| (format!("s{number}"), json!({"endpoint": provider.server.url("/claims")}));
    let sources: Map<String, Value> = (0..5).map(source).collect();
    let token =
        token(json!({"iss": provider.server.url(""), "_claim_names": names, "_claim_sources": sources}));
    let fields = "resolve_distributed_claims: true, claims_forbidden: [c0, c1, c2, c3, c4]";
    assert_told(&provider.gateway(fields).send(&bearer(&token)), "claims from too many sources");
    assert!(provider.asked().is_empty());
}

#[test]
fn what_was_said_holds_no_longer_than_it_says() {
    let provider = provider();
    provider.say(signed(&provider.sign(&key(P256, "one"), json!({"exp": NOW + 30}))));
    let mut harness = provider.gateway(FIELDS);
    let token = provider.pointing();
    assert_passes(&harness.send(&bearer(&token)));
    harness.clock.advance(31_000);
    assert_told(&harness.send(&bearer(&token)), "token expired");
}

#[test]
fn a_session_has_the_claims_that_were_found_at_its_login() {
    let mut world = World::new(FIELDS);
    world.play.lock().unwrap().user = Some((200, json!({"groups": ["admin"]})));
    let source = json!({"a": {"endpoint": world.provider.url("/me"), "access_token": "key"}});
    let pointing = json!({"_claim_names": {"groups": "a"}, "_claim_sources": source});
    let outcome = world.log_in(pointing, json!({}));
    assert_passes(&outcome);
    let session = cookies(&outcome);
    world.play.lock().unwrap().user = None;
    world.harness = World::gateway(&world.provider, FIELDS);
    assert_passes(&world.page(&session));
    assert_eq!(world.asked("/me").len(), 1);
    assert_eq!(world.log_in(json!({}), json!({})).status, 403, "who has none");
}

#[test]
fn answers_about_tokens_and_users_point_elsewhere_as_well() {
    for (method, place) in [("introspection", "/introspect"), ("userinfo", "/me")] {
        let provider = Loopback::answering(move |asked| {
            let base = format!("http://{}", asked.header("Host").unwrap());
            let source = json!({"a": {"endpoint": format!("{base}/claims")}});
            let said = json!({"active": true, "sub": "alice", "_claim_names": {"groups": "a"}, "_claim_sources": source});
            match asked.target.as_str() {
                "/.well-known/openid-configuration" => Given::json(
                    &json!({"issuer": base, "jwks_uri": format!("{base}/keys"), "introspection_endpoint": format!("{base}/introspect"),
                            "userinfo_endpoint": format!("{base}/me")}).to_string(),
                ),
                "/keys" => Given::json(&json!({"keys": [key(P256, "one")]}).to_string()),
                "/claims" => Given::json(r#"{"groups": ["admin"]}"#),
                target if target == place => Given::json(&said.to_string()),
                _ => Given::answer(404, &[], ""),
            }
        });
        let fields = format!("auth_methods: [{method}], {FIELDS}");
        let mut harness = world::behind(&provider, &fields);
        assert_passes(&harness.send(&bearer("opaque")));
    }
}

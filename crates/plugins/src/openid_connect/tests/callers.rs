//! Callers for whom the gateway gets tokens itself, and those whom only the provider knows.

use plugin::outbound::loopback::{Given, Loopback, Received};

use super::world::{World, assert_unauthorized, behind};
use super::*;

/// `alice:right` by Basic.
const ALICE: &str = "Authorization: Basic YWxpY2U6cmlnaHQ=";
/// `alice:wrong`.
const WRONG: &str = "Authorization: Basic YWxpY2U6d3Jvbmc=";
const FORM: &str = "Content-Type: application/x-www-form-urlencoded";

/// A provider that knows alice by her password, a robot by its secret, and what its tokens are good for.
fn provide() -> Loopback {
    Loopback::answering(|asked: &Received| {
        let issuer = format!("http://{}", asked.header("Host").unwrap());
        let form = asked.text();
        let has = |text: &str| form.contains(text);
        let tokens = |sub: &str, aud: &str| {
            let id = token(json!({"iss": issuer, "aud": aud, "sub": sub}));
            Given::json(
                &json!({"access_token": format!("for-{sub}"), "id_token": id, "expires_in": 60}).to_string(),
            )
        };
        // "robot:right".
        let is_robot = asked.header("Authorization").as_deref() == Some("Basic cm9ib3Q6cmlnaHQ=");
        match asked.target.as_str() {
            "/.well-known/openid-configuration" => Given::json(
                &json!({"issuer": issuer, "jwks_uri": format!("{issuer}/keys"), "token_endpoint": format!("{issuer}/token"),
                    "userinfo_endpoint": format!("{issuer}/me")})
                .to_string(),
            ),
            "/keys" => Given::json(&json!({ "keys": [key(P256, "one")] }).to_string()),
            "/token" if has("grant_type=password&username=alice&password=right") => tokens("alice", "gateway"),
            "/token" if has("grant_type=client_credentials") && is_robot => {
                Given::json(r#"{"access_token": "for-robot", "expires_in": 60}"#)
            }
            "/token" if has("grant_type=refresh_token&refresh_token=good") => tokens("alice", "gateway"),
            "/token" if has("username=mallory") => Given::answer(401, &[], r#"{"error": "invalid_client"}"#),
            "/token" if has("username=robot") => Given::answer(400, &[], r#"{"error": "unauthorized_client"}"#),
            "/token" if has("grant_type=client_credentials") => Given::answer(401, &[], r#"{"error": "invalid_client"}"#),
            "/token" => Given::answer(400, &[], r#"{"error": "invalid_grant"}"#),
            "/me" if asked.header("Authorization").as_deref() == Some("Bearer for-alice") => {
                Given::json(r#"{"sub": "alice", "email": "a@b.test"}"#)
            }
            "/me" => Given::answer(401, &[], ""),
            _ => Given::answer(404, &[], ""),
        }
    })
}

fn asked(provider: &Loopback, path: &str) -> usize {
    provider.seen().iter().filter(|asked| asked.target == path).count()
}

fn who(outcome: &Outcome) -> Option<String> {
    outcome.upstream_header("X-Credential-Identifier")
}

#[test]
fn a_password_is_as_good_as_the_provider_says() {
    let provider = provide();
    let mut harness = behind(&provider, "auth_methods: [password], audience: [api]");
    for _ in 0..2 {
        let outcome = harness.send(&format!("GET / HTTP/1.1\n{ALICE}"));
        assert_passes(&outcome);
        assert_eq!(who(&outcome).as_deref(), Some("alice"));
        assert_eq!(outcome.upstream_header("Authorization").as_deref(), Some("Bearer for-alice"));
        let refused = harness.send(&format!("GET / HTTP/1.1\n{WRONG}"));
        assert_unauthorized(&refused, "the provider gives no tokens");
    }
    assert_eq!(asked(&provider, "/token"), 2, "what was said once holds for a while");
    let first = provider.seen().into_iter().find(|asked| asked.target == "/token").unwrap();
    let form = "grant_type=password&username=alice&password=right&scope=openid&audience=api";
    assert_eq!(first.text(), form);
    assert_eq!(first.header("Authorization").as_deref(), Some("Basic Z2F0ZXdheTpzZWNyZXQ="));
    harness.clock.advance(60_000);
    assert_passes(&harness.send(&format!("GET / HTTP/1.1\n{ALICE}")));
    assert_eq!(asked(&provider, "/token"), 3, "tokens that have ended are asked for again");
    assert_eq!(harness.send(GET).status, 401);
}

fn send(harness: &mut Harness, name: &str, secret: &str) -> Outcome {
    let login =
        base64::Engine::encode(&base64::engine::general_purpose::STANDARD, format!("{name}:{secret}"));
    harness.send(&format!("GET / HTTP/1.1\nAuthorization: Basic {login}"))
}

#[test]
fn what_the_provider_has_against_the_gateway_is_no_failure_of_the_caller() {
    let provider = provide();
    let guard = "brute_force_protection: {strategy: memory, failures: 3, window: 60}";
    let mut harness = behind(&provider, &format!("auth_methods: [password], {guard}"));
    for secret in ["a", "b", "c", "d", "e"] {
        assert_eq!(send(&mut harness, "mallory", secret).status, 500);
    }
    // Who may be a client is one, and has guessed a client's secret.
    let mut both = behind(&provider, &format!("auth_methods: [password, client_credentials], {guard}"));
    let statuses = ["a", "b", "c", "d"].map(|secret| send(&mut both, "mallory", secret).status);
    assert_eq!(statuses, [401, 401, 401, 429]);
}

#[test]
fn the_provider_is_not_asked_about_who_guesses() {
    let provider = provide();
    let guard = "brute_force_protection: {strategy: memory, failures: 3, window: 60}";
    let mut harness = behind(&provider, &format!("auth_methods: [password, client_credentials], {guard}"));
    for _ in 0..2 {
        for guess in ["a", "b"] {
            assert_eq!(send(&mut harness, "alice", guess).status, 401);
        }
        assert_passes(&send(&mut harness, "alice", "right"));
    }
    for guess in ["c", "d", "e"] {
        assert_eq!(send(&mut harness, "alice", guess).status, 401);
    }
    let asked_before = asked(&provider, "/token");
    for late in [send(&mut harness, "alice", "right"), send(&mut harness, "ALICE", "f")] {
        assert_eq!((late.status, late.message.as_deref()), (429, Some("Too many failed attempts")));
        assert_eq!(late.header("Retry-After").as_deref(), Some("80"));
    }
    assert_eq!(asked(&provider, "/token"), asked_before);
    assert_passes(&send(&mut harness, "robot", "right"));
    harness.clock.advance(80_000);
    assert_passes(&send(&mut harness, "alice", "right"));
}

#[test]
fn credentials_are_found_where_they_may_stand_and_hidden() {
    let provider = provide();
    let mut harness = behind(&provider, "auth_methods: [password], password_param_type: [query, body]");
    let in_query = harness.send("GET /?a=1&username=alice&password=right HTTP/1.1");
    assert_passes(&in_query);
    assert_eq!(in_query.upstream_query.as_deref(), Some("a=1"));
    let in_body = harness.send(&format!("POST / HTTP/1.1\n{FORM}\n\na=1&username=alice&password=right"));
    assert_passes(&in_body);
    assert_eq!(in_body.upstream_body, b"a=1");
    assert_eq!(harness.send(&format!("GET / HTTP/1.1\n{ALICE}")).status, 401, "not in the header");
}

#[test]
fn a_client_signs_in_for_itself() {
    let provider = provide();
    let mut harness =
        behind(&provider, "auth_methods: [password, client_credentials], credential_claim: [client_id]");
    let robot = harness.send("GET / HTTP/1.1\nAuthorization: Basic cm9ib3Q6cmlnaHQ=");
    assert_passes(&robot);
    assert_eq!(who(&robot).as_deref(), Some("robot"));
    assert_eq!(asked(&provider, "/token"), 2, "it was tried as a password first");
    let mut alone = behind(&provider, "auth_methods: [client_credentials]");
    assert_eq!(alone.send(&format!("GET / HTTP/1.1\n{ALICE}")).status, 401, "a person is no client");
}

#[test]
fn a_refresh_token_is_enough() {
    let provider = provide();
    let mut harness =
        behind(&provider, "auth_methods: [refresh_token], refresh_token_param_name: refresh_token");
    let outcome = harness.send("GET / HTTP/1.1\nrefresh_token: good");
    assert_passes(&outcome);
    assert_eq!((who(&outcome).as_deref(), outcome.upstream_header("refresh_token")), (Some("alice"), None));
    assert_passes(&harness.send("GET /?refresh_token=good HTTP/1.1"));
    assert_eq!(asked(&provider, "/token"), 1);
    assert_eq!(harness.send("GET / HTTP/1.1\nrefresh_token: bad").status, 401);
}

#[test]
fn the_provider_knows_whose_an_opaque_token_is() {
    let provider = provide();
    let fields = "auth_methods: [bearer, userinfo], upstream_user_info_header: X-User";
    let mut harness = behind(&provider, fields);
    for _ in 0..2 {
        let outcome = harness.send(&bearer("for-alice"));
        assert_passes(&outcome);
        assert_eq!(who(&outcome).as_deref(), Some("alice"));
        // {"sub":"alice","email":"a@b.test"}.
        let told = "eyJzdWIiOiJhbGljZSIsImVtYWlsIjoiYUBiLnRlc3QifQ==";
        assert_eq!(outcome.upstream_header("X-User").as_deref(), Some(told));
        assert_unauthorized(&harness.send(&bearer("unknown")), "the provider does not know the token");
    }
    assert_eq!(asked(&provider, "/me"), 2);
    let forged = harness.send(&(bearer("for-nobody") + "\nX-User: forged"));
    assert_eq!((forged.status, forged.upstream_header("X-User")), (401, None));
}

#[test]
fn who_is_let_in_by_the_word_about_a_user_is_so_no_longer_than_the_token() {
    let is_up = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    let switch = is_up.clone();
    let provider = Loopback::answering(move |_| match switch.load(std::sync::atomic::Ordering::Acquire) {
        true => Given::json(r#"{"sub": "alice"}"#),
        false => Given::answer(503, &[], ""),
    });
    let mut harness = Subject(plugin::room::<OpenidConnect>())
        .with(&format!(
            "{{issuer: 'http://issuer.test', auth_methods: [userinfo], userinfo_endpoint: '{}', cache_ttl: 200, \
             cache_ttl_resurrect: 1000}}",
            provider.url("/me")
        ))
        .in_real_time();
    let (ends, opaque) = (bearer(&token(json!({"exp": NOW + 100}))), bearer("opaque"));
    for request in [&ends, &opaque] {
        assert_passes(&harness.send(request));
    }
    is_up.store(false, std::sync::atomic::Ordering::Release);
    harness.clock.advance(99_000);
    for request in [&ends, &opaque] {
        assert_passes(&harness.send(request));
    }
    harness.clock.advance(2_000);
    assert_eq!(harness.send(&ends).status, 500, "the token has ended");
    assert_passes(&harness.send(&opaque));
    harness.clock.advance(100_000);
    assert_eq!(harness.send(&opaque).status, 500, "nobody knows whether it is still good");
}

#[test]
fn clients_without_a_subject_are_not_one_caller() {
    let provider = Loopback::answering(|asked: &Received| {
        let form = asked.text();
        let client = if form.contains("one") { "one" } else { "two" };
        Given::json(&json!({"active": true, "client_id": client, "iss": ISSUER}).to_string())
    });
    let config = format!(
        "{{issuer: '{ISSUER}', auth_methods: [introspection], introspection_endpoint: '{}', client_id: [g], client_secret: [s]}}",
        provider.url("/introspect")
    );
    let document = format!(
        "_format_version: \"3.0\"\nplugins:\n- {{name: openid-connect, config: {config}}}\n\
         - {{name: rate-limiting, config: {{minute: 1, limit_by: credential}}}}\n"
    );
    let mut harness = Harness::chain(crate::ROOMS, &document).unwrap().in_real_time();
    let mut status = |token: &str| harness.send(&bearer(token)).status;
    assert_eq!([status("one-1"), status("two-1"), status("one-2")], [200, 200, 429]);
}

#[test]
fn what_is_known_of_users_is_looked_at_where_that_is_wanted() {
    let provider = provide();
    let fields = "auth_methods: [password], search_user_info: true, upstream_headers_claims: [email], \
                  upstream_headers_names: [X-Email]";
    let outcome = behind(&provider, fields).send(&format!("GET / HTTP/1.1\n{ALICE}"));
    assert_passes(&outcome);
    assert_eq!(outcome.upstream_header("X-Email").as_deref(), Some("a@b.test"));
}

#[test]
fn the_methods_of_kongs_default_work_together() {
    let provider = provide();
    let mut harness = behind(&provider, "");
    assert_passes(&harness.send(&format!("GET / HTTP/1.1\n{ALICE}")));
    let issuer = provider.url("");
    assert_passes(&harness.send(&bearer(&token(json!({"iss": issuer})))));
    assert_eq!(harness.send(&bearer(&token(json!({"iss": "http://other.test"})))).status, 401);
}

/// A provider that says something of whoever has a token which it has signed, once it is told what.
fn told_of() -> World {
    let world = World::new(
        "auth_methods: [bearer], search_user_info: true, groups_required: [admins], upstream_headers_claims: [email, iss], \
         upstream_headers_names: [X-Email, X-Issuer], upstream_user_info_header: X-User, cache_ttl: 100",
    );
    world.say(json!({"sub": "alice", "groups": ["admins"], "email": "a@b.test", "iss": "another"}));
    world
}

impl World {
    fn say(&self, of_user: Value) {
        self.play.lock().unwrap().user = Some((200, of_user));
    }

    /// A token that is the provider's.
    fn signed(&self, claims: Value) -> String {
        let mut all = Map::from_iter([("iss".to_owned(), self.provider.url("").into())]);
        if let Value::Object(claims) = claims {
            all.extend(claims);
        }
        bearer(&token(Value::Object(all)))
    }

    fn brought(&mut self, claims: Value) -> Outcome {
        let request = self.signed(claims);
        self.harness.send(&request)
    }
}

#[test]
fn what_is_known_of_users_counts_for_tokens_that_are_brought() {
    let mut world = told_of();
    let alice = world.signed(json!({"sub": "alice"}));
    for _ in 0..2 {
        let outcome = world.harness.send(&alice);
        assert_passes(&outcome);
        assert_eq!(who(&outcome).as_deref(), Some("alice"));
        assert_eq!(outcome.upstream_header("X-Email").as_deref(), Some("a@b.test"));
        assert_eq!(
            outcome.upstream_header("X-Issuer"),
            Some(world.provider.url("")),
            "the token is the provider's"
        );
        assert!(outcome.upstream_header("X-User").is_some());
    }
    assert_eq!(world.asked("/me").len(), 1, "it is remembered");
    world.say(json!({"sub": "alice", "groups": ["guests"]}));
    assert_passes(&world.harness.send(&alice));
    world.harness.clock.advance(100_000);
    assert_eq!(world.harness.send(&alice).status, 403, "and asked for again");
    world.say(json!({"sub": "bob", "groups": ["admins"]}));
    let refused = world.brought(json!({"sub": "alice", "jti": "2"}));
    assert_unauthorized(&refused, "the provider tells of another user");
}

#[test]
fn what_is_known_of_users_holds_no_longer_than_their_tokens() {
    let mut world = told_of();
    let ends = world.signed(json!({"sub": "alice", "exp": NOW + 50}));
    assert_passes(&world.harness.send(&ends));
    world.harness.clock.advance(51_000);
    assert_unauthorized(&world.harness.send(&ends), "token expired");
}

#[test]
fn nobody_is_let_in_of_whom_the_provider_says_nothing() {
    let mut world = told_of();
    world.play.lock().unwrap().user = None;
    assert_eq!(world.brought(json!({"sub": "alice"})).status, 500, "it is down");
    world.play.lock().unwrap().user = Some((401, json!({})));
    assert_unauthorized(&world.brought(json!({"sub": "bob"})), "the provider does not know the token");
    world.say(json!({"groups": ["admins"]}));
    assert_unauthorized(&world.brought(json!({"sub": "eve"})), "the provider names no subject");
}

#[test]
fn users_are_asked_about_beyond_what_is_said_of_their_tokens() {
    let mut world = World::new(
        "auth_methods: [introspection], search_user_info: true, groups_required: [admins], cache_user_info: false",
    );
    world.play.lock().unwrap().about = Some((200, json!({"active": true, "sub": "alice"})));
    for (groups, status) in [("admins", 200), ("guests", 403), ("admins", 200)] {
        world.say(json!({"sub": "alice", "groups": [groups], "active": false}));
        assert_eq!(world.harness.send(&bearer("opaque")).status, status, "nothing is remembered");
    }
    world.say(json!({"sub": "bob", "groups": ["admins"]}));
    assert_unauthorized(&world.harness.send(&bearer("opaque")), "the provider tells of another user");
}

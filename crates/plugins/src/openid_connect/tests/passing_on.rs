//! What of a caller's request goes to the provider, and what of its answers comes back.

use plugin::outbound::loopback::{Given, Loopback, Received};

use super::world::{World, behind, cookies};
use super::*;

const ALICE: &str = "Authorization: Basic YWxpY2U6cmlnaHQ=";

/// A provider that gives everybody tokens, and knows one user while `is_up`.
fn generous() -> Loopback {
    Loopback::answering(|asked: &Received| {
        let base = format!("http://{}", asked.header("Host").unwrap());
        match asked.target.split('?').next().unwrap() {
            "/.well-known/openid-configuration" => Given::json(
                &json!({"issuer": base, "jwks_uri": format!("{base}/keys"), "token_endpoint": format!("{base}/token"),
                    "userinfo_endpoint": format!("{base}/me")})
                .to_string(),
            ),
            "/keys" => Given::json(&json!({ "keys": [key(P256, "one")] }).to_string()),
            "/token" => {
                let id = token(json!({"iss": base, "aud": "gateway"}));
                let answer = json!({"access_token": "opaque", "id_token": id, "expires_in": 60}).to_string();
                Given::answer(200, &[("Content-Type", "application/json"), ("X-Quota", "7"), ("X-Other", "8")], &answer)
            }
            "/me" => Given::json(r#"{"sub": "alice"}"#),
            _ => Given::answer(404, &[], ""),
        }
    })
}

fn asked(provider: &Loopback, path: &str) -> Vec<Received> {
    provider.seen().into_iter().filter(|asked| asked.target.starts_with(path)).collect()
}

#[test]
fn callers_add_to_requests_for_tokens_what_they_may() {
    let provider = generous();
    let mut harness = behind(
        &provider,
        "auth_methods: [password], audience: [api], token_post_args_client: [scope, resource, grant_type, client_id], \
         token_headers_client: [X-Tenant]",
    );
    let request = format!(
        "GET /?scope=read&grant_type=evil&client_id=evil HTTP/1.1\n{ALICE}\nresource: urn:a\nX-Tenant: t1"
    );
    assert_passes(&harness.send(&request));
    let first = asked(&provider, "/token").pop().unwrap();
    let form = "grant_type=password&username=alice&password=right&audience=api&scope=read&resource=urn%3Aa";
    assert_eq!((first.text().as_str(), first.header("X-Tenant").as_deref()), (form, Some("t1")));
    assert_passes(&harness.send(&request));
    assert_eq!(asked(&provider, "/token").len(), 1);
    assert_passes(&harness.send(&format!("GET /?scope=write HTTP/1.1\n{ALICE}")));
    assert_eq!(asked(&provider, "/token").len(), 2, "tokens for another scope are others");
}

#[test]
fn tokens_and_users_are_remembered_as_long_as_the_configuration_says() {
    let fields = "auth_methods: [password], search_user_info: true";
    let request = format!("GET / HTTP/1.1\n{ALICE}");
    for (more, wanted) in [
        ("", [1, 1]),
        ("cache_tokens: false", [2, 1]),
        ("cache_user_info: false", [1, 2]),
        ("cache_ttl_max: 10", [2, 2]),
    ] {
        let provider = generous();
        let mut harness = behind(&provider, &format!("{fields}, {more}"));
        assert_passes(&harness.send(&request));
        harness.clock.advance(11_000);
        assert_passes(&harness.send(&request));
        assert_eq!(["/token", "/me"].map(|path| asked(&provider, path).len()), wanted, "{more}");
    }
}

#[test]
fn clients_get_headers_of_the_answer_at_the_grants_that_are_listed() {
    let provider = generous();
    let fields = "token_headers_replay: [X-Quota], token_headers_prefix: Idp-";
    let mut harness =
        behind(&provider, &format!("auth_methods: [password], {fields}, token_headers_grants: [password]"));
    for _ in 0..2 {
        let outcome = harness.send(&format!("GET / HTTP/1.1\n{ALICE}"));
        assert_eq!(
            (outcome.header("Idp-X-Quota").as_deref(), outcome.header("Idp-X-Other")),
            (Some("7"), None)
        );
    }
    let mut other = behind(
        &provider,
        &format!("auth_methods: [password], {fields}, token_headers_grants: [refresh_token]"),
    );
    assert_eq!(other.send(&format!("GET / HTTP/1.1\n{ALICE}")).header("Idp-X-Quota"), None);
}

#[test]
fn callers_with_credentials_may_get_their_tokens() {
    let provider = generous();
    let methods = "auth_methods: [password], login_methods: [password], login_tokens: [access_token]";
    let outcome = behind(&provider, &format!("{methods}, login_action: response"))
        .send(&format!("GET / HTTP/1.1\n{ALICE}"));
    assert_eq!((outcome.status, outcome.json()), (200, json!({"access_token": "opaque"})));
    let fields = "login_action: redirect, login_redirect_uri: ['/in']";
    let outcome =
        behind(&provider, &format!("{methods}, {fields}")).send(&format!("GET / HTTP/1.1\n{ALICE}"));
    assert_eq!(outcome.header("Location").as_deref(), Some("/in#access_token=opaque"));
    let usual = "auth_methods: [password], login_action: response";
    assert_passes(&behind(&provider, usual).send(&format!("GET / HTTP/1.1\n{ALICE}")));
}

#[test]
fn questions_about_users_go_with_what_is_to_go_with_them() {
    let provider = generous();
    let mut harness = behind(
        &provider,
        "auth_methods: [userinfo], userinfo_query_args_names: [tenant], userinfo_query_args_values: [a b], \
         userinfo_query_args_client: [lang], userinfo_headers_client: [X-Device]",
    );
    assert_passes(&harness.send("GET /?lang=de HTTP/1.1\nAuthorization: Bearer opaque\nX-Device: d"));
    let first = asked(&provider, "/me").pop().unwrap();
    assert_eq!(
        (first.target.as_str(), first.header("X-Device").as_deref()),
        ("/me?tenant=a+b&lang=de", Some("d"))
    );
    assert_passes(&harness.send("GET /?lang=fr HTTP/1.1\nAuthorization: Bearer opaque"));
    assert_eq!(asked(&provider, "/me").len(), 2);
}

#[test]
fn answers_outlive_their_time_while_the_provider_is_down_but_not_the_token() {
    let is_up = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    let switch = is_up.clone();
    let provider = Loopback::answering(move |_| match switch.load(std::sync::atomic::Ordering::Acquire) {
        true => Given::json(&json!({"active": true, "sub": "bob", "exp": NOW + 100}).to_string()),
        false => Given::answer(503, &[], ""),
    });
    let mut harness = Subject(plugin::room::<OpenidConnect>())
        .with(&format!(
            "{{issuer: 'http://issuer.test', auth_methods: [introspection], introspection_endpoint: '{}', client_id: [g], \
             client_secret: [s], cache_ttl_max: 10, cache_ttl_resurrect: 1000}}",
            provider.url("/introspect")
        ))
        .in_real_time();
    assert_passes(&harness.send(&bearer("opaque")));
    is_up.store(false, std::sync::atomic::Ordering::Release);
    harness.clock.advance(50_000);
    assert_passes(&harness.send(&bearer("opaque")));
    assert_eq!(harness.send(&bearer("another")).status, 500);
    harness.clock.advance(51_000);
    assert_eq!(harness.send(&bearer("opaque")).status, 500, "the token has ended");
}

#[test]
fn signatures_are_ignored_of_tokens_that_come_from_the_provider_itself_where_that_is_wanted() {
    let forged = |world: &World, nonce: Option<String>| {
        let said = claims(json!({"iss": world.provider.url(""), "aud": "gateway", "nonce": nonce}));
        sign(&key(ED25519, "unknown"), &said)
    };
    for (fields, passes) in
        [("ignore_signature: [authorization_code]", true), ("ignore_signature: [password]", false)]
    {
        let mut world = World::new(fields);
        let begun = world.begin("GET /page HTTP/1.1");
        let id_token = forged(&world, begun.argument("nonce"));
        world.give_with(None, json!({}), json!({ "id_token": id_token }));
        assert_eq!(!world.harness.send(&begun.back("")).answered, passes, "{fields}");
    }
    let mut strict = World::new("ignore_signature: [authorization_code]");
    let begun = strict.begin("GET /page HTTP/1.1");
    let id_token = forged(&strict, Some("another".into()));
    strict.give_with(None, json!({}), json!({ "id_token": id_token }));
    assert_eq!(strict.harness.send(&begun.back("")).status, 401, "what it says still counts");
}

#[test]
fn a_session_does_not_outlive_the_key_of_its_tokens_where_that_is_wanted() {
    for (fields, passes) in [("reverify: true", false), ("reverify: false", true)] {
        let mut world = World::new(fields);
        let session = cookies(&world.log_in(json!({}), json!({})));
        for _ in 0..2 {
            assert_passes(&world.page(&session));
        }
        let keys =
            KeySet::published(json!({ "keys": [key(ED25519, "two")] }).to_string().as_bytes()).unwrap();
        let (_, provider) = world.harness.services.all_kept::<Published<Issuer>>().pop().unwrap();
        let endpoints = super::super::provider::Endpoints {
            authorization: plugin::outbound::Url::parse(&world.provider.url("/auth")).ok(),
            ..Default::default()
        };
        provider.publish(Issuer {
            name: Some(world.provider.url("").into()),
            keys,
            endpoints,
            ..Issuer::default()
        });
        assert_eq!(world.page(&session).status, if passes { 200 } else { 302 }, "{fields}");
    }
}

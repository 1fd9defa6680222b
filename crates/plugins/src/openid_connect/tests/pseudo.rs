//! A provider of which only the name is known: everything else stands in the configuration.

use super::world::{World, assert_unauthorized};
use super::*;

/// A gateway that knows nothing of the provider but what it has been told.
fn world(more: &str) -> World {
    World::at(|base| {
        format!(
            "using_pseudo_issuer: true, issuers_allowed: ['{base}'], jwks_endpoint: '{base}/keys', \
             authorization_endpoint: '{base}/auth?tenant=1', token_endpoint: '{base}/token', {more}"
        )
    })
}

#[test]
fn a_login_begins_without_a_question() {
    let mut world =
        world("authorization_query_args_names: [prompt], authorization_query_args_values: [login]");
    let begun = world.begin("GET /page HTTP/1.1");
    assert_eq!(begun.argument("prompt").as_deref(), Some("login"));
    assert!(world.provider.seen().is_empty(), "all of it is in the configuration");
    world.give(begun.argument("nonce").as_deref(), json!({}));
    assert_passes(&world.harness.send(&begun.back("")));
    assert!(world.asked("/.well-known/openid-configuration").is_empty());
}

#[test]
fn a_provider_names_itself_as_its_tokens_do() {
    let mut world = world("client_auth: [client_secret_post]");
    let begun = world.begin("GET /page HTTP/1.1");
    world.give(begun.argument("nonce").as_deref(), json!({}));
    let refused = world.harness.send(&begun.back("&iss=http://other.test"));
    assert_unauthorized(&refused, "an answer of another provider");
    let begun = world.begin("GET /page HTTP/1.1");
    world.give(begun.argument("nonce").as_deref(), json!({}));
    let own = format!("&iss={}", world.provider.url(""));
    assert_passes(&world.harness.send(&begun.back(&own)));
}

#[test]
fn a_request_for_a_login_is_signed_for_who_makes_the_tokens() {
    let signing = "client_id: [gateway], client_secret: [a-secret-of-at-least-32-characters]";
    let mut world = world(&format!("require_signed_request_object: true, {signing}"));
    let begun = world.begin("GET /page HTTP/1.1");
    let request = begun.argument("request").unwrap();
    let said = plugin::jose::Token::without_verification(request.as_bytes()).unwrap().claims;
    assert_eq!(said["aud"], json!(world.provider.url("")));
}

#[test]
fn a_method_needs_the_addresses_that_nobody_else_says() {
    let room = Subject(plugin::room::<OpenidConnect>());
    let config = |fields: &str| {
        format!(
            "{{issuer: x, using_pseudo_issuer: true, issuers_allowed: [x], jwks_endpoint: 'http://127.0.0.1:1/keys', \
             client_id: [a], client_secret: [b], {fields}}}"
        )
    };
    let exchange = "token_exchange: {subject_token_issuers: [{issuer: y}]}";
    for (fields, reason) in [
        (
            "auth_methods: [authorization_code]",
            "auth_methods: 'authorization_code' needs 'authorization_endpoint'",
        ),
        (
            "auth_methods: [authorization_code], authorization_endpoint: 'http://a.test'",
            "auth_methods: 'authorization_code' needs 'token_endpoint'",
        ),
        ("auth_methods: [bearer, password]", "auth_methods: 'password' needs 'token_endpoint'"),
        ("auth_methods: [introspection]", "auth_methods: 'introspection' needs 'introspection_endpoint'"),
        ("auth_methods: [userinfo]", "auth_methods: 'userinfo' needs 'userinfo_endpoint'"),
        ("auth_methods: [bearer], search_user_info: true", "search_user_info: needs 'userinfo_endpoint'"),
        ("auth_methods: [session], logout_revoke: true", "logout_revoke: needs 'revocation_endpoint'"),
        (&format!("auth_methods: [bearer], {exchange}"), "token_exchange: needs 'token_exchange_endpoint'"),
        (
            "auth_methods: [bearer], login_action: response, login_tokens: [introspection]",
            "login_tokens: needs 'introspection_endpoint'",
        ),
    ] {
        let refusal = room.refuses(&config(fields));
        assert!(refusal.starts_with(&format!("config.{reason}")), "{refusal}");
    }
    let mut by_default = room.with(&config("display_errors: true"));
    let outcome = by_default.send(GET);
    assert_eq!((outcome.status, outcome.header("Location")), (401, None), "nobody can log in there");
    assert_eq!(by_default.send("GET / HTTP/1.1\nAuthorization: Basic YTpi").status, 401);
}

#[test]
fn a_pseudo_issuer_needs_all_that_a_document_would_say() {
    let room = Subject(plugin::room::<OpenidConnect>());
    for (fields, field) in [
        ("issuers_allowed: [x]", "config.using_pseudo_issuer: a pseudo issuer publishes no keys"),
        ("jwks_endpoint: 'http://127.0.0.1:1/keys'", "list them in 'issuers_allowed'"),
        ("jwks_endpoint: 'ftp://x', issuers_allowed: [x]", "must begin with http://"),
    ] {
        let refusal = room
            .refuses(&format!("{{issuer: x, using_pseudo_issuer: true, auth_methods: [bearer], {fields}}}"));
        assert!(refusal.contains(field), "{refusal}");
    }
}

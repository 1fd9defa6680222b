//! What somebody is handed who has proved who they are, in place of an answer of the upstream.

use super::world::{World, cookies};

use super::*;

/// What the provider says of every token.
fn active() -> Value {
    json!({"active": true, "sub": "alice", "scope": "read", "exp": NOW + 60})
}

fn world(fields: &str) -> World {
    let world = World::new(&format!("login_tokens: [access_token, introspection], {fields}"));
    world.play.lock().unwrap().about = Some((200, active()));
    world
}

#[test]
fn after_a_login_what_the_provider_says_of_the_token_is_handed_over() {
    let mut answered = world("login_action: response");
    let outcome = answered.log_in(json!({}), json!({"introspection": "of the token endpoint"}));
    assert_eq!(outcome.json(), json!({"access_token": "opaque", "introspection": active()}));
    assert!(cookies(&outcome).contains("session="));
    let asked = answered.asked("/introspect").pop().unwrap();
    assert_eq!(asked.text(), "token=opaque&token_type_hint=access_token");
    assert_eq!(asked.header("Authorization").as_deref(), Some("Basic Z2F0ZXdheTpzZWNyZXQ="));
    let mut sent = world("login_action: redirect, login_redirect_uri: ['/in']");
    let location = sent.log_in(json!({}), json!({})).header("Location").unwrap();
    let (path, fragment) = location.split_once('#').unwrap();
    let said = world::argument(fragment, "introspection").unwrap();
    assert_eq!((path, serde_json::from_str::<Value>(&said).unwrap()), ("/in", active()));
}

#[test]
fn a_provider_that_does_not_say_it_lets_nobody_log_in() {
    let mut world = world("login_action: response");
    world.play.lock().unwrap().about = None;
    let outcome = world.log_in(json!({}), json!({}));
    assert_eq!((outcome.status, cookies(&outcome).as_str()), (500, ""));
}

#[test]
fn it_is_not_asked_where_nothing_is_handed_over() {
    for fields in ["login_action: upstream", "login_action: redirect"] {
        let mut world = world(fields);
        world.log_in(json!({}), json!({}));
        assert!(world.asked("/introspect").is_empty(), "{fields}");
    }
}

#[test]
fn callers_with_a_token_are_handed_what_is_said_of_it() {
    for method in ["bearer", "introspection"] {
        let methods = format!("login_action: response, auth_methods: [{method}], login_methods");
        let own = || sign(&key(P256, "one"), &claims(json!({"scope": "read"})));
        let mut handing = world(&format!("issuers_allowed: ['{ISSUER}'], {methods}: [{method}]"));
        let token = own();
        let outcome = handing.harness.send(&bearer(&token));
        assert_eq!(outcome.json(), json!({"access_token": token, "introspection": active()}), "{method}");
        assert_eq!(outcome.header("Cache-Control").as_deref(), Some("no-store"));
        let mut passing = world(&format!("issuers_allowed: ['{ISSUER}'], {methods}: [authorization_code]"));
        assert_passes(&passing.harness.send(&bearer(&own())));
    }
}

#[test]
fn people_with_a_session_are_handed_its_tokens() {
    let mut world = world("login_action: response, login_methods: [session]");
    let outcome = world.log_in(json!({}), json!({"refresh_token": "r"}));
    assert_passes(&outcome);
    let page = world.page(&cookies(&outcome));
    assert_eq!(page.json(), json!({"access_token": "opaque", "introspection": active()}));
}

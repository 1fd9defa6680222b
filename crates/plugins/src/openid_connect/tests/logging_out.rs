//! Where people go who log out, and what the provider is told (OpenID Connect RP-Initiated Logout 1.0).

use plugin::outbound::loopback::Received;

use super::world::{World, argument, cookies};
use super::*;

/// Logs out with a session, and returns the address that the browser is sent to.
fn leave(harness: &mut Harness, session: &str) -> String {
    let outcome = harness.send(&format!("POST /page?logout HTTP/1.1\nCookie: {session}"));
    assert_eq!(outcome.status, 303, "{}", outcome.json());
    outcome.header("Location").unwrap()
}

#[test]
fn whose_session_has_ended_by_itself_is_told_to_the_provider_and_its_tokens_are_given_back() {
    let mut world = World::new(
        "logout_query_arg: logout, end_session_endpoint: 'https://idp.test/end', logout_revoke: true, refresh_tokens: false",
    );
    let session = cookies(&world.log_in(json!({}), json!({"refresh_token": "r1"})));
    world.harness.clock.advance(101_000);
    let location = leave(&mut world.harness, &session);
    let arguments = location.strip_prefix("https://idp.test/end?").unwrap();
    let hint = argument(arguments, "id_token_hint").expect("a hint, which may have expired");
    let said = plugin::jose::Token::without_verification(hint.as_bytes()).unwrap().claims;
    assert_eq!(said["sub"], "alice");
    let revoked: Vec<String> = world.asked("/revoke").iter().map(Received::text).collect();
    assert!(revoked.contains(&"token=r1&token_type_hint=refresh_token".to_owned()), "{revoked:?}");
}

#[test]
fn the_provider_sends_people_back_to_an_absolute_address() {
    let mut world = World::new(
        "logout_query_arg: logout, end_session_endpoint: 'https://idp.test/end', logout_redirect_uri: [/bye]",
    );
    let session = cookies(&world.log_in(json!({}), json!({})));
    let location = leave(&mut world.harness, &session);
    let arguments = location.strip_prefix("https://idp.test/end?").unwrap();
    let back = argument(arguments, "post_logout_redirect_uri");
    assert_eq!(back.as_deref(), Some("http://gateway.test/bye"));
}

#[test]
fn an_address_of_the_configuration_is_known_while_the_provider_is_down() {
    let fields = "logout_query_arg: logout, end_session_endpoint: 'https://idp.test/end'";
    let mut world = World::new(fields);
    let session = cookies(&world.log_in(json!({}), json!({})));
    let mut another = World::gateway(&world.provider, fields);
    drop(world);
    assert!(
        leave(&mut another, &session).starts_with("https://idp.test/end?client_id=gateway&id_token_hint=")
    );
}

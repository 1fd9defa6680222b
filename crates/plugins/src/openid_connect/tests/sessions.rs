//! Sessions: newer tokens, and how they end.

use plugin::outbound::loopback::Received;

use super::world::{World, cookies};
use super::*;

#[test]
fn tokens_of_a_session_are_renewed_when_they_end() {
    let mut world = World::new("leeway: 10");
    let session = cookies(&world.log_in(json!({}), json!({"refresh_token": "r1"})));
    world.give_with(None, json!({}), json!({"access_token": "second", "refresh_token": "r2"}));
    assert_passes(&world.page(&session));
    world.harness.clock.advance(90_000);
    let renewed = world.page(&session);
    assert_passes(&renewed);
    assert_eq!(renewed.upstream_header("Authorization").as_deref(), Some("Bearer second"));
    let asked = world.asked("/token").pop().unwrap().text();
    assert_eq!(asked, "grant_type=refresh_token&refresh_token=r1");
    let newer = cookies(&renewed);
    assert_ne!(newer, session, "a session with other tokens has another cookie");
    assert_passes(&world.page(&session));
    assert_eq!(world.asked("/token").len(), 2, "requests with the old cookie do not use the old token again");
    world.harness.clock.advance(90_000);
    world.play.lock().unwrap().token = None;
    assert_passes(&world.page(&newer));
    world.harness.clock.advance(11_000);
    assert_eq!(world.page(&newer).status, 500, "the provider is down, and the token has ended");
    world.harness.clock.advance(2_000);
    world.play.lock().unwrap().token = Some((400, json!({"error": "invalid_grant"})));
    let over = world.page(&newer);
    assert_eq!(over.status, 302, "the provider ended it: log in again");
    assert!(over.headers.all("Set-Cookie").any(|line| line.starts_with(b"session=;")));
}

#[test]
fn each_renewal_uses_the_refresh_token_of_the_one_before() {
    let mut world = World::new("");
    let mut session = cookies(&world.log_in(json!({}), json!({"refresh_token": "r1"})));
    // A provider that sends no new one leaves the old one good (RFC 6749 6).
    for (used, next) in [("r1", json!("r2")), ("r2", Value::Null), ("r2", json!("r3")), ("r3", json!("r4"))] {
        world.harness.clock.advance(100_000);
        let tokens = json!({"access_token": format!("after-{used}"), "refresh_token": next});
        world.give_with(None, json!({"exp": NOW + 10_000}), tokens);
        let page = world.page(&session);
        assert_passes(&page);
        assert_eq!(page.upstream_header("Authorization"), Some(format!("Bearer after-{used}")));
        let asked = world.asked("/token").pop().unwrap().text();
        assert_eq!(asked, format!("grant_type=refresh_token&refresh_token={used}"));
        session = cookies(&page);
    }
}

#[test]
fn newer_tokens_are_about_the_same_person() {
    let mut world = World::new("");
    let session = cookies(&world.log_in(json!({}), json!({"refresh_token": "r1"})));
    world.harness.clock.advance(100_000);
    world.give(None, json!({"sub": "bob"}));
    assert_eq!(world.page(&session).status, 302);
}

#[test]
fn without_a_refresh_token_a_session_ends_with_its_token() {
    let mut world = World::new("");
    let session = cookies(&world.log_in(json!({}), json!({})));
    world.harness.clock.advance(99_000);
    assert_passes(&world.page(&session));
    world.harness.clock.advance(1_000);
    assert_eq!(world.page(&session).status, 302);
}

#[test]
fn a_cookie_holds_the_session_of_one_person() {
    let fields = |audience: &str| format!("session_enforce_same_subject: true, session_audience: {audience}");
    let mut world = World::new(&fields("one"));
    let of_alice = cookies(&world.log_in(json!({}), json!({})));
    assert_passes(&world.page(&of_alice));
    world.harness = World::gateway(&world.provider, &fields("two"));
    let begun = world.begin(&format!("GET /page HTTP/1.1\nCookie: {of_alice}"));
    world.give(begun.argument("nonce").as_deref(), json!({"sub": "bob"}));
    let arrived = world.harness.send(&format!("{}; {of_alice}", begun.back("")));
    assert_eq!(arrived.upstream_header("X-Credential-Identifier").as_deref(), Some("bob"));
    let of_bob = cookies(&arrived);
    assert!(of_bob.starts_with("session=") && !of_bob.contains("session2"), "in place of hers: {of_bob}");
    assert_passes(&world.page(&of_bob));
    world.harness = World::gateway(&world.provider, &fields("one"));
    assert_eq!(world.page(&of_bob).status, 302, "nobody is alice there and bob here");
}

#[test]
fn the_cookie_of_logins_may_be_for_requests_of_the_same_site_alone() {
    let mut world = World::new("authorization_cookie_same_site: Strict");
    let outcome = world.harness.send("GET /page HTTP/1.1");
    let line = outcome.header("Set-Cookie").unwrap();
    assert!(line.starts_with("authorization=") && line.contains("; SameSite=Strict"), "{line}");
}

#[test]
fn a_session_is_for_one_provider_and_client() {
    let mut world = World::new("");
    let session = cookies(&world.log_in(json!({}), json!({})));
    assert_passes(&world.page(&session));
    world.harness = World::gateway(&world.provider, "client_id: [other], client_secret: [secret]");
    assert_eq!(world.page(&session).status, 302);
}

#[test]
fn a_logout_ends_the_session_here_and_gives_tokens_back() {
    let fields = "logout_query_arg: logout, logout_revoke: true, logout_redirect_uri: ['/bye']";
    let mut world = World::new(fields);
    let session = cookies(&world.log_in(json!({}), json!({"refresh_token": "r1"})));
    let get = world.harness.send(&format!("GET /page?logout HTTP/1.1\nCookie: {session}"));
    assert_passes(&get);
    let outcome = world.harness.send(&format!("POST /page?logout HTTP/1.1\nCookie: {session}"));
    assert_eq!((outcome.status, outcome.header("Location").as_deref()), (303, Some("/bye")));
    assert!(outcome.headers.all("Set-Cookie").any(|line| line.starts_with(b"session=;")));
    let revoked: Vec<String> = world.asked("/revoke").iter().map(Received::text).collect();
    assert_eq!(
        revoked,
        ["token=r1&token_type_hint=refresh_token", "token=opaque&token_type_hint=access_token"]
    );
    let mut ended = World::new("logout_uri_suffix: /out, end_session_endpoint: 'https://idp.test/end?a=1'");
    let id_token = ended.log_in(json!({}), json!({}));
    let outcome = ended.harness.send(&format!("DELETE /a/out HTTP/1.1\nCookie: {}", cookies(&id_token)));
    let location = outcome.header("Location").unwrap();
    assert!(location.starts_with("https://idp.test/end?a=1&client_id=gateway&id_token_hint=e"), "{location}");
}

#[test]
fn a_form_may_log_out() {
    let mut world = World::new("logout_post_arg: bye");
    let session = cookies(&world.log_in(json!({}), json!({})));
    let form = "Content-Type: application/x-www-form-urlencoded";
    let other = world.harness.send(&format!("POST /page HTTP/1.1\nCookie: {session}\n{form}\n\na=1"));
    assert_passes(&other);
    assert_eq!(other.upstream_body, b"a=1");
    let outcome = world.harness.send(&format!("POST /page HTTP/1.1\nCookie: {session}\n{form}\n\nbye=1"));
    assert_eq!((outcome.status, outcome.json()), (200, json!({"message": "Logged out"})));
}

#[test]
fn the_provider_ends_sessions_and_nobody_else_does() {
    let mut world = World::new("backchannel_logout_uri_suffix: /ended");
    let session = cookies(&world.log_in(json!({"sid": "s1"}), json!({})));
    let event = json!({"http://schemas.openid.net/event/backchannel-logout": {}});
    let own =
        json!({"iss": world.provider.url(""), "aud": "gateway", "events": event, "sid": "s1", "jti": "1"});
    let tell = |world: &mut World, others: Value| {
        let mut claims = claims(own.clone());
        claims.as_object_mut().unwrap().extend(others.as_object().unwrap().clone());
        let token = sign(&key(P256, "one"), &claims);
        let form = "Content-Type: application/x-www-form-urlencoded";
        world.harness.send(&format!("POST /a/ended HTTP/1.1\n{form}\n\nlogout_token={token}")).status
    };
    for others in [
        json!({"aud": "other"}),
        json!({"events": {}}),
        json!({"nonce": "n"}),
        json!({"iss": "http://other.test"}),
        json!({"iat": NOW - 301}),
        json!({"exp": NOW}),
        json!({"sid": null, "sub": null}),
    ] {
        assert_eq!(tell(&mut world, others.clone()), 400, "{others}");
    }
    assert_eq!(tell(&mut world, json!({"sid": "another"})), 200);
    assert_passes(&world.page(&session));
    assert_eq!(tell(&mut world, json!({})), 200);
    assert_eq!(world.page(&session).status, 302);
    let anew = cookies(&world.log_in(json!({"sid": "s2"}), json!({})));
    assert_passes(&world.page(&anew));
    assert_eq!(tell(&mut world, json!({"sid": null, "sub": "bob"})), 200);
    assert_passes(&world.page(&anew));
    assert_eq!(tell(&mut world, json!({"sid": null})), 200);
    assert_eq!(world.page(&anew).status, 302, "all sessions of alice");
    world.harness.clock.advance(1_000);
    let later = cookies(&world.log_in(json!({"sid": "s3", "iat": NOW + 1}), json!({})));
    assert_passes(&world.page(&later));
}

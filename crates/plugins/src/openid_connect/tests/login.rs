//! People who log in, and what must not pass as a login.

use super::world::{Begun, World, argument, assert_unauthorized, cookies};
use plugin::query;

use super::*;

#[test]
fn who_is_not_known_is_sent_to_the_provider() {
    let mut world = World::new(
        "scopes: [openid, email], audience: [a, b], max_age: 60, authorization_query_args_names: [prompt], \
         authorization_query_args_values: [login], authorization_query_args_client: [ui_locales, state, nonce]",
    );
    let begun = world.begin("GET /page?ui_locales=de&state=forged HTTP/1.1");
    for (name, value) in [
        ("response_type", "code"),
        ("client_id", "gateway"),
        ("scope", "openid email"),
        ("audience", "a b"),
        ("max_age", "60"),
        ("prompt", "login"),
        ("ui_locales", "de"),
        ("redirect_uri", "http://gateway.test/page"),
        ("code_challenge_method", "S256"),
    ] {
        assert_eq!(begun.argument(name).as_deref(), Some(value), "{name}");
    }
    for name in ["state", "nonce", "code_challenge"] {
        assert_eq!(begun.argument(name).unwrap().len(), 43, "{name}: 256 bits");
        assert_eq!(query::values(begun.arguments.as_bytes(), name).count(), 1, "{name}");
    }
    let other = world.begin("GET /page HTTP/1.1");
    assert_ne!(begun.argument("state"), other.argument("state"));
    let state = begun.argument("state").unwrap();
    assert!(!begun.cookie.contains(&state), "the cookie tells nobody the state");
    let plain = World::new("require_proof_key_for_code_exchange: false").begin("GET / HTTP/1.1");
    assert_eq!(plain.argument("code_challenge"), None);
}

#[test]
fn a_trusted_proxy_says_how_the_gateway_is_called() {
    let request = "GET /page HTTP/1.1\nX-Forwarded-Host: shop.test";
    let mut world = World::new("");
    assert_eq!(world.begin(request).argument("redirect_uri").as_deref(), Some("http://gateway.test/page"));
    world.harness.trusted = true;
    assert_eq!(world.begin(request).argument("redirect_uri").as_deref(), Some("http://shop.test/page"));
    let mut fixed = World::new("redirect_uri: ['https://shop.test/back']");
    assert_eq!(fixed.begin(request).argument("redirect_uri").as_deref(), Some("https://shop.test/back"));
}

#[test]
fn a_login_begins_a_session_that_tells_who_calls() {
    let mut world = World::new("upstream_headers_claims: [email], upstream_headers_names: [X-Email]");
    let outcome = world.log_in(json!({}), json!({}));
    assert_passes(&outcome);
    assert_eq!(outcome.upstream_header("X-Credential-Identifier").as_deref(), Some("alice"));
    assert_eq!(outcome.upstream_header("X-Email").as_deref(), Some("a@b.test"));
    assert_eq!((outcome.upstream_header("Cookie"), outcome.upstream_query.as_deref()), (None, None));
    let asked = world.asked("/token").pop().unwrap().text();
    assert_eq!(argument(&asked, "grant_type").as_deref(), Some("authorization_code"));
    assert_eq!(argument(&asked, "redirect_uri").as_deref(), Some("http://gateway.test/page"));
    assert_eq!(argument(&asked, "code_verifier").unwrap().len(), 43);
    let session = cookies(&outcome);
    assert!(session.starts_with("session=") && !session.contains("authorization="), "{session}");
    let line = outcome.headers.all("Set-Cookie").map(String::from_utf8_lossy);
    let line = line.filter(|line| line.starts_with("session=")).collect::<String>();
    assert!(line.ends_with("; Path=/; SameSite=Lax; HttpOnly"), "{line}");
    let page = world.harness.send(&format!("GET /page HTTP/1.1\nCookie: a=1; {session}\nX-Email: forged"));
    assert_passes(&page);
    assert_eq!(page.upstream_header("X-Email").as_deref(), Some("a@b.test"));
    assert_eq!(page.upstream_header("Cookie").as_deref(), Some("a=1"), "the session is the gateway's alone");
    assert_eq!(world.asked("/token").len(), 1);
}

#[test]
fn over_tls_all_cookies_are_for_tls_alone() {
    let mut world = World::new("");
    world.harness.scheme = plugin::Scheme::Https;
    let begun = world.begin("GET /page HTTP/1.1");
    assert_eq!(begun.argument("redirect_uri").as_deref(), Some("https://gateway.test/page"));
    world.give(begun.argument("nonce").as_deref(), json!({}));
    let outcome = world.harness.send(&begun.back(""));
    assert_passes(&outcome);
    assert!(outcome.headers.all("Set-Cookie").all(|line| String::from_utf8_lossy(line).contains("; Secure")));
}

#[test]
fn how_old_a_login_may_be_counts_from_when_somebody_is_sent_to_the_provider() {
    for (max_age, since, passes) in [(0, 0, true), (0, -1, false), (60, -60, true), (60, -61, false)] {
        let mut world = World::new(&format!("max_age: {max_age}"));
        let begun = world.begin("GET /page HTTP/1.1");
        assert_eq!(begun.argument("max_age"), Some(max_age.to_string()));
        world.harness.clock.advance(90_000);
        let moment = i64::try_from(NOW).unwrap() + since;
        world.give(begun.argument("nonce").as_deref(), json!({"auth_time": moment}));
        let outcome = world.harness.send(&begun.back(""));
        assert_eq!(!outcome.answered, passes, "{max_age} {since}: {}", outcome.json());
    }
}

#[test]
fn an_id_token_is_for_this_login_at_this_client_and_good() {
    let at_hash = "xsZZrUssMXjL3FBlzoSh2g";
    let cases = [
        (json!({"nonce": "another"}), "an ID token of another login"),
        (json!({"nonce": null}), "an ID token of another login"),
        (json!({"aud": "other"}), "an ID token for another client"),
        (json!({"aud": ["gateway", "other"]}), "an ID token that another client asked for"),
        (json!({"azp": "other"}), "an ID token that another client asked for"),
        (json!({"iss": "http://other.test"}), "not an accepted issuer"),
        (json!({"exp": NOW}), "token expired"),
        (json!({"exp": null}), "no expiry"),
        (json!({"iat": NOW + 10}), "token issued in the future"),
        (json!({"iat": null}), "an ID token that does not say when it was made"),
        (json!({"sub": null}), "an ID token about another person"),
        (json!({"at_hash": at_hash}), "an ID token of another access token"),
        (json!({"auth_time": NOW - 61}), "the login at the provider is too old"),
        (json!({"auth_time": null}), "the login at the provider is too old"),
    ];
    let mut world = World::new("max_age: 60");
    for (others, reason) in cases {
        let mut all = json!({"auth_time": NOW});
        all.as_object_mut().unwrap().extend(others.as_object().unwrap().clone());
        assert_unauthorized(&world.log_in(all, json!({})), reason);
    }
    assert_passes(
        &world.log_in(json!({"auth_time": NOW - 60, "aud": ["gateway", "b"], "azp": "gateway"}), json!({})),
    );
    assert_unauthorized(&world.log_in(json!({"auth_time": NOW}), json!({"id_token": null})), "no ID token");
    let forged =
        sign(&key(ED25519, "one"), &claims(json!({"iss": world.provider.url(""), "aud": "gateway"})));
    assert_eq!(world.log_in(json!({}), json!({"id_token": forged})).status, 401);
    let mac = world.log_in(json!({}), json!({"token_type": "mac"}));
    assert_eq!(mac.status, 500, "what is to be done with such a token is not known");
}

#[test]
fn what_the_provider_makes_for_a_request_is_not_from_the_future() {
    let mut world = World::new("");
    let begun = world.begin("GET /page HTTP/1.1");
    world.give(begun.argument("nonce").as_deref(), json!({"iat": NOW + 1}));
    world.play.lock().unwrap().clock = Some(world.harness.clock.clone());
    assert_passes(&world.harness.send(&begun.back("")));
}

#[test]
fn the_hash_of_the_access_token_is_that_of_its_own() {
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, b"opaque");
    let at_hash = to_base64url(&hash.as_ref()[..16]);
    assert_passes(&World::new("").log_in(json!({ "at_hash": at_hash }), json!({})));
}

#[test]
fn a_login_ends_only_in_the_browser_that_began_it_and_once() {
    let mut world = World::new("");
    let begun = world.begin("GET /page HTTP/1.1");
    world.give(begun.argument("nonce").as_deref(), json!({}));
    let unknown = "this browser has no such login under way: begin again";
    let state = begun.argument("state").unwrap();
    let without = world.harness.send(&format!("GET /page?code=c&state={state} HTTP/1.1"));
    assert_unauthorized(&without, unknown);
    let other = world.begin("GET /page HTTP/1.1");
    let crossed = Begun { cookie: other.cookie, arguments: begun.arguments.clone() };
    assert_unauthorized(&world.harness.send(&crossed.back("")), unknown);
    let twice = world.harness.send(&begun.back(&format!("&state={state}")));
    assert_unauthorized(&twice, unknown);
    let changed = begun.cookie.replace("authorization=1A", "authorization=1B");
    let tampered = Begun { cookie: changed, arguments: begun.arguments.clone() };
    assert_unauthorized(&world.harness.send(&tampered.back("")), unknown);
    assert!(world.asked("/token").is_empty(), "no code was tried");
    assert_passes(&world.harness.send(&begun.back("")));
    assert_unauthorized(&world.harness.send(&begun.back("")), "the login has been used already");
    assert_eq!(world.asked("/token").len(), 1);
}

#[test]
fn a_login_is_for_one_client() {
    let mut world = World::new("");
    let begun = world.begin("GET /page HTTP/1.1");
    world.give(begun.argument("nonce").as_deref(), json!({}));
    world.harness = World::gateway(&world.provider, "client_id: [other], client_secret: [secret]");
    let reason = "this browser has no such login under way: begin again";
    assert_unauthorized(&world.harness.send(&begun.back("")), reason);
}

#[test]
fn several_logins_may_be_under_way_and_none_for_ever() {
    let mut world = World::new("");
    let first = world.begin("GET /page HTTP/1.1");
    let second = world.begin(&format!("GET /page HTTP/1.1\nCookie: {}", first.cookie));
    let both = Begun { cookie: second.cookie.clone(), arguments: first.arguments.clone() };
    world.give(first.argument("nonce").as_deref(), json!({}));
    let outcome = world.harness.send(&both.back(""));
    assert_passes(&outcome);
    let rest = cookies(&outcome);
    let later = Begun { cookie: rest, arguments: second.arguments.clone() };
    world.give(second.argument("nonce").as_deref(), json!({}));
    world.harness.clock.advance(601_000);
    let reason = "this browser has no such login under way: begin again";
    let late = later.cookie.split("; ").find(|pair| pair.starts_with("authorization=")).unwrap().to_owned();
    let late = Begun { cookie: late, arguments: later.arguments };
    assert_unauthorized(&world.harness.send(&late.back("")), reason);
}

#[test]
fn a_provider_that_logs_nobody_in_or_is_another_lets_nobody_in() {
    let mut world = World::new("");
    let begun = world.begin("GET /page HTTP/1.1");
    let state = begun.argument("state").unwrap();
    let denied = format!("GET /page?error=access_denied&state={state} HTTP/1.1\nCookie: {}", begun.cookie);
    assert_unauthorized(&world.harness.send(&denied), "the provider did not log anybody in");
    let begun = world.begin("GET /page HTTP/1.1");
    world.give(begun.argument("nonce").as_deref(), json!({}));
    let mixed = world.harness.send(&begun.back("&iss=http://evil.test"));
    assert_unauthorized(&mixed, "an answer of another provider");
    assert!(world.asked("/token").is_empty(), "the code is not told to anybody");
    let begun = world.begin("GET /page HTTP/1.1");
    world.play.lock().unwrap().token = Some((400, json!({"error": "invalid_grant"})));
    assert_unauthorized(&world.harness.send(&begun.back("")), "the provider gives no tokens");
    let begun = world.begin("GET /page HTTP/1.1");
    world.play.lock().unwrap().token = None;
    assert_eq!(world.harness.send(&begun.back("")).status, 500);
}

#[test]
fn nobody_is_sent_away_from_the_gateway() {
    let mut world = World::new("login_action: redirect, preserve_query_args: true");
    for (target, wanted) in [
        ("/a/b?c=d", "/a/b?c=d"),
        ("//evil.test/x", "/evil.test/x"),
        ("///evil.test", "/evil.test"),
        ("/\\evil.test", "/evil.test"),
        ("/\\/evil.test", "/evil.test"),
        ("/a?next=http://evil.test", "/a?next=http://evil.test"),
    ] {
        let begun = world.begin(&format!("GET {target} HTTP/1.1"));
        world.give(begun.argument("nonce").as_deref(), json!({}));
        let outcome = world.harness.send(&begun.back(""));
        assert_eq!((outcome.status, outcome.header("Location").as_deref()), (302, Some(wanted)), "{target}");
    }
    let long = world.begin(&format!("GET /{} HTTP/1.1", "x".repeat(3_000)));
    world.give(long.argument("nonce").as_deref(), json!({}));
    assert_eq!(world.harness.send(&long.back("")).header("Location").as_deref(), Some("/"));
}

#[test]
fn what_follows_a_login_is_for_the_configuration() {
    let id_token = |text: &str| text.contains("id_token=e") && !text.contains("access_token");
    let mut world = World::new("login_action: redirect, login_redirect_uri: ['https://shop.test/in?x=1']");
    let location = world.log_in(json!({}), json!({})).header("Location").unwrap();
    assert!(location.starts_with("https://shop.test/in?x=1#") && id_token(&location), "{location}");
    let mut world = World::new(
        "login_action: redirect, login_redirect_uri: ['/in'], login_redirect_mode: query, login_tokens: [access_token]",
    );
    assert_eq!(
        world.log_in(json!({}), json!({})).header("Location").as_deref(),
        Some("/in?access_token=opaque")
    );
    let mut world = World::new("login_action: response, login_tokens: [tokens]");
    let outcome = world.log_in(json!({}), json!({}));
    assert_eq!((outcome.status, outcome.json()["access_token"].as_str()), (200, Some("opaque")));
    assert_eq!(outcome.header("Cache-Control").as_deref(), Some("no-store"));
    assert!(cookies(&outcome).contains("session="));
}

#[test]
fn requests_for_logins_may_be_pushed() {
    let mut world = World::new("require_pushed_authorization_requests: true");
    let begun = world.begin("GET /page HTTP/1.1");
    assert_eq!(begun.arguments, "client_id=gateway&request_uri=urn%3Ax");
    let pushed = world.asked("/par").pop().unwrap();
    assert_eq!(pushed.header("Authorization").as_deref(), Some("Basic Z2F0ZXdheTpzZWNyZXQ="));
    let argument = |name: &str| argument(&pushed.text(), name);
    assert_eq!(argument("redirect_uri").as_deref(), Some("http://gateway.test/page"));
    assert!(argument("state").is_some() && argument("code_challenge").is_some());
}

#[test]
fn who_may_not_do_it_gets_no_session() {
    let mut world = World::new("groups_required: [admin]");
    let outcome = world.log_in(json!({"groups": ["user"]}), json!({}));
    assert_eq!(outcome.status, 403);
    assert!(!cookies(&outcome).contains("session="));
    assert_passes(&world.log_in(json!({"groups": ["admin"]}), json!({})));
    let mut elsewhere = World::new("groups_required: [admin], forbidden_redirect_uri: ['/sorry']");
    let outcome = elsewhere.log_in(json!({}), json!({}));
    assert_eq!((outcome.status, outcome.header("Location").as_deref()), (302, Some("/sorry")));
}

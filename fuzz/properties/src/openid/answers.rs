//! What a provider answers when it is asked. The first byte picks the question.

use std::cell::{Cell, RefCell};
use std::thread::LocalKey;

use base64::Engine;
use plugin::authorization::BASE64;
use plugin::harness::Harness;
use serde_json::Value;

use super::{ISSUER, KEY, Play, TOKEN, cookie, gateway, is_in, may_hold};
use crate::credentials::{harness, holds};

/// Signatures end before digits that have bits to spare.
const LOGIN_SIGNATURE: &str =
    "XWw8HVTyu5JkhIvK6eNqyr-oEawpouCuqtpcTcHEJAqHCjhQBgfkUa7xFd79s4nfYqXKjuDniRpEmjNBRsl1C";
const ABOUT_SIGNATURE: &str =
    "al-kathmypoC0lvLyoptXZ4lqD3eNvq2eSdSdH7iJlx_nqxKKbxQBLSD91M2HykVfnMT5kjTuUpAt7sJQlmFA";
const USER_SIGNATURE: &str =
    "hJ1YW4xzcp1yA07U90xJKHW0PsUq_4xYWr2oJbZm6OJ5UWXzQzmQZdizfSq4iaC8qxcC9-m3K68GiUkKyj42C";

/// Seeds of the corpus that are what they should be.
const RIGHT: [&[u8]; 10] = [
    include_bytes!("../../../corpus/provider_answer/jarm"),
    include_bytes!("../../../corpus/provider_answer/tokens"),
    include_bytes!("../../../corpus/provider_answer/about"),
    include_bytes!("../../../corpus/provider_answer/about-signed"),
    include_bytes!("../../../corpus/provider_answer/about-other"),
    include_bytes!("../../../corpus/provider_answer/about-third"),
    include_bytes!("../../../corpus/provider_answer/user"),
    include_bytes!("../../../corpus/provider_answer/user-signed"),
    include_bytes!("../../../corpus/provider_answer/discovery"),
    include_bytes!("../../../corpus/provider_answer/keys"),
];

/// A plugin before the provider.
type Room = LocalKey<RefCell<Harness>>;

thread_local! {
    static PLAY: Play = Play::new();
    static COUNT: Cell<u32> = const { Cell::new(0) };
    static SIGNED_LOGINS: RefCell<Harness> = signed_logins();
    static GRANTS: RefCell<Harness> = before("auth_methods: [password], scopes: []");
    static ASKED: RefCell<Harness> = before("auth_methods: [introspection]");
    static ASKED_SIGNED: RefCell<Harness> = before(
        "auth_methods: [introspection], introspection_accept: application/token-introspection+jwt",
    );
    /// Those who ask the same, but are other plugins.
    static OTHER: RefCell<Harness> = other("oauth2-introspection", "authorization_value: x, ttl: 0, negative_ttl: 0, introspection_url");
    static THIRD: RefCell<Harness> = other(
        "jwt-signer",
        "access_token_signing: false, cache_access_token_introspection: false, access_token_introspection_endpoint",
    );
    static USERS: RefCell<Harness> = before("auth_methods: [userinfo]");
    static USERS_SIGNED: RefCell<Harness> = before("auth_methods: [userinfo], userinfo_accept: application/jwt");
}

fn before(fields: &str) -> RefCell<Harness> {
    PLAY.with(|play| RefCell::new(play.gateway(fields)))
}

/// A plugin that asks about tokens at the address which `fields` end with.
fn other(name: &'static str, fields: &str) -> RefCell<Harness> {
    let url = PLAY.with(|play| play.server.url("/introspect"));
    let document = format!("plugins: [{{name: {name}, config: {{{fields}: '{url}'}}}}]");
    RefCell::new(harness(&[name], &document).in_real_time())
}

fn signed_logins() -> RefCell<Harness> {
    before("auth_methods: [authorization_code, session], response_mode: jwt")
}

/// What the provider says to one of its questions.
pub fn run(bytes: &[u8]) {
    let Some((pick, said)) = bytes.split_first() else { return };
    let is_in = match pick {
        b'j' => login(said),
        b't' => tokens(said),
        b'i' => asked(&ASKED, said, is_active),
        b's' => asked(&ASKED_SIGNED, said, |said| holds(said, ABOUT_SIGNATURE)),
        b'o' => asked(&OTHER, said, is_active),
        b'g' => asked(&THIRD, said, is_active),
        b'u' => told(&USERS, said, |said| json(said)["sub"].is_string()),
        b'w' => told(&USERS_SIGNED, said, |said| holds(said, USER_SIGNATURE)),
        b'd' => description(said),
        _ => keys(said),
    };
    assert!(is_in || !RIGHT.contains(&bytes), "what is right lets nobody in");
}

fn is_active(said: &[u8]) -> bool {
    json(said)["active"] == true
}

/// Whether somebody gets in whose token the provider is asked about; what it says has to be `right` for that.
fn asked(gateway: &'static Room, said: &[u8], right: fn(&[u8]) -> bool) -> bool {
    let is_in = gateway.with(|gateway| is_let_in(gateway, "/introspect", said));
    assert!(!is_in || right(said), "in with a token that is no good");
    is_in
}

/// The same where it is asked who has the token.
fn told(gateway: &'static Room, said: &[u8], right: fn(&[u8]) -> bool) -> bool {
    let is_in = gateway.with(|gateway| is_let_in(gateway, "/me", said));
    assert!(!is_in || right(said), "in as nobody");
    is_in
}

fn json(said: &[u8]) -> Value {
    serde_json::from_slice(said).unwrap_or_default()
}

/// Another name each time, about which nothing is remembered.
fn name() -> String {
    COUNT.with(|count| {
        count.set(count.get() + 1);
        format!("opaque-{}", count.get())
    })
}

/// Whether somebody gets in whom the provider is asked about at `path`.
fn is_let_in(gateway: &RefCell<Harness>, path: &'static str, said: &[u8]) -> bool {
    PLAY.with(|play| play.say(path, said));
    let request = format!("GET / HTTP/1.1\nAuthorization: Bearer {}", name());
    let outcome = gateway.borrow_mut().send(&request);
    is_in(&outcome, &[401, 500, 503])
}

/// The answer to a login, which has to be signed.
fn login(said: &[u8]) -> bool {
    let head = [b"GET /page?", said, b" HTTP/1.1\r\nHost: gateway.test\r\n"].concat();
    let head = [&head, cookie().as_bytes(), b"\r\n\r\n"].concat();
    let outcome = SIGNED_LOGINS.with(|gateway| gateway.borrow_mut().send_head(&head, b""));
    let is_in = outcome.is_some_and(|outcome| is_in(&outcome, &[302, 401]));
    if is_in {
        assert!(may_hold(said, LOGIN_SIGNATURE), "in unsigned");
        // The login has been used: the next one is to meet a gateway that does not know that.
        SIGNED_LOGINS.with(|gateway| gateway.swap(&signed_logins()));
    }
    is_in
}

/// Tokens for a password.
fn tokens(said: &[u8]) -> bool {
    PLAY.with(|play| play.say("/token", said));
    let login = BASE64.encode(format!("{}:secret", name()));
    let request = format!("GET / HTTP/1.1\nAuthorization: Basic {login}");
    let outcome = GRANTS.with(|gateway| gateway.borrow_mut().send(&request));
    let is_in = is_in(&outcome, &[401, 500]);
    let token = json(said)["access_token"].as_str().map(str::len);
    assert!(!is_in || token.is_some_and(|length| length > 0), "in without a token");
    is_in
}

/// What the provider says about itself: who makes its tokens, and where people log in.
fn description(said: &[u8]) -> bool {
    let mut gateway = PLAY.with(|play| {
        play.say("/.well-known/openid-configuration", said);
        let base = play.server.url("");
        // Nobody is asked but the provider, wherever the description leads.
        gateway(&format!(
            "issuer: '{base}', jwks_endpoint: '{base}/keys', auth_methods: [bearer, authorization_code, session], \
             require_pushed_authorization_requests: false, require_signed_request_object: false"
        ))
    });
    let outcome = gateway.send(&format!("GET / HTTP/1.1\nAuthorization: Bearer {TOKEN}"));
    let has_token_in = is_in(&outcome, &[401, 500]);
    assert!(!has_token_in || json(said)["issuer"] == ISSUER, "in with a token of another issuer");
    let sent = gateway.send("GET / HTTP/1.1");
    assert!(!is_in(&sent, &[302, 500]), "in without anything");
    if sent.status == 302 {
        let location = sent.header("Location").unwrap();
        assert!(location.starts_with("http://") || location.starts_with("https://"), "sent to {location}");
    }
    has_token_in
}

/// The keys that it publishes.
fn keys(said: &[u8]) -> bool {
    let mut gateway = PLAY.with(|play| {
        play.say("/other-keys", said);
        let keys = play.server.url("/other-keys");
        gateway(&format!(
            "issuer: '{ISSUER}', using_pseudo_issuer: true, issuers_allowed: ['{ISSUER}'], jwks_endpoint: '{keys}', \
             auth_methods: [bearer]"
        ))
    });
    let outcome = gateway.send(&format!("GET / HTTP/1.1\nAuthorization: Bearer {TOKEN}"));
    let is_in = is_in(&outcome, &[401, 500]);
    assert!(!is_in || holds(said, KEY) || said.contains(&b'\\'), "in with another key");
    is_in
}

//! Credentials as callers write them: whatever is in them, a request is answered 400 or 401, and nobody gets in without the
//! secret. Asked are the plugins themselves.

pub mod directory;
pub mod keys;
pub mod places;

use std::cell::RefCell;
use std::thread::LocalKey;

use base64::Engine;
use plugin::authorization::BASE64;
use plugin::certificate::chain_of_pem;
use plugin::harness::{Harness, Outcome};
use plugin::{Definition, Scheme, target};
use plugins::ROOMS;

/// Pieces of fields with credentials.
pub const TOKENS: &[&[u8]] = &[
    b"Basic ",
    b"hmac ",
    b"Bearer ",
    b" ",
    b"\t",
    b",",
    b";",
    b"=",
    b"==",
    b":",
    b"\"",
    b"\\",
    b"'",
    b".",
    b"..",
    b"-",
    b"_",
    b"+",
    b"/",
    b"%",
    b"%00",
    b"%2D",
    b"\xff",
    b"\xc3\x28",
    b"username=",
    b"signature=\"\"",
    b"headers=\"\"",
    b"algorithm=\"hmac-sha1\"",
    b"request-line",
    b"(request-target)",
    b"YWRhOnJpZ2h0",
    b"e30",
    b"eyJhbGciOiJub25lIn0",
    b"session=",
    b"session2=",
    b"Path=/",
    b"grant_type=",
    b"client_credentials",
    b"client_id=shop",
    b"&",
    b"password",
    b"refresh_token",
    b"redirect_uri=https://shop.test/back",
    b"-----BEGIN CERTIFICATE-----",
    b"MII",
    b"AAAA",
];

const HMAC_SIGNATURE: &str = "abja6ALTd8EIhnoscMh6Xz9l9OIBJ1oNsjTYOHfy/C8";
/// The last digit of a signature has bits to spare.
const TOKEN_SIGNATURE: &str = "1b5iQZ7ZGJT59DZ_mX-MIirU8gan0a_daHT5ERWu7Y";
/// A session of ada, in halves: it may come in two cookies.
const SESSION: [&str; 2] = [
    "AbS4fntutIDriBmIIsHHryJSpI2Pq_guLe7TXeXwVF274pHiNQUQHmbS2Zr-g1oTfL8HXIztoQ4nbEbDeQBPdCeN2",
    "G8hZv67f2nKNVWGdckzG-rdJXGQsZdYZuUXqEXD3FWq0BiZlE9XWbBsl6zj0JUk3caNItxmpl2EPNJDwJdGG8EI",
];

thread_local! {
    static BASIC: Room = room(&["basic-auth"], "plugins: [{name: basic-auth}]\nconsumers: [{username: ada, \
        basicauth_credentials: [{username: ada, password: right}]}]");
    static HMAC: Room = room(&["hmac-auth"], "plugins: [{name: hmac-auth}]\nconsumers: [{username: ada, \
        hmacauth_credentials: [{username: u, secret: secret}]}]");
    static JWT: Room = room(&["jwt"], "plugins: [{name: jwt, config: {claims_to_verify: [exp, nbf]}}]\nconsumers: \
        [{username: ada, jwt_secrets: [{key: ada, secret: a secret that is long enough to sign}]}]");
    static SESSIONS: Room = room(&["session", "key-auth"], "plugins:\n- {name: session, config: {secret: s, \
        absolute_timeout: 0, idling_timeout: 0, rolling_timeout: 1000000000}}\n- {name: key-auth, config: {anonymous: \
        nobody}}\nconsumers: [{username: nobody}, {username: ada, keyauth_credentials: [{key: k}]}]");
    static OAUTH2: Room = room(&["oauth2"], "services: [{name: s, url: 'http://s.test', routes: [{name: r, paths: \
        [/]}]}]\nplugins: [{name: oauth2, config: {enable_authorization_code: true, enable_client_credentials: true, \
        enable_password_grant: true, provision_key: pk, scopes: [read]}}]\nconsumers: [{username: ada, \
        oauth2_credentials: [{name: shop, client_id: shop, client_secret: s3cret, redirect_uris: \
        ['https://shop.test/back']}]}]");
    static CERTIFICATES: [Room; 2] = ["base64_encoded", "url_encoded"].map(certificates);
}

pub(crate) type Room = RefCell<Harness>;

fn room(names: &[&str], document: &str) -> Room {
    RefCell::new(harness(names, document))
}

/// A gateway with these plugins, over TLS.
pub(crate) fn harness(names: &[&str], document: &str) -> Harness {
    let found: Vec<&'static dyn Definition> =
        ROOMS.iter().copied().filter(|room| names.contains(&room.name())).collect();
    let mut harness = Harness::chain(&found, &format!("_format_version: \"3.0\"\n{document}\n")).unwrap();
    harness.scheme = Scheme::Https;
    harness.trusted = true;
    harness
}

fn certificates(format: &str) -> Room {
    const AUTHORITY: &str = "11111111-1111-4111-8111-111111111111";
    let pem = include_str!("authority.pem").replace('\n', "\\n");
    let document = format!(
        "ca_certificates: [{{id: {AUTHORITY}, cert: \"{pem}\"}}]\nconsumers: [{{username: alice}}]\nplugins: [{{name: \
         header-cert-auth, config: {{ca_certificates: [{AUTHORITY}], certificate_header_name: X-Cert, \
         certificate_header_format: {format}}}}}]"
    );
    room(&["header-cert-auth"], &document)
}

/// The outcome of a request with this value in a field; none where no request can have it.
pub(crate) fn with_field(room: &Room, lines: &str, value: &[u8]) -> Option<Outcome> {
    if value.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
        return None;
    }
    // Bytes beyond ASCII go as what they are in Latin-1.
    let value: String = value.iter().map(|byte| char::from(*byte)).collect();
    Some(room.borrow_mut().send(&format!("GET / HTTP/1.1\n{lines}: {value}")))
}

/// Whoever gets in is `who` and has shown the secret; others are refused with the status 401.
fn judge(outcome: &Outcome, who: &str, shown: bool) {
    if outcome.answered {
        assert_eq!(outcome.status, 401, "neither in nor refused");
        assert!(outcome.header("WWW-Authenticate").is_some(), "a refusal without a challenge");
    } else {
        assert_eq!(outcome.upstream_header("X-Consumer-Username").as_deref(), Some(who));
        assert!(shown, "in without the secret");
    }
}

pub(crate) fn holds(bytes: &[u8], needle: &str) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle.as_bytes())
}

fn with(local: &'static LocalKey<Room>, lines: &str, bytes: &[u8], needle: &str) {
    local.with(|room| {
        if let Some(outcome) = with_field(room, lines, bytes) {
            judge(&outcome, "ada", holds(bytes, needle));
        }
    });
}

/// `Authorization` of basic-auth.
pub fn basic(bytes: &[u8]) {
    with(&BASIC, "Authorization", bytes, "YWRhOnJpZ2h0");
}

/// `Authorization` of hmac-auth, of a request whose date is fresh.
pub fn hmac(bytes: &[u8]) {
    with(&HMAC, "Date: Thu, 01 Jan 2026 00:00:00 GMT\nAuthorization", bytes, HMAC_SIGNATURE);
}

/// A token of jwt.
pub fn jwt(bytes: &[u8]) {
    let value = [b"Bearer ", bytes].concat();
    with(&JWT, "Authorization", &value, TOKEN_SIGNATURE);
}

/// Cookies of sessions.
pub fn session(bytes: &[u8]) {
    SESSIONS.with(|room| {
        let Some(outcome) = with_field(room, "Cookie", bytes) else { return };
        assert!(!outcome.answered, "{} for a cookie", outcome.status);
        match outcome.upstream_header("X-Consumer-Username").as_deref() {
            Some("nobody") => {}
            Some("ada") => {
                assert!(SESSION.iter().all(|half| holds(bytes, half)), "in without the session");
            }
            other => panic!("{other:?} is nobody that there is"),
        }
    });
}

/// Forms that clients ask oauth2 with for tokens.
pub fn oauth2(bytes: &[u8]) {
    let head = "POST /oauth2/token HTTP/1.1\nContent-Type: application/x-www-form-urlencoded";
    let outcome = OAUTH2.with(|room| room.borrow_mut().send_bytes(head, bytes));
    assert!(outcome.answered);
    match outcome.status {
        200 => assert!(holds(bytes, "s3cret") || holds(bytes, "%"), "a token without the secret"),
        status => {
            assert!(matches!(status, 400 | 401), "{status} for a form");
            assert!(outcome.json()["error"].is_string() && outcome.json()["access_token"].is_null());
        }
    }
}

/// Certificates in a header; the first byte picks how they are written.
pub fn certificate(bytes: &[u8]) {
    let Some((pick, value)) = bytes.split_first() else { return };
    CERTIFICATES.with(|rooms| {
        let Some(outcome) = with_field(&rooms[usize::from(*pick == b'u')], "X-Cert", value) else { return };
        if outcome.answered {
            assert_eq!(outcome.status, 401, "neither in nor refused");
        } else {
            assert_eq!(outcome.upstream_header("X-Consumer-Username").as_deref(), Some("alice"));
            let caller = chain_of_pem(include_bytes!("caller.pem")).unwrap();
            assert_eq!(first(*pick, value), caller.first().cloned(), "in with another certificate");
        }
    });
}

/// The first certificate in a value, in DER form.
fn first(pick: u8, value: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    if pick == b'u' {
        target::percent_decode(value, &mut bytes);
    } else {
        let item = value.strip_prefix(b":").and_then(|rest| rest.strip_suffix(b":"));
        bytes = BASE64.decode(item.unwrap_or(value)).ok()?;
    }
    if bytes.starts_with(b"0") { Some(bytes) } else { chain_of_pem(&bytes)?.into_iter().next() }
}

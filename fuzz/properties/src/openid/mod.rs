//! What comes to the gateway because of an OpenID Connect provider: from browsers, clients, and the provider itself. Whatever is in
//! it, nobody gets in without a word of the provider that is signed, or that it was asked for, and nothing is answered 200 by
//! accident. Asked is the plugin itself, before a provider on the loopback that says what it is told to say.
//!
//! What is signed in the corpus is signed with the keys of RFC 8037 A.1 (the provider's) and another of its kind (a client's),
//! which sign the same text in the same way every time.

pub mod answers;
pub mod callers;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use plugin::harness::provider::provider;
use plugin::harness::{Harness, Outcome};
use plugin::outbound::loopback::{Given, Loopback, Received};
use serde_json::json;

use crate::credentials::{harness, holds};

/// Pieces of what providers say and browsers bring from them.
pub const TOKENS: &[&[u8]] = &[
    b"code=",
    b"state=",
    b"iss=",
    b"error=",
    b"response=",
    b"&",
    b"=",
    b"%",
    b"%00",
    b"%2e",
    b"+",
    b";",
    b".",
    b"..",
    b"authorization=",
    b"authorization2=",
    b"session=",
    b"logout_token=",
    b"eyJhbGciOiJub25lIn0",
    b"eyJhbGciOiJIUzI1NiJ9",
    b"e30",
    b"AAAA",
    b"{",
    b"}",
    b"[",
    b"]",
    b"\"",
    b":",
    b",",
    b"null",
    b"true",
    b"1e999",
    b"-1",
    b"\"active\":true",
    b"false",
    b"\"sub\":\"root\"",
    b"\"access_token\":\"a\"",
    b"\"exp\":1",
    b"\"iss\":",
    b"\"keys\":[",
    b"http://issuer.test",
    b"\\u0000",
    b"\\ud800",
    b"\r\n",
    b"\xff",
];

/// The provider, as its tokens name it.
const ISSUER: &str = "http://issuer.test";
/// Its public key.
const KEY: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
/// A login under way: a cookie, in halves, as it may come in two, and what the provider's answer to it says.
const COOKIE: [&str; 2] = [
    "ARmyWFbhwVDKg0z_yLWbI62PEPDyJf1uRVanL4PwupnsVkMSK-qSpywYWG6698rng3HytsM87kLvPwVtM9tCc4K9rIfRsm81235P",
    "1sLlmA3Td0pRFMRZ1QtXK7jNVOIJx_p0dNojbCReZJpyKmywuhXpX1v64JVbT_Hbw27yBY7ePoA6mou7BdzP9KD2-8NVe0-5\
     Tth5HPGraXgSt6lgZa8JbH07um02R3Jd2nbw8j-CuQP7ZLmG8ByTQPnBsj97ZA",
];
const STATE: &str = "c3RhdGUtb2YtYS1sb2dpbi10aGF0LWhhcy1iZWd1bi1oZXI";
/// The ID token that ends it.
const ID_TOKEN: &str = "eyJhbGciOiJFZERTQSIsInR5cCI6IkpXVCIsImtpZCI6Im9uZSJ9.eyJpc3MiOiJodHRwOi8vaXNzdWVyLnRlc3QiLCJhdWQiOiJ\
     nYXRld2F5Iiwic3ViIjoiYWxpY2UiLCJpYXQiOjE3NjcyMjU2MDAsImV4cCI6NDEwMjQ0NDgwMCwibm9uY2UiOiJibTl1WTJVIn0\
     .bhfXG-JjIaM1oVv2DCRD8r35CiaWFV7GxU42ohUSsCslUAepe3qRgGYmtQroAJ4ldvJlUSqmvTrYs-E2bhAHCA";

/// A token of the provider.
const TOKEN: &str = "eyJhbGciOiJFZERTQSIsInR5cCI6ImF0K2p3dCIsImtpZCI6Im9uZSJ9.eyJpc3MiOiJodHRwOi8vaXNzdWVyLnRlc3QiLCJzdWI\
     iOiJhbGljZSIsImlhdCI6MTc2NzIyNTYwMCwiZXhwIjo0MTAyNDQ0ODAwfQ.pKWvFWXNmdob8cOKyqtXlQfqD8KOOGXM7u6mnx_6\
     kkLq8UQ4FH6idZwuGuguUNCGpwTdKkPA-TGkdU3c_xmVBw";

/// The header line with that cookie.
fn cookie() -> String {
    format!("Cookie: authorization=1{}", COOKIE.concat())
}

/// A provider that says what it is told to say.
struct Play {
    server: Loopback,
    said: Arc<Mutex<HashMap<&'static str, Given>>>,
}

impl Play {
    fn new() -> Self {
        let said = Arc::<Mutex<HashMap<&'static str, Given>>>::default();
        let own = said.clone();
        let key = json!({"kty": "OKP", "crv": "Ed25519", "x": KEY, "kid": "one"});
        let server = provider(&[key], move |asked: &Received| {
            let path = asked.target.split('?').next().unwrap_or_default();
            own.lock().unwrap().get(path).cloned()
        });
        let play = Self { server, said };
        let tokens = json!({"access_token": "opaque", "token_type": "Bearer", "expires_in": 100, "id_token": ID_TOKEN});
        play.say("/token", tokens.to_string().as_bytes());
        play
    }

    /// Has it answer 200 with this body from now on.
    fn say(&self, path: &'static str, body: &[u8]) {
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        self.said.lock().unwrap().insert(path, Given::Bytes([head.as_bytes(), body].concat()));
    }

    /// A gateway that knows where it is asked without its description.
    fn gateway(&self, fields: &str) -> Harness {
        let base = self.server.url("");
        gateway(&format!(
            "issuer: '{ISSUER}', using_pseudo_issuer: true, issuers_allowed: ['{ISSUER}'], jwks_endpoint: '{base}/keys', \
             authorization_endpoint: 'https://issuer.test/auth', token_endpoint: '{base}/token', introspection_endpoint: \
             '{base}/introspect', userinfo_endpoint: '{base}/me', cache_introspection: false, cache_user_info: false, \
             cache_tokens: false, display_errors: true, {fields}"
        ))
    }
}

fn gateway(fields: &str) -> Harness {
    let config = format!("client_id: [gateway], client_secret: [secret], session_secret: s, {fields}");
    let document = format!("plugins: [{{name: openid-connect, config: {{{config}}}}}]");
    harness(&["openid-connect"], &document).in_real_time()
}

/// Whether somebody is in; who is not has been refused by one of these statuses.
fn is_in(outcome: &Outcome, refusals: &[u16]) -> bool {
    let is_refused = refusals.contains(&outcome.status);
    assert!(!outcome.answered || is_refused, "neither in nor refused: {}", outcome.status);
    assert!(
        outcome.status != 401 || outcome.header("WWW-Authenticate").is_some(),
        "a refusal without a challenge"
    );
    !outcome.answered
}

/// Whether `bytes` hold a text, as it is or maybe escaped.
fn may_hold(bytes: &[u8], needle: &str) -> bool {
    holds(bytes, needle) || bytes.contains(&b'%')
}

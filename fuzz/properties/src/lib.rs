//! What must hold for every input of a parser, hostile or not; a breach panics. libFuzzer runs these with inputs of
//! its own (`../fuzz_targets`), and every test run replays the corpus and some mutants of it (`tests/corpus.rs`).

#![allow(clippy::panic, clippy::unwrap_used, reason = "a breach is to end the run")]

pub mod credentials;
pub mod declarative;
pub mod openid;
pub mod path;
pub mod revocation;
pub mod router;
pub mod wire_input;

/// One parser under test.
pub struct Target {
    /// The name of its binary and of its folder in the corpus.
    pub name: &'static str,
    /// Demands what must hold of one input.
    pub run: fn(&[u8]),
    /// What attacks on it are made of: mutants get these put in.
    pub tokens: &'static [&'static [u8]],
    /// Mutants per test run: fewer where one takes longer.
    pub mutants: usize,
}

/// Every parser that reads what somebody else wrote.
pub static TARGETS: &[Target] = &[
    Target {
        name: "request_head",
        run: wire_input::request_head,
        tokens: wire_input::TOKENS,
        mutants: 10_000,
    },
    Target {
        name: "response_head",
        run: wire_input::response_head,
        tokens: wire_input::TOKENS,
        mutants: 10_000,
    },
    Target { name: "body", run: wire_input::body, tokens: wire_input::TOKENS, mutants: 10_000 },
    Target {
        name: "proxy_protocol",
        run: wire_input::proxy_protocol,
        tokens: wire_input::PROXY_TOKENS,
        mutants: 8000,
    },
    Target {
        name: "client_hello",
        run: wire_input::client_hello,
        tokens: wire_input::TLS_TOKENS,
        mutants: 1000,
    },
    Target { name: "declarative", run: declarative::run, tokens: declarative::TOKENS, mutants: 1500 },
    Target { name: "path", run: path::run, tokens: path::TOKENS, mutants: 20_000 },
    Target { name: "router", run: router::run, tokens: router::TOKENS, mutants: 1500 },
    Target { name: "basic_credentials", run: credentials::basic, tokens: credentials::TOKENS, mutants: 3000 },
    Target { name: "hmac_authorization", run: credentials::hmac, tokens: credentials::TOKENS, mutants: 3000 },
    Target { name: "jwt_token", run: credentials::jwt, tokens: credentials::TOKENS, mutants: 3000 },
    Target { name: "session_cookie", run: credentials::session, tokens: credentials::TOKENS, mutants: 3000 },
    Target { name: "oauth2_form", run: credentials::oauth2, tokens: credentials::TOKENS, mutants: 3000 },
    Target {
        name: "header_certificate",
        run: credentials::certificate,
        tokens: credentials::TOKENS,
        mutants: 2000,
    },
    Target { name: "jwk_set", run: credentials::keys::run, tokens: credentials::keys::TOKENS, mutants: 3000 },
    Target {
        name: "key_places",
        run: credentials::places::run,
        tokens: credentials::places::TOKENS,
        mutants: 6000,
    },
    Target {
        name: "ldap_answer",
        run: credentials::directory::run,
        tokens: credentials::directory::TOKENS,
        mutants: 10000,
    },
    Target { name: "login_answer", run: openid::callers::login, tokens: openid::TOKENS, mutants: 3000 },
    Target { name: "dpop_proof", run: openid::callers::proof, tokens: openid::TOKENS, mutants: 3000 },
    Target { name: "id_token", run: openid::callers::beside, tokens: openid::TOKENS, mutants: 3000 },
    Target { name: "logout_token", run: openid::callers::logout, tokens: openid::TOKENS, mutants: 3000 },
    Target { name: "provider_answer", run: openid::answers::run, tokens: openid::TOKENS, mutants: 1000 },
    Target { name: "ocsp_answer", run: revocation::response, tokens: revocation::TOKENS, mutants: 10_000 },
    Target { name: "revocation_list", run: revocation::list, tokens: revocation::TOKENS, mutants: 10_000 },
];

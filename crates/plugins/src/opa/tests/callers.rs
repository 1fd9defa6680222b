//! Decisions that are remembered by who calls: what was decided about one caller is never another one's.

use plugin::jose::{Algorithm, Signer};

use super::*;

const SECRET: &str = "a secret of thirty-two characters";

/// Rooms that find out who calls, one by a key and one by a token, before a server that lets alice pass and nobody else.
fn rooms(server: &Loopback, by: &str) -> Harness {
    let document = format!(
        "_format_version: '3.0'
consumers:
- {{username: alice, keyauth_credentials: [{{key: a}}], jwt_secrets: [{{key: app, secret: {SECRET}}}]}}
- {{username: bob, keyauth_credentials: [{{key: b}}]}}
plugins:
- {{name: key-auth, config: {{anonymous: bob}}}}
- {{name: jwt, config: {{anonymous: bob}}}}
- {{name: opa, config: {{opa_host: 127.0.0.1, opa_port: {}, opa_path: /v1/data/a, include_consumer_in_opa_input: true,
    include_claims_in_opa_input: [sub], cache: {{ttl: 10, refusal_ttl: 10, by: [{by}]}}}}}}
",
        server.port()
    );
    let rooms = [
        plugin::room::<crate::jwt::Jwt>(),
        plugin::room::<crate::key_auth::KeyAuth>(),
        plugin::room::<super::super::Opa>(),
    ];
    Harness::chain(&rooms, &document).unwrap().in_real_time()
}

fn server(allowed: &'static str) -> Loopback {
    Loopback::answering(move |request| match request.text().contains(allowed) {
        true => Given::json("{\"result\":true}"),
        false => Given::json("{\"result\":false}"),
    })
}

#[test]
fn what_was_decided_about_a_consumer_is_not_another_ones() {
    let server = server("\"username\":\"alice\"");
    let mut room = rooms(&server, "consumer");
    for (key, status, calls) in [("a", 200, 1), ("b", 403, 2), ("a", 200, 2), ("b", 403, 2)] {
        assert_eq!(room.send(&format!("GET / HTTP/1.1\napikey: {key}\n\n")).status, status, "{key}");
        assert_eq!(server.seen().len(), calls, "{key}");
    }
}

#[test]
fn what_was_decided_about_a_token_is_not_another_ones() {
    let server = server("\"sub\":\"ada\"");
    let mut room = rooms(&server, "claims");
    let signer = Signer::with_secret(Algorithm::Hs256, SECRET.as_bytes()).unwrap();
    for (sub, status, calls) in [("ada", 200, 1), ("eve", 403, 2), ("ada", 200, 2), ("eve", 403, 2)] {
        let Value::Object(claims) = json!({"iss": "app", "sub": sub}) else { panic!("no object") };
        let token = signer.sign(&claims).unwrap();
        let outcome = room.send(&format!("GET / HTTP/1.1\nAuthorization: Bearer {token}\n\n"));
        assert_eq!((outcome.status, server.seen().len()), (status, calls), "{sub}");
    }
}

//! Keys and ids of sessions that upstreams and clients are told.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::world::{World, cookies};
use super::*;

fn decoded(header: Option<String>) -> Value {
    serde_json::from_slice(&BASE64_STANDARD.decode(header.expect("the header is there")).unwrap()).unwrap()
}

fn public(jwk: &str, id: &str) -> Value {
    let mut key = key(jwk, id);
    key.as_object_mut().unwrap().remove("d");
    key
}

#[test]
fn the_key_of_a_token_is_told_and_never_its_private_half() {
    let fields = "upstream_access_token_jwk_header: X-Key, downstream_access_token_jwk_header: X-Its-Key";
    let mut harness = harness(fields);
    // Somebody publishes private keys, too.
    publish(&harness, &[key(ED25519, "two"), key(P256, "one")]);
    for _ in 0..2 {
        let outcome = harness.send(&(bearer(&token(json!({}))) + "\nX-Key: forged"));
        assert_passes(&outcome);
        assert_eq!(decoded(outcome.upstream_header("X-Key")), public(P256, "one"));
        assert_eq!(decoded(outcome.header("X-Its-Key")), public(P256, "one"));
    }
    let other = sign(&key(ED25519, "two"), &claims(json!({})));
    assert_eq!(decoded(harness.send(&bearer(&other)).upstream_header("X-Key")), public(ED25519, "two"));
}

#[test]
fn secrets_and_what_nobody_has_looked_at_have_no_key_to_tell() {
    let told = "upstream_access_token_jwk_header: X-Key";
    let signer = Signer::with_secret(Algorithm::Hs256, SECRET.as_bytes()).unwrap();
    let shared = signer.sign(claims(json!({})).as_object().unwrap()).unwrap();
    let fields = format!("{told}, client_id: [a], client_secret: ['{SECRET}'], enable_hs_signatures: true");
    for (fields, token) in [(fields, shared), (format!("{told}, verify_signature: false"), token(json!({})))]
    {
        let outcome = harness(&fields).send(&(bearer(&token) + "\nX-Key: forged"));
        assert_passes(&outcome);
        assert_eq!(outcome.upstream_header("X-Key"), None, "{fields}");
    }
}

#[test]
fn sessions_tell_the_keys_of_their_tokens() {
    let fields = "upstream_id_token_jwk_header: X-Id-Key, upstream_access_token_jwk_header: X-Key";
    let mut world = World::new(fields);
    let access = token(json!({"iss": world.provider.url("")}));
    let first = world.log_in(json!({}), json!({ "access_token": access }));
    let session = cookies(&first);
    // Another gateway knows nothing but what is in the session.
    let mut other = World::gateway(&world.provider, fields);
    let later = other.send(&format!("GET /page HTTP/1.1\nCookie: {session}"));
    for outcome in [first, later] {
        assert_passes(&outcome);
        assert_eq!(decoded(outcome.upstream_header("X-Id-Key")), public(P256, "one"));
        assert_eq!(decoded(outcome.upstream_header("X-Key")), public(P256, "one"));
    }
    let mut opaque = World::new(fields);
    let outcome = opaque.log_in(json!({}), json!({}));
    assert_eq!(outcome.upstream_header("X-Key"), None);
}

#[test]
fn the_id_of_a_session_is_told_as_the_configuration_says_and_by_nobody_else() {
    let mut world = World::new(
        "upstream_session_id_header: X-Session, downstream_session_id_header: X-Your-Session, \
         session_request_headers: [id], auth_methods: [authorization_code, session, bearer]",
    );
    let first = world.log_in(json!({}), json!({}));
    let id = first.upstream_header("X-Session").unwrap();
    assert_eq!(first.header("X-Your-Session").as_ref(), Some(&id));
    assert_eq!(first.upstream_header("Session-Id").as_ref(), Some(&id), "the same as the property");
    let session = cookies(&first);
    let again = world.harness.send(&format!("GET /page HTTP/1.1\nCookie: {session}\nX-Session: forged"));
    assert_eq!(again.upstream_header("X-Session").as_ref(), Some(&id));
    let own = token(json!({"iss": world.provider.url("")}));
    let without = world.harness.send(&(bearer(&own) + "\nX-Session: forged\nx_session: forged"));
    assert_passes(&without);
    assert_eq!((without.upstream_header("X-Session"), without.upstream_header("x_session")), (None, None));
    let other = world.log_in(json!({}), json!({}));
    assert_ne!(other.upstream_header("X-Session"), Some(id));
}

#[test]
fn what_only_a_provider_says_never_comes_from_a_client() {
    let document = format!(
        "_format_version: \"3.0\"\nconsumers: [{{username: nobody}}, {{username: ada, keyauth_credentials: [{{key: k}}]}}]\n\
         plugins:\n- {{name: key-auth, config: {{anonymous: nobody}}}}\n- name: openid-connect\n  config: {{issuer: '{ISSUER}', \
         anonymous: nobody, auth_methods: [bearer, session], client_id: [g], client_secret: [s], session_secret: s, \
         upstream_access_token_header: X-Access, upstream_id_token_header: X-Id, upstream_refresh_token_header: X-Refresh, \
         upstream_user_info_jwt_header: X-User, upstream_introspection_jwt_header: X-About, session_request_headers: [subject]}}\n"
    );
    let mut harness = Harness::chain(crate::ROOMS, &document).unwrap();
    for field in ["X-Access", "X-Id", "X-Refresh", "X-User", "X-About", "Session-Subject"] {
        // The caller is known already, so that the plugin steps back.
        let outcome = harness.send(&format!("GET / HTTP/1.1\napikey: k\n{field}: forged"));
        assert_eq!((outcome.status, outcome.upstream_header(field)), (200, None), "{field}");
    }
}

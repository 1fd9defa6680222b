//! Whose word counts, and for how long: keys that are taken back, tokens within answers, tokens that are no good.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

#[test]
fn a_token_whose_key_has_been_taken_back_is_good_no_more() {
    let signers = ["old", "new"].map(|name| Signer::generate(Algorithm::Es256, name).unwrap());
    let keys = signers.each_ref().map(|signer| json!({"keys": [signer.public_jwk().unwrap()]}).to_string());
    let exchanged = Arc::new(AtomicBool::default());
    let now = exchanged.clone();
    let server = Loopback::answering(move |_| Given::json(&keys[usize::from(now.load(Ordering::Relaxed))]));
    let document = format!(
        "_format_version: \"3.0\"\nplugins:\n- name: jwt-signer\n  config: {{access_token_jwks_uri: \"{}\", \
         access_token_signing_algorithm: ES256, access_token_jwks_uri_rotate_period: 60}}\n",
        server.url("/keys")
    );
    let mut room = Harness::new(SUBJECT.0, &document).unwrap().in_real_time();
    let token = |signer: &Signer| signer.sign(&object(json!({"sub": "ada", "exp": NOW_S + 3_600}))).unwrap();
    let [old, new] = signers.each_ref().map(token);
    assert_eq!([send(&mut room, &old).status, send(&mut room, &old).status], [200, 200]);
    exchanged.store(true, Ordering::Relaxed);
    room.clock.advance(120_000);
    assert_eq!(send(&mut room, &new).status, 200, "an unknown key has the issuer asked");
    assert_eq!(send(&mut room, &old).status, 401, "what was remembered depended on the old keys");
}

#[test]
fn a_token_within_an_answer_is_checked_where_answers_are_not_trusted() {
    let issuer = Issuer::new();
    let stranger = Signer::generate(Algorithm::Es256, "theirs").unwrap();
    let forged = stranger.sign(&object(json!({"iss": "theirs", "sub": "root", "exp": NOW_S + 60}))).unwrap();
    let server = Loopback::answering(move |_| {
        Given::json(&json!({"active": true, "sub": "ada", "access_token": forged}).to_string())
    });
    let more = format!(
        "access_token_introspection_endpoint: \"{}\", access_token_introspection_jwt_claim: [access_token]",
        server.url("/introspect")
    );
    assert_eq!(send(&mut issuer.room(&more), "opaque").status, 200, "trusted unless told otherwise");
    let distrusting = format!("{more}, trust_access_token_introspection: false");
    assert_eq!(send(&mut issuer.room(&distrusting), "opaque").status, 401);
    let keyless = |more: &str| {
        let document = format!(
            "_format_version: \"3.0\"\nplugins:\n- name: jwt-signer\n  config: {{access_token_signing_algorithm: ES256, {distrusting}, {more}}}\n"
        );
        Harness::new(SUBJECT.0, &document).unwrap().in_real_time()
    };
    assert_eq!(send(&mut keyless("realm: r"), "opaque").status, 401, "there are no keys to check it with");
    let unchecked = "verify_access_token_signature: false";
    assert_eq!(send(&mut keyless(unchecked), "opaque").status, 200, "as the configuration says");
}

#[test]
fn that_a_token_is_no_good_is_believed_for_a_while() {
    let issuer = Issuer::new();
    let url = issuer.server.url("/introspect");
    let mut room = issuer.room(&format!("access_token_introspection_endpoint: \"{url}\""));
    assert_eq!([send(&mut room, "bad").status, send(&mut room, "bad").status], [401, 401]);
    assert_eq!(issuer.server.seen().len(), 1, "whoever tries again does not have the server asked");
    room.clock.advance(10_000);
    assert_eq!(send(&mut room, "bad").status, 401);
    assert_eq!(issuer.server.seen().len(), 2);
}

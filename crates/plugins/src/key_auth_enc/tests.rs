//! What the key-auth-enc room does beside what all rooms with keys do: only digests are kept.

use plugin::harness::{Harness, START_MS};

use super::KeyAuthEnc;

/// The SHA-256 of `alice`.
const DIGEST: &str = "2bd806c97f0e00af1a1fc3328fa763a9269723c8db8fac4f93af71db186d6e90";
const ID: &str = "6f1d1c5e-0000-4000-8000-000000000001";

fn document(transform: bool, key: &str) -> String {
    let created = START_MS / 1000;
    format!(
        "_format_version: \"3.0\"\n_transform: {transform}\nplugins: [{{name: key-auth-enc}}]\nconsumers:\n- username: bob\n  \
         keyauth_enc_credentials:\n  - {{id: {ID}, key: {key}, ttl: 60, created_at: {created}}}\n"
    )
}

fn harness(transform: bool, key: &str) -> Result<Harness, String> {
    Harness::new(plugin::room::<KeyAuthEnc>(), &document(transform, key))
}

#[test]
fn a_key_lets_in_for_its_time_and_its_digest_does_not() {
    for (transform, kept) in [(true, "alice"), (false, DIGEST)] {
        let mut harness = harness(transform, kept).unwrap();
        let outcome = harness.send("GET /?apikey=alice HTTP/1.1");
        assert_eq!(outcome.upstream_header("X-Consumer-Username").as_deref(), Some("bob"));
        assert_eq!(outcome.upstream_header("X-Credential-Identifier").as_deref(), Some(ID));
        assert_eq!(outcome.upstream_query, None);
        for wrong in [DIGEST, "Alice", "alice%20"] {
            let outcome = harness.send(&format!("GET /?apikey={wrong} HTTP/1.1"));
            assert_eq!((outcome.status, outcome.message.as_deref()), (401, Some("Unauthorized")), "{wrong}");
            assert_eq!(outcome.header("WWW-Authenticate").as_deref(), Some("Key"));
        }
        harness.clock.advance(60_000);
        assert_eq!(harness.send("GET /?apikey=alice HTTP/1.1").status, 401);
    }
}

#[test]
fn what_is_no_digest_where_one_has_to_be_is_an_error() {
    let refusal = harness(false, "alice").err().unwrap();
    assert!(refusal.contains("with _transform: false, must be the SHA-256"), "{refusal}");
    let without = document(true, "x").replace("key: x, ", "");
    let refusal = Harness::new(plugin::room::<KeyAuthEnc>(), &without).err().unwrap();
    assert!(refusal.contains("required field missing"), "{refusal}");
}

#[test]
fn a_key_that_two_have_is_an_error() {
    let twice = document(true, "alice") + "- {username: eve, keyauth_enc_credentials: [{key: alice}]}\n";
    let refusal = Harness::new(plugin::room::<KeyAuthEnc>(), &twice).err().unwrap();
    assert!(refusal.contains("uniqueness violation"), "{refusal}");
}

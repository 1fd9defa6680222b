//! Which signatures are right, by whose algorithm.

use serde_json::json;

use super::keys::{self, hmac, segment, token};
use super::{assert_bob, assert_message, bearer, harness_with, send, valid};

#[test]
fn a_wrong_signature_is_refused() {
    let message = "Invalid signature";
    let by_other =
        token(&json!({"alg": "HS256"}), &json!({"iss": "iss1"}), |message| hmac("HS256", b"s2", message));
    assert_message(&send("{}", &by_other), message);
    let mut parts: Vec<String> = valid().split('.').map(str::to_owned).collect();
    parts[1] = segment(br#"{"iss":"other"}"#);
    assert_message(&send("{}", &parts.join(".")), message);
    let cut = valid();
    assert_message(&send("{}", &format!("{}.", cut.rsplit_once('.').unwrap().0)), message);
}

#[test]
fn the_credential_decides_the_algorithm() {
    let hs512 =
        token(&json!({"alg": "HS512"}), &json!({"iss": "iss1"}), |message| hmac("HS512", b"s", message));
    assert_message(&send("{}", &hs512), "Invalid algorithm");
    let mut harness = harness_with("{}", "- {consumer: bob, key: h5, secret: s, algorithm: HS512}");
    let right =
        token(&json!({"alg": "HS512"}), &json!({"iss": "h5"}), |message| hmac("HS512", b"s", message));
    assert_bob(&harness.send(&bearer(&right)));
}

#[test]
fn a_public_key_is_never_a_shared_secret() {
    let pem = keys::Signer::new("RS256").pem();
    let secrets = format!("- {{consumer: bob, key: r, algorithm: RS256, rsa_public_key: {}}}", json!(pem));
    let mut harness = harness_with("{}", &secrets);
    for secret in [pem.as_bytes(), pem.trim().as_bytes(), b""] {
        let confused =
            token(&json!({"alg": "HS256"}), &json!({"iss": "r"}), |message| hmac("HS256", secret, message));
        assert_message(&harness.send(&bearer(&confused)), "Invalid algorithm");
    }
}

#[test]
fn every_algorithm_verifies_its_own_signatures_only() {
    let algorithms =
        ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"];
    for algorithm in algorithms {
        let signer = keys::Signer::new(algorithm);
        let secrets = format!(
            "- {{consumer: bob, key: k, algorithm: {algorithm}, rsa_public_key: {}}}",
            json!(signer.pem())
        );
        let mut harness = harness_with("{}", &secrets);
        let header = json!({ "alg": algorithm });
        let right = token(&header, &json!({"iss": "k"}), |message| signer.sign(message));
        assert_bob(&harness.send(&bearer(&right)));
        let (signed, signature) = right.rsplit_once('.').unwrap();
        let forged =
            format!("{signed}.{}{}", if signature.starts_with('A') { "B" } else { "A" }, &signature[1..]);
        assert_message(&harness.send(&bearer(&forged)), "Invalid signature");
        let stranger = keys::Signer::stranger(algorithm);
        let strange = token(&header, &json!({"iss": "k"}), |message| stranger.sign(message));
        assert_message(&harness.send(&bearer(&strange)), "Invalid signature");
        let confused = token(&json!({"alg": "HS256"}), &json!({"iss": "k"}), |message| signer.sign(message));
        assert_message(&harness.send(&bearer(&confused)), "Invalid algorithm");
    }
}

#[test]
fn all_shared_secret_algorithms_verify() {
    for algorithm in ["HS256", "HS384", "HS512"] {
        let secrets = format!("- {{consumer: bob, key: k, algorithm: {algorithm}, secret: long}}");
        let mut harness = harness_with("{}", &secrets);
        let signed = token(&json!({ "alg": algorithm }), &json!({"iss": "k"}), |message| {
            hmac(algorithm, b"long", message)
        });
        assert_bob(&harness.send(&bearer(&signed)));
    }
}

#[test]
fn secrets_may_be_base64() {
    let signed = |secret: &[u8]| {
        token(&json!({"alg": "HS256"}), &json!({"iss": "encoded"}), |message| hmac("HS256", secret, message))
    };
    assert_bob(&send("{secret_is_base64: true}", &signed(b"secret\xfb\xff")));
    assert_message(&send("{secret_is_base64: true}", &signed(b"c2VjcmV0-_8=")), "Invalid signature");
    assert_bob(&send("{}", &signed(b"c2VjcmV0-_8=")));
    assert_message(&send("{secret_is_base64: true}", &valid()), "Invalid key/secret");
}

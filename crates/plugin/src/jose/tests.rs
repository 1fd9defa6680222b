//! Vectors of the RFCs, and what must never be believed.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::*;
use crate::clock::Clock;
use crate::services::Services;

/// Key pairs made for these tests: RSA of 2048 and 1024 bits, P-384 and P-521.
const KEYS: &str = include_str!("tests/keys.json");

/// RFC 7515 A.3.
const P256: &str = r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0","d":"jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"}"#;
/// RFC 8037 A.1.
const ED25519: &str = r#"{"kty":"OKP","crv":"Ed25519","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
    "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
/// RFC 7515 A.1.
const OCT: &str = r#"{"kty":"oct",
    "k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"}"#;

fn jwk(name: &str) -> Value {
    match name {
        "p256" => serde_json::from_str(P256).unwrap(),
        "ed25519" => serde_json::from_str(ED25519).unwrap(),
        "oct" => serde_json::from_str(OCT).unwrap(),
        _ => serde_json::from_str::<Value>(KEYS).unwrap()[name].take(),
    }
}

fn with(mut jwk: Value, members: Value) -> Value {
    let members: Map<String, Value> = serde_json::from_value(members).unwrap();
    for (name, value) in members {
        jwk[name] = value;
    }
    jwk
}

fn set(keys: &[Value]) -> KeySet {
    KeySet::published(json!({ "keys": keys }).to_string().as_bytes()).unwrap()
}

fn claims() -> Map<String, Value> {
    json!({"sub": "alice"}).as_object().unwrap().clone()
}

fn signed(jwk: &Value) -> String {
    Signer::from_jwk(jwk).unwrap().sign(&claims()).unwrap()
}

fn defect(token: &str, keys: &KeySet) -> Option<Defect> {
    Token::verify(token.as_bytes(), keys).err()
}

/// A token with any header and claims, signed with the secret of RFC 7515 A.1.
fn raw(header: &str, claims: &str) -> String {
    let text = format!("{}.{}", to_base64url(header.as_bytes()), to_base64url(claims.as_bytes()));
    let secret = from_base64url(jwk("oct")["k"].as_str().unwrap()).unwrap();
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &secret);
    let signature = aws_lc_rs::hmac::sign(&key, text.as_bytes());
    format!("{text}.{}", to_base64url(signature.as_ref()))
}

fn oct() -> KeySet {
    KeySet::new(vec![Key::from_jwk(&jwk("oct")).unwrap()])
}

#[test]
fn the_signatures_of_the_rfcs_are_right() {
    let payload =
        "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    let hs256 = format!(
        "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.{payload}.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    );
    assert_eq!(Token::verify(hs256.as_bytes(), &oct()).unwrap().claims["iss"], "joe");
    let es256 = format!(
        "eyJhbGciOiJFUzI1NiJ9.{payload}.\
         DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
    );
    assert_eq!(defect(&es256, &set(&[jwk("p256")])), None);
    // RFC 8037 A.4, whose payload is no JSON.
    let eddsa = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.\
        hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    let error = Token::verify(eddsa, &set(&[jwk("ed25519")])).err();
    assert_eq!(error, Some(Defect::Malformed), "the signature is right, what it signs is no token");
}

#[test]
fn each_algorithm_signs_what_it_verifies_and_nothing_else_does() {
    let cases = [
        ("rsa", "RS256"),
        ("rsa", "RS384"),
        ("rsa", "RS512"),
        ("rsa", "PS256"),
        ("rsa", "PS384"),
        ("rsa", "PS512"),
        ("p256", "ES256"),
        ("p384", "ES384"),
        ("p521", "ES512"),
        ("ed25519", "EdDSA"),
    ];
    for (name, algorithm) in cases {
        let key = with(jwk(name), json!({"alg": algorithm}));
        let token = signed(&key);
        assert_eq!(Header::of(token.as_bytes()).unwrap().algorithm.name(), algorithm);
        assert_eq!(defect(&token, &set(std::slice::from_ref(&key))), None, "{algorithm}");
        assert_eq!(defect(&token, &set(&[jwk(name)])), None, "{algorithm}: a key without 'alg'");
        for (other, other_algorithm) in cases.iter().filter(|(_, other)| *other != algorithm) {
            let other = set(&[with(jwk(other), json!({"alg": other_algorithm}))]);
            assert_eq!(defect(&token, &other), Some(Defect::UnknownKey), "{algorithm} by {other_algorithm}");
        }
        let (head, _) = token.rsplit_once('.').unwrap();
        let forged = format!("{head}.{}", to_base64url(&[7; 64]));
        assert_eq!(defect(&forged, &set(&[key])), Some(Defect::Signature), "{algorithm}");
    }
}

#[test]
fn secrets_sign_and_verify_as_long_as_they_are_long_enough() {
    for (algorithm, least) in [("HS256", 32), ("HS384", 48), ("HS512", 64)] {
        let key =
            |length: usize| json!({"kty": "oct", "k": to_base64url(&vec![7; length]), "alg": algorithm});
        let keys = KeySet::new(vec![Key::from_jwk(&key(least)).unwrap()]);
        assert_eq!(defect(&signed(&key(least)), &keys), None, "{algorithm}");
        let short = Key::from_jwk(&key(least - 1)).err();
        assert!(matches!(short, Some(KeyProblem::Size | KeyProblem::Algorithm)), "{algorithm}: {short:?}");
    }
}

#[test]
fn no_algorithm_is_none_of_any_spelling() {
    for name in ["none", "None", "NONE", "", "hs256", "HS1", "RSA-OAEP"] {
        let token = raw(&json!({ "alg": name }).to_string(), "{}");
        assert_eq!(defect(&token, &oct()), Some(Defect::Algorithm), "{name}");
        let (unsigned, _) = token.rsplit_once('.').unwrap();
        assert_eq!(defect(&format!("{unsigned}."), &oct()), Some(Defect::Algorithm), "{name}");
    }
    for header in ["{}", r#"{"alg":null}"#, r#"{"alg":["HS256"]}"#, r#"{"alg":"HS256","alg":"none"}"#] {
        assert_eq!(defect(&raw(header, "{}"), &oct()), Some(Defect::Malformed), "{header}");
    }
}

#[test]
fn a_public_key_is_never_a_secret() {
    let public = jwk("rsa");
    let modulus = from_base64url(public["n"].as_str().unwrap()).unwrap();
    for secret in [modulus.as_slice(), public.to_string().as_bytes()] {
        let token = Signer::with_secret(Algorithm::Hs256, secret).unwrap().sign(&claims()).unwrap();
        assert_eq!(defect(&token, &set(std::slice::from_ref(&public))), Some(Defect::UnknownKey));
    }
}

#[test]
fn a_key_that_a_token_brings_is_not_looked_at() {
    let stranger = with(jwk("p256"), json!({"kid": "mine"}));
    let forged = signed(&stranger);
    let (_, rest) = forged.split_once('.').unwrap();
    let header = json!({"alg": "ES256", "kid": "mine", "jwk": stranger, "jku": "http://127.0.0.1/", "x5u": "http://127.0.0.1/"});
    let token = format!("{}.{rest}", to_base64url(header.to_string().as_bytes()));
    assert_eq!(
        defect(&token, &set(&[with(jwk("p384"), json!({"kid": "theirs"}))])),
        Some(Defect::UnknownKey)
    );
}

#[test]
fn the_id_of_a_key_is_compared_and_nothing_else() {
    let keys = set(&[with(jwk("p256"), json!({"kid": "one"})), with(jwk("ed25519"), json!({"kid": "two"}))]);
    assert_eq!(defect(&signed(&with(jwk("p256"), json!({"kid": "one"}))), &keys), None);
    assert_eq!(defect(&signed(&jwk("p256")), &keys), None, "no id: every key that fits");
    for id in ["two", "", "../../dev/null", "one' OR '1'='1", "one\u{0}"] {
        let token = signed(&with(jwk("p256"), json!({ "kid": id })));
        assert_eq!(defect(&token, &keys), Some(Defect::UnknownKey), "{id:?}");
    }
    assert_eq!(defect(&raw(r#"{"alg":"HS256","kid":7}"#, "{}"), &oct()), Some(Defect::Malformed));
}

#[test]
fn extensions_that_are_not_understood_are_refused() {
    for header in [r#"{"alg":"HS256","crit":["b64"],"b64":false}"#, r#"{"alg":"HS256","crit":[]}"#] {
        assert_eq!(defect(&raw(header, "{}"), &oct()), Some(Defect::Extension), "{header}");
    }
}

#[test]
fn size_and_depth_are_bounded() {
    let header = r#"{"alg":"HS256"}"#;
    let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    assert_eq!(defect(&raw(header, &nested(100)), &oct()), None);
    assert_eq!(defect(&raw(header, &nested(200)), &oct()), Some(Defect::Malformed));
    let long = format!("{{\"a\":\"{}\"}}", "x".repeat(LONGEST));
    assert_eq!(defect(&raw(header, &long), &oct()), Some(Defect::TooLong));
    let deep_header = format!("{{\"alg\":\"HS256\",\"x\":{}{}}}", "[".repeat(2_000), "]".repeat(2_000));
    assert!(Header::of(raw(&deep_header, "{}").as_bytes()).is_ok_and(|header| header.key_id.is_none()));
    for text in ["", ".", "..", "...", "a.b.c", "e30.e30", "\u{0}.\u{0}.\u{0}"] {
        assert!(defect(text, &oct()).is_some(), "{text}");
    }
    for claims in ["[]", "1", "null", "\"x\"", "", "{}{}"] {
        assert_eq!(defect(&raw(header, claims), &oct()), Some(Defect::Malformed), "{claims}");
    }
}

#[test]
fn keys_for_something_else_are_not_used() {
    let cases = [
        (with(jwk("rsa"), json!({"use": "enc"})), KeyProblem::Purpose),
        (with(jwk("rsa"), json!({"key_ops": ["encrypt"]})), KeyProblem::Purpose),
        (with(jwk("rsa"), json!({"key_ops": "verify"})), KeyProblem::Purpose),
        (with(jwk("rsa"), json!({"alg": "ES256"})), KeyProblem::Algorithm),
        (with(jwk("rsa"), json!({"alg": "HS256"})), KeyProblem::Algorithm),
        (with(jwk("p256"), json!({"alg": "ES384"})), KeyProblem::Algorithm),
        (with(jwk("p256"), json!({"crv": "secp256k1"})), KeyProblem::Kind),
        (with(jwk("p256"), json!({"x": "AAAA"})), KeyProblem::Malformed),
        (with(jwk("p256"), json!({"y": to_base64url(&[1; 32])})), KeyProblem::Malformed),
        (with(jwk("ed25519"), json!({"crv": "Ed448"})), KeyProblem::Kind),
        (with(jwk("rsa"), json!({"e": null})), KeyProblem::Malformed),
        (jwk("rsa_1024"), KeyProblem::Size),
        (json!({"kty": "RSA", "e": "AQAB", "n": to_base64url(&[0xff; 2_000])}), KeyProblem::Size),
        (
            json!({"kty": "RSA", "e": "AQAB", "n": to_base64url(&[vec![0; 200], vec![0xff; 128]].concat())}),
            KeyProblem::Size,
        ),
        (jwk("oct"), KeyProblem::Published),
        (json!({"kty": "AES"}), KeyProblem::Kind),
        (json!(7), KeyProblem::Malformed),
    ];
    let keys: Vec<Value> = cases.iter().map(|(key, _)| key.clone()).collect();
    let problems: Vec<KeyProblem> = cases.iter().map(|(_, problem)| *problem).collect();
    let set = set(&keys);
    assert_eq!((set.len(), set.problems()), (0, problems.as_slice()));
}

#[test]
fn a_set_is_bounded_and_one_bad_key_spoils_no_other() {
    let good = with(jwk("p256"), json!({"kid": "good", "use": "sig", "key_ops": ["sign", "verify"]}));
    let keys = set(&[json!(null), good.clone()]);
    assert_eq!((keys.len(), defect(&signed(&good), &keys)), (1, None));
    assert_eq!(set(&vec![jwk("ed25519"); 1_000]).len(), 256);
    for text in ["", "[]", "{}", r#"{"keys":{}}"#, "{\"keys\":["] {
        assert!(KeySet::published(text.as_bytes()).is_none(), "{text}");
    }
}

#[test]
fn private_keys_come_in_pem_form_and_weak_ones_do_not_sign() {
    let pem = include_str!("tests/rsa_2048.pem");
    let signer = Signer::with_private_key(Algorithm::Rs256, Some("k"), pem).unwrap();
    let token = signer.sign(&claims()).unwrap();
    assert_eq!(defect(&token, &set(&[with(jwk("rsa"), json!({"kid": "k"}))])), None);
    assert!(Signer::with_private_key(Algorithm::Es256, None, pem).is_none());
    assert!(Signer::with_private_key(Algorithm::Hs256, None, pem).is_none());
    assert_eq!(Signer::from_jwk(&jwk("rsa_1024")).err(), Some(KeyProblem::Size));
    assert_eq!(Signer::from_jwk(&with(jwk("p256"), json!({"use": "enc"}))).err(), Some(KeyProblem::Purpose));
    assert_eq!(
        Signer::from_jwk(&with(jwk("p256"), json!({"alg": "HS256"}))).err(),
        Some(KeyProblem::Algorithm)
    );
}

#[test]
fn what_is_remembered_ends_with_its_time_and_is_for_one_reading() {
    let services = Services::new(1, Clock::fixed(90_000), false);
    let known: Remembered<u32> = Remembered::new(&services);
    let (iss, sub): (Arc<str>, Arc<str>) = ("iss".into(), "sub".into());
    known.remember(0, &iss, b"token", &7, 100);
    assert_eq!(known.find(0, &iss, b"token", 99), Some(7));
    assert_eq!(known.find(0, &iss, b"token", 100), None);
    assert_eq!(known.find(0, &sub, b"token", 99), None);
    assert_eq!(known.find(0, &iss, b"tokem", 99), None);
    services.clock.set(80_000);
    services.clock.advance(9_999);
    assert_eq!(known.find(0, &iss, b"token", 89), Some(7));
    services.clock.advance(1);
    assert_eq!(known.find(0, &iss, b"token", 90), None, "no longer because the clock was set back");
    known.remember(0, &iss, &[b'x'; 2049], &7, 100);
    assert_eq!(known.find(0, &iss, &[b'x'; 2049], 99), None, "long tokens are verified each time");
}

#[test]
fn what_a_key_made_here_signs_is_checked_with_what_it_publishes() {
    for name in super::NAMES {
        let algorithm = Algorithm::named(name).unwrap();
        let signer = Signer::generate(algorithm, "one").unwrap();
        let token = signer.sign(json!({"sub": "ada"}).as_object().unwrap()).unwrap();
        let Some(jwk) = signer.public_jwk() else {
            assert!(algorithm.is_symmetric(), "{name}");
            continue;
        };
        assert!(!algorithm.is_symmetric(), "{name}: a secret is published");
        assert_eq!((&jwk["kid"], &jwk["alg"], &jwk["use"]), (&json!("one"), &json!(name), &json!("sig")));
        assert!(["d", "p", "q", "k"].iter().all(|secret| jwk[secret].is_null()), "{name}: {jwk}");
        let verified = Token::verify(token.as_bytes(), &set(&[jwk])).unwrap();
        assert_eq!(verified.claims["sub"], "ada");
        let another = Signer::generate(algorithm, "one").unwrap().public_jwk().unwrap();
        assert_eq!(Token::verify(token.as_bytes(), &set(&[another])).unwrap_err(), Defect::Signature);
    }
}

#[test]
fn a_key_is_known_by_its_thumbprint() {
    // RFC 7638 3.1, and RFC 8037 A.3.
    let rsa = json!({"kty": "RSA", "e": "AQAB", "alg": "RS256", "kid": "2011-04-29", "n":
        "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMs\
         tn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n\
         91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"});
    assert_eq!(thumbprint(&rsa).as_deref(), Some("NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"));
    let okp = json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
    assert_eq!(thumbprint(&okp).as_deref(), Some("kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"));
    for incomplete in
        [json!({"kty": "EC", "crv": "P-256", "x": "a"}), json!({"kty": "oct", "k": "a"}), json!({})]
    {
        assert_eq!(thumbprint(&incomplete), None);
    }
}

#[test]
fn a_token_tells_the_public_half_of_its_key_and_of_a_secret_nothing() {
    for name in ["p256", "ed25519", "rsa"] {
        let pair = with(jwk(name), json!({"kid": "one"}));
        let token = signed(&pair);
        let key = Token::verify(token.as_bytes(), &set(std::slice::from_ref(&pair))).unwrap().key.unwrap();
        let told: Value = serde_json::from_str(&key).unwrap();
        let private = ["d", "p", "q", "dp", "dq", "qi"].iter().any(|member| !told[member].is_null());
        assert!(!private, "{told}");
        assert_eq!(
            (&told["kty"], &told["kid"], &told["x"], &told["n"]),
            (&pair["kty"], &pair["kid"], &pair["x"], &pair["n"])
        );
        assert_eq!(Token::without_verification(token.as_bytes()).unwrap().key, None);
    }
    let shared = raw(r#"{"alg":"HS256"}"#, r#"{"sub":"alice"}"#);
    assert_eq!(Token::verify(shared.as_bytes(), &oct()).unwrap().key, None);
}

//! Rings of keys that are made here.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::declared::Declared;
use super::made::Made;
use super::{KeyRing, Source, Unchanged};
use crate::clock::Clock;
use crate::jose::{Algorithm, KeySet, Signer, Token};

fn token(ring: &KeyRing) -> String {
    let (_, signer) = ring.at_hand().unwrap();
    signer.sign(json!({"sub": "ada"}).as_object().unwrap()).unwrap()
}

fn is_known(ring: &KeyRing, token: &str) -> bool {
    let keys = json!({ "keys": ring.published() }).to_string();
    Token::verify(token.as_bytes(), &KeySet::published(keys.as_bytes()).unwrap()).is_ok()
}

fn made(clock: &Clock) -> (KeyRing, Arc<Made>) {
    let made = Arc::new(Made::new(Algorithm::Es256, clock.clone()).unwrap());
    (KeyRing { set: "kong".into(), source: Source::Made(made.clone()) }, made)
}

/// Until the thread that makes the next key has done so.
fn wait_for_next(ring: &KeyRing, keys: usize) {
    let begun = Instant::now();
    while ring.published().len() < keys {
        assert!(begun.elapsed() < Duration::from_secs(60), "the next key is not made");
        std::thread::yield_now();
    }
}

#[test]
fn a_key_is_published_before_it_signs_and_after() {
    let (ring, _) = made(&Clock::fixed(0));
    let before: Vec<Value> = ring.published();
    let first = token(&ring);
    ring.exchange().unwrap();
    wait_for_next(&ring, 3);
    let second = token(&ring);
    assert_ne!(first, second);
    let keys = KeySet::published(json!({ "keys": before }).to_string().as_bytes()).unwrap();
    assert!(Token::verify(second.as_bytes(), &keys).is_ok(), "whoever has fetched the keys before knows it");
    assert!(is_known(&ring, &first) && is_known(&ring, &second));
    ring.exchange().unwrap();
    assert!(!is_known(&ring, &first), "two exchanges later it is gone");
    assert!(is_known(&ring, &second));
}

#[test]
fn keys_are_exchanged_when_their_time_is_over() {
    let clock = Clock::fixed(1_000);
    let (ring, made) = made(&clock);
    let number = ring.number();
    clock.advance(59_000);
    ring.exchange_after(Duration::from_secs(60));
    assert_eq!(ring.number(), number);
    clock.advance(1_000);
    ring.exchange_after(Duration::from_secs(60));
    assert_eq!(ring.number(), number + 1);
    assert_eq!(made.signer().0, number + 1);
}

#[test]
fn what_replaced_keys_have_signed_is_good_no_more() {
    let (ring, _) = made(&Clock::fixed(0));
    let (first, number) = (token(&ring), ring.number());
    ring.replace().unwrap();
    assert!(!is_known(&ring, &first));
    assert!(is_known(&ring, &token(&ring)));
    assert!(ring.number() > number);
}

#[test]
fn declared_keys_are_published_without_what_is_private() {
    // RFC 7515 A.3, and the public half of RFC 8037 A.2.
    let private = json!({"kty": "EC", "crv": "P-256", "kid": "one", "key_ops": ["sign"],
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
        "d": "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"});
    let former = json!({"kty": "OKP", "crv": "Ed25519", "kid": "old", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
    let secret = json!({"kty": "oct", "kid": "secret", "k": "c".repeat(88)});
    let set = json!({ "keys": [private, former, secret, {"kty": "?"}] }).to_string();
    let declared = Declared::read(set.as_bytes(), Algorithm::Es256).unwrap();
    let ring = KeyRing { set: "own".into(), source: Source::Declared(declared) };
    assert!(is_known(&ring, &token(&ring)));
    let published = Value::from(ring.published()).to_string();
    assert!(!published.contains("jpsQ") && !published.contains("cccc"), "{published}");
    assert_eq!(ring.published().len(), 2, "{published}");
    assert_eq!(ring.exchange(), Err(Unchanged::NotMadeHere));
    let with_secret = Declared::read(set.as_bytes(), Algorithm::Hs512).unwrap();
    assert_eq!(with_secret.signer().algorithm(), Algorithm::Hs512);
    let lacking = Declared::read(set.as_bytes(), Algorithm::Rs256).err().unwrap();
    assert!(lacking.contains("no private key that signs with RS256"), "{lacking}");
    assert!(Signer::from_jwk(&json!({"kty": "EC"})).is_err());
}

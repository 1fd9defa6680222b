//! A signed token for the tour.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use serde_json::{Value, json};

/// Issuer and secret, as `examples/demo/kong.yml` has them.
const ISSUER: &str = "alice-app";
const SECRET: &str = "a-secret-for-demonstrations-only";
/// Seconds that a token is good for.
const LIFETIME: u64 = 3600;

/// A JWT (HS256) of alice, valid for an hour from `now`, in seconds since 1970.
pub fn of_alice(now: u64) -> String {
    let part = |value: &Value| BASE64.encode(value.to_string());
    let head = part(&json!({ "alg": "HS256", "typ": "JWT" }));
    let claims = part(&json!({ "iss": ISSUER, "sub": "alice", "iat": now, "exp": now + LIFETIME }));
    let signed = format!("{head}.{claims}");
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let signature = BASE64.encode(hmac::sign(&key, signed.as_bytes()));
    format!("{signed}.{signature}")
}

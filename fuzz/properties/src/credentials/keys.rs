//! Sets of keys that issuers publish: what is read checks no token that anybody could have made up.

use plugin::jose::{KeySet, Token};

/// Pieces of JWK sets.
pub const TOKENS: &[&[u8]] = &[
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"\"",
    b"null",
    b"0",
    b"1e999",
    b"\"keys\":",
    b"\"kty\":\"oct\"",
    b"\"kty\":\"RSA\"",
    b"\"kty\":\"EC\"",
    b"\"kty\":\"OKP\"",
    b"\"crv\":\"P-256\"",
    b"\"crv\":\"Ed25519\"",
    b"\"k\":\"AAAA\"",
    b"\"use\":\"enc\"",
    b"\"key_ops\":[\"verify\"]",
    b"\"alg\":\"HS256\"",
    b"\"alg\":\"none\"",
    b"\"kid\":\"o\"",
    b"\"n\":\"\"",
    b"\"e\":\"AQ\"",
    b"\"x\":\"AA\"",
    b"\"y\":\"AA\"",
    b"\\u0000",
    b"\xff",
];

/// Signed with the secret that a seed publishes: right, and worth nothing, as anybody could read it there.
const OF_PUBLISHED_SECRET: &[u8] = b"eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJhZGEiLCJleHAiOjQxMDI0NDQ4MDAsIm5iZiI6MX0.1b5iQZ7ZGJT59DZ_mX-MIirU8gan0a_daHT5ERWu7Yo";

/// Reads a set and tries tokens on it.
pub fn run(bytes: &[u8]) {
    let Some(keys) = KeySet::published(bytes) else { return };
    assert!(Token::verify(OF_PUBLISHED_SECRET, &keys).is_err(), "a published secret counts");
    for forged in
        [&b"eyJhbGciOiJub25lIn0.e30."[..], b"eyJhbGciOiJSUzI1NiJ9.e30.AAAA", b"eyJhbGciOiJFUzI1NiJ9.e30.AAAA"]
    {
        assert!(Token::verify(forged, &keys).is_err(), "{} is right", forged.escape_ascii());
    }
}

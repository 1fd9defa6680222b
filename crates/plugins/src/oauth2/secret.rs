//! Secrets: made at random, kept and compared as hashes.
//!
//! A token has 192 random bits, so a plain SHA-256 of it tells nothing about it, and looking one up by its hash takes a time
//! that says nothing about how much of a guess is right.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use plugin::web_session::random;

/// A SHA-256.
pub(super) type Hash = [u8; 32];

/// The hash of a secret.
pub(super) fn hash(secret: &[u8]) -> Hash {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, secret).as_ref());
    hash
}

/// Whether `secret` is the one with this hash, in a time that does not depend on either.
pub(super) fn is(secret: &[u8], expected: &Hash) -> bool {
    verify_slices_are_equal(&hash(secret), expected).is_ok()
}

/// A secret that nobody can guess, of 32 letters, digits, `-` and `_`. None if the system has no random numbers.
pub(super) fn make() -> Option<String> {
    Some(URL_SAFE_NO_PAD.encode(random::<24>()?))
}

/// What a verifier is announced by (RFC 7636 4.2, `S256`).
pub(super) fn challenge(verifier: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(hash(verifier))
}

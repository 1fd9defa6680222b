//! Secrets: made at random, kept and compared as hashes.
//!
//! A token has 192 random bits. The first 64 are those of its consent, so that all that goes back to one is found in one
//! place; the other 128 are its own. So a plain SHA-256 of it tells nothing about it, and looking one up by its hash takes a
//! time that says nothing about how much of a guess is right.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use plugin::web_session::random;
use uuid::Uuid;

/// A SHA-256.
pub(super) type Hash = [u8; 32];

/// Bytes that name a consent.
const CONSENT: usize = 8;
/// Bytes of a secret.
const SECRET: usize = 24;

/// The hash of a secret.
pub(super) fn hash(secret: &[u8]) -> Hash {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, secret).as_ref());
    hash
}

/// A hash in hexadecimal digits.
pub(super) fn hex(hash: &Hash) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |number: u8| char::from(DIGITS[usize::from(number & 15)]);
    hash.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]).collect()
}

/// What [`hex`] has made.
pub(super) fn hash_of_hex(text: &str) -> Option<Hash> {
    let mut hash = [0; 32];
    if text.len() != hash.len() * 2 {
        return None;
    }
    for (byte, digits) in hash.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(hash)
}

/// Whether `secret` is the one with this hash, in a time that does not depend on either.
pub(super) fn is(secret: &[u8], expected: &Hash) -> bool {
    verify_slices_are_equal(&hash(secret), expected).is_ok()
}

/// A secret of a consent that nobody can guess, of 32 letters, digits, `-` and `_`. None if the system has no random
/// numbers.
pub(super) fn make(family: &Uuid) -> Option<String> {
    let own: [u8; SECRET - CONSENT] = random()?;
    Some(URL_SAFE_NO_PAD.encode([&consent(family)[..], &own].concat()))
}

/// What the texts of a consent begin with: bytes of its id in which all bits are random (RFC 9562 5.4).
pub(super) fn consent(family: &Uuid) -> [u8; CONSENT] {
    let [a, b, c, d, e, f, _, _, _, g, h, ..] = *family.as_bytes();
    [a, b, c, d, e, f, g, h]
}

/// The consent that a text which [`make`] has made belongs to; none for other texts.
pub(super) fn consent_of(text: &str) -> Option<[u8; CONSENT]> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok().filter(|bytes| bytes.len() == SECRET)?;
    bytes.first_chunk().copied()
}

/// What a verifier is announced by (RFC 7636 4.2, `S256`).
pub(super) fn challenge(verifier: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(hash(verifier))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_of_a_consent_name_it_and_are_their_own() {
        let family = Uuid::new_v4();
        let (one, other) = (make(&family).unwrap(), make(&family).unwrap());
        assert_ne!(one, other);
        assert_eq!([consent_of(&one), consent_of(&other)], [Some(consent(&family)); 2]);
        assert_ne!(consent_of(&make(&Uuid::new_v4()).unwrap()), consent_of(&one));
        for bad in ["", "x", &one[1..], &format!("{one}AAAA"), "\u{e9}"] {
            assert_eq!(consent_of(bad), None, "{bad}");
        }
        assert_eq!(hash_of_hex(&hex(&hash(b"a"))), Some(hash(b"a")));
        assert_eq!(hash_of_hex(&"g".repeat(64)), None);
    }
}

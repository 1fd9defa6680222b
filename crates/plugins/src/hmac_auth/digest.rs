//! Whether a body is the one that the field `Digest` (RFC 3230) speaks of.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{self, SHA256, SHA512};
use base64::Engine;
use plugin::Headers;
use plugin::authorization::BASE64;

/// Whether every digest of SHA-256 and SHA-512 in the field is that of `body`, and there is one. Without the field, the
/// body must be empty.
pub(super) fn fits(headers: &Headers, body: &[u8]) -> bool {
    let (mut given, mut right) = (false, false);
    for value in headers.all("Digest") {
        given = true;
        for member in value.split(|byte| *byte == b',') {
            match is_right(member.trim_ascii(), body) {
                None => {}
                Some(true) => right = true,
                Some(false) => return false,
            }
        }
    }
    right || (!given && body.is_empty())
}

/// None for an algorithm that is not known here.
fn is_right(member: &[u8], body: &[u8]) -> Option<bool> {
    let (name, encoded) = member.split_at(member.iter().position(|byte| *byte == b'=')?);
    let algorithm = match name.to_ascii_lowercase().as_slice() {
        b"sha-256" => &SHA256,
        b"sha-512" => &SHA512,
        _ => return None,
    };
    let mut given = [0; 96];
    let length = BASE64.decode_slice(&encoded[1..], &mut given).unwrap_or(0);
    Some(verify_slices_are_equal(digest::digest(algorithm, body).as_ref(), &given[..length]).is_ok())
}

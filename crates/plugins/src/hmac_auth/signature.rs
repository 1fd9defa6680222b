//! The signature itself: the bytes that are signed (draft-cavage-http-signatures 2.3, as Kong reads it), and the algorithms.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use base64::Engine;
use plugin::Headers;
use plugin::authorization::BASE64;

/// What a request line holds, as it came.
#[derive(Clone, Copy)]
pub(super) struct RequestLine<'r> {
    pub(super) method: &'r str,
    pub(super) path: &'r [u8],
    pub(super) query: Option<&'r [u8]>,
    pub(super) version: &'r str,
}

/// An algorithm of signatures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    Sha1,
    Sha224,
    Sha256,
    Sha384,
    Sha512,
}

/// The names of all algorithms, each at its place.
pub(super) const NAMES: [&str; 5] = ["hmac-sha1", "hmac-sha224", "hmac-sha256", "hmac-sha384", "hmac-sha512"];

impl Algorithm {
    const ALL: [Self; 5] = [Self::Sha1, Self::Sha224, Self::Sha256, Self::Sha384, Self::Sha512];

    pub(super) fn named(name: &str) -> Option<Self> {
        NAMES.iter().position(|known| *known == name).map(|place| Self::ALL[place])
    }

    /// The algorithm with a secret.
    pub(super) fn key(self, secret: &[u8]) -> hmac::Key {
        let algorithm = match self {
            Self::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha224 => hmac::HMAC_SHA224,
            Self::Sha256 => hmac::HMAC_SHA256,
            Self::Sha384 => hmac::HMAC_SHA384,
            Self::Sha512 => hmac::HMAC_SHA512,
        };
        hmac::Key::new(algorithm, secret)
    }
}

/// Whether `signature`, Base64 text, is that of the named parts of a request. What is no Base64 takes as long.
pub(super) fn is_right<'n>(
    key: &hmac::Key,
    names: impl Iterator<Item = &'n str>,
    line: RequestLine<'_>,
    headers: &Headers,
    signature: &str,
) -> bool {
    let mut context = hmac::Context::with_key(key);
    for (index, name) in names.enumerate() {
        if index > 0 {
            context.update(b"\n");
        }
        sign(&mut context, name, line, headers);
    }
    let mut given = [0; 96];
    let length = BASE64.decode_slice(signature, &mut given).unwrap_or(0);
    verify_slices_are_equal(context.sign().as_ref(), &given[..length]).is_ok()
}

/// One line of what is signed, without its end. A field that is not there has a name only; the values of one that occurs
/// several times stand in a list, so that none of them goes unsigned.
fn sign(context: &mut hmac::Context, name: &str, line: RequestLine<'_>, headers: &Headers) {
    match name {
        "request-line" => {
            context.update(line.method.as_bytes());
            sign_target(context, line);
            context.update(b" ");
            context.update(line.version.as_bytes());
        }
        "@request-target" => {
            context.update(b"@request-target: ");
            line.method.bytes().for_each(|letter| context.update(&[letter.to_ascii_lowercase()]));
            sign_target(context, line);
        }
        _ => {
            context.update(name.as_bytes());
            let mut before: &[u8] = b": ";
            for value in headers.all(name) {
                context.update(before);
                context.update(value);
                before = b", ";
            }
            if before == b": " {
                context.update(b":");
            }
        }
    }
}

fn sign_target(context: &mut hmac::Context, line: RequestLine<'_>) {
    context.update(b" ");
    context.update(line.path);
    if let Some(query) = line.query {
        context.update(b"?");
        context.update(query);
    }
}

//! A token in compact form taken apart (RFC 7515 7.1): three Base64 parts. What they say is for others.

use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The parts of a token, decoded.
#[derive(Debug)]
pub struct Parts<'a> {
    /// The header, which should be JSON.
    pub header: &'a [u8],
    /// The payload; that of a JSON Web Token should be JSON.
    pub payload: &'a [u8],
    /// The signature; none if it is not Base64.
    pub signature: Option<&'a [u8]>,
    /// What the signature is about.
    pub signed: &'a [u8],
}

impl<'a> Parts<'a> {
    /// Takes `text` apart; `decoded` is memory for the parts. None if there are no three parts, or header or payload are not
    /// Base64 in the alphabet of RFC 4648 5. Padding is optional.
    pub fn decode(text: &'a [u8], decoded: &'a mut Vec<u8>) -> Option<Self> {
        let mut parts = text.splitn(3, |&byte| byte == b'.');
        let (header, payload, signature) = (parts.next()?, parts.next()?, parts.next()?);
        let signed = &text[..header.len() + 1 + payload.len()];
        decoded.reserve(text.len());
        BASE64.decode_vec(header, decoded).ok()?;
        let payload_start = decoded.len();
        BASE64.decode_vec(payload, decoded).ok()?;
        let signature_start = decoded.len();
        let is_encoded = BASE64.decode_vec(signature, decoded).is_ok();
        let (rest, signature) = decoded.split_at(signature_start);
        let (header, payload) = rest.split_at(payload_start);
        Some(Self { header, payload, signature: is_encoded.then_some(signature), signed })
    }
}

/// The bytes of Base64 text in the alphabet of RFC 4648 5, padded or not.
pub fn from_base64url(text: &str) -> Option<Vec<u8>> {
    BASE64.decode(text).ok()
}

/// `bytes` as Base64 in the alphabet of RFC 4648 5, without padding.
#[must_use]
pub fn to_base64url(bytes: &[u8]) -> String {
    base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

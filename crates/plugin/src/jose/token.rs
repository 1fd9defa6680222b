//! A JSON Web Token read strictly (RFC 7519, RFC 8725): bounded, with a header that is understood, and claims that are an object.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::algorithm::Algorithm;
use super::key::KeySet;
use super::parts::Parts;

/// Longest token that is looked at, in bytes.
pub const LONGEST: usize = 16 << 10;

/// What a token's header says, as far as that matters (RFC 7515 4.1). Keys that it brings are not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// How the token is signed, as it says.
    pub algorithm: Algorithm,
    /// Which key it is signed with.
    pub key_id: Option<Box<str>>,
    /// What kind of token it is.
    pub kind: Option<Box<str>>,
}

/// A token whose signature is right. Its claims have not been judged.
#[derive(Debug, Clone)]
pub struct Token {
    /// What its header says.
    pub header: Header,
    /// What it says.
    pub claims: Map<String, Value>,
    /// The public key that the signature is right by, as a JSON Web Key; none where a secret is, or nobody has looked.
    pub key: Option<Arc<str>>,
}

/// Why a text is no token that can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Defect {
    /// More than [`LONGEST`] bytes.
    TooLong,
    /// No three parts in Base64, or a header or claims that are no JSON object or nested too deeply.
    Malformed,
    /// The header names no algorithm that is known; `none` is not.
    Algorithm,
    /// The header demands an extension that is not understood (RFC 7515 4.1.11).
    Extension,
    /// No key has the id that the header names, or none fits its algorithm.
    UnknownKey,
    /// The signature is not one of the key's.
    Signature,
}

impl Defect {
    /// The same in words.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TooLong => "token is too long",
            Self::Malformed => "not a JSON Web Token",
            Self::Algorithm => "unsupported algorithm",
            Self::Extension => "unsupported extension",
            Self::UnknownKey => "no suitable key",
            Self::Signature => "invalid signature",
        }
    }
}

/// Fields as they are in the header. Objects and lists of a header have no use here and are skipped, however deep.
#[derive(Deserialize)]
struct RawHeader {
    alg: Box<str>,
    kid: Option<Box<str>>,
    typ: Option<Box<str>>,
    #[serde(default)]
    crit: Extensions,
}

/// Whether there is a list of extensions, whatever it holds: none is understood.
#[derive(Default)]
struct Extensions(bool);

impl<'de> Deserialize<'de> for Extensions {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        serde::de::IgnoredAny::deserialize(deserializer).map(|_| Self(true))
    }
}

impl Header {
    /// What the header of `token` says. Nothing of it has been verified.
    ///
    /// # Errors
    /// Why it is no token.
    pub fn of(token: &[u8]) -> Result<Self, Defect> {
        let mut decoded = Vec::new();
        Self::parse(parts(token, &mut decoded)?.header)
    }

    fn parse(json: &[u8]) -> Result<Self, Defect> {
        let raw: RawHeader = serde_json::from_slice(json).map_err(|_| Defect::Malformed)?;
        if raw.crit.0 {
            return Err(Defect::Extension);
        }
        let algorithm = Algorithm::named(&raw.alg).ok_or(Defect::Algorithm)?;
        Ok(Self { algorithm, key_id: raw.kid, kind: raw.typ })
    }
}

impl Token {
    /// Reads `text` and checks its signature with the key of `keys` that it names.
    ///
    /// # Errors
    /// Why it cannot be trusted.
    pub fn verify(text: &[u8], keys: &KeySet) -> Result<Self, Defect> {
        let mut decoded = Vec::new();
        let parts = parts(text, &mut decoded)?;
        let header = Header::parse(parts.header)?;
        let signature = parts.signature.ok_or(Defect::Malformed)?;
        let key = check(&parts, signature, &header, keys)?;
        Ok(Self { header, claims: claims(parts.payload)?, key })
    }

    /// What `text` says, without a look at its signature. For where a configuration asks for that.
    ///
    /// # Errors
    /// Why it is no token.
    pub fn without_verification(text: &[u8]) -> Result<Self, Defect> {
        let mut decoded = Vec::new();
        let parts = parts(text, &mut decoded)?;
        Ok(Self { header: Header::parse(parts.header)?, claims: claims(parts.payload)?, key: None })
    }
}

/// The key by which the signature is right, as far as it can be told.
fn check(
    parts: &Parts<'_>,
    signature: &[u8],
    header: &Header,
    keys: &KeySet,
) -> Result<Option<Arc<str>>, Defect> {
    let mut defect = Defect::UnknownKey;
    for (key, verifier) in keys.candidates(header) {
        if verifier.verify(parts.signed, signature) {
            return Ok(key.public().cloned());
        }
        defect = Defect::Signature;
    }
    Err(defect)
}

fn parts<'a>(text: &'a [u8], decoded: &'a mut Vec<u8>) -> Result<Parts<'a>, Defect> {
    if text.len() > LONGEST {
        return Err(Defect::TooLong);
    }
    Parts::decode(text, decoded).ok_or(Defect::Malformed)
}

/// Claims as an object. The reader refuses what is nested deeper than 128 levels.
fn claims(payload: &[u8]) -> Result<Map<String, Value>, Defect> {
    serde_json::from_slice(payload).map_err(|_| Defect::Malformed)
}

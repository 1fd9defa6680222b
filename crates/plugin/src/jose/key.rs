//! Public keys and secrets by which tokens are checked, as JSON (RFC 7517, RFC 7518 6, RFC 8037).
//!
//! A key is parsed once, for each algorithm it may be used with. What it must not be used for, it cannot be used for.

use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::algorithm::{Algorithm, Verifier};
use super::der;
use super::parts::from_base64url;
use super::token::Header;

/// Keys of a set that are looked at.
const MOST_KEYS: usize = 256;
/// Keys that are tried on a token that does not say which one it wants.
const MOST_TRIED: usize = 8;
/// Bits of an RSA modulus.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

const RSA: &[Algorithm] = &[
    Algorithm::Rs256,
    Algorithm::Rs384,
    Algorithm::Rs512,
    Algorithm::Ps256,
    Algorithm::Ps384,
    Algorithm::Ps512,
];

/// Members of a key that are nobody's business, in case somebody publishes them (RFC 7518 6).
const PRIVATE: [&str; 9] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"];

/// A key with the algorithms it is for.
pub struct Key {
    id: Option<Box<str>>,
    verifiers: Vec<(Algorithm, Verifier)>,
    /// Its public members as JSON, where it came so and is no secret.
    public: Option<Arc<str>>,
}

/// The keys of one issuer.
#[derive(Default)]
pub struct KeySet {
    keys: Vec<Key>,
    /// Why keys of the document are not among them, in its order.
    problems: Vec<KeyProblem>,
}

/// Why a key cannot be used to check tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyProblem {
    /// It is not a JSON Web Key, or a member that its kind must have is missing or wrong.
    Malformed,
    /// Its `kty` or `crv` is not supported.
    Kind,
    /// Its `use` or `key_ops` say that it is for something else.
    Purpose,
    /// Its `alg` is unknown, or not one for such a key.
    Algorithm,
    /// It is too short (RFC 7518 3.2, 3.3), or longer than anybody needs.
    Size,
    /// It is a secret, and published.
    Published,
}

impl fmt::Display for KeyProblem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Malformed => "not a complete JSON Web Key",
            Self::Kind => "a kind of key or a curve that is not supported",
            Self::Purpose => "a key that is not for signatures: see its 'use' and 'key_ops'",
            Self::Algorithm => "an algorithm that is not one for such a key",
            Self::Size => {
                "a key of the wrong size: RSA takes 2048 to 8192 bits, a secret as many as its hash at least"
            }
            Self::Published => "a secret in a document that anybody may read",
        })
    }
}

impl Key {
    /// A key from a verifier, for tokens that name `id`, or for all without one.
    #[must_use]
    pub fn new(id: Option<&str>, algorithm: Algorithm, verifier: Verifier) -> Self {
        Self { id: id.map(Box::from), verifiers: vec![(algorithm, verifier)], public: None }
    }

    /// A shared secret, for the algorithms it is long enough for (RFC 7518 3.2).
    #[must_use]
    pub fn secret(id: Option<&str>, secret: &[u8]) -> Self {
        let verifiers = secret_algorithms(secret)
            .filter_map(|algorithm| Some((algorithm, algorithm.with_secret(secret)?)))
            .collect();
        Self { id: id.map(Box::from), verifiers, public: None }
    }

    /// A key from its JSON form.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub fn from_jwk(jwk: &Value) -> Result<Self, KeyProblem> {
        check_purpose(jwk, "verify")?;
        let id = jwk["kid"].as_str().map(Box::from);
        let verifiers = match jwk["kty"].as_str().ok_or(KeyProblem::Malformed)? {
            "RSA" => verifiers(&allowed(jwk, RSA)?, &rsa_public_key(jwk)?)?,
            "EC" => {
                let (algorithm, size) = curve(jwk)?;
                let mut point = vec![4];
                point.extend(coordinate(jwk, "x", size)?);
                point.extend(coordinate(jwk, "y", size)?);
                verifiers(&allowed(jwk, &[algorithm])?, &point)?
            }
            "OKP" if jwk["crv"] == "Ed25519" => {
                verifiers(&allowed(jwk, &[Algorithm::EdDsa])?, &coordinate(jwk, "x", 32)?)?
            }
            "oct" => secret_verifiers(jwk)?,
            _ => return Err(KeyProblem::Kind),
        };
        Ok(Self { id, verifiers, public: public(jwk) })
    }

    /// Its public members, as the JSON of a JSON Web Key; none of a secret, or of a key that did not come so.
    pub(super) fn public(&self) -> Option<&Arc<str>> {
        self.public.as_ref()
    }

    fn is_secret(&self) -> bool {
        self.verifiers.iter().any(|(algorithm, _)| algorithm.is_symmetric())
    }

    /// The key's way to check tokens of `algorithm`, if it has one.
    fn verifier(&self, algorithm: Algorithm) -> Option<&Verifier> {
        self.verifiers.iter().find(|(own, _)| *own == algorithm).map(|(_, verifier)| verifier)
    }
}

impl KeySet {
    /// Keys at hand.
    #[must_use]
    pub fn new(keys: Vec<Key>) -> Self {
        Self { keys, problems: Vec::new() }
    }

    /// The keys of a JWK Set (RFC 7517 5) that somebody publishes. Keys that cannot be used are left out, and so are secrets.
    /// At most 256 are looked at. None if `json` is no such document.
    #[must_use]
    pub fn published(json: &[u8]) -> Option<Self> {
        Self::read(json, |key| if key.is_secret() { Err(KeyProblem::Published) } else { Ok(key) })
    }

    /// The same of a document that only both sides can read: secrets are among the keys.
    #[must_use]
    pub fn confidential(json: &[u8]) -> Option<Self> {
        Self::read(json, Ok)
    }

    fn read(json: &[u8], accept: impl Fn(Key) -> Result<Key, KeyProblem>) -> Option<Self> {
        let document: Value = serde_json::from_slice(json).ok()?;
        let mut set = Self::default();
        for jwk in document["keys"].as_array()?.iter().take(MOST_KEYS) {
            match Key::from_jwk(jwk).and_then(&accept) {
                Ok(key) => set.keys.push(key),
                Err(problem) => set.problems.push(problem),
            }
        }
        Some(set)
    }

    /// The keys of several sets together.
    #[must_use]
    pub fn joined(sets: impl IntoIterator<Item = Self>) -> Self {
        let mut all = Self::default();
        for set in sets {
            all.keys.extend(set.keys);
            all.problems.extend(set.problems);
        }
        all
    }

    /// How many keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether no token can be checked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Why keys are not among them.
    #[must_use]
    pub fn problems(&self) -> &[KeyProblem] {
        &self.problems
    }

    /// Whether some key may be the one that `header` wants.
    #[must_use]
    pub fn knows(&self, header: &Header) -> bool {
        self.candidates(header).next().is_some()
    }

    /// The keys that a token with `header` may be signed with: those of its `kid`, or without one; each fits its `alg`.
    pub(super) fn candidates(&self, header: &Header) -> impl Iterator<Item = (&Key, &Verifier)> {
        let wanted = |key: &&Key| match (&header.key_id, &key.id) {
            (Some(wanted), Some(id)) => wanted == id,
            _ => true,
        };
        let wanted = self.keys.iter().filter(wanted);
        wanted.filter_map(|key| Some((key, key.verifier(header.algorithm)?))).take(MOST_TRIED)
    }
}

fn public(jwk: &Value) -> Option<Arc<str>> {
    let members = jwk.as_object().filter(|_| jwk["kty"] != "oct")?;
    let public = members.iter().filter(|(name, _)| !PRIVATE.contains(&name.as_str()));
    let public: Map<String, Value> = public.map(|(name, value)| (name.clone(), value.clone())).collect();
    Some(Value::Object(public).to_string().into())
}

fn verifiers(algorithms: &[Algorithm], key: &[u8]) -> Result<Vec<(Algorithm, Verifier)>, KeyProblem> {
    let verifier = |&algorithm: &Algorithm| Some((algorithm, algorithm.with_raw_public_key(key)?));
    algorithms.iter().map(verifier).collect::<Option<_>>().ok_or(KeyProblem::Malformed)
}

fn secret_verifiers(jwk: &Value) -> Result<Vec<(Algorithm, Verifier)>, KeyProblem> {
    let secret = member(jwk, "k")?;
    let long_enough: Vec<Algorithm> = secret_algorithms(&secret).collect();
    if long_enough.is_empty() {
        return Err(KeyProblem::Size);
    }
    let verifier = |algorithm: Algorithm| Some((algorithm, algorithm.with_secret(&secret)?));
    allowed(jwk, &long_enough)?.into_iter().map(verifier).collect::<Option<_>>().ok_or(KeyProblem::Malformed)
}

/// The algorithms that a secret is long enough for (RFC 7518 3.2).
fn secret_algorithms(secret: &[u8]) -> impl Iterator<Item = Algorithm> {
    let by_length = [(32, Algorithm::Hs256), (48, Algorithm::Hs384), (64, Algorithm::Hs512)];
    let length = secret.len();
    by_length.into_iter().filter(move |(least, _)| length >= *least).map(|(_, algorithm)| algorithm)
}

/// Refuses a key that is not for `operation` (RFC 7517 4.2, 4.3).
pub(super) fn check_purpose(jwk: &Value, operation: &str) -> Result<(), KeyProblem> {
    let is_for_signatures = jwk["use"].is_null() || jwk["use"] == "sig";
    let is_for_operation = match &jwk["key_ops"] {
        Value::Null => true,
        Value::Array(operations) => operations.iter().any(|listed| listed == operation),
        _ => false,
    };
    if is_for_signatures && is_for_operation { Ok(()) } else { Err(KeyProblem::Purpose) }
}

/// Those of `algorithms` that the key's `alg` allows (RFC 7517 4.4).
fn allowed(jwk: &Value, algorithms: &[Algorithm]) -> Result<Vec<Algorithm>, KeyProblem> {
    match &jwk["alg"] {
        Value::Null => Ok(algorithms.to_vec()),
        Value::String(name) => {
            let named = Algorithm::named(name).filter(|algorithm| algorithms.contains(algorithm));
            named.map(|algorithm| vec![algorithm]).ok_or(KeyProblem::Algorithm)
        }
        _ => Err(KeyProblem::Malformed),
    }
}

/// The algorithm of an elliptic curve and the bytes of its coordinates (RFC 7518 3.4, 6.2.1).
pub(super) fn curve(jwk: &Value) -> Result<(Algorithm, usize), KeyProblem> {
    match jwk["crv"].as_str().ok_or(KeyProblem::Malformed)? {
        "P-256" => Ok((Algorithm::Es256, 32)),
        "P-384" => Ok((Algorithm::Es384, 48)),
        "P-521" => Ok((Algorithm::Es512, 66)),
        _ => Err(KeyProblem::Kind),
    }
}

/// A member in Base64.
pub(super) fn member(jwk: &Value, name: &str) -> Result<Vec<u8>, KeyProblem> {
    jwk[name].as_str().and_then(from_base64url).ok_or(KeyProblem::Malformed)
}

/// A member in Base64 of just that many bytes.
pub(super) fn coordinate(jwk: &Value, name: &str, size: usize) -> Result<Vec<u8>, KeyProblem> {
    member(jwk, name)
        .and_then(|bytes| if bytes.len() == size { Ok(bytes) } else { Err(KeyProblem::Malformed) })
}

/// An RSA key as in RFC 8017 A.1.1.
fn rsa_public_key(jwk: &Value) -> Result<Vec<u8>, KeyProblem> {
    let (modulus, exponent) = (member(jwk, "n")?, member(jwk, "e")?);
    if !RSA_BITS.contains(&bits(&modulus)) {
        return Err(KeyProblem::Size);
    }
    let mut content = Vec::new();
    der::integer(&modulus, &mut content);
    der::integer(&exponent, &mut content);
    Ok(der::sequence(&content))
}

/// The bits of a number without its leading zeros.
pub(super) fn bits(number: &[u8]) -> usize {
    let first = number.iter().position(|&byte| byte != 0).unwrap_or(number.len());
    let digits = &number[first..];
    digits.len() * 8 - digits.first().map_or(0, |byte| byte.leading_zeros() as usize)
}

//! Making tokens: a private key or a secret, with the algorithm it is used with. No form of it can be printed.

use aws_lc_rs::hmac;
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    self, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair, RsaEncoding, RsaKeyPair,
};
use serde_json::{Map, Value, json};

use super::algorithm::{Algorithm, pem_block};
use super::der;
use super::key::{KeyProblem, bits, check_purpose, coordinate, curve, member};
use super::parts::to_base64url;

/// Bits of the shortest RSA key that signs.
const SHORTEST_RSA_BITS: usize = 2048;

/// Signs tokens with one key.
pub struct Signer {
    algorithm: Algorithm,
    key_id: Option<Box<str>>,
    key: SigningKey,
    /// What the header of tokens says of the key's certificate.
    certificate: Map<String, Value>,
}

/// What a key, and the header of a token, may say of a certificate (RFC 7515 4.1.6 to 4.1.8).
const CERTIFICATE: [&str; 3] = ["x5c", "x5t", "x5t#S256"];

enum SigningKey {
    Secret(Box<hmac::Key>),
    Rsa(Box<RsaKeyPair>, &'static dyn RsaEncoding),
    Ecdsa(Box<EcdsaKeyPair>),
    Ed25519(Box<Ed25519KeyPair>),
}

/// How an algorithm signs.
enum Method {
    Secret(hmac::Algorithm),
    Rsa(&'static dyn RsaEncoding),
    Ecdsa(&'static EcdsaSigningAlgorithm),
    Ed25519,
}

fn method(algorithm: Algorithm) -> Method {
    match algorithm {
        Algorithm::Hs256 => Method::Secret(hmac::HMAC_SHA256),
        Algorithm::Hs384 => Method::Secret(hmac::HMAC_SHA384),
        Algorithm::Hs512 => Method::Secret(hmac::HMAC_SHA512),
        Algorithm::Rs256 => Method::Rsa(&signature::RSA_PKCS1_SHA256),
        Algorithm::Rs384 => Method::Rsa(&signature::RSA_PKCS1_SHA384),
        Algorithm::Rs512 => Method::Rsa(&signature::RSA_PKCS1_SHA512),
        Algorithm::Ps256 => Method::Rsa(&signature::RSA_PSS_SHA256),
        Algorithm::Ps384 => Method::Rsa(&signature::RSA_PSS_SHA384),
        Algorithm::Ps512 => Method::Rsa(&signature::RSA_PSS_SHA512),
        Algorithm::Es256 => Method::Ecdsa(&signature::ECDSA_P256_SHA256_FIXED_SIGNING),
        Algorithm::Es384 => Method::Ecdsa(&signature::ECDSA_P384_SHA384_FIXED_SIGNING),
        Algorithm::Es512 => Method::Ecdsa(&signature::ECDSA_P521_SHA512_FIXED_SIGNING),
        Algorithm::EdDsa => Method::Ed25519,
    }
}

impl Signer {
    /// A signer with a shared secret; none if the algorithm takes a private key.
    #[must_use]
    pub fn with_secret(algorithm: Algorithm, secret: &[u8]) -> Option<Self> {
        let Method::Secret(method) = method(algorithm) else { return None };
        let key = SigningKey::Secret(Box::new(hmac::Key::new(method, secret)));
        Some(Self::new(algorithm, None, key))
    }

    /// A signer with a private key in PEM form: `PRIVATE KEY` (RFC 5958) or, for RSA, `RSA PRIVATE KEY` (RFC 8017). None if it
    /// is not one for the algorithm, or an RSA key of less than 2048 bits.
    #[must_use]
    pub fn with_private_key(algorithm: Algorithm, key_id: Option<&str>, pem: &str) -> Option<Self> {
        let pkcs8 = || pem_block(pem, "PRIVATE KEY");
        let key = match method(algorithm) {
            Method::Secret(_) => return None,
            Method::Rsa(encoding) => {
                let pair = match pkcs8() {
                    Some(der) => RsaKeyPair::from_pkcs8(&der),
                    None => RsaKeyPair::from_der(&pem_block(pem, "RSA PRIVATE KEY")?),
                };
                rsa(pair.ok()?, encoding)?
            }
            Method::Ecdsa(curve) => {
                SigningKey::Ecdsa(Box::new(EcdsaKeyPair::from_pkcs8(curve, &pkcs8()?).ok()?))
            }
            Method::Ed25519 => {
                SigningKey::Ed25519(Box::new(Ed25519KeyPair::from_pkcs8_maybe_unchecked(&pkcs8()?).ok()?))
            }
        };
        Some(Self::new(algorithm, key_id, key))
    }

    /// A signer with a private JSON Web Key. Its `alg` counts, or else the first algorithm that its kind has.
    ///
    /// # Errors
    /// Why it cannot sign.
    pub fn from_jwk(jwk: &Value) -> Result<Self, KeyProblem> {
        check_purpose(jwk, "sign")?;
        let natural = match jwk["kty"].as_str().ok_or(KeyProblem::Malformed)? {
            "RSA" => Algorithm::Rs256,
            "EC" => curve(jwk)?.0,
            "OKP" if jwk["crv"] == "Ed25519" => Algorithm::EdDsa,
            "oct" => Algorithm::Hs256,
            _ => return Err(KeyProblem::Kind),
        };
        let algorithm = match &jwk["alg"] {
            Value::Null => natural,
            name => name.as_str().and_then(Algorithm::named).ok_or(KeyProblem::Algorithm)?,
        };
        let key = match (method(algorithm), method(natural)) {
            (Method::Secret(method), Method::Secret(_)) => {
                SigningKey::Secret(Box::new(hmac::Key::new(method, &member(jwk, "k")?)))
            }
            (Method::Rsa(encoding), Method::Rsa(_)) => rsa_from_jwk(jwk, encoding)?,
            (Method::Ecdsa(_), Method::Ecdsa(own)) if algorithm == natural => ecdsa_from_jwk(jwk, own)?,
            (Method::Ed25519, Method::Ed25519) => {
                let (seed, public) = (coordinate(jwk, "d", 32)?, coordinate(jwk, "x", 32)?);
                let pair = Ed25519KeyPair::from_seed_and_public_key(&seed, &public);
                SigningKey::Ed25519(Box::new(pair.map_err(|_| KeyProblem::Malformed)?))
            }
            _ => return Err(KeyProblem::Algorithm),
        };
        Ok(Self::new(algorithm, jwk["kid"].as_str(), key))
    }

    /// A signer with a key that is made now: RSA with 2048 bits, a secret with 512. None if the cryptography library fails. For
    /// RSA that takes a tenth of a second and more.
    #[must_use]
    pub fn generate(algorithm: Algorithm, key_id: &str) -> Option<Self> {
        let key = match method(algorithm) {
            Method::Secret(method) => {
                let mut secret = [0; 64];
                SystemRandom::new().fill(&mut secret).ok()?;
                SigningKey::Secret(Box::new(hmac::Key::new(method, &secret)))
            }
            Method::Rsa(encoding) => rsa(RsaKeyPair::generate(KeySize::Rsa2048).ok()?, encoding)?,
            Method::Ecdsa(curve) => SigningKey::Ecdsa(Box::new(EcdsaKeyPair::generate(curve).ok()?)),
            Method::Ed25519 => SigningKey::Ed25519(Box::new(Ed25519KeyPair::generate().ok()?)),
        };
        Some(Self::new(algorithm, Some(key_id), key))
    }

    /// The same, whose tokens name the certificate that `jwk` names: some who check them find the key by it.
    #[must_use]
    pub fn naming_certificate(mut self, jwk: &Value) -> Self {
        let named = CERTIFICATE.into_iter().filter(|name| !jwk[name].is_null());
        self.certificate = named.map(|name| (name.to_owned(), jwk[name].clone())).collect();
        self
    }

    fn new(algorithm: Algorithm, key_id: Option<&str>, key: SigningKey) -> Self {
        Self { algorithm, key_id: key_id.map(Box::from), key, certificate: Map::new() }
    }

    /// The public half as a JSON Web Key (RFC 7517), for whoever checks what is signed. None of a secret.
    #[must_use]
    pub fn public_jwk(&self) -> Option<Value> {
        let mut jwk = match &self.key {
            SigningKey::Secret(_) => return None,
            SigningKey::Rsa(pair, _) => {
                let (modulus, exponent) = der::two_integers(pair.public_key().as_ref())?;
                json!({ "kty": "RSA", "n": to_base64url(modulus), "e": to_base64url(exponent) })
            }
            SigningKey::Ecdsa(pair) => {
                let (&form, point) = pair.public_key().as_ref().split_first()?;
                let (x, y) = point.split_at_checked(point.len() / 2).filter(|_| form == 4)?;
                let curve = curve_of(self.algorithm)?;
                json!({ "kty": "EC", "crv": curve, "x": to_base64url(x), "y": to_base64url(y) })
            }
            SigningKey::Ed25519(pair) => {
                json!({ "kty": "OKP", "crv": "Ed25519", "x": to_base64url(pair.public_key().as_ref()) })
            }
        };
        jwk["use"] = "sig".into();
        jwk["alg"] = self.algorithm.name().into();
        if let Some(id) = &self.key_id {
            jwk["kid"] = Value::from(&**id);
        }
        Some(jwk)
    }

    /// How it signs.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// A token with these claims; none if the cryptography library fails.
    #[must_use]
    pub fn sign(&self, claims: &Map<String, Value>) -> Option<String> {
        self.sign_as("JWT", claims)
    }

    /// The same of another kind than the usual one: `kind` is its `typ` (RFC 8725 3.11).
    #[must_use]
    pub fn sign_as(&self, kind: &str, claims: &Map<String, Value>) -> Option<String> {
        let mut header = json!({ "alg": self.algorithm.name(), "typ": kind });
        if let Some(id) = &self.key_id {
            header["kid"] = Value::from(&**id);
        }
        for (name, value) in &self.certificate {
            header[name.as_str()] = value.clone();
        }
        let claims = serde_json::to_vec(claims).ok()?;
        let mut token = format!("{}.{}", to_base64url(header.to_string().as_bytes()), to_base64url(&claims));
        let signature = self.key.sign(token.as_bytes())?;
        token.push('.');
        token.push_str(&to_base64url(&signature));
        Some(token)
    }
}

impl SigningKey {
    fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        let random = SystemRandom::new();
        match self {
            Self::Secret(key) => Some(hmac::sign(key, message).as_ref().to_vec()),
            Self::Rsa(pair, encoding) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(*encoding, &random, message, &mut signature).ok().map(|()| signature)
            }
            Self::Ecdsa(pair) => pair.sign(&random, message).ok().map(|made| made.as_ref().to_vec()),
            Self::Ed25519(pair) => pair.try_sign(message).ok().map(|made| made.as_ref().to_vec()),
        }
    }
}

fn rsa(pair: RsaKeyPair, encoding: &'static dyn RsaEncoding) -> Option<SigningKey> {
    let is_long_enough = pair.public_modulus_len() * 8 >= SHORTEST_RSA_BITS;
    is_long_enough.then(|| SigningKey::Rsa(Box::new(pair), encoding))
}

fn curve_of(algorithm: Algorithm) -> Option<&'static str> {
    match algorithm {
        Algorithm::Es256 => Some("P-256"),
        Algorithm::Es384 => Some("P-384"),
        Algorithm::Es512 => Some("P-521"),
        _ => None,
    }
}

/// RFC 7518 6.3.2, handed on as in RFC 8017 A.1.2.
fn rsa_from_jwk(jwk: &Value, encoding: &'static dyn RsaEncoding) -> Result<SigningKey, KeyProblem> {
    if bits(&member(jwk, "n")?) < SHORTEST_RSA_BITS {
        return Err(KeyProblem::Size);
    }
    let mut content = Vec::new();
    der::integer(&[], &mut content);
    for name in ["n", "e", "d", "p", "q", "dp", "dq", "qi"] {
        der::integer(&member(jwk, name)?, &mut content);
    }
    let pair = RsaKeyPair::from_der(&der::sequence(&content)).map_err(|_| KeyProblem::Malformed)?;
    rsa(pair, encoding).ok_or(KeyProblem::Size)
}

/// RFC 7518 6.2.2.
fn ecdsa_from_jwk(jwk: &Value, own: &'static EcdsaSigningAlgorithm) -> Result<SigningKey, KeyProblem> {
    let (_, size) = curve(jwk)?;
    let mut public = vec![4];
    public.extend(coordinate(jwk, "x", size)?);
    public.extend(coordinate(jwk, "y", size)?);
    let pair = EcdsaKeyPair::from_private_key_and_public_key(own, &coordinate(jwk, "d", size)?, &public);
    pair.map(|pair| SigningKey::Ecdsa(Box::new(pair))).map_err(|_| KeyProblem::Malformed)
}

//! The signature algorithms of tokens (RFC 7518, RFC 8037) and the keys that check them. `none` is not one of them.

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{self, ParsedPublicKey, VerificationAlgorithm};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

/// Fewest bytes a DER encoding of an RSA key of 2048 bits can have: its modulus alone.
const SHORTEST_RSA: usize = 256;

macro_rules! algorithms {
    ($($variant:ident = $name:literal),+ $(,)?) => {
        /// A signature algorithm.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Algorithm {
            $(#[doc = $name] $variant),+
        }

        /// The names of all algorithms.
        pub const NAMES: &[&str] = &[$($name),+];

        impl Algorithm {
            /// What tokens call it.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            /// The algorithm that tokens call `name`.
            #[must_use]
            pub fn named(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }
    };
}

algorithms! {
    Hs256 = "HS256", Hs384 = "HS384", Hs512 = "HS512",
    Rs256 = "RS256", Rs384 = "RS384", Rs512 = "RS512",
    Es256 = "ES256", Es384 = "ES384", Es512 = "ES512",
    Ps256 = "PS256", Ps384 = "PS384", Ps512 = "PS512",
    EdDsa = "EdDSA",
}

/// How an algorithm is checked.
enum Method {
    Secret(hmac::Algorithm),
    PublicKey(&'static dyn VerificationAlgorithm),
}

/// A key, ready to check signatures of one algorithm.
pub struct Verifier(Checked);

enum Checked {
    Secret(Box<hmac::Key>),
    PublicKey(Box<ParsedPublicKey>),
}

impl Algorithm {
    fn method(self) -> Method {
        match self {
            Self::Hs256 => Method::Secret(hmac::HMAC_SHA256),
            Self::Hs384 => Method::Secret(hmac::HMAC_SHA384),
            Self::Hs512 => Method::Secret(hmac::HMAC_SHA512),
            Self::Rs256 => Method::PublicKey(&signature::RSA_PKCS1_2048_8192_SHA256),
            Self::Rs384 => Method::PublicKey(&signature::RSA_PKCS1_2048_8192_SHA384),
            Self::Rs512 => Method::PublicKey(&signature::RSA_PKCS1_2048_8192_SHA512),
            Self::Es256 => Method::PublicKey(&signature::ECDSA_P256_SHA256_FIXED),
            Self::Es384 => Method::PublicKey(&signature::ECDSA_P384_SHA384_FIXED),
            Self::Es512 => Method::PublicKey(&signature::ECDSA_P521_SHA512_FIXED),
            Self::Ps256 => Method::PublicKey(&signature::RSA_PSS_2048_8192_SHA256),
            Self::Ps384 => Method::PublicKey(&signature::RSA_PSS_2048_8192_SHA384),
            Self::Ps512 => Method::PublicKey(&signature::RSA_PSS_2048_8192_SHA512),
            Self::EdDsa => Method::PublicKey(&signature::ED25519),
        }
    }

    pub(super) fn is_rsa(self) -> bool {
        matches!(self, Self::Rs256 | Self::Rs384 | Self::Rs512 | Self::Ps256 | Self::Ps384 | Self::Ps512)
    }

    /// Whether both sides share a secret.
    #[must_use]
    pub fn is_symmetric(self) -> bool {
        matches!(self.method(), Method::Secret(_))
    }

    /// A verifier with a shared secret; none if the algorithm takes a public key.
    #[must_use]
    pub fn with_secret(self, secret: &[u8]) -> Option<Verifier> {
        match self.method() {
            Method::Secret(algorithm) => {
                Some(Verifier(Checked::Secret(Box::new(hmac::Key::new(algorithm, secret)))))
            }
            Method::PublicKey(_) => None,
        }
    }

    /// A verifier with a public key in PEM form; none if it is not one for the algorithm.
    #[must_use]
    pub fn with_public_key(self, pem: &str) -> Option<Verifier> {
        let Method::PublicKey(algorithm) = self.method() else { return None };
        let der = public_key_der(pem, self.is_rsa())?;
        self.with_key_bytes(algorithm, &der)
    }

    /// A verifier with a public key: RSA as in RFC 8017 A.1.1, an uncompressed point of a curve, or the bytes of RFC 8032; none
    /// if it is not one for the algorithm.
    pub(super) fn with_raw_public_key(self, bytes: &[u8]) -> Option<Verifier> {
        let Method::PublicKey(algorithm) = self.method() else { return None };
        self.with_key_bytes(algorithm, bytes)
    }

    fn with_key_bytes(self, algorithm: &'static dyn VerificationAlgorithm, bytes: &[u8]) -> Option<Verifier> {
        if self.is_rsa() && bytes.len() < SHORTEST_RSA {
            return None;
        }
        ParsedPublicKey::new(algorithm, bytes).ok().map(|key| Verifier(Checked::PublicKey(Box::new(key))))
    }
}

impl Verifier {
    /// Whether `signature` is right for `message`. Secrets are compared in constant time.
    #[must_use]
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.0 {
            Checked::Secret(key) => hmac::verify(key, message, signature).is_ok(),
            Checked::PublicKey(key) => key.verify_sig(message, signature).is_ok(),
        }
    }
}

/// The content of the PEM block `label` (RFC 7468), if there is one.
pub(super) fn pem_block(pem: &str, label: &str) -> Option<Vec<u8>> {
    let (_, rest) = pem.split_once(&format!("-----BEGIN {label}-----"))?;
    let (text, _) = rest.split_once(&format!("-----END {label}-----"))?;
    let text: String = text.split_ascii_whitespace().collect();
    BASE64_STANDARD.decode(text).ok()
}

/// The content of a PEM block `PUBLIC KEY` or, for RSA, `RSA PUBLIC KEY` (RFC 8017).
fn public_key_der(pem: &str, rsa: bool) -> Option<Vec<u8>> {
    let rsa_only = || if rsa { pem_block(pem, "RSA PUBLIC KEY") } else { None };
    pem_block(pem, "PUBLIC KEY").or_else(rsa_only)
}

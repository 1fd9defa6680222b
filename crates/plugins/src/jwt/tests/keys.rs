//! Keys made for a test, and tokens signed with them.

use std::sync::LazyLock;

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::hmac::{self, Key};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaEncoding, RsaKeyPair};
use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use serde_json::Value;

/// A well-formed RSA key that is too short to be trusted.
pub(super) const RSA_1024: &str = include_str!("rsa_1024.pem");

pub(super) fn segment(part: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(part)
}

pub(super) fn token(header: &Value, claims: &Value, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let signed =
        format!("{}.{}", segment(header.to_string().as_bytes()), segment(claims.to_string().as_bytes()));
    let signature = sign(signed.as_bytes());
    format!("{signed}.{}", segment(&signature))
}

pub(super) fn hmac(algorithm: &str, secret: &[u8], message: &[u8]) -> Vec<u8> {
    let algorithm = match algorithm {
        "HS256" => hmac::HMAC_SHA256,
        "HS384" => hmac::HMAC_SHA384,
        _ => hmac::HMAC_SHA512,
    };
    hmac::sign(&Key::new(algorithm, secret), message).as_ref().to_vec()
}

/// RSA keys take long to make, so the tests share two.
static RSA: [LazyLock<RsaKeyPair>; 2] = [LazyLock::new(rsa), LazyLock::new(rsa)];

fn rsa() -> RsaKeyPair {
    RsaKeyPair::generate(KeySize::Rsa2048).unwrap()
}

/// A key pair.
pub(super) enum Signer {
    Rsa(&'static RsaKeyPair, &'static dyn RsaEncoding),
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl Signer {
    pub(super) fn new(algorithm: &str) -> Self {
        Self::numbered(algorithm, 0)
    }

    /// A key pair other than that of [`Signer::new`].
    pub(super) fn stranger(algorithm: &str) -> Self {
        Self::numbered(algorithm, 1)
    }

    fn numbered(algorithm: &str, number: usize) -> Self {
        let rsa = |encoding| Self::Rsa(&RSA[number], encoding);
        match algorithm {
            "RS256" => rsa(&signature::RSA_PKCS1_SHA256),
            "RS384" => rsa(&signature::RSA_PKCS1_SHA384),
            "RS512" => rsa(&signature::RSA_PKCS1_SHA512),
            "PS256" => rsa(&signature::RSA_PSS_SHA256),
            "PS384" => rsa(&signature::RSA_PSS_SHA384),
            "PS512" => rsa(&signature::RSA_PSS_SHA512),
            "ES256" => {
                Self::Ecdsa(EcdsaKeyPair::generate(&signature::ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
            }
            "ES384" => {
                Self::Ecdsa(EcdsaKeyPair::generate(&signature::ECDSA_P384_SHA384_FIXED_SIGNING).unwrap())
            }
            "ES512" => {
                Self::Ecdsa(EcdsaKeyPair::generate(&signature::ECDSA_P521_SHA512_FIXED_SIGNING).unwrap())
            }
            _ => Self::Ed25519(Ed25519KeyPair::generate().unwrap()),
        }
    }

    /// The public key as `rsa_public_key` takes it.
    pub(super) fn pem(&self) -> String {
        let der: PublicKeyX509Der<'_> = match self {
            Self::Rsa(pair, _) => pair.public_key().as_der().unwrap(),
            Self::Ecdsa(pair) => pair.public_key().as_der().unwrap(),
            Self::Ed25519(pair) => pair.public_key().as_der().unwrap(),
        };
        let text = BASE64_STANDARD.encode(der.as_ref());
        let lines: Vec<&str> =
            text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n"))
    }

    pub(super) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Rsa(pair, encoding) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(*encoding, &random, message, &mut signature).unwrap();
                signature
            }
            Self::Ecdsa(pair) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
            Self::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }
}

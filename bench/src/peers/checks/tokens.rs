//! Signed tokens for the load, and the keys that they are verified with, in each form that a gateway wants.

use std::io;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256};
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::load::SECRET;

/// How a token is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    Hs256,
    Rs256,
    Es256,
}

/// What the key of the tokens is called.
const KEY_ID: &str = "bench";
/// Where the modulus stands in the public key of RSA with 2048 bits (SubjectPublicKeyInfo), and its exponent.
const MODULUS: std::ops::Range<usize> = 33..289;
const EXPONENT: &str = "AQAB";

type Sign = Box<dyn Fn(&[u8]) -> io::Result<Vec<u8>>>;

/// A key that signs tokens.
pub struct Signer {
    algorithm: Algorithm,
    sign: Sign,
    /// The public key (SubjectPublicKeyInfo), where there is one.
    public: Vec<u8>,
}

impl Signer {
    /// A key of its own, but for HS256, whose secret all of the bench knows.
    pub fn new(algorithm: Algorithm) -> io::Result<Self> {
        let random = SystemRandom::new();
        let (sign, public): (Sign, _) = match algorithm {
            Algorithm::Hs256 => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
                (Box::new(move |text| Ok(hmac::sign(&key, text).as_ref().to_vec())), Vec::new())
            }
            Algorithm::Rs256 => {
                let pair = KeyPair::generate(KeySize::Rsa2048).map_err(io::Error::other)?;
                let public = pair.public_key().as_der().map_err(io::Error::other)?.as_ref().to_vec();
                let sign = move |text: &[u8]| {
                    let mut signature = vec![0; pair.public_modulus_len()];
                    pair.sign(&RSA_PKCS1_SHA256, &random, text, &mut signature).map_err(io::Error::other)?;
                    Ok(signature)
                };
                (Box::new(sign), public)
            }
            Algorithm::Es256 => {
                let pair =
                    EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(io::Error::other)?;
                let public = pair.public_key().as_der().map_err(io::Error::other)?.as_ref().to_vec();
                let sign = move |text: &[u8]| {
                    Ok(pair.sign(&random, text).map_err(io::Error::other)?.as_ref().to_vec())
                };
                (Box::new(sign), public)
            }
        };
        Ok(Self { algorithm, sign, public })
    }

    /// The algorithm's name.
    pub fn name(&self) -> &'static str {
        match self.algorithm {
            Algorithm::Hs256 => "HS256",
            Algorithm::Rs256 => "RS256",
            Algorithm::Es256 => "ES256",
        }
    }

    /// Header lines with as many different tokens of an issuer, which hold until the year 2100.
    pub fn lines(&self, issuer: &str, count: usize) -> io::Result<Vec<String>> {
        let header = json!({"alg": self.name(), "typ": "JWT", "kid": KEY_ID}).to_string();
        let header = BASE64_URL_SAFE_NO_PAD.encode(header);
        let line = |index: usize| {
            let claims = json!({"iss": issuer, "sub": format!("{index:05}"), "exp": 4_102_444_800_u64});
            let signed = format!("{header}.{}", BASE64_URL_SAFE_NO_PAD.encode(claims.to_string()));
            let signature = BASE64_URL_SAFE_NO_PAD.encode((self.sign)(signed.as_bytes())?);
            Ok(format!("Authorization: Bearer {signed}.{signature}"))
        };
        (0..count).map(line).collect()
    }

    /// The credential of the plugin jwt for an issuer.
    pub fn credential(&self, issuer: &str) -> Value {
        let mut credential = json!({"key": issuer, "algorithm": self.name()});
        match self.algorithm {
            Algorithm::Hs256 => credential["secret"] = json!(SECRET),
            Algorithm::Rs256 | Algorithm::Es256 => credential["rsa_public_key"] = json!(pem(&self.public)),
        }
        credential
    }

    /// The public key as a set of JSON Web Keys (RFC 7517 5).
    pub fn key_set(&self) -> Value {
        let text = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        let mut key = match self.algorithm {
            Algorithm::Hs256 => json!({"kty": "oct", "k": text(SECRET.as_bytes())}),
            Algorithm::Rs256 => json!({"kty": "RSA", "n": text(&self.public[MODULUS]), "e": EXPONENT}),
            Algorithm::Es256 => {
                // The point ends the key: two coordinates of 32 bytes.
                let (x, y) = self.public[self.public.len() - 64..].split_at(32);
                json!({"kty": "EC", "crv": "P-256", "x": text(x), "y": text(y)})
            }
        };
        (key["kid"], key["alg"], key["use"]) = (json!(KEY_ID), json!(self.name()), json!("sig"));
        json!({"keys": [key]})
    }
}

fn pem(der: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::load::SECRET_BASE64URL;

    #[test]
    fn tokens_are_all_different() {
        let lines = Signer::new(Algorithm::Hs256).unwrap().lines("issuer", 100).unwrap();
        assert_eq!(lines.iter().collect::<HashSet<_>>().len(), 100);
    }

    #[test]
    fn a_key_set_has_the_numbers_of_the_key() {
        let key = |algorithm| Signer::new(algorithm).unwrap().key_set()["keys"][0].clone();
        let bytes = |key: &Value, name| BASE64_URL_SAFE_NO_PAD.decode(key[name].as_str().unwrap()).unwrap();
        assert_eq!(key(Algorithm::Hs256)["k"], SECRET_BASE64URL);
        let rsa = key(Algorithm::Rs256);
        // A modulus is odd and has its highest bit.
        let modulus = bytes(&rsa, "n");
        assert!(modulus.len() == 256 && modulus[0] & 0x80 != 0 && modulus[255] & 1 == 1);
        assert_eq!(bytes(&rsa, "e"), [1, 0, 1]);
        let (x, y) = (bytes(&key(Algorithm::Es256), "x"), bytes(&key(Algorithm::Es256), "y"));
        assert_eq!((x.len(), y.len()), (32, 32));
    }
}

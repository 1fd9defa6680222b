//! Key pairs and signed JWTs for cases, made anew in each run so that no key lies in the repository.

use crate::case::{Case, TokenSpec};
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{self, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair, RsaKeyPair};
use aws_lc_rs::{hmac, signature::RsaEncoding};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

/// The placeholders `key.NAME` (a public key as one line of escaped PEM), `jwks.NAME` (the set that an issuer publishes, of a key
/// with that name as its id) and `token.NAME` of a case.
pub(crate) fn placeholders(case: &Case) -> Result<BTreeMap<String, String>, String> {
    let mut keys = BTreeMap::new();
    let mut values = BTreeMap::new();
    for (name, kind) in &case.keys {
        let key = Key::generate(kind)?;
        values.insert(format!("key.{name}"), key.public_pem()?.replace('\n', "\\n"));
        if let Some(jwk) = key.jwk(name) {
            values.insert(format!("jwks.{name}"), json!({ "keys": [jwk] }).to_string());
        }
        keys.insert(name.as_str(), key);
    }
    for (name, spec) in &case.tokens {
        let token =
            sign(spec, keys.get(spec.key.as_str())).map_err(|error| format!("token {name}: {error}"))?;
        values.insert(format!("token.{name}"), token);
    }
    Ok(values)
}

enum Key {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

impl Key {
    fn generate(kind: &str) -> Result<Key, String> {
        let curve =
            |algorithm: &'static EcdsaSigningAlgorithm| EcdsaKeyPair::generate(algorithm).map(Key::Ec);
        let key = match kind {
            "RSA-2048" => RsaKeyPair::generate(KeySize::Rsa2048).map(Key::Rsa),
            "P-256" => curve(&signature::ECDSA_P256_SHA256_FIXED_SIGNING),
            "P-384" => curve(&signature::ECDSA_P384_SHA384_FIXED_SIGNING),
            "P-521" => curve(&signature::ECDSA_P521_SHA512_FIXED_SIGNING),
            "Ed25519" => Ed25519KeyPair::generate().map(Key::Ed),
            other => return Err(format!("no such kind of key: {other}")),
        };
        key.map_err(|_| format!("cannot make a {kind} key"))
    }

    fn public_pem(&self) -> Result<String, String> {
        let der = match self {
            Key::Rsa(pair) => pair.public_key().as_der(),
            Key::Ec(pair) => pair.public_key().as_der(),
            Key::Ed(pair) => pair.public_key().as_der(),
        };
        let der = der.map_err(|_| "cannot encode a public key".to_owned())?;
        let text = STANDARD.encode(der.as_ref());
        let lines: Vec<&str> =
            text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap_or_default()).collect();
        Ok(format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n")))
    }

    /// The public key as an issuer publishes it (RFC 7517), where it is one of RSA.
    fn jwk(&self, id: &str) -> Option<Value> {
        let Key::Rsa(pair) = self else { return None };
        // RSAPublicKey ::= SEQUENCE { modulus INTEGER, publicExponent INTEGER } (RFC 8017 A.1.1)
        let (_, inside, _) = element(pair.public_key().as_ref())?;
        let (_, modulus, rest) = element(inside)?;
        let (_, exponent, _) = element(rest)?;
        let number = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes.strip_prefix(&[0]).unwrap_or(bytes));
        Some(json!({
            "kty": "RSA", "use": "sig", "alg": "RS256", "kid": id, "n": number(modulus), "e": number(exponent),
        }))
    }

    fn sign(&self, algorithm: &str, message: &[u8]) -> Option<Vec<u8>> {
        let random = SystemRandom::new();
        match self {
            Key::Ec(pair) => pair.sign(&random, message).ok().map(|signature| signature.as_ref().to_vec()),
            Key::Ed(pair) => Some(pair.sign(message).as_ref().to_vec()),
            Key::Rsa(pair) => {
                let padding: &'static dyn RsaEncoding = match algorithm {
                    "RS256" => &signature::RSA_PKCS1_SHA256,
                    "RS384" => &signature::RSA_PKCS1_SHA384,
                    "RS512" => &signature::RSA_PKCS1_SHA512,
                    "PS256" => &signature::RSA_PSS_SHA256,
                    "PS384" => &signature::RSA_PSS_SHA384,
                    "PS512" => &signature::RSA_PSS_SHA512,
                    _ => return None,
                };
                let mut bytes = vec![0; pair.public_modulus_len()];
                pair.sign(padding, &random, message, &mut bytes).ok().map(|()| bytes)
            }
        }
    }
}

/// Tag and content of the first element of DER, and what follows it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let [tag, length, rest @ ..] = der else { return None };
    let (length, rest) = match length {
        0..=127 => (usize::from(*length), rest),
        _ => {
            let (digits, rest) = rest.split_at_checked(usize::from(length & 127))?;
            (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
        }
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((*tag, content, rest))
}

fn sign(spec: &TokenSpec, key: Option<&Key>) -> Result<String, String> {
    let mut header = Map::new();
    header.insert("alg".to_owned(), Value::from(spec.alg.as_str()));
    header.insert("typ".to_owned(), Value::from("JWT"));
    header.extend(spec.header.clone());
    let claims = spec.claims.iter().map(|(name, value)| (name.clone(), moment(value))).collect::<Map<_, _>>();
    let part = |members: Map<String, Value>| URL_SAFE_NO_PAD.encode(Value::Object(members).to_string());
    let message = format!("{}.{}", part(header), part(claims));
    let digest = match spec.alg.as_str() {
        "HS256" => Some(hmac::HMAC_SHA256),
        "HS384" => Some(hmac::HMAC_SHA384),
        "HS512" => Some(hmac::HMAC_SHA512),
        _ => None,
    };
    let bytes = match (digest, key) {
        (Some(digest), _) => {
            let key = hmac::Key::new(digest, spec.secret.as_bytes());
            hmac::sign(&key, message.as_bytes()).as_ref().to_vec()
        }
        (None, Some(key)) => key.sign(&spec.alg, message.as_bytes()).ok_or("key and alg do not fit")?,
        (None, None) => return Err("it needs a `secret` or a `key`".to_owned()),
    };
    Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(bytes)))
}

/// `now+60` and `now-60` as seconds since the epoch; anything else as it is.
fn moment(value: &Value) -> Value {
    let offset = value.as_str().and_then(|text| text.strip_prefix("now"));
    let seconds = offset.and_then(|text| if text.is_empty() { Some(0) } else { text.parse::<i64>().ok() });
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    match seconds {
        Some(seconds) => Value::from(i64::try_from(now).unwrap_or(i64::MAX) + seconds),
        None => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verify(token: &str, algorithm: &'static dyn signature::VerificationAlgorithm, key: &[u8]) -> bool {
        let (message, signature) = token.rsplit_once('.').unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        signature::UnparsedPublicKey::new(algorithm, key).verify(message.as_bytes(), &signature).is_ok()
    }

    #[test]
    fn an_rsa_token_verifies_with_its_public_key_only() {
        let (one, other) = (Key::generate("RSA-2048").unwrap(), Key::generate("RSA-2048").unwrap());
        let spec = TokenSpec {
            alg: "PS256".into(),
            secret: String::new(),
            key: "one".into(),
            header: Map::new(),
            claims: Map::new(),
        };
        let token = sign(&spec, Some(&one)).unwrap();
        let public = |key: &Key| match key {
            Key::Rsa(pair) => pair.public_key().as_ref().to_vec(),
            _ => unreachable!(),
        };
        assert!(verify(&token, &signature::RSA_PSS_2048_8192_SHA256, &public(&one)));
        assert!(!verify(&token, &signature::RSA_PSS_2048_8192_SHA256, &public(&other)));
        assert!(one.public_pem().unwrap().starts_with("-----BEGIN PUBLIC KEY-----\nMII"));
    }

    #[test]
    fn an_hs256_token_is_that_of_rfc_7515() {
        let mut spec: TokenSpec =
            serde_json::from_str(r#"{"alg": "HS256", "secret": "s", "claims": {"exp": "now+60"}}"#).unwrap();
        let token = sign(&spec, None).unwrap();
        assert!(token.starts_with("eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9."));
        spec.claims = Map::new();
        let fixed = sign(&spec, None).unwrap();
        let (message, signature) = fixed.rsplit_once('.').unwrap();
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"s");
        assert!(hmac::verify(&key, message.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap()).is_ok());
    }
}

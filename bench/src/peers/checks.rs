//! Biplane that finds out who is asking, or what they may do, in one way: the file that makes it, and what the clients send.

use std::fs;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256};
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::configuration::one_service;
use crate::load::{ISSUER, SECRET};

/// A way to find out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// key-auth, with one consumer and with a million.
    Key,
    KeyOfMany,
    /// jwt, with tokens that come again and again.
    Token(Algorithm),
    /// jwt, with more tokens than are remembered.
    NewToken(Algorithm),
    /// authorization, with so many rules, the last of which lets requests pass.
    Rules(usize),
    /// opa, with a policy that the gateway evaluates.
    Rego,
}

/// How a token is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    Hs256,
    Rs256,
    Es256,
}

/// Consumers of [`Check::KeyOfMany`].
pub const MANY_CONSUMERS: usize = 1_000_000;
/// Keys that clients have, spread over all consumers.
const KEYS: usize = 10_000;
/// Tokens of [`Check::NewToken`]: five for each that a worker remembers.
const TOKENS: usize = 20_000;

impl Check {
    /// The name in the tables.
    pub fn label(self) -> &'static str {
        match self {
            Self::Key => "Biplane, key-auth, 1 consumer",
            Self::KeyOfMany => "Biplane, key-auth, 1,000,000 consumers",
            Self::Token(Algorithm::Hs256) => "Biplane, jwt, HS256",
            Self::Token(Algorithm::Rs256) => "Biplane, jwt, RS256",
            Self::Token(Algorithm::Es256) => "Biplane, jwt, ES256",
            Self::NewToken(Algorithm::Hs256) => "Biplane, jwt, HS256, each token new",
            Self::NewToken(Algorithm::Rs256) => "Biplane, jwt, RS256, each token new",
            Self::NewToken(Algorithm::Es256) => "Biplane, jwt, ES256, each token new",
            Self::Rules(1) => "Biplane, authorization, 1 rule",
            Self::Rules(_) => "Biplane, authorization, 500 rules",
            Self::Rego => "Biplane, opa, a policy in the gateway",
        }
    }

    /// The most microseconds that it may add, where there is a budget.
    pub fn budget(self) -> Option<f64> {
        match self {
            Self::Key | Self::KeyOfMany => Some(0.4),
            Self::Token(_) => Some(0.5),
            Self::Rules(_) => Some(1.0),
            Self::NewToken(_) | Self::Rego => None,
        }
    }

    /// The file: one service with one route, as for the bare proxy, and the check. What clients send is written to the
    /// file [`lines`] of the folder, a line for each request.
    pub fn file(self, folder: &Path, backend: SocketAddr) -> io::Result<String> {
        let mut service = one_service(backend);
        let (plugin, consumers, lines) = match self {
            Self::Key => ("key-auth", keyed(1), key_lines(1)),
            Self::KeyOfMany => ("key-auth", keyed(MANY_CONSUMERS), key_lines(MANY_CONSUMERS)),
            Self::Token(algorithm) => tokens(algorithm, 1)?,
            Self::NewToken(algorithm) => tokens(algorithm, TOKENS)?,
            Self::Rules(_) => ("authorization", json!([]), tenant_lines()),
            Self::Rego => ("opa", json!([]), tenant_lines()),
        };
        let config = match self {
            Self::Rules(count) => rules(count),
            Self::Rego => json!({"opa_path": "/v1/data/bench/allow", "rego": {"policy": POLICY}}),
            _ => json!({}),
        };
        service["plugins"] = json!([{"name": plugin, "config": config}]);
        let mut file = io::BufWriter::new(fs::File::create(lines_of(folder))?);
        lines.iter().try_for_each(|line| writeln!(file, "{line}"))?;
        file.flush()?;
        let document = json!({"_format_version": "3.0", "services": [service], "consumers": consumers});
        Ok(document.to_string())
    }
}

/// Where the lines stand that clients send.
pub fn lines_of(folder: &Path) -> PathBuf {
    folder.join("lines")
}

fn keyed(count: usize) -> Value {
    let consumer = |index| json!({"username": format!("user-{index:07}"), "keyauth_credentials": [{"key": format!("key-{index:07}")}]});
    (0..count).map(consumer).collect()
}

fn key_lines(count: usize) -> Vec<String> {
    // A step that shares no factor with the number of consumers visits them out of order, none twice.
    (0..KEYS.min(count)).map(|index| format!("apikey: key-{:07}", index * 99_991 % count)).collect()
}

/// The same decision as that of [`rules`].
const POLICY: &str = r#"package bench

default allow := false

allow if {
    input.request.http.method == "GET"
    input.request.http.headers["x-tenant"] == "acme"
}
"#;

/// What the decisions look at.
fn tenant_lines() -> Vec<String> {
    vec!["X-Tenant: acme".to_owned()]
}

/// Rules for other paths, with all kinds of conditions, and the one that decides.
fn rules(count: usize) -> Value {
    let other = |number: usize| {
        json!({"name": format!("other {number}"), "paths": [format!("/other/{number}/{{user}}/**")],
        "methods": ["GET"], "roles": [format!("role {number}")], "when": "parameters.user == claims.sub"})
    };
    let decisive =
        json!({"name": "tenant", "methods": ["GET"], "when": "request.headers['x-tenant'] == 'acme'"});
    let rules: Vec<Value> = (1..count).map(other).chain([decisive]).collect();
    json!({"rules": rules})
}

type Signer = Box<dyn Fn(&[u8]) -> io::Result<Vec<u8>>>;

fn tokens(algorithm: Algorithm, count: usize) -> io::Result<(&'static str, Value, Vec<String>)> {
    let (name, mut secret, sign) = signer(algorithm)?;
    let header = BASE64_URL_SAFE_NO_PAD.encode(json!({"alg": name, "typ": "JWT"}).to_string());
    let line = |index: usize| {
        let claims = json!({"iss": ISSUER, "sub": format!("{index:05}"), "exp": 4_102_444_800_u64});
        let signed = format!("{header}.{}", BASE64_URL_SAFE_NO_PAD.encode(claims.to_string()));
        let signature = BASE64_URL_SAFE_NO_PAD.encode(sign(signed.as_bytes())?);
        Ok(format!("Authorization: Bearer {signed}.{signature}"))
    };
    let lines = (0..count).map(line).collect::<io::Result<_>>()?;
    secret["key"] = json!(ISSUER);
    secret["algorithm"] = json!(name);
    Ok(("jwt", json!([{"username": "bench", "jwt_secrets": [secret]}]), lines))
}

/// The algorithm's name, what a credential has to know, and what signs.
fn signer(algorithm: Algorithm) -> io::Result<(&'static str, Value, Signer)> {
    let random = SystemRandom::new();
    Ok(match algorithm {
        Algorithm::Hs256 => {
            let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
            (
                "HS256",
                json!({"secret": SECRET}),
                Box::new(move |text| Ok(hmac::sign(&key, text).as_ref().to_vec())),
            )
        }
        Algorithm::Rs256 => {
            let pair = KeyPair::generate(KeySize::Rsa2048).map_err(io::Error::other)?;
            let public = pair.public_key().as_der().map_err(io::Error::other)?;
            let sign = move |text: &[u8]| {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, text, &mut signature).map_err(io::Error::other)?;
                Ok(signature)
            };
            ("RS256", json!({"rsa_public_key": pem(public.as_ref())}), Box::new(sign))
        }
        Algorithm::Es256 => {
            let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(io::Error::other)?;
            let public = pair.public_key().as_der().map_err(io::Error::other)?;
            let sign =
                move |text: &[u8]| Ok(pair.sign(&random, text).map_err(io::Error::other)?.as_ref().to_vec());
            ("ES256", json!({"rsa_public_key": pem(public.as_ref())}), Box::new(sign))
        }
    })
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

    #[test]
    fn new_tokens_are_all_different_and_remembered_ones_all_the_same() {
        let (_, _, new) = tokens(Algorithm::Hs256, 100).unwrap();
        assert_eq!(new.iter().collect::<HashSet<_>>().len(), 100);
        assert_eq!(tokens(Algorithm::Es256, 1).unwrap().2.len(), 1);
    }

    #[test]
    fn the_last_of_the_rules_is_the_one_that_decides() {
        let rules = rules(500);
        let rules = rules["rules"].as_array().unwrap();
        assert_eq!((rules.len(), &rules[499]["name"]), (500, &json!("tenant")));
    }

    #[test]
    fn keys_are_those_of_consumers() {
        let lines = key_lines(MANY_CONSUMERS);
        assert_eq!(lines.iter().collect::<HashSet<_>>().len(), KEYS);
        assert_eq!(key_lines(1), ["apikey: key-0000000"]);
        assert_eq!(keyed(1)[0]["keyauth_credentials"][0]["key"], "key-0000000");
    }
}

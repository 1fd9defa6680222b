//! Keys that others have made: the entities of a set, or a document with private keys.

use std::sync::Arc;

use model::entity::Key;
use serde_json::{Value, json};

use crate::build::Build;
use crate::jose::{Algorithm, KeySet, Signer, to_base64url};
use crate::remember::Digest;

/// Keys of a document that are looked at.
const MOST_KEYS: usize = 256;
/// What only a private key or a secret has (RFC 7518 6).
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// The first key that signs with an algorithm, and the public halves of all keys.
pub struct Declared {
    signer: Arc<Signer>,
    published: Vec<Value>,
    fingerprint: String,
}

impl Declared {
    /// The keys of the entity of `key_sets` called `name`; none if there is no such entity.
    pub(super) fn find(cx: &Build<'_>, name: &str, algorithm: Algorithm) -> Result<Option<Self>, String> {
        let Some(set) = cx.config.find("key_sets", name) else { return Ok(None) };
        let keys = cx.entities::<Key>().map_err(|error| error.to_string())?;
        let keys = keys.filter(|key| key.set.is_some_and(|of| of.0 == set.id)).take(MOST_KEYS);
        let mut collected = Collected::default();
        for key in keys {
            collected.add_entity(&key, algorithm).map_err(|why| format!("key '{}': {why}", key.kid))?;
        }
        collected.finish(algorithm).map(Some)
    }

    /// The keys of a JWK Set (RFC 7517 5) with private keys.
    pub(super) fn read(json: &[u8], algorithm: Algorithm) -> Result<Self, String> {
        let document: Value = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        let keys = document["keys"].as_array().ok_or("no JSON Web Key Set")?;
        let mut collected = Collected::default();
        for key in keys.iter().take(MOST_KEYS) {
            collected.add_jwk(key, algorithm);
        }
        collected.finish(algorithm)
    }

    pub(super) fn signer(&self) -> Arc<Signer> {
        self.signer.clone()
    }

    pub(super) fn published(&self) -> &[Value] {
        &self.published
    }

    /// What stands for these keys; nothing of them can be read out of it.
    pub(super) fn fingerprint(&self) -> &str {
        &self.fingerprint
    }
}

#[derive(Default)]
struct Collected {
    signer: Option<Signer>,
    published: Vec<Value>,
    texts: Vec<String>,
}

impl Collected {
    fn add_entity(&mut self, key: &Key, algorithm: Algorithm) -> Result<(), String> {
        if let Some(text) = &key.jwk {
            let jwk = serde_json::from_str(text).map_err(|_| "its jwk is no JSON".to_owned())?;
            self.add_jwk(&jwk, algorithm);
            return Ok(());
        }
        let Some(private) = key.pem.as_ref().and_then(|pem| pem.private_key.as_ref()) else {
            return Err("a public key cannot be published from PEM: give it as jwk".to_owned());
        };
        self.texts.push(format!("{} {private}", key.kid));
        let signer = Signer::with_private_key(algorithm, Some(&key.kid), private);
        // A key for another algorithm is another ring's.
        if let Some(signer) = signer {
            self.published.extend(signer.public_jwk());
            self.signer.get_or_insert(signer);
        }
        Ok(())
    }

    fn add_jwk(&mut self, jwk: &Value, algorithm: Algorithm) {
        self.texts.push(jwk.to_string());
        let mut signing = jwk.clone();
        if signing["alg"].is_null() {
            signing["alg"] = algorithm.name().into();
        }
        if let Ok(signer) = Signer::from_jwk(&signing)
            && signer.algorithm() == algorithm
        {
            self.signer.get_or_insert(signer);
        }
        let mut public = jwk.clone();
        if let Some(members) = public.as_object_mut() {
            members.retain(|name, _| !PRIVATE.contains(&name.as_str()));
            // What it was for was signing; what others may do with it is the opposite.
            members.remove("key_ops");
        }
        // What nobody could check anything by is not published, a secret least of all.
        let is_usable = KeySet::published(json!({ "keys": [public] }).to_string().as_bytes());
        if is_usable.is_some_and(|keys| keys.len() == 1) {
            self.published.push(public);
        }
    }

    fn finish(self, algorithm: Algorithm) -> Result<Declared, String> {
        let none = || format!("the set has no private key that signs with {}", algorithm.name());
        let signer = self.signer.ok_or_else(none)?;
        let fingerprint = Digest::of(self.texts.iter().map(String::as_bytes));
        Ok(Declared {
            signer: Arc::new(signer),
            published: self.published,
            fingerprint: to_base64url(fingerprint.as_ref()),
        })
    }
}

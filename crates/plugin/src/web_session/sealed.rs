//! Text that only holders of a secret can make or read: AES-256-GCM (NIST SP 800-38D) under keys derived with
//! HKDF-SHA256 (RFC 5869).
//!
//! Every text has a key and a nonce of its own, derived from the secret and 128 random bits, so that however many are
//! made under one secret, no nonce is used twice under a key. What is not exactly as it was sealed does not open.

use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::services::Services;

/// What texts begin with, so that another form can be told apart one day.
const VERSION: u8 = 1;
/// Random bytes of a text.
const SEED: usize = 16;
/// Bytes that authenticate a text.
const TAG: usize = 16;
/// Key and nonce.
const DERIVED: usize = 32 + 12;
/// Bytes of a name.
const NAME: usize = 32;
/// Under which name the secret of the process is kept.
const OWN_SECRET: &str = "web sessions";

/// Seals and opens texts for one purpose.
pub struct Sealer {
    secret: Prk,
    /// Keeps the secret of the process for the rooms of the next snapshot.
    _own: Option<Arc<OwnSecret>>,
}

/// A secret that ends with the process.
struct OwnSecret(Option<[u8; 32]>);

/// How many bytes are derived.
struct Derived(usize);

impl KeyType for Derived {
    fn len(&self) -> usize {
        self.0
    }
}

impl Sealer {
    /// With this secret. Who has it, and names the same purpose, opens what was sealed.
    #[must_use]
    pub fn new(secret: &[u8], purpose: &str) -> Self {
        Self { secret: Salt::new(HKDF_SHA256, purpose.as_bytes()).extract(secret), _own: None }
    }

    /// With a random secret that this process keeps while somebody uses it.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn of_process(services: &Services, purpose: &str) -> Result<Self, &'static str> {
        let own = services.keep(OWN_SECRET, || OwnSecret(random()));
        let secret = own.0.ok_or("the system gives no random numbers")?;
        Ok(Self { _own: Some(own), ..Self::new(&secret, purpose) })
    }

    /// Seals `plain` for `context`, which is needed to open it and is not part of the text. Only letters, digits, `-`
    /// and `_` are in the text. None if the system has no random numbers.
    #[must_use]
    pub fn seal(&self, context: &[u8], plain: &[u8]) -> Option<String> {
        let seed: [u8; SEED] = random()?;
        let mut sealed = Vec::with_capacity(1 + SEED + plain.len() + TAG);
        sealed.push(VERSION);
        sealed.extend_from_slice(&seed);
        let (key, nonce) = self.derive(&seed)?;
        let mut text = plain.to_vec();
        key.seal_in_place_append_tag(nonce, Aad::from(context), &mut text).ok()?;
        sealed.append(&mut text);
        Some(URL_SAFE_NO_PAD.encode(sealed))
    }

    /// What was sealed for `context`; none for anything else.
    #[must_use]
    pub fn open(&self, context: &[u8], text: &[u8]) -> Option<Vec<u8>> {
        let sealed = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (&VERSION, rest) = sealed.split_first()? else { return None };
        let (seed, text) = rest.split_first_chunk::<SEED>()?;
        let (key, nonce) = self.derive(seed)?;
        let mut text = text.to_vec();
        let length = key.open_in_place(nonce, Aad::from(context), &mut text).ok()?.len();
        text.truncate(length);
        Some(text)
    }

    /// A name for `thing` that nobody makes, or finds `thing` by, without the secret.
    #[must_use]
    pub fn name(&self, thing: &[u8]) -> Option<[u8; NAME]> {
        let mut name = [0; NAME];
        self.secret.expand(&[b"name", thing], Derived(NAME)).ok()?.fill(&mut name).ok()?;
        Some(name)
    }

    fn derive(&self, seed: &[u8; SEED]) -> Option<(LessSafeKey, Nonce)> {
        let mut derived = [0; DERIVED];
        self.secret.expand(&[seed], Derived(DERIVED)).ok()?.fill(&mut derived).ok()?;
        let (key, nonce) = derived.split_at(32);
        let key = UnboundKey::new(&AES_256_GCM, key).ok()?;
        Some((LessSafeKey::new(key), Nonce::try_assume_unique_for_key(nonce).ok()?))
    }
}

/// Random bytes that are fit for secrets; none if the system has none.
#[must_use]
pub fn random<const LENGTH: usize>() -> Option<[u8; LENGTH]> {
    let mut bytes = [0; LENGTH];
    rand::fill(&mut bytes).ok().map(|()| bytes)
}

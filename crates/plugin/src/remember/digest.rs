//! Under what something is remembered.

use std::hash::Hasher;
use std::sync::OnceLock;

use aws_lc_rs::digest::{Context, SHA256};
use siphasher::sip128::{Hasher128, SipHasher24};
use uuid::Uuid;

/// A SHA-256 over several parts. What it was made of, a token say, cannot be read out of it or out of the memory of the
/// gateway, and nobody can make up another input with the same one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of `parts`, each with its length, so that no two lists of parts run into one another.
    #[must_use]
    pub fn of<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut all = Parts::default();
        parts.into_iter().for_each(|part| all.add(part));
        all.digest()
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// A number spread evenly over all digests.
    pub(super) fn number(&self) -> usize {
        usize::from(self.0[0])
    }
}

/// What a digest is made of, part by part.
pub struct Parts(Context);

impl Default for Parts {
    fn default() -> Self {
        Self(Context::new(&SHA256))
    }
}

impl Parts {
    /// Adds a part.
    pub fn add(&mut self, part: &[u8]) {
        self.0.update(&(part.len() as u64).to_le_bytes());
        self.0.update(part);
    }

    /// The digest of all parts.
    #[must_use]
    pub fn digest(self) -> Digest {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.0.finish().as_ref());
        Digest(bytes)
    }
}

/// What a key is made of, part by part, that is good in this process only: SipHash-2-4 with 128 bits under a random secret of
/// the process, which costs a request a tenth of a SHA-256. Nobody who does not have the secret can make up two inputs with
/// the same one. What all keys begin with is added once, when a room is built, and cloned for each request.
#[derive(Clone)]
pub struct KeyParts(SipHasher24);

impl Default for KeyParts {
    fn default() -> Self {
        static SECRET: OnceLock<[u8; 16]> = OnceLock::new();
        let secret = SECRET.get_or_init(|| {
            let chance = [Uuid::new_v4(), Uuid::new_v4()];
            let Digest(bytes) = Digest::of(chance.iter().map(|part| &part.as_bytes()[..]));
            std::array::from_fn(|place| bytes[place])
        });
        Self(SipHasher24::new_with_key(secret))
    }
}

impl KeyParts {
    /// Adds a part. It is filled up to whole words; its length says how much of it counts.
    #[inline]
    pub fn add(&mut self, part: &[u8]) {
        self.0.write_u64(part.len() as u64);
        let (words, rest) = part.as_chunks::<8>();
        for word in words {
            self.0.write_u64(u64::from_le_bytes(*word));
        }
        if !rest.is_empty() {
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            self.0.write_u64(u64::from_le_bytes(last));
        }
    }

    /// The digest of all parts.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let hash = self.0.finish128();
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&hash.h1.to_le_bytes());
        bytes[8..16].copy_from_slice(&hash.h2.to_le_bytes());
        Digest(bytes)
    }
}

impl AsRef<[u8]> for Digest {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

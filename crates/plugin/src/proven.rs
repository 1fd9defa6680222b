//! Secrets that have been proven right a short while ago, so that what is slow about it is done once: a slow hash, or a
//! question to a directory.
//!
//! Kept are keyed digests, never the secrets, and the key is made at random for the process. Bounded in number; one lock
//! of many is held for the time of a look.

use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::hmac;
use uuid::Uuid;

use crate::lru::Lru;

const SHARDS: usize = 32;
/// Secrets of a shard; 65,536 in all.
const MOST_OF_A_SHARD: usize = 2048;

/// What stands for a secret, and for all that it was proven by.
pub type Digest = [u8; 32];

/// What is known of secrets that have been proven.
pub struct Proven<V> {
    key: hmac::Key,
    shards: Box<[Shard<V>]>,
}

type Shard<V> = Mutex<Lru<Digest, Finding<V>>>;

struct Finding<V> {
    /// By the clock that nobody sets, see [`Exchange::steady_ms`](crate::Exchange::steady_ms).
    found_ms: u64,
    value: V,
}

impl<V> Default for Proven<V> {
    fn default() -> Self {
        let key = [Uuid::new_v4().into_bytes(), Uuid::new_v4().into_bytes()].concat();
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, &key), shards }
    }
}

impl<V: Clone> Proven<V> {
    /// The digest of `parts` in their order: the secret, who has it and whatever else has to stay the same.
    #[must_use]
    pub fn digest(&self, parts: &[&[u8]]) -> Digest {
        let mut context = hmac::Context::with_key(&self.key);
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(context.sign().as_ref());
        digest
    }

    /// What was found out less than `ttl_ms` milliseconds before `now_ms`.
    #[must_use]
    pub fn find(&self, digest: &Digest, now_ms: u64, ttl_ms: u64) -> Option<V> {
        let finding = self.shard(digest).lock().unwrap_or_else(PoisonError::into_inner).find(digest)?;
        (now_ms.saturating_sub(finding.found_ms) < ttl_ms).then(|| finding.value.clone())
    }

    /// Remembers what was found out at `now_ms`; those used least recently give way.
    pub fn remember(&self, digest: Digest, value: V, now_ms: u64) {
        let finding = Arc::new(Finding { found_ms: now_ms, value });
        let mut shard = self.shard(&digest).lock().unwrap_or_else(PoisonError::into_inner);
        shard.put(digest, finding, 1, MOST_OF_A_SHARD);
    }

    fn shard(&self, digest: &Digest) -> &Shard<V> {
        &self.shards[usize::from(digest[0]) % SHARDS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_lasts_for_its_time_and_parts_do_not_run_together() {
        let proven = Proven::default();
        let digest = proven.digest(&[b"ada", b"secret"]);
        proven.remember(digest, 7, 10_000);
        assert_eq!(proven.find(&digest, 10_999, 1000), Some(7));
        assert_eq!(proven.find(&digest, 11_000, 1000), None);
        assert_eq!(proven.find(&proven.digest(&[b"adas", b"ecret"]), 10_000, 1000), None);
        assert_ne!(Proven::<()>::default().digest(&[b"ada", b"secret"]), digest, "each process has its key");
    }

    #[test]
    fn memory_is_bounded() {
        let proven = Proven::default();
        let digest = |number: u32| proven.digest(&[&number.to_be_bytes()]);
        for number in 0..100_000 {
            proven.remember(digest(number), number, 0);
        }
        let held = (0..100_000).filter(|number| proven.find(&digest(*number), 0, 1).is_some()).count();
        assert!((60_000..=SHARDS * MOST_OF_A_SHARD).contains(&held), "{held}");
    }
}

//! What is known, and what is being asked for. Times are milliseconds since 1970.

use std::sync::Arc;

use ahash::AHashMap;
use tokio::sync::watch;

use super::digest::Digest;
use super::{Failure, Learned, Outcome, Settings, milliseconds};
use crate::lru::Lru;

/// Bytes of an entry beside what it holds, roughly.
const OVERHEAD: usize = 256;

/// How the one who asks tells all others.
pub(super) type Told<V> = watch::Receiver<Option<Outcome<V>>>;

/// A part of a memory.
pub(super) struct Shard<V> {
    known: Lru<Digest, Held<V>>,
    asked: AHashMap<Digest, Told<V>>,
}

/// An entry.
struct Held<V> {
    outcome: Outcome<V>,
    learned_ms: u64,
    /// It answers for the source until then.
    fresh_until_ms: u64,
    /// It may be used until then while the source is down.
    usable_until_ms: u64,
    bytes: usize,
}

impl<V> Default for Shard<V> {
    fn default() -> Self {
        Self { known: Lru::default(), asked: AHashMap::new() }
    }
}

impl<V> Shard<V> {
    /// Entries and bytes that are remembered.
    pub(super) fn size(&self) -> [u64; 2] {
        [self.known.len() as u64, self.known.bytes() as u64]
    }

    /// What is known and still holds.
    pub(super) fn fresh(&mut self, key: &Digest, now_ms: u64) -> Option<Outcome<V>> {
        let held = self.known.find(key)?;
        (now_ms < held.fresh_until_ms).then(|| held.outcome.clone())
    }

    /// What was learned at `since_ms` or later.
    pub(super) fn since(&mut self, key: &Digest, since_ms: u64, now_ms: u64) -> Option<Outcome<V>> {
        let held = self.known.find(key)?;
        (held.learned_ms >= since_ms && now_ms < held.fresh_until_ms).then(|| held.outcome.clone())
    }

    /// The question under way for `key`.
    pub(super) fn under_way(&self, key: &Digest) -> Option<Told<V>> {
        // Whoever asked may have ended with its worker.
        self.asked.get(key).filter(|told| told.has_changed().is_ok()).cloned()
    }

    /// Begins a question, unless there are too many.
    pub(super) fn begin(&mut self, key: Digest, told: Told<V>, most: usize) -> bool {
        if self.asked.len() >= most {
            self.asked.retain(|_, told| told.has_changed().is_ok());
        }
        let begins = self.asked.len() < most;
        if begins {
            self.asked.insert(key, told);
        }
        begins
    }

    /// Takes an answer in.
    pub(super) fn learn(
        &mut self,
        key: Digest,
        learned: Learned<V>,
        now_ms: u64,
        most: &Settings,
    ) -> Outcome<V> {
        self.asked.remove(&key);
        let outcome = Ok(Arc::new(learned.value));
        let fresh_until_ms = now_ms.saturating_add(milliseconds(learned.fresh)).min(learned.until_ms);
        let usable_until_ms =
            fresh_until_ms.saturating_add(milliseconds(learned.stale)).min(learned.until_ms);
        if usable_until_ms <= now_ms {
            self.known.remove(&key);
            return outcome;
        }
        let bytes = learned.bytes.saturating_add(OVERHEAD);
        let held =
            Held { outcome: outcome.clone(), learned_ms: now_ms, fresh_until_ms, usable_until_ms, bytes };
        self.put(key, held, most);
        outcome
    }

    /// Takes it in that there was no answer: what was known goes on for a moment, if it may.
    pub(super) fn fail(&mut self, key: Digest, failure: Failure, now_ms: u64, most: &Settings) -> Outcome<V> {
        self.asked.remove(&key);
        let known =
            self.known.find(&key).filter(|held| held.outcome.is_ok() && now_ms < held.usable_until_ms);
        let pause_until_ms = now_ms.saturating_add(milliseconds(most.pause));
        let held = match known {
            Some(known) => Held {
                outcome: known.outcome.clone(),
                learned_ms: known.learned_ms,
                fresh_until_ms: pause_until_ms.min(known.usable_until_ms),
                usable_until_ms: known.usable_until_ms,
                bytes: known.bytes,
            },
            None => Held {
                bytes: failure.0.len() + OVERHEAD,
                outcome: Err(failure),
                learned_ms: now_ms,
                fresh_until_ms: pause_until_ms,
                usable_until_ms: 0,
            },
        };
        let outcome = held.outcome.clone();
        self.put(key, held, most);
        outcome
    }

    pub(super) fn forget(&mut self, key: &Digest) {
        self.known.remove(key);
    }

    fn put(&mut self, key: Digest, held: Held<V>, most: &Settings) {
        let bytes = held.bytes;
        self.known.put(key, Arc::new(held), bytes, most.bytes);
        self.known.shrink_to(most.entries);
    }
}

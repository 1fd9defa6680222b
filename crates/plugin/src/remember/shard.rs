//! What is known, and what is being asked for. Times are milliseconds of the clock that nobody sets, where nothing else is said.

use std::sync::Arc;
use std::time::Duration;

use ahash::AHashMap;
use tokio::sync::watch;

use super::digest::Digest;
use super::{Failure, Learned, Outcome, Settings, milliseconds};
use crate::clock::Clock;
use crate::lru::Lru;

/// Bytes of an entry beside what it holds, roughly.
const OVERHEAD: usize = 256;

/// How the one who asks tells all others.
pub(super) type Tell<V> = watch::Sender<Option<Outcome<V>>>;

/// How the others are told.
pub(super) type Told<V> = watch::Receiver<Option<Outcome<V>>>;

/// A part of a memory.
pub(super) struct Shard<V> {
    known: Lru<Digest, Held<V>>,
    asked: AHashMap<Digest, Told<V>>,
}

/// The moment at which something is asked.
#[derive(Clone, Copy)]
pub(super) struct Now<'a> {
    pub(super) ms: u64,
    /// Asked only about what ends at a time of its own.
    pub(super) wall: &'a Clock,
}

/// An entry.
struct Held<V> {
    outcome: Outcome<V>,
    learned_ms: u64,
    /// It answers for the source until then.
    fresh_until_ms: u64,
    /// It may be used until then while the source is down.
    usable_until_ms: u64,
    /// It is over then in any case; by the clock on the wall.
    ends_ms: u64,
    /// How many times there has been no answer since.
    failures: u32,
    bytes: usize,
}

/// An answer that holds.
pub(super) struct Found<V> {
    pub(super) outcome: Outcome<V>,
    /// It stands in for one that could not be had.
    pub(super) is_old: bool,
}

/// An answer that may be used.
pub(super) struct Usable<V> {
    pub(super) value: Arc<V>,
    pub(super) is_old: bool,
    /// It is time to ask again.
    pub(super) is_due: bool,
}

impl<V> Default for Shard<V> {
    fn default() -> Self {
        Self { known: Lru::default(), asked: AHashMap::new() }
    }
}

impl Now<'_> {
    /// How long it is until a time of the clock on the wall.
    fn left_ms(&self, until_ms: u64) -> u64 {
        if until_ms == u64::MAX { u64::MAX } else { until_ms.saturating_sub(self.wall.now_ms()) }
    }
}

impl<V> Held<V> {
    /// It still answers for the source.
    fn is_fresh(&self, now: Now<'_>) -> bool {
        now.ms < self.fresh_until_ms && now.left_ms(self.ends_ms) > 0
    }

    /// It may be used while the source is down.
    fn is_usable(&self, now: Now<'_>) -> bool {
        now.ms < self.usable_until_ms && now.left_ms(self.ends_ms) > 0
    }

    fn found(&self) -> Found<V> {
        Found { outcome: self.outcome.clone(), is_old: self.failures > 0 && self.outcome.is_ok() }
    }
}

impl<V> Shard<V> {
    /// Entries and bytes that are remembered.
    pub(super) fn size(&self) -> [u64; 2] {
        [self.known.len() as u64, self.known.bytes() as u64]
    }

    /// What is known and still holds.
    pub(super) fn fresh(&mut self, key: &Digest, now: Now<'_>) -> Option<Found<V>> {
        let held = self.known.touch(key)?;
        held.is_fresh(now).then(|| held.found())
    }

    /// The same, if it was learned less than `age_ms` ago, or there was no answer a moment ago.
    pub(super) fn recent(&mut self, key: &Digest, age_ms: u64, now: Now<'_>) -> Option<Found<V>> {
        let held = self.known.touch(key)?;
        let is_recent = held.failures > 0 || now.ms < held.learned_ms.saturating_add(age_ms);
        (is_recent && held.is_fresh(now)).then(|| held.found())
    }

    /// What is known and may be used, however old.
    pub(super) fn usable(&mut self, key: &Digest, now: Now<'_>) -> Option<Usable<V>> {
        let held = self.known.touch(key).filter(|held| held.is_usable(now))?;
        let is_due = !held.is_fresh(now);
        let value = held.outcome.as_ref().ok()?.clone();
        Some(Usable { value, is_old: is_due || held.failures > 0, is_due })
    }

    /// What was learned at most `age_ms` ago and may be used.
    pub(super) fn within(&mut self, key: &Digest, age_ms: u64, now: Now<'_>) -> Option<Arc<V>> {
        let held = self.known.touch(key).filter(|held| now.ms.saturating_sub(held.learned_ms) <= age_ms)?;
        held.outcome.as_ref().ok().cloned()
    }

    /// For how long what is known still holds.
    pub(super) fn holds_for(&mut self, key: &Digest, now: Now<'_>) -> Option<u64> {
        let held = self.known.touch(key)?;
        Some(held.fresh_until_ms.saturating_sub(now.ms).min(now.left_ms(held.ends_ms)))
    }

    /// Whether anything is known but that there was no answer.
    pub(super) fn has_value(&mut self, key: &Digest) -> bool {
        self.known.touch(key).is_some_and(|held| held.outcome.is_ok())
    }

    /// The question under way for `key`.
    pub(super) fn under_way(&self, key: &Digest) -> Option<Told<V>> {
        // Whoever asked may have ended with its worker.
        self.asked.get(key).filter(|told| told.has_changed().is_ok()).cloned()
    }

    /// Begins a question, unless there are too many.
    pub(super) fn begin(&mut self, key: Digest, most: usize) -> Option<Tell<V>> {
        if self.asked.len() >= most {
            self.asked.retain(|_, told| told.has_changed().is_ok());
        }
        if self.asked.len() >= most {
            return None;
        }
        let (tell, told) = watch::channel(None);
        self.asked.insert(key, told);
        Some(tell)
    }

    /// Takes an answer in.
    pub(super) fn learn(
        &mut self,
        key: Digest,
        learned: Learned<V>,
        now: Now<'_>,
        most: &Settings,
    ) -> Outcome<V> {
        self.asked.remove(&key);
        let outcome = Ok(Arc::new(learned.value));
        // What ends at some time does so after the time that it is until then, even if that moves away.
        let last_ms = now.ms.saturating_add(now.left_ms(learned.until_ms));
        let fresh_until_ms = now.ms.saturating_add(learned.fresh_ms).min(last_ms);
        let usable_until_ms = fresh_until_ms.saturating_add(learned.stale_ms).min(last_ms);
        if usable_until_ms <= now.ms {
            self.known.remove(&key);
            return outcome;
        }
        let bytes = learned.bytes.saturating_add(OVERHEAD);
        let held = Held {
            outcome: outcome.clone(),
            learned_ms: now.ms,
            fresh_until_ms,
            usable_until_ms,
            ends_ms: learned.until_ms,
            failures: 0,
            bytes,
        };
        self.put(key, held, most);
        outcome
    }

    /// Takes it in that there was no answer: what was known goes on for a while, if it may. The while is `pause`, or longer
    /// each time.
    pub(super) fn fail(
        &mut self,
        key: Digest,
        failure: Failure,
        pause: Option<Duration>,
        now: Now<'_>,
        most: &Settings,
    ) -> Outcome<V> {
        self.asked.remove(&key);
        let before = self.known.find(&key);
        let failures = before.as_ref().map_or(0, |held| held.failures).saturating_add(1);
        let pause = pause.unwrap_or_else(|| most.pause_after(failures));
        let pause_until_ms = now.ms.saturating_add(milliseconds(pause));
        let known = before.filter(|held| held.outcome.is_ok() && held.is_usable(now));
        let held = match known {
            Some(known) => Held {
                outcome: known.outcome.clone(),
                learned_ms: known.learned_ms,
                fresh_until_ms: pause_until_ms.min(known.usable_until_ms),
                usable_until_ms: known.usable_until_ms,
                ends_ms: known.ends_ms,
                failures,
                bytes: known.bytes,
            },
            None => Held {
                bytes: failure.0.len() + OVERHEAD,
                outcome: Err(failure),
                learned_ms: now.ms,
                fresh_until_ms: pause_until_ms,
                usable_until_ms: 0,
                ends_ms: u64::MAX,
                failures,
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

//! Tokens whose signature has been found right, so that the same token is checked by comparing bytes.
//!
//! Bounded in number and size, one table per worker for all instances. Whoever holds one makes it anew when keys change, so that
//! no key outlives its removal. What depends on the time of use is never remembered, and nothing is found after its time.

use std::sync::{Arc, Mutex, PoisonError};

use ahash::RandomState;

use crate::clock::{Clocks, End};
use crate::services::Services;

/// Tokens remembered per worker. A power of two.
const SLOTS: usize = 4096;
/// Longest token remembered, in bytes.
const LONGEST: usize = 2048;

/// What has been found out about tokens, by worker.
pub struct Remembered<F> {
    hasher: RandomState,
    clocks: Clocks,
    tables: Box<[Table<F>]>,
}

/// One worker's table, on cache lines of its own; nobody else takes the lock.
#[repr(align(128))]
struct Table<F>(Mutex<Vec<Option<Entry<F>>>>);

struct Entry<F> {
    hash: u64,
    /// How the token was read: read in another way, it may say something else.
    reading: Arc<str>,
    token: Box<[u8]>,
    /// The finding is no longer one from then on.
    end: End,
    finding: F,
}

impl<F: Clone> Remembered<F> {
    /// Nothing yet, for each worker.
    #[must_use]
    pub fn new(services: &Services) -> Self {
        let tables = (0..services.workers).map(|_| Table(Mutex::default())).collect();
        Self { hasher: RandomState::new(), clocks: Clocks::new(&services.clock), tables }
    }

    /// What has been found out about a token, if it has been verified and its time has not come.
    ///
    /// The whole token is compared, but only after a 64-bit hash with a random seed has matched: timing shows nothing
    /// about a remembered token to who does not have it.
    pub fn find(&self, worker: usize, reading: &str, token: &[u8], now_s: u64) -> Option<F> {
        let (hash, slot) = self.place(reading, token);
        let table = self.tables[worker % self.tables.len()].0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = table.get(slot)?.as_ref()?;
        let same = entry.hash == hash && *entry.reading == *reading && *entry.token == *token;
        (same && self.clocks.is_before(entry.end, now_s.saturating_mul(1_000))).then(|| entry.finding.clone())
    }

    /// Remembers a token in place of whichever had its slot, until `until_s` (seconds since 1970).
    pub fn remember(&self, worker: usize, reading: &Arc<str>, token: &[u8], finding: &F, until_s: u64) {
        if token.len() > LONGEST {
            return;
        }
        let (hash, slot) = self.place(reading, token);
        let (reading, finding) = (reading.clone(), finding.clone());
        let end = self.clocks.end_at(until_s.saturating_mul(1_000));
        let entry = Entry { hash, reading, token: token.into(), end, finding };
        let mut table =
            self.tables[worker % self.tables.len()].0.lock().unwrap_or_else(PoisonError::into_inner);
        if table.is_empty() {
            table.resize_with(SLOTS, || None);
        }
        table[slot] = Some(entry);
    }

    fn place(&self, reading: &str, token: &[u8]) -> (u64, usize) {
        let hash = self.hasher.hash_one((reading, token));
        (hash, hash as usize % SLOTS)
    }
}

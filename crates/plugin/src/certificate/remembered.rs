//! Proofs that have been looked into, so that the same one is compared and not verified.

use std::sync::{Mutex, PoisonError};

use ahash::RandomState;

use crate::clock::{Clocks, End};
use crate::services::Services;

/// Proofs remembered per worker.
const SLOTS: usize = 512;
/// Bytes of the longest proof that is remembered.
const LONGEST: usize = 16 << 10;

/// What was found out about proofs, in a table per worker. A new one takes the place of whichever had its slot.
pub struct Remembered<V> {
    hasher: RandomState,
    clocks: Clocks,
    tables: Box<[Table<V>]>,
}

/// One worker's table, on cache lines of its own; nobody else takes the lock.
#[repr(align(128))]
struct Table<V>(Mutex<Vec<Option<Entry<V>>>>);

struct Entry<V> {
    proof: Box<[Box<[u8]>]>,
    end: End,
    value: V,
}

impl<V: Clone> Remembered<V> {
    /// Nothing yet, for each worker.
    #[must_use]
    pub fn new(services: &Services) -> Self {
        let tables = (0..services.workers).map(|_| Table(Mutex::default())).collect();
        Self { hasher: RandomState::new(), clocks: Clocks::new(&services.clock), tables }
    }

    /// What was found out about `proof`, where that still holds at `now_ms`.
    pub fn find<P: AsRef<[u8]>>(&self, worker: usize, proof: &[P], now_ms: u64) -> Option<V> {
        let slot = self.slot(proof)?;
        let table = self.tables[worker % self.tables.len()].0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = table.get(slot)?.as_ref()?;
        let same = entry.proof.len() == proof.len()
            && entry.proof.iter().zip(proof).all(|(own, other)| **own == *other.as_ref());
        (same && self.clocks.is_before(entry.end, now_ms)).then(|| entry.value.clone())
    }

    /// Remembers what was found out until `until_ms`.
    pub fn remember<P: AsRef<[u8]>>(&self, worker: usize, proof: &[P], until_ms: u64, value: V) {
        let Some(slot) = self.slot(proof) else { return };
        let proof = proof.iter().map(|part| part.as_ref().into()).collect();
        let mut table =
            self.tables[worker % self.tables.len()].0.lock().unwrap_or_else(PoisonError::into_inner);
        if table.is_empty() {
            table.resize_with(SLOTS, || None);
        }
        table[slot] = Some(Entry { proof, end: self.clocks.end_at(until_ms), value });
    }

    /// The place of a proof; none if it is too long to be remembered.
    fn slot<P: AsRef<[u8]>>(&self, proof: &[P]) -> Option<usize> {
        let length: usize = proof.iter().map(|part| part.as_ref().len()).sum();
        let first = proof.first().filter(|_| length <= LONGEST)?;
        Some(self.hasher.hash_one(first.as_ref()) as usize % SLOTS)
    }
}

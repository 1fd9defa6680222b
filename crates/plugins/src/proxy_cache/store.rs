//! Responses in memory: bounded in bytes, the least recently used going first, kept over reloads.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ahash::AHashMap;
use bytes::Bytes;
use plugin::Headers;

use super::key::Key;

const SHARDS: usize = 16;
/// Bytes of all responses together.
const CAPACITY: usize = 128 << 20;
/// Bytes of the largest response kept.
pub const LARGEST: usize = 4 << 20;
/// Bytes of responses on their way in.
const MOST_IN_FLIGHT: usize = 64 << 20;
/// What an entry costs beyond its bytes.
const OVERHEAD: usize = 512;

/// A stored response.
pub struct Entry {
    /// Status code.
    pub status: u16,
    /// Header fields worth repeating.
    pub headers: Headers,
    /// The whole body.
    pub body: Bytes,
    /// When it was stored, in milliseconds since 1970.
    pub stored_ms: u64,
    /// How old it was by then, in seconds (RFC 9111 4.2.3).
    pub initial_age: u64,
    /// How long it is fresh, in seconds.
    pub ttl: u64,
    /// How long it is kept, in seconds.
    pub storage_ttl: u64,
    /// It may answer requests with `Authorization` (RFC 9111 3.5).
    pub shareable: bool,
    /// It may not be used when it is no longer fresh, whatever the client accepts.
    pub must_revalidate: bool,
    /// Names of the request fields it varies by, and the digest of their values.
    pub vary: Option<(Vec<String>, Key)>,
}

impl Entry {
    /// Seconds since it was made, as far as can be told.
    pub fn age(&self, now_ms: u64) -> u64 {
        self.initial_age.saturating_add(now_ms.saturating_sub(self.stored_ms) / 1000)
    }

    fn expires_ms(&self) -> u64 {
        self.stored_ms.saturating_add(self.storage_ttl.saturating_mul(1000))
    }

    fn cost(&self) -> usize {
        let fields: usize = self.headers.iter().map(|(name, value)| name.len() + value.len() + 32).sum();
        self.body.len() + fields + OVERHEAD
    }
}

/// The responses.
pub struct Store {
    shards: Box<[Mutex<Lru>]>,
    shard_capacity: usize,
    in_flight: AtomicUsize,
}

impl Store {
    /// An empty store.
    pub fn new() -> Self {
        Self::bounded(CAPACITY)
    }

    fn bounded(capacity: usize) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { shards, shard_capacity: capacity / SHARDS, in_flight: AtomicUsize::new(0) }
    }

    fn with<T>(&self, key: &Key, run: impl FnOnce(&mut Lru) -> T) -> T {
        let shard = &self.shards[usize::from(key.0[0]) % SHARDS];
        run(&mut shard.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The response under `key`, unless its time is over.
    pub fn find(&self, key: &Key, now_ms: u64) -> Option<Arc<Entry>> {
        self.with(key, |lru| {
            let entry = lru.find(key)?;
            if entry.expires_ms() > now_ms {
                return Some(entry);
            }
            lru.remove(key);
            None
        })
    }

    /// Stores a response in place of the one before.
    pub fn put(&self, key: Key, entry: Entry) {
        let capacity = self.shard_capacity;
        self.with(&key, |lru| lru.put(key, Arc::new(entry), capacity));
    }

    /// Forgets the response under `key`; whether there was one.
    pub fn remove(&self, key: &Key) -> bool {
        self.with(key, |lru| lru.remove(key))
    }

    /// Forgets all responses.
    pub fn clear(&self) {
        for shard in &self.shards {
            *shard.lock().unwrap_or_else(PoisonError::into_inner) = Lru::default();
        }
    }

    /// Makes room for `bytes` of a response that is coming in; false if too much is coming in already.
    pub fn reserve(&self, bytes: usize) -> bool {
        let more = |taken: usize| taken.checked_add(bytes).filter(|total| *total <= MOST_IN_FLIGHT);
        self.in_flight.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    /// Gives back what [`Store::reserve`] took.
    pub fn release(&self, bytes: usize) {
        self.in_flight.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Entries by key, linked from the most to the least recently used.
struct Lru {
    index: AHashMap<Key, usize>,
    slots: Vec<Slot>,
    free: Vec<usize>,
    newest: usize,
    oldest: usize,
    bytes: usize,
}

struct Slot {
    key: Key,
    entry: Option<Arc<Entry>>,
    newer: usize,
    older: usize,
}

/// No slot.
const NONE: usize = usize::MAX;

impl Default for Lru {
    fn default() -> Self {
        let index = AHashMap::new();
        Self { index, slots: Vec::new(), free: Vec::new(), newest: NONE, oldest: NONE, bytes: 0 }
    }
}

impl Lru {
    fn find(&mut self, key: &Key) -> Option<Arc<Entry>> {
        let slot = *self.index.get(key)?;
        if slot != self.newest {
            self.unlink(slot);
            self.link(slot);
        }
        self.slots[slot].entry.clone()
    }

    fn put(&mut self, key: Key, entry: Arc<Entry>, capacity: usize) {
        self.remove(&key);
        let cost = entry.cost();
        if cost > capacity {
            return;
        }
        while self.bytes + cost > capacity && self.oldest != NONE {
            let oldest = self.slots[self.oldest].key;
            self.remove(&oldest);
        }
        let filled = Slot { key, entry: Some(entry), newer: NONE, older: NONE };
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot] = filled;
                slot
            }
            None => {
                self.slots.push(filled);
                self.slots.len() - 1
            }
        };
        self.index.insert(key, slot);
        self.bytes += cost;
        self.link(slot);
    }

    fn remove(&mut self, key: &Key) -> bool {
        let Some(slot) = self.index.remove(key) else { return false };
        self.unlink(slot);
        if let Some(entry) = self.slots[slot].entry.take() {
            self.bytes -= entry.cost();
        }
        self.free.push(slot);
        true
    }

    /// Puts a slot in front of all others.
    fn link(&mut self, slot: usize) {
        let newest = std::mem::replace(&mut self.newest, slot);
        self.slots[slot].newer = NONE;
        self.slots[slot].older = newest;
        match newest {
            NONE => self.oldest = slot,
            newest => self.slots[newest].newer = slot,
        }
    }

    fn unlink(&mut self, slot: usize) {
        let Slot { newer, older, .. } = self.slots[slot];
        match newer {
            NONE => self.newest = older,
            newer => self.slots[newer].older = older,
        }
        match older {
            NONE => self.oldest = newer,
            older => self.slots[older].newer = newer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(size: usize, stored_ms: u64) -> Entry {
        Entry {
            status: 200,
            headers: Headers::new(),
            body: Bytes::from(vec![b'x'; size]),
            stored_ms,
            initial_age: 0,
            ttl: 10,
            storage_ttl: 10,
            shareable: false,
            must_revalidate: false,
            vary: None,
        }
    }

    /// Keys of one shard.
    fn key(number: u8) -> Key {
        let mut key = [number; 32];
        key[0] = 0;
        Key(key)
    }

    #[test]
    fn the_least_recently_used_goes_first() {
        let store = Store::bounded(SHARDS * 3 * (1000 + OVERHEAD));
        for number in 1..=3 {
            store.put(key(number), entry(1000, 0));
        }
        assert!(store.find(&key(1), 0).is_some());
        store.put(key(4), entry(1000, 0));
        let held = |number| store.find(&key(number), 0).is_some();
        assert_eq!([1, 2, 3, 4].map(held), [true, false, true, true]);
        store.put(key(5), entry(2500, 0));
        assert_eq!([1, 3, 4, 5].map(held), [false, false, true, true]);
        store.put(key(4), entry(10_000, 0));
        assert_eq!([4, 5].map(held), [false, true], "one that can never fit displaces nothing but itself");
    }

    #[test]
    fn time_ends_an_entry_and_its_memory() {
        let store = Store::bounded(SHARDS * 10_000);
        store.put(key(1), entry(1000, 5000));
        assert!(store.find(&key(1), 14_999).is_some());
        assert!(store.find(&key(1), 15_000).is_none());
        assert_eq!(store.shards[0].lock().unwrap().bytes, 0);
    }

    #[test]
    fn bytes_are_accounted_through_any_sequence() {
        let store = Store::bounded(SHARDS * 20_000);
        let mut state = 7_u64;
        for _ in 0..20_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let number = (state >> 33) as u8 % 40;
            match (state >> 60) as u8 {
                0..=8 => store.put(key(number), entry((state >> 40) as usize % 6000, 0)),
                9..=12 => drop(store.find(&key(number), 0)),
                _ => drop(store.remove(&key(number))),
            }
        }
        let lru = store.shards[0].lock().unwrap();
        let held: usize =
            lru.slots.iter().filter_map(|slot| slot.entry.as_ref()).map(|entry| entry.cost()).sum();
        assert_eq!((lru.bytes, lru.index.len() + lru.free.len()), (held, lru.slots.len()));
        assert!(lru.bytes <= 20_000 && !lru.index.is_empty());
        let (mut walked, mut slot) = (0, lru.newest);
        while slot != NONE {
            walked += 1;
            slot = lru.slots[slot].older;
        }
        assert_eq!(walked, lru.index.len());
    }

    #[test]
    fn what_comes_in_at_once_is_bounded() {
        let store = Store::new();
        assert!(store.reserve(MOST_IN_FLIGHT) && !store.reserve(1));
        store.release(MOST_IN_FLIGHT);
        assert!(store.reserve(1));
    }
}

//! Responses in memory: bounded in bytes, the least recently used going first, kept over reloads.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use plugin::Headers;
use plugin::collect::Budget;
use plugin::lru::Lru;

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
    /// When it was stored, by a clock that nobody sets.
    pub stored_ms: u64,
    /// The same in seconds since 1970.
    pub stored_at: u64,
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

/// How often responses have been forgotten that could be under one key, so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edition(u32);

/// Counts of an [`Edition`] in a shard; keys share them.
const EDITIONS: usize = 256;

/// Some of the responses.
struct Shard {
    responses: Lru<Key, Entry>,
    editions: [u32; EDITIONS],
}

/// The responses.
pub struct Store {
    shards: Box<[Mutex<Shard>]>,
    shard_capacity: usize,
    /// Memory for responses on their way in.
    pub incoming: Arc<Budget>,
}

impl Store {
    /// An empty store.
    pub fn new() -> Self {
        Self::bounded(CAPACITY)
    }

    fn bounded(capacity: usize) -> Self {
        let empty = || Shard { responses: Lru::default(), editions: [0; EDITIONS] };
        let shards = (0..SHARDS).map(|_| Mutex::new(empty())).collect();
        Self { shards, shard_capacity: capacity / SHARDS, incoming: Arc::new(Budget::new(MOST_IN_FLIGHT)) }
    }

    fn with<T>(&self, key: &Key, run: impl FnOnce(&mut Shard) -> T) -> T {
        let shard = &self.shards[usize::from(key.0[0]) % SHARDS];
        run(&mut shard.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The response under `key`, unless its time is over.
    pub fn find(&self, key: &Key, now_ms: u64) -> Option<Arc<Entry>> {
        self.with(key, |Shard { responses, .. }| {
            let entry = responses.find(key)?;
            if entry.expires_ms() > now_ms {
                return Some(entry);
            }
            responses.remove(key);
            None
        })
    }

    /// What a response has to be stored with whose request begins now.
    pub fn edition(&self, key: &Key) -> Edition {
        self.with(key, |shard| Edition(*shard.edition(key)))
    }

    /// Stores a response in place of the one before, unless what is under its key has been forgotten since its request
    /// began: it may be older than what made others untrue.
    pub fn put(&self, key: Key, edition: Edition, entry: Entry) {
        let capacity = self.shard_capacity;
        let cost = entry.cost();
        self.with(&key, |shard| {
            if Edition(*shard.edition(&key)) == edition {
                shard.responses.put(key, Arc::new(entry), cost, capacity);
            }
        });
    }

    /// Forgets the response under `key`, and those on their way there; whether there was one.
    pub fn remove(&self, key: &Key) -> bool {
        self.with(key, |shard| {
            let edition = shard.edition(key);
            *edition = edition.wrapping_add(1);
            shard.responses.remove(key)
        })
    }

    /// Forgets all responses, and those on their way.
    pub fn clear(&self) {
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.editions.iter_mut().for_each(|edition| *edition = edition.wrapping_add(1));
            shard.responses = Lru::default();
        }
    }
}

impl Shard {
    fn edition(&mut self, key: &Key) -> &mut u32 {
        &mut self.editions[usize::from(key.0[1]) % EDITIONS]
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
            stored_at: stored_ms / 1000,
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

    fn put(store: &Store, number: u8, entry: Entry) {
        store.put(key(number), store.edition(&key(number)), entry);
    }

    #[test]
    fn the_least_recently_used_goes_first() {
        let store = Store::bounded(SHARDS * 3 * (1000 + OVERHEAD));
        for number in 1..=3 {
            put(&store, number, entry(1000, 0));
        }
        assert!(store.find(&key(1), 0).is_some());
        put(&store, 4, entry(1000, 0));
        let held = |number| store.find(&key(number), 0).is_some();
        assert_eq!([1, 2, 3, 4].map(held), [true, false, true, true]);
        put(&store, 5, entry(2500, 0));
        assert_eq!([1, 3, 4, 5].map(held), [false, false, true, true]);
        put(&store, 4, entry(10_000, 0));
        assert_eq!([4, 5].map(held), [false, true], "one that can never fit displaces nothing but itself");
    }

    #[test]
    fn time_ends_an_entry_and_its_memory() {
        let store = Store::bounded(SHARDS * 10_000);
        put(&store, 1, entry(1000, 5000));
        assert!(store.find(&key(1), 14_999).is_some());
        assert!(store.find(&key(1), 15_000).is_none());
        assert_eq!(store.shards[0].lock().unwrap().responses.bytes(), 0);
    }

    #[test]
    fn what_is_on_its_way_when_it_is_forgotten_is_not_stored() {
        let store = Store::bounded(SHARDS * 10_000);
        let editions = [1, 2].map(|number| store.edition(&key(number)));
        assert!(!store.remove(&key(1)), "nothing is there yet");
        for (number, edition) in [1, 2].into_iter().zip(editions) {
            store.put(key(number), edition, entry(10, 0));
        }
        assert_eq!([1, 2].map(|number| store.find(&key(number), 0).is_some()), [false, true]);
        put(&store, 1, entry(10, 0));
        assert!(store.find(&key(1), 0).is_some(), "asked for afterwards");
        let edition = store.edition(&key(1));
        store.clear();
        store.put(key(1), edition, entry(10, 0));
        assert!(store.find(&key(1), 0).is_none());
    }
}

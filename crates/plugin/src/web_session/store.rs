//! Sessions in the memory of the process, found by the random number that the cookie holds. Bounded in bytes: those not
//! used for longest go first. All are lost when the process ends.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::lru::Lru;

/// Parts of the table, each with a lock of its own.
const SHARDS: usize = 16;
/// Bytes of all sessions of a shard.
const CAPACITY: usize = 4 << 20;
/// What a session takes beyond its content, about.
const OVERHEAD: usize = 160;

/// What is known of a session.
pub(super) struct Kept {
    /// Its content.
    pub(super) content: Vec<u8>,
    /// Seconds since 1970 from which on it is gone.
    pub(super) gone: u64,
}

/// The sessions of a process.
#[derive(Default)]
pub(super) struct Store([Mutex<Lru<[u8; 32], Kept>>; SHARDS]);

impl Store {
    /// The session `id`, unless it is gone at `now`.
    pub(super) fn find(&self, id: &[u8; 32], now: u64) -> Option<Arc<Kept>> {
        let mut shard = self.shard(id);
        let kept = shard.find(id)?;
        if now < kept.gone {
            return Some(kept);
        }
        shard.remove(id);
        None
    }

    /// Keeps a session, in place of what it was before.
    pub(super) fn put(&self, id: [u8; 32], kept: Kept) {
        let cost = OVERHEAD + kept.content.len();
        self.shard(&id).put(id, Arc::new(kept), cost, CAPACITY);
    }

    /// Changes the content of a session that is there, and not how long it lasts.
    pub(super) fn update(&self, id: &[u8; 32], content: Vec<u8>) {
        let mut shard = self.shard(id);
        let Some(gone) = shard.find(id).map(|kept| kept.gone) else { return };
        let cost = OVERHEAD + content.len();
        shard.put(*id, Arc::new(Kept { content, gone }), cost, CAPACITY);
    }

    /// Forgets a session.
    pub(super) fn remove(&self, id: &[u8; 32]) {
        self.shard(id).remove(id);
    }

    /// Lets a session go on until `gone` and not longer.
    pub(super) fn shorten(&self, id: &[u8; 32], gone: u64) {
        let mut shard = self.shard(id);
        let Some(kept) = shard.find(id).filter(|kept| kept.gone > gone) else { return };
        let cost = OVERHEAD + kept.content.len();
        shard.put(*id, Arc::new(Kept { content: kept.content.clone(), gone }), cost, CAPACITY);
    }

    fn shard(&self, id: &[u8; 32]) -> MutexGuard<'_, Lru<[u8; 32], Kept>> {
        self.0[usize::from(id[0]) % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

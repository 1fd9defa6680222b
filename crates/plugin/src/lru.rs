//! A table bounded in bytes whose entries go when they have not been used for longest. Every operation takes constant
//! time, so a lock around it is held for the time of a look.

use std::hash::Hash;
use std::sync::Arc;

use ahash::AHashMap;

/// Entries by key, linked from the most to the least recently used.
pub struct Lru<K, V> {
    index: AHashMap<K, usize>,
    slots: Vec<Slot<K, V>>,
    free: Vec<usize>,
    newest: usize,
    oldest: usize,
    bytes: usize,
}

struct Slot<K, V> {
    key: K,
    entry: Option<(Arc<V>, usize)>,
    newer: usize,
    older: usize,
}

/// No slot.
const NONE: usize = usize::MAX;

impl<K, V> Default for Lru<K, V> {
    fn default() -> Self {
        let index = AHashMap::new();
        Self { index, slots: Vec::new(), free: Vec::new(), newest: NONE, oldest: NONE, bytes: 0 }
    }
}

impl<K: Clone + Eq + Hash, V> Lru<K, V> {
    /// The entry under `key`, which is now the one used last.
    pub fn find(&mut self, key: &K) -> Option<Arc<V>> {
        self.touch(key).cloned()
    }

    /// The same, lent.
    pub fn touch(&mut self, key: &K) -> Option<&Arc<V>> {
        let slot = *self.index.get(key)?;
        if slot != self.newest {
            self.unlink(slot);
            self.link(slot);
        }
        self.slots[slot].entry.as_ref().map(|(entry, _)| entry)
    }

    /// Stores an entry of `cost` bytes in place of the one before. Those used least recently give way, so that all
    /// together stay within `capacity` bytes; one that costs more than that is not stored.
    pub fn put(&mut self, key: K, entry: Arc<V>, cost: usize, capacity: usize) {
        self.put_and_tell(key, entry, cost, capacity, |_| {});
    }

    /// The same; `gone` is told the keys of those that gave way, or the one that is not stored.
    pub fn put_and_tell(
        &mut self,
        key: K,
        entry: Arc<V>,
        cost: usize,
        capacity: usize,
        mut gone: impl FnMut(K),
    ) {
        self.remove(&key);
        if cost > capacity {
            return gone(key);
        }
        while self.bytes + cost > capacity && self.oldest != NONE {
            let oldest = self.slots[self.oldest].key.clone();
            self.remove(&oldest);
            gone(oldest);
        }
        let filled = Slot { key: key.clone(), entry: Some((entry, cost)), newer: NONE, older: NONE };
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

    /// Forgets those used least recently until there are no more than `most`.
    pub fn shrink_to(&mut self, most: usize) {
        while self.index.len() > most && self.oldest != NONE {
            let oldest = self.slots[self.oldest].key.clone();
            self.remove(&oldest);
        }
    }

    /// Forgets the entry under `key`; whether there was one.
    pub fn remove(&mut self, key: &K) -> bool {
        let Some(slot) = self.index.remove(key) else { return false };
        self.unlink(slot);
        if let Some((_, cost)) = self.slots[slot].entry.take() {
            self.bytes -= cost;
        }
        self.free.push(slot);
        true
    }

    /// The keys of all entries, in any order.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.index.keys()
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Bytes of all entries together.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
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

    #[test]
    fn bytes_and_links_hold_through_any_sequence() {
        let (mut lru, mut state) = (Lru::<u8, usize>::default(), 7_u64);
        for _ in 0..20_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let (key, cost) = ((state >> 33) as u8 % 40, (state >> 40) as usize % 6000);
            match (state >> 60) as u8 {
                0..=8 => lru.put(key, Arc::new(cost), cost, 20_000),
                9..=12 => drop(lru.find(&key)),
                _ => drop(lru.remove(&key)),
            }
        }
        let held: usize = lru.slots.iter().filter_map(|slot| slot.entry.as_ref()).map(|(_, cost)| cost).sum();
        assert_eq!((lru.bytes, lru.index.len() + lru.free.len()), (held, lru.slots.len()));
        assert!(lru.bytes() <= 20_000 && !lru.index.is_empty());
        let (mut walked, mut slot) = (0, lru.newest);
        while slot != NONE {
            walked += 1;
            slot = lru.slots[slot].older;
        }
        assert_eq!(walked, lru.index.len());
    }
}

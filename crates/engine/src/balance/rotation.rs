//! Where a wheel stands. It survives a reload that leaves the targets as they are.

use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use ahash::{AHashMap, RandomState};

/// The position of a wheel, shared by all workers; on cache lines of its own.
#[derive(Default)]
#[repr(align(128))]
pub(super) struct Rotation(AtomicU64);

/// All rotations in use.
#[derive(Default)]
pub(crate) struct Rotations {
    hasher: RandomState,
    kept: Mutex<AHashMap<u64, Weak<Rotation>>>,
}

impl Rotation {
    /// The position, moved on by one.
    pub(super) fn advance(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }

    /// The position, left where it is.
    pub(super) fn position(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Rotations {
    /// The rotation of whatever `identity` describes, as long as a balancer holds it.
    pub(super) fn keep(&self, identity: &impl Hash) -> Arc<Rotation> {
        let key = self.hasher.hash_one(identity);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = kept.get(&key).and_then(Weak::upgrade) {
            return found;
        }
        let made = Arc::new(Rotation::default());
        kept.insert(key, Arc::downgrade(&made));
        made
    }

    /// Forgets the rotations that no balancer holds.
    pub(super) fn sweep(&self) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|_, rotation| rotation.strong_count() > 0);
    }
}

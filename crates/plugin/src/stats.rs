//! Counters the engine keeps, one shard per worker, summed when somebody looks.

use std::sync::atomic::{AtomicU64, Ordering};

/// One worker's counters, alone on its cache lines.
#[repr(align(128))]
#[derive(Default)]
pub struct Shard {
    /// Connections accepted from clients and served.
    pub accepted: Counter,
    /// Connections refused because a bound was reached.
    pub refused: Counter,
    /// Connections closed, for whatever reason.
    pub closed: Counter,
    /// Requests whose head was read, well-formed or not.
    pub requests: Counter,
    /// Connections on which a head is being read.
    pub reading: Gauge,
    /// Connections on which a request is being answered.
    pub writing: Gauge,
}

/// A counter with one writer and many readers.
#[derive(Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `by`. Only the worker that owns the shard may call this: it is not a read-modify-write.
    #[inline]
    pub fn add(&self, by: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
    }

    /// The value so far.
    #[inline]
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A level with one writer and many readers.
#[derive(Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// What the owner has counted.
    pub fn set(&self, level: u64) {
        self.0.store(level, Ordering::Relaxed);
    }

    /// The level now.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// All workers' counters.
pub struct Stats {
    shards: Box<[Shard]>,
}

impl Stats {
    /// Counters for `workers` workers.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        Self { shards: (0..workers.max(1)).map(|_| Shard::default()).collect() }
    }

    /// The shard of one worker.
    #[inline]
    #[must_use]
    pub fn shard(&self, worker: usize) -> &Shard {
        &self.shards[worker % self.shards.len()]
    }

    /// The sum of one figure over all workers.
    pub fn sum(&self, figure: impl Fn(&Shard) -> u64) -> u64 {
        self.shards.iter().map(figure).sum()
    }
}

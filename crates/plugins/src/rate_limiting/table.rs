//! Counters of one plugin instance, shared by all workers: exact, and bounded in memory.
//!
//! The table is sharded; a shard is a row of small buckets guarded by one lock, so that testing and counting a
//! request over all its windows is one step that nobody sees half done. A bucket doubles its shard when it is full
//! of counters in use, up to a bound. Beyond the bound the least used counter of the bucket gives way, and that is
//! counted: an established caller is never forgotten in favour of one who has asked less.

use std::sync::{Arc, Mutex, PoisonError};

use ahash::RandomState;
use plugin::stats::Tally;

const SHARDS: usize = 64;
const WAYS: usize = 8;
/// Bound of a shard; 64 shards of 1024 buckets of 8 counters are 524,288 counters, 32 MiB.
const MOST_BUCKETS: usize = 1024;
/// Periods there are.
pub const PERIODS: usize = 6;
/// Windows by which a request may come late, by period: ten minutes, or one window where that is more.
const LATE: [u32; PERIODS] = [600, 10, 1, 1, 1, 1];

/// One limit to be held in its current window.
#[derive(Debug, Clone, Copy, Default)]
pub struct Demand {
    /// Which period, as an index below [`PERIODS`].
    pub period: usize,
    /// Number of the current window.
    pub ordinal: u32,
    /// Requests admitted in the window.
    pub limit: u32,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// All windows had room, and it has been counted in each.
    pub admitted: bool,
    /// Requests counted so far by the position of the demand, this one included if admitted.
    pub used: [u32; PERIODS],
}

/// The counters.
pub struct Table {
    shards: Box<[Shard]>,
    most_buckets: usize,
    hashers: [RandomState; 2],
    displaced: Arc<Tally>,
}

#[repr(align(128))]
#[derive(Default)]
struct Shard(Mutex<Slots>);

/// Slots of a shard. A zero key marks a slot never used.
#[derive(Default)]
struct Slots {
    keys: Vec<u128>,
    cells: Vec<[Cell; PERIODS]>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Cell {
    ordinal: u32,
    count: u32,
}

impl Table {
    /// An empty table; `displaced` counts counters that gave way to others while in use.
    pub fn new(displaced: Arc<Tally>) -> Self {
        Self::bounded(displaced, MOST_BUCKETS)
    }

    fn bounded(displaced: Arc<Tally>, most_buckets: usize) -> Self {
        let shards = (0..SHARDS).map(|_| Shard::default()).collect();
        Self { shards, most_buckets, hashers: [RandomState::new(), RandomState::new()], displaced }
    }

    /// The key of an identifier: 128 bits keyed at random, so that nobody can aim at another's counter.
    pub fn key(&self, kind: u8, identifier: &[u8]) -> u128 {
        let [high, low] = &self.hashers;
        let high = high.hash_one((kind, identifier));
        let low = low.hash_one((kind, identifier));
        ((u128::from(high) << 64) | u128::from(low)).max(1)
    }

    /// Counts a request in every window if each of them has room, in one step.
    pub fn take(&self, key: u128, demands: &[Demand]) -> Verdict {
        let shard = &self.shards[(key as usize) % SHARDS];
        let mut slots = shard.0.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = self.slot(&mut slots, key, demands);
        let cells = &mut slots.cells[slot];
        for demand in demands {
            let cell = &mut cells[demand.period];
            if !is_current(*cell, demand) {
                *cell = Cell { ordinal: demand.ordinal, count: 0 };
            }
        }
        let admitted = demands.iter().all(|demand| cells[demand.period].count < demand.limit);
        let mut used = [0; PERIODS];
        for (used, demand) in used.iter_mut().zip(demands) {
            let cell = &mut cells[demand.period];
            cell.count += u32::from(admitted);
            *used = cell.count;
        }
        Verdict { admitted, used }
    }

    /// The slot of `key`: its own, one that is free or whose windows are over, a new one, or the least used one.
    fn slot(&self, slots: &mut Slots, key: u128, demands: &[Demand]) -> usize {
        loop {
            let bucket = slots.bucket(key);
            if let Some(found) = slots.find(bucket.clone(), key, demands) {
                return found;
            }
            if slots.buckets() < self.most_buckets {
                slots.grow();
                continue;
            }
            self.displaced.add(1);
            let slot = slots.least_used(bucket, demands);
            slots.assign(slot, key);
            return slot;
        }
    }
}

impl Slots {
    fn buckets(&self) -> usize {
        self.keys.len() / WAYS
    }

    fn bucket(&self, key: u128) -> std::ops::Range<usize> {
        match self.buckets() {
            0 => 0..0,
            buckets => {
                let start = ((key >> 64) as usize & (buckets - 1)) * WAYS;
                start..start + WAYS
            }
        }
    }

    fn find(&mut self, bucket: std::ops::Range<usize>, key: u128, demands: &[Demand]) -> Option<usize> {
        if let Some(way) = self.keys[bucket.clone()].iter().position(|held| *held == key) {
            return Some(bucket.start + way);
        }
        let over =
            |cells: &[Cell; PERIODS]| !demands.iter().any(|demand| is_current(cells[demand.period], demand));
        let free = bucket.into_iter().find(|slot| self.keys[*slot] == 0 || over(&self.cells[*slot]))?;
        self.assign(free, key);
        Some(free)
    }

    fn assign(&mut self, slot: usize, key: u128) {
        self.keys[slot] = key;
        self.cells[slot] = Default::default();
    }

    fn least_used(&self, bucket: std::ops::Range<usize>, demands: &[Demand]) -> usize {
        let share = |slot: &usize| {
            let cells = &self.cells[*slot];
            let counts = demands.iter().map(|demand| match is_current(cells[demand.period], demand) {
                true => u64::from(cells[demand.period].count) * 1_000_000 / u64::from(demand.limit.max(1)),
                false => 0,
            });
            counts.max().unwrap_or_default()
        };
        let start = bucket.start;
        bucket.min_by_key(share).unwrap_or(start)
    }

    /// Doubles the buckets. Each splits in two, so none can overflow.
    fn grow(&mut self) {
        let slots = (self.keys.len() * 2).max(WAYS);
        let keys = std::mem::replace(&mut self.keys, vec![0; slots]);
        let cells = std::mem::replace(&mut self.cells, vec![Default::default(); slots]);
        for (key, cells) in keys.into_iter().zip(cells).filter(|(key, _)| *key != 0) {
            let free = self.bucket(key).find(|slot| self.keys[*slot] == 0);
            if let Some(slot) = free {
                self.keys[slot] = key;
                self.cells[slot] = cells;
            }
        }
    }
}

/// Whether a cell counts the demand's window. Windows soon after it count too: a worker that read the clock just
/// before a boundary, or a request whose body took long, must not wipe what others have counted since. A cell far
/// ahead is of a clock that has been set back, and is begun anew.
fn is_current(cell: Cell, demand: &Demand) -> bool {
    cell.ordinal.wrapping_sub(demand.ordinal) <= LATE[demand.period]
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::thread;

    use super::*;

    fn table(most_buckets: usize) -> Table {
        Table::bounded(Arc::new(Tally::new("displaced", "")), most_buckets)
    }

    fn minute(ordinal: u32, limit: u32) -> Demand {
        Demand { period: 1, ordinal, limit }
    }

    #[test]
    fn exactly_the_limit_is_admitted_whatever_the_number_of_threads() {
        let table = table(MOST_BUCKETS);
        let (threads, tries) = (8, 20_000);
        let demands = [Demand { period: 0, ordinal: 7, limit: 30_000 }, minute(1, 12_345)];
        let (admitted, barrier) = (AtomicU32::new(0), Barrier::new(threads));
        let key = table.key(0, b"caller");
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    barrier.wait();
                    for _ in 0..tries {
                        admitted.fetch_add(u32::from(table.take(key, &demands).admitted), Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(admitted.into_inner(), 12_345);
        assert_eq!(
            table.take(key, &demands).used[..2],
            [12_345, 12_345],
            "rejected requests are not counted"
        );
    }

    #[test]
    fn growing_under_many_keys_and_threads_forgets_nobody() {
        let table = table(MOST_BUCKETS);
        let admitted = AtomicU32::new(0);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..3 {
                        for caller in 0..20_000u32 {
                            let key = table.key(1, &caller.to_be_bytes());
                            let verdict = table.take(key, &[minute(1, 2)]);
                            admitted.fetch_add(u32::from(verdict.admitted), Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        assert_eq!((admitted.into_inner(), table.displaced.value()), (40_000, 0));
    }

    #[test]
    fn a_full_table_reuses_what_is_over_and_then_displaces_the_least_used() {
        let table = table(1);
        let keys: Vec<u128> = (0..20_000u32)
            .map(|caller| table.key(0, &caller.to_be_bytes()))
            .filter(|key| (*key as usize).is_multiple_of(SHARDS))
            .take(WAYS * 2)
            .collect();
        for key in &keys[..WAYS] {
            table.take(*key, &[minute(1, 9)]);
            table.take(*key, &[minute(1, 9)]);
        }
        for key in &keys[WAYS..] {
            table.take(*key, &[minute(3, 9)]);
            table.take(*key, &[minute(3, 9)]);
        }
        assert_eq!(table.displaced.value(), 0, "the windows of the first callers are over");
        assert_eq!(table.take(keys[0], &[minute(3, 9)]).used[0], 1);
        assert_eq!(table.displaced.value(), 1);
        assert_eq!(table.take(keys[1], &[minute(3, 9)]).used[0], 1);
        assert_eq!(table.displaced.value(), 2, "the newcomer with one request gave way");
        let kept = keys[WAYS..].iter().filter(|key| table.take(**key, &[minute(3, 9)]).used[0] == 3).count();
        assert_eq!(kept, WAYS - 1, "those with two requests stayed, but for the first displaced");
    }

    #[test]
    fn a_request_that_took_long_to_come_in_does_not_reset_the_window() {
        let table = table(1);
        let second = |ordinal| Demand { period: 0, ordinal, limit: 1 };
        assert!(table.take(5, &[second(1000)]).admitted);
        assert!(!table.take(5, &[second(970)]).admitted);
        assert!(!table.take(5, &[second(1000)]).admitted);
        assert!(table.take(5, &[second(1001)]).admitted);
        assert!(table.take(5, &[second(1001 - LATE[0] - 1)]).admitted, "the clock has been set back");
    }

    #[test]
    fn a_worker_whose_clock_is_a_moment_behind_does_not_reset_the_window() {
        let table = table(1);
        assert!(table.take(5, &[minute(11, 1)]).admitted);
        assert!(!table.take(5, &[minute(10, 1)]).admitted);
        assert!(!table.take(5, &[minute(11, 1)]).admitted);
        assert!(table.take(5, &[minute(12, 1)]).admitted);
    }
}

//! Counters of one instance, shared by all workers: exact, and bounded in memory.
//!
//! The table is sharded; a shard is a row of small buckets guarded by one lock, so that testing and counting a
//! request over all its limits is one step that nobody sees half done. A caller has two buckets and is in the emptier
//! one; a shard doubles when both are full of counters in use, up to a bound. Beyond the bound the caller who has used
//! the smallest share gives way, but never one who is at a limit: where all are, newcomers of the shard share one
//! counter, so that they neither pass freely nor set anybody free. Instances that share a table may have different limits;
//! being at any of them counts.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use ahash::RandomState;

use super::cell::{Cell, Demand, Measure, Pending, WHOLE};
use super::limit::{Algorithm, Limit};
use super::{MOST_LIMITS, Verdict};
use crate::figures::Figure;

const SHARDS: usize = 64;
const WAYS: usize = 8;
/// Bound of a shard; 64 shards of 4096 buckets of 8 are 2,097,152 callers. Each takes 16 bytes, and 20 a limit.
const MOST_BUCKETS: usize = 4096;

/// What becomes of requests that are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// They are not counted.
    Forgotten,
    /// They are counted in sliding windows, so that who goes on asking stays out.
    Counted,
}

/// The counters.
pub struct Table {
    shards: Box<[Shard]>,
    limits: usize,
    most_buckets: usize,
    hashers: [RandomState; 2],
    displaced: Arc<Figure>,
    /// The limits of the instances that count here. They may differ, where instances share a namespace.
    held: Mutex<Vec<Weak<[Limit]>>>,
}

#[repr(align(128))]
#[derive(Default)]
struct Shard(Mutex<Slots>);

/// Slots of a shard. A zero key marks a slot never used. Cells lie in groups, one group a slot.
#[derive(Default)]
struct Slots {
    keys: Vec<u128>,
    cells: Vec<Cell>,
    shared: Vec<Cell>,
}

/// Where a caller's counters are.
enum Place {
    Slot(usize),
    /// Together with others for whom there is no room.
    Shared,
}

impl Table {
    /// An empty table for callers with so many limits; `displaced` counts callers who were forgotten, or counted
    /// together with others, though their windows were not over.
    #[must_use]
    pub fn new(limits: usize, displaced: Arc<Figure>) -> Self {
        Self::bounded(limits, displaced, MOST_BUCKETS)
    }

    /// The same, with so many buckets a shard at most, a power of two: each has room for 512 callers in all.
    #[must_use]
    pub fn bounded(limits: usize, displaced: Arc<Figure>, most_buckets: usize) -> Self {
        let shards = (0..SHARDS).map(|_| Shard::default()).collect();
        let limits = limits.clamp(1, MOST_LIMITS);
        let hashers = [RandomState::new(), RandomState::new()];
        Self { shards, limits, most_buckets, hashers, displaced, held: Mutex::default() }
    }

    /// Takes note of an instance that counts here: as long as it lives, who is at one of its limits gives way to nobody.
    pub fn hold(&self, limits: &Arc<[Limit]>) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.retain(|other| other.strong_count() > 0);
        held.push(Arc::downgrade(limits));
    }

    /// The key of an identifier: 128 bits keyed at random, so that nobody can aim at another's counter.
    #[must_use]
    pub fn key(&self, kind: u8, identifier: &[u8]) -> u128 {
        let [high, low] = &self.hashers;
        let high = high.hash_one((kind, identifier));
        let low = low.hash_one((kind, identifier));
        ((u128::from(high) << 64) | u128::from(low)).max(1)
    }

    /// Counts `amount` against every limit if each of them has room for one, in one step.
    pub fn take(&self, key: u128, demands: &[Demand], amount: u32, refused: Refused) -> Verdict {
        let mut slots = self.shard(key).0.lock().unwrap_or_else(PoisonError::into_inner);
        let cells = match self.place(&mut slots, key, demands) {
            Place::Slot(slot) => slots.group(slot, self.limits),
            Place::Shared => {
                slots.shared.resize(self.limits, Cell::default());
                slots.shared.as_mut_slice()
            }
        };
        let mut admitted = true;
        for (cell, demand) in cells.iter_mut().zip(demands) {
            cell.advance(demand);
            admitted &= cell.has_room(demand);
        }
        let mut verdict = Verdict { admitted, ..Verdict::default() };
        let counts_anyway = refused == Refused::Counted;
        for (index, (cell, demand)) in cells.iter_mut().zip(demands).enumerate() {
            let counts = admitted || (counts_anyway && matches!(demand.measure, Measure::Sliding { .. }));
            if counts {
                verdict.is_new |= cell.pending == 0 && cell.owed == 0;
                cell.add(demand, amount);
                cell.pending = cell.pending.saturating_add(amount);
            }
            (verdict.count[index], verdict.more[index]) = cell.reading(demand);
        }
        verdict
    }

    /// What [`Table::take`] would find, without counting.
    pub fn look(&self, key: u128, demands: &[Demand]) -> Verdict {
        let mut cells = [Cell::default(); MOST_LIMITS];
        let mut slots = self.shard(key).0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.find(key) {
            cells[..self.limits].copy_from_slice(slots.group(slot, self.limits));
        }
        drop(slots);
        let mut verdict = Verdict { admitted: true, ..Verdict::default() };
        for (index, (cell, demand)) in cells.iter_mut().zip(demands).enumerate() {
            cell.advance(demand);
            verdict.admitted &= cell.has_room(demand);
            (verdict.count[index], verdict.more[index]) = cell.reading(demand);
        }
        verdict
    }

    /// Takes note of what all gateways have counted, two numbers a limit: never less than is known here already, of which
    /// some may be on its way to them. Not for callers who share a counter.
    pub fn learn(&self, key: u128, demands: &[Demand], counts: &[(u64, u64)]) {
        let mut slots = self.shard(key).0.lock().unwrap_or_else(PoisonError::into_inner);
        let Place::Slot(slot) = self.place(&mut slots, key, demands) else { return };
        for ((cell, demand), counts) in slots.group(slot, self.limits).iter_mut().zip(demands).zip(counts) {
            cell.advance(demand);
            cell.learn(demand, *counts);
        }
    }

    /// Takes note of what `key` has counted since this was last called; none for a caller who is not in the table.
    pub fn collect(&self, key: u128) -> Option<[Pending; MOST_LIMITS]> {
        let mut slots = self.shard(key).0.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = slots.find(key)?;
        let mut pending = [Pending::default(); MOST_LIMITS];
        for (pending, cell) in pending.iter_mut().zip(slots.group(slot, self.limits)) {
            *pending = cell.collect();
        }
        Some(pending)
    }

    /// Takes back one request that has been counted against the limits, which do not make an even stream. Not for callers
    /// who share a counter.
    pub fn withdraw(&self, key: u128, demands: &[Demand]) {
        let mut slots = self.shard(key).0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(slot) = slots.find(key) else { return };
        for (cell, demand) in slots.group(slot, self.limits).iter_mut().zip(demands) {
            cell.advance(demand);
            cell.count = cell.count.saturating_sub(1);
            cell.pending = cell.pending.saturating_sub(1);
        }
    }

    /// Forgets everything that `key` has counted. Not for callers who share a counter.
    pub fn forget(&self, key: u128) {
        let mut slots = self.shard(key).0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.find(key) {
            slots.keys[slot] = 0;
            slots.group(slot, self.limits).fill(Cell::default());
        }
    }

    /// Counts what could not be told elsewhere as not told, as far as the window that it was counted in still matters.
    pub fn give_back(&self, key: u128, index: usize, pending: Pending, algorithm: Algorithm) {
        self.with_cell(key, index, |cell| cell.give_back(pending, algorithm));
    }

    /// Takes over what all gateways have counted in the window `ordinal` and the one before, as of the last
    /// [`Table::collect`]; what came since then is added. Of the window before, no less counts than is known here.
    pub fn absorb(&self, key: u128, index: usize, ordinal: u32, total: u32, previous: u32) {
        self.with_cell(key, index, |cell| cell.absorb(ordinal, total, previous));
    }

    /// The same for [`Measure::Smooth`]: the time that all gateways have come to.
    pub fn absorb_time(&self, key: u128, index: usize, time: u64, interval: u64) {
        self.with_cell(key, index, |cell| cell.set_time(time + u64::from(cell.pending) * interval));
    }

    fn with_cell(&self, key: u128, index: usize, change: impl FnOnce(&mut Cell)) {
        let mut slots = self.shard(key).0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.find(key)
            && let Some(cell) = slots.group(slot, self.limits).get_mut(index)
        {
            change(cell);
        }
    }

    fn shard(&self, key: u128) -> &Shard {
        &self.shards[(key as usize) % SHARDS]
    }

    /// The place of `key`: its own, one that is free or whose windows are over, a new one, that of whoever has used
    /// least, or the one that is shared.
    fn place(&self, slots: &mut Slots, key: u128, demands: &[Demand]) -> Place {
        loop {
            if let Some(found) = slots.find(key) {
                return Place::Slot(found);
            }
            if let Some(free) = slots.free(key, self.limits, demands) {
                slots.assign(free, key, self.limits);
                return Place::Slot(free);
            }
            if slots.buckets() < self.most_buckets {
                slots.grow(self.limits);
                continue;
            }
            self.displaced.add(1);
            let floor = self.floor();
            let Some(least) = slots.least_used(key, self.limits, demands, &floor) else {
                return Place::Shared;
            };
            slots.assign(least, key, self.limits);
            return Place::Slot(least);
        }
    }

    /// The least that is used at the brim of an instance's limit, by the position of the limit. Asked for only where
    /// somebody has to give way.
    fn floor(&self) -> [u64; MOST_LIMITS] {
        let mut floor = [u64::MAX; MOST_LIMITS];
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        for limits in held.iter().filter_map(Weak::upgrade) {
            for (floor, limit) in floor.iter_mut().zip(&*limits) {
                *floor = limit.brim().min(*floor);
            }
        }
        floor
    }
}

impl Slots {
    fn buckets(&self) -> usize {
        self.keys.len() / WAYS
    }

    /// The two buckets of a key, which may be the same.
    fn choices(&self, key: u128) -> [Range<usize>; 2] {
        let Some(mask) = self.buckets().checked_sub(1) else { return [0..0, 0..0] };
        [64, 96].map(|shift| {
            let start = ((key >> shift) as usize & mask) * WAYS;
            start..start + WAYS
        })
    }

    fn group(&mut self, slot: usize, limits: usize) -> &mut [Cell] {
        &mut self.cells[slot * limits..(slot + 1) * limits]
    }

    fn find(&self, key: u128) -> Option<usize> {
        self.choices(key).into_iter().find_map(|bucket| {
            let start = bucket.start;
            self.keys[bucket].iter().position(|held| *held == key).map(|way| start + way)
        })
    }

    /// A slot in the emptier bucket that nobody needs.
    fn free(&self, key: u128, limits: usize, demands: &[Demand]) -> Option<usize> {
        let is_free = |slot: &usize| {
            let cells = &self.cells[slot * limits..(slot + 1) * limits];
            self.keys[*slot] == 0 || cells.iter().zip(demands).all(|(cell, demand)| cell.is_over(demand))
        };
        let [first, second] = self.choices(key).map(|bucket| {
            let mut free = bucket.filter(is_free);
            let found = free.next();
            (found, usize::from(found.is_some()) + free.count())
        });
        if first.1 >= second.1 { first.0 } else { second.0 }
    }

    fn assign(&mut self, slot: usize, key: u128, limits: usize) {
        self.keys[slot] = key;
        self.group(slot, limits).fill(Cell::default());
    }

    /// Whoever has used the smallest share; nobody who is at a limit.
    fn least_used(
        &self,
        key: u128,
        limits: usize,
        demands: &[Demand],
        floor: &[u64; MOST_LIMITS],
    ) -> Option<usize> {
        let share = |slot: usize| {
            let cells = self.cells[slot * limits..(slot + 1) * limits].iter().zip(demands).zip(floor);
            cells.map(|((cell, demand), floor)| cell.share(demand, *floor)).max().unwrap_or_default()
        };
        let slots = self.choices(key).into_iter().flatten();
        let least = slots.map(|slot| (share(slot), slot)).min()?;
        (least.0 < WHOLE).then_some(least.1)
    }

    /// Doubles the buckets. Each splits in two and its callers stay in one of the halves, so none can overflow.
    fn grow(&mut self, limits: usize) {
        let mask = self.buckets().saturating_sub(1);
        let slots = (self.keys.len() * 2).max(WAYS);
        let keys = std::mem::replace(&mut self.keys, vec![0; slots]);
        let cells = std::mem::replace(&mut self.cells, vec![Cell::default(); slots * limits]);
        for (old, key) in keys.into_iter().enumerate().filter(|(_, key)| *key != 0) {
            let [first, second] = self.choices(key);
            let was_first = (key >> 64) as usize & mask == old / WAYS;
            let mut bucket = if was_first { first } else { second };
            if let Some(slot) = bucket.find(|slot| self.keys[*slot] == 0) {
                self.keys[slot] = key;
                self.group(slot, limits).copy_from_slice(&cells[old * limits..(old + 1) * limits]);
            }
        }
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;

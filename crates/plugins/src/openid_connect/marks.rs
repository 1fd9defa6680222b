//! Marks about things that must not come back: logins that have been used, sessions that were ended at the provider.
//!
//! Bounded. Where marks have to give way before their time, everything as old as they are counts as marked.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ahash::AHashMap;
use plugin::remember::Digest;

/// Marks at most.
const MOST: usize = 100_000;

/// The marks of a process. Moments are seconds since 1970.
pub(super) struct Marks {
    most: usize,
    any: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    moments: AHashMap<Digest, u64>,
    order: VecDeque<(Digest, u64)>,
    /// The moment of the youngest mark that gave way.
    horizon: Option<u64>,
}

impl Default for Marks {
    fn default() -> Self {
        Self::of(MOST)
    }
}

impl Marks {
    fn of(most: usize) -> Self {
        Self { most, any: AtomicBool::new(false), state: Mutex::default() }
    }

    /// Marks a thing of `moment`; false if that has been done, or may have been. What is from before `oldest` is over
    /// anyway.
    pub(super) fn set(&self, thing: Digest, moment: u64, oldest: u64) -> bool {
        self.any.store(true, Ordering::Release);
        let mut state = self.lock();
        let is_new = state.is_unmarked(&thing, moment);
        // Who comes with the same again takes no place of others.
        if state.moments.get(&thing).is_none_or(|before| *before < moment) {
            state.moments.insert(thing, moment);
            state.order.push_back((thing, moment));
        }
        while let Some(&(first, moment)) = state.order.front()
            && (moment < oldest || state.order.len() > self.most)
        {
            state.order.pop_front();
            // Marked again later, it has another place in the order.
            if state.moments.get(&first) == Some(&moment) {
                state.moments.remove(&first);
                state.horizon = state.horizon.max((moment >= oldest).then_some(moment));
            }
        }
        is_new
    }

    /// Whether nothing was ever marked: that is known without a lock.
    pub(super) fn are_none(&self) -> bool {
        !self.any.load(Ordering::Acquire)
    }

    /// Whether a thing of `moment` is marked with this moment or a later one.
    pub(super) fn has(&self, thing: &Digest, moment: u64) -> bool {
        !self.lock().is_unmarked(thing, moment)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_unmarked(&self, thing: &Digest, moment: u64) -> bool {
        self.moments.get(thing).is_none_or(|marked| *marked < moment)
            && self.horizon.is_none_or(|horizon| horizon < moment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thing(number: u32) -> Digest {
        Digest::of([&number.to_be_bytes()[..]])
    }

    #[test]
    fn what_is_marked_stays_so_for_its_time() {
        let marks = Marks::default();
        assert!(marks.set(thing(1), 10, 0) && !marks.set(thing(1), 10, 0));
        assert!(marks.has(&thing(1), 10) && marks.has(&thing(1), 9) && !marks.has(&thing(1), 11));
        assert!(!marks.has(&thing(2), 10));
        marks.set(thing(2), 30, 20);
        assert!(!marks.has(&thing(1), 10), "it is over");
    }

    #[test]
    fn when_there_are_too_many_all_as_old_count_as_marked() {
        let marks = Marks::of(3);
        for number in 0..5 {
            marks.set(thing(number), 10 + u64::from(number), 0);
        }
        assert_eq!(marks.lock().moments.len(), 3);
        assert!(marks.has(&thing(0), 10) && marks.has(&thing(99), 11), "nobody knows any more");
        assert!(!marks.has(&thing(99), 12));
        assert!(!marks.set(thing(98), 11, 0));
    }

    #[test]
    fn what_comes_again_and_again_takes_no_place_of_others() {
        let marks = Marks::of(3);
        marks.set(thing(1), 10, 0);
        assert!(marks.set(thing(2), 20, 0));
        for _ in 0..5 {
            assert!(!marks.set(thing(2), 20, 0));
        }
        assert_eq!(marks.lock().order.len(), 2);
        assert!(marks.set(thing(3), 5, 0), "older than those, and used for the first time");
    }
}

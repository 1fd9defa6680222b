//! Letting others have the core while a large configuration is worked on beside them.
//!
//! A thread that computes for long keeps its core for some milliseconds after a thread that serves requests would be
//! ready to run: the kernel gives every thread its slice. Who yields often is taken off the core at once when there is
//! somebody else, and goes on a moment later when there is nobody. But somebody who computes as well then keeps the core
//! for a slice of its own each time: no more time is given away than was worked.

use std::cell::RefCell;
use std::hash::Hash;
use std::ops::{Deref, DerefMut};
use std::thread;
use std::time::{Duration, Instant};

use ahash::AHashMap;

/// Time between two offers of the core. An offer that nobody takes costs half a microsecond.
const BETWEEN_OFFERS: Duration = Duration::from_micros(50);
/// Nanoseconds that it takes to free a thing that is not small, roughly.
const TO_FREE: u32 = 300;
/// Nanoseconds of work between two looks at the clock.
const BETWEEN_LOOKS: u32 = 10_000;
/// The most that may be given away at once without having been worked for just before.
const MOST_CREDIT: Duration = Duration::from_millis(5);

thread_local! {
    static ACCOUNT: RefCell<Option<Account>> = const { RefCell::new(None) };
}

/// What a thread has worked and given away.
struct Account {
    /// Nanoseconds of work since the last look at the clock, by estimates.
    estimated: u32,
    /// When the core was last offered, or it was last found that it cannot be.
    since: Instant,
    /// What may be given away.
    credit: Duration,
    /// What has been given away beyond that.
    debt: Duration,
}

/// Does `work` in such a way that this thread offers its core to others whenever [`worked`] says that it is time.
pub fn courteously<T>(work: impl FnOnce() -> T) -> T {
    let before = ACCOUNT.replace(Some(Account::new(Instant::now())));
    let outcome = work();
    ACCOUNT.set(before);
    outcome
}

/// Says that this thread has worked for about so many `nanoseconds`, and offers the core to others when the last offer
/// is long enough ago. Loops over entities call it with what one of them takes: a rough estimate will do, as it only
/// says when to look at the clock.
#[inline]
pub fn worked(nanoseconds: u32) {
    ACCOUNT.with_borrow_mut(|account| {
        if let Some(account) = account {
            account.work(nanoseconds);
        }
    });
}

/// The same for each item that an iterator gives, as [`worked`] for a loop.
pub fn offering<I: Iterator>(nanoseconds: u32, items: I) -> impl Iterator<Item = I::Item> {
    items.inspect(move |_| worked(nanoseconds))
}

/// Frees things that are not small, one by one.
pub fn free<T>(things: impl IntoIterator<Item = T>) {
    offering(TO_FREE, things.into_iter()).for_each(drop);
}

/// A table with an entry for each of very many entities. Whoever happens to free it does so entry by entry, as [`free`].
#[derive(Debug)]
pub struct Table<K, V>(AHashMap<K, V>);

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self(AHashMap::new())
    }
}

impl<K, V> Drop for Table<K, V> {
    fn drop(&mut self) {
        free(std::mem::take(&mut self.0));
    }
}

impl<K, V> Deref for Table<K, V> {
    type Target = AHashMap<K, V>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<K, V> DerefMut for Table<K, V> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

impl<K: Eq + Hash, V> FromIterator<(K, V)> for Table<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        Self(entries.into_iter().collect())
    }
}

impl Account {
    fn new(now: Instant) -> Self {
        Self { estimated: 0, since: now, credit: MOST_CREDIT, debt: Duration::ZERO }
    }

    #[inline]
    fn work(&mut self, nanoseconds: u32) {
        self.estimated = self.estimated.saturating_add(nanoseconds);
        if self.estimated >= BETWEEN_LOOKS {
            self.estimated = 0;
            self.offer_if_due(Instant::now(), || {
                thread::yield_now();
                Instant::now()
            });
        }
    }

    /// Offers the core at `now` if that is due and can be afforded; `offer` tells when the thread was back.
    fn offer_if_due(&mut self, now: Instant, offer: impl FnOnce() -> Instant) {
        let work = now.saturating_duration_since(self.since);
        if work < BETWEEN_OFFERS {
            return;
        }
        self.credit = (self.credit + work.saturating_sub(self.debt)).min(MOST_CREDIT);
        self.debt = self.debt.saturating_sub(work);
        self.since = now;
        if !self.debt.is_zero() {
            return;
        }
        let back = offer();
        let given = back.saturating_duration_since(now);
        self.debt = given.saturating_sub(self.credit);
        self.credit = self.credit.saturating_sub(given);
        self.since = back;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Works for a second; whoever gets the core keeps it for `slice`. How often it was offered, the longest time
    /// without an offer, and how long all of it took.
    fn second_of_work(slice: Duration) -> (u32, Duration, Duration) {
        let start = Instant::now();
        let (mut account, mut now) = (Account::new(start), start);
        let (mut offers, mut worked, mut last, mut longest) = (0, Duration::ZERO, start, Duration::ZERO);
        while worked < Duration::from_secs(1) {
            (now, worked) = (now + Duration::from_micros(10), worked + Duration::from_micros(10));
            account.offer_if_due(now, || {
                longest = longest.max(now - last);
                offers += 1;
                last = now + slice;
                last
            });
            now = now.max(last);
        }
        (offers, longest, now - start)
    }

    #[test]
    fn who_only_serves_gets_the_core_within_fifty_microseconds() {
        let (offers, longest, took) = second_of_work(Duration::from_micros(20));
        assert_eq!((offers, longest), (20_000, BETWEEN_OFFERS));
        assert_eq!(took, Duration::from_millis(1400));
    }

    #[test]
    fn who_computes_as_well_gets_half_of_the_time_and_no_more() {
        let (_, longest, took) = second_of_work(Duration::from_millis(4));
        assert!(took <= Duration::from_secs(2) + 2 * MOST_CREDIT, "{took:?}");
        assert!(longest <= Duration::from_millis(5), "{longest:?}");
    }

    #[test]
    fn a_table_is_freed_entry_by_entry() {
        let table: Table<u32, String> = (0..20).map(|number| (number, "x".repeat(50))).collect();
        courteously(|| {
            drop(table);
            ACCOUNT.with_borrow(|account| {
                assert_eq!(account.as_ref().map(|account| account.estimated), Some(20 * TO_FREE));
            });
        });
    }

    #[test]
    fn nobody_is_offered_anything_unless_asked_to() {
        worked(u32::MAX);
        ACCOUNT.with_borrow(|account| assert!(account.is_none()));
        courteously(|| {
            ACCOUNT.with_borrow(|account| assert!(account.is_some()));
        });
        ACCOUNT.with_borrow(|account| assert!(account.is_none()));
    }
}

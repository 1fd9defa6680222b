//! Letting others have the core while a large configuration is worked on.
//!
//! A thread that computes for long keeps its core for some milliseconds after a thread that serves requests would be
//! ready to run: the kernel gives every thread its slice. Who yields often is taken off the core at once when there is
//! somebody else, and goes on a moment later when there is nobody.

use std::cell::Cell;
use std::thread;
use std::time::{Duration, Instant};

/// Time between two offers of the core. An offer that nobody takes costs half a microsecond.
const BETWEEN_OFFERS: Duration = Duration::from_micros(50);
/// Nanoseconds of work between two looks at the clock.
const BETWEEN_LOOKS: u32 = 10_000;

thread_local! {
    /// Nanoseconds of work since the last look at the clock.
    static WORKED: Cell<u32> = const { Cell::new(0) };
    /// The last offer.
    static OFFERED: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Says that this thread has worked for about so many `nanoseconds`, and offers the core to others when the last offer
/// is long enough ago. Loops over entities call it with what one of them takes: a rough estimate will do, as it only
/// says when to look at the clock.
#[inline]
pub fn worked(nanoseconds: u32) {
    let total = WORKED.get().saturating_add(nanoseconds);
    if total < BETWEEN_LOOKS {
        WORKED.set(total);
    } else {
        WORKED.set(0);
        offer_if_due();
    }
}

fn offer_if_due() {
    let now = Instant::now();
    if OFFERED.get().is_none_or(|offered| now - offered >= BETWEEN_OFFERS) {
        thread::yield_now();
        OFFERED.set(Some(Instant::now()));
    }
}

/// The same for each item that an iterator gives, as [`worked`] for a loop.
pub fn offering<I: Iterator>(nanoseconds: u32, items: I) -> impl Iterator<Item = I::Item> {
    items.inspect(move |_| worked(nanoseconds))
}

/// Frees a list of things that are not small, one by one.
pub fn free<T>(list: Vec<T>) {
    offering(300, list.into_iter()).for_each(drop);
}

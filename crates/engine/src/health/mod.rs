//! Which addresses of upstreams can be relied on (kong.md 5.2): found out from traffic and by asking.
//!
//! What is known of an address lives in its standing, one truth for all workers, over reloads. Requests only count
//! there, without a lock. A thread of its own does the rest: it asks, it compares addresses with each other, and it
//! says which of them may be used.

mod book;
mod checks;
mod counters;
mod outliers;
mod probe;
mod prober;
mod sign;
#[cfg(test)]
mod simulation;
mod ward;

pub(crate) use book::{Book, Health};
pub(crate) use checks::{Checks, Rules};
#[cfg(test)]
pub(crate) use counters::Sign;
pub(crate) use prober::Prober;

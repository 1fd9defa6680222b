//! How an address stands: what outlives a snapshot of it, one truth for all workers.
//!
//! Whoever has an address for a target of an upstream shares its standing with everybody who has the same, the wheels
//! of an older snapshot included. It is forgotten with the last of them. On the path of a request there are atomics
//! only.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use ahash::AHashMap;
use tokio::time::Instant;

use super::measure::{Average, Tick};
use crate::health::Health;

mod in_flight;

pub use in_flight::InFlight;

/// A request without a response counts as one that took at least so many milliseconds.
pub(super) const PENALTY: f32 = 5000.0;

/// What is known of one address of an upstream.
#[repr(align(128))]
pub struct Standing {
    available: AtomicBool,
    /// When it was added or recovered, in milliseconds after `origin`.
    since: AtomicU64,
    origin: Instant,
    health: Health,
    busy: Busy,
}

/// What changes with every request, on cache lines of its own.
#[derive(Default)]
#[repr(align(128))]
struct Busy {
    active: AtomicU32,
    /// Milliseconds to a response.
    latency: Average,
    /// The same, rising at once.
    peak: Average,
    /// The share of requests that failed.
    failing: Average,
}

/// What is measured of the requests to an address, beside their number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Measured {
    /// Nothing.
    Number,
    /// How long responses take.
    Latency,
    /// How long they took at worst of late, and how many fail.
    Peaks,
}

/// What came of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A connection was opened, and there is no response to wait for.
    Connected,
    /// A response of this status.
    Responded(u16),
    /// No response.
    Failed(Trouble),
}

/// What kept an address from answering.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// It could not be connected to.
    Unreachable,
    /// It took longer than it may to connect or to answer.
    Late,
    /// It broke off, or answered with what is no response.
    Broken,
}

impl Outcome {
    /// Whether a comparison of addresses takes it for a failure.
    pub(crate) fn is_failure(self) -> bool {
        match self {
            Self::Connected => false,
            Self::Responded(status) => status >= 500,
            Self::Failed(_) => true,
        }
    }
}

impl Standing {
    fn new(origin: Instant, now: Instant) -> Self {
        Self {
            available: AtomicBool::new(true),
            since: AtomicU64::new(millis_between(origin, now)),
            origin,
            health: Health::default(),
            busy: Busy::default(),
        }
    }

    /// Whether requests may go there.
    #[inline]
    #[must_use]
    pub fn available(&self) -> bool {
        self.available.load(Ordering::Relaxed)
    }

    /// What is known of its health.
    #[must_use]
    pub(crate) fn health(&self) -> &Health {
        &self.health
    }

    /// Says whether requests may go there from `now` on. An address that recovers begins as if it were new.
    pub fn set_available(&self, available: bool, now: Instant) {
        let was = self.available.swap(available, Ordering::Relaxed);
        if available && !was {
            self.since.store(millis_between(self.origin, now), Ordering::Relaxed);
        }
    }

    /// How long it has been there, or back, at `now`.
    #[must_use]
    pub fn age(&self, now: Instant) -> Duration {
        let since = Duration::from_millis(self.since.load(Ordering::Relaxed));
        now.saturating_duration_since(self.origin + since)
    }

    /// Requests that are there now.
    #[inline]
    #[must_use]
    pub fn active(&self) -> u32 {
        self.busy.active.load(Ordering::Relaxed)
    }

    /// Milliseconds that a response takes, as far as known at `now`.
    pub(super) fn latency(&self, now: Instant) -> Option<f32> {
        self.busy.latency.at(self.tick(now))
    }

    /// Milliseconds that a response took at worst of late, as far as known at `now`.
    pub(super) fn peak(&self, now: Instant) -> Option<f32> {
        self.busy.peak.at(self.tick(now))
    }

    /// The share of requests that failed of late, from 0 to 1.
    pub(super) fn failing(&self, now: Instant) -> f32 {
        self.busy.failing.at(self.tick(now)).unwrap_or(0.0)
    }

    /// What is left of a guess about it, from 1 to 0, that was made when it was added or recovered.
    pub(super) fn left(&self, now: Instant) -> f32 {
        Tick::at(self.age(now)).left_of(Tick::default())
    }

    fn tick(&self, now: Instant) -> Tick {
        Tick::at(now.saturating_duration_since(self.origin))
    }

    /// What came of a request, known at `now`, and how long that took the address.
    fn report(&self, outcome: Outcome, took: Option<Duration>, now: Tick, measured: Measured) {
        self.time(outcome, took, now, measured);
        self.judge(outcome, took, now, measured);
    }

    /// How long it took until there was an outcome.
    fn time(&self, outcome: Outcome, took: Option<Duration>, now: Tick, measured: Measured) {
        let Busy { latency, peak, .. } = &self.busy;
        let millis = took.map(|took| took.as_secs_f32() * 1000.0);
        // Failing fast is not being fast.
        match (measured, outcome) {
            (Measured::Number, _) => {}
            (Measured::Latency, Outcome::Failed(_)) => latency.add(millis.unwrap_or(0.0).max(PENALTY), now),
            (Measured::Latency, _) => {
                millis.inspect(|millis| latency.add(*millis, now));
            }
            (Measured::Peaks, _) => {
                let known = if outcome.is_failure() { peak.at(now) } else { None };
                millis.inspect(|millis| peak.add_peak(millis.max(known.unwrap_or(0.0)), now));
            }
        }
    }

    /// Whether a request went well. Everything that is learnt from traffic arrives here.
    fn judge(&self, outcome: Outcome, took: Option<Duration>, now: Tick, measured: Measured) {
        if self.health.hear(outcome, took) {
            self.available.store(false, Ordering::Relaxed);
        }
        if measured == Measured::Peaks {
            self.busy.failing.add(if outcome.is_failure() { 1.0 } else { 0.0 }, now);
        }
    }
}

fn millis_between(origin: Instant, now: Instant) -> u64 {
    u64::try_from(now.saturating_duration_since(origin).as_millis()).unwrap_or(u64::MAX)
}

/// All standings in use, by whose address it is: the id of an upstream, or the host of a service.
pub(crate) struct Standings {
    origin: Instant,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    standings: AHashMap<(Arc<str>, SocketAddr), Weak<Standing>>,
    /// How many there may be before those that nobody has are forgotten.
    enough: usize,
}

/// So many are kept before anybody looks whether they are in use.
const FEW: usize = 64;

impl Default for Standings {
    fn default() -> Self {
        Self { origin: Instant::now(), kept: Mutex::default() }
    }
}

impl Standings {
    /// How `address` of `owner` stands, which is as new if nobody has it yet.
    pub(super) fn keep(&self, owner: &Arc<str>, address: SocketAddr) -> Arc<Standing> {
        let Kept { standings, enough } = &mut *self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if standings.len() >= *enough {
            standings.retain(|_, standing| standing.strong_count() > 0);
            *enough = FEW.max(standings.len() * 2);
        }
        let known = standings.entry((owner.clone(), address)).or_default();
        known.upgrade().unwrap_or_else(|| {
            let made = Arc::new(Standing::new(self.origin, Instant::now()));
            *known = Arc::downgrade(&made);
            made
        })
    }
}

#[cfg(test)]
impl Standings {
    fn all(&self) -> Vec<Arc<Standing>> {
        self.kept.lock().unwrap().standings.values().filter_map(Weak::upgrade).collect()
    }

    /// Requests that are at any address now.
    pub fn active(&self) -> u32 {
        self.all().iter().map(|standing| standing.active()).sum()
    }

    /// Addresses that mostly fail.
    pub fn failing(&self) -> usize {
        self.all().iter().filter(|standing| standing.failing(Instant::now()) > 0.5).count()
    }

    /// Addresses of which it is known how fast they answer.
    pub fn measured(&self) -> usize {
        self.all().iter().filter(|standing| standing.latency(Instant::now()).is_some()).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address() -> SocketAddr {
        "10.0.0.1:80".parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_the_same_address_of_the_same_upstream_shares_its_standing() {
        let standings = Standings::default();
        let [one, other]: [Arc<str>; 2] = ["one".into(), "other".into()];
        let first = standings.keep(&one, address());
        first.set_available(false, Instant::now());
        assert!(!standings.keep(&one, address()).available());
        assert!(standings.keep(&other, address()).available(), "another upstream has its own");
        drop(first);
        assert!(standings.keep(&one, address()).available(), "whose address was removed is forgotten");
    }

    #[tokio::test(start_paused = true)]
    async fn addresses_that_come_and_go_leave_nothing_behind() {
        let standings = Standings::default();
        for port in 0..1000 {
            standings.keep(&"one".into(), SocketAddr::new(address().ip(), port));
        }
        assert!(standings.kept.lock().unwrap().standings.len() <= FEW);
    }

    #[tokio::test(start_paused = true)]
    async fn the_age_counts_from_when_an_address_was_added_or_recovered() {
        let standings = Standings::default();
        tokio::time::advance(Duration::from_secs(5)).await;
        let standing = standings.keep(&"one".into(), address());
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!(standing.age(Instant::now()), Duration::from_secs(3));
        standing.set_available(true, Instant::now());
        assert_eq!(standing.age(Instant::now()), Duration::from_secs(3), "it was so all the time");
        standing.set_available(false, Instant::now());
        standing.set_available(true, Instant::now());
        assert_eq!(standing.age(Instant::now()), Duration::ZERO);
    }
}

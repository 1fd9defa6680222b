//! How an address stands: what outlives a snapshot of it, one truth for all workers.
//!
//! Whoever has an address for a target of an upstream shares its standing with everybody who has the same, the wheels
//! of an older snapshot included. It is forgotten with the last of them. On the path of a request there are atomics
//! only.

use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use ahash::AHashMap;
use tokio::time::Instant;

use super::measure::{Average, Tick};
use crate::health::Health;

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

/// A request at an address. The address has it for as long as this lives: when the exchange ends, however it does,
/// it is one request less. What came of the request is told here and nowhere else. Nothing is kept of requests to
/// addresses of which nothing has to be known.
#[derive(Default)]
pub struct InFlight(Option<Flight>);

struct Flight {
    standing: Arc<Standing>,
    measured: Measured,
    /// When it began; with a status, the time until then.
    begun: Cell<Tick>,
    /// No client is waited for: the time until the response is the address's own.
    timed: bool,
    /// The status of a response that has begun well, or 0.
    status: Cell<u16>,
}

impl InFlight {
    /// A request that goes to the address of `standing` at `now`.
    #[inline]
    pub(super) fn begin(standing: &Arc<Standing>, measured: Measured, now: Instant) -> Self {
        standing.busy.active.fetch_add(1, Ordering::Relaxed);
        let (begun, status) = (Cell::new(standing.tick(now)), Cell::default());
        Self(Some(Flight { standing: standing.clone(), measured, begun, timed: true, status }))
    }

    /// Its body comes from the client while it is sent: how long that takes says nothing of the address.
    pub fn await_client(&mut self) {
        if let Some(flight) = &mut self.0 {
            flight.timed = false;
        }
    }

    /// The head of a response of `status` has come, at `now`. How long that took is told at once, and so is a failure;
    /// that all went well only when this is dropped, unless it is reported that the rest did not come. Nothing follows a
    /// change of protocols.
    #[inline]
    pub fn answered(&self, status: u16, now: impl FnOnce() -> Instant) {
        let outcome = Outcome::Responded(status);
        if status == 101 || outcome.is_failure() {
            return self.report(outcome, now);
        }
        if let Some(flight) = &self.0 {
            let now = flight.standing.tick(now());
            flight.standing.time(outcome, flight.took(now), now, flight.measured);
            flight.status.set(status);
            flight.begun.set(Tick::at(now.since(flight.begun.get())));
        }
    }

    /// What came of it, known at `now`. A client that leaves is no trouble of the address, and nothing is told then.
    #[inline]
    pub fn report(&self, outcome: Outcome, now: impl FnOnce() -> Instant) {
        let Some(flight) = &self.0 else { return };
        let (standing, now) = (&flight.standing, flight.standing.tick(now()));
        if flight.status.take() > 0 {
            standing.judge(outcome, flight.taken(), now, flight.measured);
        } else {
            standing.report(outcome, flight.took(now), now, flight.measured);
        }
    }

    /// A response that has begun broke off. One that was a failure from the beginning has been told of.
    pub fn broke_off(&self) {
        if self.0.as_ref().is_some_and(|flight| flight.status.get() > 0) {
            self.report(Outcome::Failed(Trouble::Broken), Instant::now);
        }
    }
}

impl Flight {
    /// How long it took the address until `now`, where that is its own time.
    fn took(&self, now: Tick) -> Option<Duration> {
        self.timed.then(|| now.since(self.begun.get()))
    }

    /// How long it took until there was a status.
    fn taken(&self) -> Option<Duration> {
        self.timed.then(|| self.begun.get().since(Tick::default()))
    }

    /// A response that has begun well has not broken off.
    #[inline]
    fn settle(&self) {
        let status = self.status.take();
        if status > 0 {
            // Only the share of failures wants to know when.
            let timely = self.measured == Measured::Peaks;
            let now = if timely { self.standing.tick(Instant::now()) } else { Tick::default() };
            self.standing.judge(Outcome::Responded(status), self.taken(), now, self.measured);
        }
    }
}

impl Drop for InFlight {
    #[inline]
    fn drop(&mut self) {
        if let Some(flight) = &self.0 {
            flight.settle();
            flight.standing.busy.active.fetch_sub(1, Ordering::Relaxed);
        }
    }
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

    #[tokio::test(start_paused = true)]
    async fn a_request_counts_until_it_is_dropped() {
        let standing = Standings::default().keep(&"one".into(), address());
        let [first, second] = [0, 1].map(|_| InFlight::begin(&standing, Measured::Number, Instant::now()));
        assert_eq!(standing.active(), 2);
        first.report(Outcome::Failed(Trouble::Late), Instant::now);
        drop(first);
        assert_eq!(standing.active(), 1);
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            let _second = second;
            panic!("a plugin's");
        }));
        assert!(panicked.is_err());
        assert_eq!(standing.active(), 0);
    }
    #[tokio::test(start_paused = true)]
    async fn a_response_has_gone_well_when_all_of_it_has_come() {
        let standing = Standings::default().keep(&"one".into(), address());
        let begin = || InFlight::begin(&standing, Measured::Peaks, Instant::now());
        let failing = || standing.failing(Instant::now());
        let whole = begin();
        whole.answered(200, Instant::now);
        assert!(standing.peak(Instant::now()).is_some(), "how fast it is is known with the head");
        drop(whole);
        assert!(failing() < 0.01);
        tokio::time::advance(Duration::from_secs(60)).await;
        let broken = begin();
        broken.answered(200, Instant::now);
        broken.broke_off();
        assert!(failing() > 0.9);
        drop(broken);
        assert!(failing() > 0.9, "it counts once");
        let refusal = begin();
        refusal.answered(503, Instant::now);
        assert!(failing() > 0.9, "it is known at once");
        refusal.broke_off();
        assert_eq!(standing.active(), 1);
    }
}

//! Requests while they are at an address, and what is told of them.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::{Measured, Outcome, Standing, Trouble};
use crate::balance::measure::Tick;

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
    pub(in crate::balance) fn begin(standing: &Arc<Standing>, measured: Measured, now: Instant) -> Self {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::standing::Standings;

    fn standing() -> Arc<Standing> {
        Standings::default().keep(&"one".into(), "10.0.0.1:80".parse().unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_counts_until_it_is_dropped() {
        let standing = standing();
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
        let standing = standing();
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

//! Whether a server that gateways share, a Redis say, is asked at all. All workers share one circuit for one configuration.
//!
//! The first exchange that gets no answer opens it, and from then on nobody waits: every exchange fails at once. A task
//! of the worker that opened it tries to reach the server again, at growing intervals, and closes it. Each change is logged,
//! once, and counted; no request is ever the probe.

use std::sync::Weak;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::time::Duration;

use uuid::Uuid;

/// What is known about a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// It answers, or has not been asked yet.
    Answers,
    /// It answers with errors: a user without permission, say. It is asked again each time.
    Refuses,
    /// It does not answer. Nobody asks.
    Silent,
}

/// First wait before a server is tried again; it doubles up to the last.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LAST_WAIT: Duration = Duration::from_secs(1);

/// The circuit.
pub struct Circuit {
    kind: &'static str,
    place: String,
    state: AtomicU8,
    /// Attempts since the server last served an exchange.
    attempts: AtomicU32,
}

/// What a circuit is about.
pub trait Server: Send + Sync + 'static {
    /// Its circuit.
    fn circuit(&self) -> &Circuit;

    /// One attempt to reach it again.
    fn probe(&self, worker: usize) -> impl Future<Output = Result<(), String>> + Send;
}

/// Tries to reach a server until it answers, or until nobody has use for it.
pub async fn see_to_return<S: Server>(server: Weak<S>, worker: usize) {
    loop {
        let chance = Uuid::new_v4().as_u64_pair().0;
        let Some(wait) = server.upgrade().map(|server| server.circuit().wait(chance)) else { return };
        tokio::time::sleep(wait).await;
        let Some(server) = server.upgrade() else { return };
        match server.probe(worker).await {
            Ok(()) => return server.circuit().returned(),
            Err(reason) => tracing::debug!(reason, "a shared server still does not answer"),
        }
    }
}

impl Circuit {
    /// A closed circuit for the server of this kind at `place`.
    #[must_use]
    pub fn new(kind: &'static str, place: String) -> Self {
        Self { kind, place, state: AtomicU8::new(State::Answers as u8), attempts: AtomicU32::new(0) }
    }

    /// What is known.
    #[must_use]
    pub fn state(&self) -> State {
        match self.state.load(Ordering::Relaxed) {
            0 => State::Answers,
            1 => State::Refuses,
            _ => State::Silent,
        }
    }

    /// Changes the state. True for the one who changed it.
    fn turn(&self, to: State) -> bool {
        self.state.swap(to as u8, Ordering::Relaxed) != to as u8
    }

    /// An exchange was served. One that was begun before the circuit opened does not close it: that is for the probe.
    pub fn served(&self) {
        self.attempts.store(0, Ordering::Relaxed);
        let refuses = State::Refuses as u8;
        if self.state.load(Ordering::Relaxed) == refuses
            && self
                .state
                .compare_exchange(refuses, State::Answers as u8, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
        {
            tracing::info!(kind = self.kind, server = %self.place, "a shared server serves again");
        }
    }

    /// The server answered with an error.
    pub fn refused(&self, reason: &str) {
        let answers = State::Answers as u8;
        if self
            .state
            .compare_exchange(answers, State::Refuses as u8, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
        {
            tracing::warn!(
                kind = self.kind, server = %self.place, reason,
                "a shared server refuses; what needs it goes on as configured for that"
            );
        }
    }

    /// The server did not answer. True for the one who has to see to its return.
    pub fn fell_silent(&self, reason: &str) -> bool {
        let first = self.turn(State::Silent);
        if first {
            tracing::warn!(
                kind = self.kind, server = %self.place, reason,
                "a shared server does not answer; what needs it goes on as configured for that"
            );
        }
        first
    }

    /// The server answers the probe.
    pub fn returned(&self) {
        if self.turn(State::Answers) {
            tracing::info!(kind = self.kind, server = %self.place, "a shared server answers again");
        }
    }

    /// How long to wait before the next attempt; `chance` spreads gateways that lost it at the same moment.
    #[must_use]
    pub fn wait(&self, chance: u64) -> Duration {
        let attempts = self.attempts.fetch_add(1, Ordering::Relaxed);
        let wait = FIRST_WAIT.saturating_mul(1 << attempts.min(10)).min(LAST_WAIT);
        // Between half of it and the whole.
        wait / 2 + wait.mul_f64((chance % 1024) as f64 / 2048.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_bound_and_begin_anew_once_an_exchange_was_served() {
        let circuit = Circuit::new("Redis", String::new());
        let waits: Vec<u128> = (0..8).map(|_| circuit.wait(0).as_millis()).collect();
        assert_eq!(waits, [25, 50, 100, 200, 400, 500, 500, 500]);
        circuit.returned();
        assert_eq!(
            circuit.wait(1023).as_millis(),
            999,
            "an answer to the probe is not yet a served exchange"
        );
        circuit.served();
        assert_eq!(circuit.wait(0).as_millis(), 25);
    }

    #[test]
    fn one_of_many_sees_to_the_return_and_a_late_answer_does_not_close_it() {
        let circuit = Circuit::new("Redis", String::new());
        assert!(circuit.fell_silent("timeout"));
        assert!(!circuit.fell_silent("timeout"));
        circuit.served();
        circuit.refused("an error");
        assert_eq!(circuit.state(), State::Silent);
        circuit.returned();
        assert_eq!(circuit.state(), State::Answers);
        circuit.refused("an error");
        assert_eq!(circuit.state(), State::Refuses);
        circuit.served();
        assert_eq!(circuit.state(), State::Answers);
    }
}

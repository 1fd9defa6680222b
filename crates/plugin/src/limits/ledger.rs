//! Counters in Redis, shared by all gateways that use it.
//!
//! A decision is one script, so one round trip, and whole: it counts a request against all of its limits or none, and
//! no other gateway sees it half done. Each window has a key of its own, which says which window it is, so gateways
//! whose clocks differ a little each count in the window they mean, and every window holds its limit exactly.

use std::sync::Arc;

use super::cell::{Demand, Measure, Pending};
use super::limit::{Algorithm, Limit};
use super::table::Refused;
use super::window::Window;
use super::{MOST_LIMITS, Verdict};
use crate::redis::{Argument, Invocation, Script, Store, Unavailable};

static TAKE: Script = Script::new(include_str!("take.lua"));
static ADD: Script = Script::new(include_str!("add.lua"));

/// The counters of one scope.
pub struct Ledger {
    store: Arc<Store>,
    scope: String,
}

/// What is to be decided.
#[derive(Clone)]
pub struct Question {
    /// Who asks, as keys have it.
    pub identifier: String,
    /// Who asks, as the local table has it.
    pub key: u128,
    /// The current window of each limit.
    pub windows: [Window; MOST_LIMITS],
    /// Milliseconds since 1970.
    pub now_ms: u64,
}

impl Ledger {
    /// The counters in `store` under `scope`: gateways and instances that share it share limits.
    #[must_use]
    pub fn new(store: Arc<Store>, scope: &str) -> Self {
        // Braces would end the part of the key that tells a cluster where it belongs.
        Self { store, scope: scope.replace(['{', '}'], "_") }
    }

    /// Whether the store is known not to answer.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        self.store.is_silent()
    }

    /// Counts a request against all limits if each has room.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn take(
        &self,
        worker: usize,
        limits: &[Limit],
        question: &Question,
        refused: Refused,
    ) -> Result<Verdict, Unavailable> {
        let mut arguments = vec![Argument::Number(i64::from(refused == Refused::Counted))];
        let mut keys = Vec::with_capacity(limits.len() * 2);
        for (limit, window) in limits.iter().zip(question.windows) {
            let demand = limit.demand(window, question.now_ms);
            let (kind, second) = match demand.measure {
                Measure::Fixed => (0, 0),
                Measure::Sliding { left } => (1, i64::from(left)),
                Measure::Smooth { .. } => (2, 0),
            };
            let first = third(limit, &demand, window, question.now_ms);
            arguments.extend([kind, i64::from(demand.limit), first, second].map(Argument::Number));
            keys.extend(self.keys(&question.identifier, limit, window.ordinal));
        }
        let answer = self.store.run(worker, &Invocation { script: &TAKE, keys, arguments }).await?;
        read(&answer, limits, question).ok_or(Unavailable)
    }

    /// Adds what was counted here, and tells what all gateways have counted: two numbers a limit.
    ///
    /// # Errors
    /// When there is no answer; it may have been added.
    pub async fn add(
        &self,
        worker: usize,
        limits: &[Limit],
        question: &Question,
        pending: &[Pending; MOST_LIMITS],
    ) -> Result<Vec<(u64, u64)>, Unavailable> {
        let (mut keys, mut arguments) = (Vec::new(), Vec::new());
        for (index, (limit, window)) in limits.iter().zip(question.windows).enumerate() {
            let demand = limit.demand(window, question.now_ms);
            let Pending { ordinal, count, owed } = pending[index];
            let (kind, fourth) = match limit.algorithm {
                Algorithm::Fixed => (0, 0),
                Algorithm::Sliding => (1, owed),
                Algorithm::Smooth { burst } => (2, burst),
            };
            let third = third(limit, &demand, window, question.now_ms);
            arguments.extend([kind, i64::from(count), third, i64::from(fourth)].map(Argument::Number));
            let ordinal = if kind == 2 { window.ordinal } else { ordinal };
            keys.extend(self.keys(&question.identifier, limit, ordinal));
        }
        let answer = self.store.run(worker, &Invocation { script: &ADD, keys, arguments }).await?;
        // Arrival times come as differences, by the store's own clock.
        let since = |limit: &Limit| match limit.algorithm {
            Algorithm::Smooth { .. } => question.now_ms * 1000,
            _ => 0,
        };
        let pairs = limits.iter().zip(answer.chunks_exact(2));
        let pairs = pairs.map(|(limit, pair)| (since(limit) + pair[0].max(0) as u64, pair[1].max(0) as u64));
        let pairs: Vec<_> = pairs.collect();
        if pairs.len() == limits.len() { Ok(pairs) } else { Err(Unavailable) }
    }

    fn keys(&self, identifier: &str, limit: &Limit, ordinal: u32) -> [Vec<u8>; 2] {
        let label = limit.label();
        let prefix = format!("ratelimit:{{{}:{identifier}}}:{label}", self.scope);
        let of = |ordinal: u32| format!("{prefix}:{ordinal}").into_bytes();
        match limit.algorithm {
            Algorithm::Fixed => [of(ordinal), of(ordinal)],
            Algorithm::Sliding => [of(ordinal), of(ordinal.wrapping_sub(1))],
            Algorithm::Smooth { .. } => [prefix.clone().into_bytes(), prefix.into_bytes()],
        }
    }
}

/// Seconds that a counter lives, or microseconds between requests.
fn third(limit: &Limit, demand: &Demand, window: Window, now_ms: u64) -> i64 {
    let number = match demand.measure {
        Measure::Smooth { interval, .. } => interval,
        _ => limit.lifetime(window, now_ms),
    };
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn read(answer: &[i64], limits: &[Limit], question: &Question) -> Option<Verdict> {
    let (admitted, numbers) = answer.split_first()?;
    if numbers.len() != limits.len() * 2 {
        return None;
    }
    let mut verdict = Verdict { admitted: *admitted == 1, ..Verdict::default() };
    for (index, (limit, pair)) in limits.iter().zip(numbers.chunks_exact(2)).enumerate() {
        let demand = limit.demand(question.windows[index], question.now_ms);
        (verdict.count[index], verdict.more[index]) = match demand.measure {
            Measure::Smooth { now, .. } => {
                // It came as a difference, by the store's own clock.
                limit.smooth_reading(now + pair[0].max(0) as u64, &demand)
            }
            _ => (narrow(pair[0]), narrow(pair[1])),
        };
    }
    Some(verdict)
}

fn narrow(number: i64) -> u32 {
    u32::try_from(number.max(0)).unwrap_or(u32::MAX)
}

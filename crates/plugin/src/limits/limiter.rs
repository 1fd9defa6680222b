//! The limits of an instance with where requests are counted.

use std::sync::Arc;
use std::time::Duration;

use super::batches::Batches;
use super::caller::Identifier;
use super::cell::Demand;
use super::cell::Pending;
use super::ledger::{Ledger, Question};
use super::limit::Limit;
use super::table::{Refused, Table};
use super::window::Window;
use super::{MOST_LIMITS, Verdict};
use crate::figures::{Family, Figure};
use crate::flow::Flow;
use crate::redis::{Store, Unavailable};
use crate::services::Services;
use crate::views::Access;

static DISPLACED: Family = Family::count(
    "rate_limiting_counters_displaced_total",
    "Counters of rate limits in use that gave way, or were shared, because the table was full",
);
static WITHOUT_STORE: Family = Family::count(
    "rate_limiting_without_store_total",
    "Requests decided by the failure mode of their rate limit, because its store did not answer",
);

/// What becomes of requests while the shared store does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureMode {
    /// They pass without being counted.
    Open,
    /// They are refused.
    Closed,
    /// They are counted in this process alone.
    Local,
}

/// Counters that several gateways share.
pub struct Sharing {
    /// Where they are.
    pub store: Arc<Store>,
    /// What they belong to; who has the same scope counts together.
    pub scope: String,
    /// Time between two exchanges; without it each request is one.
    pub interval: Option<Duration>,
    /// What happens without the store.
    pub on_failure: FailureMode,
}

/// What a limiter is made with.
pub struct Setup<'a> {
    /// The limits, at most [`MOST_LIMITS`].
    pub limits: Vec<Limit>,
    /// What becomes of refused requests.
    pub refused: Refused,
    /// What the local counters belong to; they are kept over reloads under it.
    pub table: &'a str,
    /// The shared counters, if there are any.
    pub sharing: Option<Sharing>,
}

/// The limits of an instance.
pub struct Limiter {
    limits: Arc<[Limit]>,
    refused: Refused,
    table: Arc<Table>,
    shared: Option<Shared>,
}

/// How counters are shared.
pub(super) struct Shared {
    pub ledger: Arc<Ledger>,
    pub batches: Option<Arc<Batches>>,
    pub on_failure: FailureMode,
    pub without: Arc<Figure>,
}

impl Limiter {
    /// The limiter.
    #[must_use]
    pub fn new(services: &Services, setup: Setup<'_>) -> Self {
        let displaced = services.figures.of(&DISPLACED, &[]);
        let count = setup.limits.len();
        let table = services.keep(&format!("{} {count}", setup.table), || Table::new(count, displaced));
        let limits: Arc<[Limit]> = setup.limits.into();
        table.hold(&limits);
        let share = |sharing: Sharing| {
            let ledger = Arc::new(Ledger::new(sharing.store, &sharing.scope));
            let batches = sharing.interval.map(|interval| {
                Batches::new(services, setup.table, interval, limits.clone(), table.clone(), ledger.clone())
            });
            let without = services.figures.of(&WITHOUT_STORE, &[]);
            Shared { ledger, batches, on_failure: sharing.on_failure, without }
        };
        let shared = setup.sharing.map(share);
        Self { limits, refused: setup.refused, table, shared }
    }

    /// The limits.
    #[must_use]
    pub fn limits(&self) -> &[Limit] {
        &self.limits
    }

    pub(super) fn shared(&self) -> Option<&Shared> {
        self.shared.as_ref()
    }

    /// Whether counters are shared, and their store known not to answer.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        self.shared.as_ref().is_some_and(|shared| shared.ledger.is_silent())
    }

    /// What happens without the shared store; none where counters are not shared.
    #[must_use]
    pub fn on_failure(&self) -> Option<FailureMode> {
        self.shared.as_ref().map(|shared| shared.on_failure)
    }

    /// The failure mode takes over for a request; `here` goes on with what this process knows.
    pub fn do_without_store(&self, cx: &mut Access<'_>, here: impl FnOnce(&mut Access<'_>) -> Flow) -> Flow {
        let Some(shared) = &self.shared else { return here(cx) };
        shared.without.add(1);
        match shared.on_failure {
            FailureMode::Open => Flow::Next,
            FailureMode::Closed => cx.answer(500).message("An unexpected error occurred"),
            FailureMode::Local => here(cx),
        }
    }

    /// The current window of each limit.
    #[must_use]
    pub fn windows(&self, now_ms: u64) -> [Window; MOST_LIMITS] {
        let mut windows = [Window::default(); MOST_LIMITS];
        for (window, limit) in windows.iter_mut().zip(&*self.limits) {
            *window = limit.window(now_ms);
        }
        windows
    }

    /// The local key of a caller.
    pub(super) fn key(&self, identifier: Identifier<'_>) -> u128 {
        self.table.key(identifier.kind, identifier.bytes)
    }

    pub(super) fn demands(&self, windows: &[Window; MOST_LIMITS], now_ms: u64) -> [Demand; MOST_LIMITS] {
        let mut demands = [Demand::default(); MOST_LIMITS];
        for ((demand, limit), window) in demands.iter_mut().zip(&*self.limits).zip(windows) {
            *demand = limit.demand(*window, now_ms);
        }
        demands
    }

    /// Counts a request in this process.
    pub(super) fn count_here(&self, key: u128, windows: &[Window; MOST_LIMITS], now_ms: u64) -> Verdict {
        self.take(key, windows, now_ms, 1)
    }

    fn take(&self, key: u128, windows: &[Window; MOST_LIMITS], now_ms: u64, amount: u32) -> Verdict {
        let demands = self.demands(windows, now_ms);
        self.table.take(key, &demands[..self.limits.len()], amount, self.refused)
    }

    /// What a caller has used, as far as this process knows.
    #[must_use]
    pub fn usage(&self, who: Identifier<'_>, windows: &[Window; MOST_LIMITS], now_ms: u64) -> Verdict {
        self.look(self.key(who), windows, now_ms)
    }

    pub(super) fn look(&self, key: u128, windows: &[Window; MOST_LIMITS], now_ms: u64) -> Verdict {
        let demands = self.demands(windows, now_ms);
        self.table.look(key, &demands[..self.limits.len()])
    }

    /// Counts `amount` for a caller in this process, if every limit has room for one. Where counters are shared in
    /// intervals, the store is told in the next exchange, which is seen to on this worker.
    pub fn spend(
        &self,
        worker: usize,
        who: Identifier<'_>,
        windows: &[Window; MOST_LIMITS],
        now_ms: u64,
        amount: u32,
    ) -> Verdict {
        let key = self.key(who);
        let verdict = self.take(key, windows, now_ms, amount);
        match self.shared.as_ref().and_then(|shared| shared.batches.as_ref()) {
            Some(batches) if verdict.is_new => batches.note(worker, key, who.text()),
            Some(batches) => batches.go_on(worker),
            None => {}
        }
        verdict
    }

    /// A question about a caller, for [`Limiter::learn`].
    #[must_use]
    pub fn question(&self, who: Identifier<'_>, now_ms: u64) -> Question {
        let (key, windows) = (self.key(who), self.windows(now_ms));
        Question { identifier: who.text(), key, windows, now_ms }
    }

    /// Takes note of what all gateways have counted for a caller.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn learn(&self, worker: usize, question: &Question) -> Result<(), Unavailable> {
        let Some(shared) = &self.shared else { return Ok(()) };
        let nothing =
            question.windows.map(|window| Pending { ordinal: window.ordinal, ..Pending::default() });
        let counts = shared.ledger.add(worker, &self.limits, question, &nothing).await?;
        let demands = self.demands(&question.windows, question.now_ms);
        self.table.learn(question.key, &demands[..self.limits.len()], &counts);
        Ok(())
    }

    /// Counts a request in the shared store.
    pub(super) async fn count_there(
        &self,
        worker: usize,
        question: &Question,
    ) -> Result<Verdict, Unavailable> {
        match &self.shared {
            Some(shared) => shared.ledger.take(worker, &self.limits, question, self.refused).await,
            None => Err(Unavailable),
        }
    }
}

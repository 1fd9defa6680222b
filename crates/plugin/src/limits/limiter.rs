//! The limits of an instance with where requests are counted.

use std::sync::Arc;
use std::time::Duration;

use super::batches::Batches;
use super::caller::Identifier;
use super::ledger::{Ledger, Question};
use super::limit::Limit;
use super::table::{Demand, Refused, Table};
use super::window::Window;
use super::{MOST_LIMITS, Verdict};
use crate::figures::{Family, Figure};
use crate::redis::{Store, Unavailable};
use crate::services::Services;

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

    pub(super) fn table(&self) -> &Table {
        &self.table
    }

    pub(super) fn shared(&self) -> Option<&Shared> {
        self.shared.as_ref()
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

    /// Counts a request in this process.
    pub(super) fn count_here(&self, key: u128, windows: &[Window; MOST_LIMITS], now_ms: u64) -> Verdict {
        let mut demands = [Demand::default(); MOST_LIMITS];
        for ((demand, limit), window) in demands.iter_mut().zip(&*self.limits).zip(windows) {
            *demand = limit.demand(*window, now_ms);
        }
        self.table.take(key, &demands[..self.limits.len()], self.refused)
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

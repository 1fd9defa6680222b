//! Counting here first, and telling the shared store in intervals.
//!
//! Between two exchanges every gateway admits by what it knows, so together they may admit too much: at most what the
//! others admit within one interval. What has not been told yet when a gateway ends is lost; while the store does not
//! answer, it is kept and told later.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;

use super::MOST_LIMITS;
use super::cell::Measure;
use super::ledger::{Ledger, Question};
use super::limit::{Algorithm, Limit};
use super::table::Table;
use super::window::Window;
use crate::clock::Clock;
use crate::figures::{Family, Figure};
use crate::services::Services;

/// Callers whose counts wait to be told. Those of more are not told: they are limited here alone.
const MOST_WAITING: usize = 65_536;
/// Exchanges at a time.
const AT_A_TIME: usize = 64;

static UNTOLD: Family = Family::count(
    "rate_limiting_counts_untold_total",
    "Callers whose counts were not shared in an interval because too many waited",
);

/// The counts of an instance on their way.
pub struct Batches {
    limits: Arc<[Limit]>,
    table: Arc<Table>,
    ledger: Arc<Ledger>,
    waiting: Arc<Waiting>,
    interval: Duration,
    clock: Clock,
    runs: AtomicBool,
}

/// Callers who have counted something since the store was last told. Kept over reloads, as the table is.
struct Waiting {
    callers: Mutex<Vec<(u128, String)>>,
    untold: Arc<Figure>,
}

impl Batches {
    pub(super) fn new(
        services: &Services,
        table_name: &str,
        interval: Duration,
        limits: Arc<[Limit]>,
        table: Arc<Table>,
        ledger: Arc<Ledger>,
    ) -> Arc<Self> {
        let untold = services.figures.of(&UNTOLD, &[]);
        let key = format!("{table_name} {} waiting", limits.len());
        let waiting = services.keep(&key, || Waiting { callers: Mutex::default(), untold });
        let (clock, runs) = (services.clock.clone(), AtomicBool::new(false));
        Arc::new(Self { limits, table, ledger, waiting, interval, clock, runs })
    }

    /// Takes note of a caller whose requests have to be told. The first one starts the exchanges, which a task on this
    /// worker sees to as long as there is somebody to be told of, and once more when the instance has ended.
    pub(super) fn note(self: &Arc<Self>, worker: usize, key: u128, identifier: String) {
        let mut waiting = self.waiting.callers.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() < MOST_WAITING {
            waiting.push((key, identifier));
        } else {
            self.waiting.untold.add(1);
            // So that the caller's next request is taken note of again.
            self.table.collect(key);
        }
        self.start(worker, waiting);
    }

    /// Has exchanges go on where somebody waits and nobody sees to it: those who waited when the instance before this one
    /// ended.
    pub(super) fn go_on(self: &Arc<Self>, worker: usize) {
        if self.runs.load(Ordering::Relaxed) {
            return;
        }
        let waiting = self.waiting.callers.lock().unwrap_or_else(PoisonError::into_inner);
        if !waiting.is_empty() {
            self.start(worker, waiting);
        }
    }

    /// Starts the exchanges, if there are none. Under the lock, as their end is: whoever waits is seen to.
    fn start(self: &Arc<Self>, worker: usize, waiting: MutexGuard<'_, Vec<(u128, String)>>) {
        let runs = self.runs.swap(true, Ordering::Relaxed);
        drop(waiting);
        if !runs {
            tokio::spawn(exchange_regularly(self.clone(), worker, self.interval));
        }
    }

    /// Tells the store about everybody who waits.
    pub async fn exchange(self: &Arc<Self>, worker: usize) {
        let waiting = {
            let mut waiting = self.waiting.callers.lock().unwrap_or_else(PoisonError::into_inner);
            if waiting.is_empty() || self.ledger.is_silent() {
                return;
            }
            std::mem::take(&mut *waiting)
        };
        let mut running = JoinSet::new();
        for (key, identifier) in waiting {
            if running.len() >= AT_A_TIME {
                running.join_next().await;
            }
            let this = self.clone();
            running.spawn(async move { this.tell(worker, key, identifier).await });
        }
        while running.join_next().await.is_some() {}
    }

    /// Ends the exchanges where nobody waits. Whoever comes next starts them again.
    fn may_rest(&self) -> bool {
        let waiting = self.waiting.callers.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.is_empty() {
            self.runs.store(false, Ordering::Relaxed);
        }
        waiting.is_empty()
    }

    async fn tell(&self, worker: usize, key: u128, identifier: String) {
        let now_ms = self.clock.now_ms();
        let mut windows = [Window::default(); MOST_LIMITS];
        for (window, limit) in windows.iter_mut().zip(&*self.limits) {
            *window = limit.window(now_ms);
        }
        let question = Question { identifier, key, windows, now_ms };
        let Some(pending) = self.table.collect(key) else { return };
        match self.ledger.add(worker, &self.limits, &question, &pending).await {
            Ok(counts) => {
                for (index, (limit, (count, previous))) in self.limits.iter().zip(counts).enumerate() {
                    let demand = limit.demand(windows[index], now_ms);
                    match (limit.algorithm, demand.measure) {
                        (Algorithm::Smooth { .. }, Measure::Smooth { interval, .. }) => {
                            self.table.absorb_time(key, index, count, interval);
                        }
                        _ => {
                            let narrow = |number| u32::try_from(number).unwrap_or(u32::MAX);
                            let ordinal = pending[index].ordinal;
                            self.table.absorb(key, index, ordinal, narrow(count), narrow(previous));
                        }
                    }
                }
            }
            Err(_) => {
                for (index, (limit, pending)) in self.limits.iter().zip(pending).enumerate() {
                    self.table.give_back(key, index, pending, limit.algorithm);
                }
                let mut waiting = self.waiting.callers.lock().unwrap_or_else(PoisonError::into_inner);
                waiting.push((key, question.identifier));
            }
        }
    }
}

async fn exchange_regularly(batches: Arc<Batches>, worker: usize, interval: Duration) {
    loop {
        tokio::time::sleep(interval).await;
        batches.exchange(worker).await;
        // The instance may have ended meanwhile: then this was its last word, and who still waits is the next one's.
        if batches.may_rest() || Arc::strong_count(&batches) == 1 {
            return;
        }
    }
}

//! What is known of each address, and who may write there: requests by atomics, everybody else one after another.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ahash::{AHashMap, AHashSet};
use arc_swap::ArcSwapOption;
use plugin::services::HealthOrder;
use tokio::sync::Notify;
use tokio::time::Instant;
use uuid::Uuid;

use super::checks::{Check, Checks, Rules};
use super::counters::{Counters, Sign, Thresholds};
use super::outliers::Sample;
use super::ward::Ward;
use crate::balance::Outcome;

/// The health of one address. It lives in the standing of the address.
#[derive(Default)]
pub(crate) struct Health {
    /// None where nothing is found out.
    rules: ArcSwapOption<Rules>,
    counters: AtomicU64,
    /// Left out for doing worse than others.
    ejected: AtomicBool,
    failures_in_a_row: AtomicU32,
    requests: AtomicU64,
    failures: AtomicU64,
    timed: AtomicU64,
    micros: AtomicU64,
}

impl Health {
    /// What came of a request, and how long that took the address, if that is known. Whether the address has to be left out from now on.
    #[inline]
    pub fn hear(&self, outcome: Outcome, took: Option<Duration>) -> bool {
        let rules = self.rules.load();
        let Some(rules) = &*rules else { return false };
        let sign = rules.passive.of_outcome(outcome);
        let turned = sign.is_some_and(|sign| self.count(sign, &rules.passive.thresholds));
        let stands_out = rules.outliers.as_ref().is_some_and(|limits| {
            self.sample(outcome, took);
            self.failures_in_a_row.load(Ordering::Relaxed) == limits.consecutive_failures
                && limits.consecutive_failures > 0
        });
        if turned || stands_out {
            rules.rouse.notify_one();
        }
        turned && !self.is_healthy()
    }

    fn sample(&self, outcome: Outcome, took: Option<Duration>) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        if let Some(took) = took {
            self.timed.fetch_add(1, Ordering::Relaxed);
            self.micros.fetch_add(u64::try_from(took.as_micros()).unwrap_or(0), Ordering::Relaxed);
        }
        if outcome.is_failure() {
            self.failures.fetch_add(1, Ordering::Relaxed);
            self.failures_in_a_row.fetch_add(1, Ordering::Relaxed);
        } else if self.failures_in_a_row.load(Ordering::Relaxed) > 0 {
            self.failures_in_a_row.store(0, Ordering::Relaxed);
        }
    }

    /// Counts a sign. Whether it has turned the address over. Nothing is written while all is well.
    #[inline]
    pub fn count(&self, sign: Sign, thresholds: &Thresholds) -> bool {
        let next = |word| {
            let next = Counters::unpack(word).after(sign, thresholds).pack();
            (next != word).then_some(next)
        };
        let before = self.counters.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        before.is_ok_and(|word| {
            let counters = Counters::unpack(word);
            counters.healthy != counters.after(sign, thresholds).healthy
        })
    }

    /// Whether it is healthy, ejected or not.
    pub fn is_healthy(&self) -> bool {
        Counters::unpack(self.counters.load(Ordering::Relaxed)).healthy
    }

    /// Whether it is left out for doing worse than others.
    pub fn is_ejected(&self) -> bool {
        self.ejected.load(Ordering::Relaxed)
    }

    /// In the words of metrics (kong.md 7).
    pub fn state(&self) -> &'static str {
        match self.rules.load().is_some() {
            false => "healthchecks_off",
            true if self.is_healthy() && !self.is_ejected() => "healthy",
            true => "unhealthy",
        }
    }

    /// How it is judged from now on. An address that was not judged before begins as a new one.
    pub fn adopt(&self, rules: &Arc<Rules>) {
        let before = self.rules.load();
        if !before.as_ref().is_some_and(|before| Arc::ptr_eq(before, rules)) {
            self.rules.store(Some(rules.clone()));
        }
    }

    /// Forgets everything.
    pub fn forget(&self) {
        self.rules.store(None);
        self.force(true);
        self.take_sample();
    }

    /// Sets it by hand.
    pub fn force(&self, healthy: bool) {
        self.counters.store(Counters::fresh(healthy).pack(), Ordering::Relaxed);
        if healthy {
            self.eject(false);
            self.failures_in_a_row.store(0, Ordering::Relaxed);
        }
    }

    pub(super) fn eject(&self, ejected: bool) {
        self.ejected.store(ejected, Ordering::Relaxed);
    }

    /// Failures since the last success.
    pub(super) fn failures_in_a_row(&self) -> u32 {
        self.failures_in_a_row.load(Ordering::Relaxed)
    }

    /// Begins a new row of failures.
    pub(super) fn end_row(&self) {
        self.failures_in_a_row.store(0, Ordering::Relaxed);
    }

    /// What requests came to since the last time this was asked.
    pub(super) fn take_sample(&self) -> Sample {
        Sample {
            requests: self.requests.swap(0, Ordering::Relaxed),
            failures: self.failures.swap(0, Ordering::Relaxed),
            timed: self.timed.swap(0, Ordering::Relaxed),
            micros: self.micros.swap(0, Ordering::Relaxed),
        }
    }
}

/// All upstreams whose health is found out.
#[derive(Default)]
pub(crate) struct Book {
    wards: Mutex<AHashMap<Uuid, Ward>>,
    /// Wakes the thread that looks after it.
    pub(super) rouse: Arc<Notify>,
}

impl Book {
    /// Wakes whoever waits for something to do.
    pub fn rouse(&self) -> &Arc<Notify> {
        &self.rouse
    }

    /// Draws the consequences of what has become known, for the upstreams of `checks` and no others. When to look
    /// again at the latest.
    pub fn settle(&self, checks: &Checks, now: Instant) -> Option<Instant> {
        let mut wards = self.wards.lock().unwrap_or_else(PoisonError::into_inner);
        let watched: AHashSet<Uuid> = checks.iter().map(|check| check.id).collect();
        wards.retain(|id, ward| {
            let kept = watched.contains(id);
            if !kept {
                ward.leave(now);
            }
            kept
        });
        let settle =
            |check: &Check| wards.entry(check.id).or_insert_with(|| Ward::new(now)).settle(check, now);
        checks.iter().filter_map(settle).min()
    }

    /// Sets the health of addresses by hand.
    ///
    /// # Errors
    /// When there is nothing to be set.
    pub fn set(&self, checks: &Checks, order: &HealthOrder<'_>, now: Instant) -> Result<(), &'static str> {
        let check = checks.iter().find(|check| check.rules.upstream == order.upstream);
        let check = check.ok_or("health checks of the upstream are off: nothing would follow from it")?;
        let members = check.balancer.members();
        let meant = members.iter().filter(|member| {
            let address = || member.address.to_string();
            &*member.target == order.target && order.address.is_none_or(|meant| meant == address())
        });
        let mut found = false;
        for member in meant {
            member.standing.health().force(order.healthy);
            found = true;
        }
        self.settle(checks, now);
        if found { Ok(()) } else { Err("the target has no such address, or no weight") }
    }
}

//! A release that finds out for itself how far it may go. Shared by all workers and kept over reloads; a request looks
//! at two numbers and counts by adding to one. What follows from the counts is decided by the request that comes when
//! it is time for that, under a lock that no request waits for.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};

use plugin::clock::Clock;
use plugin::figures::{Family, Figure, Kind};
use plugin::{Build, BuildError, Exchange, Services, Source};

use machine::{Change, Machine, Order, Phase};
pub use rules::{Automatic, PARTS, Rules};
pub use tally::Side;
use tally::{Sample, Tally};

pub mod admin;
mod judge;
mod machine;
mod rules;
mod tally;

const LABELS: &[&str] = &["plugin", "service", "route", "release"];

static STATE: Family = Family {
    name: "canary_state",
    help: "State of an automatic canary: 0 stepping, 1 holding, 2 rolled back, 3 finished",
    kind: Kind::Gauge,
    labels: LABELS,
};
static SHARE: Family = Family {
    name: "canary_share_millionths",
    help: "Share of the traffic that goes to an automatic canary, in millionths",
    kind: Kind::Gauge,
    labels: LABELS,
};
static ROLLED_BACK: Family = Family {
    name: "canary_rolled_back_total",
    help: "Times that an automatic canary has stepped back, by itself or by hand",
    kind: Kind::Counter,
    labels: LABELS,
};

/// What a release is of. An empty name is "all", or none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// Id of the plugin entity.
    pub plugin: String,
    /// Name or id of the service.
    pub service: String,
    /// Name or id of the route.
    pub route: String,
    /// The release's own name.
    pub release: String,
}

/// A release, as far as it has come.
pub struct Release {
    /// What it is of.
    subject: Subject,
    clock: Clock,
    tally: Tally,
    /// The canary's share, in parts of [`PARTS`].
    share: AtomicU64,
    /// When the sides were compared last, milliseconds since 1970.
    looked: AtomicU64,
    machine: Mutex<Machine>,
    state: Arc<Figure>,
    millionths: Arc<Figure>,
    rolled_back: Arc<Figure>,
}

impl Release {
    /// The release of a plugin entity whose canary is at `place`: the one of before, as long as both names stay.
    ///
    /// # Errors
    /// What is wrong with `config`.
    pub fn of(
        config: &Automatic,
        place: &str,
        cx: &Build<'_>,
    ) -> Result<(Arc<Self>, Arc<Rules>), BuildError> {
        let rules = Arc::new(Rules::new(config)?);
        let subject = subject(config, cx);
        let key = format!("canary:{}/{}/{place}", subject.plugin, subject.release);
        // Made before: the registry is locked while it makes something.
        let made = Self::new(subject, rules.clone(), cx.services);
        Ok((cx.services.keep(&key, || made), rules))
    }

    fn new(subject: Subject, rules: Arc<Rules>, services: &Services) -> Self {
        let labels = [subject.plugin.as_str(), &subject.service, &subject.route, &subject.release];
        let figure = |family| services.figures.of(family, &labels);
        let now = services.clock.now_ms();
        let machine = Machine::new(rules, now);
        Self {
            state: figure(&STATE),
            millionths: figure(&SHARE),
            rolled_back: figure(&ROLLED_BACK),
            clock: services.clock.clone(),
            tally: Tally::new(services.workers),
            share: AtomicU64::new(machine.share),
            looked: AtomicU64::new(now),
            machine: Mutex::new(machine),
            subject,
        }
    }

    /// The canary's share of the traffic, in parts of [`PARTS`].
    pub fn share(&self, rules: &Arc<Rules>) -> u64 {
        let now = self.clock.now_ms();
        let looked = self.looked.load(Ordering::Relaxed);
        // One that lies ahead is of before the clock was set back, but for a moment between two threads.
        let due = now >= looked + rules.look_ms || looked > now + rules.look_ms;
        if due && self.looked.compare_exchange(looked, now, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            self.look(rules, now);
        }
        self.share.load(Ordering::Relaxed)
    }

    /// Counts a request that has ended.
    pub fn count(&self, side: Side, exchange: &Exchange, rules: &Rules) {
        if let Some(sample) = sample(exchange, rules) {
            self.tally.add(exchange.worker.index, side, sample);
        }
    }

    /// Compares the sides, unless somebody is at it.
    fn look(&self, rules: &Arc<Rules>, now: u64) {
        let mut machine = match self.machine.try_lock() {
            Ok(machine) => machine,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        let change = machine.look(rules, &self.tally.sums(), now);
        self.publish(&machine, change);
    }

    /// Does what an operator wants, if anything, and shows where the release stands then.
    fn attend<T>(&self, order: Option<Order>, show: impl FnOnce(&Machine) -> T) -> T {
        let mut machine = self.machine.lock().unwrap_or_else(PoisonError::into_inner);
        let (now, counted) = (self.clock.now_ms(), self.tally.sums());
        let rules = machine.rules.clone();
        let change = match order {
            Some(order) => Some(machine.follow(order, &counted, now)),
            None => machine.look(&rules, &counted, now),
        };
        self.publish(&machine, change);
        show(&machine)
    }

    fn publish(&self, machine: &Machine, change: Option<Change>) {
        self.share.store(machine.share, Ordering::Relaxed);
        self.millionths.set(machine.share);
        self.state.set(machine.phase as u64);
        let Some(Change { from, to, why }) = change else { return };
        let Subject { plugin, service, route, release } = &self.subject;
        let (from, share) = (from.name(), machine.share as f64 / 10_000.0);
        if to == Phase::RolledBack {
            self.rolled_back.add(1);
            tracing::warn!(%plugin, %service, %route, %release, from, why, "a canary has stepped back");
        } else {
            let to = to.name();
            tracing::info!(%plugin, %service, %route, %release, from, to, share, why, "a canary has moved");
        }
    }
}

fn subject(config: &Automatic, cx: &Build<'_>) -> Subject {
    let id = |id: Option<uuid::Uuid>| id.map(|id| id.to_string()).unwrap_or_default();
    let route = cx.row.route.and_then(|id| cx.config.routes.iter().find(|route| route.id == id));
    let service = cx.row.service.or_else(|| route?.service.map(|service| service.0));
    let named = service.and_then(|service| cx.config.service(service)?.name.clone());
    Subject {
        plugin: cx.row.id.to_string(),
        service: named.unwrap_or_else(|| id(service)),
        route: route.and_then(|route| route.name.clone()).unwrap_or_else(|| id(cx.row.route)),
        release: config.release.clone(),
    }
}

/// What a request that has ended says about the side it was sent to; none if that is nothing.
fn sample(exchange: &Exchange, rules: &Rules) -> Option<Sample> {
    let record = &exchange.record;
    if let Some(status) = record.upstream_status {
        let failed = rules.errors.contains(&status);
        let took = match (record.upstream_started, record.upstream_answered) {
            (Some(started), Some(answered)) => answered.saturating_duration_since(started),
            _ => std::time::Duration::ZERO,
        };
        return Some(if failed { Sample::Failed } else { Sample::Took(took.as_micros() as u64) });
    }
    if exchange.source != Source::Gateway {
        return None;
    }
    match (exchange.response.status, record.tries.last()) {
        // The client did not wait any longer: it would have taken that long at least.
        (499, Some(_)) => {
            record.upstream_started.map(|began| Sample::Took(began.elapsed().as_micros() as u64))
        }
        // No response came, or there was nobody to ask.
        (_, Some(last)) => last.trouble.map(|_| Sample::Failed),
        (503, None) => Some(Sample::Failed),
        _ => None,
    }
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

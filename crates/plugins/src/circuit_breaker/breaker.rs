//! One breaker, shared by all workers and kept over reloads. As long as it is closed, a request looks at two numbers and
//! takes no lock; otherwise it holds the breaker's own for the time of a look. Times are of a clock that nobody sets.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use plugin::Services;
use plugin::figures::{Family, Figure, Kind};

pub use super::machine::Receipt;
use super::machine::{Change, Forced, Machine, Outcome, Pass, Phase, Rules, Verdict, View};

const LABELS: &[&str] = &["plugin", "service", "route", "target"];
const COUNT_LABELS: &[&str] = &["plugin", "service", "route"];

static STATE: Family = Family {
    name: "circuit_breaker_state",
    help: "State of a circuit breaker: 0 closed, 1 half-open, 2 open",
    kind: Kind::Gauge,
    labels: LABELS,
};
static OPENED: Family = Family {
    name: "circuit_breaker_opened_total",
    help: "Times a circuit breaker has opened",
    kind: Kind::Counter,
    labels: LABELS,
};
static REFUSED: Family = Family {
    name: "circuit_breaker_refused_total",
    help: "Requests that a circuit breaker did not let through",
    kind: Kind::Counter,
    labels: COUNT_LABELS,
};
static STOOD_IN: Family = Family {
    name: "circuit_breaker_fallbacks_total",
    help: "Requests that got the fallback of a circuit breaker",
    kind: Kind::Counter,
    labels: COUNT_LABELS,
};

/// What is counted of the requests to a service or a route, whichever breakers they have to do with.
pub struct Counts {
    /// Requests that were not let through.
    pub refused: Arc<Figure>,
    /// Requests that got the fallback, those that no target could take included.
    pub stood_in: Arc<Figure>,
}

impl Counts {
    /// For the requests that `subject` names.
    pub fn new(subject: &Subject, services: &Services) -> Self {
        let labels = [subject.plugin.as_str(), &subject.service, &subject.route];
        let figure = |family| services.figures.of(family, &labels);
        Self { refused: figure(&REFUSED), stood_in: figure(&STOOD_IN) }
    }
}

/// What a breaker is for. An empty name is "all".
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subject {
    /// Id of the plugin entity.
    pub plugin: String,
    /// Name or id of the service.
    pub service: String,
    /// Name or id of the route.
    pub route: String,
    /// The target, or the host that requests were sent to instead of the service's own.
    pub target: String,
}

/// One breaker.
pub struct Breaker {
    /// What it is for.
    pub subject: Subject,
    machine: Mutex<Machine>,
    /// The epoch of which everybody has a pass; 0 when there is none.
    wide_open: AtomicU64,
    /// A success changes nothing.
    flawless: AtomicBool,
    /// When there was a request for it at last, to a minute.
    seen: AtomicU64,
    state: Arc<Figure>,
    opened: Arc<Figure>,
}

impl Breaker {
    /// A closed breaker.
    pub fn new(subject: Subject, services: &Services) -> Self {
        let labels = [subject.plugin.as_str(), &subject.service, &subject.route, &subject.target];
        let figure = |family| services.figures.of(family, &labels);
        let machine = Machine::new(services.steady.now_ms());
        Self {
            state: figure(&STATE),
            opened: figure(&OPENED),
            wide_open: AtomicU64::new(machine.wide_open().unwrap_or(0)),
            flawless: AtomicBool::new(false),
            seen: AtomicU64::new(services.steady.now_ms()),
            machine: Mutex::new(machine),
            subject,
        }
    }

    /// Whether a request may be sent at `now`.
    pub fn admit(&self, rules: &Rules, now: u64) -> Verdict {
        let epoch = self.wide_open.load(Ordering::Acquire);
        if epoch != 0 {
            return Verdict::Pass(Pass { epoch, probe: None });
        }
        let mut machine = self.lock();
        let (verdict, change) = machine.admit(rules, now);
        self.publish(&machine, rules, change);
        verdict
    }

    /// How many milliseconds a request would have to wait that came at `now`; none if it could be sent.
    pub fn look(&self, rules: &Rules, now: u64) -> Option<u64> {
        if self.wide_open.load(Ordering::Acquire) != 0 {
            return None;
        }
        self.lock().look(rules, now)
    }

    /// Takes a pass back.
    pub fn settle(&self, pass: Pass, outcome: Outcome, rules: &Rules, now: u64) -> Receipt {
        let counts_nothing = match outcome {
            Outcome::Success { .. } => self.flawless.load(Ordering::Acquire),
            Outcome::Failure => false,
            Outcome::Nothing => pass.probe.is_none(),
        };
        if counts_nothing && pass.epoch == self.wide_open.load(Ordering::Acquire) {
            return Receipt { pass, run: 0 };
        }
        let mut machine = self.lock();
        let run = machine.run();
        let change = machine.settle(pass, outcome, rules, now);
        self.publish(&machine, rules, change);
        Receipt { pass, run }
    }

    /// A success turns out to be none.
    pub fn take_back(&self, receipt: Receipt, rules: &Rules, now: u64) {
        let mut machine = self.lock();
        let change = machine.take_back(receipt, rules, now);
        self.publish(&machine, rules, change);
    }

    /// There is a request for it.
    pub fn note_seen(&self, now: u64) {
        if !self.was_seen_since(now.saturating_sub(60_000)) {
            self.seen.store(now, Ordering::Relaxed);
        }
    }

    /// Whether there was a request for it at `time` or later.
    pub fn was_seen_since(&self, time: u64) -> bool {
        self.seen.load(Ordering::Relaxed) >= time
    }

    /// Follows an operator's wish, or none.
    pub fn force(&self, wish: Option<Forced>, now: u64) {
        let mut machine = self.lock();
        let change = machine.force(wish, now);
        self.flawless.store(false, Ordering::Release);
        self.announce(&machine, change);
    }

    /// What there is to see at `now`.
    pub fn view(&self, now: u64) -> View {
        self.lock().view(now)
    }

    fn lock(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, machine: &Machine, rules: &Rules, change: Option<Change>) {
        self.flawless.store(machine.is_flawless(rules), Ordering::Release);
        self.announce(machine, change);
    }

    fn announce(&self, machine: &Machine, change: Option<Change>) {
        let Some(change) = change else { return };
        self.wide_open.store(machine.wide_open().unwrap_or(0), Ordering::Release);
        self.state.set(match change.to {
            Phase::Closed => 0,
            Phase::HalfOpen => 1,
            Phase::Open => 2,
        });
        if change.to == Phase::Open {
            self.opened.add(1);
        }
        let Subject { plugin, service, route, target } = &self.subject;
        let (from, to, why) = (change.from.name(), change.to.name(), change.why);
        tracing::warn!(%plugin, %service, %route, %target, from, to, why, "a circuit breaker has changed its state");
    }
}

//! What an issuer publishes, keys above all: asked for once, parsed once, kept fresh.
//!
//! However many requests need it at the same time, it is asked for by one task (single flight), which goes on when the request
//! that began it ends. A document that has grown old is used while a newer one is asked for, and for as long as its issuer is
//! down. A key that is not known has it asked for again, at most once per cool-down, so that made-up ids reach nobody.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use uuid::Uuid;

use crate::clock::Clock;
use crate::figures::{Family, Figure, Figures, Kind};
use crate::outbound::told;

static ASKED: Family = Family {
    name: "issuer_fetches_total",
    help: "Times that an issuer was asked for its keys, by outcome",
    kind: Kind::Counter,
    labels: &["issuer", "outcome"],
};
static SPARED: Family = Family {
    name: "issuer_fetches_spared_total",
    help: "Times that an unknown key did not have its issuer asked, because that had been done a moment ago",
    kind: Kind::Counter,
    labels: &["issuer"],
};

/// First wait after a failure; it doubles with each, up to the cool-down.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// A document is used for so many hundredths of its time at least; how many, chance decides, so that gateways that began
/// together do not ask together.
const JITTER: u64 = 10;

/// How a document is got: a future that yields it, or says why not.
pub type Source<T> = Box<dyn Fn() -> Pin<Box<dyn Future<Output = Result<T, String>> + Send>> + Send + Sync>;

/// How fresh a document has to be.
#[derive(Debug, Clone, Copy)]
pub struct Freshness {
    /// How long it is used before it is asked for again.
    pub lifetime: Duration,
    /// Least time between two requests for it.
    pub cool_down: Duration,
}

/// There is no document, and none to be had now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unavailable(pub Arc<str>);

impl fmt::Display for Unavailable {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// A document as it was published at some time.
pub struct Edition<T> {
    /// Which one it is, from 1.
    pub number: u64,
    /// What it says.
    pub content: T,
}

/// A document that somebody publishes.
pub struct Published<T> {
    name: Arc<str>,
    source: Source<T>,
    freshness: Freshness,
    clock: Clock,
    /// The number of the edition in `state`; 0 before there is one.
    number: AtomicU64,
    state: Mutex<State<T>>,
    figures: Counts,
}

struct State<T> {
    edition: Option<Arc<Edition<T>>>,
    /// Milliseconds since 1970.
    fresh_until_ms: u64,
    not_asked_before_ms: u64,
    failures: u32,
    trouble: Arc<str>,
    /// Open while somebody asks.
    flight: Option<watch::Receiver<()>>,
}

struct Counts {
    good: Arc<Figure>,
    failed: Arc<Figure>,
    spared: Arc<Figure>,
}

impl<T: Send + Sync + 'static> Published<T> {
    /// A document called `name`, an address, in log lines and metrics, that has not been asked for.
    pub fn new(name: &str, source: Source<T>, freshness: Freshness, clock: Clock, figures: &Figures) -> Self {
        let name = told(name);
        let state = State {
            edition: None,
            fresh_until_ms: 0,
            not_asked_before_ms: 0,
            failures: 0,
            trouble: "it has not been asked for".into(),
            flight: None,
        };
        let figures = Counts {
            good: figures.of(&ASKED, &[name, "success"]),
            failed: figures.of(&ASKED, &[name, "failure"]),
            spared: figures.of(&SPARED, &[name]),
        };
        let (number, state) = (AtomicU64::new(0), Mutex::new(state));
        Self { name: name.into(), source, freshness, clock, number, state, figures }
    }

    /// The number of the edition that is used; 0 without any. What was found out by another one has to be found out again.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number.load(Ordering::Acquire)
    }

    /// The edition at hand, if any, however old. An old one has a newer one asked for, and nobody waits for that. For where
    /// there is a runtime.
    #[must_use]
    pub fn at_hand(self: &Arc<Self>) -> Option<Arc<Edition<T>>> {
        let mut state = self.lock();
        if state.edition.is_some() && self.clock.now_ms() >= state.fresh_until_ms {
            self.ask(&mut state);
        }
        state.edition.clone()
    }

    /// The edition at hand, or else the first one, once it has come.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn obtain(self: &Arc<Self>) -> Result<Arc<Edition<T>>, Unavailable> {
        if let Some(edition) = self.at_hand() {
            return Ok(edition);
        }
        self.renew(0).await;
        let state = self.lock();
        state.edition.clone().ok_or_else(|| Unavailable(state.trouble.clone()))
    }

    /// A newer edition than the one with that number, if there is one or one can be had; none during the cool-down.
    pub async fn newer_than(self: &Arc<Self>, number: u64) -> Option<Arc<Edition<T>>> {
        self.renew(number).await;
        self.lock().edition.clone().filter(|edition| edition.number > number)
    }

    /// Waits until there is a newer edition than `number`, or it is known that there is none for now.
    async fn renew(self: &Arc<Self>, number: u64) {
        let flight = {
            let mut state = self.lock();
            if self.number() > number {
                return;
            }
            self.ask(&mut state)
        };
        match flight {
            // It ends with whoever asks, however that ends.
            Some(mut flight) => while flight.changed().await.is_ok() {},
            None => self.figures.spared.add(1),
        }
    }

    /// Asks for a newer edition, unless somebody does or has done a moment ago. What is returned is open for as long as
    /// that takes.
    fn ask(self: &Arc<Self>, state: &mut State<T>) -> Option<watch::Receiver<()>> {
        if let Some(flight) = &state.flight {
            // Whoever asked may have ended with its worker.
            if flight.has_changed().is_ok() {
                return Some(flight.clone());
            }
        }
        if self.clock.now_ms() < state.not_asked_before_ms {
            return None;
        }
        let (landed, flight) = watch::channel(());
        state.flight = Some(flight.clone());
        let (this, answer) = (self.clone(), (self.source)());
        tokio::spawn(async move {
            let outcome = answer.await;
            this.conclude(outcome);
            drop(landed);
        });
        Some(flight)
    }

    fn conclude(&self, outcome: Result<T, String>) {
        match outcome {
            Ok(content) => self.publish(content),
            Err(trouble) => self.fail(&trouble),
        }
    }

    /// Replaces the edition at hand.
    pub fn publish(&self, content: T) {
        let mut state = self.lock();
        let now_ms = self.clock.now_ms();
        let number = self.number() + 1;
        state.edition = Some(Arc::new(Edition { number, content }));
        state.fresh_until_ms = now_ms.saturating_add(jittered(self.freshness.lifetime));
        state.not_asked_before_ms = now_ms.saturating_add(milliseconds(self.freshness.cool_down));
        state.failures = 0;
        state.flight = None;
        self.number.store(number, Ordering::Release);
        self.figures.good.add(1);
    }

    fn fail(&self, trouble: &str) {
        let mut state = self.lock();
        state.failures = (state.failures + 1).min(16);
        let wait = FIRST_RETRY.saturating_mul(1 << (state.failures - 1));
        let wait = wait.min(self.freshness.cool_down.max(FIRST_RETRY));
        state.not_asked_before_ms = self.clock.now_ms().saturating_add(milliseconds(wait));
        state.trouble = trouble.into();
        state.flight = None;
        self.figures.failed.add(1);
        let kept = state.edition.is_some();
        drop(state);
        tracing::warn!(
            issuer = &*self.name,
            error = trouble,
            old_keys_kept = kept,
            "an issuer cannot be asked for its keys"
        );
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn jittered(lifetime: Duration) -> u64 {
    let chance = Uuid::new_v4().as_u128() as u64 % (JITTER * 10 + 1);
    let full = milliseconds(lifetime);
    full - full / 1_000 * chance
}

#[cfg(test)]
mod tests;

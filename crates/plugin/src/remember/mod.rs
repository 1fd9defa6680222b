//! What other servers have said, remembered: keys, introspections, decisions, secrets.
//!
//! However many requests want to know the same thing at once, one call is made (single flight), in a task of its own that
//! goes on when the request that began it ends. What was learned holds for as long as whoever asked says; a failure holds
//! for a moment, so that a source that is down is not called by every request; and what has grown old may be used while its
//! source is down, where that is wanted. A memory serves the whole process and is kept over reloads. It is bounded in
//! entries and in bytes: what was used least recently gives way.
//!
//! ```text
//! let memory = Memory::<Claims>::open(cx.services, "introspection", &Settings::default());    // when the room is built
//!
//! let key = Digest::of([url.as_bytes(), token]);
//! match memory.look(&key) {                                                                  // in `access`, without waiting
//!     Some(outcome) => decide(outcome),
//!     None => Flow::wait(async move {
//!         let asked = async move { Ok(Learned::new(ask(token).await?, Duration::from_secs(30))) };
//!         let outcome = memory.fetch(key, asked).await;
//!         ..
//!     }),
//! }
//! ```
//!
//! A key must hold all that the answer depends on, the configuration of who asks included.

mod digest;
mod shard;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

pub use digest::{Digest, Parts};
use shard::{Shard, Told};

use crate::clock::Clock;
use crate::figures::{Family, Figure, Kind};
use crate::services::Services;

static HITS: Family = family("remembered_hits_total", "Questions to other servers that needed no call");
static MISSES: Family =
    family("remembered_misses_total", "Questions to other servers that waited for a call");
static CALLS: Family =
    family("remembered_calls_total", "Calls to other servers, for questions of any number of requests");
static FAILURES: Family =
    family("remembered_failures_total", "Calls to other servers that came to no answer");

static ENTRIES: Family = level(
    "remembered_entries",
    "Answers of other servers that are remembered, failures of a moment ago included",
);
static BYTES: Family = level("remembered_bytes", "What these answers take in memory, roughly");

const fn family(name: &'static str, help: &'static str) -> Family {
    Family { name, help, kind: Kind::Counter, labels: &["cache"] }
}

const fn level(name: &'static str, help: &'static str) -> Family {
    Family { name, help, kind: Kind::Gauge, labels: &["cache"] }
}

/// From so many entries on, a memory has several locks.
const LARGE: usize = 1024;
const SHARDS: usize = 16;
/// Least time between two warnings about the same memory.
const BETWEEN_WARNINGS_MS: u64 = 10_000;

/// The bounds of a memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Entries at most.
    pub entries: usize,
    /// Bytes at most, by what whoever learns says of them.
    pub bytes: usize,
    /// How long it is believed that there is no answer.
    pub pause: Duration,
    /// Questions at a time at most; further ones fail.
    pub most_asked: usize,
}

impl Default for Settings {
    /// 10,000 entries in 16 MiB; failures for a second; 1024 questions at a time.
    fn default() -> Self {
        Self { entries: 10_000, bytes: 16 << 20, pause: Duration::from_secs(1), most_asked: 1024 }
    }
}

/// What a source has said, and how long that holds.
#[derive(Debug)]
pub struct Learned<V> {
    value: V,
    bytes: usize,
    fresh: Duration,
    stale: Duration,
    until_ms: u64,
}

impl<V> Learned<V> {
    /// `value`, which holds for so long. A time of zero is for whoever asks at the moment, and not remembered.
    #[must_use]
    pub fn new(value: V, fresh: Duration) -> Self {
        Self { value, bytes: size_of::<V>(), fresh, stale: Duration::ZERO, until_ms: u64::MAX }
    }

    /// Its size in memory, beyond the type itself.
    #[must_use]
    pub fn holding(mut self, bytes: usize) -> Self {
        self.bytes = self.bytes.saturating_add(bytes);
        self
    }

    /// It may be used for so much longer while its source is down.
    #[must_use]
    pub fn stale(mut self, stale: Duration) -> Self {
        self.stale = stale;
        self
    }

    /// It holds until this time at the very latest, in milliseconds since 1970, whatever else is said.
    #[must_use]
    pub fn until(mut self, until_ms: u64) -> Self {
        self.until_ms = until_ms;
        self
    }
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure(Arc<str>);

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// What came of a question.
pub type Outcome<V> = Result<Arc<V>, Failure>;

/// Answers by digests.
pub struct Memory<V> {
    name: &'static str,
    clock: Clock,
    /// The bounds of each shard.
    bounds: Settings,
    shards: Box<[Mutex<Shard<V>>]>,
    warned_ms: AtomicU64,
    hits: Arc<Figure>,
    misses: Arc<Figure>,
    calls: Arc<Figure>,
    failures: Arc<Figure>,
    /// Entries, and bytes.
    sizes: [Arc<Figure>; 2],
}

/// How a question can be answered.
enum Way<V> {
    Known(Outcome<V>),
    Told(Told<V>),
    Ask(watch::Sender<Option<Outcome<V>>>),
}

impl<V: Send + Sync + 'static> Memory<V> {
    /// The memory of this name, type and bounds: the same one for all rooms, and after a reload. The name stands in metrics,
    /// as the label `cache`.
    #[must_use]
    pub fn open(services: &Services, name: &'static str, settings: &Settings) -> Arc<Self> {
        let key = format!("remember {name} {settings:?}");
        services.keep(&key, || {
            let count = if settings.entries >= LARGE { SHARDS } else { 1 };
            let figure = |family| services.figures.of(family, &[name]);
            Self {
                name,
                clock: services.clock.clone(),
                bounds: Settings {
                    entries: (settings.entries / count).max(1),
                    bytes: settings.bytes / count,
                    most_asked: settings.most_asked.div_ceil(count),
                    ..settings.clone()
                },
                shards: (0..count).map(|_| Mutex::default()).collect(),
                warned_ms: AtomicU64::new(0),
                hits: figure(&HITS),
                misses: figure(&MISSES),
                calls: figure(&CALLS),
                failures: figure(&FAILURES),
                sizes: [figure(&ENTRIES), figure(&BYTES)],
            }
        })
    }

    /// What is known under `key` and still holds; also that there was no answer a moment ago.
    #[must_use]
    pub fn look(&self, key: &Digest) -> Option<Outcome<V>> {
        let found = self.shard(key).fresh(key, self.clock.now_ms());
        if found.is_some() {
            self.hits.add(1);
        }
        found
    }

    /// What is known under `key`, or else what `ask` finds out. It is run only if nobody is asking already, and must end
    /// within a time of its own.
    ///
    /// # Errors
    /// Why there is no answer, now or a moment ago.
    pub async fn fetch<A>(self: &Arc<Self>, key: Digest, ask: A) -> Outcome<V>
    where
        A: Future<Output = Result<Learned<V>, String>> + Send + 'static,
    {
        let way = self.way(key, |shard, now_ms| shard.fresh(&key, now_ms));
        self.go(way, key, ask).await
    }

    /// The same, but what was learned longer than `age` ago does not count, for who has reason to think that it has
    /// changed. So nothing is asked for more often than once per `age`.
    ///
    /// # Errors
    /// Why there is no answer, now or a moment ago.
    pub async fn renew<A>(self: &Arc<Self>, key: Digest, age: Duration, ask: A) -> Outcome<V>
    where
        A: Future<Output = Result<Learned<V>, String>> + Send + 'static,
    {
        let since = |now_ms: u64| now_ms.saturating_sub(milliseconds(age));
        let way = self.way(key, |shard, now_ms| shard.since(&key, since(now_ms), now_ms));
        self.go(way, key, ask).await
    }

    /// What `ask` finds out, for the one who asks: nothing is shared or remembered, but counted.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn alone<A>(&self, ask: A) -> Outcome<V>
    where
        A: Future<Output = Result<Learned<V>, String>>,
    {
        self.misses.add(1);
        self.calls.add(1);
        match ask.await {
            Ok(learned) => Ok(Arc::new(learned.value)),
            Err(error) => {
                self.count_failure(&error);
                Err(Failure(error.into()))
            }
        }
    }

    /// Takes in what whoever would have asked has found out without a call.
    ///
    /// # Errors
    /// None; the type is that of all answers.
    pub fn learn(&self, key: Digest, learned: Learned<V>) -> Outcome<V> {
        self.misses.add(1);
        self.shard(&key).learn(key, learned, self.clock.now_ms(), &self.bounds)
    }

    /// Forgets what is known under `key`.
    pub fn forget(&self, key: &Digest) {
        self.change(key, |shard| shard.forget(key));
    }

    fn way(&self, key: Digest, known: impl FnOnce(&mut Shard<V>, u64) -> Option<Outcome<V>>) -> Way<V> {
        let mut shard = self.shard(&key);
        if let Some(outcome) = known(&mut shard, self.clock.now_ms()) {
            self.hits.add(1);
            return Way::Known(outcome);
        }
        self.misses.add(1);
        if let Some(told) = shard.under_way(&key) {
            return Way::Told(told);
        }
        let (tell, told) = watch::channel(None);
        match shard.begin(key, told, self.bounds.most_asked) {
            true => Way::Ask(tell),
            false => Way::Known(Err(Failure("too many questions at a time".into()))),
        }
    }

    async fn go<A>(self: &Arc<Self>, way: Way<V>, key: Digest, ask: A) -> Outcome<V>
    where
        A: Future<Output = Result<Learned<V>, String>> + Send + 'static,
    {
        let mut told = match way {
            Way::Known(outcome) => return outcome,
            Way::Told(told) => told,
            Way::Ask(tell) => {
                let (memory, told) = (self.clone(), tell.subscribe());
                tokio::spawn(async move {
                    memory.calls.add(1);
                    let outcome = memory.settle(key, ask.await);
                    let _nobody_waits = tell.send(Some(outcome));
                });
                told
            }
        };
        let answer = told.wait_for(Option::is_some).await.ok().and_then(|answer| answer.clone());
        answer.unwrap_or_else(|| Err(Failure("the question was given up".into())))
    }

    /// Takes in what came of a call.
    fn settle(&self, key: Digest, answer: Result<Learned<V>, String>) -> Outcome<V> {
        let now_ms = self.clock.now_ms();
        match answer {
            Ok(learned) => self.change(&key, |shard| shard.learn(key, learned, now_ms, &self.bounds)),
            Err(error) => {
                self.count_failure(&error);
                let failure = Failure(error.into());
                self.change(&key, |shard| shard.fail(key, failure, now_ms, &self.bounds))
            }
        }
    }

    /// Counts a failure, and tells of it unless that has been done a moment ago.
    fn count_failure(&self, error: &str) {
        self.failures.add(1);
        let now_ms = self.clock.now_ms();
        let warned_ms = self.warned_ms.load(Ordering::Relaxed);
        if now_ms.saturating_sub(warned_ms) >= BETWEEN_WARNINGS_MS {
            self.warned_ms.store(now_ms, Ordering::Relaxed);
            tracing::warn!(cache = self.name, error, "another server gives no answer that can be used");
        }
    }

    /// Changes what is remembered under `key`, and notes how much that is.
    fn change<T>(&self, key: &Digest, act: impl FnOnce(&mut Shard<V>) -> T) -> T {
        let mut shard = self.shard(key);
        let before = shard.size();
        let outcome = act(&mut shard);
        self.resized(before, shard.size());
        outcome
    }

    fn shard(&self, key: &Digest) -> MutexGuard<'_, Shard<V>> {
        let shard = &self.shards[key.number() % self.shards.len()];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<V> Memory<V> {
    fn resized(&self, before: [u64; 2], after: [u64; 2]) {
        for (figure, (before, after)) in self.sizes.iter().zip(before.into_iter().zip(after)) {
            figure.shift(before, after);
        }
    }
}

impl<V> Drop for Memory<V> {
    fn drop(&mut self) {
        for shard in &self.shards {
            let size = shard.lock().unwrap_or_else(PoisonError::into_inner).size();
            self.resized(size, [0; 2]);
        }
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

//! What others have said, remembered: introspections, decisions, descriptions and keys of issuers, lists, secrets.
//!
//! However many requests want to know the same thing at once, one call is made (single flight), in a task of its own that
//! goes on when the request that began it ends. What was learned holds for as long as whoever asked says, "no" included; that
//! there was no answer holds for a moment, so that a source that is down is not called by every request; and what has grown
//! old may be used while its source is down, where that is wanted. Who has reason to think that something has changed has it
//! asked for again, but not at will. A memory serves the whole process and is kept over reloads. It is bounded in entries and
//! in bytes: what was used least recently gives way. What has a time holds for it by a clock that nobody sets, so that it lasts no
//! longer when the one on the wall is set back.
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
//! A key must hold all that the answer depends on, the configuration of who asks included. [`Published`] is the memory of one
//! document, which knows by itself whom to ask.

mod counts;
mod digest;
mod learned;
mod published;
mod settings;
mod shard;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use digest::{Digest, KeyParts, Parts};
pub use learned::Learned;
pub use published::{Edition, Freshness, Published, Source};
pub use settings::Settings;

use counts::Counts;
use shard::{Found, Now, Shard, Tell, Told};

use crate::clock::Clock;
use crate::figures::Figures;
use crate::services::Services;

/// From so many entries on, a memory has several locks.
const LARGE: usize = 1024;
const SHARDS: usize = 16;
/// Least time between two warnings about the same memory.
const BETWEEN_WARNINGS_MS: u64 = 10_000;

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure(Arc<str>);

impl From<&str> for Failure {
    fn from(why: &str) -> Self {
        Self(why.into())
    }
}

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
    /// Who is asked, where that is one.
    source: Box<str>,
    /// By which is known when something ends at some time.
    wall: Clock,
    /// By which is known how long something has held, whatever becomes of the other.
    steady: Clock,
    /// The bounds of each shard.
    bounds: Settings,
    shards: Box<[Mutex<Shard<V>>]>,
    /// How many answers there have been.
    learned: AtomicU64,
    warned_ms: AtomicU64,
    counts: Counts,
}

/// How a question can be answered.
enum Way<V> {
    Known(Outcome<V>),
    Told(Told<V>),
    Ask(Tell<V>),
}

impl<V: Send + Sync + 'static> Memory<V> {
    /// The memory of this name, type and bounds: the same one for all rooms, and after a reload. The name stands in metrics,
    /// as the label `cache`.
    #[must_use]
    pub fn open(services: &Services, name: &'static str, settings: &Settings) -> Arc<Self> {
        let key = format!("remember {name} {settings:?}");
        services.keep(&key, || Self::new((name, ""), settings, services.clock.clone(), &services.figures))
    }

    /// A memory apart, whose metrics have the name as the label `cache`, and who is asked, if that is one, as `source`.
    #[must_use]
    pub fn new(
        (name, source): (&'static str, &str),
        settings: &Settings,
        clock: Clock,
        figures: &Figures,
    ) -> Self {
        let count = if settings.entries >= LARGE { SHARDS } else { 1 };
        Self {
            name,
            source: source.into(),
            steady: clock.steady(),
            wall: clock,
            bounds: Settings {
                entries: (settings.entries / count).max(1),
                bytes: settings.bytes / count,
                most_asked: settings.most_asked.div_ceil(count),
                ..settings.clone()
            },
            shards: (0..count).map(|_| Mutex::default()).collect(),
            learned: AtomicU64::new(0),
            warned_ms: AtomicU64::new(0),
            counts: Counts::new(figures, name, source),
        }
    }

    /// Shows the metrics among these figures, for a memory that was there before them.
    pub fn show_in(&self, figures: &Figures) {
        self.counts.show_in(figures, self.name, &self.source);
    }

    /// What is known under `key` and still holds; also that there was no answer a moment ago.
    #[must_use]
    pub fn look(&self, key: &Digest) -> Option<Outcome<V>> {
        let found = self.shard(key).fresh(key, self.now())?;
        Some(self.hit(found))
    }

    /// What was learned under `key` no longer than `age` ago, whether or not it still holds.
    #[must_use]
    pub fn within(&self, key: &Digest, age: Duration) -> Option<Arc<V>> {
        self.shard(key).within(key, milliseconds(age), self.now())
    }

    /// For how long what is known under `key` still holds, that there was no answer included; zero for what has grown old.
    #[must_use]
    pub fn holds_for(&self, key: &Digest) -> Option<Duration> {
        self.shard(key).holds_for(key, self.now()).map(Duration::from_millis)
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
        let way = self.way(key, |shard, now| shard.fresh(&key, now));
        self.go(way, key, ask).await
    }

    /// The same, but what was learned `age` ago or before does not count, for who has reason to think that it has changed.
    /// So nothing is asked for more often than once per `age`, and nobody who has given no answer a moment ago.
    ///
    /// # Errors
    /// Why there is no answer, now or a moment ago.
    pub async fn renew<A>(self: &Arc<Self>, key: Digest, age: Duration, ask: A) -> Outcome<V>
    where
        A: Future<Output = Result<Learned<V>, String>> + Send + 'static,
    {
        let recent = |shard: &mut Shard<V>, now: Now<'_>| {
            let found = shard.recent(&key, milliseconds(age), now)?;
            self.counts.spared.add(1);
            Some(found)
        };
        self.go(self.way(key, recent), key, ask).await
    }

    /// What is known under `key` and may be used, however old. For what has grown old `ask` is begun, and nobody waits for
    /// it. For where there is a runtime.
    #[must_use]
    pub fn at_hand<A>(self: &Arc<Self>, key: Digest, ask: impl FnOnce() -> A) -> Option<Arc<V>>
    where
        A: Future<Output = Result<Learned<V>, String>> + Send + 'static,
    {
        let mut shard = self.shard(&key);
        let usable = shard.usable(&key, self.now())?;
        let is_asked = !usable.is_due || shard.under_way(&key).is_some();
        let begun = if is_asked { None } else { shard.begin(key, self.bounds.most_asked) };
        drop(shard);
        self.counts.hits.add(1);
        if usable.is_old {
            self.counts.stale.add(1);
        }
        if let Some(tell) = begun {
            self.run(key, ask(), tell);
        }
        Some(usable.value)
    }

    /// What `ask` finds out, for the one who asks: nothing is shared or remembered, but counted.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn alone<A>(&self, ask: A) -> Outcome<V>
    where
        A: Future<Output = Result<Learned<V>, String>>,
    {
        self.counts.misses.add(1);
        self.counts.calls.add(1);
        match ask.await {
            Ok(learned) => Ok(Arc::new(learned.value)),
            Err(error) => {
                self.count_failure(&error, false);
                Err(Failure(error.into()))
            }
        }
    }

    /// Takes in what whoever would have asked has found out without a call.
    ///
    /// # Errors
    /// None; the type is that of all answers.
    pub fn learn(&self, key: Digest, learned: Learned<V>) -> Outcome<V> {
        self.counts.misses.add(1);
        self.settle(key, Ok(learned), None)
    }

    /// Takes in what came of a call that was made elsewhere, for who asks about many things at once. That there was no
    /// answer is believed for `pause`, or as always.
    ///
    /// # Errors
    /// Why there is no answer, unless what was known may still be used.
    pub fn take_in(
        &self,
        key: Digest,
        answer: Result<Learned<V>, String>,
        pause: Option<Duration>,
    ) -> Outcome<V> {
        self.counts.misses.add(1);
        self.count_call(&key);
        self.settle(key, answer, pause)
    }

    /// Forgets what is known under `key`.
    pub fn forget(&self, key: &Digest) {
        self.change(key, |shard| shard.forget(key));
    }

    fn now(&self) -> Now<'_> {
        Now { ms: self.steady.now_ms(), wall: &self.wall }
    }

    /// How many answers there have been.
    fn learned(&self) -> u64 {
        self.learned.load(Ordering::Acquire)
    }

    /// Counts an answer that needed no call.
    fn hit(&self, found: Found<V>) -> Outcome<V> {
        self.counts.hits.add(1);
        if found.is_old {
            self.counts.stale.add(1);
        }
        found.outcome
    }

    fn way(&self, key: Digest, known: impl FnOnce(&mut Shard<V>, Now<'_>) -> Option<Found<V>>) -> Way<V> {
        let mut shard = self.shard(&key);
        if let Some(found) = known(&mut shard, self.now()) {
            return Way::Known(self.hit(found));
        }
        self.counts.misses.add(1);
        if let Some(told) = shard.under_way(&key) {
            return Way::Told(told);
        }
        match shard.begin(key, self.bounds.most_asked) {
            Some(tell) => Way::Ask(tell),
            None => Way::Known(Err("too many questions at a time".into())),
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
                let told = tell.subscribe();
                self.run(key, ask, tell);
                told
            }
        };
        let answer = told.wait_for(Option::is_some).await.ok().and_then(|answer| answer.clone());
        answer.unwrap_or_else(|| Err("the question was given up".into()))
    }

    /// Asks, in a task of its own, and tells whoever waits.
    fn run<A>(self: &Arc<Self>, key: Digest, ask: A, tell: Tell<V>)
    where
        A: Future<Output = Result<Learned<V>, String>> + Send + 'static,
    {
        self.count_call(&key);
        let memory = self.clone();
        tokio::spawn(async move {
            let outcome = memory.settle(key, ask.await, None);
            let _nobody_waits = tell.send(Some(outcome));
        });
    }

    /// Takes in what came of a call.
    fn settle(&self, key: Digest, answer: Result<Learned<V>, String>, pause: Option<Duration>) -> Outcome<V> {
        let now = self.now();
        match answer {
            Ok(learned) => self.change(&key, |shard| {
                let outcome = shard.learn(key, learned, now, &self.bounds);
                self.learned.fetch_add(1, Ordering::Release);
                outcome
            }),
            Err(error) => {
                let failure = Failure(error.as_str().into());
                let outcome = self.change(&key, |shard| shard.fail(key, failure, pause, now, &self.bounds));
                self.count_failure(&error, outcome.is_ok());
                outcome
            }
        }
    }

    fn count_call(&self, key: &Digest) {
        self.counts.calls.add(1);
        if self.shard(key).has_value(key) {
            self.counts.refreshes.add(1);
        }
    }

    /// Counts a failure, and tells of it unless that has been done a moment ago.
    fn count_failure(&self, error: &str, old_answer_used: bool) {
        self.counts.failures.add(1);
        let now_ms = self.steady.now_ms();
        let warned_ms = self.warned_ms.load(Ordering::Relaxed);
        if now_ms.saturating_sub(warned_ms) >= BETWEEN_WARNINGS_MS {
            self.warned_ms.store(now_ms, Ordering::Relaxed);
            tracing::warn!(
                cache = self.name,
                source = &*self.source,
                error,
                old_answer_used,
                "somebody who is asked gives no answer that can be used"
            );
        }
    }

    /// Changes what is remembered under `key`, and notes how much that is.
    fn change<T>(&self, key: &Digest, act: impl FnOnce(&mut Shard<V>) -> T) -> T {
        let mut shard = self.shard(key);
        let before = shard.size();
        let outcome = act(&mut shard);
        self.counts.resized(before, shard.size());
        outcome
    }

    fn shard(&self, key: &Digest) -> MutexGuard<'_, Shard<V>> {
        let shard = &self.shards[key.number() % self.shards.len()];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<V> Drop for Memory<V> {
    fn drop(&mut self) {
        for shard in &self.shards {
            let size = shard.lock().unwrap_or_else(PoisonError::into_inner).size();
            self.counts.resized(size, [0; 2]);
        }
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

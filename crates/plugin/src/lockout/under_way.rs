//! Attempts whose outcome takes a while. Each counts as a failure until it is known to be none, so that no more are under way
//! at once than may fail. Who is in nobody's way but theirs waits for one of them: people behind one address who log in at once
//! have not failed.

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ahash::AHashMap;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::{Attempt, Guard, LockedOut, Outcome};

/// Most attempts that wait for others, of those that count together.
const MOST_WAITING: usize = 1024;
/// For how long an attempt waits for others at most.
const PATIENCE: Duration = Duration::from_secs(10);

/// Who is under way, by the key of each count. No more are in it than requests are.
#[derive(Default)]
pub(super) struct UnderWay {
    counts: Mutex<AHashMap<u128, u32>>,
    changed: Notify,
    waiting: AtomicUsize,
}

/// An attempt that is under way. Dropped without more, it has failed.
pub struct Begun {
    guard: Arc<Guard>,
    attempt: Attempt,
    over: bool,
}

/// A place among those that wait.
struct Place<'a>(&'a AtomicUsize);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl UnderWay {
    pub(super) fn counts(&self) -> MutexGuard<'_, AHashMap<u128, u32>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait(&self) -> Option<Place<'_>> {
        let place = Place(&self.waiting);
        (self.waiting.fetch_add(1, Ordering::Relaxed) < MOST_WAITING).then_some(place)
    }
}

impl Guard {
    /// Begins an attempt, when no more are under way than may fail.
    ///
    /// # Errors
    /// Too many have failed, or too many wait.
    pub async fn begin(self: &Arc<Self>, worker: usize, attempt: Attempt) -> Result<Begun, LockedOut> {
        if let Some(said) = self.ask(worker, &attempt, None).await {
            said?;
        }
        let under_way = &self.lockout.under_way;
        let until = Instant::now() + PATIENCE;
        let mut place = None;
        loop {
            let mut changed = pin!(under_way.changed.notified());
            changed.as_mut().enable();
            if let Some(begun) = self.try_begin(attempt)? {
                return Ok(begun);
            }
            if place.is_none() {
                place = Some(under_way.wait().ok_or(LockedOut(1))?);
            }
            timeout_at(until, changed).await.map_err(|_| LockedOut(1))?;
        }
    }

    /// Begins an attempt, unless that has to wait for others to end, or to hear of other gateways.
    ///
    /// # Errors
    /// Too many have failed.
    pub fn begin_now(self: &Arc<Self>, attempt: Attempt) -> Result<Option<Begun>, LockedOut> {
        if self.is_shared() { Ok(None) } else { self.try_begin(attempt) }
    }

    fn try_begin(self: &Arc<Self>, attempt: Attempt) -> Result<Option<Begun>, LockedOut> {
        let mut counts = self.lockout.under_way.counts();
        if self.take(&attempt) {
            attempt.keys.iter().flatten().for_each(|key| *counts.entry(*key).or_default() += 1);
            drop(counts);
            return Ok(Some(Begun { guard: self.clone(), attempt, over: false }));
        }
        self.check(&attempt, &counts)?;
        Ok(None)
    }
}

impl Begun {
    /// Whether the caller may hear what it came to, which counts.
    ///
    /// # Errors
    /// How long it may not.
    pub async fn settle(mut self, worker: usize, outcome: Outcome) -> Result<(), LockedOut> {
        let guard = self.guard.clone();
        if let Some(said) = guard.ask(worker, &self.attempt, Some(outcome)).await {
            self.end(Outcome::Counted);
            return said;
        }
        self.end(outcome);
        Ok(())
    }

    /// It has come to nothing: the credential is neither right nor wrong.
    pub fn undecided(mut self) {
        self.end(Outcome::Counted);
    }

    /// What has been counted in advance stays where it was wrong.
    fn end(&mut self, outcome: Outcome) {
        self.over = true;
        let (guard, attempt) = (&self.guard, &self.attempt);
        let under_way = &guard.lockout.under_way;
        let mut counts = under_way.counts();
        if outcome != Outcome::Wrong {
            guard.withdraw(attempt);
        }
        if outcome == Outcome::Right {
            guard.succeeded(attempt);
        }
        for key in attempt.keys.iter().flatten() {
            if let Some(count) = counts.get_mut(key) {
                *count -= 1;
                if *count == 0 {
                    counts.remove(key);
                }
            }
        }
        drop(counts);
        under_way.changed.notify_waiters();
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        if !self.over {
            self.end(Outcome::Wrong);
        }
    }
}

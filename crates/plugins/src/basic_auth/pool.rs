//! Checks of slow hashes, beside the traffic, and no check twice at once.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use ahash::AHashMap;
use plugin::Services;
use plugin::aside::Aside;
use plugin::figures::{Family, Figure};
use plugin::proven::{Digest, Proven};
use tokio::sync::watch;

use super::hash::Slow;

/// The threads, what is being checked, and what they have found out. Kept over reloads.
pub(super) struct Pool {
    pub(super) proven: Arc<Proven<()>>,
    under_way: Arc<Mutex<AHashMap<Digest, Pending>>>,
    aside: Aside,
    checked: Arc<Figure>,
}

pub(super) static CHECKED: Family = Family::count(
    "password_hashes_checked_total",
    "Passwords compared with hashes that take long on purpose",
);

/// The outcome of a check, once there is one.
type Pending = watch::Receiver<Option<bool>>;

struct Job {
    digest: Digest,
    now_ms: u64,
    hash: Arc<Slow>,
    password: Box<[u8]>,
    tell: watch::Sender<Option<bool>>,
}

/// What is known of a password.
pub(super) enum Answer {
    /// It has been found right a short while ago.
    Proven,
    /// Somebody has it checked.
    Joined(Check),
    /// Its check has begun.
    Begun(Check),
    /// Too many are being checked: its check was let begin and has not.
    Busy,
}

/// A check that is under way.
pub(super) struct Check(Pending);

impl Check {
    /// Whether the password is right.
    pub async fn outcome(mut self) -> bool {
        let found = self.0.wait_for(Option::is_some).await.map(|found| *found);
        found.ok().flatten().unwrap_or(false)
    }
}

impl Pool {
    pub fn new(services: &Services) -> Self {
        let checked = services.figures.of(&CHECKED, &[]);
        Self { proven: Arc::default(), under_way: Arc::default(), aside: Aside::new("passwords"), checked }
    }

    /// Whether the password that `digest` stands for has been found right, or the outcome of the check that is under way
    /// or begins now, if `begin` lets it. Of those who ask at once, one begins it.
    pub fn ask<E>(
        &self,
        (digest, now_ms): (Digest, u64),
        (hash, password): (&Arc<Slow>, &[u8]),
        is_proven: impl Fn() -> bool,
        begin: impl FnOnce() -> Result<(), E>,
    ) -> Result<Answer, E> {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(outcome) = under_way.get(&digest).cloned() {
            return Ok(Answer::Joined(Check(outcome)));
        }
        // What is no longer under way has been remembered before.
        if is_proven() {
            return Ok(Answer::Proven);
        }
        begin()?;
        let (tell, outcome) = watch::channel(None);
        let job = Job { digest, now_ms, hash: hash.clone(), password: password.into(), tell };
        let (listed, proven, checked) = (self.under_way.clone(), self.proven.clone(), self.checked.clone());
        if self.aside.send(move || carry_out(job, &listed, &proven, &checked)).is_err() {
            return Ok(Answer::Busy);
        }
        under_way.insert(digest, outcome.clone());
        Ok(Answer::Begun(Check(outcome)))
    }
}

fn carry_out(job: Job, under_way: &Mutex<AHashMap<Digest, Pending>>, proven: &Proven<()>, checked: &Figure) {
    let under_way = || under_way.lock().unwrap_or_else(PoisonError::into_inner);
    let Job { digest, now_ms, hash, password, tell } = job;
    let mut listed = under_way();
    // One receiver is in the list; without another, whoever asked has left.
    if tell.receiver_count() <= 1 {
        listed.remove(&digest);
        return;
    }
    drop(listed);
    checked.add(1);
    let right = catch_unwind(AssertUnwindSafe(|| hash.is_of(&password))).unwrap_or(false);
    if right {
        proven.remember(digest, (), now_ms);
    }
    under_way().remove(&digest);
    tell.send_replace(Some(right));
}

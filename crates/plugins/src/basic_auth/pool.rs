//! Checks of slow hashes, beside the traffic, and no check twice at once.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use ahash::AHashMap;
use plugin::Services;
use plugin::aside::Aside;
pub(super) use plugin::aside::Busy;
use plugin::figures::{Family, Figure};
use plugin::proven::{Digest, Proven};
use tokio::sync::watch;

use super::hash::Slow;

/// The threads, what is being checked, and what they have found out. Kept over reloads.
pub(super) struct Pool {
    pub(super) proven: Proven<()>,
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

struct Check {
    digest: Digest,
    hash: Arc<Slow>,
    password: Box<[u8]>,
    tell: watch::Sender<Option<bool>>,
}

/// What will be found out.
pub(super) struct Outcome(Pending);

impl Outcome {
    /// Whether the password is right.
    pub async fn get(mut self) -> bool {
        let found = self.0.wait_for(Option::is_some).await.map(|found| *found);
        found.ok().flatten().unwrap_or(false)
    }
}

impl Pool {
    pub fn new(services: &Services) -> Self {
        let checked = services.figures.of(&CHECKED, &[]);
        Self { proven: Proven::default(), under_way: Arc::default(), aside: Aside::new("passwords"), checked }
    }

    /// The outcome of a check that is under way, `digest` standing for it.
    pub fn join(&self, digest: &Digest) -> Option<Outcome> {
        let under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        under_way.get(digest).cloned().map(Outcome)
    }

    /// Has `password` checked.
    pub fn check(&self, digest: Digest, hash: &Arc<Slow>, password: &[u8]) -> Result<Outcome, Busy> {
        let (tell, outcome) = watch::channel(None);
        let check = Check { digest, hash: hash.clone(), password: password.into(), tell };
        let (listed, checked) = (self.under_way.clone(), self.checked.clone());
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        self.aside.send(move || carry_out(check, &listed, &checked))?;
        under_way.insert(digest, outcome.clone());
        Ok(Outcome(outcome))
    }
}

fn carry_out(check: Check, under_way: &Mutex<AHashMap<Digest, Pending>>, checked: &Figure) {
    let under_way = || under_way.lock().unwrap_or_else(PoisonError::into_inner);
    let Check { digest, hash, password, tell } = check;
    let mut listed = under_way();
    // One receiver is in the list; without another, whoever asked has left.
    if tell.receiver_count() <= 1 {
        listed.remove(&digest);
        return;
    }
    drop(listed);
    checked.add(1);
    let right = catch_unwind(AssertUnwindSafe(|| hash.is_of(&password))).unwrap_or(false);
    under_way().remove(&digest);
    tell.send_replace(Some(right));
}

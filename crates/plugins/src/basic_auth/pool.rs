//! Checks of slow hashes, beside the traffic: some threads, a bounded line before them, and no check twice at once.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;

use ahash::AHashMap;
use plugin::Services;
use plugin::figures::{Family, Figure};
use plugin::proven::{Digest, Proven};
use tokio::sync::watch;

use super::hash::Slow;

/// Checks that wait at most.
const MOST_WAITING: usize = 64;
/// Threads at most. There are half as many as cores, so that traffic goes on.
const MOST_THREADS: usize = 4;

/// The threads, what they have to do, and what they have found out. Kept over reloads; the threads begin with the first
/// check and end when nobody holds this any more.
pub(super) struct Pool {
    pub(super) proven: Proven<()>,
    under_way: Arc<Mutex<AHashMap<Digest, Pending>>>,
    line: OnceLock<SyncSender<Check>>,
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

/// Too many checks wait already, or there is no thread to be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Busy;

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
        Self { proven: Proven::default(), under_way: Arc::default(), line: OnceLock::new(), checked }
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
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        match self.line.get_or_init(|| self.start()).try_send(check) {
            Ok(()) => {
                under_way.insert(digest, outcome.clone());
                Ok(Outcome(outcome))
            }
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => Err(Busy),
        }
    }

    fn start(&self) -> SyncSender<Check> {
        let (line, checks) = sync_channel(MOST_WAITING);
        let checks = Arc::new(Mutex::new(checks));
        let cores = thread::available_parallelism().map_or(1, usize::from);
        for _ in 0..(cores / 2).clamp(1, MOST_THREADS) {
            let (checks, under_way) = (checks.clone(), self.under_way.clone());
            let checked = self.checked.clone();
            let thread = thread::Builder::new().name("passwords".to_owned());
            if let Err(error) = thread.spawn(move || work(&checks, &under_way, &checked)) {
                tracing::error!(%error, "passwords cannot be checked, for want of a thread");
            }
        }
        line
    }
}

fn work(checks: &Mutex<Receiver<Check>>, under_way: &Mutex<AHashMap<Digest, Pending>>, checked: &Figure) {
    let under_way = || under_way.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let next = checks.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Check { digest, hash, password, tell }) = next else { return };
        let mut listed = under_way();
        // One receiver is in the list; without another, whoever asked has left.
        if tell.receiver_count() <= 1 {
            listed.remove(&digest);
            continue;
        }
        drop(listed);
        checked.add(1);
        let right = catch_unwind(AssertUnwindSafe(|| hash.is_of(&password))).unwrap_or(false);
        under_way().remove(&digest);
        tell.send_replace(Some(right));
    }
}

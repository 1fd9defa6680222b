//! All lists that are wanted, and the thread that keeps them up to date.

use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ahash::{AHashMap, RandomState};
use tokio::sync::{Notify, mpsc};
use tokio::task::{Id, JoinSet};
use tokio::time::timeout;

use super::archive::{Archive, Entry};
use super::listing::Listing;
use super::sought::Sought;
use super::{Again, Listed, Source, Tools, Trouble};
use crate::dns::Lookups;

/// Shortest time between two answers of a source.
const PACE: Duration = Duration::from_millis(250);
/// How long a source may take for its first list until that of the last run is used meanwhile. Starts wait for longer.
const SOON: Duration = Duration::from_secs(1);
/// Wait after the first failure of a source; each further one in a row doubles it.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest it becomes.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// The lists that are wanted. Its thread starts with the first of them, and ends with the resolver.
pub(crate) struct Directory {
    lookups: Lookups,
    archive: Option<Archive>,
    listings: Mutex<AHashMap<Sought, Weak<Listing>>>,
    progress: Arc<Progress>,
    running: Mutex<Option<Running>>,
}

struct Running {
    inbox: mpsc::UnboundedSender<Job>,
    thread: JoinHandle<()>,
}

/// Lists whose source was never asked yet.
#[derive(Default)]
struct Progress {
    untried: Mutex<usize>,
    change: Condvar,
}

/// Counts among those until it is dropped.
struct Untried(Arc<Progress>);

/// A list to be kept up to date.
#[derive(Clone)]
struct Job {
    sought: Sought,
    tools: Tools,
    archive: Option<Archive>,
    listing: Weak<Listing>,
    closed: Arc<Notify>,
    untried: Option<Arc<Untried>>,
}

impl Directory {
    /// One that has names looked up by `lookups`. Lists outlive the process in the `archive`.
    pub fn new(lookups: Lookups, archive: Option<Archive>) -> Self {
        let (listings, progress, running) = Default::default();
        Self { lookups, archive, listings, progress, running }
    }

    /// The list that is `sought`, kept up to date from now on for as long as it is held. What is the same is shared.
    pub(super) fn listing(&self, sought: Sought, tools: Tools) -> Arc<Listing> {
        let mut listings = self.listings.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = listings.get(&sought).and_then(Weak::upgrade) {
            return known;
        }
        listings.retain(|_, listing| listing.strong_count() > 0);
        let listing = Listing::new(&sought);
        listings.insert(sought.clone(), Arc::downgrade(&listing));
        let untried = Some(Arc::new(Untried::new(&self.progress)));
        let (closed, weak) = (listing.closed.clone(), Arc::downgrade(&listing));
        let archive = self.archive.clone();
        if let Err(error) = self.start(Job { sought, tools, archive, listing: weak, closed, untried }) {
            listing.fail(&Trouble::new(format!("the thread cannot be started: {error}")));
        }
        listing
    }

    fn start(&self, job: Job) -> io::Result<()> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let running = match &mut *running {
            Some(running) => running,
            none => none.insert(Running::start(self.lookups.clone())?),
        };
        running.inbox.send(job).map_err(|_| io::Error::other("it has ended"))
    }

    /// Blocks until every source was asked once, but not longer than `at_most`. Not for the data path.
    pub fn settle(&self, at_most: Duration) {
        let untried = self.progress.untried.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.progress.change.wait_timeout_while(untried, at_most, |untried| *untried > 0);
        drop(waited);
    }

    /// Ends the thread.
    pub fn stop(&self) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Running { inbox, thread }) = running {
            drop(inbox);
            // A panic has already been reported by the panic hook.
            let _ = thread.join();
        }
    }
}

impl Running {
    fn start(lookups: Lookups) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (inbox, jobs) = mpsc::unbounded_channel();
        let thread = thread::Builder::new().name("discovery".to_owned()).spawn(move || {
            runtime.block_on(run(jobs, lookups));
            // A file system that does not answer is not waited for.
            runtime.shutdown_background();
        })?;
        Ok(Self { inbox, thread })
    }
}

impl Untried {
    fn new(progress: &Arc<Progress>) -> Self {
        *progress.untried.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        Self(progress.clone())
    }
}

impl Drop for Untried {
    fn drop(&mut self) {
        *self.0.untried.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.0.change.notify_all();
    }
}

/// Keeps lists up to date until the sender of `jobs` is gone.
async fn run(mut jobs: mpsc::UnboundedReceiver<Job>, lookups: Lookups) {
    let mut running = JoinSet::new();
    let mut known: AHashMap<Id, Job> = AHashMap::new();
    loop {
        let job = tokio::select! {
            job = jobs.recv() => match job {
                Some(job) => job,
                None => return,
            },
            Some(ended) = running.join_next_with_id() => {
                let (id, panicked) = match ended {
                    Ok((id, ())) => (id, false),
                    Err(error) => (error.id(), error.is_panic()),
                };
                match known.remove(&id).filter(|_| panicked) {
                    Some(job) => job,
                    None => continue,
                }
            }
        };
        // Kept for the case that it panics, after which it is begun anew.
        let kept = Job { untried: None, ..job.clone() };
        let task = running.spawn(keep(job, lookups.clone())).id();
        known.insert(task, kept);
    }
}

/// Keeps one list up to date, for as long as somebody holds it.
async fn keep(mut job: Job, lookups: Lookups) {
    let mut source = job.sought.source(&job.tools, &lookups);
    let mut entry = job.archive.as_ref().map(|archive| archive.entry(&job.sought));
    let mut backoff = Backoff::default();
    loop {
        let closed = job.closed.clone();
        let outcome = tokio::select! {
            () = closed.notified() => return,
            outcome = ask(&mut *source, &mut job, entry.as_ref(), &lookups) => outcome,
        };
        let Some(listing) = job.listing.upgrade() else { return };
        let wait = match outcome {
            Ok(list) => {
                backoff.failures = 0;
                let changed = listing.publish(list, &lookups);
                if let Some(entry) = &mut entry {
                    entry.keep(&listing.listed(), changed);
                }
                PACE
            }
            Err(trouble) => {
                listing.fail(&trouble);
                listing.expire();
                if trouble.again == Again::AtOnce { PACE } else { backoff.next() }
            }
        };
        drop(listing);
        job.untried = None;
        tokio::select! {
            () = job.closed.notified() => return,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// The next list. If there is no first one soon, that of the last run takes its place.
async fn ask(
    source: &mut dyn Source,
    job: &mut Job,
    entry: Option<&Entry>,
    lookups: &Lookups,
) -> Result<Vec<Listed>, Trouble> {
    let mut next = source.next();
    let Some(entry) = entry.filter(|_| job.untried.is_some()) else { return next.await };
    let first = timeout(SOON, &mut next).await;
    if let Ok(Ok(list)) = first {
        return Ok(list);
    }
    if let Some(restored) = entry.restore().await
        && let Some(listing) = job.listing.upgrade()
    {
        listing.restore(restored, lookups);
        job.untried = None;
    }
    match first {
        Ok(outcome) => outcome,
        Err(_) => next.await,
    }
}

/// How long to wait after failures in a row: twice as long each time, and a part of that by chance, so that gateways
/// do not come all at once when a registry is back.
#[derive(Default)]
struct Backoff {
    failures: u32,
    random: RandomState,
}

impl Backoff {
    fn next(&mut self) -> Duration {
        let longest = FIRST_WAIT.saturating_mul(1 << self.failures.min(16)).min(LONGEST_WAIT);
        self.failures = self.failures.saturating_add(1);
        let part = u32::try_from(self.random.hash_one(self.failures) % 1024).unwrap_or_default();
        longest / 2 + longest / 2048 * part
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_bound_and_are_never_less_than_half() {
        let mut backoff = Backoff::default();
        for longest in [1, 2, 4, 8, 16, 30, 30, 30].map(Duration::from_secs) {
            let wait = backoff.next();
            assert!(wait >= longest / 2 && wait <= longest, "{wait:?} of {longest:?}");
        }
    }
}

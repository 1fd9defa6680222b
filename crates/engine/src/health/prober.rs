//! The thread that looks after the health of addresses: it asks them in their time, and draws consequences.
//!
//! It follows the snapshot that is served. What it does is bounded: one probe of an address at a time, as many of an
//! upstream as that allows, and [`MOST_PROBES`] in all.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ahash::{AHashMap, RandomState};
use tokio::sync::{Semaphore, watch};
use tokio::task::{Id, JoinError, JoinSet, LocalSet};
use tokio::time::Instant;
use uuid::Uuid;

use super::book::Book;
use super::checks::{Checks, Rules};
use super::counters::Sign;
use super::probe::{Probe, Trouble};
use crate::balance::Standing;
use crate::snapshot::Publisher;

/// Probes under way at a time, over all upstreams.
const MOST_PROBES: usize = 256;
/// How often addresses are looked at whatever happens: those of names come and go by themselves.
const LOOK: Duration = Duration::from_secs(1);
/// The first probe of an address is no later than this.
const FIRST: Duration = Duration::from_secs(1);

/// The running thread. It ends when this is dropped.
pub(crate) struct Prober {
    stop: watch::Sender<bool>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Prober {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the thread or its runtime cannot be made.
    pub fn start(book: Arc<Book>, publisher: Arc<Publisher>) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = watch::channel(false);
        let body = move || {
            let rounds = Rounds::new(book, publisher);
            LocalSet::new().block_on(&runtime, rounds.run(stopped));
        };
        let thread = thread::Builder::new().name("health".to_owned()).spawn(body)?;
        Ok(Self { stop, thread: Mutex::new(Some(thread)) })
    }

    /// Ends the thread.
    pub fn stop(&self) {
        self.stop.send_replace(true);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        // A panic has already been reported by the panic hook.
        let _ = thread.map(JoinHandle::join);
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.stop();
    }
}

/// An address of an upstream.
type Key = (Uuid, SocketAddr);

/// Everything the thread knows.
struct Rounds {
    book: Arc<Book>,
    publisher: Arc<Publisher>,
    subjects: AHashMap<Key, Subject>,
    /// Those that wait for their time; the number tells apart what is due in the same instant.
    due: BTreeMap<(Instant, u64), Key>,
    lines: AHashMap<Uuid, Line>,
    running: JoinSet<Said>,
    /// Whom the running probes are for.
    asked: AHashMap<Id, Asked>,
    places: Arc<Semaphore>,
    sequence: u64,
    random: RandomState,
}

/// An address that is asked.
struct Subject {
    standing: Arc<Standing>,
    host: Arc<str>,
    target: Arc<str>,
    rules: Arc<Rules>,
    probe: Arc<Probe>,
    /// Between probes while it is healthy, and while it is not.
    waits: [Option<Duration>; 2],
    /// Probes of its upstream at a time.
    concurrency: usize,
    state: State,
}

/// Where a subject is between two probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    Due(Instant, u64),
    /// In line, or being asked.
    Asked,
}

/// The probes of an upstream that are under way, or wait for room.
struct Line {
    running: usize,
    most: usize,
    waiting: VecDeque<Key>,
}

/// What a probe came to.
type Said = Result<Option<Sign>, Trouble>;

/// Whom a probe is for.
struct Asked {
    key: Key,
    standing: Arc<Standing>,
    rules: Arc<Rules>,
}

impl Rounds {
    fn new(book: Arc<Book>, publisher: Arc<Publisher>) -> Self {
        Self {
            book,
            publisher,
            subjects: AHashMap::new(),
            due: BTreeMap::new(),
            lines: AHashMap::new(),
            running: JoinSet::new(),
            asked: AHashMap::new(),
            places: Arc::new(Semaphore::new(MOST_PROBES)),
            sequence: 0,
            random: RandomState::new(),
        }
    }

    async fn run(mut self, mut stopped: watch::Receiver<bool>) {
        let rouse = self.book.rouse().clone();
        let mut look = self.look();
        loop {
            let next = self.due.keys().next().map(|(at, _)| *at).into_iter().chain(look).min();
            let turned = tokio::select! {
                _ = stopped.wait_for(|stop| *stop) => return,
                () = rouse.notified() => true,
                () = sleep_until(next) => false,
                Some(said) = self.running.join_next_with_id() => self.take(said),
            };
            if turned || look.is_some_and(|look| look <= Instant::now()) {
                look = self.look();
            }
            self.ask_due();
        }
    }

    /// Draws consequences and follows the snapshot. When to do so again.
    fn look(&mut self) -> Option<Instant> {
        let now = Instant::now();
        let snapshot = self.publisher.current();
        let next = self.book.settle(&snapshot.checks, now);
        self.follow(&snapshot.checks, now);
        let again = (!snapshot.checks.is_empty()).then(|| now + LOOK);
        next.into_iter().chain(again).min()
    }

    fn follow(&mut self, checks: &Checks, now: Instant) {
        let mut before = std::mem::take(&mut self.subjects);
        for check in checks.iter() {
            let Some(asks) = &check.asks else { continue };
            if let Some(line) = self.lines.get_mut(&check.id) {
                line.most = asks.concurrency;
            }
            for member in check.balancer.members() {
                let key = (check.id, member.address);
                let known = before.remove(&key);
                let subject = Subject {
                    standing: member.standing,
                    host: member.host,
                    target: member.target,
                    rules: check.rules.clone(),
                    probe: asks.probe.clone(),
                    waits: [asks.of_healthy, asks.of_unhealthy],
                    concurrency: asks.concurrency,
                    state: known.as_ref().map_or(State::Idle, |known| known.state),
                };
                self.subjects.entry(key).or_insert(subject);
                self.plan(key, now, known.is_none().then_some(FIRST));
            }
        }
        for subject in before.into_values() {
            if let State::Due(at, number) = subject.state {
                self.due.remove(&(at, number));
            }
        }
        let subjects = &self.subjects;
        self.lines.retain(|_, line| {
            line.waiting.retain(|key| subjects.contains_key(key));
            line.running > 0 || !line.waiting.is_empty()
        });
    }

    /// Plans the next probe of an address that is not being asked, unless an earlier one is planned already. The
    /// moment is up to a tenth late, or any within `at_most`, so that addresses do not stay in step.
    fn plan(&mut self, key: Key, now: Instant, at_most: Option<Duration>) {
        let Some(subject) = self.subjects.get_mut(&key) else { return };
        let wait = subject.waits[usize::from(!subject.standing.health().is_healthy())];
        let latest = wait.map(|wait| now + wait + wait / 10);
        match subject.state {
            State::Asked => return,
            State::Due(at, _) if latest.is_some_and(|latest| at <= latest) => return,
            State::Due(at, number) => drop(self.due.remove(&(at, number))),
            State::Idle => {}
        }
        subject.state = State::Idle;
        let Some(wait) = wait else { return };
        self.sequence += 1;
        let part = u32::try_from(self.random.hash_one(self.sequence) % 1024).unwrap_or_default();
        let at = match at_most {
            Some(most) => now + most.min(wait) / 1024 * part,
            None => now + wait + wait / 10_240 * part,
        };
        subject.state = State::Due(at, self.sequence);
        self.due.insert((at, self.sequence), key);
    }

    fn ask_due(&mut self) {
        let now = Instant::now();
        while let Some(entry) = self.due.first_entry().filter(|entry| entry.key().0 <= now) {
            let key = entry.remove();
            if let Some(subject) = self.subjects.get_mut(&key) {
                subject.state = State::Asked;
                let (running, waiting) = (0, VecDeque::new());
                let line = self.lines.entry(key.0);
                let line = line.or_insert(Line { running, waiting, most: subject.concurrency });
                line.waiting.push_back(key);
                self.advance(key.0);
            }
        }
    }

    /// Asks the next ones in the line of an upstream, as many as there is room for.
    fn advance(&mut self, upstream: Uuid) {
        let Some(line) = self.lines.get_mut(&upstream) else { return };
        while line.running < line.most {
            let Some(key) = line.waiting.pop_front() else { return };
            let Some(subject) = self.subjects.get(&key) else { continue };
            line.running += 1;
            let (standing, rules) = (subject.standing.clone(), subject.rules.clone());
            let (probe, host, places) = (subject.probe.clone(), subject.host.clone(), self.places.clone());
            let judged = rules.clone();
            let task = self.running.spawn_local(async move {
                let _place = places.acquire().await;
                probe.ask(key.1, &host, &judged.active).await
            });
            self.asked.insert(task.id(), Asked { key, standing, rules });
        }
    }

    /// Counts what a probe came to. Whether it has turned the address over.
    fn take(&mut self, said: Result<(Id, Said), JoinError>) -> bool {
        // One that panicked says nothing, and goes on in its time.
        let (task, said) = said.unwrap_or_else(|error| (error.id(), Ok(None)));
        let Some(Asked { key, standing, rules }) = self.asked.remove(&task) else { return false };
        let sign = match said {
            Ok(sign) => sign,
            Err(Trouble { sign, detail }) => {
                let target = self.subjects.get(&key).map(|subject| &*subject.target);
                tracing::debug!(upstream = rules.upstream, target, address = %key.1, detail, "a probe failed");
                Some(sign)
            }
        };
        let turned = sign.is_some_and(|sign| standing.health().count(sign, &rules.active.thresholds));
        if let Some(line) = self.lines.get_mut(&key.0) {
            line.running -= 1;
        }
        let subject = self.subjects.get_mut(&key).filter(|subject| subject.state == State::Asked);
        if let Some(subject) = subject {
            subject.state = State::Idle;
            self.plan(key, Instant::now(), None);
        }
        self.advance(key.0);
        turned
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

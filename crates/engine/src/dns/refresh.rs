//! The resolver's thread: which name is looked up when, and what is published afterwards.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use ahash::{AHashMap, RandomState};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior};

use super::hosts::HostsFiles;
use super::query::{Answer, Queries};
use super::{DnsSettings, Failure, Follower, Kind, Name, Registry, State, services};

/// Most lookups under way at a time.
const CONCURRENCY: usize = 32;
/// Longest wait between attempts for a name that fails.
const MAX_BACKOFF: Duration = Duration::from_secs(30);

/// A watched name on its way through the thread. There is exactly one for each name.
pub(super) struct Watch {
    name: Weak<Name>,
    text: Arc<str>,
    failures: u32,
    /// The kind of records it had last.
    last: Option<Kind>,
    untried: bool,
}

/// Everything the thread knows.
pub(super) struct Refresher {
    settings: DnsSettings,
    registry: Arc<Registry>,
    hosts: HostsFiles,
    queries: Queries,
    /// Waiting for their time; the number tells apart what is due in the same instant.
    due: BTreeMap<(Instant, u64), Watch>,
    /// Waiting for a free place.
    ready: VecDeque<Watch>,
    running: JoinSet<Answer>,
    /// Whom the running lookups are for.
    asked: AHashMap<Id, Watch>,
    /// What has come of lookups and has not been told yet.
    news: News,
    sequence: u64,
    random: RandomState,
}

/// What several lookups have come to. It is told at once: to follow a change may cost as much as a large upstream has
/// addresses.
#[derive(Default)]
struct News {
    /// Names whose addresses are others.
    changed: Vec<Arc<Name>>,
    /// Names that have been tried.
    tried: usize,
    /// For so many of them it was the first time.
    first: usize,
}

impl News {
    /// A name was tried, or nobody wants it any more.
    fn note_tried(&mut self, watch: &mut Watch) {
        self.tried += 1;
        self.first += usize::from(std::mem::take(&mut watch.untried));
    }

    /// Tells those who follow names, each once, and then those who wait for names to be tried.
    fn tell(self, registry: &Registry) {
        let mut followers = Vec::new();
        self.changed.iter().for_each(|name| name.add_followers(&mut followers));
        let place = |follower: &Arc<dyn Follower>| Arc::as_ptr(follower).cast::<()>();
        followers.sort_unstable_by_key(place);
        followers.dedup_by_key(|follower| place(follower));
        followers.into_iter().for_each(|follower| follower.addresses_changed());
        if self.tried > 0 {
            registry.tried(self.first);
        }
    }
}

impl Watch {
    pub(super) fn new(name: &Arc<Name>) -> Self {
        Self { name: Arc::downgrade(name), text: name.text().clone(), failures: 0, last: None, untried: true }
    }
}

impl Refresher {
    /// To be called within a runtime.
    pub(super) fn new(settings: DnsSettings, registry: Arc<Registry>) -> Self {
        Self {
            hosts: HostsFiles::new(&settings),
            queries: Queries::new(&settings),
            settings,
            registry,
            due: BTreeMap::new(),
            ready: VecDeque::new(),
            running: JoinSet::new(),
            asked: AHashMap::new(),
            news: News::default(),
            sequence: 0,
            random: RandomState::new(),
        }
    }

    /// Runs until the sender of `stopped` is gone.
    pub(super) async fn run(
        mut self,
        mut inbox: mpsc::UnboundedReceiver<Watch>,
        mut stopped: oneshot::Receiver<()>,
    ) {
        let mut files = tokio::time::interval(self.settings.files_interval);
        files.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let next = self.due.keys().next().map(|(at, _)| *at);
            tokio::select! {
                _ = &mut stopped => return,
                Some(watch) = inbox.recv() => self.ready.push_back(watch),
                Some(done) = self.running.join_next_with_id() => {
                    self.join(done);
                    while let Some(done) = self.running.try_join_next_with_id() {
                        self.join(done);
                    }
                }
                () = sleep_until(next) => self.take_due(),
                _ = files.tick() => {
                    self.drop_unheld();
                    self.check_files();
                }
            }
            self.start_ready();
            std::mem::take(&mut self.news).tell(&self.registry);
        }
    }

    fn take_due(&mut self) {
        let now = Instant::now();
        while let Some(entry) = self.due.first_entry().filter(|entry| entry.key().0 <= now) {
            self.ready.push_back(entry.remove());
        }
    }

    fn start_ready(&mut self) {
        if self.running.len() < CONCURRENCY && !self.ready.is_empty() {
            self.check_files();
        }
        while self.running.len() < CONCURRENCY {
            let Some(watch) = self.ready.pop_front() else { return };
            if watch.name.strong_count() == 0 {
                self.drop_watch(watch);
            } else if let Some(list) = self.hosts.find(&watch.text) {
                self.finish_from_file(watch, list);
            } else {
                let lookup = self.queries.lookup(&watch.text, watch.last);
                let task = self.running.spawn(lookup).id();
                self.asked.insert(task, watch);
            }
        }
    }

    /// A lookup that panicked has failed like any other.
    fn join(&mut self, done: Result<(Id, Answer), JoinError>) {
        let (task, answer) = done.unwrap_or_else(|error| (error.id(), Err(Failure::Server)));
        if let Some(watch) = self.asked.remove(&task) {
            self.finish(watch, answer);
        }
    }

    /// Ends a lookup; what a hosts file says by now wins over the answer.
    fn finish(&mut self, mut watch: Watch, answer: Answer) {
        if let Some(list) = self.hosts.find(&watch.text) {
            self.finish_from_file(watch, list);
        } else if let Some(name) = watch.name.upgrade() {
            let wait = self.publish(&name, &mut watch, answer);
            self.plan(watch, wait);
        } else {
            self.drop_watch(watch);
        }
    }

    fn finish_from_file(&mut self, mut watch: Watch, list: Vec<IpAddr>) {
        if let Some(name) = watch.name.upgrade() {
            watch.failures = 0;
            if name.publish(list.into_iter().map(Into::into).collect(), State::Resolved, true) {
                self.news.changed.push(name);
            }
            self.plan(watch, self.settings.max_ttl);
        } else {
            self.drop_watch(watch);
        }
    }

    /// Plans the next lookup after `wait`, up to a tenth later so that names do not stay in step.
    fn plan(&mut self, mut watch: Watch, wait: Duration) {
        self.news.note_tried(&mut watch);
        self.sequence += 1;
        let spread = (self.random.hash_one(self.sequence) % 1024) as u32;
        let at = Instant::now() + wait + wait / 10_240 * spread;
        self.due.insert((at, self.sequence), watch);
    }

    /// Publishes the answer of name servers; returns how long it is good for.
    fn publish(&mut self, name: &Arc<Name>, watch: &mut Watch, answer: Answer) -> Duration {
        match answer {
            Ok(found) => {
                watch.last = found.kind;
                let good_for = found.ttl.max(self.settings.min_ttl).min(self.settings.max_ttl);
                let wait = if found.unanswered.is_empty() {
                    watch.failures = 0;
                    good_for
                } else {
                    good_for.min(self.back_off(watch))
                };
                let list = services::beside(found, &name.addresses().list);
                if name.publish(list, State::Resolved, false) {
                    tracing::debug!(name = &**name.text(), "addresses changed");
                    self.news.changed.push(name.clone());
                }
                wait
            }
            Err(failure) => {
                // A denial counts at once; a failure says nothing about the addresses known so far.
                let denied = matches!(failure, Failure::NotFound | Failure::Malformed);
                let before = name.addresses();
                let kept = if denied || before.from_hosts { Vec::new() } else { before.list.clone() };
                if name.publish(kept, State::Failed(failure), false) {
                    tracing::warn!(name = &**name.text(), reason = %failure, "name does not resolve");
                    self.news.changed.push(name.clone());
                }
                self.back_off(watch)
            }
        }
    }

    /// How long to wait after one more failure in a row.
    fn back_off(&self, watch: &mut Watch) -> Duration {
        let wait = self.settings.error_ttl.saturating_mul(1 << watch.failures.min(16));
        watch.failures = watch.failures.saturating_add(1);
        wait.min(MAX_BACKOFF)
    }

    /// Looks up at once what a changed file may decide.
    fn check_files(&mut self) {
        let hosts = self.hosts.refresh();
        let servers = self.queries.refresh();
        if !hosts && !servers {
            return;
        }
        let affected = |watch: &Watch| {
            watch.failures > 0
                || self.hosts.find(&watch.text).is_some()
                || watch.name.upgrade().is_some_and(|name| name.addresses().from_hosts)
        };
        self.ready.extend(self.due.extract_if(.., |_, watch| affected(watch)).map(|(_, watch)| watch));
    }

    fn drop_unheld(&mut self) {
        let unheld = self.due.extract_if(.., |_, watch| watch.name.strong_count() == 0);
        for (_, watch) in unheld.collect::<Vec<_>>() {
            self.drop_watch(watch);
        }
    }

    fn drop_watch(&mut self, mut watch: Watch) {
        self.registry.forget(&watch.text);
        self.news.note_tried(&mut watch);
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

//! Hostnames to addresses, kept fresh by one thread of its own.
//!
//! A request never looks a name up: it reads what the thread last published, without a lock. A name is looked up
//! again when its records expire, for as long as somebody holds it. Hosts files win over DNS, as in every resolver.

mod hosts;
mod name;
mod order;
mod query;
mod refresh;
#[cfg(test)]
pub(crate) mod server;
mod services;
#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ahash::AHashMap;
use plugin::services::NameCounts;
use tokio::sync::{mpsc, oneshot};

use crate::balance::{Rotations, Standings};
use crate::discovery::{Archive, Directory, MAX_AGE};
use crate::health::Book;
use crate::upstream::gate::Gates;

pub(crate) use name::Follower;
pub use name::{Failure, Name, Record, Service, State};
pub use order::{Kind, Order};
use refresh::{Refresher, Watch};

/// Most names watched at a time.
const MAX_NAMES: usize = 65_536;

/// How names are looked up.
#[derive(Debug, Clone)]
pub struct DnsSettings {
    /// A hosts file that wins over the system's.
    pub extra_hosts_file: Option<PathBuf>,
    /// The system's hosts file.
    pub hosts_file: PathBuf,
    /// How often hosts files and the system's resolver configuration are checked for changes.
    pub files_interval: Duration,
    /// Name servers to ask; those of the system when empty.
    pub servers: Vec<SocketAddr>,
    /// The kinds of records to ask for.
    pub order: Order,
    /// Records that expire earlier are kept this long.
    pub min_ttl: Duration,
    /// Records that expire later are kept this long.
    pub max_ttl: Duration,
    /// Wait before the first new attempt after a failure; it doubles with each further failure, up to 30 seconds.
    pub error_ttl: Duration,
    /// How long a name server may take to answer; as the system says when None.
    pub timeout: Option<Duration>,
    /// The folder in which lists of discovered targets outlive the process, if they do.
    pub lists: Option<PathBuf>,
    /// How old such a list may become, if not as old as it likes.
    pub lists_max_age: Option<Duration>,
}

/// The process's resolver. Survives reloads; its thread ends with it.
pub struct Resolver {
    lookups: Lookups,
    /// The thread ends when this goes.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    /// Positions of the balancers' wheels, here because the resolver is what outlives a snapshot.
    pub(crate) rotations: Rotations,
    /// How addresses stand, here for the same reason.
    pub(crate) standings: Arc<Standings>,
    /// What their health comes to, here for the same reason.
    pub(crate) book: Arc<Book>,
    /// How many connections there are to addresses that bound them, here for the same reason.
    pub(crate) gates: Arc<Gates>,
    /// Lists of targets that are kept by others, here for the same reason.
    pub(crate) directory: Directory,
}

/// The way to have names looked up. Nothing is looked up any more once the resolver is gone.
#[derive(Clone)]
pub(crate) struct Lookups {
    registry: Arc<Registry>,
    inbox: mpsc::UnboundedSender<Watch>,
}

/// What the resolver and its thread share.
#[derive(Default)]
struct Registry {
    names: Mutex<AHashMap<Arc<str>, Weak<Name>>>,
    /// Names that were never tried yet.
    untried: Mutex<usize>,
    progress: Condvar,
}

impl Default for DnsSettings {
    fn default() -> Self {
        Self {
            extra_hosts_file: None,
            hosts_file: PathBuf::from("/etc/hosts"),
            files_interval: Duration::from_secs(2),
            servers: Vec::new(),
            order: Order::default(),
            min_ttl: Duration::from_secs(1),
            max_ttl: Duration::from_secs(3600),
            error_ttl: Duration::from_secs(1),
            timeout: None,
            lists: None,
            lists_max_age: Some(MAX_AGE),
        }
    }
}

impl Resolver {
    /// Starts the thread that looks names up.
    ///
    /// # Errors
    /// When the thread or its runtime cannot be made.
    pub fn start(mut settings: DnsSettings) -> io::Result<Arc<Self>> {
        let archive = settings.lists.take().map(|folder| Archive::new(&folder, settings.lists_max_age));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (inbox, watches) = mpsc::unbounded_channel();
        let (stop, stopped) = oneshot::channel();
        let registry = Arc::new(Registry::default());
        let theirs = registry.clone();
        let thread = thread::Builder::new().name("dns".to_owned()).spawn(move || {
            runtime.block_on(async { Refresher::new(settings, theirs).run(watches, stopped).await });
        })?;
        let lookups = Lookups { registry, inbox };
        Ok(Arc::new(Self {
            directory: Directory::new(lookups.clone(), archive),
            lookups,
            stop: Some(stop),
            thread: Some(thread),
            rotations: Rotations::default(),
            standings: Arc::default(),
            book: Arc::default(),
            gates: Arc::default(),
        }))
    }

    /// The name, looked up from now on for as long as it is held. The same name gives the same `Arc`.
    #[cfg(test)]
    pub fn watch(&self, name: &str) -> Arc<Name> {
        self.lookups.watch(name)
    }

    /// The way to have names looked up.
    pub(crate) fn lookups(&self) -> &Lookups {
        &self.lookups
    }

    /// How the names in use are doing.
    #[must_use]
    pub fn counts(&self) -> NameCounts {
        self.lookups.registry.counts()
    }

    /// Blocks until every watched name was tried once, but not longer than `at_most`. Not for the data path.
    pub fn settle(&self, at_most: Duration) {
        self.wait_until(at_most, |untried| untried == 0);
    }

    /// Blocks until `done`, which is given the number of untried names, or for `at_most`. Returns whether it is done.
    pub(crate) fn wait_until(&self, at_most: Duration, mut done: impl FnMut(usize) -> bool) -> bool {
        let Registry { untried, progress, .. } = &*self.lookups.registry;
        let untried = untried.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = progress.wait_timeout_while(untried, at_most, |untried| !done(*untried));
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }
}

impl Lookups {
    /// The name, looked up from now on for as long as it is held. The same name gives the same `Arc`.
    pub fn watch(&self, name: &str) -> Arc<Name> {
        let text: Arc<str> = name.to_ascii_lowercase().into();
        let mut names = self.registry.names.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = names.get(&text).and_then(Weak::upgrade) {
            return found;
        }
        if names.len() >= MAX_NAMES {
            names.retain(|_, name| name.strong_count() > 0);
        }
        let made = Arc::new(Name::new(text.clone()));
        if names.len() >= MAX_NAMES {
            made.publish(Vec::new(), State::Failed(Failure::TooMany), false);
            return made;
        }
        names.insert(text, Arc::downgrade(&made));
        *self.registry.untried.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        if self.inbox.send(Watch::new(&made)).is_err() {
            // The resolver is gone: nobody will ever try it.
            self.registry.tried(1);
        }
        made
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        self.directory.stop();
        drop(self.stop.take());
        // A thread that panicked has already been reported by the panic hook.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl Registry {
    /// Wakes who waits for names to be tried or to change; for so many names it was the `first` time.
    fn tried(&self, first: usize) {
        let mut untried = self.untried.lock().unwrap_or_else(PoisonError::into_inner);
        *untried -= first;
        self.progress.notify_all();
    }

    fn counts(&self) -> NameCounts {
        let mut counts = NameCounts::default();
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        for name in names.values().filter_map(Weak::upgrade) {
            let known = name.addresses();
            let count = match (known.state, known.list.is_empty()) {
                (State::Pending, _) => &mut counts.pending,
                (State::Resolved, _) => &mut counts.resolved,
                (State::Failed(_), false) => &mut counts.stale,
                (State::Failed(_), true) => &mut counts.failed,
            };
            *count += 1;
        }
        counts
    }

    /// Forgets a name that nobody holds, unless somebody watches it anew.
    fn forget(&self, text: &str) {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if names.get(text).is_some_and(|name| name.strong_count() == 0) {
            names.remove(text);
        }
    }
}

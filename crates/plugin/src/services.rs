//! What outlives a request: the clock, counters, and state that must survive a reload.

use std::any::{Any, TypeId};
use std::cell::{Cell, OnceCell};
use std::ptr;
use std::rc::Rc;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Instant;

use ahash::AHashMap;
use rustls::ClientConfig;
use uuid::Uuid;

use crate::clock::{Clock, Reading};
use crate::copies::{CopiedRequest, Copier};
use crate::exchange::Exchange;
use crate::figures::Figures;
use crate::identity::IdentityHeaders;
use crate::journal::{Journal, Sink};
use crate::stats::Stats;
use crate::usage;

mod reports;

pub use reports::{DiscoveryReport, HealthOrder, NameCounts, PoolReport, SourceReport, TargetHealth};

type HealthSteering = Box<dyn Fn(&HealthOrder<'_>) -> Result<(), &'static str> + Send + Sync>;
type HealthReport = Box<dyn Fn() -> Vec<TargetHealth> + Send + Sync>;
type Discovering = Box<dyn Fn() -> DiscoveryReport + Send + Sync>;
type ClientTls = Box<dyn Fn(bool) -> Result<Arc<ClientConfig>, String> + Send + Sync>;
type Kept = AHashMap<(TypeId, String), Arc<dyn Any + Send + Sync>>;

/// What has something to finish when the gateway stops.
pub trait Ending: Send + Sync {
    /// Finishes it, within some seconds.
    fn finish(&self);
}

/// Services shared by all workers and kept over reloads.
pub struct Services {
    /// Wall-clock time.
    pub clock: Clock,
    /// Time that goes on whatever becomes of the clock on the wall: for how long something lasts, not for when it ends.
    pub steady: Clock,
    /// Number of workers; a worker's index is below it.
    pub workers: usize,
    /// Counters kept by the engine.
    pub stats: Stats,
    /// Figures published by rooms, and by the engine.
    pub figures: Figures,
    /// Identity of this process in metrics and `GET /`.
    pub node_id: Uuid,
    /// Version of the gateway.
    pub version: &'static str,
    /// Only checking a configuration: nothing outside the process may be touched.
    pub dry_run: bool,
    kept: Mutex<Kept>,
    health: Mutex<Option<HealthReport>>,
    steering: Mutex<Option<HealthSteering>>,
    discovering: Mutex<Option<Discovering>>,
    client_tls: OnceLock<ClientTls>,
    usage: OnceLock<usage::Settings>,
    identity_headers: OnceLock<IdentityHeaders>,
    endings: Mutex<Vec<Weak<dyn Ending>>>,
}

impl Services {
    /// Services for a gateway with `workers` workers.
    #[must_use]
    pub fn new(workers: usize, clock: Clock, dry_run: bool) -> Arc<Self> {
        Arc::new(Self {
            steady: clock.steady(),
            clock,
            workers: workers.max(1),
            stats: Stats::new(workers),
            figures: Figures::default(),
            node_id: Uuid::new_v4(),
            version: env!("CARGO_PKG_VERSION"),
            dry_run,
            kept: Mutex::new(Kept::new()),
            health: Mutex::new(None),
            steering: Mutex::new(None),
            discovering: Mutex::new(None),
            client_tls: OnceLock::new(),
            usage: OnceLock::new(),
            identity_headers: OnceLock::new(),
            endings: Mutex::default(),
        })
    }

    /// The value of type `T` kept under `key`, made by `make` if there is none.
    ///
    /// It lives as long as somebody besides this registry holds it, so a room of the next snapshot that asks with
    /// the same key (the id of its plugin entity, say) goes on with the same counters.
    pub fn keep<T, F>(&self, key: &str, make: F) -> Arc<T>
    where
        T: Send + Sync + 'static,
        F: FnOnce() -> T,
    {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (TypeId::of::<T>(), key.to_owned());
        if let Some(found) = kept.get(&key).cloned().and_then(|any| any.downcast::<T>().ok()) {
            return found;
        }
        let made = Arc::new(make());
        kept.insert(key, made.clone());
        made
    }

    /// The value kept under `key`, if any.
    #[must_use]
    pub fn kept<T: Send + Sync + 'static>(&self, key: &str) -> Option<Arc<T>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(&(TypeId::of::<T>(), key.to_owned())).cloned().and_then(|any| any.downcast::<T>().ok())
    }

    /// Everything of type `T` that is kept, with its key, in the order of the keys.
    #[must_use]
    pub fn all_kept<T: Send + Sync + 'static>(&self) -> Vec<(String, Arc<T>)> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let of_type = kept.iter().filter(|((kind, _), _)| *kind == TypeId::of::<T>());
        let mut found: Vec<_> = of_type
            .filter_map(|((_, key), any)| Some((key.clone(), any.clone().downcast::<T>().ok()?)))
            .collect();
        found.sort_by(|(left, _), (right, _)| left.cmp(right));
        found
    }

    /// Forgets what no room holds any more. Called after a reload, once the old snapshot is gone.
    pub fn sweep(&self) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|_, value| Arc::strong_count(value) > 1);
        drop(kept);
        self.figures.sweep();
    }

    /// The journal under `key`; `sink` is made, and its writer thread started, if there is none yet.
    pub fn journal<S: Sink>(&self, key: &str, sink: impl FnOnce() -> S) -> Arc<Journal> {
        self.keep(key, || Journal::start(self.workers, sink()))
    }

    /// Writes out what every journal holds, and has everything finished that asked for it, waiting for it. Called once,
    /// when the gateway stops.
    pub fn flush(&self) {
        for (_, journal) in self.all_kept::<Journal>() {
            journal.close();
        }
        let endings = std::mem::take(&mut *self.endings.lock().unwrap_or_else(PoisonError::into_inner));
        for ending in endings.iter().filter_map(Weak::upgrade) {
            ending.finish();
        }
    }

    /// Has `ending` finished when the gateway stops, unless it is gone by then.
    pub fn finish_at_end<E: Ending + 'static>(&self, ending: &Arc<E>) {
        let mut endings = self.endings.lock().unwrap_or_else(PoisonError::into_inner);
        let ending: Weak<E> = Arc::downgrade(ending);
        endings.retain(|known| known.strong_count() > 0 && !ptr::addr_eq(known.as_ptr(), ending.as_ptr()));
        endings.push(ending);
    }

    /// Says where usage is kept. Called once, before there are rooms.
    pub fn keep_usage(&self, settings: usage::Settings) {
        // A second word would be about a database that nobody has asked for: the first one stays.
        let _ = self.usage.set(settings);
    }

    /// Where usage is kept, if anywhere.
    #[must_use]
    pub fn usage(&self) -> Option<&usage::Settings> {
        self.usage.get()
    }

    /// Says what the fields are called by which upstreams learn who calls. Called once, before there are requests.
    pub fn name_identity_headers(&self, names: IdentityHeaders) {
        // A second word would change names under requests that have been told the first: it does not count.
        let _ = self.identity_headers.set(names);
    }

    /// What these fields are called.
    pub(crate) fn identity_headers(&self) -> &IdentityHeaders {
        static KONGS: IdentityHeaders = IdentityHeaders::kongs();
        self.identity_headers.get().unwrap_or(&KONGS)
    }

    /// Log lines dropped because a journal was full, over all journals.
    #[must_use]
    pub fn dropped_log_lines(&self) -> u64 {
        self.all_kept::<Journal>().iter().map(|(_, journal)| journal.dropped()).sum()
    }

    /// Says how the health of targets is found out. Called once by the engine.
    pub fn report_health(&self, report: impl Fn() -> Vec<TargetHealth> + Send + Sync + 'static) {
        *self.health.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(report));
    }

    /// Says how the health of targets is set. Called once by the engine.
    pub fn steer_health(
        &self,
        steer: impl Fn(&HealthOrder<'_>) -> Result<(), &'static str> + Send + Sync + 'static,
    ) {
        *self.steering.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(steer));
    }

    /// Sets the health of targets.
    ///
    /// # Errors
    /// Why nothing was set.
    pub fn set_target_health(&self, order: &HealthOrder<'_>) -> Result<(), &'static str> {
        let steering = self.steering.lock().unwrap_or_else(PoisonError::into_inner);
        steering.as_ref().map_or(Err("there is no data plane"), |steer| steer(order))
    }

    /// Says how TLS is spoken on connections that rooms open; the argument of `make` is whether certificates are
    /// checked. Called once by the engine.
    pub fn provide_client_tls(
        &self,
        make: impl Fn(bool) -> Result<Arc<ClientConfig>, String> + Send + Sync + 'static,
    ) {
        // A second caller would be another engine with the same services: the first one's rules stay.
        let _ = self.client_tls.set(Box::new(make));
    }

    /// TLS for a connection that a room opens, believing whom the operator's settings believe, or anybody.
    ///
    /// # Errors
    /// When TLS cannot be spoken.
    pub fn client_tls(&self, verify: bool) -> Result<Arc<ClientConfig>, String> {
        match self.client_tls.get() {
            Some(make) => make(verify),
            None => Err("TLS is not available here".to_owned()),
        }
    }

    /// Says how it is found out where targets come from and how many connections there are. Called once by the engine.
    pub fn report_discovery(&self, report: impl Fn() -> DiscoveryReport + Send + Sync + 'static) {
        *self.discovering.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(report));
    }

    /// Where targets come from, and how that goes.
    #[must_use]
    pub fn discovery(&self) -> DiscoveryReport {
        let report = self.discovering.lock().unwrap_or_else(PoisonError::into_inner);
        report.as_ref().map_or_else(DiscoveryReport::default, |report| report())
    }

    /// Health of all targets.
    #[must_use]
    pub fn target_health(&self) -> Vec<TargetHealth> {
        let report = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        report.as_ref().map_or_else(Vec::new, |report| report())
    }
}

/// One worker's own corner: its number and its random numbers.
pub struct Worker {
    /// Below [`Services::workers`].
    pub index: usize,
    /// What outlives requests.
    pub services: Arc<Services>,
    random: Cell<[u64; 2]>,
    served: Cell<u64>,
    reading: Cell<Reading>,
    copier: OnceCell<Rc<dyn Copier>>,
}

impl Worker {
    /// The worker numbered `index`, with random numbers seeded by the operating system.
    #[must_use]
    pub fn new(index: usize, services: Arc<Services>) -> Self {
        Self::seeded(index, services, Uuid::new_v4().as_u128())
    }

    /// A worker whose random numbers follow from `seed`, for tests that need the same ones each time.
    #[must_use]
    pub fn seeded(index: usize, services: Arc<Services>, seed: u128) -> Self {
        let (high, low) = Uuid::from_u128(seed).as_u64_pair();
        let reading = Cell::new(services.clock.read());
        Self {
            index,
            services,
            random: Cell::new([high | 1, low]),
            served: Cell::new(0),
            reading,
            copier: OnceCell::new(),
        }
    }

    /// Looks at the clock, for [`Worker::ms_at`]. Called about every second.
    pub fn read_clock(&self) {
        self.reading.set(self.services.clock.read());
    }

    /// The clock's milliseconds since the epoch at `moment`, see [`Clock::at`](crate::clock::Clock::at).
    #[inline]
    pub fn ms_at(&self, moment: Instant) -> u64 {
        self.services.clock.at(self.reading.get(), moment)
    }

    /// Says who makes copies of requests. For the engine; only the first word counts.
    pub fn offer_copies(&self, copier: Rc<dyn Copier>) {
        let _told_before = self.copier.set(copier);
    }

    /// A copy of the request, see [`Copier::copy`].
    ///
    /// # Errors
    /// Why there is none.
    pub fn copy(&self, exchange: &Exchange) -> Result<Rc<dyn CopiedRequest>, &'static str> {
        self.copier.get().ok_or("protocol")?.copy(exchange)
    }

    /// Sixty-four random bits. Fast, unique and well spread; not for secrets.
    #[inline]
    pub fn random(&self) -> u64 {
        // xoroshiro128++ by Blackman and Vigna, public domain.
        let [first, mut second] = self.random.get();
        let result = first.wrapping_add(second).rotate_left(17).wrapping_add(first);
        second ^= first;
        self.random.set([first.rotate_left(49) ^ second ^ (second << 21), second.rotate_left(28)]);
        result
    }

    /// A random (version 4) UUID.
    #[inline]
    #[must_use]
    pub fn uuid(&self) -> Uuid {
        let bits = (u128::from(self.random()) << 64) | u128::from(self.random());
        uuid::Builder::from_random_bytes(bits.to_be_bytes()).into_uuid()
    }

    /// Thirty-two random lower-case hexadecimal digits.
    #[inline]
    #[must_use]
    pub fn hex_id(&self) -> [u8; 32] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; 32];
        for half in text.chunks_exact_mut(16) {
            let mut bits = self.random();
            for digit in half {
                *digit = DIGITS[usize::from((bits & 15) as u8)];
                bits >>= 4;
            }
        }
        text
    }

    /// Counts a use of this worker and returns the count, starting at 1; for ids that end in a counter.
    #[inline]
    pub fn count(&self) -> u64 {
        let count = self.served.get() + 1;
        self.served.set(count);
        count
    }
}

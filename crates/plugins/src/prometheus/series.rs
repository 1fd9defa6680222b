//! The counters behind the metrics: one series per route, one shard of it per worker.
//!
//! A worker writes only to its own shard, with plain loads and stores; a scrape reads all shards. What a route never
//! needs is never allocated.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use ahash::AHashMap;
use plugin::exchange::Latencies;
use plugin::figures::{Family, Figure};
use plugin::model::entity::Consumer;
use plugin::stats::Counter;
use plugin::{Build, Matched, Source};
use uuid::Uuid;

/// Upper bounds of the buckets for time spent in the gateway, in milliseconds.
pub const KONG_BUCKETS: [u64; 17] =
    [1, 2, 5, 7, 10, 15, 20, 30, 50, 75, 100, 200, 500, 750, 1000, 3000, 6000];
/// Upper bounds of the buckets for whole requests and for upstreams, in milliseconds.
pub const UPSTREAM_BUCKETS: [u64; 13] =
    [25, 50, 80, 100, 250, 400, 700, 1000, 2000, 5000, 10_000, 30_000, 60_000];
/// The label of consumers beyond the bound.
pub const OVERFLOW: &str = "__overflow__";
/// Pairs of route and consumer that have counters of their own.
const MOST_CONSUMERS: usize = 10_000;
/// Status codes there are, and how many share a page.
const CODES: std::ops::Range<u16> = 100..600;
const PAGE: usize = 100;

/// The series of every route of a snapshot, by the route's ordinal.
pub struct Series(Box<[Arc<RouteSeries>]>);

/// What is counted for one pair of service and route; kept over reloads under their labels.
pub struct RouteSeries {
    /// The service's name or else host; empty for a route without one.
    pub service: String,
    /// The route's name or else id.
    pub route: String,
    workers: Box<[OnceLock<Box<WorkerSeries>>]>,
    consumers: Mutex<AHashMap<Uuid, Arc<ConsumerSeries>>>,
    bound: Arc<ConsumerBound>,
}

/// What is counted for one consumer on one route.
pub struct ConsumerSeries {
    /// The consumer's username or else custom id.
    pub label: String,
    workers: Box<[Traffic]>,
}

#[derive(Default)]
struct WorkerSeries {
    traffic: Traffic,
    latencies: OnceLock<Box<Histograms>>,
    /// This worker's way to the consumers it has met; no other worker takes the lock.
    consumers: Mutex<AHashMap<Uuid, Arc<ConsumerSeries>>>,
}

/// Requests by status code and bytes, alone on its cache lines.
#[repr(align(128))]
#[derive(Default)]
pub struct Traffic {
    by_gateway: [OnceLock<Page>; 5],
    by_upstream: [OnceLock<Page>; 5],
    /// Bytes received from clients.
    pub ingress: Counter,
    /// Bytes sent to clients.
    pub egress: Counter,
}

type Page = Box<[Counter; PAGE]>;

/// The three histograms of a route.
#[derive(Default)]
pub struct Histograms {
    /// Time spent in the gateway.
    pub kong: Histogram<17>,
    /// Time spent waiting for the upstream.
    pub upstream: Histogram<13>,
    /// The whole time.
    pub request: Histogram<13>,
}

/// Counts by bucket, not cumulative; the last count is of what exceeds all bounds.
pub struct Histogram<const N: usize> {
    /// Counts by bucket.
    pub buckets: [Counter; N],
    /// Observations above the last bound.
    pub above: Counter,
    /// Sum of all observations.
    pub sum: Counter,
}

static CONSUMERS_REFUSED: Family = Family::count(
    "prometheus_consumers_refused_total",
    "Times a consumer was counted under the overflow label because there were too many",
);

/// Bounds the number of consumers with counters of their own, over all routes.
struct ConsumerBound {
    taken: AtomicUsize,
    refused: Arc<Figure>,
}

/// What one request adds.
pub struct Observation<'a> {
    /// Index of the worker.
    pub worker: usize,
    /// The consumer to count for, if consumers are told apart and there is one.
    pub consumer: Option<&'a Consumer>,
}

impl Series {
    /// The series of all routes of the configuration being built.
    pub fn of_snapshot(cx: &Build<'_>) -> Self {
        let refused = cx.services.figures.of(&CONSUMERS_REFUSED, &[]);
        let bound = cx.services.keep("prometheus", || ConsumerBound { taken: AtomicUsize::new(0), refused });
        let series = |matched: &Arc<Matched>| {
            let (service, route) = labels(matched);
            let key = format!("{service}\u{0}{route}");
            let bound = bound.clone();
            cx.services.keep(&key, || RouteSeries::new(service, route, cx.services.workers, bound))
        };
        Self(cx.routes.iter().map(series).collect())
    }

    /// The series of the route with that ordinal.
    pub fn route(&self, ordinal: usize) -> Option<&RouteSeries> {
        self.0.get(ordinal).map(AsRef::as_ref)
    }
}

fn labels(matched: &Matched) -> (String, String) {
    let service = matched.service.as_ref();
    let service = service.map(|service| service.name.clone().unwrap_or_else(|| service.host.clone()));
    let route = matched.route.name.clone().unwrap_or_else(|| matched.route.id.to_string());
    (service.unwrap_or_default(), route)
}

impl RouteSeries {
    fn new(service: String, route: String, workers: usize, bound: Arc<ConsumerBound>) -> Self {
        let workers = (0..workers).map(|_| OnceLock::new()).collect();
        Self { service, route, workers, consumers: Mutex::default(), bound }
    }

    fn worker(&self, index: usize) -> &WorkerSeries {
        self.workers[index % self.workers.len()].get_or_init(Box::default)
    }

    /// Counts a response by its status code.
    pub fn count_status(&self, at: &Observation<'_>, status: u16, source: Source) {
        self.traffic(at, |traffic| traffic.count(status, source));
    }

    /// Counts bytes.
    pub fn count_bytes(&self, at: &Observation<'_>, ingress: u64, egress: u64) {
        self.traffic(at, |traffic| {
            traffic.ingress.add(ingress);
            traffic.egress.add(egress);
        });
    }

    /// Counts times.
    pub fn count_latencies(&self, worker: usize, latencies: Latencies) {
        let histograms = self.worker(worker).latencies.get_or_init(Box::default);
        histograms.kong.observe(&KONG_BUCKETS, latencies.kong);
        histograms.request.observe(&UPSTREAM_BUCKETS, latencies.request);
        if let Some(proxy) = latencies.proxy {
            histograms.upstream.observe(&UPSTREAM_BUCKETS, proxy);
        }
    }

    fn traffic(&self, at: &Observation<'_>, count: impl FnOnce(&Traffic)) {
        let worker = self.worker(at.worker);
        let Some(consumer) = at.consumer else { return count(&worker.traffic) };
        let mut met = worker.consumers.lock().unwrap_or_else(PoisonError::into_inner);
        let series = match met.get(&consumer.id) {
            Some(series) => series,
            None => match self.meet(consumer) {
                Some(series) => met.entry(consumer.id).or_insert(series),
                None => {
                    self.bound.refused.add(1);
                    met.entry(Uuid::nil()).or_insert_with(|| self.overflow())
                }
            },
        };
        count(&series.workers[at.worker % series.workers.len()]);
    }

    /// The consumer's series, made if the bound allows.
    fn meet(&self, consumer: &Consumer) -> Option<Arc<ConsumerSeries>> {
        let mut consumers = self.consumers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(series) = consumers.get(&consumer.id) {
            return Some(series.clone());
        }
        self.bound.admit()?;
        let label = consumer.username.clone().or_else(|| consumer.custom_id.clone()).unwrap_or_default();
        let series = Arc::new(ConsumerSeries::new(label, self.workers.len()));
        consumers.insert(consumer.id, series.clone());
        Some(series)
    }

    fn overflow(&self) -> Arc<ConsumerSeries> {
        let mut consumers = self.consumers.lock().unwrap_or_else(PoisonError::into_inner);
        let made = || Arc::new(ConsumerSeries::new(OVERFLOW.to_owned(), self.workers.len()));
        consumers.entry(Uuid::nil()).or_insert_with(made).clone()
    }

    /// Shows the traffic of every shard with its consumer label, empty for requests counted for no consumer.
    pub fn each_traffic(&self, mut show: impl FnMut(&str, &Traffic)) {
        for worker in self.workers.iter().filter_map(OnceLock::get) {
            show("", &worker.traffic);
        }
        let consumers = self.consumers.lock().unwrap_or_else(PoisonError::into_inner);
        for series in consumers.values() {
            series.workers.iter().for_each(|traffic| show(&series.label, traffic));
        }
    }

    /// The histograms of every shard.
    pub fn histograms(&self) -> impl Iterator<Item = &Histograms> {
        self.workers.iter().filter_map(OnceLock::get).filter_map(|worker| Some(&**worker.latencies.get()?))
    }
}

impl Drop for RouteSeries {
    fn drop(&mut self) {
        let consumers = self.consumers.get_mut().unwrap_or_else(PoisonError::into_inner);
        let own = consumers.keys().filter(|id| !id.is_nil()).count();
        self.bound.taken.fetch_sub(own, Ordering::Relaxed);
    }
}

impl ConsumerBound {
    fn admit(&self) -> Option<()> {
        let more = |taken: usize| (taken < MOST_CONSUMERS).then_some(taken + 1);
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok().map(drop)
    }
}

impl ConsumerSeries {
    fn new(label: String, workers: usize) -> Self {
        Self { label, workers: (0..workers).map(|_| Traffic::default()).collect() }
    }
}

impl Traffic {
    fn count(&self, status: u16, source: Source) {
        // A client that left before the response has a status only the log knows.
        let status = if CODES.contains(&status) { status } else { 499 };
        let index = usize::from(status - CODES.start);
        let pages = match source {
            Source::Gateway => &self.by_gateway,
            Source::Upstream => &self.by_upstream,
        };
        let page = pages[index / PAGE].get_or_init(|| Box::new(std::array::from_fn(|_| Counter::default())));
        page[index % PAGE].add(1);
    }

    /// Shows every status code counted: the code, who made the response, how often.
    pub fn each_status(&self, mut show: impl FnMut(u16, Source, u64)) {
        for (pages, source) in [(&self.by_gateway, Source::Gateway), (&self.by_upstream, Source::Upstream)] {
            for (first, page) in (CODES.start..).step_by(PAGE).zip(pages) {
                let counters = page.get().into_iter().flat_map(|page| page.iter());
                for (code, counter) in (first..).zip(counters).filter(|(_, counter)| counter.value() > 0) {
                    show(code, source, counter.value());
                }
            }
        }
    }
}

impl<const N: usize> Default for Histogram<N> {
    fn default() -> Self {
        let buckets = std::array::from_fn(|_| Counter::default());
        Self { buckets, above: Counter::default(), sum: Counter::default() }
    }
}

impl<const N: usize> Histogram<N> {
    fn observe(&self, bounds: &[u64; N], value: u64) {
        self.sum.add(value);
        match bounds.iter().position(|bound| value <= *bound) {
            Some(bucket) => self.buckets[bucket].add(1),
            None => self.above.add(1),
        }
    }
}

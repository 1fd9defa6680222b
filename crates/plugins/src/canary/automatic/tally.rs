//! How the requests of both sides went: counted by each worker for itself, summed when somebody looks. Constant in size.

use plugin::stats::Counter;

/// Places of the histogram: eight for each doubling, from 8 microseconds to two minutes.
pub const BUCKETS: usize = 176;
/// Places for a doubling, as a power of two.
const BITS: u32 = 3;

/// The two sides that are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The service as it was.
    Service,
    /// The release that is tried.
    Canary,
}

/// What came of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sample {
    /// An error.
    Failed,
    /// The head of a response that is none, after so many microseconds; or a client that did not wait any longer.
    Took(u64),
}

/// The counters of all workers.
pub struct Tally(Box<[Shard]>);

/// Those of one worker, on cache lines of their own.
#[repr(align(128))]
struct Shard([Counters; 2]);

struct Counters {
    failed: Counter,
    times: [Counter; BUCKETS],
}

/// Sums over all workers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sums {
    /// Errors.
    pub failed: u64,
    times: [u64; BUCKETS],
}

/// The sums of both sides.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sides {
    /// Those of the service.
    pub service: Sums,
    /// Those of the canary.
    pub canary: Sums,
}

impl Default for Counters {
    fn default() -> Self {
        Self { failed: Counter::default(), times: std::array::from_fn(|_| Counter::default()) }
    }
}

impl Default for Sums {
    fn default() -> Self {
        Self { failed: 0, times: [0; BUCKETS] }
    }
}

impl Tally {
    /// Nothing yet, for `workers` workers.
    pub fn new(workers: usize) -> Self {
        Self((0..workers.max(1)).map(|_| Shard(Default::default())).collect())
    }

    /// Counts a request. For the worker numbered `worker` alone.
    pub fn add(&self, worker: usize, side: Side, sample: Sample) {
        let counters = &self.0[worker % self.0.len()].0[side as usize];
        match sample {
            Sample::Failed => counters.failed.add(1),
            Sample::Took(micros) => counters.times[bucket(micros)].add(1),
        }
    }

    /// All that was counted.
    pub fn sums(&self) -> Sides {
        let sum = |side: Side| {
            let mut sums = Sums::default();
            for shard in &self.0 {
                let counters = &shard.0[side as usize];
                sums.failed += counters.failed.value();
                for (sum, counter) in sums.times.iter_mut().zip(&counters.times) {
                    *sum += counter.value();
                }
            }
            sums
        };
        Sides { service: sum(Side::Service), canary: sum(Side::Canary) }
    }
}

impl Sides {
    /// What was counted after `earlier`.
    pub fn since(&self, earlier: &Self) -> Self {
        Self { service: self.service.since(&earlier.service), canary: self.canary.since(&earlier.canary) }
    }
}

impl Sums {
    fn since(&self, earlier: &Self) -> Self {
        let times = std::array::from_fn(|place| self.times[place].saturating_sub(earlier.times[place]));
        Self { failed: self.failed.saturating_sub(earlier.failed), times }
    }

    /// Requests that were no errors.
    pub fn good(&self) -> u64 {
        self.times.iter().sum()
    }

    /// All requests.
    pub fn total(&self) -> u64 {
        self.failed + self.good()
    }

    /// The share of errors.
    pub fn error_share(&self) -> f64 {
        self.failed as f64 / self.total().max(1) as f64
    }

    /// The microseconds that `share` of the good requests took at most, to an eighth; none without requests.
    pub fn percentile(&self, share: f64) -> Option<u64> {
        let good = self.good();
        let rank = ((good as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        let found = self.times.iter().position(|count| {
            seen += count;
            seen >= rank
        });
        found.filter(|_| good > 0).map(|place| edge(place + 1))
    }

    /// Good requests that took `micros` or longer, by what is certain.
    pub fn slower_than(&self, micros: f64) -> u64 {
        let slow = self.times.iter().enumerate().filter(|(place, _)| edge(*place) as f64 >= micros);
        slow.map(|(_, count)| count).sum()
    }
}

/// The place of a time: its three highest bits behind the first one, counted on from doubling to doubling.
fn bucket(micros: u64) -> usize {
    let value = micros >> BITS;
    let Some(exponent) = value.checked_ilog2().filter(|exponent| *exponent >= BITS) else {
        return value as usize;
    };
    let within = (value >> (exponent - BITS)) & ((1 << BITS) - 1);
    let place = (u64::from(exponent - BITS + 1) << BITS) + within;
    (place as usize).min(BUCKETS - 1)
}

/// The first microsecond of a place.
fn edge(place: usize) -> u64 {
    let (doubling, within) = (place >> BITS, (place & ((1 << BITS) - 1)) as u64);
    let value = match doubling.checked_sub(1) {
        None => within,
        Some(shift) => ((1 << BITS) + within) << shift,
    };
    value << BITS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_an_eighth_wide_at_most() {
        assert_eq!((bucket(0), bucket(7), bucket(8), bucket(u64::MAX)), (0, 0, 1, BUCKETS - 1));
        for place in 0..BUCKETS - 1 {
            let (from, to) = (edge(place), edge(place + 1));
            assert_eq!((bucket(from), bucket(to - 1)), (place, place), "{from}..{to}");
            assert!(to - from <= (from / 8).max(8), "{from}..{to}");
        }
        assert!(edge(BUCKETS - 1) > 120_000_000);
    }

    #[test]
    fn sums_are_of_all_workers_and_of_one_side() {
        let tally = Tally::new(2);
        tally.add(0, Side::Canary, Sample::Failed);
        tally.add(0, Side::Canary, Sample::Took(100));
        let before = tally.sums();
        tally.add(1, Side::Canary, Sample::Took(10_000));
        tally.add(1, Side::Service, Sample::Took(10_000));
        let (all, later) = (tally.sums(), tally.sums().since(&before));
        assert_eq!((all.canary.total(), all.canary.failed, all.service.total()), (3, 1, 1));
        assert_eq!((later.canary.total(), later.canary.failed), (1, 0));
    }

    #[test]
    fn percentiles_and_slow_ones() {
        let tally = Tally::new(1);
        for millis in 1..=100 {
            tally.add(0, Side::Canary, Sample::Took(millis * 1000));
        }
        tally.add(0, Side::Canary, Sample::Failed);
        let sums = tally.sums().canary;
        for (share, millis) in [(0.5, 50.0), (0.95, 95.0), (0.001, 1.0)] {
            let found = sums.percentile(share).unwrap() as f64 / 1000.0;
            assert!((millis..=millis * 1.15).contains(&found), "{share}: {found}");
        }
        assert!((43..=51).contains(&sums.slower_than(50_000.0)), "{}", sums.slower_than(50_000.0));
        assert_eq!(sums.slower_than(0.0), 100);
        // 2^16 microseconds begin a place; what lies within one is not known to be slower.
        tally.add(0, Side::Service, Sample::Took(65_536));
        let one = tally.sums().service;
        assert_eq!((one.slower_than(65_536.0), one.slower_than(65_537.0)), (1, 0));
        assert_eq!(Sums::default().percentile(0.5), None);
    }
}

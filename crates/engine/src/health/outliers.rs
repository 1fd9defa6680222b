//! Addresses that do worse than the others of their upstream. Pure: samples and a clock come in, verdicts come out.

use std::time::Duration;

use model::entity::Outliers;
use tokio::time::Instant;

/// When an address is left out, and for how long.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// How long samples are gathered before they are compared.
    pub interval: Duration,
    /// Failures in a row; 0 is off.
    pub consecutive_failures: u32,
    success_rate_gap: f64,
    latency_factor: f64,
    minimum_requests: u64,
    first: Duration,
    longest: Duration,
    max_ejected_percent: f64,
}

/// What requests to an address came to in one interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sample {
    /// How many there were.
    pub requests: u64,
    /// How many of them failed.
    pub failures: u64,
    /// Of how many it is known how long they took.
    pub timed: u64,
    /// Microseconds that those took in all.
    pub micros: u64,
}

/// Why an address is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// So many requests failed one after another.
    FailuresInARow,
    /// A smaller share of its requests succeeds than of the others'.
    FewSuccesses,
    /// It is slower than the others.
    Slow,
}

/// How often an address was left out, and until when.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ejection {
    until: Option<Instant>,
    times: u32,
}

impl Cause {
    /// In words, for the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::FailuresInARow => "failures in a row",
            Self::FewSuccesses => "fewer successes than the others",
            Self::Slow => "slower than the others",
        }
    }
}

impl From<&Outliers> for Limits {
    fn from(outliers: &Outliers) -> Self {
        let seconds = Duration::from_secs_f64;
        Self {
            interval: seconds(outliers.interval),
            consecutive_failures: outliers.consecutive_failures.into(),
            success_rate_gap: outliers.success_rate_gap,
            latency_factor: outliers.latency_factor,
            minimum_requests: outliers.minimum_requests.into(),
            first: seconds(outliers.ejection_time),
            longest: seconds(outliers.max_ejection_time.max(outliers.ejection_time)),
            max_ejected_percent: outliers.max_ejected_percent,
        }
    }
}

impl Limits {
    /// How many of `total` addresses may be left out at a time: never all, and one at least if there are others.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a count")]
    pub fn most(&self, total: usize) -> usize {
        let share = (total as f64 * self.max_ejected_percent / 100.0).floor() as usize;
        share.max(1).min(total.saturating_sub(1))
    }

    /// The addresses that stand out among all, and why. Those without enough requests are not compared.
    pub fn outliers(&self, samples: &[Sample]) -> Vec<(usize, Cause)> {
        let enough = |sample: &&Sample| sample.requests >= self.minimum_requests;
        let compared: Vec<&Sample> = samples.iter().filter(enough).collect();
        let mut successes: Vec<f64> = compared.iter().map(|sample| sample.success_percent()).collect();
        let timed = |sample: &&&Sample| sample.timed >= self.minimum_requests;
        let mut latencies: Vec<f64> =
            compared.iter().filter(timed).map(|sample| sample.mean_micros()).collect();
        successes.sort_by(|left, right| right.total_cmp(left));
        latencies.sort_by(f64::total_cmp);
        // Of an even number, the better one of both in the middle: among two, the worse one can stand out.
        let median = |sorted: &[f64]| sorted.get(sorted.len().saturating_sub(1) / 2).copied();
        let Some(successes) = median(&successes) else { return Vec::new() };
        let latency = median(&latencies).unwrap_or(f64::INFINITY);
        let cause = |sample: &Sample| {
            let (gap, factor) = (self.success_rate_gap, self.latency_factor);
            if gap > 0.0 && successes - sample.success_percent() > gap {
                Some(Cause::FewSuccesses)
            } else {
                let slow = timed(&&sample) && sample.mean_micros() > latency * factor;
                (factor > 0.0 && slow).then_some(Cause::Slow)
            }
        };
        let found = samples.iter().enumerate().filter(|(_, sample)| enough(sample));
        found.filter_map(|(index, sample)| Some((index, cause(sample)?))).collect()
    }
}

impl Sample {
    fn success_percent(&self) -> f64 {
        100.0 - self.failures as f64 / self.requests.max(1) as f64 * 100.0
    }

    fn mean_micros(&self) -> f64 {
        self.micros as f64 / self.timed.max(1) as f64
    }
}

impl Ejection {
    /// Until when it is left out, if it is.
    pub fn until(&self) -> Option<Instant> {
        self.until
    }

    /// Leaves it out from `now` on, twice as long as the time before.
    pub fn begin(&mut self, now: Instant, limits: &Limits) {
        let length = limits.first.saturating_mul(1 << self.times.min(16)).min(limits.longest);
        self.until = Some(now + length);
        self.times = self.times.saturating_add(1);
    }

    /// Lets it come back if its time is over. Whether it did.
    pub fn end(&mut self, now: Instant) -> bool {
        let over = self.until.is_some_and(|until| until <= now);
        if over {
            self.stop();
        }
        over
    }

    /// Lets it come back at once.
    pub fn stop(&mut self) {
        self.until = None;
    }

    /// An interval has passed in which it did not stand out.
    pub fn forgive(&mut self) {
        if self.until.is_none() {
            self.times = self.times.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Record;
    use model::serde_json::{Value, json};

    fn limits(fields: &Value) -> Limits {
        Limits::from(&Outliers::from_value(&Outliers::schema().check(fields).unwrap()).unwrap())
    }

    fn sample(requests: u64, failures: u64, mean_micros: u64) -> Sample {
        Sample { requests, failures, timed: requests, micros: requests * mean_micros }
    }

    #[test]
    fn who_fails_more_often_than_the_median_stands_out() {
        let limits = limits(&json!({"success_rate_gap": 20}));
        let samples = [sample(100, 5, 10), sample(100, 30, 10), sample(100, 0, 10), sample(19, 19, 10)];
        assert_eq!(limits.outliers(&samples), [(1, Cause::FewSuccesses)], "the last had too few requests");
        let all_alike = [sample(100, 90, 10); 3];
        assert_eq!(limits.outliers(&all_alike), [], "what they have in common is no address's fault");
        assert_eq!(limits.outliers(&[sample(100, 0, 1), sample(100, 50, 1)]), [(1, Cause::FewSuccesses)]);
    }

    #[test]
    fn who_is_slower_than_a_multiple_of_the_median_stands_out() {
        let limits = limits(&json!({"latency_factor": 3}));
        let samples = [sample(50, 0, 100), sample(50, 0, 250), sample(50, 0, 900)];
        assert_eq!(limits.outliers(&samples), [(2, Cause::Slow)]);
        assert_eq!(limits.outliers(&[sample(50, 0, 100), sample(50, 0, 301)]), [(1, Cause::Slow)]);
        assert_eq!(limits.outliers(&[sample(50, 0, 301)]), [], "alone there is nothing to compare with");
        assert_eq!(limits.outliers(&[]), []);
        let untimed = Sample { timed: 19, ..sample(50, 0, 9000) };
        assert_eq!(limits.outliers(&[sample(50, 0, 100), untimed]), [], "clients were waited for");
    }

    #[test]
    fn never_more_than_the_share_is_left_out_and_never_all() {
        let most = |percent: u32, total| limits(&json!({"max_ejected_percent": percent})).most(total);
        assert_eq!((most(50, 10), most(10, 30), most(34, 3)), (5, 3, 1));
        assert_eq!((most(10, 4), most(99, 2), most(50, 1), most(50, 0)), (1, 1, 0, 0));
    }

    #[test]
    fn each_time_in_a_row_lasts_twice_as_long_up_to_a_bound() {
        let limits = limits(&json!({"ejection_time": 10, "max_ejection_time": 35}));
        let (mut ejection, mut now) = (Ejection::default(), Instant::now());
        for seconds in [10, 20, 35, 35] {
            ejection.begin(now, &limits);
            now += Duration::from_secs(seconds);
            assert!(!ejection.end(now - Duration::from_millis(1)));
            assert!(ejection.end(now), "{seconds}");
        }
        (0..3).for_each(|_| ejection.forgive());
        ejection.begin(now, &limits);
        assert_eq!(ejection.until(), Some(now + Duration::from_secs(20)), "one time is remembered");
    }
}

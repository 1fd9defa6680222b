//! What can be set, and the same made ready.

use plugin::{BuildError, record};

record! {
    /// A canary that steps up by itself as long as it does no worse than the service, and back when it does.
    pub struct Automatic {
        /// Name of the release. With another name, or another place of the canary, everything begins anew.
        release: String = "", [len_max(200)];
        /// Shares of the traffic in percent, one after the other. With 100 it is finished: nothing is left to compare with.
        steps: Vec<f64> = [1, 5, 25, 50, 90, 100], [len_min(1), len_max(100), each(between(0.01, 100))];
        /// Seconds that each step lasts at least. Every tenth of it the two sides are compared.
        interval: f64 = 300, [between(0.1, 604_800)];
        /// Requests that each side must have had in a step before anything follows from comparing them.
        minimum_requests: u64 = 100, [between(5, 1_000_000)];
        /// Status codes of responses that are errors. A request without a response is one, too.
        error_statuses: Vec<u16> = [500, 502, 503, 504], [each(between(100, 599))];
        /// By so many percentage points the canary's share of errors may exceed the service's.
        max_error_increase: f64 = 1, [between(0, 100)];
        /// So many times as long as the service's may the canary's `percentile` be; 0 for no matter how long.
        max_latency_ratio: f64 = 1.5, [between(0, 1000)];
        /// By so many seconds it may be longer in any case.
        latency_allowance: f64 = 0.005, [between(0, 3600)];
        /// The percentile of the times to the head of a response that is compared.
        percentile: f64 = 95, [between(1, 99.9)];
        /// How sure it must be, in percent, that a difference within an interval is not chance for the canary to step
        /// back.
        confidence: f64 = 99.9, [between(50, 99.9999)];
        /// Seconds without a canary after it has stepped back, until it is tried again.
        hold_off: f64 = 900, [between(0.1, 2_592_000)];
        /// How often it is tried in all. After that it stays with the service until somebody says otherwise.
        tries: u32 = 1, [between(1, 1000)];
    }
}

/// Comparisons in an interval.
const LOOKS: u64 = 10;
/// What is compared: errors and latency.
const FIGURES: f64 = 2.0;
/// Parts of the traffic: shares are counted in millionths.
pub const PARTS: u64 = 1_000_000;

/// The settings, made ready.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// Shares of the traffic, in parts of [`PARTS`], ascending; there is one at least.
    pub steps: Vec<u64>,
    /// Milliseconds that a step lasts at least.
    pub interval_ms: u64,
    /// Milliseconds between two comparisons.
    pub look_ms: u64,
    /// Requests that each side must have had.
    pub minimum: u64,
    /// Statuses that are errors.
    pub errors: Vec<u16>,
    /// By how much the share of errors may grow: 0.01 is one percentage point.
    pub error_increase: f64,
    /// How many times as long a percentile may be, if it matters.
    pub latency_ratio: Option<f64>,
    /// Microseconds that it may be longer in any case.
    pub latency_allowance: f64,
    /// The percentile, below 1.
    pub percentile: f64,
    /// The probability up to which a difference seen in one comparison is no chance.
    pub significance: f64,
    /// Milliseconds after a step back until the next try.
    pub hold_off_ms: u64,
    /// Tries in all.
    pub tries: u32,
}

impl Rules {
    /// The settings made ready.
    ///
    /// # Errors
    /// Steps that do not ascend, and a first one that leaves nothing to compare with.
    pub fn new(config: &Automatic) -> Result<Self, BuildError> {
        let steps: Vec<u64> =
            config.steps.iter().map(|percent| (percent * 10_000.0).round() as u64).collect();
        let problem = |message: &str| Err(BuildError::new("config.automatic.steps", message));
        if steps.windows(2).any(|pair| pair[0] >= pair[1]) {
            return problem("each step must be larger than the one before");
        }
        if steps.first().is_none_or(|first| *first >= PARTS) {
            return problem("the first step must leave some of the traffic to compare with");
        }
        let millis = |seconds: f64| (seconds * 1000.0) as u64;
        let interval_ms = millis(config.interval);
        Ok(Self {
            steps,
            interval_ms,
            look_ms: (interval_ms / LOOKS).max(1),
            minimum: config.minimum_requests,
            errors: config.error_statuses.clone(),
            error_increase: config.max_error_increase / 100.0,
            latency_ratio: (config.max_latency_ratio > 0.0).then_some(config.max_latency_ratio),
            latency_allowance: config.latency_allowance * 1_000_000.0,
            percentile: config.percentile / 100.0,
            significance: (1.0 - config.confidence / 100.0) / (LOOKS as f64 * FIGURES),
            hold_off_ms: millis(config.hold_off),
            tries: config.tries,
        })
    }
}

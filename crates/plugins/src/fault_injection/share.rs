//! A share of requests, drawn by the random numbers of the worker.

use plugin::services::Worker;

/// How many of all requests are taken.
pub struct Share {
    /// Draws below it are taken, of 2^53 that there are.
    below: u64,
}

/// Draws that there are: as many as a float tells apart.
const DRAWS: f64 = 9_007_199_254_740_992.0;

impl Share {
    /// A share in percent.
    pub fn new(percentage: f64) -> Self {
        Self { below: (percentage / 100.0 * DRAWS) as u64 }
    }

    /// Draws for a request.
    pub fn takes(&self, worker: &Worker) -> bool {
        worker.random() >> 11 < self.below
    }
}

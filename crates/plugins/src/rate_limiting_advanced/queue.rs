//! Requests beyond a limit that wait for room: so many, so long, and no more.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use plugin::Services;

use super::config::Throttling;

/// The queue of an instance, over all workers.
pub struct Queue {
    /// Time between two tries.
    pub interval: Duration,
    most: u32,
    most_tries: u32,
    waiting: Arc<Waiting>,
}

/// Requests that wait. Kept over reloads, as they wait over reloads.
#[derive(Default)]
struct Waiting(AtomicU32);

/// A place in the queue, given up when dropped: also when the client leaves.
pub struct Place(Arc<Waiting>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Queue {
    /// The queue that belongs to the counters of `table`.
    pub fn new(config: &Throttling, services: &Services, table: &str) -> Self {
        Self {
            interval: Duration::from_secs_f64(config.interval),
            most: config.queue_limit as u32,
            most_tries: config.retry_times as u32,
            waiting: services.keep(&format!("{table} queue"), Waiting::default),
        }
    }

    /// A place for a request that has waited so many times, if it may wait again and there is one.
    pub fn enter(&self, waited: u32) -> Option<Place> {
        if waited >= self.most_tries {
            return None;
        }
        let place = Place(self.waiting.clone());
        (self.waiting.0.fetch_add(1, Ordering::Relaxed) < self.most).then_some(place)
    }
}

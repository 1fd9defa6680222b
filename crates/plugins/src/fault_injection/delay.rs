//! How long a request waits, and how many wait at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use plugin::Exchange;

use super::{DelayConfig, Share};

/// Which requests wait, and how long.
pub struct Delay {
    share: Share,
    /// Milliseconds, at least and at most.
    range: Option<(u64, u64)>,
    /// A request header with the milliseconds, and its bound.
    header: Option<(String, u64)>,
}

impl Delay {
    /// None if nothing says how long.
    pub fn new(config: DelayConfig) -> Option<Self> {
        let milliseconds = |time: i64| u64::try_from(time).unwrap_or(0);
        let range = match (config.fixed, config.least, config.most) {
            (Some(fixed), ..) => Some((fixed, fixed)),
            (None, Some(least), Some(most)) => Some((least, most)),
            _ => None,
        };
        let range = range.map(|(least, most)| (milliseconds(least), milliseconds(most)));
        let header = config.header.map(|name| (name, milliseconds(config.header_most)));
        let some = range.is_some() || header.is_some();
        some.then(|| Self { share: Share::new(config.percentage), range, header })
    }

    /// How long this request is to wait, if it is.
    pub fn of(&self, exchange: &Exchange) -> Option<Duration> {
        if !self.share.takes(&exchange.worker) {
            return None;
        }
        let milliseconds = self.demanded(exchange).or_else(|| {
            let (least, most) = self.range?;
            Some(least + exchange.worker.random() % (most - least + 1))
        });
        milliseconds.filter(|time| *time > 0).map(Duration::from_millis)
    }

    fn demanded(&self, exchange: &Exchange) -> Option<u64> {
        let (name, most) = self.header.as_ref()?;
        let value = std::str::from_utf8(exchange.request.headers.get(name)?).ok()?;
        let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
        // More than can be counted is more than the bound.
        digits.then(|| value.parse().map_or(*most, |time: u64| time.min(*most)))
    }
}

/// The requests that wait now, in all workers. Outlives reloads, as those requests do.
#[derive(Default)]
pub struct Active {
    waiting: AtomicU32,
    most: AtomicU32,
}

/// One that waits. Its end makes room for another, also when its client leaves.
pub struct Turn(Arc<Active>);

impl Active {
    /// So many may wait at once.
    pub fn admit(&self, most: u32) {
        self.most.store(most, Ordering::Relaxed);
    }

    /// A turn to wait; none if there are enough.
    pub fn take(self: &Arc<Self>) -> Option<Turn> {
        let most = self.most.load(Ordering::Relaxed);
        let room = |waiting| (waiting < most).then(|| waiting + 1);
        self.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).ok()?;
        Some(Turn(self.clone()))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_wait_than_may_and_each_makes_room_again() {
        let active = Arc::new(Active::default());
        active.admit(2);
        let (first, second) = (active.take(), active.take());
        assert!(first.is_some() && second.is_some() && active.take().is_none());
        drop(first);
        let third = active.take();
        assert!(third.is_some() && active.take().is_none());
        active.admit(3);
        assert!(active.take().is_some());
    }
}

//! How fast a client has to be: a trickle that never lets a timeout pass must not hold a connection for ever.
//!
//! Only the time spent waiting for the client counts. Each wait eats into a grace, and each byte that moves gives some
//! of it back; a client that once was fast cannot save up more than one timeout's worth.

use std::time::Duration;

use tokio::time::Instant;

/// What is demanded of a client.
#[derive(Debug, Clone, Copy)]
pub struct Demand {
    /// Longest single wait.
    pub timeout: Duration,
    /// Bytes a second, on average; 0 for any.
    pub rate: u64,
    /// Waiting that is forgiven.
    pub grace: Duration,
}

/// How long a wait may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowed {
    /// Its end.
    pub until: Instant,
    /// It ends early, because the client has been slow on the whole.
    pub by_rate: bool,
}

/// The pace of one direction of a connection. Reads no clock of its own.
#[derive(Debug, Default)]
pub struct Pace {
    /// Nanoseconds waited in excess of what the bytes that moved were worth.
    debt: i64,
    /// When the wait that is under way began.
    since: Option<Instant>,
    /// Bytes that are accounted for.
    counted: u64,
}

impl Pace {
    /// Begins anew, with what has moved so far.
    pub fn restart(&mut self, total: u64) {
        *self = Self { counted: total, ..Self::default() };
    }

    /// Begins a wait for the client at `now`, when `total` bytes have moved.
    pub fn wait(&mut self, now: Instant, total: u64, demand: &Demand) -> Allowed {
        let timeout = Allowed { until: now + demand.timeout, by_rate: false };
        if demand.rate == 0 {
            return timeout;
        }
        self.pause(now);
        let moved = total.saturating_sub(self.counted);
        let worth = i64::try_from(moved.saturating_mul(1_000_000_000) / demand.rate).unwrap_or(i64::MAX);
        self.debt = self.debt.saturating_sub(worth).max(-nanoseconds(demand.timeout));
        self.counted = total;
        self.since = Some(now);
        let left = nanoseconds(demand.grace).saturating_sub(self.debt).max(0);
        if left >= nanoseconds(demand.timeout) {
            return timeout;
        }
        Allowed { until: now + Duration::from_nanos(left.unsigned_abs()), by_rate: true }
    }

    /// Ends the wait that is under way: from `now` on it is somebody else who is waited for.
    pub fn pause(&mut self, now: Instant) {
        if let Some(since) = self.since.take() {
            self.debt = self.debt.saturating_add(nanoseconds(now.saturating_duration_since(since)));
        }
    }
}

fn nanoseconds(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn demand() -> Demand {
        Demand { timeout: SECOND * 60, rate: 100, grace: SECOND * 10 }
    }

    #[test]
    fn a_trickle_ends_with_the_grace() {
        let (mut pace, mut now) = (Pace::default(), Instant::now());
        let start = now;
        for total in 0.. {
            let allowed = pace.wait(now, total, &demand());
            if allowed.until < now + SECOND {
                assert!(allowed.by_rate);
                break;
            }
            now += SECOND;
        }
        assert_eq!((now - start).as_secs(), 10);
    }

    #[test]
    fn who_keeps_the_pace_is_waited_for_and_who_was_fast_once_not_for_ever() {
        let (mut pace, mut now) = (Pace::default(), Instant::now());
        for round in 0..1000 {
            let allowed = pace.wait(now, round * 100, &demand());
            assert!(allowed.until >= now + SECOND * 9, "{round}");
            now += SECOND;
        }
        let allowed = pace.wait(now, 1 << 40, &demand());
        assert_eq!(allowed, Allowed { until: now + SECOND * 60, by_rate: false });
        let start = now;
        while pace.wait(now, 1 << 40, &demand()).until > now + SECOND {
            now += SECOND;
        }
        assert!((now - start).as_secs() <= 70);
    }

    #[test]
    fn time_spent_on_others_does_not_count() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        pace.wait(now, 0, &demand());
        pace.pause(now + SECOND);
        let later = now + SECOND * 100;
        assert_eq!(pace.wait(later, 0, &demand()).until, later + SECOND * 9);
    }
}

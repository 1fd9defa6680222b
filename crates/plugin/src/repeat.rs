//! How a request is sent again when its first try brings nothing: decided by a room, carried out by the engine.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use wire::Method;

use crate::figures::Figure;
use crate::hedge::Hedge;

/// When a request is sent again, how often, and how fast.
#[derive(Debug)]
pub struct Policy {
    /// Tries after the first.
    pub repeats: u32,
    /// Methods of requests that may be sent again though an upstream may have had them.
    pub methods: Box<[Method]>,
    /// After no connection came about: nothing was sent, so whatever the method.
    pub on_unreachable: bool,
    /// After a connection that ended before the response began.
    pub on_reset: bool,
    /// After a try that took too long.
    pub on_timeout: bool,
    /// After responses with one of these status codes, sorted.
    pub on_statuses: Box<[u16]>,
    /// The wait before a try.
    pub backoff: Backoff,
    /// For one try, up to the head of its response. Only where the body is at hand, since a client's pace is not the
    /// upstream's.
    pub per_try: Option<Duration>,
    /// For all tries, up to the head of the response.
    pub deadline: Option<Duration>,
    /// The field that tells the upstream how many milliseconds of the deadline are left.
    pub deadline_field: Option<Box<str>>,
    /// When a second try begins beside the first, if it does.
    pub hedge: Option<Hedge>,
    /// What all requests of the service share.
    pub budget: Arc<Budget>,
}

impl Policy {
    /// Whether `method` may be sent again though an upstream may have had it.
    #[must_use]
    pub fn allows(&self, method: Method) -> bool {
        self.methods.contains(&method)
    }
}

/// Waits that grow from try to try, each anywhere between nothing and its bound, so that clients do not come back in step.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    /// The bound of the first wait.
    pub first: Duration,
    /// The bound of all waits.
    pub most: Duration,
}

impl Backoff {
    /// The wait before the repeat numbered `repeat`, from 0, by 64 random bits.
    #[must_use]
    pub fn wait(&self, repeat: u32, random: u64) -> Duration {
        let doubled = self.first.saturating_mul(1_u32.checked_shl(repeat).unwrap_or(u32::MAX));
        let bound = u64::try_from(doubled.min(self.most).as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(random % bound.saturating_add(1))
    }
}

/// Seconds over which a budget looks back.
pub const SECONDS: u64 = 10;

/// How many repeats a service bears: a share of its requests of the last ten seconds, and some in any case. When all
/// requests fail, all are repeated but for this bound, and the service never recovers.
#[derive(Debug)]
pub struct Budget {
    share: f64,
    least_per_second: u32,
    seconds: Mutex<[Second; SECONDS as usize]>,
    /// Repeats taken.
    pub taken: Arc<Figure>,
    /// Repeats that were not to be had.
    pub denied: Arc<Figure>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Second {
    number: u64,
    requests: u32,
    repeats: u32,
}

impl Budget {
    /// A budget of `share` repeats for each request, and of `least_per_second` in any case.
    #[must_use]
    pub fn new(share: f64, least_per_second: u32) -> Self {
        let (taken, denied) = Default::default();
        Self { share, least_per_second, seconds: Mutex::default(), taken, denied }
    }

    /// Counts a request that came at `now_ms`.
    pub fn note(&self, now_ms: u64) {
        let mut seconds = self.seconds.lock().unwrap_or_else(PoisonError::into_inner);
        let second = at(&mut seconds, now_ms / 1000);
        second.requests = second.requests.saturating_add(1);
    }

    /// Takes a repeat, if there is one left at `now_ms`.
    #[must_use]
    pub fn take(&self, now_ms: u64) -> bool {
        let mut seconds = self.seconds.lock().unwrap_or_else(PoisonError::into_inner);
        let now = now_ms / 1000;
        let recent = seconds.iter().filter(|one| one.number <= now && one.number + SECONDS > now);
        let (requests, repeats) = recent.fold((0_u64, 0_u64), |(requests, repeats), one| {
            (requests + u64::from(one.requests), repeats + u64::from(one.repeats))
        });
        let bears = self.share * requests as f64 + (u64::from(self.least_per_second) * SECONDS) as f64;
        if (repeats + 1) as f64 > bears {
            self.denied.add(1);
            return false;
        }
        self.taken.add(1);
        let second = at(&mut seconds, now);
        second.repeats = second.repeats.saturating_add(1);
        true
    }
}

fn at(seconds: &mut [Second; SECONDS as usize], number: u64) -> &mut Second {
    let second = &mut seconds[(number % SECONDS) as usize];
    if second.number != number {
        *second = Second { number, ..Second::default() };
    }
    second
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(budget: &Budget, now_ms: u64) -> usize {
        (0..1000).take_while(|_| budget.take(now_ms)).count()
    }

    #[test]
    fn repeats_are_a_share_of_the_last_ten_seconds() {
        let budget = Budget::new(0.2, 0);
        assert_eq!(taken(&budget, 50_000), 0, "without traffic nothing is repeated");
        (0..100).for_each(|_| budget.note(50_000));
        assert_eq!(taken(&budget, 55_000), 20);
        assert_eq!(taken(&budget, 59_999), 0, "they have been used up");
        (0..50).for_each(|_| budget.note(60_500));
        assert_eq!(taken(&budget, 60_500), 0, "those of second 55 still count, the requests of 50 do not");
        assert_eq!(taken(&budget, 65_000), 10);
    }

    #[test]
    fn some_are_borne_in_any_case() {
        let budget = Budget::new(0.0, 2);
        assert_eq!(taken(&budget, 1_000), 20);
        assert_eq!(taken(&budget, 10_999), 0);
        assert_eq!(taken(&budget, 11_000), 20);
    }

    #[test]
    fn a_clock_that_is_set_back_takes_nothing_away() {
        let budget = Budget::new(0.0, 1);
        assert_eq!(taken(&budget, 500_000), 10);
        assert_eq!(taken(&budget, 400_000), 10);
    }

    #[test]
    fn waits_double_within_their_bound() {
        let backoff = Backoff { first: Duration::from_millis(100), most: Duration::from_millis(250) };
        let longest = |repeat| (0..2000).map(|step| backoff.wait(repeat, step * 1_000_003)).max().unwrap();
        let shortest = (0..2000).map(|step| backoff.wait(2, step * 1_000_003)).min().unwrap();
        assert!(shortest < Duration::from_millis(5), "a wait may be next to nothing: {shortest:?}");
        for (repeat, bound) in [(0, 100), (1, 200), (2, 250), (40, 250)] {
            let (longest, bound) = (longest(repeat), Duration::from_millis(bound));
            assert!(longest <= bound && longest > bound * 9 / 10, "{repeat}: {longest:?}");
        }
    }
}

//! Time that tests can set: what the clock on the wall shows, and time that nobody can set outside of tests.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::time::ClockId;

/// Source of wall-clock time in milliseconds since 1970-01-01 UTC.
#[derive(Clone, Default)]
pub struct Clock {
    fixed: Option<Arc<Fixed>>,
    /// What it shows follows from this, whatever becomes of the system's clock.
    begun: Option<Reading>,
}

/// Milliseconds that somebody moves.
struct Fixed {
    ms: AtomicU64,
    /// The same, had the clock never been set.
    steady_ms: AtomicU64,
}

/// What a clock showed at some moment.
#[derive(Debug, Clone, Copy)]
pub struct Reading {
    moment: Instant,
    ms: u64,
}

/// The clock on the wall, and one that begins with it and that nobody sets.
#[derive(Clone)]
pub struct Clocks {
    wall: Clock,
    steady: Clock,
}

/// The end of something: at some time on the wall, and no later than it seemed to be when that was said.
#[derive(Debug, Clone, Copy)]
pub struct End {
    wall_ms: u64,
    steady_ms: u64,
}

impl Clocks {
    /// Both, by the one on the wall.
    #[must_use]
    pub fn new(wall: &Clock) -> Self {
        Self { wall: wall.clone(), steady: wall.steady() }
    }

    /// An end at `wall_ms`, in milliseconds since 1970; none with the largest number.
    #[must_use]
    pub fn end_at(&self, wall_ms: u64) -> End {
        let left_ms = wall_ms.saturating_sub(self.wall.now_ms());
        End { wall_ms, steady_ms: self.steady.now_ms().saturating_add(left_ms) }
    }

    /// Whether `end` has not come when the clock on the wall shows `now_ms`.
    #[inline]
    #[must_use]
    pub fn is_before(&self, end: End, now_ms: u64) -> bool {
        now_ms < end.wall_ms && (end.steady_ms == u64::MAX || self.steady.now_ms() < end.steady_ms)
    }
}

/// How long this thread has kept a processor busy; none where the system does not tell. What is measured with it does not
/// grow while others have the processor.
#[must_use]
pub fn busy_time() -> Option<Duration> {
    ClockId::CLOCK_THREAD_CPUTIME_ID.now().ok().map(Duration::from)
}

/// Whole milliseconds, which never overflow.
pub(crate) fn millis(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(1000).saturating_add(u64::from(duration.subsec_millis()))
}

impl Clock {
    /// A clock that stands at `now_ms` until [`Clock::set`] or [`Clock::advance`] moves it.
    #[must_use]
    pub fn fixed(now_ms: u64) -> Self {
        let fixed = Fixed { ms: AtomicU64::new(now_ms), steady_ms: AtomicU64::new(now_ms) };
        Self { fixed: Some(Arc::new(fixed)), begun: None }
    }

    /// A clock that goes on from now and does not follow when this one is set, forward or back. For what is to happen after
    /// some time, not at some time.
    #[must_use]
    pub fn steady(&self) -> Self {
        Self { fixed: self.fixed.clone(), begun: Some(self.read()) }
    }

    /// What it shows at `moment`, if it is steady: nobody is asked. Any other one says what it shows now.
    #[inline]
    #[must_use]
    pub fn ms_at(&self, moment: Instant) -> u64 {
        self.begun.map_or_else(|| self.now_ms(), |begun| self.at(begun, moment))
    }

    /// What it shows if it is fixed.
    fn fixed_ms(&self) -> Option<u64> {
        let fixed = self.fixed.as_ref()?;
        let ms = if self.begun.is_some() { &fixed.steady_ms } else { &fixed.ms };
        Some(ms.load(Ordering::Relaxed))
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        match (self.fixed_ms(), self.begun) {
            (Some(fixed), _) => fixed,
            (None, Some(begun)) => self.at(begun, Instant::now()),
            (None, None) => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
            }
        }
    }

    /// Reads the clock for [`Clock::at`].
    #[must_use]
    pub fn read(&self) -> Reading {
        Reading { moment: Instant::now(), ms: self.now_ms() }
    }

    /// Milliseconds since the epoch at `moment`, which follow from a recent `reading`: the system is not asked once more.
    /// A change of the system's clock shows with the next reading.
    #[inline]
    #[must_use]
    pub fn at(&self, reading: Reading, moment: Instant) -> u64 {
        if let Some(fixed) = self.fixed_ms() {
            return fixed;
        }
        match moment.checked_duration_since(reading.moment) {
            Some(later) => reading.ms.saturating_add(millis(later)),
            None => reading.ms.saturating_sub(millis(reading.moment.saturating_duration_since(moment))),
        }
    }

    /// Waits for `duration`. A fixed clock goes forward by it, and nobody waits.
    pub fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + 'static {
        let clock = self.clone();
        async move {
            match clock.fixed {
                Some(_) => clock.advance(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)),
                None => tokio::time::sleep(duration).await,
            }
        }
    }

    /// Sets a fixed clock to `now_ms`, as one may the system's; a system clock ignores it.
    pub fn set(&self, now_ms: u64) {
        if let Some(fixed) = &self.fixed {
            fixed.ms.store(now_ms, Ordering::Relaxed);
        }
    }

    /// Lets time pass on a fixed clock; a system clock ignores it.
    pub fn advance(&self, by_ms: u64) {
        if let Some(fixed) = &self.fixed {
            fixed.ms.fetch_add(by_ms, Ordering::Relaxed);
            fixed.steady_ms.fetch_add(by_ms, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_and_after_a_reading_follow_from_it() {
        let clock = Clock::default();
        let reading = clock.read();
        let later = reading.moment + Duration::from_micros(1_234_567);
        assert_eq!(clock.at(reading, later) - reading.ms, 1234);
        assert_eq!(clock.at(Reading { moment: later, ..reading }, reading.moment), reading.ms - 1234);
    }

    #[test]
    fn a_steady_clock_goes_on_when_the_other_is_set() {
        let wall = Clock::fixed(5_000_000);
        let steady = wall.steady();
        wall.set(1_000);
        wall.advance(70);
        assert_eq!((wall.now_ms(), steady.now_ms()), (1_070, 5_000_070));
        wall.set(9_000_000);
        assert_eq!(steady.now_ms(), 5_000_070);
        let (wall, before) = (Clock::default(), Instant::now());
        let steady = wall.steady();
        let begun = steady.now_ms();
        assert!(begun.abs_diff(wall.now_ms()) < 60_000, "it begins where the other is");
        let reading = Reading { moment: before, ms: 5_000 };
        let old = Clock { fixed: None, begun: Some(reading) };
        assert!((5_000..65_000).contains(&old.now_ms()), "it follows from what was read");
    }

    #[test]
    fn a_steady_clock_says_what_it_showed_at_a_moment() {
        let steady = Clock::default().steady();
        let (now, moment) = (steady.now_ms(), Instant::now());
        assert!(steady.ms_at(moment + Duration::from_secs(9)) - now >= 9_000);
        let wall = Clock::fixed(5_000);
        let steady = wall.steady();
        wall.set(1_000);
        assert_eq!((wall.ms_at(moment), steady.ms_at(moment)), (1_000, 5_000));
    }

    #[test]
    fn an_end_is_not_moved_away_by_a_clock_that_is_set_back() {
        let wall = Clock::fixed(5_000);
        let clocks = Clocks::new(&wall);
        let is_before = |end| clocks.is_before(end, wall.now_ms());
        let (end, never) = (clocks.end_at(6_000), clocks.end_at(u64::MAX));
        wall.advance(999);
        assert!(is_before(end) && is_before(never));
        wall.set(1_000);
        assert!(is_before(end), "it is not over sooner");
        wall.advance(1);
        assert!(!is_before(end) && is_before(never));
        let end = clocks.end_at(2_000);
        wall.set(2_000);
        assert!(!is_before(end), "its time has come on the wall");
        assert!(!is_before(clocks.end_at(1_999)));
    }

    #[test]
    fn who_waits_is_not_busy() {
        let (begun, moment) = (busy_time().unwrap(), Instant::now());
        let (_kept, never) = std::sync::mpsc::channel::<()>();
        let _nothing = never.recv_timeout(Duration::from_millis(30));
        assert!(moment.elapsed() - (busy_time().unwrap() - begun) > Duration::from_millis(15));
        let mut turns = 0_u64;
        while busy_time().unwrap() - begun < Duration::from_millis(2) {
            turns += 1;
        }
        assert!(turns > 0);
    }

    #[test]
    fn a_clock_that_stands_does_so_at_every_moment() {
        let clock = Clock::fixed(5000);
        let reading = clock.read();
        clock.advance(70);
        assert_eq!(clock.at(reading, reading.moment + Duration::from_secs(9)), 5070);
    }
}

//! An average that forgets: the older a sample, the less it counts. It never waits and never locks.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// After this time a sample counts 1/e of what it did, in seconds (kong.md 5.1).
const DECAY: f32 = 10.0;
/// Attempts to enter a sample that others get in the way of; then it is left out.
const ATTEMPTS: usize = 3;

/// Microseconds of a [`Tick`].
const TICK: u32 = 20;

/// A moment, in ticks after the start of the process. They wrap after 23 hours, and so do ages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Tick(u32);

impl Tick {
    /// The moment `elapsed` after the start.
    #[expect(clippy::cast_possible_truncation, reason = "differences of wrapped ticks are what counts")]
    pub(super) fn at(elapsed: Duration) -> Self {
        Self((elapsed.as_micros() / u128::from(TICK)) as u32)
    }

    /// The time since `earlier`. A moment that is a little later, as another thread saw it, is the same.
    pub(super) fn since(self, earlier: Self) -> Duration {
        let ticks = self.0.wrapping_sub(earlier.0);
        let ticks = if ticks > u32::MAX - 1_000_000 / TICK { 0 } else { ticks };
        Duration::from_micros(u64::from(ticks) * u64::from(TICK))
    }

    /// What is left of something of age 0 at `earlier`, from 1 to 0.
    pub(super) fn left_of(self, earlier: Self) -> f32 {
        (-self.since(earlier).as_secs_f32() / DECAY).exp()
    }
}

/// A value and when it was entered, in one word.
#[derive(Debug, Default)]
pub(super) struct Average(AtomicU64);

impl Average {
    /// The average as far as it is still known at `now`: it fades while there are no samples. None without any.
    pub(super) fn at(&self, now: Tick) -> Option<f32> {
        let (value, entered) = unpack(self.0.load(Ordering::Relaxed))?;
        Some(value * now.left_of(entered))
    }

    /// Enters a sample.
    pub(super) fn add(&self, sample: f32, now: Tick) {
        self.update(now, |value, left| value * left + sample * (1.0 - left), sample);
    }

    /// Enters a sample that counts at once where it is above the average.
    pub(super) fn add_peak(&self, sample: f32, now: Tick) {
        self.update(now, |value, left| sample.max(value * left + sample * (1.0 - left)), sample);
    }

    fn update(&self, now: Tick, next: impl Fn(f32, f32) -> f32, first: f32) {
        let mut current = self.0.load(Ordering::Relaxed);
        for _ in 0..ATTEMPTS {
            let value = unpack(current).map_or(first, |(value, entered)| next(value, now.left_of(entered)));
            let packed = pack(value, now);
            match self.0.compare_exchange_weak(current, packed, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(other) => current = other,
            }
        }
    }
}

/// Never 0, which says that there is no value.
fn pack(value: f32, entered: Tick) -> u64 {
    u64::from(value.max(f32::MIN_POSITIVE).to_bits()) << 32 | u64::from(entered.0)
}

#[expect(clippy::cast_possible_truncation, reason = "the halves of a word")]
fn unpack(word: u64) -> Option<(f32, Tick)> {
    (word != 0).then(|| (f32::from_bits((word >> 32) as u32), Tick(word as u32)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Tick {
        Tick::at(Duration::from_secs(seconds))
    }

    fn near(left: f32, right: f32) -> bool {
        (left - right).abs() < 0.001 * right.abs().max(1.0)
    }

    #[test]
    fn a_sample_counts_the_more_the_older_what_was_there_before() {
        let average = Average::default();
        assert_eq!(average.at(seconds(0)), None);
        average.add(100.0, seconds(1));
        assert!(near(average.at(seconds(1)).unwrap(), 100.0), "the first is taken as it is");
        average.add(200.0, seconds(11));
        let expected = 100.0 / std::f32::consts::E + 200.0 * (1.0 - 1.0 / std::f32::consts::E);
        assert!(near(average.at(seconds(11)).unwrap(), expected));
        average.add(1000.0, seconds(11));
        assert!(near(average.at(seconds(11)).unwrap(), expected), "no time has passed");
    }

    #[test]
    fn it_fades_by_e_in_ten_seconds() {
        let average = Average::default();
        average.add(100.0, seconds(3));
        assert!(near(average.at(seconds(13)).unwrap(), 100.0 / std::f32::consts::E));
        assert!(near(average.at(seconds(2)).unwrap(), 100.0), "a clock that lags makes nothing younger");
    }

    #[test]
    fn a_peak_counts_at_once_and_fades_like_any_other() {
        let average = Average::default();
        average.add_peak(10.0, seconds(0));
        average.add_peak(500.0, seconds(0));
        assert!(near(average.at(seconds(0)).unwrap(), 500.0));
        average.add_peak(10.0, seconds(10));
        let expected = 500.0 / std::f32::consts::E + 10.0 * (1.0 - 1.0 / std::f32::consts::E);
        assert!(near(average.at(seconds(10)).unwrap(), expected));
    }

    #[test]
    fn ages_are_right_while_the_ticks_wrap() {
        let average = Average::default();
        average.add(100.0, Tick(u32::MAX - 249_999));
        assert!(near(average.at(Tick(250_000)).unwrap(), 100.0 / std::f32::consts::E));
    }
}

//! A second try beside the first, when that takes longer than others do: when it begins, and how long others took.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::figures::Figure;

/// When a second try begins beside the first.
#[derive(Debug)]
pub struct Hedge {
    /// How long the first one is waited for.
    pub after: After,
    /// Second tries that were begun.
    pub begun: Arc<Figure>,
    /// Those among them whose response came first.
    pub won: Arc<Figure>,
}

/// How long the first try is waited for.
#[derive(Debug)]
pub enum After {
    /// For so long.
    Fixed(Duration),
    /// For as long as all but a few responses took of late.
    Percentile {
        /// How long they took.
        latencies: Arc<Latencies>,
        /// For so long in any case.
        least: Duration,
    },
}

impl Hedge {
    /// How long the first try is waited for; none as long as too little is known.
    #[must_use]
    pub fn delay(&self) -> Option<Duration> {
        match &self.after {
            After::Fixed(delay) => Some(*delay),
            After::Percentile { latencies, least } => latencies.percentile().map(|most| most.max(*least)),
        }
    }

    /// The first try took so long, or longer, at `now_ms`.
    pub fn note(&self, took: Duration, now_ms: u64) {
        if let After::Percentile { latencies, .. } = &self.after {
            latencies.note(took, now_ms);
        }
    }
}

/// Buckets of a histogram: eight for each doubling, from 16 microseconds to a little more than an hour.
const BUCKETS: usize = 8 * 28;
const SMALLEST: u32 = 4;
/// Milliseconds that a histogram is filled for. The one before counts as well.
const SPAN: u64 = 10_000;
/// Responses of which nothing is concluded yet.
const FEW: u32 = 50;
/// Responses after which conclusions are drawn anew.
const OFTEN: u32 = 32;

/// How long responses took in the last ten to twenty seconds. Constant in size.
#[derive(Debug)]
pub struct Latencies {
    /// The share of responses that are faster than the percentile.
    share: f64,
    histograms: Mutex<Histograms>,
    /// In microseconds; 0 if it is not known.
    percentile: AtomicU64,
}

#[derive(Debug)]
struct Histograms {
    span: u64,
    now: [u32; BUCKETS],
    before: [u32; BUCKETS],
    since: u32,
}

impl Latencies {
    /// Of which the percentile `percent` is looked for.
    #[must_use]
    pub fn new(percent: f64) -> Self {
        let histograms = Histograms { span: 0, now: [0; BUCKETS], before: [0; BUCKETS], since: 0 };
        Self { share: percent / 100.0, histograms: Mutex::new(histograms), percentile: AtomicU64::new(0) }
    }

    /// How long a response took, known at `now_ms`.
    pub fn note(&self, took: Duration, now_ms: u64) {
        let histograms = &mut *self.histograms.lock().unwrap_or_else(PoisonError::into_inner);
        let span = now_ms / SPAN;
        if span != histograms.span {
            let follows = span == histograms.span + 1;
            histograms.before = if follows { histograms.now } else { [0; BUCKETS] };
            (histograms.now, histograms.span) = ([0; BUCKETS], span);
        }
        let count = &mut histograms.now[bucket(took)];
        *count = count.saturating_add(1);
        histograms.since += 1;
        if histograms.since >= OFTEN {
            histograms.since = 0;
            self.percentile.store(histograms.percentile(self.share).unwrap_or(0), Ordering::Relaxed);
        }
    }

    /// The percentile; none if too few responses have come of late.
    #[must_use]
    pub fn percentile(&self) -> Option<Duration> {
        let micros = self.percentile.load(Ordering::Relaxed);
        (micros > 0).then(|| Duration::from_micros(micros))
    }
}

impl Histograms {
    fn percentile(&self, share: f64) -> Option<u64> {
        let counts = || self.now.iter().zip(&self.before).map(|(now, before)| now.saturating_add(*before));
        let all: u64 = counts().map(u64::from).sum();
        if all < u64::from(FEW) {
            return None;
        }
        let wanted = (share * all as f64).ceil() as u64;
        let mut seen = 0;
        let found = counts().position(|count| {
            seen += u64::from(count);
            seen >= wanted
        });
        found.map(upper_bound)
    }
}

/// The bucket of a time: by its highest bit, and the three below.
fn bucket(took: Duration) -> usize {
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1 << SMALLEST);
    let octave = micros.ilog2();
    let eighth = (micros >> (octave - 3)) & 7;
    ((octave - SMALLEST) as usize * 8 + eighth as usize).min(BUCKETS - 1)
}

/// Microseconds that all in a bucket are below.
fn upper_bound(bucket: usize) -> u64 {
    let (octave, eighth) = (bucket / 8 + SMALLEST as usize, bucket as u64 % 8);
    (8 + eighth + 1) << (octave - 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(percent: f64, millis: impl Iterator<Item = u64>) -> Latencies {
        let latencies = Latencies::new(percent);
        millis.for_each(|millis| latencies.note(Duration::from_millis(millis), 50_000));
        latencies
    }

    #[test]
    fn a_percentile_is_known_to_an_eighth() {
        let latencies = filled(95.0, (0..1024).map(|number| number % 100 + 1));
        let found = latencies.percentile().unwrap().as_secs_f64() * 1000.0;
        assert!((95.0..=95.0 * 1.125).contains(&found), "{found}");
        let extremes = [Duration::ZERO, Duration::from_secs(86_400), Duration::MAX];
        extremes.iter().for_each(|took| latencies.note(*took, 50_000));
    }

    #[test]
    fn nothing_is_concluded_from_a_few() {
        assert_eq!(filled(95.0, 0..40).percentile(), None);
        assert!(filled(95.0, 0..100).percentile().is_some());
    }

    #[test]
    fn what_was_long_ago_is_forgotten() {
        let latencies = filled(50.0, (0..640).map(|_| 1000));
        let note = |now_ms| (0..320).for_each(|_| latencies.note(Duration::from_millis(10), now_ms));
        note(60_000);
        assert!(latencies.percentile().unwrap() > Duration::from_millis(900), "most still took a second");
        note(70_000);
        assert!(latencies.percentile().unwrap() < Duration::from_millis(12));
        let silent = filled(50.0, (0..640).map(|_| 1000));
        (0..64).for_each(|_| silent.note(Duration::from_millis(10), 90_000));
        assert!(silent.percentile().unwrap() < Duration::from_millis(12));
    }
}

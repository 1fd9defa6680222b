//! One limit: so many requests in such a time, counted in one of three ways.

use super::cell::{Demand, Measure};
use super::window::{Period, Window};
use super::{Verdict, smooth_reading};

/// The length that a limit is given for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Span {
    /// A unit of the calendar.
    Calendar(Period),
    /// So many seconds, at least one, counted from 1970.
    Seconds(u32),
}

/// How requests are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// In windows that end all at once: twice the limit may come around a boundary.
    Fixed,
    /// In windows of which the previous one counts as far as it still lies within one length from now.
    Sliding,
    /// As an even stream that so many requests may be ahead of.
    Smooth {
        /// Requests that may come at once.
        burst: u32,
    },
}

/// One limit.
#[derive(Debug, Clone)]
pub struct Limit {
    /// The time it is given for.
    pub span: Span,
    /// How requests are counted.
    pub algorithm: Algorithm,
    /// Requests admitted: a limit of 2.5 admits three, as the third finds two counted.
    pub admits: u32,
    /// The limit as configured.
    pub text: Box<[u8]>,
}

/// A request may be that many seconds late and is still counted in the newest window.
const LATE: u32 = 600;
const WHOLE: u64 = 1_000_000;

impl Limit {
    /// `admits` requests a `span`, where `limit` is what was configured.
    #[must_use]
    pub fn new(span: Span, algorithm: Algorithm, limit: f64) -> Self {
        // Limits are checked to be below the largest.
        let admits = limit.ceil() as u32;
        Self { span, algorithm, admits, text: limit.to_string().into_bytes().into_boxed_slice() }
    }

    /// The window that `now_ms` lies in.
    #[must_use]
    pub fn window(&self, now_ms: u64) -> Window {
        match self.span {
            Span::Calendar(period) => period.window(now_ms / 1000),
            Span::Seconds(size) => Window::of(now_ms / 1000, u64::from(size)),
        }
    }

    /// The limit with its window, for the table.
    #[must_use]
    pub fn demand(&self, window: Window, now_ms: u64) -> Demand {
        let length = self.length(window);
        let late = (LATE / u32::try_from(length).unwrap_or(u32::MAX).max(1)).max(1);
        let (limit, measure) = match self.algorithm {
            Algorithm::Fixed => (self.admits, Measure::Fixed),
            Algorithm::Sliding => (self.admits, Measure::Sliding { left: left(window, length, now_ms) }),
            Algorithm::Smooth { burst } => {
                (burst, Measure::Smooth { now: now_ms * 1000, interval: self.interval(length) })
            }
        };
        Demand { ordinal: window.ordinal, limit, late, measure }
    }

    /// Seconds of the window.
    fn length(&self, window: Window) -> u64 {
        match self.span {
            Span::Calendar(period) => period.length(window),
            Span::Seconds(size) => u64::from(size),
        }
    }

    /// Microseconds between two requests of an even stream.
    fn interval(&self, length: u64) -> u64 {
        (length * WHOLE / u64::from(self.admits.max(1))).max(1)
    }

    /// See [`Demand::brim`]; of months and years, by the first ones.
    pub(super) fn brim(&self) -> u64 {
        self.demand(self.window(0), 0).brim()
    }

    /// What is admitted at once: the limit, or the burst of an even stream.
    #[must_use]
    pub fn most(&self) -> u32 {
        match self.algorithm {
            Algorithm::Smooth { burst } => burst,
            _ => self.admits,
        }
    }

    /// Requests left by the numbers at `index` of a verdict.
    #[must_use]
    pub fn remaining(&self, verdict: &Verdict, index: usize, window: Window, now_ms: u64) -> u32 {
        let used = match self.algorithm {
            Algorithm::Sliding => {
                let left = u64::from(left(window, self.length(window), now_ms));
                let used = u64::from(verdict.count[index]) * WHOLE + u64::from(verdict.more[index]) * left;
                u32::try_from(used.div_ceil(WHOLE)).unwrap_or(u32::MAX)
            }
            _ => verdict.count[index],
        };
        self.most().saturating_sub(used)
    }

    /// Milliseconds until a request has room, by the numbers at `index` of a verdict; 0 if it has.
    #[must_use]
    pub fn wait_ms(&self, verdict: &Verdict, index: usize, window: Window, now_ms: u64) -> u64 {
        let (count, more) = (u64::from(verdict.count[index]), u64::from(verdict.more[index]));
        let limit = u64::from(self.admits);
        let to_end = (window.end * 1000).saturating_sub(now_ms);
        match self.algorithm {
            Algorithm::Smooth { .. } => more,
            Algorithm::Fixed if count < limit => 0,
            Algorithm::Fixed => to_end,
            Algorithm::Sliding => {
                let length = self.length(window) * 1000;
                // While `requests` fade over one length, the first moment at which at most `room` of them count.
                let fades = |requests: u64, room: u64| match requests <= room {
                    true => 0,
                    false => length - length * room / requests,
                };
                match count < limit {
                    true => fades(more, limit - 1 - count).saturating_sub(length - to_end.min(length)),
                    false => to_end + fades(count, limit.saturating_sub(1)),
                }
            }
        }
    }

    /// Seconds until all of the limit is there again, by the numbers at `index` of a verdict; at least one.
    #[must_use]
    pub fn reset(&self, verdict: &Verdict, index: usize, window: Window, now_ms: u64) -> u64 {
        let seconds = match self.algorithm {
            Algorithm::Smooth { .. } => {
                let ahead = u64::from(verdict.count[index]) * self.interval(self.length(window));
                ahead.div_ceil(WHOLE)
            }
            _ => window.end.saturating_sub(now_ms / 1000),
        };
        seconds.max(1)
    }

    /// What the theoretical arrival time says of this limit; see [`Verdict`].
    #[must_use]
    pub(super) fn smooth_reading(&self, time: u64, demand: &Demand) -> (u32, u32) {
        match demand.measure {
            Measure::Smooth { now, interval } => smooth_reading(time, now, interval, demand.limit),
            _ => (0, 0),
        }
    }

    /// How long a counter of the window matters, in seconds from now.
    pub(super) fn lifetime(&self, window: Window, now_ms: u64) -> u64 {
        let to_end = window.end.saturating_sub(now_ms / 1000).max(1);
        match self.algorithm {
            Algorithm::Sliding => to_end + self.length(window),
            // Gateways whose clocks are behind still count in it.
            _ => to_end + 60,
        }
    }

    /// The span in keys of the shared store.
    pub(super) fn label(&self) -> String {
        let kind = match self.algorithm {
            Algorithm::Fixed => "",
            Algorithm::Sliding => "sliding:",
            Algorithm::Smooth { .. } => "smooth:",
        };
        match self.span {
            Span::Calendar(period) => format!("{kind}{}", period.name()),
            Span::Seconds(size) => format!("{kind}{size}"),
        }
    }
}

/// The share of the previous window that lies within one length from now, in millionths.
fn left(window: Window, length: u64, now_ms: u64) -> u32 {
    let to_end = (window.end * 1000).saturating_sub(now_ms).min(length * 1000);
    (to_end * WHOLE / (length * 1000).max(1)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(count: u32, more: u32) -> Verdict {
        let mut verdict = Verdict::default();
        (verdict.count[0], verdict.more[0]) = (count, more);
        verdict
    }

    #[test]
    fn a_sliding_window_tells_when_there_is_room_again() {
        let limit = Limit::new(Span::Seconds(10), Algorithm::Sliding, 4.0);
        let now = 100_000;
        let window = limit.window(now);
        let wait = |count, more, at: u64| limit.wait_ms(&verdict(count, more), 0, window, now + at);
        assert_eq!(wait(0, 4, 0), 2_500, "three of four must be left: a quarter of the window has to pass");
        assert_eq!(wait(0, 4, 2_000), 500);
        assert_eq!(wait(4, 0, 4_000), 6_000 + 2_500, "this window's four fade in the next one");
        assert_eq!((wait(3, 0, 0), wait(0, 0, 0)), (0, 0));
    }

    #[test]
    fn what_is_left_of_a_sliding_window_counts_the_one_before() {
        let limit = Limit::new(Span::Seconds(10), Algorithm::Sliding, 10.0);
        let window = limit.window(100_000);
        assert_eq!(limit.remaining(&verdict(2, 8), 0, window, 100_000), 0);
        assert_eq!(limit.remaining(&verdict(2, 8), 0, window, 105_000), 4);
        assert_eq!(limit.remaining(&verdict(2, 8), 0, window, 109_999), 7, "a part of a request is one");
    }
}

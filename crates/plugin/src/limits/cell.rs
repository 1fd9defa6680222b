//! One counter of a caller, and what is asked of it.

use super::limit::Algorithm;
use super::smooth_reading;

/// A request, and all of a share, in millionths.
pub(super) const WHOLE: u64 = 1_000_000;
/// Microseconds by which a request may come late and still find an even stream where it is.
const LATE: u64 = 600 * WHOLE;
/// Bursts that an even stream may be ahead: other gateways have had theirs before they were told.
const MOST_BURSTS: u64 = 64;

/// What a caller has counted and not been told elsewhere.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pending {
    /// Number of the window.
    pub ordinal: u32,
    /// Requests.
    pub count: u32,
    /// Requests of the window before, where that still counts.
    pub owed: u32,
}

/// One limit to be held now.
#[derive(Debug, Clone, Copy, Default)]
pub struct Demand {
    /// Number of the current window; windows of one limit count from 1970.
    pub ordinal: u32,
    /// Requests admitted: in a window, or at once.
    pub limit: u32,
    /// Windows by which a request may come late and still be counted in the newest one.
    pub late: u32,
    /// How they are counted.
    pub measure: Measure,
}

/// How requests are counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Measure {
    /// In windows that end all at once.
    #[default]
    Fixed,
    /// In the current window, and in the one before it as far as that still lies within one length from now.
    Sliding {
        /// The share of the previous window that counts, in millionths.
        left: u32,
    },
    /// By the time at which the next request would come in an even stream (generic cell rate algorithm).
    Smooth {
        /// Microseconds since 1970.
        now: u64,
        /// Microseconds from one request to the next.
        interval: u64,
    },
}

/// One counter. For [`Measure::Smooth`] the first two numbers are the halves of the theoretical arrival time.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Cell {
    pub ordinal: u32,
    pub count: u32,
    pub previous: u32,
    /// Requests counted here that the store shared with other gateways has not been told of.
    pub pending: u32,
    /// The same of the window before, where that still counts.
    pub owed: u32,
}

impl Demand {
    /// The most that may have been used where there is room for one more: millionths of requests, or microseconds of an
    /// even stream.
    pub(super) fn brim(&self) -> u64 {
        let others = u64::from(self.limit.saturating_sub(1));
        match self.measure {
            Measure::Fixed | Measure::Sliding { .. } => others * WHOLE,
            Measure::Smooth { interval, .. } => interval.saturating_mul(others),
        }
    }
}

impl Cell {
    /// Begins the demand's window, if it has not begun.
    pub fn advance(&mut self, demand: &Demand) {
        if let Measure::Smooth { now, interval } = demand.measure {
            if self.is_far_ahead(demand) {
                self.set_time(now.saturating_add(interval.saturating_mul(u64::from(demand.limit))));
            }
            return;
        }
        if self.is_current(demand) {
            return;
        }
        let follows = self.ordinal.wrapping_add(1) == demand.ordinal;
        let previous = if follows { self.count } else { 0 };
        let slides = matches!(demand.measure, Measure::Sliding { .. });
        let owed = if follows && slides { self.pending } else { 0 };
        *self = Self { ordinal: demand.ordinal, count: 0, previous, pending: 0, owed };
    }

    /// Whether an even stream is further ahead than requests can have brought it. It is of a clock that has been set back: the
    /// caller is taken to have used up a burst, as it may have, and waits no longer than that takes.
    fn is_far_ahead(&self, demand: &Demand) -> bool {
        let Measure::Smooth { now, interval } = demand.measure else { return false };
        let bursts = interval.saturating_mul(u64::from(demand.limit)).saturating_mul(MOST_BURSTS);
        self.time() > now.saturating_add(bursts).saturating_add(LATE)
    }

    /// Whether the cell counts the demand's window. Windows soon after it count too: a worker that read the clock just
    /// before a boundary, or a request whose body took long, must not wipe what others have counted since. A cell far
    /// ahead is of a clock that has been set back, and is begun anew.
    fn is_current(&self, demand: &Demand) -> bool {
        self.ordinal.wrapping_sub(demand.ordinal) <= demand.late
    }

    /// Whether nothing that it has counted matters any more.
    pub fn is_over(&self, demand: &Demand) -> bool {
        match demand.measure {
            Measure::Fixed => !self.is_current(demand),
            Measure::Sliding { .. } => {
                !self.is_current(demand) && self.ordinal.wrapping_add(1) != demand.ordinal
            }
            Measure::Smooth { now, .. } => self.time() <= now || self.is_far_ahead(demand),
        }
    }

    /// Whether one more is admitted.
    pub fn has_room(&self, demand: &Demand) -> bool {
        self.used(demand) <= demand.brim()
    }

    /// What has been used, in the unit of [`Demand::brim`].
    fn used(&self, demand: &Demand) -> u64 {
        match demand.measure {
            Measure::Fixed if self.is_current(demand) => u64::from(self.count) * WHOLE,
            Measure::Sliding { left } => {
                let (count, previous) = match self.is_current(demand) {
                    true => (self.count, self.previous),
                    false if self.ordinal.wrapping_add(1) == demand.ordinal => (0, self.count),
                    false => (0, 0),
                };
                u64::from(count) * WHOLE + u64::from(previous) * u64::from(left)
            }
            Measure::Smooth { now, .. } => self.time().saturating_sub(now),
            Measure::Fixed => 0,
        }
    }

    /// Counts so many requests.
    pub fn add(&mut self, demand: &Demand, requests: u32) {
        match demand.measure {
            Measure::Fixed | Measure::Sliding { .. } => self.count = self.count.saturating_add(requests),
            Measure::Smooth { now, interval } => {
                let ahead = interval.saturating_mul(u64::from(requests));
                self.set_time(self.time().max(now).saturating_add(ahead));
            }
        }
    }

    /// See [`Verdict::count`](super::Verdict::count) and [`Verdict::more`](super::Verdict::more).
    pub fn reading(&self, demand: &Demand) -> (u32, u32) {
        match demand.measure {
            Measure::Fixed => (self.count, 0),
            Measure::Sliding { .. } => (self.count, self.previous),
            Measure::Smooth { now, interval } => smooth_reading(self.time(), now, interval, demand.limit),
        }
    }

    /// Takes what the shared store is to be told of.
    pub fn collect(&mut self) -> Pending {
        let (count, owed) = (std::mem::take(&mut self.pending), std::mem::take(&mut self.owed));
        Pending { ordinal: self.ordinal, count, owed }
    }

    /// See [`Table::give_back`](super::Table::give_back).
    pub fn give_back(&mut self, pending: Pending, algorithm: Algorithm) {
        let of_this_window = self.ordinal == pending.ordinal || matches!(algorithm, Algorithm::Smooth { .. });
        if of_this_window {
            self.pending = self.pending.saturating_add(pending.count);
            self.owed = self.owed.saturating_add(pending.owed);
        } else if algorithm == Algorithm::Sliding && self.ordinal == pending.ordinal.wrapping_add(1) {
            self.owed = self.owed.saturating_add(pending.count);
        }
    }

    /// See [`Table::absorb`](super::Table::absorb).
    pub fn absorb(&mut self, ordinal: u32, total: u32, previous: u32) {
        if self.ordinal == ordinal {
            self.count = total.saturating_add(self.pending);
            self.previous = self.previous.max(previous);
        } else if self.ordinal == ordinal.wrapping_add(1) {
            self.previous = self.previous.max(total.saturating_add(self.owed));
        }
    }

    /// See [`Table::learn`](super::Table::learn).
    pub fn learn(&mut self, demand: &Demand, (count, previous): (u64, u64)) {
        let narrow = |number| u32::try_from(number).unwrap_or(u32::MAX);
        match demand.measure {
            Measure::Smooth { interval, .. } => {
                self.set_time(self.time().max(count + u64::from(self.pending) * interval));
            }
            // A request that was late asked about a window that is over.
            _ if self.ordinal != demand.ordinal => {}
            _ => {
                self.count = self.count.max(narrow(count).saturating_add(self.pending));
                self.previous = self.previous.max(narrow(previous));
            }
        }
    }

    /// The share that has been used, in millionths, of what is used at the brim of `demand` or at `floor`, whatever is
    /// less; far beyond all of it where there is no room.
    pub fn share(&self, demand: &Demand, floor: u64) -> u64 {
        let (used, brim) = (self.used(demand), demand.brim().min(floor));
        if used > brim {
            return u64::MAX;
        }
        let share = u128::from(used) * u128::from(WHOLE) / (u128::from(brim) + 1);
        u64::try_from(share).unwrap_or(u64::MAX)
    }

    fn time(&self) -> u64 {
        (u64::from(self.ordinal) << 32) | u64::from(self.count)
    }

    pub fn set_time(&mut self, time: u64) {
        (self.ordinal, self.count) = ((time >> 32) as u32, time as u32);
    }
}

//! Outcomes of late: of the last so many requests, or of the last so many milliseconds. Constant in size.

/// What a window looks back on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WindowRule {
    /// The last so many responses.
    Requests(usize),
    /// Those of the last so many milliseconds, to a tenth of that.
    Millis(u64),
}

/// Slots of a window over time.
const SLOTS: u64 = 10;

/// What a window holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sums {
    /// Responses.
    pub total: u32,
    /// Failures among them.
    pub failed: u32,
    /// Slow ones among them.
    pub slow: u32,
}

impl Sums {
    fn add(&mut self, failed: bool, slow: bool) {
        self.total = self.total.saturating_add(1);
        self.failed = self.failed.saturating_add(u32::from(failed));
        self.slow = self.slow.saturating_add(u32::from(slow));
    }

    fn remove(&mut self, failed: bool, slow: bool) {
        self.total = self.total.saturating_sub(1);
        self.failed = self.failed.saturating_sub(u32::from(failed));
        self.slow = self.slow.saturating_sub(u32::from(slow));
    }
}

/// The outcomes.
pub enum Window {
    /// Of the last responses, round and round.
    Requests { most: usize, outcomes: Vec<(bool, bool)>, next: usize, sums: Sums },
    /// Of the last slots of time, each with its number.
    Millis { length: u64, slots: [(u64, Sums); SLOTS as usize] },
}

impl Window {
    /// An empty window.
    pub fn new(rule: WindowRule) -> Self {
        match rule {
            WindowRule::Requests(most) => {
                Self::Requests { most: most.max(1), outcomes: Vec::new(), next: 0, sums: Sums::default() }
            }
            WindowRule::Millis(length) => Self::Millis { length, slots: Default::default() },
        }
    }

    /// Whether it is one of that kind and size.
    pub fn is_for(&self, rule: WindowRule) -> bool {
        match (self, rule) {
            (Self::Requests { most, .. }, WindowRule::Requests(wanted)) => *most == wanted.max(1),
            (Self::Millis { length, .. }, WindowRule::Millis(wanted)) => *length == wanted,
            _ => false,
        }
    }

    /// Adds an outcome; what the window holds then.
    pub fn add(&mut self, failed: bool, slow: bool, now: u64) -> Sums {
        match self {
            Self::Requests { most, outcomes, next, sums } => {
                if let Some(oldest) = outcomes.get_mut(*next) {
                    sums.remove(oldest.0, oldest.1);
                    *oldest = (failed, slow);
                } else {
                    outcomes.push((failed, slow));
                }
                *next = (*next + 1) % *most;
                sums.add(failed, slow);
                *sums
            }
            Self::Millis { length, slots } => {
                let number = slot(*length, now);
                let (known, sums) = &mut slots[(number % SLOTS) as usize];
                if *known != number {
                    (*known, *sums) = (number, Sums::default());
                }
                sums.add(failed, slow);
                self.sums(now)
            }
        }
    }

    /// The latest success turns out to be a failure; what the window holds then.
    pub fn amend(&mut self, now: u64) -> Sums {
        match self {
            Self::Requests { outcomes, next, sums, .. } => {
                let (newer, older) = outcomes.split_at_mut(*next);
                let latest = newer.iter_mut().rev().chain(older.iter_mut().rev()).find(|(failed, _)| !failed);
                if let Some(outcome) = latest {
                    sums.remove(outcome.0, outcome.1);
                    *outcome = (true, false);
                    sums.add(true, false);
                }
                *sums
            }
            Self::Millis { length, slots } => {
                let number = slot(*length, now);
                let (known, sums) = &mut slots[(number % SLOTS) as usize];
                if *known != number {
                    (*known, *sums) = (number, Sums::default());
                }
                sums.failed = sums.failed.saturating_add(1);
                // The success may have been in an earlier slot.
                sums.total = sums.total.max(sums.failed);
                self.sums(now)
            }
        }
    }

    /// What the window holds at `now`.
    pub fn sums(&self, now: u64) -> Sums {
        match self {
            Self::Requests { sums, .. } => *sums,
            Self::Millis { length, slots } => {
                let last = slot(*length, now);
                let recent = slots.iter().filter(|(number, _)| *number <= last && number + SLOTS > last);
                recent.fold(Sums::default(), |all, (_, one)| Sums {
                    total: all.total.saturating_add(one.total),
                    failed: all.failed.saturating_add(one.failed),
                    slow: all.slow.saturating_add(one.slow),
                })
            }
        }
    }
}

/// The number of the slot that `now` falls in; the first is 1, so that none is taken for one never used.
fn slot(length: u64, now: u64) -> u64 {
    now / (length / SLOTS).max(1) + 1
}

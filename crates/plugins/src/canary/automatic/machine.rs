//! How far a release has come. Knows no clock and no lock: it is told the time, and one caller at a time.

use std::sync::Arc;

use super::judge::{Verdict, judge};
use super::rules::{PARTS, Rules};
use super::tally::Sides;

/// Where a release stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The time of a step runs.
    Stepping,
    /// Its time is over, and something keeps it from the next one.
    Holding,
    /// Everything goes to the service.
    RolledBack,
    /// The last step has been passed: nothing is decided any more.
    Finished,
}

impl Phase {
    /// As it is shown.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stepping => "stepping",
            Self::Holding => "holding",
            Self::RolledBack => "rolled back",
            Self::Finished => "finished",
        }
    }
}

/// What an operator may want.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// No further steps up; back it still goes by itself.
    Pause,
    /// Go on.
    Resume,
    /// Everything to the canary, for good.
    Promote,
    /// Everything to the service, for good.
    RollBack,
    /// From the first step, with all tries.
    Restart,
}

/// A change, for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Where it stood.
    pub from: Phase,
    /// Where it stands.
    pub to: Phase,
    /// In words.
    pub why: String,
}

/// The state of a release.
pub struct Machine {
    /// As of the last comparison.
    pub rules: Arc<Rules>,
    /// Where it stands.
    pub phase: Phase,
    /// Number of the step, from 0.
    pub step: usize,
    /// The canary's share, in parts of [`PARTS`].
    pub share: u64,
    /// Since when, milliseconds since 1970.
    pub since: u64,
    /// No steps up for now.
    pub paused: bool,
    /// Where it stands was said by hand, and stays until something else is.
    pub by_hand: bool,
    /// Tries begun.
    pub tries: u32,
    /// Why it stands there.
    pub why: String,
    /// The counters when the step began.
    mark: Sides,
    /// What they had counted since then, at the last comparison.
    pub window: Sides,
}

impl Machine {
    /// A release that begins at `now`.
    pub fn new(rules: Arc<Rules>, now: u64) -> Self {
        let mut machine = Self {
            rules,
            phase: Phase::Stepping,
            step: 0,
            share: 0,
            since: now,
            paused: false,
            by_hand: false,
            tries: 0,
            why: String::new(),
            mark: Sides::default(),
            window: Sides::default(),
        };
        machine.begin(&Sides::default(), now);
        machine
    }

    /// Compares what was counted up to `now`, and follows from it what does.
    pub fn look(&mut self, rules: &Arc<Rules>, counted: &Sides, now: u64) -> Option<Change> {
        if *self.rules != **rules {
            self.adopt(rules.clone(), counted, now);
        }
        // A clock that was set back: what is left of the time is not known, so it begins anew.
        self.since = self.since.min(now);
        let (from, since) = (self.phase, self.since);
        match self.phase {
            Phase::Stepping | Phase::Holding => {
                self.window = counted.since(&self.mark);
                self.compare(counted, now);
            }
            Phase::RolledBack if self.next_try().is_some_and(|next| next <= now) => self.begin(counted, now),
            Phase::RolledBack | Phase::Finished => return None,
        }
        let changed = self.phase != from || self.since != since;
        changed.then(|| Change { from, to: self.phase, why: self.why.clone() })
    }

    /// Does what an operator wants.
    pub fn follow(&mut self, order: Order, counted: &Sides, now: u64) -> Change {
        let from = self.phase;
        match order {
            Order::Pause => self.paused = true,
            Order::Resume => self.paused = false,
            Order::Promote => self.settle(Phase::Finished, PARTS, "promoted by hand", now),
            Order::RollBack => self.settle(Phase::RolledBack, 0, "rolled back by hand", now),
            Order::Restart => {
                (self.tries, self.paused) = (0, false);
                self.begin(counted, now);
                self.why = "begun anew by hand".to_owned();
            }
        }
        let why = match order {
            Order::Pause => "paused by hand".to_owned(),
            Order::Resume => "resumed by hand".to_owned(),
            _ => self.why.clone(),
        };
        Change { from, to: self.phase, why }
    }

    /// When the next try begins, if the release has stepped back and there is one.
    pub fn next_try(&self) -> Option<u64> {
        let waits = self.phase == Phase::RolledBack && !self.by_hand && self.tries < self.rules.tries;
        waits.then(|| self.since + self.rules.hold_off_ms)
    }

    fn begin(&mut self, counted: &Sides, now: u64) {
        self.tries += 1;
        self.by_hand = false;
        self.enter(0, counted, now, "begun".to_owned());
    }

    fn enter(&mut self, step: usize, counted: &Sides, now: u64, why: String) {
        self.phase = Phase::Stepping;
        (self.mark, self.window) = (counted.clone(), Sides::default());
        (self.step, self.share) = (step, self.rules.steps.get(step).copied().unwrap_or(0));
        (self.since, self.why) = (now, why);
    }

    fn settle(&mut self, phase: Phase, share: u64, why: &str, now: u64) {
        (self.phase, self.share, self.by_hand) = (phase, share, true);
        (self.since, self.why) = (now, why.to_owned());
    }

    /// Goes on by other rules: from the last step that does not go beyond the share there is.
    fn adopt(&mut self, rules: Arc<Rules>, counted: &Sides, now: u64) {
        let step = rules.steps.partition_point(|step| *step <= self.share).saturating_sub(1);
        let elsewhere = rules.steps.get(step).is_none_or(|step| *step != self.share);
        self.rules = rules;
        if matches!(self.phase, Phase::Stepping | Phase::Holding) {
            self.step = step;
            if elsewhere {
                self.enter(step, counted, now, "other steps have been configured".to_owned());
            }
        }
    }

    fn compare(&mut self, counted: &Sides, now: u64) {
        let verdict = judge(&self.rules, &self.window.service, &self.window.canary);
        let over = now - self.since >= self.rules.interval_ms;
        match verdict {
            Verdict::Worse(why) => {
                (self.phase, self.share, self.since, self.why) = (Phase::RolledBack, 0, now, why);
            }
            Verdict::Doubtful(why) | Verdict::TooFew(why) if over => self.hold(why),
            Verdict::Good if over && self.paused => self.hold("paused by hand".to_owned()),
            Verdict::Good if over => self.advance(counted, now),
            _ => {}
        }
    }

    fn hold(&mut self, why: String) {
        (self.phase, self.why) = (Phase::Holding, why);
    }

    fn advance(&mut self, counted: &Sides, now: u64) {
        let why = format!(
            "no worse than the service: {} of {} requests failed at the canary, {} of {} at the service",
            self.window.canary.failed,
            self.window.canary.total(),
            self.window.service.failed,
            self.window.service.total(),
        );
        let next = self.step + 1;
        match self.rules.steps.get(next) {
            Some(share) if *share < PARTS => self.enter(next, counted, now, why),
            // With everything at the canary there is nothing to compare it with.
            Some(share) => {
                (self.step, self.share) = (next, *share);
                (self.phase, self.since, self.why) = (Phase::Finished, now, why);
            }
            None => (self.phase, self.since, self.why) = (Phase::Finished, now, why),
        }
    }
}

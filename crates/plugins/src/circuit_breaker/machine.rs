//! The state machine: closed, open, half-open. Pure: time comes in as a number, and what changed comes out.
//!
//! A request takes a [`Pass`] and settles it. A pass of an earlier state settles nothing, so that responses that come late
//! cannot open or close anything. While half-open, no more passes are out than there may be probes; one that is not
//! settled within its lease is given up, so that a client that trickles its body cannot keep a service from recovering.

use super::window::{Sums, Window};

mod pass;
mod rules;

pub use pass::{Outcome, Pass, Receipt, Verdict};
pub use rules::{Rates, Rules};

/// What an operator wants in place of the breaker's own decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forced {
    /// Nothing gets through.
    Open,
    /// Everything does.
    Closed,
}

/// The three states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Requests pass.
    Closed,
    /// None do.
    Open,
    /// A few do, to see whether the service is back.
    HalfOpen,
}

impl Phase {
    /// As it is shown.
    pub fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half-open",
        }
    }
}

/// A change of state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// From where.
    pub from: Phase,
    /// To where.
    pub to: Phase,
    /// Why.
    pub why: &'static str,
}

enum State {
    Closed,
    Open { since: u64, for_ms: u64 },
    HalfOpen { successes: u32 },
}

struct Probe {
    number: u64,
    since: u64,
}

/// One breaker.
pub struct Machine {
    state: State,
    forced: Option<Forced>,
    epoch: u64,
    since: u64,
    window: Option<Window>,
    run: u32,
    /// Those under way, from earlier states too: the service is at work for them.
    probes: Vec<Probe>,
    /// Times it has opened again without having closed.
    reopened: u32,
    probed: u64,
}

/// What there is to see of a breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View {
    /// Its state, which may be by force.
    pub phase: Phase,
    /// By whose will, if not its own.
    pub forced: Option<Forced>,
    /// Since when.
    pub since: u64,
    /// Milliseconds until it lets probes through.
    pub opens_in: u64,
    /// Failures in a row.
    pub run: u32,
    /// What the window holds.
    pub sums: Sums,
    /// Probes under way.
    pub probes: usize,
}

impl Machine {
    /// A closed breaker.
    pub fn new(now: u64) -> Self {
        Self {
            state: State::Closed,
            forced: None,
            epoch: 1,
            since: now,
            window: None,
            run: 0,
            probes: Vec::new(),
            reopened: 0,
            probed: 0,
        }
    }

    /// The epoch that every request may have a pass of, without asking: while it is closed, by itself or by force.
    pub fn wide_open(&self) -> Option<u64> {
        matches!((&self.state, self.forced), (State::Closed, None) | (_, Some(Forced::Closed)))
            .then_some(self.epoch)
    }

    /// A success would change nothing.
    pub fn is_flawless(&self, rules: &Rules) -> bool {
        matches!(self.state, State::Closed) && self.run == 0 && rules.rates.is_none() && self.window.is_none()
    }

    /// How many milliseconds a request would have to wait that came at `now`; none if it could be sent.
    pub fn look(&self, rules: &Rules, now: u64) -> Option<u64> {
        match (self.forced, &self.state) {
            (Some(Forced::Open), _) => Some(rules.open_ms),
            (Some(Forced::Closed), _) | (None, State::Closed) => None,
            (None, State::Open { since, for_ms }) => {
                Some(((*since).min(now) + for_ms).saturating_sub(now)).filter(|left| *left > 0)
            }
            (None, State::HalfOpen { .. }) => {
                let at_work = |probe: &&Probe| now.saturating_sub(probe.since) < rules.lease_ms;
                (self.probes.iter().filter(at_work).count() >= rules.probes).then_some(1)
            }
        }
    }

    /// Failures in a row.
    pub fn run(&self) -> u32 {
        self.run
    }

    /// Whether a request may be sent at `now`.
    pub fn admit(&mut self, rules: &Rules, now: u64) -> (Verdict, Option<Change>) {
        let everybody = Verdict::Pass(Pass { epoch: self.epoch, probe: None });
        match self.forced {
            Some(Forced::Open) => return (Verdict::Refused(rules.open_ms), None),
            Some(Forced::Closed) => return (everybody, None),
            None => {}
        }
        let mut change = None;
        if let State::Open { since, for_ms } = &mut self.state {
            // A clock that is set back must not keep it open for longer.
            *since = (*since).min(now);
            let left = (*since + *for_ms).saturating_sub(now);
            if left > 0 {
                return (Verdict::Refused(left), None);
            }
            change = Some(self.half_open(now));
        }
        if !matches!(self.state, State::HalfOpen { .. }) {
            return (everybody, change);
        }
        self.probes.retain_mut(|probe| {
            // Workers look at the clock before they come here, not always in the same order; and it may be set back.
            probe.since = probe.since.min(now);
            now - probe.since < rules.lease_ms
        });
        if self.probes.len() >= rules.probes {
            return (Verdict::Refused(1), change);
        }
        self.probed += 1;
        self.probes.push(Probe { number: self.probed, since: now });
        (Verdict::Pass(Pass { epoch: self.epoch, probe: Some(self.probed) }), change)
    }

    /// Takes a pass back.
    pub fn settle(&mut self, pass: Pass, outcome: Outcome, rules: &Rules, now: u64) -> Option<Change> {
        let probe = self.probes.iter().position(|probe| Some(probe.number) == pass.probe);
        if let Some(place) = probe {
            self.probes.swap_remove(place);
        }
        if pass.epoch != self.epoch || self.forced.is_some() {
            return None;
        }
        match self.state {
            State::Open { .. } => None,
            State::Closed => self.count(outcome, rules, now).map(|why| self.open(rules, now, why)),
            State::HalfOpen { .. } if probe.is_none() => None,
            State::HalfOpen { successes } => self.judge(outcome, successes, rules, now),
        }
    }

    /// What the outcome of a probe means.
    fn judge(&mut self, outcome: Outcome, successes: u32, rules: &Rules, now: u64) -> Option<Change> {
        let slow_counts = rules.rates.is_some_and(|rates| rates.slow.is_some());
        match outcome {
            Outcome::Nothing => None,
            Outcome::Success { slow } if !(slow && slow_counts) => {
                let successes = successes + 1;
                self.state = State::HalfOpen { successes };
                (successes >= rules.successes).then(|| self.close(now, "probes succeeded"))
            }
            Outcome::Success { .. } => Some(self.reopen(rules, now, "a probe was slow")),
            Outcome::Failure => Some(self.reopen(rules, now, "a probe failed")),
        }
    }

    /// A success turns out to be none, because the rest of the response did not come. It counts as if that had been
    /// known before: a probe opens it again, even one that has closed it.
    pub fn take_back(&mut self, receipt: Receipt, rules: &Rules, now: u64) -> Option<Change> {
        let Receipt { pass, run } = receipt;
        let of_now = pass.epoch == self.epoch;
        let has_closed = pass.probe.is_some() && pass.epoch + 1 == self.epoch;
        match self.state {
            _ if self.forced.is_some() => None,
            State::HalfOpen { .. } if of_now => Some(self.reopen(rules, now, "a probe broke off")),
            State::Closed if has_closed => Some(self.reopen(rules, now, "a probe broke off")),
            State::Closed if of_now => {
                self.run = self.run.max(run).saturating_add(1);
                let sums = self.window_of(rules).map(|window| window.amend(now));
                self.too_much(rules, sums, (true, false)).map(|why| self.open(rules, now, why))
            }
            _ => None,
        }
    }

    /// Notes an outcome while closed; why it is too much, if it is.
    fn count(&mut self, outcome: Outcome, rules: &Rules, now: u64) -> Option<&'static str> {
        let (failed, slow) = match outcome {
            Outcome::Nothing => return None,
            Outcome::Failure => (true, false),
            Outcome::Success { slow } => (false, slow),
        };
        self.run = if failed { self.run.saturating_add(1) } else { 0 };
        let sums = self.window_of(rules).map(|window| window.add(failed, slow, now));
        self.too_much(rules, sums, (failed, slow))
    }

    /// The window that the rules ask for, if they do.
    fn window_of(&mut self, rules: &Rules) -> Option<&mut Window> {
        let Some(rates) = rules.rates else {
            self.window = None;
            return None;
        };
        match &mut self.window {
            Some(window) if window.is_for(rates.window) => {}
            other => *other = Some(Window::new(rates.window)),
        }
        self.window.as_mut()
    }

    /// Why it is time to open after an outcome that `failed` or was `slow`, if it is; the window holds `sums` then.
    fn too_much(
        &self,
        rules: &Rules,
        sums: Option<Sums>,
        (failed, slow): (bool, bool),
    ) -> Option<&'static str> {
        if rules.consecutive.is_some_and(|most| self.run >= most) {
            return Some("failures in a row");
        }
        let (rates, sums) = (rules.rates?, sums?);
        let reached = |count: u32, share: Option<f64>| {
            share.is_some_and(|share| f64::from(count) >= share * f64::from(sums.total))
        };
        if sums.total < rates.minimum.max(1) {
            None
        } else if failed && reached(sums.failed, rates.failures) {
            Some("share of failures")
        } else if slow && reached(sums.slow, rates.slow) {
            Some("share of slow responses")
        } else {
            None
        }
    }

    /// Follows an operator's wish; without one, begins anew, closed.
    pub fn force(&mut self, wish: Option<Forced>, now: u64) -> Option<Change> {
        let from = self.phase();
        match wish {
            Some(_) => {
                self.forced = wish;
                self.enter(now);
            }
            None if self.forced.is_none() => return None,
            None => {
                self.forced = None;
                self.close(now, "");
            }
        }
        Some(Change { from, to: self.phase(), why: "by hand" })
    }

    /// What there is to see at `now`.
    pub fn view(&self, now: u64) -> View {
        let opens_in = match &self.state {
            State::Open { since, for_ms } => (since + for_ms).saturating_sub(now),
            _ => 0,
        };
        View {
            phase: self.phase(),
            forced: self.forced,
            since: self.since,
            opens_in: if self.forced.is_some() { 0 } else { opens_in },
            run: self.run,
            sums: self.window.as_ref().map_or_else(Sums::default, |window| window.sums(now)),
            probes: self.probes.len(),
        }
    }

    fn phase(&self) -> Phase {
        match (&self.state, self.forced) {
            (_, Some(Forced::Open)) | (State::Open { .. }, None) => Phase::Open,
            (_, Some(Forced::Closed)) | (State::Closed, None) => Phase::Closed,
            (State::HalfOpen { .. }, None) => Phase::HalfOpen,
        }
    }

    /// A new state: passes of the one before settle nothing any more.
    fn enter(&mut self, now: u64) {
        self.epoch += 1;
        self.since = now;
    }

    fn open(&mut self, rules: &Rules, now: u64, why: &'static str) -> Change {
        let from = self.phase();
        let exponent = i32::try_from(self.reopened).unwrap_or(i32::MAX);
        let grown = rules.open_ms as f64 * rules.growth.powi(exponent);
        let for_ms = (grown.min(rules.most_open_ms as f64) as u64).max(1);
        self.state = State::Open { since: now, for_ms };
        self.enter(now);
        Change { from, to: Phase::Open, why }
    }

    fn reopen(&mut self, rules: &Rules, now: u64, why: &'static str) -> Change {
        self.reopened = self.reopened.saturating_add(1);
        self.open(rules, now, why)
    }

    fn half_open(&mut self, now: u64) -> Change {
        self.state = State::HalfOpen { successes: 0 };
        self.enter(now);
        Change { from: Phase::Open, to: Phase::HalfOpen, why: "its time is over" }
    }

    fn close(&mut self, now: u64, why: &'static str) -> Change {
        let from = self.phase();
        self.state = State::Closed;
        (self.run, self.reopened, self.window) = (0, 0, None);
        self.enter(now);
        Change { from, to: Phase::Closed, why }
    }
}

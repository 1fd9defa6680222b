//! Finds out how many requests a service bears at once, from how long its responses take. Pure: times come in as numbers.
//!
//! Over a window of responses, the number shrinks in proportion as they take longer than they would alone (the base), and
//! grows by its square root while it is used up. What the base is cannot be learnt from a service that is always busy: an
//! average over any time would take the overload for normal in the end. So, while responses take longer than the base,
//! the number is lowered now and then for the time of one window, to what the service should just bear without a queue if
//! the base is right. A queue is gone then, at no loss, since the service is still busy; a service that has become slower
//! stays as slow, and that is its new base. Either way the base is measured where nobody waits, and a base that is too
//! high comes out lower each time.

/// A window lasts this long at least, in microseconds,
const WINDOW: u64 = 500_000;
/// and holds so many responses at least,
const RESPONSES: u32 = 20;
/// but waits for them no longer than for so many times its length.
const PATIENCE: u64 = 10;
/// Responses over which the base is measured.
const MEASURED: u32 = 40;
/// The number that it begins with, unless that is out of its bounds.
const FIRST: f64 = 20.0;
/// Responses that take longer than this many times the base are slow.
const SLOW: f64 = 1.25;
/// Windows with slow responses after which the base is measured.
const SLOW_WINDOWS: u32 = 20;
/// The part of what a service should just bear that is left to it while the base is measured.
const EASE: f64 = 0.8;
/// A response counts as one that took no longer than this many times the base: a few that take for ever say nothing.
const LONGEST: f64 = 10.0;
/// What is left of the number at least after one window.
const STEEPEST: f64 = 0.5;

/// Within which bounds the number moves, and how it reacts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rules {
    /// The least.
    pub least: usize,
    /// The most.
    pub most: usize,
    /// How many times the base responses may take before the number shrinks.
    pub tolerance: f64,
}

/// The number, and what is known about the service.
#[derive(Debug)]
pub struct Adaptive {
    rules: Rules,
    limit: f64,
    /// Microseconds that a response takes when nobody waits for others.
    base: Option<f64>,
    window: Window,
    slow_windows: u32,
    easing: Option<Easing>,
    /// Changes when the base begins to be measured: earlier requests say nothing about it.
    era: u32,
}

/// The responses of late.
#[derive(Debug, Default)]
struct Window {
    since: Option<u64>,
    responses: u32,
    /// Microseconds, all together.
    took: f64,
    /// Requests at once, at most.
    peak: usize,
}

/// The base is being measured.
#[derive(Debug, Clone, Copy)]
struct Easing {
    /// The number before.
    before: f64,
    /// How long responses took then.
    took: f64,
}

impl Adaptive {
    /// Nothing is known yet.
    pub fn new(rules: Rules) -> Self {
        let limit = rules.clamp(FIRST);
        let (window, easing) = (Window::default(), None);
        Self { rules, limit, base: None, window, slow_windows: 0, easing, era: 0 }
    }

    /// Requests that may run at once.
    pub fn limit(&self) -> usize {
        self.limit as usize
    }

    /// A request begins, as one of `running`; its sample is to be entered with what is returned.
    pub fn begin(&mut self, running: usize) -> u32 {
        self.window.peak = self.window.peak.max(running);
        self.era
    }

    /// Enters that a response took so many microseconds, at `now`, the request having begun in `era`.
    pub fn enter(&mut self, era: u32, micros: u64, now: u64) {
        if self.easing.is_some() && era != self.era {
            return;
        }
        let since = *self.window.since.get_or_insert(now);
        self.window.responses += 1;
        let longest = self.base.map_or(f64::MAX, |base| LONGEST * base);
        self.window.took += (micros.max(1) as f64).min(longest);
        let took = self.window.took / f64::from(self.window.responses);
        let slowest = self.easing.map_or(took, |easing| easing.took.max(took));
        let length = WINDOW.max((2.0 * slowest) as u64);
        let elapsed = now.saturating_sub(since);
        let enough = if self.easing.is_some() { MEASURED } else { RESPONSES };
        if elapsed < length || (self.window.responses < enough && elapsed < length * PATIENCE) {
            return;
        }
        let peak = std::mem::take(&mut self.window).peak;
        match self.easing.take() {
            Some(easing) => {
                self.base = Some(took);
                self.limit = self.rules.clamp(easing.before);
            }
            None => self.adjust(took, peak),
        }
    }

    fn adjust(&mut self, took: f64, peak: usize) {
        let base = self.base.map_or(took, |base| if took < base { (base + took) / 2.0 } else { base });
        self.base = Some(base);
        let slow = took > SLOW * base;
        self.slow_windows = if slow { self.slow_windows + 1 } else { 0 };
        if self.slow_windows >= SLOW_WINDOWS {
            return self.ease(took, self.limit.min(peak as f64) * base / took);
        }
        let gradient = (self.rules.tolerance * base / took).clamp(STEEPEST, 1.0);
        let next = self.limit * gradient + self.limit.sqrt();
        // Nothing is known about more than there has been.
        let used_up = peak >= self.limit as usize;
        if used_up || next < self.limit {
            self.limit = self.rules.clamp(next);
        }
    }

    /// Begins to measure the base with a part of `bears` requests at once.
    fn ease(&mut self, took: f64, bears: f64) {
        self.slow_windows = 0;
        self.era = self.era.wrapping_add(1);
        let before = std::mem::replace(&mut self.limit, self.rules.clamp(EASE * bears));
        self.easing = Some(Easing { before, took });
    }
}

impl Rules {
    fn clamp(&self, limit: f64) -> f64 {
        limit.clamp(self.least as f64, self.most.max(self.least) as f64)
    }
}

//! A request on its way through a breaker: what it may, and what is learnt of it.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use plugin::clock::Clock;
use plugin::exchange::{Exchange, Record};
use plugin::guard::{Guard, Instead, Nowhere};
use plugin::{Access, HeaderFilter};

use super::breaker::{Breaker, Receipt};
use super::machine::{Outcome, Pass, Verdict};
use super::stored::{Keeping, Key};
use super::{Inner, Per};

/// What is remembered of a request. Whatever becomes of it, its passes are given back.
pub struct Through {
    room: Arc<Inner>,
    clock: Clock,
    /// Where its response is kept, should it be a good one; where one is looked for, should it not get through.
    pub key: Cell<Option<Key>>,
    /// The response that is being kept.
    pub keeping: Cell<Option<Keeping>>,
    /// Milliseconds after which it is worth trying again.
    wait: Cell<u64>,
    passes: RefCell<[Option<Taken>; 2]>,
}

/// A pass for a try; two where a second one runs beside it.
struct Taken {
    breaker: Arc<Breaker>,
    /// The place of the try among those of the request.
    place: usize,
    /// When it began, where it matters how long it takes.
    since: Option<Instant>,
    standing: Standing,
}

enum Standing {
    /// Nothing is known yet.
    Open(Pass),
    /// The head of the response was a good one.
    Answered(Receipt),
}

impl Through {
    /// A request that has not been sent.
    pub fn new(room: Arc<Inner>, clock: Clock, key: Option<Key>) -> Self {
        let (keeping, wait, passes) = Default::default();
        Self { room, clock, key: Cell::new(key), keeping, wait, passes }
    }

    /// Settles what there is to settle now that the head of the response is known, or that there is none.
    pub fn settle(&self, cx: &HeaderFilter<'_>) -> Outcome {
        self.settle_failed(&cx.record);
        let now = self.clock.now_ms();
        let mut told = Outcome::Nothing;
        for place in self.passes.borrow_mut().iter_mut() {
            let Some(Taken { breaker, since, standing, .. }) = place else { continue };
            let Standing::Open(pass) = *standing else { continue };
            told = self.room.outcome(cx, *since);
            let receipt = breaker.settle(pass, told, &self.room.rules, now);
            match told {
                Outcome::Success { .. } => *standing = Standing::Answered(receipt),
                Outcome::Failure | Outcome::Nothing => *place = None,
            }
        }
        told
    }

    /// Takes a success back: the rest of the response did not come.
    pub fn take_back(&self) {
        let now = self.clock.now_ms();
        for taken in self.passes.take().into_iter().flatten() {
            if let Standing::Answered(receipt) = taken.standing {
                taken.breaker.take_back(receipt, &self.room.rules, now);
            }
        }
    }

    /// Settles the tries that have failed, each with the breaker of its own target.
    fn settle_failed(&self, record: &Record) {
        if self.room.per != Per::Target {
            return;
        }
        for place in self.passes.borrow_mut().iter_mut() {
            let Some(Taken { breaker, place: number, standing: Standing::Open(pass), .. }) = place else {
                continue;
            };
            let failed = record.tries.get(*number).filter(|attempt| attempt.trouble.is_some());
            if let Some(attempt) = failed {
                let outcome = self.room.outcome_of(attempt);
                breaker.settle(*pass, outcome, &self.room.rules, self.clock.now_ms());
                *place = None;
            }
        }
    }

    /// Settles what came of the tries, after which there was nobody left to ask.
    fn settle_last(&self, record: &Record) {
        if self.room.per == Per::Target {
            return self.settle_failed(record);
        }
        let outcome = record.tries.last().map_or(Outcome::Nothing, |attempt| self.room.outcome_of(attempt));
        for taken in self.passes.take().into_iter().flatten() {
            if let Standing::Open(pass) = taken.standing {
                taken.breaker.settle(pass, outcome, &self.room.rules, self.clock.now_ms());
            }
        }
    }

    fn has_pass_of(&self, breaker: &Arc<Breaker>) -> bool {
        self.passes
            .borrow()
            .iter()
            .flatten()
            .any(|taken| matches!(taken.standing, Standing::Open(_)) && Arc::ptr_eq(&taken.breaker, breaker))
    }

    /// Whether `breaker` would let it through; notes for how long not.
    fn would_pass(&self, breaker: &Arc<Breaker>) -> bool {
        if self.has_pass_of(breaker) {
            return true;
        }
        let wait = breaker.look(&self.room.rules, self.clock.now_ms());
        if let Some(wait) = wait {
            self.note_wait(wait);
        }
        wait.is_none()
    }

    fn note_wait(&self, wait: u64) {
        let known = Some(self.wait.get()).filter(|known| *known > 0);
        self.wait.set(known.map_or(wait, |known| known.min(wait)));
    }
}

impl Guard for Through {
    fn is_open(&self, exchange: &Exchange) -> bool {
        let now = self.clock.now_ms();
        self.room.breaker(exchange, None, now).is_none_or(|breaker| self.would_pass(&breaker))
    }

    fn allows(&self, exchange: &Exchange, target: SocketAddr) -> bool {
        self.settle_failed(&exchange.record);
        let now = self.clock.now_ms();
        self.room.breaker(exchange, Some(target), now).is_none_or(|breaker| self.would_pass(&breaker))
    }

    fn enter(&self, exchange: &Exchange, target: SocketAddr) -> bool {
        let now = self.clock.now_ms();
        let Some(breaker) = self.room.breaker(exchange, Some(target), now) else { return true };
        let place = exchange.record.tries.len();
        let mut passes = self.passes.borrow_mut();
        // One pass for the whole request, or one that a try has left behind which does not count.
        if passes.iter().flatten().any(|taken| Arc::ptr_eq(&taken.breaker, &breaker)) {
            return true;
        }
        // Of a try that has been forgotten.
        for lost in passes.iter_mut().filter(|one| one.as_ref().is_some_and(|taken| taken.place >= place)) {
            if let Some(Taken { breaker, standing: Standing::Open(pass), .. }) = lost.take() {
                breaker.settle(pass, Outcome::Nothing, &self.room.rules, now);
            }
        }
        let pass = match breaker.admit(&self.room.rules, now) {
            Verdict::Pass(pass) => pass,
            Verdict::Refused(wait) => {
                self.note_wait(wait);
                return false;
            }
        };
        let since = self.room.times_tries.then(|| tokio::time::Instant::now().into_std());
        let taken = Taken { breaker, place, since, standing: Standing::Open(pass) };
        let free = passes.iter().position(Option::is_none).unwrap_or(0);
        if let Some(Taken { breaker, standing: Standing::Open(pass), .. }) = passes[free].replace(taken) {
            breaker.settle(pass, Outcome::Nothing, &self.room.rules, now);
        }
        true
    }

    fn stand_in(&self, cx: &mut Access<'_>, why: Nowhere) -> Option<Instead> {
        self.settle_last(&cx.record);
        let (key, now) = (self.key.take(), self.clock.now_ms());
        match why {
            Nowhere::Barred => Some(self.room.stand_in(cx, key.as_ref(), self.wait.get(), now)),
            Nowhere::NoTarget => self.room.fall_back(cx, key.as_ref(), b"no-target", now),
            Nowhere::NoConnection => self.room.fall_back(cx, key.as_ref(), b"no-connection", now),
            Nowhere::Unreachable => self.room.fall_back(cx, key.as_ref(), b"unreachable", now),
        }
    }
}

impl Drop for Through {
    fn drop(&mut self) {
        let now = self.clock.now_ms();
        for taken in self.passes.take().into_iter().flatten() {
            if let Standing::Open(pass) = taken.standing {
                taken.breaker.settle(pass, Outcome::Nothing, &self.room.rules, now);
            }
        }
    }
}

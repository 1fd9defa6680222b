//! Telling what is left of limits, as they would decide about the caller's next request, without counting one.

use std::sync::Arc;

use super::caller::{Caller, Target};
use super::cell::Pending;
use super::decide::Limited;
use super::ledger::Question;
use super::limit::{Limit, Span};
use super::limiter::{FailureMode, Limiter};
use super::{Algorithm, Verdict};
use crate::views::Access;

/// Limits that can be told.
pub trait Readable: Send + Sync {
    /// The limits.
    fn limiter(&self) -> &Limiter;
    /// Whose requests are counted together.
    fn caller(&self) -> &Caller;
    /// What is limited, where the instance limits several things by name.
    fn name(&self) -> Option<&str> {
        None
    }
    /// Whether the shared store is asked before requests are decided about by what is known here.
    fn learns(&self) -> bool {
        false
    }
}

impl<R: Limited> Readable for R {
    fn limiter(&self) -> &Limiter {
        Limited::limiter(self)
    }

    fn caller(&self) -> &Caller {
        Limited::caller(self)
    }
}

/// How a caller stands with a limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The time that the limit is given for.
    pub span: Span,
    /// The limit as configured.
    pub limit: Box<[u8]>,
    /// Requests that may come at once, where they are to come as an even stream.
    pub burst: Option<u32>,
    /// What is left of it, if that can be told.
    pub left: Option<Left>,
}

/// What is left of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    /// Requests.
    pub remaining: u32,
    /// Seconds until all of the limit is there again.
    pub reset: u64,
    /// Seconds until a request has room; 0 if it has.
    pub retry_after: u64,
}

/// A question about the limits of an instance, or about those of one of its names.
pub struct Inquiry {
    limits: Arc<dyn Readable>,
    /// None where who is counted together depends on what is not known.
    question: Option<Question>,
    now_ms: u64,
}

impl Inquiry {
    /// Asks what `limits` would find for a request like this one to `target`.
    #[must_use]
    pub fn new(limits: Arc<dyn Readable>, cx: &Access<'_>, target: &Target<'_>) -> Self {
        let (limiter, now_ms) = (limits.limiter(), cx.record.started_ms);
        let question = limits.caller().is_told_by(target).then(|| {
            let (key, identifier) =
                limits.caller().identify_at(cx, target, |who| (limiter.key(who), who.text()));
            Question { identifier, key, windows: limiter.windows(now_ms), now_ms }
        });
        Self { limits, question, now_ms }
    }

    /// Whether it depends on where a request goes, which nobody has said.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.question.is_none()
    }

    /// What is limited, where the instance limits several things by name.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.limits.name()
    }

    /// Finds out, by the shared store where that decides. `worker` is the one that serves the request.
    pub async fn standings(&self, worker: usize) -> Vec<Standing> {
        let limits = self.limits.limiter().limits().iter();
        let Some(question) = &self.question else {
            return limits.map(|limit| standing(limit, None)).collect();
        };
        let verdict = self.look(worker, question).await;
        let left = |index, limit: &Limit, verdict: &Verdict| {
            let (window, now_ms) = (question.windows[index], self.now_ms);
            Left {
                remaining: limit.remaining(verdict, index, window, now_ms),
                reset: limit.reset(verdict, index, window, now_ms),
                retry_after: limit.wait_ms(verdict, index, window, now_ms).div_ceil(1000),
            }
        };
        let told = |(index, limit): (usize, &Limit)| {
            standing(limit, verdict.as_ref().map(|verdict| left(index, limit, verdict)))
        };
        limits.enumerate().map(told).collect()
    }

    /// What a request would find; none if that is not known.
    async fn look(&self, worker: usize, question: &Question) -> Option<Verdict> {
        let limiter = self.limits.limiter();
        let here = || limiter.look(question.key, &question.windows, question.now_ms);
        if self.limits.learns() {
            let known = !limiter.is_silent() && limiter.learn(worker, question).await.is_ok();
            return (known || limiter.on_failure() == Some(FailureMode::Local)).then(here);
        }
        let Some(shared) = limiter.shared().filter(|shared| shared.batches.is_none()) else {
            return Some(here());
        };
        let nothing =
            question.windows.map(|window| Pending { ordinal: window.ordinal, ..Pending::default() });
        let told = match shared.ledger.is_silent() {
            true => None,
            false => shared.ledger.add(worker, limiter.limits(), question, &nothing).await.ok(),
        };
        match told {
            Some(counts) => Some(limiter.read(question, &counts)),
            None if shared.on_failure == FailureMode::Local => Some(here()),
            None => None,
        }
    }
}

impl Limiter {
    /// What the store has told, two numbers a limit, as a verdict.
    fn read(&self, question: &Question, counts: &[(u64, u64)]) -> Verdict {
        let narrow = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        let mut verdict = Verdict::default();
        let demands = self.demands(&question.windows, question.now_ms);
        for (index, (limit, (count, previous))) in self.limits().iter().zip(counts).enumerate() {
            (verdict.count[index], verdict.more[index]) = match limit.algorithm {
                Algorithm::Smooth { .. } => limit.smooth_reading(*count, &demands[index]),
                _ => (narrow(*count), narrow(*previous)),
            };
        }
        verdict
    }
}

fn standing(limit: &Limit, left: Option<Left>) -> Standing {
    let burst = match limit.algorithm {
        Algorithm::Smooth { burst } => Some(burst),
        _ => None,
    };
    Standing { span: limit.span, limit: limit.text.clone(), burst, left }
}

//! The way of a request through a limiter: here, or to the shared store and back.

use std::sync::Arc;

use super::caller::Caller;
use super::ledger::Question;
use super::limiter::Limiter;
use super::window::Window;
use super::{MOST_LIMITS, Verdict};
use crate::flow::{Flow, Resume};
use crate::views::Access;

/// A room that limits rates.
pub trait Limited: Send + Sync + 'static {
    /// Its limits.
    fn limiter(&self) -> &Limiter;
    /// Whose requests are counted together.
    fn caller(&self) -> &Caller;
    /// What follows from a decision.
    fn conclude(self: &Arc<Self>, cx: &mut Access<'_>, decision: &Decision) -> Flow;
}

/// What was decided, and when.
pub struct Decision {
    /// What became of the request.
    pub verdict: Verdict,
    /// The windows it was counted in.
    pub windows: [Window; MOST_LIMITS],
    /// Milliseconds since 1970.
    pub now_ms: u64,
}

/// Decides about a request by the time it came in.
pub fn decide<R: Limited>(room: &Arc<R>, cx: &mut Access<'_>) -> Flow {
    decide_at(room, cx, cx.record.started_ms)
}

/// Decides about a request that has waited, by the time it is now.
pub fn decide_again<R: Limited>(room: &Arc<R>, cx: &mut Access<'_>) -> Flow {
    decide_at(room, cx, cx.worker.services.clock.now_ms())
}

fn decide_at<R: Limited>(room: &Arc<R>, cx: &mut Access<'_>, now_ms: u64) -> Flow {
    let limiter = room.limiter();
    let windows = limiter.windows(now_ms);
    let Some(shared) = limiter.shared().filter(|shared| shared.batches.is_none()) else {
        let worker = cx.worker.index;
        let verdict = room.caller().identify(cx, |who| limiter.spend(worker, who, &windows, now_ms, 1));
        return room.conclude(cx, &Decision { verdict, windows, now_ms });
    };
    let (key, identifier) = room.caller().identify(cx, |who| (limiter.key(who), who.text()));
    let question = Question { identifier, key, windows, now_ms };
    if shared.ledger.is_silent() {
        return without_store(room, cx, &question);
    }
    let (room, worker) = (room.clone(), cx.worker.index);
    Flow::wait(async move {
        let outcome = room.limiter().count_there(worker, &question).await;
        let resume: Resume = Box::new(move |cx| match outcome {
            Ok(verdict) => {
                let (windows, now_ms) = (question.windows, question.now_ms);
                room.conclude(cx, &Decision { verdict, windows, now_ms })
            }
            Err(_) => without_store(&room, cx, &question),
        });
        resume
    })
}

/// The declared failure mode takes over.
fn without_store<R: Limited>(room: &Arc<R>, cx: &mut Access<'_>, question: &Question) -> Flow {
    let (windows, now_ms) = (question.windows, question.now_ms);
    room.limiter().do_without_store(cx, |cx| {
        let verdict = room.limiter().count_here(question.key, &windows, now_ms);
        room.conclude(cx, &Decision { verdict, windows, now_ms })
    })
}

//! Failures that gateways count together, in Redis.
//!
//! What an attempt came to is told to Redis before the caller hears of it, in one script: those that come at the same time,
//! through whatever gateways, are ruled on one after the other. Redis counts by its own clock. Its keys hold digests, no names,
//! and end by themselves when what they count has faded.

use std::sync::Arc;

use super::{Attempt, LockedOut, Outcome};
use crate::limits::{Limit, Verdict};
use crate::redis::{Argument, Invocation, Script, Store, Unavailable};
use crate::remember::Digest;

static SETTLE: Script = Script::new(include_str!("settle.lua"));

/// Who counts, by digests.
pub(super) type Names = [Option<[u8; 16]>; 3];

/// The counts of those that have the same rules.
pub(super) struct Tally {
    store: Arc<Store>,
    scope: String,
}

/// What those that count are called by all gateways.
pub(super) fn names(counted: [Option<(u8, &[u8])>; 3]) -> Names {
    counted.map(|counted| {
        let (kind, of) = counted?;
        Digest::of([&[kind][..], of]).bytes().first_chunk().copied()
    })
}

impl Tally {
    pub(super) fn new(store: Arc<Store>, scope: String) -> Self {
        Self { store, scope }
    }

    pub(super) fn is_silent(&self) -> bool {
        self.store.is_silent()
    }

    /// Counts what an attempt came to, if the caller may hear of it; without an outcome, whether one may be looked for.
    pub(super) async fn ask(
        &self,
        worker: usize,
        limits: [&Limit; 3],
        attempt: &Attempt,
        outcome: Option<Outcome>,
    ) -> Result<Result<(), LockedOut>, Unavailable> {
        let counted: Vec<_> = limits.into_iter().zip(attempt.names.iter().flatten()).collect();
        let what = match outcome {
            Some(Outcome::Wrong) => 1,
            Some(Outcome::Right) if attempt.clears => 2,
            _ => 0,
        };
        let arguments = [what, seconds(limits[0])].into_iter();
        let arguments = arguments.chain(counted.iter().map(|(limit, _)| i64::from(limit.admits)));
        let invocation = Invocation {
            script: &SETTLE,
            keys: counted.iter().map(|(_, name)| self.key(name)).collect(),
            arguments: arguments.map(Argument::Number).collect(),
        };
        let answer = self.store.run(worker, &invocation).await?;
        let [admitted, now_ms, numbers @ ..] = &*answer else { return Err(Unavailable) };
        match admitted {
            1 => Ok(Ok(())),
            _ => Ok(Err(locked_out(&counted, u64::try_from(*now_ms).unwrap_or(0), numbers))),
        }
    }

    fn key(&self, name: &[u8; 16]) -> Vec<u8> {
        // All in one slot of a cluster.
        format!("lockout:{{{}}}:{:032x}", self.scope, u128::from_be_bytes(*name)).into_bytes()
    }
}

/// How long until every count has room, by what Redis says of each.
fn locked_out(counted: &[(&Limit, &[u8; 16])], now_ms: u64, numbers: &[i64]) -> LockedOut {
    let waits = counted.iter().zip(numbers.chunks_exact(2)).map(|((limit, _), pair)| {
        let mut verdict = Verdict::default();
        let narrow = |number: i64| u32::try_from(number.max(0)).unwrap_or(u32::MAX);
        (verdict.count[0], verdict.more[0]) = (narrow(pair[0]), narrow(pair[1]));
        limit.wait_ms(&verdict, 0, limit.window(now_ms), now_ms)
    });
    LockedOut(waits.max().unwrap_or(0).div_ceil(1000).max(1))
}

fn seconds(limit: &Limit) -> i64 {
    match limit.span {
        crate::limits::Span::Seconds(seconds) => i64::from(seconds),
        crate::limits::Span::Calendar(_) => 1,
    }
}

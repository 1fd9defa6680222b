//! What stands between the attempts of a request: which target is next, and whether there may be another one.

use plugin::Exchange;
use tokio::time::Instant;

use super::attempt::Missed;
use crate::balance::{Peer, PickError};
use crate::respond::Failure;
use crate::session::Parts;
use crate::snapshot::Plan;

/// Chooses a target for the next attempt, not one that was tried if there is another, and enters it into the record.
pub fn pick(parts: &mut Parts<'_>, plan: &Plan) -> Result<Peer, Failure> {
    let record = &mut parts.work.exchange.record;
    let mut tried = smallvec::SmallVec::<[_; 8]>::new();
    tried.extend(record.tries.iter().map(|attempt| attempt.address));
    let picked = plan.balancer.pick(&tried).map_err(|error| match error {
        PickError::NoPeer => Failure::NoPeer,
        PickError::NameResolution => Failure::NameResolution,
    })?;
    let since = if tried.is_empty() { 0 } else { millis_since(record.started) };
    record.tries.push(plugin::exchange::Try {
        address: picked.address,
        started_ms: record.started_ms + since,
        balancer_us: 0,
        failed: None,
    });
    Ok(picked)
}

fn millis_since(start: std::time::Instant) -> u64 {
    let elapsed = Instant::now().into_std().saturating_duration_since(start);
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
}

/// Enters the failure of the last attempt into the record, if it was the upstream's.
pub fn mark_failed(exchange: &mut Exchange, failure: Failure) {
    if failure.is_from_upstream()
        && let Some(attempt) = exchange.record.tries.last_mut()
    {
        attempt.failed = Some(failure.status());
    }
}

/// Whether the request may be sent once more: no answer came and it has not been sent, or sending it twice does no
/// harm; and its body is still at hand (RFC 9110 9.2.2, kong.md 5.3). An upstream that has had the request and stays
/// silent is not asked again: it is at work, and each further try would cost the client the same wait.
pub fn may_repeat(parts: &Parts<'_>, missed: &Missed) -> bool {
    let unanswered = match missed.failure {
        Failure::ConnectRefused | Failure::UpstreamClosed => true,
        Failure::UpstreamTimeout => missed.unsent,
        _ => false,
    };
    let exchange = &parts.work.exchange;
    let method = exchange.upstream_method();
    let body_at_hand = exchange.body.is_some() || parts.work.upload.is_whole();
    unanswered && body_at_hand && (missed.unsent || method.is_idempotent())
}

//! What stands between the attempts of a request: which target is next, and whether there may be another one.

use plugin::Exchange;
use plugin::exchange::Trouble;
use tokio::time::Instant;

use super::attempt::{Message, Missed, Upstream, attempt};
use super::destination::Destination;
use crate::balance::{Peer, PickError};
use crate::request_body;
use crate::respond::Failure;
use crate::session::Parts;
use crate::snapshot::{CompiledRoute, Plan};

/// One attempt, at a target of its own. With `fresh`, on a new connection in any case.
pub async fn one(
    parts: &mut Parts<'_>,
    route: &CompiledRoute,
    plan: &Plan,
    fresh: bool,
) -> Result<Upstream, Missed> {
    let peer = pick(parts, plan).map_err(|failure| Missed { failure, unsent: true, stale: false })?;
    let body = request_body::framing(parts);
    let preserve_host = route.matched.route.preserve_host;
    let destination = Destination::new(peer.address, plan.announcing, &parts.work.exchange.client);
    let message = Message { plan, peer: &peer, destination, preserve_host, body, fresh };
    attempt(parts, &message).await
}

/// Chooses a target for the next attempt, not one that was tried if there is another, and enters it into the record.
fn pick(parts: &mut Parts<'_>, plan: &Plan) -> Result<Peer, Failure> {
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
        trouble: None,
    });
    Ok(picked)
}

fn millis_since(start: std::time::Instant) -> u64 {
    let elapsed = Instant::now().into_std().saturating_duration_since(start);
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
}

/// Enters the failure of the last attempt into the record, if it was the upstream's.
pub fn mark_failed(exchange: &mut Exchange, missed: &Missed) {
    let trouble = match missed.failure {
        Failure::ConnectRefused => Trouble::Unreachable,
        Failure::UpstreamTimeout if missed.unsent => Trouble::Unreachable,
        Failure::UpstreamTimeout => Trouble::Timeout,
        Failure::UpstreamClosed => Trouble::Reset,
        Failure::UpstreamMalformed { .. } => Trouble::Malformed,
        _ => return,
    };
    mark(exchange, missed.failure.status(), trouble);
}

/// Enters why the last attempt is not the one that counts.
pub fn mark(exchange: &mut Exchange, status: u16, trouble: Trouble) {
    if let Some(attempt) = exchange.record.tries.last_mut() {
        attempt.failed = Some(status);
        attempt.trouble = Some(trouble);
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
    let harmless = missed.unsent || parts.work.exchange.upstream_method().is_idempotent();
    unanswered && harmless && body_at_hand(parts)
}

/// Whether the whole request body can be sent once more.
pub fn body_at_hand(parts: &Parts<'_>) -> bool {
    parts.work.exchange.body.is_some() || parts.work.upload.is_whole()
}

//! What stands between the attempts of a request: which target is next, and whether there may be another one.

use plugin::Exchange;
use tokio::time::Instant;

use super::attempt::Missed;
use crate::balance::{Asker, InFlight, Outcome, Peer, PickError, Picked, Trouble};
use crate::respond::Failure;
use crate::session::Parts;
use crate::snapshot::Plan;

/// Chooses a target for the next attempt, not one that was tried if there is another, and enters it into the record.
/// The request counts among those of the target until the next attempt, or until its end.
pub fn pick(parts: &mut Parts<'_>, plan: &Plan) -> Result<Peer, Failure> {
    parts.work.in_flight = InFlight::default();
    let work = &mut *parts.work;
    let mut tried = smallvec::SmallVec::<[_; 8]>::new();
    tried.extend(work.exchange.record.tries.iter().map(|attempt| attempt.address));
    let asker = Asker { client: work.exchange.client.ip, exchange: Some(&work.exchange) };
    let picked = plan.balancer.pick(&tried, &asker, &mut work.set_cookie);
    let Picked { peer, mut in_flight } = picked.map_err(|error| match error {
        PickError::NoPeer => Failure::NoPeer,
        PickError::NameResolution => Failure::NameResolution,
    })?;
    let record = &mut work.exchange.record;
    let since = if tried.is_empty() { 0 } else { millis_since(record.started) };
    record.tries.push(plugin::exchange::Try {
        address: peer.address,
        started_ms: record.started_ms + since,
        balancer_us: 0,
        failed: None,
    });
    if work.upload.is_awaiting_client() {
        in_flight.await_client();
    }
    work.in_flight = in_flight;
    Ok(peer)
}

fn millis_since(start: std::time::Instant) -> u64 {
    let elapsed = Instant::now().into_std().saturating_duration_since(start);
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
}

/// Tells the target of its response, whose head is in the exchange.
pub fn mark_answered(parts: &Parts<'_>) {
    let Exchange { response, record, .. } = &parts.work.exchange;
    let answered = || record.upstream_answered.map_or_else(Instant::now, Instant::from_std);
    parts.work.in_flight.report(Outcome::Responded(response.status), answered);
}

/// Enters the failure of the last attempt into the record and tells the target, if it was the upstream's.
pub fn mark_failed(parts: &mut Parts<'_>, failure: Failure) {
    let in_flight = std::mem::take(&mut parts.work.in_flight);
    if failure.is_from_upstream()
        && let Some(attempt) = parts.work.exchange.record.tries.last_mut()
    {
        attempt.failed = Some(failure.status());
        let trouble = match failure {
            Failure::ConnectRefused => Trouble::Unreachable,
            Failure::UpstreamTimeout => Trouble::Late,
            _ => Trouble::Broken,
        };
        in_flight.report(Outcome::Failed(trouble), Instant::now);
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

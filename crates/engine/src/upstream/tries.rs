//! What stands between the attempts of a request: which target is next, and whether there may be another one.

use plugin::Exchange;
use plugin::exchange::Trouble;
use tokio::time::Instant;

use super::attempt::{Message, Missed, Upstream, attempt};
use super::destination::Destination;
use crate::balance::{self, Asker, InFlight, Outcome, Peer, PickError, Picked};
use crate::request_body;
use crate::respond::Failure;
use crate::session::{Parts, Workspace};
use crate::snapshot::{CompiledRoute, Plan};

/// One attempt, at a target of its own. With `fresh`, on a new connection in any case.
pub async fn one(
    parts: &mut Parts<'_>,
    route: &CompiledRoute,
    plan: &Plan,
    fresh: bool,
) -> Result<Upstream, Missed> {
    let peer = pick(parts, plan).map_err(|failure| Missed { failure, unsent: true, stale: false })?;
    let upstream = at(parts, route, plan, (&peer, fresh)).await?;
    mark_answered(parts);
    Ok(upstream)
}

/// Asks a target that has been picked.
pub(super) async fn at(
    parts: &mut Parts<'_>,
    route: &CompiledRoute,
    plan: &Plan,
    (peer, fresh): (&Peer, bool),
) -> Result<Upstream, Missed> {
    let body = request_body::framing(parts);
    let preserve_host = route.preserve_host;
    let destination = Destination::new(peer.address, plan.announcing, &parts.work.exchange.client);
    let destination = destination.through(peer.gate.clone());
    attempt(parts, &Message { plan, peer, destination, preserve_host, body, fresh }).await
}

/// Chooses a target for the next attempt, not one that was tried if there is another, and enters it into the record.
/// The request counts among those of the target until the next attempt, or until its end.
pub(super) fn pick(parts: &mut Parts<'_>, plan: &Plan) -> Result<Peer, Failure> {
    let work = &mut *parts.work;
    work.in_flight = InFlight::default();
    let mut tried = smallvec::SmallVec::<[_; 8]>::new();
    tried.extend(work.exchange.record.tries.iter().map(|attempt| attempt.address));
    let asker = Asker { client: work.exchange.client.ip, exchange: Some(&work.exchange) };
    let picked = plan.balancer.pick(&tried, &asker, &mut work.set_cookie);
    let Picked { peer, mut in_flight } = picked.map_err(|error| match error {
        PickError::NoPeer => Failure::NoPeer,
        PickError::NameResolution => Failure::NameResolution,
        PickError::Barred => Failure::Barred,
    })?;
    let record = &mut work.exchange.record;
    let since = if tried.is_empty() { 0 } else { millis_since(record.started) };
    record.tries.push(plugin::exchange::Try {
        address: peer.address,
        started_ms: record.started_ms + since,
        balancer_us: 0,
        failed: None,
        trouble: None,
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
pub(super) fn mark_answered(parts: &Parts<'_>) {
    let Exchange { response, record, .. } = &parts.work.exchange;
    let answered = || record.upstream_answered.map_or_else(Instant::now, Instant::from_std);
    parts.work.in_flight.answered(response.status, answered);
}

/// The target's work is over: its response has ended, or is not waited for. That the client may still be taking it is no
/// work of the target's.
pub fn mark_ended(parts: &mut Parts<'_>) {
    parts.work.in_flight = InFlight::default();
    parts.work.exchange.end_response();
}

/// Enters that a response broke off after its head, if that was the failure, and tells the target. To the target silence
/// is no sign of trouble: streams of events may have nothing to tell.
pub fn mark_broken(parts: &mut Parts<'_>, failure: Failure) {
    let trouble = match failure {
        Failure::UpstreamClosed => Trouble::Reset,
        Failure::UpstreamMalformed { .. } => Trouble::Malformed,
        Failure::UpstreamTimeout => Trouble::Timeout,
        _ => return,
    };
    parts.work.exchange.record.broken = Some(trouble);
    if trouble != Trouble::Timeout {
        parts.work.in_flight.broke_off();
    }
}

/// Takes back an attempt on a connection of the pool that had died unnoticed: that was none at all.
pub fn take_back(parts: &mut Parts<'_>) {
    parts.work.upload.rewind();
    parts.work.exchange.record.tries.pop();
}

/// Enters the failure of the last attempt into the record and tells the target, if it was the upstream's.
pub fn mark_failed(parts: &mut Parts<'_>, missed: &Missed) {
    fail(parts.work, missed);
}

/// The same, where only the memory of the request is at hand.
pub(super) fn fail(work: &mut Workspace, missed: &Missed) {
    let in_flight = std::mem::take(&mut work.in_flight);
    let (trouble, of_target) = match missed.failure {
        Failure::ConnectRefused => (Trouble::Unreachable, balance::Trouble::Unreachable),
        Failure::ConnectTimeout => (Trouble::Unreachable, balance::Trouble::Late),
        Failure::UpstreamTimeout => (Trouble::Timeout, balance::Trouble::Late),
        Failure::UpstreamClosed => (Trouble::Reset, balance::Trouble::Broken),
        Failure::UpstreamMalformed { .. } => (Trouble::Malformed, balance::Trouble::Broken),
        _ => return,
    };
    in_flight.report(Outcome::Failed(of_target), Instant::now);
    mark(&mut work.exchange, missed.failure.status(), trouble);
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
    let unanswered = matches!(
        missed.failure,
        Failure::ConnectRefused
            | Failure::ConnectTimeout
            | Failure::UpstreamClosed
            | Failure::NoConnection { waited: false }
    );
    let harmless = missed.unsent || parts.work.exchange.upstream_method().is_idempotent();
    unanswered && harmless && body_at_hand(parts)
}

/// Whether the whole request body can be sent once more.
pub fn body_at_hand(parts: &Parts<'_>) -> bool {
    parts.work.exchange.body.is_some() || parts.work.upload.is_whole()
}

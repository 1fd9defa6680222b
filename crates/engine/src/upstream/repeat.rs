//! Sends a request again as a plugin's policy says: after which troubles and responses, how fast, how often, and within
//! what its service bears. Requests without a policy never come here.

use std::time::Duration;

use plugin::exchange::Trouble;
use plugin::repeat::Policy;
use tokio::time::{Instant, timeout_at};

use super::attempt::{Missed, Upstream};
use super::{hedge, tries};
use crate::balance::InFlight;
use crate::channel::Fault;
use crate::protocol::call_timeout;
use crate::respond::Failure;
use crate::session::Parts;
use crate::snapshot::{CompiledRoute, Plan};

/// Asks targets until one answers as it should, or nothing is left to try with: attempts, time or budget. What came last
/// is what the client gets.
pub async fn proxy(
    parts: &mut Parts<'_>,
    route: &CompiledRoute,
    plan: &Plan,
    policy: &Policy,
) -> Result<Upstream, Failure> {
    let until = policy.deadline.map(|limit| Instant::now() + limit);
    let mut repeats = 0;
    let mut fresh = false;
    loop {
        pass_on_deadline(parts, policy, until, plan.calls);
        let tried = within(parts, route, plan, policy, until, fresh).await;
        let wait = match tried {
            Ok(upstream) => {
                let wait =
                    if is_unwelcome(parts, policy) { next(parts, policy, until, repeats) } else { None };
                let Some(wait) = wait else { return Ok(upstream) };
                discard(parts, upstream);
                wait
            }
            Err(missed) => {
                // A connection of the pool that had died was no try, whatever the policy says of those.
                if missed.stale && !fresh && is_harmless(parts, policy, &missed) {
                    fresh = true;
                    tries::take_back(parts);
                    continue;
                }
                tries::mark_failed(parts, &missed);
                let wait = if may_repeat(parts, policy, &missed) {
                    next(parts, policy, until, repeats)
                } else {
                    None
                };
                wait.ok_or(missed.failure)?
            }
        };
        parts.work.upload.rewind();
        pause(parts, wait).await?;
        repeats += 1;
    }
}

/// One try, no longer than a try may take nor beyond the deadline.
async fn within(
    parts: &mut Parts<'_>,
    route: &CompiledRoute,
    plan: &Plan,
    policy: &Policy,
    until: Option<Instant>,
    fresh: bool,
) -> Result<Upstream, Missed> {
    let per_try = policy.per_try.filter(|_| tries::body_at_hand(parts)).map(|limit| Instant::now() + limit);
    let limit = per_try.into_iter().chain(until).min();
    if policy.hedge.is_some() {
        // Apart, so that requests without a second try stay small.
        return until_at_most(limit, Box::pin(hedge::one(parts, route, plan, policy, fresh))).await;
    }
    until_at_most(limit, tries::one(parts, route, plan, fresh)).await
}

async fn until_at_most(
    limit: Option<Instant>,
    trying: impl Future<Output = Result<Upstream, Missed>>,
) -> Result<Upstream, Missed> {
    let Some(limit) = limit else { return trying.await };
    let too_late = Missed { failure: Failure::UpstreamTimeout, unsent: false, stale: false };
    timeout_at(limit, trying).await.unwrap_or(Err(too_late))
}

/// Tells the upstream how much time is left.
fn pass_on_deadline(parts: &mut Parts<'_>, policy: &Policy, until: Option<Instant>, call: bool) {
    let Some(until) = until else { return };
    let left = until.saturating_duration_since(Instant::now());
    let headers = &mut parts.work.exchange.request.headers;
    let mut number = itoa::Buffer::new();
    if let Some(field) = &policy.deadline_field {
        headers.set(field, number.format(left.as_millis().max(1)).as_bytes());
    }
    if call && let Some(lowered) = lowered(call_timeout(headers), left) {
        headers.set("grpc-timeout", lowered.as_bytes());
    }
}

/// The `grpc-timeout` of a call that has no more time than is left; none if it wants no more. It has eight digits at most,
/// so what is longer than a day and some hours is lowered to that.
fn lowered(wanted: Option<Duration>, left: Duration) -> Option<String> {
    let lower = wanted.is_none_or(|wanted| wanted > left);
    lower.then(|| format!("{}m", left.as_millis().clamp(1, 99_999_999)))
}

fn is_unwelcome(parts: &Parts<'_>, policy: &Policy) -> bool {
    let exchange = &parts.work.exchange;
    policy.on_statuses.binary_search(&exchange.response.status).is_ok()
        && policy.allows(exchange.upstream_method())
        && tries::body_at_hand(parts)
}

/// Whether the policy lets the request be sent again after such a failure.
fn may_repeat(parts: &Parts<'_>, policy: &Policy, missed: &Missed) -> bool {
    let wanted = match missed.failure {
        Failure::ConnectRefused | Failure::ConnectTimeout | Failure::NoConnection { waited: false } => {
            policy.on_unreachable
        }
        Failure::UpstreamTimeout => policy.on_timeout,
        Failure::UpstreamClosed => policy.on_reset,
        _ => false,
    };
    let harmless = missed.unsent || policy.allows(parts.work.exchange.upstream_method());
    wanted && harmless && tries::body_at_hand(parts)
}

/// Whether it does no harm to send the request once more, as the gateway or the policy sees it, and it can be.
fn is_harmless(parts: &Parts<'_>, policy: &Policy, missed: &Missed) -> bool {
    let method = parts.work.exchange.upstream_method();
    (missed.unsent || method.is_idempotent() || policy.allows(method)) && tries::body_at_hand(parts)
}

/// How long to wait before the next try; none if there is to be none.
fn next(parts: &Parts<'_>, policy: &Policy, until: Option<Instant>, repeats: u32) -> Option<Duration> {
    if repeats >= policy.repeats {
        return None;
    }
    let worker = &parts.local.worker;
    let wait = policy.backoff.wait(repeats, worker.random());
    let in_time = until.is_none_or(|until| Instant::now() + wait < until);
    (in_time && policy.budget.take(worker.services.clock.now_ms())).then_some(wait)
}

/// Waits before the next try, as long as the client is there.
async fn pause(parts: &mut Parts<'_>, wait: Duration) -> Result<(), Failure> {
    if wait.is_zero() {
        return Ok(());
    }
    let Parts { channel, work, .. } = parts;
    match channel.within(&work.upload, wait, std::future::pending::<()>()).await {
        Err(Fault::Closed) => Err(Failure::ClientGone),
        Ok(()) | Err(Fault::Timeout) => Ok(()),
    }
}

/// Lets go of a response that is not passed on. Its connection serves again if the rest of it is at hand already.
fn discard(parts: &mut Parts<'_>, mut upstream: Upstream) {
    parts.work.in_flight = InFlight::default();
    let exchange = &mut parts.work.exchange;
    tries::mark(exchange, exchange.response.status, Trouble::Unwelcome);
    exchange.record.upstream_answered = None;
    let complete = upstream.skip(exchange.response.framing);
    let Upstream { stream, destination, requests, reusable, .. } = upstream;
    if complete && reusable && parts.work.upload.is_done() {
        parts.local.pool.put(destination, stream, requests, Instant::now().into_std());
    }
}

#[cfg(test)]
mod tests {
    use super::lowered;
    use std::time::Duration;

    #[test]
    fn a_call_gets_no_more_time_than_is_left() {
        let [one, two] = [1, 2].map(Duration::from_secs);
        assert_eq!(lowered(Some(two), one).as_deref(), Some("1000m"));
        assert_eq!(lowered(None, two).as_deref(), Some("2000m"));
        assert_eq!(lowered(Some(one), two), None);
        assert_eq!(lowered(None, Duration::ZERO).as_deref(), Some("1m"), "it is no time, but a number");
        assert_eq!(lowered(None, Duration::MAX).as_deref(), Some("99999999m"));
    }
}

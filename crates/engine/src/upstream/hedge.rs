//! A second try beside the first: when no response has begun for longer than others take, another target is asked as well.
//! Whoever begins to answer first is the one; the other try is given up, and its connection closed.
//!
//! The second try has memory and a client of its own, which stays and says nothing. Its copy of the request is made
//! before the first try begins, since that holds the request as long as it runs. Only requests whose policy wants it
//! come here.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use plugin::exchange::Trouble;
use plugin::repeat::Policy;
use tokio::io::BufReader;
use tokio::time::{Instant, timeout};

use super::attempt::{Missed, Upstream};
use super::tries;
use crate::balance::{InFlight, Peer};
use crate::channel::{Channel, Fault};
use crate::respond::Failure;
use crate::session::{Local, Parts, Workspace};
use crate::snapshot::{CompiledRoute, Plan, Timeouts};
use crate::transport::Stream;

/// Bytes of interim responses that may come to a second try; nobody reads them.
const INTERIM: usize = 16 << 10;
/// The status that stands in the record for a try that was given up.
const GIVEN_UP: u16 = 499;

/// What all tries of a request have in common.
#[derive(Clone, Copy)]
struct Asked<'a> {
    route: &'a CompiledRoute,
    plan: &'a Plan,
}

/// The second try.
struct Second {
    work: Box<Workspace>,
    /// Tries in the record before it.
    before: usize,
}

/// One try or, if its response does not begin soon, two at different targets.
pub async fn one(
    parts: &mut Parts<'_>,
    route: &CompiledRoute,
    plan: &Plan,
    policy: &Policy,
    fresh: bool,
) -> Result<Upstream, Missed> {
    let delay = policy.hedge.as_ref().filter(|_| may_hedge(parts, plan, policy)).map(|hedge| hedge.delay());
    let Some(delay) = delay else { return tries::one(parts, route, plan, fresh).await };
    let peer = tries::pick(parts, plan).map_err(|failure| Missed { failure, unsent: true, stale: false })?;
    let began = Instant::now();
    let mut second = delay.map(|_| Second::new(parts));
    let asked = Asked { route, plan };
    let outcome = match (delay, &mut second) {
        (Some(delay), Some(second)) => race(parts, asked, policy, (&peer, fresh), (second, delay)).await,
        _ => tries::at(parts, route, plan, (&peer, fresh)).await,
    };
    if let (Some(hedge), Ok(_)) = (&policy.hedge, &outcome) {
        hedge.note(began.elapsed(), parts.local.worker.services.clock.now_ms());
    }
    if let Some(second) = second {
        second.end(parts);
    }
    if outcome.is_ok() {
        tries::mark_answered(parts);
    }
    outcome
}

/// Whether it does no harm to send the request twice at once.
fn may_hedge(parts: &Parts<'_>, plan: &Plan, policy: &Policy) -> bool {
    let exchange = &parts.work.exchange;
    let at_hand = exchange.body.is_some() || parts.work.upload.is_done();
    at_hand && !plan.calls && exchange.request.upgrade.is_none() && policy.allows(exchange.upstream_method())
}

/// Waits for the first try, and after `delay` for a second one beside it.
async fn race(
    parts: &mut Parts<'_>,
    asked: Asked<'_>,
    policy: &Policy,
    (peer, fresh): (&Peer, bool),
    (second, delay): (&mut Second, Duration),
) -> Result<Upstream, Missed> {
    let (mut of_first, mut of_second) = (None, None);
    {
        let mut beside = pin!(second_at(parts.local, &mut second.work, asked, policy));
        {
            let budget = &parts.local.worker.services.clock;
            let mut first = pin!(tries::at(parts, asked.route, asked.plan, (peer, fresh)));
            if let Ok(outcome) = timeout(delay, first.as_mut()).await {
                return outcome;
            }
            if !policy.budget.take(budget.now_ms()) {
                return first.await;
            }
            poll_fn(|cx| {
                if let Poll::Ready(outcome) = first.as_mut().poll(cx) {
                    of_first = Some(outcome);
                } else if let Poll::Ready(outcome) = beside.as_mut().poll(cx) {
                    of_second = Some(outcome);
                }
                if of_first.is_some() || of_second.is_some() { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
            if matches!(of_second, Some(Err(_))) {
                of_first = Some(first.await);
            }
        }
        if let (Some(Err(missed)), None) = (&of_first, &of_second)
            && is_of_upstream(missed)
        {
            of_second = Some(alone(parts, beside).await);
        }
    }
    second.decide(parts, policy, of_first, of_second)
}

/// Waits for the second try, as long as the client is there: the first one, which knew, is over.
async fn alone(
    parts: &mut Parts<'_>,
    second: Pin<&mut impl Future<Output = Result<Upstream, Missed>>>,
) -> Result<Upstream, Missed> {
    let Timeouts { connect, write, read } = parts.work.timeouts;
    let limit = connect.saturating_add(write).saturating_add(read);
    let missed = |failure| Missed { failure, unsent: false, stale: false };
    match parts.channel.within(&parts.work.upload, limit, second).await {
        Ok(outcome) => outcome,
        Err(Fault::Timeout) => Err(missed(Failure::UpstreamTimeout)),
        Err(Fault::Closed) => Err(missed(Failure::ClientGone)),
    }
}

/// The second try: at another target, or not at all.
async fn second_at(
    local: &Rc<Local>,
    work: &mut Workspace,
    asked: Asked<'_>,
    policy: &Policy,
) -> Result<Upstream, Missed> {
    let (near, _client) = tokio::io::duplex(INTERIM);
    let mut channel = Channel::new(Stream::Memory(BufReader::new(near)), local.buffers.clone());
    let parts = &mut Parts { local, channel: &mut channel, work };
    let nowhere = |failure| Missed { failure, unsent: true, stale: false };
    let tried = parts.work.exchange.record.tries.clone();
    let peer = tries::pick(parts, asked.plan).map_err(nowhere)?;
    if tried.iter().any(|attempt| attempt.address == peer.address) {
        parts.work.exchange.record.tries.truncate(tried.len());
        return Err(nowhere(Failure::NoPeer));
    }
    if let Some(hedge) = &policy.hedge {
        hedge.begun.add(1);
    }
    tries::at(parts, asked.route, asked.plan, (&peer, false)).await
}

fn is_of_upstream(missed: &Missed) -> bool {
    matches!(
        missed.failure,
        Failure::ConnectRefused
            | Failure::ConnectTimeout
            | Failure::UpstreamTimeout
            | Failure::UpstreamClosed
            | Failure::UpstreamMalformed { .. }
    )
}

impl Second {
    /// A copy of the request, whose first target has been picked.
    fn new(parts: &Parts<'_>) -> Self {
        let mut work = parts.local.lend(&parts.work.exchange.client);
        let (from, to) = (&parts.work.exchange, &mut work.exchange);
        to.request.clone_from(&from.request);
        to.begin(from.record.started);
        to.enter_chain(0);
        to.scheme = from.scheme;
        to.normalized_path.clone_from(&from.normalized_path);
        to.request_id = from.request_id;
        to.matched.clone_from(&from.matched);
        to.upstream.clone_from(&from.upstream);
        to.detour.clone_from(&from.detour);
        to.guard.clone_from(&from.guard);
        to.identity.caller.clone_from(&from.identity.caller);
        to.body.clone_from(&from.body);
        to.record.tries.clone_from(&from.record.tries);
        work.timeouts = parts.work.timeouts;
        work.upload.finish();
        Self { before: from.record.tries.len(), work }
    }

    /// Whose response it is, given what has come of both; none is one that still runs, and is given up.
    fn decide(
        &mut self,
        parts: &mut Parts<'_>,
        policy: &Policy,
        of_first: Option<Result<Upstream, Missed>>,
        of_second: Option<Result<Upstream, Missed>>,
    ) -> Result<Upstream, Missed> {
        if let Some(Err(missed)) = &of_second {
            tries::fail(&mut self.work, missed);
        }
        match (of_first, of_second) {
            (first, Some(Ok(upstream))) => {
                match first {
                    Some(Err(missed)) => tries::mark_failed(parts, &missed),
                    _ => give_up(parts.work),
                }
                if let Some(hedge) = &policy.hedge {
                    hedge.won.add(1);
                }
                self.take_over(parts.work);
                Ok(upstream)
            }
            (Some(outcome), second) => {
                if second.is_none() {
                    give_up(&mut self.work);
                }
                let began = &self.work.exchange.record.tries[self.before..];
                parts.work.exchange.record.tries.extend_from_slice(began);
                outcome
            }
            (None, Some(Err(missed))) => Err(missed),
            (None, None) => Err(Missed { failure: Failure::UpstreamTimeout, unsent: false, stale: false }),
        }
    }

    /// The response of the second try is that of the request.
    fn take_over(&mut self, work: &mut Workspace) {
        let (to, from) = (&mut work.exchange, &mut self.work.exchange);
        std::mem::swap(&mut to.response, &mut from.response);
        to.record.tries.extend_from_slice(&from.record.tries[self.before..]);
        to.record.upstream_answered = from.record.upstream_answered;
        work.in_flight = std::mem::take(&mut self.work.in_flight);
        std::mem::swap(&mut work.set_cookie, &mut self.work.set_cookie);
        self.work.upload.received = work.upload.received;
        std::mem::swap(&mut work.upload, &mut self.work.upload);
    }

    fn end(mut self, parts: &Parts<'_>) {
        self.work.in_flight = InFlight::default();
        self.work.set_cookie.clear();
        parts.local.take_back(self.work);
    }
}

/// Enters that the last try was given up. That says nothing about its target.
fn give_up(work: &mut Workspace) {
    work.in_flight = InFlight::default();
    tries::mark(&mut work.exchange, GIVEN_UP, Trouble::Superseded);
}

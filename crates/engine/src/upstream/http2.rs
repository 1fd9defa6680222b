//! One attempt to get a response head out of a target that speaks HTTP/2.

use std::io;
use std::time::Duration;

use h2::Reason;
use http::Uri;
use http::header::CONTENT_LENGTH;
use http::uri::{Authority, PathAndQuery};
use tokio::time::Instant;
use wire::{BodyLength, h2 as messages};

use super::attempt::{Message, Missed, Upstream, write_host};
use super::connect;
use super::pair::Pair;
use super::reach::complain;
use crate::forward;
use crate::http2::call::Call;
use crate::http2::pool::Slot;
use crate::protocol::call_timeout;
use crate::respond::Failure;
use crate::session::Parts;
use crate::transport::{Fault, Input, Stream};

/// Sends the request and waits for the response head, which it leaves in the exchange.
pub async fn attempt(parts: &mut Parts<'_>, message: &Message<'_>) -> Result<Upstream, Missed> {
    let (slot, shared) = connect(parts, message).await?;
    let unsent = |failure| Missed { failure, unsent: true, stale: shared };
    let request =
        request(parts, message).ok_or_else(|| unsent(Failure::UpstreamMalformed { rule: UNSENDABLE }))?;
    let ended = matches!(message.body, BodyLength::None | BodyLength::Exact(0));
    let call = Call::begin(slot, request, ended).map_err(|_| unsent(Failure::UpstreamClosed))?;
    if let Some(body) = &parts.work.exchange.body {
        parts.work.upload.resend(body);
    }
    let mut upstream = Upstream {
        stream: Stream::Call(Box::new(call)),
        input: Input::new(parts.local.buffers.clone()),
        address: message.peer.address,
        requests: 1,
        reusable: false,
        write_timeout: message.plan.write_timeout,
    };
    let deadline = call_timeout(&parts.work.exchange.request.headers);
    let limit =
        deadline.map_or(message.plan.read_timeout, |deadline| deadline.min(message.plan.read_timeout));
    receive_head(parts, &mut upstream, limit).await?;
    Ok(upstream)
}

const UNSENDABLE: &str = "the request cannot be sent over HTTP/2";

/// A connection with room for another stream, and whether others use it too.
async fn connect(parts: &mut Parts<'_>, message: &Message<'_>) -> Result<(Slot, bool), Missed> {
    let address = message.peer.address;
    parts.work.exchange.record.upstream_started.get_or_insert_with(|| Instant::now().into_std());
    write_host(parts, message);
    let refused = Missed { failure: Failure::ConnectRefused, unsent: true, stale: false };
    let trust = message.plan.trust.as_ref();
    let wanted = trust.map(|trust| trust.wanted(&parts.work.scratch).ok_or(refused)).transpose()?;
    let (dial, pool) = (&*parts.local.dial, &parts.local.http2_pool);
    if !message.fresh
        && let Some(slot) = pool.find(address, wanted.as_ref())
    {
        return Ok((slot, true));
    }
    let opening = async {
        let stream = connect::open(dial, address, wanted).await?;
        let identity = wanted.map(|wanted| wanted.identity());
        pool.open(address, identity, stream).await.map_err(io::Error::other)
    };
    match parts.channel.within(&parts.work.upload, message.plan.connect_timeout, opening).await {
        Ok(Ok(slot)) => Ok((slot, false)),
        Ok(Err(reason)) => {
            if trust.is_some() {
                complain(parts, message, &reason);
            }
            Err(refused)
        }
        Err(Fault::Timeout) => Err(Missed { failure: Failure::UpstreamTimeout, ..refused }),
        Err(Fault::Closed) => Err(Missed { failure: Failure::ClientGone, ..refused }),
    }
}

/// The request head: the same fields that HTTP/1.1 would carry (kong.md 3.5).
fn request(parts: &mut Parts<'_>, message: &Message<'_>) -> Option<http::Request<()>> {
    let work = &mut *parts.work;
    let authority = Authority::try_from(work.scratch.as_slice()).ok()?;
    let exchange = &work.exchange;
    let mut target = exchange.upstream.path.clone();
    if exchange.upstream.has_query {
        target.push(b'?');
        target.extend_from_slice(&exchange.upstream.query);
    }
    let target = PathAndQuery::try_from(target.as_slice()).ok()?;
    let scheme = message.plan.scheme.as_str();
    let uri = Uri::builder().scheme(scheme).authority(authority).path_and_query(target).build().ok()?;
    let mut lines = Vec::new();
    forward::write_fields(exchange, &parts.local.settings, &mut lines);
    let mut request = messages::request(exchange.upstream_method(), uri, &lines)?;
    if let BodyLength::Exact(length) = message.body {
        request.headers_mut().insert(CONTENT_LENGTH, length.into());
    }
    Some(request)
}

async fn receive_head(parts: &mut Parts<'_>, upstream: &mut Upstream, limit: Duration) -> Result<(), Missed> {
    let mut pair = Pair::new(parts.channel, upstream, &mut parts.work.upload, parts.local);
    let (head, ended) = pair.read_http2_head(limit).await?;
    let exchange = &mut parts.work.exchange;
    let limits = &parts.local.settings.response_limits;
    messages::response_head(&head, ended, limits, &mut exchange.response).map_err(|reject| {
        let failure = Failure::UpstreamMalformed { rule: reject.reason };
        Missed { failure, unsent: false, stale: false }
    })?;
    exchange.record.upstream_answered = Some(Instant::now().into_std());
    Ok(())
}

/// What a failed stream means for the request: one that was refused, or cut off by a connection that takes no more,
/// has not been looked at (RFC 9113 6.8, 8.7).
pub fn missed(error: &h2::Error) -> Missed {
    let refused = error.reason() == Some(Reason::REFUSED_STREAM);
    let unsent = refused || (error.is_go_away() && error.reason() == Some(Reason::NO_ERROR));
    Missed { failure: Failure::UpstreamClosed, unsent, stale: unsent }
}

//! One attempt to get a response head out of a target that speaks HTTP/2, or may do so.

use std::cell::Cell;
use std::io;
use std::time::Duration;

use h2::Reason;
use http::Uri;
use http::header::CONTENT_LENGTH;
use http::response::Parts as Head;
use http::uri::{Authority, PathAndQuery};
use plugin::Exchange;
use tokio::time::Instant;
use wire::{BodyLength, Upgrade, h2 as messages};

use super::attempt::{MAX_INTERIM, Message, Missed, TOO_MANY_INTERIM, Upstream};
use super::attempt::{NO_SERVER_NAME, over_http1, pass_interim, unsendable, write_host};
use super::connect;
use super::gate::Seat;
use super::pair::{Arrived, Pair};
use super::pool::Reused;
use super::queue::{self, Admitted};
use super::reach::complain;
use crate::channel::Fault;
use crate::forward;
use crate::http2::call::Call;
use crate::http2::opening::{Ending, Opener, Turn};
use crate::http2::pool::Slot;
use crate::protocol::call_timeout;
use crate::respond::Failure;
use crate::session::{Local, Parts};
use crate::snapshot::Versions;
use crate::tls::Wanted;
use crate::transport::Stream;
use crate::upload::Framing;

/// Sends the request and waits for the response head, which it leaves in the exchange. Connections of one service may
/// differ in what they speak, and so in how a body that is sent again has to be framed.
pub async fn attempt(parts: &mut Parts<'_>, message: &Message<'_>) -> Result<Upstream, Missed> {
    let now = Instant::now();
    parts.work.exchange.record.upstream_started.get_or_insert(now.into_std());
    write_host(parts, message);
    match connect(parts, message, now).await? {
        Connection::Http2(slot, shared) => {
            parts.work.upload.frame(Framing::Stream);
            over_http2(parts, message, slot, shared).await
        }
        Connection::Http1(stream, requests) => {
            parts.work.upload.frame(Framing::Chunks);
            let mut upstream = Upstream::new(parts, message, stream, requests);
            over_http1(parts, message, &mut upstream, (requests > 1).then_some(now)).await?;
            Ok(upstream)
        }
    }
}

async fn over_http2(
    parts: &mut Parts<'_>,
    message: &Message<'_>,
    slot: Slot,
    shared: Shared,
) -> Result<Upstream, Missed> {
    let unsent = |failure| Missed { failure, unsent: true, stale: shared == Shared::Yes };
    let request = request(parts, message)?;
    let ended = matches!(message.body, BodyLength::None | BodyLength::Exact(0));
    let call = Call::begin(slot, request, ended).map_err(|_| unsent(Failure::UpstreamClosed))?;
    if let Some(body) = &parts.work.exchange.body {
        parts.work.upload.resend(body);
    }
    let mut upstream = Upstream::new(parts, message, Stream::Call(Box::new(call)), 1);
    upstream.reusable = false;
    let limit = parts.work.timeouts.read;
    let deadline = call_timeout(&parts.work.exchange.request.headers);
    let wait = match deadline.filter(|deadline| message.plan.calls && *deadline < limit) {
        Some(deadline) => (deadline, Failure::CallTimeout),
        None => (limit, Failure::UpstreamTimeout),
    };
    if let Err(missed) = receive_head(parts, &mut upstream, wait, shared).await {
        doubt(&upstream, missed.failure, wait.0);
        return Err(missed);
    }
    Ok(upstream)
}

/// A caller that gives its call less time than this says nothing of the connection.
const SILENCE: Duration = Duration::from_secs(1);

/// A call that got no answer in time may have been sent on a connection that is dead.
fn doubt(upstream: &Upstream, failure: Failure, waited: Duration) {
    let silent = match failure {
        Failure::UpstreamTimeout => true,
        Failure::CallTimeout => waited >= SILENCE,
        _ => false,
    };
    if silent && let Stream::Call(call) = &upstream.stream {
        call.doubt();
    }
}

/// A connection to send a request on.
enum Connection {
    /// Room for a stream.
    Http2(Slot, Shared),
    /// A connection of HTTP/1.1, and the number of the request that it will serve.
    Http1(Stream, u64),
}

/// Whether a connection was there before: it may have ended unnoticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shared {
    Yes,
    No,
}

/// A connection that can take the request: one that is open, or a new one, which speaks what the service chooses.
async fn connect(parts: &mut Parts<'_>, message: &Message<'_>, now: Instant) -> Result<Connection, Missed> {
    let refused = Missed { failure: Failure::ConnectRefused, unsent: true, stale: false };
    // There is no way to change the protocol of a connection that speaks HTTP/2.
    let upgrades = parts.work.exchange.request.upgrade == Some(Upgrade::WebSocket) && !message.plan.calls;
    let trust = message.plan.trust.as_ref();
    let no_name = || unsendable(parts, message, NO_SERVER_NAME);
    let wanted = trust.map(|trust| trust.wanted(&parts.work.scratch).ok_or_else(no_name)).transpose()?;
    let wanted = if upgrades { wanted.map(|wanted| wanted.over_http1()) } else { wanted };
    let need = Need { local: parts.local, message, wanted, upgrades, seat: Cell::default() };
    if let Some(gate) = &message.peer.gate {
        let of_worker = (gate, parts.local.worker.index);
        let look = || need.kept(Instant::now());
        let admitted = match queue::at_once(gate, look) {
            Some(admitted) => Ok(admitted),
            None => queue::in_line(parts.channel, &parts.work.upload, of_worker, look).await,
        };
        match admitted {
            Ok(Admitted::Found(connection)) => return Ok(connection),
            Ok(Admitted::Seat(seat)) => need.seat.set(Some(seat)),
            Err(failure) => return Err(Missed { failure, ..refused }),
        }
    }
    if let Some(connection) = need.kept(now) {
        return Ok(connection);
    }
    if need.wanted.is_some_and(|wanted| !wanted.is_possible()) {
        return Err(unsendable(parts, message, NO_SERVER_NAME));
    }
    match parts.channel.within(&parts.work.upload, parts.work.timeouts.connect, need.obtain()).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(reason)) => {
            complain(parts, message, &reason);
            Err(refused)
        }
        Err(Fault::Timeout) => Err(Missed { failure: Failure::ConnectTimeout, ..refused }),
        Err(Fault::Closed) => Err(Missed { failure: Failure::ClientGone, ..refused }),
    }
}

/// What a connection is needed for.
struct Need<'a> {
    local: &'a Local,
    message: &'a Message<'a>,
    wanted: Option<Wanted<'a>>,
    /// Only HTTP/1.1 is of use.
    upgrades: bool,
    /// The place of a connection that is opened for it, where these are bounded.
    seat: Cell<Option<Seat>>,
}

impl Need<'_> {
    /// A connection that is open.
    fn kept(&self, now: Instant) -> Option<Connection> {
        let Self { local, message: Message { destination, plan, fresh, .. }, wanted, upgrades, .. } = self;
        if *fresh {
            return None;
        }
        if !upgrades && let Some(slot) = local.http2_pool.find(destination, wanted.as_ref()) {
            return Some(Connection::Http2(slot, Shared::Yes));
        }
        if !upgrades && plan.versions != Versions::Negotiated {
            return None;
        }
        let Reused { stream, requests } = local.pool.take(destination, wanted.as_ref(), now.into_std())?;
        Some(Connection::Http1(stream, requests + 1))
    }

    /// A new connection: room on one that another request is opening, or one of its own.
    async fn obtain(&self) -> io::Result<Connection> {
        let pool = &self.local.http2_pool;
        let Message { destination, fresh, .. } = self.message;
        while !self.upgrades
            && let Some(turn) = pool.turn(destination, self.wanted.as_ref(), *fresh)
        {
            let opening = match turn {
                Turn::Lead(opener) => return self.open(Some(opener)).await,
                Turn::Follow(opening) => opening,
            };
            match opening.ending().await {
                Ending::Opened(lane) => match pool.join(lane) {
                    Some(slot) => return Ok(Connection::Http2(slot, Shared::No)),
                    None => break,
                },
                Ending::Http1 => break,
                Ending::Failed(kind) => return Err((*kind).into()),
                Ending::Abandoned => {}
            }
        }
        self.open(None).await
    }

    /// Opens a connection, for those who wait for `opener` too.
    async fn open(&self, opener: Option<Opener>) -> io::Result<Connection> {
        let Self { local, message: Message { destination, plan, .. }, wanted, upgrades, seat } = self;
        let end = |opener: Option<Opener>, ending| {
            if let Some(opener) = opener {
                opener.end(ending);
            }
        };
        let stream = match connect::open(&*local.dial, destination, *wanted).await {
            Ok(stream) => stream,
            Err(error) => {
                end(opener, Ending::Failed(error.kind()));
                return Err(error);
            }
        };
        let stream = match seat.take() {
            Some(seat) => stream.seated(seat),
            None => stream,
        };
        if *upgrades {
            return Ok(Connection::Http1(stream, 1));
        }
        if plan.versions == Versions::Negotiated && !stream.speaks_http2() {
            local.http2_pool.note_http1(destination);
            end(opener, Ending::Http1);
            return Ok(Connection::Http1(stream, 1));
        }
        let identity = wanted.map(|wanted| wanted.identity());
        let opened = local.http2_pool.open(destination, identity, stream, opener).await;
        opened.map(|slot| Connection::Http2(slot, Shared::No)).map_err(io::Error::other)
    }
}

/// The request head: the same fields that HTTP/1.1 would carry (kong.md 3.5).
fn request(parts: &mut Parts<'_>, message: &Message<'_>) -> Result<http::Request<()>, Missed> {
    let Ok(authority) = Authority::try_from(parts.work.scratch.as_slice()) else {
        return Err(unsendable(parts, message, "the host cannot be sent over HTTP/2"));
    };
    let exchange = &parts.work.exchange;
    let scheme = message.plan.scheme.as_str();
    let uri = Uri::builder().scheme(scheme).authority(authority);
    let uri = target(exchange).and_then(|target| uri.path_and_query(target).build().ok());
    let made = uri.and_then(|uri| {
        let mut lines = Vec::new();
        forward::write_fields(exchange, &parts.local.settings, &mut lines);
        messages::request(exchange.upstream_method(), uri, &lines)
    });
    let failure = Failure::Unsendable { rule: "the request cannot be sent over HTTP/2" };
    let mut request = made.ok_or(Missed { failure, unsent: true, stale: false })?;
    if let BodyLength::Exact(length) = message.body {
        request.headers_mut().insert(CONTENT_LENGTH, length.into());
    }
    Ok(request)
}

/// The target of the request: as it came, or escaped where it has bytes that HTTP/1.1 lets pass (RFC 3986 2.1).
fn target(exchange: &Exchange) -> Option<PathAndQuery> {
    let mut target = exchange.upstream.path.clone();
    if exchange.upstream.has_query {
        target.push(b'?');
        target.extend_from_slice(&exchange.upstream.query);
    }
    let escaped = || PathAndQuery::try_from(model::path::escape(&target, &mut Vec::new()));
    PathAndQuery::try_from(target.as_slice()).or_else(|_| escaped()).ok()
}

async fn receive_head(
    parts: &mut Parts<'_>,
    upstream: &mut Upstream,
    (limit, late): (Duration, Failure),
    shared: Shared,
) -> Result<(), Missed> {
    let failed = |failure| Missed { failure, unsent: false, stale: false };
    let mut interim = 0;
    loop {
        let mut pair = Pair::new(parts.channel, upstream, &mut parts.work.upload, parts.local);
        match pair.read_http2_head(limit, late).await.map_err(failed)? {
            Arrived::Interim(head) => {
                interim += 1;
                if interim > MAX_INTERIM {
                    return Err(failed(TOO_MANY_INTERIM));
                }
                take_head(parts, &head, true).map_err(failed)?;
                pass_interim(parts).await.map_err(failed)?;
            }
            Arrived::Final(head, ended) => {
                take_head(parts, &head, ended).map_err(failed)?;
                parts.work.exchange.record.upstream_answered = Some(Instant::now().into_std());
                return Ok(());
            }
            Arrived::Nothing(error) => return Err(missed(&error, shared)),
        }
    }
}

/// Takes a response head into the exchange.
fn take_head(parts: &mut Parts<'_>, head: &Head, ended: bool) -> Result<(), Failure> {
    if head.status == http::StatusCode::SWITCHING_PROTOCOLS {
        return Err(Failure::UpstreamMalformed { rule: "101 over HTTP/2 (RFC 9113 8.6)" });
    }
    let limits = &parts.local.settings.response_limits;
    messages::response_head(head, ended, limits, &mut parts.work.exchange.response)
        .map_err(|reject| Failure::UpstreamMalformed { rule: reject.reason })
}

/// What a failed stream means for the request: one that was refused, or cut off by a connection that takes no more,
/// has not been looked at (RFC 9113 6.8, 8.7). A connection that was there before may just have been found closed.
fn missed(error: &h2::Error, shared: Shared) -> Missed {
    let refused = error.reason() == Some(Reason::REFUSED_STREAM);
    let unsent = refused || (error.is_go_away() && error.reason() == Some(Reason::NO_ERROR));
    let stale = unsent || (shared == Shared::Yes && error.is_io());
    Missed { failure: Failure::UpstreamClosed, unsent, stale }
}

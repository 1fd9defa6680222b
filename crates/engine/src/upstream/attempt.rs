//! One attempt to get a response head out of one target.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use plugin::Exchange;
use tokio::io::AsyncWrite;
use tokio::time::Instant;
use wire::h1::{Parsed, encode, parse_response};
use wire::{BodyLength, Known, Upgrade, Version};

use crate::balance::Peer;
use crate::channel::{Fault, Input};
use crate::forward::{self, Outgoing};
use crate::respond::Failure;
use crate::session::Parts;
use crate::snapshot::{Plan, Versions};
use crate::transport::Stream;
use crate::upstream::destination::Destination;
use crate::upstream::gate::Gate;
use crate::upstream::http2;
use crate::upstream::pair::Pair;
use crate::upstream::pool::Reused;
use crate::upstream::queue::{self, Admitted};
use crate::upstream::reach::{Reached, complain, pooled, reach};

/// Bytes read from an upstream at first; more once a body turns out to be large.
pub const FIRST_READ: usize = 16 << 10;
/// A body up to this size is sent in one piece with the head.
const SMALL_BODY: usize = 4 << 10;
/// Interim responses an upstream may send before the final one.
pub const MAX_INTERIM: usize = 16;
/// What it is when there are more.
pub const TOO_MANY_INTERIM: Failure = Failure::UpstreamMalformed { rule: "too many interim responses" };

/// What a host is that a service under TLS cannot be asked for by.
pub const NO_SERVER_NAME: &str = "the host is no server name";

/// A connection to an upstream in use.
pub struct Upstream {
    /// The connection.
    pub stream: Stream,
    /// Bytes received and not yet consumed.
    pub input: Input,
    /// Where it leads.
    pub destination: Destination,
    /// Requests sent on it, this one included.
    pub requests: u64,
    /// It may serve another request, as far as is known.
    pub reusable: bool,
    /// Time between two writes to it.
    pub write_timeout: Duration,
}

impl Upstream {
    /// A connection that sends `message` as the request of that number.
    pub fn new(parts: &Parts<'_>, message: &Message<'_>, stream: Stream, requests: u64) -> Self {
        Self {
            stream,
            input: Input::new(parts.local.buffers.clone()),
            destination: message.destination.clone(),
            requests,
            reusable: true,
            write_timeout: parts.work.timeouts.write,
        }
    }

    /// Skips the body of a response that is not passed on, if all of it is at hand. Whether it was: to wait for a body nobody
    /// wants would cost more than a new connection.
    pub fn skip(&mut self, framing: BodyLength) -> bool {
        let unread = self.input.unread().len();
        let complete = match framing {
            BodyLength::None => unread == 0,
            BodyLength::Exact(length) => unread as u64 == length,
            _ => false,
        };
        if complete {
            self.input.consume(unread);
        }
        complete
    }
}

/// Why an attempt brought no response.
#[derive(Debug, Clone, Copy)]
pub struct Missed {
    /// The failure, should nobody try again.
    pub failure: Failure,
    /// The request cannot have reached the upstream.
    pub unsent: bool,
    /// A connection from the pool turned out to be closed.
    pub stale: bool,
}

/// What an attempt sends.
pub struct Message<'a> {
    /// The service's plan.
    pub plan: &'a Plan,
    /// The target.
    pub peer: &'a Peer,
    /// Where its connections lead.
    pub destination: Destination,
    /// Send the client's `Host`.
    pub preserve_host: bool,
    /// Framing of the body.
    pub body: BodyLength,
    /// Never take a connection from the pool.
    pub fresh: bool,
}

/// Sends the request and waits for the response head, which it leaves in the exchange.
pub async fn attempt(parts: &mut Parts<'_>, message: &Message<'_>) -> Result<Upstream, Missed> {
    if message.plan.versions != Versions::Http1 {
        // Apart, so that connections that speak HTTP/1.1 only stay small.
        return Box::pin(http2::attempt(parts, message)).await;
    }
    let now = Instant::now();
    parts.work.exchange.record.upstream_started.get_or_insert(now.into_std());
    write_host(parts, message);
    let (mut upstream, reused) = connect(parts, message, now).await?;
    over_http1(parts, message, &mut upstream, reused).await?;
    Ok(upstream)
}

/// Sends the request over HTTP/1.1 and waits for the response head. `reused` is when a connection from the pool was
/// taken: it was at hand at once, so there is no need to look at the clock again.
pub async fn over_http1(
    parts: &mut Parts<'_>,
    message: &Message<'_>,
    upstream: &mut Upstream,
    reused: Option<Instant>,
) -> Result<(), Missed> {
    write_message(parts, message);
    let limit = parts.work.timeouts.write;
    let sent = send(parts, upstream, limit).await;
    parts.local.buffers.give(std::mem::take(&mut parts.work.to_upstream));
    let (outcome, reached) = match sent {
        Ok(reached) => {
            let limit = parts.work.timeouts.read;
            (receive_head(parts, upstream, limit, reused).await, reached)
        }
        Err(failure) => (Err(failure), Arrival::Possible),
    };
    outcome.map(|()| upstream.reusable &= parts.work.exchange.response.keep_alive).map_err(|failure| {
        let silent = failure == Failure::UpstreamClosed && upstream.input.is_empty();
        Missed { failure, unsent: silent && reached == Arrival::None, stale: reused.is_some() && silent }
    })
}

/// A connection, and since when it was at hand if it is one that was kept.
async fn connect(
    parts: &mut Parts<'_>,
    message: &Message<'_>,
    now: Instant,
) -> Result<(Upstream, Option<Instant>), Missed> {
    let seat = match &message.peer.gate {
        Some(gate) => match admit(parts, message, gate).await? {
            Admitted::Found(Reused { stream, requests }) => {
                return Ok((Upstream::new(parts, message, stream, requests + 1), Some(Instant::now())));
            }
            Admitted::Seat(seat) => Some(seat),
        },
        None => None,
    };
    let reached = reach(parts.local, message, &parts.work.scratch, now);
    let opening = match reached.map_err(|_| unsendable(parts, message, NO_SERVER_NAME))? {
        Reached::Pooled(Reused { stream, requests }) => {
            return Ok((Upstream::new(parts, message, stream, requests + 1), Some(now)));
        }
        Reached::Opening(opening) => opening,
    };
    let opened = parts.channel.within(&parts.work.upload, parts.work.timeouts.connect, opening).await;
    let failure = match opened {
        Ok(Ok(stream)) => {
            let stream = match seat {
                Some(seat) => stream.seated(seat),
                None => stream,
            };
            return Ok((Upstream::new(parts, message, stream, 1), None));
        }
        Ok(Err(reason)) => {
            complain(parts, message, &reason);
            Failure::ConnectRefused
        }
        Err(Fault::Timeout) => Failure::ConnectTimeout,
        Err(Fault::Closed) => Failure::ClientGone,
    };
    Err(Missed { failure, unsent: true, stale: false })
}

/// A connection that is kept, or a place for a new one, where the upstream bounds how many there may be.
async fn admit(
    parts: &mut Parts<'_>,
    message: &Message<'_>,
    gate: &Arc<Gate>,
) -> Result<Admitted<Reused>, Missed> {
    let (local, host) = (parts.local, &parts.work.scratch);
    let look = || pooled(local, message, host, Instant::now()).ok().flatten();
    if let Some(admitted) = queue::at_once(gate, look) {
        return Ok(admitted);
    }
    // Apart, so that those who do not wait stay small.
    let of_worker = (gate, local.worker.index);
    let waiting = Box::pin(queue::in_line(parts.channel, &parts.work.upload, of_worker, look));
    waiting.await.map_err(|failure| Missed { failure, unsent: true, stale: false })
}

/// Puts the value of `Host` into the scratch memory; it is the server name of a TLS connection, too.
pub fn write_host(parts: &mut Parts<'_>, message: &Message<'_>) {
    let work = &mut *parts.work;
    work.scratch.clear();
    let target = (&**message.plan.balancer.host(message.peer), message.peer.address, message.plan.scheme);
    let host_header = message.plan.balancer.host_header();
    forward::write_host(&work.exchange, message.preserve_host, host_header, target, &mut work.scratch);
}

/// What it means that the host cannot be sent, or a service be asked for by it: the client has sent it, or it was made
/// here.
pub fn unsendable(parts: &Parts<'_>, message: &Message<'_>, rule: &'static str) -> Missed {
    let of_client = forward::passes_host(&parts.work.exchange, message.preserve_host);
    let failure = if of_client { Failure::malformed(400, rule) } else { Failure::Unsendable { rule } };
    Missed { failure, unsent: true, stale: false }
}

fn write_message(parts: &mut Parts<'_>, message: &Message<'_>) {
    let work = &mut *parts.work;
    let settings = &parts.local.settings;
    let outgoing = Outgoing { settings, host: &work.scratch, body: message.body };
    work.to_upstream = parts.local.buffers.take();
    forward::write_request_head(&work.exchange, &outgoing, &mut work.to_upstream);
    match &work.exchange.body {
        Some(body) if body.len() <= SMALL_BODY => {
            work.upload.finish();
            work.to_upstream.extend_from_slice(body);
        }
        // An upstream may answer while it reads: the rest of the way is the upload's.
        Some(body) => work.upload.resend(body),
        None => {}
    }
}

/// Whether any of a request can have reached its upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Arrival {
    Possible,
    /// The connection had ended before it took the first byte.
    None,
}

async fn send(parts: &mut Parts<'_>, upstream: &mut Upstream, limit: Duration) -> Result<Arrival, Failure> {
    let bytes = &parts.work.to_upstream;
    let mut written = 0;
    while written < bytes.len() {
        let write = poll_fn(|cx| Pin::new(&mut upstream.stream).poll_write(cx, &bytes[written..]));
        match parts.channel.timer.within(limit, write).await {
            Ok(Ok(count @ 1..)) => written += count,
            // It may have answered before it stopped reading; the read that follows finds out.
            Ok(Ok(0) | Err(_)) => {
                upstream.reusable = false;
                // What TLS does not say to have sent may have left as a part of what it was given.
                let nothing = written == 0 && !upstream.stream.is_tls();
                return Ok(if nothing { Arrival::None } else { Arrival::Possible });
            }
            Err(_) => return Err(Failure::UpstreamTimeout),
        }
    }
    Ok(Arrival::Possible)
}

async fn receive_head(
    parts: &mut Parts<'_>,
    upstream: &mut Upstream,
    limit: Duration,
    mut sent: Option<Instant>,
) -> Result<(), Failure> {
    let mut interim = 0;
    parts.work.exchange.response.clear();
    loop {
        let exchange = &mut parts.work.exchange;
        let method = exchange.upstream_method();
        let limits = &parts.local.settings.response_limits;
        match parse_response(upstream.input.unread(), &method, limits, &mut exchange.response) {
            Parsed::Complete { consumed } => {
                upstream.input.consume(consumed);
                if !is_interim(exchange.response.status) {
                    check_upgrade(exchange)?;
                    forward::drop_nominated(&mut exchange.response.headers)
                        .map_err(|_| Failure::UpstreamMalformed { rule: "too many options in Connection" })?;
                    exchange.record.upstream_answered = Some(Instant::now().into_std());
                    return Ok(());
                }
                interim += 1;
                if interim > MAX_INTERIM {
                    return Err(TOO_MANY_INTERIM);
                }
                pass_interim(parts).await?;
                parts.work.exchange.response.clear();
            }
            Parsed::Incomplete => {
                let mut pair = Pair::new(parts.channel, upstream, &mut parts.work.upload, parts.local);
                if pair.read_upstream(FIRST_READ, limit, sent.take()).await? == 0 {
                    return Err(Failure::UpstreamClosed);
                }
            }
            Parsed::Reject(reject) => return Err(Failure::UpstreamMalformed { rule: reject.reason }),
        }
    }
}

fn is_interim(status: u16) -> bool {
    (100..200).contains(&status) && status != 101
}

/// A change of protocols is one that was asked for, to the very protocol that was (RFC 9110 7.8).
fn check_upgrade(exchange: &Exchange) -> Result<(), Failure> {
    let response = &exchange.response;
    if response.status != 101 {
        return Ok(());
    }
    if exchange.request.upgrade != Some(Upgrade::WebSocket) {
        return Err(Failure::UpstreamMalformed { rule: "101 without a request to upgrade" });
    }
    let mut protocols = response.headers.known_all(Known::Upgrade);
    match (protocols.next(), protocols.next()) {
        (Some(protocol), None) if protocol.eq_ignore_ascii_case(b"websocket") => Ok(()),
        _ => Err(Failure::UpstreamMalformed { rule: "101 to another protocol than was asked for" }),
    }
}

/// Passes an interim response on, to clients that know of them (RFC 9110 15.2). A 100 is not passed: the gateway
/// answers `Expect` itself.
pub async fn pass_interim(parts: &mut Parts<'_>) -> Result<(), Failure> {
    let work = &mut *parts.work;
    let response = &work.exchange.response;
    if response.status == 100 || work.exchange.request.version == Version::Http10 {
        return Ok(());
    }
    if let Some(stream) = parts.channel.stream.as_http2() {
        let interim = wire::h2::response(response.status, &response.headers, |field| {
            field.known != Known::ContentLength
        });
        stream.send_interim(interim);
        return Ok(());
    }
    work.to_client.clear();
    encode::status_line(&mut work.to_client, response.status, None);
    response.headers.write_where(&mut work.to_client, |field| {
        field.known != Known::ContentLength && !field.known.is_hop_by_hop()
    });
    encode::end_of_head(&mut work.to_client);
    parts.channel.write_all(&work.to_client, &parts.local.settings).await
}

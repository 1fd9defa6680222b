//! A client's HTTP/2 connection: takes its requests and serves each in a task of its own, on the same worker.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Builder, Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::Request;
use plugin::exchange::Client;
use tokio::time::Instant;

use crate::bounds::Bound;
use crate::channel::Channel;
use crate::connections::Idle;
use crate::flow;
use crate::http2::downstream::Downstream;
use crate::http2::meter::Metered;
use crate::prefixed::Prefixed;
use crate::protocol;
use crate::session::{Arrival, Local, Session};
use crate::settings::Http2;
use crate::timer::Timer;
use crate::transport::Stream;
use crate::worker::Ending;

/// Bytes read at a time until it is known what a client speaks.
const PREFACE_READ: usize = 8 << 10;
/// Time a client has to hear that its connection ends.
const FAREWELL: Duration = Duration::from_secs(2);
/// What a client of HTTP/2 sends first (RFC 9113 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Serves a client that may speak HTTP/2 or HTTP/1.1, as its first bytes say (RFC 9113 3.3).
pub async fn serve_either(mut arrival: Arrival, place: Ending) {
    match speaks_http2(&mut arrival).await {
        // Apart, so that connections that speak HTTP/1.1 only stay small.
        Some(true) => Box::pin(serve(arrival)).await,
        Some(false) => flow::serve(Session::new(arrival), place).await,
        None => {}
    }
}

/// Reads as much as it takes to know. None when the client goes, or says too little for too long.
async fn speaks_http2(arrival: &mut Arrival) -> Option<bool> {
    let Arrival { local, channel, .. } = arrival;
    let mut deadline = Instant::now() + local.settings.idle_timeout;
    loop {
        let unread = channel.input.unread();
        let known = unread.len().min(PREFACE.len());
        if known == PREFACE.len() || unread[..known] != PREFACE[..known] {
            return Some(unread[..known] == *PREFACE);
        }
        channel.fill(PREFACE_READ, deadline).await.ok()?;
        deadline = deadline.min(Instant::now() + local.settings.head_timeout);
    }
}

/// Serves a connection until it ends: by the client, after an idle while, or with the gateway.
pub async fn serve(arrival: Arrival) {
    let Arrival { local, channel, client, number, idle } = arrival;
    // It ends by itself, with a GOAWAY.
    idle.take_leave();
    idle.rest(Instant::now());
    let peer = Peer { local, client, number, unlisted: Rc::default() };
    let settings = &peer.local.settings;
    let flooded = Rc::new(Cell::new(false));
    let io = Metered::new(Prefixed::new(channel), settings.http2.max_control_frames, flooded.clone());
    let mut timer = Timer::default();
    let handshake = builder(&settings.http2).handshake::<_, Bytes>(io);
    let Ok(Ok(mut connection)) = timer.within(settings.head_timeout, handshake).await else { return };
    let running = Running { streams: Rc::default(), idle };
    let mut stopping = pin!(peer.local.stopping());
    let (mut ending, mut patience, mut requests) = (None, settings.idle_timeout, 0);
    loop {
        let event = poll_fn(|cx| {
            let stop = if ending.is_some() { Poll::Pending } else { stopping.as_mut().poll(cx) };
            if stop.is_ready() {
                return Poll::Ready(Event::End);
            }
            let next = poll_next(cx, &mut connection, &mut timer, &running, (ending, patience));
            if flooded.get() { Poll::Ready(Event::Flood) } else { next }
        });
        match event.await {
            Event::Request(request, respond) => {
                requests += 1;
                patience = settings.idle_timeout;
                start(&peer, running.enter(), requests, request, respond);
                let last = requests >= settings.max_requests_per_connection
                    || protocol::is_outdated(&peer.client, &peer.local.snapshot());
                if last && ending.is_none() {
                    ending = Some(Instant::now());
                    connection.graceful_shutdown();
                }
            }
            Event::End => {
                ending = Some(Instant::now());
                connection.graceful_shutdown();
            }
            // It ends by itself once the client has heard of it: what was on its way until then is served.
            Event::Idle if ending.is_none() => {
                (ending, patience) = (Some(Instant::now()), FAREWELL);
                connection.graceful_shutdown();
            }
            Event::Flood => {
                peer.local.bounds.reached(Bound::Http2ControlFrames);
                return cut_off(connection, &mut timer).await;
            }
            Event::Excess => {
                peer.local.bounds.reached(Bound::Http2Excess);
                return;
            }
            Event::Idle | Event::Gone => return,
        }
    }
}

/// Ends a connection at once, with the reason, which its client has a moment to take (RFC 9113 10.5).
async fn cut_off(mut connection: Connection<Metered<Prefixed>, Bytes>, timer: &mut Timer) {
    connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
    let farewell = poll_fn(|cx| connection.poll_closed(cx));
    // However it ends, it ends here.
    let _ = timer.within(FAREWELL, farewell).await;
}

/// What the streams of a connection share.
struct Peer {
    local: Rc<Local>,
    client: Client,
    number: u64,
    /// Streams are not in the worker's books: one entry does for all, which nobody reads.
    unlisted: Rc<Idle>,
}

#[expect(clippy::large_enum_variant, reason = "handed over once, never kept")]
enum Event {
    Request(Request<RecvStream>, SendResponse<Bytes>),
    /// The client sent too many frames that bring nothing.
    Flood,
    /// It did what the library has ended the connection for, with the reason.
    Excess,
    /// It is time to take no more requests.
    End,
    /// Nothing has come for too long.
    Idle,
    /// The connection is over.
    Gone,
}

fn poll_next(
    cx: &mut Context<'_>,
    connection: &mut Connection<Metered<Prefixed>, Bytes>,
    timer: &mut Timer,
    running: &Running,
    (ending, patience): (Option<Instant>, Duration),
) -> Poll<Event> {
    match connection.poll_accept(cx) {
        Poll::Ready(Some(Ok((request, respond)))) => return Poll::Ready(Event::Request(request, respond)),
        Poll::Ready(Some(Err(error))) if is_excess(&error) => return Poll::Ready(Event::Excess),
        Poll::Ready(_) => return Poll::Ready(Event::Gone),
        Poll::Pending => {}
    }
    loop {
        let resting = running.idle.resting_since().unwrap_or_else(Instant::now);
        let since = ending.map_or(resting, |ending| ending.max(resting));
        if timer.poll_passed(cx, since + patience).is_pending() {
            return Poll::Pending;
        }
        if running.streams.get() == 0 {
            return Poll::Ready(Event::Idle);
        }
    }
}

/// Whether the client has run into one of the library's bounds.
fn is_excess(error: &h2::Error) -> bool {
    error.is_go_away() && !error.is_remote() && error.reason() == Some(Reason::ENHANCE_YOUR_CALM)
}

fn builder(settings: &Http2) -> Builder {
    let mut builder = Builder::new();
    builder
        .enable_connect_protocol()
        .max_concurrent_streams(settings.max_streams)
        .initial_window_size(settings.stream_window_bytes)
        .initial_connection_window_size(settings.connection_window_bytes)
        .max_header_list_size(settings.max_header_list_bytes)
        .max_send_buffer_size(settings.send_buffer_bytes)
        .max_concurrent_reset_streams(settings.max_reset_streams)
        .max_pending_accept_reset_streams(settings.max_reset_streams)
        .max_local_error_reset_streams(Some(settings.max_reset_streams));
    builder
}

/// The streams of a connection that are being served.
struct Running {
    streams: Rc<Cell<usize>>,
    idle: Rc<Idle>,
}

impl Running {
    fn enter(&self) -> Entered {
        self.streams.set(self.streams.get() + 1);
        self.idle.work();
        Entered { streams: self.streams.clone(), idle: self.idle.clone() }
    }
}

/// Counts a stream for as long as it is served, however that ends.
struct Entered {
    streams: Rc<Cell<usize>>,
    idle: Rc<Idle>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.streams.set(self.streams.get() - 1);
        if self.streams.get() == 0 {
            self.idle.rest(Instant::now());
        }
    }
}

/// Serves one request in a task of its own.
fn start(
    peer: &Peer,
    entered: Entered,
    requests: u64,
    request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
) {
    let (head, body) = request.into_parts();
    let ended = body.is_end_stream();
    let stream = Stream::Http2(Box::new(Downstream::new(body, respond)));
    let channel = Channel::new(stream, peer.local.buffers.clone());
    let (local, client) = (peer.local.clone(), peer.client.clone());
    let arrival = Arrival { local, channel, client, number: peer.number, idle: peer.unlisted.clone() };
    let mut session = Session::new(arrival);
    session.requests = requests - 1;
    tokio::task::spawn_local(async move {
        let _entered = entered;
        flow::serve_stream(session, &head, ended).await;
    });
}

//! HTTP/2 connections to upstreams, kept by one worker: each carries many requests, and another is opened when its
//! streams run out.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use ahash::{AHashMap, AHashSet};
use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use h2::{Ping, PingPong};
use tokio::time::{Instant, timeout};

use super::opening::{Ending, Opener, Openings, Turn};
use crate::tls::{Identity, Wanted};
use crate::transport::Stream;
use crate::upstream::destination::Destination;
use crate::upstream::gate::{Gate, Idle};

/// Bytes of a response taken before they are passed on, per stream and per connection.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 4 << 20;
/// The header section of a response, counted as RFC 9113 6.5.2 does.
const MAX_HEADER_LIST: u32 = 32 << 10;
/// Bytes of a request kept for an upstream that does not take them, per stream.
const SEND_BUFFER: usize = 64 << 10;
/// A connection whose other end has not said within this time what it bears is not shared.
const PATIENCE: Duration = Duration::from_secs(10);
/// Destinations of which it is remembered that they chose HTTP/1.1.
const REMEMBERED: usize = 1024;

/// The HTTP/2 connections of one worker.
pub struct Http2Pool {
    lanes: Rc<Lanes>,
    openings: Rc<Openings>,
    /// What chose HTTP/1.1 when it was last asked: there is nothing to wait for.
    over_http1: RefCell<AHashSet<Destination>>,
}

struct Lanes {
    by_destination: RefCell<AHashMap<Destination, Vec<Rc<Lane>>>>,
    /// Connections without a stream that are kept.
    capacity: usize,
    /// Requests that one connection serves.
    max_requests: u64,
    /// Whose they are.
    worker: usize,
}

/// A connection. It is closed when nobody has it any more: neither the pool nor a request.
pub struct Lane {
    /// As what it was opened under TLS.
    identity: Option<Identity>,
    sender: RefCell<SendRequest<Bytes>>,
    /// Requests on it.
    streams: Cell<usize>,
    /// Requests it has begun to serve.
    requests: Cell<u64>,
    used: Cell<Instant>,
    /// Counts what has come on it of responses.
    heard: Cell<u64>,
    /// It was silent for as long as a request was waited for: it may be dead, and takes no further ones.
    doubted: Cell<bool>,
    opened: Instant,
    /// The connections to its address, where these are bounded.
    gate: Option<Arc<Gate>>,
    worker: usize,
}

/// Room for one request on a connection, taken for as long as this lives.
pub struct Slot {
    /// Sends the request.
    pub sender: SendRequest<Bytes>,
    lane: Rc<Lane>,
    /// What had come on the connection before.
    heard: u64,
}

impl Slot {
    /// Something of a response has come.
    pub fn note_heard(&self) {
        self.lane.heard.set(self.lane.heard.get().wrapping_add(1));
    }

    /// The request was waited for in vain: unless others have had answers meanwhile, no further ones go the same way.
    pub fn doubt(&self) {
        if self.lane.heard.get() == self.heard {
            self.lane.doubted.set(true);
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.lane.streams.set(self.lane.streams.get() - 1);
        if let Some(gate) = &self.lane.gate {
            // Somebody may wait for room on it, or for its place.
            if gate.offer(self.lane.worker) == Idle::Wanted && self.lane.is_idle() {
                gate.rouse();
            }
        }
    }
}

impl Lane {
    /// Nobody uses it.
    fn is_idle(&self) -> bool {
        self.streams.get() == 0
    }

    /// It has failed or may be dead, or its other end takes no more requests.
    fn has_ended(&self) -> bool {
        if self.doubted.get() {
            return true;
        }
        let mut cx = Context::from_waker(Waker::noop());
        matches!(self.sender.borrow_mut().poll_ready(&mut cx), Poll::Ready(Err(_)))
    }

    fn has_room(&self) -> bool {
        self.streams.get() < self.sender.borrow().current_max_send_streams()
    }

    fn take(self: &Rc<Self>) -> Slot {
        self.used.set(Instant::now());
        self.streams.set(self.streams.get() + 1);
        self.requests.set(self.requests.get() + 1);
        Slot { sender: self.sender.borrow().clone(), lane: self.clone(), heard: self.heard.get() }
    }
}

impl Lanes {
    fn is_worn_out(&self, lane: &Lane) -> bool {
        let lifetime = lane.gate.as_ref().and_then(|gate| gate.limits().lifetime);
        lane.requests.get() >= self.max_requests
            || lifetime.is_some_and(|lifetime| lane.opened.elapsed() >= lifetime)
    }

    /// Keeps a connection for others, unless it has served enough.
    fn share(&self, destination: &Destination, lane: Rc<Lane>) {
        if self.is_worn_out(&lane) {
            return;
        }
        self.make_room();
        self.by_destination.borrow_mut().entry(destination.clone()).or_default().push(lane);
    }

    /// Lets go of all connections without a stream, should there be too many.
    fn make_room(&self) {
        let by_destination = &mut *self.by_destination.borrow_mut();
        let idle = |lanes: &Vec<Rc<Lane>>| lanes.iter().filter(|lane| lane.is_idle()).count();
        if by_destination.values().map(idle).sum::<usize>() > self.capacity {
            by_destination.values_mut().for_each(|lanes| lanes.retain(|lane| !lane.is_idle()));
        }
    }
}

impl Http2Pool {
    /// An empty pool of `worker`, that keeps up to `capacity` connections while nobody uses them, for `max_requests` each.
    pub fn new(worker: usize, capacity: usize, max_requests: u64) -> Self {
        let lanes = Rc::new(Lanes { by_destination: RefCell::default(), capacity, max_requests, worker });
        Self { lanes, openings: Rc::default(), over_http1: RefCell::default() }
    }

    /// A connection to `destination` that has room for another stream, and is just what is `wanted`.
    pub fn find(&self, destination: &Destination, wanted: Option<&Wanted<'_>>) -> Option<Slot> {
        let mut by_destination = self.lanes.by_destination.borrow_mut();
        let lanes = by_destination.get_mut(destination)?;
        // What has ended is of no use to anybody.
        lanes.retain(|lane| !lane.has_ended() && !self.lanes.is_worn_out(lane));
        let serves = |lane: &&Rc<Lane>| Identity::serves(lane.identity.as_ref(), wanted) && lane.has_room();
        let slot = lanes.iter().find(serves)?.take();
        if self.lanes.is_worn_out(&slot.lane) {
            lanes.retain(|lane| !Rc::ptr_eq(lane, &slot.lane));
        }
        Some(slot)
    }

    /// Room on a connection that somebody else has opened just now, if there is any left.
    pub fn join(&self, lane: &Rc<Lane>) -> Option<Slot> {
        let usable = !lane.has_ended() && !self.lanes.is_worn_out(lane) && lane.has_room();
        usable.then(|| lane.take())
    }

    /// What a request does that needs a connection that there is not. None if it has to open one of its own, since
    /// those to `destination` cannot be shared. `fresh` requests have been failed by a connection.
    pub fn turn(&self, destination: &Destination, wanted: Option<&Wanted<'_>>, fresh: bool) -> Option<Turn> {
        let shared = !self.over_http1.borrow().contains(destination);
        shared.then(|| self.openings.turn(destination, wanted, fresh, self.lanes.max_requests))
    }

    /// Remembers that `destination` has chosen HTTP/1.1.
    pub fn note_http1(&self, destination: &Destination) {
        let mut over_http1 = self.over_http1.borrow_mut();
        if over_http1.len() >= REMEMBERED {
            over_http1.clear();
        }
        over_http1.insert(destination.clone());
    }

    /// Begins to speak HTTP/2 on a fresh connection, and keeps it for others once it is known what it bears: those who
    /// wait for `opener` are told then.
    ///
    /// # Errors
    /// What the connection itself failed with.
    pub async fn open(
        &self,
        destination: &Destination,
        identity: Option<Identity>,
        stream: Stream,
        opener: Option<Opener>,
    ) -> Result<Slot, h2::Error> {
        let mut builder = Builder::new();
        builder
            .enable_push(false)
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(MAX_HEADER_LIST)
            .max_send_buffer_size(SEND_BUFFER);
        let gate = stream.seat().map(|seat| seat.gate().clone());
        let (sender, mut connection) = builder.handshake(stream).await?;
        let ping_pong = connection.ping_pong();
        let address = destination.address;
        tokio::task::spawn_local(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, %address, "an HTTP/2 connection to an upstream has failed");
            }
        });
        let lane = Rc::new(Lane {
            identity,
            sender: RefCell::new(sender),
            streams: Cell::default(),
            requests: Cell::default(),
            used: Cell::new(Instant::now()),
            heard: Cell::default(),
            doubted: Cell::default(),
            opened: Instant::now(),
            gate,
            worker: self.lanes.worker,
        });
        let slot = lane.take();
        self.over_http1.borrow_mut().remove(destination);
        if let Some(opener) = &opener {
            opener.connected();
        }
        let (lanes, destination) = (self.lanes.clone(), destination.clone());
        tokio::task::spawn_local(async move {
            if is_settled(ping_pong).await {
                lanes.share(&destination, lane.clone());
                if let Some(gate) = &lane.gate {
                    gate.call_all(lane.worker);
                }
                if let Some(opener) = opener {
                    opener.end(Ending::Opened(lane));
                }
            }
        });
        Ok(slot)
    }

    /// Lets go of connections without a stream for longer than `idle`. Called about every second.
    pub fn sweep(&self, idle: Duration) {
        self.lanes.by_destination.borrow_mut().retain(|_, lanes| {
            lanes.retain(|lane| {
                let idle = lane.gate.as_ref().and_then(|gate| gate.limits().idle).unwrap_or(idle);
                !lane.doubted.get() && (!lane.is_idle() || lane.used.get().elapsed() < idle)
            });
            !lanes.is_empty()
        });
    }

    /// Lets go of connections without a stream for their files, `most` of them, those that were used longest ago. How many.
    /// They are closed as soon as other tasks have had their turn.
    pub fn give_way(&self, most: usize) -> usize {
        let by_destination = &mut *self.lanes.by_destination.borrow_mut();
        let idle = by_destination.values().flatten().filter(|lane| lane.is_idle());
        let mut used: Vec<Instant> = idle.map(|lane| lane.used.get()).collect();
        let Some(last) = most.min(used.len()).checked_sub(1) else { return 0 };
        let latest = *used.select_nth_unstable(last).1;
        by_destination.retain(|_, lanes| {
            lanes.retain(|lane| !lane.is_idle() || lane.used.get() > latest);
            !lanes.is_empty()
        });
        used.iter().filter(|used| **used <= latest).count()
    }

    /// Lets go of connections without a stream whose places others wait for.
    pub fn yield_idle(&self) {
        let wanted = |lane: &Lane| lane.gate.as_ref().is_some_and(|gate| gate.is_crowded());
        self.lanes.by_destination.borrow_mut().retain(|_, lanes| {
            lanes.retain(|lane| !lane.is_idle() || !wanted(lane));
            !lanes.is_empty()
        });
    }
}

/// Waits until the other end has said how many streams it allows. That is the first it says (RFC 9113 3.4), so that with
/// the answer to a PING it is known, whether it said a number or not.
async fn is_settled(ping_pong: Option<PingPong>) -> bool {
    let Some(mut ping_pong) = ping_pong else { return false };
    matches!(timeout(PATIENCE, ping_pong.ping(Ping::opaque())).await, Ok(Ok(_)))
}

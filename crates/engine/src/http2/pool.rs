//! HTTP/2 connections to upstreams, kept by one worker: each carries many requests, and another is opened when its
//! streams run out.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use ahash::AHashMap;
use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use tokio::time::Instant;

use crate::tls::{Identity, Wanted};
use crate::transport::Stream;
use crate::upstream::destination::Destination;

/// Bytes of a response taken before they are passed on, per stream and per connection.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 4 << 20;
/// The header section of a response, counted as RFC 9113 6.5.2 does.
const MAX_HEADER_LIST: u32 = 32 << 10;
/// Bytes of a request kept for an upstream that does not take them, per stream.
const SEND_BUFFER: usize = 64 << 10;

/// The HTTP/2 connections of one worker.
pub struct Http2Pool {
    by_destination: RefCell<AHashMap<Destination, Vec<Shared>>>,
    /// Connections without a stream that are kept.
    capacity: usize,
}

struct Shared {
    /// As what it was opened under TLS.
    identity: Option<Identity>,
    sender: SendRequest<Bytes>,
    streams: Rc<Cell<usize>>,
    used: Instant,
}

/// Room for one request on a connection, taken for as long as this lives.
pub struct Slot {
    /// Sends the request.
    pub sender: SendRequest<Bytes>,
    streams: Rc<Cell<usize>>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.streams.set(self.streams.get() - 1);
    }
}

impl Shared {
    fn is_for(&self, wanted: Option<&Wanted<'_>>) -> bool {
        match (wanted, &self.identity) {
            (None, None) => true,
            (Some(wanted), Some(identity)) => wanted.is(identity),
            _ => false,
        }
    }

    /// Nobody uses it.
    fn is_idle(&self) -> bool {
        self.streams.get() == 0
    }

    fn take(&mut self) -> Slot {
        self.used = Instant::now();
        self.streams.set(self.streams.get() + 1);
        Slot { sender: self.sender.clone(), streams: self.streams.clone() }
    }
}

impl Http2Pool {
    /// An empty pool, that keeps up to `capacity` connections while nobody uses them.
    pub fn new(capacity: usize) -> Self {
        Self { by_destination: RefCell::default(), capacity }
    }

    /// A connection to `destination` that has room for another stream, and is just what is `wanted`.
    pub fn find(&self, destination: &Destination, wanted: Option<&Wanted<'_>>) -> Option<Slot> {
        let mut by_destination = self.by_destination.borrow_mut();
        let connections = by_destination.get_mut(destination)?;
        let mut cx = Context::from_waker(Waker::noop());
        // One that has failed, or takes no more requests, is of no use to anybody.
        connections.retain_mut(|shared| !matches!(shared.sender.poll_ready(&mut cx), Poll::Ready(Err(_))));
        let free = connections.iter_mut().find(|shared| {
            shared.is_for(wanted) && shared.streams.get() < shared.sender.current_max_send_streams()
        })?;
        Some(free.take())
    }

    /// Begins to speak HTTP/2 on a fresh connection and keeps it for others.
    ///
    /// # Errors
    /// What the connection itself failed with.
    pub async fn open(
        &self,
        destination: &Destination,
        identity: Option<Identity>,
        stream: Stream,
    ) -> Result<Slot, h2::Error> {
        let mut builder = Builder::new();
        builder
            .enable_push(false)
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(MAX_HEADER_LIST)
            .max_send_buffer_size(SEND_BUFFER);
        let (sender, connection) = builder.handshake(stream).await?;
        let address = destination.address;
        tokio::task::spawn_local(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, %address, "an HTTP/2 connection to an upstream has failed");
            }
        });
        let mut shared = Shared { identity, sender, streams: Rc::default(), used: Instant::now() };
        let slot = shared.take();
        self.make_room();
        self.by_destination.borrow_mut().entry(destination.clone()).or_default().push(shared);
        Ok(slot)
    }

    /// Lets go of all connections without a stream, should there be too many. Called when one more is opened.
    fn make_room(&self) {
        let by_destination = &mut *self.by_destination.borrow_mut();
        let idle = |connections: &Vec<Shared>| connections.iter().filter(|shared| shared.is_idle()).count();
        if by_destination.values().map(idle).sum::<usize>() > self.capacity {
            by_destination
                .values_mut()
                .for_each(|connections| connections.retain(|shared| !shared.is_idle()));
        }
    }

    /// Lets go of connections without a stream for longer than `idle`. Called about every second.
    pub fn sweep(&self, idle: Duration) {
        self.by_destination.borrow_mut().retain(|_, connections| {
            connections.retain(|shared| !shared.is_idle() || shared.used.elapsed() < idle);
            !connections.is_empty()
        });
    }
}

//! Bytes both ways after a change of protocol to WebSocket (RFC 9110 7.8), until both sides are done or silent for too
//! long, or the gateway goes: then both are told, between two frames.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;

use crate::channel::Channel;
use crate::session::Local;
use crate::upstream::attempt::Upstream;
use crate::websocket::{FAREWELL_TO_CLIENT, FAREWELL_TO_SERVICE, Frames};

/// Bytes moved at a time in each direction.
const PIECE: usize = 16 << 10;
/// How long before the end of a stopping gateway's patience its tunnels are told.
const FAREWELL: Duration = Duration::from_secs(1);

/// How much went through a tunnel.
#[derive(Debug, Clone, Copy, Default)]
pub struct Moved {
    /// Bytes from the client to the upstream.
    pub to_upstream: u64,
    /// Bytes from the upstream to the client.
    pub to_client: u64,
}

/// What both directions see.
struct Shared {
    /// When something moved last.
    last: Cell<Instant>,
    /// The gateway goes.
    leaving: Cell<bool>,
}

/// One direction.
struct Direction<'a> {
    shared: &'a Shared,
    /// What there was to send before anything was read.
    early: &'a [u8],
    moved: Cell<u64>,
    farewell: &'static [u8],
}

/// Sends `head` to the client and then relays until both directions have ended, one of them breaks, nothing moves for
/// long, or the gateway goes.
pub async fn run(client: &mut Channel, mut upstream: Upstream, head: &[u8], local: &Local) -> Moved {
    let shared = Shared { last: Cell::new(Instant::now()), leaving: Cell::new(false) };
    let Channel { stream, input, timer, .. } = client;
    let (client_read, mut client_write) = tokio::io::split(stream);
    let (upstream_read, upstream_write) = tokio::io::split(&mut upstream.stream);
    let direction = |early, farewell| Direction { shared: &shared, early, moved: Cell::new(0), farewell };
    let up = direction(input.unread(), FAREWELL_TO_SERVICE);
    let down = direction(upstream.input.unread(), FAREWELL_TO_CLIENT);
    let mut going_up = pin!(up.relay(client_read, upstream_write));
    let mut going_down = pin!(async {
        client_write.write_all(head).await?;
        down.relay(upstream_read, client_write).await
    });
    let mut leaving = pin!(time_to_leave(local));
    let (mut up_done, mut down_done) = (false, false);
    poll_fn(|cx| {
        if !shared.leaving.get() && leaving.as_mut().poll(cx).is_ready() {
            shared.leaving.set(true);
        }
        for (direction, done) in [
            (going_up.as_mut() as Pin<&mut dyn Future<Output = io::Result<()>>>, &mut up_done),
            (going_down.as_mut(), &mut down_done),
        ] {
            if !*done && let Poll::Ready(outcome) = direction.poll(cx) {
                if outcome.is_err() {
                    return Poll::Ready(());
                }
                *done = true;
            }
        }
        if up_done && down_done {
            return Poll::Ready(());
        }
        timer.poll_passed(cx, shared.last.get() + local.settings.tunnel_timeout)
    })
    .await;
    Moved { to_upstream: up.moved.get(), to_client: down.moved.get() }
}

/// Waits until the gateway stops and its patience is nearly used up.
async fn time_to_leave(local: &Local) {
    local.stopping().await;
    tokio::time::sleep(local.settings.drain_timeout.saturating_sub(FAREWELL)).await;
}

impl Direction<'_> {
    /// Copies until the end, which it passes on by closing its side, or until it is time for the farewell.
    async fn relay(
        &self,
        mut from: impl AsyncRead + Unpin,
        mut to: impl AsyncWrite + Unpin,
    ) -> io::Result<()> {
        let mut frames = Frames::default();
        self.pass(self.early, &mut frames, &mut to).await?;
        let mut piece = vec![0; PIECE];
        loop {
            let read = poll_fn(|cx| {
                if self.shared.leaving.get() && frames.may_insert() {
                    return Poll::Ready(Ok(None));
                }
                pin!(from.read(&mut piece)).poll(cx).map_ok(Some)
            });
            let Some(count) = read.await? else {
                to.write_all(self.farewell).await?;
                to.shutdown().await?;
                // What is still under way is taken: a connection that is closed over it would be reset.
                while from.read(&mut piece).await? > 0 {}
                return Ok(());
            };
            self.shared.last.set(Instant::now());
            if count == 0 {
                return to.shutdown().await;
            }
            self.pass(&piece[..count], &mut frames, &mut to).await?;
        }
    }

    async fn pass(
        &self,
        octets: &[u8],
        frames: &mut Frames,
        to: &mut (impl AsyncWrite + Unpin),
    ) -> io::Result<()> {
        frames.pass(octets);
        to.write_all(octets).await?;
        self.moved.set(self.moved.get() + octets.len() as u64);
        Ok(())
    }
}

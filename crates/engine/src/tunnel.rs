//! Bytes both ways after a change of protocol (RFC 9110 7.8), until both sides are done or silent for too long.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;

use crate::transport::Channel;
use crate::upstream::attempt::Upstream;

/// Bytes moved at a time in each direction.
const PIECE: usize = 16 << 10;

/// How much went through a tunnel.
#[derive(Debug, Clone, Copy, Default)]
pub struct Moved {
    /// Bytes from the client to the upstream.
    pub to_upstream: u64,
    /// Bytes from the upstream to the client.
    pub to_client: u64,
}

/// Sends `head` to the client and then relays until both directions have ended, one of them breaks, or nothing
/// moves for `idle`.
pub async fn run(client: &mut Channel, mut upstream: Upstream, head: &[u8], idle: Duration) -> Moved {
    let last = Cell::new(Instant::now());
    let (to_upstream, to_client) = (Cell::new(0), Cell::new(0));
    let Channel { stream, input, timer, .. } = client;
    let (client_read, mut client_write) = tokio::io::split(stream);
    let (upstream_read, mut upstream_write) = tokio::io::split(&mut upstream.stream);
    let mut up = pin!(async {
        let early = input.unread();
        upstream_write.write_all(early).await?;
        to_upstream.set(early.len() as u64);
        copy(client_read, upstream_write, &last, &to_upstream).await
    });
    let mut down = pin!(async {
        client_write.write_all(head).await?;
        let early = upstream.input.unread();
        client_write.write_all(early).await?;
        to_client.set(early.len() as u64);
        copy(upstream_read, client_write, &last, &to_client).await
    });
    let (mut up_done, mut down_done) = (false, false);
    poll_fn(|cx| {
        for (direction, done) in [
            (up.as_mut() as std::pin::Pin<&mut dyn Future<Output = std::io::Result<()>>>, &mut up_done),
            (down.as_mut(), &mut down_done),
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
        timer.poll_passed(cx, last.get() + idle)
    })
    .await;
    Moved { to_upstream: to_upstream.get(), to_client: to_client.get() }
}

/// Copies until the end, which it passes on by closing its side.
async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    last: &Cell<Instant>,
    moved: &Cell<u64>,
) -> std::io::Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        let count = from.read(&mut piece).await?;
        last.set(Instant::now());
        if count == 0 {
            return to.shutdown().await;
        }
        to.write_all(&piece[..count]).await?;
        moved.set(moved.get() + count as u64);
    }
}

//! Watches the frames of a client's HTTP/2 connection as their bytes pass: those that cost work and bring nothing
//! (SETTINGS, PING, PRIORITY, RST_STREAM, WINDOW_UPDATE, empty DATA, unknown ones) are bounded.
//!
//! They are paid for from a budget, which requests and bytes that move replenish, and time. A client that uses
//! HTTP/2 for its purpose never runs out; the clock is looked at only when the budget is gone.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// The time within which the budget may be used up once.
const WINDOW: Duration = Duration::from_secs(10);
/// Bytes of a client's preface, which is no frame (RFC 9113 3.4).
const PREFACE: usize = 24;
/// Bytes of a frame's header.
const HEADER: usize = 9;
/// What a request gives: room for the frames that go with it.
const PER_REQUEST: u64 = 8;
/// What a reset costs: more than its request gave.
const PER_RESET: u64 = 10;
/// Bytes, of bodies received or of anything sent, that give one frame.
const BYTES_PER_FRAME: usize = 64;

/// A connection whose frames are counted.
pub struct Metered<T> {
    stream: T,
    meter: Meter,
    /// Set once the budget is gone; shared with whoever serves the connection.
    flooded: Rc<Cell<bool>>,
}

impl<T> Metered<T> {
    /// Allows `frames` control frames within ten seconds, 0 for any number. `flooded` is set when there are more.
    pub fn new(stream: T, frames: u32, flooded: Rc<Cell<bool>>) -> Self {
        Self { stream, meter: Meter::new(frames), flooded }
    }
}

struct Meter {
    /// Control frames allowed, 0 for any number.
    most: u64,
    left: u64,
    since: Instant,
    /// Bytes that are no frame header.
    skip: usize,
    header: [u8; HEADER],
    /// Bytes of `header` that have come.
    known: usize,
    /// Bytes moved that have not given a frame yet.
    moved: usize,
}

impl Meter {
    fn new(frames: u32) -> Self {
        let most = u64::from(frames);
        Self {
            most,
            left: most,
            since: Instant::now(),
            skip: PREFACE,
            header: [0; HEADER],
            known: 0,
            moved: 0,
        }
    }

    /// Looks at bytes that were received. False once there were too many control frames.
    fn take(&mut self, mut bytes: &[u8]) -> bool {
        let mut good = true;
        while !bytes.is_empty() {
            let count = if self.skip > 0 { self.skip } else { HEADER - self.known }.min(bytes.len());
            let (now, rest) = bytes.split_at(count);
            bytes = rest;
            if self.skip > 0 {
                self.skip -= count;
                continue;
            }
            self.header[self.known..self.known + count].copy_from_slice(now);
            self.known += count;
            if self.known == HEADER {
                self.known = 0;
                good &= self.frame();
            }
        }
        good
    }

    fn frame(&mut self) -> bool {
        let [high, middle, low, kind, flags, ..] = self.header;
        let length = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        self.skip = length;
        let ends_stream = flags & 1 == 1;
        match kind {
            0 if length == 0 && !ends_stream => self.spend(1),
            0 => {
                self.earn_bytes(length);
                true
            }
            1 => {
                self.earn(PER_REQUEST);
                true
            }
            3 => self.spend(PER_RESET),
            _ => self.spend(1),
        }
    }

    fn spend(&mut self, cost: u64) -> bool {
        if self.most == 0 {
            return true;
        }
        if self.left < cost {
            let now = Instant::now();
            if now < self.since + WINDOW {
                return false;
            }
            self.since = now;
            self.left = self.most;
        }
        self.left = self.left.saturating_sub(cost);
        true
    }

    fn earn(&mut self, frames: u64) {
        self.left = self.most.min(self.left + frames);
    }

    fn earn_bytes(&mut self, count: usize) {
        self.moved += count;
        self.earn((self.moved / BYTES_PER_FRAME) as u64);
        self.moved %= BYTES_PER_FRAME;
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Metered<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.flooded.get() {
            // Whoever serves the connection says goodbye: nothing more is taken.
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buffer))?;
        if !this.meter.take(&buffer.filled()[before..]) {
            this.flooded.set(true);
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Metered<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
        self.meter.earn_bytes(count);
        Poll::Ready(Ok(count))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, slices))?;
        self.meter.earn_bytes(count);
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PING: [u8; 17] = [0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    const REQUEST: [u8; 10] = [0, 0, 1, 1, 5, 0, 0, 0, 1, 0x82];
    const RESET: [u8; 13] = [0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, 8];

    fn begun(frames: u32) -> Meter {
        let mut meter = Meter::new(frames);
        assert!(meter.take(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"));
        meter
    }

    #[tokio::test(start_paused = true)]
    async fn frames_are_counted_however_their_bytes_are_cut() {
        for piece in 1..20 {
            let mut meter = begun(100);
            let frames = PING.repeat(100);
            assert!(frames.chunks(piece).all(|bytes| meter.take(bytes)), "{piece}");
            assert!(!meter.take(&PING), "{piece}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn time_requests_and_bytes_replenish_the_budget_and_resets_use_it_up() {
        let mut meter = begun(100);
        assert!(meter.take(&PING.repeat(100)));
        tokio::time::advance(WINDOW).await;
        assert!(meter.take(&PING.repeat(100)));
        meter.take(&REQUEST);
        assert!(meter.take(&PING.repeat(8)));
        meter.earn_bytes(640);
        assert!(meter.take(&PING.repeat(10)));
        assert!(!meter.take(&PING));
        let mut meter = begun(100);
        let resets = (0..).take_while(|_| meter.take(&REQUEST) && meter.take(&RESET)).count();
        assert!((40..60).contains(&resets), "{resets}");
        assert!(begun(0).take(&RESET.repeat(10_000)), "0 is any number");
    }
}

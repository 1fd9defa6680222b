//! A stream with the bytes that have been read of it, and a bound on every wait.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::time::Instant;

use crate::buffers::Buffers;
use crate::pace::{Allowed, Pace};
use crate::prefixed::Prefixed;
use crate::presence::Presence;
use crate::respond::Failure;
use crate::settings::Settings;
use crate::timer::Timer;
use crate::transport::Stream;
use crate::upload::Upload;

/// So many times as large as what is in it a buffer may be while its connection waits.
const SPARE: usize = 4;

/// Bytes received and not yet consumed. Holds a buffer only while there are any, and while it waits for more of them none
/// that is much larger than they are.
pub struct Input {
    buffers: Rc<Buffers>,
    buffer: Vec<u8>,
    start: usize,
}

impl Input {
    /// Without bytes; a buffer will come from `buffers`.
    pub fn new(buffers: Rc<Buffers>) -> Self {
        Self { buffers, buffer: Vec::new(), start: 0 }
    }

    /// The bytes not yet consumed.
    #[inline]
    pub fn unread(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    /// Consumes the first `count` unread bytes.
    #[inline]
    pub fn consume(&mut self, count: usize) {
        self.start += count;
        if self.start >= self.buffer.len() {
            self.start = 0;
            self.buffers.give(std::mem::take(&mut self.buffer));
        }
    }

    /// Nothing is unread.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.start == self.buffer.len()
    }

    /// Adds bytes that nobody has received.
    pub fn put(&mut self, bytes: &[u8]) {
        self.reserve(bytes.len());
        self.buffer.extend_from_slice(bytes);
    }

    /// Makes room to read at least `room` more bytes.
    fn reserve(&mut self, room: usize) {
        if self.buffer.capacity() < room {
            let mut lent = self.buffers.take();
            lent.extend_from_slice(self.unread());
            self.start = 0;
            self.buffer = lent;
        }
        if self.start > 0 && self.buffer.capacity() - self.buffer.len() < room {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.reserve(room);
    }

    /// Reads once from `stream`, at most about `room` bytes. Zero is the end.
    pub fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut Stream,
        room: usize,
    ) -> Poll<io::Result<usize>> {
        self.reserve(room);
        let outcome = pin!(stream.read_buf(&mut self.buffer)).poll(cx);
        if self.buffer.is_empty() {
            self.consume(0);
        } else if outcome.is_pending() && self.unread().len() <= self.buffer.capacity() / SPARE {
            let few = self.unread().to_vec();
            self.start = 0;
            self.buffers.give(std::mem::replace(&mut self.buffer, few));
        }
        outcome
    }
}

/// Why a wait on a peer ended badly.
#[derive(Debug)]
pub enum Fault {
    /// Nothing happened for too long.
    Timeout,
    /// The peer closed, or the connection broke.
    Closed,
}

impl From<io::Error> for Fault {
    fn from(_: io::Error) -> Self {
        Self::Closed
    }
}

/// A stream with its unread bytes and its timer.
pub struct Channel {
    /// The connection.
    pub stream: Stream,
    /// Bytes received and not yet consumed.
    pub input: Input,
    /// The timer of whoever waits on this channel.
    pub timer: Timer,
    /// Bytes written.
    written: u64,
    /// How fast the client takes them.
    taking: Pace,
    /// Whether the client is there.
    presence: Presence,
    /// What follows on this connection cannot be told apart from what came before: close it.
    pub must_close: bool,
}

impl Channel {
    /// A channel on a fresh connection, with buffers from `buffers`.
    pub fn new(stream: Stream, buffers: Rc<Buffers>) -> Self {
        Self {
            stream,
            input: Input::new(buffers),
            timer: Timer::default(),
            written: 0,
            taking: Pace::default(),
            presence: Presence::default(),
            must_close: false,
        }
    }

    /// The stream, with what has been read of it and not consumed.
    pub fn into_stream(self) -> Stream {
        if self.input.is_empty() { self.stream } else { Stream::Begun(Box::new(Prefixed::new(self))) }
    }

    /// Reads once more; [`Fault::Closed`] at the end of the stream.
    pub async fn fill(&mut self, room: usize, deadline: Instant) -> Result<usize, Fault> {
        self.presence.forget();
        let Self { stream, input, timer, .. } = self;
        match timer.until(deadline, poll_fn(|cx| input.poll_fill(cx, stream, room))).await?? {
            0 => Err(Fault::Closed),
            count => Ok(count),
        }
    }

    /// Reads once, at most about `room` bytes. Zero is the end.
    pub fn poll_fill(&mut self, cx: &mut Context<'_>, room: usize) -> Poll<io::Result<usize>> {
        self.presence.forget();
        self.input.poll_fill(cx, &mut self.stream, room)
    }

    /// Waits, until `deadline`, for bytes that are not taken yet. False when the connection is over.
    pub async fn readable(&mut self, deadline: Instant) -> Result<bool, Fault> {
        let Self { stream, timer, presence, .. } = self;
        let readable = timer.until(deadline, poll_fn(|cx| presence.poll_readable(cx, stream)));
        Ok(readable.await?.is_ok())
    }

    /// A request begins to be read.
    pub fn begin_request(&mut self, settings: &Settings) {
        self.presence.begin_request(settings);
    }

    /// Ready once it is known that the client does not want its response any more: a stream has been reset, a
    /// connection broken or ended by the client. Its end is not looked for while more of it is at hand or expected:
    /// who takes that finds out.
    pub fn poll_gone(&mut self, cx: &mut Context<'_>, upload: &Upload) -> Poll<()> {
        if let Stream::Http2(stream) = &mut self.stream {
            return stream.poll_gone(cx);
        }
        if upload.is_done() && self.input.is_empty() {
            return self.presence.poll_end(cx, &mut self.stream);
        }
        Poll::Pending
    }

    /// Waits for `future`, no longer than `limit` from the first time it has to; [`Fault::Closed`] once the client is
    /// known to be gone.
    pub async fn within<F: Future>(
        &mut self,
        upload: &Upload,
        limit: Duration,
        future: F,
    ) -> Result<F::Output, Fault> {
        let mut future = pin!(future);
        let mut deadline = None;
        poll_fn(|cx| {
            if let Poll::Ready(value) = future.as_mut().poll(cx) {
                return Poll::Ready(Ok(value));
            }
            if self.poll_gone(cx, upload).is_ready() {
                return Poll::Ready(Err(Fault::Closed));
            }
            let deadline = *deadline.get_or_insert_with(|| Instant::now() + limit);
            self.timer.poll_passed(cx, deadline).map(|()| Err(Fault::Timeout))
        })
        .await
    }

    /// A response begins: how fast the client took the one before does not matter to it.
    pub fn begin_response(&mut self) {
        self.taking.restart(self.written);
    }

    /// Bytes that a client has taken.
    pub fn note_written(&mut self, count: usize) {
        self.written += count as u64;
    }

    /// Somebody else than the client is waited for.
    pub fn pause_taking(&mut self, now: Instant) {
        self.taking.pause(now);
    }

    /// Until when the client has to take more.
    pub fn allowed(&mut self, now: Instant, settings: &Settings) -> Allowed {
        self.taking.wait(now, self.written, &settings.send_demand())
    }

    /// Takes more of a request body into `body`, as fast as the client has to send it.
    pub async fn collect(
        &mut self,
        upload: &mut Upload,
        body: &mut Vec<u8>,
        bound: usize,
        settings: &Settings,
    ) -> Result<(), Failure> {
        let mut deadline = None;
        poll_fn(|cx| {
            let before = body.len();
            if let Poll::Ready(outcome) = upload.poll_collect(cx, self, body, bound) {
                return Poll::Ready(outcome);
            }
            if body.len() > before {
                deadline = None;
            }
            let Allowed { until, by_rate } =
                *deadline.get_or_insert_with(|| upload.allowed(Instant::now(), settings));
            self.timer.poll_passed(cx, until).map(|()| Err(Failure::slow_body(by_rate)))
        })
        .await
    }

    /// Writes all of `bytes`, as fast as the client has to take them.
    pub async fn write_all(&mut self, mut bytes: &[u8], settings: &Settings) -> Result<(), Failure> {
        let mut deadline = None;
        poll_fn(|cx| {
            while !bytes.is_empty() {
                match Pin::new(&mut self.stream).poll_write(cx, bytes) {
                    Poll::Ready(Ok(count @ 1..)) => {
                        self.note_written(count);
                        bytes = &bytes[count..];
                        deadline = None;
                    }
                    Poll::Ready(_) => return Poll::Ready(Err(Failure::ClientGone)),
                    Poll::Pending => {
                        let Allowed { until, by_rate } =
                            *deadline.get_or_insert_with(|| self.allowed(Instant::now(), settings));
                        let late = self.timer.poll_passed(cx, until);
                        return late.map(|()| Err(Failure::slow_taking(by_rate)));
                    }
                }
            }
            Poll::Ready(Ok(()))
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncWriteExt, BufReader};

    #[tokio::test(start_paused = true)]
    async fn a_silent_peer_is_a_timeout_and_a_closed_one_is_not() {
        let (near, far) = tokio::io::duplex(64);
        let mut channel = Channel::new(Stream::Memory(BufReader::new(near)), Rc::default());
        let deadline = Instant::now() + Duration::from_secs(5);
        assert!(matches!(channel.fill(16, deadline).await, Err(Fault::Timeout)));
        drop(far);
        assert!(matches!(channel.fill(16, deadline).await, Err(Fault::Closed)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_shorter_wait_after_a_longer_one_ends_in_time() {
        let (near, mut far) = tokio::io::duplex(64);
        let mut channel = Channel::new(Stream::Memory(BufReader::new(near)), Rc::default());
        far.write_all(b"x").await.unwrap();
        let start = Instant::now();
        channel.fill(16, start + Duration::from_secs(60)).await.unwrap();
        assert!(matches!(channel.fill(16, start + Duration::from_secs(60)).await, Err(Fault::Timeout)));
        assert!(matches!(
            channel.fill(16, Instant::now() + Duration::from_secs(1)).await,
            Err(Fault::Timeout)
        ));
        assert_eq!(start.elapsed().as_secs(), 61);
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_that_nobody_reads_is_a_timeout() {
        let (near, _far) = tokio::io::duplex(4);
        let mut channel = Channel::new(Stream::Memory(BufReader::new(near)), Rc::default());
        let settings = Settings { send_timeout: Duration::from_secs(1), ..Settings::default() };
        let outcome = channel.write_all(b"longer than four", &settings).await;
        assert_eq!(outcome, Err(Failure::slow_taking(false)));
    }
}

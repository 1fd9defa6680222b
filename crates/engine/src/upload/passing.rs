//! The body on its way to an upstream, while it comes.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

use super::source::{PIECE, decode, poll_client, poll_ended, poll_stream_piece, poll_trailers};
use super::{State, Upload};
use crate::channel::Channel;
use crate::respond::Failure;
use crate::transport::Stream;

impl Upload {
    /// Moves what can be moved. `Ready` once all has been handed to the upstream; `Pending` registers for both
    /// sides. `moved` is set if anything was.
    pub fn poll(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Channel,
        upstream: &mut Stream,
        moved: &mut bool,
    ) -> Poll<Result<(), Failure>> {
        if let Some(returned) = self.returned.take() {
            self.take_returned(&returned);
        }
        loop {
            if self.written < self.pending.len() {
                let write = Pin::new(&mut *upstream).poll_write(cx, &self.pending[self.written..]);
                let outcome = written(ready!(write));
                let sent = *outcome.as_ref().unwrap_or(&0);
                self.pass_on(self.written..self.written + sent, None);
                self.written += outcome?;
                *moved = true;
                continue;
            }
            match &mut self.state {
                State::Done | State::Halted(_) => return Poll::Ready(Ok(())),
                State::Flushing => {
                    self.state = State::Done;
                    if let Stream::Call(call) = upstream {
                        call.finish(&self.trailers);
                    }
                }
                State::Exact(_) => ready!(self.poll_exact(cx, client, upstream))?,
                State::Chunked(_) => ready!(self.poll_chunked(cx, client))?,
                State::Stream(most) => {
                    let most = usize::from(*most);
                    ready!(self.poll_stream(cx, client, most))?;
                }
            }
            *moved = true;
        }
    }

    fn poll_exact(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Channel,
        upstream: &mut Stream,
    ) -> Poll<Result<(), Failure>> {
        let State::Exact(left) = self.state else { return Poll::Ready(Ok(())) };
        if left == 0 {
            ready!(self.poll_end(cx, client))?;
            self.state = State::Flushing;
            return Poll::Ready(Ok(()));
        }
        if client.input.is_empty() {
            ready!(poll_client(cx, client))?;
        }
        let count = client.input.unread().len().min(usize::try_from(left).unwrap_or(usize::MAX));
        if count as u64 == left {
            // The upstream must not take for whole what may still turn out to be malformed.
            ready!(self.poll_end(cx, client))?;
        }
        let unread = client.input.unread();
        let write = Pin::new(&mut *upstream).poll_write(cx, &unread[..count]);
        let outcome = written(ready!(write));
        // What a broken connection swallowed is gone: such a request cannot be sent to another upstream.
        let taken = *outcome.as_ref().unwrap_or(&count);
        let left = left - taken as u64;
        self.state = State::Exact(left);
        self.pass_on(0..taken, Some(unread));
        client.input.consume(taken);
        self.received += taken as u64;
        if left == 0 {
            self.pending.clear();
            self.written = 0;
            self.state = State::Flushing;
        }
        Poll::Ready(outcome.map(|_| ()))
    }

    /// Waits for the end of a body all of whose bytes are at hand.
    fn poll_end(&mut self, cx: &mut Context<'_>, client: &mut Channel) -> Poll<Result<(), Failure>> {
        let ended = poll_ended(cx, client);
        self.awaits_end = ended.is_pending();
        ended
    }

    fn poll_chunked(&mut self, cx: &mut Context<'_>, client: &mut Channel) -> Poll<Result<(), Failure>> {
        self.pending.clear();
        self.written = 0;
        if client.input.is_empty() {
            ready!(poll_client(cx, client))?;
        }
        while self.pending.len() < PIECE && !client.input.is_empty() {
            let State::Chunked(decoder) = &mut self.state else { break };
            let unread = client.input.unread();
            let piece = decode(decoder, unread)?;
            let trailers = piece.done.then(|| decoder.trailers().clone());
            if !piece.data.is_empty() {
                self.received += piece.data.len() as u64;
                self.push(&unread[piece.data]);
            }
            if self.is_over_limit() {
                return Poll::Ready(Err(self.too_large()));
            }
            if let Some(trailers) = trailers {
                self.end(&trailers);
            }
            client.input.consume(piece.consumed);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_stream(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Channel,
        most: usize,
    ) -> Poll<Result<(), Failure>> {
        self.pending.clear();
        self.written = 0;
        if client.input.is_empty() && !ready!(poll_stream_piece(cx, client))? {
            let trailers = ready!(poll_trailers(cx, client, most))?;
            self.end(&trailers);
            return Poll::Ready(Ok(()));
        }
        let count = client.input.unread().len();
        self.push(client.input.unread());
        client.input.consume(count);
        self.received += count as u64;
        if self.is_over_limit() { Poll::Ready(Err(self.too_large())) } else { Poll::Ready(Ok(())) }
    }
}

/// Bytes an upstream has taken; one that takes none takes no more.
fn written(outcome: std::io::Result<usize>) -> Result<usize, Failure> {
    outcome.ok().filter(|count| *count > 0).ok_or(Failure::UpstreamClosed)
}

//! The body as plugins want it that look at all of it: in memory.

use std::task::{Context, Poll, ready};

use super::source::{decode, poll_client, poll_ended, poll_stream_piece, poll_trailers};
use super::{State, Upload};
use crate::channel::Channel;
use crate::respond::Failure;

impl Upload {
    /// Takes what is at hand of the body into `body`, for plugins that want it in memory. `Ready` at its end.
    pub fn poll_collect(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Channel,
        body: &mut Vec<u8>,
        bound: usize,
    ) -> Poll<Result<(), Failure>> {
        while self.is_awaiting_client() {
            if matches!(self.state, State::Exact(0)) {
                ready!(poll_ended(cx, client))?;
                self.state = State::Done;
                break;
            }
            if client.input.is_empty() {
                let ended = match self.state {
                    State::Stream(most) => (!ready!(poll_stream_piece(cx, client))?).then_some(most),
                    _ => ready!(poll_client(cx, client)).map(|()| None)?,
                };
                if let Some(most) = ended {
                    let trailers = ready!(poll_trailers(cx, client, most.into()))?;
                    self.keep_trailers(&trailers);
                    self.state = State::Done;
                    return Poll::Ready(Ok(()));
                }
            }
            let unread = client.input.unread();
            let consumed = match &mut self.state {
                State::Exact(left) => {
                    let count = unread.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    body.extend_from_slice(&unread[..count]);
                    *left -= count as u64;
                    count
                }
                State::Chunked(decoder) => {
                    let piece = decode(decoder, unread)?;
                    body.extend_from_slice(&unread[piece.data]);
                    if piece.done {
                        let trailers = decoder.trailers().clone();
                        self.keep_trailers(&trailers);
                        self.state = State::Done;
                    }
                    piece.consumed
                }
                State::Stream(_) => {
                    body.extend_from_slice(unread);
                    unread.len()
                }
                State::Done | State::Halted(_) | State::Flushing => 0,
            };
            client.input.consume(consumed);
            self.received = body.len() as u64;
            if self.is_over_limit() {
                return Poll::Ready(Err(self.too_large()));
            }
            if body.len() > bound {
                return Poll::Ready(Err(Failure::BodyBeyondBuffer));
            }
        }
        Poll::Ready(Ok(()))
    }
}

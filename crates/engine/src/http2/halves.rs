//! The two halves of a stream, the same towards clients and upstreams.

use std::io;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h2::{RecvStream, SendStream};
use tokio::io::ReadBuf;
use wire::h1::Reject;
use wire::{Headers, h2 as messages};

/// Sends as much of `bytes` as the windows and the buffer have room for, at least one; the stream ends with the last
/// of the bytes that are `left`, where that is known.
pub fn poll_send(
    outgoing: &mut SendStream<Bytes>,
    cx: &mut Context<'_>,
    bytes: &[u8],
    left: Option<usize>,
) -> Poll<io::Result<usize>> {
    outgoing.reserve_capacity(bytes.len());
    let mut room = outgoing.capacity();
    while room == 0 {
        room = match ready!(outgoing.poll_capacity(cx)) {
            Some(room) => room.map_err(io::Error::other)?,
            None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        };
    }
    let count = room.min(bytes.len());
    let piece = Bytes::copy_from_slice(&bytes[..count]);
    outgoing.send_data(piece, left == Some(count)).map_err(io::Error::other)?;
    Poll::Ready(Ok(count))
}

/// Ends a stream, with `trailers` if there are any.
pub fn end(outgoing: &mut SendStream<Bytes>, trailers: Option<&Headers>) {
    // Whoever has gone has no use for the end.
    let _ = match trailers.filter(|trailers| !trailers.is_empty()) {
        Some(trailers) => outgoing.send_trailers(messages::header_map(trailers, |_| true)),
        None => outgoing.send_data(Bytes::new(), true),
    };
}

/// The receiving half of a stream.
pub struct Incoming {
    body: RecvStream,
    /// Received and not yet read.
    piece: Bytes,
}

impl Incoming {
    /// What `body` brings.
    pub fn new(body: RecvStream) -> Self {
        Self { body, piece: Bytes::new() }
    }

    /// Waits for bytes, or the end, without taking them.
    pub fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.piece.is_empty() {
            match ready!(self.body.poll_data(cx)) {
                Some(piece) => self.piece = piece.map_err(io::Error::other)?,
                None => break,
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Waits for bytes or the end; true at that.
    pub fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        ready!(self.poll_readable(cx))?;
        Poll::Ready(Ok(self.piece.is_empty()))
    }

    /// Reads what is at hand; nothing is the end.
    pub fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_readable(cx))?;
        let count = self.piece.len().min(buffer.remaining());
        buffer.put_slice(&self.piece[..count]);
        self.piece.advance(count);
        if count > 0 {
            // The window opens as the body is taken, not as it arrives.
            self.body.flow_control().release_capacity(count).map_err(io::Error::other)?;
        }
        Poll::Ready(Ok(()))
    }

    /// Adds the trailer section to `fields`, once the body has been read to its end; refuses one of more than `most`
    /// fields.
    pub fn poll_trailers(
        &mut self,
        cx: &mut Context<'_>,
        most: usize,
        fields: &mut Headers,
    ) -> Poll<io::Result<Result<(), Reject>>> {
        let trailers = ready!(self.body.poll_trailers(cx)).map_err(io::Error::other)?;
        Poll::Ready(Ok(trailers.map_or(Ok(()), |trailers| messages::take_trailers(&trailers, most, fields))))
    }
}

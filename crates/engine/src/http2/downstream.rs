//! One stream of a client: the body of a request as bytes to read, the body of its response as bytes to write.
//!
//! Windows move as bytes are read and written, so a slow reader holds up nobody but itself.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::Response;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use wire::h1::Limits;
use wire::{Headers, h2 as messages};

/// One stream of a client. See the module documentation.
pub struct Downstream {
    respond: SendResponse<Bytes>,
    incoming: Incoming,
    outgoing: Option<SendStream<Bytes>>,
    /// Bytes after which the response is complete, once they are known.
    left: Option<usize>,
    /// The response has been sent to its end.
    ended: bool,
}

impl Downstream {
    /// A stream whose request head has been received.
    pub fn new(body: RecvStream, respond: SendResponse<Bytes>) -> Self {
        Self { respond, incoming: Incoming::new(body), outgoing: None, left: None, ended: false }
    }

    /// The request's body.
    pub fn incoming(&mut self) -> &mut Incoming {
        &mut self.incoming
    }

    /// Sends an interim response (RFC 9110 15.2).
    pub fn send_interim(&mut self, response: Response<()>) {
        // Whoever has gone will not miss it; the next write finds out.
        let _ = self.respond.send_informational(response);
    }

    /// Sends the response head; with `ended` it is all there is.
    pub fn send_head(&mut self, response: Response<()>, ended: bool) {
        if let Ok(outgoing) = self.respond.send_response(response, ended) {
            self.outgoing = Some(outgoing);
            self.ended = ended;
        }
    }

    /// The response is complete after `bytes` more bytes.
    pub fn ends_after(&mut self, bytes: usize) {
        self.left = Some(bytes);
    }

    /// Ends the response, with `trailers` if there are any.
    pub fn finish(&mut self, trailers: Option<&Headers>) {
        let Some(outgoing) = self.outgoing.as_mut().filter(|_| !self.ended) else { return };
        self.ended = true;
        let trailers = trailers.filter(|trailers| !trailers.is_empty());
        // Whoever has gone has no use for the end.
        let _ = match trailers {
            Some(trailers) => outgoing.send_trailers(messages::header_map(trailers, |_| true)),
            None => outgoing.send_data(Bytes::new(), true),
        };
    }

    /// Ready once the client has reset the stream or its connection is gone.
    pub fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let reset = match &mut self.outgoing {
            Some(outgoing) => outgoing.poll_reset(cx).map(drop),
            None => self.respond.poll_reset(cx).map(drop),
        };
        if self.ended { Poll::Pending } else { reset }
    }

    /// Lets go of the stream: what was not sent to its end is broken off, never made to look complete, and a body that
    /// nobody needs any more is refused (RFC 9113 8.1).
    pub fn close(&mut self) {
        if !self.ended {
            self.respond.send_reset(Reason::INTERNAL_ERROR);
        } else if !self.incoming.is_ended() {
            self.respond.send_reset(Reason::NO_ERROR);
        }
    }
}

impl AsyncRead for Downstream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.incoming.poll_read(cx, buffer)
    }
}

impl AsyncWrite for Downstream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let Some(outgoing) = &mut this.outgoing else { return Poll::Ready(Err(broken())) };
        let count = ready!(poll_room(outgoing, cx, bytes.len()))?;
        let left = this.left.map(|left| left.saturating_sub(count));
        let ends = left == Some(0);
        outgoing.send_data(Bytes::copy_from_slice(&bytes[..count]), ends).map_err(io::Error::other)?;
        this.left = left;
        this.ended |= ends;
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.finish(None);
        Poll::Ready(Ok(()))
    }
}

/// How many of `wanted` bytes the windows and the buffer have room for; at least one.
pub fn poll_room(
    outgoing: &mut SendStream<Bytes>,
    cx: &mut Context<'_>,
    wanted: usize,
) -> Poll<io::Result<usize>> {
    outgoing.reserve_capacity(wanted);
    let mut room = outgoing.capacity();
    while room == 0 {
        room = match ready!(outgoing.poll_capacity(cx)) {
            Some(room) => room.map_err(io::Error::other)?,
            None => return Poll::Ready(Err(broken())),
        };
    }
    Poll::Ready(Ok(room.min(wanted)))
}

fn broken() -> io::Error {
    io::ErrorKind::BrokenPipe.into()
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

    /// Nothing more will come.
    pub fn is_ended(&self) -> bool {
        self.piece.is_empty() && self.body.is_end_stream()
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

    /// Adds the trailer section to `fields`, once the body has been read to its end.
    pub fn poll_trailers(
        &mut self,
        cx: &mut Context<'_>,
        limits: &Limits,
        fields: &mut Headers,
    ) -> Poll<io::Result<()>> {
        if let Some(trailers) = ready!(self.body.poll_trailers(cx)).map_err(io::Error::other)? {
            messages::take_trailers(&trailers, limits, fields);
        }
        Poll::Ready(Ok(()))
    }
}

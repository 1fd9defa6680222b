//! One stream of a client: the body of a request as bytes to read, the body of its response as bytes to write.
//!
//! Windows move as bytes are read and written, so a slow reader holds up nobody but itself.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::Response;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use wire::Headers;

use super::halves::{Incoming, end, poll_send};

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

    /// The response head has been sent.
    pub fn has_begun(&self) -> bool {
        self.outgoing.is_some()
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
        end(outgoing, trailers);
    }

    /// Ready once the client has reset the stream or its connection is gone.
    pub fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let reset = match &mut self.outgoing {
            Some(outgoing) => outgoing.poll_reset(cx).map(drop),
            None => self.respond.poll_reset(cx).map(drop),
        };
        if self.ended { Poll::Pending } else { reset }
    }

    /// Breaks off what was not sent to its end: it is never made to look complete. A request body that is still coming
    /// then is refused by the connection itself, once the response is out (RFC 9113 8.1).
    pub fn close(&mut self) {
        if !self.ended {
            self.respond.send_reset(Reason::INTERNAL_ERROR);
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
        let Some(outgoing) = &mut this.outgoing else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        let count = ready!(poll_send(outgoing, cx, bytes, this.left))?;
        this.left = this.left.map(|left| left.saturating_sub(count));
        this.ended |= this.left == Some(0);
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

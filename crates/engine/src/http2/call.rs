//! One request to an upstream: a stream whose request body is written and whose response body is read.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::SendStream;
use h2::client::ResponseFuture;
use http::{Request, Response, response};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use wire::Headers;
use wire::h1::Reject;

use super::halves::{Incoming, end, poll_send};
use super::pool::Slot;

/// One request to an upstream. Dropping it before its end resets the stream.
pub struct Call {
    response: ResponseFuture,
    incoming: Option<Incoming>,
    outgoing: SendStream<Bytes>,
    ended: bool,
    // Given back with the stream.
    slot: Slot,
}

impl Call {
    /// Sends a request head; with `ended` it is all there is.
    pub fn begin(mut slot: Slot, request: Request<()>, ended: bool) -> Result<Self, h2::Error> {
        let (response, outgoing) = slot.sender.send_request(request, ended)?;
        Ok(Self { response, incoming: None, outgoing, ended, slot })
    }

    /// The next interim response, if one has come.
    pub fn poll_interim(&mut self, cx: &mut Context<'_>) -> Option<Response<()>> {
        match self.response.poll_informational(cx) {
            Poll::Ready(Some(Ok(response))) => Some(response),
            _ => None,
        }
    }

    /// No answer has come in time.
    pub fn doubt(&self) {
        self.slot.doubt();
    }

    /// The response head, and whether it is all there is.
    pub fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<(response::Parts, bool), h2::Error>> {
        let (head, body) = ready!(Pin::new(&mut self.response).poll(cx))?.into_parts();
        self.slot.note_heard();
        let ended = body.is_end_stream();
        self.incoming = Some(Incoming::new(body));
        Poll::Ready(Ok((head, ended)))
    }

    /// Ends the request, with `trailers` if there are any.
    pub fn finish(&mut self, trailers: &Headers) {
        if !self.ended {
            self.ended = true;
            end(&mut self.outgoing, Some(trailers));
        }
    }

    /// The receiving half, once the response head has come.
    pub fn incoming(&mut self) -> Option<&mut Incoming> {
        self.incoming.as_mut()
    }

    /// Adds the trailer section to `fields`, as [`Incoming::poll_trailers`] does.
    pub fn poll_trailers(
        &mut self,
        cx: &mut Context<'_>,
        most: usize,
        fields: &mut Headers,
    ) -> Poll<io::Result<Result<(), Reject>>> {
        match &mut self.incoming {
            Some(incoming) => incoming.poll_trailers(cx, most, fields),
            None => Poll::Ready(Ok(Ok(()))),
        }
    }
}

impl AsyncRead for Call {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.incoming {
            Some(incoming) => incoming.poll_read(cx, buffer).map(|read| {
                self.slot.note_heard();
                read
            }),
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }
}

impl AsyncWrite for Call {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        poll_send(&mut self.outgoing, cx, bytes, None)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.finish(&Headers::new());
        Poll::Ready(Ok(()))
    }
}

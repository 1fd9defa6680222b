//! A connection under TLS, as the rest of the engine uses connections.
//!
//! A write is done when the bytes have left the process, as it is on TCP: nobody flushes. So a write that was pending
//! must be asked for again with the same bytes, or the connection be given up, which is what all writers here do.

use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker, ready};

use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::unconstrained;
use tokio_rustls::TlsStream;

use super::offer::HTTP2;
use super::trust::{Identity, Wanted};
use crate::presence::{Heard, heard};
use crate::transport::Stream;

/// A connection whose handshake is done.
pub struct Secure {
    inner: TlsStream<Stream>,
    /// Bytes taken by a write that are not yet on their way.
    taken: usize,
    /// As what a connection to a service was opened; none towards clients.
    identity: Option<Identity>,
}

impl Secure {
    /// A client's connection.
    pub fn to_client(stream: tokio_rustls::server::TlsStream<Stream>) -> Self {
        Self { inner: stream.into(), taken: 0, identity: None }
    }

    /// A connection to a service.
    pub fn to_service(stream: tokio_rustls::client::TlsStream<Stream>, identity: Identity) -> Self {
        Self { inner: stream.into(), taken: 0, identity: Some(identity) }
    }

    /// Whether it was opened as what is wanted now.
    pub fn is_for(&self, wanted: &Wanted<'_>) -> bool {
        self.identity.as_ref().is_some_and(|identity| wanted.is(identity))
    }

    /// Whether the handshake came to HTTP/2.
    pub fn speaks_http2(&self) -> bool {
        self.inner.get_ref().1.alpn_protocol() == Some(HTTP2)
    }

    /// Waits for bytes, or the end, without taking them.
    pub fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_fill_buf(cx).map_ok(|_| ())
    }

    /// Whether the peer has neither said anything nor closed. What belongs to TLS itself, such as tickets and the
    /// farewell of the peer, is taken in; nothing is waited for.
    pub fn is_idle_and_open(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        // Unconstrained: that the task has used up its turn must not look like silence.
        let readable = pin!(unconstrained(poll_fn(|cx| self.poll_readable(cx))));
        readable.poll(&mut cx).is_pending()
    }

    /// Whether it is known that nothing has come.
    pub fn is_silent(&self) -> bool {
        let (stream, session) = self.inner.get_ref();
        session.wants_read() && stream.is_silent()
    }

    /// What has been heard of the peer: content, or its farewell, or that the connection is over.
    pub fn poll_heard(&mut self, cx: &mut Context<'_>) -> Poll<Heard> {
        let (stream, session) = self.inner.get_mut();
        if session.wants_read() {
            // Nothing of it is at hand; whether anything is on its way, the connection below knows.
            let _ = ready!(stream.poll_readable(cx));
        }
        Pin::new(&mut self.inner).poll_fill_buf(cx).map(heard)
    }

    /// Finishes what `write` has taken, and only then tells how much that was.
    fn poll_whole(
        &mut self,
        cx: &mut Context<'_>,
        asked: usize,
        write: impl FnOnce(Pin<&mut TlsStream<Stream>>, &mut Context<'_>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if self.taken == 0 {
            self.taken = ready!(write(Pin::new(&mut self.inner), cx))?;
        }
        if self.inner.get_ref().1.wants_write() {
            ready!(Pin::new(&mut self.inner).poll_flush(cx))?;
        }
        Poll::Ready(Ok(std::mem::take(&mut self.taken).min(asked)))
    }
}

impl AsyncRead for Secure {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Secure {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_whole(cx, bytes.len(), |inner, cx| inner.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let asked = slices.iter().map(|slice| slice.len()).sum();
        self.poll_whole(cx, asked, |inner, cx| inner.poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    /// Says farewell (`close_notify`), by which the peer knows that nothing was cut off.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

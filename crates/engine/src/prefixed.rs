//! A stream of which some bytes have been read already.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::channel::{Channel, Input};
use crate::presence::Heard;
use crate::transport::Stream;

/// The bytes that were read, and then the stream.
pub struct Prefixed {
    first: Input,
    stream: Stream,
}

impl Prefixed {
    /// What a channel has read and not consumed, and then its stream.
    pub fn new(channel: Channel) -> Self {
        Self { first: channel.input, stream: channel.stream }
    }

    /// Waits for bytes, or the end, without taking them.
    pub fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.first.is_empty() { self.stream.poll_readable(cx) } else { Poll::Ready(Ok(())) }
    }

    /// Whether it is known that nothing has come.
    pub fn is_silent(&self) -> bool {
        self.first.is_empty() && self.stream.is_silent()
    }

    /// What has been heard of the peer.
    pub fn poll_heard(&mut self, cx: &mut Context<'_>) -> Poll<Heard> {
        if self.first.is_empty() { self.stream.poll_heard(cx) } else { Poll::Ready(Heard::More) }
    }
}

impl AsyncRead for Prefixed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buffer);
        }
        let count = self.first.unread().len().min(buffer.remaining());
        buffer.put_slice(&self.first.unread()[..count]);
        self.first.consume(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Prefixed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
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

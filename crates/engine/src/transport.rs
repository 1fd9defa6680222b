//! Byte streams to clients and upstreams, whatever they run over.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, BufReader, DuplexStream, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use crate::http2::call::Call;
use crate::http2::downstream::Downstream;
use crate::prefixed::Prefixed;
use crate::tls::{Secure, Wanted};
use crate::upstream::gate::Seat;

/// A connection's bytes.
pub enum Stream {
    /// A TCP connection.
    Tcp(TcpStream),
    /// A connection to a socket in the file system.
    Unix(UnixStream),
    /// A connection under TLS.
    Tls(Box<Secure>),
    /// A connection of which some bytes have been read already.
    Begun(Box<Prefixed>),
    /// A pipe within the process: nobody's, for copies of requests, or a test's.
    Memory(BufReader<DuplexStream>),
    /// One stream of a client's HTTP/2 connection: bodies only.
    Http2(Box<Downstream>),
    /// One request on an HTTP/2 connection to an upstream: bodies only.
    Call(Box<Call>),
    /// A connection to an upstream that bounds how many there may be.
    Seated(Box<Seated>),
}

/// A connection, and its place among those to the same address.
pub struct Seated {
    /// The connection.
    pub stream: Stream,
    seat: Seat,
}

/// What a peer sees of the end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Nothing more comes, and what came is whole.
    Orderly,
    /// The connection broke.
    Reset,
}

impl Stream {
    /// The same connection with its place among those to the same address.
    pub fn seated(self, seat: Seat) -> Self {
        Self::Seated(Box::new(Seated { stream: self, seat }))
    }

    /// Its place among the connections to the same address, where these are bounded.
    pub fn seat(&self) -> Option<&Seat> {
        match self {
            Self::Seated(seated) => Some(&seated.seat),
            _ => None,
        }
    }

    /// The number of its file; 0 for one that has none of its own.
    pub fn descriptor(&self) -> RawFd {
        match self {
            Self::Tcp(stream) => stream.as_raw_fd(),
            Self::Unix(stream) => stream.as_raw_fd(),
            _ => 0,
        }
    }

    /// Waits for bytes, or the end, without taking them.
    pub fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => stream.poll_read_ready(cx),
            Self::Unix(stream) => stream.poll_read_ready(cx),
            Self::Tls(stream) => stream.poll_readable(cx),
            Self::Begun(stream) => stream.poll_readable(cx),
            Self::Memory(stream) => Pin::new(stream).poll_fill_buf(cx).map_ok(|_| ()),
            Self::Http2(stream) => stream.incoming().poll_readable(cx),
            Self::Call(call) => match call.incoming() {
                Some(incoming) => incoming.poll_readable(cx),
                None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
            },
            Self::Seated(seated) => seated.stream.poll_readable(cx),
        }
    }

    /// The stream of an HTTP/2 connection, if it is one.
    pub fn as_http2(&mut self) -> Option<&mut Downstream> {
        match self {
            Self::Http2(stream) => Some(stream),
            _ => None,
        }
    }

    /// The head of a response has been sent on a stream of HTTP/2. Elsewhere that is not known here.
    pub fn has_begun(&self) -> bool {
        matches!(self, Self::Http2(stream) if stream.has_begun())
    }

    /// Whether an idle connection is still usable: open, and silent. Costs no system call while nothing has come.
    pub fn is_idle_and_open(&mut self) -> bool {
        match self {
            Self::Tcp(stream) => {
                let nothing = stream.try_read(&mut [0; 1]);
                nothing.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
            }
            Self::Tls(stream) => stream.is_idle_and_open(),
            Self::Memory(stream) => stream.buffer().is_empty(),
            Self::Seated(seated) => seated.stream.is_idle_and_open(),
            // Services have no such sockets.
            Self::Unix(_) | Self::Begun(_) | Self::Http2(_) | Self::Call(_) => false,
        }
    }

    /// Whether the connection is what is wanted: cleartext, or under TLS and opened as just that.
    pub fn is_for(&self, wanted: Option<&Wanted<'_>>) -> bool {
        match (self, wanted) {
            (Self::Seated(seated), wanted) => seated.stream.is_for(wanted),
            (Self::Tls(stream), Some(wanted)) => stream.is_for(wanted),
            (Self::Tls(_), None) => false,
            (_, wanted) => wanted.is_none(),
        }
    }

    /// Whether a TLS handshake came to HTTP/2.
    pub fn speaks_http2(&self) -> bool {
        match self {
            Self::Tls(stream) => stream.speaks_http2(),
            Self::Seated(seated) => seated.stream.speaks_http2(),
            _ => false,
        }
    }

    /// Says how a connection of TCP is to end once it is closed. Under TLS the farewell tells the one end from the other, and
    /// over HTTP/2 the stream does.
    pub fn end_as(&self, ending: Ending) {
        if let Self::Tcp(stream) = self {
            let linger = (ending == Ending::Reset).then_some(Duration::ZERO);
            // If that fails, the connection ends all the same.
            let _ = SockRef::from(stream).set_linger(linger);
        }
    }

    /// Whether the connection is under TLS.
    pub fn is_tls(&self) -> bool {
        match self {
            Self::Tls(_) => true,
            Self::Seated(seated) => seated.stream.is_tls(),
            _ => false,
        }
    }
}

macro_rules! delegate {
    ($self:ident, $method:ident, $($argument:expr),*) => {
        match $self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).$method($($argument),*),
            Self::Unix(stream) => Pin::new(stream).$method($($argument),*),
            Self::Tls(stream) => Pin::new(&mut **stream).$method($($argument),*),
            Self::Begun(stream) => Pin::new(&mut **stream).$method($($argument),*),
            Self::Memory(stream) => Pin::new(stream).$method($($argument),*),
            Self::Http2(stream) => Pin::new(&mut **stream).$method($($argument),*),
            Self::Call(call) => Pin::new(&mut **call).$method($($argument),*),
            Self::Seated(seated) => Pin::new(&mut seated.stream).$method($($argument),*),
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        delegate!(self, poll_read, cx, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        delegate!(self, poll_write, cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        delegate!(self, poll_write_vectored, cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Seated(seated) => seated.stream.is_write_vectored(),
            _ => matches!(self, Self::Tcp(_) | Self::Unix(_) | Self::Tls(_)),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self, poll_flush, cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self, poll_shutdown, cx)
    }
}

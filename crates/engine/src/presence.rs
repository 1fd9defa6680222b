//! Whether a client is still there while somebody else is waited for. It never takes a byte away from what follows.
//!
//! The price is none: a worker's reactor tells of every end of a stream by itself, if somebody has asked to be woken.
//! Whoever waits for the next request has to ask for that anyway. To ask one wait earlier, while the upstream is
//! awaited, and to remember that, costs neither another system call nor another look at the socket's lock.

use std::future::{Future, poll_fn};
use std::io;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker, ready};

use socket2::SockRef;
use tokio::io::{AsyncBufRead, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::unconstrained;

use crate::settings::Settings;
use crate::transport::Stream;

/// What a client's stream has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// Bytes, which wait to be read. What is behind them is not looked for.
    More,
    /// Its end.
    End,
}

/// What is known of a client that is not being read from.
#[derive(Debug, Default)]
pub struct Presence {
    /// Its end means that nobody wants the response.
    heeded: bool,
    /// The task has asked to be woken by whatever comes, and nothing has been read since.
    asked: bool,
}

impl Presence {
    /// A request begins to be read.
    pub fn begin_request(&mut self, settings: &Settings) {
        self.heeded = !settings.ignore_client_abort;
        self.asked = false;
    }

    /// The stream is read from.
    pub fn forget(&mut self) {
        self.asked = false;
    }

    /// Ready once the client has ended its side, or its connection is broken.
    pub fn poll_end(&mut self, cx: &mut Context<'_>, stream: &mut Stream) -> Poll<()> {
        if !self.heeded || self.is_settled(stream) {
            return Poll::Pending;
        }
        // Unconstrained: that the task has used up its turn must not look like silence.
        let heard = pin!(unconstrained(poll_fn(|cx| stream.poll_heard(cx)))).poll(cx);
        self.asked = heard.is_pending();
        match heard {
            Poll::Ready(Heard::End) => Poll::Ready(()),
            Poll::Ready(Heard::More) | Poll::Pending => Poll::Pending,
        }
    }

    /// Waits for bytes, or the end, without taking them.
    pub fn poll_readable(&mut self, cx: &mut Context<'_>, stream: &mut Stream) -> Poll<io::Result<()>> {
        if self.is_settled(stream) {
            return Poll::Pending;
        }
        self.asked = false;
        stream.poll_readable(cx)
    }

    /// The task will be woken when something comes, and nothing has.
    fn is_settled(&self, stream: &Stream) -> bool {
        self.asked && stream.is_silent()
    }
}

impl Stream {
    /// Whether it is known, at the price of one load, that nothing has come. False where that is not known.
    pub fn is_silent(&self) -> bool {
        match self {
            // Does nothing but look at what the reactor has told.
            Self::Tcp(stream) => stream.try_io(Interest::READABLE, || Ok(())).is_err(),
            Self::Unix(stream) => stream.try_io(Interest::READABLE, || Ok(())).is_err(),
            Self::Tls(stream) => stream.is_silent(),
            Self::Begun(stream) => stream.is_silent(),
            Self::Seated(seated) => seated.stream.is_silent(),
            Self::Memory(_) | Self::Http2(_) | Self::Call(_) => false,
        }
    }

    /// What has been heard of the peer; whoever waits is woken by the next that is.
    pub fn poll_heard(&mut self, cx: &mut Context<'_>) -> Poll<Heard> {
        match self {
            Self::Tcp(stream) => poll_tcp(cx, stream),
            Self::Unix(stream) => poll_unix(cx, stream),
            Self::Tls(stream) => stream.poll_heard(cx),
            Self::Begun(stream) => stream.poll_heard(cx),
            Self::Memory(stream) => Pin::new(stream).poll_fill_buf(cx).map(heard),
            Self::Http2(stream) => stream.poll_gone(cx).map(|()| Heard::End),
            Self::Seated(seated) => seated.stream.poll_heard(cx),
            Self::Call(_) => Poll::Pending,
        }
    }
}

/// What a buffer has come to: it is empty at the end of its stream only.
pub fn heard(filled: io::Result<&[u8]>) -> Heard {
    if filled.is_ok_and(|bytes| !bytes.is_empty()) { Heard::More } else { Heard::End }
}

fn poll_tcp(cx: &mut Context<'_>, stream: &TcpStream) -> Poll<Heard> {
    if ready!(stream.poll_read_ready(cx)).is_err() {
        return Poll::Ready(Heard::End);
    }
    // Ready at once, because it is readable.
    let known = pin!(stream.ready(Interest::READABLE)).poll(&mut Context::from_waker(Waker::noop()));
    match known {
        Poll::Ready(Ok(ready)) if !ready.is_read_closed() => return Poll::Ready(Heard::More),
        _ => {}
    }
    // The client has ended its side: behind bytes, or not.
    let mut byte = [0; 1];
    let peeked = ready!(stream.poll_peek(cx, &mut ReadBuf::new(&mut byte)));
    Poll::Ready(if peeked.is_ok_and(|count| count > 0) { Heard::More } else { Heard::End })
}

fn poll_unix(cx: &mut Context<'_>, stream: &UnixStream) -> Poll<Heard> {
    loop {
        if ready!(stream.poll_read_ready(cx)).is_err() {
            return Poll::Ready(Heard::End);
        }
        // A byte that has come stays.
        let peek = || SockRef::from(stream).peek(&mut [MaybeUninit::uninit()]);
        match stream.try_io(Interest::READABLE, peek) {
            Ok(1..) => return Poll::Ready(Heard::More),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            _ => return Poll::Ready(Heard::End),
        }
    }
}

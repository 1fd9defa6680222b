//! Bytes both ways between a client and a service, until both are done, one breaks, or nothing moves for too long.
//!
//! A direction reads only what it has written before: a side that does not take its bytes slows the other one down,
//! and at most one buffer per direction is held, none while nothing is on its way. The end of one direction is passed
//! on as such, and the other goes on.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::AsyncWrite;
use tokio::time::Instant;

use crate::buffers::Buffers;
use crate::channel::{Channel, Input};
use crate::timer::Timer;
use crate::transport::{Ending, Stream};

/// Bytes read at a time.
const PIECE: usize = 16 << 10;

/// How long is waited for what.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Until something moves, in whichever direction.
    pub silence: Duration,
    /// Until the service takes bytes that it is sent.
    pub service: Duration,
    /// Until the client does.
    pub client: Duration,
}

/// How a relay has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Both sides have said all they had to say.
    Finished,
    /// Nothing has moved.
    Silent,
    /// The client did not take its bytes.
    SlowClient,
    /// The service did not take its bytes.
    SlowService,
    /// A connection broke.
    Broken,
}

impl End {
    /// In a word, for the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Silent => "silent",
            Self::SlowClient => "slow client",
            Self::SlowService => "slow service",
            Self::Broken => "broken",
        }
    }
}

/// Bytes that have been moved so far.
#[derive(Debug, Default)]
pub struct Moved {
    /// From the client to the service.
    pub received: Cell<u64>,
    /// From the service to the client.
    pub sent: Cell<u64>,
}

/// Relays between `client`, what has been read of it first, and `service`. An end that is not orderly does not look
/// like one, this future being dropped included: TCP is reset, and TLS ends without a farewell.
pub async fn relay(
    client: &mut Channel,
    service: Stream,
    buffers: &Rc<Buffers>,
    patience: Patience,
    counts: &Moved,
) -> End {
    let Channel { stream, input, timer, .. } = client;
    let first = std::mem::replace(input, Input::new(buffers.clone()));
    let both = Both {
        up: Direction::new(first, &counts.received),
        down: Direction::new(Input::new(buffers.clone()), &counts.sent),
        moved: Instant::now(),
        patience,
    };
    let mut carried = Carried { client: stream, service, both };
    poll_fn(|cx| carried.both.poll(cx, carried.client, &mut carried.service, timer)).await
}

/// Both connections, as long as bytes are carried.
struct Carried<'a> {
    client: &'a mut Stream,
    service: Stream,
    both: Both<'a>,
}

impl Drop for Carried<'_> {
    fn drop(&mut self) {
        for (direction, receiver) in [(&self.both.down, &*self.client), (&self.both.up, &self.service)] {
            // Whoever has been told the end has all there was, and keeps it.
            if direction.phase != Phase::Ended {
                receiver.end_as(Ending::Reset);
            }
        }
    }
}

struct Both<'a> {
    up: Direction<'a>,
    down: Direction<'a>,
    /// When something moved last.
    moved: Instant,
    patience: Patience,
}

impl Both<'_> {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Stream,
        service: &mut Stream,
        timer: &mut Timer,
    ) -> Poll<End> {
        let moved = &mut self.moved;
        let up = self.up.poll(cx, client, service, moved);
        let down = self.down.poll(cx, service, client, moved);
        match (up, down) {
            (Poll::Ready(Err(_)), _) | (_, Poll::Ready(Err(_))) => return Poll::Ready(End::Broken),
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => return Poll::Ready(End::Finished),
            _ => {}
        }
        let (deadline, end) = self.deadline();
        ready!(timer.poll_passed(cx, deadline));
        Poll::Ready(end)
    }

    /// The first bound that will be reached.
    fn deadline(&self) -> (Instant, End) {
        let Patience { silence, service, client } = self.patience;
        let waits = [
            (Some(self.moved + silence), End::Silent),
            (self.up.stuck.map(|since| since + service), End::SlowService),
            (self.down.stuck.map(|since| since + client), End::SlowClient),
        ];
        let waits = waits.into_iter().filter_map(|(deadline, end)| Some((deadline?, end)));
        waits.min_by_key(|(deadline, _)| *deadline).unwrap_or((self.moved + silence, End::Silent))
    }
}

/// One of the two directions.
struct Direction<'a> {
    /// Read and not yet written.
    input: Input,
    phase: Phase,
    /// Since when the receiver has not taken what there is.
    stuck: Option<Instant>,
    /// Bytes written.
    count: &'a Cell<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    /// Nothing more comes; that is to be told.
    Ending,
    /// It has been told.
    Ended,
}

impl<'a> Direction<'a> {
    fn new(input: Input, count: &'a Cell<u64>) -> Self {
        Self { input, phase: Phase::Open, stuck: None, count }
    }

    /// Moves what can be moved. Ready once the end has been passed on.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Stream,
        to: &mut Stream,
        moved: &mut Instant,
    ) -> Poll<io::Result<()>> {
        loop {
            if !self.input.is_empty() {
                ready!(self.poll_write(cx, to, moved))?;
                continue;
            }
            match self.phase {
                Phase::Ended => return Poll::Ready(Ok(())),
                Phase::Ending => {
                    ready!(Pin::new(&mut *to).poll_shutdown(cx))?;
                    self.phase = Phase::Ended;
                }
                Phase::Open => {
                    if ready!(self.input.poll_fill(cx, from, PIECE))? == 0 {
                        self.phase = Phase::Ending;
                    }
                    *moved = Instant::now();
                }
            }
        }
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut Stream,
        moved: &mut Instant,
    ) -> Poll<io::Result<()>> {
        match Pin::new(to).poll_write(cx, self.input.unread()) {
            Poll::Ready(Ok(count @ 1..)) => {
                self.input.consume(count);
                self.count.set(self.count.get() + count as u64);
                self.stuck = None;
                *moved = Instant::now();
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Ok(_)) => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                self.stuck.get_or_insert_with(Instant::now);
                Poll::Pending
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    /// Both ends of a connection.
    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (far, near) = tokio::join!(TcpStream::connect(address), listener.accept());
        (far.unwrap(), near.unwrap().0)
    }

    async fn relayed(client: TcpStream, service: TcpStream, silence: Duration, moved: &Moved) -> End {
        let mut client = Channel::new(Stream::Tcp(client), Rc::default());
        let long = Duration::from_secs(60);
        let patience = Patience { silence, service: long, client: long };
        relay(&mut client, Stream::Tcp(service), &Rc::default(), patience, moved).await
    }

    /// How a client and a service see the end of a session, of which those that `finish` said so themselves.
    async fn seen(silence: Duration, finish: [bool; 2]) -> (End, [Result<usize, io::ErrorKind>; 2]) {
        let ((mut client, near), (mut service, far)) = (pair().await, pair().await);
        let talking = async {
            service.write_all(b"half of an answer").await.unwrap();
            let mut half = [0; 17];
            client.read_exact(&mut half).await.unwrap();
            if finish[0] {
                client.shutdown().await.unwrap();
            }
            if finish[1] {
                service.shutdown().await.unwrap();
            }
            [client.read(&mut half).await, service.read(&mut half).await]
        };
        let moved = Moved::default();
        let (end, outcomes) = tokio::join!(relayed(near, far, silence, &moved), talking);
        assert_eq!((moved.sent.get(), moved.received.get()), (17, 0));
        (end, outcomes.map(|outcome| outcome.map_err(|error| error.kind())))
    }

    #[tokio::test]
    async fn an_end_that_nobody_told_is_a_reset_and_one_that_was_told_is_none() {
        let (short, long) = (Duration::from_millis(20), Duration::from_secs(60));
        let reset = Err(io::ErrorKind::ConnectionReset);
        assert_eq!(seen(long, [true, true]).await, (End::Finished, [Ok(0), Ok(0)]));
        assert_eq!(seen(short, [false, false]).await, (End::Silent, [reset, reset]));
        assert_eq!(seen(short, [false, true]).await, (End::Silent, [Ok(0), reset]));
        assert_eq!(seen(short, [true, false]).await, (End::Silent, [reset, Ok(0)]));
    }
    #[tokio::test]
    async fn a_session_that_is_cut_is_a_reset_and_counts_what_it_has_moved() {
        let ((mut client, near), (mut service, far)) = (pair().await, pair().await);
        let moved = Moved::default();
        let mut piece = [0; 4];
        let talking = async {
            service.write_all(b"half").await.unwrap();
            client.read_exact(&mut piece).await.unwrap();
        };
        tokio::select! {
            end = relayed(near, far, Duration::from_secs(60), &moved) => panic!("{end:?}"),
            () = talking => {}
        }
        assert_eq!((moved.sent.get(), moved.received.get()), (4, 0));
        for side in [&mut client, &mut service] {
            let seen = side.read(&mut piece).await.map_err(|error| error.kind());
            assert_eq!(seen, Err(io::ErrorKind::ConnectionReset));
        }
    }
}

//! Bytes both ways between a client and a service, until both are done, one breaks, or nothing moves for too long.
//!
//! A direction reads only what it has written before: a side that does not take its bytes slows the other one down,
//! and at most one buffer per direction is held, none while nothing is on its way. The end of one direction is passed
//! on as such, and the other goes on.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::AsyncWrite;
use tokio::time::Instant;

use crate::channel::Input;
use crate::timer::Timer;
use crate::transport::Stream;
use crate::websocket::{FAREWELL_TO_CLIENT, FAREWELL_TO_SERVICE, Frames};

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

/// Both directions between a client and a service.
pub struct Relay<'a> {
    up: Direction<'a>,
    down: Direction<'a>,
    /// When something moved last.
    moved: Instant,
    patience: Patience,
}

impl<'a> Relay<'a> {
    /// Nothing has been moved yet. What has been read already goes first.
    pub fn new(from_client: Input, from_service: Input, patience: Patience, counts: &'a Moved) -> Self {
        let up = Direction::new(from_client, &counts.received);
        let down = Direction::new(from_service, &counts.sent);
        Self { up, down, moved: Instant::now(), patience }
    }

    /// The same for frames of WebSocket: both sides can be told that the gateway goes.
    pub fn of_frames(mut self) -> Self {
        self.up.follow(FAREWELL_TO_SERVICE);
        self.down.follow(FAREWELL_TO_CLIENT);
        self
    }

    /// The gateway goes: both sides are told where a frame ends, and nothing more is passed on.
    pub fn leave(&mut self) {
        for direction in [&mut self.up, &mut self.down] {
            direction.leaving = true;
        }
    }

    /// Whether the client, or the service, has been told the end: then it has all there was.
    pub fn has_told(&self) -> [bool; 2] {
        [&self.down, &self.up].map(|direction| direction.phase == Phase::Ended)
    }

    /// Moves what can be moved. Ready when that is all.
    pub fn poll(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Stream,
        service: &mut Stream,
        timer: &mut Timer,
    ) -> Poll<End> {
        let moved = &mut self.moved;
        let up = self.up.poll(cx, client, service, moved);
        let down = self.down.poll(cx, service, client, moved);
        // A service may have answered and closed without reading all it was sent: the client gets to have that. Without a
        // client there is nobody to go on for.
        if self.down.is_refused || (self.up.is_refused && down.is_ready()) {
            return Poll::Ready(End::Broken);
        }
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
    /// The frames that pass, where they are followed, and what is said between two of them when the gateway goes.
    frames: Option<(Frames, &'static [u8])>,
    leaving: bool,
    /// The receiver takes no more.
    is_refused: bool,
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
    /// The gateway goes; that is to be told.
    Leaving,
    /// What is still under way is taken and goes nowhere: a connection that is closed over it would be reset.
    Draining,
    /// It has been told.
    Ended,
}

impl<'a> Direction<'a> {
    fn new(input: Input, count: &'a Cell<u64>) -> Self {
        Self {
            input,
            phase: Phase::Open,
            frames: None,
            leaving: false,
            is_refused: false,
            stuck: None,
            count,
        }
    }

    fn follow(&mut self, farewell: &'static [u8]) {
        let mut frames = Frames::default();
        frames.pass(self.input.unread());
        self.frames = Some((frames, farewell));
    }

    /// What is to be said now that the gateway goes.
    fn farewell(&self) -> Option<&'static [u8]> {
        let (frames, farewell) = self.frames.as_ref()?;
        (self.leaving && frames.may_insert()).then_some(farewell)
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
                if ready!(self.poll_write(cx, to, moved)).is_err() {
                    self.give_up();
                }
                continue;
            }
            match self.phase {
                Phase::Ended => return Poll::Ready(Ok(())),
                Phase::Ending => {
                    let told = ready!(Pin::new(&mut *to).poll_shutdown(cx));
                    self.phase = Phase::Ended;
                    if told.is_err() {
                        self.give_up();
                    }
                }
                Phase::Leaving => {
                    ready!(Pin::new(&mut *to).poll_shutdown(cx))?;
                    self.phase = Phase::Draining;
                }
                Phase::Draining => {
                    if ready!(self.input.poll_fill(cx, from, PIECE))? == 0 {
                        self.phase = Phase::Ended;
                    }
                    self.input.consume(self.input.unread().len());
                }
                Phase::Open => {
                    if let Some(farewell) = self.farewell() {
                        self.input.put(farewell);
                        self.phase = Phase::Leaving;
                        continue;
                    }
                    if ready!(self.input.poll_fill(cx, from, PIECE))? == 0 {
                        self.phase = Phase::Ending;
                    }
                    if let Some((frames, _)) = &mut self.frames {
                        frames.pass(self.input.unread());
                    }
                    *moved = Instant::now();
                }
            }
        }
    }

    /// The receiver takes no more: what still comes goes nowhere.
    fn give_up(&mut self) {
        self.input.consume(self.input.unread().len());
        (self.is_refused, self.stuck) = (true, None);
        if self.phase != Phase::Ended {
            self.phase = Phase::Draining;
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
                // What did not have to wait has just been read.
                if self.stuck.take().is_some() {
                    *moved = Instant::now();
                }
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
